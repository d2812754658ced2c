/* SPDX-License-Identifier: Apache-2.0 */
/* SerializeTensor and ParseTensor: a TensorProto, 1 dtype, 2 shape (2 dim, 1 size), and
 * 4 the elements as they are in memory or 8 strings. FakeParam, DeviceIndex. */
#include "runtime/ops/string_int.h"
#include "runtime/rt_int.h"

enum { DTYPE = 1, SHAPE = 2, CONTENT = 4, STRINGS = 8 };

int
rt_run_serialize(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    struct buf out AUTO(buf_release) = BUF_INIT, shape AUTO(buf_release) = BUF_INIT;
    struct rt_tensor *y;
    if (k_is_obj(x->dtype))
        return rt_fail_dtype(ctx, err, x->dtype);
    for (int i = 0; i < x->rank; i++) {
        struct buf dim AUTO(buf_release) = BUF_INIT;
        if (x->dims[i] != 0)
            sm_pb_put_int(&dim, 1, (uint64_t)x->dims[i]);
        sm_pb_put_bytes(&shape, 2, (struct str){ buf_str(&dim), dim.len });
    }
    sm_pb_put_int(&out, DTYPE, (uint64_t)x->dtype);
    sm_pb_put_bytes(&out, SHAPE, (struct str){ buf_str(&shape), shape.len });
    if (x->dtype != SM_STRING && x->n_elems > 0)
        sm_pb_put_bytes(&out, CONTENT, (struct str){ x->data, rt_size(x) });
    for (int64_t i = 0; x->dtype == SM_STRING && i < x->n_elems; i++)
        sm_pb_put_bytes(&out, STRINGS, ((const struct str *)x->data)[i]);
    if (rt_out(ctx, 0, SM_STRING, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    return str_from_buf(ctx, &out, y->data, err);
}

int
rt_run_parse_tensor(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int want = *(const int *)ctx->node->state;
    struct err why = ERR_INIT;
    struct rt_tensor lent;
    char text[RT_SHAPE_TEXT_BYTES];
    if (x->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Expected `serialized` to be a scalar, got shape: %s",
                       rt_shape_text(x, text));
    if (rt_tensor_from_proto(&lent, &ctx->session->mem, *(const struct str *)x->data,
                             &why) < 0)
        return rt_fail(ctx, err, why.code == ERR_LIMIT ? ERR_LIMIT : ERR_FAILED,
                       "Could not parse `serialized` as TensorProto: %s", why.msg);
    int rc = lent.dtype == want
                 ? rt_tensor_deep_copy(&ctx->out[0], &ctx->session->mem, &lent, err)
                 : rt_fail(ctx, err, ERR_FAILED,
                           "Type mismatch between parsed tensor (%s) and dtype (%s)",
                           rt_dtype_text(lent.dtype), rt_dtype_text(want));
    rt_tensor_unref(&lent);
    return rc;
}

int
rt_prep_fake_param(struct rt_prep *p)
{
    int *dtype = p->node->state = rt_prep_alloc(p, sizeof(*dtype));
    *dtype = rt_attr_type(p, "dtype", RT_REQUIRED);
    return rt_prep_done(p);
}

/* Stands for a value that the branch which is not taken would give. */
int
rt_run_fake_param(struct rt_ctx *ctx, struct err *err)
{
    struct rt_tensor *y;
    return rt_out(ctx, 0, *(const int *)ctx->node->state, 1, (const int64_t[]){ 0 }, &y,
                  err);
}

/* Where the list of device types names ours; its length: nowhere. */
int
rt_prep_device_index(struct rt_prep *p)
{
    int *at = p->node->state = rt_prep_alloc(p, sizeof(*at)), n;
    const struct str *names = rt_attr_strs(p, "device_names", &n);
    while (*at < n && !str_is(names[*at], "CPU"))
        ++*at;
    return rt_prep_done(p);
}

int
rt_run_device_index(struct rt_ctx *ctx, struct err *err)
{
    struct rt_tensor *y;
    if (rt_out(ctx, 0, SM_INT32, 0, NULL, &y, err) < 0)
        return -(int)err->code;
    *(int32_t *)y->data = *(const int *)ctx->node->state;
    return 0;
}
