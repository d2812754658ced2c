/* SPDX-License-Identifier: Apache-2.0 */
/* canary, ramp, weights --ramp: they watch, and tell what they see while they do. */
#include "base/clock.h"
#include "deploy/canary.h"
#include "deploy/ramp.h"
#include "service/svc_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_NS INT64_C(200000000) /* of what is due and cannot be done yet */

static void
tell(struct svc_call *c, cJSON **what)
{
    if (*what && c->s->tell)
        c->s->tell(c->s->tell_arg, *what);
    json_free(what);
}

/* ---- what is asked for ---- */

static int
put_span(struct svc_call *c, cJSON *o, const char *field, const char *key,
         struct err *err)
{
    int64_t ns;
    if (!svc_str(c, field))
        return 0;
    if (clock_parse_span(svc_str(c, field), &ns, err) < 0)
        return err_ctx(err, "%s --%s", c->verb->name, field);
    json_put_int(o, key, ns);
    return 0;
}

/* The object that canary_open takes; `metrics`: the field that has them. */
static int
options_of(struct svc_call *c, const char *metrics, cJSON *o, struct err *err)
{
    static const char *const same[] = {
        "source",        "stable_name",        "canary_name",        "min_requests",
        "failure_limit", "inconclusive_limit", "consecutive_errors", "from_now"
    };
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, metrics);
    const cJSON *queries = cJSON_GetObjectItemCaseSensitive(c->req, "query");
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(c->req, same[i]);
        if (v)
            cJSON_AddItemToObject(o, same[i], cJSON_Duplicate(v, true));
    }
    if (list)
        cJSON_AddItemToObject(o, "metrics", cJSON_Duplicate(list, true));
    if (queries)
        cJSON_AddItemToObject(o, "queries", cJSON_Duplicate(queries, true));
    if (svc_str(c, "alpha")) {
        char *end;
        const double alpha = strtod(svc_str(c, "alpha"), &end);
        if (end == svc_str(c, "alpha") || *end)
            return err_set(err, ERR_USAGE, "%s: alpha '%.40s' is no number, as 0.01 is",
                           c->verb->name, svc_str(c, "alpha"));
        json_put_real(o, "alpha", alpha);
    }
    return put_span(c, o, "interval", "interval_ns", err);
}

/* A relative path means another file when somebody else goes on with it. */
static int
whole_path(cJSON *options, struct err *err)
{
    const char *spec =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(options, "source"));
    if (!spec || strncmp(spec, "log:", 4) != 0 || spec[4] == '/' || !spec[4])
        return 0;
    char *cwd = realpath(".", NULL);
    if (!cwd)
        return err_sys(err, errno, "find out the current directory");
    char *text AUTO(free_ptr) = xasprintf("log:%s/%s", cwd, spec + 4);
    free(cwd);
    cJSON_ReplaceItemInObjectCaseSensitive(options, "source", cJSON_CreateString(text));
    return 0;
}

static int
act_of(struct svc_call *c, enum canary_act *out, struct err *err)
{
    static const char *const names[] = { [CANARY_ROLLBACK] = "rollback",
                                         [CANARY_WEIGHTS] = "weights",
                                         [CANARY_REPORT] = "report" };
    const char *text = svc_str(c, "on_breach");
    *out = CANARY_ROLLBACK;
    for (int i = 0; text && i < 3; i++) {
        if (strcmp(text, names[i]) != 0)
            continue;
        *out = (enum canary_act)i;
        return 0;
    }
    return text ? err_set(err, ERR_USAGE,
                          "canary: --on-breach '%.40s' is not rollback, weights or "
                          "report",
                          text)
                : 0;
}

/* ---- canary ---- */

/* 1: the release that is watched is live, 0: another one is. */
static int
still_live(struct svc_call *c, const struct deploy_release *rel, struct err *err)
{
    struct deploy_release now;
    int e = deploy_live(c->repo, rel->model, rel->alias, &now, err);
    return e < 0 ? e : e == 1 && now.id == rel->id;
}

static int
end_breach(struct svc_call *c, struct canary *watch, const struct deploy_release *rel,
           enum canary_act act, struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    cJSON *report = NULL;
    const int64_t began_ns = clock_mono_ns();
    const int64_t number = canary_breached(watch, &why);
    int e = canary_act(c->repo, rel, number, buf_str(&why), act, &report, err);
    const double took_ms = (double)(clock_mono_ns() - began_ns) / 1e6;
    cJSON_Delete(c->reply);
    c->reply = canary_report(watch);
    json_put_int(c->body, "worse", number);
    json_put_str(c->body, "why", buf_str(&why));
    json_put_int(c->reply, "worse", number);
    if (report) {
        json_put_real(c->reply, "moved_in_ms", took_ms);
        cJSON_AddItemToObject(c->reply, "moved", report);
    }
    if (e < 0)
        return err_ctx(err, "%s; moving traffic away from it", buf_str(&why));
    return err_set(err, ERR_FAILED, "%s%s", buf_str(&why),
                   act == CANARY_REPORT     ? ""
                   : act == CANARY_ROLLBACK ? "; rolled back"
                                            : "; its share went back");
}

static int
end_unknown(struct svc_call *c, struct canary *watch, const char *why_or_null,
            struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    if (why_or_null)
        buf_adds(&why, why_or_null);
    else
        canary_missing(watch, &why);
    cJSON_Delete(c->reply);
    c->reply = canary_report(watch);
    json_put_str(c->reply, "missing", buf_str(&why));
    return err_set(err, ERR_PENDING, "inconclusive: %s", buf_str(&why));
}

#define LOOK_NS INT64_C(1000000000) /* whether somebody is still there */

int
svc_do_canary(struct svc_call *c, struct err *err)
{
    struct canary *watch AUTO(canary_close_p) = NULL;
    cJSON *options AUTO(json_free) = cJSON_CreateObject();
    struct deploy_release rel;
    struct repo_ref ref;
    enum canary_act act;
    int64_t for_ns = INT64_C(3600000000000), end_ns, checked_ns = 0;
    if (svc_alias(c, &ref, err) < 0 || options_of(c, "metric", options, err) < 0 ||
        act_of(c, &act, err) < 0)
        return -(int)err->code;
    if (svc_str(c, "for") && clock_parse_span(svc_str(c, "for"), &for_ns, err) < 0)
        return err_ctx(err, "canary --for");
    if (act != CANARY_REPORT &&
        acc_check(c->repo->acc, ACC_PROMOTE, acc_alias(ref.model, ref.alias), err) < 0)
        return -(int)err->code;
    int e = deploy_live(c->repo, ref.model, ref.alias, &rel, err);
    if (e >= 0 && (e == 0 || rel.n_members < 2))
        return err_set(err, ERR_INVALID,
                       "%s is not shared: there is nothing to compare; sluice weights "
                       "%s 1=90%% 2=10%% shares it",
                       c->object, c->object);
    if (e < 0 || canary_open(&watch, &rel, options, err) < 0)
        return -(int)err->code;
    json_put_str(c->body, "source", svc_str(c, "source"));
    json_put_int(c->body, "release", rel.number);
    end_ns = clock_now_ns() + for_ns;
    for (;;) {
        const int64_t now_ns = clock_now_ns();
        cJSON *look = NULL;
        enum canary_outcome outcome = canary_look(watch, now_ns, &look);
        if (outcome == CANARY_BREACH) { /* first of all */
            e = end_breach(c, watch, &rel, act, err);
            tell(c, &look);
            return e;
        }
        tell(c, &look);
        if (outcome == CANARY_STUCK)
            return end_unknown(c, watch, NULL, err);
        if (now_ns - checked_ns >= INT64_C(1000000000)) {
            e = still_live(c, &rel, err);
            if (e < 0)
                return e;
            if (e == 0)
                return end_unknown(c, watch, "another release took its place", err);
            checked_ns = now_ns;
        }
        if (now_ns >= end_ns && !canary_more(watch))
            break;
        if (svc_is_stopped(c))
            return end_unknown(c, watch, "who asked is gone", err);
        canary_wait(&watch, 1, end_ns < now_ns + LOOK_NS ? end_ns : now_ns + LOOK_NS);
    }
    if (!canary_is_conclusive(watch))
        return end_unknown(c, watch, NULL, err);
    cJSON_Delete(c->reply);
    c->reply = canary_report(watch);
    return 0;
}

/* ---- ramp ---- */

struct runs {
    struct ramp_run *run;
    int n;
};

static void
runs_release(struct runs *r)
{
    for (int i = 0; i < r->n; i++)
        ramp_run_release(&r->run[i]);
    free(r->run);
    *r = (struct runs){ .run = NULL };
}

struct adding {
    struct svc_call *c;
    struct runs *to;
};

static int
add_run(void *arg, struct ramp *p, struct err *err)
{
    struct adding *a = arg;
    struct runs *r = a->to;
    int may = acc_may(a->c->repo->acc, a->c->verb->name, ACC_PROMOTE,
                      acc_alias(p->model, p->alias), err);
    if (may <= 0) /* others' */
        return may;
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->run[i].ramp.model, p->model) == 0 &&
            strcmp(r->run[i].ramp.alias, p->alias) == 0)
            return 0;
    if (r->n == CANARY_WAIT_MAX)
        return err_set(err, ERR_LIMIT, "more than %d ramps run at once",
                       CANARY_WAIT_MAX);
    r->run = xreallocarray(r->run, (size_t)r->n + 1, sizeof r->run[0]);
    if (ramp_run_open(&r->run[r->n], a->c->repo, p->model, p->alias, err) < 0)
        return -(int)err->code;
    r->n++;
    return 0;
}

static void
drop_run(struct runs *r, int i)
{
    ramp_run_release(&r->run[i]);
    memmove(&r->run[i], &r->run[i + 1], (size_t)(--r->n - i) * sizeof r->run[0]);
}

/* How one came to its end, for the reply; the worst counts for the exit code. */
static int
end_of(struct svc_call *c, const struct ramp *p, const struct err *why, struct err *err)
{
    cJSON *o = ramp_json(p);
    if (why->code != ERR_OK)
        json_put_str(o, "error", why->msg);
    cJSON_AddItemToArray(cJSON_GetObjectItem(c->reply, "ramps"), o);
    if (err->code != ERR_OK)
        return -(int)err->code;
    if (why->code != ERR_OK)
        return err_set(err, why->code, "ramp of %s@%s: %s", p->model, p->alias,
                       why->msg);
    if (strcmp(p->state, "breach") == 0)
        return err_set(err, ERR_FAILED, "%s@%s: %s; rolled back", p->model, p->alias,
                       p->why);
    if (strcmp(p->state, "ended") == 0)
        return err_set(err, ERR_PENDING, "%s@%s: the ramp ended: %s", p->model,
                       p->alias, p->why);
    return 0;
}

static void
pause_for(const struct runs *r)
{
    struct canary *watch[CANARY_WAIT_MAX];
    const int64_t now_ns = clock_now_ns();
    int64_t until_ns = now_ns + INT64_C(1000000000);
    for (int i = 0; i < r->n; i++) {
        int64_t due_ns = ramp_due_ns(&r->run[i]);
        if (due_ns <= now_ns)
            due_ns = now_ns + PAUSE_NS;
        until_ns = due_ns < until_ns ? due_ns : until_ns;
        watch[i] = r->run[i].canary;
    }
    canary_wait(watch, r->n, until_ns);
}

/* --once: every ramp has done what was due, and read what there was. */
static bool
is_idle(const struct runs *r)
{
    bool idle = true;
    for (int i = 0; i < r->n; i++)
        idle &=
            !r->run[i].again && !(r->run[i].canary && canary_more(r->run[i].canary));
    return idle;
}

static int
follow(struct svc_call *c, struct runs *r, struct err *err)
{
    const bool stay = svc_flag(c, "stay"), once = svc_flag(c, "once");
    struct adding adding = { .c = c, .to = r };
    int64_t looked_ns = clock_now_ns();
    cJSON_AddArrayToObject(c->reply, "ramps");
    while (r->n > 0 || stay) {
        for (int i = 0; i < r->n;) {
            struct err why = ERR_INIT;
            cJSON *what = NULL;
            int e = ramp_turn(&r->run[i], clock_now_ns(), &what, &why);
            tell(c, &what);
            if (e > 0) {
                i++;
                continue;
            }
            if (stay && e < 0 && c->s->tell) {
                what = ramp_json(&r->run[i].ramp);
                json_put_str(what, "error", why.msg);
                tell(c, &what);
            }
            (void)!end_of(c, &r->run[i].ramp, &why, err);
            if (stay) {
                err_clear(err);
                cJSON_DeleteItemFromArray(cJSON_GetObjectItem(c->reply, "ramps"), 0);
            }
            drop_run(r, i);
        }
        if (once && is_idle(r))
            break;
        if (svc_is_stopped(c))
            return err_set(err, ERR_PENDING,
                           "who followed the ramps is gone: sluice ramp goes on");
        if (stay && clock_now_ns() - looked_ns >= INT64_C(1000000000)) {
            looked_ns = clock_now_ns();
            if (ramp_running(c->repo, add_run, &adding, err) < 0)
                return -(int)err->code;
        }
        if (r->n > 0 || stay)
            pause_for(r);
    }
    for (int i = 0; i < r->n; i++) /* --once: those that go on */
        cJSON_AddItemToArray(cJSON_GetObjectItem(c->reply, "ramps"),
                             ramp_json(&r->run[i].ramp));
    return -(int)err->code;
}

int
svc_do_ramp(struct svc_call *c, struct err *err)
{
    struct runs r AUTO(runs_release) = { .run = NULL };
    struct adding adding = { .c = c, .to = &r };
    struct repo_ref ref;
    const char *reason = svc_str(c, "reason");
    if (svc_str(c, "ref") && svc_alias(c, &ref, err) < 0)
        return -(int)err->code;
    if (svc_flag(c, "stop") + svc_flag(c, "once") + svc_flag(c, "stay") > 1 ||
        (!svc_str(c, "ref") && svc_flag(c, "stop")))
        return err_set(err, ERR_USAGE,
                       "ramp: --once, --stay, or MODEL@ALIAS --stop: one of them");
    if (svc_flag(c, "stop")) {
        struct ramp p AUTO(ramp_release) = { .options = NULL };
        if (ramp_stop(c->repo, ref.model, ref.alias, reason ? reason : "stopped", err) <
                0 ||
            ramp_get(c->repo, ref.model, ref.alias, &p, err) < 0)
            return -(int)err->code;
        c->recorded = true;
        cJSON_AddItemToArray(cJSON_AddArrayToObject(c->reply, "ramps"), ramp_json(&p));
        return 0;
    }
    if (svc_str(c, "ref")) {
        r.run = xcalloc(1, sizeof r.run[0]);
        r.n = 1;
        if (ramp_run_open(&r.run[0], c->repo, ref.model, ref.alias, err) < 0)
            return -(int)err->code;
        if (strcmp(r.run[0].ramp.state, "running") != 0)
            return err_set(err, ERR_NOTFOUND, "the ramp of %s runs no more (%s%s%s)",
                           c->object, r.run[0].ramp.state,
                           r.run[0].ramp.why[0] ? ": " : "", r.run[0].ramp.why);
    } else if (ramp_running(c->repo, add_run, &adding, err) < 0) {
        return -(int)err->code;
    }
    return follow(c, &r, err);
}

int
svc_ramp_start(struct svc_call *c, const struct repo_ref *ref, struct err *err)
{
    cJSON *options AUTO(json_free) = cJSON_CreateObject();
    struct ramp p AUTO(ramp_release) = { .options = NULL };
    const cJSON *parts = cJSON_GetObjectItemCaseSensitive(c->req, "parts");
    const char *part = parts ? cJSON_GetStringValue(parts->child) : NULL;
    char *end = NULL;
    if (c->keyed)
        return err_set(err, ERR_USAGE,
                       "weights --ramp takes no idempotency key: the same command "
                       "again goes on with the ramp");
    if (json_has(c->req, "break_glass") || json_has(c->req, "expect") ||
        json_has(c->req, "mirror"))
        return err_set(err, ERR_USAGE,
                       "weights --ramp takes no --break_glass, no --expect and no "
                       "--mirror: its steps come one after the other");
    if (part)
        p.version = strtoll(part, &end, 10);
    if (!part || parts->child->next || *end || p.version < 1)
        return err_set(err, ERR_USAGE,
                       "weights --ramp takes one version, the one whose share grows: "
                       "sluice weights %s 4 --ramp %s",
                       c->object, svc_str(c, "ramp"));
    if (ramp_parse_steps(svc_str(c, "ramp"), &p, err) < 0)
        return -(int)err->code;
    p.again = svc_flag(c, "again");
    p.every_ns = INT64_C(600000000000);
    if (svc_str(c, "every") &&
        clock_parse_span(svc_str(c, "every"), &p.every_ns, err) < 0)
        return err_ctx(err, "weights --every");
    if (!svc_str(c, "source") &&
        (json_has(c->req, "while") || json_has(c->req, "query")))
        return err_set(err, ERR_USAGE,
                       "weights --while needs --source: log:PATH, prometheus:URL or "
                       "tfserving:URL");
    if (svc_str(c, "source")) {
        struct buf text AUTO(buf_release) = BUF_INIT;
        if (options_of(c, "while", options, err) < 0 || whole_path(options, err) < 0)
            return -(int)err->code;
        json_print(options, &text, true);
        p.options = buf_take(&text);
    } else {
        p.options = xstrdup("");
    }
    snprintf(p.model, sizeof p.model, "%s", ref->model);
    snprintf(p.alias, sizeof p.alias, "%s", ref->alias);
    json_put_int(c->body, "version", p.version);
    json_put_str(c->body, "ramp", svc_str(c, "ramp"));
    int e = ramp_start(c->repo, &p, err);
    if (e < 0)
        return e;
    struct runs r AUTO(runs_release) = { .run = NULL };
    struct adding adding = { .c = c, .to = &r };
    if (add_run(&adding, &p, err) < 0)
        return -(int)err->code;
    if (svc_flag(c, "detach")) {
        c->recorded = true; /* by deploy/ */
        cJSON_AddItemToArray(cJSON_AddArrayToObject(c->reply, "ramps"),
                             ramp_json(&r.run[0].ramp));
        return 0;
    }
    return follow(c, &r, err);
}
