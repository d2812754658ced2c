/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#include "base/proc.h"
#include "repo/keep.h"

#include <time.h>

static const struct db_schema *
schemas(void)
{
    static struct db_schema both[2];

    both[0] = acc_schema;
    both[1] = repo_schema;
    return both;
}

/* Two models, an event each, so that the log can bring them back. */
static void
fill(struct fixture *f)
{
    struct err err = ERR_INIT;

    fixture_new(f);
    put_model(f, "one", "1");
    put_model(f, "two", "2");
    push(f, "one", "a");
    push(f, "two", "b");
    CHECK_OK(db_begin(f->r->db, &err));
    CHECK_OK(acc_record(f->r->acc,
                        &(struct acc_event){ .verb = "push",
                                             .object = "a@1",
                                             .digest = "",
                                             .outcome = "ok",
                                             .body = "{}" },
                        &err));
    CHECK_OK(db_commit(f->r->db, &err));
    CHECK_OK(acc_publish(f->r->acc, &err));
}

static int
count(void *arg, const struct repo_finding *finding, struct err *err)
{
    (void)err;
    CHECK(finding->text[0] && finding->way_out[0] && finding->kind[0]);
    ++*(int *)arg;
    return 0;
}

static int
lost(void *arg, const char *what, struct err *err)
{
    (void)err;
    printf("# lost: %s\n", what);
    ++*(int *)arg;
    return 0;
}

/* Many objects, several threads: each damaged one is told once, in order. */
TEST(test_repo_keep__threads)
{
    struct repo_fsck how = { .n_threads = 5 };
    struct err err = ERR_INIT;
    struct fixture f;
    struct repo_check c;
    struct repo_manifest m;
    struct repo_version v;
    int n = 0;

    fixture_new(&f);
    put_model(&f, "many", "1");
    for (int i = 0; i < 300; i++) {
        char path[64], text[64];

        snprintf(path, sizeof(path), "many/assets/%d", i);
        snprintf(text, sizeof(text), "file %d of many", i);
        put_text(&f, path, text);
    }
    v = push(&f, "many", "a");
    CHECK_OK(repo_fsck(f.r, &how, &c, count, &n, &err));
    CHECK_INT(c.n_objects, 304);
    CHECK_INT(n, 0);
    CHECK_OK(repo_manifest_get(f.r, &v.digest, &m, &err));
    for (int i = 0; i < m.n_files; i += 3) {
        char path[1024];

        overwrite(object_file(&f, &m.files[i].digest, path), 0, "X", 1);
    }
    CHECK_ERR(repo_fsck(f.r, &how, &c, count, &n, &err), ERR_FAILED);
    CHECK_INT(n, (m.n_files + 2) / 3);
    CHECK_INT(c.n_bad, n);
    repo_manifest_release(&m);
    fixture_close(&f);
}

/* The rate holds: 300 kB at 1 MB a second take at least 0.25 s. */
TEST(test_repo_keep__rate)
{
    struct repo_fsck how = { .n_threads = 2, .rate_bytes = 1000000 };
    static char bytes[300000];
    struct err err = ERR_INIT;
    struct timespec from, to;
    struct fixture f;
    struct repo_check c;

    fixture_new(&f);
    put_model(&f, "big", "1");
    put_file(&f, "big/assets/big", bytes, sizeof(bytes));
    push(&f, "big", "a");
    clock_gettime(CLOCK_MONOTONIC, &from);
    CHECK_OK(repo_fsck(f.r, &how, &c, NULL, NULL, &err));
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK((double)(to.tv_sec - from.tv_sec) +
              (double)(to.tv_nsec - from.tv_nsec) / 1e9 >
          0.25);
    fixture_close(&f);
}

TEST(test_repo_keep__rebuild_waits_for_no_writer)
{
    struct err err = ERR_INIT;
    struct repo_rebuild out;
    struct fixture f;
    int n = 0;

    fill(&f);
    CHECK_OK(repo_rebuild(f.path, schemas(), 2, &out, lost, &n, &err));
    CHECK_INT(n, 0);
    CHECK_INT(out.n_versions, 2);
    CHECK(out.set_aside);
    free(out.set_aside);
    /* who still has the old file open may not write to it */
    CHECK_ERR(db_begin(f.r->db, &err), ERR_BUSY);
    fixture_close(&f);
    fixture_open(&f);
    CHECK_INT(check_clean(&f).n_versions, 2);
    push(&f, "one", "c");
    fixture_close(&f);
}

#ifdef TEST_FAULT
enum doing { REBUILD, BACKUP, RESTORE, REPAIR, BUNDLE };

static int
act(struct fixture *f, enum doing what, struct err *err)
{
    struct repo_rebuild rebuilt;
    struct repo_backup b;
    struct repo_check c;
    char path[1024], to[1024];
    bool new_key;
    int n = 0, r;

    switch (what) {
    case REBUILD:
        r = repo_rebuild(f->path, schemas(), 2, &rebuilt, lost, &n, err);
        free(rebuilt.set_aside);
        return r < 0 ? r : n > 0 ? -ERR_FAILED : 0;
    case BACKUP:
        if (fixture_try_open(f, err) < 0)
            return -(int)err->code;
        return repo_backup(f->r, below(f, "bk", path), false, &b, err);
    case RESTORE:
        return repo_restore(below(f, "bk", path), NULL, below(f, "back", to), NULL,
                            schemas(), 2, &b, &new_key, err);
    case REPAIR: {
        const char *const from[] = { below(f, "one", path) };
        struct repo_fsck how = {
            .n_threads = 1, .repair = true, .from = from, .n_from = 1
        };

        if (fixture_try_open(f, err) < 0)
            return -(int)err->code;
        return repo_fsck(f->r, &how, &c, NULL, NULL, err);
    }
    default: {
        struct repo_bundle bundle;
        struct repo_ingest in;

        if (fixture_try_open(f, err) < 0)
            return -(int)err->code;
        r = repo_bundle_open(f->r, below(f, "bundle.tar", path), &bundle, err);
        if (r == 0) {
            r = repo_bundle_take(&bundle, &bundle.entries[0].manifest, &in, err);
            if (r == 0)
                repo_ingest_release(&in);
        }
        if (r == 0)
            repo_bundle_close(&bundle);
        return r;
    }
    }
}

static int
child(struct fixture *f, enum doing what, const char *fault)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct err err = ERR_INIT;

        setenv("TEST_FAULT", fault, 1);
        _exit(act(f, what, &err) == 0 ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static void
write_bundle(struct fixture *f)
{
    struct repo_bundle_version v = { .about = cJSON_CreateObject() };
    struct err err = ERR_INIT;
    char path[1024], digest[REPO_DIGEST_BYTES];

    CHECK_OK(repo_resolve(f->r, "a@1", &v.v, &err));
    repo_digest_text(&v.v.digest, digest);
    json_put_str(v.about, "model", "a");
    json_put_int(v.about, "number", 1);
    json_put_str(v.about, "digest", digest);
    CHECK_OK(repo_bundle_write(f->r, &v, 1, below(f, "bundle.tar", path), &err));
    repo_bundle_version_release(&v);
}

static void
prepare(struct fixture *f, enum doing what)
{
    struct err err = ERR_INIT;
    struct repo_backup b;
    char path[1024];

    fill(f);
    if (what == RESTORE)
        CHECK_OK(repo_backup(f->r, below(f, "bk", path), true, &b, &err));
    if (what == BUNDLE) {
        write_bundle(f);
        fixture_close(f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f->path, &err));
        CHECK_OK(fixture_try_init(f, &err));
        fixture_open(f);
    }
    if (what == REPAIR) {
        struct repo_version v;
        struct repo_manifest m;

        CHECK_OK(repo_resolve(f->r, "a@1", &v, &err));
        CHECK_OK(repo_manifest_get(f->r, &v.digest, &m, &err));
        overwrite(object_file(f, &m.files[0].digest, path), 0, "X", 1);
        CHECK(unlink(object_file(f, &m.files[1].digest, path)) == 0);
        repo_manifest_release(&m);
    }
    fixture_close(f);
}

static void
copy_tree(const char *from, const char *to)
{
    const char *const argv[] = { "cp", "-a", from, to, NULL };
    const struct proc_args args = { .argv = argv };
    struct buf out = BUF_INIT;
    struct err err = ERR_INIT;
    int status;

    CHECK_OK(proc_run(&args, &out, &status, &err));
    CHECK_INT(status, 0);
    buf_release(&out);
}

#define STRIDE 5 /* every call is make check-fault's */

/* Whatever call dies or fails: the store is as it was, and the same again does it. */
static void
loop(enum doing what, const char *how, int first)
{
    struct fixture f;
    char saved[500];

    fixture_paths(&f);
    prepare(&f, what);
    snprintf(saved, sizeof(saved), "%s-saved", f.dir);
    copy_tree(f.dir, saved);
    for (int n = first;; n += STRIDE) {
        struct err err = ERR_INIT;
        char fault[64], path[1024];
        int status;

        CHECK(n < 900);
        snprintf(fault, sizeof(fault), "any:%d:%s", n, how);
        status = child(&f, what, fault);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            break;
        if (what == RESTORE &&
            fs_exists(AT_FDCWD, below(&f, "back", path), &err) == 1) {
            /* it had its name; only the last sync was missed */
            CHECK_OK(fs_remove_tree(AT_FDCWD, path, &err));
        }
        CHECK_OK(act(&f, what, &err));
        fixture_close(&f);
        fixture_open(&f);
        CHECK_INT(check_clean(&f).n_versions, what == BUNDLE ? 0 : 2);
        fixture_close(&f);
        CHECK_OK(fs_remove_tree(AT_FDCWD, f.dir, &err));
        copy_tree(saved, f.dir);
    }
    struct err err = ERR_INIT;
    CHECK_OK(fs_remove_tree(AT_FDCWD, saved, &err));
}

TEST(test_repo_keep__rebuild_killed_at_every_call) { loop(REBUILD, "kill", 2); }
TEST(test_repo_keep__every_call_of_rebuild_fails) { loop(REBUILD, "EIO", 3); }
TEST(test_repo_keep__backup_killed_at_every_call) { loop(BACKUP, "kill", 4); }
TEST(test_repo_keep__every_call_of_backup_fails) { loop(BACKUP, "ENOSPC", 5); }
TEST(test_repo_keep__restore_killed_at_every_call) { loop(RESTORE, "kill", 1); }
TEST(test_repo_keep__every_call_of_restore_fails) { loop(RESTORE, "ENOSPC", 2); }
TEST(test_repo_keep__repair_killed_at_every_call) { loop(REPAIR, "kill", 3); }
TEST(test_repo_keep__every_call_of_repair_fails) { loop(REPAIR, "ENOSPC", 4); }
TEST(test_repo_keep__import_killed_at_every_call) { loop(BUNDLE, "kill", 5); }
TEST(test_repo_keep__every_call_of_import_fails) { loop(BUNDLE, "ENOSPC", 1); }
#endif
