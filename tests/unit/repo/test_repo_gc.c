/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo_gc_int.h"
#include "tests/unit/repo/gc_fixture.h"

TEST(test_repo_gc__what_nothing_keeps_goes_and_the_plan_said_so)
{
    struct fixture f;
    struct repo_version one, two;
    struct repo_gc_totals said, did;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    one = push(&f, "one", "a");
    two = push(&f, "two", "a");
    CHECK_INT(gc(&f).unused.n, 0);
    give_up(&f, &two);
    said = plan(&f, false);
    did = gc(&f);
    CHECK_INT(did.unused.n, 3); /* graph, weights, manifest; the index is shared */
    CHECK_INT(said.unused.n, did.unused.n);
    CHECK_INT(said.unused.bytes, did.unused.bytes);
    CHECK_INT(did.waiting.n, 0);
    CHECK_INT(did.freed.n, 0);
    CHECK_INT(check_clean(&f).n_versions, 1);
    CHECK_INT(count_files(below(&f, "store/objects", path)), 4);
    CHECK_INT(count_files(below(&f, "store/trash", path)), 3);
    CHECK_INT(gc(&f).unused.n, 0); /* twice does no harm */
    CHECK_INT(one.number, 1);
    fixture_close(&f);
}

TEST(test_repo_gc__the_trash_is_emptied_after_a_day)
{
#ifdef TEST_FAULT
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    struct repo_gc_totals t, said;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    give_up(&f, &v);
    t = gc(&f);
    clocks(0, 2);
    said = plan(&f, false);
    CHECK_INT(said.freed.bytes, t.unused.bytes);
    CHECK_INT(gc(&f).freed.bytes, t.unused.bytes);
    CHECK_INT(count_files(below(&f, "store/trash", path)), 0);
    CHECK_ERR(try_undelete(&f, &v, &err), ERR_NOTFOUND);
    CHECK_ERR(repo_resolve(f.r, "a@1", &v, &err), ERR_NOTFOUND);
    CHECK_INT(push(&f, "one", "a").number, 2); /* never 1 again */
    check_clean(&f);
    unsetenv("TEST_CLOCK");
    fixture_close(&f);
#else
    unit_skip("needs TEST_CLOCK");
#endif
}

TEST(test_repo_gc__empty_trash_frees_at_once)
{
    struct fixture f;
    struct repo_version v;
    struct repo_gc_totals said, did;
    struct err err = ERR_INIT;
    char path[1024], from[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    /* somebody has a link to the manifest */
    CHECK(link(object_file(&f, &v.digest, from), below(&f, "link", path)) == 0);
    give_up(&f, &v);
    said = plan(&f, true);
    CHECK_OK(try_gc(&f, true, &did, &err));
    CHECK_INT(did.freed.n, 4);
    CHECK_INT(said.freed.bytes, did.freed.bytes);
    CHECK(did.still_linked_bytes > 0);
    CHECK_INT(count_files(below(&f, "store/objects", path)), 0);
    CHECK_INT(count_files(below(&f, "store/trash", path)), 0);
    fixture_close(&f);
}

TEST(test_repo_gc__big_manifests_are_taken_apart_in_batches)
{
    enum { FILES = 500 };
    struct fixture f;
    struct repo_version v;
    char path[64], text[64];

    fixture_new(&f);
    put_model(&f, "one", "1");
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "one/assets/%d", i);
        snprintf(text, sizeof(text), "file %d", i);
        put_text(&f, path, text);
    }
    v = push(&f, "one", "a");
    give_up(&f, &v);
    CHECK_INT(gc(&f).unused.n, FILES + 4);
    CHECK_INT(check_clean(&f).n_objects, 0);
    fixture_close(&f);
}

TEST(test_repo_gc__one_at_a_time)
{
    struct fixture f;
    struct repo_gc *one, *two;
    struct err err = ERR_INIT;

    fixture_new(&f);
    CHECK_OK(repo_gc_open(&one, f.r, false, &err));
    CHECK_ERR(repo_gc_open(&two, f.r, false, &err), ERR_BUSY);
    CHECK_OK(repo_gc_open(&two, f.r, true, &err)); /* looking is free */
    repo_gc_close(two);
    repo_gc_close(one);
    fixture_close(&f);
}

/* ---- pushes meanwhile
 * ----------------------------------------------------------------
 */

/* A second process's handle. */
static void
other_handle(struct fixture *f, struct fixture *out)
{
    *out = *f;
    out->r = NULL;
    fixture_open(out);
}

static void
record(struct fixture *f, struct repo_ingest *in)
{
    struct repo_version v;
    struct err err = ERR_INIT;
    bool is_new;

    CHECK_OK(db_begin(f->r->db, &err));
    CHECK_OK(repo_version_add(f->r, "a", &in->manifest, "{}", &v, &is_new, &err));
    CHECK_OK(db_commit(f->r->db, &err));
    CHECK(is_new);
    repo_ingest_release(in);
}

TEST(test_repo_gc__what_a_push_found_before_gc_stays)
{
    struct fixture f, other;
    struct repo_ingest in;
    struct repo_version v;
    struct err err = ERR_INIT;
    struct repo_gc_totals t;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    other_handle(&f, &other);
    CHECK_OK(repo_ingest_dir(other.r, below(&f, "one", path), &in, &err));
    CHECK_INT(in.n_new_files, 0);
    give_up(&f, &v);
    t = gc(&f);
    CHECK_INT(t.unused.n, 0);
    CHECK_INT(t.waiting.n, 4);
    CHECK_INT(plan(&f, false).waiting.n, 4);
    record(&other, &in);
    repo_lease_end(other.r);
    CHECK_INT(gc(&f).unused.n, 0);
    CHECK_INT(check_clean(&f).n_versions, 1);
    fixture_close(&other);
    fixture_close(&f);
}

TEST(test_repo_gc__a_push_rescues_what_was_doomed_before)
{
    struct fixture f, other;
    struct repo_gc *g;
    struct repo_ingest in;
    struct repo_version v;
    struct sweep s;
    struct err err = ERR_INIT;
    struct repo_gc_totals t = { .still_linked_bytes = 0 };
    bool ended = false;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    give_up(&f, &v);
    other_handle(&f, &other);
    CHECK_OK(repo_gc_open(&g, f.r, false, &err));
    CHECK_OK(gc_mark(g, gc_doom, g, &err));
    CHECK_OK(repo_ingest_dir(other.r, below(&f, "one", path), &in, &err));
    gc_sweep_start(&s, g, &t);
    while (!ended)
        CHECK_OK(gc_sweep_step(&s, &ended, &err));
    CHECK_INT(t.unused.n, 0);
    record(&other, &in);
    repo_lease_end(other.r);
    repo_gc_close(g);
    CHECK_INT(gc(&f).unused.n, 0);
    CHECK_INT(check_clean(&f).n_versions, 1);
    fixture_close(&other);
    fixture_close(&f);
}

TEST(test_repo_gc__what_was_half_swept_is_whole_when_pushed_again)
{
    struct fixture f;
    struct repo_gc *g;
    struct repo_version v;
    struct sweep s;
    struct err err = ERR_INIT;
    struct repo_gc_totals t = { .still_linked_bytes = 0 };
    int64_t n;
    bool ended = false;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    repo_lease_end(f.r);
    give_up(&f, &v);
    CHECK_OK(repo_gc_open(&g, f.r, false, &err));
    CHECK_OK(gc_mark(g, gc_doom, g, &err));
    gc_sweep_start(&s, g, &t);
    s.n_batch = 1; /* one row of the manifest, then somebody pushes */
    CHECK_OK(gc_sweep_step(&s, &ended, &err));
    CHECK_OK(db_get_int(f.r->db, &n, &err, "SELECT count(*) FROM manifest_file", ""));
    CHECK_INT(n, 2);
    CHECK_INT(push(&f, "one", "a").number, 2);
    repo_lease_end(f.r);
    while (!ended)
        CHECK_OK(gc_sweep_step(&s, &ended, &err));
    repo_gc_close(g);
    CHECK_INT(check_clean(&f).n_versions, 1);
    fixture_close(&f);
}

/* gc all the time, and pushes that find what it wants: none fails, nothing is missing.
 */
TEST(test_repo_gc__pushes_race_gc)
{
    enum { TURNS = 150 };
    struct fixture f, other;
    struct repo_gc_totals t;
    struct err err = ERR_INIT;
    int status;
    pid_t pid;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    fixture_close(&f);
    pid = fork();
    if (pid == 0) {
        other_handle(&f, &other);
        for (;;) {
            int r = try_gc(&other, true, &t, &err);

            if (r < 0) {
                printf("# %s\n", err.msg);
                fflush(stdout);
                _exit(1);
            }
            if (access(below(&f, "stop", (char[1024]){ 0 }), F_OK) == 0)
                _exit(0);
        }
    }
    fixture_open(&f);
    for (int i = 0; i < TURNS; i++) {
        struct repo_version v = push(&f, i % 2 ? "one" : "two", "a");

        repo_lease_end(f.r);
        CHECK_OK(repo_manifest_verify(f.r, &v.digest, &err));
        give_up(&f, &v);
    }
    push(&f, "one", "a");
    put_text(&f, "stop", "");
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    repo_lease_end(f.r);
    CHECK_OK(try_gc(&f, true, &t, &err));
    CHECK_INT(check_clean(&f).n_versions, 1);
    CHECK_INT(check_clean(&f).n_objects, 4);
    fixture_close(&f);
}

/* ---- files without a row
 * -------------------------------------------------------------
 */

#ifdef TEST_FAULT
TEST(test_repo_gc__orphans_wait_a_day)
{
    struct fixture f;
    struct repo_ingest in;
    struct err err = ERR_INIT;
    struct repo_gc_totals t;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    CHECK_OK(repo_ingest_dir(f.r, below(&f, "one", path), &in, &err));
    repo_ingest_release(&in);
    repo_lease_end(f.r); /* as if it was killed, and its lease has run out */
    t = gc(&f);
    CHECK_INT(t.orphans.n, 0);
    CHECK_INT(t.waiting.n, 4);
    clocks(400, 0); /* the wall clock is not believed */
    CHECK_INT(gc(&f).orphans.n, 0);
    clocks(0, 2);
    CHECK_INT(plan(&f, false).orphans.n, 4);
    CHECK_INT(gc(&f).orphans.n, 4);
    CHECK_INT(count_files(below(&f, "store/objects", path)), 0);
    unsetenv("TEST_CLOCK");
    fixture_close(&f);
}

TEST(test_repo_gc__a_dead_push_holds_it_up_for_an_hour)
{
    struct fixture f, other;
    struct repo_ingest in;
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    repo_lease_end(f.r);
    other_handle(&f, &other);
    CHECK_OK(repo_ingest_dir(other.r, below(&f, "one", path), &in, &err));
    repo_ingest_release(&in);
    give_up(&f, &v);
    CHECK_INT(gc(&f).waiting.n, 4);
    setenv("TEST_CLOCK", "0:3700", 1);
    CHECK_INT(gc(&f).unused.n, 4);
    unsetenv("TEST_CLOCK");
    fixture_close(&other);
    fixture_close(&f);
}

/* ---- faults
 * --------------------------------------------------------------------------
 */

static int
child_gc(struct fixture *f, const char *fault)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct err err = ERR_INIT;
        struct repo_gc_totals t;

        if (fixture_try_open(f, &err) < 0)
            _exit(3);
        setenv("TEST_FAULT", fault, 1);
        if (try_gc(f, true, &t, &err) < 0)
            _exit(err.msg[0] ? 1 : 4);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) <= 1);
    return status;
}

/* Whatever befell gc: fsck is clean, a deleted version comes back unless its bytes were
 * unlinked, and the next gc ends the work. */
static void
gc_loop(const char *what, bool undelete)
{
    for (int n = 1;; n++) {
        struct fixture f;
        struct repo_version one, two;
        struct err err = ERR_INIT;
        struct repo_gc_totals t;
        char fault[64], path[1024];
        int status;

        CHECK(n < 400);
        fixture_new(&f);
        put_model(&f, "one", "1");
        put_model(&f, "two", "2");
        one = push(&f, "one", "a");
        two = push(&f, "two", "a");
        CHECK_OK(try_delete(&f, &two, 0, &err));
        fixture_close(&f);
        snprintf(fault, sizeof(fault), "any:%d:%s", n, what);
        status = child_gc(&f, fault);
        fixture_open(&f);
        check_clean(&f);
        CHECK_OK(repo_manifest_verify(f.r, &one.digest, &err));
        if (undelete && try_undelete(&f, &two, &err) == 0) {
            CHECK_OK(repo_manifest_verify(f.r, &two.digest, &err));
            CHECK_INT(check_clean(&f).n_versions, 2);
            CHECK_OK(try_delete(&f, &two, 0, &err));
        }
        err_clear(&err);
        CHECK_OK(try_gc(&f, true, &t, &err));
        CHECK_INT(check_clean(&f).n_versions, 1);
        CHECK_INT(count_files(below(&f, "store/objects", path)), 4);
        CHECK_INT(count_files(below(&f, "store/trash", path)), 0);
        fixture_clear(&f);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return;
    }
}

TEST(test_repo_gc__killed_at_every_call)
{
    gc_loop("kill", false);
    gc_loop("kill", true);
}

TEST(test_repo_gc__every_call_fails)
{
    gc_loop("EIO", false);
    gc_loop("ENOSPC", true);
}
#endif
