/* SPDX-License-Identifier: Apache-2.0 */
/* What is fed, checked and lent to a run; what is fetched, copied. */
#include "runtime/rt_backend_int.h"
#include "runtime/rt_half.h"

#include <stdlib.h>

/* ---- feed ------------------------------------------------------------------------ */

static int
bad_name(const struct bound *n, const char *name, struct err *err)
{
    struct buf keys AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < n->lent.n_inputs; i++)
        buf_addf(&keys, "%s'%s'", i ? ", " : "", n->lent.inputs[i].key);
    return err_set(err, ERR_INVALID,
                   "'%s' is no input of signature '%s'; its inputs are %s", name,
                   n->lent.key, keys.len ? buf_str(&keys) : "none");
}

/* npz files keep bfloat16 as float32 and quantised integers as plain ones. */
static bool
same_kind(int got, int want)
{
    const struct sm_dtype_info *a = sm_dtype_info(got), *b = sm_dtype_info(want);
    return got == want ||
           (a && b && a->descr && b->descr && strcmp(a->descr, b->descr) == 0) ||
           (got == SM_FLOAT && want == SM_BFLOAT16);
}

static int
check_feed(const struct bound *n, const struct backend_tensor *want,
           const struct sm_tensor *t, struct err *err)
{
    char got_text[RT_SHAPE_TEXT_BYTES], want_text[RT_SHAPE_TEXT_BYTES];
    const struct sm_shape *s = &want->shape;
    if (!same_kind(t->dtype, want->dtype))
        return err_set(err, ERR_INVALID, "input '%s' of signature '%s' is %s, not %s",
                       want->key, n->lent.key, rt_dtype_text(t->dtype),
                       rt_dtype_text(want->dtype));
    bool fits = s->unknown_rank || s->rank == t->rank;
    for (int i = 0; fits && !s->unknown_rank && i < s->rank; i++)
        fits = s->dims[i] < 0 || s->dims[i] == t->dims[i];
    if (fits)
        return 0;
    return err_set(err, ERR_INVALID,
                   "input '%s' of signature '%s' has shape %s, not %s", want->key,
                   n->lent.key, rt_dims_text(t->rank, t->dims, got_text),
                   rt_dims_text(s->rank, s->dims, want_text));
}

/* An argument made from what is fed: lent where it can be. */
static int
make_arg(struct rt_session *s, const struct sm_tensor *t, int dtype,
         struct rt_tensor *out, struct err *err)
{
    struct sm_tensor lent = *t;
    lent.owned = NULL;
    if (dtype == SM_BFLOAT16 && t->dtype == SM_FLOAT) {
        if (rt_tensor_make(out, &s->mem, dtype, t->rank, t->dims, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < t->n_elems; i++)
            ((uint16_t *)out->data)[i] = rt_f32_to_bf16(((const float *)t->data)[i]);
        return 0;
    }
    rt_tensor_from_sm(out, &lent, 0);
    out->dtype = dtype;
    if ((uintptr_t)out->data % (rt_dtype_size(dtype) < 8 ? rt_dtype_size(dtype) : 8) ==
        0)
        return 0;
    struct rt_tensor moved;
    int rc = rt_tensor_deep_copy(&moved, &s->mem, out, err);
    rt_tensor_unref(out);
    if (rc == 0)
        *out = moved;
    return rc;
}

static int
make_default(struct rt_session *s, const struct bound *n, int i, struct rt_tensor *out,
             struct err *err)
{
    if (rt_tensor_from_proto(out, &s->mem, n->default_value[i], err) < 0)
        return err_ctx(err, "default of input '%s'", n->lent.inputs[i].key);
    return 0;
}

int
rt_feed(struct backend *b, struct bound *n, const struct sm_tensor_list *in,
        struct rt_tensor *args, bool *given, struct err *err)
{
    struct buf lacking AUTO(buf_release) = BUF_INIT;
    int at = 0;
    for (int i = 0; i < in->n; i++) {
        bool known = false;
        for (int j = 0; j < n->lent.n_inputs; j++)
            known |= strcmp(n->lent.inputs[j].key, in->v[i].name) == 0;
        if (!known)
            return bad_name(n, in->v[i].name, err);
    }
    for (int j = 0; j < n->lent.n_inputs; j++) {
        const struct backend_tensor *want = &n->lent.inputs[j];
        const struct sm_tensor *t = sm_tensor_list_find(in, want->key);
        int rc = 0;
        given[j] = true;
        if (t) {
            rc = check_feed(n, want, t, err);
            if (rc == 0)
                rc = make_arg(&b->s, t, want->dtype, &args[at], err);
        } else if (n->default_value[j].p) {
            rc = make_default(&b->s, n, j, &args[at], err);
        } else if (n->node_default[j]) {
            given[j] = false;
        } else {
            buf_addf(&lacking, "%s'%s'", lacking.len ? ", " : "", want->key);
        }
        if (rc < 0)
            return rc;
        at += given[j] && (t || n->default_value[j].p);
    }
    if (lacking.len > 0)
        return err_set(err, ERR_INVALID, "signature '%s' also needs input %s",
                       n->lent.key, buf_str(&lacking));
    return 0;
}

/* ---- fetch ----------------------------------------------------------------------- */

/* A fetched TF1 reference is fetched as its value. */
static int
read_refs(struct rt_tensor *outs, int n_outs, struct err *err)
{
    static const struct rt_node fetch = { .name = "fetch", .op = "output" };
    for (int i = 0; i < n_outs; i++) {
        struct rt_tensor v;
        if (outs[i].dtype <= SM_REF)
            continue;
        if (rt_ref_read(&fetch, &outs[i], &v, err) < 0)
            return -(int)err->code;
        rt_tensor_unref(&outs[i]);
        outs[i] = v;
    }
    return 0;
}

int
rt_fetch(const struct bound *n, struct rt_tensor *outs, struct sm_tensor_list *out,
         struct err *err)
{
    if (read_refs(outs, n->lent.n_outputs, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < n->lent.n_outputs; i++) {
        struct sm_tensor t = { 0 };
        int dtype = outs[i].dtype;
        if (dtype == SM_RESOURCE || dtype == SM_VARIANT || dtype > SM_REF)
            return err_set(err, ERR_UNSUPPORTED,
                           "output '%s' is a %s, which has no value "
                           "outside the model",
                           n->lent.outputs[i].key, rt_dtype_text(dtype));
        if (rt_tensor_to_sm(&t, &outs[i], err) < 0)
            return err_ctx(err, "output '%s'", n->lent.outputs[i].key);
        sm_tensor_list_add(out, n->lent.outputs[i].key, &t);
    }
    return 0;
}
