/* SPDX-License-Identifier: Apache-2.0 */
#include "access/acc_int.h"

#include "base/clock.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum acc_right right;
    const char *text;
} rights[] = {
#define ACC_RIGHT(name, text, meaning) { ACC_##name, text },
#include "access/rights.def"
#undef ACC_RIGHT
};
#define N_RIGHTS (sizeof(rights) / sizeof(rights[0]))

const char *
acc_right_text(enum acc_right r)
{
    for (size_t i = 0; i < N_RIGHTS; i++)
        if (rights[i].right == r)
            return rights[i].text;
    return "none";
}

int
acc_right_parse(const char *text, enum acc_right *out, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;

    for (size_t i = 0; i < N_RIGHTS; i++) {
        if (strcmp(rights[i].text, text) == 0) {
            *out = rights[i].right;
            return 0;
        }
        buf_addf(&all, "%s%s", i > 0 ? ", " : "", rights[i].text);
    }
    return err_set(err, ERR_INVALID, "'%s' is no right: there are %s", text,
                   buf_str(&all));
}

/* 1: a grant gives it, 0: none does. Any right on a model includes reading it. */
static int
is_granted(struct acc *a, enum acc_right right, const char *model, struct err *err)
{
    int64_t found;

    if (right == ACC_READ)
        return db_get_int(a->db, &found, err,
                          "SELECT 1 FROM grant_ WHERE subject = ? AND "
                          "(model = ? OR model = '*') LIMIT 1",
                          "tt", a->actor, model ? model : "*");
    return db_get_int(a->db, &found, err,
                      "SELECT 1 FROM grant_ WHERE subject = ? AND right_ = ? AND "
                      "(model = ? OR model = '*') LIMIT 1",
                      "ttt", a->actor, acc_right_text(right), model ? model : "*");
}

int
acc_check(struct acc *a, enum acc_right right, const char *model, struct err *err)
{
    struct buf owner AUTO(buf_release) = BUF_INIT;
    const char *verb = acc_right_text(right);
    int r;

    if (right == ACC_NONE || a->is_owner)
        return 0;
    r = is_granted(a, right, model, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = db_get_text(a->db, &owner, err, "SELECT name FROM subject WHERE is_owner = 1",
                    "");
    if (r < 0)
        return r;
    return err_set(err, ERR_DENIED,
                   "%s may not %s %s: no grant gives that; %s, who owns the store, can "
                   "allow it: sluice grant %s %s '%s'",
                   a->actor, verb, model ? model : "in this store",
                   r == 1 ? buf_str(&owner) : "whoever", a->actor, verb,
                   model ? model : "*");
}

int
acc_holds(struct acc *a, const char *subject, enum acc_right right, const char *model,
          struct err *err)
{
    int64_t found;

    return db_get_int(a->db, &found, err,
                      "SELECT 1 FROM subject WHERE name = ? AND is_owner = 1 UNION "
                      "SELECT 1 FROM grant_ WHERE subject = ? AND right_ = ? AND "
                      "(model = ? OR model = '*') LIMIT 1",
                      "tttt", subject, subject, acc_right_text(right), model);
}

int
acc_check_subject(struct acc *a, const char *subject, struct err *err)
{
    char text[4096];
    struct passwd pw, *found = NULL;
    int64_t one;
    int r;

    if (strncmp(subject, "uid:", 4) == 0 && subject[4] &&
        strspn(subject + 4, "0123456789") == strlen(subject + 4))
        return strlen(subject) < ACC_NAME_BYTES
                   ? 0
                   : err_set(err, ERR_INVALID, "%s is no user", subject);
    r = db_get_int(a->db, &one, err,
                   "SELECT 1 FROM subject WHERE name = ? UNION "
                   "SELECT 1 FROM account WHERE name = ? LIMIT 1",
                   "tt", subject, subject);
    if (r != 0)
        return r < 0 ? r : 0;
    if (strlen(subject) < ACC_NAME_BYTES &&
        getpwnam_r(subject, &pw, text, sizeof(text), &found) == 0 && found)
        return 0;
    return err_set(err, ERR_NOTFOUND,
                   "there is no user '%s' on this machine, nor added to the store: "
                   "sluice user add %s (uid:N names one by number)",
                   subject, subject);
}

int
acc_grant(struct acc *a, const char *subject, enum acc_right right, const char *model,
          struct err *err)
{
    int r = acc_check_subject(a, subject, err);

    if (r == 0)
        r = db_run(a->db, err,
                   "INSERT INTO grant_(subject, right_, model, granted_by, time_ns) "
                   "VALUES(?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                   "tttti", subject, acc_right_text(right), model, a->actor,
                   clock_now_ns());
    return r < 0 ? r : db_changes(a->db) > 0;
}

int
acc_revoke(struct acc *a, const char *subject, enum acc_right right, const char *model,
           struct err *err)
{
    int r = db_run(a->db, err,
                   "DELETE FROM grant_ WHERE subject = ? AND right_ = ? AND model = ?",
                   "ttt", subject, acc_right_text(right), model);

    return r < 0 ? r : db_changes(a->db) > 0;
}

int
acc_grants(struct acc *a,
           int (*fn)(void *arg, const struct acc_grant_row *row, struct err *err),
           void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(a->db, &st, err,
                     "SELECT subject, right_, model, granted_by, time_ns FROM grant_ "
                     "ORDER BY subject, model, right_",
                     "");

    if (r < 0)
        return r;
    while ((r = db_step(st, err)) == 1) {
        struct acc_grant_row row = {
            .subject = db_text(st, 0),
            .right = db_text(st, 1),
            .model = db_text(st, 2),
            .granted_by = db_text(st, 3),
            .time_ns = db_int(st, 4),
        };
        r = fn(arg, &row, err);
        if (r < 0)
            return r;
    }
    return r;
}

/* Who it is now counts more than who it was when it first came here. */
static int
uid_of(struct acc *a, const char *subject, uid_t *out, struct err *err)
{
    char text[4096];
    struct passwd pw, *found = NULL;
    int64_t uid;
    int r;

    if (strncmp(subject, "uid:", 4) == 0) {
        errno = 0;
        const unsigned long long n = strtoull(subject + 4, NULL, 10);

        *out = (uid_t)n;
        return errno == 0 && n < UINT32_MAX;
    }
    if (getpwnam_r(subject, &pw, text, sizeof(text), &found) == 0 && found) {
        *out = pw.pw_uid;
        return 1;
    }
    r = db_get_int(a->db, &uid, err, "SELECT uid FROM subject WHERE name = ?", "t",
                   subject);
    *out = (uid_t)uid;
    return r;
}

int
acc_readers(struct acc *a, const char *model,
            int (*fn)(void *arg, uid_t uid, struct err *err), void *arg,
            struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(a->db, &st, err,
                     "SELECT DISTINCT subject FROM grant_ WHERE model = ? OR "
                     "model = '*' ORDER BY subject",
                     "t", model);

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        uid_t uid;

        r = uid_of(a, db_text(st, 0), &uid, err);
        if (r == 1)
            r = fn(arg, uid, err);
    }
    return r;
}
