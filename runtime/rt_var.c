/* SPDX-License-Identifier: Apache-2.0 */
/* Variables: resources of TF2, references of TF1. A value is a tensor that is replaced,
 * or written in place when nobody else holds it; so who has read it keeps what he read.
 */
#include "runtime/rt_half.h"
#include "runtime/rt_int.h"

#include <complex.h>
#include <stdlib.h>

static void
var_free(struct rt_obj *o)
{
    struct rt_var *v = (struct rt_var *)o;
    rt_tensor_unref(&v->value);
    pthread_mutex_destroy(&v->lock);
    free(v->name);
    free(v);
}

/* Replaces the value by a copy that is no weight (nobody may cache what is made of it).
 */
static int
own_value(struct rt_var *v, struct err *err)
{
    struct rt_tensor copy;
    if (!v->value.buf)
        return 0;
    if (rt_tensor_deep_copy(&copy, &v->session->mem, &v->value, err) < 0)
        return err_ctx(err, "variable '%s'", v->name);
    rt_tensor_unref(&v->value);
    v->value = copy;
    return 0;
}

int
rt_var_share(struct rt_var *v, struct err *err)
{
    pthread_mutex_lock(&v->lock);
    int rc = v->shared_place ? 0 : own_value(v, err);
    v->shared_place = true;
    rt_var_written(v);
    pthread_mutex_unlock(&v->lock);
    return rc;
}

static void *
var_save(struct rt_obj *o)
{
    struct rt_var *v = (struct rt_var *)o;
    struct rt_tensor *t = xcalloc(1, sizeof(*t));
    if (v->value.buf)
        rt_tensor_ref(t, &v->value);
    return t;
}

static void
var_load(struct rt_obj *o, const void *saved)
{
    struct rt_var *v = (struct rt_var *)o;
    const struct rt_tensor *t = saved;
    struct err none = ERR_INIT;
    rt_tensor_unref(&v->value);
    if (t && t->buf)
        rt_tensor_ref(&v->value, t);
    if (v->shared_place && own_value(v, &none) < 0)
        rt_tensor_unref(&v->value); /* no memory for the copy: no value */
}

static void
var_drop(void *saved)
{
    rt_tensor_unref(saved);
    free(saved);
}

const struct rt_state_type rt_var_type = {
    { "variable", var_free }, var_save, var_load, var_drop
};

struct var_args {
    struct rt_session *s;
    const char *name;
    int dtype;
};

static struct rt_obj *
var_make(void *arg)
{
    const struct var_args *a = arg;
    struct rt_var *v = xcalloc(1, sizeof(*v));
    rt_obj_init(&v->obj, &rt_var_type.obj);
    pthread_mutex_init(&v->lock, NULL);
    v->name = xstrdup(a->name);
    v->dtype = a->dtype;
    v->session = a->s;
    return &v->obj;
}

struct rt_var *
rt_var_find(struct rt_session *s, const char *container, const char *name, int dtype)
{
    struct var_args a = { s, name, dtype };
    return (struct rt_var *)rt_session_state(s, "variable", container, name, var_make,
                                             &a);
}

int
rt_var_read(struct rt_var *v, const struct rt_node *n, struct rt_tensor *out,
            struct err *err)
{
    pthread_mutex_lock(&v->lock);
    bool has = v->value.buf != NULL;
    if (has)
        rt_tensor_ref(out, &v->value);
    pthread_mutex_unlock(&v->lock);
    if (has)
        return 0;
    return err_set(err, ERR_FAILED,
                   "node '%s' (%s): attempting to use uninitialized value '%s': %s",
                   n->name, n->op, v->name,
                   v->session->lacks_checkpoint
                       ? "the model has a restore op, but there is no "
                         "variables/variables.index"
                       : "no restore or init op of the model gave it one");
}

bool
rt_var_freeze(struct rt_var *v, struct rt_tensor *out)
{
    pthread_mutex_lock(&v->lock);
    bool can = !v->written && !v->shared_place && !v->session->loading && v->value.buf;
    if (can) {
        rt_tensor_ref(out, &v->value);
        v->frozen = true;
    }
    pthread_mutex_unlock(&v->lock);
    return can;
}

void
rt_var_written(struct rt_var *v)
{
    if (v->session->loading)
        return;
    v->written = true;
    if (v->frozen)
        __atomic_add_fetch(&v->session->epoch, 1, __ATOMIC_RELEASE);
    v->frozen = false;
}

int
rt_keep_tensor(struct rt_session *s, struct rt_tensor *out, const struct rt_tensor *t,
               struct err *err)
{
    /* Strings may lie in the run's arena; a buffer without a block of its own that is
     * no weight is lent by whoever feeds. */
    bool lent = !t->buf->mem && !(t->buf->flags & RT_BUF_WEIGHT);
    if (t->dtype == SM_STRING || lent)
        return rt_tensor_deep_copy(out, &s->mem, t, err);
    rt_tensor_ref(out, t);
    return 0;
}

/* In place where the value has as many elements, whatever their shape. */
static bool
assign_in_place(struct rt_var *v, const struct rt_tensor *t)
{
    pthread_mutex_lock(&v->lock);
    rt_var_written(v);
    struct rt_tensor *own = &v->value;
    bool fits = v->shared_place && own->buf && own->n_elems == t->n_elems &&
                rt_update(RT_SET, t->dtype, own->data, t->data, t->n_elems, 1);
    if (fits) {
        own->rank = t->rank;
        memcpy(own->dims, t->dims, sizeof(own->dims));
    }
    pthread_mutex_unlock(&v->lock);
    return fits;
}

int
rt_var_assign(struct rt_var *v, const struct rt_tensor *t, struct err *err)
{
    struct rt_tensor kept, old;
    if (assign_in_place(v, t))
        return 0;
    int rc = v->shared_place ? rt_tensor_deep_copy(&kept, &v->session->mem, t, err)
                             : rt_keep_tensor(v->session, &kept, t, err);
    if (rc < 0)
        return err_ctx(err, "variable '%s'", v->name);
    if (!v->shared_place)
        __atomic_or_fetch(&kept.buf->flags, RT_BUF_WEIGHT, __ATOMIC_RELAXED);
    pthread_mutex_lock(&v->lock);
    old = v->value;
    v->value = kept;
    pthread_mutex_unlock(&v->lock);
    rt_tensor_unref(&old);
    return 0;
}

int
rt_var_edit(struct rt_ctx *ctx, struct rt_var *v, rt_var_fn *fn, void *arg,
            struct err *err)
{
    int rc = 0;
    pthread_mutex_lock(&v->lock);
    rt_var_written(v);
    if (!v->value.buf) {
        rc = rt_fail(ctx, err, ERR_FAILED, "attempting to use uninitialized value '%s'",
                     v->name);
    } else if (!v->shared_place && !rt_buf_writable(v->value.buf)) {
        struct rt_tensor copy;
        rc = rt_tensor_deep_copy(&copy, &v->session->mem, &v->value, err);
        if (rc == 0) {
            rt_tensor_unref(&v->value);
            copy.buf->flags |= RT_BUF_WEIGHT;
            v->value = copy;
        }
    }
    if (rc == 0)
        rc = fn(ctx, &v->value, arg, err);
    pthread_mutex_unlock(&v->lock);
    return rc;
}

int
rt_ref_read(const struct rt_node *n, const struct rt_tensor *ref, struct rt_tensor *out,
            struct err *err)
{
    struct rt_obj *o = *(struct rt_obj *const *)ref->data;
    if (!o || o->type != &rt_var_type.obj)
        return err_set(err, ERR_FAILED, "node '%s' (%s): its input is no variable",
                       n->name, n->op);
    return rt_var_read((struct rt_var *)o, n, out, err);
}

/* ---- arithmetic in place --------------------------------------------------------- */

#define UPDATE_LOOP(type, expr)                                                        \
    for (int64_t i = 0; i < n; i++) {                                                  \
        type a = ((type *)dst)[i], b = ((const type *)src)[i * src_step];              \
        ((type *)dst)[i] = (type)(expr);                                               \
    }                                                                                  \
    break
/* Integers wrap around: `u` is the unsigned type that does. */
#define UPDATE_NUM(type, u, quotient)                                                  \
    switch (op) {                                                                      \
    case RT_ADD:                                                                       \
        UPDATE_LOOP(type, (u)a + (u)b);                                                \
    case RT_SUB:                                                                       \
        UPDATE_LOOP(type, (u)a - (u)b);                                                \
    case RT_MUL:                                                                       \
        UPDATE_LOOP(type, (u)a *(u)b);                                                 \
    case RT_DIV:                                                                       \
        UPDATE_LOOP(type, quotient);                                                   \
    case RT_MIN:                                                                       \
        UPDATE_LOOP(type, b < a ? b : a);                                              \
    case RT_MAX:                                                                       \
        UPDATE_LOOP(type, b > a ? b : a);                                              \
    case RT_SET:                                                                       \
        break;                                                                         \
    }                                                                                  \
    return true
/* Integers divided by 0: who calls refuses them (rt_update_divides). */
#define UPDATE_SIGNED(type)                                                            \
    UPDATE_NUM(type, uint64_t, b == -1 ? 0 - (uint64_t)a : (uint64_t)(a / (b ? b : 1)))
#define UPDATE_UNSIGNED(type) UPDATE_NUM(type, uint64_t, a / (b ? b : 1))
#define UPDATE_FLOAT(type) UPDATE_NUM(type, type, a / b)

static float
update_f32(enum rt_update op, float a, float b)
{
    switch (op) {
    case RT_ADD:
        return a + b;
    case RT_SUB:
        return a - b;
    case RT_MUL:
        return a * b;
    case RT_DIV:
        return a / b;
    case RT_MIN:
        return b < a ? b : a;
    case RT_MAX:
        return b > a ? b : a;
    default:
        return b;
    }
}

static bool
update_16(enum rt_update op, bool half, uint16_t *dst, const uint16_t *src, int64_t n,
          int src_step)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t s = src[i * src_step];
        if (half)
            dst[i] = rt_f32_to_half(
                update_f32(op, rt_half_to_f32(dst[i]), rt_half_to_f32(s)));
        else
            dst[i] = rt_f32_to_bf16(
                update_f32(op, rt_bf16_to_f32(dst[i]), rt_bf16_to_f32(s)));
    }
    return true;
}

static bool
update_complex(enum rt_update op, double complex (*get)(const void *, int64_t),
               void (*put)(void *, int64_t, double complex), void *dst, const void *src,
               int64_t n, int src_step)
{
    for (int64_t i = 0; i < n; i++) {
        double complex a = get(dst, i), b = get(src, i * src_step);
        switch (op) {
        case RT_ADD:
            b = a + b;
            break;
        case RT_SUB:
            b = a - b;
            break;
        case RT_MUL:
            b = a * b;
            break;
        case RT_DIV:
            b = a / b;
            break;
        case RT_SET:
            break;
        default:
            return false;
        }
        put(dst, i, b);
    }
    return true;
}

static double complex
get_c64(const void *p, int64_t i)
{
    return ((const float complex *)p)[i];
}

static void
put_c64(void *p, int64_t i, double complex v)
{
    ((float complex *)p)[i] = (float complex)v;
}

static double complex
get_c128(const void *p, int64_t i)
{
    return ((const double complex *)p)[i];
}

static void
put_c128(void *p, int64_t i, double complex v)
{
    ((double complex *)p)[i] = v;
}

bool
rt_update_divides(int dtype, const void *src, int64_t n)
{
    size_t size = rt_dtype_size(dtype);
    if (dtype == SM_FLOAT || dtype == SM_DOUBLE || dtype == SM_HALF ||
        dtype == SM_BFLOAT16 || dtype == SM_COMPLEX64 || dtype == SM_COMPLEX128)
        return true;
    for (int64_t i = 0; i < n; i++) {
        uint64_t v = 0;
        memcpy(&v, (const char *)src + (size_t)i * size, size < 8 ? size : 8);
        if (v == 0)
            return false;
    }
    return true;
}

static bool
copy_elements(int dtype, void *dst, const void *src, int64_t n, int src_step)
{
    size_t size = rt_dtype_size(dtype);
    if (size == 0 || dtype == SM_STRING || dtype == SM_RESOURCE || dtype == SM_VARIANT)
        return false;
    if (src_step == 1) {
        memmove(dst, src, (size_t)n * size);
        return true;
    }
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)dst + (size_t)i * size,
               (const char *)src + (size_t)(i * src_step) * size, size);
    return true;
}

bool
rt_update(enum rt_update op, int dtype, void *dst, const void *src, int64_t n,
          int src_step)
{
    if (op == RT_SET)
        return copy_elements(dtype, dst, src, n, src_step);
    switch (dtype) {
    case SM_FLOAT:
        UPDATE_FLOAT(float);
    case SM_DOUBLE:
        UPDATE_FLOAT(double);
    case SM_INT8:
        UPDATE_SIGNED(int8_t);
    case SM_INT16:
        UPDATE_SIGNED(int16_t);
    case SM_INT32:
        UPDATE_SIGNED(int32_t);
    case SM_INT64:
        UPDATE_SIGNED(int64_t);
    case SM_UINT8:
        UPDATE_UNSIGNED(uint8_t);
    case SM_UINT16:
        UPDATE_UNSIGNED(uint16_t);
    case SM_UINT32:
        UPDATE_UNSIGNED(uint32_t);
    case SM_UINT64:
        UPDATE_UNSIGNED(uint64_t);
    case SM_HALF:
    case SM_BFLOAT16:
        return update_16(op, dtype == SM_HALF, dst, src, n, src_step);
    case SM_COMPLEX64:
        return update_complex(op, get_c64, put_c64, dst, src, n, src_step);
    case SM_COMPLEX128:
        return update_complex(op, get_c128, put_c128, dst, src, n, src_step);
    default:
        return false;
    }
}
