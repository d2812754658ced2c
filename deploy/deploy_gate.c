/* SPDX-License-Identifier: Apache-2.0 */
/* What the gate is asked, what it asks of releases and hooks, and a plan's gates. */
#include "deploy/deploy_int.h"

#include "base/clock.h"
#include "hooks/hooks.h"
#include "repo/gc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int
served(struct repo *r, const struct repo_version *v, const char *alias, int64_t *out_ns,
       struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t now_ns;
    int e = repo_age(r, &now_ns, err);

    *out_ns = -1;
    if (e == 0)
        e = db_query(r->db, &st, err,
                     "SELECT a.since_age_ns, a.until_age_ns FROM release_member m "
                     "JOIN release r ON r.id = m.release_id "
                     "JOIN release_age a ON a.release_id = r.id "
                     "WHERE m.version_id = ? AND m.weight > 0 AND r.alias = ? "
                     "AND r.state IN ('live', 'past')",
                     "it", v->id, alias);
    while (e >= 0 && (e = db_step(st, err)) == 1) {
        const int64_t until = db_is_null(st, 1) ? now_ns : db_int(st, 1);

        if (*out_ns < 0)
            *out_ns = 0;
        if (until > db_int(st, 0))
            *out_ns += until - db_int(st, 0);
    }
    return e;
}

/* No program is no yes. */
static int
program(struct repo *r, const struct val_gate_args *args, const char *name,
        struct buf *said, struct err *err)
{
    char *hook AUTO(free_ptr) = xasprintf("gate-%s", name);
    char digest[REPO_DIGEST_BYTES];
    struct hook_args a = {
        .name = hook,
        .model = args->version->model,
        .alias = args->alias,
        .digest = digest,
        .reason = args->reason,
        .number = args->version->number,
        .from_number = 0,
    };
    int e;

    repo_digest_text(&args->version->digest, digest);
    e = hook_run(r, &a, said, err);
    if (e == 0)
        buf_addf(said, "there is no %s/hooks/%s", r->path, hook);
    if (e >= 0)
        return e;
    if (err->code != ERR_HOOK)
        return e;
    buf_clear(said);
    buf_adds(said, err->msg);
    err_clear(err);
    return 0;
}

const struct val_outside deploy_outside = { .served = served,
                                            .drilled = drill_ago,
                                            .program = program };

static int
add_target(void *arg, const struct deploy_target *t, struct err *err)
{
    struct deploy_question *q = arg;

    (void)err;
    q->targets =
        xreallocarray(q->targets, (size_t)q->args.n_targets + 1, sizeof(*q->targets));
    q->targets[q->args.n_targets++] = xstrdup(t->name);
    return 0;
}

void
deploy_question_release(struct deploy_question *q)
{
    for (int i = 0; i < q->args.n_targets; i++)
        free(q->targets[i]);
    free(q->targets);
    buf_release(&q->frozen);
    *q = (struct deploy_question){ .targets = NULL };
}

int
deploy_question(struct repo *r, const struct repo_version *v, const char *alias,
                struct deploy_question *q, struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release live;
    int e = deploy_live(r, v->model, alias, &live, err);

    *q = (struct deploy_question){
        .args = { .version = v, .alias = alias, .outside = deploy_outside }
    };
    if (e == 1) {
        q->args.live_version_id = live.latest_id;
        q->args.live_release = live.number;
    }
    if (e >= 0)
        e = deploy_targets(r, alias, add_target, q, err);
    q->args.targets = q->targets;
    if (e >= 0)
        e = bad_load(r, v->model, alias, &bad, err);
    q->args.marked_bad = bad_has(&bad, v->id);
    if (e >= 0)
        e = freeze_get(r, v->model, alias, &q->frozen, err);
    q->args.frozen_reason = e == 1 ? buf_str(&q->frozen) : NULL;
    return e < 0 ? e : 0;
}

/* ---- of a plan ------------------------------------------------------------------ */

static struct val_gate_args
gate_args(struct plan *p, const struct repo_version *v, const char *frozen)
{
    p->target_names = xreallocarray(p->target_names, (size_t)p->sites.n + 1,
                                    sizeof(*p->target_names));
    for (int i = 0; i < p->sites.n; i++)
        p->target_names[i] = p->sites.s[i].t.name;
    return (struct val_gate_args){
        .version = v,
        .alias = p->c->alias,
        .live_version_id = p->cur.latest_id,
        .live_release = p->cur.number,
        .marked_bad = bad_has(&p->bad, v->id),
        .again = p->c->again,
        .frozen_reason = frozen,
        .targets = p->target_names,
        .n_targets = p->sites.n,
        .reason = p->c->reason,
        .break_glass = p->c->break_glass,
        .outside = deploy_outside,
    };
}

static int
ask_gate(struct plan *p, const struct repo_version *v, const char *frozen,
         struct err *err)
{
    cJSON *gates = NULL, *entry = cJSON_CreateObject();
    const struct val_gate_args args = gate_args(p, v, frozen);
    cJSON *list = cJSON_GetObjectItem(p->report, "gates");
    int e = val_stamp(p->r, &args, &p->stamps[p->n_stamps++], err);

    if (e == 0)
        e = p->gate(p->r, &args, &gates, err);

    if (!list)
        list = cJSON_AddArrayToObject(p->report, "gates");
    json_put_int(entry, "version", v->number);
    cJSON_AddItemToObject(entry, "gates", gates ? gates : cJSON_CreateArray());
    cJSON_AddItemToArray(list, entry);
    return e;
}

static void
note_hook(struct plan *p, const struct hook_args *a, bool is_ok, int64_t took_ns)
{
    cJSON *list = cJSON_GetObjectItem(p->report, "hooks");
    cJSON *one = cJSON_CreateObject();

    if (!list)
        list = cJSON_AddArrayToObject(p->report, "hooks");
    json_put_str(one, "hook", a->name);
    json_put_int(one, "version", a->number);
    json_put_bool(one, "ok", is_ok);
    cJSON_AddNumberToObject(one, "seconds", (double)took_ns / 1e9);
    cJSON_AddItemToArray(list, one);
}

static int
run_hook(struct plan *p, const struct repo_version *v, struct err *err)
{
    struct buf output AUTO(buf_release) = BUF_INIT;
    char digest[REPO_DIGEST_BYTES];
    struct hook_args args = {
        .name = "pre-promote",
        .model = p->c->model,
        .alias = p->c->alias,
        .digest = digest,
        .reason = p->c->reason,
        .number = v->number,
        .from_number = p->cur.latest,
    };
    const int64_t begun_ns = clock_mono_ns();
    int e;

    repo_digest_text(&v->digest, digest);
    e = hook_run(p->r, &args, &output, err);
    if (e == 1 || e == -ERR_HOOK)
        note_hook(p, &args, e == 1, clock_mono_ns() - begun_ns);
    if (output.len > 0)
        json_put_str(p->report, "hook_output", buf_str(&output));
    return e;
}

/* It gets more of the traffic, or of its copies, than it has. */
static bool
gains_share(const struct plan *p, const struct deploy_member *m)
{
    const struct deploy_member *now = deploy_mirror(&p->cur);

    if (!now || now->version_id != m->version_id)
        return m->mirror > 0 || m->weight > weights_of(&p->cur, m->version_id);
    return m->mirror > now->mirror || m->weight > 0;
}

int
plan_ask(struct plan *p, struct err *err)
{
    struct buf frozen AUTO(buf_release) = BUF_INIT;
    struct repo_version gains[DEPLOY_MEMBERS_MAX + 1];
    const struct deploy_member *m;
    int n = 0, e = 0;

    if (p->ungated)
        return 0;
    if (p->seen.frozen)
        e = freeze_get(p->r, p->c->model, p->c->alias, &frozen, err);
    for (int i = 0; e >= 0 && (m = release_at(&p->next, i)) != NULL; i++) {
        if (!gains_share(p, m))
            continue;
        e = repo_version_get(p->r, m->version_id, &gains[n], err);
        if (e == 0)
            e = ask_gate(p, &gains[n++], frozen.len ? frozen.data : NULL, err);
    }
    for (int i = 0; e >= 0 && i < n && !p->c->dry_run; i++)
        e = run_hook(p, &gains[i], err);
    return e < 0 ? e : 0;
}

int
plan_gates_hold(struct plan *p, struct err *err)
{
    const struct deploy_member *m;
    struct digest stamp;
    int n = 0, e;

    for (int i = 0; !p->ungated && (m = release_at(&p->next, i)) != NULL; i++) {
        struct repo_version v;

        if (!gains_share(p, m))
            continue;
        e = repo_version_get(p->r, m->version_id, &v, err);
        if (e < 0 || strcmp(v.state, "ready") != 0)
            return e;
        const struct val_gate_args args = gate_args(p, &v, NULL);
        e = val_stamp(p->r, &args, &stamp, err);
        if (e < 0 || !digest_eq(&stamp, &p->stamps[n++]))
            return e;
    }
    return 1;
}

int
passes_insert(struct plan *p, struct err *err)
{
    const char *broke = p->c->break_glass ? p->c->break_glass : "";
    const struct deploy_member *m;
    const cJSON *entry;
    int e = 0;

    cJSON_ArrayForEach(entry, cJSON_GetObjectItem(p->report, "gates"))
    {
        const double number =
            cJSON_GetNumberValue(cJSON_GetObjectItem(entry, "version"));
        struct buf text AUTO(buf_release) = BUF_INIT;

        json_print(cJSON_GetObjectItem(entry, "gates"), &text, true);
        for (int i = 0; e == 0 && (m = release_at(&p->next, i)) != NULL; i++)
            if ((double)m->number == number)
                e = db_run(p->r->db, err,
                           "INSERT INTO gate_pass(release_id, version_id, report, "
                           "broke) VALUES(?, ?, ?, ?)",
                           "iitt", p->next.id, m->version_id, buf_str(&text), broke);
    }
    return e;
}
