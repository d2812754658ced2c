/* SPDX-License-Identifier: Apache-2.0 */
/* Functions as control flow, and ops that only pass values on. Plans of functions are
 * made with the plan of the node that calls them. */
#include "runtime/rt_ops.h"

#include "runtime/rt_int.h"
#include "runtime/rt_rnn.h"

/* ---- passing on ------------------------------------------------------------------ */

int
rt_run_noop(struct rt_ctx *ctx, struct err *err)
{
    (void)ctx;
    (void)err;
    return 0;
}

/* Output i is input i. Outside of TF1 control flow the planner does it by itself. */
int
rt_run_same(struct rt_ctx *ctx, struct err *err)
{
    (void)err;
    for (int i = 0; i < ctx->node->n_out; i++)
        rt_out_same(ctx, i, ctx->in[i]);
    return 0;
}

int
rt_prep_same(struct rt_prep *p)
{
    if (p->node->n_in < p->node->n_out)
        return rt_prep_fail(p, ERR_CORRUPT, "has %d inputs for %d outputs",
                            p->node->n_in, p->node->n_out);
    return 0;
}

static void
drop_tensor(void *t)
{
    rt_tensor_unref(t);
}

/* Only where TF1 control flow asks when a constant is made: elsewhere it is no step. */
int
rt_prep_konst(struct rt_prep *p)
{
    struct sm_attr a;
    if (!sm_node_attr(p->sm, "value", &a) || a.kind != SM_ATTR_TENSOR)
        return rt_prep_fail(p, ERR_CORRUPT, "attribute 'value' is missing");
    struct rt_tensor *t = p->node->state = rt_prep_alloc(p, sizeof(*t));
    if (rt_tensor_from_proto(t, &rt_prep_session(p)->mem, a.bytes, p->err) < 0)
        return err_ctx(p->err, "node '%s' (Const)", p->node->name);
    rt_prep_on_free(p, drop_tensor, t);
    return 0;
}

int
rt_run_konst(struct rt_ctx *ctx, struct err *err)
{
    (void)err;
    rt_out_same(ctx, 0, ctx->node->state);
    return 0;
}

struct placeholder {
    int dtype;
    struct sm_shape shape;
};

int
rt_prep_placeholder(struct rt_prep *p)
{
    struct placeholder *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->dtype = rt_attr_type(p, "dtype", 0);
    s->shape = rt_attr_shape(p, "shape");
    return rt_prep_done(p);
}

/* Only reached when nobody fed it. */
int
rt_run_placeholder(struct rt_ctx *ctx, struct err *err)
{
    const struct placeholder *s = ctx->node->state;
    char text[RT_SHAPE_TEXT_BYTES];
    return rt_fail(
        ctx, err, ERR_FAILED,
        "You must feed a value for placeholder tensor '%s' with dtype %s and "
        "shape %s: an output depends on it, and it is not an input of the "
        "signature",
        ctx->node->name, rt_dtype_text(s->dtype),
        s->shape.unknown_rank ? "<unknown>"
                              : rt_dims_text(s->shape.rank, s->shape.dims, text));
}

/* ---- Assert ---------------------------------------------------------------------- */

int
rt_prep_assert(struct rt_prep *p)
{
    int64_t *n = p->node->state = rt_prep_alloc(p, sizeof(*n));
    *n = rt_attr_int(p, "summarize", 3);
    return rt_prep_done(p);
}

static void
add_element(struct buf *b, const struct rt_tensor *t, int64_t i)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    const char *at = (const char *)t->data + (size_t)i * rt_dtype_size(t->dtype);
    struct sm_tensor one = { .dtype = t->dtype,
                             .n_elems = 1,
                             .data = (void *)(uintptr_t)at };
    switch (t->dtype) {
    case SM_STRING:
        buf_add(b, ((const struct str *)t->data)[i].p,
                ((const struct str *)t->data)[i].n);
        break;
    case SM_BOOL:
        buf_addc(b, *(const uint8_t *)at ? '1' : '0');
        break;
    case SM_FLOAT:
        buf_addf(b, "%g", (double)*(const float *)at);
        break;
    case SM_DOUBLE:
        buf_addf(b, "%g", *(const double *)at);
        break;
    case SM_RESOURCE:
    case SM_VARIANT:
        buf_adds(b, "?");
        break;
    default:
        sm_tensor_text(&one, &text);
        buf_adds(b, buf_str(&text));
    }
}

/* condition, data…: ERR_FAILED "assertion failed: [data0] [data1] …" when the
 * condition, a scalar, is false. Attr summarize: elements shown of each. */
int
rt_run_assert(struct rt_ctx *ctx, struct err *err)
{
    struct buf b AUTO(buf_release) = { .cap_bytes = 1024 };
    const struct rt_tensor *c = ctx->in[0];
    int64_t most = *(const int64_t *)ctx->node->state;
    if (c->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "In[0] should be a scalar: %s",
                       rt_shape_text(c, (char[RT_SHAPE_TEXT_BYTES]){ 0 }));
    if (*(const uint8_t *)c->data)
        return 0;
    for (int i = 1; i < ctx->node->n_in; i++) {
        const struct rt_tensor *t = ctx->in[i];
        buf_adds(&b, i > 1 ? " [" : "[");
        for (int64_t j = 0; j < t->n_elems && (most < 0 || j < most); j++) {
            if (j > 0)
                buf_addc(&b, ' ');
            add_element(&b, t, j);
        }
        buf_adds(&b, most >= 0 && t->n_elems > most ? "...]" : "]");
    }
    return rt_fail(ctx, err, ERR_FAILED, "assertion failed: %s", buf_str(&b));
}

/* ---- calls ----------------------------------------------------------------------- */

/* A call that the planner did not inline: recursion, or a body with TF1 control flow.
 */
int
rt_prep_call(struct rt_prep *p)
{
    struct rt_plan *plan = rt_prep_function(p, "f");
    p->node->state = plan;
    return rt_prep_counts(p, plan, p->node->n_in);
}

/* Runs a plan on inputs from `first` on. */
static int
call_plan(struct rt_ctx *ctx, struct rt_plan *plan, int first, struct err *err)
{
    int n = ctx->node->n_in - first;
    struct rt_tensor *args = rt_scratch(ctx, (size_t)n * sizeof(args[0]), err);
    if (!args)
        return -(int)err->code;
    for (int i = 0; i < n; i++)
        rt_tensor_ref(&args[i], ctx->in[first + i]);
    return rt_plan_run(ctx->run, plan, args, ctx->out, err);
}

int
rt_run_call(struct rt_ctx *ctx, struct err *err)
{
    return call_plan(ctx, ctx->node->state, 0, err);
}

/* A condition may be of any dtype: a number is true when it is not zero, a string when
 * it is not empty, anything that is no scalar when it has elements. */
static int
truth(struct rt_ctx *ctx, const struct rt_tensor *t, bool *out, struct err *err)
{
    size_t size = rt_dtype_size(t->dtype);
    if (t->rank != 0) {
        *out = t->n_elems > 0;
        return 0;
    }
    switch (t->dtype) {
    case SM_BOOL:
        *out = *(const uint8_t *)t->data != 0;
        return 0;
    case SM_FLOAT:
        *out = *(const float *)t->data != 0;
        return 0;
    case SM_DOUBLE:
        *out = *(const double *)t->data != 0;
        return 0;
    case SM_STRING:
        *out = ((const struct str *)t->data)->n > 0;
        return 0;
    case SM_INT8:
    case SM_UINT8:
    case SM_INT16:
    case SM_UINT16:
    case SM_INT32:
    case SM_UINT32:
    case SM_INT64:
    case SM_UINT64:
        *out = false;
        for (size_t i = 0; i < size; i++)
            *out |= ((const uint8_t *)t->data)[i] != 0;
        return 0;
    default:
        return rt_fail_dtype(ctx, err, t->dtype);
    }
}

struct branches {
    struct rt_plan **plans;
    int n;
};

int
rt_prep_if(struct rt_prep *p)
{
    struct branches *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->plans = rt_prep_alloc(p, 2 * sizeof(s->plans[0]));
    s->n = 2;
    s->plans[0] = rt_prep_function(p, "else_branch");
    s->plans[1] = rt_prep_function(p, "then_branch");
    for (int i = 0; i < 2; i++)
        rt_prep_counts(p, s->plans[i], p->node->n_in - 1);
    return rt_prep_done(p);
}

/* cond, inputs…: the outputs of then_branch or else_branch. */
int
rt_run_if(struct rt_ctx *ctx, struct err *err)
{
    const struct branches *s = ctx->node->state;
    bool yes = false;
    if (truth(ctx, ctx->in[0], &yes, err) < 0)
        return -(int)err->code;
    return call_plan(ctx, s->plans[yes], 1, err);
}

int
rt_prep_case(struct rt_prep *p)
{
    struct branches *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->plans = rt_prep_functions(p, "branches", &s->n);
    for (int i = 0; i < s->n && s->plans; i++)
        rt_prep_counts(p, s->plans[i], p->node->n_in - 1);
    return rt_prep_done(p);
}

/* branch_index (int32 scalar), inputs…: an index out of range takes the last branch. */
int
rt_run_case(struct rt_ctx *ctx, struct err *err)
{
    const struct branches *s = ctx->node->state;
    if (ctx->in[0]->n_elems != 1)
        return rt_fail(ctx, err, ERR_FAILED, "branch_index must be a scalar");
    int32_t i = *(const int32_t *)ctx->in[0]->data;
    return call_plan(ctx, s->plans[i >= 0 && i < s->n ? i : s->n - 1], 1, err);
}

/* ---- While ----------------------------------------------------------------------- */

struct loop {
    struct rt_plan *cond, *body;
};

int
rt_prep_while(struct rt_prep *p)
{
    struct loop *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->cond = rt_prep_function(p, "cond");
    s->body = rt_prep_function(p, "body");
    rt_prep_counts(p, s->body, p->node->n_in);
    if (s->cond && (s->cond->n_inputs != p->node->n_in || s->cond->n_outputs != 1))
        rt_prep_fail(p, ERR_CORRUPT, "cond function '%s' takes %d and gives %d values",
                     s->cond->what, s->cond->n_inputs, s->cond->n_outputs);
    return rt_prep_done(p);
}

/* `vars` are taken by the body, so that it may write them in place; `args` is room for
 * as many. */
static int
turn(struct rt_ctx *ctx, struct rt_tensor *vars, struct rt_tensor *args, bool *more,
     struct err *err)
{
    const struct loop *s = ctx->node->state;
    int n = ctx->node->n_in;
    struct rt_tensor c = { 0 };
    for (int i = 0; i < n; i++)
        rt_tensor_ref(&args[i], &vars[i]);
    if (rt_plan_run(ctx->run, s->cond, args, &c, err) < 0)
        return -(int)err->code;
    int rc = truth(ctx, &c, more, err);
    rt_tensor_unref(&c);
    if (rc < 0 || !*more)
        return rc;
    for (int i = 0; i < n; i++)
        args[i] = (struct rt_tensor){ 0 };
    if (rt_run_turn(ctx->run, ctx->node, err) < 0 ||
        rt_plan_run(ctx->run, s->body, vars, args, err) < 0)
        return -(int)err->code;
    memcpy(vars, args, (size_t)n * sizeof(vars[0]));
    return 0;
}

int
rt_run_while(struct rt_ctx *ctx, struct err *err)
{
    const struct loop *s = ctx->node->state;
    int n = ctx->node->n_in, rc;
    if (s->body->rnn && s->cond->rnn_cond) {
        rc = rt_rnn_run(ctx, s->body->rnn, s->cond->rnn_cond, err);
        if (rc != 0)
            return rc < 0 ? rc : 0;
    }
    struct rt_tensor *vars = rt_scratch(ctx, 2 * (size_t)n * sizeof(vars[0]), err);
    if (!vars)
        return -(int)err->code;
    for (int i = 0; i < n; i++)
        rt_tensor_ref(&vars[i], ctx->in[i]);
    bool more = true;
    do
        rc = turn(ctx, vars, vars + n, &more, err);
    while (rc == 0 && more);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            ctx->out[i] = vars[i];
        else
            rt_tensor_unref(&vars[i]);
    }
    return rc;
}
