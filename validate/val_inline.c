/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays written in golden.json itself. */
#include "validate/val_int.h"

#include "base/crypto.h"
#include "runtime/rt_half.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_DIGITS 15 /* an integer of so many digits is exact as a double */
#define TOKEN_BYTES 60  /* cJSON reads no longer numbers */
#define EXACT_INT_MAX 9007199254740992.0 /* 2^53 */

/* ---- JSON with numbers that a double cannot hold -------------------------------- */

static size_t
token_len(struct str text, size_t at)
{
    size_t n = 0;

    while (at + n < text.n && text.p[at + n] != '\0' &&
           strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
                  text.p[at + n]))
        n++;
    return n;
}

/* Moves *at behind the digits there; false: there are none. */
static bool
skip_digits(struct str t, size_t *at)
{
    size_t from = *at;

    while (*at < t.n && t.p[*at] >= '0' && t.p[*at] <= '9')
        ++*at;
    return *at > from;
}

/* -?digits(.digits)?([eE][+-]?digits)?; *is_int: the first part alone. */
static bool
is_number(struct str t, bool *is_int)
{
    size_t at = t.n > 0 && t.p[0] == '-';

    if (!skip_digits(t, &at))
        return false;
    *is_int = at == t.n;
    if (at < t.n && t.p[at] == '.' && (at++, !skip_digits(t, &at)))
        return false;
    if (at == t.n || (t.p[at] != 'e' && t.p[at] != 'E'))
        return at == t.n;
    at++;
    if (at < t.n && (t.p[at] == '+' || t.p[at] == '-'))
        at++;
    return skip_digits(t, &at) && at == t.n;
}

/* Whether cJSON would damage the token or does not know it. */
static bool
needs_text(struct str t)
{
    char text[TOKEN_BYTES + 1];
    bool is_int;

    if (str_is(t, "NaN") || str_is(t, "Infinity") || str_is(t, "-Infinity"))
        return true;
    if (!is_number(t, &is_int))
        return false;
    if (t.n > (is_int ? EXACT_DIGITS : TOKEN_BYTES))
        return true;
    memcpy(text, t.p, t.n);
    text[t.n] = '\0';
    return isinf(strtod(text, NULL));
}

/* The length of a string with its quotes; 0: it has no end or cannot be taken, and
 * *why says so (NULL: leave the message to the parser). */
static size_t
string_len(struct str text, size_t at, const char **why)
{
    *why = NULL;
    if (text.n - at > 6 && memcmp(text.p + at, "\"\\u0001", 7) == 0) {
        *why = "a string begins with \\u0001: write it as {\"b64\": …}";
        return 0;
    }
    for (size_t i = at + 1; i < text.n; i++) {
        if (text.p[i] == '"')
            return i - at + 1;
        if ((uint8_t)text.p[i] < 0x20) {
            *why = "a control character in a string: write it as \\u00XX";
            return 0;
        }
        i += text.p[i] == '\\';
    }
    return 0;
}

int
val_json_parse(cJSON **out, struct str text, const char *what, struct err *err)
{
    struct buf b AUTO(buf_release) = BUF_INIT;
    int r;

    *out = NULL;
    for (size_t i = 0, n; i < text.n; i += n) {
        const char *why = NULL;

        n = text.p[i] == '"' ? string_len(text, i, &why) : token_len(text, i);
        if (why)
            return err_set(err, ERR_INVALID, "%s: %s", what, why);
        if (text.p[i] != '"' && needs_text((struct str){ text.p + i, n }))
            buf_addf(&b, "\"\\u%04x%.*s\"", VAL_NUMBER_MARK, (int)n, text.p + i);
        else
            buf_add(&b, text.p + i, n = n ? n : 1);
    }
    r = buf_check(&b, what, err);
    return r < 0 ? r : json_parse(out, (struct str){ buf_str(&b), b.len }, what, err);
}

/* ---- JSON value to tensor ------------------------------------------------------- */

enum leaf { LEAF_NUMBER, LEAF_BOOL, LEAF_STRING, LEAF_NONE };
static const char *const leaf_names[] = { "numbers", "true and false", "strings" };

bool
val_inline_is_b64(const cJSON *j)
{
    return cJSON_IsObject(j) && j->child && !j->child->next &&
           strcmp(j->child->string, "b64") == 0 && cJSON_IsString(j->child);
}

static enum leaf
leaf_of(const cJSON *j)
{
    if (cJSON_IsNumber(j) ||
        (cJSON_IsString(j) && j->valuestring[0] == VAL_NUMBER_MARK))
        return LEAF_NUMBER;
    if (cJSON_IsBool(j))
        return LEAF_BOOL;
    return cJSON_IsString(j) || val_inline_is_b64(j) ? LEAF_STRING : LEAF_NONE;
}

struct reader {
    int rank;
    int64_t dims[SM_MAX_RANK];
    enum leaf leaf;
    int64_t n; /* leaves met so far */
    /* where they go */
    struct val_number *numbers;
    uint8_t *bools;
    struct buf bytes; /* of strings, each one ending at ends[i] */
    size_t *ends;
};

/* Whether the lists below j are as long and as deep as the first of each was. */
static int
check_shape(struct reader *rd, const cJSON *j, int depth, struct err *err)
{
    int64_t n = 0;

    if (depth == rd->rank) {
        enum leaf leaf = leaf_of(j);

        if (leaf == LEAF_NONE)
            return err_set(err, ERR_INVALID,
                           cJSON_IsArray(j)
                               ? "lists of unequal depth at value %" PRId64
                               : "value %" PRId64
                                 " is no number, bool, string or {\"b64\": …}",
                           rd->n);
        if (rd->leaf == LEAF_NONE)
            rd->leaf = leaf;
        if (leaf != rd->leaf)
            return err_set(err, ERR_INVALID, "mixes %s and %s (value %" PRId64 ")",
                           leaf_names[rd->leaf], leaf_names[leaf], rd->n);
        rd->n++;
        return 0;
    }
    if (!cJSON_IsArray(j))
        return err_set(err, ERR_INVALID, "lists of unequal depth at value %" PRId64,
                       rd->n);
    for (const cJSON *c = j->child; c; c = c->next, n++) {
        int r = check_shape(rd, c, depth + 1, err);

        if (r < 0)
            return r;
    }
    if (n != rd->dims[depth])
        return err_set(err, ERR_INVALID,
                       "lists of unequal length: %" PRId64
                       " values where the first has %" PRId64,
                       n, rd->dims[depth]);
    return 0;
}

static int
read_number(const cJSON *j, struct val_number *out, struct err *err)
{
    const char *text = cJSON_IsString(j) ? j->valuestring + 1 : NULL;
    const bool is_digits = text && text[strspn(text, "-0123456789")] == '\0';
    double v = text ? strtod(text, NULL) : j->valuedouble;

    if (is_digits) {
        errno = 0;
        *out = (struct val_number){ .kind = VAL_INT, .i = strtoll(text, NULL, 10) };
        if (errno == 0)
            return 0;
        errno = 0;
        *out = (struct val_number){ .kind = VAL_UINT, .u = strtoull(text, NULL, 10) };
        if (errno == 0 && text[0] != '-')
            return 0;
    }
    if (isinf(v) && text && !strchr(text, 'I'))
        return err_set(err, ERR_INVALID, "%.40s is beyond any number dtype", text);
    if (v == floor(v) && fabs(v) < EXACT_INT_MAX && !(v == 0 && signbit(v)))
        *out = (struct val_number){ .kind = VAL_INT, .i = (int64_t)v };
    else
        *out = (struct val_number){ .kind = VAL_REAL, .real = v };
    return 0;
}

static int
fill(struct reader *rd, const cJSON *j, int depth, struct err *err)
{
    int r = 0;

    if (depth < rd->rank) {
        for (const cJSON *c = j->child; c && r == 0; c = c->next)
            r = fill(rd, c, depth + 1, err);
        return r;
    }
    if (rd->leaf == LEAF_NUMBER)
        r = read_number(j, &rd->numbers[rd->n], err);
    else if (rd->leaf == LEAF_BOOL)
        rd->bools[rd->n] = cJSON_IsTrue(j) ? 1 : 0;
    else if (cJSON_IsString(j))
        buf_adds(&rd->bytes, j->valuestring);
    else
        r = base64_decode(&rd->bytes, str_of(j->child->valuestring), err);
    if (rd->ends)
        rd->ends[rd->n] = rd->bytes.len;
    rd->n++;
    return r;
}

/* Room for n leaves, known to be there one by one. */
static int
make_room(struct reader *rd, struct sm_tensor *out, struct err *err)
{
    if (rd->leaf == LEAF_STRING) {
        rd->ends = xcalloc((size_t)rd->n + 1, sizeof(*rd->ends));
        return 0;
    }
    if (rd->leaf == LEAF_BOOL) {
        int r = sm_tensor_alloc(out, SM_BOOL, rd->rank, rd->dims, err);

        rd->bools = out->data;
        return r;
    }
    *out =
        (struct sm_tensor){ .dtype = VAL_NUMBERS, .rank = rd->rank, .n_elems = rd->n };
    memcpy(out->dims, rd->dims, sizeof(out->dims));
    rd->numbers = xcalloc((size_t)rd->n + 1, sizeof(*rd->numbers));
    out->data = out->owned = rd->numbers;
    return 0;
}

static int
take_strings(struct reader *rd, struct sm_tensor *out, struct err *err)
{
    struct str *v AUTO(free_ptr) = xcalloc((size_t)rd->n + 1, sizeof(*v));
    int r = buf_check(&rd->bytes, "strings", err);

    if (r < 0)
        return r;
    for (int64_t i = 0; i < rd->n; i++) {
        size_t from = i > 0 ? rd->ends[i - 1] : 0;

        v[i] = (struct str){ buf_str(&rd->bytes) + from, rd->ends[i] - from };
    }
    return sm_tensor_strings(out, rd->rank, rd->dims, v, err);
}

int
val_inline(const cJSON *j, struct sm_tensor *out, struct err *err)
{
    struct reader rd = { .leaf = LEAF_NONE };
    const cJSON *first = j;
    int r = 0;

    *out = (struct sm_tensor){ .data = NULL };
    for (; first && cJSON_IsArray(first); first = first->child) {
        if (rd.rank == SM_MAX_RANK)
            return err_set(err, ERR_LIMIT, "more than %d dimensions", SM_MAX_RANK);
        rd.dims[rd.rank++] = cJSON_GetArraySize(first);
    }
    r = check_shape(&rd, j, 0, err);
    if (r < 0)
        return r;
    r = make_room(&rd, out, err);
    rd.n = 0;
    if (r == 0)
        r = fill(&rd, j, 0, err);
    if (r == 0 && rd.leaf == LEAF_STRING)
        r = take_strings(&rd, out, err);
    buf_release(&rd.bytes);
    free(rd.ends);
    if (r < 0)
        sm_tensor_release(out);
    return r;
}

/* ---- numbers to a dtype --------------------------------------------------------- */

static double
number_real(const struct val_number *v)
{
    return v->kind == VAL_REAL  ? v->real
           : v->kind == VAL_INT ? (double)v->i
                                : (double)v->u;
}

static void
number_text(const struct val_number *v, char out[32])
{
    if (v->kind == VAL_REAL)
        snprintf(out, 32, "%.17g", v->real);
    else if (v->kind == VAL_INT)
        snprintf(out, 32, "%" PRId64, v->i);
    else
        snprintf(out, 32, "%" PRIu64, v->u);
}

/* Stores one number; false: it does not fit. */
static bool
put_number(const struct val_number *v, int dtype, void *data, int64_t at)
{
    const double x = number_real(v);
    const bool is_i64 = v->kind == VAL_INT;
    const bool is_u64 = v->kind == VAL_UINT || (is_i64 && v->i >= 0);
    float f = (float)x;

#define INT(id, type, low, high)                                                       \
    case SM_##id:                                                                      \
        ((type *)data)[at] = (type)v->i;                                               \
        return is_i64 && v->i >= (low) && v->i <= (high);
    switch (dtype) {
        INT(INT8, int8_t, INT8_MIN, INT8_MAX)
        INT(INT16, int16_t, INT16_MIN, INT16_MAX)
        INT(INT32, int32_t, INT32_MIN, INT32_MAX)
        INT(INT64, int64_t, INT64_MIN, INT64_MAX)
        INT(UINT8, uint8_t, 0, UINT8_MAX)
        INT(UINT16, uint16_t, 0, UINT16_MAX)
        INT(UINT32, uint32_t, 0, UINT32_MAX)
        INT(QINT8, int8_t, INT8_MIN, INT8_MAX)
        INT(QINT16, int16_t, INT16_MIN, INT16_MAX)
        INT(QINT32, int32_t, INT32_MIN, INT32_MAX)
        INT(QUINT8, uint8_t, 0, UINT8_MAX)
        INT(QUINT16, uint16_t, 0, UINT16_MAX)
    case SM_UINT64:
        ((uint64_t *)data)[at] = v->u; /* the bits of i where it is not negative */
        return is_u64;
    case SM_DOUBLE:
        ((double *)data)[at] = x;
        return true;
    case SM_FLOAT:
        ((float *)data)[at] = f;
        break;
    case SM_HALF:
        ((uint16_t *)data)[at] = rt_f32_to_half(f);
        f = rt_half_to_f32(((uint16_t *)data)[at]);
        break;
    case SM_BFLOAT16:
        ((uint16_t *)data)[at] = rt_f32_to_bf16(f);
        f = rt_bf16_to_f32(((uint16_t *)data)[at]);
        break;
    default:
        return false;
    }
#undef INT
    return !isinf(f) || isinf(x);
}

int
val_inline_convert(const struct sm_tensor *numbers, int dtype, struct sm_tensor *out,
                   struct err *err)
{
    const struct val_number *v = numbers->data;
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    int r;

    if (dtype == SM_STRING && numbers->n_elems == 0)
        return sm_tensor_strings(out, numbers->rank, numbers->dims, NULL, err);
    if (!info || (dtype != SM_BOOL && !val_is_int(dtype) && !val_is_float(dtype)) ||
        (dtype == SM_BOOL && numbers->n_elems > 0))
        return err_set(err, ERR_INVALID, "inline numbers cannot be %s; use %s",
                       info ? info->tf_name : "of an unknown dtype",
                       dtype == SM_BOOL     ? "true and false"
                       : dtype == SM_STRING ? "strings or {\"b64\": …}"
                                            : "an .npz file");
    r = sm_tensor_alloc(out, dtype, numbers->rank, numbers->dims, err);
    for (int64_t i = 0; r == 0 && i < numbers->n_elems; i++)
        if (!put_number(&v[i], dtype, out->data, i)) {
            char text[32];

            number_text(&v[i], text);
            sm_tensor_release(out);
            r = err_set(err, ERR_INVALID, "value %" PRId64 ", %s, is no %s", i, text,
                        info->tf_name);
        }
    return r;
}

/* ---- written -------------------------------------------------------------------- */

static void
add_float(struct buf *out, double v, int digits)
{
    const size_t at = out->len;

    if (isnan(v))
        buf_adds(out, "NaN");
    else if (isinf(v))
        buf_adds(out, v < 0 ? "-Infinity" : "Infinity");
    else
        buf_addf(out, "%.*g", digits, v);
    if (v == 0 && signbit(v) && out->len == at + 2)
        buf_adds(out, ".0"); /* "-0" would be an integer, which has no sign */
}

static int
add_element(struct buf *out, const struct sm_tensor *t, int64_t i, struct err *err)
{
    switch (val_family_of(t->dtype)) {
    case VAL_F_STRING:
        buf_adds(out, "{\"b64\":\"");
        base64_add(out, sm_tensor_str(t)[i].p, sm_tensor_str(t)[i].n);
        buf_adds(out, "\"}");
        return 0;
    case VAL_F_BOOL:
        buf_adds(out, val_int_at(t, i) ? "true" : "false");
        return 0;
    case VAL_F_INT:
        if (val_is_huge(t, i))
            buf_addf(out, "%" PRIu64, (uint64_t)val_int_at(t, i));
        else
            buf_addf(out, "%" PRId64, val_int_at(t, i));
        return 0;
    case VAL_F_FLOAT:
        add_float(out, val_real_at(t, i), t->dtype == SM_DOUBLE ? 17 : 9);
        return 0;
    default:
        return err_set(err, ERR_UNSUPPORTED, "%s has no form in JSON",
                       sm_dtype_name(t->dtype));
    }
}

/* Element *i and those behind it, as nested lists. */
static int
add_lists(struct buf *out, const struct sm_tensor *t, int axis, int64_t *i,
          struct err *err)
{
    int r = 0;

    if (axis == t->rank)
        return add_element(out, t, (*i)++, err);
    buf_addc(out, '[');
    for (int64_t k = 0; k < t->dims[axis] && r == 0; k++) {
        buf_adds(out, k ? "," : "");
        r = add_lists(out, t, axis + 1, i, err);
    }
    buf_addc(out, ']');
    return r;
}

int
val_inline_add(struct buf *out, const struct sm_tensor *t, struct err *err)
{
    int64_t i = 0;

    return add_lists(out, t, 0, &i, err);
}
