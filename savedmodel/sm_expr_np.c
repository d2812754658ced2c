/* SPDX-License-Identifier: Apache-2.0 */
/* The NumPy calls of --input_exprs: the values are NumPy's bit for bit, so each one is
 * computed in NumPy's order and precision. */
#include "savedmodel/sm_expr_int.h"

#include <inttypes.h>
#include <math.h>

/* ---- filled ------------------------------------------------------------------------
 */

/* Shape of argument 0, every element as the one of *one (which is converted). */
static int
filled(struct sm_call *c, struct sm_tensor *one, int dtype, struct sm_tensor *out)
{
    struct sm_shape s;
    int64_t n;
    if (!sm_arg_given(c, 0))
        return sm_arg_missing(c, "the shape");
    int rc = sm_arg_shape(c, 0, &s);
    if (rc == 0 && one->rank > 0)
        rc = err_set(c->err, ERR_INVALID, "the fill value is no single one");
    if (rc == 0)
        rc = sm_expr_convert(one, dtype, false, c->err);
    if (rc == 0)
        rc = sm_shape_count(&s, &n, c->err);
    if (rc == 0 && dtype == SM_STRING && n > 0 &&
        sm_tensor_bytes(one) + sizeof(struct str) >
            (size_t)SM_FILL_MAX_BYTES / (size_t)n)
        rc = err_set(c->err, ERR_LIMIT, "%" PRId64 " strings are too many bytes", n);
    if (rc == 0)
        rc = sm_expr_alloc(c, dtype, &s, out);
    if (rc < 0)
        return rc;
    size_t unit =
        dtype == SM_STRING ? sizeof(struct str) : sm_dtype_info(dtype)->size_bytes;
    for (int64_t i = 0; i < n; i++)
        memcpy((char *)out->data + (size_t)i * unit, one->data, unit);
    if (dtype != SM_STRING)
        return 0;
    struct sm_tensor own; /* the elements still lie in *one */
    rc = sm_tensor_strings(&own, s.rank, s.dims, out->data, c->err);
    sm_tensor_release(out);
    *out = own;
    return rc;
}

static int
number_filled(struct sm_call *c, double v, struct sm_tensor *out)
{
    struct sm_tensor one AUTO(sm_tensor_release) = { .data = NULL };
    int dtype;
    int rc = sm_arg_dtype(c, 1, SM_DOUBLE, &dtype);
    if (rc == 0)
        rc = sm_tensor_alloc(&one, SM_DOUBLE, 0, NULL, c->err);
    if (rc < 0)
        return rc;
    memcpy(one.data, &v, sizeof(v));
    return filled(c, &one, dtype, out);
}

static int
fn_ones(struct sm_call *c, struct sm_tensor *out)
{
    return number_filled(c, 1, out);
}

static int
fn_zeros(struct sm_call *c, struct sm_tensor *out)
{
    return number_filled(c, 0, out);
}

static int
fn_full(struct sm_call *c, struct sm_tensor *out)
{
    struct sm_tensor one AUTO(sm_tensor_release) = { .data = NULL };
    int dtype;
    if (!sm_arg_given(c, 1))
        return sm_arg_missing(c, "the fill value");
    int rc = sm_arg_value(c, 1, &one);
    if (rc == 0)
        rc = sm_arg_dtype(c, 2, one.dtype, &dtype);
    return rc < 0 ? rc : filled(c, &one, dtype, out);
}

/* ---- arrays ------------------------------------------------------------------------
 */

static int
fn_array(struct sm_call *c, struct sm_tensor *out)
{
    int dtype;
    if (!sm_arg_given(c, 0))
        return sm_arg_missing(c, "the array");
    int rc = sm_arg_value(c, 0, out);
    if (rc == 0)
        rc = sm_arg_dtype(c, 1, out->dtype, &dtype);
    return rc < 0 ? rc : sm_expr_convert(out, dtype, false, c->err);
}

static int
fn_expand_dims(struct sm_call *c, struct sm_tensor *out)
{
    int64_t axis;
    if (!sm_arg_given(c, 0) || !sm_arg_given(c, 1))
        return sm_arg_missing(c, "the array or the axis");
    int rc = sm_arg_int(c, 1, 0, &axis);
    if (rc == 0)
        rc = sm_arg_value(c, 0, out);
    if (rc < 0)
        return rc;
    if (out->rank == SM_MAX_RANK)
        return err_set(c->err, ERR_LIMIT, "more than %d dimensions", SM_MAX_RANK);
    if (axis < -out->rank - 1 || axis > out->rank)
        return err_set(c->err, ERR_INVALID, "axis %" PRId64 " of an array of rank %d",
                       axis, out->rank);
    int at = (int)axis + (axis < 0 ? out->rank + 1 : 0);
    memmove(out->dims + at + 1, out->dims + at,
            (size_t)(out->rank - at) * sizeof(out->dims[0]));
    out->dims[at] = 1;
    out->rank++;
    return 0;
}

/* Ones on diagonal k. */
static int
diagonal(struct sm_call *c, int64_t rows, int64_t columns, int64_t k, int dtype,
         struct sm_tensor *out)
{
    struct sm_shape s = { .rank = 2, .dims = { rows, columns } };
    int rc = rows < 0 || columns < 0
                 ? err_set(c->err, ERR_INVALID, "fewer than no rows or columns")
                 : sm_expr_alloc(c, SM_DOUBLE, &s, out);
    for (int64_t i = 0; rc == 0 && i < rows; i++) {
        if (k >= -i && k < columns - i)
            ((double *)out->data)[i * columns + i + k] = 1;
    }
    return rc < 0 ? rc : sm_expr_convert(out, dtype, false, c->err);
}

static int
fn_eye(struct sm_call *c, struct sm_tensor *out)
{
    int64_t rows, columns = 0, k;
    int dtype;
    if (!sm_arg_given(c, 0))
        return sm_arg_missing(c, "the number of rows");
    int rc = sm_arg_int(c, 0, 0, &rows);
    if (rc == 0)
        rc = sm_arg_int(c, 1, rows, &columns);
    if (rc == 0)
        rc = sm_arg_int(c, 2, 0, &k);
    if (rc == 0)
        rc = sm_arg_dtype(c, 3, SM_DOUBLE, &dtype);
    return rc < 0 ? rc : diagonal(c, rows, columns, k, dtype, out);
}

static int
fn_identity(struct sm_call *c, struct sm_tensor *out)
{
    int64_t n;
    int dtype;
    if (!sm_arg_given(c, 0))
        return sm_arg_missing(c, "the number of rows");
    int rc = sm_arg_int(c, 0, 0, &n);
    if (rc == 0)
        rc = sm_arg_dtype(c, 1, SM_DOUBLE, &dtype);
    return rc < 0 ? rc : diagonal(c, n, n, 0, dtype, out);
}

/* ---- ranges ------------------------------------------------------------------------
 */

static int
row(struct sm_call *c, int dtype, double n, struct sm_tensor *out)
{
    if (n > (double)SM_EXPR_ELEMENTS_MAX)
        return err_set(c->err, ERR_LIMIT, "%g elements (limit %" PRId64 ")", n,
                       SM_EXPR_ELEMENTS_MAX);
    struct sm_shape s = { .rank = 1, .dims = { n > 0 ? (int64_t)n : 0 } };
    return sm_expr_alloc(c, dtype, &s, out);
}

/* What arange is given: as doubles, and as integers when all of them are. */
struct range {
    bool is_int;
    double start, stop, step;
    int64_t i[3];
};

static int
range_args(struct sm_call *c, struct range *r)
{
    double v[3] = { 0, 0, 1 };
    *r = (struct range){ .is_int = true, .i = { 0, 0, 1 } };
    for (int k = 0; k < 3; k++) {
        struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
        if (!sm_arg_given(c, k))
            continue;
        int rc = sm_arg_value(c, k, &t);
        if (rc < 0)
            return rc;
        if (t.rank > 0 || (t.dtype != SM_INT64 && t.dtype != SM_DOUBLE))
            return err_set(c->err, ERR_INVALID, "argument %d is no plain number",
                           k + 1);
        r->is_int &= t.dtype == SM_INT64;
        v[k] = t.dtype == SM_INT64 ? (double)*(int64_t *)t.data : *(double *)t.data;
        r->i[k] = t.dtype == SM_INT64 ? *(int64_t *)t.data : 0;
    }
    if (!sm_arg_given(c, 1)) { /* arange(stop) */
        v[1] = v[0];
        v[0] = 0;
        r->i[1] = r->i[0];
        r->i[0] = 0;
    }
    r->start = v[0];
    r->stop = v[1];
    r->step = v[2];
    if (r->step == 0 || !isfinite(v[0]) || !isfinite(v[1]) || !isfinite(v[2]))
        return err_set(c->err, ERR_INVALID, "a step of zero, or what is no number");
    return 0;
}

/* The first two elements in `dtype`; the others go on by their difference. */
static int
range_ends(struct sm_call *c, const struct range *r, int dtype, struct sm_tensor *ends)
{
    int64_t next;
    struct sm_shape two = { .rank = 1, .dims = { 2 } };
    int rc = sm_expr_alloc(c, r->is_int ? SM_INT64 : SM_DOUBLE, &two, ends);
    if (rc < 0)
        return rc;
    if (__builtin_add_overflow(r->i[0], r->i[2], &next))
        return err_set(c->err, ERR_LIMIT, "integers beyond 64 bits");
    if (r->is_int)
        memcpy(ends->data, (int64_t[]){ r->i[0], next }, 16);
    else
        memcpy(ends->data, (double[]){ r->start, r->start + r->step }, 16);
    return sm_expr_convert(ends, dtype, false, c->err);
}

static int
range_fill(struct sm_call *c, struct sm_tensor *ends, struct sm_tensor *out)
{
    bool is_float = out->dtype == SM_FLOAT;
    int rc = sm_tensor_cast(ends, out->dtype, "the range", c->err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < out->n_elems; i++) {
        if (is_float) {
            const float *e = ends->data;
            float delta = e[1] - e[0];
            ((float *)out->data)[i] = i < 2 ? e[i] : e[0] + (float)i * delta;
        } else if (out->dtype == SM_DOUBLE) {
            const double *e = ends->data;
            double delta = e[1] - e[0];
            ((double *)out->data)[i] = i < 2 ? e[i] : e[0] + (double)i * delta;
        } else {
            const uint64_t *e = ends->data;
            ((uint64_t *)out->data)[i] = e[0] + (uint64_t)i * (e[1] - e[0]);
        }
    }
    return 0;
}

static int
fn_arange(struct sm_call *c, struct sm_tensor *out)
{
    struct sm_tensor ends AUTO(sm_tensor_release) = { .data = NULL };
    struct range r;
    int dtype;
    if (!sm_arg_given(c, 0) && !sm_arg_given(c, 1))
        return sm_arg_missing(c, "where it stops");
    int rc = range_args(c, &r);
    if (rc == 0)
        rc = sm_arg_dtype(c, 3, r.is_int ? SM_INT64 : SM_DOUBLE, &dtype);
    if (rc == 0 && (dtype == SM_BOOL || dtype == SM_STRING))
        rc = err_set(c->err, ERR_INVALID, "no range of dtype %s", sm_dtype_name(dtype));
    if (rc < 0)
        return rc;
    double n = (r.stop - r.start) / r.step;
    n = n == 0 && r.stop != r.start ? !signbit(n) : ceil(n);
    if (n > 0) /* an empty one need not begin inside the dtype */
        rc = range_ends(c, &r, dtype, &ends);
    int work = sm_is_integer(dtype)                           ? SM_INT64
               : dtype == SM_DOUBLE || dtype == SM_COMPLEX128 ? SM_DOUBLE
                                                              : SM_FLOAT;
    if (ends.dtype == SM_COMPLEX64 || ends.dtype == SM_COMPLEX128) {
        sm_tensor_release(&ends); /* the real part alone */
        rc = range_ends(c, &r, work, &ends);
    }
    if (ends.dtype == SM_UINT64)
        ends.dtype = SM_INT64; /* modulo 2^64 it is the same */
    if (rc == 0)
        rc = row(c, work, n, out);
    if (rc == 0 && n > 0)
        rc = range_fill(c, &ends, out);
    return rc < 0 ? rc : sm_expr_convert(out, dtype, true, c->err);
}

static int
linspace_args(struct sm_call *c, double *start, double *stop, int64_t *n, int *dtype)
{
    struct str end = c->args[3];
    if (!sm_arg_given(c, 0) || !sm_arg_given(c, 1))
        return sm_arg_missing(c, "where it begins or ends");
    if (end.n > 0 && !str_is(end, "True") && !str_is(end, "False"))
        return err_set(c->err, ERR_INVALID, "endpoint is True or False");
    int rc = sm_arg_double(c, 0, 0, start);
    if (rc == 0)
        rc = sm_arg_double(c, 1, 0, stop);
    if (rc == 0)
        rc = sm_arg_int(c, 2, 50, n);
    if (rc == 0)
        rc = sm_arg_dtype(c, 4, SM_DOUBLE, dtype);
    if (rc == 0 && *n < 0)
        rc = err_set(c->err, ERR_INVALID, "%" PRId64 " samples", *n);
    return rc;
}

static int
fn_linspace(struct sm_call *c, struct sm_tensor *out)
{
    double start, stop;
    int64_t n;
    int dtype;
    bool has_end = !str_is(c->args[3], "False");
    int rc = linspace_args(c, &start, &stop, &n, &dtype);
    if (rc == 0)
        rc = row(c, SM_DOUBLE, (double)n, out);
    if (rc < 0)
        return rc;
    double div = (double)(has_end ? n - 1 : n), delta = stop - start;
    double step = delta / div, *v = out->data;
    for (int64_t i = 0; i < n; i++) {
        double at = (double)i;
        v[i] = div > 0 && step != 0 ? at * step
               : div > 0            ? at / div * delta
                                    : at * delta;
        v[i] += start;
    }
    if (has_end && n > 1)
        v[n - 1] = stop;
    for (int64_t i = 0; sm_is_integer(dtype) && i < n; i++)
        v[i] = floor(v[i]);
    return sm_expr_convert(out, dtype, true, c->err);
}

const struct sm_np_function sm_expr_functions[] = {
    { "ones", "shape dtype", fn_ones },
    { "zeros", "shape dtype", fn_zeros },
    { "full", "shape fill_value dtype", fn_full },
    { "array", "object dtype", fn_array },
    { "asarray", "a dtype", fn_array },
    { "expand_dims", "a axis", fn_expand_dims },
    { "arange", "start stop step dtype", fn_arange },
    { "linspace", "start stop num endpoint dtype", fn_linspace },
    { "eye", "N M k dtype", fn_eye },
    { "identity", "n dtype", fn_identity },
    { NULL, NULL, NULL },
};

/* ---- random draws ------------------------------------------------------------------
 */

/* The shape of `size`; without one a single number. */
static int
draw_shape(struct sm_call *c, int i, struct sm_shape *s)
{
    *s = (struct sm_shape){ .rank = 0 };
    return sm_arg_given(c, i) ? sm_arg_shape(c, i, s) : 0;
}

/* The lengths given one by one. */
static int
lengths_shape(struct sm_call *c, struct sm_shape *s)
{
    *s = (struct sm_shape){ .rank = 0 };
    if (c->n > SM_MAX_RANK)
        return err_set(c->err, ERR_LIMIT, "more than %d dimensions", SM_MAX_RANK);
    for (int i = 0; i < c->n; i++) {
        int rc = sm_arg_int(c, i, 0, &s->dims[s->rank]);
        if (rc == 0 && s->dims[s->rank++] < 0)
            rc = err_set(c->err, ERR_INVALID, "a negative dimension");
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int
draw(struct sm_call *c, const struct sm_shape *s, bool is_normal, double at,
     double scale, struct sm_tensor *out)
{
    int rc = sm_expr_alloc(c, SM_DOUBLE, s, out);
    for (int64_t i = 0; rc == 0 && i < out->n_elems; i++) {
        double x = is_normal ? sm_random_normal(c->random) : sm_random_unit(c->random);
        ((double *)out->data)[i] = at + scale * x;
    }
    return rc;
}

static int
fn_rand(struct sm_call *c, struct sm_tensor *out)
{
    struct sm_shape s;
    int rc = lengths_shape(c, &s);
    return rc < 0 ? rc : draw(c, &s, strcmp(c->name, "randn") == 0, 0, 1, out);
}

static int
fn_sample(struct sm_call *c, struct sm_tensor *out)
{
    struct sm_shape s;
    int rc = draw_shape(c, 0, &s);
    return rc < 0 ? rc
                  : draw(c, &s, strcmp(c->name, "standard_normal") == 0, 0, 1, out);
}

static int
fn_between(struct sm_call *c, struct sm_tensor *out)
{
    bool is_normal = strcmp(c->name, "normal") == 0;
    struct sm_shape s;
    double a, b;
    int rc = sm_arg_double(c, 0, 0, &a);
    if (rc == 0)
        rc = sm_arg_double(c, 1, 1, &b);
    if (rc == 0)
        rc = draw_shape(c, 2, &s);
    if (rc == 0 && ((is_normal && signbit(b)) || !isfinite(is_normal ? b : b - a)))
        rc = err_set(c->err, ERR_INVALID, "a scale below zero, or a range without end");
    return rc < 0 ? rc : draw(c, &s, is_normal, a, is_normal ? b : b - a, out);
}

static bool
has_range(int dtype, int64_t low, int64_t most)
{
    int bits = 8 * (int)sm_dtype_info(dtype)->size_bytes;
    if (dtype == SM_BOOL)
        return low >= 0 && most <= 1;
    if (sm_dtype_info(dtype)->descr[1] == 'u')
        return low >= 0 && (bits == 64 || most < (int64_t)1 << bits);
    return bits == 64 ||
           (low >= -((int64_t)1 << (bits - 1)) && most < (int64_t)1 << (bits - 1));
}

static int
fn_randint(struct sm_call *c, struct sm_tensor *out)
{
    struct sm_shape s;
    int64_t low, high;
    int dtype;
    if (!sm_arg_given(c, 0))
        return sm_arg_missing(c, "the bound");
    int rc = sm_arg_int(c, 0, 0, &low);
    if (rc == 0)
        rc = sm_arg_int(c, 1, 0, &high);
    if (rc == 0 && !sm_arg_given(c, 1)) {
        high = low;
        low = 0;
    }
    if (rc == 0)
        rc = draw_shape(c, 2, &s);
    if (rc == 0)
        rc = sm_arg_dtype(c, 3, SM_INT64, &dtype);
    if (rc < 0)
        return rc;
    if (low >= high || (!sm_is_integer(dtype) && dtype != SM_BOOL) ||
        !has_range(dtype, low, high - 1))
        return err_set(c->err, ERR_INVALID,
                       "no integers of that dtype from %" PRId64 " to below %" PRId64,
                       low, high);
    size_t unit = sm_dtype_info(dtype)->size_bytes;
    int bits = dtype == SM_BOOL ? 1 : 8 * (int)unit;
    uint64_t most = (uint64_t)high - 1 - (uint64_t)low;
    rc = sm_expr_alloc(c, dtype, &s, out);
    for (int64_t i = 0; rc == 0 && i < out->n_elems; i++) {
        uint64_t v = (uint64_t)low + sm_random_below(c->random, most, bits);
        memcpy((char *)out->data + (size_t)i * unit, &v, unit);
    }
    return rc;
}

const struct sm_np_function sm_expr_draws[] = {
    { "rand", NULL, fn_rand },
    { "randn", NULL, fn_rand },
    { "random", "size", fn_sample },
    { "random_sample", "size", fn_sample },
    { "standard_normal", "size", fn_sample },
    { "uniform", "low high size", fn_between },
    { "normal", "loc scale size", fn_between },
    { "randint", "low high size dtype", fn_randint },
    { NULL, NULL, NULL },
};
