/* SPDX-License-Identifier: Apache-2.0 */
/* Releases of this store that show what another one has, and whether they are served.
 */
#include "deploy/agent_int.h"

#include "base/clock.h"
#include "base/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_AGAIN_US 300000
#define CHECK_MS 30000 /* one run of the check */

/* ---- a release of this store --------------------------------------------------------
 */

/* The other store's word stands for the policies; what this host says of a version, and
 * a freeze here, counts. */
static int
gate(struct repo *r, const struct val_gate_args *args, cJSON **report, struct err *err)
{
    const bool ready = strcmp(args->version->state, "ready") == 0;
    cJSON *o = cJSON_CreateObject();

    (void)r;
    *report = cJSON_CreateArray();
    json_put_str(o, "gate", "followed");
    json_put_str(o, "wanted", "let through by the store that is followed");
    json_put_str(o, "saw", args->reason);
    json_put_bool(o, "ok", ready && !args->frozen_reason);
    cJSON_AddItemToArray(*report, o);
    if (!ready)
        return err_set(err, ERR_REFUSED, "%s@%" PRId64 " is %s here",
                       args->version->model, args->version->number,
                       args->version->state);
    return args->frozen_reason
               ? err_set(err, ERR_REFUSED, "frozen here: %s", args->frozen_reason)
               : 0;
}

int
pass_apply(struct pass *p, struct err *err)
{
    const struct agent_want *w = &p->w;
    struct deploy_change c = { .verb = DEPLOY_WEIGHTS,
                               .model = w->model,
                               .alias = w->alias,
                               .parts = w->members,
                               .n_parts = w->n_members,
                               .in_order = true,
                               .again = true,
                               .reason = p->f.reason };
    cJSON *report AUTO(json_free) = NULL;
    const struct deploy_member *now;
    struct deploy_member mirror = w->mirror;
    struct deploy_release live;
    struct repo_version v;
    int e = deploy_live(p->r, w->model, w->alias, &live, err);

    now = e == 1 ? deploy_mirror(&live) : NULL;
    if (now && mirror.mirror == 0) /* it ends here, too */
        mirror.number = now->number;
    if (mirror.number)
        c.mirror = &mirror;
    if (mirror.mirror > 0) {
        e = e < 0 ? e : 0;
    } else if (e == 1 && w->is_rollback && w->n_members == 1) {
        c.verb = DEPLOY_ROLLBACK;
        c.to_number = w->members[0].number;
    } else if (e >= 0 && w->n_members == 1) {
        c.verb = DEPLOY_PROMOTE;
        c.version = &v;
        e = repo_version_numbered(p->r, w->model, w->members[0].number, &v, err);
    }
    if (e >= 0)
        e = deploy_change_gated(p->r, &c, gate, &report, err);
    if (e >= 0)
        e = deploy_live(p->r, w->model, w->alias, &live, err);
    if (e == 1)
        p->f.local_release = live.number;
    return e < 0 ? e : 0;
}

/* ---- is it served? ------------------------------------------------------------------
 */

/* Between two looks. 1: look again, 0: no time is left. */
static int
wait_again(struct pass *p, int64_t end_ns, struct err *err)
{
    struct buf why AUTO(buf_release) = BUF_INIT;

    if (p->o->stop && p->o->stop(p->o->arg))
        return err_set(err, ERR_PENDING, "stopped");
    if (clock_mono_ns() >= end_ns)
        return 0;
    if (clock_mono_ns() - p->told_ns > TELL_NS && pass_tell(p, "", &why, err) < 0)
        return -(int)err->code;
    if (pass_look(p, err) < 0)
        return -(int)err->code;
    usleep(CHECK_AGAIN_US);
    return 1;
}

static int
run_check(struct pass *p, const struct deploy_release *live, struct buf *said,
          struct err *err)
{
    char *words AUTO(free_ptr) = xstrdup(p->o->check_or_null);
    char *why AUTO(free_ptr) = NULL;
    char *env[5] = { xasprintf("SLUICE_MODEL=%s", live->model),
                     xasprintf("SLUICE_ALIAS=%s", live->alias),
                     xasprintf("SLUICE_VERSION=%" PRId64, live->latest),
                     xasprintf("SLUICE_RELEASE=%" PRId64, p->f.release), NULL };
    const char *argv[65];
    struct proc_args args = { .argv = argv,
                              .extra_env = (const char *const *)env,
                              .timeout_ms = CHECK_MS };
    char *save = NULL, text[48];
    int n = 0, status = -1, e;

    for (char *w = strtok_r(words, " ", &save); w && n < 64;
         w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    argv[n] = NULL;
    buf_clear(said);
    said->cap_bytes = 400;
    e = n > 0 ? proc_run(&args, said, &status, err)
              : err_set(err, ERR_INVALID, "--check names no program");
    for (int i = 0; i < 4; i++)
        free(env[i]);
    if (e < 0) {
        buf_clear(said);
        buf_adds(said, err->msg);
        err_clear(err);
        return 0;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 1;
    why = xasprintf("%.300s%s%s", buf_str(said), said->len ? "; " : "",
                    proc_status_text(status, text));
    buf_release(said);
    buf_adds(said, why);
    return 0;
}

/* 1: yes, 0: no, *said why; -code. */
static int
check(struct pass *p, const struct deploy_release *live, struct buf *said,
      struct err *err)
{
    const int64_t end_ns =
        clock_mono_ns() + (int64_t)p->o->check_wait_s * INT64_C(1000000000);

    for (;;) {
        int e = run_check(p, live, said, err);

        if (e != 0)
            return e;
        if ((e = wait_again(p, end_ns, err)) != 1)
            return e;
    }
}

/* Back to what was good here before. Row first: a crash after it goes back, too. */
int
pass_go_back(struct pass *p, const char *why, struct err *err)
{
    struct follow *f = &p->f;
    struct deploy_change c = { .verb = DEPLOY_ROLLBACK,
                               .model = f->model,
                               .alias = f->alias,
                               .expect_release = f->local_release,
                               .reason = f->reason };
    cJSON *report AUTO(json_free) = NULL;
    struct buf detail AUTO(buf_release) = BUF_INIT;
    struct err said = ERR_INIT;
    struct deploy_release live;
    int e;

    snprintf(f->reason, sizeof(f->reason), "release %" PRId64 " failed here: %.180s",
             f->release, why);
    e = pass_keep(p, f, "failing", why, false, err);
    if (e < 0)
        return e;
    buf_adds(&detail, f->detail);
    if (deploy_change(p->r, &c, &report, &said) < 0) {
        if (said.code == ERR_BUSY) {
            *err = said;
            return -(int)err->code;
        }
        buf_addf(&detail, "; and this host could not go back: %.200s", said.msg);
    }
    e = deploy_live(p->r, f->model, f->alias, &live, err);
    if (e == 1)
        f->local_release = live.number;
    if (e == 1 && said.code == ERR_OK)
        agent_shows(&live, (buf_adds(&detail, "; this host went back to "), &detail));
    return e < 0 ? e : pass_keep(p, f, "failed", buf_str(&detail), true, err);
}

/* Somebody changed here what the row says: it is his, until the other store has more to
 * say. */
int
pass_notice(struct pass *p, struct follow *f, struct err *err)
{
    char detail[500];
    struct deploy_release live;
    int e = deploy_live(p->r, f->model, f->alias, &live, err);

    if (e <= 0 || f->local_release == 0 || live.number == f->local_release ||
        follow_is(f, "fetching", "failing") || strcmp(live.reason, f->reason) == 0 ||
        strcmp(live.verb, "drill") == 0) /* which ends where it began */
        return e < 0 ? e : 0;
    snprintf(detail, sizeof(detail), "%s here by %s%s%s", live.verb, live.actor,
             live.reason[0] ? ": " : "", live.reason);
    f->local_release = live.number;
    return pass_keep(p, f, "rolled-back", detail, true, err);
}

/* Takes the release on by the steps its servers are ready for. 1: they have it, 0: not
 * in time, *said why, 2: no server of this host says what it has. */
static int
step(struct pass *p, struct buf *said, struct err *err)
{
    const struct deploy_step what = { .alias = p->f.alias, .model = p->f.model };
    const int64_t end_ns =
        clock_mono_ns() + (int64_t)p->o->check_wait_s * INT64_C(1000000000);

    for (;;) {
        cJSON *doc AUTO(json_free) = NULL;
        const cJSON *t;
        int e = deploy_step(p->r, &what, &doc, err);

        if (e < 0)
            return e;
        if (!cJSON_GetObjectItemCaseSensitive(doc, "targets")->child)
            return 2;
        if (cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(doc, "waiting")) == 0)
            return 1;
        buf_clear(said);
        cJSON_ArrayForEach(t, cJSON_GetObjectItemCaseSensitive(doc, "targets"))
        {
            const char *error = cJSON_GetStringValue(cJSON_GetObjectItem(t, "error"));
            const char *wants = cJSON_GetStringValue(cJSON_GetObjectItem(t, "wants"));

            if (error || wants)
                buf_addf(said, "%starget %s: %.200s", said->len ? "; " : "",
                         cJSON_GetStringValue(cJSON_GetObjectItem(t, "target")),
                         error ? error : wants);
        }
        if ((e = wait_again(p, end_ns, err)) != 1)
            return e;
    }
}

/* What this host has to look with. 1: it is served well, *said how that is known; 0: it
 * is not, *said why; 2: nothing here looks; -code. */
static int
served(struct pass *p, const struct deploy_release *live, struct buf *said,
       struct err *err)
{
    int e = step(p, said, err);
    const bool stepped = e == 1;

    if (e <= 0)
        return e;
    if (p->o->check_or_null) {
        e = check(p, live, said, err);
        if (e == 1) {
            buf_clear(said);
            buf_adds(said, stepped ? "the servers and the check are content"
                                   : "the check is content");
        }
        return e;
    }
    buf_clear(said);
    buf_adds(said, stepped             ? "the servers have it"
                   : live->observed_ns ? "the links are what is served"
                                       : "nothing here looks whether it is served: "
                                         "--check, or a target's --status-url");
    return stepped || live->observed_ns ? 1 : 2;
}

/* What is not served well goes back; but a rollback stays: it knew why. */
int
pass_observe(struct pass *p, struct err *err)
{
    struct buf said AUTO(buf_release) = BUF_INIT;
    struct follow *f = &p->f;
    struct deploy_release live;
    int e = deploy_live(p->r, f->model, f->alias, &live, err), well;

    if (e < 0)
        return e;
    if (live.number != f->local_release)
        return pass_notice(p, f, err);
    well = served(p, &live, &said, err);
    if (well < 0)
        return well;
    e = deploy_live(p->r, f->model, f->alias, &live, err);
    if (e < 0)
        return e;
    if (live.number != f->local_release) /* somebody was faster */
        return pass_notice(p, f, err);
    if (well == 0 && !p->w.is_rollback)
        return pass_go_back(p, buf_str(&said), err);
    if (well == 0)
        buf_adds(&said, "; it is a rollback: this host stays with it");
    return pass_keep(p, f,
                     well == 0   ? "failed"
                     : well == 1 ? "observed"
                                 : "switched",
                     buf_str(&said), true, err);
}
