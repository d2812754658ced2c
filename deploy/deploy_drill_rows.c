/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of drills: one that is open, and the last that was measured. */
#include "deploy/deploy_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool
drill_is_there(const struct deploy_release *live, int64_t number)
{
    return strcmp(live->verb, "drill") == 0 && live->replaces == number;
}

int
drill_open(struct repo *r, const char *model, const char *alias, int64_t *row,
           int64_t *from_release, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT id, from_release FROM drill WHERE alias = ? AND model = ? "
                     "AND state = 'open' ORDER BY id DESC LIMIT 1",
                     "tt", alias, model);

    if (e == 0 && (e = db_step(st, err)) == 1) {
        *row = db_int(st, 0);
        *from_release = db_int(st, 1);
    }
    return e;
}

int
drill_came_from(struct repo *r, const struct deploy_release *live,
                struct deploy_release *out, struct err *err)
{
    int64_t row, number, id;
    int e = drill_open(r, live->model, live->alias, &row, &number, err);

    if (e <= 0 || !drill_is_there(live, number))
        return e < 0 ? e : 0;
    e = db_get_int(r->db, &id, err,
                   "SELECT id FROM release WHERE model = ? AND alias = ? AND "
                   "number = ?",
                   "tti", live->model, live->alias, number);
    if (e == 1)
        e = release_get(r, id, out, err);
    for (int i = 0; e == 1 && i < out->n_members; i++) {
        struct repo_version v;

        e = repo_version_get(r, out->members[i].version_id, &v, err);
        e = e < 0 ? e : strcmp(v.state, "ready") == 0;
    }
    if (e <= 0)
        return e;
    out->id = out->number = out->intended_ns = out->observed_ns = 0;
    weights_label(out);
    return 1;
}

/* The slowest target of a way; -1: one was not seen. */
static int
slowest_ms(const cJSON *way)
{
    const cJSON *o;
    double most = 0;

    cJSON_ArrayForEach(o, cJSON_GetObjectItem(way, "targets"))
    {
        const cJSON *ms = cJSON_GetObjectItem(o, "observed_ms");

        if (!cJSON_IsNumber(ms))
            return -1;
        most = ms->valuedouble > most ? ms->valuedouble : most;
    }
    return (int)most;
}

static int
put_last(struct repo *r, const struct deploy_release *rel, cJSON *o, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    cJSON *report AUTO(json_free) = NULL;
    char time[CLOCK_TEXT_BYTES];
    const cJSON *there;
    cJSON *last;
    int e = db_query(r->db, &st, err,
                     "SELECT state, report, ended_ns, actor FROM drill WHERE alias = ? "
                     "AND model = ? AND state IN ('done', 'unseen') "
                     "ORDER BY id DESC LIMIT 1",
                     "tt", rel->alias, rel->model);

    if (e == 0)
        e = db_step(st, err);
    if (e == 1)
        e = json_parse(&report, str_of(db_text(st, 1)), "a drill's report", err);
    else if (e == 0)
        cJSON_AddNullToObject(o, "drill");
    if (e < 0 || !report)
        return e;
    there = cJSON_GetObjectItem(report, "there");
    last = cJSON_AddObjectToObject(o, "drill");
    json_put_str(last, "time", clock_text(db_int(st, 2), time));
    json_put_int(last, "days", (clock_now_ns() - db_int(st, 2)) / 86400000000000);
    json_put_str(last, "by", db_text(st, 3));
    json_put_int(
        last, "switch_ms",
        (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItem(there, "switch_ms")));
    if (slowest_ms(there) >= 0)
        json_put_int(last, "observed_ms", slowest_ms(there));
    else
        cJSON_AddNullToObject(last, "observed_ms");
    return 0;
}

int
drill_status(struct repo *r, const struct deploy_release *rel, cJSON *o,
             cJSON *unfinished, struct err *err)
{
    char *note AUTO(free_ptr) = NULL;
    int64_t row, number;
    cJSON *u;
    int e = put_last(r, rel, o, err);

    if (e >= 0)
        e = drill_open(r, rel->model, rel->alias, &row, &number, err);
    if (e <= 0 || !drill_is_there(rel, number))
        return e < 0 ? e : 0;
    note =
        xasprintf("under way, or interrupted: sluice drill %s@%s --yes brings release "
                  "%" PRId64 " back",
                  rel->model, rel->alias, number);
    u = cJSON_CreateObject();
    json_put_str(u, "model", rel->model);
    json_put_str(u, "alias", rel->alias);
    json_put_int(u, "release", rel->number);
    json_put_str(u, "verb", rel->verb);
    json_put_str(u, "by", rel->actor);
    json_put_str(u, "note", note);
    cJSON_AddItemToArray(unfinished, u);
    return 0;
}

int
drill_ago(struct repo *r, const char *model, const char *alias, int64_t *ago_ns,
          struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release live, to;
    int64_t at_ns, now_ns;
    int e = db_get_int(r->db, &at_ns, err,
                       "SELECT ended_age_ns FROM drill WHERE alias = ? AND model = ? "
                       "AND state = 'done' ORDER BY id DESC LIMIT 1",
                       "tt", alias, model);

    if (e == 1) {
        e = repo_age(r, &now_ns, err);
        *ago_ns = now_ns - at_ns;
        return e < 0 ? e : 1;
    }
    if (e == 0)
        e = deploy_live(r, model, alias, &live, err);
    if (e == 1)
        e = bad_load(r, model, alias, &bad, err);
    else if (e == 0)
        return 2;
    if (e == 0)
        e = rollback_find(r, &live, &bad, &to, err);
    return e < 0 ? e : e == 0 ? 2 : 0;
}
