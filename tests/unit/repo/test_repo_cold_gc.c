/* SPDX-License-Identifier: Apache-2.0 */
/* gc while versions are cold. */
#include "repo/repo_gc_int.h"
#include "tests/unit/repo/cold_fixture.h"
#include "tests/unit/repo/gc_fixture.h"

#define FEW_BYTES ((size_t)8192)

TEST(test_repo_cold_gc__what_a_delta_stands_on_stays)
{
    struct fixture f;
    struct repo_version v1, v2;
    struct repo_file one, two;
    struct err err = ERR_INIT;
    struct repo_gc *g;
    struct repo_gc_totals did;
    char path[1024];

    fixture_new(&f);
    v1 = push_bundle(&f, "a", FEW_BYTES, 2, 1);
    v2 = push_bundle(&f, "a", FEW_BYTES, 2, 2);
    one = shard_of(&f, &v1);
    two = shard_of(&f, &v2);
    CHECK_INT(make_cold(&f, &v1), 1);
    give_up(&f, &v2);
    gc(&f);
    CHECK(is_in(&f, "objects", &two.digest));
    check_readable(&f, &one.digest);
    check_clean(&f);
    CHECK_INT(make_cold(&f, &v1), 0); /* a version without bytes is no candidate */

    /* the cold one goes to the trash, its delta stays where it is, with its base */
    give_up(&f, &v1);
    gc(&f);
    gc(&f);
    CHECK(is_in(&f, "cold", &one.digest) && is_in(&f, "objects", &two.digest));
    check_readable(&f, &one.digest);
    CHECK_OK(try_undelete(&f, &v1, &err));
    CHECK_OK(repo_checkout(f.r, &v1.digest, AT_FDCWD, below(&f, "out", path), REPO_COPY,
                           &err));
    check_clean(&f);
    give_up(&f, &v1);
    gc(&f);
    CHECK_OK(repo_gc_open(&g, f.r, false, &err));
    CHECK_OK(repo_gc_run(g, true, &did, &err));
    repo_gc_close_p(&g);
    CHECK(!is_in(&f, "cold", &one.digest));
    gc(&f);
    CHECK(!is_in(&f, "objects", &two.digest));
    check_clean(&f);
    fixture_close(&f);
}
