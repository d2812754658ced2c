/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/deploy/fixture.h"

#include "base/clock.h"
#include "base/proc.h"

#include <sys/file.h>

TEST(test_deploy_change__plain_tree)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "plain"));
    FX_OK(fx_promote(&f, "fraud", 1));
    CHECK_STR(fx_link(f.web, "fraud/latest"), "v1");
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_STR(fx_link(f.web, "fraud/latest"), "v2");
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    CHECK_INT(fx_alias(&f, "fraud"), 2);
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(f.report, "changed")));
    CHECK_INT(cJSON_GetObjectItem(f.report, "release")->valuedouble, 2);
    CHECK_INT(cJSON_GetObjectItem(f.report, "replaces")->valuedouble, 1);

    /* the old one stays, and what is live already changes nothing */
    CHECK_STR(fx_file(f.web, "fraud/v1/weights"), "fraud 1\n");
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(f.report, "changed")));
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 2);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM event WHERE verb = 'promote'"), 3);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release WHERE observed_ns > 0"), 2);
    fx_close(&f);
}

TEST(test_deploy_change__an_alias_without_targets)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_INT(fx_alias(&f, "fraud"), 2);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_alias(&f, "fraud"), 1);
    CHECK_STR(fx_live(&f, "fraud"), "1:10000");
    /* nobody saw it */
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release WHERE observed_ns > 0"), 0);
    fx_close(&f);
}

/* 1, 2, 3 were live: back to 2, to 1, then no further; and 3 is bad. */
TEST(test_deploy_change__rollback_goes_back_never_forward)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 4);
    FX_OK(fx_target(&f, "plain"));
    for (int i = 1; i <= 3; i++)
        FX_OK(fx_promote(&f, "fraud", i));
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    FX_ERR(fx_rollback(&f, "fraud", 0), ERR_NOTFOUND);
    CHECK(strstr(f.said, "release 3 (promote") != NULL);
    CHECK(strstr(f.said, "fraud@3 100% bad") != NULL);
    CHECK(strstr(f.said, "--to N") != NULL);
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    CHECK_INT(fx_alias(&f, "fraud"), 1);

    FX_ERR(fx_promote(&f, "fraud", 3), ERR_REFUSED);
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    FX_OK(fx_promote_as(&f, "fraud", 3, true));
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    /* from there: 2 is still bad, so the newest good release is the rollback to 1 */
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    FX_ERR(fx_rollback(&f, "fraud", 0), ERR_NOTFOUND);
    fx_close(&f);
}

/* A rollback undoes a version, not a change of weights. */
TEST(test_deploy_change__rollback_over_a_split)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "tfserving"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_weights2(&f, "fraud", 1, 90, 2, 10));
    CHECK_STR(fx_live(&f, "fraud"), "1:9000 2:1000");
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "1:10000");
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(f.report, "marked_bad")), 1);

    /* and out of a split: the canary goes */
    FX_ERR(fx_weights2(&f, "fraud", 1, 50, 2, 50), ERR_REFUSED);
    fx_push(&f, "fraud");
    FX_OK(fx_weights2(&f, "fraud", 1, 50, 3, 50));
    CHECK_INT(fx_shown(f.web, "fraud"), 1); /* a tie: the one that was live */
    FX_OK(fx_weights2(&f, "fraud", 1, 10, 3, 90));
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "1:10000");
    fx_close(&f);
}

TEST(test_deploy_change__rollback_to_a_number)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 4);
    FX_OK(fx_target(&f, "plain"));
    for (int i = 1; i <= 3; i++)
        FX_OK(fx_promote(&f, "fraud", i));
    FX_OK(fx_rollback(&f, "fraud", 1));
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    FX_OK(fx_rollback(&f, "fraud", 1)); /* is there already */
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(f.report, "changed")));
    FX_ERR(fx_rollback(&f, "fraud", 0), ERR_NOTFOUND);
    FX_OK(fx_rollback(&f, "fraud", 3)); /* marked bad, but chosen by name */
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    FX_ERR(fx_rollback(&f, "fraud", 9), ERR_NOTFOUND);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    fx_close(&f);
}

TEST(test_deploy_change__nothing_to_roll_back_to)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 1);
    FX_ERR(fx_rollback(&f, "fraud", 0), ERR_NOTFOUND);
    FX_ERR(fx_rollback(&f, "other", 0), ERR_NOTFOUND);
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_ERR(fx_rollback(&f, "fraud", 0), ERR_NOTFOUND);
    CHECK(strstr(f.said, "release 1") != NULL);
    fx_close(&f);
}

TEST(test_deploy_change__the_expected_release)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;
    struct repo_version v;
    struct deploy_change c = {
        .verb = DEPLOY_PROMOTE, .model = "fraud", .alias = "production", .version = &v
    };

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_promote(&f, "fraud", 1));
    CHECK_OK(repo_resolve(f.r, "fraud@2", &v, &err));
    c.expect_release = 7;
    FX_ERR(fx_change(&f, &c), ERR_CONFLICT);
    CHECK_INT(fx_alias(&f, "fraud"), 1);
    c.expect_release = 1;
    FX_OK(fx_change(&f, &c));
    fx_close(&f);
}

TEST(test_deploy_change__frozen_refuses_all_but_rollback)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_ERR(deploy_freeze(f.r, "fraud", "production", "", &err), ERR_INVALID);
    CHECK_ERR(deploy_freeze(f.r, "fraud", "production", NULL, &err), ERR_NOTFOUND);
    CHECK_OK(deploy_freeze(f.r, "fraud", "production", "audit week", &err));
    CHECK_OK(deploy_freeze(f.r, "fraud", "production", "audit weeks", &err));
    FX_ERR(fx_promote(&f, "fraud", 3), ERR_REFUSED);
    CHECK(strstr(f.said, "audit weeks") != NULL);
    FX_ERR(fx_weights2(&f, "fraud", 2, 50, 3, 50), ERR_REFUSED);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_OK(deploy_freeze(f.r, "fraud", "production", NULL, &err));
    FX_OK(fx_promote(&f, "fraud", 3));
    fx_close(&f);
}

TEST(test_deploy_change__a_held_lock_is_waited_for_and_no_longer)
{
    struct fx f = { .r = NULL };
    struct repo_version v;
    char lock[600];
    int fd;

    fx_open(&f);
    v = fx_push(&f, "fraud");
    FX_OK(fx_target(&f, "plain"));
    snprintf(lock, sizeof(lock), "%s/.sluice/lock", f.web);
    fd = open(lock, O_RDWR);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    FX_ERR(fx_change(&f, &(struct deploy_change){ .verb = DEPLOY_PROMOTE,
                                                  .model = "fraud",
                                                  .alias = "production",
                                                  .version = &v,
                                                  .lock_timeout_ms = 30 }),
           ERR_BUSY);
    CHECK(strstr(f.said, "web") != NULL);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 0);
    close(fd);
    FX_OK(fx_promote(&f, "fraud", 1));
    fx_close(&f);
}

TEST(test_deploy_change__a_version_that_was_rejected_is_passed_over)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    for (int i = 1; i <= 3; i++)
        FX_OK(fx_promote(&f, "fraud", i));
    CHECK_OK(db_run(f.r->db, &err,
                    "UPDATE version SET state = 'rejected' WHERE number = 2", ""));
    FX_ERR(fx_rollback(&f, "fraud", 2), ERR_REFUSED);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_alias(&f, "fraud"), 1);
    fx_close(&f);
}

TEST(test_deploy_change__two_targets_move_together)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;
    char second[512], trap[700];

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    snprintf(second, sizeof(second), "%s/second", unit_dir());
    FX_OK(fx_target(&f, "plain"));
    CHECK_OK(deploy_target_add(
        f.r, "second", second, "production", "tfserving",
        &(struct deploy_options){ .v[DEPLOY_SERVING_ROOT] = "/models" }, &err));
    FX_OK(fx_promote(&f, "fraud", 1));
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    CHECK_INT(fx_shown(second, "fraud"), 1);
    CHECK(strstr(fx_file(second, "config/models.config"),
                 "base_path: \"/models/fraud\"") != NULL);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release WHERE observed_ns > 0"), 0);

    /* the second cannot be switched: neither is */
    snprintf(trap, sizeof(trap), "%s/config", second);
    CHECK(unlink(trap) == 0 && mkdir(trap, 0755) == 0);
    FX_ERR(fx_promote(&f, "fraud", 2), ERR_CONFLICT);
    CHECK(strstr(f.said, "second") != NULL);
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    CHECK_INT(fx_alias(&f, "fraud"), 1);
    CHECK(rmdir(trap) == 0);
    FX_OK(fx_promote(&f, "fraud", 2)); /* a lost link is made again */
    CHECK_INT(fx_shown(f.web, "fraud"), 2);
    CHECK_INT(fx_shown(second, "fraud"), 2);
    fx_check_config(second, "fraud");
    fx_close(&f);
}

TEST(test_deploy_change__bad_requests)
{
    struct fx f = { .r = NULL };
    struct repo_version v;
    struct deploy_change c = {
        .verb = DEPLOY_PROMOTE, .model = "fraud", .alias = "latest", .version = &v
    };
    char reason[400];

    fx_open(&f);
    v = fx_push(&f, "fraud");
    FX_ERR(fx_change(&f, &c), ERR_INVALID); /* "latest" is no alias */
    c.alias = "production";
    c.model = "nobody";
    FX_ERR(fx_change(&f, &c), ERR_NOTFOUND);
    c.model = "fraud";
    memset(reason, 'x', sizeof(reason));
    reason[sizeof(reason) - 1] = '\0';
    c.reason = reason;
    FX_ERR(fx_change(&f, &c), ERR_LIMIT);
    FX_ERR(fx_weights2(&f, "fraud", 1, 1, 7, 1), ERR_NOTFOUND);
    FX_ERR(fx_weights2(&f, "fraud", 1, 0, 1, 0), ERR_INVALID);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 0);
    fx_close(&f);
}

/* A gate or hook that takes its time holds up no rollback, and what it was asked about
 * is asked again when it no longer holds. */
TEST(test_deploy_change__a_rollback_waits_for_no_hook)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;
    char path[600];
    int status;
    pid_t pid;

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    FX_OK(fx_target(&f, "plain"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_OK(fs_mkdirs(f.r->dirfd, "hooks", 0700, &err));
    snprintf(path, sizeof(path), "%s/hooks/pre-promote", f.store);
    /* It goes on when the rollback is over, and says so when it waited for it in vain.
     */
    fx_write(path,
             "#!/bin/sh\necho $SLUICE_FROM >>asked\n"
             "for i in $(seq 600); do [ -e over ] && exit; sleep 0.05; done\n"
             "echo waited >>asked\n",
             0755);
    fx_close(&f);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        fx_open(&f);
        _exit(fx_promote(&f, "fraud", 3) < 0);
    }
    fx_open(&f);
    while (!fx_file(f.store, "asked")[0])
        usleep(10000);
    FX_OK(fx_rollback(&f, "fraud", 0));
    snprintf(path, sizeof(path), "%s/over", f.store);
    fx_write(path, "", 0644);
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    CHECK_STR(fx_file(f.store, "asked"), "2\n1\n");
    fx_close(&f);
}

TEST(test_deploy_change__old_files_are_dropped)
{
    struct fx f = { .r = NULL };
    char command[700];
    int status;

    fx_open(&f);
    FX_OK(fx_target(&f, "tfserving"));
    for (int i = 1; i <= 70; i++) {
        fx_push(&f, "fraud");
        FX_OK(fx_promote(&f, "fraud", i));
    }
    snprintf(command, sizeof(command), "%s/.sluice/releases", f.web);
    {
        struct err err = ERR_INIT;
        struct buf out AUTO(buf_release) = BUF_INIT;
        const char *const argv[] = { "ls", command, NULL };
        int n = 0;

        CHECK_OK(proc_run(&(struct proc_args){ .argv = argv }, &out, &status, &err));
        for (size_t i = 0; i < out.len; i++)
            n += out.data[i] == '\n';
        CHECK(n >= 32 && n <= 64);
    }
    fx_check_config(f.web, "fraud");
    FX_OK(fx_rollback(&f, "fraud", 0));
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_INT(fx_shown(f.web, "fraud"), 68);
    fx_check_config(f.web, "fraud");
    fx_close(&f);
}

static int
collect(void *arg, const struct deploy_release *rel, struct err *err)
{
    char *text = arg;

    (void)err;
    snprintf(text + strlen(text), 200 - strlen(text), "%" PRId64 "%s@%" PRId64 " ",
             rel->number, rel->verb, rel->stands_at);
    return 0;
}

TEST(test_deploy_change__history_and_status)
{
    struct fx f = { .r = NULL };
    struct err err = ERR_INIT;
    char text[200] = "";
    cJSON *doc, *one;

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    fx_pushes(&f, "spam", 1);
    FX_OK(fx_target(&f, "tfserving"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_OK(deploy_status(f.r, "fraud", &doc, &err));
    one = cJSON_GetArrayItem(cJSON_GetObjectItem(doc, "aliases"), 0);
    CHECK_STR(cJSON_GetObjectItem(one, "state")->valuestring,
              "intended; not observed (no status URL)");
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(one, "observed")));
    one = cJSON_GetObjectItem(one, "rollback");
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(one, "ready")));
    CHECK_INT(cJSON_GetArrayItem(cJSON_GetObjectItem(one, "marks_bad"), 0)->valuedouble,
              2);
    json_free(&doc);

    FX_OK(fx_rollback(&f, "fraud", 0));
    FX_OK(fx_promote(&f, "spam", 1));
    CHECK_OK(deploy_releases(f.r, "fraud", "production", collect, text, &err));
    CHECK_STR(text, "3rollback@1 2promote@2 1promote@1 ");

    /* somebody's hand in the tree is seen */
    {
        char path[600];

        snprintf(path, sizeof(path), "%s/fraud/latest", f.web);
        CHECK(unlink(path) == 0 && symlink("2", path) == 0);
    }
    CHECK_OK(deploy_status(f.r, NULL, &doc, &err));
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(doc, "aliases")), 2);
    one = cJSON_GetArrayItem(cJSON_GetObjectItem(doc, "aliases"), 0);
    CHECK(cJSON_IsNull(cJSON_GetObjectItem(one, "rollback")));
    one = cJSON_GetArrayItem(cJSON_GetObjectItem(one, "targets"), 0);
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(one, "ok")));
    CHECK_STR(cJSON_GetArrayItem(cJSON_GetObjectItem(one, "drift"), 0)->valuestring,
              "fraud/latest points at 2, not at 1");
    json_free(&doc);
    CHECK_ERR(deploy_status(f.r, "nobody", &doc, &err), ERR_NOTFOUND);
    fx_close(&f);
}

/* A dry run says what would be, writes no row and no event, and changes no tree. */
TEST(test_deploy_change__a_dry_run_does_nothing)
{
    struct fx f = { .r = NULL };
    struct deploy_change c = {
        .verb = DEPLOY_PROMOTE, .model = "fraud", .alias = "production", .dry_run = true
    };
    const cJSON *t, *link;
    struct repo_version v;
    int64_t events;

    fx_open(&f);
    fx_pushes(&f, "fraud", 2);
    FX_OK(fx_target(&f, "tfserving"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(repo_resolve(f.r, "fraud@2", &v, &f.err));
    events = fx_count(&f, "SELECT COUNT(*) FROM event");
    c.version = &v;
    FX_OK(fx_change(&f, &c));
    t = cJSON_GetArrayItem(cJSON_GetObjectItem(f.report, "targets"), 0);
    CHECK_STR(
        cJSON_GetArrayItem(cJSON_GetObjectItem(t, "new_directories"), 0)->valuestring,
        "fraud/2");
    link = cJSON_GetArrayItem(cJSON_GetObjectItem(t, "links"), 1);
    CHECK_STR(cJSON_GetObjectItem(link, "was")->valuestring, "1");
    CHECK_STR(cJSON_GetObjectItem(link, "becomes")->valuestring, "2");
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    CHECK_STR(fx_file(f.web, "fraud/2/weights"), "");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM event"), events);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 1);
    fx_close(&f);
}
