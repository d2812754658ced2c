/* SPDX-License-Identifier: Apache-2.0 */
/* One output against what was expected. Each kind of tolerance is a function that finds
 * the worst error and where it is; the driver compares it with the limit and says so.
 */
#include "validate/val_int.h"

#include "runtime/rt_half.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- kinds of tolerance --------------------------------------------------------- */

struct pair {
    const struct sm_tensor *got, *want; /* same family and shape, not empty */
    double limit;
};
struct worst {
    double error;
    int64_t at; /* -1: nowhere */
};

static void
take_worse(struct worst *w, double error, int64_t at)
{
    if (w->at < 0 || !(error <= w->error)) /* NaN is worst */
        *w = (struct worst){ error, at };
}

static struct worst
measure_abs(const struct pair *p)
{
    struct worst w = { .at = -1 };

    for (int64_t i = 0; i < p->want->n_elems; i++)
        take_worse(&w, val_diff_at(p->got, p->want, i), i);
    return w;
}

static struct worst
measure_rel_max(const struct pair *p)
{
    struct worst w = measure_abs(p);
    double scale = 1;

    for (int64_t i = 0; i < p->want->n_elems; i++)
        if (val_is_finite_at(p->want, i))
            scale = fmax(scale, val_size_at(p->want, i));
    w.error /= scale;
    return w;
}

static struct worst
measure_mean_abs(const struct pair *p)
{
    struct worst w = measure_abs(p);
    double sum = 0;

    for (int64_t i = 0; i < p->want->n_elems; i++)
        sum += val_diff_at(p->got, p->want, i);
    w.error = sum / (double)p->want->n_elems;
    return w;
}

static struct worst
measure_rel(const struct pair *p)
{
    struct worst w = { .at = -1 };

    for (int64_t i = 0; i < p->want->n_elems; i++) {
        double diff = val_diff_at(p->got, p->want, i);

        take_worse(&w, diff > 0 ? diff / val_size_at(p->want, i) : 0, i);
    }
    return w;
}

/* A float's place in the order of all floats of its dtype. */
static int64_t
ulp_place(int dtype, double v)
{
    union {
        float f;
        int32_t i;
    } f = { .f = (float)v };
    union {
        double d;
        int64_t i;
    } d = { .d = v };

    if (dtype == SM_DOUBLE)
        return d.i < 0 ? INT64_MIN - d.i : d.i;
    if (dtype == SM_HALF)
        f.i = (int16_t)rt_f32_to_half(f.f);
    else if (dtype == SM_BFLOAT16)
        f.i = (int16_t)rt_f32_to_bf16(f.f);
    else
        return f.i < 0 ? (int64_t)INT32_MIN - f.i : f.i;
    return f.i < 0 ? INT16_MIN - f.i : f.i;
}

static struct worst
measure_ulp(const struct pair *p)
{
    const int dtype = p->got->dtype;
    struct worst w = { .at = -1 };

    for (int64_t i = 0; i < p->want->n_elems; i++) {
        int64_t n;

        if (val_same_at(p->got, p->want, i))
            take_worse(&w, 0, i);
        else if (__builtin_sub_overflow(ulp_place(dtype, val_real_at(p->got, i)),
                                        ulp_place(dtype, val_real_at(p->want, i)), &n))
            take_worse(&w, INFINITY, i);
        else
            take_worse(&w, fabs((double)n), i);
    }
    return w;
}

/* Elements of a row, that is along the last axis. */
static int64_t
row_len(const struct sm_tensor *t)
{
    return t->rank > 0 ? t->dims[t->rank - 1] : 1;
}

/* The largest finite magnitude of a row, so that squares cannot overflow; at least 1.
 */
static double
row_scale(const struct sm_tensor *t, int64_t row, int64_t n)
{
    double scale = 1;

    for (int64_t i = row; i < row + n; i++)
        if (val_is_finite_at(t, i))
            scale = fmax(scale, val_size_at(t, i));
    return scale;
}

/* 1 - cos(a, b) of one row. */
static double
row_cosine(const struct pair *p, int64_t row, int64_t n)
{
    const double a_scale = row_scale(p->got, row, n),
                 b_scale = row_scale(p->want, row, n);
    double ab = 0, aa = 0, bb = 0;

    for (int64_t i = row; i < row + n; i++) {
        double ar = val_real_at(p->got, i) / a_scale,
               ai = val_imag_at(p->got, i) / a_scale;
        double br = val_real_at(p->want, i) / b_scale,
               bi = val_imag_at(p->want, i) / b_scale;

        if (!val_is_finite_at(p->want, i)) /* and `got` is the same there */
            continue;
        ab += ar * br + ai * bi;
        aa += ar * ar + ai * ai;
        bb += br * br + bi * bi;
    }
    if (aa == 0 || bb == 0)
        return aa == bb ? 0 : 1;
    return fmax(0, 1 - ab / (sqrt(aa) * sqrt(bb)));
}

static struct worst
measure_cosine(const struct pair *p)
{
    const int64_t n = row_len(p->want);
    struct worst w = { .at = -1 };

    for (int64_t row = 0; row < p->want->n_elems; row += n)
        take_worse(&w, row_cosine(p, row, n), row);
    return w;
}

/* For an order of all values: NaN is smallest. */
static double
rank_at(const struct sm_tensor *t, int64_t i)
{
    double v = val_real_at(t, i);

    return isnan(v) ? -INFINITY : v;
}

/* The k-th largest of a row of at least k, by selection: k is small. */
static double
kth_largest(const struct sm_tensor *t, int64_t row, int64_t n, int64_t k)
{
    double bound = INFINITY;

    for (int64_t seen = 0; seen < k;) {
        double next = -INFINITY;
        int64_t n_next = 0;

        for (int64_t i = row; i < row + n; i++) {
            double v = rank_at(t, i);

            if (v > bound || (v == bound && seen > 0))
                continue;
            n_next = v > next ? 1 : n_next + (v == next);
            next = fmax(next, v);
        }
        seen += n_next;
        bound = next;
    }
    return bound;
}

/* Whether one choice of k elements is the top k of both: it holds all that are above
 * the k-th value on either side, and none below it. -1: yes; else an element that
 * differs. */
static int64_t
top_k_differs(const struct pair *p, int64_t row, int64_t n, int64_t k)
{
    const double a = kth_largest(p->got, row, n, k),
                 b = kth_largest(p->want, row, n, k);
    int64_t n_may = 0, n_must = 0, first = -1;

    for (int64_t i = row; i < row + n; i++) {
        double got = rank_at(p->got, i), want = rank_at(p->want, i);
        bool may = got >= a && want >= b, must = got > a || want > b;

        if (isnan(val_real_at(p->got, i)) != isnan(val_real_at(p->want, i)) ||
            (must && !may))
            return i;
        if (first < 0 && (got >= a) != (want >= b))
            first = i;
        n_may += may;
        n_must += must;
    }
    return n_may >= k && n_must <= k ? -1 : first < 0 ? row : first;
}

int64_t
val_top_k_differs(const struct sm_tensor *got, const struct sm_tensor *want,
                  int64_t row, int64_t n, int64_t k)
{
    return top_k_differs(&(struct pair){ .got = got, .want = want }, row, n, k);
}

/* How many rows name other top k than expected, ties forgiven, and the first of them.
 */
static struct worst
measure_top_k(const struct pair *p)
{
    const int64_t n = row_len(p->want),
                  k = p->limit < (double)n ? (int64_t)p->limit : n;
    struct worst w = { .at = -1 };

    for (int64_t row = 0; row < p->want->n_elems; row += n) {
        int64_t at = top_k_differs(p, row, n, k);

        if (at < 0)
            continue;
        w.at = w.at < 0 ? at : w.at;
        w.error++;
    }
    return w;
}

/* How many elements differ, and the first of them. */
static struct worst
measure_exact(const struct pair *p)
{
    struct worst w = { .at = -1 };

    for (int64_t i = 0; i < p->want->n_elems; i++)
        if (!val_same_at(p->got, p->want, i)) {
            w.at = w.at < 0 ? i : w.at;
            w.error++;
        }
    return w;
}

static const struct kind {
    const char *name;
    const char *error; /* how `why` calls the error; NULL: a count of what differs */
    struct worst (*measure)(const struct pair *p);
    bool takes_complex;
    bool places; /* NaN and infinities must stand at the same places */
} kinds[] = {
    [VAL_REL_MAX] = { "rel_max", "error", measure_rel_max, true, true },
    [VAL_ABS] = { "abs", "absolute error", measure_abs, true, true },
    [VAL_MEAN_ABS] = { "mean_abs", "mean absolute error", measure_mean_abs, true,
                       true },
    [VAL_REL] = { "rel", "relative error", measure_rel, true, true },
    [VAL_ULP] = { "ulp", "error in ulp", measure_ulp, false, true },
    [VAL_COSINE] = { "cosine", "1 - cosine", measure_cosine, true, true },
    [VAL_TOP_K] = { "top_k", NULL, measure_top_k, false, false },
    [VAL_EXACT] = { "exact", NULL, measure_exact, true, false },
};
#define N_KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

const char *
val_tol_name(enum val_tol_kind kind)
{
    return kinds[kind].name;
}

int
val_tol_find(const char *name)
{
    for (int i = 0; i < N_KINDS; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return i;
    return -1;
}

bool
val_tolerance_counts(const struct val_case *c, const struct val_tolerance *t,
                     const char *output, int dtype)
{
    bool has_own = false;

    for (int i = 0; i < c->n_tolerances; i++)
        has_own |=
            c->tolerances[i].output && strcmp(c->tolerances[i].output, output) == 0;
    return has_own ? t->output && strcmp(t->output, output) == 0
                   : !t->output && !val_is_discrete(dtype);
}

/* ---- saying it ------------------------------------------------------------------ */

static void
index_of(const struct sm_tensor *t, int64_t at, int64_t index[SM_MAX_RANK])
{
    for (int d = t->rank - 1; d >= 0; d--) {
        index[d] = at % t->dims[d];
        at /= t->dims[d];
    }
}

static void
add_index(struct buf *b, const struct sm_tensor *t, int64_t at)
{
    int64_t index[SM_MAX_RANK];

    if (t->rank == 0 || at < 0)
        return;
    index_of(t, at, index);
    for (int d = 0; d < t->rank; d++)
        buf_addf(b, "%s%" PRId64, d ? ", " : " at [", index[d]);
    buf_addc(b, ']');
}

static void
add_string(struct buf *b, struct str s)
{
    const size_t most = 40;
    struct buf quoted AUTO(buf_release) = BUF_INIT;

    json_add_quoted(&quoted, (struct str){ s.p, s.n < most ? s.n : most });
    buf_addf(b, "%s%s", buf_str(&quoted), s.n > most ? "…" : "");
}

static void
add_elem(struct buf *b, const struct sm_tensor *t, int64_t i, int digits)
{
    switch (val_family_of(t->dtype)) {
    case VAL_F_STRING:
        add_string(b, val_string_at(t, i));
        return;
    case VAL_F_BOOL:
        buf_adds(b, val_int_at(t, i) ? "true" : "false");
        return;
    case VAL_F_INT:
        if (val_is_huge(t, i))
            buf_addf(b, "%" PRIu64, (uint64_t)val_int_at(t, i));
        else
            buf_addf(b, "%" PRId64, val_int_at(t, i));
        return;
    case VAL_F_COMPLEX:
        buf_addf(b, "%.*g%+.*gi", digits, val_real_at(t, i), digits, val_imag_at(t, i));
        return;
    default:
        buf_addf(b, "%.*g", digits, val_real_at(t, i));
    }
}

/* Both, with as many digits as tell the two apart. */
static void
pair_text(const struct sm_tensor *a, const struct sm_tensor *b, int64_t at,
          struct buf *got, struct buf *want)
{
    for (int digits = 6; digits <= 17; digits++) {
        buf_clear(got);
        buf_clear(want);
        add_elem(got, a, at, digits);
        add_elem(want, b, at, digits);
        if (strcmp(buf_str(got), buf_str(want)) != 0)
            break;
    }
}

/* " at [4, 7]: 0.93, not 0.96" */
static void
add_elems(struct buf *b, const struct pair *p, int64_t at)
{
    struct buf got AUTO(buf_release) = BUF_INIT, want AUTO(buf_release) = BUF_INIT;

    if (at < 0)
        return;
    pair_text(p->got, p->want, at, &got, &want);
    add_index(b, p->want, at);
    buf_addf(b, ": %s, not %s", buf_str(&got), buf_str(&want));
}

void
val_put_place(cJSON *o, const struct sm_tensor *got, const struct sm_tensor *want,
              int64_t at)
{
    struct buf a AUTO(buf_release) = BUF_INIT, b AUTO(buf_release) = BUF_INIT;
    int64_t index[SM_MAX_RANK];
    cJSON *list;

    if (at < 0)
        return;
    index_of(want, at, index);
    list = cJSON_AddArrayToObject(o, "at");
    for (int d = 0; d < want->rank; d++)
        json_put_int(list, NULL, index[d]);
    pair_text(got, want, at, &a, &b);
    json_put_str(o, "got", buf_str(&a));
    json_put_str(o, "want", buf_str(&b));
}

static void PRINTF(2, 3) fail(struct val_diff *out, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(out->why, sizeof(out->why), fmt, ap);
    va_end(ap);
    out->ok = false;
}

static void
add_shape(struct buf *b, const struct sm_tensor *t)
{
    struct sm_shape s = { .rank = t->rank };

    memcpy(s.dims, t->dims, sizeof(s.dims));
    sm_shape_text(&s, b);
}

/* Families and shapes agree. */
static bool
comparable(const char *output, const struct pair *p, struct val_diff *out)
{
    const enum val_family a = val_family_of(p->got->dtype),
                          b = val_family_of(p->want->dtype);
    struct buf got AUTO(buf_release) = BUF_INIT, want AUTO(buf_release) = BUF_INIT;

    if (a == VAL_F_NONE || b == VAL_F_NONE) {
        fail(out, "%s: %s cannot be compared", output,
             sm_dtype_name(a == VAL_F_NONE ? p->got->dtype : p->want->dtype));
        return false;
    }
    if (a != b) {
        fail(out, "%s: a %s (%s), not a %s (%s)", output, val_family_names[a],
             sm_dtype_info(p->got->dtype)->tf_name, val_family_names[b],
             sm_dtype_info(p->want->dtype)->tf_name);
        return false;
    }
    add_shape(&got, p->got);
    add_shape(&want, p->want);
    if (strcmp(buf_str(&got), buf_str(&want)) == 0)
        return true;
    fail(out, "%s: shape %s, not %s", output, buf_str(&got), buf_str(&want));
    return false;
}

static const struct kind *
pick_kind(enum val_tol_kind kind, enum val_family family)
{
    if (family == VAL_F_STRING)
        kind = VAL_EXACT;
    else if (kind == VAL_ULP && family != VAL_F_FLOAT && family != VAL_F_COMPLEX)
        kind = VAL_ABS; /* integers lie one apart */
    return &kinds[kind];
}

void
val_compare(const char *output, const struct sm_tensor *got,
            const struct sm_tensor *want, enum val_tol_kind kind, double limit,
            struct val_diff *out)
{
    const enum val_family family = val_family_of(want->dtype);
    const struct kind *k = pick_kind(kind, family);
    const struct pair p = { .got = got, .want = want, .limit = limit };
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct worst w;

    *out = (struct val_diff){ .ok = true, .worst_at = -1 };
    out->is_alike = comparable(output, &p, out);
    if (!out->is_alike || want->n_elems == 0)
        return;
    if (family == VAL_F_COMPLEX && !k->takes_complex) {
        fail(out, "%s: %s does not apply to complex numbers", output, k->name);
        return;
    }
    for (int64_t i = 0; k->places && i < want->n_elems; i++)
        if (!val_same_at(got, want, i) &&
            (!val_is_finite_at(got, i) || !val_is_finite_at(want, i))) {
            *out =
                (struct val_diff){ .is_alike = true, .worst = INFINITY, .worst_at = i };
            add_elems(&text, &p, i);
            fail(out, "%s%s", output, buf_str(&text));
            return;
        }
    w = k->measure(&p);
    out->worst = w.error;
    out->worst_at = w.at;
    if (w.error <= (k->error ? limit : 0))
        return;
    add_elems(&text, &p, w.at);
    if (k->error)
        fail(out, "%s: %s %.2g > %.3g%s", output, k->error, w.error, limit,
             buf_str(&text));
    else if (k->measure == measure_top_k)
        fail(out, "%s: the top %.0f differ in %.0f of %" PRId64 " rows, first%s",
             output, limit, w.error, want->n_elems / row_len(want), buf_str(&text));
    else
        fail(out, "%s: %.0f of %" PRId64 " differ, first%s", output, w.error,
             want->n_elems, buf_str(&text));
}
