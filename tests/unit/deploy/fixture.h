/* SPDX-License-Identifier: Apache-2.0 */
/* A store with small versions, and what may be asked of its targets. */
#ifndef TESTS_DEPLOY_FIXTURE_H
#define TESTS_DEPLOY_FIXTURE_H

#include "deploy/deploy_int.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

struct fx {
    struct repo *r;
    char store[512], web[512];
    cJSON *report; /* of the last change */
    struct err err;
    char said[ERR_MSG_BYTES]; /* by the error that FX_ERR saw */
};

/* The call reports into f.err. */
#define FX_OK(call)                                                                    \
    do {                                                                               \
        if ((call) < 0)                                                                \
            unit_fail(__FILE__, __LINE__, "%s: %s", #call, f.err.msg);                 \
    } while (0)
#define FX_ERR(call, want)                                                             \
    do {                                                                               \
        int r_ = (call);                                                               \
        if (r_ != -(int)(want) || f.err.code != (want))                                \
            unit_fail(__FILE__, __LINE__, "%s gave %d, \"%s\", not %s", #call, r_,     \
                      f.err.msg, err_name(want));                                      \
        snprintf(f.said, sizeof(f.said), "%s", f.err.msg);                             \
        err_clear(&f.err);                                                             \
    } while (0)

UNUSED static void
fx_open(struct fx *f)
{
    const struct db_schema schemas[] = { acc_schema, repo_schema, val_schema,
                                         deploy_schema };
    const int n = (int)(sizeof(schemas) / sizeof(schemas[0]));

    static int count;

    if (!f->store[0]) {
        snprintf(f->store, sizeof(f->store), "%s/store%d", unit_dir(), ++count);
        snprintf(f->web, sizeof(f->web), "%s/web%d", unit_dir(), count);
        if (repo_init(f->store, schemas, n, &f->err) < 0)
            unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
    }
    if (repo_open(&f->r, f->store, schemas, n, &f->err) < 0)
        unit_fail(__FILE__, __LINE__, "%s", f->err.msg);
}

UNUSED static void
fx_close(struct fx *f)
{
    json_free(&f->report);
    repo_close(f->r);
    f->r = NULL;
}

UNUSED static void
fx_write(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(fchmod(fd, mode) == 0);
    close(fd);
}

/* The bytes of version n of a model. */
UNUSED static void
fx_text(char out[300], const char *model, int64_t number)
{
    snprintf(out, 300, "%s %" PRId64 "\n", model, number);
}

/* Pushes the next version of a model; its only files are `weights` and `sub/weights`.
 */
UNUSED static struct repo_version
fx_push(struct fx *f, const char *model)
{
    struct repo_version v, last = { .number = 0 };
    struct repo_ingest in = { .n_new_files = 0 };
    char dir[600], path[700], text[300];
    struct err err = ERR_INIT;
    int64_t id;
    bool is_new;
    int known = repo_model_id(f->r, model, &id, &err);

    CHECK_OK(known);
    if (known)
        CHECK_OK(repo_resolve(f->r, model, &last, &err));
    snprintf(dir, sizeof(dir), "%s/src", unit_dir());
    snprintf(path, sizeof(path), "%s/sub", dir);
    CHECK_OK(fs_mkdirs(AT_FDCWD, path, 0755, &err));
    fx_text(text, model, last.number + 1);
    snprintf(path, sizeof(path), "%s/weights", dir);
    fx_write(path, text, 0644);
    snprintf(path, sizeof(path), "%s/sub/weights", dir);
    fx_write(path, text, 0644);
    CHECK_OK(repo_ingest_dir(f->r, dir, &in, &err));
    CHECK_OK(db_begin(f->r->db, &err));
    CHECK_OK(repo_version_add(f->r, model, &in.manifest, "{}", &v, &is_new, &err));
    CHECK_OK(db_commit(f->r->db, &err));
    repo_ingest_release(&in);
    CHECK_INT(v.number, last.number + 1);
    return v;
}

UNUSED static void
fx_pushes(struct fx *f, const char *model, int n)
{
    for (int i = 0; i < n; i++)
        fx_push(f, model);
}

UNUSED static int
fx_target(struct fx *f, const char *layout)
{
    return deploy_target_add(f->r, "web", f->web, "production", layout, NULL, &f->err);
}

/* ---- changes ------------------------------------------------------------------------
 */

UNUSED static int
fx_change(struct fx *f, const struct deploy_change *c)
{
    json_free(&f->report);
    return deploy_change(f->r, c, &f->report, &f->err);
}

UNUSED static int
fx_promote_as(struct fx *f, const char *model, int64_t number, bool again)
{
    char *ref AUTO(free_ptr) = xasprintf("%s@%" PRId64, model, number);
    struct repo_version v;

    if (repo_resolve(f->r, ref, &v, &f->err) < 0)
        return -(int)f->err.code;
    return fx_change(f, &(struct deploy_change){ .verb = DEPLOY_PROMOTE,
                                                 .model = model,
                                                 .alias = "production",
                                                 .version = &v,
                                                 .again = again });
}

UNUSED static int
fx_promote(struct fx *f, const char *model, int64_t number)
{
    return fx_promote_as(f, model, number, false);
}

UNUSED static int
fx_rollback(struct fx *f, const char *model, int64_t to)
{
    return fx_change(f, &(struct deploy_change){ .verb = DEPLOY_ROLLBACK,
                                                 .model = model,
                                                 .alias = "production",
                                                 .to_number = to });
}

UNUSED static int
fx_weights2(struct fx *f, const char *model, int64_t a, int wa, int64_t b, int wb)
{
    const struct deploy_member parts[] = { { .number = a, .weight = wa },
                                           { .number = b, .weight = wb } };

    return fx_change(f, &(struct deploy_change){ .verb = DEPLOY_WEIGHTS,
                                                 .model = model,
                                                 .alias = "production",
                                                 .parts = parts,
                                                 .n_parts = 2 });
}

/* ---- looking ------------------------------------------------------------------------
 */

/* What the release says: "1:9000 2:1000". */
UNUSED static const char *
fx_live(struct fx *f, const char *model)
{
    static char text[256];
    struct deploy_release rel;
    struct err err = ERR_INIT;
    int n = 0, e = deploy_live(f->r, model, "production", &rel, &err);

    CHECK_OK(e);
    text[0] = '\0';
    for (int i = 0; e == 1 && i < rel.n_members; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%" PRId64 ":%d",
                      i ? " " : "", rel.members[i].number, rel.members[i].weight);
    return text;
}

/* The number that the alias row means; 0: none. */
UNUSED static int64_t
fx_alias(struct fx *f, const char *model)
{
    struct repo_version v;
    struct err err = ERR_INIT;
    int64_t model_id, version_id, release_id;
    int e = repo_model_id(f->r, model, &model_id, &err);

    CHECK_INT(e, 1);
    e = repo_alias_get(f->r, model_id, "production", &version_id, &release_id, &err);
    CHECK_OK(e);
    if (e == 0)
        return 0;
    CHECK_OK(repo_version_get(f->r, version_id, &v, &err));
    return v.number;
}

/* Text of a link below a target, "" when there is none. */
UNUSED static const char *
fx_link(const char *target, const char *path)
{
    static char text[512];
    char whole[1200];
    ssize_t n;

    snprintf(whole, sizeof(whole), "%s/%s", target, path);
    n = readlink(whole, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

UNUSED static const char *
fx_file(const char *target, const char *path)
{
    static char text[16384];
    char whole[1200];
    int fd;
    ssize_t n;

    snprintf(whole, sizeof(whole), "%s/%s", target, path);
    fd = open(whole, O_RDONLY);
    n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* A target shows a whole version: returns its number; 0: nothing was ever shown. */
UNUSED static int64_t
fx_shown(const char *target, const char *model)
{
    char path[600], want[300];
    const char *text;
    int64_t number;

    snprintf(path, sizeof(path), "%s/latest", model);
    text = fx_link(target, path);
    if (!text[0])
        return 0;
    if (strncmp(text, "../models/", 10) == 0) /* …/fraud/3/model.savedmodel */
        text += 10 + strlen(model) + 1;
    number = strtoll(text + (text[0] == 'v'), NULL, 10);
    fx_text(want, model, number);
    snprintf(path, sizeof(path), "%s/latest/weights", model);
    CHECK_STR(fx_file(target, path), want);
    snprintf(path, sizeof(path), "%s/latest/sub/weights", model);
    CHECK_STR(fx_file(target, path), want);
    return number;
}

/* Every version that models.config names lies whole in the tree. */
UNUSED static void
fx_check_config(const char *target, const char *model)
{
    char *config = xstrdup(fx_file(target, "config/models.config"));

    CHECK(strstr(config, "model_config_list {") != NULL);
    for (char *s = config; (s = strstr(s, " versions: ")) != NULL;) {
        char path[600], want[300];
        int64_t number = strtoll(s += 11, NULL, 10);

        snprintf(path, sizeof(path), "%s/%" PRId64 "/weights", model, number);
        fx_text(want, model, number);
        CHECK_STR(fx_file(target, path), want);
    }
    free(config);
}

UNUSED static int
fx_count(struct fx *f, const char *sql)
{
    struct err err = ERR_INIT;
    int64_t n = 0;

    CHECK_OK(db_get_int(f->r->db, &n, &err, sql, ""));
    return (int)n;
}

#endif
