/* SPDX-License-Identifier: Apache-2.0 */
/* One look of an agent. What was reached is kept in the row of `follow`, so that a look
 * that was cut off is gone on with by the next:
 *
 *   fetching ── bytes, switch ──> checking ── check ──> observed, switched
 *      │                              └── says no ──> failing ── back ──> failed
 *      ├── frozen here ──> held
 *      └── cannot be had, verified or switched to ──> failed
 *
 * A release here whose number is not the one in the row, nor its reason, is somebody's:
 * rolled-back. */
#include "deploy/agent_int.h"

#include "base/clock.h"
#include "base/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_NS INT64_C(5000000000)
/* Of a look: a store that changes its mind holds up nobody. */
enum { RESTARTS_MAX = 8 };

static void
pass_release(struct pass *p)
{
    agent_source_close(&p->source);
    json_free(&p->doc);
    buf_release(&p->away);
}

bool
follow_is(const struct follow *f, const char *a, const char *b)
{
    return strcmp(f->state, a) == 0 || strcmp(f->state, b) == 0;
}

/* ---- telling ------------------------------------------------------------------------
 */

static void
set_state(struct follow *f, const char *state, const char *detail)
{
    char *to = f->detail;

    snprintf(f->state, sizeof(f->state), "%s", state);
    snprintf(f->detail, sizeof(f->detail), "%s", detail);
    for (; *to; to++)
        if ((unsigned char)*to < ' ' || *to == 127)
            *to = ' ';
    while (to > f->detail && (unsigned char)to[-1] >= 0x80)
        *--to = '\0'; /* a letter that may have been cut */
}

/* 1 and what is live here; 0: nothing. `shows` is appended. */
static int
look_here(struct pass *p, const char *model, const char *alias,
          struct deploy_release *live, struct buf *shows, struct err *err)
{
    int e = deploy_live(p->r, model, alias, live, err);

    if (e == 1)
        agent_shows(live, shows);
    return e;
}

int
pass_keep(struct pass *p, struct follow *f, const char *state, const char *detail,
          bool tell, struct err *err)
{
    struct buf shows AUTO(buf_release) = BUF_INIT;
    struct deploy_release live;
    int e = look_here(p, f->model, f->alias, &live, &shows, err);

    set_state(f, state, detail);
    return e < 0 ? e : follow_set(p->r, f, buf_str(&shows), tell, err);
}

static int
answer_model(struct pass *p, const char *model, const char *alias, int64_t release,
             const char *state, const char *detail, struct err *err)
{
    struct buf shows AUTO(buf_release) = BUF_INIT;
    struct deploy_release live;
    cJSON *o = cJSON_CreateObject();
    int e = look_here(p, model, alias, &live, &shows, err);

    json_put_str(o, "model", model);
    json_put_str(o, "alias", alias);
    json_put_int(o, "release", release);
    json_put_str(o, "state", state);
    json_put_str(o, "detail", detail);
    json_put_str(o, "shows", buf_str(&shows));
    json_put_bool(o, "fresh",
                  strcmp(state, "observed") == 0 || strcmp(state, "switched") == 0);
    cJSON_AddItemToArray(p->models, o);
    return e < 0 ? e : 0;
}

/* The row as it is now is the answer. */
static int
answer(struct pass *p, struct err *err)
{
    return answer_model(p, p->f.model, p->f.alias, p->f.release, p->f.state,
                        p->f.detail, err);
}

/* Tells at once that the model is being fetched or checked. 1: go on; 0: it has to
 * wait, *why says for what. A store that cannot be told is no reason to stop. */
int
pass_tell(struct pass *p, const char *detail, struct buf *why, struct err *err)
{
    struct agent_report rep = {
        .model = p->f.model,
        .alias = p->f.alias,
        .release = p->f.release,
        .state = p->f.state,
        .detail = detail,
        .at_ns = clock_now_ns(),
    };
    struct buf shows AUTO(buf_release) = BUF_INIT;
    struct deploy_release live;
    struct err said = ERR_INIT;
    int e = look_here(p, p->f.model, p->f.alias, &live, &shows, err);

    p->told_ns = clock_mono_ns();
    if (e < 0 || !p->takes_reports)
        return e < 0 ? e : 1;
    rep.shows = buf_str(&shows);
    e = p->source.ops->report(&p->source, &rep, why, &said);
    if (e == 0)
        return why->len == 0;
    if (e == -ERR_PENDING) {
        *err = said;
        return e;
    }
    if (detail[0])
        return 1; /* in the middle of it: what is away shows soon enough */
    buf_addf(why, "it could not be asked for a turn: %s", said.msg);
    if (!p->away.len)
        buf_adds(&p->away, said.msg);
    return 0;
}

/* A newer release of the model this is at, or a rollback of another. */
static int
comes_before(struct pass *p, const struct agent_want *w, struct err *err)
{
    struct follow f;
    int e;

    if (!w->go || (!w->is_rollback && strcmp(w->model, p->f.model) != 0))
        return 0;
    e = follow_get(p->r, w->model, w->alias, &f, err);
    return e == 1 ? w->release > f.release : e;
}

int
pass_look(struct pass *p, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    struct err said = ERR_INIT;
    const cJSON *o;

    if (p->n_restarts == RESTARTS_MAX || clock_mono_ns() - p->looked_ns < LOOK_NS)
        return 0;
    p->looked_ns = clock_mono_ns();
    if (p->source.ops->want(&p->source, p->f.alias, &doc, &said) == -ERR_PENDING) {
        *err = said;
        return -(int)err->code;
    }
    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(doc, "models"))
    {
        struct agent_want w;
        int e = agent_want_parse(o, p->f.alias, &w, &said);

        if (e == 0 && (e = comes_before(p, &w, &said)) == 1) {
            p->is_overtaken = true;
            return err_set(err, ERR_PENDING, "release %" PRId64 " of %s comes before",
                           w.release, w.model);
        }
        if (e < 0) /* the next look tells */
            err_clear(&said);
    }
    return 0;
}

static int
tick(void *arg, int64_t done_bytes, int64_t total_bytes, struct err *err)
{
    struct pass *p = arg;
    struct buf why AUTO(buf_release) = BUF_INIT;
    char detail[64];
    int e = 0;

    if (p->o->stop && p->o->stop(p->o->arg))
        return err_set(err, ERR_PENDING, "stopped");
    if (p->o->progress)
        p->o->progress(p->o->arg, "fetching", done_bytes, total_bytes);
    if (clock_mono_ns() - p->told_ns > TELL_NS) {
        snprintf(detail, sizeof(detail), "%.0f%%",
                 total_bytes ? 100.0 * (double)done_bytes / (double)total_bytes : 0.0);
        e = pass_tell(p, detail, &why, err);
    }
    return e < 0 ? e : pass_look(p, err);
}

/* ---- one model ----------------------------------------------------------------------
 */

static int
fail(struct pass *p, const struct err *why, struct err *err)
{
    return pass_keep(p, &p->f, "failed", why->msg, true, err);
}

/* 1: all versions are here, 0: not yet, the store is away; or the row says why not. */
static int
fetch_all(struct pass *p, struct err *err)
{
    struct agent_fetch fetch = {
        .r = p->r, .source = &p->source, .notes = p->notes, .tick = tick, .arg = p
    };
    struct err said = ERR_INIT, second = ERR_INIT;
    cJSON *doc AUTO(json_free) = NULL;

    for (int i = 0; i < p->w.n_members + (p->w.mirror.mirror > 0); i++) {
        const bool is_member = i < p->w.n_members;
        int e = agent_fetch(&fetch, p->w.model,
                            is_member ? p->w.members[i].number : p->w.mirror.number,
                            is_member ? &p->w.digests[i] : &p->w.mirror_digest, &said);

        if (e == 0)
            continue;
        if (e == -ERR_PENDING) {
            *err = said;
            return e;
        }
        if (e == -ERR_BUSY || p->source.away) {
            buf_adds(&p->away, said.msg);
            return 0;
        }
        /* A store that vanished says that it has no such thing. */
        if (p->source.ops->want(&p->source, p->w.alias, &doc, &second) < 0) {
            buf_adds(&p->away, second.msg);
            return second.code == ERR_PENDING ? (*err = second, -(int)err->code) : 0;
        }
        return fail(p, &said, err);
    }
    return 1;
}

static int
take_over(struct pass *p, struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    struct err said = ERR_INIT;
    struct follow *f = &p->f;
    int e;

    snprintf(f->model, sizeof(f->model), "%s", p->w.model);
    snprintf(f->alias, sizeof(f->alias), "%s", p->w.alias);
    snprintf(f->reason, sizeof(f->reason), "%s", p->w.reason);
    f->release = p->w.release;
    set_state(f, "fetching", "");
    e = pass_tell(p, "", &why, err);
    if (e == 0)
        return answer_model(p, f->model, f->alias, f->release, "waits", buf_str(&why),
                            err);
    if (e > 0)
        e = pass_keep(p, f, "fetching", "", false, err);
    if (e == 0)
        e = fetch_all(p, err);
    if (e < 0 || strcmp(f->state, "failed") == 0 || p->away.len)
        return e < 0 ? e : answer(p, err);
    e = p->w.is_rollback ? 0 : freeze_get(p->r, f->model, f->alias, &why, err);
    if (e == 1) {
        char *text AUTO(free_ptr) = xasprintf("frozen here: %s", buf_str(&why));

        e = pass_keep(p, f, "held", text, true, err);
        return e < 0 ? e : answer(p, err);
    }
    if (e == 0 && pass_apply(p, &said) < 0) {
        e = said.code == ERR_BUSY
                ? pass_keep(p, f, "fetching", said.msg, false, err) /* the next look */
                : fail(p, &said, err);
        return e < 0 ? e : answer(p, err);
    }
    if (e == 0)
        e = pass_keep(p, f, "checking", "", true, err);
    if (e == 0)
        e = pass_observe(p, err);
    if (e == 0 && follow_is(f, "observed", "switched"))
        e = agent_prune(p->r, f->model, &p->n_deleted, err);
    return e < 0 ? e : answer(p, err);
}

/* What a look that was cut off left half-done. */
static int
go_on(struct pass *p, struct err *err)
{
    struct deploy_release live;
    int e = deploy_live(p->r, p->f.model, p->f.alias, &live, err);

    if (e == 1 && live.number != p->f.local_release &&
        strcmp(live.reason, p->f.reason) == 0) { /* it went back, and died */
        p->f.local_release = live.number;
        return pass_keep(p, &p->f, "failed", p->f.detail, true, err);
    }
    if (e >= 0) {
        char why[sizeof(p->f.detail)];

        snprintf(why, sizeof(why), "%s", p->f.detail);
        e = pass_go_back(p, why, err);
    }
    return e;
}

static int
one_model(struct pass *p, struct err *err)
{
    int e = follow_get(p->r, p->w.model, p->w.alias, &p->f, err);
    const bool known = e == 1 && p->f.release >= p->w.release && !p->w.again;

    if (e == 1 &&
        pass_notice(p, &p->f, err) < 0) /* the store may have taken its time */
        return -(int)err->code;
    if (e == 1 && strcmp(p->f.state, "failing") == 0) {
        e = go_on(p, err);
        return e < 0 ? e : answer(p, err);
    }
    if (e < 0)
        return e;
    if (known && p->f.release > p->w.release) {
        char detail[200];

        snprintf(detail, sizeof(detail),
                 "the store went back in time: it is at release %" PRId64
                 ", and this host saw %" PRId64,
                 p->w.release, p->f.release);
        return answer_model(p, p->w.model, p->w.alias, p->w.release, "waits", detail,
                            err);
    }
    if (known && !follow_is(&p->f, "fetching", "checking") &&
        strcmp(p->f.state, "held") != 0)
        return answer(p, err);
    if (known && strcmp(p->f.state, "held") == 0) {
        struct buf why AUTO(buf_release) = BUF_INIT;

        e = freeze_get(p->r, p->f.model, p->f.alias, &why, err);
        if (e != 0)
            return e < 0 ? e : answer(p, err);
    }
    if (!p->w.go)
        return answer_model(p, p->w.model, p->w.alias, p->w.release, "waits", p->w.why,
                            err);
    return take_over(p, err);
}

/* ---- one alias ----------------------------------------------------------------------
 */

/* What this host shows, when the store cannot say what it should. */
static int
answer_alone(struct pass *p, const char *alias, const struct follow *rows, int n,
             struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < n; i++)
        if (strcmp(rows[i].alias, alias) == 0)
            e = answer_model(p, rows[i].model, alias, rows[i].release, rows[i].state,
                             rows[i].detail, err);
    return e;
}

static int
deliver(struct pass *p, int64_t *n_left, struct buf *why, struct err *err)
{
    int e = p->takes_reports ? follow_deliver(p->r, &p->source, n_left, why, err)
                             : db_get_int(p->r->db, n_left, err,
                                          "SELECT count(*) FROM follow_report", "");

    return e < 0 ? e : 0;
}

static int
want_models(struct pass *p, const cJSON *doc, const char *alias, bool rollbacks,
            struct err *err)
{
    const cJSON *o;
    int e = 0;

    cJSON_ArrayForEach(o, cJSON_GetObjectItemCaseSensitive(doc, "models"))
    {
        e = agent_want_parse(o, alias, &p->w, err);
        if (e == 0 && p->w.is_rollback == rollbacks)
            e = one_model(p, err);
        if (e < 0 && err->code != ERR_BUSY)
            return e;
        if (e < 0) { /* the next look tries again */
            buf_addf(&p->away, "%s%s", p->away.len ? "; " : "", err->msg);
            err_clear(err);
        }
        if (p->away.len)
            return 0;
    }
    return 0;
}

static int
one_alias(struct pass *p, const char *alias, struct err *err)
{
    struct follow *rows AUTO(free_ptr) = NULL;
    cJSON *doc AUTO(json_free) = NULL;
    struct err said = ERR_INIT;
    struct buf why AUTO(buf_release) = BUF_INIT;
    bool read_only = false, rule = false;
    int64_t n_left;
    int n, e = follow_all(p->r, alias, &rows, &n, err);

    for (int i = 0; e >= 0 && i < n; i++)
        e = pass_notice(p, &rows[i], err);
    if (e < 0)
        return e;
    p->looked_ns = clock_mono_ns();
    e = p->away.len ? -ERR_BUSY : p->source.ops->want(&p->source, alias, &doc, &said);
    if (e == -ERR_PENDING) {
        *err = said;
        return e;
    }
    if (e == 0)
        e = json_bool(doc, "read_only", false, &read_only, "its answer", &said);
    if (e == 0)
        e = json_bool(doc, "rule", false, &rule, "its answer", &said);
    if (e < 0) {
        if (!p->away.len)
            buf_adds(&p->away, said.msg);
        return answer_alone(p, alias, rows, n, err);
    }
    p->takes_reports = !read_only;
    if (read_only && rule) {
        buf_addf(&p->away,
                 "%s is read-only, and %s has a rollout rule there: without reports "
                 "nobody can take turns",
                 p->o->from, alias);
        return answer_alone(p, alias, rows, n, err);
    }
    e = deliver(p, &n_left, &why, err); /* what was before comes before */
    if (e == 0)
        e = want_models(p, doc, alias, true, err);
    return e < 0 || p->away.len ? e : want_models(p, doc, alias, false, err);
}

/* Anew whenever something came before what it was at. */
static int
until_done(struct pass *p, const char *alias, struct err *err)
{
    const int n_answers = cJSON_GetArraySize(p->models);
    int e;

    while ((e = one_alias(p, alias, err)) < 0 && p->is_overtaken) {
        err_clear(err);
        p->is_overtaken = false;
        p->n_restarts++;
        while (cJSON_GetArraySize(p->models) > n_answers)
            cJSON_DeleteItemFromArray(p->models, n_answers);
    }
    return e;
}

struct aliases {
    char **name;
    int n;
};

static void
aliases_release(struct aliases *a)
{
    for (int i = 0; i < a->n; i++)
        free(a->name[i]);
    free(a->name);
}

static int
add_alias(void *arg, const struct deploy_target *t, struct err *err)
{
    struct aliases *a = arg;

    (void)err;
    for (int i = 0; i < a->n; i++)
        if (strcmp(a->name[i], t->alias) == 0)
            return 0;
    a->name = xreallocarray(a->name, (size_t)a->n + 1, sizeof(*a->name));
    a->name[a->n++] = xstrdup(t->alias);
    return 0;
}

static int
find_aliases(struct pass *p, struct aliases *a, struct err *err)
{
    const char *given = p->o->alias_or_null;
    int e = deploy_targets(p->r, NULL, add_alias, a, err);

    if (e == 0 && given) {
        struct deploy_target t = { .name = "" };

        e = repo_check_alias_name(given, err);
        aliases_release(a);
        *a = (struct aliases){ .n = 0 };
        snprintf(t.alias, sizeof(t.alias), "%s", given);
        if (e == 0)
            e = add_alias(a, &t, err);
    }
    if (e == 0 && a->n == 0)
        return err_set(err, ERR_USAGE,
                       "agent: no target here, so there is nothing to follow: sluice "
                       "target add NAME DIR --alias ALIAS, or --alias");
    return e;
}

/* Everything that was wanted is here: what came of anything else is of no use. */
static void
clear_incoming(struct pass *p)
{
    const cJSON *o;

    if (p->away.len)
        return;
    cJSON_ArrayForEach(o, p->models)
    {
        if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "fresh")))
            return;
    }
    repo_incoming_clear(p->r);
}

int
agent_pass(struct repo *r, const struct agent_opts *o, cJSON **out, struct err *err)
{
    struct pass p AUTO(pass_release) = { .r = r, .o = o };
    struct aliases a AUTO(aliases_release) = { .n = 0 };
    struct buf why AUTO(buf_release) = BUF_INIT;
    int64_t n_left = 0;
    int e = agent_source_open(&p.source, o, err);

    *out = NULL;
    if (e == 0 && repo_check_alias_name(o->host, err) < 0)
        e = err_ctx(err, "agent: this host's name (--host)");
    if (e == 0)
        e = find_aliases(&p, &a, err);
    if (e < 0)
        return e;
    p.doc = cJSON_CreateObject();
    json_put_str(p.doc, "host", o->host);
    json_put_str(p.doc, "from", o->from);
    p.models = cJSON_AddArrayToObject(p.doc, "models");
    p.notes = cJSON_AddArrayToObject(p.doc, "notes");
    for (int i = 0; e == 0 && i < a.n; i++)
        e = until_done(&p, a.name[i], err);
    if (e == 0)
        e = deliver(&p, &n_left, &why, err);
    if (e < 0)
        return e;
    if (why.len)
        cJSON_AddItemToArray(p.notes, cJSON_CreateString(buf_str(&why)));
    clear_incoming(&p);
    json_put_str(p.doc, "away", p.away.len ? buf_str(&p.away) : NULL);
    json_put_bool(p.doc, "takes_reports", p.takes_reports || p.away.len);
    json_put_int(p.doc, "undelivered", n_left);
    json_put_int(p.doc, "deleted", p.n_deleted);
    *out = p.doc;
    p.doc = NULL;
    return 0;
}
