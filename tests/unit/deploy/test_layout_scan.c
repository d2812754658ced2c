/* SPDX-License-Identifier: Apache-2.0 */
/* A server without a config file serves the highest number that it sees. So at no
 * moment, and after no power cut, may that be a version other than the one before or
 * the one that comes. */
#include "tests/unit/deploy/fixture.h"

#include <dirent.h>
#include <errno.h>

/* ---- the layout alone ---- */

#define N 6 /* numbers 1…N */

struct tree {
    bool shown[N + 1];
    int64_t latest; /* 0: none */
};

static int64_t
highest(const struct tree *t)
{
    int64_t n = 0;

    for (int i = 1; i <= N; i++)
        if (t->shown[i])
            n = i;
    return n;
}

static void
apply(struct tree *t, const struct layout_link *l)
{
    const char *name = strrchr(buf_str(&l->path), '/') + 1;
    const bool park = buf_str(&l->text)[0] == '.';

    if (l->kind == LAYOUT_LINK) {
        t->latest = strtol(buf_str(&l->text), NULL, 10);
        return;
    }
    CHECK_STR(buf_str(&l->text) + park, name);
    t->shown[strtol(name, NULL, 10)] = !park;
}

/* Up to the commit point, which is one rename, the highest is the one before; then it
 * is the one that comes. `latest` shows a directory all the while. */
static void
check_move(const struct tree *before, int64_t to)
{
    struct layout_links l AUTO(layout_links_release) = { .n = 0 };
    const struct deploy_release rel = { .model = "m",
                                        .members = { { to, to, 10000, "", 0 } },
                                        .n_members = 1,
                                        .latest = to };
    int64_t shown[N];
    int n = 0;
    bool past = false;
    struct tree t = *before;

    for (int i = 1; i <= N; i++)
        if (before->shown[i])
            shown[n++] = i;
    layout_tfserving_scan.links(
        &rel, &(struct layout_tree){ .shown = shown, .n_shown = n }, &l);
    for (int i = 0; i < l.n; i++) {
        CHECK(!past || !l.link[i].before);
        past |= !l.link[i].before;
        apply(&t, &l.link[i]);
        CHECK_INT(highest(&t), past ? to : highest(before));
        CHECK(t.latest == 0 || t.shown[t.latest]);
    }
    CHECK(past);
    CHECK_INT(t.latest, to);
}

TEST(test_layout_scan__every_order)
{
    for (unsigned set = 0; set < 1u << N; set++)
        for (int to = 1; to <= N; to++) {
            struct tree t = { .shown = { false } };

            for (int i = 1; i <= N; i++)
                t.shown[i] = set & 1u << (i - 1);
            t.latest = highest(&t);
            check_move(&t, to);
        }
}

TEST(test_layout_scan__one_version_has_traffic)
{
    struct buf why AUTO(buf_release) = BUF_INIT;
    struct deploy_release rel = { .n_members = 1 };

    layout_tfserving_scan.refuse(&rel, &why);
    CHECK_STR(buf_str(&why), "");
    rel.n_kept = 1;
    layout_tfserving_scan.refuse(&rel, &why);
    CHECK_STR(buf_str(&why), "");
    rel.kept[0].mirror = 100;
    layout_tfserving_scan.refuse(&rel, &why);
    CHECK(why.len > 0);
    buf_clear(&why);
    rel.n_kept = 0;
    rel.n_members = 2;
    layout_tfserving_scan.refuse(&rel, &why);
    CHECK(strstr(buf_str(&why), "layout tfserving") != NULL);
}

/* ---- with a tree ---- */

/* The numbers that a server sees, and that they are whole: "1 2 5". */
static const char *
seen(const char *target, const char *model)
{
    static char text[200];
    char path[700], want[300];
    int64_t all[64];
    int n = 0, at = 0;
    struct dirent *ent;
    DIR *d;

    snprintf(path, sizeof(path), "%s/%s", target, model);
    d = opendir(path);
    text[0] = '\0';
    while (d && (ent = readdir(d)) != NULL)
        if (ent->d_name[0] >= '0' && ent->d_name[0] <= '9')
            all[n++] = strtoll(ent->d_name, NULL, 10);
    if (d)
        closedir(d);
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n; k++)
            if (all[k] < all[i]) {
                const int64_t swap = all[i];

                all[i] = all[k];
                all[k] = swap;
            }
    for (int i = 0; i < n; i++) {
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%s%" PRId64, i ? " " : "",
                       all[i]);
        snprintf(path, sizeof(path), "%s/%" PRId64 "/weights", model, all[i]);
        fx_text(want, model, all[i]);
        CHECK_STR(fx_file(target, path), want);
    }
    return text;
}

static int64_t
served(const char *target, const char *model)
{
    const char *text = seen(target, model), *last = strrchr(text, ' ');

    return text[0] ? strtoll(last ? last + 1 : text, NULL, 10) : 0;
}

static const char *
in_web(const struct fx *f, const char *path)
{
    static char whole[2][1200];
    static int turn;

    turn ^= 1;
    snprintf(whole[turn], sizeof(whole[turn]), "%s/%s", f->web, path);
    return whole[turn];
}

/* How much a check finds; with `repair`, how much is left. */
static int
differs(struct fx *f, bool repair)
{
    cJSON *doc = NULL;
    int left;

    if (deploy_drift(f->r, "web", repair, &doc, &f->err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
    left = (int)cJSON_GetObjectItem(doc, "left")->valuedouble;
    json_free(&doc);
    return left;
}

TEST(test_layout_scan__up_and_down)
{
    struct fx f = { .r = NULL };
    struct repo_version v;

    fx_open(&f);
    fx_pushes(&f, "fraud", 5);
    FX_OK(fx_target(&f, "tfserving-scan"));
    CHECK_STR(seen(f.web, "fraud"), "");
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_STR(seen(f.web, "fraud"), "2");
    FX_OK(fx_promote(&f, "fraud", 3));
    FX_OK(fx_promote(&f, "fraud", 5));
    CHECK_STR(seen(f.web, "fraud"), "2 3 5");
    CHECK_INT(fx_shown(f.web, "fraud"), 5);
    CHECK_INT(differs(&f, false), 0);
    FX_OK(fx_rollback(&f, "fraud", 0));
    CHECK_STR(seen(f.web, "fraud"), "2 3");
    CHECK_INT(fx_shown(f.web, "fraud"), 3);
    CHECK_INT(access(in_web(&f, "fraud/.5/weights"), F_OK), 0);
    FX_OK(fx_promote(&f, "fraud", 4));
    CHECK_STR(seen(f.web, "fraud"), "2 3 4");
    FX_OK(fx_promote_as(&f, "fraud", 5, true));
    FX_OK(fx_promote(&f, "fraud", 1)); /* a lower one, and never shown */
    CHECK_STR(seen(f.web, "fraud"), "1");
    CHECK_INT(fx_shown(f.web, "fraud"), 1);
    CHECK_INT(differs(&f, false), 0);
    FX_ERR(fx_weights2(&f, "fraud", 1, 50, 2, 50), ERR_CONFLICT);
    CHECK(strstr(f.said, "the layout tfserving") != NULL);
    CHECK_INT(fx_count(&f, "SELECT COUNT(*) FROM release WHERE state = 'intended'"), 0);

    FX_OK(repo_resolve(f.r, "fraud@4", &v, &f.err));
    CHECK_INT(deploy_version_dirs(f.r, &v, &f.err), 1); /* it knows the parked name */
    FX_OK(deploy_forget(f.r, &v, &f.err));
    CHECK(access(in_web(&f, "fraud/.4"), F_OK) < 0 && errno == ENOENT);
    fx_close(&f);
}

TEST(test_layout_scan__drift)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    FX_OK(fx_target(&f, "tfserving-scan"));
    FX_OK(fx_promote(&f, "fraud", 3));
    FX_OK(fx_promote(&f, "fraud", 2));
    CHECK_STR(seen(f.web, "fraud"), "2");
    CHECK(rename(in_web(&f, "fraud/.3"), in_web(&f, "fraud/3")) == 0);
    CHECK_INT(differs(&f, false), 1);
    CHECK_INT(served(f.web, "fraud"), 3);
    CHECK_INT(differs(&f, true), 0);
    CHECK_STR(seen(f.web, "fraud"), "2");
    CHECK(rename(in_web(&f, "fraud/2"), in_web(&f, "fraud/.2")) == 0);
    CHECK_INT(differs(&f, true), 0);
    CHECK_STR(seen(f.web, "fraud"), "2");

    /* what is not ours is not moved, but told, and no release pretends */
    CHECK(mkdir(in_web(&f, "fraud/99"), 0755) == 0);
    CHECK(differs(&f, true) > 0);
    FX_ERR(fx_promote_as(&f, "fraud", 3, true), ERR_CONFLICT);
    CHECK(strstr(f.said, "fraud/99 is not of this store") != NULL);
    CHECK(rmdir(in_web(&f, "fraud/99")) == 0);
    CHECK(mkdir(in_web(&f, "fraud/+08"), 0755) == 0); /* which it reads as 8 */
    FX_ERR(fx_promote_as(&f, "fraud", 3, true), ERR_CONFLICT);
    CHECK(rmdir(in_web(&f, "fraud/+08")) == 0);
    FX_OK(fx_promote_as(&f, "fraud", 3, true));
    CHECK_INT(served(f.web, "fraud"), 3);
    fx_close(&f);
}

/* A target that is added shows what is live, and refuses what it cannot. */
TEST(test_layout_scan__added_later)
{
    struct fx f = { .r = NULL };

    fx_open(&f);
    fx_pushes(&f, "fraud", 3);
    FX_OK(fx_promote(&f, "fraud", 1));
    FX_OK(fx_promote(&f, "fraud", 3));
    FX_OK(fx_promote(&f, "fraud", 2));
    FX_OK(fx_weights2(&f, "fraud", 1, 50, 2, 50));
    FX_ERR(fx_target(&f, "tfserving-scan"), ERR_CONFLICT);
    CHECK(access(in_web(&f, "fraud"), F_OK) < 0);
    FX_OK(fx_promote(&f, "fraud", 2));
    FX_OK(fx_target(&f, "tfserving-scan"));
    CHECK_STR(seen(f.web, "fraud"), "2");
    CHECK_INT(differs(&f, false), 0);
    FX_OK(fx_rollback(&f, "fraud", 3)); /* upwards, too */
    CHECK_STR(seen(f.web, "fraud"), "2 3");
    fx_close(&f);
}

#ifdef TEST_FAULT

struct move {
    struct fx *f;
    int64_t to;
    bool back;
};

static int
make(const struct move *m)
{
    return m->back ? fx_rollback(m->f, "fraud", m->to)
                   : fx_promote_as(m->f, "fraud", m->to, true);
}

/* Runs it in a process of its own under a fault; whether it was hit. */
static bool
hit(const struct move *m, const char *plan)
{
    pid_t pid;
    int status;

    fx_close(m->f);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int e;

        fx_open(m->f);
        setenv("TEST_FAULT", plan, 1);
        e = make(m);
        unsetenv("TEST_FAULT");
        fx_close(m->f);
        _exit(e < 0 ? err_exit_status(m->f->err.code) : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    fx_open(m->f);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* From each version to each, killed at (and failing at) every rename and every sync:
 * what the server serves is the one before or the one that comes, then and after
 * healing, and in the end what the alias means. */
static void
moves(const char *call, const char *what)
{
    struct fx f = { .r = NULL };
    int n_hit = 0;

    fx_open(&f);
    fx_pushes(&f, "fraud", 4);
    FX_OK(fx_target(&f, "tfserving-scan"));
    for (int i = 1; i <= 4; i++)
        FX_OK(fx_promote_as(&f, "fraud", i, true));
    for (int from = 1; from <= 4; from++)
        for (int to = 1; to <= 4; to++)
            for (int n = 1; to != from && n <= 6; n++) {
                const struct move m = { &f, to, from > to && n % 2 };
                char plan[60];
                int64_t now;
                bool was_hit;

                /* so that those between are in sight again */
                for (int i = 1; i <= 4; i++)
                    FX_OK(fx_promote_as(&f, "fraud", i, true));
                FX_OK(fx_promote_as(&f, "fraud", from, true));
                CHECK_INT(served(f.web, "fraud"), from);
                snprintf(plan, sizeof(plan), "%s:%d:%s", call, n, what);
                was_hit = hit(&m, plan);
                n_hit += was_hit;
                now = served(f.web, "fraud");
                CHECK(now == from || now == to);
                CHECK(fx_shown(f.web, "fraud") > 0); /* latest shows a directory */
                FX_OK(deploy_drift(f.r, "web", true, &f.report, &f.err)); /* heals */
                now = served(f.web, "fraud");
                CHECK_INT(now, fx_alias(&f, "fraud"));
                CHECK_INT(now, fx_shown(f.web, "fraud"));
                CHECK(now == (was_hit ? now == from ? from : to : to));
                CHECK_INT(differs(&f, false), 0);
                json_free(&f.report);
            }
    CHECK(n_hit > 12);
    fx_close(&f);
}

TEST(test_layout_scan__killed_at_every_rename) { moves("rename", "kill"); }
TEST(test_layout_scan__killed_at_every_sync) { moves("fsync", "kill"); }
TEST(test_layout_scan__failing_at_every_rename) { moves("rename", "EIO"); }

#endif
