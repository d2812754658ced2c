/* SPDX-License-Identifier: Apache-2.0 */
/* .npy: one NumPy array.
 *
 *   "\x93NUMPY", major, minor, header length (2 bytes little-endian for version 1,
 *   4 for 2 and 3), header, elements.
 *   header = Python dict: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }
 *            padded with blanks and a newline so that the elements begin at a
 *            multiple of 64
 *   descr  = byte order (< > | =), kind (b i u f c S U), element size in bytes
 *            (U: in characters of 4 bytes)
 * Read only as data: an object array ('O') is a pickle, that is a program, and is
 * refused. */
#include "savedmodel/sm_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_MAX_BYTES 65536
#define ALIGN_BYTES 64

struct npy {
    char order; /* < > | */
    char kind;
    int64_t width; /* the number of descr */
    bool is_fortran;
    struct sm_shape shape;
    struct str body;
};

/* ---- header ------------------------------------------------------------------------
 */

static void
skip_blanks(struct str *it)
{
    while (it->n > 0 && strchr(" \t\r\n", it->p[0]) && it->p[0]) {
        it->p++;
        it->n--;
    }
}

static bool
take_char(struct str *it, char c)
{
    skip_blanks(it);
    if (it->n == 0 || it->p[0] != c)
        return false;
    it->p++;
    it->n--;
    return true;
}

static bool
take_word(struct str *it, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(it);
    if (it->n < n || memcmp(it->p, word, n) != 0)
        return false;
    it->p += n;
    it->n -= n;
    return true;
}

/* 'text' or "text" without escapes. */
static bool
take_quoted(struct str *it, struct str *out)
{
    skip_blanks(it);
    if (it->n < 2 || (it->p[0] != '\'' && it->p[0] != '"'))
        return false;
    const char *end = memchr(it->p + 1, it->p[0], it->n - 1);
    if (!end)
        return false;
    *out = (struct str){ it->p + 1, (size_t)(end - it->p) - 1 };
    it->n -= out->n + 2;
    it->p = end + 1;
    return true;
}

static bool
take_number(struct str *it, int64_t *v)
{
    size_t n = 0;
    skip_blanks(it);
    *v = 0;
    for (; n < it->n && it->p[n] >= '0' && it->p[n] <= '9'; n++) {
        if (__builtin_mul_overflow(*v, 10, v) ||
            __builtin_add_overflow(*v, it->p[n] - '0', v))
            return false;
    }
    it->p += n;
    it->n -= n;
    (void)take_char(it, 'L'); /* Python 2 wrote long integers so */
    return n > 0;
}

static bool
take_shape(struct str *it, struct sm_shape *out)
{
    *out = (struct sm_shape){ .rank = 0 };
    if (!take_char(it, '('))
        return false;
    while (!take_char(it, ')')) {
        if (out->rank == SM_MAX_RANK || !take_number(it, &out->dims[out->rank++]))
            return false;
        if (!take_char(it, ',')) {
            return take_char(it, ')');
        }
    }
    return true;
}

/* "<f4" */
static bool
descr_parse(struct str d, struct npy *out)
{
    out->order = '|';
    if (d.n > 0 && d.p[0] && strchr("<>|=", d.p[0])) {
        out->order = d.p[0] == '=' ? '<' : d.p[0];
        d.p++;
        d.n--;
    }
    if (d.n == 0)
        return false;
    out->kind = d.p[0];
    d.p++;
    d.n--;
    out->width = 0;
    if (out->kind == 'O' || (out->kind == '?' && d.n == 0))
        return true;
    return take_number(&d, &out->width) &&
           (d.n == 0 || out->kind == 'M' || out->kind == 'm');
}

/* 0 fine, 1 a structured dtype, -1 malformed. */
static int
header_parse(struct str it, struct npy *out)
{
    struct str key, word;
    int seen = 0;
    if (!take_char(&it, '{'))
        return -1;
    while (!take_char(&it, '}')) {
        if (!take_quoted(&it, &key) || !take_char(&it, ':'))
            return -1;
        if (str_is(key, "descr")) {
            seen |= 1;
            skip_blanks(&it);
            if (it.n > 0 && (it.p[0] == '[' || it.p[0] == '('))
                return 1;
            if (!take_quoted(&it, &word) || !descr_parse(word, out))
                return -1;
        } else if (str_is(key, "fortran_order")) {
            seen |= 2;
            out->is_fortran = take_word(&it, "True");
            if (!out->is_fortran && !take_word(&it, "False"))
                return -1;
        } else if (str_is(key, "shape")) {
            seen |= 4;
            if (!take_shape(&it, &out->shape))
                return -1;
        } else {
            return -1;
        }
        if (!take_char(&it, ',')) {
            if (!take_char(&it, '}'))
                return -1;
            break;
        }
    }
    skip_blanks(&it);
    return seen == 7 && it.n == 0 ? 0 : -1;
}

static int
npy_open(struct str bytes, const char *what, struct npy *out, struct err *err)
{
    struct str it = bytes, part, header;
    size_t len;
    *out = (struct npy){ .kind = 0 };
    if (!sm_take(&it, 8, &part) || memcmp(part.p, "\x93NUMPY", 6) != 0)
        return err_set(err, ERR_CORRUPT, "%s: not an .npy file", what);
    int major = (uint8_t)part.p[6];
    if (major < 1 || major > 3)
        return err_set(err, ERR_UNSUPPORTED, "%s: .npy format version %d", what, major);
    if (!sm_take(&it, major == 1 ? 2 : 4, &part))
        return err_set(err, ERR_CORRUPT, "%s: cut off in the header", what);
    len = major == 1 ? sm_le16(part.p) : sm_le32(part.p);
    if (len > HEADER_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%s: a header of %zu bytes (limit %d)", what,
                       len, HEADER_MAX_BYTES);
    if (!sm_take(&it, len, &header))
        return err_set(err, ERR_CORRUPT, "%s: cut off in the header", what);
    int r = header_parse(header, out);
    if (r > 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: a structured array, of which a tensor is one field: save "
                       "x['FIELD'] of %.*s",
                       what, STR_ARG(header));
    if (r < 0)
        return err_set(err, ERR_CORRUPT, "%s: malformed header '%.*s'", what,
                       STR_ARG(header));
    out->body = it;
    return 0;
}

/* ---- elements ----------------------------------------------------------------------
 */

static int
npy_dtype(const struct npy *a)
{
    static const struct {
        char kind;
        int width;
        int dtype;
    } table[] = {
        { '?', 0, SM_BOOL },   { 'b', 1, SM_BOOL },      { 'i', 1, SM_INT8 },
        { 'i', 2, SM_INT16 },  { 'i', 4, SM_INT32 },     { 'i', 8, SM_INT64 },
        { 'u', 1, SM_UINT8 },  { 'u', 2, SM_UINT16 },    { 'u', 4, SM_UINT32 },
        { 'u', 8, SM_UINT64 }, { 'f', 2, SM_HALF },      { 'f', 4, SM_FLOAT },
        { 'f', 8, SM_DOUBLE }, { 'c', 8, SM_COMPLEX64 }, { 'c', 16, SM_COMPLEX128 },
    };
    if (a->kind == 'S' || a->kind == 'U')
        return SM_STRING;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].kind == a->kind && table[i].width == a->width)
            return table[i].dtype;
    }
    return SM_INVALID;
}

/* Element number `i` in row-major order lies where in column-major order? `at` counts
 * row-major corners and is moved on. */
static size_t
fortran_next(const struct sm_shape *s, int64_t *at)
{
    int64_t n = 0;
    for (int d = s->rank - 1; d >= 0; d--)
        n = n * s->dims[d] + at[d];
    for (int d = s->rank - 1; d >= 0; d--) {
        if (++at[d] < s->dims[d])
            break;
        at[d] = 0;
    }
    return (size_t)n;
}

static void
fortran_turn(const struct sm_shape *s, const char *from, char *to, size_t n,
             size_t unit)
{
    int64_t at[SM_MAX_RANK] = { 0 };
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * unit, from + fortran_next(s, at) * unit, unit);
}

/* One 'U' element as UTF-8, appended; false: no Unicode. */
static bool
unicode_add(struct str e, bool is_big, struct buf *out)
{
    size_t n = e.n / 4;
    while (n > 0 && sm_le32(e.p + 4 * (n - 1)) == 0)
        n--;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = sm_le32(e.p + 4 * i);
        if (is_big)
            c = __builtin_bswap32(c);
        if (!sm_utf8_add(out, c))
            return false;
    }
    return true;
}

/* 'S' and 'U' elements: NULs at the end are padding. */
static int
read_strings(const struct npy *a, int64_t n, size_t unit, struct sm_tensor *out,
             struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = a->body.n };
    struct sm_tensor parts AUTO(sm_tensor_release) = { .data = NULL };
    int64_t at[SM_MAX_RANK] = { 0 };
    int rc = sm_tensor_alloc(&parts, SM_STRING, a->shape.rank, a->shape.dims, err);
    if (rc < 0)
        return rc;
    struct str *v = parts.data;
    for (int64_t i = 0; i < n; i++) {
        size_t from = a->is_fortran ? fortran_next(&a->shape, at) : (size_t)i;
        struct str e = { a->body.p + from * unit, unit };
        size_t before = text.len;
        if (a->kind == 'U') {
            if (!unicode_add(e, a->order == '>', &text))
                return err_set(err, ERR_CORRUPT,
                               "element %" PRId64 " is no Unicode text", i);
            e.n = text.len - before;
        }
        while (a->kind == 'S' && e.n > 0 && e.p[e.n - 1] == '\0')
            e.n--;
        v[i] = e;
    }
    const char *next = buf_str(&text); /* has stopped moving */
    for (int64_t i = 0; a->kind == 'U' && i < n; i++) {
        v[i].p = next;
        next += v[i].n;
    }
    return sm_tensor_strings(out, a->shape.rank, a->shape.dims, v, err);
}

static int
read_numbers(const struct npy *a, int dtype, size_t n, size_t unit,
             struct sm_tensor *out, struct err *err)
{
    size_t swap = a->order == '>' ? sm_swap_unit(dtype) : 1;
    if (swap == 1 && !a->is_fortran)
        return sm_tensor_of_bytes(out, dtype, a->shape.rank, a->shape.dims, a->body,
                                  err);
    int rc = sm_tensor_alloc(out, dtype, a->shape.rank, a->shape.dims, err);
    if (rc < 0)
        return rc;
    if (a->is_fortran)
        fortran_turn(&a->shape, a->body.p, out->data, n, unit);
    else
        memcpy(out->data, a->body.p, n * unit);
    if (swap > 1)
        sm_swap(out->data, n * unit / swap, swap);
    for (size_t i = 0; dtype == SM_BOOL && i < n; i++)
        ((uint8_t *)out->data)[i] = ((uint8_t *)out->data)[i] != 0;
    return 0;
}

/* Says what to do instead. */
static int
no_dtype(const struct npy *a, struct err *err)
{
    static const struct {
        char kind;
        const char *advice;
    } advice[] = {
        { 'O', "an object array is a pickled program and is refused: save strings as "
               "np.array(x, dtype='S'), or the array by pickle.dump as a .pkl, which "
               "is read without running it" },
        { 'V', "raw bytes, which is also how NumPy saves bfloat16: save "
               "x.astype(np.float32)" },
        { 'M', "times: save x.astype('datetime64[s]').astype(np.int64)" },
        { 'm', "durations: save x.astype('timedelta64[s]').astype(np.int64)" },
        { 'f', "no tensor has it: save x.astype(np.float64)" },
        { 'c', "no tensor has it: save x.astype(np.complex128)" },
    };
    const char *say = "no tensor has it";
    for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++) {
        if (advice[i].kind == a->kind)
            say = advice[i].advice;
    }
    if (a->kind == 'O')
        return err_set(err, ERR_UNSUPPORTED, "dtype 'O': %s", say);
    return err_set(err, ERR_UNSUPPORTED, "dtype '%c%" PRId64 "': %s", a->kind, a->width,
                   say);
}

static int
read_body(const struct npy *a, struct sm_tensor *out, struct err *err)
{
    int dtype = npy_dtype(a);
    if (dtype == SM_INVALID)
        return no_dtype(a, err);
    int64_t n, want, unit;
    int rc = sm_shape_count(&a->shape, &n, err);
    if (rc < 0)
        return rc;
    if (dtype != SM_STRING)
        unit = (int64_t)sm_dtype_info(dtype)->size_bytes;
    else if (__builtin_mul_overflow(a->width, a->kind == 'U' ? 4 : 1, &unit))
        unit = -1;
    if (unit < 0 || __builtin_mul_overflow(n, unit, &want) ||
        (uint64_t)want != a->body.n || (unit == 0 && n > SM_FILL_MAX_BYTES / 16))
        return err_set(err, ERR_CORRUPT,
                       "the header promises %" PRId64 " elements of '%c%" PRId64
                       "', %zu bytes follow",
                       n, a->kind, a->width, a->body.n);
    if (dtype == SM_STRING)
        return read_strings(a, n, (size_t)unit, out, err);
    return read_numbers(a, dtype, (size_t)n, (size_t)unit, out, err);
}

int
sm_npy_read(struct str bytes, const char *what, struct sm_tensor *out, struct err *err)
{
    struct npy a;
    *out = (struct sm_tensor){ .data = NULL };
    int rc = npy_open(bytes, what, &a, err);
    if (rc < 0)
        return rc;
    if (read_body(&a, out, err) < 0)
        return err_ctx(err, "%s", what);
    return 0;
}

int
sm_npy_elements(struct str descr, bool is_fortran, const struct sm_shape *shape,
                struct str body, struct sm_tensor *out, struct err *err)
{
    struct npy a = { .is_fortran = is_fortran, .shape = *shape, .body = body };
    *out = (struct sm_tensor){ .data = NULL };
    if (!descr_parse(descr, &a))
        return err_set(err, ERR_CORRUPT, "'%.*s' is no dtype", STR_ARG(descr));
    return read_body(&a, out, err);
}

/* ---- writing -----------------------------------------------------------------------
 */

static size_t
longest(const struct sm_tensor *t)
{
    size_t n = 0;
    for (int64_t i = 0; i < t->n_elems; i++) {
        if (sm_tensor_str(t)[i].n > n)
            n = sm_tensor_str(t)[i].n;
    }
    return n;
}

/* NumPy leaves room for the first dimension to grow to 21 digits. */
static void
header_add(const char *descr, const struct sm_tensor *t, struct buf *out)
{
    struct buf h AUTO(buf_release) = BUF_INIT;
    buf_addf(&h, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < t->rank; i++)
        buf_addf(&h, "%s%" PRId64, i ? ", " : "", t->dims[i]);
    buf_adds(&h, t->rank == 1 ? ",), }" : "), }");
    if (t->rank > 0) {
        char digits[32];
        int n = snprintf(digits, sizeof(digits), "%" PRId64, t->dims[0]);
        for (; n < 21; n++)
            buf_addc(&h, ' ');
    }
    while ((10 + h.len + 1) % ALIGN_BYTES != 0)
        buf_addc(&h, ' ');
    buf_addc(&h, '\n');
    buf_add(out, "\x93NUMPY\1\0", 8);
    buf_addc(out, (char)(h.len & 0xff));
    buf_addc(out, (char)(h.len >> 8));
    buf_add(out, h.data, h.len);
}

static void
strings_add(const struct sm_tensor *t, size_t width, struct buf *out)
{
    for (int64_t i = 0; i < t->n_elems; i++) {
        struct str s = sm_tensor_str(t)[i];
        char *room = buf_room(out, width);
        if (!room)
            return;
        if (s.n)
            memcpy(room, s.p, s.n);
        memset(room + s.n, 0, width - s.n);
        out->len += width;
    }
}

static void
bfloat16_add(const struct sm_tensor *t, struct buf *out)
{
    const uint16_t *v = t->data;
    for (int64_t i = 0; i < t->n_elems; i++) {
        uint32_t f32 = (uint32_t)v[i] << 16;
        buf_add(out, &f32, sizeof(f32));
    }
}

int
sm_npy_write(const struct sm_tensor *t, struct buf *out, struct err *err)
{
    const struct sm_dtype_info *info = sm_dtype_info(t->dtype);
    char descr[32];
    size_t width = 0;
    if (t->dtype == SM_STRING) {
        width = longest(t);
        width = width ? width : 1; /* as numpy.array does for empty strings */
        (void)snprintf(descr, sizeof(descr), "|S%zu", width);
    } else if (t->dtype == SM_BFLOAT16) {
        (void)snprintf(descr, sizeof(descr), "<f4");
    } else if (info && info->descr && t->dtype < SM_REF) {
        (void)snprintf(descr, sizeof(descr), "%s", info->descr);
    } else {
        return err_set(err, ERR_UNSUPPORTED, "NumPy has no form for dtype %s",
                       sm_dtype_name(t->dtype));
    }
    header_add(descr, t, out);
    if (t->dtype == SM_STRING)
        strings_add(t, width, out);
    else if (t->dtype == SM_BFLOAT16)
        bfloat16_add(t, out);
    else
        buf_add(out, t->data, sm_tensor_bytes(t));
    return buf_check(out, "array", err);
}
