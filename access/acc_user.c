/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"

#include "access/acc_int.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* What the log, the command line and a header can carry; "uid:N" is the kernel's. */
static int
check_name(const char *name, struct err *err)
{
    const size_t n = strlen(name);
    bool ok = n > 0 && n < ACC_SUBJECT_BYTES && name[0] != '-' && name[0] != '.';

    for (size_t i = 0; i < n; i++)
        ok = ok &&
             (name[i] == '_' || name[i] == '-' || name[i] == '.' || name[i] == '@' ||
              (name[i] >= '0' && name[i] <= '9') ||
              (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z'));
    return ok ? 0
              : err_set(err, ERR_INVALID,
                        "'%.80s' is no name of a user: 1 to %d of A-Z a-z 0-9 _ . @ -, "
                        "not first '-' or '.'",
                        name, ACC_SUBJECT_BYTES - 1);
}

static int
is_owner(struct acc *a, const char *name, struct err *err)
{
    int64_t one;

    return db_get_int(a->db, &one, err,
                      "SELECT 1 FROM subject WHERE name = ? AND is_owner = 1", "t",
                      name);
}

int
acc_user_add(struct acc *a, const char *name, bool is_service, const char *note,
             struct err *err)
{
    int r = check_name(name, err);

    if (r == 0)
        r = is_owner(a, name, err);
    if (r == 1)
        return err_set(err, ERR_INVALID, "%s owns this store, and needs no account",
                       name);
    if (r == 0)
        r = db_run(a->db, err,
                   "INSERT INTO account(name, is_service, is_disabled, note, by, "
                   "time_ns) VALUES(?, ?, 0, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET "
                   "is_service = excluded.is_service, note = excluded.note WHERE "
                   "account.is_service <> excluded.is_service OR "
                   "account.note <> excluded.note",
                   "titti", name, (int64_t)is_service, note ? note : "", a->actor,
                   clock_now_ns());
    return r < 0 ? r : db_changes(a->db) > 0;
}

int
acc_user_enable(struct acc *a, const char *name, bool enabled, struct err *err)
{
    int r = is_owner(a, name, err);

    if (r == 1)
        return err_set(err, ERR_INVALID, "%s owns this store: it cannot be disabled",
                       name);
    if (r == 0 && acc_is_role(name))
        r = err_set(err, ERR_INVALID, "%s is a role, and nobody by itself", name);
    if (r == 0)
        r = acc_check_subject(a, name, err);
    if (r == 0)
        r = db_run(a->db, err,
                   "INSERT INTO account(name, is_service, is_disabled, note, by, "
                   "time_ns) VALUES(?, 0, ?, '', ?, ?) ON CONFLICT(name) DO UPDATE SET "
                   "is_disabled = excluded.is_disabled WHERE "
                   "account.is_disabled <> excluded.is_disabled",
                   "titi", name, (int64_t)!enabled, a->actor, clock_now_ns());
    return r < 0 ? r : db_changes(a->db) > 0;
}

int
acc_users(struct acc *a,
          int (*fn)(void *arg, const struct acc_user *u, struct err *err), void *arg,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(
        a->db, &st, err,
        "SELECT u.name, u.note, u.by, u.is_owner, u.is_service, u.is_disabled, "
        "u.time_ns, (SELECT count(*) FROM token t WHERE t.subject = u.name AND "
        "t.revoked_ns = 0 AND t.expires_ns > ?), (SELECT max(s.time_ns) FROM token t "
        "JOIN token_use s ON s.id = t.id WHERE t.subject = u.name) FROM "
        "(SELECT name, note, by, 0 AS is_owner, is_service, is_disabled, time_ns "
        "FROM account UNION ALL SELECT name, '', name, 1, 0, 0, time_ns FROM subject "
        "WHERE is_owner = 1) AS u ORDER BY u.name",
        "i", clock_now_ns());

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        const struct acc_user u = { .name = db_text(st, 0),
                                    .note = db_text(st, 1),
                                    .by = db_text(st, 2),
                                    .is_owner = db_int(st, 3) == 1,
                                    .is_service = db_int(st, 4) == 1,
                                    .is_disabled = db_int(st, 5) == 1,
                                    .time_ns = db_int(st, 6),
                                    .n_tokens = db_int(st, 7),
                                    .used_ns = db_int(st, 8) };
        r = fn(arg, &u, err);
    }
    return r;
}

int
acc_user_known(struct acc *a, const char *name, struct err *err)
{
    int64_t one;

    return db_get_int(a->db, &one, err,
                      "SELECT 1 FROM account WHERE name = ? UNION "
                      "SELECT 1 FROM subject WHERE name = ? AND is_owner = 1 UNION "
                      "SELECT 1 FROM rule WHERE subject = ? LIMIT 1",
                      "ttt", name, name, name);
}

int
acc_user_active(struct acc *a, const char *name, struct err *err)
{
    int64_t one;
    int r = acc_is_role(name)
                ? err_set(err, ERR_INVALID, "%s is a role, and nobody by itself", name)
                : db_get_int(a->db, &one, err,
                             "SELECT 1 FROM account WHERE name = ? AND is_disabled = 1",
                             "t", name);

    if (r != 1)
        return r;
    return err_set(err, ERR_DENIED,
                   "%s is disabled here; who administers the store can undo it: sluice "
                   "user enable %s",
                   name, name);
}

int
acc_check_vouch(struct acc *a, const char *subject, struct err *err)
{
    int r;

    if (a->is_owner && !a->who)
        return 0;
    r = acc_check(a, ACC_ADMIN, acc_store(), err);
    if (r == 0 && !a->is_owner)
        r = is_owner(a, subject, err);
    if (r == 1)
        return err_set(err, ERR_DENIED,
                       "%s may not do that for %s, who owns this store: only %s may",
                       a->actor, subject, subject);
    return r;
}
