/* SPDX-License-Identifier: Apache-2.0 */
/* An answer that is no success, as the error it was over there: the same text and code
 * as locally. What a front in between answers has no problem document; then the status
 * says what there is to say. */
#include "client/client_int.h"

#include "access/identity.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

static enum err_code
code_of_name(const char *name)
{
    static const enum err_code codes[] = {
#define ERR_CODE(name, exit_status, meaning) ERR_##name,
#include "base/err.def"
#undef ERR_CODE
    };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(err_name(codes[i]), name) == 0)
            return codes[i];
    return ERR_OK;
}

/* A newer server may have codes of its own; its exit status is known. */
static enum err_code
code_of_exit(int exit_status)
{
    static const enum err_code codes[] = { ERR_FAILED,   ERR_USAGE,   ERR_CONFLICT,
                                           ERR_CORRUPT,  ERR_REFUSED, ERR_DENIED,
                                           ERR_NOTFOUND, ERR_PENDING, ERR_BUSY };

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (err_exit_status(codes[i]) == exit_status)
            return codes[i];
    return ERR_FAILED;
}

static enum err_code
code_of_status(int status)
{
    switch (status) {
    case 401:
    case 403:
        return ERR_DENIED;
    case 404: /* a Sluice says of what */
        return ERR_INVALID;
    case 409:
    case 412:
        return ERR_CONFLICT;
    case 413:
    case 431:
        return ERR_LIMIT;
    case 405:
    case 501:
        return ERR_UNSUPPORTED;
    default:
        return status == 429 || status >= 500 ? ERR_BUSY : ERR_INVALID;
    }
}

/* What a CI job shows says of itself: a rule is held against this. It is public. */
static void
add_claims(const char *jwt, struct buf *out)
{
    static const char *const names[] = { "iss", "aud", "sub" };
    struct acc_jwt t AUTO(acc_jwt_release) = { .header = NULL };
    struct err why = ERR_INIT;

    if (acc_jwt_parse(str_of(jwt), &t, &why) < 0) {
        buf_addf(out, " (%s)", why.msg);
        err_clear(&why);
        return;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(t.claims, names[i]);

        v = cJSON_IsArray(v) ? v->child : v;
        buf_addf(out, "%s%s %.300s", i ? ", " : " (it says: ", names[i],
                 cJSON_IsString(v) ? v->valuestring : "nothing");
    }
    const cJSON *exp = cJSON_GetObjectItemCaseSensitive(t.claims, "exp");
    const double left =
        cJSON_IsNumber(exp) ? exp->valuedouble - (double)clock_now_ns() / 1e9 : 0;
    buf_addf(out, left > 0 ? "; it ends in %.0f s)" : "; it ended %.0f s ago)",
             left > 0 ? left : -left);
}

/* What to do, by the status alone. */
static const char *
way_out(const struct client *c, int status)
{
    if (status == 401)
        return !c->authorization
                   ? "; $SLUICE_TOKEN or $SLUICE_TOKEN_FILE, or a client certificate "
                     "($SLUICE_CERT), says who asks"
               : client_sends_token(c)
                   ? " (the token of $SLUICE_TOKEN or $SLUICE_TOKEN_FILE)"
                   : "; no token goes over plain HTTP that SLUICE_INSECURE lets out: "
                     "https://";
    if (status == 404 || status == 405 || status == 501)
        return ": no Sluice is there; is the address right?";
    if (status == 429)
        return "; try again later";
    if (status >= 500)
        return "; try again";
    if (status / 100 == 3)
        return "; redirects are not followed: use the address itself";
    return "";
}

static int
no_problem(const struct client *c, const struct client_answer *a, struct err *err)
{
    char *location AUTO(free_ptr) = client_answer_header(a, "location");

    if (a->status / 100 == 3 && location)
        return err_set(err, ERR_INVALID, "%s: it answers %d: go to %.300s%s",
                       c->place.text, a->status, location, way_out(c, a->status));
    return err_set(err, code_of_status(a->status), "%s: it answers %d%s", c->place.text,
                   a->status, way_out(c, a->status));
}

int
client_problem_set(const struct client *c, int status, cJSON *doc, cJSON **reply,
                   struct err *err)
{
    const cJSON *exit_code = cJSON_GetObjectItemCaseSensitive(doc, "exit_code");
    const char *name =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "code"));
    const char *detail =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "detail"));
    const char *title =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "title"));
    enum err_code code = name ? code_of_name(name) : ERR_OK;
    struct buf text AUTO(buf_release) = { .cap_bytes = ERR_MSG_BYTES };

    if (reply && cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(doc, "reply")))
        *reply = cJSON_DetachItemFromObjectCaseSensitive(doc, "reply");
    if (code == ERR_OK)
        code = cJSON_IsNumber(exit_code) && exit_code->valuedouble >= 0 &&
                       exit_code->valuedouble < 256
                   ? code_of_exit((int)exit_code->valuedouble)
                   : code_of_status(status);
    /* What a peer says goes to a terminal: one line, and those of a list. */
    for (const char *p = detail ? detail : title ? title : "it says no more"; *p; p++)
        buf_addc(&text, *p == '\n' && p[1] == ' ' && p[2] == ' ' ? '\n'
                        : (unsigned char)*p < ' ' || *p == 127   ? ' '
                                                                 : *p);
    if (status == 404 && strncmp(buf_str(&text), "there is nothing at ", 20) == 0)
        code = ERR_INVALID; /* not that what was asked for is not there */
    if (status != 401)
        return err_set(err, code, "%s%s", buf_str(&text),
                       code == ERR_INVALID && status == 404
                           ? "; is the path of --server right?"
                           : "");
    const char *jwt = c->authorization ? strstr(c->authorization, " eyJ") : NULL;
    struct buf claims AUTO(buf_release) = { .cap_bytes = ERR_MSG_BYTES };
    if (jwt)
        add_claims(jwt + 1, &claims);
    for (size_t i = 0; i < claims.len; i++) /* to a terminal, too */
        if ((unsigned char)claims.data[i] < ' ' || claims.data[i] == 127)
            claims.data[i] = ' ';
    return err_set(err, code, "%s: %s%s%s", c->place.text, buf_str(&text),
                   way_out(c, status), buf_str(&claims));
}

int
client_problem(const struct client *c, const struct client_answer *a, cJSON **reply,
               struct err *err)
{
    struct err why = ERR_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    char *type AUTO(free_ptr) = client_answer_header(a, "content-type");

    if (reply)
        *reply = NULL;
    if (!type || strncmp(type, "application/problem+json", 24) != 0 ||
        json_parse(&doc, (struct str){ buf_str(&a->body), a->body.len }, "its answer",
                   &why) < 0 ||
        !cJSON_IsObject(doc)) {
        err_clear(&why);
        return no_problem(c, a, err);
    }
    return client_problem_set(c, a->status, doc, reply, err);
}

int
client_ask_ok(struct client *c, const struct client_ask *ask, struct client_answer *out,
              struct err *err)
{
    if (client_ask(c, ask, out, err) < 0)
        return -(int)err->code;
    return out->status / 100 == 2 ? 0 : client_problem(c, out, NULL, err);
}

int
client_ask_json(struct client *c, const struct client_ask *ask, cJSON **reply,
                struct err *err)
{
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };

    if (client_ask_ok(c, ask, &a, err) < 0)
        return -(int)err->code;
    return json_parse(reply, (struct str){ buf_str(&a.body), a.body.len }, "its answer",
                      err);
}
