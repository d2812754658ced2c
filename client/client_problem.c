/* SPDX-License-Identifier: Apache-2.0 */
/* An answer that is no success, as the error it was over there: the same text and code
 * as locally. What a front in between answers has no problem document; then the status
 * says what there is to say. */
#include "client/client_int.h"

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
    case 404:
        return ERR_NOTFOUND;
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

/* What to do, by the status alone. */
static const char *
way_out(const struct client *c, int status)
{
    if (status == 401)
        return !c->authorization ? "; $SLUICE_TOKEN or $SLUICE_TOKEN_FILE says who asks"
               : client_sends_token(c)
                   ? " (the token of $SLUICE_TOKEN or $SLUICE_TOKEN_FILE)"
                   : "; no token goes over plain HTTP that SLUICE_INSECURE lets out: "
                     "https://";
    if (status == 429)
        return "; try again later";
    if (status >= 500 && status != 501)
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
client_problem_set(const struct client *c, int status, const cJSON *doc,
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
    return status == 401 ? err_set(err, code, "%s: %s%s", c->place.text, buf_str(&text),
                                   way_out(c, status))
                         : err_set(err, code, "%s", buf_str(&text));
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
    (void)client_problem_set(c, a->status, doc, err);
    if (reply && cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(doc, "reply")))
        *reply = cJSON_DetachItemFromObjectCaseSensitive(doc, "reply");
    return -(int)err->code;
}
