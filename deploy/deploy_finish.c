/* SPDX-License-Identifier: Apache-2.0 */
/* How a release ends: done, or never. Works from rows alone, so that whoever heals an
 * intent does exactly what its author would have done. */
#include "deploy/deploy_int.h"

#include "base/clock.h"
#include "repo/gc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
tx_end_p(struct db **db)
{
    if (*db)
        db_rollback(*db);
}

cJSON *
release_members_json(const struct deploy_release *rel)
{
    cJSON *list = cJSON_CreateArray();
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(rel, i)) != NULL; i++) {
        cJSON *o;

        if (m->weight == 0 && m->mirror == 0)
            continue;
        o = cJSON_CreateObject();
        json_put_int(o, "version", m->number);
        json_put_int(o, "weight", m->weight);
        if (m->mirror > 0)
            json_put_int(o, "mirror", m->mirror);
        cJSON_AddItemToArray(list, o);
    }
    return list;
}

/* What has traffic is not bad. */
static int
unmark(struct repo *r, const struct deploy_release *rel, struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    int e = bad_load(r, rel->model, rel->alias, &bad, err);

    for (int i = 0; e == 0 && i < rel->n_members; i++)
        if (bad_has(&bad, rel->members[i].version_id))
            e = db_run(
                r->db, err,
                "DELETE FROM mark WHERE model = ? AND alias = ? AND version_id = ?",
                "tti", rel->model, rel->alias, rel->members[i].version_id);
    return e;
}

/* What a rollback leaves without traffic is bad on this alias; but what a drill only
 * went to is not. */
static int
mark(struct repo *r, const struct deploy_release *rel,
     const struct deploy_release *from, cJSON *left, struct err *err)
{
    int64_t row, number;
    int e = drill_open(r, rel->model, rel->alias, &row, &number, err);

    if (e < 0 || (e == 1 && drill_is_there(from, number)))
        return e < 0 ? e : 0;
    for (int i = 0; e >= 0 && i < from->n_members; i++) {
        const struct deploy_member *m = &from->members[i];

        if (weights_of(rel, m->version_id) > 0)
            continue;
        e = db_run(
            r->db, err,
            "INSERT INTO mark(model, alias, version_id, release_id) "
            "VALUES(?, ?, ?, ?) ON CONFLICT(model, alias, version_id) DO NOTHING",
            "ttii", rel->model, rel->alias, m->version_id, rel->id);
        cJSON_AddItemToArray(left, cJSON_CreateNumber((double)m->number));
    }
    return e < 0 ? e : 0;
}

int
event_add(struct repo *r, const char *verb, const char *object, const char *digest,
          const char *outcome, const cJSON *body, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    json_print(body, &text, true);
    return acc_record(r->acc,
                      &(struct acc_event){ .verb = verb,
                                           .object = object,
                                           .digest = digest,
                                           .outcome = outcome,
                                           .body = buf_str(&text) },
                      err);
}

static int
record(struct repo *r, const struct deploy_release *rel,
       const struct deploy_release *from, const cJSON *left, bool healed,
       const char *outcome, struct err *err)
{
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES], digest[REPO_DIGEST_BYTES];
    struct repo_version v;
    int e = repo_version_get(r, rel->latest_id, &v, err);

    if (e < 0)
        return e;
    repo_digest_text(&v.digest, digest);
    snprintf(object, sizeof(object), "%s@%s", rel->model, rel->alias);
    json_put_int(body, "release", rel->number);
    json_put_int(body, "replaces", rel->replaces);
    if (from)
        cJSON_AddItemToObject(body, "from", release_members_json(from));
    cJSON_AddItemToObject(body, "to", release_members_json(rel));
    json_put_int(body, "latest", rel->latest);
    json_put_str(body, "reason", rel->reason);
    if (left && cJSON_GetArraySize(left) > 0)
        cJSON_AddItemToObject(body, "marked_bad", cJSON_Duplicate(left, true));
    if (healed) {
        json_put_bool(body, "healed", true);
        json_put_str(body, "intended_by", rel->actor);
    }
    return event_add(r, rel->verb, object, digest, outcome, body, err);
}

/* 1 and the release that `rel` replaces, 0: the first. Under the target's lock, or in
 * one transaction, it is still the one that was live when `rel` was intended. */
static int
replaced(struct repo *r, const struct deploy_release *rel, struct deploy_release *out,
         struct err *err)
{
    int e = deploy_live(r, rel->model, rel->alias, out, err);

    if (e < 0)
        return e;
    if ((e == 0 && rel->replaces != 0) || (e == 1 && out->number != rel->replaces))
        return err_set(err, ERR_CONFLICT,
                       "%s@%s: release %" PRId64 " replaces release %" PRId64
                       ", but that one is no longer live",
                       rel->model, rel->alias, rel->number, rel->replaces);
    return e;
}

static int
set_state(struct repo *r, const struct deploy_release *rel, const char *state,
          struct err *err)
{
    return db_run(r->db, err,
                  "UPDATE release SET state = ?, intended_ns = ?, observed_ns = ? "
                  "WHERE id = ?",
                  "tiii", state, rel->intended_ns, rel->observed_ns, rel->id);
}

/* Since when, by the store's age; approvals that asked for it have what they wanted. */
static int
settle(struct repo *r, const struct deploy_release *rel,
       const struct deploy_release *from_or_null, struct err *err)
{
    int64_t age_ns;
    int e = repo_age_tick(r, &age_ns, err);

    if (e == 0 && from_or_null)
        e = db_run(r->db, err,
                   "UPDATE release_age SET until_age_ns = ? WHERE release_id = ?", "ii",
                   age_ns, from_or_null->id);
    if (e == 0)
        e = db_run(r->db, err,
                   "INSERT INTO release_age(release_id, since_age_ns) VALUES(?, ?)",
                   "ii", rel->id, age_ns);
    for (int i = 0; e == 0 && i < rel->n_members; i++)
        e = val_approval_done(r, rel->members[i].version_id, rel->alias, err);
    return e;
}

int
release_finish(struct repo *r, struct deploy_release *rel, int64_t observed_ns,
               bool healed, cJSON **left, struct err *err)
{
    struct deploy_release from;
    struct repo_version v;
    cJSON *bad AUTO(json_free) = cJSON_CreateArray();
    int had = replaced(r, rel, &from, err);
    int e = had < 0 ? had : repo_version_get(r, rel->latest_id, &v, err);

    rel->intended_ns = clock_now_ns();
    rel->observed_ns = observed_ns;
    if (e == 0 && had)
        e = set_state(r, &from, "past", err);
    if (e == 0)
        e = set_state(r, rel, "live", err);
    if (e == 0)
        e = settle(r, rel, had ? &from : NULL, err);
    if (e == 0)
        e = unmark(r, rel, err);
    if (e == 0 && had && strcmp(rel->verb, "rollback") == 0)
        e = mark(r, rel, &from, bad, err);
    if (e == 0)
        e = repo_alias_set(r, v.model_id, rel->alias, rel->latest_id, rel->id, err);
    if (e == 0)
        e = db_run(r->db, err, "DELETE FROM intent WHERE release_id = ?", "i", rel->id);
    if (e == 0)
        e = record(r, rel, had ? &from : NULL, bad, healed, "ok", err);
    if (e == 0 && left) {
        *left = bad;
        bad = NULL;
    }
    return e < 0 ? e : 0;
}

/* healed: records an event. */
static int
release_cancel(struct repo *r, const struct deploy_release *rel, bool healed,
               struct err *err)
{
    int e = set_state(r, rel, "cancelled", err);

    if (e == 0)
        e = db_run(r->db, err, "DELETE FROM intent WHERE release_id = ?", "i", rel->id);
    if (e == 0)
        e = acc_key_cancel(r->acc, rel->id, err);
    if (e == 0 && healed)
        e = record(r, rel, NULL, NULL, healed, "failed", err);
    return e;
}

int
release_end(struct repo *r, struct sites *sites, struct deploy_release *rel, bool done,
            bool healed, cJSON **left_or_null, struct err *err)
{
    int e = done ? steps_start(r, sites, rel, err) : steps_cancel(r, sites, rel, err);

    if (e < 0)
        return e;
    return done ? release_finish(r, rel, sites_observed_ns(sites), healed, left_or_null,
                                 err)
                : release_cancel(r, rel, healed, err);
}
