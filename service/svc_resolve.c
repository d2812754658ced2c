/* SPDX-License-Identifier: Apache-2.0 */
/* resolve: what a reference means now. */
#include "deploy/deploy.h"
#include "service/svc_int.h"

#include <stdio.h>

/* The release that gave an alias its meaning, and how it shares the traffic. */
static int
put_release(struct svc_call *c, const struct repo_ref *ref, struct err *err)
{
    struct deploy_release rel;
    int r = deploy_live(c->repo, ref->model, ref->alias, &rel, err);
    if (r <= 0)
        return r;
    json_put_str(c->reply, "alias", ref->alias);
    json_put_int(c->reply, "release", rel.number);
    cJSON_AddItemToObject(c->reply, "live", release_members_json(&rel));
    svc_put_time(c->reply, "since", rel.intended_ns);
    svc_put_time(c->reply, "observed", rel.observed_ns);
    return 0;
}

int
svc_do_resolve(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    struct repo_ref ref;
    char digest[REPO_DIGEST_BYTES];
    if (repo_ref_parse(svc_str(c, "ref"), &ref, err) < 0 || svc_version(c, &v, err) < 0)
        return -(int)err->code;
    repo_digest_text(&v.digest, digest);
    json_put_str(c->reply, "model", v.model);
    json_put_int(c->reply, "number", v.number);
    json_put_str(c->reply, "digest", digest);
    json_put_str(c->reply, "state", v.state);
    if (!ref.alias[0])
        return 0;
    snprintf(c->object, sizeof c->object, "%s@%s", ref.model, ref.alias);
    return put_release(c, &ref, err);
}

/* ---- many at once ---- */

static int
record(struct repo *repo, const struct svc_lookups *l, struct err *err)
{
    cJSON *body AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    json_put_int(body, "lookups", l->n);
    svc_put_time(body, "first", l->first_ns);
    svc_put_time(body, "last", l->last_ns);
    if (l->error)
        json_put_str(body, "error", l->error);
    json_print(body, &text, true);
    struct acc_event e = { .verb = "resolve",
                           .object = l->about.object,
                           .digest = l->about.digest,
                           .outcome = svc_outcome(l->code),
                           .body = buf_str(&text) };
    int r = acc_act_as(repo->acc, l->who.subject ? &l->who : NULL, err);
    return r < 0 ? r : acc_record(repo->acc, &e, err);
}

int
svc_record_lookups(struct svc *s, const struct svc_lookups *list, int n,
                   struct svc_recorded *out, struct err *err)
{
    struct repo *repo;
    struct err ignored = ERR_INIT;
    *out = (struct svc_recorded){ .stands = false };
    int r = svc_store(s, &repo, err);
    if (r < 0)
        return r;
    r = db_begin(repo->db, err);
    for (int i = 0; r >= 0 && i < n; i++)
        r = record(repo, &list[i], err);
    if (r >= 0)
        r = db_commit(repo->db, err);
    db_rollback(repo->db);
    out->stands = r >= 0;
    if (acc_act_as(repo->acc, s->who, &ignored) < 0)
        err_clear(&ignored);
    if (r >= 0)
        r = acc_publish(repo->acc, err);
    if (r < 0 && out->stands && svc_is_full(err)) {
        err_clear(err); /* the next one completes the files */
        r = 0;
    }
    if (r < 0 && (err->code == ERR_IO || err->code == ERR_DB))
        out->is_allowed =
            repo_setting_is(repo, "unrecorded_reads", "allow", &ignored) == 1;
    return r < 0 ? err_ctx(err, "record look-ups in the log") : 0;
}
