/* SPDX-License-Identifier: Apache-2.0 */
/* What the gate is asked, and what it asks of releases and hooks. */
#include "deploy/deploy_int.h"

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
    char *path AUTO(free_ptr) = xasprintf("hooks/%s", hook);
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
    int e = fs_exists(r->dirfd, path, err);

    repo_digest_text(&args->version->digest, digest);
    if (e == 0)
        buf_addf(said, "there is no %s/%s", r->path, path);
    if (e <= 0)
        return e;
    e = hook_run(r, &a, said, err);
    if (e == 0)
        return 1;
    if (err->code != ERR_HOOK)
        return e;
    buf_clear(said);
    buf_adds(said, err->msg);
    err_clear(err);
    return 0;
}

const struct val_outside deploy_outside = { .served = served, .program = program };

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
