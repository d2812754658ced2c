/* SPDX-License-Identifier: Apache-2.0 */
/* init push pull list log inspect */
#include "deploy/deploy.h"
#include "repo/gc.h"
#include "repo/tree.h"
#include "service/svc_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
svc_do_init(struct svc_call *c, struct err *err)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    struct db_schema schemas[SVC_N_SCHEMAS];
    int n = svc_schemas(schemas);
    const char *given = svc_str(c, "path") ? svc_str(c, "path") : c->s->store_path;
    if (repo_default_path(given, &path, err) < 0 ||
        repo_init(buf_str(&path), schemas, n, err) < 0)
        return -(int)err->code;
    if (repo_open(&c->s->repo, buf_str(&path), schemas, n, err) < 0)
        return err_ctx(err, "it is done, but the new store does not open");
    c->repo = c->s->repo; /* the log's first event is its own beginning */
    repo_reserve_fill(c->repo);
    json_put_str(c->reply, "store", c->repo->path);
    json_put_str(c->reply, "owner", acc_actor(c->repo->acc));
    return 0;
}

/* ---- push ---- */

void
svc_taken_end(struct svc_taken *t)
{
    if (t->in.manifest.n_files && !t->kept) {
        db_rollback(t->r->db);
        repo_ingest_drop(t->r, &t->in.manifest);
    }
    repo_ingest_release(&t->in);
}

/* The directory's files, or those of a checkpoint's weights on a version. */
static int
take_model(struct svc_call *c, struct svc_taken *files, char model[REPO_NAME_BYTES],
           cJSON *onto, struct err *err)
{
    const char *dir = svc_str(c, "dir");
    if (!svc_str(c, "checkpoint") != !svc_str(c, "onto"))
        return err_set(err, ERR_USAGE, "--checkpoint and --onto need each other");
    if (svc_str(c, "onto") && svc_flag(c, "dry_run"))
        return err_set(err, ERR_USAGE,
                       "--dry-run goes with DIR and MODEL: what --onto stores is only "
                       "made when it is pushed");
    if (svc_str(c, "onto"))
        return svc_onto_take(c, files, model, onto, err);
    if (!dir || !svc_str(c, "model"))
        return err_set(err, ERR_USAGE,
                       "push needs DIR and MODEL, or --checkpoint CKPT and --onto REF");
    if (svc_str(c, "root") || svc_flag(c, "allow_missing"))
        return err_set(err, ERR_USAGE,
                       "--root and --allow-missing go with --checkpoint");
    snprintf(model, REPO_NAME_BYTES, "%s", svc_str(c, "model"));
    if (svc_take_dir(c, dir, true, files, err) < 0)
        return svc_is_manifest(c->req, dir) ? err_ctx(err, "push")
                                            : err_ctx(err, "push %s", dir);
    return 0;
}

/* The path of the weights where they came from: what was sent lies in a stage here, and
 * `from` may have its directory there. */
static char *
origin_path(const struct svc_call *c, const cJSON *from, const cJSON *onto)
{
    const char *path = cJSON_GetStringValue(cJSON_GetObjectItem(onto, "checkpoint"));
    const char *sent = svc_str(c, "checkpoint");
    const char *dir = cJSON_GetStringValue(cJSON_GetObjectItem(from, "checkpoint"));
    const size_t n = strlen(sent);
    if (!c->s->who || strncmp(path, sent, n) != 0)
        return xstrdup(path);
    return dir ? xasprintf("%s%s", dir, path + n)
               : xstrdup(path + n + (path[n] == '/'));
}

/* Where the weights came from: provenance, and in the event. */
static void
put_origin(struct svc_call *c, cJSON *from, const cJSON *onto)
{
    if (!onto->child)
        return;
    char *path AUTO(free_ptr) = origin_path(c, from, onto);
    const char *version = cJSON_GetStringValue(cJSON_GetObjectItem(onto, "version"));
    cJSON_DeleteItemFromObjectCaseSensitive(from, "checkpoint");
    json_put_str(from, "checkpoint", path);
    json_put_str(from, "onto", version);
    json_put_str(c->body, "checkpoint", path);
    json_put_str(c->body, "onto", version);
}

int
svc_push_wish(struct svc_call *c, struct repo_wish *wish, struct err *err)
{
    int always = repo_setting_is(c->repo, "quarantine", "on", err);
    *wish = (struct repo_wish){ .number = svc_int(c, "number", 0),
                                .quarantine = svc_flag(c, "quarantine") || always == 1,
                                .again = svc_flag(c, "again") };
    if (always >= 0 && json_has(c->req, "number") && wish->number < 1)
        return err_set(err, ERR_USAGE, "--number: a version's number is 1 or more");
    return always < 0 ? always : 0;
}

/* The version's row, or what the same bytes add to the one there is. */
static int
push_version(struct svc_call *c, const char *model, const struct repo_manifest *m,
             const cJSON *from, struct repo_version *v, bool *is_new, struct err *err)
{
    struct buf provenance AUTO(buf_release) = BUF_INIT;
    struct repo_wish wish;
    json_print(from, &provenance, true);
    if (svc_push_wish(c, &wish, err) < 0 ||
        repo_version_add_as(c->repo, model, m, buf_str(&provenance), &wish, v, is_new,
                            err) < 0 ||
        (!*is_new && from->child &&
         repo_push_add(c->repo, v->id, buf_str(&provenance), err) < 0))
        return -(int)err->code;
    svc_about(c, v);
    if (from->child)
        cJSON_AddItemToObject(c->body, "provenance", cJSON_Duplicate(from, true));
    json_put_str(c->body, "state", v->state);
    return 0;
}

/* The version's row and event, and those of its golden set. */
static int
push_record(struct svc_call *c, const char *model, struct svc_taken *files,
            struct svc_taken *golden_or_null, const cJSON *from, const cJSON *onto,
            struct err *err)
{
    struct repo_version v;
    bool is_new;
    if (db_begin(c->repo->db, err) < 0 ||
        push_version(c, model, &files->in.manifest, from, &v, &is_new, err) < 0 ||
        repo_ingest_remember(c->repo, &files->in, err) < 0 ||
        (is_new && repo_quota_check(c->repo, model, err) < 0))
        return -(int)err->code;
    cJSON *reply = svc_version_json(&v);
    cJSON_Delete(c->reply);
    c->reply = reply;
    if (onto->child)
        cJSON_AddItemToObject(reply, "onto", cJSON_Duplicate(onto, true));
    if (from->child)
        cJSON_AddItemToObject(reply, "provenance", cJSON_Duplicate(from, true));
    json_put_bool(reply, "new", is_new);
    json_put_int(reply, "new_files", files->in.n_new_files);
    json_put_int(reply, "new_bytes", files->in.new_bytes);
    json_put_int(reply, "read_bytes", files->in.read_bytes);
    json_put_bool(c->body, "new", is_new);
    json_put_int(c->body, "bytes", v.size_bytes);
    if (golden_or_null) {
        struct val_set set;
        if (val_set_add(c->repo, model, &v, "export", &golden_or_null->in, false, NULL,
                        &set, err) < 0)
            return -(int)err->code;
        svc_put_set(cJSON_AddObjectToObject(reply, "golden"), &set);
        svc_put_set(cJSON_AddObjectToObject(c->body, "golden"), &set);
    }
    return svc_commit(c, err);
}

/* Whatever a push writes lies in the store. */
static int
name_way_out(struct err *err)
{
    if (err->sys == ENOSPC) {
        const struct err full = *err;

        err_clear(err);
        err_set_at(err, full.code, full.sys, full.file, full.line,
                   "%s; sluice gc --need 1G shows what can go to make room", full.msg);
    }
    return -(int)err->code;
}

/* Whether it fits the model that it comes with. */
static int
check_golden(struct svc_call *c, const char *golden, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    char *sent AUTO(free_ptr) = NULL;
    const char *dir = svc_str(c, "dir"), *name;
    struct digest d;
    int is_tree = dir ? repo_tree_parse(dir, &d, &name, err) : 0;
    if (is_tree < 0 ||
        (is_tree == 1 && repo_tree_open(c->repo, dir, &view, &sent, err) < 0))
        return -(int)err->code;
    return svc_golden_check(golden, false, sent ? sent : dir, "", err);
}

int
svc_do_push(struct svc_call *c, struct err *err)
{
    const char *golden = svc_str(c, "golden");
    struct svc_taken files AUTO(svc_taken_end) = { 0 };
    struct svc_taken golden_files AUTO(svc_taken_end) = { 0 };
    char model[REPO_NAME_BYTES];
    cJSON *onto AUTO(json_free) = cJSON_CreateObject();
    cJSON *from AUTO(json_free) = cJSON_CreateObject();
    int r = svc_put_provenance(c, from, err);
    if (r >= 0 && golden)
        r = check_golden(c, golden, err);
    if (r >= 0)
        r = take_model(c, &files, model, onto, err);
    if (r >= 0 && golden)
        r = svc_take_dir(c, golden, false, &golden_files, err);
    if (svc_flag(c, "dry_run")) {
        c->recorded = true; /* nothing happens that could be */
        if (r >= 0)
            r = svc_dry_push(c, model, &files, golden ? &golden_files : NULL, err);
        return r < 0 ? r : fs_maps_check(c->n_cut, err);
    }
    if (r >= 0) {
        struct digest bytes[] = { files.in.manifest.digest,
                                  golden_files.in.manifest.digest };
        int known = svc_key_find(c, bytes, golden ? 2 : 1, err);
        if (known == 1)
            return 0;
        put_origin(c, from, onto);
        r = known < 0 ? known
                      : push_record(c, model, &files, golden ? &golden_files : NULL,
                                    from, onto, err);
        if (r < 0)
            err_ctx(err, "push %s", svc_str(c, onto->child ? "checkpoint" : "dir"));
    }
    if (r < 0 && onto->child && !json_has(c->reply, "onto"))
        cJSON_AddItemToObject(c->reply, "onto", cJSON_Duplicate(onto, true));
    if (r < 0)
        return name_way_out(err);
    files.kept = golden_files.kept = true;
    return 0;
}

/* ---- pull ---- */

/* gc waits for it. Where nothing can be written, gc cannot work either. */
static int
lease_pull(struct svc_call *c, const struct repo_version *v, struct err *err)
{
    int r = c->repo->is_read_only ? 0 : repo_lease(c->repo, v, err);
    if (r < 0 && (err->sys == ENOSPC || err->sys == EDQUOT || err->sys == EROFS)) {
        err_clear(err);
        r = 0;
    }
    return r;
}

int
svc_do_pull(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    if (svc_version(c, &v, err) < 0)
        return -(int)err->code;
    const bool link = svc_flag(c, "link"), quick = svc_flag(c, "no_verify");
    struct buf dest AUTO(buf_release) = BUF_INIT;
    if (link && quick)
        return err_set(err, ERR_USAGE,
                       "pull: --link copies nothing that could be verified: leave out "
                       "--no_verify");
    if (svc_str(c, "dest")) {
        buf_adds(&dest, svc_str(c, "dest"));
        while (dest.len > 1 && dest.data[dest.len - 1] == '/')
            dest.data[--dest.len] = '\0';
    } else {
        repo_name_encode(v.model, &dest);
        buf_addf(&dest, "-%lld", (long long)v.number);
    }
    /* Whom a service speaks for gets the version's files one by one, as a tree. */
    if (strcmp(buf_str(&dest), "tree:") == 0 && c->s->who) {
        cJSON_Delete(c->reply);
        c->reply = svc_version_json(&v);
        json_put_str(c->reply, "path", "");
        return 0;
    }
    if (lease_pull(c, &v, err) < 0 ||
        repo_checkout(c->repo, &v.digest, AT_FDCWD, buf_str(&dest),
                      link    ? REPO_LINK
                      : quick ? REPO_COPY_QUICK
                              : REPO_COPY,
                      err) < 0)
        return err_ctx(err, "pull %s", c->object);
    c->made = xstrdup(buf_str(&dest));
    cJSON_Delete(c->reply);
    c->reply = svc_version_json(&v);
    json_put_str(c->reply, "path", buf_str(&dest));
    return 0;
}

/* ---- list, log, inspect ---- */

struct listing {
    struct svc_call *c;
    cJSON *into;
    const cJSON *tags; /* "key" or "key=value": what a version must have */
};

static bool
has_tags(const cJSON *tags, const cJSON *wanted)
{
    for (const cJSON *w = wanted ? wanted->child : NULL; w; w = w->next) {
        char *key AUTO(free_ptr) = xstrdup(w->valuestring);
        char *value = strchr(key, '=');
        if (value)
            *value++ = '\0';
        const char *has =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tags, key));
        if (!has || (value && strcmp(has, value) != 0))
            return false;
    }
    return true;
}

static int
add_alias(void *arg, const char *alias, struct err *err)
{
    (void)err;
    cJSON_AddItemToArray(arg, cJSON_CreateString(alias));
    return 0;
}

static int
add_version(void *arg, const struct repo_version *v, struct err *err)
{
    struct listing *l = arg;
    int may = svc_shows(l->c, acc_model(v->model), err);
    if (may <= 0)
        return may;
    cJSON *o = svc_version_json(v);
    if (svc_put_tags(l->c, o, v->id, err) < 0 ||
        !has_tags(cJSON_GetObjectItem(o, "tags"), l->tags)) {
        cJSON_Delete(o);
        return -(int)err->code;
    }
    cJSON_AddItemToArray(l->into, o);
    if (svc_flag(l->c, "sizes") && svc_put_version_sizes(l->c, v, o, err) < 0)
        return -(int)err->code;
    return repo_aliases(l->c->repo, v->id, add_alias,
                        cJSON_AddArrayToObject(o, "aliases"), err);
}

static int
need_model(struct svc_call *c, const char *model, int64_t *id, struct err *err)
{
    int found = repo_model_id(c->repo, model, id, err);
    if (found == 0)
        return err_set(err, ERR_NOTFOUND,
                       "there is no model '%s'; `sluice list` shows those there are",
                       model);
    return found < 0 ? found : 0;
}

int
svc_do_list(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model");
    int64_t id;
    if (model && need_model(c, model, &id, err) < 0)
        return -(int)err->code;
    struct listing l = { c, cJSON_AddArrayToObject(c->reply, "versions"),
                         cJSON_GetObjectItemCaseSensitive(c->req, "tag") };
    if (l.tags)
        cJSON_AddItemToObject(c->reply, "tag", cJSON_Duplicate(l.tags, true));
    for (const cJSON *t = l.tags ? l.tags->child : NULL; t; t = t->next) {
        char key[REPO_TAG_KEY_MAX + 1];
        const char *value;
        if (repo_tag_parse(t->valuestring, key, &value, err) < 0)
            return err_ctx(err, "list --tag");
    }
    int r = repo_versions(c->repo, model, add_version, &l, err);
    return r == 0 && svc_flag(c, "sizes") ? svc_put_all_sizes(c, model, err) : r;
}

static int
add_verdict(void *arg, const struct val_verdict *v, struct err *err)
{
    (void)err;
    cJSON *o = cJSON_CreateObject();
    char digest[REPO_DIGEST_BYTES];
    repo_digest_text(&v->set_digest, digest);
    json_put_str(o, "set", v->set_name);
    json_put_str(o, "kind", v->acceptance ? "acceptance" : "export");
    json_put_str(o, "set_digest", digest);
    json_put_int(o, "id", v->id);
    svc_put_outcome(o, v);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

/* Absent when the pusher said nothing. */
static int
put_provenance(struct svc_call *c, const struct repo_version *v, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *o;
    if (repo_version_provenance(c->repo, v->id, &text, err) < 0 ||
        json_parse(&o, (struct str){ buf_str(&text), text.len }, "provenance", err) < 0)
        return -(int)err->code;
    if (o->child)
        cJSON_AddItemToObject(c->reply, "provenance", o);
    else
        cJSON_Delete(o);
    return 0;
}

int
svc_do_inspect(struct svc_call *c, struct err *err)
{
    struct repo_version v;
    if (svc_version(c, &v, err) < 0)
        return -(int)err->code;
    cJSON_Delete(c->reply);
    c->reply = svc_version_json(&v);
    struct repo_manifest m = { 0 };
    if (put_provenance(c, &v, err) < 0 || svc_put_said(c, c->reply, &v, err) < 0)
        return -(int)err->code;
    if (repo_aliases(c->repo, v.id, add_alias,
                     cJSON_AddArrayToObject(c->reply, "aliases"), err) < 0 ||
        repo_manifest_get(c->repo, &v.digest, &m, err) < 0)
        return -(int)err->code;
    cJSON *files = cJSON_AddArrayToObject(c->reply, "manifest");
    for (int i = 0; i < m.n_files; i++) {
        char digest[REPO_DIGEST_BYTES];
        repo_digest_text(&m.files[i].digest, digest);
        cJSON *o = cJSON_CreateObject();
        json_put_str(o, "path", m.files[i].path);
        json_put_int(o, "bytes", m.files[i].size_bytes);
        json_put_str(o, "digest", digest);
        cJSON_AddItemToArray(files, o);
    }
    repo_manifest_release(&m);
    if (svc_put_sets(c, v.model, v.id, err) < 0)
        return -(int)err->code;
    return val_verdicts(c->repo, v.id, add_verdict,
                        cJSON_AddArrayToObject(c->reply, "verdicts"), err);
}

static int
add_log_event(void *arg, const struct acc_event_row *row, struct err *err)
{
    (void)err;
    struct listing *l = arg;
    static const char *const shown[] = {
        "push",   "validate", "promote",    "weights",       "rollback",
        "freeze", "unfreeze", "golden_add", "golden_delete", "policy_set",
        "tag",    "untag",    "note",       "attach",        "detach",
        "accept", "reject",   "delete",     "undelete",      "purge",
        "hold",   "unhold",   "cold",       "warm",          "drill"
    };
    bool wanted = strcmp(row->e.outcome, "ok") == 0;
    bool named = false;
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        named |= strcmp(shown[i], row->e.verb) == 0;
    if (!wanted || !named)
        return 0;
    cJSON *o = cJSON_CreateObject();
    svc_put_event(o, "what", row);
    json_put_int(o, "seq", row->seq);
    cJSON_AddItemToArray(l->into, o);
    const int64_t limit = svc_int(l->c, "limit", 0);
    return limit > 0 && cJSON_GetArraySize(l->into) >= limit;
}

int
svc_do_log(struct svc_call *c, struct err *err)
{
    const char *model = svc_str(c, "model");
    int64_t id;
    if (need_model(c, model, &id, err) < 0)
        return -(int)err->code;
    struct listing l = { .c = c, .into = cJSON_AddArrayToObject(c->reply, "history") };
    struct acc_log_query q = { .model = model,
                               .before_seq = svc_int(c, "before", 0),
                               .newest_first = true };
    return acc_log(c->repo->acc, &q, add_log_event, &l, err);
}
