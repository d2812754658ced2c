/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/host.h"

#include "tests/unit/deploy/fixture.h"

#define OK(call)                                                                       \
    do {                                                                               \
        if ((call) < 0)                                                                \
            unit_fail(__FILE__, __LINE__, "%s: %s", #call, f->err.msg);                \
    } while (0)

static bool
all(void *arg, const char *model)
{
    (void)arg, (void)model;
    return true;
}

/* Whether a host is to have what is live now; why not is in `why`. */
static bool
goes(struct fx *f, const char *host, char why[400])
{
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *m;

    OK(deploy_host_want(f->r, host, "production", all, NULL, &doc, &f->err));
    m = cJSON_GetObjectItem(doc, "models")->child;
    CHECK(m != NULL);
    snprintf(why, 400, "%s",
             cJSON_IsString(cJSON_GetObjectItem(m, "why"))
                 ? cJSON_GetObjectItem(m, "why")->valuestring
                 : "");
    return cJSON_IsTrue(cJSON_GetObjectItem(m, "go"));
}

/* 1 noted, 0 not (or known already), -code. */
static int
report(struct fx *f, const char *host, int64_t release, const char *state)
{
    const struct host_report h = { .host = host,
                                   .model = "fraud",
                                   .alias = "production",
                                   .release = release,
                                   .state = state,
                                   .detail = "",
                                   .shows = "1",
                                   .at_ns = 1 };
    struct buf why AUTO(buf_release) = BUF_INIT;
    int e;

    OK(db_begin(f->r->db, &f->err));
    e = deploy_host_report(f->r, &h, &why, &f->err);
    if (e < 0)
        db_rollback(f->r->db);
    else
        OK(db_commit(f->r->db, &f->err));
    return e;
}

static void
rule(struct fx *f, int64_t at_once, int64_t max_failing, int64_t silent_s)
{
    const struct host_rule r = { at_once, max_failing, silent_s };

    OK(db_begin(f->r->db, &f->err));
    OK(deploy_host_rule_set(f->r, "production", &r, &f->err));
    OK(db_commit(f->r->db, &f->err));
}

static void
live(struct fx *f, int64_t number)
{
    struct repo_version v;
    char ref[40];
    struct deploy_change c = { .verb = DEPLOY_PROMOTE,
                               .model = "fraud",
                               .alias = "production",
                               .version = &v,
                               .again = true };

    snprintf(ref, sizeof(ref), "fraud@%" PRId64, number);
    OK(repo_resolve(f->r, ref, &v, &f->err));
    json_free(&f->report);
    OK(deploy_change(f->r, &c, &f->report, &f->err));
}

TEST(test_deploy_host__a_rollout_goes_round_and_stops)
{
    struct fx fx = { .r = NULL }, *f = &fx;
    char why[400];
    int n;

    fx_open(f);
    fx_pushes(f, "fraud", 3);
    live(f, 1);
    CHECK(goes(f, "a", why) && goes(f, "b", why)); /* no rule */
    rule(f, 1, 0, 600);
    CHECK(goes(f, "a", why));
    CHECK_INT(report(f, "a", 1, "fetching"), 1);
    CHECK_INT(report(f, "a", 1, "fetching"), 0); /* known */
    CHECK(goes(f, "a", why));
    CHECK(!goes(f, "b", why) && strstr(why, "a is at it"));
    CHECK_INT(report(f, "b", 1, "fetching"), 0); /* not its turn */
    CHECK_INT(report(f, "a", 1, "observed"), 1);
    CHECK(goes(f, "b", why));

    live(f, 2);
    CHECK_INT(report(f, "a", 2, "failed"), 1);
    CHECK(!goes(f, "a", why) && strstr(why, "host retry a"));
    CHECK(!goes(f, "b", why) && strstr(why, "stopped: 1 failing (a)"));
    OK(db_begin(f->r->db, &f->err));
    OK(deploy_host_retry(f->r, "a", &n, &f->err));
    OK(db_commit(f->r->db, &f->err));
    CHECK_INT(n, 1);
    CHECK(goes(f, "a", why) && goes(f, "b", why));

    CHECK_INT(report(f, "a", 2, "fetching"), 1); /* and then it says nothing more */
    OK(db_begin(f->r->db, &f->err));
    OK(db_run(f->r->db, &f->err, "UPDATE host_heard SET heard_ns = 1", ""));
    OK(db_commit(f->r->db, &f->err));
    CHECK(!goes(f, "b", why) && strstr(why, "a (silent)"));
    live(f, 3);
    CHECK(goes(f, "b", why)); /* another release */
    fx_close(f);
}

TEST(test_deploy_host__reports_are_checked)
{
    struct fx fx = { .r = NULL }, *f = &fx;
    cJSON *list = NULL;

    fx_open(f);
    fx_pushes(f, "fraud", 1);
    CHECK_INT(report(f, "a", 1, "observed"), -ERR_NOTFOUND); /* nothing is live */
    err_clear(&f->err);
    live(f, 1);
    CHECK_INT(report(f, "a", 2, "observed"), -ERR_CONFLICT);
    err_clear(&f->err);
    CHECK_INT(report(f, "a", 1, "well"), -ERR_INVALID);
    err_clear(&f->err);
    CHECK_INT(report(f, "a b/c", 1, "observed"), -ERR_INVALID);
    err_clear(&f->err);
    CHECK_INT(report(f, "a", 1, "observed"), 1);
    OK(deploy_hosts(f->r, "production", &list, &f->err));
    CHECK_INT(cJSON_GetArraySize(list), 1);
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(list->child, "ok")));
    json_free(&list);
    fx_close(f);
}
