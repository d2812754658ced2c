/* SPDX-License-Identifier: Apache-2.0 */
/* Who rules can be about, and which users of this machine they let read. */
#include "access/acc_int.h"

#include "base/clock.h"

#include <errno.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 1: the catalogue knows this name, 0: it does not. */
static int
is_known(struct acc *a, const char *name, struct err *err)
{
    int64_t one;

    return db_get_int(a->db, &one, err,
                      "SELECT 1 FROM subject WHERE name = ? UNION "
                      "SELECT 1 FROM account WHERE name = ? LIMIT 1",
                      "tt", name, name);
}

/* 1: *out is the user's number, 0: this machine has no such user. Who it is now counts
 * more than who it was when it first came here. */
static int
uid_of(struct acc *a, const char *subject, uid_t *out, struct err *err)
{
    char text[4096];
    struct passwd pw, *found = NULL;
    int64_t uid = 0;
    int r;

    if (strncmp(subject, "uid:", 4) == 0) {
        errno = 0;
        const unsigned long long n = strtoull(subject + 4, NULL, 10);

        *out = (uid_t)n;
        return errno == 0 && n < UINT32_MAX && subject[4] &&
               strspn(subject + 4, "0123456789") == strlen(subject + 4);
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
acc_check_subject(struct acc *a, const char *subject, struct err *err)
{
    char text[4096];
    struct passwd pw, *found = NULL;
    int r;

    if (strncmp(subject, "role:", 5) == 0)
        return acc_is_role(subject)
                   ? 0
                   : err_set(
                         err, ERR_INVALID,
                         "'%.100s' is no role: role: and then letters, digits and . "
                         "_ -, at most 63 bytes together",
                         subject);
    if (strncmp(subject, "uid:", 4) == 0 && subject[4] &&
        strspn(subject + 4, "0123456789") == strlen(subject + 4))
        return strlen(subject) < ACC_NAME_BYTES
                   ? 0
                   : err_set(err, ERR_INVALID, "%s is no user", subject);
    r = is_known(a, subject, err);
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
acc_readers(struct acc *a, struct acc_object on,
            int (*fn)(void *arg, uid_t uid, struct err *err), void *arg,
            struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const struct acc_rules *rules;
    struct acc_question q = { .right = ACC_READ, .on = on, .now_ns = clock_now_ns() };
    int r = acc_rules_now(a, &rules, err);

    if (r == 0)
        r = db_query(a->db, &st, err,
                     "SELECT DISTINCT subject FROM rule WHERE ended_ns = ? AND "
                     "effect <> 'deny' ORDER BY subject",
                     "i", ACC_FOREVER);
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        struct acc_answer answer;
        uid_t uid;

        q.subject = db_text(st, 0);
        acc_decide(rules, &q, &answer);
        if (!answer.allowed || acc_is_role(q.subject))
            continue;
        r = uid_of(a, q.subject, &uid, err);
        if (r == 1)
            r = fn(arg, uid, err);
    }
    return r;
}
