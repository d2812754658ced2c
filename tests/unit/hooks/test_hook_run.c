/* SPDX-License-Identifier: Apache-2.0 */
#include "hooks/hooks.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char store[512], path[600];

static struct repo *
open_store(void)
{
    const struct db_schema schemas[] = { acc_schema, repo_schema };
    struct err err = ERR_INIT;
    struct repo *r;

    snprintf(store, sizeof(store), "%s/store", unit_dir());
    snprintf(path, sizeof(path), "%s/hooks/pre-promote", store);
    CHECK_OK(repo_init(store, schemas, 2, &err));
    CHECK_OK(repo_open(&r, store, schemas, 2, &err));
    CHECK_OK(fs_mkdirs(r->dirfd, "hooks", 0700, &err));
    return r;
}

static void
script(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(fchmod(fd, mode) == 0);
    close(fd);
}

static const struct hook_args args = {
    .name = "pre-promote",
    .model = "fraud",
    .alias = "production",
    .digest = "sha256:00",
    .reason = "a; rm -rf b $(c)",
    .number = 3,
    .from_number = 2,
};

TEST(test_hook_run__none)
{
    struct repo *r AUTO(repo_close_p) = open_store();
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    CHECK_INT(hook_run(r, &args, &out, &err), 0);
    CHECK_INT(out.len, 0);
    snprintf(path, sizeof(path), "%s/hooks", store);
    CHECK(rmdir(path) == 0);
    CHECK_INT(hook_run(r, &args, &out, &err), 0);
}

TEST(test_hook_run__what_it_is_told)
{
    struct repo *r AUTO(repo_close_p) = open_store();
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    script("#!/bin/sh\necho \"$#|$1|$2|$3|$SLUICE_EVENT|$SLUICE_MODEL|$SLUICE_ALIAS|"
           "$SLUICE_VERSION|$SLUICE_DIGEST|$SLUICE_REASON|$SLUICE_FROM\"\n"
           "test \"$PWD\" -ef \"$SLUICE_STORE\" && test -n \"$SLUICE_ACTOR\" && echo "
           "here\n",
           0755);
    CHECK_INT(hook_run(r, &args, &out, &err), 1);
    CHECK_STR(buf_str(&out),
              "3|fraud|production|3|pre-promote|fraud|production|3|sha256:00|"
              "a; rm -rf b $(c)|2\nhere\n");
}

TEST(test_hook_run__no)
{
    struct repo *r AUTO(repo_close_p) = open_store();
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    script("#!/bin/sh\necho no; echo really >&2; exit 4\n", 0755);
    CHECK(hook_run(r, &args, &out, &err) == -ERR_HOOK);
    CHECK(strstr(err.msg, "said no (exit status 4): no really") != NULL);
    err_clear(&err);
    script("#!/bin/sh\nkill -9 $$\n", 0755);
    CHECK(hook_run(r, &args, &out, &err) == -ERR_HOOK);
    CHECK(strstr(err.msg, "killed by signal 9") != NULL);
    err_clear(&err);
    script("#!/no/such/interpreter\n", 0755);
    CHECK_ERR(hook_run(r, &args, &out, &err), ERR_HOOK);
}

TEST(test_hook_run__much_output_is_cut)
{
    struct repo *r AUTO(repo_close_p) = open_store();
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    script("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x; exit 1\n", 0755);
    CHECK_ERR(hook_run(r, &args, &out, &err), ERR_HOOK);
    CHECK_INT(out.len, 65536);
}

/* A hook that cannot be trusted, or cannot run, is not passed over. */
TEST(test_hook_run__unfit_files)
{
    struct repo *r AUTO(repo_close_p) = open_store();
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char dir[600];

    snprintf(dir, sizeof(dir), "%s/hooks", store);
    script("#!/bin/sh\n", 0644);
    CHECK(hook_run(r, &args, &out, &err) == -ERR_HOOK);
    CHECK(strstr(err.msg, "chmod u+x") != NULL);
    err_clear(&err);
    script("#!/bin/sh\n", 0775);
    CHECK(hook_run(r, &args, &out, &err) == -ERR_HOOK);
    CHECK(strstr(err.msg, "chmod go-w") != NULL);
    err_clear(&err);
    script("#!/bin/sh\n", 0755);
    CHECK(chmod(dir, 0777) == 0);
    CHECK_ERR(hook_run(r, &args, &out, &err), ERR_HOOK);
    CHECK(chmod(dir, 0755) == 0);
    CHECK_INT(hook_run(r, &args, &out, &err), 1);
    if (geteuid() == 0) {
        CHECK(chown(path, 12345, 12345) == 0);
        CHECK_ERR(hook_run(r, &args, &out, &err), ERR_HOOK);
    }
    CHECK(unlink(path) == 0 && symlink("nowhere", path) == 0);
    CHECK_ERR(hook_run(r, &args, &out, &err), ERR_HOOK);
    CHECK(unlink(path) == 0 && mkdir(path, 0755) == 0);
    CHECK_ERR(hook_run(r, &args, &out, &err), ERR_HOOK);
}
