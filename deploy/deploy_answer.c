/* SPDX-License-Identifier: Apache-2.0 */
/* What a change says it did. */
#include "deploy/deploy_int.h"

static int
add_members(struct plan *p, const char *key, const struct deploy_release *rel,
            struct err *err)
{
    cJSON *list = release_members_json(rel), *m;
    int e = 0, i = 0;

    cJSON_AddItemToObject(p->report, key, list);
    cJSON_ArrayForEach(m, list)
    {
        const struct deploy_member *of =
            i < rel->n_members ? &rel->members[i++] : deploy_mirror(rel);
        char digest[REPO_DIGEST_BYTES];
        struct repo_version v;

        e = repo_version_get(p->r, of->version_id, &v, err);
        if (e < 0)
            break;
        repo_digest_text(&v.digest, digest);
        json_put_str(m, "digest", digest);
    }
    return e;
}

/* Whether it is seen there; else why not. */
static int
add_seen(struct plan *p, const struct site *s, const struct deploy_release *rel,
         bool changed, cJSON *t, struct err *err)
{
    struct step st = { .stage = STEP_DONE };
    const char *why = s->layout->not_observed;
    int e = 0;

    if (site_is_stepped(s) && changed)
        st = plan_of(p, s)->next;
    else if (site_is_stepped(s))
        e = step_get(p->r, s, rel, &st, err);
    if (st.is_stepped) {
        json_put_str(t, "stage", step_names[st.stage]);
        why = st.stage == STEP_DONE ? NULL
              : st.stage == STEP_LOAD && !weights_same(&st.from, rel)
                  ? "its server loads what is new; then traffic "
                    "moves: --wait, or sluice target step"
                  : "not yet: --wait, or sluice target step";
    }
    json_put_bool(t, "observed", !why);
    if (why)
        json_put_str(t, "not_observed", why);
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
        cJSON_AddItemToArray(targets, t);
        if (e == 0)
            e = add_seen(p, s, rel, changed, t, err);
    }
    return e;
}
