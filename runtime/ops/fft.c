/* SPDX-License-Identifier: Apache-2.0 */
/* FFT IFFT RFFT IRFFT over the last one, two or three dimensions (FFT2D, RFFT3D …).
 * Computed in double, rounded to the dtype: complex64 and complex128, float and double.
 * RFFT and IRFFT take `fft_length`: longer inputs are cut, shorter ones are refused, as
 * TensorFlow does; IRFFT does not look at the imaginary part of the first (and, of an
 * even length, the middle) coefficient. The backward transforms divide by the number of
 * elements.
 * Written here because Debian has no library for double under a permissive licence:
 * KissFFT comes in float, FFTW is under the GPL. */
#include "runtime/ops/ops_int.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- one line -------------------------------------------------------------------- */

/* Stockham's self-sorting transform by the prime factors of n (Van Loan, Computational
 * Frameworks for the FFT, 1992, 1.7); a length with a larger prime factor becomes a
 * convolution of a length that is a power of two (Bluestein 1970). */
#define LARGEST_FACTOR 61

/* What belongs to a length; the node keeps it for later runs. */
struct roots {
    int64_t n;
    double complex *root; /* exp(-2 pi i k / n), or Bluestein's chirp: */
    int64_t padded;       /* > 0: a power of two >= 2n - 1; root: exp(-pi i k^2 / n) */
    double complex *kernel; /* transform of the chirp's conjugate, padded */
    struct roots *inner;    /* of length padded */
    struct roots *next;
};
/* The same with room to work in, of a run. */
struct line {
    const struct roots *t;
    double complex *work; /* n */
    double complex *wide; /* padded */
    struct line *inner;
};

static int64_t
next_factor(int64_t n)
{
    if (n % 4 == 0)
        return 4;
    for (int64_t f = 2; f * f <= n; f++)
        if (n % f == 0)
            return f;
    return n;
}

/* exp(-2 pi i k / n) */
static double complex
root_of_one(int64_t k, int64_t n)
{
    double angle = -2 * M_PI * (double)(k % n) / (double)n;
    return CMPLX(cos(angle), sin(angle));
}

/* The product without the corner cases of NaN and infinity, for which C's own calls a
 * function. */
static inline double complex
times(double complex a, double complex b)
{
    return CMPLX(creal(a) * creal(b) - cimag(a) * cimag(b),
                 creal(a) * cimag(b) + cimag(a) * creal(b));
}

/* One stage: p sub-sequences of length m = n / p, s interleaved transforms. */
static void
stage(const struct line *l, const double complex *x, double complex *y, int64_t p,
      int64_t m, int64_t s)
{
    int64_t step = l->t->n / (p * m); /* root[k * step] = exp(-2 pi i k / (p m)) */
    for (int64_t j = 0; j < m; j++) {
        const double complex *a = x + s * j;
        double complex *to = y + s * p * j;
        for (int64_t r = 0; r < p; r++) {
            double complex turn = l->t->root[j * r * step];
            for (int64_t q = 0; q < s; q++) {
                double complex sum = a[q];
                for (int64_t k = 1; k < p; k++)
                    sum += times(a[q + s * m * k],
                                 l->t->root[(k * r % p) * (l->t->n / p)]);
                to[q + s * r] = times(sum, turn);
            }
        }
    }
}

/* As stage with p = 4, whose inner factors are 1, -i, -1, i. */
static void
stage4(const struct line *l, const double complex *x, double complex *y, int64_t m,
       int64_t s)
{
    int64_t step = l->t->n / (4 * m);
    for (int64_t j = 0; j < m; j++) {
        const double complex *a = x + s * j;
        double complex *to = y + 4 * s * j;
        double complex w1 = l->t->root[j * step], w2 = l->t->root[2 * j * step],
                       w3 = l->t->root[3 * j * step];
        for (int64_t q = 0; q < s; q++) {
            double complex even = a[q] + a[q + 2 * s * m];
            double complex even_less = a[q] - a[q + 2 * s * m];
            double complex odd = a[q + s * m] + a[q + 3 * s * m];
            double complex odd_less = a[q + s * m] - a[q + 3 * s * m];
            double complex turned = CMPLX(cimag(odd_less), -creal(odd_less));
            to[q] = even + odd;
            to[q + s] = times(even_less + turned, w1);
            to[q + 2 * s] = times(even - odd, w2);
            to[q + 3 * s] = times(even_less - turned, w3);
        }
    }
}

static void
forward(const struct line *l, double complex *x)
{
    const struct roots *t = l->t;
    if (t->padded) {
        for (int64_t i = 0; i < t->padded; i++)
            l->wide[i] = i < t->n ? times(x[i], t->root[i]) : 0;
        forward(l->inner, l->wide);
        /* The way back is a forward transform between two conjugations. */
        for (int64_t i = 0; i < t->padded; i++)
            l->wide[i] = conj(times(l->wide[i], t->kernel[i]));
        forward(l->inner, l->wide);
        for (int64_t i = 0; i < t->n; i++)
            x[i] = times(conj(l->wide[i]) / (double)t->padded, t->root[i]);
        return;
    }
    double complex *from = x, *to = l->work;
    for (int64_t m = t->n, s = 1, p; m > 1; s *= p) {
        p = next_factor(m);
        m /= p;
        if (p == 4)
            stage4(l, from, to, m, s);
        else
            stage(l, from, to, p, m, s);
        double complex *was = from;
        from = to;
        to = was;
    }
    if (from != x)
        memcpy(x, from, (size_t)t->n * sizeof(*x));
}

static void
roots_free(struct roots *t)
{
    while (t) {
        struct roots *next = t->next;
        roots_free(t->inner);
        free(t->root);
        free(t->kernel);
        free(t);
        t = next;
    }
}

/* NULL with err set. The memory is the run's. */
static struct line *
line_on(struct rt_ctx *ctx, const struct roots *t, struct err *err)
{
    struct line *l = rt_scratch(ctx, sizeof(*l), err);
    double complex *work =
        rt_scratch(ctx, (size_t)(t->n + t->padded) * sizeof(*work), err);
    if (!l || !work)
        return NULL;
    *l = (struct line){ .t = t, .work = work, .wide = work + t->n };
    if (t->inner)
        l->inner = line_on(ctx, t->inner, err);
    return t->inner && !l->inner ? NULL : l;
}

/* NULL with err set. The caller frees it. */
static struct roots *
roots_new(struct rt_ctx *ctx, int64_t n, struct err *err)
{
    int64_t largest = 1, padded = 1;
    for (int64_t m = n; m > 1; m /= largest)
        largest = next_factor(m);
    while (padded < 2 * n - 1)
        padded *= 2;
    /* The run's limit holds for what is kept too: it is asked first. */
    if (!rt_scratch(ctx, (size_t)(n + 2 * padded) * sizeof(double complex), err))
        return NULL;
    struct roots *t = xcalloc(1, sizeof(*t));
    t->n = n;
    t->root = xcalloc((size_t)n, sizeof(*t->root));
    if (largest <= LARGEST_FACTOR) {
        for (int64_t k = 0; k < n; k++)
            t->root[k] = root_of_one(k, n);
        return t;
    }
    t->padded = padded;
    t->kernel = xcalloc((size_t)padded, sizeof(*t->kernel));
    for (int64_t k = 0; k < n; k++) {
        int64_t square = (int64_t)((unsigned __int128)k * (uint64_t)k % (2 * n));
        t->root[k] = root_of_one(square, 2 * n);
        t->kernel[k] = conj(t->root[k]);
        if (k)
            t->kernel[padded - k] = t->kernel[k];
    }
    t->inner = roots_new(ctx, padded, err);
    struct line *l = t->inner ? line_on(ctx, t->inner, err) : NULL;
    if (!l) {
        roots_free(t);
        return NULL;
    }
    forward(l, t->kernel);
    return t;
}

/* ---- a box ----------------------------------------------------------------------- */

struct fft {
    int rank; /* 1, 2, 3 */
    bool real, inverse;
    int type; /* of the result, when real */
    /* Lengths that were met, at most MAX_KEPT of them; a list that only grows. */
    pthread_mutex_t lock;
    struct roots *kept;
    int n_kept;
};
enum { MAX_KEPT = 16 };

static void
drop_fft(void *arg)
{
    struct fft *f = arg;
    roots_free(f->kept);
    pthread_mutex_destroy(&f->lock);
}

/* The roots of length n, of the node or (*own, to be freed) of this run alone. NULL
 * with err set. */
static const struct roots *
find_roots(struct rt_ctx *ctx, struct fft *f, int64_t n, struct roots **own,
           struct err *err)
{
    pthread_mutex_lock(&f->lock);
    struct roots *t = f->kept;
    while (t && t->n != n)
        t = t->next;
    if (!t) {
        t = roots_new(ctx, n, err);
        if (t && f->n_kept < MAX_KEPT) {
            t->next = f->kept;
            f->kept = t;
            f->n_kept++;
        } else if (t) {
            t->next = *own;
            *own = t;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return t;
}

int
rt_prep_fft(struct rt_prep *p)
{
    struct fft *f = p->node->state = rt_prep_alloc(p, sizeof(*f));
    const char *op = p->node->op;
    f->inverse = op[0] == 'I';
    f->real = op[f->inverse] == 'R';
    f->rank = op[strlen(op) - 1] == 'D' ? op[strlen(op) - 2] - '0' : 1;
    bool to_real = f->real && f->inverse;
    pthread_mutex_init(&f->lock, NULL);
    rt_prep_on_free(p, drop_fft, f);
    f->type = rt_attr_type(p, to_real ? "Treal" : "Tcomplex",
                           to_real ? SM_FLOAT : SM_COMPLEX64);
    return rt_prep_done(p);
}

static void
store(struct rt_tensor *t, int64_t at, int64_t n, const double complex *in, double by)
{
    float *f = t->data;
    double *d = t->data;
    for (int64_t i = 0; i < n; i++) {
        double re = creal(in[i]) * by, im = cimag(in[i]) * by;
        switch (t->dtype) {
        case SM_FLOAT:
            f[at + i] = (float)re;
            break;
        case SM_DOUBLE:
            d[at + i] = re;
            break;
        case SM_COMPLEX64:
            f[2 * (at + i)] = (float)re;
            f[2 * (at + i) + 1] = (float)im;
            break;
        default:
            d[2 * (at + i)] = re;
            d[2 * (at + i) + 1] = im;
        }
    }
}

/* Transforms each line along dimension `axis` of the box x [d0, d1, d2], in place. */
static void
along(const struct line *l, double complex *x, const int64_t d[3], int axis,
      bool inverse, double complex *tmp)
{
    int64_t step = axis == 2 ? 1 : axis == 1 ? d[2] : d[1] * d[2];
    int64_t n = l->t->n, lines = d[0] * d[1] * d[2] / n;
    for (int64_t i = 0; i < lines; i++) {
        double complex *at = x + i / step * step * n + i % step;
        for (int64_t k = 0; k < n; k++)
            tmp[k] = inverse ? conj(at[k * step]) : at[k * step];
        forward(l, tmp);
        for (int64_t k = 0; k < n; k++)
            at[k * step] = inverse ? conj(tmp[k]) : tmp[k];
    }
}

/* The second half of each line from the first, of which `have` are given. */
static void
mirror(double complex *x, const int64_t d[3])
{
    int64_t n = d[2];
    for (int64_t row = 0; row < d[0] * d[1]; row++, x += n) {
        x[0] = creal(x[0]);
        if (n % 2 == 0)
            x[n / 2] = creal(x[n / 2]);
        for (int64_t k = n / 2 + 1; k < n; k++)
            x[k] = conj(x[n - k]);
    }
}

/* The lengths of the transform: d, right-aligned in three. */
static int
lengths(struct rt_ctx *ctx, const struct fft *f, int64_t d[3], struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    char shape[RT_SHAPE_TEXT_BYTES];
    if (x->rank < f->rank)
        return rt_fail(ctx, err, ERR_FAILED,
                       "Input must have rank of at least %d but got: %s", f->rank,
                       rt_shape_text(x, shape));
    const struct rt_tensor *len = f->real ? ctx->in[1] : NULL;
    if (len && (len->rank != 1 || len->n_elems != f->rank))
        return rt_fail(ctx, err, ERR_FAILED, "fft_length must have shape [%d]",
                       f->rank);
    for (int i = 0; i < f->rank; i++) {
        int axis = x->rank - f->rank + i;
        int64_t n = len ? ((const int32_t *)len->data)[i] : x->dims[axis];
        if (n < 0)
            return rt_fail(ctx, err, ERR_FAILED,
                           "fft_length[%d] must >= 0, but got: %lld", i, (long long)n);
        int64_t need = f->real && f->inverse && i == f->rank - 1 && n ? n / 2 + 1 : n;
        if (x->dims[axis] < need && x->n_elems)
            return rt_fail(
                ctx, err, ERR_FAILED,
                "Input dimension %d must have length of at least %lld but got: "
                "%lld",
                axis, (long long)need, (long long)x->dims[axis]);
        d[3 - f->rank + i] = n;
    }
    return 0;
}

/* input [..., n] (, fft_length [rank]) -> [..., n]; of RFFT [..., n / 2 + 1], of IRFFT
 * from [..., n / 2 + 1] to [..., n]. */
static int
run_fft(struct rt_ctx *ctx, struct fft *f, struct roots **own, struct err *err)
{
    const struct rt_tensor *x = ctx->in[0];
    bool from_real = f->real && !f->inverse, to_real = f->real && f->inverse;
    int64_t d[3] = { 1, 1, 1 };
    if (from_real ? x->dtype != SM_FLOAT && x->dtype != SM_DOUBLE
                  : x->dtype != SM_COMPLEX64 && x->dtype != SM_COMPLEX128)
        return rt_fail_dtype(ctx, err, x->dtype);
    if (lengths(ctx, f, d, err) < 0)
        return -(int)err->code;
    struct rt_tensor *y;
    int64_t dims[SM_MAX_RANK];
    int outer = x->rank - f->rank;
    for (int i = 0; i < x->rank; i++)
        dims[i] = i < outer ? x->dims[i] : d[3 - x->rank + i];
    if (from_real && d[2])
        dims[x->rank - 1] = d[2] / 2 + 1;
    if (rt_out(ctx, 0, f->real ? f->type : x->dtype, x->rank, dims, &y, err) < 0)
        return -(int)err->code;
    memset(y->data, 0, rt_size(y));
    if (!x->n_elems || !y->n_elems)
        return 0;

    /* y has elements, so the box has and its size did not overflow by much: RFFT's is
     * at most twice the result's. */
    int64_t box = d[0] * d[1] * d[2], longest = K_MAX(K_MAX(d[0], d[1]), d[2]);
    double complex *work =
        rt_scratch(ctx, (size_t)(box + longest) * sizeof(*work), err);
    struct line *line[3];
    for (int i = 0; work && i < 3; i++) {
        const struct roots *t = find_roots(ctx, f, d[i], own, err);
        if (!t || !(line[i] = line_on(ctx, t, err)))
            work = NULL;
    }
    if (!work)
        return -(int)err->code;
    int64_t in2 = to_real ? d[2] / 2 + 1 : d[2], out2 = dims[x->rank - 1];
    int64_t x2 = x->dims[x->rank - 1], x1 = f->rank > 1 ? x->dims[x->rank - 2] : 1;
    int64_t x0 = f->rank > 2 ? x->dims[x->rank - 3] : 1;
    for (int64_t b = 0; b < k_count(x->dims, 0, outer); b++) {
        if (rt_poll(ctx, err) < 0)
            return -(int)err->code;
        for (int64_t i = 0; i < d[0]; i++)
            for (int64_t j = 0; j < d[1]; j++)
                for (int64_t k = 0; k < in2; k++)
                    work[(i * d[1] + j) * d[2] + k] =
                        k_complex_at(x, ((b * x0 + i) * x1 + j) * x2 + k);
        if (to_real)
            for (int64_t i = 0; i < d[0] * d[1]; i++)
                memset(work + i * d[2] + in2, 0, (size_t)(d[2] - in2) * sizeof(*work));
        for (int axis = 0; axis < 3; axis++) {
            if (axis == 2 && to_real)
                mirror(work, d);
            if (d[axis] > 1)
                along(line[axis], work, d, axis, f->inverse, work + box);
        }
        for (int64_t i = 0; i < d[0] * d[1]; i++)
            store(y, (b * d[0] * d[1] + i) * out2, out2, work + i * d[2],
                  f->inverse ? 1 / (double)box : 1);
    }
    return 0;
}

int
rt_run_fft(struct rt_ctx *ctx, struct err *err)
{
    struct roots *own = NULL;
    int rc = run_fft(ctx, ctx->node->state, &own, err);
    roots_free(own);
    return rc;
}
