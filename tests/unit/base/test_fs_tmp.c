/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"
#include "base/fs_int.h"

#include "tests/unit/unit.h"

#include <stdlib.h>
#include <unistd.h>

static void
check_commit(int dir, struct fs_tmp *tmp, const char *name, const char *text, int want)
{
    struct err err = ERR_INIT;

    CHECK_OK(fs_write_all(tmp->fd, text, strlen(text), name, &err));
    CHECK_INT(fs_tmp_commit(tmp, name, 0444, &err), want);
    CHECK_INT(tmp->fd, -1);
    CHECK_INT(fs_exists(dir, name, &err), 1);
}

static int
count_files(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)e;
    (void)err;
    ++*(int *)arg;
    return 0;
}

/* Both kinds of temporary file keep the same promises. */
static void
check_kind(int (*open_tmp)(struct fs_tmp *, int, struct err *))
{
    struct err err = ERR_INIT;
    int dir AUTO(fs_close) = -1;
    struct buf b AUTO(buf_release) = BUF_INIT;
    struct stat st;
    int n = 0;

    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    CHECK_OK(fs_mkdirs(dir, "sub", 0755, &err));
    for (int i = 0; i < 2; i++) {
        struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;

        CHECK_OK(open_tmp(&tmp, dir, &err));
        check_commit(dir, &tmp, "sub/a", i == 0 ? "first" : "second", i);
    }
    CHECK_OK(fs_read(dir, "sub/a", &b, &err));
    CHECK_STR(buf_str(&b), "first");
    CHECK(fstatat(dir, "sub/a", &st, 0) == 0 && (st.st_mode & 07777) == 0444);
    for (int i = 0; i < 2; i++) { /* dropped, and committed where no directory is */
        struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;

        CHECK_OK(open_tmp(&tmp, dir, &err));
        if (i == 1)
            CHECK_ERR(fs_tmp_commit(&tmp, "none/a", 0444, &err), ERR_IO);
    }
    CHECK_OK(fs_walk(dir, ".", count_files, &n, &err));
    CHECK_INT(n, 2);
}

TEST(test_fs_tmp__without_a_name) { check_kind(fs_tmp_open); }

TEST(test_fs_tmp__with_a_name) { check_kind(fs_tmp_open_named); }

TEST(test_fs_tmp__abort_may_come_any_time)
{
    struct fs_tmp tmp = FS_TMP_INIT;

    fs_tmp_abort(&tmp);
    fs_tmp_abort(&tmp);
}

TEST(test_fs_tmp__create_makes_a_new_file_or_none)
{
    struct err err = ERR_INIT;
    struct buf text = BUF_INIT;
    int dir = -1;

    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    CHECK_OK(fs_create(dir, "new", "one", 3, 0444, &err));
    CHECK_ERR(fs_create(dir, "new", "two", 3, 0444, &err), ERR_CONFLICT);
    CHECK_OK(fs_read(dir, "new", &text, &err));
    CHECK_STR(buf_str(&text), "one");
    buf_release(&text);
    fs_close(&dir);
}

TEST(test_fs_tmp__sweep_takes_temporary_names_only)
{
    struct err err = ERR_INIT;
    int dir = -1;

    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    CHECK_OK(fs_create(dir, ".tmp-0123", "x", 1, 0600, &err));
    CHECK(symlinkat("nowhere", dir, ".tmp-link") == 0);
    CHECK_OK(fs_create(dir, "tmp-stays", "x", 1, 0600, &err));
    fs_tmp_sweep(dir, ".");
    fs_tmp_sweep(dir, "absent");
    CHECK_INT(fs_exists(dir, ".tmp-0123", &err), 0);
    CHECK_INT(fs_exists(dir, ".tmp-link", &err), 0);
    CHECK_INT(fs_exists(dir, "tmp-stays", &err), 1);
    fs_close(&dir);
}

#ifdef TEST_FAULT

TEST(test_fs_tmp__nothing_stays_after_a_fault)
{
    static const char *const faults[] = { "fsync:1:EIO", "link:1:ENOSPC",
                                          "open:1:EMFILE" };
    struct err err = ERR_INIT;
    int dir AUTO(fs_close) = -1;
    int n = 0;

    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
        int r;

        setenv("TEST_FAULT", faults[i], 1);
        r = fs_tmp_open_named(&tmp, dir, &err);
        if (r == 0)
            r = fs_tmp_commit(&tmp, "a", 0444, &err);
        unsetenv("TEST_FAULT");
        CHECK_INT(r, -ERR_IO);
        err_clear(&err);
    }
    CHECK_OK(fs_walk(dir, ".", count_files, &n, &err));
    CHECK_INT(n, 0);
}

/* A file system without O_TMPFILE. */
TEST(test_fs_tmp__falls_back_to_a_name)
{
    struct err err = ERR_INIT;
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    int dir AUTO(fs_close) = -1;

    CHECK_OK(fs_open_dir(&dir, AT_FDCWD, unit_dir(), &err));
    setenv("TEST_FAULT", "open:1:EOPNOTSUPP", 1);
    CHECK_OK(fs_tmp_open(&tmp, dir, &err));
    unsetenv("TEST_FAULT");
    CHECK(strncmp(tmp.name, ".tmp-", 5) == 0);
    check_commit(dir, &tmp, "a", "x", 0);
}

#endif
