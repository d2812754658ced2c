/* SPDX-License-Identifier: Apache-2.0 */
/* Budgets: how fast and small a model must be.
 *
 * Model and baseline take turns, block by block, each in a fresh process, so that what
 * else the machine does hits both. A block gives one value of each kind; the value is
 * the median of the blocks, its noise half of what lies between the smallest and the
 * largest. A limit that lies inside the noise is neither met nor missed. */
#include "validate/val_int.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_BLOCKS = 5, RUNS = 40, MAX_BLOCK_MS = 400, MAX_BUDGETS = 32 };

enum kind { LOAD, FIRST, P50, P99, THROUGHPUT, PEAK, SIZE, N_KINDS };
static const char *const kinds[N_KINDS] = { "load_ms", "first_ms",   "p50_ms",
                                            "p99_ms",  "throughput", "peak_mb",
                                            "size_mb" };
static const char *const units[N_KINDS] = { " ms",           " ms", " ms", " ms",
                                            " cases/second", " MB", " MB" };

struct budget {
    char *text; /* as it was asked for */
    enum kind kind;
    bool relative; /* to the baseline's value */
    double limit;  /* or share: 0.1 for +10% */
};

struct measured {
    double value[N_KINDS], noise[N_KINDS];
};

static int
parse(struct budget *out, const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');
    char *end;
    int i = 0;

    for (; eq && i < N_KINDS; i++)
        if (strlen(kinds[i]) == (size_t)(eq - text) &&
            strncmp(kinds[i], text, (size_t)(eq - text)) == 0)
            break;
    if (!eq || i == N_KINDS)
        return err_set(err, ERR_INVALID,
                       "budget '%s': wanted KIND=LIMIT or KIND=+10%%; kinds: load_ms, "
                       "first_ms, p50_ms, p99_ms, throughput, peak_mb, size_mb",
                       text);
    *out = (struct budget){ .kind = (enum kind)i };
    out->limit = strtod(eq + 1, &end);
    out->relative = *end == '%';
    if (end == eq + 1 || !isfinite(out->limit) || end[out->relative] != '\0' ||
        (out->relative ? out->limit <= -100 : out->limit <= 0))
        return err_set(err, ERR_INVALID,
                       "budget '%s': wanted a limit above 0 (p99_ms=5), or a share "
                       "of the baseline's (p99_ms=+10%%)",
                       text);
    out->limit /= out->relative ? 100 : 1;
    out->text = xstrdup(text);
    return 0;
}

/* ---- measuring ------------------------------------------------------------------ */

static int
by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One run of what comes next. */
struct pass {
    const struct backend_ops *ops;
    struct backend *b;
    double ms[RUNS], first_ms;
    int n;
    int64_t until_ns;
};

static int
note_run(void *arg, const struct val_result *res, struct err *err)
{
    struct pass *p = arg;

    if (res->error)
        return err_set(err, ERR_FAILED, "%s: %s", res->c->name, res->error->msg);
    if (p->first_ms < 0)
        p->first_ms = res->run_ms;
    else if (p->n < RUNS)
        p->ms[p->n++] = res->run_ms;
    return 0;
}

static int
measure_block(const char *dir, const struct val_golden *g,
              const struct backend_ops *ops, double out[N_KINDS], struct err *err)
{
    struct pass p = { .ops = ops, .first_ms = -1 };
    double sum = 0;
    int r;

    if (val_load(g, ops, dir, &p.b, err) < 0)
        return -(int)err->code;
    p.until_ns = clock_mono_ns() + (int64_t)MAX_BLOCK_MS * 1000000;
    do
        r = val_run_cases(g, ops, p.b, note_run, &p, err);
    while (r == 0 && p.n < RUNS && clock_mono_ns() < p.until_ns &&
           ops->reset(p.b, err) == 0);
    if (r == 0 && err->code != ERR_OK)
        r = -(int)err->code;
    out[LOAD] = ops->load_ms(p.b);
    out[PEAK] = ops->peak_bytes ? (double)ops->peak_bytes(p.b) / 1e6 : NAN;
    ops->close(p.b);
    if (p.n == 0)
        p.ms[p.n++] = p.first_ms;
    qsort(p.ms, (size_t)p.n, sizeof(p.ms[0]), by_size);
    for (int i = 0; i < p.n; i++)
        sum += p.ms[i];
    out[FIRST] = out[LOAD] + p.first_ms;
    out[P50] = p.ms[p.n / 2];
    out[P99] = p.ms[(int)ceil(0.99 * p.n) - 1];
    out[THROUGHPUT] = sum > 0 ? p.n / sum * 1e3 : NAN;
    return r;
}

static void
settle(double blocks[N_BLOCKS][N_KINDS], double size_mb, struct measured *out)
{
    for (int k = 0; k < SIZE; k++) {
        double v[N_BLOCKS];

        for (int i = 0; i < N_BLOCKS; i++)
            v[i] = blocks[i][k];
        qsort(v, N_BLOCKS, sizeof(v[0]), by_size);
        out->value[k] = v[N_BLOCKS / 2];
        out->noise[k] = (v[N_BLOCKS - 1] - v[0]) / 2;
    }
    out->value[SIZE] = size_mb;
    out->noise[SIZE] = 0;
}

/* ---- judging -------------------------------------------------------------------- */

static void
put_measured(cJSON *times, const char *key, const struct measured *m)
{
    cJSON *o = cJSON_AddObjectToObject(times, key);

    for (int k = 0; k < N_KINDS; k++) {
        cJSON *one = cJSON_AddObjectToObject(o, kinds[k]);

        json_put_real(one, "value", m->value[k]);
        json_put_real(one, "noise", m->noise[k]);
    }
}

enum standing { KEPT, MISSED, UNSURE, NO_BASELINE, NO_VALUE };
static const char *const standings[] = { "kept", "missed",
                                         "the limit lies inside the noise",
                                         "no baseline to measure beside",
                                         "this backend cannot say" };

static enum standing
stand(const struct budget *b, const struct measured *m,
      const struct measured *base_or_null, double *limit)
{
    const double base = base_or_null ? base_or_null->value[b->kind] : NAN;
    const double base_noise = base_or_null ? base_or_null->noise[b->kind] : 0;
    const double noise =
        m->noise[b->kind] + (b->relative ? base_noise * (1 + b->limit) : 0);
    double over;

    *limit = b->relative ? base * (1 + b->limit) : b->limit;
    over = (m->value[b->kind] - *limit) * (b->kind == THROUGHPUT ? -1 : 1);
    if (!isfinite(over))
        return b->relative ? NO_BASELINE : NO_VALUE;
    if (noise > 0 && fabs(over) <= noise)
        return UNSURE;
    return over > 0 ? MISSED : KEPT;
}

/* What was measured stands under "times": a check says only where the limit lies. */
static void
judge(cJSON *report, const struct budget *b, const struct measured *m,
      const struct measured *base_or_null, int *n_missed, int *n_unsure)
{
    char *id AUTO(free_ptr) = xasprintf("budget %s", b->text);
    double limit;
    const enum standing s = stand(b, m, base_or_null, &limit);
    const char *bound = b->kind == THROUGHPUT ? "at least" : "at most";
    char *wanted AUTO(free_ptr) =
        b->relative ? xasprintf("%s the baseline's %+g %%", bound, 100 * b->limit)
                    : xasprintf("%s %g%s", bound, b->limit, units[b->kind]);

    val_check_add(report, id, wanted, standings[s], s == KEPT);
    if (s == UNSURE) {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(report, "checks");

        json_put_bool(cJSON_GetArrayItem(list, cJSON_GetArraySize(list) - 1),
                      "inconclusive", true);
        (*n_unsure)++;
    } else {
        *n_missed += s != KEPT;
    }
}

static int
measure(const struct val_sides *s, const struct val_golden *g,
        const struct backend_ops *ops, struct measured *m, struct measured *base,
        struct err *err)
{
    double blocks[2][N_BLOCKS][N_KINDS];

    for (int i = 0; i < N_BLOCKS; i++)
        for (int side = 0; side < (s->baseline_dir ? 2 : 1); side++)
            if (measure_block(side ? s->baseline_dir : s->dir, g, ops, blocks[side][i],
                              err) < 0)
                return err_ctx(err, "%s", side ? "baseline" : "budgets");
    settle(blocks[0], s->size_mb, m);
    if (s->baseline_dir)
        settle(blocks[1], s->baseline_size_mb, base);
    return 0;
}

static int
parse_all(struct budget *v, int *n, const cJSON *list, struct err *err)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, list)
    {
        if (!cJSON_IsString(one) || *n == MAX_BUDGETS)
            return err_set(err, ERR_INVALID,
                           "budgets: wanted at most %d texts such as \"p99_ms=5\"",
                           MAX_BUDGETS);
        if (parse(&v[*n], one->valuestring, err) < 0)
            return -(int)err->code;
        (*n)++;
    }
    return 0;
}

int
val_budgets_check(const cJSON *list, struct err *err)
{
    struct budget v[MAX_BUDGETS];
    int n = 0, r = parse_all(v, &n, list, err);

    while (n > 0)
        free(v[--n].text);
    return r;
}

cJSON *
val_budgets_all(const struct val_golden *g, const cJSON *asked, cJSON *report)
{
    const cJSON *lists[] = { g->budgets, asked }, *one;
    cJSON *all = cJSON_CreateArray();

    for (int i = 0; i < 2; i++)
        cJSON_ArrayForEach(one, lists[i])
            cJSON_AddItemToArray(all, cJSON_Duplicate(one, true));
    if (!all->child)
        json_free(&all);
    else if (asked)
        cJSON_AddItemToObject(report, "budgets", cJSON_Duplicate(asked, true));
    return all;
}

int
val_budgets_judge(const cJSON *list, const struct val_sides *sides,
                  const struct val_golden *g, const struct backend_ops *ops,
                  cJSON *report, enum val_outcome *outcome, struct err *err)
{
    struct budget v[MAX_BUDGETS];
    struct measured m, base;
    int n = 0, n_missed = 0, n_unsure = 0;
    int r = parse_all(v, &n, list, err);

    if (r == 0 && n > 0 && *outcome == VAL_PASSED)
        r = measure(sides, g, ops, &m, &base, err);
    if (r == 0 && n > 0 && *outcome == VAL_PASSED) {
        cJSON *times = val_times(report, NULL);

        put_measured(times, "measured", &m);
        if (sides->baseline_dir)
            put_measured(times, "measured_baseline", &base);
        for (int i = 0; i < n; i++)
            judge(report, &v[i], &m, sides->baseline_dir ? &base : NULL, &n_missed,
                  &n_unsure);
        if (n_missed + n_unsure > 0) {
            char *text AUTO(free_ptr) =
                xasprintf("%d budget%s missed, %d inside the noise", n_missed,
                          n_missed == 1 ? "" : "s", n_unsure);

            val_report_problem(report, text);
        }
        *outcome = n_missed > 0   ? VAL_FAILED
                   : n_unsure > 0 ? VAL_INCONCLUSIVE
                                  : VAL_PASSED;
    }
    while (n > 0)
        free(v[--n].text);
    return r;
}

/* ---- of a policy ----------------------------------------------------------------- */

static void
read_measured(const cJSON *times, const char *key, struct measured *out)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(times, key);

    for (int k = 0; k < N_KINDS; k++) {
        const cJSON *one = cJSON_GetObjectItemCaseSensitive(o, kinds[k]);

        out->value[k] = val_number(one, "value");
        out->noise[k] = val_number(one, "noise");
    }
}

int
val_budgets_look(const cJSON *list, const cJSON *times, bool beside, bool allow_unsure,
                 struct val_answer *out, struct err *err)
{
    struct budget v[MAX_BUDGETS];
    struct measured m, base;
    int n = 0, r = parse_all(v, &n, list, err);

    read_measured(times, "measured", &m);
    read_measured(times, "measured_baseline", &base);
    out->ok = r == 0;
    for (int i = 0; r == 0 && i < n; i++) {
        double limit;
        const enum standing s = stand(&v[i], &m, &base, &limit);

        if (v[i].relative && !beside)
            continue;
        buf_addf(&out->saw, "%s%s %.3g ± %.2g, limit %.3g: %s",
                 out->saw.len ? "; " : "", kinds[v[i].kind], m.value[v[i].kind],
                 m.noise[v[i].kind], limit, standings[s]);
        if (s == UNSURE && allow_unsure)
            buf_adds(&out->saw, " (the policy lets that through)");
        out->ok &= s == KEPT || (s == UNSURE && allow_unsure);
    }
    while (n > 0)
        free(v[--n].text);
    return r;
}
