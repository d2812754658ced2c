/* SPDX-License-Identifier: Apache-2.0 */
/* "Not worse than the live version by more than d": both values come from verdicts on
 * the same set, so nothing is run again. */
#include "validate/val_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROUNDING 1e-9 /* 0.97 - 0.96 is a little more than 0.01 */

/* The value of the same metric in another report; NaN: it has none. */
static double
value_in(const char *report_json, const cJSON *metric)
{
    cJSON *report AUTO(json_free) = cJSON_Parse(report_json);
    const cJSON *m;

    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(report, "metrics"))
    {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(m, "value");

        if (cJSON_IsNumber(value) &&
            strcmp(val_text(m, "title"), val_text(metric, "title")) == 0 &&
            strcmp(val_text(m, "output"), val_text(metric, "output")) == 0 &&
            strcmp(val_text(m, "labels"), val_text(metric, "labels")) == 0)
            return value->valuedouble;
    }
    return NAN;
}

/* The live version's value from its newest verdict on the set; NaN and `why`: not
 * known. */
static int
live_value(struct repo *r, const struct repo_version *live, const struct digest *set,
           const cJSON *metric, struct val_drop *d, struct err *err)
{
    struct val_verdict verdict AUTO(val_verdict_release) = { .id = 0 };
    const char *alias = val_text(metric, "baseline");
    int e = val_verdict_newest(r, live->id, set, &verdict, err);

    if (e == 1)
        d->live_value = value_in(verdict.report_json, metric);
    if (e == 0)
        snprintf(d->why, sizeof(d->why),
                 "%s@%" PRId64 ", live on %s, has no verdict on this set", live->model,
                 live->number, alias);
    else if (e == 1 && isnan(d->live_value))
        snprintf(d->why, sizeof(d->why),
                 "%s@%" PRId64 ", live on %s, has no %s by its verdict (%s)",
                 live->model, live->number, alias, val_text(metric, "title"),
                 val_outcome_text(verdict.outcome));
    snprintf(d->fix, sizeof(d->fix), "sluice validate %s@%" PRId64, live->model,
             live->number);
    return e < 0 ? e : 0;
}

static void
compare(const cJSON *metric, const struct repo_version *live, struct val_drop *d)
{
    const double value = val_number(metric, "value");
    const double max_drop = val_number(metric, "max_drop");
    const double max_share = val_number(metric, "max_drop_relative");
    const double drop =
        cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(metric, "higher_is_better"))
            ? value - d->live_value
            : d->live_value - value;
    const bool too_big = drop > max_drop + ROUNDING;
    const bool too_big_share = drop > max_share * fabs(d->live_value) + ROUNDING;
    struct buf why AUTO(buf_release) = BUF_INIT;

    if (!too_big && !too_big_share) {
        d->state = VAL_DROP_OK;
        return;
    }
    d->state = VAL_DROP_TOO_BIG;
    buf_addf(&why, "%s ", val_text(metric, "title"));
    val_add_number(&why, value, d->live_value);
    buf_addf(&why, " is worse than the ");
    val_add_number(&why, d->live_value, value);
    buf_addf(&why, " of %s@%" PRId64 " (%s) by more than %g%s", live->model,
             live->number, val_text(metric, "baseline"),
             too_big ? max_drop : max_share * 100, too_big ? "" : " %");
    snprintf(d->why, sizeof(d->why), "%s", buf_str(&why));
}

int
val_drop_check(struct repo *r, const struct repo_version *v, const struct digest *set,
               const cJSON *metric, int64_t live_id, struct val_drop *out,
               struct err *err)
{
    struct repo_version live;
    int e;

    *out = (struct val_drop){ .state = VAL_DROP_OK, .live_value = NAN };
    if (live_id == 0) {
        out->state = VAL_DROP_NO_LIVE;
        snprintf(out->why, sizeof(out->why), "nothing is live on %s to compare with",
                 val_text(metric, "baseline"));
        return 0;
    }
    e = repo_version_get(r, live_id, &live, err);
    if (e < 0)
        return e;
    out->live_number = live.number;
    if (live_id == v->id) /* it cannot be worse than itself */
        return 0;
    e = live_value(r, &live, set, metric, out, err);
    if (e < 0)
        return e;
    if (isnan(out->live_value))
        out->state = VAL_DROP_UNKNOWN;
    else
        compare(metric, &live, out);
    return 0;
}
