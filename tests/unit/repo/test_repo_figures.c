/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/repo/gc_fixture.h"
#include "tests/unit/repo/repo_fixture.h"

TEST(test_repo_figures__count_what_is_there)
{
    struct repo_figures g;
    struct repo_version v;
    struct err err = ERR_INIT;
    struct fixture f;

    fixture_new(&f);
    CHECK_OK(repo_figures(f.r, &g, &err));
    CHECK_INT(g.n_models, 0);
    CHECK_INT(g.n_objects, 0);
    CHECK_INT(g.n_states, 0);
    CHECK(g.free_bytes > 0);
    CHECK_INT(g.min_free_bytes, 0);
    put_model(&f, "a", "one");
    put_model(&f, "b", "two");
    push(&f, "a", "digits");
    v = push(&f, "b", "digits");
    push(&f, "b", "fraud");
    CHECK_OK(try_delete(&f, &v, 1, &err));
    CHECK_OK(repo_figures(f.r, &g, &err));
    CHECK_INT(g.n_models, 2);
    CHECK_INT(g.n_states, 2);
    CHECK_STR(g.versions[0].state, "deleted");
    CHECK_INT(g.versions[0].n, 1);
    CHECK_STR(g.versions[1].state, "ready");
    CHECK_INT(g.versions[1].n, 2);
    CHECK(g.n_objects >= 4 && g.object_bytes > 0);
    CHECK_INT(g.cold_bytes, 0);
    fixture_clear(&f);
}
