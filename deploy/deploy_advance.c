/* SPDX-License-Identifier: Apache-2.0 */
/* From one step to the next (deploy_steps.c): look at the server without a lock, for it
 * may take its time; then, with the lock of the alias's targets, when nobody moved it
 * meanwhile: files, row, flip. */
#include "deploy/deploy_int.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 2000
#define TELL_MS 10000

const struct server_calls server_real = { .observe = server_observe,
                                          .label = server_label,
                                          .reload = server_reload };

/* One round. */
struct round {
    struct repo *r;
    const struct server_calls *ops;
    int wall_ms;
    struct sites sites; /* of one alias */
    struct live live;
    cJSON *list;
    int n_waiting, n_steps;
};

static void
round_release(struct round *x)
{
    sites_release(&x->sites);
    live_release(&x->live);
    x->live = (struct live){ .n = 0 };
}

/* ---- telling ------------------------------------------------------------------------
 */

static int
note_told(struct repo *r, const struct site *s, const struct deploy_release *rel,
          enum step_stage stage, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    int e = db_begin(r->db, err);

    if (e < 0)
        return e;
    tx = r->db;
    e = db_run(r->db, err,
               "UPDATE shown SET told = 1 WHERE target_id = ? AND model = ? AND "
               "release_id = ? AND stage = ?",
               "itit", s->t.id, rel->model, rel->id, step_names[stage]);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}

int
site_tell(struct repo *r, const struct site *s, const struct server_calls *ops,
          const struct deploy_release *rel, struct err *err)
{
    struct deploy_release view;
    struct step st;
    int e = step_get(r, s, rel, &st, err);

    if (e < 0 || st.is_told)
        return e;
    step_view(&st, &view);
    e = ops->reload(r, &s->t, &view, TELL_MS, err);
    return e < 0 ? e : note_told(r, s, rel, st.stage, err);
}

/* ---- looking ------------------------------------------------------------------------
 */

cJSON *
seen_json(const struct server_seen *seen, const struct deploy_release *view)
{
    cJSON *list = cJSON_CreateArray();

    for (int i = 0; i < seen->n; i++) {
        cJSON *o = cJSON_CreateObject();

        json_put_int(o, "version", seen->v[i].number);
        json_put_str(o, "state", server_state_names[seen->v[i].state]);
        json_put_bool(o, "wanted", release_version(view, seen->v[i].number) != NULL);
        if (seen->v[i].error[0])
            json_put_str(o, "error", seen->v[i].error);
        cJSON_AddItemToArray(list, o);
    }
    return list;
}

static void want(cJSON *o, const char *fmt, ...) PRINTF(2, 3);

/* What a step waits for. */
static void
want(cJSON *o, const char *fmt, ...)
{
    cJSON *list = cJSON_GetObjectItem(o, "wants");
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    cJSON_AddItemToArray(list ? list : cJSON_AddArrayToObject(o, "wants"),
                         cJSON_CreateString(text));
}

static void
want_loaded(const struct server_seen *seen, const struct deploy_release *rel, cJSON *o)
{
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(rel, i)) != NULL; i++) {
        const enum server_state state = server_state_of(seen, m->number);
        const char *why = "";

        for (int k = 0; k < seen->n; k++)
            if (seen->v[k].number == m->number)
                why = seen->v[k].error;
        if (step_needs(m) && state != SERVER_AVAILABLE)
            want(o, "version %" PRId64 " AVAILABLE: it is %s%s%s", m->number,
                 server_state_names[state], why[0] ? ", " : "", why);
    }
}

/* A server that knows no labels, or none of a model, has nothing to show. */
static int
want_labels(const struct round *x, const struct site *s,
            const struct deploy_release *view, cJSON *o, struct err *err)
{
    int64_t number;

    for (int i = 0; i < view->n_members; i++) {
        const struct deploy_member *m = &view->members[i];
        int e;

        if (!m->label[0])
            continue;
        e = x->ops->label(&s->t, view->model, m->label, x->wall_ms, &number, err);
        if (e < 0 && err->code == ERR_UNSUPPORTED) {
            err_clear(err);
            return 0;
        }
        if (e < 0)
            return e;
        if (e == 0)
            want(o, "label %s at %" PRId64 ": there is none yet", m->label, m->number);
        else if (number != m->number)
            want(o, "label %s at %" PRId64 ": it is at %" PRId64, m->label, m->number,
                 number);
    }
    return 0;
}

static bool
is_gone(const struct server_seen *seen, int64_t number)
{
    const enum server_state state = server_state_of(seen, number);

    return state == SERVER_UNKNOWN || state == SERVER_END;
}

/* Versions that a config left out, and that this release needs again. */
static void
want_gone(const struct server_seen *seen, struct step *st, cJSON *o)
{
    const struct deploy_member *m;
    struct step_set left = { .n = 0 };

    for (int i = 0; i < st->dropped.n; i++)
        if (!is_gone(seen, st->dropped.number[i]))
            step_set_add(&left, st->dropped.number[i]);
    st->dropped = left;
    for (int i = 0; (m = release_at(&st->rel, i)) != NULL; i++)
        if (step_set_has(&left, m->number))
            want(o, "version %" PRId64 " gone before it is loaded again", m->number);
}

/* What the server has of a step; 1: all that the next one needs. */
static int
look(const struct round *x, const struct site *s, struct step *st, cJSON *o,
     struct err *err)
{
    const struct deploy_member *m;
    struct server_seen seen = { .n = 0 };
    struct deploy_release view;
    int e = x->ops->observe(&s->t, st->rel.model, x->wall_ms, &seen, err);

    step_view(st, &view);
    cJSON_DeleteItemFromObject(o, "wants");
    cJSON_DeleteItemFromObject(o, "versions");
    if (e < 0)
        return e;
    cJSON_AddItemToObject(o, "versions", seen_json(&seen, &view));
    want_gone(&seen, st, o);
    want_loaded(&seen, &st->rel, o);
    if (st->stage != STEP_LOAD && !json_has(o, "wants"))
        e = want_labels(x, s, &view, o, err);
    st->available.n = 0;
    for (int i = 0; (m = release_at(&view, i)) != NULL; i++)
        if (server_state_of(&seen, m->number) == SERVER_AVAILABLE)
            step_set_add(&st->available, m->number);
    return e < 0 ? e : !json_has(o, "wants");
}

/* ---- moving -------------------------------------------------------------------------
 */

/* When every target that can be seen shows it, and none is there that cannot. */
static int
note_observed(struct round *x, const struct step *st, struct err *err)
{
    for (int i = 0; i < x->sites.n; i++) {
        const struct site *s = &x->sites.s[i];
        struct step other;

        if (!s->layout->not_observed)
            continue;
        if (!site_is_stepped(s))
            return 0;
        if (step_get(x->r, s, &st->rel, &other, err) < 0)
            return -(int)err->code;
        if (other.stage != STEP_DONE)
            return 0;
    }
    return db_run(x->r->db, err,
                  "UPDATE release SET observed_ns = ? WHERE id = ? AND observed_ns = 0",
                  "ii", st->observed_ns, st->rel.id);
}

static int
record(struct round *x, const struct site *s, const struct step *st, struct err *err)
{
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES], digest[REPO_DIGEST_BYTES];
    struct repo_version v;
    int e = repo_version_get(x->r, st->rel.latest_id, &v, err);

    if (e == 0)
        e = db_begin(x->r->db, err);
    if (e < 0)
        return e;
    tx = x->r->db;
    repo_digest_text(&v.digest, digest);
    snprintf(object, sizeof(object), "%s@%s", st->rel.model, st->rel.alias);
    json_put_str(body, "target", s->t.name);
    json_put_int(body, "release", st->rel.number);
    json_put_str(body, "stage", step_names[st->stage]);
    e = step_put(x->r, s, st, err);
    if (e == 0 && st->stage == STEP_DONE)
        e = note_observed(x, st, err);
    if (e == 0)
        e = event_add(x->r, "target-step", object, digest, "ok", body, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(x->r->db, err);
}

/* Files, row, flip. What was done is done again: a step that was interrupted after its
 * row is flipped so. */
static int
show(struct round *x, struct site *s, const struct step *st, bool is_new,
     struct err *err)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    struct flips flips AUTO(flips_release) = FLIPS_INIT;
    struct live shown AUTO(live_release) = { .n = 0 };
    struct deploy_release view;
    char id[CONFIG_ID_BYTES];
    bool past;
    int e = live_shown(x->r, s, &x->live, &shown, err);

    step_view(st, &view);
    for (int i = 0; i < x->live.n; i++)
        if (strcmp(shown.rel[i].model, view.model) == 0)
            shown.rel[i] = view;
    if (e == 0)
        e = site_ready(x->r, s, &view, err);
    if (e < 0)
        return e;
    site_render(s, shown.by, shown.n, &files, id);
    e = site_put_files(s, LAYOUT_RELEASES, &files, id, err);
    if (e == 0)
        e = site_put_model(s, &view, err);
    if (e == 0 && is_new)
        e = record(x, s, st, err);
    if (e == 0)
        e = flips_plan(x->r, &flips, s, &view, id, err);
    if (e < 0)
        return e;
    flips_sweep(&flips);
    return flips_apply(&flips, &past, err);
}

/* With the lock: 1 done, 0: somebody moved it meanwhile. */
static int
move(struct round *x, struct site *s, const struct step *was, const struct step *st,
     struct err *err)
{
    struct deploy_release live;
    struct step now;
    int e = sites_lock(&x->sites, DEPLOY_LOCK_MS, err);

    if (e == 0)
        e = heal(x->r, &x->sites, s->t.alias, err);
    if (e == 0)
        e = deploy_live(x->r, was->rel.model, s->t.alias, &live, err);
    if (e == 1 && live.id == was->rel.id) {
        live_release(&x->live);
        x->live = (struct live){ .n = 0 };
        e = live_load(x->r, s->t.alias, &x->live, err);
        if (e == 0)
            e = step_get(x->r, s, &live, &now, err);
        if (e == 0 && now.stage == was->stage) {
            e = show(x, s, st, st != was, err);
            e = e < 0 ? e : 1;
        }
    } else if (e == 1) {
        e = 0;
    }
    sites_unlock(&x->sites);
    return e;
}

/* The tree shows the step that its row says. */
static int
is_flipped(struct round *x, struct site *s, const struct step *st, struct err *err)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    struct flips flips AUTO(flips_release) = FLIPS_INIT;
    struct live shown AUTO(live_release) = { .n = 0 };
    struct deploy_release view;
    char id[CONFIG_ID_BYTES];
    int e = live_shown(x->r, s, &x->live, &shown, err);

    if (e == 0)
        e = site_open(s, err);
    if (e < 0)
        return e;
    site_render(s, shown.by, shown.n, &files, id);
    step_view(st, &view);
    e = flips_plan(x->r, &flips, s, &view, id, err);
    fs_close(&s->dirfd);
    return e < 0 ? e : flips.n == 0;
}

/* 1: the tree shows it, also when whoever wrote the row was interrupted before the
 * flip. Before the server is told: it reads the tree. */
static int
catch_up(struct round *x, struct site *s, const struct step *st, struct err *err)
{
    int e = 1;

    if (st->is_stepped && st->stage != STEP_DONE)
        e = is_flipped(x, s, st, err);
    return e == 0 ? move(x, s, st, st, err) : e;
}

/* A version that was held back may be loaded now. */
static bool
frees(const struct step *was, const struct step *now)
{
    struct deploy_release a, b;

    step_view(was, &a);
    step_view(now, &b);
    return a.n_kept != b.n_kept;
}

/* 1: the server has a label where it was, and has not loaded what the label is to move
 * to: it refuses the config that is shown, for ever: the version was seen AVAILABLE,
 * and went. */
static int
is_refused(const struct round *x, const struct site *s, const struct step *st,
           struct err *err)
{
    struct deploy_release view;

    step_view(st, &view);
    for (int i = 0; st->stage != STEP_LOAD && i < view.n_members; i++) {
        const struct deploy_member *m = &view.members[i];
        const int64_t was = strcmp(m->label, "stable") == 0 ? st->stable : st->canary;
        int64_t number;
        int e;

        if (!m->label[0] || was == m->number || step_set_has(&st->available, m->number))
            continue;
        e = x->ops->label(&s->t, view.model, m->label, x->wall_ms, &number, err);
        if (e < 0 && err->code == ERR_UNSUPPORTED) {
            err_clear(err);
            return 0;
        }
        if (e < 0 || (e == 1 && number == was))
            return e;
    }
    return 0;
}

/* As far as the server is ready for; back to loading when it never will be. */
static int
advance(struct round *x, struct site *s, struct step *st, cJSON *o, struct err *err)
{
    int e = 1;

    while (e == 1 && st->stage != STEP_DONE) {
        struct step next = *st;

        e = look(x, s, &next, o, err);
        if (e < 0)
            break;
        if (frees(st, &next))
            e = 1;
        else if (e == 1)
            step_on(&next);
        else if ((e = is_refused(x, s, &next, err)) == 1)
            next.stage = STEP_LOAD;
        if (e != 1)
            break;
        if (next.stage == STEP_DONE)
            next.observed_ns = clock_now_ns();
        else
            next.is_told = !s->t.option[DEPLOY_RELOAD];
        e = move(x, s, st, &next, err);
        if (e != 1)
            break;
        *st = next;
        x->n_steps++;
        if (!st->is_told && site_tell(x->r, s, x->ops, &st->rel, err) < 0)
            return -(int)err->code;
    }
    return e < 0 ? e : 0;
}

const char *
step_waits(const cJSON *said)
{
    const char *why = cJSON_GetStringValue(cJSON_GetObjectItem(said, "error"));

    if (!why)
        why = cJSON_GetStringValue(cJSON_GetObjectItem(said, "not_told"));
    return why ? why
               : cJSON_GetStringValue(
                     cJSON_GetArrayItem(cJSON_GetObjectItem(said, "wants"), 0));
}

/* ---- all of them --------------------------------------------------------------------
 */

static int
step_one(struct round *x, struct site *s, const struct deploy_release *rel,
         struct err *err)
{
    struct err why = ERR_INIT;
    struct step st;
    cJSON *o;
    int e = step_get(x->r, s, rel, &st, err), shown;

    if (e < 0 || (!st.is_stepped && !s->t.option[DEPLOY_RELOAD]))
        return e;
    o = cJSON_CreateObject();
    cJSON_AddItemToArray(x->list, o);
    json_put_str(o, "target", s->t.name);
    json_put_str(o, "alias", s->t.alias);
    json_put_str(o, "model", rel->model);
    json_put_int(o, "release", rel->number);
    shown = catch_up(x, s, &st, &why);
    if (shown == 1 && !st.is_told && site_tell(x->r, s, x->ops, rel, &why) < 0)
        json_put_str(o, "not_told", why.msg);
    if (shown == 1) {
        st.is_told |= why.code == ERR_OK;
        err_clear(&why);
        shown = st.is_stepped ? advance(x, s, &st, o, &why) : 0;
    }
    if (shown < 0)
        json_put_str(o, "error", why.msg);
    json_put_str(o, "stage", step_names[st.stage]);
    x->n_waiting += st.stage != STEP_DONE || json_has(o, "not_told");
    return 0;
}

static int
step_alias(struct round *x, const char *alias, const struct deploy_step *what,
           struct err *err)
{
    struct live live AUTO(live_release) = { .n = 0 };
    int64_t id;
    int e;

    round_release(x);
    e = sites_load(x->r, alias, &x->sites, err);
    if (e == 0)
        e = release_pending(x->r, alias, &id, err);
    if (e == 1) {
        e = sites_lock(&x->sites, DEPLOY_LOCK_MS, err);
        if (e == 0)
            e = heal(x->r, &x->sites, alias, err);
        sites_unlock(&x->sites);
    }
    if (e == 0)
        e = live_load(x->r, alias, &live, err);
    if (e == 0) /* what is rendered; a step reads it again */
        e = live_load(x->r, alias, &x->live, err);
    for (int i = 0; e == 0 && i < x->sites.n; i++)
        for (int k = 0; e == 0 && k < live.n; k++)
            if ((!what->target || strcmp(what->target, x->sites.s[i].t.name) == 0) &&
                (!what->model || strcmp(what->model, live.rel[k].model) == 0))
                e = step_one(x, &x->sites.s[i], &live.rel[k], err);
    return e;
}

int
deploy_step_with(struct repo *r, const struct server_calls *ops,
                 const struct deploy_step *what, cJSON **out, struct err *err)
{
    struct round x AUTO(round_release) = {
        .r = r, .ops = ops, .wall_ms = what->wall_ms ? what->wall_ms : LOOK_MS
    };
    struct sites all AUTO(sites_release) = SITES_INIT;
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    int e = sites_load(r, what->alias, &all, err), n = 0;

    *out = NULL;
    x.list = cJSON_AddArrayToObject(doc, "targets");
    for (int i = 0; e == 0 && i < all.n; i++) {
        const struct deploy_target *t = &all.s[i].t;
        bool before = false;

        if (what->target && strcmp(what->target, t->name) != 0)
            continue;
        for (int k = 0; k < i; k++) /* one round an alias */
            before |= strcmp(all.s[k].t.alias, t->alias) == 0;
        if (!before || what->target)
            e = step_alias(&x, t->alias, what, err);
        n++;
    }
    if (e == 0 && what->target && n == 0)
        e = err_set(err, ERR_NOTFOUND,
                    "no target \"%s\": sluice target list shows them", what->target);
    if (e < 0)
        return e;
    json_put_int(doc, "waiting", x.n_waiting);
    json_put_int(doc, "steps", x.n_steps);
    *out = doc;
    doc = NULL;
    return 0;
}

int
deploy_step(struct repo *r, const struct deploy_step *what, cJSON **out,
            struct err *err)
{
    return deploy_step_with(r, &server_real, what, out, err);
}
