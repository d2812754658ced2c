/* SPDX-License-Identifier: Apache-2.0 */
/* Variables: VarHandleOp and its readers and writers (resources), VariableV2 and its
 * own (TF1 references). Both kinds are a struct rt_var; a reference is a tensor of
 * dtype T + SM_REF that holds one. */
#include "runtime/ops/state_int.h"

#include <stdio.h>

struct rt_var *
state_var_in(const struct rt_ctx *ctx, int i, struct err *err)
{
    return (struct rt_var *)rt_in_obj(ctx, i, &rt_var_type.obj, err);
}

int
state_share_target(struct rt_prep *p)
{
    const struct rt_tensor *t = rt_prep_const(p, 0);
    struct rt_obj *o = t && t->dtype > SM_REF ? *(struct rt_obj *const *)t->data : NULL;
    if (o && o->type == &rt_var_type.obj && !rt_prep_session(p)->loading &&
        rt_var_share((struct rt_var *)o, p->err) < 0)
        return err_ctx(p->err, "node '%s' (%s)", p->node->name, p->node->op);
    return rt_prep_done(p);
}

static void
drop_obj(void *o)
{
    rt_obj_unref(o);
}

/* Attrs dtype, shared_name (default: the node's name), container. */
int
rt_prep_var_handle(struct rt_prep *p)
{
    struct rt_session *s = rt_prep_session(p);
    int dtype = rt_attr_type(p, "dtype", RT_REQUIRED);
    const char *name = rt_attr_str(p, "shared_name", ""),
               *container = rt_attr_str(p, "container", "");
    if (p->err->code != ERR_OK)
        return rt_prep_done(p);
    struct rt_var *v = rt_var_find(s, container, *name ? name : p->node->name, dtype);
    p->node->state = v;
    rt_prep_on_free(p, drop_obj, v);
    return 0;
}

int
rt_run_var_handle(struct rt_ctx *ctx, struct err *err)
{
    return rt_out_obj(ctx, 0, SM_RESOURCE, rt_obj_ref(ctx->node->state), err);
}

int
rt_run_variable_ref(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *v = ctx->node->state;
    return rt_out_obj(ctx, 0, v->dtype + SM_REF, rt_obj_ref(&v->obj), err);
}

/* resource → value. Attr dtype must be the variable's. */
int
rt_prep_read_var(struct rt_prep *p)
{
    int *dtype = p->node->state = rt_prep_alloc(p, sizeof(*dtype));
    *dtype = rt_attr_type(p, "dtype", RT_REQUIRED);
    return rt_prep_done(p);
}

int
rt_run_read_var(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *v = state_var_in(ctx, 0, err);
    if (!v || rt_var_read(v, ctx->node, &ctx->out[0], err) < 0)
        return -(int)err->code;
    int want = *(const int *)ctx->node->state, got = ctx->out[0].dtype;
    if (got != want)
        return rt_fail(
            ctx, err, ERR_FAILED,
            "Trying to read variable '%s' with wrong dtype: expected %s, got %s",
            v->name, rt_dtype_text(want), rt_dtype_text(got));
    return 0;
}

/* ---- whole values ---------------------------------------------------------------- */

struct assign {
    bool checks_shape, is_ref;
    enum rt_update op;
};

int
rt_prep_assign(struct rt_prep *p)
{
    struct assign *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    const char *op = p->node->op;
    s->is_ref = !strstr(op, "VariableOp");
    s->op = strstr(op, "Add") ? RT_ADD : strstr(op, "Sub") ? RT_SUB : RT_SET;
    s->checks_shape = s->is_ref ? rt_attr_bool(p, "validate_shape", true)
                                : rt_attr_bool(p, "validate_shape", false);
    return state_share_target(p);
}

static int
update_whole(struct rt_ctx *ctx, struct rt_tensor *value, void *arg, struct err *err)
{
    const struct assign *s = arg;
    const struct rt_tensor *t = ctx->in[1];
    char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
    if (!rt_same_shape(value, t))
        return rt_fail(ctx, err, ERR_FAILED,
                       "Cannot update variable with shape %s using a "
                       "Tensor with shape %s, shapes must be equal.",
                       rt_shape_text(value, a), rt_shape_text(t, b));
    if (value->dtype != t->dtype ||
        !rt_update(s->op, t->dtype, value->data, t->data, t->n_elems, 1))
        return rt_fail_dtype(ctx, err, t->dtype);
    return 0;
}

/* resource or reference, value. Assign… of a reference also gives the reference. */
int
rt_run_assign(struct rt_ctx *ctx, struct err *err)
{
    struct assign *s = ctx->node->state;
    struct rt_var *v = state_var_in(ctx, 0, err);
    const struct rt_tensor *t = ctx->in[1];
    if (!v)
        return -(int)err->code;
    if (t->dtype != v->dtype)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Trying to assign variable '%s' of dtype %s a "
                       "value of dtype %s",
                       v->name, rt_dtype_text(v->dtype), rt_dtype_text(t->dtype));
    if (s->op == RT_SET && s->checks_shape) {
        char a[RT_SHAPE_TEXT_BYTES], b[RT_SHAPE_TEXT_BYTES];
        pthread_mutex_lock(&v->lock);
        struct rt_tensor old = v->value; /* for its shape alone */
        pthread_mutex_unlock(&v->lock);
        if (old.buf && !rt_same_shape(&old, t))
            return rt_fail(ctx, err, ERR_FAILED,
                           "Assign requires shapes of both tensors to "
                           "match. lhs shape= %s rhs shape= %s",
                           rt_shape_text(&old, a), rt_shape_text(t, b));
    }
    int rc = s->op == RT_SET ? rt_var_assign(v, t, err)
                             : rt_var_edit(ctx, v, update_whole, s, err);
    if (rc == 0 && s->is_ref)
        rt_out_same(ctx, 0, ctx->in[0]);
    return rc;
}

/* resource or reference → bool: has it a value? */
int
rt_run_is_initialized(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *v = state_var_in(ctx, 0, err);
    struct rt_tensor *y;
    if (!v || rt_out(ctx, 0, SM_BOOL, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    pthread_mutex_lock(&v->lock);
    *(uint8_t *)y->data = v->value.buf != NULL;
    pthread_mutex_unlock(&v->lock);
    return 0;
}

/* Forgets the value. Attr ignore_lookup_error has no meaning here: handles always
 * exist. */
int
rt_run_destroy(struct rt_ctx *ctx, struct err *err)
{
    struct rt_obj *o = *(struct rt_obj *const *)ctx->in[0]->data;
    (void)err;
    if (o && o->type == &rt_var_type.obj) {
        struct rt_var *v = (struct rt_var *)o;
        pthread_mutex_lock(&v->lock);
        rt_var_written(v);
        rt_tensor_unref(&v->value);
        pthread_mutex_unlock(&v->lock);
    }
    return 0;
}

int
rt_prep_out_type(struct rt_prep *p)
{
    int *dtype = p->node->state = rt_prep_alloc(p, sizeof(*dtype));
    *dtype = rt_attr_type(p, "out_type", SM_INT32);
    return rt_prep_done(p);
}

int
rt_run_variable_shape(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *v = state_var_in(ctx, 0, err);
    struct rt_tensor t, *y;
    if (!v || rt_var_read(v, ctx->node, &t, err) < 0)
        return -(int)err->code;
    int dtype = *(const int *)ctx->node->state;
    int64_t n = t.rank;
    int rc = rt_out(ctx, 0, dtype, 1, &n, &y, err);
    for (int i = 0; rc == 0 && i < t.rank; i++) {
        if (dtype == SM_INT32)
            ((int32_t *)y->data)[i] = (int32_t)t.dims[i];
        else
            ((int64_t *)y->data)[i] = t.dims[i];
    }
    rt_tensor_unref(&t);
    return rc;
}

/* ---- CountUpTo ------------------------------------------------------------------- */

int
rt_prep_count_up_to(struct rt_prep *p)
{
    int64_t *limit = p->node->state = rt_prep_alloc(p, sizeof(*limit));
    *limit = rt_attr_int(p, "limit", RT_REQUIRED);
    return state_share_target(p);
}

static int
count_one(struct rt_ctx *ctx, struct rt_tensor *value, void *arg, struct err *err)
{
    int64_t limit = *(const int64_t *)ctx->node->state, *before = arg;
    if (value->n_elems != 1 || (value->dtype != SM_INT32 && value->dtype != SM_INT64))
        return rt_fail(ctx, err, ERR_FAILED, "the counter is no integer scalar");
    *before = rt_int_at(value, 0);
    if (*before >= limit)
        return rt_fail(ctx, err, ERR_FAILED, "Reached limit of %lld", (long long)limit);
    if (value->dtype == SM_INT32)
        *(int32_t *)value->data = (int32_t)(*before + 1);
    else
        *(int64_t *)value->data = *before + 1;
    return 0;
}

/* The value before it is increased; ERR_FAILED when it has reached `limit`. */
int
rt_run_count_up_to(struct rt_ctx *ctx, struct err *err)
{
    struct rt_var *v = state_var_in(ctx, 0, err);
    struct rt_tensor *y;
    int64_t before;
    if (!v || rt_var_edit(ctx, v, count_one, &before, err) < 0 ||
        rt_out(ctx, 0, v->dtype, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    if (v->dtype == SM_INT32)
        *(int32_t *)y->data = (int32_t)before;
    else
        *(int64_t *)y->data = before;
    return 0;
}

/* ---- checkpoints ----------------------------------------------------------------- */

struct restore {
    const int *dtypes;
    int n;
};

int
rt_prep_restore(struct rt_prep *p)
{
    struct restore *s = p->node->state = rt_prep_alloc(p, sizeof(*s));
    s->dtypes = rt_attr_types(p, "dtypes", &s->n);
    if (s->n != p->node->n_out)
        rt_prep_fail(p, ERR_CORRUPT, "has %d dtypes for %d outputs", s->n,
                     p->node->n_out);
    return rt_prep_done(p);
}

static int
restore_one(struct rt_ctx *ctx, struct sm_bundle *b, int i, struct err *err)
{
    const struct restore *s = ctx->node->state;
    struct str name = ((const struct str *)ctx->in[1]->data)[i],
               spec = ((const struct str *)ctx->in[2]->data)[i];
    struct sm_tensor t = { 0 };
    if (sm_bundle_tensor(b, name, spec, true, &t, err) < 0)
        return err_ctx(err, "node '%s' (%s)", ctx->node->name, ctx->node->op);
    int got = t.dtype;
    rt_tensor_from_sm(&ctx->out[i], &t, RT_BUF_WEIGHT | (t.owned ? 0 : RT_BUF_MAPPED));
    if (spec.n == 0)
        ctx->out[i].buf->entry = sm_bundle_find(b, name);
    if (got != s->dtypes[i])
        return rt_fail(ctx, err, ERR_FAILED,
                       "tensor_name = %.*s; expected dtype %s does not "
                       "equal original dtype %s",
                       STR_ARG(name), rt_dtype_text(s->dtypes[i]), rt_dtype_text(got));
    return 0;
}

/* prefix (string), tensor_names, shape_and_slices (both strings [n]) → n tensors,
 * slices of the mapped shards. Only the model's own checkpoint may be read. */
int
rt_run_restore(struct rt_ctx *ctx, struct err *err)
{
    const struct restore *s = ctx->node->state;
    struct rt_session *se = ctx->session;
    if (ctx->in[0]->n_elems != 1 || ctx->in[1]->n_elems != s->n ||
        ctx->in[2]->n_elems != s->n)
        return rt_fail(ctx, err, ERR_FAILED, "needs one prefix and %d names and slices",
                       s->n);
    struct str prefix = *(const struct str *)ctx->in[0]->data;
    if (!str_is(prefix, buf_str(&se->checkpoint)))
        return rt_fail(ctx, err, ERR_UNSUPPORTED,
                       "refused: it reads checkpoint '%.*s', which "
                       "is not the model's own",
                       STR_ARG(prefix));
    struct sm_bundle *b;
    if (rt_session_bundle(se, &b, err) < 0)
        return err_ctx(err, "node '%s' (%s)", ctx->node->name, ctx->node->op);
    for (int i = 0; i < s->n; i++)
        if (restore_one(ctx, b, i, err) < 0)
            return -(int)err->code;
    return 0;
}

/* basename, shard, num_shards → "basename-00000-of-00001". */
int
rt_run_sharded_filename(struct rt_ctx *ctx, struct err *err)
{
    struct rt_tensor *y;
    char tail[64];
    for (int i = 0; i < 3; i++)
        if (ctx->in[i]->n_elems != 1)
            return rt_fail(ctx, err, ERR_FAILED, "input %d must be a scalar", i);
    struct str base = *(const struct str *)ctx->in[0]->data;
    int n = snprintf(tail, sizeof(tail), "-%05d-of-%05d",
                     *(const int32_t *)ctx->in[1]->data,
                     *(const int32_t *)ctx->in[2]->data);
    char *p = rt_str_alloc(ctx, base.n + (size_t)n, err);
    if (!p || rt_out(ctx, 0, SM_STRING, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    memcpy(p, base.p, base.n);
    memcpy(p + base.n, tail, (size_t)n);
    *(struct str *)y->data = (struct str){ p, base.n + (size_t)n };
    return 0;
}
