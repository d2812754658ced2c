/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/ramp.h"
#include "deploy/deploy_int.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_NS INT64_C(1000000000) /* how often what is live is looked at */
#define ASK_MS 500                   /* a server, which breaches wait for */

void
ramp_release(struct ramp *p)
{
    free(p->options);
    p->options = NULL;
}

/* ---- steps --------------------------------------------------------------------------
 */

int
ramp_parse_steps(const char *text, struct ramp *out, struct err *err)
{
    const char *p = text;

    for (out->n_steps = 0; *p;) {
        char *end;
        const double share = strtod(p, &end);
        const int weight = share > 0 && share <= 100 ? (int)(share * 100 + 0.5) : 0;

        if (end == p || *end != '%' || weight == 0 || (end[1] && end[1] != ','))
            return err_set(err, ERR_USAGE,
                           "ramp '%.100s' is no list of shares such as 1%%,5%%,25%%,"
                           "100%%",
                           text);
        if (out->n_steps == RAMP_STEPS_MAX)
            return err_set(err, ERR_LIMIT, "a ramp has at most %d steps",
                           RAMP_STEPS_MAX);
        if (out->n_steps > 0 && weight <= out->steps[out->n_steps - 1])
            return err_set(err, ERR_USAGE,
                           "ramp '%.100s': each share is above the one before it, so "
                           "that no unit moves out of the version",
                           text);
        out->steps[out->n_steps++] = weight;
        p = end + 1 + (end[1] == ',');
    }
    return out->n_steps > 0 ? 0
                            : err_set(err, ERR_USAGE,
                                      "a ramp has steps, such as 1%%,5%%,25%%,100%%");
}

static void
steps_text(const struct ramp *p, struct buf *out)
{
    for (int i = 0; i < p->n_steps; i++)
        buf_addf(out, "%s%d", i ? " " : "", p->steps[i]);
}

/* ---- rows ---------------------------------------------------------------------------
 */

#define COLUMNS                                                                        \
    "SELECT model, alias, version, steps, step, release, every_ns, options, state, "   \
    "why, started_ns, started_by, again FROM ramp "

static int
read_row(struct db_stmt *st, struct ramp *out, struct err *err)
{
    const char *p = db_text(st, 3);

    *out = (struct ramp){ .version = db_int(st, 2),
                          .step = (int)db_int(st, 4),
                          .release = db_int(st, 5),
                          .every_ns = db_int(st, 6),
                          .started_ns = db_int(st, 10),
                          .again = db_int(st, 12) != 0 };
    for (char *end; *p && out->n_steps < RAMP_STEPS_MAX; p = end)
        out->steps[out->n_steps++] = (int)strtol(p, &end, 10);
    if (out->n_steps == 0 || out->step < 0 || out->step > out->n_steps)
        return err_set(err, ERR_CORRUPT, "the ramp of %s@%s has no such step as %d",
                       db_text(st, 0), db_text(st, 1), out->step);
    snprintf(out->model, sizeof(out->model), "%s", db_text(st, 0));
    snprintf(out->alias, sizeof(out->alias), "%s", db_text(st, 1));
    snprintf(out->state, sizeof(out->state), "%s", db_text(st, 8));
    snprintf(out->why, sizeof(out->why), "%s", db_text(st, 9));
    snprintf(out->actor, sizeof(out->actor), "%s", db_text(st, 11));
    out->options = xstrdup(db_text(st, 7));
    return 0;
}

int
ramp_get(struct repo *r, const char *model, const char *alias, struct ramp *out,
         struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err, COLUMNS "WHERE model = ? AND alias = ?", "tt",
                     model, alias);

    *out = (struct ramp){ .step = 0 };
    if (e == 0)
        e = db_step(st, err);
    return e == 1 && read_row(st, out, err) < 0 ? -(int)err->code : e;
}

int
ramp_running(struct repo *r, int (*fn)(void *arg, struct ramp *p, struct err *err),
             void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     COLUMNS "WHERE state = 'running' ORDER BY model, alias", "");

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct ramp p AUTO(ramp_release);

        e = read_row(st, &p, err);
        if (e == 0)
            e = fn(arg, &p, err);
    }
    return e;
}

cJSON *
ramp_json(const struct ramp *p)
{
    char text[CLOCK_TEXT_BYTES];
    cJSON *o = cJSON_CreateObject(), *steps;

    json_put_str(o, "model", p->model);
    json_put_str(o, "alias", p->alias);
    json_put_int(o, "version", p->version);
    steps = cJSON_AddArrayToObject(o, "steps");
    for (int i = 0; i < p->n_steps; i++)
        json_put_int(steps, NULL, p->steps[i]);
    json_put_int(o, "step", p->step);
    json_put_int(o, "release", p->release);
    json_put_real(o, "every_s", (double)p->every_ns / 1e9);
    if (p->options[0])
        cJSON_AddItemToObject(o, "while", cJSON_Parse(p->options));
    json_put_str(o, "state", p->state);
    json_put_str(o, "why", p->why[0] ? p->why : NULL);
    json_put_str(o, "started", clock_text(p->started_ns, text));
    json_put_str(o, "by", p->actor);
    return o;
}

/* The row as `p` says, with an event. */
static int
ramp_put(struct repo *r, const struct ramp *p, struct err *err)
{
    struct buf steps AUTO(buf_release) = BUF_INIT;
    cJSON *body AUTO(json_free) = ramp_json(p);
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES];
    struct db *tx AUTO(tx_end_p) = NULL;

    steps_text(p, &steps);
    snprintf(object, sizeof(object), "%s@%s", p->model, p->alias);
    if (db_begin(r->db, err) < 0)
        return -(int)err->code;
    tx = r->db;
    if (db_run(r->db, err, "DELETE FROM ramp WHERE model = ? AND alias = ?", "tt",
               p->model, p->alias) < 0 ||
        db_run(
            r->db, err,
            "INSERT INTO ramp(model, alias, version, steps, step, release, every_ns, "
            "options, state, why, started_ns, started_by, again) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            "ttitiiitttiti", p->model, p->alias, p->version, buf_str(&steps),
            (int64_t)p->step, p->release, p->every_ns, p->options, p->state, p->why,
            p->started_ns, p->actor, (int64_t)p->again) < 0 ||
        event_add(r, "ramp", object, "", "ok", body, err) < 0)
        return -(int)err->code;
    tx = NULL;
    return db_commit(r->db, err);
}

/* ---- starting -----------------------------------------------------------------------
 */

static bool
same_ramp(const struct ramp *a, const struct ramp *b)
{
    return a->version == b->version && a->n_steps == b->n_steps &&
           memcmp(a->steps, b->steps, (size_t)a->n_steps * sizeof(a->steps[0])) == 0 &&
           a->every_ns == b->every_ns && strcmp(a->options, b->options) == 0;
}

/* What a step of the ramp makes of the live release: the stable version and its. */
static void
next_release(const struct ramp *p, const struct deploy_release *live, int weight,
             struct deploy_release *out)
{
    *out = *live;
    out->n_members = 0;
    if (weight < DEPLOY_WEIGHT_ALL) {
        out->members[0] = live->members[0];
        out->members[0].weight = DEPLOY_WEIGHT_ALL - weight;
        out->n_members = 1;
    }
    out->members[out->n_members++] =
        (struct deploy_member){ .number = p->version, .weight = weight };
}

static int
check_start(struct repo *r, const struct ramp *p, struct deploy_release *live,
            struct err *err)
{
    struct canary *c AUTO(canary_close_p) = NULL;
    cJSON *options AUTO(json_free) = NULL;
    struct deploy_release then;
    char ref[REPO_NAME_BYTES + 24];
    struct repo_version v;
    int e = deploy_live(r, p->model, p->alias, live, err);

    if (e == 0)
        return err_set(err, ERR_INVALID,
                       "nothing is live on %s@%s: a ramp begins beside a version that "
                       "is: sluice promote",
                       p->model, p->alias);
    snprintf(ref, sizeof(ref), "%s@%" PRId64, p->model, p->version);
    if (e < 0 || repo_resolve(r, ref, &v, err) < 0)
        return -(int)err->code;
    if (live->members[0].number == p->version)
        return err_set(err, ERR_INVALID,
                       "version %" PRId64 " is the stable one of %s@%s: a ramp is for "
                       "the one beside it",
                       p->version, p->model, p->alias);
    if (live->n_members > 2 ||
        (live->n_members == 2 && live->members[1].number != p->version))
        return err_set(err, ERR_INVALID,
                       "%s@%s is shared by other versions: a ramp is between the "
                       "stable one (%" PRId64 ") and %" PRId64 ": sluice weights first",
                       p->model, p->alias, live->members[0].number, p->version);
    if (live->n_members == 2 && live->members[1].weight >= p->steps[0])
        return err_set(err, ERR_INVALID,
                       "version %" PRId64 " has %g%% already: a ramp begins above",
                       p->version, live->members[1].weight / 100.0);
    if (!p->options[0])
        return 0;
    next_release(p, live, DEPLOY_WEIGHT_ALL / 2, &then);
    if (json_parse(&options, str_of(p->options), "the ramp's conditions", err) < 0)
        return -(int)err->code;
    return canary_open(&c, &then, options, err);
}

int
ramp_start(struct repo *r, struct ramp *p, struct err *err)
{
    struct ramp old AUTO(ramp_release) = { .options = NULL };
    struct deploy_release live;
    int e = ramp_get(r, p->model, p->alias, &old, err);

    if (e < 0)
        return e;
    if (e == 1 && strcmp(old.state, "running") == 0)
        return same_ramp(&old, p)
                   ? 1
                   : err_set(err, ERR_CONFLICT,
                             "another ramp is running on %s@%s (version %" PRId64
                             "): sluice ramp %s@%s --stop ends it",
                             p->model, p->alias, old.version, p->model, p->alias);
    if (check_start(r, p, &live, err) < 0 ||
        freeze_refuse(r, p->model, p->alias, err) < 0)
        return -(int)err->code;
    p->step = 0;
    p->release = live.number;
    p->started_ns = clock_now_ns();
    snprintf(p->state, sizeof(p->state), "running");
    snprintf(p->actor, sizeof(p->actor), "%s", acc_actor(r->acc));
    return ramp_put(r, p, err);
}

int
ramp_stop(struct repo *r, const char *model, const char *alias, const char *why,
          struct err *err)
{
    struct ramp p AUTO(ramp_release) = { .options = NULL };
    int e = ramp_get(r, model, alias, &p, err);

    if (e < 0)
        return e;
    if (e == 0 || strcmp(p.state, "running") != 0)
        return err_set(err, ERR_NOTFOUND, "no ramp is running on %s@%s", model, alias);
    snprintf(p.state, sizeof(p.state), "ended");
    snprintf(p.why, sizeof(p.why), "%.250s", why);
    return ramp_put(r, &p, err);
}

/* ---- following ----------------------------------------------------------------------
 */

void
ramp_run_release(struct ramp_run *run)
{
    canary_close(run->canary);
    run->canary = NULL;
    ramp_release(&run->ramp);
}

int
ramp_run_open(struct ramp_run *run, struct repo *r, const char *model,
              const char *alias, struct err *err)
{
    int e;

    *run = (struct ramp_run){ .r = r };
    e = ramp_get(r, model, alias, &run->ramp, err);
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no ramp was made on %s@%s: sluice weights %s@%s VERSION --ramp "
                       "1%%,5%%,25%%,100%%",
                       model, alias, model, alias);
    return e < 0 ? e : 0;
}

static int
end_ramp(struct ramp_run *run, const char *state, const char *why, struct err *err)
{
    snprintf(run->ramp.state, sizeof(run->ramp.state), "%s", state);
    snprintf(run->ramp.why, sizeof(run->ramp.why), "%.255s", why);
    canary_close(run->canary);
    run->canary = NULL;
    return ramp_put(run->r, &run->ramp, err);
}

static bool
is_step(const struct ramp_run *run)
{
    const struct deploy_release *live = &run->live;
    const struct ramp *p = &run->ramp;
    struct deploy_release want;

    if (p->step == p->n_steps || live->replaces != p->release ||
        strcmp(live->verb, "weights") != 0 || live->n_members > 2)
        return false;
    if (p->steps[p->step] == DEPLOY_WEIGHT_ALL)
        return live->n_members == 1 && live->members[0].number == p->version;
    if (live->n_members != 2)
        return false;
    next_release(p, live, p->steps[p->step], &want);
    return live->members[1].number == p->version &&
           live->members[1].weight == want.members[1].weight;
}

/* The release that is live is that of the ramp's next step. */
static int
step_done(struct ramp_run *run, struct err *err)
{
    run->ramp.step++;
    run->ramp.release = run->live.number;
    if (run->canary && run->live.n_members == 2) {
        canary_rebase(run->canary, &run->live);
    } else {
        canary_close(run->canary);
        run->canary = NULL;
    }
    return ramp_put(run->r, &run->ramp, err);
}

/* Why servers have not all of the live release yet. */
static void
say_waits(struct ramp_run *run, const cJSON *round, cJSON **tell)
{
    char *text AUTO(free_ptr) = NULL;
    const cJSON *t;

    cJSON_ArrayForEach(t, cJSON_GetObjectItem(round, "targets"))
    {
        const char *why = step_waits(t);

        if (!why)
            continue;
        text = xasprintf("target %s: %s",
                         cJSON_GetStringValue(cJSON_GetObjectItem(t, "target")), why);
        break;
    }
    if (!text || strcmp(text, run->waits) == 0)
        return;
    snprintf(run->waits, sizeof(run->waits), "%s", text);
    *tell = *tell ? *tell : cJSON_CreateObject();
    json_put_str(*tell, "waits", run->waits);
}

/* A step is done when the servers that can be asked have it: 1. Takes it on until then,
 * as nobody else may. */
static int
is_served(struct ramp_run *run, int64_t now_ns, cJSON **tell, struct err *err)
{
    const struct deploy_step what = { .alias = run->ramp.alias,
                                      .model = run->ramp.model,
                                      .wall_ms = ASK_MS };
    cJSON *round AUTO(json_free) = NULL;
    int e;

    if (run->ramp.step == 0 || run->served == run->live.id)
        return 1;
    if (run->asked_ns != 0 && now_ns - run->asked_ns < CHECK_NS)
        return 0;
    run->asked_ns = now_ns;
    e = deploy_step(run->r, &what, &round, err);
    if (e == -(int)ERR_BUSY || e == -(int)ERR_CONFLICT) {
        err_clear(err);
        return 0;
    }
    if (e < 0)
        return e;
    if (cJSON_GetNumberValue(cJSON_GetObjectItem(round, "waiting")) > 0) {
        say_waits(run, round, tell);
        return 0;
    }
    e = deploy_live(run->r, run->ramp.model, run->ramp.alias, &run->live, err);
    if (e < 0 || run->live.number != run->ramp.release)
        return e < 0 ? e : 0;
    run->served = run->live.id;
    run->asked_ns = 0;
    run->waits[0] = '\0';
    return 1;
}

/* What is live, and whether the ramp stands there. Somebody may have stopped it, or
 * done its next step. 1: it goes on, 0: not. */
static int
look_around(struct ramp_run *run, struct err *err)
{
    struct ramp now AUTO(ramp_release) = { .options = NULL };
    char *why AUTO(free_ptr) = NULL;
    struct ramp *p = &run->ramp;
    int e = ramp_get(run->r, p->model, p->alias, &now, err);

    if (e == 1 && strcmp(now.state, "running") == 0)
        e = deploy_live(run->r, p->model, p->alias, &run->live, err);
    if (e < 0)
        return e;
    p->step = now.step;
    p->release = now.release;
    memcpy(p->state, now.state, sizeof(p->state));
    memcpy(p->why, now.why, sizeof(p->why));
    if (strcmp(p->state, "running") != 0 || e == 0)
        return 0;
    if (run->live.number == p->release)
        return 1;
    if (is_step(run)) { /* whoever did it was killed before it could say so */
        e = step_done(run, err);
        return e < 0 ? e : strcmp(p->state, "running") == 0;
    }
    why = xasprintf("release %" PRId64 " (%s by %s) took its place", run->live.number,
                    run->live.verb, run->live.actor);
    e = end_ramp(run, "ended", why, err);
    return e < 0 ? e : 0;
}

int64_t
ramp_due_ns(const struct ramp_run *run)
{
    const int64_t from_ns = run->live.observed_ns > run->live.intended_ns
                                ? run->live.observed_ns
                                : run->live.intended_ns;

    return run->ramp.step == 0 ? 0 : from_ns + run->ramp.every_ns;
}

static int
open_canary(struct ramp_run *run, struct err *err)
{
    cJSON *options AUTO(json_free) = NULL;

    if (run->canary || !run->ramp.options[0] || run->live.n_members < 2 ||
        run->ramp.step == 0)
        return 0;
    if (json_parse(&options, str_of(run->ramp.options), "the ramp's conditions", err) <
        0)
        return -(int)err->code;
    return canary_open(&run->canary, &run->live, options, err);
}

/* 0: it is at its end, 1: somebody else moved the alias meanwhile. */
static int
back(struct ramp_run *run, cJSON **tell, struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    const int64_t number = canary_breached(run->canary, &why);
    cJSON *report = NULL;
    int e = canary_act(run->r, &run->live, number, buf_str(&why), CANARY_ROLLBACK,
                       &report, err);

    if (report) {
        cJSON *o = *tell ? *tell : (*tell = cJSON_CreateObject());

        cJSON_AddItemToObject(o, "rollback", report);
    }
    if (e == -(int)ERR_CONFLICT) {
        err_clear(err);
        canary_close(run->canary);
        run->canary = NULL;
        run->checked_ns = 0;
        return 1;
    }
    if (e < 0)
        return err_ctx(err, "%s; going back", buf_str(&why));
    return end_ramp(run, "breach", buf_str(&why), err);
}

/* 1: done or to be tried again, 0: the ramp is at its end. */
static int
do_step(struct ramp_run *run, cJSON **tell, struct err *err)
{
    struct ramp *p = &run->ramp;
    struct buf frozen AUTO(buf_release) = BUF_INIT;
    struct deploy_release next;
    char reason[100];
    struct deploy_change d = { .verb = DEPLOY_WEIGHTS,
                               .model = p->model,
                               .alias = p->alias,
                               .expect_release = run->live.number,
                               .again = p->again && p->step == 0,
                               .reason = reason };
    cJSON *report = NULL;
    int e = freeze_get(run->r, p->model, p->alias, &frozen, err);

    if (e != 0) /* frozen: it waits for the thaw */
        return e;
    run->again = true;
    next_release(p, &run->live, p->steps[p->step], &next);
    d.parts = next.members;
    d.n_parts = next.n_members;
    snprintf(reason, sizeof(reason), "ramp, step %d of %d", p->step + 1, p->n_steps);
    e = deploy_change(run->r, &d, &report, err);
    if (e == 0) {
        *tell = *tell ? *tell : cJSON_CreateObject();
        cJSON_AddItemToObject(*tell, "step", report);
        e = deploy_live(run->r, p->model, p->alias, &run->live, err);
        if (e == 1)
            e = step_done(run, err);
        return e < 0 ? e : strcmp(p->state, "running") == 0;
    }
    cJSON_Delete(report);
    if (e == -(int)ERR_CONFLICT || e == -(int)ERR_BUSY) { /* look around again */
        err_clear(err);
        run->checked_ns = 0;
        return 1;
    }
    if (e == -(int)ERR_REFUSED || e == -(int)ERR_HOOK || e == -(int)ERR_DENIED) {
        struct err second = ERR_INIT;
        char *line = xstrndup(err->msg, 250);

        for (char *c = line; *c; c++)
            *c = *c == '\n' ? ' ' : *c;
        (void)!end_ramp(run, "ended", line, &second);
        free(line);
    }
    return e;
}

int
ramp_turn(struct ramp_run *run, int64_t now_ns, cJSON **tell, struct err *err)
{
    int e = 1;

    *tell = NULL;
    run->again = false;
    if (run->checked_ns == 0 || now_ns - run->checked_ns >= CHECK_NS) {
        e = look_around(run, err);
        run->checked_ns = now_ns;
    }
    if (e <= 0)
        return e;
    if (open_canary(run, err) < 0)
        return -(int)err->code;
    if (run->canary) {
        enum canary_outcome outcome = canary_look(run->canary, now_ns, tell);

        if (outcome == CANARY_BREACH)
            return back(run, tell, err);
        if (outcome == CANARY_STUCK) { /* it stays where it is, and begins anew */
            canary_close(run->canary);
            run->canary = NULL;
            return 1;
        }
    }
    e = is_served(run, now_ns, tell, err);
    if (e <= 0)
        return e < 0 ? e : 1;
    if (run->ramp.step == run->ramp.n_steps && run->live.n_members == 1) {
        e = end_ramp(run, "done", "", err);
        return e < 0 ? e : 0;
    }
    if (now_ns < ramp_due_ns(run) ||
        (run->canary &&
         (canary_more(run->canary) || !canary_is_conclusive(run->canary))))
        return 1;
    if (run->ramp.step < run->ramp.n_steps)
        return do_step(run, tell, err);
    e = end_ramp(run, "done", "", err);
    return e < 0 ? e : 0;
}
