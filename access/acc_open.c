/* SPDX-License-Identifier: Apache-2.0 */
#include "access/acc_int.h"

#include "access/identity.h"
#include "base/clock.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The name the system has for a user; "uid:N" when it has none that fits. */
static void
user_name(uid_t uid, char out[ACC_NAME_BYTES])
{
    char text[4096];
    struct passwd pw, *found = NULL;

    if (getpwuid_r(uid, &pw, text, sizeof(text), &found) != 0 || !found ||
        !found->pw_name[0] || strlen(found->pw_name) >= ACC_NAME_BYTES)
        snprintf(out, ACC_NAME_BYTES, "uid:%lu", (unsigned long)uid);
    else
        snprintf(out, ACC_NAME_BYTES, "%s", found->pw_name);
}

static int
add_owner(struct db *db, struct err *err)
{
    char owner[ACC_NAME_BYTES];

    user_name(getuid(), owner);
    return db_run(db, err,
                  "INSERT INTO subject(name, uid, is_owner, time_ns) "
                  "VALUES(?, ?, 1, ?)",
                  "tii", owner, (int64_t)getuid(), clock_now_ns());
}

static int
add_key(struct db *db, const uint8_t pub[32], struct err *err)
{
    return db_run(db, err, "INSERT INTO key(id, public, time_ns) VALUES(1, ?, ?)", "bi",
                  pub, (size_t)32, clock_now_ns());
}

int
acc_init(int store_dirfd, struct db *db, struct err *err)
{
    uint8_t priv[32], pub[32];
    int r = acc_key_make(store_dirfd, priv, pub, err);

    if (r == 0)
        r = fs_mkdirs(store_dirfd, "audit", 0700, err);
    if (r == 0)
        r = fs_replace(store_dirfd, ACC_LOG_FILE, "", 0, 0600, err);
    if (r == 0)
        r = acc_head_make(store_dirfd, priv, err);
    if (r < 0)
        return r;
    r = add_owner(db, err);
    return r < 0 ? r : add_key(db, pub, err);
}

int
acc_refound(int store_dirfd, struct db *db, struct err *err)
{
    uint8_t pub[32];
    int64_t one;
    int owner =
        db_get_int(db, &one, err, "SELECT 1 FROM subject WHERE is_owner = 1", "");
    int key = owner < 0
                  ? owner
                  : db_get_int(db, &one, err, "SELECT 1 FROM key WHERE id = 1", "");
    int r = key < 0 ? key : 0;

    if (r == 0 && owner == 0)
        r = add_owner(db, err);
    if (r == 0 && key == 0)
        r = acc_key_public(store_dirfd, pub, err);
    if (r == 0 && key == 0)
        r = add_key(db, pub, err);
    return r < 0 ? r : owner == 0 || key == 0;
}

/* The catalogue knows its owner by number, which saves asking the system for a name. */
static int
find_user(struct db *db, uid_t uid, char out[ACC_NAME_BYTES], bool *is_owner,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err, "SELECT name, is_owner FROM subject WHERE uid = ?",
                     "i", (int64_t)uid);

    if (r < 0)
        return r;
    r = db_step(st, err);
    if (r == 1) {
        snprintf(out, ACC_NAME_BYTES, "%s", db_text(st, 0));
        *is_owner = db_int(st, 1) == 1;
    } else if (r == 0) {
        user_name(uid, out);
    }
    return r < 0 ? r : 0;
}

int
acc_user_of(struct db *db, uid_t uid, char out[ACC_SUBJECT_BYTES], struct err *err)
{
    bool is_owner;

    return find_user(db, uid, out, &is_owner, err);
}

/* The owner in the kernel's eyes is so under whatever front, too. */
int
acc_act_as(struct acc *a, const struct acc_who *who_or_null, struct err *err)
{
    int64_t owner = 0;
    int r;

    a->who = who_or_null;
    a->is_owner = false;
    r = acc_scope_read(a, err);
    if (!who_or_null)
        return r < 0 ? r : find_user(a->db, a->uid, a->actor, &a->is_owner, err);
    snprintf(a->actor, sizeof(a->actor), "%s", who_or_null->subject);
    if (r == 0 && (!who_or_null->subject[0] || acc_is_role(who_or_null->subject) ||
                   strlen(who_or_null->subject) >= sizeof(a->actor)))
        r = err_set(err, ERR_INVALID, "'%.100s' is nobody who can act",
                    who_or_null->subject);
    if (r == 0)
        r = acc_user_active(a, a->actor, err);
    if (r == 0)
        r = db_get_int(a->db, &owner, err,
                       "SELECT is_owner FROM subject WHERE name = ?", "t", a->actor);
    if (r < 0) /* who goes on all the same may do nothing */
        snprintf(a->actor, sizeof(a->actor), "%s", "nobody?");
    a->is_owner = owner == 1;
    return r < 0 ? r : 0;
}

int
acc_open(struct acc **out, int store_dirfd, struct db *db, struct err *err)
{
    struct acc *a = xcalloc(1, sizeof(*a));
    int r;

    a->dirfd = store_dirfd;
    a->db = db;
    a->uid = getuid();
    r = find_user(db, a->uid, a->actor, &a->is_owner, err);
    if (r < 0) {
        acc_close(a);
        return r;
    }
    *out = a;
    return 0;
}

void
acc_close(struct acc *a)
{
    if (a) {
        acc_key_set(a, NULL, NULL);
        acc_rules_free(a->cache.rules);
        acc_rules_free(a->scope);
    }
    free(a);
}

const char *
acc_actor(const struct acc *a)
{
    return a->actor;
}

bool
acc_is_owner(const struct acc *a)
{
    return a->is_owner;
}
