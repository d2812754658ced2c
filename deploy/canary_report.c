/* SPDX-License-Identifier: Apache-2.0 */
/* What an analysis has to tell, as JSON. */
#include "deploy/canary_int.h"

#include <math.h>

#define PSI_ALERT                                                                      \
    0.25 /* from where on a distribution is commonly said to have moved                \
          */

static void
put_value(cJSON *o, const char *key, const struct canary_metric *m, double v)
{
    if (isnan(v)) {
        cJSON_AddNullToObject(o, key);
        return;
    }
    json_put_real(o, key,
                  m->kind == CANARY_QUANTILE || m->kind == CANARY_MEAN ? v * 1000 : v);
}

static cJSON *
check_json(const struct canary *c, int member, int k)
{
    const struct canary_metric *m = &c->metric[k];
    const struct canary_pair *p = &c->pair[member];
    const struct canary_check *check = &p->check[k];
    struct buf why AUTO(buf_release) = BUF_INIT;
    cJSON *o = cJSON_CreateObject();

    json_put_str(o, "metric", m->text);
    json_put_int(o, "version", c->source.rel.members[member].number);
    if (m->relative) {
        put_value(o, "canary", m, canary_value(c, m, &p->total[1]));
        put_value(o, "stable", m, canary_value(c, m, &p->total[0]));
        json_put_real(o, "e_value", exp(fmin(canary_log_e(m, check), 600)));
        json_put_real(o, "e_value_needed", canary_needed(c));
    } else {
        put_value(o, "canary", m, check->measured);
        json_put_int(o, "successful", check->tally.n[CANARY_SUCCESSFUL]);
        json_put_int(o, "failed", check->tally.n[CANARY_FAILED]);
        json_put_int(o, "inconclusive", check->tally.n[CANARY_INCONCLUSIVE]);
        json_put_int(o, "errors", check->tally.n[CANARY_ERROR]);
    }
    json_put_str(o, "state",
                 check->breached                         ? "breach"
                 : canary_is_missing(c, member, k, &why) ? "inconclusive"
                                                         : "passes");
    return o;
}

static void
put_drift(cJSON *list, struct canary *c, int member)
{
    struct canary_drift d;
    cJSON *o;

    if (!c->source.scores ||
        !canary_drift(&c->source.scores[0], &c->source.scores[member], &d))
        return;
    o = cJSON_CreateObject();
    json_put_int(o, "version", c->source.rel.members[member].number);
    json_put_real(o, "psi", d.psi);
    json_put_real(o, "ks", d.ks);
    json_put_real(o, "ks_chance", d.p);
    json_put_bool(o, "alert", d.psi > PSI_ALERT || d.p < c->alpha);
    cJSON_AddItemToArray(list, o);
}

cJSON *
canary_report(struct canary *c)
{
    static const char *const outcomes[] = { [CANARY_GOES_ON] = "goes on",
                                            [CANARY_BREACH] = "breach",
                                            [CANARY_STUCK] = "inconclusive" };
    cJSON *o = cJSON_CreateObject();
    cJSON *versions = cJSON_AddArrayToObject(o, "versions"), *checks, *drift;

    json_put_str(o, "model", c->source.rel.model);
    json_put_str(o, "alias", c->source.rel.alias);
    json_put_int(o, "look", c->n_looks);
    json_put_str(o, "outcome", outcomes[c->outcome]);
    for (int i = 0; i < c->source.rel.n_members; i++) {
        const struct canary_traffic *t = &c->pair[i ? i : 1].total[i > 0];
        cJSON *v = cJSON_CreateObject();

        json_put_int(v, "version", c->source.rel.members[i].number);
        json_put_int(v, "weight", c->source.rel.members[i].weight);
        json_put_real(v, "requests", t->n);
        json_put_real(v, "errors", t->errors);
        cJSON_AddItemToArray(versions, v);
    }
    checks = cJSON_AddArrayToObject(o, "checks");
    for (int i = 1; i < c->source.rel.n_members; i++)
        for (int k = 0; k < c->n_metrics; k++)
            cJSON_AddItemToArray(checks, check_json(c, i, k));
    drift = cJSON_CreateArray();
    for (int i = 1; i < c->source.rel.n_members; i++)
        put_drift(drift, c, i);
    if (drift->child)
        cJSON_AddItemToObject(o, "drift", drift);
    else
        cJSON_Delete(drift);
    if (c->source.n_bad > 0)
        json_put_real(o, "lines_not_understood", c->source.n_bad);
    if (c->source.n_other > 0)
        json_put_real(o, "lines_of_other_versions", c->source.n_other);
    if (c->error[0])
        json_put_str(o, "error", c->error);
    if (c->source.note[0])
        json_put_str(o, "note", c->source.note);
    if (c->why.len)
        json_put_str(o, "why", buf_str(&c->why));
    return o;
}
