/* SPDX-License-Identifier: Apache-2.0 */
#include "access/identity.h"

#include "access/acc_int.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VIA_TOKEN "token " /* how struct acc_who says it */
#define VIA_JOB "oidc"
#define NOTE_MAX 200

static const char digits[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
enum {
    BASE = sizeof(digits) - 1,
    ID_AT = 4,
    SECRET_AT = ID_AT + ACC_TOKEN_ID_CHARS + 1
};

/* ---- the text ---- */

static void
add_check(char text[ACC_TOKEN_CHARS + 1])
{
    const size_t n = ACC_TOKEN_CHARS - ACC_TOKEN_CHECK_CHARS;
    uint32_t sum = crc32c(0, text, n);

    for (size_t i = ACC_TOKEN_CHARS; i-- > n; sum /= BASE)
        text[i] = digits[sum % BASE];
    text[ACC_TOKEN_CHARS] = '\0';
}

int
acc_token_parse(struct str text, struct acc_token_text *out, struct err *err)
{
    char again[ACC_TOKEN_CHARS + 1];

    if (text.n != ACC_TOKEN_CHARS ||
        memcmp(text.p, ACC_TOKEN_PREFIX, sizeof(ACC_TOKEN_PREFIX) - 1) != 0)
        return err_set(err, ERR_INVALID,
                       "this is no token of sluice: one has %d characters and begins "
                       "with " ACC_TOKEN_PREFIX "; copy the whole of it",
                       ACC_TOKEN_CHARS);
    memcpy(again, text.p, ACC_TOKEN_CHARS);
    add_check(again);
    bool ok = again[SECRET_AT - 1] == '_' && memcmp(again, text.p, text.n) == 0;
    for (size_t i = ID_AT; ok && i < ACC_TOKEN_CHARS; i++)
        ok = i == SECRET_AT - 1 || (again[i] && strchr(digits, again[i]));
    if (!ok)
        return err_set(err, ERR_INVALID,
                       "a character of this token is wrong or missing: copy it again");
    memcpy(out->id, again + ID_AT, ACC_TOKEN_ID_CHARS);
    out->id[ACC_TOKEN_ID_CHARS] = '\0';
    memcpy(out->secret, again + SECRET_AT, ACC_TOKEN_SECRET_CHARS);
    return 0;
}

/* Each digit as likely as any other. */
static int
add_random(char *to, size_t n, struct err *err)
{
    uint8_t bytes[64];

    for (size_t i = 0; i < n;) {
        if (random_bytes(bytes, sizeof(bytes), err) < 0)
            return -(int)err->code;
        for (size_t k = 0; k < sizeof(bytes) && i < n; k++)
            if (bytes[k] < 256 / BASE * BASE)
                to[i++] = digits[bytes[k] % BASE];
    }
    return 0;
}

/* ---- scopes ---- */

int
acc_scope_make(const cJSON *list, struct buf *out, struct err *err)
{
    const cJSON *e;
    const char *sep = "[";

    cJSON_ArrayForEach(e, list)
    {
        const char *text = e->valuestring, *colon = strchr(text, ':');

        if (!colon || !colon[1] || strlen(colon) > 300)
            return err_set(err, ERR_INVALID,
                           "'%.80s' is no scope: RIGHT:OBJECT, such as push:fraud or "
                           "'read:*'",
                           text);
        buf_adds(out, sep);
        json_add_quoted(out, str_of(text));
        sep = ",";
    }
    buf_adds(out, sep[0] == ',' ? "]" : "[]");
    return acc_scope_check(buf_str(out), err);
}

/* Each member of one list stands in the other, too. */
static bool
is_within(const char *scope, const char *wide)
{
    cJSON *a AUTO(json_free) = cJSON_Parse(scope),
             *b AUTO(json_free) = cJSON_Parse(wide);
    const cJSON *x, *y;

    if (!cJSON_IsArray(a) || !cJSON_IsArray(b))
        return false;
    cJSON_ArrayForEach(x, a)
    {
        bool found = false;

        cJSON_ArrayForEach(y, b) found |= cJSON_Compare(x, y, true);
        if (!found)
            return false;
    }
    return true;
}

/* ---- who may ---- */

static bool
is_via(const struct acc *a, const char *how)
{
    return a->who && a->who->via && strncmp(a->who->via, how, strlen(how)) == 0;
}

/* The token that the caller is known by; NULL: by something else. */
static const char *
own_token(const struct acc *a)
{
    return is_via(a, VIA_TOKEN) ? a->who->via + sizeof(VIA_TOKEN) - 1 : NULL;
}

static int
check_known(struct acc *a, struct err *err)
{
    int r = acc_user_known(a, a->actor, err);

    if (r != 0)
        return r < 0 ? r : 0;
    return err_set(err, ERR_DENIED,
                   "%s may not have tokens: this store knows no such user; who "
                   "administers it can change that: sluice user add %s",
                   a->actor, a->actor);
}

/* What is the caller's own, he may do with as he likes, unless he is known by less than
 * all of himself. */
static int
check_own(struct acc *a, const char *subject, const char *id, struct err *err)
{
    const char *own = own_token(a);

    if (strcmp(a->actor, subject) == 0 && !is_via(a, VIA_JOB) &&
        (!own || strcmp(own, id) == 0))
        return check_known(a, err);
    return acc_check_vouch(a, subject, err);
}

/* A token must not make more of itself than it is. */
static int
narrow(struct acc *a, struct acc_token_wish *w, int64_t now_ns, struct err *err)
{
    const char *own = own_token(a), *scope = a->who ? a->who->scope : NULL;
    int64_t expires_ns;
    int r;

    if (is_via(a, VIA_JOB))
        return err_set(err, ERR_DENIED,
                       "%s may not make a token as a job: what the job shows is one "
                       "already",
                       a->actor);
    if (scope && !w->scope)
        w->scope = scope;
    else if (scope && !is_within(w->scope, scope))
        return err_set(err, ERR_DENIED,
                       "%s may not make a token of a wider scope than %s, by which it "
                       "is asked for",
                       a->actor, scope);
    if (!own)
        return 0;
    r = db_get_int(a->db, &expires_ns, err, "SELECT expires_ns FROM token WHERE id = ?",
                   "t", own);
    if (r == 1 && w->life_ns > expires_ns - now_ns)
        w->life_ns = expires_ns - now_ns;
    return r < 0 ? r : 0;
}

static int
check_wish(struct acc *a, struct acc_token_wish *w, int64_t now_ns, struct err *err)
{
    int r = 0;

    if (w->life_ns <= 0 || w->life_ns > ACC_TOKEN_LIFE_MAX_NS)
        return err_set(err, ERR_INVALID,
                       "a token ends some time: --expires 1m to 3660d, such as 90d");
    if (w->note && strlen(w->note) > NOTE_MAX)
        return err_set(err, ERR_INVALID, "--note has %zu bytes; at most %d",
                       strlen(w->note), NOTE_MAX);
    if (strcmp(a->actor, w->subject) == 0) {
        r = check_known(a, err);
        if (r == 0)
            r = narrow(a, w, now_ns, err);
    } else {
        r = acc_check_vouch(a, w->subject, err);
        if (r == 0)
            r = acc_check_subject(a, w->subject, err);
    }
    return r == 0 ? acc_user_active(a, w->subject, err) : r;
}

/* ---- making and ending ---- */

static int
insert(struct acc *a, const struct acc_token_wish *w, int64_t now_ns,
       struct acc_token_new *out, struct err *err)
{
    struct digest d;
    int r;

    memcpy(out->text, ACC_TOKEN_PREFIX, ID_AT);
    out->text[SECRET_AT - 1] = '_';
    r = add_random(out->text + ID_AT, ACC_TOKEN_ID_CHARS, err);
    if (r == 0)
        r = add_random(out->text + SECRET_AT, ACC_TOKEN_SECRET_CHARS, err);
    if (r < 0)
        return r;
    add_check(out->text);
    sha256_of(out->text + SECRET_AT, ACC_TOKEN_SECRET_CHARS, &d);
    memcpy(out->id, out->text + ID_AT, ACC_TOKEN_ID_CHARS);
    out->id[ACC_TOKEN_ID_CHARS] = '\0';
    out->expires_ns = now_ns + w->life_ns;
    return db_run(a->db, err,
                  "INSERT INTO token(id, subject, secret, scope, note, by, made_ns, "
                  "expires_ns, revoked_ns) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 0)",
                  "ttbtttii", out->id, w->subject, d.b, sizeof(d.b), w->scope,
                  w->note ? w->note : "", a->actor, now_ns, out->expires_ns);
}

int
acc_token_make(struct acc *a, const struct acc_token_wish *wish,
               struct acc_token_new *out, struct err *err)
{
    struct acc_token_wish w = *wish;
    const int64_t now_ns = clock_now_ns();
    int r = check_wish(a, &w, now_ns, err);

    return r < 0 ? r : insert(a, &w, now_ns, out, err);
}

/* A row's copies of what its maker wished for; the caller frees. */
struct found {
    char *subject, *scope, *note;
    int64_t made_ns, expires_ns, revoked_ns;
};

static void
found_release(struct found *f)
{
    free(f->subject);
    free(f->scope);
    free(f->note);
}

static int
find(struct acc *a, const char *id, struct found *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(a->db, &st, err,
                     "SELECT subject, scope, note, made_ns, expires_ns, revoked_ns "
                     "FROM token WHERE id = ?",
                     "t", id);

    if (r == 0)
        r = db_step(st, err);
    if (r == 0) /* who may not look into it learns as much */
        return err_set(err, ERR_NOTFOUND,
                       "%s may not, or there is no token '%.20s': sluice token list",
                       a->actor, id);
    if (r < 0)
        return r;
    out->subject = xstrdup(db_text(st, 0));
    out->scope = db_is_null(st, 1) ? NULL : xstrdup(db_text(st, 1));
    out->note = xstrdup(db_text(st, 2));
    out->made_ns = db_int(st, 3);
    out->expires_ns = db_int(st, 4);
    out->revoked_ns = db_int(st, 5);
    return 0;
}

/* One that the caller may end or renew. */
static int
find_own(struct acc *a, const char *id, struct found *out, struct err *err)
{
    int r = check_known(a, err);

    if (r == 0)
        r = find(a, id, out, err);
    return r < 0 ? r : check_own(a, out->subject, id, err);
}

int
acc_token_rotate(struct acc *a, const char *id, int64_t grace_ns,
                 struct acc_token_new *out, struct err *err)
{
    struct found old AUTO(found_release) = { .subject = NULL };
    const int64_t now_ns = clock_now_ns();
    int r = find_own(a, id, &old, err);

    if (r == 0)
        r = acc_user_active(a, old.subject, err);
    if (r == 0 && (old.revoked_ns || old.expires_ns <= now_ns))
        return err_set(err, ERR_INVALID,
                       "token %s has ended: sluice token create %s makes a new one", id,
                       old.subject);
    if (r < 0)
        return r;
    const struct acc_token_wish w = { .subject = old.subject,
                                      .scope = old.scope,
                                      .note = old.note,
                                      .life_ns = old.expires_ns - old.made_ns };
    r = insert(a, &w, now_ns, out, err);
    if (r == 0 && old.expires_ns > now_ns + grace_ns)
        r = db_run(a->db, err, "UPDATE token SET expires_ns = ? WHERE id = ?", "it",
                   now_ns + grace_ns, id);
    return r;
}

int
acc_token_revoke(struct acc *a, const char *id, struct err *err)
{
    struct found old AUTO(found_release) = { .subject = NULL };
    int r = find_own(a, id, &old, err);

    if (r == 0)
        r = db_run(a->db, err,
                   "UPDATE token SET revoked_ns = ? WHERE id = ? AND revoked_ns = 0",
                   "it", clock_now_ns(), id);
    return r < 0 ? r : db_changes(a->db) > 0;
}

int
acc_tokens(struct acc *a, const struct acc_token_query *q,
           int (*fn)(void *arg, const struct acc_token *t, struct err *err), void *arg,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const char *subject = q->subject;
    struct err no = ERR_INIT;
    int r = acc_check(a, ACC_ADMIN, acc_store(), &no);

    if (r < 0 && no.code != ERR_DENIED)
        return err_set(err, no.code, "%s", no.msg);
    if (r < 0 && subject && strcmp(subject, a->actor) != 0)
        return err_set(err, ERR_DENIED, "%s", no.msg);
    if (r < 0 && check_known(a, err) < 0)
        return -(int)err->code;
    if (r < 0)
        subject = a->actor;
    r = db_query(a->db, &st, err,
                 "SELECT t.id, t.subject, t.note, t.by, t.scope, t.made_ns, "
                 "t.expires_ns, t.revoked_ns, coalesce(u.time_ns, 0) FROM token t "
                 "LEFT JOIN token_use u ON u.id = t.id WHERE (? = '' OR t.subject = ?) "
                 "AND (? = '' OR t.id = ?) AND (? = 0 OR (t.made_ns < ? AND "
                 "coalesce(u.time_ns, 0) < ?)) AND (? = 1 OR (t.revoked_ns = 0 AND "
                 "t.expires_ns > ?)) ORDER BY t.subject, t.made_ns, t.id",
                 "ttttiiiii", subject ? subject : "", subject ? subject : "",
                 q->id ? q->id : "", q->id ? q->id : "", q->unused_ns, q->unused_ns,
                 q->unused_ns, (int64_t)q->ended, clock_now_ns());
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        const struct acc_token t = { .id = db_text(st, 0),
                                     .subject = db_text(st, 1),
                                     .note = db_text(st, 2),
                                     .by = db_text(st, 3),
                                     .scope = db_text(st, 4),
                                     .made_ns = db_int(st, 5),
                                     .expires_ns = db_int(st, 6),
                                     .revoked_ns = db_int(st, 7),
                                     .used_ns = db_int(st, 8) };
        r = fn(arg, &t, err);
    }
    return r;
}

/* ---- using ---- */

const char *
acc_token_why(unsigned why)
{
    return why & ACC_TOKEN_UNKNOWN   ? "unknown"
           : why & ACC_TOKEN_WRONG   ? "wrong secret"
           : why & ACC_TOKEN_REVOKED ? "revoked"
           : why & ACC_TOKEN_EXPIRED ? "expired"
                                     : "its subject is disabled";
}

/* No branch depends on the secret, nor on whether there is such a row: each question is
 * asked, and the answers are put together at the end. */
unsigned
acc_token_judge(const struct acc_token_row *row, const struct acc_token_text *t,
                int64_t now_ns)
{
    struct digest shown;
    unsigned why = 0;

    sha256_of(t->secret, sizeof(t->secret), &shown);
    why |= (unsigned)!digest_eq(&shown, &row->secret) * ACC_TOKEN_WRONG;
    why |= (unsigned)(row->is_there == 0) * ACC_TOKEN_UNKNOWN;
    why |= (unsigned)(row->expires_ns <= now_ns) * ACC_TOKEN_EXPIRED;
    why |= (unsigned)(row->revoked_ns != 0) * ACC_TOKEN_REVOKED;
    why |= (unsigned)(row->is_disabled != 0) * ACC_TOKEN_DISABLED;
    return why;
}

int
acc_token_find(struct acc *a, const struct acc_token_text *t,
               struct acc_token_found *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct acc_token_row row = { .is_there = 0 };
    const void *secret;
    size_t n = 0;
    int r = db_query(a->db, &st, err,
                     "SELECT t.secret, t.expires_ns, t.revoked_ns, coalesce("
                     "(SELECT is_disabled FROM account WHERE name = t.subject), 0), "
                     "t.subject, t.scope FROM token t WHERE t.id = ?",
                     "t", t->id);

    *out = (struct acc_token_found){ .why = 0 };
    if (r == 0)
        r = db_step(st, err);
    if (r < 0)
        return r;
    if (r == 1) {
        secret = db_blob(st, 0, &n);
        if (n == sizeof(row.secret.b))
            memcpy(row.secret.b, secret, n);
        row.expires_ns = db_int(st, 1);
        row.revoked_ns = db_int(st, 2);
        row.is_disabled = db_int(st, 3);
        row.is_there = n == sizeof(row.secret.b);
    }
    out->why = acc_token_judge(&row, t, clock_now_ns());
    if (out->why)
        return 0;
    snprintf(out->subject, sizeof(out->subject), "%s", db_text(st, 4));
    out->scope = db_is_null(st, 5) ? NULL : xstrdup(db_text(st, 5));
    out->expires_ns = row.expires_ns;
    return 1;
}

int
acc_token_used(struct acc *a, const char *id, int64_t time_ns, struct err *err)
{
    return db_run(a->db, err,
                  "INSERT INTO token_use(id, time_ns) VALUES(?, ?) ON CONFLICT(id) DO "
                  "UPDATE SET time_ns = excluded.time_ns WHERE "
                  "token_use.time_ns < excluded.time_ns",
                  "ti", id, time_ns);
}
