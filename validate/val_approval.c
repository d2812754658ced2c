/* SPDX-License-Identifier: Apache-2.0 */
/* Approvals. A request stands for one question: may these bytes replace that release on
 * this alias, under this policy, given this evidence? When any of it changes, what was
 * said to it counts no more.
 *
 *     open ─ enough said yes ─ promote ─ done       withdrawn: by who asked
 *      ├ one said no: rejected                      replaced: asked anew
 *      └ expired, void: seen when it is looked at, nothing is written */
#include "base/clock.h"
#include "repo/gc.h"
#include "validate/val_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXPIRES "7d" /* when the policy does not say */

/* ---- what a request rests on ---------------------------------------------------- */

struct sum {
    struct repo *r;
    const char *model;
    struct buf text;
};

static int
add_policy(void *arg, const char *key, struct err *err)
{
    struct sum *s = arg;

    buf_addf(&s->text, "%s\n", key);
    return val_policy_get(s->r, key, s->model, &s->text, err);
}

static void
put_sum(cJSON *o, const char *key, const struct buf *text)
{
    struct digest d;
    char hex[DIGEST_HEX_BYTES];

    sha256_of(buf_str(text), text->len, &d);
    digest_hex(&d, hex);
    json_put_str(o, key, hex);
}

/* The sets that judge the version, and the newest verdict on each. */
static int
add_evidence(struct repo *r, const struct repo_version *v, struct buf *out,
             struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT s.id, (SELECT max(d.id) FROM verdict d WHERE "
                     "d.version_id = ? AND d.set_digest = s.digest) FROM golden_set s "
                     "WHERE s.replaced_ns IS NULL AND s.model = ? AND "
                     "(s.version_id IS NULL OR s.version_id = ?) ORDER BY s.id",
                     "iti", v->id, v->model, v->id);

    while (e >= 0 && (e = db_step(st, err)) == 1)
        buf_addf(out, "%" PRId64 " %" PRId64 "\n", db_int(st, 0), db_int(st, 1));
    return e;
}

int
val_bound(struct repo *r, const struct val_gate_args *args, cJSON **out,
          struct err *err)
{
    struct sum policy = { .r = r, .model = args->version->model };
    struct buf evidence AUTO(buf_release) = BUF_INIT;
    char digest[REPO_DIGEST_BYTES];
    int e = val_keys(args, add_policy, &policy, err);

    if (e == 0)
        e = add_evidence(r, args->version, &evidence, err);
    *out = cJSON_CreateObject();
    repo_digest_text(&args->version->digest, digest);
    json_put_str(*out, "version", digest);
    json_put_str(*out, "alias", args->alias);
    json_put_int(*out, "replaces", args->live_release);
    put_sum(*out, "policy", &policy.text);
    put_sum(*out, "evidence", &evidence);
    buf_release(&policy.text);
    return e;
}

int
val_stamp(struct repo *r, const struct val_gate_args *args, struct digest *out,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *bound AUTO(json_free) = NULL;
    int e = val_bound(r, args, &bound, err);

    if (e == 0)
        e = db_query(r->db, &st, err,
                     "SELECT a.id, a.state, (SELECT max(s.id) FROM approval_said s "
                     "WHERE s.approval_id = a.id) FROM approval a "
                     "WHERE a.version_id = ? AND a.alias = ? ORDER BY a.id",
                     "it", args->version->id, args->alias);
    json_print(bound, &text, true);
    while (e >= 0 && (e = db_step(st, err)) == 1)
        buf_addf(&text, "%" PRId64 " %s %" PRId64 "\n", db_int(st, 0), db_text(st, 1),
                 db_int(st, 2));
    sha256_of(buf_str(&text), text.len, out);
    return e;
}

/* What differs between a request's `bound` and what is now; "" when nothing does. */
static int
compare_bound(struct repo *r, const struct val_gate_args *args,
              const struct val_approval *a, const char **why, struct err *err)
{
    static const char *const parts[][2] = {
        { "version", "it was asked for other bytes" },
        { "alias", "it was asked for another alias" },
        { "replaces", "another release is live now" },
        { "policy", "the policy has changed" },
        { "evidence", "golden sets or verdicts have changed" },
    };
    cJSON *was AUTO(json_free) = NULL, *is AUTO(json_free) = NULL;

    *why = "";
    if (json_parse(&was, str_of(a->bound), "approval", err) < 0 ||
        val_bound(r, args, &is, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !**why; i++)
        if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(was, parts[i][0]),
                           cJSON_GetObjectItemCaseSensitive(is, parts[i][0]), true))
            *why = parts[i][1];
    return 0;
}

/* ---- rows ----------------------------------------------------------------------- */

#define COLUMNS                                                                        \
    "id, model, alias, version_id, number, state, asked_by, when_approved, "           \
    "created_ns, reason, bound"

void
val_approval_release(struct val_approval *a)
{
    free(a->bound);
    a->bound = NULL;
}

static void
read_approval(struct db_stmt *st, struct val_approval *out)
{
    *out = (struct val_approval){ .id = db_int(st, 0),
                                  .version_id = db_int(st, 3),
                                  .number = db_int(st, 4),
                                  .when_approved = db_int(st, 7) != 0,
                                  .created_ns = db_int(st, 8),
                                  .bound = xstrdup(db_text(st, 10)) };
    snprintf(out->model, sizeof(out->model), "%s", db_text(st, 1));
    snprintf(out->alias, sizeof(out->alias), "%s", db_text(st, 2));
    snprintf(out->state, sizeof(out->state), "%s", db_text(st, 5));
    snprintf(out->asked_by, sizeof(out->asked_by), "%s", db_text(st, 6));
    snprintf(out->reason, sizeof(out->reason), "%s", db_text(st, 9));
}

int
val_approval_newest(struct repo *r, int64_t version_id, const char *alias,
                    struct val_approval *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT " COLUMNS " FROM approval WHERE version_id = ? AND "
                     "alias = ? ORDER BY id DESC LIMIT 1",
                     "it", version_id, alias);

    *out = (struct val_approval){ .id = 0 };
    if (e == 0)
        e = db_step(st, err);
    if (e == 1)
        read_approval(st, out);
    return e;
}

int
val_approvals(struct repo *r, const char *model_or_null,
              int (*fn)(void *arg, const struct val_approval *a, struct err *err),
              void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = model_or_null
                ? db_query(r->db, &st, err,
                           "SELECT " COLUMNS " FROM approval WHERE model = ? "
                           "ORDER BY id DESC",
                           "t", model_or_null)
                : db_query(r->db, &st, err,
                           "SELECT " COLUMNS " FROM approval ORDER BY id DESC", "");

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct val_approval a AUTO(val_approval_release) = { .id = 0 };

        read_approval(st, &a);
        e = fn(arg, &a, err);
    }
    return e;
}

int
val_approval_add(struct repo *r, const struct val_gate_args *args, bool when_approved,
                 const char *reason_or_null, struct val_approval *out, struct err *err)
{
    const struct repo_version *v = args->version;
    cJSON *bound AUTO(json_free) = NULL;
    struct buf text AUTO(buf_release) = BUF_INIT;
    int64_t age_ns;
    int e = val_bound(r, args, &bound, err);

    if (e == 0)
        e = repo_age_tick(r, &age_ns, err);
    if (e == 0)
        e = db_run(r->db, err,
                   "UPDATE approval SET state = 'replaced' WHERE version_id = ? AND "
                   "alias = ? AND state = 'open'",
                   "it", v->id, args->alias);
    if (e < 0)
        return e;
    json_print(bound, &text, true);
    e = db_run(r->db, err,
               "INSERT INTO approval(model, alias, version_id, number, bound, state, "
               "when_approved, asked_by, created_ns, age_ns, reason) "
               "VALUES(?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?)",
               "ttiititiit", v->model, args->alias, v->id, v->number, buf_str(&text),
               (int64_t)when_approved, acc_actor(r->acc), clock_now_ns(), age_ns,
               reason_or_null ? reason_or_null : "");
    if (e == 0)
        e = val_approval_newest(r, v->id, args->alias, out, err);
    return e < 0 ? e : 0;
}

int
val_approval_keep(struct repo *r, const struct val_gate_args *args,
                  struct val_approval *out, struct err *err)
{
    int e = val_approval_newest(r, args->version->id, args->alias, out, err);

    if (e == 1 && strcmp(out->state, "open") == 0 &&
        (out->when_approved || strcmp(out->asked_by, acc_actor(r->acc)) == 0)) {
        e = db_run(r->db, err, "UPDATE approval SET when_approved = 1 WHERE id = ?",
                   "i", out->id);
        return e < 0 ? e : 1;
    }
    val_approval_release(out);
    return e < 0 ? e : 0;
}

int
val_approval_done(struct repo *r, int64_t version_id, const char *alias,
                  struct err *err)
{
    int64_t id;
    int e = db_get_int(r->db, &id, err,
                       "SELECT id FROM approval WHERE version_id = ? AND alias = ? "
                       "ORDER BY id DESC LIMIT 1",
                       "it", version_id, alias);

    return e == 1 ? val_approval_end(r, id, "done", err) : e;
}

int
val_approval_end(struct repo *r, int64_t id, const char *state, struct err *err)
{
    return db_run(r->db, err,
                  "UPDATE approval SET state = ? WHERE id = ? AND state = 'open'", "ti",
                  state, id);
}

/* ---- who may say yes ------------------------------------------------------------ */

struct ban {
    const char *who;
    const char *why; /* NULL: nothing stands against it */
};

static bool
is_named(const cJSON *v, const char *who)
{
    const char *s = cJSON_GetStringValue(v);
    const size_t n = strlen(who);

    /* "alice", "alice@example.org", "Alice <alice@example.org>" */
    return s &&
           (strcasecmp(s, who) == 0 || (strncasecmp(s, who, n) == 0 && s[n] == '@') ||
            (strchr(s, '<') && strncasecmp(strchr(s, '<') + 1, who, n) == 0 &&
             strchr(s, '<')[n + 1] == '@'));
}

/* Keys of provenance that name people: author, git.author, ci.actor, … */
static void
ban_author(struct ban *b, const char *provenance)
{
    static const char *const keys[] = { "author", "committer", "actor", "user" };
    struct err ignored = ERR_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *v;

    if (json_parse(&doc, str_of(provenance), "provenance", &ignored) < 0)
        return;
    cJSON_ArrayForEach(v, doc)
    {
        const char *last = strrchr(v->string, '.');

        last = last ? last + 1 : v->string;
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
            if (strcmp(last, keys[i]) == 0 && is_named(v, b->who))
                b->why = "wrote the version, as its provenance says";
    }
}

static int
ban_pusher(void *arg, const struct repo_said *s, struct err *err)
{
    struct ban *b = arg;

    (void)err;
    if (strcmp(s->actor, b->who) == 0)
        b->why = "pushed the version";
    else if (!b->why)
        ban_author(b, s->text);
    return 0;
}

struct editors {
    struct repo *r;
    const char *model;
    struct ban *ban;
};

static int
ban_editor(void *arg, const char *key, struct err *err)
{
    struct editors *x = arg;
    struct val_policy_now now AUTO(val_policy_now_release) = { .age_ns = -1 };
    int e = val_policy_find(x->r, key, x->model, &now, err);

    if (e == 1 && strcmp(now.set_by, x->ban->who) == 0)
        x->ban->why = "set the policy last";
    return e < 0 ? e : 0;
}

static int
ban_examiner(void *arg, const struct val_set *s, struct err *err)
{
    struct ban *b = arg;

    (void)err;
    if (s->acceptance && strcmp(s->owner, b->who) == 0)
        b->why = "owns a golden set that judges it";
    return 0;
}

/* b->why: what stands against b->who. */
static int
find_ban(struct repo *r, const struct val_gate_args *args, const char *asked_by,
         struct ban *b, struct err *err)
{
    const struct repo_version *v = args->version;
    struct editors x = { .r = r, .model = v->model, .ban = b };
    struct buf provenance AUTO(buf_release) = BUF_INIT;
    int e = val_keys(args, ban_editor, &x, err);

    if (e == 0)
        e = val_sets(r, v->model, v->id, ban_examiner, b, err);
    if (e == 0)
        e = repo_version_provenance(r, v->id, &provenance, err);
    if (e >= 0)
        ban_author(b, buf_str(&provenance));
    if (e >= 0)
        e = repo_pushes(r, v->id, ban_pusher, b, err);
    if (strcmp(v->pushed_by, b->who) == 0)
        b->why = "pushed the version";
    else if (strcmp(asked_by, b->who) == 0)
        b->why = "asked for the approval";
    return e < 0 ? e : 0;
}

/* ---- saying it ------------------------------------------------------------------ */

int
val_approval_say(struct repo *r, const struct val_approval *a,
                 const struct val_gate_args *args, const char *what,
                 const char *text_or_null, struct err *err)
{
    struct ban b = { .who = acc_actor(r->acc) };
    const bool comments = strcmp(what, "comment") == 0;
    const char *why = "";
    int e = 0;

    if (text_or_null && repo_check_text(text_or_null, 4096, true, "the text", err) < 0)
        return -(int)err->code;
    if (!comments) {
        if (strcmp(a->state, "open") != 0)
            return err_set(err, ERR_CONFLICT, "request %" PRId64 " is %s: ask again",
                           a->id, a->state);
        e = compare_bound(r, args, a, &why, err);
        if (e == 0 && *why)
            return err_set(err, ERR_CONFLICT,
                           "request %" PRId64
                           " is void: %s; sluice approve request %s@%" PRId64
                           " --for %s asks again",
                           a->id, why, a->model, a->number, a->alias);
        if (e == 0)
            e = find_ban(r, args, a->asked_by, &b, err);
        if (e == 0 && b.why)
            return err_set(err, ERR_DENIED,
                           "%s may not %s %s@%" PRId64
                           " for %s: %s; somebody else has to",
                           b.who, what, a->model, a->number, a->alias, b.why);
    }
    if (e == 0)
        e = db_run(r->db, err,
                   "INSERT INTO approval_said(approval_id, what, actor, text, time_ns) "
                   "VALUES(?, ?, ?, ?, ?)",
                   "ittti", a->id, what, b.who, text_or_null ? text_or_null : "",
                   clock_now_ns());
    if (e == 0 && strcmp(what, "reject") == 0)
        e = val_approval_end(r, a->id, "rejected", err);
    return e;
}

/* ---- the gate ------------------------------------------------------------------- */

/* Who said yes and still may have. */
static int
count_yes(struct repo *r, const struct val_gate_args *args,
          const struct val_approval *a, enum acc_right role, int *n, struct buf *names,
          struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT DISTINCT actor FROM approval_said WHERE approval_id = ? "
                     "AND what = 'approve' ORDER BY actor",
                     "i", a->id);

    *n = 0;
    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct ban b = { .who = db_text(st, 0) };

        e = acc_holds(r->acc, b.who, role, acc_alias(a->model, a->alias), err);
        if (e == 1 && find_ban(r, args, a->asked_by, &b, err) < 0)
            return -(int)err->code;
        if (e == 1 && !b.why)
            buf_addf(names, "%s%s", (*n)++ ? ", " : "", b.who);
    }
    return e;
}

/* Over by the store's age or by the wall clock, or nobody knows. */
static int
is_over(struct repo *r, const struct val_approval *a, int64_t span_ns, struct err *err)
{
    int64_t age_ns = -1, since_ns;
    int e = db_get_int(r->db, &age_ns, err, "SELECT age_ns FROM approval WHERE id = ?",
                       "i", a->id);

    if (e < 0 || val_since(r, age_ns, &since_ns, err) < 0)
        return -(int)err->code;
    return since_ns < 0 || since_ns > span_ns ||
           clock_now_ns() - a->created_ns > span_ns;
}

int
val_ask_approvals(struct repo *r, const struct val_gate_args *args, const cJSON *rule,
                  struct val_answer *out, struct err *err)
{
    const struct repo_version *v = args->version;
    struct val_approval a AUTO(val_approval_release) = { .id = 0 };
    struct buf names AUTO(buf_release) = BUF_INIT;
    const char *role_text = NULL, *span = NULL, *why = "";
    enum acc_right role;
    double wanted = 1;
    int64_t span_ns;
    int n = 0, e;

    if (json_num(rule, "approvals", 1, &wanted, "policy", err) < 0 ||
        json_str(rule, "role", "approve", &role_text, "policy", err) < 0 ||
        json_str(rule, "expires", EXPIRES, &span, "policy", err) < 0 ||
        acc_right_parse(role_text, &role, err) < 0 ||
        clock_parse_span(span, &span_ns, err) < 0)
        return -(int)err->code;
    buf_addf(&out->wanted, "%.0f who may %s say yes, within %s", wanted, role_text,
             span);
    buf_addf(&out->fix, "sluice approve request %s@%" PRId64 " --for %s", v->model,
             v->number, args->alias);
    e = val_approval_newest(r, v->id, args->alias, &a, err);
    if (e == 0)
        buf_adds(&out->saw, "nobody was asked");
    if (e <= 0)
        return e;
    if (strcmp(a.state, "open") != 0) {
        buf_addf(&out->saw, "request %" PRId64 " is %s", a.id, a.state);
        return 0;
    }
    if (compare_bound(r, args, &a, &why, err) < 0)
        return -(int)err->code;
    e = is_over(r, &a, span_ns, err);
    if (e == 0 && !*why)
        e = count_yes(r, args, &a, role, &n, &names, err);
    if (e < 0)
        return e;
    if (*why) {
        buf_addf(&out->saw, "request %" PRId64 " is void: %s", a.id, why);
    } else if (e == 1) {
        buf_addf(&out->saw, "request %" PRId64 " has expired", a.id);
    } else {
        out->ok = n >= (int)wanted;
        out->waits = !out->ok;
        buf_addf(&out->saw, "request %" PRId64 ": %d%s%s", a.id, n, n ? ", by " : "",
                 buf_str(&names));
        buf_clear(&out->fix);
        buf_addf(&out->fix, "sluice approve approve %s@%" PRId64 " --for %s", v->model,
                 v->number, args->alias);
    }
    return 0;
}

/* ---- for people ----------------------------------------------------------------- */

static void
put_time(cJSON *o, const char *key, int64_t time_ns)
{
    char text[CLOCK_TEXT_BYTES];

    json_put_str(o, key, clock_text(time_ns, text));
}

int
val_approval_json(struct repo *r, const struct val_approval *a,
                  const struct val_gate_args *args_or_null, cJSON **out,
                  struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const char *why = "";
    cJSON *o = *out = cJSON_CreateObject(), *said;
    int e = 0;

    if (args_or_null && strcmp(a->state, "open") == 0)
        e = compare_bound(r, args_or_null, a, &why, err);
    json_put_int(o, "request", a->id);
    json_put_str(o, "model", a->model);
    json_put_int(o, "number", a->number);
    json_put_str(o, "alias", a->alias);
    json_put_str(o, "state", *why ? "void" : a->state);
    if (*why)
        json_put_str(o, "why", why);
    json_put_str(o, "asked_by", a->asked_by);
    put_time(o, "asked", a->created_ns);
    json_put_bool(o, "when_approved", a->when_approved);
    json_put_str(o, "reason", a->reason);
    cJSON_AddItemToObject(o, "bound", cJSON_Parse(a->bound));
    said = cJSON_AddArrayToObject(o, "said");
    if (e == 0)
        e = db_query(r->db, &st, err,
                     "SELECT what, actor, text, time_ns FROM approval_said "
                     "WHERE approval_id = ? ORDER BY id",
                     "i", a->id);
    while (e >= 0 && st && (e = db_step(st, err)) == 1) {
        cJSON *s = cJSON_CreateObject();

        json_put_str(s, "what", db_text(st, 0));
        json_put_str(s, "by", db_text(st, 1));
        json_put_str(s, "text", db_text(st, 2));
        put_time(s, "time", db_int(st, 3));
        cJSON_AddItemToArray(said, s);
    }
    return e;
}
