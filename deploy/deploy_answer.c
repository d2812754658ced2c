/* SPDX-License-Identifier: Apache-2.0 */
/* What a change says it did. */
#include "deploy/deploy_int.h"

static int
add_members(struct plan *p, const char *key, const struct deploy_release *rel,
            struct err *err)
{
    cJSON *list = release_members_json(rel->members, rel->n_members);
    int e = 0;

    cJSON_AddItemToObject(p->report, key, list);
    for (int i = 0; e == 0 && i < rel->n_members; i++) {
        char digest[REPO_DIGEST_BYTES];
        struct repo_version v;

        e = repo_version_get(p->r, rel->members[i].version_id, &v, err);
        if (e < 0)
            break;
        repo_digest_text(&v.digest, digest);
        json_put_str(cJSON_GetArrayItem(list, i), "digest", digest);
    }
    return e;
}

int
plan_answer(struct plan *p, bool changed, struct err *err)
{
    const struct deploy_release *rel = changed ? &p->next : &p->cur;
    cJSON *targets;
    int e;

    json_put_str(p->report, "model", p->c->model);
    json_put_str(p->report, "alias", p->c->alias);
    json_put_str(p->report, "verb", deploy_verb_text(p->c->verb));
    json_put_bool(p->report, "changed", changed);
    json_put_int(p->report, "release", rel->number);
    json_put_int(p->report, "replaces", changed ? rel->replaces : rel->number);
    json_put_int(p->report, "latest", rel->latest);
    e = add_members(p, "live", rel, err);
    if (e == 0 && p->has_cur)
        e = add_members(p, "before", &p->cur, err);
    targets = cJSON_AddArrayToObject(p->report, "targets");
    for (int i = 0; i < p->sites.n; i++) {
        const struct site *s = &p->sites.s[i];
        cJSON *t = cJSON_CreateObject();

        json_put_str(t, "name", s->t.name);
        json_put_str(t, "dir", s->t.dir);
        json_put_str(t, "layout", s->t.layout);
        json_put_bool(t, "switched", changed);
        json_put_bool(t, "observed", !s->layout->not_observed);
        if (s->layout->not_observed)
            json_put_str(t, "not_observed", s->layout->not_observed);
        cJSON_AddItemToArray(targets, t);
    }
    return e;
}
