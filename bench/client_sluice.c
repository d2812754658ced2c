/* SPDX-License-Identifier: Apache-2.0 */
/* The embedded runtime as bench/runtime's engine: in this process, without the sandbox
 * and the copies to and from it. */
#include "bench/client.h"
#include "runtime/backend.h"

#include <stdlib.h>
#include <string.h>

static struct {
    struct backend *b;
    const char *signature;
    struct sm_tensor_list in, out;
    const struct bench_io *io;
} e;

static void
need(int rc, const struct err *err)
{
    if (rc < 0)
        bench_die("sluice", err->msg);
}

static int
dtype_of(const char *name)
{
    for (int d = 1; d < SM_REF; d++)
        if (sm_dtype_info(d) && strcmp(sm_dtype_name(d), name) == 0)
            return d;
    bench_die(name, "is no dtype");
    return 0;
}

static void
add_input(const struct bench_tensor *t)
{
    struct err err = ERR_INIT;
    struct sm_tensor s = { 0 };
    int dtype = dtype_of(t->dtype);
    if (dtype == SM_STRING) {
        struct str *v = xcalloc((size_t)t->n_elems + 1, sizeof(v[0]));
        for (int64_t i = 0; i < t->n_elems; i++)
            v[i] = (struct str){ t->data, t->n_bytes };
        need(sm_tensor_strings(&s, t->rank, t->dims, v, &err), &err);
        free(v);
    } else {
        need(sm_tensor_alloc(&s, dtype, t->rank, t->dims, &err), &err);
        if (sm_tensor_bytes(&s) != t->n_bytes)
            bench_die(t->key, "has another number of bytes");
        memcpy(s.data, t->data, t->n_bytes);
    }
    sm_tensor_list_add(&e.in, t->key, &s);
}

void
engine_load(const char *dir, int n_threads, const struct bench_io *io)
{
    struct err err = ERR_INIT;
    const char *signature = getenv("BENCH_SIGNATURE"), *tags = getenv("BENCH_TAGS");
    struct backend_args a = { .model_dir = dir, .tags = tags, .n_threads = n_threads };
    e.io = io;
    e.signature = signature ? signature : "serving_default";
    need(rt_backend.load(&e.b, &a, &err), &err);
    for (int i = 0; i < io->n_in; i++)
        add_input(&io->in[i]);
}

void
engine_run(void)
{
    struct err err = ERR_INIT;
    sm_tensor_list_release(&e.out);
    e.out = (struct sm_tensor_list){ 0 };
    need(rt_backend.run(e.b, e.signature, &e.in, &e.out, &err), &err);
}

size_t
engine_answer(int i, double *v, size_t n)
{
    const struct sm_tensor *t = sm_tensor_list_find(&e.out, e.io->out[i].key);
    if (!t)
        bench_die(e.io->out[i].key, "is no output");
    if (t->dtype != SM_FLOAT)
        return 0;
    n = (size_t)t->n_elems < n ? (size_t)t->n_elems : n;
    for (size_t k = 0; k < n; k++)
        v[k] = (double)((const float *)t->data)[k];
    return n;
}
