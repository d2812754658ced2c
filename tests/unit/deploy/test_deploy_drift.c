/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/deploy/fixture.h"

/* How much differs (afterwards, of a repair), and the kinds: "link missing ". */
static int
differs(struct fx *f, bool repair, char kinds[200])
{
    cJSON *doc = NULL;
    const cJSON *d;
    size_t n = 0;
    int left;

    if (deploy_drift(f->r, "web", repair, &doc, &f->err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
    left = (int)cJSON_GetObjectItem(doc, "left")->valuedouble;
    kinds[0] = '\0';
    cJSON_ArrayForEach(
        d, cJSON_GetObjectItem(
               cJSON_GetArrayItem(cJSON_GetObjectItem(doc, "targets"), 0), "drift"))
    {
        n += (size_t)snprintf(kinds + n, 200 - n, "%s ",
                              cJSON_GetObjectItem(d, "kind")->valuestring);
        CHECK(n < 200);
    }
    json_free(&doc);
    return left;
}

static const char *
in_web(struct fx *f, const char *path)
{
    static char whole[1200];

    snprintf(whole, sizeof(whole), "%s/%s", f->web, path);
    return whole;
}

TEST(test_deploy_drift__is_found_and_mended)
{
    struct fx f = { .r = NULL };
    char kinds[200];

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "tfserving"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_INT(differs(&f, false, kinds), 0);
    CHECK(unlink(in_web(&f, "fraud/latest")) == 0);
    CHECK(unlink(in_web(&f, "fraud/2/weights")) == 0);
    CHECK(chmod(in_web(&f, "fraud/1/sub"), 0777) == 0);
    CHECK(unlink(in_web(&f, "config/routes.json")) == 0);
    CHECK_INT(differs(&f, false, kinds), 4);
    CHECK(strstr(kinds, "link") && strstr(kinds, "missing") && strstr(kinds, "mode") &&
          strstr(kinds, "config"));
    CHECK_STR(fx_link(f.web, "fraud/latest"), ""); /* who only looks changes nothing */
    CHECK_INT(differs(&f, true, kinds), 0);
    CHECK_INT(differs(&f, true, kinds), 0);
    CHECK_STR(kinds, "");
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    CHECK_STR(fx_file(f.web, "fraud/2/weights"), "fraud 2\n");
    fx_check_config(f.web, "fraud");
    fx_close(&f);
}

/* What a rollback needs is missed before it is needed. */
TEST(test_deploy_drift__also_of_what_a_rollback_needs)
{
    struct fx f = { .r = NULL };
    char kinds[200];

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "plain"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    FX_OK(fs_remove_tree(AT_FDCWD, in_web(&f, "fraud/v1"), &f.err));
    CHECK_INT(differs(&f, false, kinds), 1);
    CHECK_STR(kinds, "missing ");
    CHECK_INT(differs(&f, true, kinds), 0);
    CHECK_STR(fx_file(f.web, "fraud/v1/sub/weights"), "fraud 1\n");
    fx_close(&f);
}

TEST(test_deploy_drift__what_is_foreign_stays)
{
    struct fx f = { .r = NULL };
    char kinds[200];

    fx_open(&f);
    fx_pushes(&f, "fraud", 1);
    FX_OK(fx_target(&f, "plain"));
    FX_OK(fx_promote(&f, "fraud", 1));
    fx_write(in_web(&f, "fraud/v1/mine"), "x", 0600);
    CHECK(mkdir(in_web(&f, "fraud/v9"), 0755) == 0); /* no version of this number */
    CHECK(symlink("/etc", in_web(&f, "away")) == 0);
    CHECK(mkfifo(in_web(&f, "pipe"), 0600) == 0);
    CHECK_INT(differs(&f, true, kinds), 4);
    CHECK_STR(kinds, "foreign foreign foreign foreign ");
    CHECK_STR(fx_file(f.web, "fraud/v1/mine"), "x");
    CHECK(symlink("/etc/passwd", in_web(&f, "fraud/v1/out")) == 0);
    CHECK(differs(&f, true, kinds) > 0); /* a walk that stops says so */
    fx_close(&f);
}
