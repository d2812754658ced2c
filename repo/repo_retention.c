/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that say which versions may go. They only judge; deleting is delete's. */
#include "repo/gc.h"

#include "base/clock.h"
#include "repo/repo_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_NS (INT64_C(86400) * 1000000000)

int
repo_rules_set(struct repo *r, const char *model, const struct repo_rules *rules,
               struct err *err)
{
    int rc = strcmp(model, "*") == 0 ? 0 : repo_check_model_name(model, err);

    if (rc == 0 && rules->ever[0])
        rc = repo_check_alias_name(rules->ever, err);
    if (rc < 0)
        return rc;
    if (rules->keep_last < 1)
        return err_set(err, ERR_INVALID,
                       "keep_last %" PRId64 ": at least the newest version stays",
                       rules->keep_last);
    if (rules->younger_days < 0 || rules->younger_days > REPO_DAYS_MAX)
        return err_set(err, ERR_INVALID, "younger %" PRId64 " days: 0 to %d",
                       rules->younger_days, REPO_DAYS_MAX);
    return db_run(r->db, err,
                  "INSERT INTO retention(model, keep_last, ever, younger_days, set_ns, "
                  "set_by) VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(model) DO UPDATE SET "
                  "keep_last = excluded.keep_last, ever = excluded.ever, younger_days "
                  "= excluded.younger_days, set_ns = excluded.set_ns, set_by = "
                  "excluded.set_by",
                  "titiit", model, rules->keep_last, rules->ever, rules->younger_days,
                  clock_now_ns(), acc_actor(r->acc));
}

int
repo_rules_clear(struct repo *r, const char *model, struct err *err)
{
    int rc = db_run(r->db, err, "DELETE FROM retention WHERE model = ?", "t", model);

    return rc < 0 ? rc : db_changes(r->db) > 0;
}

int
repo_rules_get(struct repo *r, const char *model, struct repo_rules *out,
               struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT keep_last, younger_days, ever, model <> '*' FROM "
                      "retention WHERE model IN (?, '*') ORDER BY model = '*'",
                      "t", model);

    if (rc == 0)
        rc = db_step(st, err);
    if (rc != 1)
        return rc;
    *out = (struct repo_rules){ .keep_last = db_int(st, 0),
                                .younger_days = db_int(st, 1),
                                .is_own = db_int(st, 3) != 0 };
    snprintf(out->ever, sizeof(out->ever), "%s", db_text(st, 2));
    return 1;
}

/* ---- judging
 * -------------------------------------------------------------------------
 */

struct judge {
    struct repo *r;
    const char *model;
    struct repo_rules rules;
    bool has_rules;
    int64_t age_ns;
    int64_t n_seen; /* versions so far, newest first */
    repo_retention_fn *fn;
    void *arg;
};

static int
first_keeper(void *arg, const char *why, const char *way_out, struct err *err)
{
    (void)way_out;
    (void)err;
    if (((struct buf *)arg)->len == 0)
        buf_adds(arg, why);
    return 0;
}

static int
was_live(struct judge *j, const struct repo_version *v, struct err *err)
{
    int64_t one;

    return db_get_int(j->r->db, &one, err,
                      "SELECT 1 FROM was_live WHERE version_id = ? AND alias = ?", "it",
                      v->id, j->rules.ever);
}

/* Appends the rule that keeps it; none: "". */
static int
judge(struct judge *j, const struct repo_version *v, struct buf *why, struct err *err)
{
    int64_t born_ns = 0;
    int rc;

    j->n_seen++;
    if (!j->has_rules) {
        buf_adds(why, "no rules");
        return 0;
    }
    rc = repo_keepers(j->r, v->id, first_keeper, why, err);
    if (rc < 0 || why->len > 0)
        return rc;
    if (j->n_seen <= j->rules.keep_last) {
        buf_addf(why, "one of the newest %" PRId64, j->rules.keep_last);
        return 0;
    }
    if (j->rules.ever[0] && (rc = was_live(j, v, err)) != 0) {
        buf_addf(why, "was live on %s", j->rules.ever);
        return rc < 0 ? rc : 0;
    }
    rc = db_get_int(j->r->db, &born_ns, err,
                    "SELECT age_ns FROM version_age WHERE version_id = ?", "i", v->id);
    if (rc >= 0 && j->age_ns - born_ns < j->rules.younger_days * DAY_NS)
        buf_addf(why, "younger than %" PRId64 " days", j->rules.younger_days);
    return rc < 0 ? rc : 0;
}

static int
judge_model(struct judge *j, const char *model, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct repo_version *all AUTO(free_ptr) = NULL;
    int n = 0, rc = repo_rules_get(j->r, model, &j->rules, err);

    j->has_rules = rc == 1;
    j->n_seen = 0;
    if (rc >= 0)
        rc = repo_age(j->r, &j->age_ns, err);
    if (rc == 0)
        rc = repo_keep_views(j->r, err);
    if (rc == 0)
        rc = db_query(j->r->db, &st, err,
                      REPO_VERSION_SELECT "WHERE m.name = ? AND v.state <> 'deleted' "
                                          "ORDER BY v.number DESC",
                      "t", model);
    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        all = xreallocarray(all, (size_t)n + 1, sizeof(*all));
        repo_version_row(st, &all[n++]);
    }
    db_done(st); /* the caller may write */
    st = NULL;
    for (int i = 0; rc >= 0 && i < n; i++) {
        struct buf why AUTO(buf_release) = BUF_INIT;
        bool kept;

        rc = judge(j, &all[i], &why, err);
        kept = why.len > 0;
        if (!kept)
            buf_adds(&why, "no rule keeps it");
        if (rc >= 0)
            rc = j->fn(j->arg, &all[i], kept, buf_str(&why), err);
    }
    return rc < 0 ? rc : 0;
}

int
repo_retention(struct repo *r, const char *model, repo_retention_fn *fn, void *arg,
               struct err *err)
{
    struct judge j = { .r = r, .fn = fn, .arg = arg };

    return judge_model(&j, model, err);
}

int
repo_retention_all(struct repo *r, repo_retention_fn *fn, void *arg, struct err *err)
{
    struct judge j = { .r = r, .fn = fn, .arg = arg };
    struct db_stmt *st AUTO(db_done_p) = NULL;
    char(*names)[REPO_NAME_BYTES] AUTO(free_ptr) = NULL;
    int n = 0;
    int rc = db_query(r->db, &st, err,
                      "SELECT name FROM model WHERE EXISTS (SELECT 1 FROM retention t "
                      "WHERE t.model IN (model.name, '*')) ORDER BY name",
                      "");

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        names = xreallocarray(names, (size_t)n + 1, sizeof(*names));
        snprintf(names[n++], sizeof(*names), "%s", db_text(st, 0));
    }
    db_done(st);
    st = NULL;
    for (int i = 0; rc >= 0 && i < n; i++)
        rc = judge_model(&j, names[i], err);
    return rc < 0 ? rc : 0;
}
