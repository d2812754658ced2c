/* SPDX-License-Identifier: Apache-2.0 */
/* For whoever is on call. Reads, reports, changes nothing. */
#include "deploy/deploy_int.h"
#include "deploy/ramp.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An alias of every model, as its targets show it. */
struct view {
    char alias[REPO_ALIAS_BYTES];
    struct sites sites;
    struct live live;
    const struct server_calls *ops;
    int64_t until_ns; /* servers are not asked any more then */
    bool *silent;     /* by site: it did not answer, and is not asked again */
};

static void
view_release(struct view *v)
{
    sites_release(&v->sites);
    live_release(&v->live);
    v->live = (struct live){ .n = 0 };
    free_ptr(&v->silent);
    v->alias[0] = '\0';
}

static int
view_load(struct repo *r, const char *alias, struct view *v, struct err *err)
{
    int e;

    if (strcmp(v->alias, alias) == 0)
        return 0;
    view_release(v);
    snprintf(v->alias, sizeof(v->alias), "%s", alias);
    e = sites_load(r, alias, &v->sites, err);
    v->silent = xcalloc((size_t)v->sites.n + 1, sizeof(*v->silent));
    return e < 0 ? e : live_load(r, alias, &v->live, err);
}

static void
put_time(cJSON *o, const char *key, int64_t time_ns)
{
    char text[CLOCK_TEXT_BYTES];

    json_put_str(o, key, time_ns ? clock_text(time_ns, text) : NULL);
}

static int
add_live(struct repo *r, cJSON *o, const struct deploy_release *rel, struct err *err)
{
    cJSON *list = release_members_json(rel), *m;
    int i = 0;

    cJSON_AddItemToObject(o, "live", list);
    cJSON_ArrayForEach(m, list)
    {
        const struct deploy_member *of =
            i < rel->n_members ? &rel->members[i++] : deploy_mirror(rel);
        char digest[REPO_DIGEST_BYTES];
        struct repo_version v;

        if (repo_version_get(r, of->version_id, &v, err) < 0)
            return -(int)err->code;
        repo_digest_text(&v.digest, digest);
        json_put_str(m, "digest", digest);
        json_put_bool(m, "latest", v.number == rel->latest);
    }
    return 0;
}

static int
add_frozen(struct repo *r, cJSON *o, const struct deploy_release *rel, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    cJSON *f;
    int e = db_query(r->db, &st, err,
                     "SELECT reason, frozen_ns, frozen_by FROM freeze "
                     "WHERE model = ? AND alias = ?",
                     "tt", rel->model, rel->alias);

    if (e == 0)
        e = db_step(st, err);
    if (e <= 0) {
        cJSON_AddNullToObject(o, "frozen");
        return e;
    }
    f = cJSON_AddObjectToObject(o, "frozen");
    json_put_str(f, "reason", db_text(st, 0));
    put_time(f, "since", db_int(st, 1));
    json_put_str(f, "by", db_text(st, 2));
    return 0;
}

/* ---- targets ------------------------------------------------------------------------
 */

static void say(cJSON *list, const char *fmt, ...) PRINTF(2, 3);

static void
say(cJSON *list, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cJSON_AddItemToArray(list, cJSON_CreateString(text));
}

static int
check_links(struct repo *r, struct site *s, const struct view *v,
            const struct deploy_release *rel, cJSON *drift, struct err *err)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    struct live shown AUTO(live_release) = { .n = 0 };
    struct layout_links links AUTO(layout_links_release) = { .n = 0 };
    char id[CONFIG_ID_BYTES];
    int e = live_shown(r, s, &v->live, &shown, err);

    if (e < 0)
        return e;
    site_render(s, shown.by, shown.n, &files, id);
    for (int i = 0; e == 0 && i < shown.n; i++)
        if (strcmp(shown.rel[i].model, rel->model) == 0)
            e = site_links(r, s, &shown.rel[i], id, &links, err);
    for (int i = 0; e == 0 && i < links.n; i++) {
        const char *path = buf_str(&links.link[i].path);
        const char *text = buf_str(&links.link[i].text);
        const bool is_link = links.link[i].kind == LAYOUT_LINK;
        char *now AUTO(free_ptr) = NULL;

        e = flip_read(s, links.link[i].kind, path, &now, err);
        if (e == 0 && !now)
            say(drift, "%s is gone", path);
        else if (e == 0 && strcmp(now, text) != 0)
            say(drift, "%s %s %s, not %s%s", path, is_link ? "points at" : "is", now,
                is_link ? "at " : "", text);
    }
    return e;
}

/* What the tree shows against what the release means. */
static int
check_site(struct repo *r, struct site *s, const struct view *v,
           const struct deploy_release *rel, cJSON *drift, struct err *err)
{
    const struct deploy_member *m;
    int e = site_open(s, err);

    if (e == 0)
        e = check_links(r, s, v, rel, drift, err);
    for (int i = 0; e == 0 && (m = release_at(rel, i)) != NULL; i++) {
        struct buf path AUTO(buf_release) = BUF_INIT;

        if (m->weight == 0 && m->mirror == 0)
            continue;
        site_version_path(s, rel->model, m->number, &path);
        e = fs_exists(s->dirfd, buf_str(&path), err);
        if (e == 0)
            say(drift, "%s is gone", buf_str(&path));
        e = e < 0 ? e : 0;
    }
    fs_close(&s->dirfd);
    return e;
}

#define ASK_MS 1000 /* one server; all together ASK_ALL_NS */
#define ASK_ALL_NS INT64_C(2000000000)

/* What its server says, in so much time as is left. Nothing of it fails a status. */
static int
ask_server(struct view *v, int site, const struct step *st, cJSON *server,
           cJSON *loaded)
{
    const struct site *s = &v->sites.s[site];
    const int64_t left_ms = (v->until_ns - clock_mono_ns()) / 1000000;
    struct server_seen seen = { .n = 0 };
    struct deploy_release view;
    struct err why = ERR_INIT;

    if (v->silent[site] || left_ms < 10) {
        json_put_str(server, "error", "not asked again: it did not answer in time");
        return 0;
    }
    if (v->ops->observe(&s->t, st->rel.model, left_ms < ASK_MS ? (int)left_ms : ASK_MS,
                        &seen, &why) < 0) {
        v->silent[site] = true;
        json_put_str(server, "error", why.msg);
        return 0;
    }
    step_view(st, &view);
    cJSON_AddItemToObject(server, "versions", seen_json(&seen, &view));
    for (int i = 0; i < seen.n; i++)
        if (seen.v[i].state == SERVER_AVAILABLE)
            json_put_int(loaded, NULL, seen.v[i].number);
    return 1;
}

/* How far it is, by the row; and what the server says now. */
static int
add_server(struct repo *r, cJSON *t, struct view *v, int site,
           const struct deploy_release *rel, struct err *err)
{
    cJSON *o, *loaded;
    struct step st;
    int e = step_get(r, &v->sites.s[site], rel, &st, err);

    if (e < 0)
        return e;
    if (!st.is_told)
        json_put_bool(t, "told", false);
    if (!st.is_stepped)
        return 0;
    json_put_str(t, "stage", step_names[st.stage]);
    put_time(t, "observed", st.observed_ns);
    if (st.stage == STEP_LOAD && st.from.n_members > 0 && !weights_same(&st.from, rel))
        cJSON_AddItemToObject(t, "traffic_with", release_members_json(&st.from));
    o = cJSON_AddObjectToObject(t, "server");
    loaded = cJSON_CreateArray();
    if (ask_server(v, site, &st, o, loaded))
        cJSON_AddItemToObject(o, "loaded", loaded);
    else
        cJSON_Delete(loaded);
    return 0;
}

static int
add_targets(struct repo *r, cJSON *o, struct view *v, const struct deploy_release *rel,
            struct err *err)
{
    cJSON *list = cJSON_AddArrayToObject(o, "targets");
    int e = 0;

    for (int i = 0; e == 0 && i < v->sites.n; i++) {
        struct site *s = &v->sites.s[i];
        struct err why = ERR_INIT;
        cJSON *t = cJSON_CreateObject(), *drift;

        json_put_str(t, "name", s->t.name);
        json_put_str(t, "dir", s->t.dir);
        json_put_str(t, "layout", s->t.layout);
        drift = cJSON_AddArrayToObject(t, "drift");
        if (check_site(r, s, v, rel, drift, &why) < 0)
            say(drift, "%s", why.msg);
        json_put_bool(t, "ok", cJSON_GetArraySize(drift) == 0);
        cJSON_AddItemToArray(list, t);
        e = add_server(r, t, v, i, rel, err);
        if (!site_is_stepped(s))
            json_put_str(t, "not_observed", s->layout->not_observed);
    }
    return e;
}

/* "observed", or why it is only intended. */
static void
add_observed(cJSON *o, const struct view *v, const struct deploy_release *rel)
{
    char text[256] = "observed";

    put_time(o, "since", rel->intended_ns);
    put_time(o, "observed", rel->observed_ns);
    if (v->sites.n == 0)
        snprintf(text, sizeof(text), "the alias moved; no target shows it");
    for (int i = 0; i < v->sites.n && !rel->observed_ns; i++)
        if (v->sites.s[i].layout->not_observed)
            snprintf(text, sizeof(text), "intended; not observed (%s)",
                     site_is_stepped(&v->sites.s[i])
                         ? "not yet"
                         : v->sites.s[i].layout->not_observed);
    json_put_str(o, "state", text);
}

/* ---- what a rollback would do -------------------------------------------------------
 */

/* True when a rollback finds everything in place: it moves links and copies nothing.
 * Of a target that it could not lock *held says why. */
static bool
is_ready(struct view *v, const struct deploy_release *to, struct err *held)
{
    bool ready = true;

    for (int i = 0; ready && i < v->sites.n; i++) {
        struct site *s = &v->sites.s[i];
        struct err why = ERR_INIT;

        ready = site_open(s, held) == 0;
        if (ready && faccessat(s->dirfd, SITE_LOCK, W_OK, AT_EACCESS) < 0 &&
            errno == EROFS) {
            (void)err_sys(held, errno, "target %s (%s)", s->t.name, s->t.dir);
            ready = false;
        }
        for (int k = 0; ready && k < to->n_members; k++) {
            struct buf path AUTO(buf_release) = BUF_INIT;

            site_version_path(s, to->model, to->members[k].number, &path);
            ready = fs_exists(s->dirfd, buf_str(&path), &why) == 1;
        }
        fs_close(&s->dirfd);
    }
    return ready;
}

/* By target that was asked: whether its server has all of it loaded still. */
static void
add_loaded(const cJSON *o, cJSON *back, const struct deploy_release *to)
{
    cJSON *list = cJSON_AddArrayToObject(back, "loaded");
    const cJSON *t, *n;

    cJSON_ArrayForEach(t, cJSON_GetObjectItem(o, "targets"))
    {
        const cJSON *loaded =
            cJSON_GetObjectItem(cJSON_GetObjectItem(t, "server"), "loaded");
        bool all = true;
        cJSON *one;

        if (!loaded)
            continue;
        for (int i = 0; i < to->n_members; i++) {
            bool has = false;

            cJSON_ArrayForEach(n, loaded)
            {
                has |= n->valuedouble == (double)to->members[i].number;
            }
            all &= has;
        }
        one = cJSON_CreateObject();
        json_put_str(one, "target",
                     cJSON_GetStringValue(cJSON_GetObjectItem(t, "name")));
        json_put_bool(one, "loaded", all);
        cJSON_AddItemToArray(list, one);
    }
}

static int
add_rollback(struct repo *r, cJSON *o, struct view *v, const struct deploy_release *rel,
             struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct err held = ERR_INIT;
    struct deploy_release to;
    cJSON *back, *leaves;
    const int ends_drill = drill_came_from(r, rel, &to, err);
    int e = ends_drill;

    if (e == 0)
        e = bad_load(r, rel->model, rel->alias, &bad, err);
    if (e == 0)
        e = rollback_find(r, rel, &bad, &to, err);
    if (e <= 0) {
        cJSON_AddNullToObject(o, "rollback");
        return e;
    }
    back = cJSON_AddObjectToObject(o, "rollback");
    cJSON_AddItemToObject(back, "to", release_members_json(&to));
    leaves = cJSON_AddArrayToObject(back, "marks_bad");
    for (int i = 0; !ends_drill && i < rel->n_members; i++)
        if (weights_of(&to, rel->members[i].version_id) == 0)
            cJSON_AddItemToArray(leaves,
                                 cJSON_CreateNumber((double)rel->members[i].number));
    json_put_bool(back, "ready", is_ready(v, &to, &held));
    json_put_str(back, "held", held.code != ERR_OK ? held.msg : NULL);
    add_loaded(o, back, &to);
    return 0;
}

/* One that runs, or that ended with the release that is live. */
static int
add_ramp(struct repo *r, cJSON *o, const struct deploy_release *rel, struct err *err)
{
    struct ramp p AUTO(ramp_release) = { .options = NULL };
    int e = ramp_get(r, rel->model, rel->alias, &p, err);

    if (e == 1 && (strcmp(p.state, "running") == 0 ||
                   (strcmp(p.state, "done") != 0 &&
                    (p.release == rel->number || p.release == rel->replaces))))
        cJSON_AddItemToObject(o, "ramp", ramp_json(&p));
    return e < 0 ? e : 0;
}

/* ---- all of it ----------------------------------------------------------------------
 */

static int
add_release(struct repo *r, cJSON *list, cJSON *unfinished, struct view *v,
            const struct deploy_release *rel, struct err *err)
{
    cJSON *o = cJSON_CreateObject();
    int e;

    cJSON_AddItemToArray(list, o);
    json_put_str(o, "model", rel->model);
    json_put_str(o, "alias", rel->alias);
    json_put_int(o, "release", rel->number);
    json_put_str(o, "verb", rel->verb);
    json_put_int(o, "latest", rel->latest);
    e = view_load(r, rel->alias, v, err);
    if (e == 0)
        e = add_live(r, o, rel, err);
    if (e < 0)
        return e;
    json_put_str(o, "by", rel->actor);
    json_put_str(o, "reason", rel->reason[0] ? rel->reason : NULL);
    add_observed(o, v, rel);
    e = add_targets(r, o, v, rel, err);
    if (e == 0)
        e = add_frozen(r, o, rel, err);
    if (e >= 0)
        e = add_ramp(r, o, rel, err);
    if (e >= 0)
        e = add_rollback(r, o, v, rel, err);
    return e < 0 ? e : drill_status(r, rel, o, unfinished, err);
}

/* Releases that were intended and have no end: under way, or left by a crash. */
static int
add_unfinished(struct repo *r, cJSON *list, const char *model_or_null, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT model, alias, number, verb, actor FROM release "
                     "WHERE state = 'intended' ORDER BY model, alias",
                     "");

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        cJSON *o;

        if (model_or_null && strcmp(model_or_null, db_text(st, 0)) != 0)
            continue;
        o = cJSON_CreateObject();
        json_put_str(o, "model", db_text(st, 0));
        json_put_str(o, "alias", db_text(st, 1));
        json_put_int(o, "release", db_int(st, 2));
        json_put_str(o, "verb", db_text(st, 3));
        json_put_str(o, "by", db_text(st, 4));
        json_put_str(
            o, "note",
            "under way, or interrupted: the next promote, weights or rollback on "
            "this alias finishes or cancels it");
        cJSON_AddItemToArray(list, o);
    }
    return e;
}

int
deploy_status_with(struct repo *r, const char *model_or_null,
                   const struct server_calls *ops, cJSON **out, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct view v AUTO(view_release) = { .ops = ops,
                                         .until_ns = clock_mono_ns() + ASK_ALL_NS };
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(doc, "aliases");
    cJSON *open = cJSON_AddArrayToObject(doc, "unfinished");
    struct deploy_release rel;
    int64_t id;
    int e = model_or_null ? repo_model_id(r, model_or_null, &id, err) : 1;

    *out = NULL;
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no model \"%s\": sluice list shows what there is",
                       model_or_null);
    if (e == 1)
        e = history_open_status(&h, r, model_or_null, err);
    while (e == 0 && (e = history_next(&h, &rel, err)) == 1)
        e = add_release(r, list, open, &v, &rel, err);
    if (e == 0)
        e = add_unfinished(r, open, model_or_null, err);
    if (e < 0)
        return e;
    *out = doc;
    doc = NULL;
    return 0;
}

int
deploy_status(struct repo *r, const char *model_or_null, cJSON **out, struct err *err)
{
    return deploy_status_with(r, model_or_null, &server_real, out, err);
}

int
deploy_in_use(struct repo *r, int64_t version_id, int64_t since_ns, struct err *err)
{
    int64_t one;

    return db_get_int(
        r->db, &one, err,
        "SELECT 1 FROM release_member m JOIN release r ON r.id = m.release_id "
        "WHERE m.version_id = ? AND (r.state IN ('intended', 'live') OR EXISTS ("
        "SELECT 1 FROM shown s WHERE s.from_id = r.id AND "
        "s.stage IN ('load', 'label')) OR EXISTS ("
        "SELECT 1 FROM release n WHERE n.model = r.model AND n.alias = r.alias AND "
        "n.replaces = r.number AND n.state <> 'cancelled' AND n.intended_ns >= ?)) "
        "LIMIT 1",
        "ii", version_id, since_ns);
}
