/* SPDX-License-Identifier: Apache-2.0 */
/* The description of the service (OpenAPI 3.1), from routes.def and verbs.def. */
#include "server/srv_openapi.h"

#include "server/srv_reach.h"
#include "server/srv_verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM "#/components/schemas/Problem"

static void
put_ref(cJSON *o, const char *key, const char *ref)
{
    json_put_str(cJSON_AddObjectToObject(o, key), "$ref", ref);
}

/* ---- schemas ---- */

/* Values that show the form of a field, by the names that verbs.def uses; a list's
 * elements stand between bars. */
static const struct known {
    const char *verb, *field, *value; /* verb NULL: any */
} known[] = {
    { "weights", "ref", "fraud@production" },
    { "rollback", "ref", "fraud@production" },
    { "freeze", "ref", "fraud@production" },
    { "unfreeze", "ref", "fraud@production" },
    { "canary", "ref", "fraud@production" },
    { "ramp", "ref", "fraud@production" },
    { "drill", "ref", "fraud@production" },
    { "releases", "ref", "fraud@production" },
    { "route", "ref", "fraud@production" },
    { NULL, "ref", "fraud@3" },
    { NULL, "model", "fraud" },
    { "promote", "to", "production" },
    { NULL, "for", "production" },
    { NULL, "alias", "production" },
    { NULL, "a", "fraud@2" },
    { NULL, "b", "fraud@3" },
    { NULL, "verdict", "fraud@3" },
    { NULL, "reason", "ticket 4711" },
    { NULL, "key", "quarantine" },
    { NULL, "value", "on" },
    { "golden_show", "set", "fraud-quality" },
    { NULL, "user", "alice" },
    { NULL, "right", "promote" },
    { NULL, "on", "fraud" },
    { NULL, "host", "web-1" },
    { NULL, "state", "observed" },
    { NULL, "unit", "C123" },
    { NULL, "as", "compose" },
    { NULL, "type", "report" },
    { NULL, "name", "web" },
    { NULL, "text", "looked at it" },
    { NULL, "source", "prometheus:http://127.0.0.1:9090" },
    { "export", "args", "fraud@3|-" },
    { "weights", "parts", "2=90%|3=10%" },
    { "policy_set", "require_acceptance", "*" },
    { NULL, "tags", "stage=eval" },
    { NULL, "keys", "stage" },
    { NULL, "paths", "saved_model.pb" },
};

enum { N_KNOWN = sizeof known / sizeof known[0] };

static const char *
example_of(const struct svc_verb *verb, const struct svc_field *f)
{
    if (f->flags & SVC_IN)
        return "tree:sha256:"
               "0000000000000000000000000000000000000000000000000000000000000000";
    if (f->flags & SVC_OUT)
        return "tree:";
    for (size_t i = 0; i < N_KNOWN; i++)
        if (strcmp(known[i].field, f->name) == 0 &&
            (!known[i].verb || strcmp(known[i].verb, verb->name) == 0))
            return known[i].value;
    return f->name;
}

static cJSON *
field_schema(const struct svc_verb *verb, const struct svc_field *f)
{
    cJSON *o = cJSON_CreateObject();
    const char *rule = srv_reach_rule(verb, f);
    static const char *const types[] = {
        [SVC_STR] = "string",  [SVC_PATH] = "string",  [SVC_ANY] = "string",
        [SVC_INT] = "integer", [SVC_BOOL] = "boolean", [SVC_LIST] = "array"
    };
    json_put_str(o, "type", types[f->type]);
    json_put_str(o, "description", f->help);
    if (f->type == SVC_LIST) {
        json_put_str(cJSON_AddObjectToObject(o, "items"), "type", "string");
        json_put_int(o, "minItems", 1);
    }
    if (f->type == SVC_PATH && (f->flags & SVC_IN))
        json_put_str(o, "pattern",
                     rule && strcmp(rule, "VERB") == 0
                         ? "^(tree:sha256:[0-9a-fA-F]{64}(/.+)?$|manifest:)"
                         : "^tree:sha256:[0-9a-fA-F]{64}(/.+)?$");
    if (f->type == SVC_PATH && (f->flags & SVC_OUT))
        json_put_str(o, "const", "tree:");
    if (rule)
        json_put_str(o, "x-sluice-reach", rule);
    return o;
}

static void
put_list(cJSON *to, const char *text)
{
    while (*text) {
        const size_t n = strcspn(text, "|");
        char *one AUTO(free_ptr) = xstrndup(text, n);
        json_put_str(to, NULL, one);
        text += n + (text[n] == '|');
    }
}

/* What people give without a flag makes an example, and what the verb is named for. */
static bool
is_shown(const struct svc_verb *verb, const struct svc_field *f)
{
    bool is = (f->flags & (SVC_REQUIRED | SVC_POSITIONAL | SVC_REST)) != 0;
    for (size_t i = 0; i < N_KNOWN; i++)
        is |= known[i].verb && strcmp(known[i].verb, verb->name) == 0 &&
              strcmp(known[i].field, f->name) == 0;
    return is;
}

static void
put_example(cJSON *to, const struct svc_verb *verb, const struct svc_field *f)
{
    if (f->type == SVC_INT)
        json_put_int(to, f->name, 1);
    else if (f->type == SVC_BOOL)
        json_put_bool(to, f->name, true);
    else if (f->type == SVC_LIST)
        put_list(cJSON_AddArrayToObject(to, f->name), example_of(verb, f));
    else
        json_put_str(to, f->name, example_of(verb, f));
}

static void
put_request(cJSON *op, const struct svc_verb *verb)
{
    cJSON *body = cJSON_AddObjectToObject(op, "requestBody");
    cJSON *json = cJSON_AddObjectToObject(cJSON_AddObjectToObject(body, "content"),
                                          "application/json");
    cJSON *schema = cJSON_AddObjectToObject(json, "schema");
    cJSON *required = cJSON_CreateArray();
    cJSON *example = cJSON_AddObjectToObject(json, "example");
    json_put_str(schema, "type", "object");
    json_put_bool(schema, "additionalProperties", false);
    cJSON *properties = cJSON_AddObjectToObject(schema, "properties");
    for (int i = 0; i < verb->n_fields; i++) {
        const struct svc_field *f = &verb->fields[i];
        cJSON_AddItemToObject(properties, f->name, field_schema(verb, f));
        if (f->flags & SVC_REQUIRED)
            json_put_str(required, NULL, f->name);
        if (is_shown(verb, f))
            put_example(example, verb, f);
    }
    json_put_bool(body, "required", required->child != NULL);
    if (required->child)
        cJSON_AddItemToObject(schema, "required", required);
    else
        cJSON_Delete(required);
}

/* ---- operations ---- */

static cJSON *
parameter(const char *name, const char *in, bool required, const char *help,
          cJSON *schema)
{
    cJSON *p = cJSON_CreateObject();
    json_put_str(p, "name", name);
    json_put_str(p, "in", in);
    json_put_bool(p, "required", required);
    json_put_str(p, "description", help);
    cJSON_AddItemToObject(p, "schema", schema);
    return p;
}

static cJSON *
schema_of(const char *type)
{
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "type", type);
    return o;
}

static void
put_responses(cJSON *op, const char *const types[], int n)
{
    cJSON *all = cJSON_AddObjectToObject(op, "responses");
    cJSON *good = cJSON_AddObjectToObject(all, "200");
    cJSON *bad = cJSON_AddObjectToObject(all, "default");
    json_put_str(good, "description", "done");
    cJSON *content = cJSON_AddObjectToObject(good, "content");
    for (int i = 0; i < n; i++) {
        cJSON *media = cJSON_AddObjectToObject(content, types[i]);
        if (strcmp(types[i], "application/json") == 0)
            json_put_str(cJSON_AddObjectToObject(media, "schema"), "type", "object");
        else
            cJSON_AddObjectToObject(media, "schema");
    }
    json_put_str(bad, "description",
                 "a problem: RFC 9457, with the command's exit code");
    put_ref(cJSON_AddObjectToObject(cJSON_AddObjectToObject(bad, "content"),
                                    "application/problem+json"),
            "schema", PROBLEM);
}

/* A verb that a route of its own answers GET for; that takes the verb's fields alone.
 */
static bool
has_route(const char *verb)
{
    for (int i = 0; i < srv_n_routes(); i++)
        if (strcmp(srv_route_at(i)->name, verb) == 0)
            return true;
    return false;
}

static cJSON *
verb_operation(const struct svc_verb *verb, bool is_get)
{
    cJSON *op = cJSON_CreateObject();
    cJSON *with = cJSON_CreateArray();
    cJSON *none AUTO(json_free) = cJSON_CreateObject();
    char *id AUTO(free_ptr) = xasprintf("%s%s", verb->name, is_get ? "_get" : "");
    const bool bytes =
        strcmp(verb->name, "cat") == 0 || strcmp(verb->name, "export") == 0;
    static const char *const types[] = { "application/json", "text/event-stream",
                                         "application/octet-stream" };
    json_put_str(op, "operationId", id);
    json_put_str(op, "summary", verb->help);
    json_put_str(op, "x-sluice-right",
                 verb->right == ACC_NONE ? "none" : acc_right_text(verb->right));
    for (int i = 0; is_get && i < verb->n_fields; i++) {
        const struct svc_field *f = &verb->fields[i];
        cJSON_AddItemToArray(with, parameter(f->name, "query", f->flags & SVC_REQUIRED,
                                             f->help, field_schema(verb, f)));
        if (is_shown(verb, f)) {
            cJSON *p = cJSON_GetArrayItem(with, cJSON_GetArraySize(with) - 1);
            put_example(none, verb, f);
            cJSON *v = cJSON_DetachItemFromObject(none, f->name);
            cJSON_AddItemToObject(p, "example", v);
        }
    }
    if (!is_get && svc_find_field(verb, "idempotency_key"))
        cJSON_AddItemToArray(with,
                             parameter("Idempotency-Key", "header", false,
                                       "the same call with the same key happens once",
                                       schema_of("string")));
    if (!is_get && svc_find_field(verb, "expect"))
        cJSON_AddItemToArray(
            with, parameter("If-Match", "header", false,
                            "only while the alias has this ETag, as resolve gives it",
                            schema_of("string")));
    if (verb->right == ACC_READ && !(is_get && has_route(verb->name))) {
        cJSON_AddItemToArray(with, parameter("page_size", "query", false,
                                             "at most so many of the reply's main list",
                                             schema_of("integer")));
        cJSON_AddItemToArray(with, parameter("page_token", "query", false,
                                             "next_page_token of the page before",
                                             schema_of("string")));
    }
    if (with->child)
        cJSON_AddItemToObject(op, "parameters", with);
    else
        cJSON_Delete(with);
    if (!is_get)
        put_request(op, verb);
    put_responses(op, bytes ? types + 2 : types, bytes ? 1 : 2);
    return op;
}

static void
add_verb(cJSON *paths, const struct svc_verb *verb)
{
    char *path AUTO(free_ptr) = xasprintf("/api/v1/%s", verb->name);
    for (char *p = path + sizeof "/api/v1/" - 1; *p; p++)
        if (*p == '_')
            *p = '/';
    cJSON *item = cJSON_AddObjectToObject(paths, path);
    if (srv_reach_reads(verb))
        cJSON_AddItemToObject(item, "get", verb_operation(verb, true));
    cJSON_AddItemToObject(item, "post", verb_operation(verb, false));
}

/* What routes that are no verbs take in the query. */
static const struct in_query {
    const char *route, *name, *type, *help;
    bool required;
} in_query[] = {
    { "upload_part", "offset", "integer", "where in the file the bytes begin", false },
    { "file", "ref", "string", "a version: fraud@production, fraud@3", true },
    { "file", "path", "string", "one of its files: saved_model.pb", true },
};

static void
add_route(cJSON *paths, const struct srv_route *r)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    char method[8] = "";
    static const char *const any[] = { "*/*" };
    cJSON *op = cJSON_CreateObject(), *with = cJSON_CreateArray();
    for (size_t i = 0; r->method[i] && i + 1 < sizeof method; i++)
        method[i] = (char)(r->method[i] | 0x20);
    for (const char *p = r->path; *p; p++) {
        if (*p != '.' || strncmp(p, "...", 3) != 0)
            buf_addc(&path, *p);
        else
            p += 2; /* {rest...} */
        if (*p == '{') {
            char *name AUTO(free_ptr) = xstrndup(p + 1, strcspn(p + 1, "}."));
            cJSON_AddItemToArray(with,
                                 parameter(name, "path", true, "a part of the path",
                                           schema_of("string")));
        }
    }
    for (size_t i = 0; i < sizeof in_query / sizeof in_query[0]; i++) {
        const struct in_query *p = &in_query[i];
        if (strcmp(p->route, r->name) == 0)
            cJSON_AddItemToArray(with, parameter(p->name, "query", p->required, p->help,
                                                 schema_of(p->type)));
    }
    char *id AUTO(free_ptr) = xasprintf("route_%s", r->name);
    json_put_str(op, "operationId", id);
    json_put_str(op, "summary", r->help);
    if (with->child)
        cJSON_AddItemToObject(op, "parameters", with);
    else
        cJSON_Delete(with);
    if (r->streams || strcmp(r->method, "POST") == 0 || strcmp(r->method, "PUT") == 0)
        cJSON_AddObjectToObject(
            cJSON_AddObjectToObject(
                cJSON_AddObjectToObject(cJSON_AddObjectToObject(op, "requestBody"),
                                        "content"),
                r->streams ? "application/octet-stream" : "application/json"),
            "schema");
    if (r->access == SRV_OPEN)
        cJSON_AddArrayToObject(op, "security");
    put_responses(op, any, 1);
    cJSON *item = cJSON_GetObjectItemCaseSensitive(paths, buf_str(&path));
    if (!item)
        item = cJSON_AddObjectToObject(paths, buf_str(&path));
    if (json_has(item, method))
        cJSON_Delete(op);
    else
        cJSON_AddItemToObject(item, method, op);
}

/* ---- the whole ---- */

static void
put_problem(cJSON *schemas)
{
    static const struct {
        const char *name, *type, *help;
    } all[] = {
        { "type", "string", "urn:sluice:error: and the code" },
        { "title", "string", "the code" },
        { "status", "integer", "of the answer" },
        { "detail", "string", "what a person wants to know" },
        { "exit_code", "integer", "how the command ends" },
        { "code", "string", "for programs" },
        { "instance", "string", "X-Request-Id" },
        { "reply", "object", "what the verb had to say all the same: gates, verdicts" },
    };
    cJSON *p = cJSON_AddObjectToObject(schemas, "Problem");
    json_put_str(p, "type", "object");
    cJSON *members = cJSON_AddObjectToObject(p, "properties");
    cJSON *required = cJSON_AddArrayToObject(p, "required");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        cJSON *m = cJSON_AddObjectToObject(members, all[i].name);
        json_put_str(m, "type", all[i].type);
        json_put_str(m, "description", all[i].help);
        if (strcmp(all[i].name, "reply") != 0)
            json_put_str(required, NULL, all[i].name);
    }
    cJSON *codes = cJSON_AddArrayToObject(cJSON_GetObjectItem(members, "code"), "enum");
    for (int c = ERR_INVALID; c <= ERR_BUSY; c++)
        json_put_str(codes, NULL, err_name((enum err_code)c));
}

/* It answers for a verb, which describes it. */
static bool
is_of_verb(const struct srv_route *r)
{
    static const char top[] = "/api/v1/";
    return strncmp(r->path, top, sizeof top - 1) == 0 &&
           (r->path[sizeof top - 1] == '{' || srv_verb_find(r->path + sizeof top - 1));
}

cJSON *
srv_openapi(void)
{
    cJSON *doc = cJSON_CreateObject();
    json_put_str(doc, "openapi", "3.1.0");
    cJSON *info = cJSON_AddObjectToObject(doc, "info");
    json_put_str(info, "title", "Sluice");
    json_put_str(info, "version", SLUICE_VERSION);
    json_put_str(
        info, "description",
        "The verbs of a store of models. Paths of the caller's travel as trees: "
        "docs/service.md.");
    cJSON *server = cJSON_CreateObject();
    json_put_str(server, "url", "/");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(doc, "servers"), server);
    cJSON *need = cJSON_CreateObject();
    cJSON_AddArrayToObject(need, "token");
    cJSON *security = cJSON_AddArrayToObject(doc, "security");
    cJSON_AddItemToArray(security, need);
    cJSON_AddItemToArray(security, cJSON_CreateObject()); /* kernel, certificate */
    cJSON *paths = cJSON_AddObjectToObject(doc, "paths");
    cJSON *here = cJSON_AddObjectToObject(doc, "x-sluice-not-carried");
    for (int i = 0; i < srv_n_routes(); i++)
        if (!is_of_verb(srv_route_at(i)))
            add_route(paths, srv_route_at(i));
    for (int i = 0; i < svc_n_verbs(); i++) {
        const struct svc_verb *v = svc_verb_at(i);
        if (srv_reach_here(v))
            json_put_str(here, v->name, srv_reach_here(v));
        else
            add_verb(paths, v);
    }
    cJSON *components = cJSON_AddObjectToObject(doc, "components");
    put_problem(cJSON_AddObjectToObject(components, "schemas"));
    cJSON *token = cJSON_AddObjectToObject(
        cJSON_AddObjectToObject(components, "securitySchemes"), "token");
    json_put_str(token, "type", "http");
    json_put_str(token, "scheme", "bearer");
    return doc;
}

int
srv_do_openapi(struct srv_req *q, struct err *err)
{
    (void)err;
    cJSON *doc AUTO(json_free) = srv_openapi();
    return srv_reply_json(q, 200, doc);
}
