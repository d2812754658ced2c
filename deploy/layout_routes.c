/* SPDX-License-Identifier: Apache-2.0 */
/* What splits traffic between versions, rendered for a program and for nginx. Both say
 * what deploy_split.h does. They carry no release number: a release that means what an
 * earlier one meant has its files. */
#include "deploy/deploy_split.h"
#include "deploy/layout.h"

#include "base/crypto.h"
#include "base/json.h"

#include <inttypes.h>
#include <string.h>

/* ---- routes.json --------------------------------------------------------------------
 */

static void
add_mirror_json(const struct deploy_release *rel, cJSON *to)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };
    const struct deploy_member *m = deploy_mirror(rel);
    cJSON *o;

    if (!m)
        return;
    deploy_split_init_mirror(&s, rel);
    o = cJSON_AddObjectToObject(to, "mirror");
    json_put_int(o, "version", m->number);
    json_put_int(o, "share", m->mirror);
    json_put_int(o, "below", (int64_t)s.below[0]);
    json_put_str(o, "salt", buf_str(&s.salt));
}

static cJSON *
route_json(const struct deploy_release *rel)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };
    cJSON *m = cJSON_CreateObject(), *versions;

    deploy_split_init(&s, rel);
    json_put_str(m, "name", rel->model);
    json_put_int(m, "latest", rel->latest);
    json_put_int(m, "stable", rel->members[0].number);
    json_put_str(m, "salt", buf_str(&s.salt));
    versions = cJSON_AddArrayToObject(m, "versions");
    for (int i = 0; i < rel->n_members; i++) {
        cJSON *v = cJSON_CreateObject();

        json_put_int(v, "version", rel->members[i].number);
        json_put_int(v, "weight", rel->members[i].weight);
        json_put_int(v, "below", (int64_t)s.below[i]);
        cJSON_AddItemToArray(versions, v);
    }
    add_mirror_json(rel, m);
    return m;
}

void
layout_routes_json(const struct deploy_target *t,
                   const struct deploy_release *const *live, int n, struct buf *out)
{
    cJSON *doc AUTO(json_free) = cJSON_CreateObject();
    cJSON *models;

    json_put_int(doc, "routes", 1);
    json_put_str(doc, "alias", t->alias);
    json_put_str(doc, "hash", "murmur2-32");
    models = cJSON_AddArrayToObject(doc, "models");
    for (int i = 0; i < n; i++)
        cJSON_AddItemToArray(models, route_json(live[i]));
    json_print(doc, out, false);
}

/* ---- nginx --------------------------------------------------------------------------
 */

/* nginx makes no table of variables with names of more than 46 bytes unless it is told
 * to; "sluice_" and "_split" take 13 of them. */
#define VARIABLE_MAX_BYTES 33
#define MIRROR_BYTES 7 /* "_mirror" */
#define VARIABLE_HASH_BYTES 16

/* nginx's names of variables have no case: what is neither a digit nor a small letter
 * becomes "_" and two hex digits. A name that gets too long is cut and told from others
 * by its hash. */
static void
add_variable(struct buf *out, const char *model, int max_bytes)
{
    struct buf name AUTO(buf_release) = BUF_INIT;
    struct digest d;
    char hex[DIGEST_HEX_BYTES];

    for (const char *p = model; *p; p++) {
        const unsigned char c = (unsigned char)*p;

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            buf_addc(&name, (char)c);
        else
            buf_addf(&name, "_%02x", c);
    }
    if (name.len <= (size_t)max_bytes) {
        buf_addf(out, "sluice_%s", buf_str(&name));
        return;
    }
    sha256_of(model, strlen(model), &d);
    digest_hex(&d, hex);
    buf_addf(out, "sluice_%.*s_x%.*s", max_bytes - VARIABLE_HASH_BYTES - 5,
             buf_str(&name), VARIABLE_HASH_BYTES, hex);
}

void
layout_nginx_variable(const char *model, bool mirror, struct buf *out)
{
    add_variable(out, model, VARIABLE_MAX_BYTES - (mirror ? MIRROR_BYTES : 0));
    buf_adds(out, mirror ? "_mirror" : "");
}

static void
add_split(const struct deploy_release *rel, struct buf *out)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };
    struct buf var AUTO(buf_release) = BUF_INIT;
    const char *who, *name;
    int i = 0;

    deploy_split_init(&s, rel);
    layout_nginx_variable(rel->model, false, &var);
    name = buf_str(&var);
    who = buf_str(&s.salt) + 1; /* MODEL@ALIAS, encoded: nothing in it needs quoting */
    buf_addf(out,
             "\n# %s: $%s\n"
             "split_clients \"${sluice_unit}:%s\" $%s_split {\n",
             who, name, who, name);
    for (; i < rel->n_members - 1; i++)
        buf_addf(out, "    %d.%02d%% \"%" PRId64 "\";\n", rel->members[i].weight / 100,
                 rel->members[i].weight % 100, rel->members[i].number);
    buf_addf(out,
             "    * \"%" PRId64 "\";\n"
             "}\n"
             "map $sluice_unit $%s {\n"
             "    \"\" \"%" PRId64 "\";\n"
             "    default $%s_split;\n"
             "}\n",
             rel->members[i].number, name, rel->members[0].number, name);
    buf_addf(out,
             "log_format %s escape=json '{\"time\":\"$time_iso8601\",\"alias\":\"%s\","
             "\"unit\":\"$sluice_unit\",\"version\":$%s,'\n"
             "    '\"status\":$status,\"seconds\":$request_time,"
             "\"upstream_seconds\":\"$upstream_response_time\","
             "\"request\":\"$request\"}';\n",
             name, who, name);
}

/* Also when nothing is mirrored: a server's own files may name the variable. */
static void
add_mirror(const struct deploy_release *rel, struct buf *out)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };
    struct buf var AUTO(buf_release) = BUF_INIT;
    const struct deploy_member *m = deploy_mirror(rel);
    const char *who, *name;

    deploy_split_init_mirror(&s, rel);
    layout_nginx_variable(rel->model, true, &var);
    name = buf_str(&var);
    who = buf_str(&s.salt) + 1;
    buf_addf(out, "# %s: $%s\n", who, name);
    if (!m) {
        buf_addf(out, "map \"\" $%s {\n    default \"\";\n}\n", name);
        return;
    }
    buf_addf(out,
             "split_clients \"${sluice_unit}:%s\" $%s_split {\n"
             "    %d.%02d%% \"%" PRId64 "\";\n"
             "    * \"\";\n"
             "}\n"
             "map $sluice_unit $%s {\n"
             "    \"\" \"\";\n"
             "    default $%s_split;\n"
             "}\n",
             who, name, m->mirror / 100, m->mirror % 100, m->number, name, name);
}

void
layout_routes_nginx(const struct deploy_release *const *live, int n, struct buf *out)
{
    buf_adds(out,
             "# Rendered by sluice; changes are overwritten. For nginx's http { }:\n"
             "#     map $http_x_unit $sluice_unit { default $http_x_unit; }\n"
             "#     include TARGET/config/nginx.conf;\n"
             "# $sluice_unit is what a visitor keeps: an id, a cookie. Without one "
             "it is the stable version's.\n"
             "# The variable of a model is its version, its log format has the "
             "same name;\n"
             "# with _mirror: the version that gets a copy, or nothing.\n");
    for (int i = 0; i < n; i++) {
        add_split(live[i], out);
        add_mirror(live[i], out);
    }
}
