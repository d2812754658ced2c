/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of numbers in one look at them. A chunk is made doubles by its dtype's
 * line below, and summed up as distances from the mean of all that came before (at
 * first: from the first number). So the sum of squares of a chunk never loses what the
 * result needs: the chunk's distance from that mean is itself part of the total. */
#include "fingerprint/fp_int.h"

#include <math.h>
#if defined(__x86_64__) && __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#endif

/* ---- a dtype's values as doubles ---- */

static inline double
half(uint16_t bits)
{
    /* The exponent moves to its place in a float, which is then 2^112 too small (and
     * right for subnormals); the highest one means inf and nan. */
    uint32_t v = (uint32_t)(bits & 0x7fff) << 13;
    float f;
    memcpy(&f, &v, sizeof f);
    f *= 0x1p112f;
    uint32_t special = (bits & 0x7c00) == 0x7c00 ? 0x7f800000 : 0, sign = bits & 0x8000;
    memcpy(&v, &f, sizeof v);
    v |= special | sign << 16;
    memcpy(&f, &v, sizeof f);
    return (double)f;
}

static inline double
bfloat16(uint16_t bits)
{
    uint32_t v = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &v, sizeof f);
    return (double)f;
}

struct complex64 {
    float re, im;
};
struct complex128 {
    double re, im;
};

typedef void load_fn(const void *p, size_t n, const double *small, double *out);
/* The i-th element is `v`; `small` are the values of an eight-bit float's patterns. */
#define LOAD(name, type, expr)                                                         \
    static void load_##name(const void *p, size_t n, const double *small, double *out) \
    {                                                                                  \
        (void)small;                                                                   \
        for (size_t i = 0; i < n; i++) {                                               \
            type v;                                                                    \
            memcpy(&v, (const char *)p + i * sizeof v, sizeof v);                      \
            out[i] = (double)(expr);                                                   \
        }                                                                              \
    }
LOAD(f32, float, v)
LOAD(f64, double, v)
LOAD(f16, uint16_t, half(v))
LOAD(bf16, uint16_t, bfloat16(v))
LOAD(f8, uint8_t, small[v])
LOAD(i8, int8_t, v)
LOAD(u8, uint8_t, v)
LOAD(i16, int16_t, v)
LOAD(u16, uint16_t, v)
LOAD(i32, int32_t, v)
LOAD(u32, uint32_t, v)
LOAD(i64, int64_t, v)
LOAD(u64, uint64_t, v)
LOAD(i4, uint8_t, (v & 15) - 2 * (v & 8)) /* one a byte, in the low half */
LOAD(u4, uint8_t, v & 15)
LOAD(c64, struct complex64, hypot((double)v.re, (double)v.im))
LOAD(c128, struct complex128, hypot(v.re, v.im))
LOAD(lengths, struct str, v.n)

static const struct line {
    load_fn *load;
    uint8_t unit_bytes;
    uint8_t number; /* enum fp_number: what its least and greatest value are */
    uint8_t of;     /* enum fp_of */
} lines[SM_DTYPE_END] = {
    [SM_FLOAT] = { load_f32, 4, FP_REAL, FP_OF_VALUE },
    [SM_DOUBLE] = { load_f64, 8, FP_REAL, FP_OF_VALUE },
    [SM_HALF] = { load_f16, 2, FP_REAL, FP_OF_VALUE },
    [SM_BFLOAT16] = { load_bf16, 2, FP_REAL, FP_OF_VALUE },
    [SM_FLOAT8_E5M2] = { load_f8, 1, FP_REAL, FP_OF_VALUE },
    [SM_FLOAT8_E4M3FN] = { load_f8, 1, FP_REAL, FP_OF_VALUE },
    [SM_FLOAT8_E4M3FNUZ] = { load_f8, 1, FP_REAL, FP_OF_VALUE },
    [SM_FLOAT8_E4M3B11FNUZ] = { load_f8, 1, FP_REAL, FP_OF_VALUE },
    [SM_FLOAT8_E5M2FNUZ] = { load_f8, 1, FP_REAL, FP_OF_VALUE },
    [SM_INT8] = { load_i8, 1, FP_INT, FP_OF_VALUE },
    [SM_QINT8] = { load_i8, 1, FP_INT, FP_OF_VALUE },
    [SM_UINT8] = { load_u8, 1, FP_INT, FP_OF_VALUE },
    [SM_QUINT8] = { load_u8, 1, FP_INT, FP_OF_VALUE },
    [SM_BOOL] = { load_u8, 1, FP_INT, FP_OF_VALUE },
    [SM_INT16] = { load_i16, 2, FP_INT, FP_OF_VALUE },
    [SM_QINT16] = { load_i16, 2, FP_INT, FP_OF_VALUE },
    [SM_UINT16] = { load_u16, 2, FP_INT, FP_OF_VALUE },
    [SM_QUINT16] = { load_u16, 2, FP_INT, FP_OF_VALUE },
    [SM_INT32] = { load_i32, 4, FP_INT, FP_OF_VALUE },
    [SM_QINT32] = { load_i32, 4, FP_INT, FP_OF_VALUE },
    [SM_UINT32] = { load_u32, 4, FP_INT, FP_OF_VALUE },
    [SM_INT64] = { load_i64, 8, FP_INT, FP_OF_VALUE },
    [SM_UINT64] = { load_u64, 8, FP_UINT, FP_OF_VALUE },
    [SM_INT4] = { load_i4, 1, FP_INT, FP_OF_VALUE },
    [SM_UINT4] = { load_u4, 1, FP_INT, FP_OF_VALUE },
    [SM_COMPLEX64] = { load_c64, 8, FP_REAL, FP_OF_MAGNITUDE },
    [SM_COMPLEX128] = { load_c128, 16, FP_REAL, FP_OF_MAGNITUDE },
    [SM_STRING] = { load_lengths, sizeof(struct str), FP_INT, FP_OF_LENGTH },
};

static const struct line *
line_of(int dtype)
{
    bool is_known = dtype > 0 && dtype < SM_DTYPE_END && lines[dtype].load;
    return is_known ? &lines[dtype] : NULL;
}

enum fp_of
fp_stats_of(int dtype)
{
    const struct line *l = line_of(dtype);
    return l ? l->of : FP_OF_NOTHING;
}

static void
fill_small(int dtype, double small[256])
{
    if (dtype >= SM_FLOAT8_E5M2 && dtype <= SM_FLOAT8_E5M2FNUZ)
        for (int i = 0; i < 256; i++)
            small[i] = sm_float8_value(dtype, (uint8_t)i);
}

/* ---- the sums of a chunk ---- */

enum { CHUNK = 512, LANES = 8 };

struct chunk {
    double sum, squares; /* of the distances from `from`; not finite: look closer */
    double min, max;
    int64_t n_zero;
};

/* Eight sums side by side: registers of any width add in the same order, so the result
 * is the same on every machine. */
typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t mask __attribute__((vector_size(LANES * sizeof(double))));
#define CHOOSE(m, a, b) (lanes)(((m) & (mask)(a)) | (~(m) & (mask)(b)))

static inline __attribute__((always_inline)) void
sum_up(const double *x, size_t n, double from, struct chunk *out)
{
    lanes sum = { 0 }, squares = { 0 }, min = x[0] + sum, max = min, v, d;
    mask zeros = { 0 };
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        memcpy(&v, x + i, sizeof v);
        d = v - from;
        sum += d;
        squares += d * d;
        min = CHOOSE(v < min, v, min);
        max = CHOOSE(v > max, v, max);
        zeros -= v == 0;
    }
    *out = (struct chunk){ .min = min[0], .max = max[0] };
    for (int k = 0; k < LANES; k++) {
        out->sum += sum[k];
        out->squares += squares[k];
        out->min = min[k] < out->min ? min[k] : out->min;
        out->max = max[k] > out->max ? max[k] : out->max;
        out->n_zero += zeros[k];
    }
    for (; i < n; i++) {
        double e = x[i] - from;
        out->sum += e;
        out->squares += e * e;
        out->min = x[i] < out->min ? x[i] : out->min;
        out->max = x[i] > out->max ? x[i] : out->max;
        out->n_zero += x[i] == 0;
    }
}

/* The same for several instruction sets. Chosen by hand and late: a resolver at start
 * asks the processor, which takes longer on a virtual machine than many a command. */
#ifdef CPU_FEATURE_ACTIVE
__attribute__((target("avx2"))) static void
sum_up_avx2(const double *x, size_t n, double from, struct chunk *out)
{
    sum_up(x, n, from, out);
}

__attribute__((target("avx512f,avx512dq"))) static void
sum_up_avx512(const double *x, size_t n, double from, struct chunk *out)
{
    sum_up(x, n, from, out);
}
#endif

static void
sum_up_plain(const double *x, size_t n, double from, struct chunk *out)
{
    sum_up(x, n, from, out);
}

static fp_sum_up_fn *
best_sum_up(void)
{
#ifdef CPU_FEATURE_ACTIVE
    if (CPU_FEATURE_ACTIVE(AVX512F) && CPU_FEATURE_ACTIVE(AVX512DQ))
        return sum_up_avx512;
    if (CPU_FEATURE_ACTIVE(AVX2))
        return sum_up_avx2;
#endif
    return sum_up_plain;
}

/* ---- the sums of a tensor ---- */

void
fp_sum_init(struct fp_sum *s, int dtype)
{
    const struct line *l = line_of(dtype);
    if (!l)
        BUG("no statistics of %s", sm_dtype_name(dtype));
    s->dtype = dtype;
    s->sum_up = best_sum_up();
    s->mean = s->squares = 0;
    s->out = (struct fp_stats){ .of = l->of, .number = l->number };
    fill_small(dtype, s->small);
}

/* Joins m numbers: their mean's distance from ours, and squared distances from theirs.
 */
static void
join(struct fp_sum *s, int64_t m, long double distance, long double squares)
{
    long double n = (long double)s->out.n_finite + (long double)m;
    s->squares += squares + distance * distance * (long double)s->out.n_finite *
                                (long double)m / n;
    s->mean += distance * (long double)m / n;
    s->out.n_finite += m;
}

/* What is not a number goes; returns how many stay. */
static size_t
keep_finite(struct fp_sum *s, double *x, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        s->out.n_nan += isnan(x[i]) ? 1 : 0;
        s->out.n_pos_inf += isinf(x[i]) && x[i] > 0 ? 1 : 0;
        s->out.n_neg_inf += isinf(x[i]) && x[i] < 0 ? 1 : 0;
        if (isfinite(x[i]))
            x[kept++] = x[i];
    }
    return kept;
}

/* Numbers whose squares a double cannot hold. */
static void
join_huge(struct fp_sum *s, const double *x, size_t n, long double from)
{
    long double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] - from;
        squares += (x[i] - from) * (x[i] - from);
    }
    long double distance = sum / (long double)n;
    join(s, (int64_t)n, s->out.n_finite ? distance : distance + from,
         squares - sum * distance);
}

static void
add_chunk(struct fp_sum *s, double *x, size_t n)
{
    struct chunk c;
    bool is_first = s->out.n_finite == 0;
    double from = is_first ? x[0] : (double)s->mean;
    s->sum_up(x, n, from, &c);
    if (!isfinite(c.squares)) {
        n = keep_finite(s, x, n);
        if (n == 0)
            return;
        from = is_first ? x[0] : (double)s->mean;
        s->sum_up(x, n, from, &c);
    }
    /* the distance from the mean before, which `from` rounds */
    long double was = is_first ? 0 : s->mean, distance = c.sum / (double)n;
    if (isfinite(c.squares)) {
        long double squares = c.squares - (long double)c.sum * distance;
        join(s, (int64_t)n, (long double)from - was + distance, squares);
    } else {
        join_huge(s, x, n, is_first ? (long double)from : s->mean);
    }
    s->out.n_zero += c.n_zero;
    s->lo = is_first ? c.min : fmin(s->lo, c.min);
    s->hi = is_first ? c.max : fmax(s->hi, c.max);
}

static bool
is_wide(int dtype)
{
    return dtype == SM_INT64 || dtype == SM_UINT64;
}

/* A double has not all the digits of these. */
#define EXTREMES(type, member)                                                         \
    for (size_t i = 0; i < n; i++) {                                                   \
        type v;                                                                        \
        memcpy(&v, (const char *)p + i * sizeof v, sizeof v);                          \
        if (s->out.n_elems == 0 && i == 0)                                             \
            s->out.min.member = s->out.max.member = v;                                 \
        s->out.min.member = v < s->out.min.member ? v : s->out.min.member;             \
        s->out.max.member = v > s->out.max.member ? v : s->out.max.member;             \
    }

static void
add_extremes(struct fp_sum *s, const void *p, size_t n)
{
    if (s->dtype == SM_INT64)
        EXTREMES(int64_t, i)
    else
        EXTREMES(uint64_t, u)
}

void
fp_sum_add(struct fp_sum *s, const void *p, size_t n)
{
    const struct line *l = &lines[s->dtype];
    double x[CHUNK];
    while (n > 0) {
        size_t m = n < CHUNK ? n : CHUNK;
        l->load(p, m, s->small, x);
        if (is_wide(s->dtype))
            add_extremes(s, p, m);
        s->out.n_elems += (int64_t)m;
        add_chunk(s, x, m);
        p = (const char *)p + m * l->unit_bytes;
        n -= m;
    }
}

void
fp_sum_end(const struct fp_sum *s, struct fp_stats *out)
{
    *out = s->out;
    out->mean = out->std = NAN;
    if (out->n_finite > 0) {
        if (out->number == FP_REAL) {
            out->min.real = s->lo;
            out->max.real = s->hi;
        } else if (!is_wide(s->dtype)) {
            out->min.i = (int64_t)s->lo;
            out->max.i = (int64_t)s->hi;
        }
        long double mean_square = s->squares / (long double)out->n_finite;
        out->mean = (double)s->mean;
        out->std = (double)sqrtl(mean_square > 0 ? mean_square : 0);
    }
}

double
fp_number_real(const struct fp_stats *s, union fp_number_value v)
{
    return s->number == FP_INT    ? (double)v.i
           : s->number == FP_UINT ? (double)v.u
                                  : v.real;
}

/* ---- histogram ---- */

void
fp_histogram_init(struct fp_histogram *h, int dtype, const struct fp_stats *s)
{
    h->dtype = dtype;
    h->lo = fp_number_real(s, s->min);
    h->hi = fp_number_real(s, s->max);
    h->n_bins = FP_BINS;
    if (s->n_finite == 0)
        h->n_bins = 0;
    else if (s->number == FP_REAL && h->lo == h->hi)
        h->n_bins = 1;
    else if (s->number != FP_REAL && h->hi - h->lo < FP_BINS)
        h->n_bins = (int)(h->hi - h->lo) + 1;
    h->is_by_value = s->number != FP_REAL && h->n_bins && h->hi - h->lo < FP_BINS;
    memset(h->bin, 0, sizeof h->bin);
    fill_small(dtype, h->small);
}

double
fp_histogram_edge(const struct fp_histogram *h, int i)
{
    if (h->is_by_value)
        return h->lo + i;
    double share = (double)i / h->n_bins; /* hi - lo may be more than a double holds */
    return h->lo * (1 - share) + h->hi * share;
}

void
fp_histogram_add(struct fp_histogram *h, const void *p, size_t n)
{
    const struct line *l = &lines[h->dtype];
    double x[CHUNK], half_range = h->hi / 2 - h->lo / 2;
    while (n > 0) {
        size_t m = n < CHUNK ? n : CHUNK;
        l->load(p, m, h->small, x);
        for (size_t i = 0; i < m; i++) {
            if (!isfinite(x[i]) || h->n_bins == 0)
                continue;
            double at = h->is_by_value ? x[i] - h->lo
                        : half_range > 0
                            ? (x[i] / 2 - h->lo / 2) / half_range * h->n_bins
                            : 0;
            int bin = at > 0 ? at < h->n_bins ? (int)at : h->n_bins - 1 : 0;
            h->bin[bin]++;
        }
        p = (const char *)p + m * l->unit_bytes;
        n -= m;
    }
}
