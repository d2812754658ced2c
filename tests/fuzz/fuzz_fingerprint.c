/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as saved_model.pb and as fingerprint.pb: the deterministic form of a
 * message is its own deterministic form, and hashing by whatever rules ends in an
 * answer or an error. */
#include "fingerprint/fp_int.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add(void *arg, const void *p, size_t n)
{
    buf_add(arg, p, n);
}

static void
check_det(enum fp_type type, struct str raw)
{
    struct buf once AUTO(buf_release) = BUF_INIT, twice AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    if (fp_det(type, FP_MSG(raw), FP_DET_WIDE, (struct fp_sink){ add, &once }, &err) <
        0)
        return;
    raw = (struct str){ buf_str(&once), once.len };
    if (fp_det(type, FP_MSG(raw), FP_DET_WIDE, (struct fp_sink){ add, &twice }, &err) <
        0)
        BUG("%s", err.msg);
    if (once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0)
        BUG("another form the second time");
}

static void
see_model(struct scratch *dir)
{
    struct fp_five five;
    struct fp_identity id;
    struct sm_model *m = NULL;
    struct err err = ERR_INIT;
    if (sm_open(&m, dir->fd, "model", &err) == 0) {
        for (int r = 0; r < FP_N_RULES; r++) {
            if (fp_five_by((enum fp_rules)r, m, dir->fd, &five, &err) < 0)
                err_clear(&err);
        }
        sm_close(m);
    }
    err_clear(&err);
    if (fp_identity_of(&id, dir->fd, "model", &err) < 0)
        err_clear(&err);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum fp_type types[] = { FP_M_SavedModel, FP_M_GraphDef,
                                          FP_M_GraphProgram, FP_M_SavedObjectGraph,
                                          FP_M_SignatureDef };
    struct str raw = { (const char *)data, size };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        check_det(types[i], raw);
    struct scratch dir;
    struct fp_check check;
    struct err err = ERR_INIT;
    scratch_open(&dir);
    scratch_put(&dir, "saved_model.pb", data, size);
    scratch_put(&dir, "fingerprint.pb", data, size);
    see_model(&dir);
    (void)!fp_check(&check, dir.fd, "model", &err);
    scratch_close(&dir);
    return 0;
}
