/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy_int.h"
#include "tests/unit/unit.h"

#include <limits.h>
#include <stdio.h>

static const struct {
    int shares[4];
    int n;
    int want[4];
} cases[] = {
    { { 90, 10 }, 2, { 9000, 1000 } },
    { { 1, 1, 1 }, 3, { 3334, 3333, 3333 } },
    { { 1, 1, 1, 3 }, 4, { 1667, 1667, 1666, 5000 } },
    { { 2, 1 }, 2, { 6667, 3333 } },
    { { 1, 2 }, 2, { 3333, 6667 } },
    { { INT_MAX, INT_MAX }, 2, { 5000, 5000 } },
    { { 9999, 1 }, 2, { 9999, 1 } },
    { { 7 }, 1, { 10000 } },
};

TEST(test_deploy_weights__largest_remainder)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct deploy_member parts[4] = { { .number = 0 } };
        struct deploy_release out = { .n_members = 0 };
        struct err err = ERR_INIT;
        int sum = 0;

        for (int k = 0; k < cases[i].n; k++)
            parts[k] =
                (struct deploy_member){ .number = k + 1, .weight = cases[i].shares[k] };
        CHECK_OK(weights_normalise(parts, cases[i].n, &out, &err));
        CHECK_INT(out.n_members, cases[i].n);
        for (int k = 0; k < cases[i].n; k++) {
            CHECK_INT(out.members[k].weight, cases[i].want[k]);
            sum += out.members[k].weight;
        }
        CHECK_INT(sum, DEPLOY_WEIGHT_ALL);
    }
}

TEST(test_deploy_weights__a_share_of_zero_leaves)
{
    const struct deploy_member parts[] = { { .number = 1, .weight = 0 },
                                           { .number = 2, .weight = 5 } };
    struct deploy_release out = { .n_members = 0 };
    struct err err = ERR_INIT;

    CHECK_OK(weights_normalise(parts, 2, &out, &err));
    CHECK_INT(out.n_members, 1);
    CHECK_INT(out.members[0].number, 2);
}

TEST(test_deploy_weights__bad_shares)
{
    struct deploy_member parts[20] = { { .number = 1, .weight = 0 } };
    struct deploy_release out;
    struct err err = ERR_INIT;

    CHECK_ERR(weights_normalise(parts, 0, &out, &err), ERR_INVALID);
    CHECK_ERR(weights_normalise(parts, 1, &out, &err), ERR_INVALID);
    parts[0].weight = -1;
    CHECK_ERR(weights_normalise(parts, 1, &out, &err), ERR_INVALID);
    parts[0].weight = 1;
    parts[1] = parts[0];
    CHECK_ERR(weights_normalise(parts, 2, &out, &err), ERR_INVALID);
    parts[1] = (struct deploy_member){ .number = 2, .weight = 1000000 };
    CHECK_ERR(weights_normalise(parts, 2, &out, &err), ERR_INVALID);
    for (int i = 0; i < 20; i++)
        parts[i] = (struct deploy_member){ .number = i + 1, .weight = 1 };
    CHECK_ERR(weights_normalise(parts, 20, &out, &err), ERR_LIMIT);
}

TEST(test_deploy_weights__on_a_tie_the_live_one_leads)
{
    struct deploy_release rel = {
        .n_members = 3,
        .members = { { 11, 1, 2000, "" }, { 12, 2, 4000, "" }, { 13, 3, 4000, "" } }
    };

    weights_lead(&rel, 3);
    CHECK_INT(rel.latest, 3);
    CHECK_INT(rel.latest_id, 13);
    weights_lead(&rel, 2);
    CHECK_INT(rel.latest, 2);
    weights_lead(&rel, 1); /* not among the largest */
    CHECK_INT(rel.latest, 2);
}

/* A server refuses a config that moves a label to what it has not loaded. */
TEST(test_deploy_weights__labels)
{
    struct deploy_release rel = { .n_members = 3,
                                  .members = { { 1, 1, 8000, "", 0 },
                                               { 2, 2, 500, "", 0 },
                                               { 3, 3, 1500, "", 0 } },
                                  .n_kept = 1,
                                  .kept = { { 4, 4, 0, "stable", 0 } } };

    weights_lead(&rel, 0);
    weights_label(&rel);
    CHECK_STR(rel.members[0].label, "stable");
    CHECK_STR(rel.members[1].label, "");
    CHECK_STR(rel.members[2].label, "canary");
    CHECK_STR(rel.kept[0].label, "");
    rel.n_members = 1;
    weights_label(&rel);
    CHECK_STR(rel.members[0].label, "stable");
}
