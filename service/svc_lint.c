/* SPDX-License-Identifier: Apache-2.0 */
/* lint: advice on a model that is to be served. The reply is the report; with `sarif`
 * also the SARIF log, as "sarif". */
#include "service/svc_int.h"
#include "validate/lint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int
compare(struct svc_call *c, const struct svc_dir *before, const struct sm_model *now,
        cJSON *changes, struct err *err)
{
    struct sm_model *was AUTO(sm_close_p) = NULL;
    const struct sm_meta *a, *b;
    if (sm_open_path(&was, before->path, err) < 0 ||
        val_lint_meta(was, svc_str(c, "tag_set"), &a, err) < 0 ||
        val_lint_meta(now, svc_str(c, "tag_set"), &b, err) < 0)
        return -(int)err->code;
    val_diff_signatures(changes, a, b);
    return 0;
}

struct search {
    int64_t below;
    struct repo_version found; /* number 0: none */
};

static int
newest_below(void *arg, const struct repo_version *v, struct err *err)
{
    (void)err;
    struct search *s = arg;
    if (v->number < s->below && v->number > s->found.number &&
        strcmp(v->state, "ready") == 0)
        s->found = *v;
    return 0;
}

/* The version before the one that `ref` names, as a view; `name` stays empty when there
 * is none. */
static int
version_before(struct svc_call *c, struct svc_dir *out, char *name, size_t cap_bytes,
               struct err *err)
{
    struct repo_version v;
    if (svc_version(c, &v, err) < 0)
        return -(int)err->code;
    struct search s = { .below = v.number };
    if (repo_versions(c->repo, v.model, newest_below, &s, err) < 0)
        return -(int)err->code;
    if (!s.found.number)
        return 0;
    if (repo_view_open(c->repo, &s.found.digest, &out->view, err) < 0)
        return -(int)err->code;
    out->path = out->view.path;
    snprintf(name, cap_bytes, "%s@%" PRId64, s.found.model, s.found.number);
    return 0;
}

int
svc_do_lint(struct svc_call *c, struct err *err)
{
    struct svc_dir dir AUTO(svc_dir_close) = { 0 };
    struct svc_dir before AUTO(svc_dir_close) = { 0 };
    struct sm_model *model AUTO(sm_close_p) = NULL; /* when it is compared */
    cJSON *report AUTO(json_free) = NULL, *changes AUTO(json_free) = NULL;
    char name[REPO_NAME_BYTES + 32] = "";
    const char *against = svc_str(c, "against");
    int r = 0;
    if (against)
        r = svc_any_open(c, "against", &before, err);
    if (r < 0)
        return r;
    /* Last, so that the event is about this model. */
    if (svc_dir_open(c, &dir, err) < 0 ||
        (!against && !svc_str(c, "dir") &&
         version_before(c, &before, name, sizeof name, err) < 0))
        return -(int)err->code;
    if (!against && name[0])
        against = name;
    if (against) {
        changes = cJSON_CreateArray();
        if (sm_open_path(&model, dir.path, err) < 0)
            return -(int)err->code;
        if (compare(c, &before, model, changes, err) < 0)
            return err_ctx(err, "compare with %s", against);
    }
    struct val_lint_options options = { .model = model,
                                        .tag_set = svc_str(c, "tag_set"),
                                        .allow = svc_str(c, "allow"),
                                        .changes = changes,
                                        .against = against };
    if (val_lint(&report, dir.path, &options, err) < 0)
        return -(int)err->code;
    const char *what = dir.name;
    int n_warnings =
        (int)cJSON_GetNumberValue(cJSON_GetObjectItem(report, "n_warnings"));
    int n_advice = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(report, "n_advice"));
    json_put_str(c->reply, "model", what);
    if (against)
        json_put_str(c->reply, "against", against);
    if (svc_flag(c, "sarif"))
        cJSON_AddItemToObject(c->reply, "sarif", val_lint_sarif(report, what));
    svc_move_members(report, c->reply);
    if (n_warnings)
        return err_set(err, ERR_FAILED, "%s: %d warning%s", what, n_warnings,
                       n_warnings == 1 ? "" : "s");
    if (n_advice && svc_flag(c, "strict"))
        return err_set(err, ERR_FAILED, "%s: advice on %d point%s (--strict)", what,
                       n_advice, n_advice == 1 ? "" : "s");
    return 0;
}
