/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy_int.h"

#include <string.h>

static int
heal_alias(struct repo *r, const char *alias, struct err *err)
{
    struct sites sites AUTO(sites_release) = SITES_INIT;
    int e = sites_load(r, alias, &sites, err);

    if (e == 0)
        e = sites_lock(&sites, DEPLOY_LOCK_MS, err);
    return e < 0 ? e : heal(r, &sites, alias, err);
}

/* What the release replaced, and what it marked bad. */
static int
add_before(struct repo *r, const struct deploy_release *rel, cJSON *report,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct deploy_release before;
    cJSON *bad = cJSON_CreateArray();
    int64_t id;
    int e = db_get_int(r->db, &id, err,
                       "SELECT id FROM release WHERE model = ? AND alias = ? AND "
                       "number = ?",
                       "tti", rel->model, rel->alias, rel->replaces);

    if (e == 1)
        e = release_get(r, id, &before, err);
    if (e == 1)
        cJSON_AddItemToObject(report, "before", release_members_json(&before));
    if (e >= 0)
        e = db_query(r->db, &st, err,
                     "SELECT v.number FROM mark m JOIN version v ON v.id = "
                     "m.version_id WHERE m.release_id = ? ORDER BY v.number",
                     "i", rel->id);
    while (e >= 0 && (e = db_step(st, err)) == 1)
        json_put_int(bad, NULL, db_int(st, 0));
    if (cJSON_GetArraySize(bad) > 0)
        cJSON_AddItemToObject(report, "marked_bad", bad);
    else
        cJSON_Delete(bad);
    return e < 0 ? e : 0;
}

int
deploy_settle(struct repo *r, int64_t release_id, cJSON **report, struct err *err)
{
    struct deploy_release rel;
    int e = release_get(r, release_id, &rel, err);

    if (e == 1 && strcmp(rel.state, "intended") == 0) {
        e = heal_alias(r, rel.alias, err);
        if (e >= 0)
            e = release_get(r, release_id, &rel, err);
    }
    if (e <= 0 || strcmp(rel.state, "cancelled") == 0)
        return e < 0 ? e : 0;
    *report = cJSON_CreateObject();
    json_put_str(*report, "model", rel.model);
    json_put_str(*report, "alias", rel.alias);
    json_put_str(*report, "verb", rel.verb);
    json_put_bool(*report, "changed", true);
    json_put_int(*report, "release", rel.number);
    json_put_int(*report, "replaces", rel.replaces);
    json_put_int(*report, "latest", rel.latest);
    cJSON_AddItemToObject(*report, "live", release_members_json(&rel));
    e = add_before(r, &rel, *report, err);
    return e < 0 ? e : 1;
}

int
deploy_has_traffic(struct repo *r, int64_t version_id, struct buf *alias,
                   struct err *err)
{
    return db_get_text(r->db, alias, err,
                       "SELECT r.alias FROM release_member m JOIN release r "
                       "ON r.id = m.release_id WHERE m.version_id = ? AND "
                       "m.weight + m.mirror > 0 AND r.state IN ('live', 'intended') "
                       "ORDER BY r.alias LIMIT 1",
                       "i", version_id);
}
