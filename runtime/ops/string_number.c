/* SPDX-License-Identifier: Apache-2.0 */
/* StringToNumber, DecodeRaw, DecodePaddedRaw. */
#include "runtime/ops/string_int.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

/* ---- text to numbers ---- */

static struct str
trim(struct str s)
{
    for (; s.n > 0 && str_is_space(s.p[0]); s.p++, s.n--)
        ;
    for (; s.n > 0 && str_is_space(s.p[s.n - 1]); s.n--)
        ;
    return s;
}

static bool
to_int(struct str s, int64_t lo, int64_t hi, int64_t *out)
{
    bool neg = s.n > 0 && s.p[0] == '-';
    int64_t v = 0;
    if (neg) {
        s.p++;
        s.n--;
    }
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        int d = s.p[i] - '0';
        if (d < 0 || d > 9 || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_sub_overflow(v, d, &v)) /* negative: has the larger range */
            return false;
    }
    if (neg ? v < lo : v < -hi)
        return false;
    *out = neg ? v : -v;
    return true;
}

static bool
same_word(struct str s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

/* What may stand for a floating number: decimal digits with '.' and an exponent, a
 * hexadecimal integer, inf and nan in either case. */
static bool
is_real(struct str s)
{
    size_t i = 0, n_digits = 0;
    if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
        i++;
    struct str word = { s.p + i, s.n - i };
    if (same_word(word, "inf") || same_word(word, "nan"))
        return true;
    if (word.n > 2 && word.p[0] == '0' && (word.p[1] | 0x20) == 'x') {
        for (i = 2; i < word.n; i++)
            if (!isxdigit((unsigned char)word.p[i]))
                return false;
        return true;
    }
    for (; i < s.n && isdigit((unsigned char)s.p[i]); i++)
        n_digits++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && isdigit((unsigned char)s.p[i]); i++)
            n_digits++;
    if (n_digits == 0)
        return false;
    if (i < s.n && (s.p[i] | 0x20) == 'e') {
        i++;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
            i++;
        if (i == s.n)
            return false;
        for (; i < s.n && isdigit((unsigned char)s.p[i]); i++)
            ;
    }
    return i == s.n;
}

/* TensorFlow takes no longer text for a floating number; and blanks alone for a zero.
 */
enum { MAX_REAL_BYTES = 31 };

bool
str_to_number(struct str s, int dtype, void *out)
{
    struct str t = trim(s);
    if (dtype == SM_INT32 || dtype == SM_INT64) {
        int64_t v;
        bool wide = dtype == SM_INT64;
        if (!to_int(t, wide ? INT64_MIN : INT32_MIN, wide ? INT64_MAX : INT32_MAX, &v))
            return false;
        if (wide)
            *(int64_t *)out = v;
        else
            *(int32_t *)out = (int32_t)v;
        return true;
    }
    char text[MAX_REAL_BYTES + 1];
    if (s.n == 0 || s.n > MAX_REAL_BYTES || (t.n > 0 && !is_real(t)))
        return false;
    memcpy(text, t.p, t.n);
    text[t.n] = '\0';
    if (dtype == SM_FLOAT)
        *(float *)out = t.n > 0 ? strtof(text, NULL) : 0;
    else
        *(double *)out = t.n > 0 ? strtod(text, NULL) : 0;
    return true;
}

int
rt_prep_out_type_f32(struct rt_prep *p)
{
    int *type = p->node->state = rt_prep_alloc(p, sizeof(*type));
    *type = rt_attr_type(p, "out_type", SM_FLOAT);
    if (*type != SM_FLOAT && *type != SM_DOUBLE && *type != SM_INT32 &&
        *type != SM_INT64)
        rt_prep_fail(p, ERR_FAILED, "out_type %s is no float or int type",
                     rt_dtype_text(*type));
    return rt_prep_done(p);
}

int
rt_run_string_to_number(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    int type = *(const int *)ctx->node->state;
    struct rt_tensor *y;
    if (rt_out(ctx, 0, type, x->rank, x->dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++)
        if (!str_to_number(str_at(x, i), type,
                           (char *)y->data + (size_t)i * rt_dtype_size(type)))
            return rt_fail(ctx, err, ERR_FAILED,
                           "StringToNumberOp could not correctly convert string: %.*s",
                           STR_ARG(str_at(x, i)));
    return 0;
}

/* ---- bytes as numbers ---- */

struct raw {
    int type;
    bool little_endian;
};

int
rt_prep_decode_raw(struct rt_prep *p)
{
    struct raw *r = p->node->state = rt_prep_alloc(p, sizeof(*r));
    r->type = rt_attr_type(p, "out_type", RT_REQUIRED);
    r->little_endian = rt_attr_bool(p, "little_endian", true);
    if (r->type == SM_STRING || k_is_obj(r->type) || rt_dtype_size(r->type) == 0)
        rt_prep_fail(p, ERR_FAILED, "out_type %s is no type of numbers",
                     rt_dtype_text(r->type));
    return rt_prep_done(p);
}

/* Numbers of `bytes` bytes (a complex one is two) turned to this machine's order. */
static void
copy_raw(const struct raw *r, void *dst, const char *src, size_t n_bytes)
{
    size_t unit = rt_dtype_size(r->type);
    if (n_bytes > 0)
        memcpy(dst, src, n_bytes);
    if (r->type == SM_COMPLEX64 || r->type == SM_COMPLEX128)
        unit /= 2;
    if (r->little_endian || unit == 1)
        return;
    for (char *p = dst, *end = p + n_bytes; p < end; p += unit)
        for (size_t i = 0; i < unit / 2; i++) {
            char c = p[i];
            p[i] = p[unit - 1 - i];
            p[unit - 1 - i] = c;
        }
}

static void
fix_bools(struct rt_tensor *y)
{
    uint8_t *v = y->data;
    for (int64_t i = 0; y->dtype == SM_BOOL && i < y->n_elems; i++)
        v[i] = v[i] != 0;
}

/* y[..., k]: all strings of one length, k numbers each. */
int
rt_run_decode_raw(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct raw *r = ctx->node->state;
    size_t unit = rt_dtype_size(r->type), len = x->n_elems ? str_at(x, 0).n : 0;
    int64_t dims[SM_MAX_RANK];
    struct rt_tensor *y;
    if (x->rank == SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    for (int64_t i = 0; i < x->n_elems; i++)
        if (str_at(x, i).n != len)
            return rt_fail(ctx, err, ERR_FAILED,
                           "DecodeRaw requires input strings to all be the same size, "
                           "but element %lld has size %zu != %zu",
                           (long long)i, len, str_at(x, i).n);
    if (len % unit != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input to DecodeRaw has length %zu that is not a multiple of "
                       "%zu, the size of %s",
                       len, unit, rt_dtype_text(r->type));
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[i];
    dims[x->rank] = (int64_t)(len / unit);
    if (rt_out(ctx, 0, r->type, x->rank + 1, dims, &y, err) < 0)
        return -(int)err->code;
    for (int64_t i = 0; i < x->n_elems; i++)
        copy_raw(r, (char *)y->data + (size_t)i * len, str_at(x, i).p, len);
    fix_bools(y);
    return 0;
}

/* As DecodeRaw, each string cut or filled with zeros to fixed_length bytes. */
int
rt_run_decode_padded_raw(struct rt_ctx *ctx, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    const struct raw *r = ctx->node->state;
    int64_t dims[SM_MAX_RANK], fixed, unit = (int64_t)rt_dtype_size(r->type);
    char text[RT_SHAPE_TEXT_BYTES];
    struct rt_tensor *y;
    if (x->rank == SM_MAX_RANK)
        return rt_fail(ctx, err, ERR_UNSUPPORTED, "more than %d dimensions",
                       SM_MAX_RANK);
    if (ctx->in[1]->rank != 0)
        return rt_fail(ctx, err, ERR_FAILED, "k must be scalar, got shape %s",
                       rt_shape_text(ctx->in[1], text));
    fixed = k_int_at(ctx->in[1], 0);
    if (fixed <= 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "fixed_length (%lld) must be greater than zero.",
                       (long long)fixed);
    if (fixed % unit != 0)
        return rt_fail(ctx, err, ERR_FAILED,
                       "fixed_length (%lld) must be a multiple of the size of out_type "
                       "(%lld)",
                       (long long)fixed, (long long)unit);
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[i];
    dims[x->rank] = fixed / unit;
    if (rt_out(ctx, 0, r->type, x->rank + 1, dims, &y, err) < 0)
        return -(int)err->code;
    char *p = y->data;
    for (int64_t i = 0; i < x->n_elems; i++, p += fixed) {
        struct str s = str_at(x, i);
        size_t n = K_MIN(s.n, (size_t)fixed), whole = n / (size_t)unit * (size_t)unit;
        memset(p, 0, (size_t)fixed);
        copy_raw(r, p, s.p, whole);
        if (n > whole)
            memcpy(p + whole, s.p + whole, n - whole);
    }
    fix_bools(y);
    return 0;
}
