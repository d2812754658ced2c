/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include "base/clock.h"
#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int
open_dir(void)
{
    struct err err = ERR_INIT;
    int fd = -1;

    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, unit_dir(), &err));
    return fd;
}

static void
put(int dir, const char *path, const char *text)
{
    struct err err = ERR_INIT;

    CHECK_OK(fs_replace(dir, path, text, strlen(text), 0644, &err));
}

static void
check_holds(int dir, const char *path, const char *text)
{
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;

    CHECK_OK(fs_read(dir, path, &b, &err));
    CHECK_STR(buf_str(&b), text);
}

/* Names in the test's directory but "." and "..". */
static int
count_names(void)
{
    DIR *d = opendir(unit_dir());
    int n = 0;

    CHECK(d != NULL);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

TEST(test_fs__replace_and_read)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct stat st;

    put(dir, "a", "one");
    check_holds(dir, "a", "one");
    put(dir, "a", "");
    check_holds(dir, "a", "");
    CHECK_OK(fs_mkdirs(dir, "d/e/f", 0755, &err));
    CHECK_OK(fs_replace(dir, "d/e/f/x", "xyz", 3, 0444, &err));
    check_holds(dir, "d/e/f/x", "xyz");
    CHECK(fstatat(dir, "d/e/f/x", &st, 0) == 0 && (st.st_mode & 07777) == 0444);
    CHECK_ERR(fs_replace(dir, "none/x", "", 0, 0444, &err), ERR_IO);
    CHECK_INT(count_names(), 2);
}

TEST(test_fs__read_limits)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = { .cap_bytes = 5 };

    put(dir, "five", "12345");
    put(dir, "six", "123456");
    CHECK_OK(fs_read(dir, "five", &b, &err));
    CHECK_STR(buf_str(&b), "12345");
    b.cap_bytes = 10;
    CHECK_ERR(fs_read(dir, "six", &b, &err), ERR_LIMIT);
    CHECK_STR(buf_str(&b), "12345");
    CHECK_OK(fs_read(dir, "five", &b, &err));
    CHECK_STR(buf_str(&b), "1234512345");
    CHECK_INT(fs_read(dir, "none", &b, &err), -ERR_IO);
    CHECK_INT(err.sys, ENOENT);
    CHECK(strstr(err.msg, "none"));
    err_clear(&err);
    CHECK_ERR(fs_read(dir, ".", &b, &err), ERR_IO);
    CHECK_INT(b.len, 10);
}

TEST(test_fs__read_of_a_file_without_size)
{
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;
    struct buf capped AUTO(buf_release) = { .cap_bytes = 16 };

    CHECK_OK(fs_read(AT_FDCWD, "/proc/self/status", &b, &err));
    CHECK(strstr(buf_str(&b), "Name:"));
    CHECK_ERR(fs_read(AT_FDCWD, "/dev/zero", &capped, &err), ERR_LIMIT);
}

TEST(test_fs__mkdirs)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    CHECK_OK(fs_mkdirs(dir, "a/b/c/", 0755, &err));
    CHECK_OK(fs_mkdirs(dir, "a/b/c", 0755, &err));
    CHECK_OK(fs_mkdirs(dir, "a//b/d", 0755, &err));
    CHECK_INT(fs_exists(dir, "a/b/d", &err), 1);
    put(dir, "file", "");
    CHECK_INT(fs_mkdirs(dir, "file", 0755, &err), -ERR_IO);
    CHECK_INT(err.sys, ENOTDIR);
    err_clear(&err);
    CHECK_ERR(fs_mkdirs(dir, "file/x", 0755, &err), ERR_IO);
}

TEST(test_fs__rename_link_unlink)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    put(dir, "a", "A");
    put(dir, "b", "B");
    CHECK_ERR(fs_rename_new(dir, "a", dir, "b", &err), ERR_CONFLICT);
    check_holds(dir, "b", "B");
    CHECK_OK(fs_rename_new(dir, "a", dir, "c", &err));
    CHECK_OK(fs_rename(dir, "c", dir, "b", &err));
    check_holds(dir, "b", "A");
    CHECK_OK(fs_link(dir, "b", dir, "l", &err));
    CHECK_INT(fs_link(dir, "b", dir, "l", &err), -ERR_IO);
    CHECK_INT(err.sys, EEXIST);
    err_clear(&err);
    CHECK_OK(fs_unlink(dir, "l", &err));
    CHECK_OK(fs_unlink(dir, "l", &err));
    CHECK_INT(fs_exists(dir, "l", &err), 0);
    CHECK_ERR(fs_rename(dir, "none", dir, "b", &err), ERR_IO);
}

TEST(test_fs__symlink_replace)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;

    CHECK_OK(fs_symlink_replace("1", dir, "latest", &err));
    CHECK_OK(fs_symlink_replace("2", dir, "latest", &err));
    CHECK_OK(fs_readlink(dir, "latest", &b, &err));
    CHECK_STR(buf_str(&b), "2");
    CHECK_INT(fs_exists(dir, "latest", &err), 1); /* though it dangles */
    CHECK_OK(fs_mkdirs(dir, "sub", 0755, &err));
    CHECK_ERR(fs_symlink_replace("x", dir, "sub", &err), ERR_IO);
    CHECK_ERR(fs_symlink_replace("x", dir, "none/l", &err), ERR_IO);
    CHECK_INT(count_names(), 2);
    put(dir, "plain", "");
    CHECK_ERR(fs_readlink(dir, "plain", &b, &err), ERR_IO);
}

TEST(test_fs__remove_tree_follows_no_link)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    CHECK_OK(fs_mkdirs(dir, "keep", 0755, &err));
    put(dir, "keep/file", "k");
    CHECK_OK(fs_mkdirs(dir, "t/a/b", 0755, &err));
    put(dir, "t/a/b/f", "x");
    CHECK_OK(fs_symlink_replace("../../keep", dir, "t/a/link", &err));
    CHECK(fchmodat(dir, "t/a/b", 0555, 0) == 0);
    CHECK(mkfifoat(dir, "t/fifo", 0600) == 0);
    CHECK_OK(fs_remove_tree(dir, "t", &err));
    CHECK_INT(fs_exists(dir, "t", &err), 0);
    check_holds(dir, "keep/file", "k");
    CHECK_OK(fs_remove_tree(dir, "t", &err));
    CHECK_OK(fs_remove_tree(dir, "keep/file", &err));
    CHECK_INT(fs_exists(dir, "keep/file", &err), 0);
}

TEST(test_fs__copy)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct fs_map a AUTO(fs_unmap) = { .p = NULL }, b AUTO(fs_unmap) = { .p = NULL };
    char *big AUTO(free_ptr) = xmalloc(3000001);
    struct stat st;

    for (int i = 0; i < 3000001; i++)
        big[i] = (char)(i * 7 + i / 1000);
    CHECK_OK(fs_replace(dir, "a", big, 3000001, 0644, &err));
    CHECK_OK(fs_copy(dir, "a", dir, "b", 0444, &err));
    CHECK_OK(fs_map(&a, dir, "a", &err));
    CHECK_OK(fs_map(&b, dir, "b", &err));
    CHECK(a.n == 3000001 && b.n == a.n && memcmp(a.p, b.p, a.n) == 0);
    CHECK(fstatat(dir, "b", &st, 0) == 0 && (st.st_mode & 07777) == 0444);
    CHECK_INT(fs_copy(dir, "a", dir, "b", 0444, &err), -ERR_IO);
    CHECK_INT(err.sys, EEXIST);
    err_clear(&err);
    CHECK(mkfifoat(dir, "fifo", 0600) == 0);
    CHECK_ERR(fs_copy(dir, "fifo", dir, "c", 0444, &err), ERR_INVALID);
    CHECK_OK(fs_copy(AT_FDCWD, "/proc/self/status", dir, "d", 0444, &err));
    CHECK(fstatat(dir, "d", &st, 0) == 0 && st.st_size > 100);
}

/* Data at 0 and in the midst, a small gap that is no hole, nothing at the end. */
static int64_t
put_sparse(int dir, const char *path, int64_t size_bytes)
{
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    struct stat st;

    CHECK_OK(fs_open(&fd, dir, path, O_RDWR | O_CREAT | O_EXCL, 0644, &err));
    CHECK_OK(fs_write_at(fd, "begin", 5, 0, path, &err));
    CHECK_OK(fs_write_at(fd, "midst", 5, (3 << 20) - 2, path, &err));
    CHECK_OK(fs_write_at(fd, "near", 4, (3 << 20) + 32768, path, &err));
    CHECK(ftruncate(fd, size_bytes) == 0 && fsync(fd) == 0 && fstat(fd, &st) == 0);
    return (int64_t)st.st_blocks * 512;
}

TEST(test_fs__holes)
{
    enum { SIZE = (9 << 20) + 77 };
    int dir AUTO(fs_close) = open_dir(), fd AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    struct fs_map a AUTO(fs_unmap) = { .p = NULL }, b AUTO(fs_unmap) = { .p = NULL };
    const int64_t disk_bytes = put_sparse(dir, "a", SIZE);
    struct fs_hole hole;
    struct stat st;

    if (disk_bytes > 1 << 20)
        unit_skip("a file system without holes");
    CHECK_OK(fs_open(&fd, dir, "a", O_RDONLY, 0, &err));
    CHECK(fs_find_hole(fd, 0, SIZE, &hole));
    CHECK(hole.from > 0 && hole.from <= FS_HOLE_BYTES);
    CHECK(hole.to > (3 << 20) - FS_HOLE_BYTES && hole.to <= (3 << 20) - 2);
    CHECK(fs_find_hole(fd, hole.to, SIZE, &hole));
    CHECK(hole.from >= (3 << 20) + 32768 + 4 && hole.from % FS_DIRECT_BYTES == 0);
    CHECK_INT(hole.to, SIZE);
    CHECK(!fs_find_hole(fd, hole.to, SIZE, &hole));
    CHECK(!fs_find_hole(fd, 0, 5, &hole));
    /* cut short since: what is missing is no hole */
    CHECK(!fs_find_hole(fd, 4 << 20, SIZE + 1, &hole));

    CHECK_OK(fs_copy(dir, "a", dir, "b", 0444, &err));
    CHECK_OK(fs_map(&a, dir, "a", &err));
    CHECK_OK(fs_map(&b, dir, "b", &err));
    CHECK(a.n == SIZE && b.n == SIZE && memcmp(a.p, b.p, SIZE) == 0);
    CHECK(fstatat(dir, "b", &st, 0) == 0 && st.st_blocks * 512 <= 4 * FS_HOLE_BYTES);

    fs_close(&fd);
    fs_unmap(&b);
    CHECK_OK(fs_open(&fd, dir, "c", O_RDWR | O_CREAT, 0644, &err));
    CHECK_OK(fs_write_sparse(fd, a.p, 4 << 20, 0, "c", &err));
    CHECK_OK(
        fs_write_sparse(fd, a.p + (4 << 20), SIZE - (4 << 20), 4 << 20, "c", &err));
    CHECK(ftruncate(fd, SIZE) == 0 && fsync(fd) == 0 && fstat(fd, &st) == 0);
    CHECK(st.st_blocks * 512 <= 8 * FS_HOLE_BYTES);
    CHECK_OK(fs_map(&b, dir, "c", &err));
    CHECK(b.n == SIZE && memcmp(a.p, b.p, SIZE) == 0);
}

TEST(test_fs__map)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct fs_map m AUTO(fs_unmap) = { .p = NULL };

    put(dir, "empty", "");
    put(dir, "x", "xyz");
    CHECK_OK(fs_map(&m, dir, "empty", &err));
    CHECK(m.p && m.n == 0);
    CHECK_OK(fs_map(&m, dir, "x", &err));
    CHECK(m.n == 3 && memcmp(m.p, "xyz", 3) == 0);
    fs_unmap(&m);
    CHECK(!m.p && m.n == 0);
    CHECK_ERR(fs_map(&m, dir, ".", &err), ERR_INVALID);
    CHECK(mkfifoat(dir, "fifo", 0600) == 0);
    CHECK_ERR(fs_map(&m, dir, "fifo", &err), ERR_INVALID);
    CHECK_ERR(fs_map(&m, dir, "none", &err), ERR_IO);
}

TEST(test_fs__lock_is_exclusive_and_waits)
{
    int dir AUTO(fs_close) = open_dir();
    int held AUTO(fs_close) = -1, other AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    int64_t start_ns;

    CHECK_OK(fs_lock(&held, dir, "lock", 0, &err));
    CHECK_ERR(fs_lock(&other, dir, "lock", 0, &err), ERR_BUSY);
    start_ns = clock_mono_ns();
    CHECK_ERR(fs_lock(&other, dir, "lock", 50, &err), ERR_BUSY);
    CHECK(clock_mono_ns() - start_ns >= 50000000);
    fs_close(&held);
    CHECK_OK(fs_lock(&other, dir, "lock", 0, &err));
    CHECK_ERR(fs_lock(&held, dir, "none/lock", 0, &err), ERR_IO);
}

TEST(test_fs__lock_passes_to_who_waits)
{
    int dir AUTO(fs_close) = open_dir();
    int held AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    int status = 1;
    pid_t pid;

    CHECK_OK(fs_lock(&held, dir, "lock", 0, &err));
    pid = fork();
    if (pid == 0) {
        int fd = -1;

        fs_close(&held); /* the parent's copy holds the lock */
        _exit(fs_lock(&fd, dir, "lock", 60000, &err) == 0 ? 0 : 1);
    }
    usleep(50000);
    fs_close(&held);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
}

TEST(test_fs__root_gives_to_the_owner)
{
    int dir AUTO(fs_close) = open_dir();
    int lock AUTO(fs_close) = -1;
    struct err err = ERR_INIT;
    struct fs_tmp tmp AUTO(fs_tmp_abort) = FS_TMP_INIT;
    static const char *const made[] = { "s/r", "s/t", "s/lock", "s/d", "s/d/e", "s/c" };

    if (geteuid() != 0)
        unit_skip("only root gives files away");
    CHECK_OK(fs_mkdirs(dir, "s", 0755, &err));
    CHECK(fchownat(dir, "s", 4321, 4322, 0) == 0);
    put(dir, "s/r", "x");
    CHECK_OK(fs_tmp_open(&tmp, dir, &err));
    CHECK_OK(fs_tmp_commit(&tmp, "s/t", 0444, &err));
    CHECK_OK(fs_lock(&lock, dir, "s/lock", 0, &err));
    CHECK_OK(fs_mkdirs(dir, "s/d/e", 0755, &err));
    CHECK_OK(fs_copy(dir, "s/r", dir, "s/c", 0444, &err));
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        struct stat st;

        CHECK(fstatat(dir, made[i], &st, 0) == 0);
        CHECK_INT(st.st_uid, 4321);
        CHECK_INT(st.st_gid, 4322);
    }
}

#ifdef TEST_FAULT

TEST(test_fs__fault_fails_the_nth_call)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    setenv("TEST_FAULT", "fsync:2:EIO", 1);
    CHECK_OK(fs_fsync(dir, "d", &err));
    CHECK_INT(fs_fsync(dir, "d", &err), -ERR_IO);
    CHECK_INT(err.sys, EIO);
    CHECK_STR(err.msg, "sync d: Input/output error");
    err_clear(&err);
    CHECK_OK(fs_fsync(dir, "d", &err));
    setenv("TEST_FAULT", "mkdir:1:ENOSPC", 1);
    CHECK_ERR(fs_mkdirs(dir, "x", 0755, &err), ERR_IO);
    CHECK_OK(fs_mkdirs(dir, "x", 0755, &err));
    unsetenv("TEST_FAULT");
}

/* A failing call leaves the old file whole and nothing beside it. */
TEST(test_fs__replace_survives_every_fault)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    int n = 0, r = -1;

    put(dir, "a", "old");
    while (r < 0) {
        char fault[32];

        snprintf(fault, sizeof(fault), "any:%d:EIO", ++n);
        setenv("TEST_FAULT", fault, 1);
        r = fs_replace(dir, "a", "new", 3, 0644, &err);
        unsetenv("TEST_FAULT");
        if (r < 0) {
            struct buf b AUTO(buf_release) = BUF_INIT;

            CHECK_INT(err.code, ERR_IO);
            err_clear(&err);
            CHECK_INT(count_names(), 1);
            CHECK_OK(fs_read(dir, "a", &b, &err));
            /* only the sync of the directory comes after the rename */
            CHECK(strcmp(b.data, "old") == 0 || n >= 6);
        }
    }
    CHECK(n >= 7);
    check_holds(dir, "a", "new");
}

TEST(test_fs__fault_kills)
{
    int dir AUTO(fs_close) = open_dir();
    int status = 0;
    pid_t pid;

    put(dir, "a", "old");
    pid = fork();
    if (pid == 0) {
        struct err err = ERR_INIT;

        setenv("TEST_FAULT", "rename:1:kill", 1);
        _exit(fs_replace(dir, "a", "new", 3, 0644, &err) < 0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check_holds(dir, "a", "old");
}

TEST(test_fs__copy_takes_back_what_failed)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    put(dir, "a", "x");
    setenv("TEST_FAULT", "write:1:ENOSPC", 1);
    CHECK_ERR(fs_copy(dir, "a", dir, "b", 0444, &err), ERR_IO);
    setenv("TEST_FAULT", "fsync:1:EIO", 1);
    CHECK_ERR(fs_copy(dir, "a", dir, "b", 0444, &err), ERR_IO);
    unsetenv("TEST_FAULT");
    CHECK_INT(fs_exists(dir, "b", &err), 0);
}

#endif
