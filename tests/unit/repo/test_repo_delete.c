/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/gc_fixture.h"

static int
try_hold(struct fixture *f, const struct repo_version *v, bool hold, struct err *err)
{
    int r = db_begin(f->r->db, err);

    if (r == 0)
        r = hold ? repo_hold(f->r, "a", v, "case 7", err)
                 : repo_unhold(f->r, "a", v, err);
    if (r == 0)
        r = db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

TEST(test_repo_delete__and_back_within_the_window)
{
    struct fixture f;
    struct repo_version v, again;
    struct repo_deletion d;
    struct err err = ERR_INIT;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    CHECK_ERR(try_undelete(&f, &v, &err), ERR_CONFLICT);
    CHECK_ERR(try_delete(&f, &v, -1, &err), ERR_INVALID);
    CHECK_ERR(try_delete(&f, &v, REPO_DAYS_MAX + 1, &err), ERR_INVALID);
    CHECK_OK(try_delete(&f, &v, 14, &err));
    CHECK_ERR(try_delete(&f, &v, 14, &err), ERR_CONFLICT);
    CHECK_INT(repo_deletion(f.r, v.id, &d, &err), 1);
    CHECK(d.left_s > 13 * 86400 && d.left_s <= 14 * 86400);
    CHECK_ERR(repo_resolve(f.r, "a", &again, &err), ERR_NOTFOUND);
    CHECK_OK(repo_resolve(f.r, "a@1", &again, &err));
    CHECK_STR(again.state, "deleted");
    CHECK_INT(gc(&f).unused.n, 0);
    CHECK_INT(push(&f, "one", "a").number, 2); /* the same bytes, and not number 1 */
    CHECK_OK(try_undelete(&f, &v, &err));
    CHECK_OK(repo_resolve(f.r, "a@1", &again, &err));
    CHECK_STR(again.state, "ready");
    check_clean(&f);
    fixture_close(&f);
}

TEST(test_repo_delete__what_needs_it_is_named_with_the_way_out)
{
    struct fixture f;
    struct repo_version one, two;
    struct err err = ERR_INIT;

    fixture_new(&f);
    put_model(&f, "one", "1");
    put_model(&f, "two", "2");
    one = push(&f, "one", "a");
    two = push(&f, "two", "a");
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(repo_alias_set(f.r, one.model_id, "production", one.id, 1, &err));
    CHECK_OK(db_commit(f.r->db, &err));
    CHECK(try_delete(&f, &one, 14, &err) == -ERR_REFUSED);
    CHECK(strstr(err.msg, "a@production means it: promote another version") != NULL);
    err_clear(&err);

    CHECK_OK(try_hold(&f, &two, true, &err));
    CHECK_ERR(try_hold(&f, &two, true, &err), ERR_CONFLICT);
    CHECK(try_delete(&f, &two, 14, &err) == -ERR_REFUSED);
    CHECK(strstr(err.msg, "case 7: sluice unhold a@2") != NULL);
    err_clear(&err);
    CHECK_OK(try_hold(&f, &two, false, &err));
    CHECK_ERR(try_hold(&f, &two, false, &err), ERR_NOTFOUND);

    CHECK_OK(try_hold(&f, NULL, true, &err)); /* the whole model */
    CHECK_ERR(try_delete(&f, &two, 14, &err), ERR_REFUSED);
    CHECK_OK(try_hold(&f, NULL, false, &err));

    CHECK_OK(repo_lease(f.r, &two, &err)); /* a pull of it */
    CHECK_ERR(try_delete(&f, &two, 14, &err), ERR_REFUSED);
    fs_close(&f.r->lease_fd); /* as when its process is killed */
    CHECK_OK(try_delete(&f, &two, 14, &err));
    repo_lease_end(f.r);
    fixture_close(&f);
}

/* A hold that comes after the deletion keeps the bytes, too. */
TEST(test_repo_delete__a_hold_stops_gc)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    CHECK_OK(try_delete(&f, &v, 0, &err));
    CHECK_OK(try_hold(&f, &v, true, &err));
    CHECK_OK(purge_one(&f, &v, &err));
    CHECK_INT(gc(&f).unused.n, 0);
    CHECK_OK(try_undelete(&f, &v, &err));
    CHECK_OK(try_hold(&f, &v, false, &err));
    CHECK_OK(try_delete(&f, &v, 0, &err));
    CHECK_INT(gc(&f).unused.n, 4);
    fixture_close(&f);
}

TEST(test_repo_delete__comes_back_from_the_trash)
{
    struct fixture f;
    struct repo_version v, again;
    struct err err = ERR_INIT;
    struct repo_gc_totals t;
    char path[1024];

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    repo_lease_end(f.r);
    give_up(&f, &v);
    CHECK_OK(try_undelete(&f, &v, &err)); /* before gc came */
    give_up(&f, &v);
    CHECK_INT(gc(&f).unused.n, 4);
    CHECK_INT(count_files(below(&f, "store/objects", path)), 0);
    CHECK_OK(try_undelete(&f, &v, &err)); /* and after */
    CHECK_OK(repo_resolve(f.r, "a@1", &again, &err));
    CHECK_OK(repo_manifest_verify(f.r, &v.digest, &err));
    CHECK_INT(check_clean(&f).n_versions, 1);
    CHECK_INT(count_files(below(&f, "store/trash", path)), 0);
    give_up(&f, &v);
    CHECK_OK(try_gc(&f, true, &t, &err));
    CHECK_ERR(try_undelete(&f, &v, &err), ERR_NOTFOUND);
    check_clean(&f);
    fixture_close(&f);
}

#ifdef TEST_FAULT
/* ---- clocks
 * --------------------------------------------------------------------------
 */

TEST(test_repo_delete__only_the_stores_own_age_ends_a_window)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    repo_lease_end(f.r);
    clocks(-365, 0); /* deleted by a clock that is behind ... */
    CHECK_OK(try_delete(&f, &v, 14, &err));
    clocks(0, 0); /* ... and is put right */
    CHECK_INT(gc(&f).unused.n, 0);
    clocks(365, 0);
    CHECK_INT(gc(&f).unused.n, 0);
    clocks(-365, 0);
    CHECK_INT(gc(&f).unused.n, 0);
    clocks(0, 13);
    CHECK_INT(gc(&f).unused.n, 0);
    clocks(-365, 15); /* time that has really passed counts, whatever the clock says */
    CHECK_INT(gc(&f).unused.n, 4);
    unsetenv("TEST_CLOCK");
    fixture_close(&f);
}

/* Another boot: the wall clock is all there is, and is believed for a day. */
TEST(test_repo_delete__a_boot_adds_at_most_a_day)
{
    struct fixture f;
    struct repo_version v;
    struct err err = ERR_INIT;
    const int64_t day_ns = INT64_C(86400000000000);
    int64_t before;

    fixture_new(&f);
    put_model(&f, "one", "1");
    v = push(&f, "one", "a");
    repo_lease_end(f.r);
    CHECK_OK(try_delete(&f, &v, 14, &err));
    before = age(&f);
    CHECK_OK(db_run(f.r->db, &err, "UPDATE store_age SET boot = 'another'", ""));
    clocks(365, 0);
    CHECK(age(&f) - before == day_ns || age(&f) - before <= day_ns + before);
    CHECK(age(&f) >= before + day_ns - 1000000000);
    clocks(-365, 0);
    CHECK(age(&f) <= before && age(&f) >= 0); /* never back beyond what is written */
    CHECK_INT(gc(&f).unused.n, 0);
    unsetenv("TEST_CLOCK");
    fixture_close(&f);
}
#endif
