/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/repo_fixture.h"

#include "base/clock.h"

#include <sys/time.h>

/* Ingests and records as push does; what had to be read. */
static int64_t
push_read(struct fixture *f, const char *dir, const struct repo_ingest_opts *opts)
{
    struct repo_ingest in AUTO(repo_ingest_release) = { .n_new_files = 0 };
    struct repo_version v;
    struct err err = ERR_INIT;
    char path[1024];
    bool is_new;

    CHECK_OK(repo_ingest(f->r, below(f, dir, path), opts, &in, &err));
    CHECK_OK(db_begin(f->r->db, &err));
    CHECK_OK(repo_version_add(f->r, "a", &in.manifest, "{}", &v, &is_new, &err));
    CHECK_OK(repo_ingest_remember(f->r, &in, &err));
    CHECK_OK(db_commit(f->r->db, &err));
    return in.read_bytes;
}

static void
wait_till_calm(void)
{
    usleep(2100000);
}

TEST(test_repo_seen__unchanged_files_are_not_read)
{
    const struct repo_ingest_opts plain = { .reread = false },
                                  reread = { .reread = true };
    struct timeval times[2] = { { 1000, 0 }, { 1000, 0 } };
    struct fixture f;
    struct digest d;
    struct err err = ERR_INIT;
    char path[1024], kept[1024];

    fixture_new(&f);
    put_text(&f, "src/one", "12345");
    put_text(&f, "src/two", "1234567");
    CHECK_INT(push_read(&f, "src", &plain), 12);
    CHECK_INT(push_read(&f, "src", &plain), 12); /* too young to be believed */
    wait_till_calm();
    CHECK_INT(push_read(&f, "src", &plain), 12);
    CHECK_INT(push_read(&f, "src", &plain), 0);
    CHECK_INT(push_read(&f, "src", &reread), 12);
    /* another time, the same bytes */
    CHECK(utimes(below(&f, "src/one", path), times) == 0);
    CHECK_INT(push_read(&f, "src", &plain), 5);
    /* other bytes behind the same size and mtime */
    overwrite(path, 0, "X", 1);
    CHECK(utimes(path, times) == 0);
    CHECK_INT(push_read(&f, "src", &plain), 5);
    /* a copy in its place */
    wait_till_calm();
    CHECK_INT(push_read(&f, "src", &plain), 5);
    CHECK(rename(path, below(&f, "kept", kept)) == 0);
    put_text(&f, "src/one", "X2345");
    CHECK_INT(push_read(&f, "src", &plain), 5);
    /* without its object a row says nothing */
    sha256_of("1234567", 7, &d);
    CHECK(unlink(object_file(&f, &d, path)) == 0);
    CHECK_INT(push_read(&f, "src", &plain), 12);
    check_clean(&f);
    CHECK_OK(db_run(f.r->db, &err, "DELETE FROM seen_file", ""));
    CHECK_INT(push_read(&f, "src", &plain), 12);
    fixture_close(&f);
}

/* A row of long ago goes when a new one comes. */
TEST(test_repo_seen__rows_end)
{
    const struct repo_ingest_opts plain = { .reread = false };
    struct fixture f;
    struct err err = ERR_INIT;
    int64_t n;

    fixture_new(&f);
    put_text(&f, "src/one", "12345");
    put_text(&f, "other/two", "1234567");
    wait_till_calm();
    push_read(&f, "src", &plain);
    CHECK_OK(db_run(f.r->db, &err, "UPDATE seen_file SET hashed_ns = ?", "i",
                    clock_now_ns() - INT64_C(91) * 86400 * 1000000000));
    CHECK_INT(push_read(&f, "src", &plain), 0); /* nothing new: it stays */
    push_read(&f, "other", &plain);
    CHECK_OK(db_get_int(f.r->db, &n, &err, "SELECT count(*) FROM seen_file", ""));
    CHECK_INT(n, 1);
    CHECK_INT(push_read(&f, "src", &plain), 5);
    fixture_close(&f);
}
