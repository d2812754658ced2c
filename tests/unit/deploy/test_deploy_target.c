/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/deploy/fixture.h"

static int
add(struct fx *f, const char *name, const char *dir, const char *layout)
{
    return deploy_target_add(f->r, name, dir, "production", layout, NULL, &f->err);
}

TEST(test_deploy_target__shows_what_the_alias_means)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;
    cJSON *doc;

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    fx_pushes(&f, "a b", 1);
    fx_pushes(&f, "unused", 1);
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    FX_OK(fx_promote(&f, "a b", 1));
    FX_OK(add(&f, "web", f.web, "tfserving"));
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    CHECK_STR(fx_link(f.web, "a%20b/latest"), "1");
    CHECK_STR(fx_file(f.web, "a%20b/1/weights"), "a b 1\n");
    fx_check_config(f.web, "fraud");
    CHECK(strstr(fx_file(f.web, "config/models.config"), "name: \"a b\"") != NULL);
    CHECK(strstr(fx_file(f.web, "config/models.config"), "unused") == NULL);
    CHECK_OK(deploy_status(f.r, NULL, &doc, &err));
    for (int i = 0; i < 2; i++) {
        const cJSON *a = cJSON_GetArrayItem(cJSON_GetObjectItem(doc, "aliases"), i);
        const cJSON *t = cJSON_GetArrayItem(cJSON_GetObjectItem(a, "targets"), 0);

        CHECK(cJSON_IsTrue(cJSON_GetObjectItem(t, "ok")));
    }
    json_free(&doc);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    fx_close(&f);
}

TEST(test_deploy_target__an_empty_one_has_a_config)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    FX_OK(add(&f, "web", f.web, "tfserving"));
    CHECK(strstr(fx_file(f.web, "config/models.config"), "model_config_list {\n}") !=
          NULL);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM event WHERE verb = 'target-add'"), 1);
    fx_close(&f);
}

TEST(test_deploy_target__what_is_not_ours_is_left_alone)
{
    struct fx f = { .r = NULL };
    char path[700], inside[700];

    fx_open(&f);
    CHECK(mkdir(f.web, 0755) == 0);
    snprintf(path, sizeof(path), "%s/v1", f.web);
    CHECK(mkdir(path, 0755) == 0);
    FX_ERR(add(&f, "web", f.web, "plain"), ERR_CONFLICT);
    CHECK(strstr(f.said, "v1") != NULL);
    CHECK(rmdir(path) == 0);
    snprintf(path, sizeof(path), "%s/.sluice", f.web); /* another's store, perhaps */
    CHECK(mkdir(path, 0755) == 0);
    snprintf(inside, sizeof(inside), "%s/.sluice/format", f.web);
    fx_write(inside, "x", 0644);
    FX_ERR(add(&f, "web", f.web, "plain"), ERR_CONFLICT);
    CHECK(unlink(inside) == 0);

    snprintf(inside, sizeof(inside), "%s/tree", f.store);
    FX_ERR(add(&f, "web", inside, "plain"), ERR_INVALID);
    CHECK(access(inside, F_OK) != 0); /* nothing is left of the attempt */
    FX_ERR(add(&f, "web", unit_dir(), "plain"), ERR_INVALID);
    FX_ERR(add(&f, "we/b", f.web, "plain"), ERR_INVALID);
    FX_ERR(add(&f, "web", f.web, "trition"), ERR_INVALID);
    CHECK(strstr(f.said, "plain, tfserving") != NULL);
    snprintf(path, sizeof(path), "%s/file", unit_dir());
    fx_write(path, "x", 0644);
    CHECK(add(&f, "web", path, "plain") < 0);
    err_clear(&f.err);

    FX_OK(add(&f, "web", f.web, "plain"));
    FX_ERR(add(&f, "web", path, "plain"), ERR_IO);
    FX_ERR(add(&f, "second", f.web, "plain"), ERR_CONFLICT);
    snprintf(path, sizeof(path), "%s/below", f.web);
    FX_ERR(add(&f, "second", path, "plain"), ERR_CONFLICT);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM target"), 1);
    fx_close(&f);
}

TEST(test_deploy_target__another_stores_is_refused)
{
    struct fx f = { .r = NULL }, g = { .r = NULL };

    fx_open(&f);
    FX_OK(add(&f, "web", f.web, "plain"));
    snprintf(g.store, sizeof(g.store), "%s/other", unit_dir());
    {
        const struct db_schema schemas[] = { acc_schema, repo_schema, val_schema,
                                             deploy_schema };

        if (repo_init(g.store, schemas, 4, &g.err) < 0)
            unit_fail(__FILE__, __LINE__, "%s", g.err.msg);
    }
    fx_open(&g);
    CHECK_INT(add(&g, "web", f.web, "plain"), -ERR_CONFLICT);
    CHECK(strstr(g.err.msg, "belongs to target web of the store") != NULL);
    fx_close(&g);
    fx_close(&f);
}

/* The directory that is there now is not the one that was added. */
TEST(test_deploy_target__a_replaced_directory_is_noticed)
{
    struct fx f = { .r = NULL };
    char away[600], path[700];

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(add(&f, "web", f.web, "plain"));
    FX_OK(fx_promote(&f, "fraud", 1));
    snprintf(away, sizeof(away), "%s.away", f.web);
    CHECK(rename(f.web, away) == 0);
    FX_ERR(fx_promote(&f, "fraud", 2), ERR_CONFLICT);
    CHECK(mkdir(f.web, 0755) == 0);
    FX_ERR(fx_promote(&f, "fraud", 2), ERR_CONFLICT);
    snprintf(path, sizeof(path), "%s/.sluice", f.web);
    CHECK(mkdir(path, 0755) == 0);
    snprintf(path, sizeof(path), "%s/.sluice/target.json", f.web);
    fx_write(path, "{\"uid\": \"0\"}", 0644);
    FX_ERR(fx_promote(&f, "fraud", 2), ERR_CONFLICT);
    fx_write(path, "{\"uid\": ", 0644);
    FX_ERR(fx_promote(&f, "fraud", 2), ERR_INVALID);
    CHECK_INT(fx_alias(&f, "fraud"), 1);
    fx_close(&f);
}

TEST(test_deploy_target__an_interrupted_add_is_taken_up)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 1);
    FX_OK(fx_promote(&f, "fraud", 1));
    for (int n = 1;; n++) {
        char plan[32];
        int e;

        snprintf(plan, sizeof(plan), "any:%d:EIO", n);
        setenv("TEST_FAULT", plan, 1);
        e = add(&f, "web", f.web, "tfserving");
        unsetenv("TEST_FAULT");
        if (e == 0) {
#ifdef TEST_FAULT
            CHECK(n > 20);
#endif
            break;
        }
        err_clear(&f.err);
        CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM target"), 0);
    }
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    fx_check_config(f.web, "fraud");
    fx_close(&f);
}
