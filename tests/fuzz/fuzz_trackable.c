/* SPDX-License-Identifier: Apache-2.0 */
/* Object graphs of checkpoints: 4 bytes little-endian length of the model's graph, it,
 * then the checkpoint's. Both bundles have the same few tensors; one is matched with
 * the other, from the root that is found and from a named one. */
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static struct sm_bundle *
make(const struct scratch *dir, const char *name, const void *graph, size_t n)
{
    static const char *const keys[] = { "a", "b", "optimizer/m", "w/Adam", "w" };
    struct err err = ERR_INIT;
    struct sm_bundle_writer *w;
    struct sm_bundle *b;
    float value = 0;
    struct sm_tensor t = { .dtype = SM_FLOAT, .n_elems = 1, .data = &value };
    struct str s = { graph, n };
    int rc = sm_bundle_write_open(&w, dir->fd, name, &err);
    for (size_t i = 0; rc == 0 && i < sizeof(keys) / sizeof(keys[0]); i++)
        rc = sm_bundle_write_tensor(w, str_of(keys[i]), &t, &err);
    t = (struct sm_tensor){ .dtype = SM_STRING, .n_elems = 1, .data = &s };
    if (rc == 0)
        rc = sm_bundle_write_tensor(w, STR_LIT(SM_OBJECT_GRAPH_KEY), &t, &err);
    if (rc == 0)
        rc = sm_bundle_write_end(w, &err);
    if (rc == 0)
        rc = sm_bundle_open(&b, dir->fd, name, &err);
    if (rc < 0)
        BUG("%s", err.msg);
    sm_bundle_write_close_p(&w);
    return b;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const roots[] = { NULL, "model", "model/a" };
    const struct sm_meta no_functions = { .object_graph = { "", 0 } };
    struct err err = ERR_INIT;
    struct scratch dir;
    struct sm_matches m;
    uint32_t n_model;
    if (n < 4 || n > 65536)
        return 0;
    memcpy(&n_model, p, 4);
    if (n_model > n - 4)
        return 0;
    scratch_open(&dir);
    struct sm_bundle *model = make(&dir, "m", p + 4, n_model);
    struct sm_bundle *ckpt = make(&dir, "c", p + 4 + n_model, n - 4 - n_model);
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        if (sm_match_checkpoint(&m, &no_functions, model, ckpt, roots[i], &err) == 0)
            sm_matches_release(&m);
        err_clear(&err);
    }
    sm_bundle_close(model);
    sm_bundle_close(ckpt);
    scratch_close(&dir);
    return 0;
}
