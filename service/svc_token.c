/* SPDX-License-Identifier: Apache-2.0 */
/* user add, list, disable, enable, cert; token create, list, revoke, rotate; issuer
 * add, list, remove. A secret is told once, in c->once, and stands nowhere else. */
#include "access/identity.h"
#include "base/clock.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define GRACE_NS (INT64_C(3600) * 1000000000)

/* What the call is about, as events name it; and a member of the reply and the body. */
static void
about(struct svc_call *c, const char *kind, const char *name)
{
    snprintf(c->object, sizeof c->object, "%s:%s", kind, name);
}

static void
say(struct svc_call *c, const char *key, const char *value)
{
    json_put_str(c->reply, key, value);
    json_put_str(c->body, key, value);
}

static void
say_bool(struct svc_call *c, const char *key, bool value)
{
    json_put_bool(c->reply, key, value);
    json_put_bool(c->body, key, value);
}

static void
put_scope(cJSON *o, const char *scope_or_null)
{
    cJSON *scope = scope_or_null ? cJSON_Parse(scope_or_null) : NULL;
    cJSON_AddItemToObject(o, "scope", scope ? scope : cJSON_CreateNull());
}

static int
span(const struct svc_call *c, const char *field, int64_t fallback_ns, int64_t *out,
     struct err *err)
{
    const char *text = svc_str(c, field);
    *out = fallback_ns;
    if (text && clock_parse_span(text, out, err) < 0)
        return err_ctx(err, "--%s", field);
    return 0;
}

/* ---- users ---- */

int
svc_do_user_add(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    bool is_service = svc_flag(c, "service");
    about(c, "user", name);
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int changed = acc_user_add(c->repo->acc, name, is_service, svc_str(c, "note"), err);
    if (changed < 0)
        return changed;
    say(c, "user", name);
    say_bool(c, "service", is_service);
    say(c, "note", svc_str(c, "note") ? svc_str(c, "note") : "");
    say_bool(c, "changed", changed);
    return svc_commit(c, err);
}

static int
enable(struct svc_call *c, bool enabled, struct err *err)
{
    const char *name = svc_str(c, "name");
    about(c, "user", name);
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int changed = acc_user_enable(c->repo->acc, name, enabled, err);
    if (changed < 0)
        return changed;
    say(c, "user", name);
    say_bool(c, "disabled", !enabled);
    say_bool(c, "changed", changed);
    return svc_commit(c, err);
}

int
svc_do_user_disable(struct svc_call *c, struct err *err)
{
    return enable(c, false, err);
}

int
svc_do_user_enable(struct svc_call *c, struct err *err)
{
    return enable(c, true, err);
}

static int
add_user(void *arg, const struct acc_user *u, struct err *err)
{
    (void)err;
    struct svc_call *c = arg;
    const char *only = svc_str(c, "name");
    if (only && strcmp(only, u->name) != 0)
        return 0;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "user", u->name);
    json_put_str(o, "kind", u->is_owner ? "owner" : u->is_service ? "service" : "user");
    json_put_bool(o, "disabled", u->is_disabled);
    json_put_int(o, "tokens", u->n_tokens);
    svc_put_time(o, "used", u->used_ns);
    json_put_str(o, "note", u->note);
    json_put_str(o, "by", u->by);
    svc_put_time(o, "time", u->time_ns);
    cJSON_AddItemToArray(cJSON_GetObjectItem(c->reply, "users"), o);
    return 0;
}

int
svc_do_user_list(struct svc_call *c, struct err *err)
{
    cJSON_AddArrayToObject(c->reply, "users");
    return acc_users(c->repo->acc, add_user, c, err);
}

/* ---- certificates ---- */

static int
add_cert(void *arg, const struct acc_cert *cert, struct err *err)
{
    (void)err;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "kind", cert->kind);
    json_put_str(o, "value", cert->value);
    json_put_str(o, "by", cert->by);
    svc_put_time(o, "time", cert->time_ns);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

/* Field `sha256`, or `san` of the form KIND:VALUE. */
static int
named_cert(struct svc_call *c, const char **kind, struct buf *value, struct err *err)
{
    static const char *const kinds[] = { "URI", "DNS", "email" };
    const char *sha256 = svc_str(c, "sha256"), *san = svc_str(c, "san");
    *kind = sha256 ? "sha256" : NULL;
    if (sha256 && san)
        return err_set(err, ERR_USAGE, "user cert: --sha256 or --san, not both");
    if (sha256)
        return acc_cert_value("sha256", sha256, value, err);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(san, kinds[i], n) == 0 && san[n] == ':') {
            *kind = kinds[i];
            return acc_cert_value(*kind, san + n + 1, value, err);
        }
    }
    return err_set(err, ERR_USAGE,
                   "user cert: --san URI:…, DNS:… or email:…, as openssl x509 -ext "
                   "subjectAltName prints it");
}

int
svc_do_user_cert(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name"), *kind;
    struct acc *acc = c->repo->acc;
    struct buf value AUTO(buf_release) = BUF_INIT;
    int r;
    about(c, "user", name);
    json_put_str(c->reply, "user", name);
    if (svc_str(c, "sha256") || svc_str(c, "san")) {
        bool remove = svc_flag(c, "remove");
        if (named_cert(c, &kind, &value, err) < 0 ||
            acc_check_vouch(acc, name, err) < 0 || db_begin(c->repo->db, err) < 0)
            return -(int)err->code;
        r = remove ? acc_cert_remove(acc, kind, buf_str(&value), name, err)
                   : acc_cert_add(acc, kind, buf_str(&value), name, err);
        if (r < 0)
            return r;
        json_put_str(c->body, "kind", kind);
        json_put_str(c->body, "value", buf_str(&value));
        json_put_bool(c->body, "removed", remove);
        say_bool(c, "changed", r == 1);
        if (acc_certs(acc, name, add_cert,
                      cJSON_AddArrayToObject(c->reply, "certificates"), err) < 0)
            return -(int)err->code;
        return svc_commit(c, err);
    }
    if (svc_flag(c, "remove"))
        return err_set(err, ERR_USAGE, "user cert: --remove needs --sha256 or --san");
    return acc_certs(acc, name, add_cert,
                     cJSON_AddArrayToObject(c->reply, "certificates"), err);
}

/* ---- tokens ---- */

static int
check_out(struct svc_call *c, struct err *err)
{
    return svc_str(c, "out")
               ? err_set(err, ERR_USAGE, "the command line itself writes --out")
               : 0;
}

/* Its row, as the list shows it, and the secret apart. */
static int
tell_token(struct svc_call *c, const struct acc_token_new *t, struct err *err)
{
    char text[CLOCK_TEXT_BYTES];
    about(c, "token", t->id);
    say(c, "id", t->id);
    say(c, "expires", clock_text(t->expires_ns, text));
    if (svc_commit(c, err) < 0)
        return -(int)err->code;
    c->once = cJSON_CreateObject();
    json_put_str(c->once, "token", t->text);
    return 0;
}

/* Each RIGHT:OBJECT of it, a verb being one that there is. */
static int
take_scope(const cJSON *list, struct buf *out, struct err *err)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, list)
    {
        const char *text = e->valuestring;
        size_t n = strncmp(text, "verb:", 5) == 0 ? 5 : 0;
        char *what AUTO(free_ptr) = xstrndup(text, n + strcspn(text + n, ":"));
        struct buf name AUTO(buf_release) = BUF_INIT;
        enum acc_right right;
        if (svc_take_what(what, &right, &name, err) < 0)
            return err_ctx(err, "scope %.80s", text);
    }
    return acc_scope_make(list, out, err);
}

int
svc_do_token_create(struct svc_call *c, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "scope");
    struct buf scope AUTO(buf_release) = BUF_INIT;
    struct acc_token_wish w = { .subject = svc_str(c, "subject"),
                                .note = svc_str(c, "note") };
    struct acc_token_new t;
    about(c, "user", w.subject);
    if (check_out(c, err) < 0 || (list && take_scope(list, &scope, err) < 0) ||
        span(c, "expires", ACC_TOKEN_LIFE_NS, &w.life_ns, err) < 0 ||
        db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    w.scope = list ? buf_str(&scope) : NULL;
    if (acc_token_make(c->repo->acc, &w, &t, err) < 0)
        return -(int)err->code;
    say(c, "subject", w.subject);
    put_scope(c->reply, w.scope);
    put_scope(c->body, w.scope);
    return tell_token(c, &t, err);
}

int
svc_do_token_rotate(struct svc_call *c, struct err *err)
{
    const char *id = svc_str(c, "id");
    struct acc_token_new t;
    int64_t grace_ns;
    about(c, "token", id);
    if (check_out(c, err) < 0 || span(c, "grace", GRACE_NS, &grace_ns, err) < 0 ||
        db_begin(c->repo->db, err) < 0 ||
        acc_token_rotate(c->repo->acc, id, grace_ns, &t, err) < 0)
        return -(int)err->code;
    say(c, "replaces", id);
    return tell_token(c, &t, err);
}

int
svc_do_token_revoke(struct svc_call *c, struct err *err)
{
    const char *id = svc_str(c, "id");
    about(c, "token", id);
    if (db_begin(c->repo->db, err) < 0)
        return -(int)err->code;
    int changed = acc_token_revoke(c->repo->acc, id, err);
    if (changed < 0)
        return changed;
    say(c, "id", id);
    say_bool(c, "changed", changed);
    return svc_commit(c, err);
}

static int
add_token(void *arg, const struct acc_token *t, struct err *err)
{
    (void)err;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "id", t->id);
    json_put_str(o, "subject", t->subject);
    put_scope(o, t->scope);
    svc_put_time(o, "made", t->made_ns);
    svc_put_time(o, "expires", t->expires_ns);
    svc_put_time(o, "used", t->used_ns);
    svc_put_time(o, "revoked", t->revoked_ns);
    json_put_str(o, "by", t->by);
    json_put_str(o, "note", t->note);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

int
svc_do_token_list(struct svc_call *c, struct err *err)
{
    struct acc_token_query q = { .subject = svc_str(c, "subject"),
                                 .ended = svc_flag(c, "all") };
    int64_t unused_ns;
    if (span(c, "unused", 0, &unused_ns, err) < 0)
        return -(int)err->code;
    if (unused_ns > 0)
        q.unused_ns = clock_now_ns() - unused_ns;
    return acc_tokens(c->repo->acc, &q, add_token,
                      cJSON_AddArrayToObject(c->reply, "tokens"), err);
}

/* ---- issuers ---- */

int
svc_do_issuer_add(struct svc_call *c, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "scope");
    const char *subject = svc_str(c, "subject");
    const struct acc_issuer issuer = { .name = svc_str(c, "name"),
                                       .url = svc_str(c, "url"),
                                       .audience = svc_str(c, "audience") };
    struct buf scope AUTO(buf_release) = BUF_INIT;
    int64_t number;
    about(c, "issuer", issuer.name);
    if ((list && take_scope(list, &scope, err) < 0) ||
        acc_check_vouch(c->repo->acc, subject, err) < 0 ||
        db_begin(c->repo->db, err) < 0 ||
        acc_issuer_add(c->repo->acc, &issuer,
                       cJSON_GetObjectItemCaseSensitive(c->req, "match"), subject,
                       list ? buf_str(&scope) : NULL, &number, err) < 0)
        return -(int)err->code;
    say(c, "issuer", issuer.name);
    json_put_int(c->reply, "rule", number);
    json_put_int(c->body, "rule", number);
    say(c, "subject", subject);
    return svc_commit(c, err);
}

static int
add_rule(void *arg, const struct acc_issuer_rule *r, struct err *err)
{
    (void)err;
    struct svc_call *c = arg;
    const char *only = svc_str(c, "name");
    if (only && strcmp(only, r->issuer.name) != 0)
        return 0;
    cJSON *o = cJSON_CreateObject(), *match = cJSON_Parse(r->match);
    json_put_str(o, "issuer", r->issuer.name);
    json_put_str(o, "url", r->issuer.url);
    json_put_str(o, "audience", r->issuer.audience);
    json_put_int(o, "rule", r->number);
    cJSON_AddItemToObject(o, "match", match ? match : cJSON_CreateObject());
    json_put_str(o, "subject", r->subject);
    put_scope(o, r->scope);
    json_put_str(o, "by", r->by);
    svc_put_time(o, "time", r->time_ns);
    cJSON_AddItemToArray(cJSON_GetObjectItem(c->reply, "rules"), o);
    return 0;
}

int
svc_do_issuer_list(struct svc_call *c, struct err *err)
{
    cJSON_AddArrayToObject(c->reply, "rules");
    return acc_issuer_rules(c->repo->acc, add_rule, c, err);
}

int
svc_do_issuer_remove(struct svc_call *c, struct err *err)
{
    const char *name = svc_str(c, "name");
    int64_t number = svc_int(c, "rule", 0);
    about(c, "issuer", name);
    if (db_begin(c->repo->db, err) < 0 ||
        acc_issuer_remove(c->repo->acc, name, number, err) < 0)
        return -(int)err->code;
    say(c, "issuer", name);
    json_put_int(c->reply, "rule", number);
    json_put_int(c->body, "rule", number);
    return svc_commit(c, err);
}
