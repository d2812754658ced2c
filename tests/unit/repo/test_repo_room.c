/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/gc_fixture.h"

TEST(test_repo_room__sizes)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: none */
    } all[] = { { "0", 0 },
                { "512", 512 },
                { "20G", 20000000000 },
                { "20g", 20000000000 },
                { "1.5kB", 1500 },
                { "1KiB", 1024 },
                { "2TiB", INT64_C(2) << 40 },
                { "", -1 },
                { "G", -1 },
                { "-1", -1 },
                { "1Q", -1 },
                { "1GG", -1 },
                { "nan", -1 },
                { "inf", -1 },
                { "1e30", -1 },
                { "10000000T", -1 } };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        int64_t got = 0;

        if (all[i].bytes < 0) {
            CHECK_ERR(repo_size_parse(all[i].text, &got, &err), ERR_INVALID);
        } else {
            CHECK_OK(repo_size_parse(all[i].text, &got, &err));
            CHECK_INT(got, all[i].bytes);
        }
    }
}

static void
set_quota(struct fixture *f, const char *model, int64_t bytes)
{
    struct err err = ERR_INIT;

    CHECK_OK(db_begin(f->r->db, &err));
    CHECK_OK(repo_quota_set(f->r, model, bytes, &err));
    CHECK_OK(db_commit(f->r->db, &err));
}

TEST(test_repo_room__a_quota_counts_what_only_this_push_brings)
{
    struct fixture f;
    struct repo_quota q;
    struct err err = ERR_INIT;
    char one[1024], two[1024];
    int64_t one_bytes;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    below(&f, "one", one);
    below(&f, "two", two);
    CHECK_OK(repo_room_for(f.r, "a", one, &err)); /* no limits: nothing is read */
    set_quota(&f, "a", 10);
    CHECK_ERR(repo_room_for(f.r, "a", one, &err), ERR_LIMIT);
    CHECK_OK(repo_room_for(f.r, "b", one, &err));
    one_bytes = push(&f, "one", "a").size_bytes;
    CHECK_ERR(repo_quota_check(f.r, "a", &err), ERR_LIMIT);
    CHECK_OK(repo_room_for(f.r, "a", one, &err)); /* it brings nothing */
    set_quota(&f, "a", one_bytes + 15);
    CHECK_ERR(repo_room_for(f.r, "a", two, &err), ERR_LIMIT);
    set_quota(&f, "a", one_bytes + 16); /* "graph 2" and "weights 2" */
    CHECK_OK(repo_room_for(f.r, "a", two, &err));
    push(&f, "two", "a");
    CHECK_OK(repo_quota_check(f.r, "a", &err));
    CHECK_OK(repo_quota(f.r, "a", &q, &err));
    CHECK_INT(q.used_bytes, one_bytes + 16);
    CHECK_INT(q.n_versions, 2);
    set_quota(&f, "a", 0);
    set_quota(&f, NULL, INT64_C(1) << 60);
    put_model(&f, "three", "3");
    CHECK_ERR(repo_room_for(f.r, "a", below(&f, "three", one), &err), ERR_LIMIT);
    CHECK_OK(repo_room_for(f.r, "a", two, &err));
    fixture_close(&f);
}

/* ---- gc --need
 * -----------------------------------------------------------------------
 */

static int
add_kind(void *arg, const struct repo_gc_item *item, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s", item->kind);
    if (item->v)
        buf_addf(arg, " %" PRId64, item->v->number);
    buf_addf(arg, " %" PRId64 " objects%s\n", item->n_objects,
             item->frees_bytes > 0 ? "" : ", no room");
    return 0;
}

TEST(test_repo_room__safest_first)
{
    struct fixture f;
    struct repo_version v[5];
    struct repo_ingest in;
    struct repo_gc *g;
    struct repo_rules rules = { .keep_last = 1 };
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct repo_gc_need need = { .fn = add_kind, .arg = &text };
    struct err err = ERR_INIT;
    char path[1024];

    fixture_new(&f);
    for (int i = 0; i < 5; i++) {
        char seed[8];

        snprintf(seed, sizeof(seed), "%d", i);
        put_model(&f, seed, seed);
        v[i] = push(&f, seed, "a");
    }
    give_up(&f, &v[0]);
    gc(&f); /* version 1 lies in the trash */
    give_up(&f, &v[1]);
    put_model(&f, "orphan", "of a push that was killed");
    CHECK_OK(repo_ingest_dir(f.r, below(&f, "orphan", path), &in, &err));
    repo_ingest_release(&in);
    repo_lease_end(f.r);
    CHECK_OK(try_delete(&f, &v[2], 14, &err));
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_rules_set(f.r, "a", &rules, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    need.need_bytes = INT64_MAX;
    CHECK_OK(repo_gc_open(&g, f.r, true, &err));
    CHECK_OK(repo_gc_need(g, &need, &err));
    CHECK_STR(buf_str(&text), "trash 3 objects\norphans 3 objects\nunused 3 objects\n"
                              "deleted 3 3 objects\nretention 4 3 objects\n");
    repo_gc_close(g);
    check_clean(&f); /* nothing was done */
    CHECK_INT(count_files(below(&f, "store/trash", path)), 3);

    buf_clear(&text);
    need.need_bytes = 1; /* it is there: nothing goes */
    need.apply = true;
    CHECK_OK(repo_gc_open(&g, f.r, false, &err));
    CHECK_OK(repo_gc_need(g, &need, &err));
    CHECK_STR(buf_str(&text), "");
    need.need_bytes = INT64_MAX;
    CHECK_OK(repo_gc_need(g, &need, &err));
    repo_gc_close(g);
    CHECK_INT(check_clean(&f).n_versions, 1);
    CHECK_INT(count_files(below(&f, "store/objects", path)), 4);
    CHECK_INT(count_files(below(&f, "store/trash", path)), 0);
    fixture_close(&f);
}

/* ---- gc --explain
 * --------------------------------------------------------------------
 */

static int
add_line(void *arg, const char *line, struct err *err)
{
    (void)err;
    buf_addf(arg, "%s\n", line);
    return 0;
}

TEST(test_repo_room__explain_names_every_reason)
{
    struct fixture f;
    struct repo_version one, two;
    struct repo_gc *g;
    struct digest d;
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char hex[DIGEST_HEX_BYTES];
    bool stays;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    one = push(&f, "one", "a");
    two = push(&f, "two", "b");
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_alias_set(f.r, two.model_id, "production", two.id, 1, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK_OK(repo_gc_open(&g, f.r, true, &err));
    sha256_of("index", 5, &d);
    digest_hex(&d, hex);
    CHECK_OK(repo_gc_explain(g, hex, &d, &stays, add_line, &text, &err));
    CHECK(stays);
    CHECK(strstr(buf_str(&text), "a@1 (ready) has it as variables/variables.index"));
    CHECK(strstr(buf_str(&text), "b@1 (ready) has it as variables/variables.index"));
    CHECK(strstr(buf_str(&text), "b@production means it (promote another version"));
    give_up(&f, &one);
    buf_clear(&text);
    digest_hex(&one.digest, hex);
    hex[12] = '\0'; /* a few digits do */
    CHECK_OK(repo_gc_explain(g, hex, &d, &stays, add_line, &text, &err));
    CHECK(!stays);
    CHECK(digest_eq(&d, &one.digest));
    CHECK_ERR(repo_gc_explain(g, "0123", &d, &stays, add_line, &text, &err),
              ERR_INVALID);
    CHECK_ERR(repo_gc_explain(g, "sha256:01234567", &d, &stays, add_line, &text, &err),
              ERR_NOTFOUND);
    repo_gc_close(g);
    fixture_close(&f);
}

/* ---- the reserve
 * ---------------------------------------------------------------------
 */

TEST(test_repo_room__the_reserve_is_there_and_kept_while_there_is_room)
{
    struct fixture f;
    struct stat st;

    fixture_new(&f);
    if (repo_free_bytes(f.r) < 16 << 20)
        unit_skip("too little room for a reserve");
    repo_reserve_fill(f.r);
    CHECK(fstatat(f.r->dirfd, "reserve", &st, 0) == 0);
    CHECK_INT(st.st_size, REPO_RESERVE_BYTES);
    CHECK(st.st_blocks * 512 >= REPO_RESERVE_BYTES); /* really taken */
    repo_reserve_spend(f.r, true);
    CHECK(fstatat(f.r->dirfd, "reserve", &st, 0) == 0);
    CHECK_INT(st.st_size, REPO_RESERVE_BYTES);
    fixture_close(&f);
}
