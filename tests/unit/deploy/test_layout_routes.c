/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "deploy/layout.h"
#include "tests/unit/unit.h"

#include <stdio.h>

static const struct deploy_release fraud = {
    .model = "fraud",
    .alias = "production",
    .members = { { 9, 9, 8995, "stable" }, { 11, 10, 1005, "canary" } },
    .n_members = 2,
    .latest = 9,
};

static void
render_nginx(const char *model, struct buf *out)
{
    struct deploy_release rel = fraud;
    const struct deploy_release *const live[] = { &rel };

    snprintf(rel.model, sizeof(rel.model), "%s", model);
    layout_routes_nginx(live, 1, out);
}

TEST(test_layout_routes__nginx)
{
    struct buf out AUTO(buf_release) = BUF_INIT;

    render_nginx("fraud", &out);
    CHECK_STR(
        strstr(buf_str(&out), "\n# fraud"),
        "\n# fraud@production: $sluice_fraud\n"
        "split_clients \"${sluice_unit}:fraud@production\" $sluice_fraud_split {\n"
        "    89.95% \"9\";\n"
        "    * \"10\";\n"
        "}\n"
        "map $sluice_unit $sluice_fraud {\n"
        "    \"\" \"9\";\n"
        "    default $sluice_fraud_split;\n"
        "}\n"
        "log_format sluice_fraud escape=json '{\"time\":\"$time_iso8601\","
        "\"alias\":\"fraud@production\",\"unit\":\"$sluice_unit\","
        "\"version\":$sluice_fraud,'\n"
        "    '\"status\":$status,\"seconds\":$request_time,"
        "\"upstream_seconds\":\"$upstream_response_time\","
        "\"request\":\"$request\"}';\n"
        "# fraud@production:mirror: $sluice_fraud_mirror\n"
        "map \"\" $sluice_fraud_mirror {\n"
        "    default \"\";\n"
        "}\n");
}

TEST(test_layout_routes__mirror)
{
    char dir[] = "/srv/models";
    const struct deploy_target t = { .name = "web", .dir = dir, .alias = "production" };
    struct deploy_release rel = fraud;
    const struct deploy_release *const live[] = { &rel };
    struct buf nginx AUTO(buf_release) = BUF_INIT, json AUTO(buf_release) = BUF_INIT;

    rel.kept[rel.n_kept++] = (struct deploy_member){ 12, 11, 0, "", 505 };
    layout_routes_nginx(live, 1, &nginx);
    CHECK_STR(strstr(buf_str(&nginx), "# fraud@production:mirror"),
              "# fraud@production:mirror: $sluice_fraud_mirror\n"
              "split_clients \"${sluice_unit}:fraud@production:mirror\" "
              "$sluice_fraud_mirror_split {\n"
              "    5.05% \"11\";\n"
              "    * \"\";\n"
              "}\n"
              "map $sluice_unit $sluice_fraud_mirror {\n"
              "    \"\" \"\";\n"
              "    default $sluice_fraud_mirror_split;\n"
              "}\n");
    layout_routes_json(&t, live, 1, &json);
    CHECK(strstr(buf_str(&json), "\"below\": 216895848,") != NULL);
    CHECK(strstr(buf_str(&json), "\"salt\": \":fraud@production:mirror\"") != NULL);
}

/* nginx takes capitals and small letters of a variable for the same, and refuses long
 * names. */
TEST(test_layout_routes__variables)
{
    static const struct {
        const char *model, *variable;
    } cases[] = {
        { "fraud", "$sluice_fraud\n" },
        { "Fraud", "$sluice__46raud\n" },
        { "fraud-2", "$sluice_fraud_2d2\n" },
        { "a \"b\\\n\xc3\xa9", "$sluice_a_20_22b_5c_0a_c3_a9\n" },
        { "a23456789012345678901234567890123",
          "$sluice_a23456789012345678901234567890123\n" },
        { "a23456789012345678901234567", "$sluice_a2345_x5178fb7e15018bd5_mirror\n" },
        { "a234567890123456789012345678901234",
          "$sluice_a23456789012_xc69d4d4ea0015802\n" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out AUTO(buf_release) = BUF_INIT;
        const char *at;

        render_nginx(cases[i].model, &out);
        at = strstr(buf_str(&out), cases[i].variable);
        if (!at)
            unit_fail(__FILE__, __LINE__, "no %s in %s", cases[i].variable,
                      buf_str(&out));
    }
}

TEST(test_layout_routes__json)
{
    char dir[] = "/srv/models";
    const struct deploy_target t = { .name = "web", .dir = dir, .alias = "production" };
    const struct deploy_release *const live[] = { &fraud };
    struct buf out AUTO(buf_release) = BUF_INIT, line AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    struct err err = ERR_INIT;

    layout_routes_json(&t, live, 1, &out);
    CHECK_OK(json_parse(&doc, str_of(buf_str(&out)), "routes.json", &err));
    json_print(doc, &line, true);
    CHECK_STR(buf_str(&line),
              "{\"routes\": 1, \"alias\": \"production\", \"hash\": \"murmur2-32\", "
              "\"models\": [{\"name\": \"fraud\", \"latest\": 9, \"stable\": 9, "
              "\"salt\": \":fraud@production\", \"versions\": ["
              "{\"version\": 9, \"weight\": 8995, \"below\": 3863323081}, "
              "{\"version\": 10, \"weight\": 1005, \"below\": 4294967296}]}]}");
}
