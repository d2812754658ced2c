/* SPDX-License-Identifier: Apache-2.0 */
/* A whole model: loads the bytes as saved_model.pb and runs each signature on small
 * inputs, within small limits. */
#include "runtime/backend.h"
#include "savedmodel/savedmodel.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { DIM = 2 }; /* for dimensions that are not known */

static bool
add_input(struct sm_tensor_list *in, const struct backend_tensor *want)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    struct str words[4096] = { { "word", 4 } };
    int64_t dims[SM_MAX_RANK], elems = 1;
    int rank = want->shape.unknown_rank ? 1 : want->shape.rank;
    for (int i = 0; i < rank; i++) {
        dims[i] = want->shape.unknown_rank || want->shape.dims[i] < 0
                      ? DIM
                      : want->shape.dims[i];
        if (__builtin_mul_overflow(elems, dims[i], &elems) || elems > 4096)
            return false;
    }
    int rc = want->dtype == SM_STRING
                 ? sm_tensor_strings(&t, rank, dims, words, &err)
                 : sm_tensor_alloc(&t, want->dtype, rank, dims, &err);
    if (rc == 0)
        sm_tensor_list_add(in, want->key, &t);
    return rc == 0;
}

static void
run_signature(struct backend *b, const char *key)
{
    struct err err = ERR_INIT;
    const struct backend_signature *sig;
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list out AUTO(sm_tensor_list_release) = { 0 };
    if (rt_backend.signature(b, key, &sig, &err) < 0)
        return;
    for (int i = 0; i < sig->n_inputs; i++)
        if (!sig->inputs[i].has_default && !add_input(&in, &sig->inputs[i]))
            return;
    if (rt_backend.run(b, key, &in, &out, &err) < 0)
        return;
    sm_tensor_list_release(&out);
    if (rt_backend.run(b, key, &in, &out, &err) < 0) /* with what the first left */
        return;
}

/* The signatures' names, from a reading of its own. */
static void
run_all(struct backend *b, struct scratch *s)
{
    struct err err = ERR_INIT;
    struct sm_model *m AUTO(sm_close_p) = NULL;
    const struct sm_meta *meta;
    if (sm_open(&m, s->fd, s->path, &err) < 0 ||
        sm_find_meta(m, "serve", &meta, &err) < 0)
        return;
    for (int i = 0; i < meta->n_signatures; i++) {
        char *key = xstrndup(meta->signatures[i].key.p, meta->signatures[i].key.n);
        run_signature(b, key);
        free(key);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct scratch s;
    struct err err = ERR_INIT;
    struct backend *b;
    scratch_open(&s);
    scratch_put(&s, "saved_model.pb", p, n);
    struct backend_args a = { .model_dir = s.path,
                              .max_memory_bytes = 64 << 20,
                              .max_wall_ms = 500,
                              .max_loop_steps = 1000 };
    if (rt_backend.load(&b, &a, &err) == 0) {
        run_all(b, &s);
        rt_backend.close(b);
    }
    scratch_close(&s);
    return 0;
}
