/* SPDX-License-Identifier: Apache-2.0 */
/* saved_model.cpb. Files as they come, when they begin with the signature (their
 * checksums stop most of them); else as cpb.h packs them. Merged, and fingerprinted
 * twice. */
#include "fingerprint/fp_int.h"
#include "tests/fuzz/cpb.h"
#include "tests/fuzz/scratch.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
see_fingerprint(const struct buf *file)
{
    struct scratch dir;
    struct fp_five one, two;
    struct err err = ERR_INIT;
    scratch_open(&dir);
    scratch_put(&dir, "saved_model.cpb", buf_str(file), file->len);
    int rc = fp_chunked_five(&one, dir.fd, "model", &err);
    err_clear(&err);
    if (fp_five_of(&two, dir.fd, "model", &err) != rc ||
        (rc == 0 && memcmp(one.hash, two.hash, sizeof(one.hash)) != 0))
        BUG("another fingerprint the second time");
    scratch_close(&dir);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct buf file = BUF_INIT, out = { .cap_bytes = (size_t)256 << 20 };
    struct str in = { (const char *)data, n };
    if (n > 1 && data[0] == 0x83 && data[1] == 0xaf)
        buf_add(&file, data, n);
    else if (n < 32768) /* no block header inside */
        cpb_pack(in, &file);
    if (sm_cpb_merge((struct str){ buf_str(&file), file.len }, &out, &err) == 0 &&
        sm_check_msg((struct str){ buf_str(&out), out.len }, SM_M_SavedModel, "merged",
                     &err) == -ERR_CORRUPT)
        BUG("%s", err.msg);
    see_fingerprint(&file);
    buf_release(&file);
    buf_release(&out);
    return 0;
}
