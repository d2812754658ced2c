/* SPDX-License-Identifier: Apache-2.0 */
#include "access/acc_int.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* As rows name it: who calls has keys of his own, and takes nobody else's. A key has no
 * blank. */
static char *
own_key(const struct acc *a, const char *key)
{
    return xasprintf("%s %s", key, a->actor);
}

void
acc_key_set(struct acc *a, const char *key_or_null, const struct digest *digest)
{
    free(a->key);
    free(a->reply);
    a->key = key_or_null ? own_key(a, key_or_null) : NULL;
    a->reply = NULL;
    if (digest)
        a->request = *digest;
}

void
acc_key_reply(struct acc *a, const char *reply_json)
{
    free(a->reply);
    a->reply = xstrdup(reply_json);
}

int
acc_key_claim(struct acc *a, int64_t intent, struct err *err)
{
    if (!db_in_tx(a->db))
        BUG("a key is claimed outside the transaction of its act");
    if (!a->key)
        return 0;
    return db_run(a->db, err,
                  "INSERT INTO request(key, digest, reply, intent, time_ns) "
                  "VALUES(?, ?, ?, ?, ?)",
                  "tbtii", a->key, a->request.b, sizeof(a->request.b),
                  a->reply ? a->reply : "", intent, clock_now_ns());
}

int
acc_key_cancel(struct acc *a, int64_t intent, struct err *err)
{
    return db_run(a->db, err, "DELETE FROM request WHERE intent = ?", "i", intent);
}

int
acc_key_find(struct acc *a, const char *key, const struct digest *digest,
             struct buf *reply, int64_t *intent, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    char *own AUTO(free_ptr) = own_key(a, key);
    const void *known;
    size_t n;
    int r = db_query(a->db, &st, err,
                     "SELECT digest, reply, intent FROM request WHERE key = ? OR "
                     "key = ? /* of an older program */ ORDER BY key = ? LIMIT 1",
                     "ttt", own, key, key);

    if (r == 0)
        r = db_step(st, err);
    if (r != 1)
        return r;
    known = db_blob(st, 0, &n);
    if (n != sizeof(digest->b) || memcmp(known, digest->b, n) != 0)
        return err_set(err, ERR_CONFLICT,
                       "the idempotency key '%s' belongs to another call, with another "
                       "verb or other values: use a new key",
                       key);
    buf_adds(reply, db_text(st, 1));
    *intent = db_int(st, 2);
    return 1;
}

int
acc_key_answer(struct acc *a, const char *reply_json, int64_t keep_ns, struct err *err)
{
    int r = db_begin(a->db, err);

    if (r == 0)
        r = db_run(a->db, err, "DELETE FROM request WHERE time_ns < ?", "i",
                   clock_now_ns() - keep_ns);
    if (r == 0)
        r = db_run(a->db, err, "UPDATE request SET reply = ? WHERE key = ?", "tt",
                   reply_json, a->key);
    if (r == 0)
        return db_commit(a->db, err);
    db_rollback(a->db);
    return r;
}
