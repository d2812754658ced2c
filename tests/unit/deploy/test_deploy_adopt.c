/* SPDX-License-Identifier: Apache-2.0 */
/* A tree that was made by hand becomes a target: at no moment, whatever stops it, is a
 * name missing, and made again it comes to its end. */
#include "deploy/adopt.h"
#include "tests/unit/deploy/fixture.h"

static void
put_version(const char *dir, const char *model, int64_t number)
{
    char path[1200], text[300];
    struct err err = ERR_INIT;

    snprintf(path, sizeof(path), "%s/sub", dir);
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    fx_text(text, model, number);
    snprintf(path, sizeof(path), "%s/weights", dir);
    fx_write(path, text, 0644);
    snprintf(path, sizeof(path), "%s/sub/weights", dir);
    fx_write(path, text, 0644);
}

/* web/v1 v2 latest -> v1, or web/fraud/… */
static void
put_tree(struct fx *f, bool flat)
{
    const char *prefix = flat ? "" : "fraud/";
    char path[1024];

    for (int i = 1; i <= 2; i++) {
        snprintf(path, sizeof(path), "%s/%sv%d", f->web, prefix, i);
        put_version(path, "fraud", i);
    }
    snprintf(path, sizeof(path), "%s/%slatest", f->web, prefix);
    CHECK(symlink("v1", path) == 0);
}

static void
check_names(struct fx *f, bool flat)
{
    static const char *const names[] = { "v1", "v2", "latest" };

    for (int i = 0; i < 3; i++) {
        char path[100], want[300];

        fx_text(want, "fraud", i == 1 ? 2 : 1);
        snprintf(path, sizeof(path), "%s%s/sub/weights", flat ? "" : "fraud/",
                 names[i]);
        CHECK_STR(fx_file(f->web, path), want);
    }
}

static int
adopt(struct fx *f, bool flat)
{
    struct adopt_tree t AUTO(adopt_tree_release) = { .dirs = NULL };
    struct repo_version v;
    int e = adopt_scan(f->web, flat ? "fraud" : NULL, "plain", &t, &f->err);

    if (e < 0)
        return e;
    CHECK_INT(t.n_dirs, 2);
    CHECK_INT(t.models[0].live, 1);
    e = deploy_adopt_check(f->r, &t, "web", "production", &f->err);
    for (int i = 0; e == 0 && i < t.n_notes; i++)
        CHECK(!t.notes[i].in_the_way);
    for (int i = 0; e == 0 && i < t.n_dirs; i++) {
        char *ref AUTO(free_ptr) = xasprintf("fraud@%" PRId64, t.dirs[i].number);

        e = repo_resolve(f->r, ref, &v, &f->err);
        t.dirs[i].version_id = v.id;
        t.dirs[i].becomes = v.number;
    }
    return e < 0 ? e : deploy_adopt(f->r, &t, "web", "production", NULL, &f->err);
}

static void
check_adopted(struct fx *f, bool flat)
{
    struct err err = ERR_INIT;
    cJSON *doc;
    const cJSON *t;

    check_names(f, flat);
    CHECK_STR(fx_link(f->web, "fraud/latest"), "v1");
    CHECK_STR(fx_link(f->web, "latest"), flat ? "fraud/latest" : "");
    CHECK_STR(fx_file(f->web, flat ? ".sluice/adopted/v2/weights"
                                   : ".sluice/adopted/fraud_v2/weights"),
              "fraud 2\n");
    CHECK_INT(fx_count(f, "SELECT COUNT(*) FROM target"), 1);
    CHECK_OK(deploy_status(f->r, NULL, &doc, &err));
    t = cJSON_GetArrayItem(
        cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(doc, "aliases"), 0),
                            "targets"),
        0);
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(t, "ok")));
    json_free(&doc);
    CHECK(fx_promote(f, "fraud", 2) == 0);
    CHECK_STR(fx_file(f->web, flat ? "latest/weights" : "fraud/latest/weights"),
              "fraud 2\n");
}

TEST(test_deploy_adopt__becomes_a_target)
{
    for (int flat = 0; flat < 2; flat++) {
        struct fx f = { .r = NULL };

        fx_open(&f);
        fx_pushes(&f, "fraud", 2);
        FX_OK(fx_promote(&f, "fraud", 1));
        put_tree(&f, flat);
        FX_OK(adopt(&f, flat));
        FX_ERR(adopt(&f, flat), ERR_CONFLICT); /* it is one now */
        check_adopted(&f, flat);
        fx_close(&f);
    }
}

#ifdef TEST_FAULT
/* Stopped at its n-th call: true when it got so far. */
static bool
stop_at(int n, const char *how, bool flat)
{
    struct fx f = { .r = NULL };
    char plan[40];
    int status;
    pid_t pid;

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_promote(&f, "fraud", 1));
    put_tree(&f, flat);
    fx_close(&f);
    snprintf(plan, sizeof(plan), "any:%d:%s", n, how);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int e;

        fx_open(&f);
        setenv("TEST_FAULT", plan, 1);
        e = adopt(&f, flat);
        unsetenv("TEST_FAULT");
        _exit(e < 0 ? 1 : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    check_names(&f, flat);
    fx_open(&f);
    if (fx_count(&f, "SELECT COUNT(*) FROM target") == 0)
        FX_OK(adopt(&f, flat));
    check_adopted(&f, flat);
    fx_close(&f);
    return status != 0;
}

/* Every call would take minutes where a sync is slow: each kind of tree and of stop
 * begins at another one. */
enum { STRIDE = 19 };

TEST(test_deploy_adopt__stopped_anywhere)
{
    for (int flat = 0; flat < 2; flat++)
        for (int kind = 0; kind < 2; kind++) {
            int n = 1 + 4 * flat + 9 * kind;

            while (stop_at(n, kind ? "ENOSPC" : "kill", flat))
                n += STRIDE;
            CHECK(n > 20);
        }
}
#endif
