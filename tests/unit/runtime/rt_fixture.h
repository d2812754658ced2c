/* SPDX-License-Identifier: Apache-2.0 */
/* Loads what model_build.h wrote and runs it on scalars and vectors of floats. */
#ifndef TESTS_RT_FIXTURE_H
#define TESTS_RT_FIXTURE_H

#include "runtime/backend.h"
#include "tests/unit/runtime/model_build.h"

static inline void
fx_close(struct backend **b)
{
    if (*b)
        rt_backend.close(*b);
}

static inline int
fx_load_with(struct backend **b, struct mb *m, struct backend_args args,
             struct err *err)
{
    args.model_dir = mb_save(m);
    return rt_backend.load(b, &args, err);
}

static inline void
fx_load(struct backend **b, struct mb *m)
{
    struct err err = ERR_INIT;
    CHECK_OK(fx_load_with(b, m, (struct backend_args){ .n_threads = 1 }, &err));
}

/* Adds x, and w: x doubled while it is below 100. */
static inline void
fx_add_loop(struct mb *m)
{
    mb_node(m, "x", "Placeholder", "", "dtype:t=1 shape:d=");
    mb_function(m, "cond", "a", "r");
    mb_f32(m, "limit", 100);
    mb_node(m, "p", "Less", "a limit:output:0", "T:t=1");
    mb_end_function(m, "r=p:z:0", "");
    mb_function(m, "body", "a", "r");
    mb_node(m, "s", "AddV2", "a a", "T:t=1");
    mb_end_function(m, "r=s:z:0", "");
    mb_node(m, "w", "StatelessWhile", "x", "T:l=1 cond:f=cond body:f=body");
}

static inline void
fx_feed(struct sm_tensor_list *l, const char *key, int dtype, int rank, int64_t n,
        const void *v)
{
    struct err err = ERR_INIT;
    struct sm_tensor t;
    CHECK_OK(sm_tensor_alloc(&t, dtype, rank, &n, &err));
    memcpy(t.data, v, sm_tensor_bytes(&t));
    sm_tensor_list_add(l, key, &t);
}

/* Runs `serving_default` of x (scalar float) to y, whose n elements of `size` bytes go
 * to `out`. */
static inline int
fx_run(struct backend *b, const float *x, void *out, size_t n_bytes, struct err *err)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { 0 };
    struct sm_tensor_list res AUTO(sm_tensor_list_release) = { 0 };
    if (x)
        fx_feed(&in, "x", SM_FLOAT, 0, 1, x);
    if (rt_backend.run(b, "serving_default", &in, &res, err) < 0)
        return -(int)err->code;
    struct sm_tensor *y = sm_tensor_list_find(&res, "y");
    CHECK(y && sm_tensor_bytes(y) == n_bytes);
    if (n_bytes > 0)
        memcpy(out, y->data, n_bytes);
    return 0;
}

static inline float
fx_run_f32(struct backend *b, float x)
{
    struct err err = ERR_INIT;
    float y;
    CHECK_OK(fx_run(b, &x, &y, sizeof(y), &err));
    return y;
}

#endif
