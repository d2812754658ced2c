/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy_int.h"

#include "base/clock.h"

#include <stdio.h>

static int
set(struct repo *r, const char *model, const char *alias, const char *reason,
    struct err *err)
{
    struct buf old AUTO(buf_release) = BUF_INIT;
    int e = freeze_get(r, model, alias, &old, err);

    if (e < 0)
        return e;
    if (reason && e == 1)
        return db_run(r->db, err,
                      "UPDATE freeze SET reason = ?, frozen_ns = ?, frozen_by = ? "
                      "WHERE model = ? AND alias = ?",
                      "tittt", reason, clock_now_ns(), acc_actor(r->acc), model, alias);
    if (reason)
        return db_run(r->db, err,
                      "INSERT INTO freeze(model, alias, reason, frozen_ns, frozen_by) "
                      "VALUES(?, ?, ?, ?, ?)",
                      "tttit", model, alias, reason, clock_now_ns(), acc_actor(r->acc));
    if (e == 0)
        return err_set(err, ERR_NOTFOUND, "%s@%s is not frozen", model, alias);
    return db_run(r->db, err, "DELETE FROM freeze WHERE model = ? AND alias = ?", "tt",
                  model, alias);
}

int
deploy_freeze(struct repo *r, const char *model, const char *alias,
              const char *reason_or_null_to_unfreeze, struct err *err)
{
    return deploy_freeze_at(r, model, alias, 0, reason_or_null_to_unfreeze, err);
}

/* In the transaction of the freeze. */
static int
check_live(struct repo *r, const char *model, const char *alias, int64_t expect,
           struct err *err)
{
    struct deploy_release rel = { .number = 0 };
    int e = expect ? deploy_live(r, model, alias, &rel, err) : 0;

    if (e < 0 || rel.number == expect)
        return e < 0 ? e : 0;
    return err_set(err, ERR_CONFLICT, "%s@%s: release %lld is live, not %lld", model,
                   alias, (long long)rel.number, (long long)expect);
}

int
deploy_freeze_at(struct repo *r, const char *model, const char *alias,
                 int64_t expect_release, const char *reason_or_null_to_unfreeze,
                 struct err *err)
{
    const char *reason = reason_or_null_to_unfreeze;
    struct db *tx AUTO(tx_end_p) = NULL;
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    char object[REPO_NAME_BYTES + REPO_ALIAS_BYTES];
    int64_t id;
    int e = repo_check_alias_name(alias, err);

    if (e == 0)
        e = repo_model_id(r, model, &id, err);
    if (e < 0)
        return e;
    if (e == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no model \"%s\": sluice list shows what there is", model);
    if (reason && !reason[0])
        return err_set(err, ERR_INVALID, "freeze %s@%s: say why (--reason TEXT)", model,
                       alias);
    e = db_begin(r->db, err);
    if (e < 0)
        return e;
    tx = r->db;
    snprintf(object, sizeof(object), "%s@%s", model, alias);
    if (reason)
        json_put_str(body, "reason", reason);
    e = check_live(r, model, alias, expect_release, err);
    if (e == 0)
        e = set(r, model, alias, reason, err);
    if (e == 0)
        e = acc_key_claim(r->acc, 0, err);
    if (e == 0)
        e = event_add(r, reason ? "freeze" : "unfreeze", object, "", "ok", body, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}

int
freeze_get(struct repo *r, const char *model, const char *alias, struct buf *reason,
           struct err *err)
{
    return db_get_text(r->db, reason, err,
                       "SELECT reason FROM freeze WHERE model = ? AND alias = ?", "tt",
                       model, alias);
}

int
freeze_refuse(struct repo *r, const char *model, const char *alias, struct err *err)
{
    struct buf reason AUTO(buf_release) = BUF_INIT;
    const int e = freeze_get(r, model, alias, &reason, err);

    return e == 1 ? err_set(err, ERR_REFUSED, "it is frozen: %s; sluice unfreeze %s@%s",
                            buf_str(&reason), model, alias)
                  : e;
}
