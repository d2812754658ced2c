/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int
open_dir(void)
{
    struct err err = ERR_INIT;
    int fd = -1;

    CHECK_OK(fs_open_dir(&fd, AT_FDCWD, unit_dir(), &err));
    return fd;
}

static int
list(void *arg, const struct fs_entry *e, struct err *err)
{
    struct stat st;

    if (fstatat(e->dirfd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_ino != e->st.st_ino)
        return err_set(err, ERR_FAILED, "%s: the entry is another file", e->path);
    buf_addf(arg, "%s%s ", e->path, S_ISDIR(e->st.st_mode) ? "/" : "");
    return 0;
}

static void
put(int dir, const char *path)
{
    struct err err = ERR_INIT;

    CHECK_OK(fs_replace(dir, path, "x", 1, 0644, &err));
}

TEST(test_fs_walk__order_is_that_of_whole_paths)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;

    CHECK_OK(fs_mkdirs(dir, "r/a/z", 0755, &err));
    CHECK_OK(fs_mkdirs(dir, "r/a.d", 0755, &err));
    CHECK_OK(fs_mkdirs(dir, "r/empty", 0755, &err));
    put(dir, "r/a/b");
    put(dir, "r/a/z/y");
    put(dir, "r/a.b");
    put(dir, "r/a-b");
    put(dir, "r/a.d/e");
    put(dir, "r/a0");
    put(dir, "r/\xc3\xa9");
    put(dir, "r/B");
    CHECK_OK(fs_walk(dir, "r", list, &b, &err));
    CHECK_STR(buf_str(&b),
              "B a/ a-b a.b a.d/ a.d/e a/b a/z/ a/z/y a0 empty/ \xc3\xa9 ");
}

TEST(test_fs_walk__refuses_what_is_no_file)
{
    static const char *const kinds[] = { "symlink", "FIFO", "socket" };
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    CHECK_OK(fs_mkdirs(dir, "r/sub", 0755, &err));
    put(dir, "r/a");
    for (int i = 0; i < 3; i++) {
        struct buf b AUTO(buf_release) = BUF_INIT;

        if (i == 0) {
            CHECK_OK(fs_symlink_replace("../a", dir, "r/sub/odd", &err));
        } else if (i == 1) {
            CHECK(mkfifoat(dir, "r/sub/odd", 0600) == 0);
        } else {
            struct sockaddr_un a = { .sun_family = AF_UNIX };
            int s AUTO(fs_close) = socket(AF_UNIX, SOCK_STREAM, 0);

            snprintf(a.sun_path, sizeof(a.sun_path), "%s/r/sub/odd", unit_dir());
            CHECK(s >= 0 && bind(s, (struct sockaddr *)&a, sizeof(a)) == 0);
        }
        CHECK_INT(fs_walk(dir, "r", list, &b, &err), -ERR_INVALID);
        CHECK(strstr(err.msg, "sub/odd") && strstr(err.msg, kinds[i]));
        err_clear(&err);
        CHECK_OK(fs_unlink(dir, "r/sub/odd", &err));
    }
}

TEST(test_fs_walk__link_to_a_directory_is_not_entered)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;

    CHECK_OK(fs_mkdirs(dir, "r/a", 0755, &err));
    CHECK_OK(fs_symlink_replace("..", dir, "r/a/up", &err));
    CHECK_ERR(fs_walk(dir, "r", list, &b, &err), ERR_INVALID);
    CHECK_OK(fs_symlink_replace("a", dir, "r/b", &err));
    CHECK_ERR(fs_walk(dir, "r", list, &b, &err), ERR_INVALID);
}

TEST(test_fs_walk__depth_is_limited)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;
    struct buf path AUTO(buf_release) = BUF_INIT, b AUTO(buf_release) = BUF_INIT;

    buf_adds(&path, "r");
    for (int i = 0; i < 64; i++)
        buf_adds(&path, "/d");
    CHECK_OK(fs_mkdirs(dir, path.data, 0755, &err));
    CHECK_ERR(fs_walk(dir, "r", list, &b, &err), ERR_LIMIT);
    CHECK_ERR(fs_remove_tree(dir, "r", &err), ERR_LIMIT);
    CHECK_OK(fs_remove_tree(dir, "r/d/d", &err));
    CHECK_OK(fs_remove_tree(dir, "r", &err));
}

static int
refuse(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)arg;
    return err_set(err, ERR_DENIED, "no %s", e->path);
}

TEST(test_fs_walk__stops_at_the_callers_error)
{
    int dir AUTO(fs_close) = open_dir();
    struct err err = ERR_INIT;

    CHECK_ERR(fs_walk(dir, "none", list, NULL, &err), ERR_IO);
    CHECK_OK(fs_walk(dir, ".", refuse, NULL, &err)); /* nothing there */
    put(dir, "a");
    CHECK_ERR(fs_walk(dir, ".", refuse, NULL, &err), ERR_DENIED);
    CHECK_ERR(fs_walk(dir, "a", list, NULL, &err), ERR_IO);
}
