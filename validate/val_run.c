/* SPDX-License-Identifier: Apache-2.0 */
#include "validate/val_int.h"

int
val_load(const struct val_golden *g, const struct backend_ops *ops, const char *dir,
         struct backend **out, struct err *err)
{
    struct backend_args args = g->limits;

    args.model_dir = dir;
    args.tags = g->tags;
    args.where = ops->where;
    return ops->load(out, &args, err);
}

/* Binds a case's inputs and runs it. */
static int
run_case(const struct val_case *c, const struct backend_ops *ops, struct backend *b,
         struct sm_tensor_list *out, struct err *err)
{
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    const struct backend_signature *sig = NULL;
    int r = ops->signature(b, c->signature, &sig, err);

    if (r < 0)
        return r;
    val_borrow(&in, &c->inputs);
    r = val_bind(&in, sig, err);
    return r < 0 ? r : ops->run(b, c->signature, &in, out, err);
}

int
val_run_case(const struct val_golden *g, int i, const struct backend_ops *ops,
             struct backend *b, struct sm_tensor_list *out, struct err *err)
{
    int r = i > 0 && !g->sequential ? ops->reset(b, err) : 0;

    return r < 0 ? r : run_case(&g->cases[i], ops, b, out, err);
}

int
val_run_cases(const struct val_golden *g, const struct backend_ops *ops,
              struct backend *b,
              int (*result)(void *arg, const struct val_result *res, struct err *err),
              void *arg, struct err *err)
{
    for (int i = 0; i < g->n_cases; i++) {
        struct sm_tensor_list out AUTO(sm_tensor_list_release) = { .n = 0 };
        struct err failed = ERR_INIT;
        struct val_result res = { .c = &g->cases[i], .load_ms = ops->load_ms(b) };
        int r = val_run_case(g, i, ops, b, &out, &failed);

        if (r < 0)
            res.error = &failed;
        else
            res.outputs = &out;
        res.run_ms = r < 0 ? 0 : ops->run_ms(b);
        r = result(arg, &res, err);
        if (r < 0)
            return r;
    }
    return 0;
}
