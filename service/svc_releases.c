/* SPDX-License-Identifier: Apache-2.0 */
/* releases: the history of an alias, and what differs between two of them. */
#include "base/clock.h"
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <string.h>

/* ---- the list ---- */

struct list {
    cJSON *out;
    int64_t left; /* so many more */
};

static int
add_release(void *arg, const struct deploy_release *rel, struct err *err)
{
    struct list *l = arg;
    char text[CLOCK_TEXT_BYTES];
    (void)err;
    if (l->left-- <= 0)
        return 0;
    cJSON *o = cJSON_CreateObject(), *kept;
    cJSON_AddItemToArray(l->out, o);
    json_put_int(o, "release", rel->number);
    json_put_str(o, "verb", rel->verb);
    json_put_str(o, "state", rel->state);
    cJSON_AddItemToObject(o, "live", release_members_json(rel));
    kept = cJSON_AddArrayToObject(o, "kept");
    for (int i = 0; i < rel->n_kept; i++)
        if (rel->kept[i].mirror == 0)
            json_put_int(kept, NULL, rel->kept[i].number);
    json_put_int(o, "replaces", rel->replaces);
    json_put_str(o, "intended",
                 rel->intended_ns ? clock_text(rel->intended_ns, text) : NULL);
    json_put_str(o, "observed",
                 rel->observed_ns ? clock_text(rel->observed_ns, text) : NULL);
    json_put_str(o, "by", rel->actor);
    json_put_str(o, "reason", rel->reason[0] ? rel->reason : NULL);
    return 0;
}

/* ---- two of them ---- */

struct pair {
    int64_t a, b; /* numbers; b 0: what is live */
    struct deploy_release from, to;
};

static int
find_two(void *arg, const struct deploy_release *rel, struct err *err)
{
    struct pair *p = arg;
    (void)err;
    if (rel->number == p->a)
        p->from = *rel;
    if (rel->number == p->b || (p->b == 0 && strcmp(rel->state, "live") == 0))
        p->to = *rel;
    return 0;
}

static void
add_side(cJSON *o, const char *key, const struct deploy_member *m)
{
    cJSON *side;
    if (!m) {
        cJSON_AddNullToObject(o, key);
        return;
    }
    side = cJSON_AddObjectToObject(o, key);
    json_put_int(side, "weight", m->weight);
    json_put_int(side, "mirror", m->mirror);
}

static void
add_change(cJSON *list, int64_t number, const struct deploy_member *was,
           const struct deploy_member *becomes)
{
    cJSON *o = cJSON_CreateObject();
    json_put_int(o, "version", number);
    add_side(o, "was", was);
    add_side(o, "becomes", becomes);
    cJSON_AddItemToArray(list, o);
}

/* What is gone, then what is new or otherwise. */
static void
add_changes(cJSON *list, const struct pair *p)
{
    const struct deploy_member *m, *was;
    for (int i = 0; (m = release_at(&p->from, i)) != NULL; i++)
        if (!release_version(&p->to, m->number))
            add_change(list, m->number, m, NULL);
    for (int i = 0; (m = release_at(&p->to, i)) != NULL; i++) {
        was = release_version(&p->from, m->number);
        if (!was || was->weight != m->weight || was->mirror != m->mirror)
            add_change(list, m->number, was, m);
    }
}

static int
compare(struct svc_call *c, const struct repo_ref *ref, struct err *err)
{
    struct pair p = { .a = svc_int(c, "from", 0), .b = svc_int(c, "to", 0) };
    if (deploy_releases(c->repo, ref->model, ref->alias, find_two, &p, err) < 0)
        return -(int)err->code;
    if (p.from.id == 0 || p.to.id == 0)
        return err_set(err, ERR_NOTFOUND,
                       "no release %" PRId64 " on %s: sluice releases %s lists them",
                       p.from.id == 0 ? p.a : p.b, c->object, c->object);
    cJSON *list = cJSON_AddArrayToObject(c->reply, "changes");
    json_put_int(c->reply, "from", p.from.number);
    json_put_int(c->reply, "to", p.to.number);
    json_put_int(c->reply, "latest_was", p.from.latest);
    json_put_int(c->reply, "latest", p.to.latest);
    add_changes(list, &p);
    return 0;
}

int
svc_do_releases(struct svc_call *c, struct err *err)
{
    struct repo_ref ref;
    if (svc_alias(c, &ref, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "model", ref.model);
    json_put_str(c->reply, "alias", ref.alias);
    if (json_has(c->req, "from"))
        return compare(c, &ref, err);
    if (json_has(c->req, "to"))
        return err_set(err, ERR_USAGE, "releases: --to goes with --from RELEASE");
    struct list l = { .out = cJSON_AddArrayToObject(c->reply, "releases"),
                      .left = svc_int(c, "limit", INT64_MAX) };
    return deploy_releases(c->repo, ref.model, ref.alias, add_release, &l, err);
}
