/* SPDX-License-Identifier: Apache-2.0 */
/* envoy.yaml: the routes of the models, for Envoy's RDS from a file. Envoy draws the
 * version by weight, and cannot rewrite the path by what it drew: so a request of a
 * model with several versions passes its listener twice. First the version is drawn and
 * put into a header, then that header says how the path is rewritten. A copy (mirror)
 * comes back under a host that ends with "-shadow". */
#include "deploy/layout.h"

#include <inttypes.h>
#include <string.h>

#define VERSION_HEADER "x-sluice-version"

/* How a server is asked by HTTP. */
struct http {
    const char *models; /* "/v1/models/" */
    const char *calls;  /* what may stand after a model's name */
};

static struct http
http_of(const struct deploy_target *t)
{
    if (strcmp(t->layout, "triton") == 0)
        return (struct http){ "/v2/models/", "(/infer|/config|/ready|/stats)?" };
    return (struct http){ "/v1/models/", "(:[A-Za-z]+|/metadata)?" };
}

/* An encoded name as a regular expression: of its characters only "." means more. */
static void
add_name(struct buf *out, const char *model)
{
    struct buf name AUTO(buf_release) = BUF_INIT;

    repo_name_encode(model, &name);
    for (size_t i = 0; i < name.len; i++)
        buf_addf(out, name.data[i] == '.' ? "[%c]" : "%c", name.data[i]);
}

/* `versions`: a path that names a version is matched too. */
static void
add_match(struct buf *out, const struct http *http, const char *model, bool versions)
{
    buf_addf(out, "    - match:\n        safe_regex: { regex: '%s", http->models);
    add_name(out, model);
    buf_addf(out, "%s%s' }\n", versions ? "(/versions/[0-9]+)?" : "", http->calls);
}

static void
add_server(struct buf *out, const struct http *http, const char *model, int64_t number,
           bool versions)
{
    buf_addf(out,
             "      route:\n"
             "        cluster: server\n"
             "        regex_rewrite:\n"
             "          pattern: { regex: '^%s",
             http->models);
    add_name(out, model);
    buf_addf(out, "%s' }\n          substitution: '%s",
             versions ? "(/versions/[0-9]+)?" : "", http->models);
    repo_name_encode(model, out);
    buf_addf(out, "/versions/%" PRId64 "'\n", number);
}

/* The second pass: a version that was drawn. */
static void
add_drawn(struct buf *out, const struct http *http, const char *model, int64_t number)
{
    add_match(out, http, model, false);
    buf_addf(out,
             "        headers:\n"
             "        - { name: " VERSION_HEADER ", string_match: { exact: \"%" PRId64
             "\" } }\n",
             number);
    add_server(out, http, model, number, false);
    buf_adds(out, "      request_headers_to_remove: [" VERSION_HEADER "]\n");
}

static void
add_draw(struct buf *out, const struct deploy_release *rel)
{
    buf_adds(out, "      route:\n"
                  "        weighted_clusters:\n"
                  "          clusters:\n");
    for (int i = 0; i < rel->n_members; i++)
        buf_addf(out,
                 "          - name: itself\n"
                 "            weight: %d\n"
                 "            request_headers_to_add:\n"
                 "            - header: { key: " VERSION_HEADER ", value: \"%" PRId64
                 "\" }\n"
                 "              append_action: OVERWRITE_IF_EXISTS_OR_ADD\n",
                 rel->members[i].weight, rel->members[i].number);
}

static void
add_model(struct buf *out, const struct http *http, const struct deploy_release *rel)
{
    const struct deploy_member *mirror = deploy_mirror(rel);

    for (int i = 0; rel->n_members > 1 && i < rel->n_members; i++)
        add_drawn(out, http, rel->model, rel->members[i].number);
    add_match(out, http, rel->model, false);
    if (rel->n_members > 1)
        add_draw(out, rel);
    else
        add_server(out, http, rel->model, rel->members[0].number, false);
    if (mirror)
        buf_addf(
            out,
            "        request_mirror_policies:\n"
            "        - cluster: itself\n"
            "          runtime_fraction:\n"
            "            default_value: { numerator: %d, denominator: TEN_THOUSAND "
            "}\n",
            mirror->mirror);
}

/* Copies have a host of their own. */
static void
add_copies(struct buf *out, const struct http *http,
           const struct deploy_release *const *live, int n)
{
    bool any = false;

    for (int i = 0; i < n; i++) {
        const struct deploy_member *mirror = deploy_mirror(live[i]);

        if (!mirror)
            continue;
        if (!any)
            buf_adds(out, "  - name: copies\n"
                          "    domains: [\"*-shadow\"]\n"
                          "    routes:\n");
        any = true;
        add_match(out, http, live[i]->model, true);
        add_server(out, http, live[i]->model, mirror->number, true);
        buf_adds(out, "      request_headers_to_remove: [" VERSION_HEADER "]\n");
    }
}

void
layout_envoy(const struct deploy_target *t, const struct deploy_release *const *live,
             int n, struct buf *out)
{
    const struct http http = http_of(t);

    buf_addf(
        out,
        "# Rendered by sluice for target %s; changes are overwritten.\n"
        "#\n"
        "# THE SPLIT CANNOT BE RECOMPUTED: Envoy draws a version at random for each\n"
        "# request. A customer has no version of its own, and what `sluice route` "
        "says\n"
        "# does not hold here. Shares and copies are right on average only.\n"
        "#\n"
        "# Routes for Envoy's RDS from a file, of HTTP calls that name no version. "
        "Needs\n"
        "# two clusters: `server`, the server's HTTP port, and `itself`, the listener "
        "that\n"
        "# has these routes: sluice target render %s --as envoy\n"
        "resources:\n"
        "- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
        "  name: sluice\n"
        "  ignore_port_in_host_matching: true\n"
        "  virtual_hosts:\n",
        t->name, t->name);
    add_copies(out, &http, live, n);
    buf_addf(out,
             "  - name: models\n"
             "    domains: [\"*\"]\n"
             "    routes:%s\n",
             n == 0 ? " []" : "");
    for (int i = 0; i < n; i++)
        add_model(out, &http, live[i]);
}
