/* SPDX-License-Identifier: Apache-2.0 */
/* Makes primitives: layouts, attributes, implementations (2.x C API; what 3.x spells
 * otherwise is in the first section). */
#include "runtime/onednn_int.h"

#include <stdio.h>

/* ---- the part that differs between 2.x and 3.x ---- */

static dnnl_status_t
md_strided(md_t *md, int rank, const int64_t *dims, const int64_t *strides)
{
    dnnl_dims_t d = { 0 }, st = { 0 };
    for (int i = 0; i < rank; i++) {
        d[i] = dims[i];
        st[i] = strides[i];
    }
    return dnnl_memory_desc_init_by_strides(md, rank, d, dnnl_f32, st);
}

static dnnl_status_t
md_any(md_t *md, const md_t *like)
{
    return dnnl_memory_desc_init_by_tag(md, like->ndims, like->dims, dnnl_f32,
                                        dnnl_format_tag_any);
}

static dnnl_status_t
post_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float alpha, float beta)
{
    return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, beta);
}

static dnnl_status_t
pd_conv(dnnl_primitive_desc_t *pd, bool transposed, const md_t md[4], bool has_bias,
        const int64_t *stride, const int64_t *dilate, const int64_t *lo,
        const int64_t *hi, dnnl_primitive_attr_t attr, dnnl_engine_t engine)
{
    const md_t *bias = has_bias ? &md[2] : NULL;
    dnnl_convolution_desc_t d; /* dnnl_deconvolution_desc_t is the same type */
    dnnl_status_t s = transposed
                          ? dnnl_dilated_deconvolution_forward_desc_init(
                                &d, dnnl_forward_inference, dnnl_deconvolution_direct,
                                &md[0], &md[1], bias, &md[3], stride, dilate, lo, hi)
                          : dnnl_dilated_convolution_forward_desc_init(
                                &d, dnnl_forward_inference, dnnl_convolution_direct,
                                &md[0], &md[1], bias, &md[3], stride, dilate, lo, hi);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

static dnnl_status_t
pd_matmul(dnnl_primitive_desc_t *pd, const md_t md[4], bool has_bias,
          dnnl_primitive_attr_t attr, dnnl_engine_t engine)
{
    dnnl_matmul_desc_t d;
    dnnl_status_t s =
        dnnl_matmul_desc_init(&d, &md[0], &md[1], has_bias ? &md[2] : NULL, &md[3]);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
}

/* ---- making a primitive ---- */

static dnnl_status_t
make_attr(dnnl_primitive_attr_t *attr, const struct od_post *post, int n_post)
{
    static const dnnl_alg_kind_t algs[] = {
        [OD_RELU] = dnnl_eltwise_relu,
        [OD_CLIP] = dnnl_eltwise_clip,
        [OD_ELU] = dnnl_eltwise_elu,
        [OD_TANH] = dnnl_eltwise_tanh,
        [OD_SIGMOID] = dnnl_eltwise_logistic,
        [OD_SWISH] = dnnl_eltwise_swish,
        [OD_GELU_TANH] = dnnl_eltwise_gelu_tanh,
        [OD_GELU_ERF] = dnnl_eltwise_gelu_erf,
        [OD_HARDSWISH] = dnnl_eltwise_hardswish,
    };
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (!s)
        s = dnnl_post_ops_create(&ops);
    for (int i = 0; i < n_post && !s; i++)
        s = post[i].kind == OD_SUM
                ? dnnl_post_ops_append_sum(ops, 1.0f)
                : post_eltwise(ops, algs[post[i].kind], post[i].alpha, post[i].beta);
    if (!s)
        s = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return s;
}

/* Layouts of the caller's arrays, in oneDNN's order of dimensions. */
static dnnl_status_t
conv_user_mds(const struct od_conv *c, md_t md[N_ARGS])
{
    int ns = c->n_spatial;
    int64_t cin = c->in_c, cout = c->out_c, g = c->groups;
    for (int side = 0; side < 2; side++) {
        const int64_t *sp = side ? c->out : c->in;
        int64_t ch = side ? cout : cin, dims[5] = { c->batch, ch }, st[5];
        int64_t step = c->channels_first ? 1 : ch;
        for (int i = ns - 1; i >= 0; i--) {
            dims[2 + i] = sp[i];
            st[2 + i] = step;
            step *= sp[i];
        }
        st[1] = c->channels_first ? step : 1;
        st[0] = c->channels_first ? step * ch : step;
        dnnl_status_t s = md_strided(&md[side ? ARG_DST : ARG_SRC], 2 + ns, dims, st);
        if (s)
            return s;
    }
    /* weights: ([g,] o, i, kernel...) over an array [kernel..., i, (g) o] or,
     * transposed, [kernel..., o, (g) i]. */
    int64_t dims[6], st[6], last = c->transposed ? cin : cout;
    int64_t i_st = c->transposed ? 1 : last, o_st = c->transposed ? last : 1;
    int n = 0;
    if (g > 1) {
        dims[n] = g;
        st[n++] = last / g;
    }
    dims[n] = cout / g;
    st[n++] = o_st;
    dims[n] = cin / g;
    st[n++] = i_st;
    int64_t step = (c->transposed ? cout : cin) / g * last;
    for (int i = ns - 1; i >= 0; i--) {
        dims[n + i] = c->kernel[i];
        st[n + i] = step;
        step *= c->kernel[i];
    }
    dnnl_status_t s = md_strided(&md[ARG_WEIGHTS], n + ns, dims, st);
    if (!s && c->has_bias)
        s = md_strided(&md[ARG_BIAS], 1, &cout, (int64_t[]){ 1 });
    return s;
}

static dnnl_status_t
matmul_user_mds(const struct od_matmul *c, md_t md[N_ARGS])
{
    bool flat = c->batch == 1;
    int64_t a[3] = { c->a_stride[0] ? c->batch : 1, c->m, c->k };
    int64_t b[3] = { c->b_stride[0] ? c->batch : 1, c->k, c->n };
    int64_t y[3] = { c->batch, c->m, c->n }, ys[3] = { c->m * c->n, c->n, 1 };
    int64_t as[3] = { a[0] == 1 ? c->m * c->k : c->a_stride[0], c->a_stride[1],
                      c->a_stride[2] };
    int64_t bs[3] = { b[0] == 1 ? c->k * c->n : c->b_stride[0], c->b_stride[1],
                      c->b_stride[2] };
    int64_t bias[3] = { 1, 1, c->n }, bias_st[3] = { c->n, c->n, 1 };
    int rank = flat ? 2 : 3;
    dnnl_status_t s = md_strided(&md[ARG_SRC], rank, a + flat, as + flat);
    if (!s)
        s = md_strided(&md[ARG_WEIGHTS], rank, b + flat, bs + flat);
    if (!s)
        s = md_strided(&md[ARG_DST], rank, y + flat, ys + flat);
    if (!s && c->has_bias)
        s = md_strided(&md[ARG_BIAS], rank, bias + flat, bias_st + flat);
    return s;
}

static dnnl_status_t
conv_pd(const struct od *od, const struct od_conv *c, const md_t md[N_ARGS],
        dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd)
{
    dnnl_dims_t dilate = { 0 }, lo = { 0 }, hi = { 0 }, stride = { 0 };
    for (int i = 0; i < c->n_spatial; i++) {
        /* Of the forward convolution, whose output is our src when transposed. */
        int64_t big = c->transposed ? c->out[i] : c->in[i];
        int64_t small = c->transposed ? c->in[i] : c->out[i];
        int64_t span =
            (small - 1) * c->stride[i] + (c->kernel[i] - 1) * c->dilation[i] + 1;
        dilate[i] = c->dilation[i] - 1;
        stride[i] = c->stride[i];
        lo[i] = c->pad_lo[i];
        hi[i] = span - big - lo[i] > 0 ? span - big - lo[i] : 0;
    }
    return pd_conv(pd, c->transposed, md, c->has_bias, stride, dilate, lo, hi, attr,
                   od->engine);
}

/* dnnl_unimplemented when there is none, or none but the reference. */
static dnnl_status_t
try_pd(const struct od *od, const struct key *key, const md_t md[N_ARGS],
       dnnl_primitive_attr_t attr, dnnl_primitive_desc_t *pd)
{
    const char *info = "";
    *pd = NULL;
    dnnl_status_t s = key->op == OP_CONV
                          ? conv_pd(od, &key->conv, md, attr, pd)
                          : pd_matmul(pd, md, key->matmul.has_bias, attr, od->engine);
    if (s == dnnl_invalid_arguments)
        s = dnnl_unimplemented;
    if (s)
        return s;
    s = dnnl_primitive_desc_query(*pd, dnnl_query_impl_info_str, 0, (void *)&info);
    if (!s && strstr(info, "ref"))
        s = dnnl_unimplemented;
    if (s) {
        dnnl_primitive_desc_destroy(*pd);
        *pd = NULL;
    }
    return s;
}

static dnnl_status_t
make_reorder(const struct od *od, dnnl_primitive_t *out, const md_t *from,
             const md_t *to)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(&attr);
    if (!s)
        s = dnnl_reorder_primitive_desc_create(&pd, from, od->engine, to, od->engine,
                                               attr);
    if (!s)
        s = dnnl_primitive_create(out, pd);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s;
}

/* The primitive, its layouts and the reorders to them. */
static dnnl_status_t
finish_prim(const struct od *od, struct prim *p, dnnl_primitive_desc_t pd,
            bool has_bias)
{
    static const dnnl_query_t queries[N_ARGS] = { dnnl_query_src_md,
                                                  dnnl_query_weights_md,
                                                  dnnl_query_weights_md,
                                                  dnnl_query_dst_md };
    const char *info = "";
    dnnl_status_t s = dnnl_primitive_create(&p->prim, pd);
    if (!s)
        s = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&info);
    snprintf(p->kernel, sizeof p->kernel, "%s", info);
    for (int i = 0; i < N_ARGS && !s; i++) {
        if (i == ARG_BIAS && !has_bias)
            continue;
        p->md[i] = *dnnl_primitive_desc_query_md(pd, queries[i], i == ARG_BIAS);
        p->bytes[i] = dnnl_memory_desc_get_size(&p->md[i]);
        if (i == ARG_BIAS || dnnl_memory_desc_equal(&p->md[i], &p->user[i]))
            continue;
        s = make_reorder(od, &p->to_prim[i], &p->user[i], &p->md[i]);
        if (!s && i == ARG_DST)
            s = make_reorder(od, &p->dst_back, &p->md[i], &p->user[i]);
        p->n_reorders += i == ARG_SRC ? 1 : i == ARG_DST ? 1 + p->sum : 0;
    }
    const md_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = pad ? dnnl_memory_desc_get_size(pad) : 0;
    p->user_bytes = dnnl_memory_desc_get_size(&p->user[ARG_WEIGHTS]);
    p->usable = !s;
    return s;
}

dnnl_status_t
od_make_prim(struct od *od, struct prim *p)
{
    const struct key *k = &p->key;
    bool conv = k->op == OP_CONV;
    bool has_bias = conv ? k->conv.has_bias : k->matmul.has_bias;
    int n_post = conv ? k->conv.n_post : k->matmul.n_post;
    const struct od_post *post = conv ? k->conv.post : k->matmul.post;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    md_t ask[N_ARGS];

    for (int i = 0; i < n_post; i++)
        p->sum |= post[i].kind == OD_SUM;
    dnnl_status_t s =
        conv ? conv_user_mds(&k->conv, p->user) : matmul_user_mds(&k->matmul, p->user);
    if (!s)
        s = make_attr(&attr, post, n_post);
    memcpy(ask, p->user, sizeof ask);
    if (!s && (conv || k->matmul.weights_const))
        s = md_any(&ask[ARG_WEIGHTS], &p->user[ARG_WEIGHTS]);
    if (!s)
        s = try_pd(od, k, ask, attr, &pd);
    if (s == dnnl_unimplemented && conv) {
        s = md_any(&ask[ARG_SRC], &p->user[ARG_SRC]);
        if (!s)
            s = md_any(&ask[ARG_DST], &p->user[ARG_DST]);
        if (!s)
            s = try_pd(od, k, ask, attr, &pd);
    }
    if (!s)
        s = finish_prim(od, p, pd, has_bias);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return s == dnnl_unimplemented ? dnnl_success : s;
}
