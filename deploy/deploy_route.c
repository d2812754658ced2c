/* SPDX-License-Identifier: Apache-2.0 */
/* Which version a unit got, and why it was allowed to. Reads, changes nothing. */
#include "deploy/deploy_int.h"
#include "deploy/deploy_split.h"

#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

#define MS 1000000 /* in which times are printed, and so asked for */

static void
put_time(cJSON *o, const char *key, int64_t time_ns)
{
    char text[CLOCK_TEXT_BYTES];

    json_put_str(o, key, time_ns ? clock_text(time_ns, text) : NULL);
}

/* The release that was live at a time, and when the next one took over (0: it has not).
 */
static int
find_release(struct repo *r, const struct deploy_unit *u, struct deploy_release *out,
             int64_t *until_ns, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    char text[CLOCK_TEXT_BYTES];
    int e = history_open(&h, r, u->model, u->alias, err);

    *until_ns = 0;
    for (int n = 0; e == 0; n++) {
        e = history_next(&h, out, err);
        if (e == 0 && n == 0)
            return err_set(err, ERR_NOTFOUND,
                           "nothing was ever live on %s@%s: sluice status %s shows "
                           "the aliases there are",
                           u->model, u->alias, u->model);
        if (e == 0)
            return err_set(err, ERR_NOTFOUND,
                           "nothing was live on %s@%s then: its first release came at "
                           "%s",
                           u->model, u->alias, clock_text(*until_ns, text));
        if (e == 1 && (u->at_ns == 0 || out->intended_ns / MS <= u->at_ns / MS))
            return 0;
        *until_ns = out->intended_ns;
        e = e < 0 ? e : 0;
    }
    return e;
}

static int
put_digest(struct repo *r, cJSON *o, int64_t version_id, struct err *err)
{
    char digest[REPO_DIGEST_BYTES];
    struct repo_version v;
    int e = repo_version_get(r, version_id, &v, err);

    if (e == 0) {
        repo_digest_text(&v.digest, digest);
        json_put_str(o, "digest", digest);
    }
    return e;
}

static int
put_versions(struct repo *r, cJSON *doc, const struct deploy_release *rel,
             const struct deploy_split *s, struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(doc, "versions");
    int64_t from = 0;
    int e = 0;

    for (int i = 0; e == 0 && i < rel->n_members; i++) {
        cJSON *o = cJSON_CreateObject();

        json_put_int(o, "version", rel->members[i].number);
        json_put_int(o, "weight", rel->members[i].weight);
        json_put_int(o, "from", from);
        json_put_int(o, "below", (int64_t)s->below[i]);
        from = (int64_t)s->below[i];
        e = put_digest(r, o, rel->members[i].version_id, err);
        cJSON_AddItemToArray(list, o);
    }
    return e;
}

/* Whether the unit's requests are copied, and to which version. */
static int
put_mirror(struct repo *r, cJSON *doc, const struct deploy_release *rel,
           const char *unit, struct err *err)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };
    const struct deploy_member *m = deploy_mirror(rel);
    cJSON *o;

    if (!m) {
        cJSON_AddNullToObject(doc, "mirror");
        return 0;
    }
    deploy_split_init_mirror(&s, rel);
    o = cJSON_AddObjectToObject(doc, "mirror");
    json_put_bool(o, "mirrored", deploy_split_mirrors(&s, str_of(unit)));
    json_put_int(o, "version", m->number);
    json_put_int(o, "share", m->mirror);
    json_put_str(o, "salt", buf_str(&s.salt));
    json_put_int(o, "hash", deploy_split_hash(&s, str_of(unit)));
    json_put_int(o, "below", (int64_t)s.below[0]);
    return put_digest(r, o, m->version_id, err);
}

/* ---- evidence -----------------------------------------------------------------------
 */

struct seen {
    cJSON *list;
    int64_t before_ns; /* later ones did not count yet */
};

/* They come newest first: the first one of a set is what the gate looked at. */
static int
add_verdict(void *arg, const struct val_verdict *v, struct err *err)
{
    struct seen *s = arg;
    char hex[DIGEST_HEX_BYTES];
    const cJSON *other;
    cJSON *o;

    (void)err;
    digest_hex(&v->set_digest, hex);
    cJSON_ArrayForEach(other, s->list)
    {
        if (strcmp(cJSON_GetObjectItem(other, "set_digest")->valuestring, hex) == 0)
            return 0;
    }
    if (v->created_ns > s->before_ns)
        return 0;
    o = cJSON_CreateObject();
    json_put_int(o, "verdict", v->id);
    json_put_str(o, "outcome", val_outcome_text(v->outcome));
    json_put_str(o, "set", v->set_name);
    json_put_str(o, "set_digest", hex);
    json_put_str(o, "kind", v->acceptance ? "acceptance" : "export");
    json_put_str(o, "backend", v->backend);
    put_time(o, "time", v->created_ns);
    json_put_bool(o, "signed", v->is_signed);
    cJSON_AddItemToArray(s->list, o);
    return 0;
}

/* The gate is asked when a version's share grows: what it said then still stands. */
static int
put_evidence(struct repo *r, cJSON *doc, const struct deploy_release *rel,
             int64_t version_id, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    cJSON *o, *gates = NULL;
    struct seen seen;
    int e = db_query(r->db, &st, err,
                     "SELECT r.number, r.verb, r.intended_ns, r.actor, p.report, "
                     "p.broke FROM gate_pass p JOIN release r ON r.id = p.release_id "
                     "WHERE p.version_id = ? AND r.model = ? AND r.alias = ? AND "
                     "r.number <= ? AND r.state IN ('live', 'past') "
                     "ORDER BY r.number DESC LIMIT 1",
                     "itti", version_id, rel->model, rel->alias, rel->number);

    if (e == 0)
        e = db_step(st, err);
    if (e <= 0) {
        cJSON_AddNullToObject(doc, "evidence");
        return e;
    }
    e = json_parse(&gates, str_of(db_text(st, 4)), "what the gate said", err);
    if (e < 0)
        return e;
    o = cJSON_AddObjectToObject(doc, "evidence");
    json_put_int(o, "release", db_int(st, 0));
    json_put_str(o, "verb", db_text(st, 1));
    put_time(o, "time", db_int(st, 2));
    json_put_str(o, "by", db_text(st, 3));
    json_put_str(o, "break_glass", db_text(st, 5)[0] ? db_text(st, 5) : NULL);
    cJSON_AddItemToObject(o, "gates", gates);
    seen = (struct seen){ cJSON_AddArrayToObject(o, "verdicts"), db_int(st, 2) };
    return val_verdicts(r, version_id, add_verdict, &seen, err);
}

/* ---- all of it ----------------------------------------------------------------------
 */

static void
put_head(cJSON *doc, const struct deploy_unit *u, const struct deploy_release *rel,
         int64_t until_ns)
{
    json_put_str(doc, "model", rel->model);
    json_put_str(doc, "alias", rel->alias);
    json_put_str(doc, "unit", u->unit);
    put_time(doc, "at", u->at_ns);
    json_put_int(doc, "release", rel->number);
    json_put_str(doc, "verb", rel->verb);
    json_put_str(doc, "by", rel->actor);
    put_time(doc, "since", rel->intended_ns);
    put_time(doc, "observed", rel->observed_ns);
    put_time(doc, "until", until_ns);
}

static int
check(struct repo *r, const struct deploy_unit *u, struct err *err)
{
    int64_t id;
    int e = repo_check_alias_name(u->alias, err);

    if (e < 0)
        return e;
    if (!u->unit[0])
        return err_set(err, ERR_USAGE,
                       "the unit is empty: nobody in particular, who gets the stable "
                       "version; give the bytes that nginx has in $sluice_unit");
    if (u->at_ns > clock_now_ns())
        return err_set(err, ERR_USAGE,
                       "the time is still to come: without --at it is about now");
    e = repo_model_id(r, u->model, &id, err);
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no model \"%s\": sluice list shows what there is", u->model);
    return e < 0 ? e : 0;
}

int
deploy_route(struct repo *r, const struct deploy_unit *u, cJSON **out, struct err *err)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    struct deploy_release rel;
    const struct deploy_member *m;
    int64_t until_ns = 0;
    int e = check(r, u, err);

    *out = NULL;
    if (e == 0)
        e = find_release(r, u, &rel, &until_ns, err);
    if (e < 0)
        return err_ctx(err, "route %s@%s", u->model, u->alias);
    deploy_split_init(&s, &rel);
    m = &rel.members[deploy_split_find(&s, str_of(u->unit))];
    put_head(doc, u, &rel, until_ns);
    json_put_int(doc, "version", m->number);
    e = put_digest(r, doc, m->version_id, err);
    json_put_int(doc, "weight", m->weight);
    json_put_str(doc, "salt", buf_str(&s.salt));
    json_put_int(doc, "hash", deploy_split_hash(&s, str_of(u->unit)));
    if (e == 0)
        e = put_versions(r, doc, &rel, &s, err);
    if (e == 0)
        e = put_mirror(r, doc, &rel, u->unit, err);
    if (e == 0)
        e = put_evidence(r, doc, &rel, m->version_id, err);
    if (e < 0)
        return err_ctx(err, "route %s@%s", u->model, u->alias);
    *out = doc;
    doc = NULL;
    return 0;
}
