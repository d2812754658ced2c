/* SPDX-License-Identifier: Apache-2.0 */
/* saved_model.cpb. Files as they come, when they begin with the signature (their
 * checksums stop most of them); else the input is cut into records (2 bytes length, the
 * bytes; the last is the directory), which a writer packs with right checksums. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static void
put_chunk(struct buf *file, char type, struct str data, uint64_t n_records)
{
    uint64_t h[5] = { 0, data.n, sm_riegeli_hash(data), (uint8_t)type | n_records << 8,
                      0 };
    h[0] = sm_riegeli_hash((struct str){ (char *)(h + 1), 32 });
    buf_add(file, h, sizeof(h));
    buf_add(file, data.p, data.n);
}

/* Positions are small numbers: a directory can guess them. */
static void
pack(struct str in, struct buf *file)
{
    struct buf sizes = BUF_INIT, values = BUF_INIT, body = BUF_INIT;
    struct str head, rec;
    uint64_t n = 0;
    while (sm_take(&in, 2, &head) && n < 64) {
        uint64_t len = sm_le16(head.p);
        if (!sm_take(&in, len < in.n ? len : in.n, &rec))
            break;
        put_varint(&sizes, rec.n);
        buf_add(&values, rec.p, rec.n);
        n++;
    }
    buf_addc(&body, 0);
    put_varint(&body, sizes.len);
    buf_add(&body, sizes.data, sizes.len);
    buf_add(&body, values.data, values.len);
    buf_add(file, "\x83\xaf\x70\xd1\x0d\x88\x4a\x3f\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0",
            24);
    put_chunk(file, 's', (struct str){ "", 0 }, 0);
    put_chunk(file, 'r', (struct str){ body.data, body.len }, n);
    buf_release(&sizes);
    buf_release(&values);
    buf_release(&body);
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
        pack(in, &file);
    if (sm_cpb_merge((struct str){ buf_str(&file), file.len }, &out, &err) == 0 &&
        sm_check_msg((struct str){ buf_str(&out), out.len }, SM_M_SavedModel, "merged",
                     &err) == -ERR_CORRUPT)
        BUG("%s", err.msg);
    buf_release(&file);
    buf_release(&out);
    return 0;
}
