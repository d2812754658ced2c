/* SPDX-License-Identifier: Apache-2.0 */
/* One release, several configs: with a server played here, that reads the tree's
 * models.config as TF Serving does when no label may be early: a config that names a
 * version which is not loaded under a label is refused whole. */
#include "tests/unit/deploy/fixture.h"

#include <dirent.h>

struct fake_version {
    int64_t number;
    enum server_state state;
    bool leaves, wanted; /* it unloads it, and says AVAILABLE until it has */
};
struct fake_model {
    char name[32];
    struct fake_version v[32];
    int n;
    int64_t stable, canary;
};
static struct fake {
    const char *web;
    struct fake_model m[4];
    int n;
    int n_refused; /* configs */
    int n_told;
    int64_t told_stable; /* what the config gave the label when it was told */
    bool down, no_reload;
    bool lenient;  /* new labels may be early, as with the flag that sluice asks for */
    int64_t fails; /* a number that does not load */
} server;

static struct fake_model *
fake_find(const char *name)
{
    for (int i = 0; i < server.n; i++)
        if (strcmp(server.m[i].name, name) == 0)
            return &server.m[i];
    return NULL;
}

static struct fake_version *
fake_version(struct fake_model *m, int64_t number)
{
    for (int i = 0; m && i < m->n; i++)
        if (m->v[i].number == number)
            return &m->v[i];
    return NULL;
}

static bool
is_loaded(const char *model, int64_t number)
{
    const struct fake_version *v = fake_version(fake_find(model), number);

    return v && v->state == SERVER_AVAILABLE && !v->leaves;
}

static int64_t
label_in(const char *text, const char *label)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "key: \"%s\" value: ", label);
    at = strstr(text, key);
    return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

/* One model of the config; false: it is refused. */
static bool
fake_read(char *text, struct fake_model *old, struct fake_model *out)
{
    *out = (struct fake_model){ .n = 0 };
    sscanf(text, "name: \"%31[^\"]\"", out->name);
    for (char *s = text; (s = strstr(s, " versions: ")) != NULL;) {
        struct fake_version *v = &out->v[out->n++], *was;

        v->number = strtoll(s += 11, NULL, 10);
        was = fake_version(old, v->number);
        *v = was ? *was
                 : (struct fake_version){ v->number, SERVER_LOADING, false, true };
        v->wanted = true;
    }
    for (int i = 0; old && i < old->n; i++)
        if (!fake_version(out, old->v[i].number)) {
            out->v[out->n] = old->v[i];
            out->v[out->n].wanted = false;
            out->v[out->n++].leaves = true;
        }
    out->stable = label_in(text, "stable");
    out->canary = label_in(text, "canary");
    return (!out->stable || is_loaded(out->name, out->stable) ||
            (server.lenient && (!old || !old->stable))) &&
           (!out->canary || is_loaded(out->name, out->canary));
}

/* It polls its config. */
static void
fake_poll(void)
{
    char *text = xstrdup(fx_file(server.web, "config/models.config"));
    struct fake_model now[4];
    bool ok = true;
    int n = 0;

    for (char *s = strstr(text, "name: "); s;) {
        char *next = strstr(s + 1, "name: "), name[32] = "";

        if (next)
            next[-1] = '\0';
        sscanf(s, "name: \"%31[^\"]\"", name);
        ok &= fake_read(s, fake_find(name), &now[n++]);
        s = next;
    }
    for (int i = 0; i < server.n; i++) { /* no model is ever left out */
        bool there = false;

        for (int k = 0; k < n; k++)
            there |= strcmp(server.m[i].name, now[k].name) == 0;
        CHECK(there);
    }
    if (ok) {
        memcpy(server.m, now, sizeof(now));
        server.n = n;
    } else {
        server.n_refused++;
    }
    free(text);
}

/* All that it loads is there, but for what fails; all that it unloads is gone. */
static void
fake_load(void)
{
    for (int i = 0; i < server.n; i++) {
        struct fake_model *m = &server.m[i];
        int n = 0;

        for (int k = 0; k < m->n; k++) {
            struct fake_version *v = &m->v[k];

            if (v->leaves && !v->wanted)
                continue;
            v->state = v->leaves                   ? SERVER_LOADING
                       : v->number == server.fails ? SERVER_END
                                                   : SERVER_AVAILABLE;
            v->leaves = false;
            m->v[n++] = *v;
        }
        m->n = n;
    }
}

static int
fake_observe(const struct deploy_target *t, const char *model, int wall_ms,
             struct server_seen *out, struct err *err)
{
    const struct fake_model *m = fake_find(model);

    (void)t;
    CHECK(wall_ms > 0 && wall_ms <= 2000);
    if (server.down)
        return err_set(err, ERR_BUSY, "nobody answers");
    out->n = 0;
    for (int i = 0; m && i < m->n; i++) {
        struct server_version *v = &out->v[out->n++];

        *v =
            (struct server_version){ .number = m->v[i].number, .state = m->v[i].state };
        if (v->state == SERVER_END)
            snprintf(v->error, sizeof(v->error), "no such op");
    }
    return m != NULL;
}

static int
fake_label(const struct deploy_target *t, const char *model, const char *label,
           int wall_ms, int64_t *number, struct err *err)
{
    const struct fake_model *m = fake_find(model);

    (void)t;
    (void)wall_ms;
    (void)err;
    *number = !m ? 0 : strcmp(label, "stable") == 0 ? m->stable : m->canary;
    return *number != 0;
}

static int
fake_reload(struct repo *r, const struct deploy_target *t,
            const struct deploy_release *rel, int wall_ms, struct err *err)
{
    (void)r;
    (void)t;
    (void)rel;
    (void)wall_ms;
    if (server.no_reload)
        return err_set(err, ERR_REFUSED, "it says no");
    server.n_told++;
    server.told_stable =
        label_in(fx_file(server.web, "config/models.config"), "stable");
    return 0;
}

static const struct server_calls played = { fake_observe, fake_label, fake_reload };

/* ---- acts ---- */

static void
start(struct fx *f, const char *reload)
{
    struct deploy_options o = {
        .v = { [DEPLOY_STATUS_URL] = "http://127.0.0.1:1", [DEPLOY_RELOAD] = reload }
    };

    struct err err = ERR_INIT;

    memset(&server, 0, sizeof(server));
    fx_open(f);
    server.web = f->web;
    CHECK_OK(
        deploy_target_add(f->r, "web", f->web, "production", "tfserving", &o, &err));
}

static int
change(struct fx *f, const struct deploy_change *c)
{
    json_free(&f->report);
    return deploy_change_with(f->r, c, val_gate, &played, &f->report, &f->err);
}

static int
promote(struct fx *f, const char *model, int64_t number, int keep, bool dry)
{
    char *ref AUTO(free_ptr) = xasprintf("%s@%" PRId64, model, number);
    struct repo_version v;

    if (repo_resolve(f->r, ref, &v, &f->err) < 0)
        return -(int)f->err.code;
    return change(f, &(struct deploy_change){ .verb = DEPLOY_PROMOTE,
                                              .model = model,
                                              .alias = "production",
                                              .version = &v,
                                              .keep_loaded = keep,
                                              .again = true,
                                              .dry_run = dry });
}

static int
rollback(struct fx *f, const char *model)
{
    return change(f, &(struct deploy_change){ .verb = DEPLOY_ROLLBACK,
                                              .model = model,
                                              .alias = "production" });
}

static int
weights(struct fx *f, const char *model, int64_t a, int wa, int64_t b, int wb)
{
    const struct deploy_member parts[] = { { .number = a, .weight = wa },
                                           { .number = b, .weight = wb } };

    return change(f, &(struct deploy_change){ .verb = DEPLOY_WEIGHTS,
                                              .model = model,
                                              .alias = "production",
                                              .parts = parts,
                                              .n_parts = 2,
                                              .again = true });
}

/* One round; how many wait still. */
static int
step(struct fx *f)
{
    const struct deploy_step what = { .target = "web" };
    struct err err = ERR_INIT;
    int n;

    json_free(&f->report);
    CHECK_OK(deploy_step_with(f->r, &played, &what, &f->report, &err));
    n = (int)cJSON_GetObjectItem(f->report, "waiting")->valuedouble;
    return n;
}

static const char *
said(struct fx *f)
{
    static char text[4096];
    struct buf b AUTO(buf_release) = BUF_INIT;

    json_print(f->report, &b, true);
    snprintf(text, sizeof(text), "%s", buf_str(&b));
    return text;
}

/* The server follows until all is seen. */
static void
settle(struct fx *f)
{
    for (int i = 0; i < 9; i++) {
        fake_poll();
        fake_load();
        if (step(f) == 0)
            break;
    }
    CHECK_INT(step(f), 0);
    CHECK_INT(server.n_refused, 0);
}

static const char *
stage(struct fx *f, const char *model)
{
    static char out[16];
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;

    CHECK_OK(db_get_text(f->r->db, &text, &err,
                         "SELECT stage FROM shown WHERE model = ?", "t", model));
    snprintf(out, sizeof(out), "%s", buf_str(&text));
    return out;
}

/* The versions and labels of a model in the config: "1 2 stable=1". */
static const char *
config(const char *web, const char *model)
{
    static char out[256];
    char *text = xstrdup(fx_file(web, "config/models.config")), key[64], *s, *end;
    int n = 0;

    snprintf(key, sizeof(key), "name: \"%s\"", model);
    out[0] = '\0';
    s = strstr(text, key);
    end = s ? strstr(s + 1, "name: ") : NULL;
    if (end)
        *end = '\0';
    for (char *v = s; v && (v = strstr(v, " versions: ")) != NULL; v += 11)
        n += snprintf(out + n, sizeof(out) - (size_t)n, "%lld ",
                      strtoll(v + 11, NULL, 10));
    snprintf(out + n, sizeof(out) - (size_t)n, "stable=%lld canary=%lld",
             s ? (long long)label_in(s, "stable") : 0LL,
             s ? (long long)label_in(s, "canary") : 0LL);
    free(text);
    return out;
}

static int
count_rendered(const char *web)
{
    char *dir AUTO(free_ptr) = xasprintf("%s/" LAYOUT_RELEASES, web);
    DIR *d = opendir(dir);
    int n = 0;

    CHECK(d != NULL);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int
observed(struct fx *f)
{
    return fx_count(f, "SELECT COUNT(*) FROM release WHERE observed_ns > 0");
}

/* ---- tests ---- */

TEST(test_deploy_steps__first_release)
{
    struct fx f = { .r = NULL };

    start(&f, NULL);
    fx_pushes(&f, "fraud", 1);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    CHECK_STR(config(f.web, "fraud"), "1 stable=0 canary=0");
    CHECK_STR(stage(&f, "fraud"), "load");
    CHECK(strstr(said(&f), "\"observed\": false") != NULL);
    CHECK_INT(step(&f), 1); /* it has not even looked */
    CHECK(strstr(said(&f), "version 1 AVAILABLE: it is UNKNOWN") != NULL);
    fake_poll();
    CHECK_INT(step(&f), 1);
    CHECK(strstr(said(&f), "it is LOADING") != NULL);
    CHECK_STR(config(f.web, "fraud"), "1 stable=0 canary=0");
    fake_load();
    CHECK_INT(step(&f), 1);
    CHECK_STR(stage(&f, "fraud"), "look");
    CHECK_STR(config(f.web, "fraud"), "1 stable=1 canary=0");
    CHECK(strstr(said(&f), "label stable at 1: there is none yet") != NULL);
    CHECK_INT(observed(&f), 0);
    fake_poll();
    CHECK_INT(step(&f), 0);
    CHECK_STR(stage(&f, "fraud"), "done");
    CHECK_INT(observed(&f), 1);
    CHECK_INT(server.n_refused, 0);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM event WHERE verb = 'target-step'"), 2);
    fx_close(&f);
}

/* Two good ones, then a third that drops the first: each config. */
TEST(test_deploy_steps__promote)
{
    struct fx f = { .r = NULL };
    int n;

    start(&f, NULL);
    fx_pushes(&f, "fraud", 3);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    settle(&f);
    FX_OK(promote(&f, "fraud", 2, 0, false));
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=1 canary=0");
    CHECK_STR(fx_link(f.web, "fraud/latest"), "1");
    CHECK(strstr(fx_file(f.web, "config/routes.json"), "\"latest\": 1") != NULL);
    CHECK_INT(fx_alias(&f, "fraud"), 2);
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    CHECK_STR(fx_link(f.web, "fraud/latest"), "2");

    FX_OK(promote(&f, "fraud", 3, -1, false));
    n = count_rendered(f.web);
    CHECK_STR(config(f.web, "fraud"), "1 2 3 stable=2 canary=0");
    fake_poll();
    fake_load();
    step(&f);
    CHECK_STR(stage(&f, "fraud"), "label");
    CHECK_STR(config(f.web, "fraud"), "2 3 stable=3 canary=0");
    fake_poll();
    CHECK_INT(step(&f), 0);
    CHECK_STR(config(f.web, "fraud"), "3 stable=3 canary=0");
    /* what steps and a rollback show was rendered before the first flip */
    FX_OK(rollback(&f, "fraud"));
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    CHECK_INT(count_rendered(f.web), n);
    CHECK_INT(observed(&f), 4);
    fx_close(&f);
}

/* At each stage of a release a rollback undoes the whole of it by one flip, and what
 * had traffic stays loaded. */
TEST(test_deploy_steps__rollback_at_each_stage)
{
    for (int at = 0; at < 4; at++) {
        struct fx f = { .r = NULL };
        int n;

        start(&f, NULL);
        fx_pushes(&f, "fraud", 2);
        FX_OK(promote(&f, "fraud", 1, 0, false));
        settle(&f);
        FX_OK(promote(&f, "fraud", 2, -1, false));
        n = count_rendered(f.web);
        for (int i = 0; i < at; i++) {
            fake_poll();
            if (i == 0)
                fake_load();
            step(&f);
        }
        CHECK_STR(stage(&f, "fraud"), at == 0 ? "load" : at == 1 ? "label" : "done");
        FX_OK(rollback(&f, "fraud"));
        CHECK_STR(fx_live(&f, "fraud"), "1:10000");
        if (at < 2) { /* 1 was loaded all the time: its label is back at once */
            CHECK_INT(label_in(fx_file(f.web, "config/models.config"), "stable"), 1);
            CHECK_STR(fx_link(f.web, "fraud/latest"), "1");
        } else if (at == 2) { /* it is loaded again first, once it was unloaded */
            CHECK_STR(config(f.web, "fraud"), "2 stable=2 canary=0");
            fake_poll();
            CHECK_INT(step(&f), 1);
            CHECK(strstr(said(&f), "version 1 gone before it is loaded again") != NULL);
            fake_load();
            CHECK_INT(step(&f), 1);
            CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
        }
        settle(&f);
        CHECK_STR(config(f.web, "fraud"), "1 stable=1 canary=0");
        CHECK_INT(count_rendered(f.web), n);
        FX_ERR(rollback(&f, "fraud"), ERR_NOTFOUND);
        fx_close(&f);
    }
}

/* Releases made while others load: what is in force is not lost. */
TEST(test_deploy_steps__release_while_loading)
{
    struct fx f = { .r = NULL };

    start(&f, NULL);
    fx_pushes(&f, "fraud", 4);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    settle(&f);
    FX_OK(promote(&f, "fraud", 2, -1, false));
    FX_OK(promote(&f, "fraud", 3, -1, false));
    CHECK_STR(config(f.web, "fraud"), "1 3 stable=1 canary=0");
    fake_poll();
    fake_load();
    FX_OK(weights(&f, "fraud", 3, 50, 4, 50));
    CHECK(strstr(config(f.web, "fraud"), "1 ") != NULL);
    CHECK_INT(label_in(fx_file(f.web, "config/models.config"), "stable"), 1);
    settle(&f);
    CHECK_INT(label_in(fx_file(f.web, "config/models.config"), "stable"), 3);
    CHECK_INT(label_in(fx_file(f.web, "config/models.config"), "canary"), 4);
    /* a version that the server may need is not deleted meanwhile */
    FX_OK(promote(&f, "fraud", 2, -1, false));
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM shown WHERE from_id > 0"), 1);
    /* shares move without a load */
    settle(&f);
    FX_OK(weights(&f, "fraud", 2, 90, 3, 10));
    settle(&f);
    FX_OK(weights(&f, "fraud", 2, 80, 3, 20));
    CHECK_STR(stage(&f, "fraud"), "look");
    settle(&f);
    fx_close(&f);
}

TEST(test_deploy_steps__two_models)
{
    struct fx f = { .r = NULL };

    start(&f, NULL);
    fx_pushes(&f, "fraud", 2);
    fx_pushes(&f, "churn", 2);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    FX_OK(promote(&f, "churn", 1, 0, false));
    CHECK_STR(config(f.web, "fraud"), "1 stable=0 canary=0");
    settle(&f);
    FX_OK(promote(&f, "fraud", 2, -1, false));
    FX_OK(promote(&f, "churn", 2, -1, false));
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=1 canary=0");
    CHECK_STR(config(f.web, "churn"), "1 2 stable=1 canary=0");
    FX_OK(rollback(&f, "churn"));
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=1 canary=0");
    CHECK_STR(config(f.web, "churn"), "1 stable=1 canary=0");
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "2 stable=2 canary=0");
    CHECK_STR(config(f.web, "churn"), "1 stable=1 canary=0");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM shown WHERE stage = 'done'"), 2);
    fx_close(&f);
}

/* Killed after the row, before the flip: the next round flips; target check sees it. */
TEST(test_deploy_steps__row_without_flip)
{
    struct fx f = { .r = NULL };
    cJSON *out = NULL;

    start(&f, NULL);
    fx_pushes(&f, "fraud", 2);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    settle(&f);
    FX_OK(promote(&f, "fraud", 2, -1, false));
    FX_OK(deploy_drift(f.r, NULL, false, &out, &f.err));
    CHECK_INT(cJSON_GetObjectItem(out, "left")->valuedouble, 0);
    json_free(&out);
    fake_poll();
    fake_load();
    FX_OK(db_run(f.r->db, &f.err, "UPDATE shown SET stage = 'label'", ""));
    FX_OK(deploy_drift(f.r, NULL, false, &out, &f.err));
    CHECK(cJSON_GetObjectItem(out, "left")->valuedouble > 0);
    json_free(&out);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=1 canary=0");
    step(&f);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "2 stable=2 canary=0");
    fx_close(&f);
}

TEST(test_deploy_steps__server_that_fails)
{
    struct fx f = { .r = NULL };
    cJSON *out = NULL;

    start(&f, NULL);
    fx_pushes(&f, "fraud", 2);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    settle(&f);
    FX_OK(promote(&f, "fraud", 2, 0, false));
    server.fails = 2;
    fake_poll();
    fake_load();
    for (int i = 0; i < 3; i++)
        CHECK_INT(step(&f), 1);
    CHECK(strstr(said(&f), "version 2 AVAILABLE: it is END, no such op") != NULL);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=1 canary=0");
    server.down = true;
    CHECK_INT(step(&f), 1);
    CHECK(strstr(said(&f), "nobody answers") != NULL);
    FX_OK(deploy_status_with(f.r, NULL, &played, &out, &f.err));
    json_free(&f.report);
    f.report = out;
    CHECK(strstr(said(&f), "nobody answers") != NULL);
    CHECK(strstr(said(&f), "intended; not observed (not yet)") != NULL);
    FX_OK(rollback(&f, "fraud")); /* needs no server */
    server.down = false;
    server.fails = 0;
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "1 stable=1 canary=0");
    fx_close(&f);
}

TEST(test_deploy_steps__told)
{
    struct fx f = { .r = NULL };

    start(&f, "grpc://127.0.0.1:1");
    fx_pushes(&f, "fraud", 1);
    server.no_reload = true;
    FX_OK(promote(&f, "fraud", 1, 0, false));
    CHECK(strstr(said(&f), "\"not_told\": \"it says no\"") != NULL);
    CHECK_INT(fx_count(&f, "SELECT told FROM shown"), 0);
    CHECK_INT(step(&f), 1);
    CHECK(strstr(said(&f), "it says no") != NULL);
    server.no_reload = false;
    CHECK_INT(step(&f), 1);
    CHECK_INT(server.n_told, 1);
    CHECK_INT(fx_count(&f, "SELECT told FROM shown"), 1);
    step(&f);
    CHECK_INT(server.n_told, 1);
    settle(&f);
    CHECK_INT(server.n_told, 2);
    fx_close(&f);
}

/* A status URL changes the config: the server is told, and seen anew. */
TEST(test_deploy_steps__told_of_a_status_url)
{
    struct fx f = { .r = NULL };
    struct deploy_options o = { .v = { [DEPLOY_STATUS_URL] = "" } };

    start(&f, "grpc://127.0.0.1:1");
    fx_pushes(&f, "fraud", 1);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "1 stable=1 canary=0");
    CHECK_INT(server.n_told, 2);
    FX_OK(deploy_target_set(f.r, "web", &o, &f.err));
    CHECK_STR(config(f.web, "fraud"), "1 stable=0 canary=0");
    CHECK_INT(step(&f), 0);
    CHECK_INT(step(&f), 0);
    CHECK_INT(server.n_told, 3);
    o.v[DEPLOY_STATUS_URL] = "http://127.0.0.1:2";
    FX_OK(deploy_target_set(f.r, "web", &o, &f.err));
    CHECK_STR(config(f.web, "fraud"), "1 stable=1 canary=0");
    CHECK_INT(fx_count(&f, "SELECT stage = 'look' FROM shown"), 1);
    settle(&f);
    CHECK_INT(server.n_told, 4);
    CHECK_INT(fx_count(&f, "SELECT stage = 'done' FROM shown"), 1);
    fx_close(&f);
}

/* Killed between row and flip: flipped first, then told. */
TEST(test_deploy_steps__told_what_is_shown)
{
    struct fx f = { .r = NULL };

    start(&f, "grpc://127.0.0.1:1");
    fx_pushes(&f, "fraud", 2);
    FX_OK(promote(&f, "fraud", 1, 0, false));
    settle(&f);
    FX_OK(promote(&f, "fraud", 2, -1, false));
    fake_poll();
    fake_load();
    CHECK_INT(server.told_stable, 1);
    FX_OK(db_run(f.r->db, &f.err, "UPDATE shown SET stage = 'label', told = 0", ""));
    step(&f);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    CHECK_INT(server.told_stable, 2);
    CHECK_INT(fx_count(&f, "SELECT told FROM shown"), 1);
    settle(&f);
    fx_close(&f);
}

/* A status URL that comes later brings the labels. */
TEST(test_deploy_steps__url_set_and_taken)
{
    struct fx f = { .r = NULL };
    struct deploy_options o = { .v = { [DEPLOY_STATUS_URL] = "" } };

    start(&f, NULL);
    fx_pushes(&f, "fraud", 2);
    FX_OK(deploy_target_set(f.r, "web", &o, &f.err));
    server.lenient = true;
    FX_OK(promote(&f, "fraud", 1, 0, false));
    fake_poll();
    fake_load();
    FX_OK(promote(&f, "fraud", 2, 0, false));
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=0 canary=0");
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM shown"), 0);
    CHECK_INT(step(&f), 0);
    o.v[DEPLOY_STATUS_URL] = "http://127.0.0.1:1";
    FX_OK(deploy_target_set(f.r, "web", &o, &f.err));
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    CHECK_INT(observed(&f), 1);
    fx_close(&f);
}

TEST(test_deploy_steps__dry_run_and_keep)
{
    struct fx f = { .r = NULL };

    start(&f, NULL);
    fx_pushes(&f, "fraud", 4);
    for (int i = 1; i <= 3; i++) {
        FX_OK(promote(&f, "fraud", i, 2, false));
        settle(&f);
    }
    CHECK_STR(config(f.web, "fraud"), "1 2 3 stable=3 canary=0");
    FX_OK(promote(&f, "fraud", 4, -1, true));
    CHECK(strstr(said(&f), "{\"stage\": \"load\",") != NULL);
    CHECK(strstr(said(&f), "\"load\": [4], \"labels\": [], \"unload\": []}") != NULL);
    CHECK(strstr(said(&f), "\"labels\": [{\"label\": \"stable\", \"version\": 4}], "
                           "\"unload\": [2, 1]}") != NULL);
    CHECK(strstr(said(&f), "\"load\": [], \"labels\": [], \"unload\": [3]}") != NULL);
    CHECK_STR(config(f.web, "fraud"), "1 2 3 stable=3 canary=0");
    FX_OK(rollback(&f, "fraud"));
    CHECK_STR(fx_live(&f, "fraud"), "2:10000");
    settle(&f);
    CHECK_STR(config(f.web, "fraud"), "1 2 stable=2 canary=0");
    FX_ERR(promote(&f, "fraud", 4, DEPLOY_KEEP_LOADED_MAX + 1, false), ERR_USAGE);
    fx_close(&f);
}

/* Every order of acts: no config is refused, and what has traffic by the routes is
 * loaded, once anything was. */
TEST(test_deploy_steps__any_order)
{
    struct fx f = { .r = NULL };
    static const char *const models[] = { "churn", "fraud" };
    uint32_t seed = 7;

    start(&f, NULL);
    for (int i = 0; i < 2; i++) {
        fx_pushes(&f, models[i], 5);
        FX_OK(promote(&f, models[i], 1, 0, false));
    }
    settle(&f);
    for (int i = 0; i < 150; i++) {
        const uint32_t dice = (seed = seed * 1664525u + 1013904223u) >> 16;
        const char *model = models[dice % 2];
        const int64_t a = 1 + dice / 2 % 5, b = 1 + (dice / 2 + 1 + dice / 16 % 4) % 5;
        int e = 0;

        switch (dice / 64 % 8) {
        case 0:
            e = promote(&f, model, a, (int)(dice / 512 % 4) - 1, false);
            break;
        case 1:
            e = weights(&f, model, a, 60, b, 40);
            break;
        case 2:
            e = rollback(&f, model);
            break;
        case 3:
        case 4:
            fake_poll();
            break;
        case 5:
            fake_load();
            break;
        default:
            step(&f);
            break;
        }
        if (e < 0) {
            CHECK(f.err.code == ERR_NOTFOUND);
            err_clear(&f.err);
        }
        CHECK_INT(server.n_refused, 0);
        for (int m = 0; m < 2; m++) {
            int64_t shown = fx_shown(f.web, models[m]);

            if (!is_loaded(models[m], shown))
                unit_fail(__FILE__, __LINE__, "%d: %s %d is not loaded", i, models[m],
                          (int)shown);
        }
    }
    settle(&f);
    fx_close(&f);
}
