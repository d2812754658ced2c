/* SPDX-License-Identifier: Apache-2.0 */
/* --input_exprs: a Python literal, or one of the NumPy calls of sm_expr_np.c, read by
 * hand: nothing is evaluated, and everything else is refused by name.
 *
 *   value  = literal | np "." constant | call ("." method)*
 *   call   = np "." name "(" [argument ("," argument)* [","]] ")"
 *          | np ".random.RandomState(" seed ")." draw "(" … ")"
 *   method = "astype(" dtype ")" | "reshape(" ints ")"
 *   name   = a function of the table, or a dtype: np.float32(1.5)
 *   np     = "np" | "numpy"
 * Arguments are values, dtypes (np.float32, 'float32', float) or None, by place or by
 * name. */
#include "savedmodel/sm_expr_int.h"

#include <inttypes.h>
#include <math.h>

#define NESTING_MAX 16

static int value(struct str text, int depth, struct sm_tensor *out, struct err *err);

static bool
take_numpy(struct str *s)
{
    return sm_src_take(s, "np.") || sm_src_take(s, "numpy.");
}

/* ---- dtypes ------------------------------------------------------------------------
 */

/* The names that dtype.def does not give away. */
static const struct {
    const char *name;
    int dtype;
} aliases[] = {
    { "bool_", SM_BOOL },        { "bool8", SM_BOOL },
    { "int_", SM_INT64 },        { "int", SM_INT64 },
    { "intp", SM_INT64 },        { "longlong", SM_INT64 },
    { "uint", SM_UINT64 },       { "byte", SM_INT8 },
    { "ubyte", SM_UINT8 },       { "short", SM_INT16 },
    { "ushort", SM_UINT16 },     { "intc", SM_INT32 },
    { "uintc", SM_UINT32 },      { "half", SM_HALF },
    { "single", SM_FLOAT },      { "float_", SM_DOUBLE },
    { "float", SM_DOUBLE },      { "double", SM_DOUBLE },
    { "csingle", SM_COMPLEX64 }, { "complex", SM_COMPLEX128 },
    { "str", SM_STRING },        { "complex_", SM_COMPLEX128 },
    { "bytes", SM_STRING },      { "str_", SM_STRING },
    { "bytes_", SM_STRING },     { "string_", SM_STRING },
    { "unicode_", SM_STRING },   { "object", SM_STRING },
    { "object_", SM_STRING },    { "O", SM_STRING },
    { "S", SM_STRING },          { "U", SM_STRING },
};

/* A name without "np."; SM_INVALID: none. */
static int
dtype_named(struct str name)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
        if (str_is(name, aliases[i].name))
            return aliases[i].dtype;
    }
    for (int d = 1; d < SM_DTYPE_END; d++) {
        const struct sm_dtype_info *info = sm_dtype_info(d);
        if (!info || !info->descr || strchr(info->tf_name, 'q'))
            continue;
        if (str_is(name, info->tf_name) || str_is(name, info->descr) ||
            str_is(name, info->descr + 1))
            return d;
    }
    return SM_INVALID;
}

bool
sm_is_integer(int dtype)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    return info && info->descr && (info->descr[1] == 'i' || info->descr[1] == 'u');
}

static int
dtype_of(struct str text, int *dtype, struct err *err)
{
    struct str s = text;
    if (s.n > 2 && (s.p[0] == '\'' || s.p[0] == '"') && s.p[s.n - 1] == s.p[0]) {
        s.p++;
        s.n -= 2;
    } else {
        (void)take_numpy(&s);
    }
    *dtype = dtype_named(s);
    if (*dtype == SM_INVALID)
        return err_set(err, ERR_INVALID, "'%.*s' is no dtype that is understood",
                       STR_ARG(text));
    return 0;
}

/* Integers (or bools) of one width into another, modulo 2^bits. */
static int
wrap(struct sm_tensor *t, int dtype, struct err *err)
{
    struct sm_tensor out;
    size_t from = sm_dtype_info(t->dtype)->size_bytes;
    size_t to = sm_dtype_info(dtype)->size_bytes;
    bool is_signed = sm_dtype_info(t->dtype)->descr[1] == 'i';
    int rc = sm_tensor_alloc(&out, dtype, t->rank, t->dims, err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < t->n_elems; i++) {
        const char *p = (const char *)t->data + (size_t)i * from;
        uint64_t v = is_signed && (p[from - 1] & 0x80) ? UINT64_MAX : 0;
        memcpy(&v, p, from);
        memcpy((char *)out.data + (size_t)i * to, &v, to);
    }
    sm_tensor_release(t);
    *t = out;
    return 0;
}

int
sm_expr_convert(struct sm_tensor *t, int dtype, bool wraps, struct err *err)
{
    bool was_whole = sm_is_integer(t->dtype) || t->dtype == SM_BOOL;
    int rc = 0;
    if (t->dtype == dtype)
        return 0;
    if (t->dtype == SM_STRING || dtype == SM_STRING)
        return err_set(err, ERR_INVALID,
                       "strings and numbers do not become each other");
    if (dtype == SM_BOOL || (sm_is_integer(dtype) && !was_whole)) {
        rc = sm_tensor_cast(t, SM_DOUBLE, "the value", err);
        double *v = t->data;
        for (int64_t i = 0; rc == 0 && i < t->n_elems; i++)
            v[i] = dtype == SM_BOOL ? v[i] != 0 : trunc(v[i]);
    } else if (wraps && sm_is_integer(dtype)) {
        return wrap(t, dtype, err);
    }
    return rc < 0 ? rc : sm_tensor_cast(t, dtype, "the value", err);
}

/* ---- arguments ---------------------------------------------------------------------
 */

bool
sm_arg_given(const struct sm_call *c, int i)
{
    return c->args[i].n > 0 && !str_is(c->args[i], "None");
}

int
sm_arg_value(struct sm_call *c, int i, struct sm_tensor *out)
{
    return value(c->args[i], c->depth + 1, out, c->err);
}

int
sm_arg_missing(struct sm_call *c, const char *what)
{
    return err_set(c->err, ERR_INVALID, "%s is missing", what);
}

int
sm_arg_dtype(struct sm_call *c, int i, int fallback, int *dtype)
{
    *dtype = fallback;
    return sm_arg_given(c, i) ? dtype_of(c->args[i], dtype, c->err) : 0;
}

/* One number of the dtype: SM_INT64 only from an integer. */
static int
arg_number(struct sm_call *c, int i, int dtype, void *v)
{
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    if (!sm_arg_given(c, i))
        return 0;
    int rc = sm_arg_value(c, i, &t);
    if (rc == 0 && (t.rank > 0 || t.dtype == SM_STRING ||
                    (dtype == SM_INT64 && !sm_is_integer(t.dtype))))
        rc = err_set(c->err, ERR_INVALID, "argument %d is no %s", i + 1,
                     dtype == SM_INT64 ? "integer" : "number");
    if (rc == 0)
        rc = sm_tensor_cast(&t, dtype, "the number", c->err);
    if (rc == 0)
        memcpy(v, t.data, 8);
    return rc;
}

int
sm_arg_double(struct sm_call *c, int i, double fallback, double *v)
{
    *v = fallback;
    return arg_number(c, i, SM_DOUBLE, v);
}

int
sm_arg_int(struct sm_call *c, int i, int64_t fallback, int64_t *v)
{
    *v = fallback;
    return arg_number(c, i, SM_INT64, v);
}

/* The values of a tensor of integers as a shape, -1 allowed. */
static int
shape_of(const struct sm_tensor *t, struct sm_shape *out, struct err *err)
{
    *out = (struct sm_shape){ .rank = 0 };
    if (t->rank > 1 || (t->dtype != SM_INT64 && t->n_elems > 0))
        return err_set(err, ERR_INVALID, "the shape is no integer and no tuple");
    if (t->n_elems > SM_MAX_RANK)
        return err_set(err, ERR_LIMIT, "more than %d dimensions", SM_MAX_RANK);
    for (int64_t k = 0; k < t->n_elems; k++)
        out->dims[out->rank++] = ((int64_t *)t->data)[k];
    return 0;
}

int
sm_arg_shape(struct sm_call *c, int i, struct sm_shape *out)
{
    struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
    int rc = sm_arg_value(c, i, &t);
    if (rc == 0)
        rc = shape_of(&t, out, c->err);
    for (int k = 0; rc == 0 && k < out->rank; k++) {
        if (out->dims[k] < 0)
            rc = err_set(c->err, ERR_INVALID, "a dimension of %" PRId64, out->dims[k]);
    }
    return rc;
}

int
sm_expr_alloc(struct sm_call *c, int dtype, const struct sm_shape *s,
              struct sm_tensor *out)
{
    int64_t n;
    int rc = sm_shape_count(s, &n, c->err);
    if (rc == 0 && n > SM_EXPR_ELEMENTS_MAX)
        rc = err_set(c->err, ERR_LIMIT, "%" PRId64 " elements (limit %" PRId64 ")", n,
                     SM_EXPR_ELEMENTS_MAX);
    return rc < 0 ? rc : sm_tensor_alloc(out, dtype, s->rank, s->dims, c->err);
}

/* ---- calls -------------------------------------------------------------------------
 */

/* "name=rest", but not "a==b" and not "'x=y'". */
static bool
take_keyword(struct str *s, struct str *name)
{
    struct str it = *s;
    *name = sm_src_word(&it);
    it = sm_src_trim(it);
    if (name->n == 0 || !sm_src_take(&it, "=") || (it.n > 0 && it.p[0] == '='))
        return false;
    *s = sm_src_trim(it);
    return true;
}

/* The place of a parameter among names, or how many there are (name NULL); -1: there
 * is none of that name. */
static int
param_place(const char *params, const struct str *name)
{
    int i = 0;
    for (; *params; i++) {
        size_t n = strcspn(params, " ");
        if (name && str_eq(*name, (struct str){ params, n }))
            return i;
        params += n + (params[n] == ' ');
    }
    return name ? -1 : i;
}

static int
arg_add(struct sm_call *c, const char *params, struct str text)
{
    struct str name;
    int i = c->n;
    if (params && take_keyword(&text, &name)) {
        i = param_place(params, &name);
        if (i < 0)
            return err_set(c->err, ERR_INVALID,
                           "argument '%.*s' is not understood (only %s)", STR_ARG(name),
                           params);
    } else {
        c->n++;
    }
    if (i >= (params ? param_place(params, NULL) : SM_EXPR_ARGS_MAX))
        return err_set(c->err, ERR_INVALID, "too many arguments");
    if (c->args[i].n > 0)
        return err_set(c->err, ERR_INVALID, "argument %d is given twice", i + 1);
    c->args[i] = text;
    return 0;
}

/* "( … )" from the front of *it. */
static int
take_args(struct sm_call *c, const char *params, struct str *it)
{
    struct str inner, text;
    if (!sm_src_take(it, "("))
        return err_set(c->err, ERR_INVALID, "'(' is missing");
    if (!sm_src_until(it, ")", &inner))
        return err_set(c->err, ERR_INVALID, "')' is missing");
    (void)sm_src_take(it, ")");
    int r, rc = 0;
    while (rc == 0 && (r = sm_src_item(&inner, &text)) != 0)
        rc = r < 0 ? err_set(c->err, ERR_INVALID, "an argument is empty")
                   : arg_add(c, params, text);
    return rc;
}

static int
call_one_of(const struct sm_np_function *table, struct sm_call *c, struct str name,
            struct str *it, struct sm_tensor *out)
{
    struct buf list AUTO(buf_release) = BUF_INIT;
    for (; table->name; table++) {
        if (str_is(name, table->name)) {
            c->name = table->name;
            int rc = take_args(c, table->params, it);
            if (rc == 0)
                rc = table->fn(c, out);
            return rc < 0 ? err_ctx(c->err, "%s", c->name) : 0;
        }
        buf_addf(&list, " %s", table->name);
    }
    return err_set(c->err, ERR_INVALID,
                   "'%.*s' is not one of the calls that are read (nothing is run):%s",
                   STR_ARG(name), buf_str(&list));
}

/* Behind "np.random." */
static int
random_call(struct str *it, int depth, struct sm_tensor *out, struct err *err)
{
    struct sm_call seed = { .name = "RandomState", .depth = depth, .err = err };
    struct sm_random random;
    int64_t s = -1;
    struct str name = sm_src_word(it);
    if (!str_is(name, "RandomState"))
        return err_set(err, ERR_INVALID,
                       "np.random.%.*s: of np.random only RandomState(SEED) is read, "
                       "whose numbers are the same each time: write "
                       "np.random.RandomState(0).rand(2, 3)",
                       STR_ARG(name));
    int rc = take_args(&seed, "seed", it);
    if (rc == 0 && !sm_arg_given(&seed, 0))
        rc = sm_arg_missing(&seed, "the seed");
    if (rc == 0)
        rc = sm_arg_int(&seed, 0, -1, &s);
    if (rc == 0 && (s < 0 || s > UINT32_MAX))
        rc = err_set(err, ERR_INVALID, "a seed lies between 0 and 2^32 - 1");
    if (rc == 0 && !sm_src_take(it, "."))
        rc = err_set(err, ERR_INVALID, "alone it is no array: .rand(2, 3) follows");
    if (rc < 0)
        return err_ctx(err, "RandomState");
    sm_random_seed(&random, (uint32_t)s);
    struct sm_call c = { .random = &random, .depth = depth, .err = err };
    name = sm_src_word(it);
    return call_one_of(sm_expr_draws, &c, name, it, out);
}

/* np.float32(value) */
static int
dtype_call(int dtype, struct str *it, int depth, struct sm_tensor *out, struct err *err)
{
    struct sm_call c = { .name = "a dtype", .depth = depth, .err = err };
    int rc = take_args(&c, "x", it);
    if (rc == 0 && !sm_arg_given(&c, 0))
        rc = sm_arg_missing(&c, "the value");
    if (rc == 0)
        rc = sm_arg_value(&c, 0, out);
    return rc < 0 ? rc : sm_expr_convert(out, dtype, false, err);
}

/* Behind "np." what is no call. */
static bool
constant(struct str name, double *v)
{
    bool is_inf = str_is(name, "inf") || str_is(name, "Inf");
    *v = is_inf               ? INFINITY
         : str_is(name, "pi") ? 3.14159265358979323846
         : str_is(name, "e")  ? 2.71828182845904523536
                              : (double)NAN;
    return isfinite(*v) || is_inf || str_is(name, "nan") || str_is(name, "NaN");
}

/* ---- methods -----------------------------------------------------------------------
 */

static int
reshape(struct sm_call *c, struct sm_tensor *t)
{
    struct sm_shape s = { .rank = 0 };
    struct sm_tensor list AUTO(sm_tensor_release) = { .data = NULL };
    int64_t known = 1, *hole = NULL;
    int rc = 0;
    if (c->n == 1) {
        rc = sm_arg_value(c, 0, &list);
        if (rc == 0)
            rc = shape_of(&list, &s, c->err);
    } else if (c->n > SM_MAX_RANK) {
        rc = err_set(c->err, ERR_LIMIT, "more than %d dimensions", SM_MAX_RANK);
    }
    for (int i = 0; rc == 0 && c->n != 1 && i < c->n; i++)
        rc = sm_arg_int(c, i, 0, &s.dims[s.rank++]);
    for (int i = 0; rc == 0 && i < s.rank; i++) {
        if (s.dims[i] == -1 && !hole)
            hole = &s.dims[i];
        else if (s.dims[i] < 0 || __builtin_mul_overflow(known, s.dims[i], &known))
            rc = err_set(c->err, ERR_INVALID, "a malformed shape");
    }
    if (rc == 0 && hole) {
        *hole = known ? t->n_elems / known : 0;
        known *= *hole;
    }
    if (rc == 0 && (c->n == 0 || known != t->n_elems || (hole && t->n_elems == 0)))
        rc = err_set(c->err, ERR_INVALID, "%" PRId64 " elements do not fit the shape",
                     t->n_elems);
    if (rc < 0)
        return err_ctx(c->err, "reshape");
    t->rank = s.rank;
    memcpy(t->dims, s.dims, sizeof(t->dims));
    return 0;
}

/* ".astype(…)", ".reshape(…)" until the end. */
static int
methods(struct str it, int depth, struct sm_tensor *t, struct err *err)
{
    int rc = 0;
    for (it = sm_src_trim(it); rc == 0 && it.n > 0; it = sm_src_trim(it)) {
        struct sm_call c = { .depth = depth, .err = err };
        struct str from = it, name = { "", 0 };
        int dtype = SM_INVALID;
        if (sm_src_take(&it, "."))
            name = sm_src_word(&it);
        if (str_is(name, "astype")) {
            rc = take_args(&c, "dtype", &it);
            if (rc == 0)
                rc = dtype_of(c.args[0], &dtype, err);
            if (rc == 0)
                rc = sm_expr_convert(t, dtype, true, err);
        } else if (str_is(name, "reshape")) {
            rc = take_args(&c, NULL, &it);
            if (rc == 0)
                rc = reshape(&c, t);
        } else {
            rc = err_set(err, ERR_INVALID,
                         "'%.*s' behind the call is not read (only .astype(…) and "
                         ".reshape(…) are; nothing is computed)",
                         STR_ARG(from));
        }
    }
    return rc;
}

static int
numpy_value(struct str it, int depth, struct sm_tensor *out, struct err *err)
{
    int rc;
    double v;
    if (sm_src_take(&it, "random.")) {
        rc = random_call(&it, depth, out, err);
    } else {
        struct sm_call c = { .depth = depth, .err = err };
        struct str name = sm_src_word(&it);
        int dtype = dtype_named(name);
        if (constant(name, &v)) {
            rc = sm_tensor_alloc(out, SM_DOUBLE, 0, NULL, err);
            if (rc == 0)
                memcpy(out->data, &v, sizeof(v));
        } else if (dtype != SM_INVALID && dtype != SM_STRING) {
            rc = dtype_call(dtype, &it, depth, out, err);
        } else {
            rc = call_one_of(sm_expr_functions, &c, name, &it, out);
        }
    }
    return rc < 0 ? rc : methods(it, depth, out, err);
}

static int
value(struct str text, int depth, struct sm_tensor *out, struct err *err)
{
    struct str it = sm_src_trim(text);
    *out = (struct sm_tensor){ .data = NULL };
    if (depth > NESTING_MAX)
        return err_set(err, ERR_LIMIT, "calls nested more than %d deep", NESTING_MAX);
    if (!take_numpy(&it)) {
        char *literal AUTO(free_ptr) = str_dup(it);
        return sm_literal_read(literal, out, err);
    }
    int rc = numpy_value(it, depth, out, err);
    if (rc < 0)
        sm_tensor_release(out);
    return rc;
}

int
sm_expr_read(const char *text, struct sm_tensor *out, struct err *err)
{
    return value(str_of(text), 0, out, err);
}
