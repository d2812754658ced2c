/* SPDX-License-Identifier: Apache-2.0 */
/* One step of an optimiser, for models that learn where they serve: ResourceApply… of
 * GradientDescent, Momentum, KerasMomentum, Adam, AdaMax, RMSProp, Adagrad (V1, V2) and
 * Adadelta. float32. */
#include "runtime/ops/ops_int.h"
#include "runtime/ops/state_int.h"

#include <math.h>

enum { MAX_VARS = 3, MAX_NUMBERS = 6 };

/* v: an element of each variable; p: the numbers, in the op's order; g: its gradient.
 */
typedef void train_fn(float *v[MAX_VARS], const float *p, float g, bool flag);

static void
descent(float *v[MAX_VARS], const float *p, float g, bool flag)
{
    (void)flag;
    *v[0] -= p[0] * g;
}

static void
momentum(float *v[MAX_VARS], const float *p, float g, bool nesterov)
{
    *v[1] = *v[1] * p[1] + g;
    *v[0] -= nesterov ? g * p[0] + *v[1] * p[1] * p[0] : p[0] * *v[1];
}

static void
keras_momentum(float *v[MAX_VARS], const float *p, float g, bool nesterov)
{
    *v[1] = *v[1] * p[1] - p[0] * g;
    *v[0] += nesterov ? *v[1] * p[1] - p[0] * g : *v[1];
}

/* p: powers of both betas, rate, betas, epsilon */
static void
adam(float *v[MAX_VARS], const float *p, float g, bool nesterov)
{
    float rate = p[2] * sqrtf(1 - p[1]) / (1 - p[0]);
    *v[1] += (g - *v[1]) * (1 - p[3]);
    *v[2] += (g * g - *v[2]) * (1 - p[4]);
    float m = nesterov ? g * (1 - p[3]) + p[3] * *v[1] : *v[1];
    *v[0] -= m * rate / (sqrtf(*v[2]) + p[5]);
}

/* p: power of the first beta, rate, betas, epsilon */
static void
ada_max(float *v[MAX_VARS], const float *p, float g, bool flag)
{
    (void)flag;
    *v[1] += (g - *v[1]) * (1 - p[2]);
    *v[2] = fmaxf(p[3] * *v[2], fabsf(g));
    *v[0] -= p[1] / (1 - p[0]) * (*v[1] / (*v[2] + p[4]));
}

/* p: rate, rho, momentum, epsilon */
static void
rms_prop(float *v[MAX_VARS], const float *p, float g, bool flag)
{
    (void)flag;
    *v[1] += (g * g - *v[1]) * (1 - p[1]);
    *v[2] = *v[2] * p[2] + g * p[0] / sqrtf(*v[1] + p[3]);
    *v[0] -= *v[2];
}

/* p: rate, and V2's epsilon (V1: 0) */
static void
adagrad(float *v[MAX_VARS], const float *p, float g, bool update)
{
    if (update)
        *v[1] += g * g;
    *v[0] -= g * p[0] / (sqrtf(*v[1]) + p[1]);
}

/* p: rate, rho, epsilon */
static void
adadelta(float *v[MAX_VARS], const float *p, float g, bool flag)
{
    (void)flag;
    *v[1] = *v[1] * p[1] + g * g * (1 - p[1]);
    float update = sqrtf(*v[2] + p[2]) / sqrtf(*v[1] + p[2]) * g;
    *v[2] = *v[2] * p[1] + update * update * (1 - p[1]);
    *v[0] -= update * p[0];
}

static const struct train {
    const char *op;
    train_fn *step;
    int n_vars, n_numbers;
    int last_number;  /* an input behind the gradient that is a number too: one */
    const char *flag; /* attribute, or NULL */
} trains[] = {
    { "ResourceApplyGradientDescent", descent, 1, 1, 0, NULL },
    { "ResourceApplyMomentum", momentum, 2, 1, 1, "use_nesterov" },
    { "ResourceApplyKerasMomentum", keras_momentum, 2, 1, 1, "use_nesterov" },
    { "ResourceApplyAdam", adam, 3, 6, 0, "use_nesterov" },
    { "ResourceApplyAdaMax", ada_max, 3, 5, 0, NULL },
    { "ResourceApplyRMSProp", rms_prop, 3, 4, 0, NULL },
    { "ResourceApplyAdagrad", adagrad, 2, 1, 0, "update_slots" },
    { "ResourceApplyAdagradV2", adagrad, 2, 2, 0, "update_slots" },
    { "ResourceApplyAdadelta", adadelta, 3, 3, 0, NULL },
};

struct train_state {
    const struct train *t;
    bool flag;
};

int
rt_prep_train(struct rt_prep *p)
{
    struct train_state *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->t = K_ROW(trains, p->node->op);
    if (s->t->flag)
        s->flag = rt_attr_bool(p, s->t->flag, strcmp(s->t->flag, "update_slots") == 0);
    return rt_prep_done(p);
}

static int
read_numbers(struct rt_ctx *ctx, const struct train *t, float *p, struct err *err)
{
    for (int i = 0; i < t->n_numbers + t->last_number; i++) {
        int in = t->n_vars + i + (i >= t->n_numbers); /* past the gradient */
        if (ctx->in[in]->n_elems != 1 || ctx->in[in]->rank != 0)
            return rt_fail(ctx, err, ERR_FAILED, "input %d is not a scalar", in);
        p[i] = *(const float *)ctx->in[in]->data;
    }
    return 0;
}

/* Variables, numbers, gradient (, a number). Nothing changes when something is wrong.
 */
int
rt_run_train(struct rt_ctx *ctx, struct err *err)
{
    const struct train_state *s = ctx->node->state;
    const struct train *t = s->t;
    const struct rt_tensor *g = ctx->in[t->n_vars + t->n_numbers];
    struct rt_var *var[MAX_VARS];
    struct rt_tensor new[MAX_VARS] = { { 0 } };
    float p[MAX_NUMBERS + 1] = { 0 }, *at[MAX_VARS] = { NULL };
    int rc = read_numbers(ctx, t, p, err);
    for (int i = 0; i < t->n_vars && rc == 0; i++) {
        struct rt_tensor old = { 0 };
        var[i] = state_var_in(ctx, i, err);
        if (!var[i] || rt_var_read(var[i], ctx->node, &old, err) < 0)
            rc = -(int)err->code;
        else if (old.dtype != SM_FLOAT)
            rc = rt_fail_dtype(ctx, err, old.dtype);
        else if (!rt_same_shape(&old, g))
            rc = rt_fail(ctx, err, ERR_FAILED,
                         "variable %d and grad do not have the same shape", i);
        else
            rc = rt_tensor_new(ctx, &new[i], SM_FLOAT, old.rank, old.dims, err);
        if (rc == 0 && old.n_elems > 0)
            memcpy(new[i].data, old.data, rt_size(&old));
        rt_tensor_unref(&old);
    }
    for (int64_t k = 0; rc == 0 && k < g->n_elems; k++) {
        for (int i = 0; i < t->n_vars; i++)
            at[i] = (float *)new[i].data + k;
        t->step(at, p, ((const float *)g->data)[k], s->flag);
    }
    for (int i = 0; i < t->n_vars; i++) {
        if (rc == 0)
            rc = rt_var_assign(var[i], &new[i], err);
        rt_tensor_unref(&new[i]);
    }
    return rc;
}
