/* SPDX-License-Identifier: Apache-2.0 */
/* What people and pipelines say of a version: tags, notes, where its bytes came from
 * when they were pushed once more. The version itself never changes. */
#include "repo/repo_int.h"

#include "base/clock.h"

#include <string.h>

int
repo_said_each(struct db_stmt *st, repo_said_fn *fn, void *arg, struct err *err)
{
    int rc;

    while ((rc = db_step(st, err)) == 1) {
        struct repo_said s = { .key = db_text(st, 0),
                               .text = db_text(st, 1),
                               .time_ns = db_int(st, 2),
                               .actor = db_text(st, 3) };
        size_t n;
        const void *digest = db_blob(st, 4, &n);

        if (n == sizeof(s.digest.b)) {
            memcpy(s.digest.b, digest, n);
            s.size_bytes = db_int(st, 5);
        }
        if ((rc = fn(arg, &s, err)) < 0)
            return rc;
    }
    return rc;
}

/* ---- tags ---- */

static bool
is_key(const char *s, size_t n)
{
    return n > 0 && n <= REPO_TAG_KEY_MAX && !strchr("_./:-", s[0]) &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789_./:-") >= n;
}

int
repo_tag_parse(const char *text, char key[REPO_TAG_KEY_MAX + 1], const char **value,
               struct err *err)
{
    const size_t n = strcspn(text, "=");

    if (!is_key(text, n)) {
        struct buf shown AUTO(buf_release) = BUF_INIT;

        repo_path_encode(text, &shown);
        return err_set(
            err, ERR_INVALID,
            "'%.200s' is not KEY or KEY=VALUE: a key is 1 to %d of the bytes "
            "A-Za-z0-9_./:- and begins with a letter or digit",
            buf_str(&shown), REPO_TAG_KEY_MAX);
    }
    memcpy(key, text, n);
    key[n] = '\0';
    *value = text[n] ? text + n + 1 : "";
    return repo_check_text(*value, REPO_TAG_VALUE_MAX, false, key, err);
}

int
repo_tag_set(struct repo *r, int64_t version_id, const char *key, const char *value,
             struct err *err)
{
    int64_t n = 0;
    int rc = db_run(r->db, err,
                    "INSERT INTO version_tag(version_id, key, value, time_ns, actor) "
                    "VALUES(?, ?, ?, ?, ?) ON CONFLICT(version_id, key) DO UPDATE SET "
                    "value = excluded.value, time_ns = excluded.time_ns, "
                    "actor = excluded.actor",
                    "ittit", version_id, key, value, clock_now_ns(), acc_actor(r->acc));

    if (rc == 0)
        rc = db_get_int(r->db, &n, err,
                        "SELECT count(*) FROM version_tag WHERE version_id = ?", "i",
                        version_id);
    if (rc >= 0 && n > REPO_TAGS_MAX)
        return err_set(err, ERR_LIMIT, "a version has at most %d tags", REPO_TAGS_MAX);
    return rc < 0 ? rc : 0;
}

int
repo_tag_remove(struct repo *r, int64_t version_id, const char *key, struct err *err)
{
    int rc =
        db_run(r->db, err, "DELETE FROM version_tag WHERE version_id = ? AND key = ?",
               "it", version_id, key);

    return rc < 0 ? rc : db_changes(r->db) > 0;
}

int
repo_tags(struct repo *r, int64_t version_id, repo_said_fn *fn, void *arg,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT key, value, time_ns, actor, NULL, 0 FROM version_tag "
                      "WHERE version_id = ? ORDER BY key",
                      "i", version_id);

    return rc < 0 ? rc : repo_said_each(st, fn, arg, err);
}

/* ---- notes ---- */

int
repo_note_add(struct repo *r, int64_t version_id, const char *text, struct err *err)
{
    int rc = text[0] ? repo_check_text(text, REPO_NOTE_MAX, true, "the note", err)
                     : err_set(err, ERR_INVALID, "the note is empty");

    return rc < 0 ? rc
                  : db_run(r->db, err,
                           "INSERT INTO version_note(version_id, text, time_ns, actor) "
                           "VALUES(?, ?, ?, ?)",
                           "itit", version_id, text, clock_now_ns(), acc_actor(r->acc));
}

int
repo_notes(struct repo *r, int64_t version_id, repo_said_fn *fn, void *arg,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT '', text, time_ns, actor, NULL, 0 FROM version_note "
                      "WHERE version_id = ? ORDER BY id",
                      "i", version_id);

    return rc < 0 ? rc : repo_said_each(st, fn, arg, err);
}

/* ---- pushes of the same bytes ---- */

int
repo_push_add(struct repo *r, int64_t version_id, const char *provenance_json,
              struct err *err)
{
    return db_run(r->db, err,
                  "INSERT INTO version_push(version_id, provenance, time_ns, actor) "
                  "VALUES(?, ?, ?, ?)",
                  "itit", version_id, provenance_json, clock_now_ns(),
                  acc_actor(r->acc));
}

int
repo_pushes(struct repo *r, int64_t version_id, repo_said_fn *fn, void *arg,
            struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT '', provenance, time_ns, actor, NULL, 0 FROM "
                      "version_push WHERE version_id = ? ORDER BY id",
                      "i", version_id);

    return rc < 0 ? rc : repo_said_each(st, fn, arg, err);
}
