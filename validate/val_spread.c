/* SPDX-License-Identifier: Apache-2.0 */
#include "validate/val_spread.h"

#include <math.h>
#include <stdlib.h>

enum { KINDS_MAX = 4096, KINDS_SHOWN = 20, TOP = 5 };

/* ---- errors --------------------------------------------------------------------- */

static int
bin_of(double error)
{
    const double decade = floor(log10(error));

    if (decade < VAL_DECADE_MIN)
        return 0;
    return 1 + (int)fmin(decade, VAL_DECADE_MAX) - VAL_DECADE_MIN;
}

void
val_errors_add(struct val_errors *e, const struct sm_tensor *got,
               const struct sm_tensor *want)
{
    const enum val_family family = val_family_of(want->dtype);

    if (family == VAL_F_STRING || family == VAL_F_NONE)
        return;
    e->n += want->n_elems;
    for (int64_t i = 0; i < want->n_elems; i++) {
        const double error = val_diff_at(got, want, i);

        if (error == 0) {
            e->n_same++;
        } else if (!isfinite(error)) {
            e->n_apart++;
        } else {
            e->bins[bin_of(error)]++;
            e->sum += error;
            e->max = fmax(e->max, error);
            e->shift += val_real_at(got, i) - val_real_at(want, i);
        }
    }
}

cJSON *
val_errors_json(const struct val_errors *e)
{
    const double n = (double)(e->n > e->n_apart ? e->n - e->n_apart : 1);
    cJSON *o = cJSON_CreateObject(), *bins;

    json_put_int(o, "n", e->n);
    json_put_int(o, "same", e->n_same);
    json_put_int(o, "apart", e->n_apart);
    json_put_real(o, "mean", e->sum / n);
    json_put_real(o, "max", e->max);
    json_put_real(o, "shift", e->shift / n);
    bins = cJSON_AddArrayToObject(o, "bins");
    for (int i = 0; i < VAL_DECADES; i++) {
        cJSON *bin;

        if (e->bins[i] == 0)
            continue;
        bin = cJSON_CreateObject();
        json_put_real(bin, "from", i == 0 ? 0 : pow(10, i - 1 + VAL_DECADE_MIN));
        json_put_int(bin, "n", e->bins[i]);
        cJSON_AddItemToArray(bins, bin);
    }
    return o;
}

/* ---- decisions ------------------------------------------------------------------ */

void
val_flips_release(struct val_flips *f)
{
    free(f->v);
    *f = (struct val_flips){ .n = 0 };
}

static void
add_flip(struct val_flips *f, int64_t from, int64_t to)
{
    for (int i = 0; i < f->n_kinds; i++)
        if (f->v[i].from == from && f->v[i].to == to) {
            f->v[i].n++;
            return;
        }
    if (f->n_kinds == KINDS_MAX) {
        f->is_cut = true;
        return;
    }
    if (f->n_kinds == f->cap_kinds) {
        f->cap_kinds = f->cap_kinds ? 2 * f->cap_kinds : 16;
        f->v = xreallocarray(f->v, (size_t)f->cap_kinds, sizeof(f->v[0]));
    }
    f->v[f->n_kinds++] = (struct val_flip){ from, to, 1 };
}

/* -1: none, every score is NaN. */
static int64_t
best_of(const struct sm_tensor *t, int64_t row, int64_t n)
{
    int64_t best = -1;

    for (int64_t i = 0; i < n; i++) {
        const double v = val_real_at(t, row + i);

        if (!isnan(v) && (best < 0 || v > val_real_at(t, row + best)))
            best = i;
    }
    return best;
}

static bool
are_probabilities(const struct sm_tensor *t)
{
    for (int64_t i = 0; i < t->n_elems; i++) {
        const double v = val_real_at(t, i);

        if (v < 0 || v > 1)
            return false;
    }
    return true;
}

static void
add_rows(struct val_flips *f, const struct sm_tensor *from, const struct sm_tensor *to,
         int64_t n)
{
    for (int64_t row = 0; row + n <= from->n_elems; row += n) {
        const int64_t a = best_of(from, row, n), b = best_of(to, row, n);

        f->n++;
        if (a != b) {
            f->n_flipped++;
            add_flip(f, a, b);
        }
        if (n > TOP) {
            f->n_top_5++;
            f->n_top_5_same += val_top_k_differs(to, from, row, n, TOP) < 0;
        }
    }
}

bool
val_flips_add(struct val_flips *f, const struct sm_tensor *from,
              const struct sm_tensor *to)
{
    const enum val_family family = val_family_of(from->dtype);
    const int64_t n_last = from->rank > 0 ? from->dims[from->rank - 1] : 0;

    if (family == VAL_F_FLOAT && from->rank == 2 && n_last > 1) {
        add_rows(f, from, to, n_last);
        return true;
    }
    if (family == VAL_F_FLOAT && from->rank >= 1 && from->rank <= 2 &&
        are_probabilities(from) && are_probabilities(to)) {
        for (int64_t i = 0; i < from->n_elems; i++) {
            const bool a = val_real_at(from, i) > 0.5, b = val_real_at(to, i) > 0.5;

            f->n++;
            f->n_flipped += a != b;
            if (a != b)
                add_flip(f, a, b);
        }
        return true;
    }
    if (!val_is_discrete(from->dtype))
        return false;
    f->n += from->n_elems;
    for (int64_t i = 0; i < from->n_elems; i++) {
        if (val_same_at(to, from, i))
            continue;
        f->n_flipped++;
        if (family != VAL_F_STRING && !val_is_huge(from, i) && !val_is_huge(to, i))
            add_flip(f, val_int_at(from, i), val_int_at(to, i));
    }
    return true;
}

static int
by_count(const void *a, const void *b)
{
    const struct val_flip *x = a, *y = b;

    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

cJSON *
val_flips_json(const struct val_flips *f)
{
    const double n = (double)(f->n ? f->n : 1);
    struct val_flip *sorted AUTO(free_ptr) =
        xcalloc((size_t)f->n_kinds + 1, sizeof(sorted[0]));
    cJSON *o = cJSON_CreateObject(), *list, *agree;

    json_put_int(o, "n", f->n);
    json_put_int(o, "flipped", f->n_flipped);
    json_put_real(o, "share", (double)f->n_flipped / n);
    agree = cJSON_AddObjectToObject(o, "agree");
    json_put_real(agree, "1", (double)(f->n - f->n_flipped) / n);
    if (f->n_top_5 > 0)
        json_put_real(agree, "5", (double)f->n_top_5_same / (double)f->n_top_5);
    list = cJSON_AddArrayToObject(o, "flips");
    for (int i = 0; i < f->n_kinds; i++)
        sorted[i] = f->v[i];
    qsort(sorted, (size_t)f->n_kinds, sizeof(sorted[0]), by_count);
    for (int i = 0; i < f->n_kinds && i < KINDS_SHOWN; i++) {
        cJSON *one = cJSON_CreateObject();

        json_put_int(one, "from", sorted[i].from);
        json_put_int(one, "to", sorted[i].to);
        json_put_int(one, "n", sorted[i].n);
        cJSON_AddItemToArray(list, one);
    }
    if (f->is_cut || f->n_kinds > KINDS_SHOWN)
        json_put_bool(o, "cut", true);
    return o;
}
