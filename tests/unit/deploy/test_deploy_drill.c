/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/deploy/fixture.h"

static int
drill(struct fx *f, bool apply)
{
    const struct deploy_drill d = {
        .model = "fraud", .alias = "production", .apply = apply, .wait_ms = 1000
    };

    json_free(&f->report);
    return deploy_drill(f->r, &d, &f->report, &f->err);
}

static void
start(struct fx *f)
{
    *f = (struct fx){ .err = ERR_INIT };
    fx_open(f);
    fx_pushes(f, "fraud", 4);
    if (fx_target(f, "plain") < 0 || fx_promote(f, "fraud", 1) < 0 ||
        fx_promote(f, "fraud", 2) < 0 || fx_promote(f, "fraud", 3) < 0)
        unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
}

/* One way of a drill, as a process that is killed leaves it. */
static int
only_there(struct fx *f)
{
    return fx_change(f, &(struct deploy_change){ .verb = DEPLOY_DRILL,
                                                 .model = "fraud",
                                                 .alias = "production" });
}

static int
back_to(struct fx *f, int64_t release)
{
    return fx_change(f, &(struct deploy_change){ .verb = DEPLOY_DRILL,
                                                 .model = "fraud",
                                                 .alias = "production",
                                                 .back_to = release });
}

static const char *
state(const struct fx *f)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(f->report, "state"));
}

TEST(test_deploy_drill__a_look_changes_nothing)
{
    struct fx f;

    start(&f);
    FX_OK(drill(&f, false));
    CHECK(state(&f) == NULL);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 3);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM drill"), 0);
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    fx_close(&f);
}

TEST(test_deploy_drill__there_and_back_as_if_it_had_not_been)
{
    struct fx f;

    start(&f);
    for (int i = 0; i < 10; i++) {
        FX_OK(drill(&f, true));
        CHECK_STR(state(&f), "done");
        CHECK_STR(fx_live(&f, "fraud"), "3:10000");
        CHECK_INT(fx_alias(&f, "fraud"), 3);
        CHECK_INT(fx_shown(f.web, "fraud"), 3);
    }
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM mark"), 0);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM gate_pass WHERE release_id > 3"), 0);
    CHECK_INT(fx_count(&f, "SELECT stands_at FROM release ORDER BY id DESC LIMIT 1"),
              3);
    /* what stays loaded, and where rollbacks go, is what it was */
    FX_OK(fx_promote(&f, "fraud", 4));
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release_member m JOIN release r ON "
                           "r.id = m.release_id WHERE r.state = 'live' AND "
                           "m.weight = 0 AND m.number = 3"),
              1);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "3:10000");
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "2:10000");
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "1:10000");
    FX_ERR(fx_rollback(&f, "fraud", 0), ERR_NOTFOUND);
    fx_close(&f);
}

TEST(test_deploy_drill__of_shares)
{
    struct fx f;

    start(&f);
    FX_OK(fx_weights2(&f, "fraud", 3, 90, 4, 10));
    FX_OK(drill(&f, true));
    CHECK_STR(fx_live(&f, "fraud"), "3:9000 4:1000");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release_member WHERE release_id = 5 "
                           "AND number = 3 AND weight = 10000"),
              1);
    fx_close(&f);
}

TEST(test_deploy_drill__one_that_was_interrupted_is_ended)
{
    struct err err = ERR_INIT;
    struct fx f;

    start(&f);
    FX_OK(only_there(&f));
    CHECK_STR(fx_live(&f, "fraud"), "2:10000");
    CHECK_OK(db_run(f.r->db, &err,
                    "INSERT INTO drill(model, alias, from_release, state, report, "
                    "began_ns, ended_ns, ended_age_ns, actor) VALUES('fraud', "
                    "'production', 3, 'open', '{}', 1, 0, 0, 'me')",
                    ""));
    FX_OK(drill(&f, false));
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(f.report, "interrupted")));
    FX_OK(drill(&f, true));
    CHECK_STR(state(&f), "failed");
    CHECK_STR(fx_live(&f, "fraud"), "3:10000");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM drill WHERE state = 'open'"), 0);
    FX_OK(drill(&f, true));
    CHECK_STR(state(&f), "done");
    fx_close(&f);
}

/* Whatever call fails, what was live is live, or the next drill brings it back. */
TEST(test_deploy_drill__a_call_that_fails)
{
    static const char *const calls[] = { "rename", "fsync", "commit", "write" };
    struct fx f;
    int n_failed = 0;

    start(&f);
    for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++)
        for (int n = 1; n < 6; n++) {
            char *fault AUTO(free_ptr) = xasprintf("%s:%d:EIO", calls[c], n);
            int e;

            setenv("TEST_FAULT", fault, 1);
            e = drill(&f, true);
            unsetenv("TEST_FAULT");
            n_failed += e < 0;
            err_clear(&f.err);
            if (strcmp(fx_live(&f, "fraud"), "3:10000") != 0)
                FX_OK(drill(&f, true));
            CHECK_STR(fx_live(&f, "fraud"), "3:10000");
            FX_OK(drill(&f, true));
            CHECK_INT(fx_shown(f.web, "fraud"), 3);
        }
    CHECK(n_failed > 0);
    fx_close(&f);
}

TEST(test_deploy_drill__goes_back_only_from_one)
{
    struct fx f;

    start(&f);
    FX_ERR(back_to(&f, 2), ERR_CONFLICT);
    FX_OK(only_there(&f));
    FX_ERR(back_to(&f, 1), ERR_CONFLICT);
    FX_OK(fx_promote(&f, "fraud", 4));
    FX_ERR(back_to(&f, 3), ERR_CONFLICT);
    CHECK(strstr(f.said, "somebody moved it meanwhile: release 5 (promote by ") !=
          NULL);
    CHECK_STR(fx_live(&f, "fraud"), "4:10000");
    fx_close(&f);
}

/* The catalogue itself lets no drill give traffic to what never had some. */
TEST(test_deploy_drill__the_guard)
{
    struct err err = ERR_INIT;
    struct fx f;

    start(&f);
    CHECK_OK(
        db_run(f.r->db, &err,
               "INSERT INTO release(model, alias, number, verb, state, replaces, "
               "stands_at, latest_id, latest, intended_ns, observed_ns, actor, "
               "reason) SELECT 'fraud', 'production', 4, 'drill', 'intended', 3, 1, "
               "id, 4, 0, 0, 'me', '' FROM version WHERE number = 4",
               ""));
    CHECK_OK(db_run(f.r->db, &err,
                    "INSERT INTO release_member(release_id, place, version_id, number, "
                    "weight, label) SELECT 4, 0, id, 4, 10000, '' FROM version WHERE "
                    "number = 4",
                    ""));
    CHECK_OK(
        db_run(f.r->db, &err, "UPDATE release SET state = 'past' WHERE id = 3", ""));
    CHECK(db_run(f.r->db, &err, "UPDATE release SET state = 'live' WHERE id = 4", "") <
          0);
    CHECK(strstr(err.msg, "no gate was passed") != NULL);
    fx_close(&f);
}

TEST(test_deploy_drill__what_is_in_the_way)
{
    struct fx f;

    start(&f);
    FX_OK(deploy_freeze(f.r, "fraud", "production", "audit", &f.err));
    FX_ERR(drill(&f, false), ERR_REFUSED);
    FX_ERR(drill(&f, true), ERR_REFUSED);
    FX_ERR(only_there(&f), ERR_REFUSED);
    FX_OK(deploy_freeze(f.r, "fraud", "production", NULL, &f.err));
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 3);
    fx_close(&f);
}
