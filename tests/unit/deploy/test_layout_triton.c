/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/deploy/fixture.h"

static const struct deploy_release fraud = {
    .model = "fraud",
    .alias = "production",
    .members = { { 9, 9, 9000, "stable" }, { 11, 10, 1000, "canary" } },
    .n_members = 2,
    .kept = { { 3, 3, 0, "" } },
    .n_kept = 1,
    .latest = 9,
};

TEST(test_layout_triton__config)
{
    struct layout_files f AUTO(layout_files_release) = { .n = 0 };

    layout_triton.render_model(&fraud, &f);
    CHECK_INT(f.n, 1);
    CHECK_STR(f.file[0].name, "config.pbtxt");
    CHECK_STR(strchr(buf_str(&f.file[0].text), '\n') + 1,
              "name: \"fraud\"\n"
              "platform: \"tensorflow_savedmodel\"\n"
              "version_policy { specific { versions: [ 3, 9, 10 ] } }\n");
}

TEST(test_layout_triton__links)
{
    struct layout_links l AUTO(layout_links_release) = { .n = 0 };

    layout_triton.links(
        &fraud, &(struct layout_tree){ .config_id = "abc", .model_id = "def" }, &l);
    CHECK_INT(l.n, 3);
    CHECK(l.link[0].kind == LAYOUT_FILE && !l.link[0].before);
    CHECK_STR(buf_str(&l.link[0].path), "models/fraud/config.pbtxt");
    CHECK_STR(buf_str(&l.link[0].text), ".sluice/models/fraud/def/config.pbtxt");
    CHECK_STR(buf_str(&l.link[1].text), ".sluice/releases/abc");
    CHECK_STR(buf_str(&l.link[2].path), "fraud/latest");
    CHECK_STR(buf_str(&l.link[2].text), "../models/fraud/9/model.savedmodel");
}

TEST(test_layout_triton__names)
{
    static const struct {
        const char *name;
        bool taken;
    } names[] = { { "fraud", true },
                  { "a.b-c_D9", true },
                  { "a b", false },
                  { "pr\xc3\xbc"
                    "f",
                    false },
                  { "models", false } };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct buf why AUTO(buf_release) = BUF_INIT;
        struct deploy_release rel = { .n_members = 1 };

        snprintf(rel.model, sizeof(rel.model), "%s", names[i].name);
        layout_triton.refuse(&rel, &why);
        CHECK_INT(why.len == 0, names[i].taken);
    }
}

/* ---- with a tree ---- */

static const char *
in_web(const struct fx *f, const char *path)
{
    static char whole[1200];

    snprintf(whole, sizeof(whole), "%s/%s", f->web, path);
    return whole;
}

/* The versions of a model's config, each whole in the tree: "3, 4". */
static const char *
loaded(const struct fx *f, const char *model)
{
    static char text[200];
    char path[600], want[300], *s;

    snprintf(path, sizeof(path), "models/%s/config.pbtxt", model);
    snprintf(want, sizeof(want), "%s", fx_file(f->web, path));
    s = strstr(want, "versions: [ ");
    snprintf(text, sizeof(text), "%s", s ? s + 12 : "");
    if ((s = strstr(text, " ]")) != NULL)
        *s = '\0';
    for (s = text; *s; s += strspn(s, ", ")) {
        const int64_t number = strtoll(s, &s, 10);

        snprintf(path, sizeof(path), "models/%s/%" PRId64 "/model.savedmodel/weights",
                 model, number);
        fx_text(want, model, number);
        CHECK_STR(fx_file(f->web, path), want);
    }
    return text;
}

static int
differs(struct fx *f, bool repair)
{
    cJSON *doc = NULL;
    int left;

    if (deploy_drift(f->r, "web", repair, &doc, &f->err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
    left = (int)cJSON_GetObjectItem(doc, "left")->valuedouble;
    json_free(&doc);
    return left;
}

static struct timespec
dir_time(const struct fx *f)
{
    struct stat st;

    CHECK(stat(in_web(f, "models/fraud"), &st) == 0);
    return st.st_mtim;
}

TEST(test_layout_triton__releases)
{
    struct fx f = { .r = NULL };
    struct timespec before, after;

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    fx_pushes(&f, "spam", 1);
    FX_OK(fx_target(&f, "triton"));
    FX_OK(fx_promote(&f, "fraud", 1));
    CHECK_STR(loaded(&f, "fraud"), "1");
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_STR(loaded(&f, "fraud"), "1, 2");
    FX_OK(fx_promote(&f, "spam", 1));
    FX_OK(fx_promote(&f, "fraud", 3));
    CHECK_STR(loaded(&f, "fraud"), "2, 3");
    CHECK_STR(loaded(&f, "spam"), "1");
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    CHECK(strstr(fx_file(f.web, "config/routes.json"), "spam") != NULL);
    CHECK_INT(differs(&f, false), 0);

    /* an old text comes back, and the directory is younger: so Triton reads it */
    before = dir_time(&f);
    usleep(20000);
    FX_OK(fx_rollback(&f, "fraud", 0));
    after = dir_time(&f);
    CHECK(after.tv_sec > before.tv_sec ||
          (after.tv_sec == before.tv_sec && after.tv_nsec > before.tv_nsec));
    CHECK_STR(loaded(&f, "fraud"), "1, 2");
    CHECK_INT(differs(&f, false), 0);

    fx_push(&f, "models");
    FX_ERR(fx_promote(&f, "models", 1), ERR_CONFLICT);
    CHECK(strstr(f.said, "import --as") != NULL);
    CHECK(access(in_web(&f, "models/models"), F_OK) < 0);
    fx_close(&f);
}

TEST(test_layout_triton__drift)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "triton"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK(unlink(in_web(&f, "models/fraud/config.pbtxt")) == 0);
    CHECK_INT(differs(&f, false), 1);
    CHECK_INT(differs(&f, true), 0);
    CHECK_STR(loaded(&f, "fraud"), "1, 2");
    CHECK(unlink(in_web(&f, "models/fraud/config.pbtxt")) == 0);
    fx_write(in_web(&f, "models/fraud/config.pbtxt"), "name: \"fraud\"\n", 0644);
    CHECK_INT(differs(&f, false), 1);
    CHECK_INT(differs(&f, true), 0);
    CHECK_STR(loaded(&f, "fraud"), "1, 2");
    CHECK(unlink(in_web(&f, "models/fraud/2/model.savedmodel/sub/weights")) == 0);
    CHECK_INT(differs(&f, true), 0);
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    CHECK_INT(differs(&f, false), 0);
    CHECK(mkdir(in_web(&f, "models/mine"), 0755) == 0);
    CHECK(mkdir(in_web(&f, "models/fraud/2/other"), 0755) == 0);
    CHECK(mkdir(in_web(&f, "fraud/other"), 0755) == 0);
    CHECK_INT(differs(&f, true), 3);
    fx_close(&f);
}

/* With a full disk too: what the undo needs was made when the release was. */
TEST(test_layout_triton__a_rollback_writes_no_file)
{
#ifdef TEST_FAULT
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    FX_OK(fx_target(&f, "triton"));
    for (int i = 1; i <= 3; i++)
        FX_OK(fx_promote(&f, "fraud", i));
    setenv("TEST_FAULT", "write:1:ENOSPC", 1);
    FX_OK(fx_rollback(&f, "fraud", 0));
    setenv("TEST_FAULT", "mkdir:1:ENOSPC", 1);
    FX_OK(fx_rollback(&f, "fraud", 0));
    unsetenv("TEST_FAULT");
    CHECK_STR(loaded(&f, "fraud"), "1");
    fx_close(&f);
#else
    unit_skip("B=debug or B=asan");
#endif
}

#ifdef TEST_FAULT

static int
promote_newest(struct fx *f)
{
    return fx_promote_as(f, "fraud", 3, true);
}

/* Killed at every call: config.pbtxt names whole versions, and in the end what the
 * alias means. */
TEST(test_layout_triton__killed_at_every_call)
{
    struct fx f = { .r = NULL };
    int n_hit = 0, n_moved = 0;

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    FX_OK(fx_target(&f, "triton"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    for (int n = 90; n > 0; n--) {
        char plan[40];
        int status;
        pid_t pid;

        FX_OK(fx_promote_as(&f, "fraud", 1, true));
        FX_OK(fx_promote_as(&f, "fraud", 2, true));
        fx_close(&f);
        snprintf(plan, sizeof(plan), "any:%d:kill", n);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            fx_open(&f);
            setenv("TEST_FAULT", plan, 1);
            _exit(promote_newest(&f) < 0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        fx_open(&f);
        n_hit += WIFSIGNALED(status);
        CHECK(loaded(&f, "fraud")[0] != '\0');
        CHECK_INT(differs(&f, true), 0); /* heals */
        CHECK_INT(fx_shown(f.web, "fraud"), fx_alias(&f, "fraud"));
        CHECK_STR(loaded(&f, "fraud"), fx_alias(&f, "fraud") == 2 ? "1, 2" : "2, 3");
        n_moved += WIFSIGNALED(status) && fx_alias(&f, "fraud") == 3;
        CHECK_INT(access(in_web(&f, ".sluice/flip"), F_OK), -1);
    }
    CHECK(n_hit > 15);
    CHECK(n_moved > 3 && n_moved < n_hit);
    fx_close(&f);
}

#endif
