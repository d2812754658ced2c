/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever can give a version traffic it did not have asks the gate and the hook, once
 * for each such version; whatever cannot, does not. */
#include "tests/unit/deploy/fixture.h"

#define MAX_ASKED 8
static int64_t asked[MAX_ASKED];
static int n_asked;
static bool refuse;

static int
counting_gate(struct repo *r, const struct val_gate_args *args, cJSON **report,
              struct err *err)
{
    (void)r;
    *report = NULL;
    CHECK(n_asked < MAX_ASKED);
    asked[n_asked++] = args->version->number;
    return refuse ? err_set(err, ERR_REFUSED, "no") : 0;
}

/* Before each: releases {1}, {2}, {2:9000 1:1000} of fraud; 3 and 4 were never live. */
static const struct deploy_member shares[][3] = {
    { { .number = 2, .weight = 80 },
      { .number = 3, .weight = 15 },
      { .number = 4, .weight = 5 } },
    { { .number = 2, .weight = 95 }, { .number = 1, .weight = 5 } },
    { { .number = 2, .weight = 9 }, { .number = 1, .weight = 1 } },
};
static const struct {
    const char *what;
    enum deploy_verb verb;
    int64_t number; /* promote, rollback --to */
    const struct deploy_member *parts;
    int n_parts;
    int64_t gains[3]; /* versions that get more, 0-ended */
} verbs[] = {
    { "promote what was never live", DEPLOY_PROMOTE, 3, NULL, 0, { 3 } },
    { "promote what has a share", DEPLOY_PROMOTE, 2, NULL, 0, { 2 } },
    { "promote what was live before", DEPLOY_PROMOTE, 1, NULL, 0, { 1 } },
    { "weights to two new ones", DEPLOY_WEIGHTS, 0, shares[0], 3, { 3, 4 } },
    { "weights that shift", DEPLOY_WEIGHTS, 0, shares[1], 2, { 2 } },
    { "weights as they are", DEPLOY_WEIGHTS, 0, shares[2], 2, { 0 } },
    { "rollback --to what was never live", DEPLOY_ROLLBACK, 4, NULL, 0, { 4 } },
    { "rollback --to what was live", DEPLOY_ROLLBACK, 1, NULL, 0, { 0 } },
    { "rollback", DEPLOY_ROLLBACK, 0, NULL, 0, { 0 } },
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void
start(struct fx *fp)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 4);
    FX_OK(fx_target(&f, "plain"));
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 2));
    FX_OK(fx_weights2(&f, "fraud", 2, 90, 1, 10));
    *fp = f;
}

static int
walk(struct fx *f, size_t i, deploy_gate_fn *gate)
{
    struct repo_version v;
    struct deploy_change c = { .verb = verbs[i].verb,
                               .model = "fraud",
                               .alias = "production",
                               .parts = verbs[i].parts,
                               .n_parts = verbs[i].n_parts };

    if (c.verb == DEPLOY_ROLLBACK)
        c.to_number = verbs[i].number;
    if (c.verb == DEPLOY_PROMOTE) {
        char ref[40];

        snprintf(ref, sizeof(ref), "fraud@%" PRId64, verbs[i].number);
        if (repo_resolve(f->r, ref, &v, &f->err) < 0)
            return -(int)f->err.code;
        c.version = &v;
    }
    json_free(&f->report);
    return deploy_change_gated(f->r, &c, gate, &f->report, &f->err);
}

TEST(test_deploy_gate__every_verb_is_in_the_table)
{
    for (int verb = 0; verb < DEPLOY_N_VERBS; verb++) {
        bool found =
            verb == DEPLOY_DRILL; /* only to what had some: test_deploy_drill.c */

        for (size_t i = 0; i < N_VERBS; i++)
            found |= (int)verbs[i].verb == verb && verbs[i].gains[0] != 0;
        CHECK(found);
    }
}

TEST(test_deploy_gate__is_asked_once_for_each_version_that_gains)
{
    for (size_t i = 0; i < N_VERBS; i++) {
        struct fx f;
        int n = 0;

        start(&f);
        n_asked = 0;
        refuse = false;
        if (walk(&f, i, counting_gate) < 0)
            unit_fail(__FILE__, __LINE__, "%s: %s", verbs[i].what, f.err.msg);
        while (n < 3 && verbs[i].gains[n])
            n++;
        if (n_asked != n)
            unit_fail(__FILE__, __LINE__, "%s: asked %d times", verbs[i].what, n_asked);
        for (int k = 0; k < n; k++)
            CHECK_INT(asked[k], verbs[i].gains[k]);
        CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(f.report, "gates")), n);
        fx_close(&f);
    }
}

TEST(test_deploy_gate__what_it_refuses_did_not_happen)
{
    struct fx f;

    start(&f);
    for (size_t i = 0; i < N_VERBS; i++) {
        if (!verbs[i].gains[0])
            continue;
        n_asked = 0;
        refuse = true;
        FX_ERR(walk(&f, i, counting_gate), ERR_REFUSED);
        CHECK_INT(n_asked, 1); /* the first no is enough */
        CHECK_STR(fx_live(&f, "fraud"), "2:9000 1:1000");
        CHECK_INT(fx_shown(f.web, "fraud"), 2);
    }
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 3);
    fx_close(&f);
}

/* The same walk against the real gate: a policy that nothing fulfils refuses each. */
TEST(test_deploy_gate__a_policy_without_a_passing_verdict_refuses_each)
{
    struct err err = ERR_INIT;
    struct fx f;

    start(&f);
    CHECK_OK(db_begin(f.r->db, &err));
    CHECK_OK(val_policy_set(f.r, "production", NULL,
                            "{\"require\": [{\"acceptance\": \"*\"}]}", &err));
    CHECK_OK(db_commit(f.r->db, &err));
    for (size_t i = 0; i < N_VERBS; i++) {
        if (!verbs[i].gains[0])
            continue;
        FX_ERR(walk(&f, i, val_gate), ERR_REFUSED);
        CHECK_STR(fx_live(&f, "fraud"), "2:9000 1:1000");
    }
    /* a rollback needs no verdict */
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(fx_live(&f, "fraud"), "2:10000");
    fx_close(&f);
}

static void
add_hook(struct fx *f, const char *script)
{
    char path[700];
    struct err err = ERR_INIT;

    CHECK_OK(fs_mkdirs(f->r->dirfd, "hooks", 0700, &err));
    snprintf(path, sizeof(path), "%s/hooks/pre-promote", f->store);
    fx_write(path, script, 0755);
}

TEST(test_deploy_gate__the_hook_is_asked_as_often)
{
    for (size_t i = 0; i < N_VERBS; i++) {
        struct fx f;
        char want[64] = "";

        start(&f);
        n_asked = 0;
        refuse = false;
        add_hook(&f, "#!/bin/sh\necho $SLUICE_VERSION >>asked\necho heard\n");
        if (walk(&f, i, counting_gate) < 0)
            unit_fail(__FILE__, __LINE__, "%s: %s", verbs[i].what, f.err.msg);
        for (int k = 0; k < 3 && verbs[i].gains[k]; k++)
            snprintf(want + strlen(want), sizeof(want) - strlen(want), "%" PRId64 "\n",
                     verbs[i].gains[k]);
        CHECK_STR(fx_file(f.store, "asked"), want);
        fx_close(&f);
    }
}

TEST(test_deploy_gate__the_hook_can_say_no)
{
    struct fx f;

    start(&f);
    add_hook(&f, "#!/bin/sh\necho not on a Friday\nexit 3\n");
    FX_ERR(fx_promote(&f, "fraud", 3), ERR_HOOK);
    CHECK(strstr(f.said, "not on a Friday") != NULL);
    CHECK_STR(fx_live(&f, "fraud"), "2:9000 1:1000");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release"), 3);
    fx_close(&f);
}
