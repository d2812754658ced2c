/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/deploy/fixture.h"

struct seen {
    int n;
    char text[1024];
};

static int
see(void *arg, const struct deploy_figure *f, struct err *err)
{
    struct seen *s = arg;
    size_t n = strlen(s->text);

    (void)err;
    s->n++;
    snprintf(s->text + n, sizeof(s->text) - n,
             "%s@%s%s%s intended %" PRId64 " (version %" PRId64 ")%s %" PRId64 "%s\n",
             f->model, f->alias, f->target ? " in " : "", f->target ? f->target : "",
             f->intended, f->version,
             f->can_observe ? " observed" : " cannot be observed", f->observed,
             f->is_frozen ? " frozen" : "");
    return f->intended_ns > 0 && (f->observed == 0) == (f->observed_ns == 0) ? 0 : -1;
}

static struct seen
figures(struct fx *f)
{
    struct seen s = { .n = 0 };
    int64_t n_unfinished = -1;
    struct err err = ERR_INIT;

    CHECK_OK(deploy_figures(f->r, &n_unfinished, see, &s, &err));
    CHECK_INT(n_unfinished, 0);
    return s;
}

TEST(test_deploy_figures__of_links_that_are_read)
{
    struct fx f = { .err = ERR_INIT };
    struct seen s;

    fx_open(&f);
    FX_OK(fx_target(&f, "plain"));
    fx_pushes(&f, "digits", 2);
    s = figures(&f);
    CHECK_INT(s.n, 0);
    FX_OK(fx_promote(&f, "digits", 1));
    FX_OK(fx_promote(&f, "digits", 2));
    s = figures(&f);
    CHECK_STR(s.text, "digits@production intended 2 (version 2) observed 2\n");
    FX_OK(deploy_freeze(f.r, "digits", "production", "holidays", &f.err));
    FX_OK(fx_rollback(&f, "digits", 0));
    s = figures(&f);
    CHECK_STR(s.text, "digits@production intended 3 (version 1) observed 3 frozen\n");
    fx_close(&f);
}

TEST(test_deploy_figures__of_a_server_that_nobody_asks)
{
    struct fx f = { .err = ERR_INIT };
    struct seen s;

    fx_open(&f);
    FX_OK(fx_target(&f, "tfserving"));
    fx_push(&f, "digits");
    FX_OK(fx_promote(&f, "digits", 1));
    s = figures(&f);
    CHECK_STR(s.text,
              "digits@production intended 1 (version 1) cannot be observed 0\n");
    fx_close(&f);
}

TEST(test_deploy_figures__of_a_server_that_has_not_answered_yet)
{
    const struct deploy_options o = { .v = { [DEPLOY_STATUS_URL] =
                                                 "http://127.0.0.1:1" } };
    struct fx f = { .err = ERR_INIT };
    struct seen s;

    fx_open(&f);
    FX_OK(deploy_target_add(f.r, "web", f.web, "production", "tfserving", &o, &f.err));
    fx_push(&f, "digits");
    FX_OK(fx_promote(&f, "digits", 1));
    s = figures(&f);
    CHECK_STR(s.text, "digits@production intended 1 (version 1) observed 0\n"
                      "digits@production in web intended 1 (version 1) observed 0\n");
    fx_close(&f);
}
