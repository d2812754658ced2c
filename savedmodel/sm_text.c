/* SPDX-License-Identifier: Apache-2.0 */
/* numpy.str() of an array, character for character (NumPy 1.26, default options).
 *
 *   - More than 1000 elements: each axis longer than 6 shows 3 at either end around
 *     "..."; widths are taken from what is shown.
 *   - Integers are padded to the widest, bools to 5, strings not at all.
 *   - Floats have the fewest digits that tell them apart, at most 8 behind the point.
 *     All share one form: scientific when max >= 1e8, min < 1e-4 or max / min > 1000
 *     (of the finite, non-zero ones by magnitude), else positional; points align.
 *   - A row wraps before 75 columns; nested rows are indented by one blank each, with
 *     as many line ends between two as there are axes below them.
 *   - A scalar stands alone, with all its digits. */
#include "savedmodel/sm_float_int.h"
#include "savedmodel/sm_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define LINE_COLUMNS 75
#define THRESHOLD 1000
#define EDGE 3
#define PRECISION 8

/* How all floats of an array are printed. */
struct number_format {
    bool is_scientific;
    bool has_plus;   /* print the sign of positive numbers */
    int left, right; /* characters on either side of the point */
    int exp_digits;
    bool has_finite, has_nan, has_inf, has_neg_inf;
    double max, min; /* by magnitude, of the finite non-zero ones; 0: none */
};

enum look { LOOK_INT, LOOK_BOOL, LOOK_FLOAT, LOOK_COMPLEX, LOOK_SHORT, LOOK_STRING };

struct text {
    const struct sm_tensor *t;
    enum look look;
    bool is_summary;
    int width; /* of integers */
    struct number_format real, imag;
};

static enum look
look_of(int dtype)
{
    switch (dtype) {
    case SM_BOOL:
        return LOOK_BOOL;
    case SM_STRING:
        return LOOK_STRING;
    case SM_HALF:
    case SM_FLOAT:
    case SM_DOUBLE:
        return LOOK_FLOAT;
    case SM_COMPLEX64:
    case SM_COMPLEX128:
        return LOOK_COMPLEX;
    case SM_BFLOAT16:
    case SM_FLOAT8_E5M2:
    case SM_FLOAT8_E4M3FN:
    case SM_FLOAT8_E4M3FNUZ:
    case SM_FLOAT8_E4M3B11FNUZ:
    case SM_FLOAT8_E5M2FNUZ:
        return LOOK_SHORT;
    default:
        return LOOK_INT;
    }
}

/* ---- elements -------------------------------------------------------------------- */

static enum sm_float_kind
float_kind(int dtype)
{
    if (dtype == SM_HALF)
        return SM_F16;
    return dtype == SM_FLOAT || dtype == SM_COMPLEX64 ? SM_F32 : SM_F64;
}

/* Element i, or half `part` of a complex one. */
static double
load_float(const struct sm_tensor *t, int64_t i, int part)
{
    switch (t->dtype) {
    case SM_HALF:
        return sm_half_value(((const uint16_t *)t->data)[i]);
    case SM_FLOAT:
        return ((const float *)t->data)[i];
    case SM_COMPLEX64:
        return ((const float *)t->data)[2 * i + part];
    case SM_COMPLEX128:
        return ((const double *)t->data)[2 * i + part];
    default:
        return ((const double *)t->data)[i];
    }
}

static double
load_short(const struct sm_tensor *t, int64_t i)
{
    if (t->dtype == SM_BFLOAT16) {
        uint32_t bits = (uint32_t)((const uint16_t *)t->data)[i] << 16;
        float f;
        memcpy(&f, &bits, sizeof(f));
        return f;
    }
    return sm_float8_value(t->dtype, ((const uint8_t *)t->data)[i]);
}

static void
add_int(struct buf *out, const struct sm_tensor *t, int64_t i)
{
    size_t unit = sm_dtype_info(t->dtype)->size_bytes;
    const char *p = (const char *)t->data + (size_t)i * unit;
    uint64_t u = 0;
    memcpy(&u, p, unit);
    switch (t->dtype) {
    case SM_UINT8:
    case SM_UINT16:
    case SM_UINT32:
    case SM_UINT64:
    case SM_QUINT8:
    case SM_QUINT16:
    case SM_UINT4:
        buf_addf(out, "%" PRIu64, u);
        return;
    default:
        break;
    }
    int shift = 64 - 8 * (int)unit;
    buf_addf(out, "%" PRId64, (int64_t)(u << shift) >> shift);
}

/* bytes.__repr__ */
static void
add_bytes(struct buf *out, struct str s)
{
    bool has_single = s.n > 0 && memchr(s.p, '\'', s.n);
    bool has_double = s.n > 0 && memchr(s.p, '"', s.n);
    char quote = has_single && !has_double ? '"' : '\'';
    buf_addc(out, 'b');
    buf_addc(out, quote);
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c == '\t')
            buf_adds(out, "\\t");
        else if (c == '\n')
            buf_adds(out, "\\n");
        else if (c == '\r')
            buf_adds(out, "\\r");
        else if (c == '\\' || c == (uint8_t)quote)
            buf_addf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            buf_addf(out, "\\x%02x", c);
        else
            buf_addc(out, (char)c);
    }
    buf_addc(out, quote);
}

static void
add_blanks(struct buf *out, int n)
{
    for (; n > 0; n--)
        buf_addc(out, ' ');
}

/* "nan", "-inf" */
static const char *
non_finite(double v, bool has_plus)
{
    if (isnan(v))
        return has_plus ? "+nan" : "nan";
    if (v < 0)
        return "-inf";
    return has_plus ? "+inf" : "inf";
}

static const char *
sign_of(double v, bool has_plus)
{
    return signbit(v) ? "-" : has_plus ? "+" : "";
}

static void
add_float(struct buf *out, double v, enum sm_float_kind kind,
          const struct number_format *f)
{
    struct sm_float_text x;
    if (!isfinite(v)) {
        const char *s = non_finite(v, f->has_plus);
        add_blanks(out, f->left + f->right + 1 - (int)strlen(s));
        buf_adds(out, s);
        return;
    }
    int digits = f->is_scientific ? f->right - f->exp_digits - 2 : 0;
    sm_float_text(v, kind, f->is_scientific,
                  (struct sm_float_places){ digits, PRECISION }, &x);
    const char *sign = sign_of(v, f->has_plus);
    add_blanks(out, f->left - (int)strlen(sign) - (int)strlen(x.whole));
    buf_addf(out, "%s%s.%s", sign, x.whole, x.frac);
    if (!f->is_scientific) {
        add_blanks(out, f->right - (int)strlen(x.frac));
        return;
    }
    for (int n = (int)strlen(x.frac); n < digits; n++)
        buf_addc(out, '0');
    buf_addf(out, "e%c%0*d", x.exp10 < 0 ? '-' : '+', f->exp_digits, abs(x.exp10));
}

static void
add_complex(struct buf *out, const struct text *x, int64_t i)
{
    enum sm_float_kind kind = float_kind(x->t->dtype);
    add_float(out, load_float(x->t, i, 0), kind, &x->real);
    add_float(out, load_float(x->t, i, 1), kind, &x->imag);
    size_t blanks = 0; /* the j stands before the padding */
    while (out->data[out->len - 1 - blanks] == ' ')
        blanks++;
    out->len -= blanks;
    buf_addc(out, 'j');
    add_blanks(out, (int)blanks);
}

static void
add_element(struct buf *out, const struct text *x, int64_t i)
{
    const struct sm_tensor *t = x->t;
    switch (x->look) {
    case LOOK_BOOL:
        buf_adds(out, ((const uint8_t *)t->data)[i] ? " True" : "False");
        break;
    case LOOK_STRING:
        add_bytes(out, sm_tensor_str(t)[i]);
        break;
    case LOOK_FLOAT:
        add_float(out, load_float(t, i, 0), float_kind(t->dtype), &x->real);
        break;
    case LOOK_COMPLEX:
        add_complex(out, x, i);
        break;
    case LOOK_SHORT:
        buf_addf(out, "%g", load_short(t, i));
        break;
    case LOOK_INT: {
        struct buf word AUTO(buf_release) = BUF_INIT;
        add_int(&word, t, i);
        add_blanks(out, x->width - (int)word.len);
        buf_add(out, word.data, word.len);
        break;
    }
    }
}

/* ---- a scalar ---------------------------------------------------------------------
 */

/* All digits; `zero`: "1.0" rather than "1". */
static void
add_whole_float(struct buf *out, double v, enum sm_float_kind kind, bool has_plus,
                bool zero)
{
    struct sm_float_text x;
    if (!isfinite(v)) {
        buf_adds(out, non_finite(v, has_plus));
        return;
    }
    bool is_scientific = v != 0 && (fabs(v) >= 1e16 || fabs(v) < 1e-4);
    sm_float_text(v, kind, is_scientific, SM_FLOAT_ALL_PLACES, &x);
    buf_addf(out, "%s%s", sign_of(v, has_plus), x.whole);
    if (x.frac[0])
        buf_addf(out, ".%s", x.frac);
    else if (zero && !is_scientific)
        buf_adds(out, ".0");
    if (is_scientific)
        buf_addf(out, "e%c%02d", x.exp10 < 0 ? '-' : '+', abs(x.exp10));
}

static void
add_scalar(struct buf *out, const struct text *x)
{
    const struct sm_tensor *t = x->t;
    enum sm_float_kind kind = float_kind(t->dtype);
    if (x->look == LOOK_BOOL) {
        buf_adds(out, *(const uint8_t *)t->data ? "True" : "False");
    } else if (x->look == LOOK_FLOAT) {
        add_whole_float(out, load_float(t, 0, 0), kind, false, true);
    } else if (x->look == LOOK_COMPLEX) {
        double re = load_float(t, 0, 0), im = load_float(t, 0, 1);
        bool has_real = re != 0 || signbit(re);
        if (has_real) {
            buf_addc(out, '(');
            add_whole_float(out, re, kind, false, false);
        }
        add_whole_float(out, im, kind, has_real, false);
        buf_adds(out, has_real ? "j)" : "j");
    } else {
        add_element(out, x, 0);
    }
}

/* ---- widths ------------------------------------------------------------------------
 */

typedef void shown_fn(struct text *x, int64_t i);

/* The element after i on an axis of n that is shown. */
static int64_t
next_shown(const struct text *x, int64_t i, int64_t n)
{
    return x->is_summary && n > 2 * EDGE && i == EDGE - 1 ? n - EDGE : i + 1;
}

static void
for_shown(struct text *x, int axis, int64_t base, shown_fn *fn)
{
    if (axis == x->t->rank) {
        fn(x, base);
        return;
    }
    int64_t n = x->t->dims[axis];
    for (int64_t i = 0; i < n; i = next_shown(x, i, n))
        for_shown(x, axis + 1, base * n + i, fn);
}

static void
see_int(struct text *x, int64_t i)
{
    struct buf word AUTO(buf_release) = BUF_INIT;
    add_int(&word, x->t, i);
    if ((int)word.len > x->width)
        x->width = (int)word.len;
}

static void
see_range(struct number_format *f, double v)
{
    f->has_nan |= isnan(v);
    f->has_inf |= isinf(v);
    f->has_neg_inf |= isinf(v) && v < 0;
    f->has_finite |= isfinite(v);
    double a = fabs(v);
    if (!isfinite(v) || a == 0)
        return;
    if (a > f->max)
        f->max = a;
    if (f->min == 0 || a < f->min)
        f->min = a;
}

static void
see_ranges(struct text *x, int64_t i)
{
    see_range(&x->real, load_float(x->t, i, 0));
    if (x->look == LOOK_COMPLEX)
        see_range(&x->imag, load_float(x->t, i, 1));
}

static void
grow(int *width, size_t n)
{
    if ((int)n > *width)
        *width = (int)n;
}

static void
see_width(struct number_format *f, double v, enum sm_float_kind kind)
{
    struct sm_float_text x;
    if (!isfinite(v))
        return;
    sm_float_text(v, kind, f->is_scientific, (struct sm_float_places){ -99, PRECISION },
                  &x);
    grow(&f->left, strlen(sign_of(v, f->has_plus)) + strlen(x.whole));
    grow(&f->right, strlen(x.frac));
    if (f->is_scientific)
        grow(&f->exp_digits, abs(x.exp10) >= 100 ? 3 : 2);
}

static void
see_widths(struct text *x, int64_t i)
{
    enum sm_float_kind kind = float_kind(x->t->dtype);
    see_width(&x->real, load_float(x->t, i, 0), kind);
    if (x->look == LOOK_COMPLEX)
        see_width(&x->imag, load_float(x->t, i, 1), kind);
}

static void
choose_form(struct number_format *f, enum sm_float_kind kind)
{
    if (f->max == 0)
        return;
    f->is_scientific =
        f->max >= 1e8 || f->min < 0.0001 || sm_float_ratio(f->max, f->min, kind) > 1000;
}

/* nan and inf may be wider than all numbers. */
static void
finish_width(struct number_format *f)
{
    if (f->is_scientific)
        f->right += f->exp_digits + 2;
    if (f->has_nan || f->has_inf) {
        bool has_sign = f->has_plus || f->has_neg_inf;
        int offset = f->right + 1;
        int left = 3 + has_sign - offset;
        if (left > f->left)
            f->left = left;
    }
}

static void
measure(struct text *x)
{
    if (x->look == LOOK_INT)
        for_shown(x, 0, 0, see_int);
    if (x->look != LOOK_FLOAT && x->look != LOOK_COMPLEX)
        return;
    enum sm_float_kind kind = float_kind(x->t->dtype);
    x->imag.has_plus = true;
    for_shown(x, 0, 0, see_ranges);
    choose_form(&x->real, kind);
    choose_form(&x->imag, kind);
    for_shown(x, 0, 0, see_widths);
    finish_width(&x->real);
    finish_width(&x->imag);
}

/* ---- layout ------------------------------------------------------------------------
 */

static void
strip_blanks(struct buf *out)
{
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->len--;
}

/* A word in a row that is indented by `indent` and has used *column columns. */
static void
add_word(struct buf *out, const struct buf *word, int indent, int limit, int *column)
{
    if (*column + (int)word->len > limit && *column > indent) {
        strip_blanks(out);
        buf_addc(out, '\n');
        add_blanks(out, indent);
        *column = indent;
    }
    buf_add(out, word->data, word->len);
    *column += (int)word->len;
}

static void
add_row(struct buf *out, const struct text *x, int64_t base)
{
    int axis = x->t->rank - 1, indent = 1 + axis, column = indent;
    int limit = LINE_COLUMNS - axis - 1;
    int64_t n = x->t->dims[axis];
    struct buf word AUTO(buf_release) = BUF_INIT;
    for (int64_t i = 0; i < n;) {
        buf_clear(&word);
        add_element(&word, x, base * n + i);
        add_word(out, &word, indent, limit, &column);
        int64_t next = next_shown(x, i, n);
        if (next > i + 1) {
            buf_clear(&word);
            buf_adds(&word, "...");
            buf_addc(out, ' ');
            column++;
            add_word(out, &word, indent, limit, &column);
        }
        if (next < n) {
            buf_addc(out, ' ');
            column++;
        }
        i = next;
    }
}

static void
add_array(struct buf *out, const struct text *x, int axis, int64_t base)
{
    const struct sm_tensor *t = x->t;
    buf_addc(out, '[');
    if (axis == t->rank - 1) {
        add_row(out, x, base);
        buf_addc(out, ']');
        return;
    }
    int64_t n = t->dims[axis];
    for (int64_t i = 0; i < n;) {
        add_array(out, x, axis + 1, base * n + i);
        int64_t next = next_shown(x, i, n);
        for (int again = next > i + 1 ? 2 : 1; again > 0 && next < n; again--) {
            for (int k = axis + 1; k < t->rank; k++)
                buf_addc(out, '\n');
            add_blanks(out, 1 + axis);
            if (again == 2)
                buf_adds(out, "...");
        }
        i = next;
    }
    buf_addc(out, ']');
}

void
sm_tensor_text(const struct sm_tensor *t, struct buf *out)
{
    struct text x = { .t = t,
                      .look = look_of(t->dtype),
                      .is_summary = t->n_elems > THRESHOLD };
    if (t->rank == 0) {
        add_scalar(out, &x);
    } else if (t->n_elems == 0) {
        buf_adds(out, "[]");
    } else {
        measure(&x);
        add_array(out, &x, 0, 0);
    }
}
