/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

TEST(test_repo_version__numbers_and_identity)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];
    bool is_new;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    CHECK_OK(try_push(&f, "one", "a", &v, &is_new, &err));
    CHECK(is_new);
    CHECK_INT(v.number, 1);
    CHECK_STR(v.model, "a");
    CHECK_STR(v.state, "ready");
    CHECK_INT(v.n_files, 3);
    CHECK_INT(v.size_bytes, strlen("graph 1") + strlen("index") + strlen("weights 1"));
    CHECK_STR(v.pushed_by, acc_actor(f.r->acc));
    CHECK_OK(try_push(&f, "two", "a", &v, &is_new, &err));
    CHECK(is_new);
    CHECK_INT(v.number, 2);
    CHECK_OK(
        try_push(&f, "one", "a", &v, &is_new, &err)); /* same bytes, same version */
    CHECK(!is_new);
    CHECK_INT(v.number, 1);
    CHECK_OK(try_push(&f, "one", "b", &v, &is_new, &err)); /* of another model */
    CHECK(is_new);
    CHECK_INT(v.number, 1);
    CHECK_INT(check_clean(&f).n_versions, 3);
    /* graph, weights twice; the index once; two manifests */
    CHECK_INT(count_files(below(&f, "store/objects", path)), 7);
    CHECK_ERR(try_push(&f, "one", "a/b", &v, &is_new, &err), ERR_INVALID);
    fixture_close(&f);
}

TEST(test_repo_version__file_says_what_it_is)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    struct buf text = BUF_INIT;
    char digest[REPO_DIGEST_BYTES], want[300];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a b");
    repo_digest_text(&v.digest, digest);
    CHECK_OK(fs_read(f.r->dirfd, "versions/a%20b/1", &text, &err));
    snprintf(want, sizeof(want),
             "sluice-version 1\nmodel a%%20b\nnumber 1\ndigest %s\ntime 2", digest);
    CHECK(strncmp(buf_str(&text), want, strlen(want)) == 0);
    buf_release(&text);
    fixture_close(&f);
}

TEST(test_repo_version__a_number_that_was_taken_is_not_given_again)
{
    struct fixture f;
    struct err err = ERR_INIT;
    struct repo_ingest in;
    struct repo_version v;
    bool is_new;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    CHECK_OK(repo_ingest_dir(f.r, below(&f, "one", path), &in, &err));
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_version_add(f.r, "a", &in.manifest, "{}", &v, &is_new, &err));
    CHECK_INT(v.number, 1);
    db_rollback(f.r->db);
    repo_ingest_release(&in);
    CHECK_ERR(repo_resolve(f.r, "a", &v, &err), ERR_NOTFOUND);
    check_clean(&f);
    CHECK_INT(push(&f, "one", "a").number, 2);
    put_text(&f, "store/versions/a/41", "from a catalogue that was lost");
    put_text(&f, "store/versions/a/x7", "not a number");
    CHECK_INT(push(&f, "two", "a").number, 42);
    fixture_close(&f);
}

static int
join(void *arg, const struct repo_version *v, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s@%" PRId64 " ", v->model, v->number);
    return 0;
}

static int
join_alias(void *arg, const char *alias, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s ", alias);
    return 0;
}

TEST(test_repo_version__resolve)
{
    struct fixture f;
    struct repo_version v1, v2, b1, v;
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    char ref[REPO_DIGEST_BYTES], shorter[16];
    int64_t id, version_id, release_id;

    fixture_new(&f);
    CHECK_INT(repo_resolve(f.r, "a", &v, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "sluice push"));
    err_clear(&err);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    v1 = push(&f, "one", "a");
    v2 = push(&f, "two", "a");
    b1 = push(&f, "two", "b");
    CHECK_OK(repo_resolve(f.r, "a", &v, &err));
    CHECK_INT(v.id, v2.id);
    CHECK_OK(repo_resolve(f.r, "models:/a/1", &v, &err));
    CHECK_INT(v.id, v1.id);
    CHECK_INT(repo_resolve(f.r, "a@7", &v, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "a has no version 7; its newest is 2"));
    err_clear(&err);
    CHECK_INT(repo_resolve(f.r, "c@1", &v, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "there is a, b"));
    err_clear(&err);
    /* digests */
    repo_digest_text(&v1.digest, ref);
    CHECK_OK(repo_resolve(f.r, ref, &v, &err));
    CHECK_INT(v.id, v1.id);
    for (size_t n = 8; n < 10; n++) { /* even and odd */
        snprintf(shorter, sizeof(shorter), "%.*s", (int)(7 + n), ref);
        CHECK_OK(repo_resolve(f.r, shorter, &v, &err));
        CHECK_INT(v.id, v1.id);
    }
    repo_digest_text(&v2.digest, ref);
    CHECK_INT(repo_resolve(f.r, ref, &v, &err), -ERR_CONFLICT);
    CHECK(strstr(err.msg, "a@2, b@1"));
    err_clear(&err);
    CHECK_ERR(repo_resolve(f.r, "sha256:00000000", &v, &err), ERR_NOTFOUND);
    /* aliases */
    CHECK_ERR(repo_resolve(f.r, "a@production", &v, &err), ERR_NOTFOUND);
    CHECK_INT(
        repo_alias_get(f.r, v1.model_id, "production", &version_id, &release_id, &err),
        0);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_alias_set(f.r, v1.model_id, "production", v1.id, 7, &err));
    CHECK_OK(repo_alias_set(f.r, v1.model_id, "canary", v1.id, 0, &err));
    CHECK_ERR(repo_alias_set(f.r, v1.model_id, "latest", v1.id, 0, &err), ERR_INVALID);
    CHECK_ERR(repo_alias_set(f.r, v1.model_id, "stolen", b1.id, 0, &err), ERR_DB);
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_OK(repo_resolve(f.r, "models:/a@production", &v, &err));
    CHECK_INT(v.id, v1.id);
    CHECK_INT(
        repo_alias_get(f.r, v1.model_id, "production", &version_id, &release_id, &err),
        1);
    CHECK_INT(version_id, v1.id);
    CHECK_INT(release_id, 7);
    CHECK_OK(repo_aliases(f.r, v1.id, join_alias, &b, &err));
    CHECK_STR(buf_str(&b), "canary production ");
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_alias_set(f.r, v1.model_id, "production", v2.id, 8, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_OK(repo_resolve(f.r, "a@production", &v, &err));
    CHECK_INT(v.id, v2.id);
    CHECK_INT(repo_resolve(f.r, "a@staging", &v, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "it has canary, production"));
    err_clear(&err);
    /* states */
    CHECK_OK(db_run(f.r->db, &err, "UPDATE version SET state = 'rejected' WHERE id = ?",
                    "i", v2.id));
    CHECK_OK(repo_resolve(f.r, "a", &v, &err));
    CHECK_INT(v.id, v1.id);
    CHECK_OK(db_run(f.r->db, &err, "UPDATE version SET state = 'quarantined'", ""));
    CHECK_INT(repo_resolve(f.r, "a", &v, &err), -ERR_NOTFOUND);
    CHECK(strstr(err.msg, "ready"));
    err_clear(&err);
    /* lists */
    buf_clear(&b);
    CHECK_OK(repo_versions(f.r, NULL, join, &b, &err));
    CHECK_STR(buf_str(&b), "a@1 a@2 b@1 ");
    buf_clear(&b);
    CHECK_OK(repo_versions(f.r, "a", join, &b, &err));
    CHECK_STR(buf_str(&b), "a@2 a@1 ");
    CHECK_INT(repo_model_id(f.r, "b", &id, &err), 1);
    CHECK_INT(id, b1.model_id);
    CHECK_INT(repo_model_id(f.r, "c", &id, &err), 0);
    CHECK_ERR(repo_version_get(f.r, 99, &v, &err), ERR_NOTFOUND);
    buf_release(&b);
    fixture_close(&f);
}

/* Several processes push at once: numbers have no double and no gap. */
static void
push_at_once(bool same_bytes)
{
    enum { N = 8 };
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    pid_t pids[N];
    char name[32], path[1024];

    fixture_new(&f);
    fixture_close(&f);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "%d", same_bytes ? 0 : i);
        char dir[40];
        snprintf(dir, sizeof(dir), "src%s", name);
        put_model(&f, dir, name);
    }
    for (int i = 0; i < N; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            bool is_new = false;
            char dir[40];

            snprintf(dir, sizeof(dir), "src%d", same_bytes ? 0 : i);
            if (fixture_try_open(&f, &err) < 0 ||
                try_push(&f, dir, "a", &v, &is_new, &err) < 0) {
                printf("# %s\n", err.msg);
                _exit(100);
            }
            _exit((int)v.number + (is_new ? 50 : 0));
        }
    }
    int n_new = 0, seen[N + 1] = { 0 };
    for (int i = 0; i < N; i++) {
        int status, code;

        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status));
        code = WEXITSTATUS(status);
        n_new += code > 50;
        code -= code > 50 ? 50 : 0;
        CHECK(code >= 1 && code <= N);
        seen[code]++;
    }
    CHECK_INT(n_new, same_bytes ? 1 : N);
    for (int i = 1; i <= N; i++)
        CHECK_INT(seen[i], same_bytes ? (i == 1 ? N : 0) : 1);
    fixture_open(&f);
    CHECK_INT(check_clean(&f).n_versions, same_bytes ? 1 : N);
    CHECK_INT(count_files(below(&f, "store/stage", path)), 0);
    fixture_close(&f);
}

TEST(test_repo_version__eight_pushes_of_the_same_bytes) { push_at_once(true); }

TEST(test_repo_version__eight_pushes_of_different_bytes) { push_at_once(false); }

/* ---- wishes ---- */

static int
wish(struct fixture *f, const char *dir, const char *model, struct repo_wish w,
     struct repo_version *v, bool *is_new, struct err *err)
{
    struct repo_ingest in AUTO(repo_ingest_release);
    char path[1024];
    int r = repo_ingest_dir(f->r, below(f, dir, path), &in, err);

    if (r == 0)
        r = db_begin(f->r->db, err);
    if (r == 0)
        r = repo_version_add_as(f->r, model, &in.manifest, "{}", &w, v, is_new, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

TEST(test_repo_version__a_number_may_be_wished_for)
{
    const struct repo_wish five = { .number = 5 }, four = { .number = 4 };
    const struct repo_wish most = { .number = REPO_NUMBER_MAX }, none = { .number = 0 };
    const struct repo_wish more = { .number = REPO_NUMBER_MAX + 1 };
    struct fixture f;
    struct err err = ERR_INIT;
    struct repo_version v;
    bool is_new;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    put_model(&f, "three", "3");
    CHECK_OK(wish(&f, "one", "m", five, &v, &is_new, &err));
    CHECK_INT(v.number, 5);
    CHECK_OK(wish(&f, "one", "m", five, &v, &is_new, &err));
    CHECK(!is_new);
    CHECK_ERR(wish(&f, "one", "m", four, &v, &is_new, &err), ERR_CONFLICT);
    CHECK_ERR(wish(&f, "two", "m", five, &v, &is_new, &err), ERR_CONFLICT);
    CHECK_ERR(wish(&f, "two", "m", four, &v, &is_new, &err), ERR_CONFLICT);
    CHECK_ERR(wish(&f, "two", "m", more, &v, &is_new, &err), ERR_LIMIT);
    CHECK_OK(wish(&f, "two", "m", most, &v, &is_new, &err));
    CHECK_INT(v.number, REPO_NUMBER_MAX);
    CHECK_ERR(wish(&f, "three", "m", none, &v, &is_new, &err), ERR_LIMIT);
    /* one that only versions/ knows counts, too */
    put_text(&f, "store/versions/n/41", "");
    CHECK_ERR(wish(&f, "three", "n", five, &v, &is_new, &err), ERR_CONFLICT);
    CHECK_OK(wish(&f, "three", "n", none, &v, &is_new, &err));
    CHECK_INT(v.number, 42);
    fixture_close(&f);
}

TEST(test_repo_version__rejected_bytes_are_refused)
{
    const struct repo_wish none = { .number = 0 }, again = { .again = true };
    const struct repo_wish held = { .quarantine = true };
    struct fixture f;
    struct err err = ERR_INIT;
    struct buf why AUTO(buf_release) = BUF_INIT;
    struct repo_version v;
    bool is_new;

    fixture_new(&f);
    put_model(&f, "one", "1");
    CHECK_OK(wish(&f, "one", "m", held, &v, &is_new, &err));
    CHECK_STR(v.state, "quarantined");
    CHECK_ERR(repo_resolve(f.r, "m", &v, &err), ERR_NOTFOUND);
    CHECK_OK(repo_resolve(f.r, "m@1", &v, &err));
    CHECK_OK(wish(&f, "one", "m", none, &v, &is_new, &err));
    CHECK(!is_new);
    CHECK_STR(v.state, "quarantined"); /* a push again does not let it out */
    CHECK_OK(repo_version_set_state(f.r, &v, "rejected", "leaks", &err));
    CHECK_OK(repo_version_why(f.r, v.id, &why, &err));
    CHECK_STR(buf_str(&why), "leaks");
    CHECK(wish(&f, "one", "m", none, &v, &is_new, &err) == -ERR_REFUSED);
    CHECK(strstr(err.msg, "m@1, which was rejected: leaks"));
    err_clear(&err);
    CHECK_OK(wish(&f, "one", "other", none, &v, &is_new, &err)); /* of another model */
    CHECK_OK(wish(&f, "one", "m", again, &v, &is_new, &err));
    CHECK(is_new);
    CHECK_INT(v.number, 2);
    CHECK_OK(wish(&f, "one", "m", none, &v, &is_new, &err));
    CHECK_INT(v.number, 2);
    fixture_close(&f);
}
