/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/layout.h"
#include "tests/unit/unit.h"

#include "base/json.h"

static const struct deploy_release fraud = {
    .model = "fraud",
    .alias = "production",
    .members = { { 9, 9, 9000, "stable" }, { 11, 10, 1000, "canary" } },
    .n_members = 2,
    .kept = { { 3, 3, 0, "" } },
    .n_kept = 1,
    .latest = 9,
};
static const struct deploy_release odd = {
    .model = "a \"b\\\n\xc3\xa9",
    .alias = "production",
    .members = { { 1, 1, 10000, "" } },
    .n_members = 1,
    .latest = 1,
};

static void
render(const char *root, const struct deploy_release *const *live, int n,
       struct layout_files *out)
{
    char dir[] = "/srv/models", status_url[] = "http://127.0.0.1:1", serving[200];
    struct deploy_target t = { .name = "web", .dir = dir, .alias = "production" };

    if (root) {
        memcpy(serving, root, strlen(root) + 1);
        t.option[DEPLOY_SERVING_ROOT] = serving;
    }
    t.option[DEPLOY_STATUS_URL] = status_url;
    layout_tfserving.render(&t, live, n, out);
    CHECK_INT(out->n, 3);
}

TEST(test_layout_tfserving__the_whole_list)
{
    const struct deploy_release *const live[] = { &odd, &fraud };
    struct layout_files f AUTO(layout_files_release) = { .n = 0 };

    render("/models/", live, 2, &f);
    CHECK_STR(f.file[0].name, "models.config");
    CHECK_STR(strchr(f.file[0].text.data, 'm')
                  ? strstr(f.file[0].text.data, "model_config_list")
                  : "",
              "model_config_list {\n"
              "  config {\n"
              "    name: \"a \\\"b\\\\\\012\\303\\251\"\n"
              "    base_path: \"/models/a%20%22b%5C%0A%C3%A9\"\n"
              "    model_platform: \"tensorflow\"\n"
              "    model_version_policy { specific { versions: 1 } }\n"
              "  }\n"
              "  config {\n"
              "    name: \"fraud\"\n"
              "    base_path: \"/models/fraud\"\n"
              "    model_platform: \"tensorflow\"\n"
              "    model_version_policy { specific { versions: 3 versions: 9 versions: "
              "10 } }\n"
              "    version_labels { key: \"stable\" value: 9 }\n"
              "    version_labels { key: \"canary\" value: 10 }\n"
              "  }\n"
              "}\n");
}

TEST(test_layout_tfserving__no_models)
{
    struct layout_files f AUTO(layout_files_release) = { .n = 0 };

    render(NULL, NULL, 0, &f);
    CHECK_STR(strstr(f.file[0].text.data, "model_config_list"),
              "model_config_list {\n}\n");
}

TEST(test_layout_tfserving__links)
{
    struct layout_links l AUTO(layout_links_release) = { .n = 0 };

    layout_tfserving.links(&fraud, &(struct layout_tree){ .config_id = "abc" }, &l);
    CHECK_INT(l.n, 2);
    CHECK_STR(l.link[0].path.data, "config");
    CHECK_STR(l.link[0].text.data, ".sluice/releases/abc");
    CHECK_STR(l.link[1].path.data, "fraud/latest");
    CHECK_STR(l.link[1].text.data, "9");
}

TEST(test_layout__unknown)
{
    const struct layout_ops *ops;
    struct err err = ERR_INIT;

    CHECK_OK(layout_find("plain", &ops, &err));
    CHECK(layout_find("trition", &ops, &err) == -ERR_INVALID);
    CHECK(strstr(err.msg, "plain, tfserving, tfserving-scan, triton") != NULL);
}
