/* SPDX-License-Identifier: Apache-2.0 */
/* Traffic that is copied to a version: gated and loaded like traffic, and nothing that
 * a rollback would undo. */
#include "tests/unit/deploy/fixture.h"

#include "deploy/deploy_split.h"

#include <string.h>

static int
mirror(struct fx *f, int64_t number, int share)
{
    const struct deploy_member m = { .number = number, .mirror = share };

    return fx_change(f, &(struct deploy_change){ .verb = DEPLOY_WEIGHTS,
                                                 .model = "fraud",
                                                 .alias = "production",
                                                 .mirror = &m });
}

/* "2:1000", or "". */
static const char *
mirrored(struct fx *f)
{
    static char text[64];
    struct deploy_release rel;
    const struct deploy_member *m = NULL;

    if (deploy_live(f->r, "fraud", "production", &rel, &f->err) == 1)
        m = deploy_mirror(&rel);
    text[0] = '\0';
    if (m)
        snprintf(text, sizeof(text), "%" PRId64 ":%d", m->number, m->mirror);
    return text;
}

static void
open_live(struct fx *f, int versions)
{
    fx_open(f);
    fx_pushes(f, "fraud", versions);
    if (fx_target(f, "tfserving") < 0 || fx_promote(f, "fraud", 1) < 0)
        unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
}

TEST(test_deploy_mirror__loaded_and_told)
{
    struct fx f = { .err = ERR_INIT };
    struct buf text AUTO(buf_release) = BUF_INIT;

    open_live(&f, 3);
    FX_OK(mirror(&f, 2, 1000));
    CHECK_STR(fx_live(&f, "fraud"), "1:10000");
    CHECK_STR(mirrored(&f), "2:1000");
    CHECK_INT(fx_alias(&f, "fraud"), 1);
    fx_check_config(f.web, "fraud");
    CHECK(strstr(fx_file(f.web, "config/models.config"), "versions: 1 versions: 2") !=
          NULL);
    CHECK(strstr(fx_file(f.web, "config/routes.json"),
                 "\"salt\": \":fraud@production:mirror\"") != NULL);
    json_print(cJSON_GetObjectItem(f.report, "gates"), &text, true);
    CHECK(strstr(buf_str(&text), "\"version\": 2") != NULL); /* asked like traffic */

    /* a smaller share asks no gate; the same changes nothing */
    FX_OK(mirror(&f, 2, 500));
    CHECK(cJSON_GetObjectItem(f.report, "gates") == NULL);
    FX_OK(mirror(&f, 2, 500));
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(f.report, "changed")));

    /* it stays while shares move, and one takes the place of the other */
    FX_OK(fx_weights2(&f, "fraud", 1, 50, 3, 50));
    CHECK_STR(mirrored(&f), "2:500");
    FX_ERR(mirror(&f, 3, 500), ERR_INVALID);
    CHECK(strstr(f.said, "has a share of the traffic") != NULL);
    FX_ERR(mirror(&f, 1, 0), ERR_INVALID);
    FX_OK(mirror(&f, 2, 0));
    CHECK_STR(mirrored(&f), "");
    CHECK_STR(fx_live(&f, "fraud"), "1:5000 3:5000");
    FX_OK(mirror(&f, 2, 0)); /* nothing to end */
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(f.report, "changed")));
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM mark"), 0);
    fx_close(&f);
}

TEST(test_deploy_mirror__ends_with_promote_rollback_and_traffic)
{
    struct fx f = { .err = ERR_INIT };

    open_live(&f, 3);
    FX_OK(fx_promote(&f, "fraud", 2));
    FX_OK(mirror(&f, 3, 10000));
    /* a rollback undoes a version, not its copies */
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "1:10000");
    CHECK_STR(mirrored(&f), "");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM mark"), 1); /* 2, that had traffic */

    FX_OK(mirror(&f, 3, 100));
    FX_OK(fx_weights2(&f, "fraud", 1, 90, 3, 10)); /* from copies to traffic */
    CHECK_STR(mirrored(&f), "");
    CHECK_STR(fx_live(&f, "fraud"), "1:9000 3:1000");
    FX_OK(mirror(&f, 2, 0));
    FX_ERR(mirror(&f, 2, 100), ERR_REFUSED); /* it is marked bad */
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(mirror(&f, 3, 100));
    FX_OK(fx_promote(&f, "fraud", 3));
    CHECK_STR(mirrored(&f), "");
    fx_close(&f);
}

/* What else writes the catalogue brings no copies without a gate. */
TEST(test_deploy_mirror__guarded)
{
    struct fx f = { .err = ERR_INIT };

    open_live(&f, 2);
    FX_OK(db_run(
        f.r->db, &f.err,
        "INSERT INTO release(model, alias, number, verb, state, replaces, "
        "stands_at, latest_id, latest, intended_ns, observed_ns, actor, reason) "
        "SELECT model, alias, 2, 'weights', 'intended', 1, 2, latest_id, latest, "
        "0, 0, actor, '' FROM release",
        ""));
    FX_OK(db_run(f.r->db, &f.err,
                 "INSERT INTO release_member(release_id, place, version_id, number, "
                 "weight, label, mirror) SELECT 2, number - 1, id, number, "
                 "(2 - number) * 10000, '', (number - 1) * 100 FROM version",
                 ""));
    CHECK(db_run(f.r->db, &f.err, "UPDATE release SET state = 'live' WHERE id = 2",
                 "") < 0);
    CHECK(strstr(f.err.msg, "no gate was passed") != NULL);
    err_clear(&f.err);
    fx_close(&f);
}

TEST(test_deploy_mirror__who_is_copied)
{
    struct deploy_release rel = { .model = "fraud",
                                  .alias = "production",
                                  .n_members = 1,
                                  .members = { { 1, 1, 10000, "", 0 } },
                                  .n_kept = 1,
                                  .kept = { { 2, 2, 0, "", 100 } } };
    struct deploy_split few AUTO(deploy_split_release) = { .n = 0 };
    struct deploy_split many AUTO(deploy_split_release) = { .n = 0 };
    struct deploy_split none AUTO(deploy_split_release) = { .n = 0 };
    int n_few = 0, n_many = 0;

    deploy_split_init_mirror(&few, &rel);
    rel.kept[0].mirror = 2500;
    deploy_split_init_mirror(&many, &rel);
    rel.kept[0].mirror = 0;
    deploy_split_init_mirror(&none, &rel);
    CHECK_STR(buf_str(&many.salt), ":fraud@production:mirror");
    for (int i = 0; i < 100000; i++) {
        char unit[16];

        snprintf(unit, sizeof(unit), "C%d", i);
        if (deploy_split_mirrors(&few, str_of(unit))) {
            n_few++;
            CHECK(deploy_split_mirrors(&many, str_of(unit))); /* none drops out */
        }
        n_many += deploy_split_mirrors(&many, str_of(unit));
        CHECK(!deploy_split_mirrors(&none, str_of(unit)));
    }
    CHECK(n_few > 900 && n_few < 1100);
    CHECK(n_many > 24500 && n_many < 25500);
    CHECK(!deploy_split_mirrors(&many, str_of("")));
}
