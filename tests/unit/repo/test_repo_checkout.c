/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#include <sys/mount.h>

static void
check_tree(struct fixture *f, const char *dir, const struct digest *want)
{
    struct repo_ingest in;
    struct err err = ERR_INIT;
    char path[1024];

    CHECK_OK(repo_ingest_dir(f->r, below(f, dir, path), &in, &err));
    CHECK(digest_eq(&in.manifest.digest, want));
    CHECK_INT(in.n_new_files, 0);
    repo_ingest_release(&in);
}

static struct stat
stat_of(struct fixture *f, const char *path)
{
    char full[1024];
    struct stat st;

    CHECK(stat(below(f, path, full), &st) == 0);
    return st;
}

TEST(test_repo_checkout__links_and_copies)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    struct stat st;
    char path[1024];
    int dirfd;

    fixture_new(&f);
    put_model(&f, "src", "1");
    put_text(&f, "src/a/b/c/d", "deep");
    put_text(&f, "src/a/b.c", "flat");
    v = push(&f, "src", "a");
    CHECK_OK(fs_open_dir(&dirfd, AT_FDCWD, f.dir, &err));
    CHECK_OK(repo_checkout(f.r, &v.digest, dirfd, "linked", REPO_LINK, &err));
    check_tree(&f, "linked", &v.digest);
    st = stat_of(&f, "linked/a/b/c/d");
    CHECK_INT(st.st_nlink, 2);
    CHECK_INT(st.st_mode & 07777, 0444);
    CHECK(S_ISDIR(stat_of(&f, "linked/assets").st_mode)); /* TensorFlow writes it */
    CHECK(S_ISDIR(stat_of(&f, "linked/variables").st_mode));
    CHECK_OK(fs_mkdirs(dirfd, "to", 0755, &err));
    CHECK_OK(repo_checkout(f.r, &v.digest, dirfd, "to//copied/", REPO_COPY, &err));
    check_tree(&f, "to/copied", &v.digest);
    st = stat_of(&f, "to/copied/a/b.c");
    CHECK_INT(st.st_nlink, 1);
    CHECK_INT(st.st_mode & 07777, 0444);
    CHECK_OK(repo_checkout(f.r, &v.digest, dirfd, "quick", REPO_COPY_QUICK, &err));
    check_tree(&f, "quick", &v.digest);
    CHECK_INT(stat_of(&f, "quick/a/b.c").st_nlink, 1);
    CHECK_OK(repo_checkout(f.r, &v.digest, AT_FDCWD, below(&f, "abs", path), REPO_LINK,
                           &err));
    check_tree(&f, "abs", &v.digest);
    CHECK_ERR(repo_checkout(f.r, &v.digest, dirfd, "linked", REPO_COPY, &err),
              ERR_CONFLICT);
    CHECK_ERR(repo_checkout(f.r, &v.digest, dirfd, "absent/x", REPO_COPY, &err),
              ERR_IO);
    close(dirfd);
    fixture_close(&f);
}

TEST(test_repo_checkout__golden_set_has_no_model_directories)
{
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_text(&f, "golden/golden.json", "{}");
    CHECK_OK(repo_ingest_dir(f.r, below(&f, "golden", path), &in, &err));
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_manifest_record(f.r, &in.manifest, &err));
    CHECK_OK(repo_manifest_record(f.r, &in.manifest, &err)); /* again: nothing new */
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_OK(repo_checkout(f.r, &in.manifest.digest, AT_FDCWD, below(&f, "out", path),
                           REPO_COPY, &err));
    CHECK_INT(fs_exists(AT_FDCWD, below(&f, "out/assets", path), &err), 0);
    check_tree(&f, "out", &in.manifest.digest);
    repo_ingest_release(&in);
    check_clean(&f);
    fixture_close(&f);
}

TEST(test_repo_checkout__to_another_mount)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    v = push(&f, "src", "a");
    CHECK(mkdir(below(&f, "mnt", path), 0755) == 0);
    if (mount("tmpfs", path, "tmpfs", 0, "size=1m") < 0)
        unit_skip("no right to mount: %s", strerror(errno));
    CHECK_OK(repo_checkout(f.r, &v.digest, AT_FDCWD, below(&f, "mnt/x", path),
                           REPO_LINK, &err));
    check_tree(&f, "mnt/x", &v.digest);
    CHECK_INT(stat_of(&f, "mnt/x/saved_model.pb").st_nlink, 1);
    fixture_close(&f);
    CHECK(umount(below(&f, "mnt", path)) == 0);
}

TEST(test_repo_checkout__damage_is_not_handed_out)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    struct digest d;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    v = push(&f, "src", "a");
    sha256_of("weights 1", 9, &d);
    overwrite(object_file(&f, &d, path), 3, "X", 1);
    CHECK_INT(repo_checkout(f.r, &v.digest, AT_FDCWD, below(&f, "out", path), REPO_COPY,
                            &err),
              -ERR_CORRUPT);
    CHECK(strstr(err.msg, "variables/variables.data-00000-of-00001"));
    err_clear(&err);
    CHECK(truncate(object_file(&f, &d, path), 4) == 0);
    CHECK_ERR(repo_checkout(f.r, &v.digest, AT_FDCWD, below(&f, "out", path), REPO_LINK,
                            &err),
              ERR_CORRUPT);
    CHECK(unlink(object_file(&f, &d, path)) == 0);
    CHECK_ERR(repo_checkout(f.r, &v.digest, AT_FDCWD, below(&f, "out", path), REPO_LINK,
                            &err),
              ERR_NOTFOUND);
    /* the source, and no half-made tree */
    CHECK_INT(count_files(f.dir) - count_files(f.path), 3);
    fixture_close(&f);
}

static int
check_sealed(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)arg, (void)err;
    CHECK((e->st.st_mode & 0222) == 0);
    return 0;
}

TEST(test_repo_checkout__view)
{
    struct fixture f;
    struct repo_version v;
    struct repo_view view = REPO_VIEW_INIT, none = REPO_VIEW_INIT;
    struct err err = ERR_INIT;
    struct digest absent = { .b = { 7 } };
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    v = push(&f, "src", "a");
    CHECK_OK(repo_view_open(f.r, &v.digest, &view, &err));
    CHECK_INT(count_files(view.path), 3);
    CHECK_OK(repo_view_seal(&view, &err));
    CHECK_OK(fs_walk(view.lock_fd, ".", check_sealed, NULL, &err));
    CHECK_ERR(repo_view_open(f.r, &absent, &none, &err), ERR_NOTFOUND);
    repo_view_close(&view);
    repo_view_close(&none);
    CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
    check_clean(&f);
    fixture_close(&f);
}

#ifdef TEST_FAULT
TEST(test_repo_checkout__killed_or_failed_at_every_call)
{
    static const char *const what[] = { "kill", "ENOSPC" };
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "src", "1");
    v = push(&f, "src", "a");
    fixture_close(&f);
    for (int i = 0; i < 4; i++) {
        enum repo_checkout_how how = i & 1 ? REPO_LINK : REPO_COPY;

        for (int n = 1;; n++) {
            char fault[64];
            int status, exists;
            pid_t pid = fork();

            CHECK(n < 200);
            snprintf(fault, sizeof(fault), "any:%d:%s", n, what[i / 2]);
            below(&f, "out/1", path);
            if (pid == 0) {
                char out[1024];

                if (fs_mkdirs(AT_FDCWD, below(&f, "out", out), 0755, &err) < 0 ||
                    fixture_try_open(&f, &err) < 0)
                    _exit(3);
                setenv("TEST_FAULT", fault, 1);
                _exit(repo_checkout(f.r, &v.digest, AT_FDCWD, path, how, &err) < 0 ? 1
                                                                                   : 0);
            }
            CHECK(waitpid(pid, &status, 0) == pid);
            CHECK(!WIFEXITED(status) || WEXITSTATUS(status) < 2);
            exists = fs_exists(AT_FDCWD, path, &err);
            fixture_open(&f);
            if (exists == 1)
                check_tree(&f, "out/1", &v.digest);
            else
                CHECK(!WIFEXITED(status) || WEXITSTATUS(status) == 1);
            if (WIFEXITED(status) && exists == 0)
                CHECK_INT(count_files(below(&f, "out", path)), 0);
            check_clean(&f);
            fixture_close(&f);
            CHECK_OK(fs_remove_tree(AT_FDCWD, below(&f, "out", path), &err));
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                break;
        }
    }
}
#endif
