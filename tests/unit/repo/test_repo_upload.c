/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/upload.h"

#include "repo/cold.h"
#include "tests/unit/repo/repo_fixture.h"

#include <sys/stat.h>

#define BIG ((size_t)3 << 20)

/* What is sent: one big file and a small one. */
struct sending {
    struct fixture f;
    struct repo_uploads *us;
    char *big;
    struct digest big_digest, small_digest;
};
static const char small[] = "graph";

static void
open_uploads(struct sending *s)
{
    struct err err = ERR_INIT;

    CHECK_OK(repo_uploads_open(&s->us, s->f.path, &err));
}

static void
sending_new(struct sending *s)
{
    memset(s, 0, sizeof(*s));
    fixture_new(&s->f);
    s->big = xmalloc(BIG);
    for (uint32_t i = 0, x = 1; i < BIG; i++) {
        x = x * 1664525 + 1013904223;
        s->big[i] = (char)(x >> 24);
    }
    sha256_of(s->big, BIG, &s->big_digest);
    sha256_of(small, sizeof(small) - 1, &s->small_digest);
    open_uploads(s);
}

static void
sending_end(struct sending *s)
{
    repo_uploads_close(s->us);
    fixture_close(&s->f);
    free(s->big);
}

static void
add(cJSON *list, const char *path, size_t n, const struct digest *d)
{
    cJSON *o = cJSON_CreateObject();
    char hex[DIGEST_HEX_BYTES];

    json_put_str(o, "path", path);
    json_put_int(o, "size", (int64_t)n);
    if (d) {
        digest_hex(d, hex);
        json_put_str(o, "sha256", hex);
    }
    cJSON_AddItemToArray(list, o);
}

/* `known`: the big file's digest is said at the beginning. */
static cJSON *
list(const struct sending *s, bool known)
{
    cJSON *o = cJSON_CreateObject(), *files = cJSON_AddArrayToObject(o, "files");

    json_put_str(o, "model", "m");
    add(files, "saved_model.pb", sizeof(small) - 1, &s->small_digest);
    add(files, "assets/big", BIG, known ? &s->big_digest : NULL);
    return o;
}

static struct repo_upload *
begin(struct sending *s, bool known)
{
    cJSON *ask AUTO(json_free) = list(s, known);
    struct repo_upload *u;
    struct err err = ERR_INIT;

    CHECK_OK(repo_upload_begin(&u, s->us, s->f.r, ask, &err));
    return u;
}

static int
try_part(struct repo_upload *u, int n, int64_t at, const void *p, size_t size,
         const struct repo_part_sums *sums, struct err *err)
{
    const struct repo_part_sums none = { .has_crc32c = false };
    struct repo_part *part = NULL;
    int rc = repo_part_begin(&part, u, n, at, (int64_t)size, sums ? sums : &none, err);

    for (size_t k = 0, some; rc == 0 && k < size; k += some) {
        some = size - k < 100000 ? size - k : 100000;
        rc = repo_part_take(part, (const char *)p + k, &some, err);
        if (rc == 1)
            rc = repo_part_flush(part, err);
    }
    if (rc == 0)
        rc = repo_part_end(part, err);
    repo_part_close(part);
    return rc;
}

static void
part(struct repo_upload *u, int n, int64_t at, const void *p, size_t size)
{
    struct err err = ERR_INIT;

    CHECK_OK(try_part(u, n, at, p, size, NULL, &err));
}

/* Files are in the order of their paths: 0 is the big one. */
static void
send_all(struct sending *s, struct repo_upload *u)
{
    part(u, 1, 0, small, sizeof(small) - 1);
    part(u, 0, 2 << 20, s->big + (2 << 20), BIG - (2 << 20));
    part(u, 0, 0, s->big, 2 << 20);
}

static int
try_commit(struct sending *s, struct repo_upload *u, struct repo_tree *out,
           struct err *err)
{
    cJSON *ask AUTO(json_free) = list(s, true);

    return repo_upload_commit(u, s->f.r, ask, out, err);
}

static char *
state_of(struct repo_upload *u, int i)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();

    repo_upload_json(u, o);
    return xstrdup(cJSON_GetStringValue(cJSON_GetObjectItem(
        cJSON_GetArrayItem(cJSON_GetObjectItem(o, "files"), i), "state")));
}

static void
check_state(struct repo_upload *u, int i, const char *want)
{
    char *state AUTO(free_ptr) = state_of(u, i);

    CHECK_STR(state, want);
}

/* The tree's list is in the store and its files are whole. */
static void
check_tree(struct sending *s, const struct repo_tree *t)
{
    struct repo_manifest m;
    struct err err = ERR_INIT;

    CHECK_OK(repo_manifest_get(s->f.r, &t->digest, &m, &err));
    CHECK(m.n_files == 2 && digest_eq(&m.files[0].digest, &s->big_digest));
    repo_manifest_release(&m);
    CHECK_OK(repo_manifest_verify(s->f.r, &t->digest, &err));
    check_clean(&s->f);
}

TEST(test_repo_upload__parts_in_any_order_become_a_tree)
{
    struct sending s;
    struct repo_tree t, again;
    struct err err = ERR_INIT;

    sending_new(&s);
    struct repo_upload *u = begin(&s, false);
    check_state(u, 0, "want");
    CHECK_ERR(try_commit(&s, u, &t, &err), ERR_CONFLICT);
    send_all(&s, u);
    check_state(u, 0, "come");
    CHECK_OK(try_commit(&s, u, &t, &err));
    CHECK_INT(t.n_new_files, 2);
    CHECK_INT(t.new_bytes, (int64_t)(BIG + sizeof(small) - 1));
    CHECK_OK(try_commit(&s, u, &again, &err)); /* the answer was lost */
    CHECK(digest_eq(&t.digest, &again.digest));
    CHECK_ERR(try_part(u, 0, 0, s.big, 10, NULL, &err), ERR_CONFLICT);
    check_tree(&s, &t);
    repo_upload_put(u);
    u = begin(&s, true); /* another one, of what is there */
    check_state(u, 0, "have");
    CHECK_OK(try_commit(&s, u, &again, &err));
    CHECK(digest_eq(&t.digest, &again.digest));
    CHECK_INT(again.n_new_files, 0);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__a_part_that_lies_did_not_come)
{
    struct repo_part_sums sums = { .has_crc32c = true };
    struct sending s;
    struct repo_tree t;
    struct err err = ERR_INIT;

    sending_new(&s);
    struct repo_upload *u = begin(&s, false);
    sums.crc32c = crc32c(0, s.big, 1 << 20);
    CHECK_OK(try_part(u, 0, 0, s.big, 1 << 20, &sums, &err));
    CHECK_ERR(try_part(u, 0, 1 << 20, s.big + 1, 1 << 20, &sums, &err), ERR_CORRUPT);
    sums = (struct repo_part_sums){ .has_sha256 = true };
    sha256_of(s.big + (1 << 20), 1 << 20, &sums.sha256);
    CHECK_ERR(try_part(u, 0, 1 << 20, s.big + 1, 1 << 20, &sums, &err), ERR_CORRUPT);
    CHECK_ERR(try_part(u, 1, 0, "other", 5, NULL, &err), ERR_CORRUPT);
    CHECK_ERR(try_part(u, 0, (int64_t)BIG - 5, s.big, 10, NULL, &err), ERR_INVALID);
    CHECK_ERR(try_part(u, 0, -1, s.big, 10, NULL, &err), ERR_INVALID);
    CHECK_ERR(try_part(u, 2, 0, s.big, 10, NULL, &err), ERR_NOTFOUND);
    part(u, 0, 0, "twice, and other bytes: not written again", 41);
    send_all(&s, u);
    CHECK_OK(try_commit(&s, u, &t, &err));
    check_tree(&s, &t);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__a_file_with_another_digest_is_asked_for_again)
{
    struct sending s;
    struct repo_tree t;
    struct err err = ERR_INIT;

    sending_new(&s);
    struct repo_upload *u = begin(&s, true);
    part(u, 1, 0, small, sizeof(small) - 1);
    part(u, 0, 0, s.big, BIG - 10);
    part(u, 0, (int64_t)BIG - 10, "0123456789", 10);
    CHECK_ERR(try_commit(&s, u, &t, &err), ERR_CORRUPT);
    check_state(u, 0, "want");
    check_state(u, 1, "come");
    part(u, 0, 0, s.big, BIG);
    CHECK_OK(try_commit(&s, u, &t, &err));
    check_tree(&s, &t);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__a_commit_lists_what_was_begun)
{
    struct sending s;
    struct repo_tree t;
    struct err err = ERR_INIT;
    cJSON *other AUTO(json_free) = cJSON_CreateObject();

    sending_new(&s);
    struct repo_upload *u = begin(&s, true);
    send_all(&s, u);
    CHECK_ERR(repo_upload_commit(u, s.f.r, other, &t, &err), ERR_INVALID);
    add(cJSON_AddArrayToObject(other, "files"), "assets/big", BIG, &s.big_digest);
    CHECK_ERR(repo_upload_commit(u, s.f.r, other, &t, &err), ERR_CONFLICT);
    add(cJSON_GetObjectItem(other, "files"), "saved_model.pb", 5, &s.big_digest);
    CHECK_ERR(repo_upload_commit(u, s.f.r, other, &t, &err), ERR_CONFLICT);
    CHECK_OK(try_commit(&s, u, &t, &err));
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__lists_that_no_manifest_has_are_refused)
{
    static const char *const bad[] = { "../x", "/x",    "a//b",   "a/./b", "",
                                       "a\n",  "a\xff", "a/b/..", "." };
    struct sending s;
    struct err err = ERR_INIT;

    sending_new(&s);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cJSON *ask AUTO(json_free) = cJSON_CreateObject();
        struct repo_upload *u;

        add(cJSON_AddArrayToObject(ask, "files"), bad[i], 1, NULL);
        CHECK_ERR(repo_upload_begin(&u, s.us, s.f.r, ask, &err), ERR_INVALID);
    }
    for (int k = 0; k < 2; k++) { /* twice, and a file that is a directory */
        cJSON *ask AUTO(json_free) = cJSON_CreateObject();
        struct repo_upload *u;

        add(cJSON_AddArrayToObject(ask, "files"), "a", 1, NULL);
        add(cJSON_GetObjectItem(ask, "files"), k ? "a/b" : "a", 1, NULL);
        CHECK_ERR(repo_upload_begin(&u, s.us, s.f.r, ask, &err), ERR_INVALID);
    }
    sending_end(&s);
}

TEST(test_repo_upload__what_came_survives_a_restart)
{
    struct sending s;
    struct repo_tree t;
    struct err err = ERR_INIT;
    char id[REPO_UPLOAD_ID_BYTES];
    cJSON *o AUTO(json_free) = cJSON_CreateObject();

    sending_new(&s);
    struct repo_upload *u = begin(&s, false);
    part(u, 0, 1 << 20, s.big + (1 << 20), BIG - (1 << 20));
    repo_upload_json(u, o);
    snprintf(id, sizeof(id), "%s", cJSON_GetStringValue(cJSON_GetObjectItem(o, "id")));
    repo_upload_put(u);
    repo_uploads_close(s.us);
    open_uploads(&s);
    CHECK_ERR(repo_upload_find(&u, s.us, id, "somebody", &err), ERR_NOTFOUND);
    CHECK_ERR(repo_upload_find(&u, s.us, "../../etc", "root", &err), ERR_NOTFOUND);
    CHECK_OK(repo_upload_find(&u, s.us, id, acc_actor(s.f.r->acc), &err));
    part(u, 1, 0, small, sizeof(small) - 1);
    part(u, 0, 0, s.big, 1 << 20);
    CHECK_OK(try_commit(&s, u, &t, &err));
    repo_upload_put(u);
    repo_uploads_close(s.us); /* and so does its end */
    open_uploads(&s);
    CHECK_OK(repo_upload_find(&u, s.us, id, acc_actor(s.f.r->acc), &err));
    CHECK_OK(try_commit(&s, u, &t, &err));
    check_tree(&s, &t);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__a_part_takes_room_as_it_comes_and_nothing_before_its_flush)
{
    const struct repo_part_sums none = { .has_crc32c = false };
    const int64_t claimed = INT64_C(64) << 20;
    static const char zeros[64 << 10];
    cJSON *ask AUTO(json_free) = cJSON_CreateObject(),
               *said AUTO(json_free) = cJSON_CreateObject();
    char *path AUTO(free_ptr) = NULL;
    struct repo_upload *u;
    struct repo_part *part;
    struct err err = ERR_INIT;
    struct sending s;
    struct stat st;
    int64_t taken = 0;
    int rc = 0;

    sending_new(&s);
    add(cJSON_AddArrayToObject(ask, "files"), "weights", (size_t)claimed, NULL);
    CHECK_OK(repo_upload_begin(&u, s.us, s.f.r, ask, &err));
    repo_upload_json(u, said);
    path =
        xasprintf("uploads/%s/0",
                  cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(said, "id")));
    CHECK_OK(repo_part_begin(&part, u, 0, 0, claimed, &none, &err));
    while (rc == 0 && taken < claimed) {
        size_t n = sizeof(zeros);

        rc = repo_part_take(part, zeros, &n, &err);
        taken += (int64_t)n;
    }
    CHECK_INT(rc, 1); /* it wants to write, and leaves when to us */
    CHECK(fstatat(s.f.r->dirfd, path, &st, 0) == 0);
    CHECK_INT(st.st_blocks, 0);
    CHECK_OK(repo_part_flush(part, &err));
    CHECK(fstatat(s.f.r->dirfd, path, &st, 0) == 0);
    CHECK(st.st_blocks * 512 >= taken && st.st_blocks * 512 <= taken + (1 << 20));
    repo_part_close(part);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__a_claimed_digest_gives_nobody_bytes)
{
    const struct acc_who bob = { .subject = "bob", .via = "test" };
    struct sending s;
    struct repo_tree t;
    struct err err = ERR_INIT;

    sending_new(&s);
    struct repo_upload *u = begin(&s, true);
    send_all(&s, u);
    CHECK_OK(try_commit(&s, u, &t, &err));
    repo_upload_put(u);
    CHECK_OK(acc_act_as(s.f.r->acc, &bob, &err));
    CHECK_INT(repo_object_may_read(s.f.r, &s.big_digest, &err), 0);
    CHECK_INT(repo_tree_may_read(s.f.r, &t.digest, &err), 0);
    CHECK_ERR(repo_tree_get(s.f.r, &t.digest, &t, &err), ERR_NOTFOUND);
    u = begin(&s, true);
    check_state(u, 0, "want"); /* as if nobody had it */
    CHECK_ERR(try_commit(&s, u, &t, &err), ERR_CONFLICT);
    send_all(&s, u);
    CHECK_OK(try_commit(&s, u, &t, &err));
    CHECK_INT(t.n_new_files, 2); /* nor does this tell */
    CHECK_INT(repo_object_may_read(s.f.r, &s.big_digest, &err), 1);
    CHECK_OK(acc_act_as(s.f.r->acc, NULL, &err));
    check_tree(&s, &t);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__pieces_of_an_object_are_copied)
{
    struct sending s;
    struct repo_tree t;
    struct err err = ERR_INIT;
    int64_t n;

    sending_new(&s);
    struct repo_upload *u = begin(&s, true);
    send_all(&s, u);
    CHECK_OK(try_commit(&s, u, &t, &err));
    repo_upload_put(u);
    char hex[DIGEST_HEX_BYTES];
    digest_hex(&s.big_digest, hex);
    char *text = xasprintf("{\"from\": \"sha256:%s\", \"pieces\": [[0, 1000000, 0], "
                           "[1000010, 2145718, 1000010]]}",
                           hex);
    cJSON *ask AUTO(json_free) = cJSON_Parse(text);
    cJSON *far AUTO(json_free) = cJSON_Parse(text);
    free(text);
    memcpy(s.big + 1000000, "0123456789", 10);
    sha256_of(s.big, BIG, &s.big_digest);
    u = begin(&s, true);
    check_state(u, 0, "want");
    cJSON_SetNumberValue(
        cJSON_GetArrayItem(cJSON_GetArrayItem(cJSON_GetObjectItem(far, "pieces"), 0),
                           2),
        3000000);
    CHECK_ERR(repo_upload_copy(u, s.f.r, 0, far, &n, &err), ERR_INVALID);
    CHECK_OK(repo_upload_copy(u, s.f.r, 0, ask, &n, &err));
    CHECK_INT(n, (int64_t)BIG - 10);
    part(u, 0, 1000000, "0123456789", 10);
    CHECK_OK(try_commit(&s, u, &t, &err));
    CHECK_INT(t.n_new_files, 1);
    check_tree(&s, &t);
    repo_upload_put(u);
    sending_end(&s);
}

TEST(test_repo_upload__sums_of_a_header)
{
    struct repo_part_sums sums;
    struct err err = ERR_INIT;

    CHECK_OK(repo_part_sums_parse("crc32c=:AQIDBA==:", &sums, &err));
    CHECK(sums.has_crc32c && !sums.has_sha256 && sums.crc32c == 0x01020304);
    CHECK_OK(repo_part_sums_parse("md5=:xx:, sha-256=:47DEQpj8HBSa+/"
                                  "TImW+5JCeuQeRkm5NMpJWZG3hSuFU=: ,crc32c=:AAAAAA==:",
                                  &sums, &err));
    CHECK(sums.has_crc32c && sums.has_sha256 && sums.sha256.b[0] == 0xe3);
    CHECK_OK(repo_part_sums_parse("", &sums, &err));
    CHECK(!sums.has_crc32c && !sums.has_sha256);
    CHECK_ERR(repo_part_sums_parse("sha-256=:AQIDBA==:", &sums, &err), ERR_INVALID);
    CHECK_ERR(repo_part_sums_parse("sha-256", &sums, &err), ERR_INVALID);
    CHECK_ERR(repo_part_sums_parse("crc32c=AQIDBA==", &sums, &err), ERR_INVALID);
}

#ifdef TEST_FAULT
/* All of an upload, in a child that ends at its n-th call. 0: it ran to its end. */
static int
killed_at(struct sending *s, int n, const char *what)
{
    char fault[40];
    int status;
    pid_t pid;

    repo_uploads_close(s->us);
    s->us = NULL;
    fixture_close(&s->f);
    pid = fork();
    if (pid == 0) {
        struct err err = ERR_INIT;
        struct repo_tree t;

        snprintf(fault, sizeof(fault), "any:%d:%s", n, what);
        fixture_open(&s->f);
        open_uploads(s);
        setenv("TEST_FAULT", fault, 1);
        cJSON *ask = list(s, false);
        struct repo_upload *u;
        int rc = repo_upload_begin(&u, s->us, s->f.r, ask, &err);
        if (rc == 0)
            rc = try_part(u, 1, 0, small, sizeof(small) - 1, NULL, &err);
        if (rc == 0)
            rc = try_part(u, 0, 0, s->big, 1 << 20, NULL, &err);
        if (rc == 0)
            rc = try_part(u, 0, 1 << 20, s->big + (1 << 20), BIG - (1 << 20), NULL,
                          &err);
        if (rc == 0)
            rc = try_commit(s, u, &t, &err);
        _exit(rc == 0 ? 0 : 1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    fixture_open(&s->f);
    open_uploads(s);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

static void
from_any_point(const char *what)
{
    struct sending s;
    struct err err = ERR_INIT;
    struct repo_tree t;
    int ended = 1;

    for (int n = 1; ended != 0; n += 1 + n / 16) {
        sending_new(&s);
        ended = killed_at(&s, n, what);
        CHECK_INT(repo_object_may_read(s.f.r, &s.big_digest, &err) +
                      repo_object_may_read(s.f.r, &s.small_digest, &err),
                  ended == 0 || repo_object_may_read(s.f.r, &s.big_digest, &err) == 1
                      ? 2
                      : 0); /* all of it, or nothing */
        struct repo_upload *u = begin(&s, false);
        for (int i = 0; i < 2; i++) {
            char *state AUTO(free_ptr) = state_of(u, i);

            if (strcmp(state, "want") == 0 && i == 0)
                part(u, 0, 0, s.big, BIG);
            else if (strcmp(state, "want") == 0)
                part(u, 1, 0, small, sizeof(small) - 1);
        }
        CHECK_OK(try_commit(&s, u, &t, &err));
        check_tree(&s, &t);
        repo_upload_put(u);
        sending_end(&s);
        struct fixture f = s.f;
        fixture_clear(&f);
        CHECK(n < 2000);
    }
}

TEST(test_repo_upload__goes_on_from_wherever_it_was_killed) { from_any_point("kill"); }

TEST(test_repo_upload__goes_on_when_the_disk_has_room_again)
{
    from_any_point("ENOSPC");
}
#endif
