/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#include <dirent.h>

static int
copy_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    char to[2048];

    snprintf(to, sizeof(to), "%s/%s", (const char *)arg, e->path);
    return S_ISDIR(e->st.st_mode) ? fs_mkdirs(AT_FDCWD, to, 0755, err)
                                  : fs_copy(e->dirfd, e->name, AT_FDCWD, to, 0644, err);
}

/* A copy of tests/data/NAME/model in the test's directory. */
static void
copy_model(struct fixture *f, const char *name, char out[1024])
{
    struct err err = ERR_INIT;
    char from[256];

    snprintf(from, sizeof(from), "%s/model", name);
    below(f, "model", out);
    CHECK_OK(fs_remove_tree(AT_FDCWD, out, &err));
    CHECK_OK(fs_mkdirs(AT_FDCWD, out, 0755, &err));
    CHECK_OK(fs_walk(AT_FDCWD, unit_data(from), copy_entry, out, &err));
}

TEST(test_repo_model__whole_models_pass)
{
    struct err err = ERR_INIT;
    DIR *dir = opendir(unit_data("."));
    struct dirent *d;
    int n = 0;

    CHECK(dir != NULL);
    while ((d = readdir(dir)) != NULL) {
        char name[300];

        snprintf(name, sizeof(name), "%s/model", d->d_name);
        if (d->d_name[0] == '.' || fs_exists(AT_FDCWD, unit_data(name), &err) != 1)
            continue;
        CHECK_OK(repo_check_saved_model(unit_data(name), &err));
        n++;
    }
    closedir(dir);
    CHECK(n >= 5);
}

#define DATA "variables/variables.data-00000-of-00001"
#define INDEX "variables/variables.index"

static void
check_refused(const char *dir, enum err_code code, const char *a, const char *b)
{
    struct err err = ERR_INIT;
    int r = repo_check_saved_model(dir, &err);

    if (r != -(int)code || !strstr(err.msg, a) || !strstr(err.msg, b))
        unit_fail(__FILE__, __LINE__, "%s, %s: %d %s", a, b, r, err.msg);
}

TEST(test_repo_model__damage_is_named)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct stat st;
    char dir[1024], path[1100], byte;
    int fd, n_unseen = 0;

    fixture_paths(&f);
    copy_model(&f, "mlp_tiny", dir);
    CHECK_OK(repo_check_saved_model(dir, &err));
    /* a data shard that lost its end */
    snprintf(path, sizeof(path), "%s/" DATA, dir);
    CHECK(stat(path, &st) == 0 && truncate(path, st.st_size - 1) == 0);
    check_refused(dir, ERR_CORRUPT, INDEX ": tensor '", "the copy is incomplete");
    check_refused(dir, ERR_CORRUPT, DATA, "nothing was stored");
    /* no data shard */
    CHECK(unlink(path) == 0);
    check_refused(dir, ERR_CORRUPT, DATA, "missing");
    /* no index, no variables */
    copy_model(&f, "mlp_tiny", dir);
    snprintf(path, sizeof(path), "%s/" INDEX, dir);
    CHECK(unlink(path) == 0);
    check_refused(dir, ERR_CORRUPT, INDEX " is missing", "incomplete");
    snprintf(path, sizeof(path), "%s/variables", dir);
    CHECK_OK(fs_remove_tree(AT_FDCWD, path, &err));
    check_refused(dir, ERR_CORRUPT, INDEX " is missing", "nothing was stored");
    /* any byte of the index flipped is seen, for its blocks have checksums; but for the
     * 13 bytes of the empty one that nobody reads */
    copy_model(&f, "mlp_tiny", dir);
    snprintf(path, sizeof(path), "%s/" INDEX, dir);
    CHECK(stat(path, &st) == 0);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0);
    for (off_t at = 0; at < st.st_size - 48; at++) {
        CHECK(pread(fd, &byte, 1, at) == 1);
        byte ^= 0x10;
        CHECK(pwrite(fd, &byte, 1, at) == 1);
        if (repo_check_saved_model(dir, &err) == 0)
            n_unseen++;
        else
            CHECK(err.code == ERR_CORRUPT && strstr(err.msg, INDEX));
        err_clear(&err);
        byte ^= 0x10;
        CHECK(pwrite(fd, &byte, 1, at) == 1);
    }
    close(fd);
    CHECK(n_unseen <= 13);
    CHECK_OK(repo_check_saved_model(dir, &err));
    /* a graph that was cut off */
    snprintf(path, sizeof(path), "%s/saved_model.pb", dir);
    CHECK(stat(path, &st) == 0 && truncate(path, st.st_size / 2) == 0);
    check_refused(dir, ERR_CORRUPT, "saved_model.pb", "");
    CHECK(truncate(path, 0) == 0);
    CHECK(repo_check_saved_model(dir, &err) < 0);
    err_clear(&err);
    CHECK(unlink(path) == 0);
    check_refused(dir, ERR_NOTFOUND, "SavedModel file does not exist", dir);
}

TEST(test_repo_model__no_directory)
{
    struct fixture f;
    struct err err = ERR_INIT;

    fixture_paths(&f);
    CHECK_ERR(repo_check_saved_model("/no/such/directory", &err), ERR_IO);
    put_text(&f, "file", "x");
    char path[1024];
    CHECK_ERR(repo_check_saved_model(below(&f, "file", path), &err), ERR_IO);
}
