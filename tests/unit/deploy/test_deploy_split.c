/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy_split.h"

#include "deploy/deploy_int.h"
#include "tests/unit/unit.h"

#include <stdio.h>

static struct deploy_release
release_of(const char *model, const int *weights)
{
    struct deploy_release rel = { .alias = "production" };

    snprintf(rel.model, sizeof(rel.model), "%s", model);
    for (; weights[rel.n_members] > 0; rel.n_members++)
        rel.members[rel.n_members] =
            (struct deploy_member){ .number = rel.n_members + 1,
                                    .weight = weights[rel.n_members] };
    return rel;
}

/* What nginx 1.22.1 answered for units that are made to lie at the borders: the last
 * hash of one version and the first of the next, also where another rounding of the
 * percentages would put the border one to five hashes away. */
static const struct {
    const char *model;
    int weights[8];
    struct {
        const char *unit;
        uint32_t hash;
        int version;
    } units[12];
} nginx[] = {
    { "fraud",
      { 9000, 1000 },
      { { "1UO5wzbH", 0xe6666664, 1 },
        { "bW~3w1DQ", 0xe6666665, 2 },
        { "0rdDf5UD", 0xe6666666, 2 },
        { "C123", 0x902eed2f, 1 },
        { "a", 0xafdee091, 1 },
        { "0", 0x03a2ec48, 1 },
        { "1234567", 0x1110490f, 1 },
        { "\xc3\xa4\xc3\xb6", 0xc676c0f7, 1 } } },
    { "a",
      { 3333, 3333, 3334 },
      { { "qEjqgwl0", 0x55532616, 1 },
        { "lKV6kMrK", 0x55532617, 2 },
        { "B0_Hw5W6", 0xaaa64c2d, 2 },
        { "N4B3T92g", 0xaaa64c2e, 3 },
        { "0SWXswSE", 0xaaa64c2f, 3 } } },
    { "b",
      { 1, 9999 },
      { { "0RSRA-9W", 0x00068db7, 1 },
        { "mXJxwbNY", 0x00068db8, 2 },
        { "NiM_lggo", 0x00068db9, 2 } } },
    { "c",
      { 5000, 5000 },
      { { "2Wh5H4Py", 0x7ffffffe, 1 },
        { "GIC4-VHh", 0x7fffffff, 2 },
        { "fZf4OavR", 0x80000000, 2 } } },
    { "d",
      { 1111, 2222, 3333, 777, 555, 1999, 3 },
      { { "AYjxeJSM", 0x1c710cb1, 1 },
        { "QUwtn.ub", 0x1c710cb2, 2 },
        { "YI7aeouI", 0x55532616, 3 },
        { "p~zgLZFO", 0xaaa64c2c, 3 },
        { "E6pnZZxj", 0xaaa64c2d, 4 },
        { "EYeDPebS", 0xbe8a71da, 4 },
        { "oTGO1S_B", 0xbe8a71db, 5 },
        { ".a.7Q20Y", 0xccbfb156, 5 },
        { "i9Huogm.", 0xccbfb157, 6 },
        { "9DlHId9M", 0xffec56d0, 6 },
        { ".~vguXXR", 0xffec56d1, 7 },
        { "2OcNWGRP", 0xffec56d5, 7 } } },
};

TEST(test_deploy_split__as_nginx_does)
{
    for (size_t i = 0; i < sizeof(nginx) / sizeof(nginx[0]); i++) {
        const struct deploy_release rel = release_of(nginx[i].model, nginx[i].weights);
        struct deploy_split s AUTO(deploy_split_release);

        deploy_split_init(&s, &rel);
        for (int k = 0; k < 12 && nginx[i].units[k].unit; k++) {
            const struct str unit = str_of(nginx[i].units[k].unit);

            CHECK_INT(deploy_split_hash(&s, unit), nginx[i].units[k].hash);
            CHECK_INT(rel.members[deploy_split_find(&s, unit)].number,
                      nginx[i].units[k].version);
        }
    }
}

TEST(test_deploy_split__long_units)
{
    const struct deploy_release rel = release_of("fraud", (int[]){ 9000, 1000, 0 });
    struct deploy_split s AUTO(deploy_split_release);
    char x[300];

    memset(x, 'x', sizeof(x));
    deploy_split_init(&s, &rel);
    CHECK_STR(buf_str(&s.salt), ":fraud@production");
    CHECK_INT(deploy_split_hash(&s, (struct str){ x, sizeof(x) }), 0x3f6429f6);
}

/* Its hash alone would give it version 2. */
TEST(test_deploy_split__the_empty_unit_is_stable)
{
    const struct deploy_release rel = release_of("fraud", (int[]){ 1000, 9000, 0 });
    struct deploy_split s AUTO(deploy_split_release);

    deploy_split_init(&s, &rel);
    CHECK_INT(deploy_split_hash(&s, STR_LIT("")), 0x9c8763fa);
    CHECK_INT(deploy_split_find(&s, STR_LIT("")), 0);
}

TEST(test_deploy_split__one_version_takes_all)
{
    const struct deploy_release rel = release_of("fraud", (int[]){ 10000, 0 });
    struct deploy_split s AUTO(deploy_split_release);

    deploy_split_init(&s, &rel);
    CHECK_INT(s.below[0], DEPLOY_SPLIT_END);
    CHECK_INT(deploy_split_find(&s, STR_LIT("C123")), 0);
}

/* 10 million customers at five splits. The limits are those that a true random split
 * passes 999 times in 1,000. */
TEST(test_deploy_split__shares_by_chi_square)
{
    static const struct {
        int weights[8];
        double limit; /* chi-square, 0.999, at versions - 1 degrees of freedom */
    } cases[] = {
        { { 9000, 1000 }, 10.828 },
        { { 9900, 100 }, 10.828 },
        { { 5000, 5000 }, 10.828 },
        { { 3334, 3333, 3333 }, 13.816 },
        { { 9000, 500, 300, 100, 99, 1 }, 20.515 },
    };
    enum { N_CASES = sizeof(cases) / sizeof(cases[0]), N_UNITS = 10000000 };
    struct deploy_release rel[N_CASES];
    struct deploy_split s[N_CASES];
    int got[N_CASES][8] = { { 0 } };

    for (int i = 0; i < N_CASES; i++) {
        rel[i] = release_of("fraud", cases[i].weights);
        deploy_split_init(&s[i], &rel[i]);
    }
    for (int u = 0; u < N_UNITS; u++) {
        char unit[16];
        const int n = snprintf(unit, sizeof(unit), "C%d", u);
        const uint32_t hash = deploy_split_hash(&s[0], (struct str){ unit, (size_t)n });

        for (int i = 0; i < N_CASES; i++)
            got[i][deploy_split_at(&s[i], hash)]++;
    }
    for (int i = 0; i < N_CASES; i++) {
        double chi2 = 0;

        for (int k = 0; k < rel[i].n_members; k++) {
            const double want = (double)N_UNITS * rel[i].members[k].weight / 10000;

            chi2 += (got[i][k] - want) * (got[i][k] - want) / want;
        }
        deploy_split_release(&s[i]);
        if (chi2 > cases[i].limit)
            unit_fail(__FILE__, __LINE__, "split %d: chi-square %g", i, chi2);
    }
}

/* ---- the order of versions on the line ---- */

static void
check_order(const int *before, const int *given, int64_t latest, const char *want)
{
    struct deploy_release cur = { .n_members = 0 }, rel = { .latest_id = latest };
    char got[64] = "";

    for (; before[cur.n_members]; cur.n_members++)
        cur.members[cur.n_members].version_id = before[cur.n_members];
    for (; given[rel.n_members]; rel.n_members++) {
        rel.members[rel.n_members].version_id = given[rel.n_members];
        rel.members[rel.n_members].number = given[rel.n_members];
    }
    weights_order(&rel, cur.n_members ? &cur : NULL);
    for (int i = 0; i < rel.n_members; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%" PRId64,
                 rel.members[i].number);
    CHECK_STR(got, want);
}

TEST(test_deploy_weights__order)
{
    check_order((int[]){ 0 }, (int[]){ 2, 1, 3, 0 }, 1, "123");
    check_order((int[]){ 1, 0 }, (int[]){ 2, 1, 0 }, 1, "12");
    check_order((int[]){ 1, 2, 0 }, (int[]){ 2, 1, 0 }, 2, "12");
    check_order((int[]){ 1, 2, 0 }, (int[]){ 3, 2, 0 }, 3, "23");
    check_order((int[]){ 1, 2, 0 }, (int[]){ 3, 4, 0 }, 4, "43");
    check_order((int[]){ 4, 1, 0 }, (int[]){ 1, 2, 3, 4, 0 }, 2, "4123");
}

/* A ramp takes units from the stable version only, also past the half. */
TEST(test_deploy_weights__a_ramp_moves_no_unit_out)
{
    static const int steps[] = { 1, 100, 500, 2500, 4999, 5000, 5001, 7500, 9999 };
    struct deploy_release cur = release_of("fraud", (int[]){ 10000, 0 });
    static bool is_new[20000];

    cur.members[0].version_id = 1;
    cur.latest = cur.latest_id = 1;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct deploy_release rel = release_of("fraud", (int[]){ steps[i], 0 });
        struct deploy_split s AUTO(deploy_split_release);

        rel.members[0] = (struct deploy_member){ 2, 2, steps[i], "", 0 };
        rel.members[1] = (struct deploy_member){ 1, 1, 10000 - steps[i], "", 0 };
        rel.n_members = 2;
        weights_lead(&rel, cur.latest);
        weights_order(&rel, &cur);
        deploy_split_init(&s, &rel);
        for (int u = 0; u < 20000; u++) {
            char unit[16];
            const int n = snprintf(unit, sizeof(unit), "%d", u);
            const int at = deploy_split_find(&s, (struct str){ unit, (size_t)n });

            CHECK(!is_new[u] || rel.members[at].number == 2);
            is_new[u] = rel.members[at].number == 2;
        }
        cur = rel;
    }
}
