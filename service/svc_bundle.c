/* SPDX-License-Identifier: Apache-2.0 */
/* export import */
#include "base/clock.h"
#include "repo/gc.h"
#include "repo/keep.h"
#include "service/svc_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- export ---------------------------------------------------------------------- */

struct bundles {
    struct repo_bundle_version *v;
    int n;
};

static void
bundles_release(struct bundles *b)
{
    for (int i = 0; i < b->n; i++)
        repo_bundle_version_release(&b->v[i]);
    free(b->v);
}

static int
add_set(void *arg, const struct val_set *s, struct err *err)
{
    (void)err;
    struct repo_bundle_version *b = arg;
    size_t n = (size_t)b->n_sets + 1;
    b->sets = xreallocarray(b->sets, n, sizeof *b->sets);
    b->set_names = xreallocarray(b->set_names, n, sizeof *b->set_names);
    b->sets[b->n_sets] = s->digest;
    snprintf(b->set_names[b->n_sets], sizeof *b->set_names, "%s", s->name);
    b->n_sets++;
    return 0;
}

static int
add_verdict(void *arg, const struct val_verdict *v, struct err *err)
{
    (void)err;
    char digest[REPO_DIGEST_BYTES];
    cJSON *o = cJSON_CreateObject();
    repo_digest_text(&v->set_digest, digest);
    json_put_str(o, "set", v->set_name);
    json_put_str(o, "set_digest", digest);
    json_put_str(o, "kind", v->acceptance ? "acceptance" : "export");
    svc_put_outcome(o, v);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

struct history {
    struct buf *out;
    char object[REPO_NAME_BYTES + 24], digest[REPO_DIGEST_BYTES];
};

/* What was done with the version; who only looked at it is not told elsewhere, and
 * would make every bundle another one. */
static int
add_event(void *arg, const struct acc_event_row *row, struct err *err)
{
    static const char *const kept[] = {
        "push",   "import",     "validate", "promote", "weights", "rollback",
        "tag",    "untag",      "note",     "attach",  "detach",  "accept",
        "reject", "golden_add", "delete",   "undelete"
    };
    struct history *h = arg;
    bool is_kept =
        strcmp(row->e.outcome, "ok") == 0 && (strcmp(row->e.object, h->object) == 0 ||
                                              strcmp(row->e.digest, h->digest) == 0);
    bool named = false;
    (void)err;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        named |= strcmp(kept[i], row->e.verb) == 0;
    if (!is_kept || !named)
        return 0;
    cJSON *o = cJSON_CreateObject();
    json_put_int(o, "seq", row->seq);
    svc_put_event(o, "verb", row);
    json_put_str(o, "hash", row->hash_hex);
    json_print(o, h->out, true);
    if (h->out->len && h->out->data[h->out->len - 1] != '\n')
        buf_addc(h->out, '\n');
    cJSON_Delete(o);
    return 0;
}

static int
describe(struct svc_call *c, struct repo_bundle_version *b, struct err *err)
{
    struct buf provenance AUTO(buf_release) = BUF_INIT,
                          store AUTO(buf_release) = BUF_INIT;
    struct history h = { .out = &b->events };
    struct acc_log_query q = { .model = b->v.model };
    cJSON *origin = NULL;
    b->about = svc_version_json(&b->v);
    snprintf(h.object, sizeof h.object, "%s@%" PRId64, b->v.model, b->v.number);
    repo_digest_text(&b->v.digest, h.digest);
    if (db_get_text(c->repo->db, &store, err, "SELECT id FROM store", "") < 0 ||
        repo_version_provenance(c->repo, b->v.id, &provenance, err) < 0 ||
        json_parse(&origin, (struct str){ buf_str(&provenance), provenance.len },
                   "provenance", err) < 0)
        return -(int)err->code;
    json_put_str(b->about, "store", buf_str(&store));
    cJSON_AddItemToObject(b->about, "provenance", origin);
    if (svc_put_said(c, b->about, &b->v, err) < 0 ||
        val_sets(c->repo, b->v.model, b->v.id, add_set, b, err) < 0 ||
        val_verdicts(c->repo, b->v.id, add_verdict,
                     cJSON_AddArrayToObject(b->about, "verdicts"), err) < 0 ||
        acc_log(c->repo->acc, &q, add_event, &h, err) < 0)
        return -(int)err->code;
    return 0;
}

int
svc_do_export(struct svc_call *c, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(c->req, "args");
    int n = cJSON_GetArraySize(list) - 1;
    struct bundles all AUTO(bundles_release) = { 0 };
    if (n < 1)
        return err_set(
            err, ERR_USAGE,
            "export needs one version or more, and then the file or directory");
    const char *dest = cJSON_GetArrayItem(list, n)->valuestring;
    struct repo_version v;
    if (!strchr(dest, '/') && !strchr(dest, '.') && strcmp(dest, "-") != 0 &&
        svc_resolve(c, dest, ACC_READ, &v, err) == 0)
        return err_set(
            err, ERR_USAGE,
            "export: the last argument, %s, is a version: where to? (./%s is a "
            "directory)",
            dest, dest);
    err_clear(err);
    all.v = xcalloc((size_t)n, sizeof *all.v);
    cJSON *versions = cJSON_AddArrayToObject(c->reply, "versions");
    for (int i = 0; i < n; i++) {
        struct repo_bundle_version *b = &all.v[all.n++];
        if (svc_resolve(c, cJSON_GetArrayItem(list, i)->valuestring, ACC_READ, &b->v,
                        err) < 0 ||
            describe(c, b, err) < 0)
            return -(int)err->code;
        svc_about(c, &b->v);
        cJSON_AddItemToArray(versions, svc_version_json(&b->v));
    }
    if (repo_bundle_write(c->repo, all.v, all.n, dest, err) < 0)
        return -(int)err->code;
    json_put_str(c->reply, "dest", dest);
    json_put_str(c->body, "dest", dest);
    cJSON_AddItemToObject(c->body, "versions", cJSON_Duplicate(versions, true));
    return 0;
}

/* ---- import ---------------------------------------------------------------------- */

/* The export set of the version, as its pusher gave it; acceptance sets are exams, and
 * whoever brings a model does not write its exam. NULL: none. */
static const struct repo_manifest *
export_set(const struct repo_bundle_entry *e)
{
    for (int i = 0; i < e->n_sets; i++)
        if (strcmp(e->set_names[i], "export") == 0)
            return &e->sets[i];
    return NULL;
}

/* Where it came from, for good: what the other store said of it is a claim, no verdict.
 */
static void
put_origin(cJSON *to, const struct repo_bundle *b, const struct repo_bundle_entry *e)
{
    static const char *const kept[] = { "store", "model", "number",     "pushed",
                                        "by",    "state", "provenance", "verdicts" };
    char digest[REPO_DIGEST_BYTES];
    cJSON *from = cJSON_AddObjectToObject(to, "imported_from");
    repo_digest_text(&b->digest, digest);
    json_put_str(from, "bundle", digest);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        cJSON *v = cJSON_GetObjectItemCaseSensitive(e->about, kept[i]);
        if (!v)
            continue;
        v = cJSON_Duplicate(v, true);
        if (strcmp(kept[i], "verdicts") == 0)
            for (cJSON *o = v->child; o; o = o->next)
                cJSON_DeleteItemFromObject(o, "report");
        cJSON_AddItemToObject(from, kept[i], v);
    }
}

/* The files are a model: as a push looks at it. */
static int
check_model(struct svc_call *c, const struct repo_manifest *m, struct err *err)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    if (repo_view_open(c->repo, &m->digest, &view, err) < 0)
        return -(int)err->code;
    return repo_check_saved_model(view.path, err);
}

/* The attachments' bytes, which are given back unless they are recorded. */
struct attached {
    struct repo *r;
    struct repo_bundle_attachment *list; /* the entry's */
    int n;                               /* taken so far */
};

static void
attached_end(struct attached *a)
{
    if (a->n)
        db_rollback(a->r->db);
    for (int i = 0; i < a->n; i++)
        repo_blob_drop(a->r, &a->list[i].blob);
}

static int
take_attached(struct svc_call *c, struct repo_bundle *b, struct repo_bundle_entry *e,
              struct attached *a, struct err *err)
{
    int64_t mib;
    if (repo_setting_int(c->repo, "attachment_mib", &mib, err) < 0)
        return -(int)err->code;
    for (; a->n < e->n_attachments; a->n++) {
        struct repo_bundle_attachment *one = &e->attachments[a->n];
        if (one->blob.size_bytes > mib << 20)
            return err_set(err, ERR_LIMIT,
                           "%s/%s: an attachment has at most %" PRId64
                           " MiB (sluice config set attachment_mib N)",
                           one->type, one->name, mib);
        if (repo_bundle_take_blob(b, &one->blob, err) < 0)
            return err_ctx(err, "%s/%s", one->type, one->name);
    }
    return 0;
}

/* Tags and notes that are none are told before anything is stored. */
static int
check_said(const struct repo_bundle_entry *e, struct err *err)
{
    const cJSON *o, *tags = cJSON_GetObjectItemCaseSensitive(e->about, "tags"),
                    *notes = cJSON_GetObjectItemCaseSensitive(e->about, "notes");
    if (cJSON_GetArraySize(tags) > REPO_TAGS_MAX)
        return err_set(err, ERR_LIMIT, "a version has at most %d tags", REPO_TAGS_MAX);
    cJSON_ArrayForEach(o, tags)
    {
        char key[REPO_TAG_KEY_MAX + 1];
        const char *value = cJSON_GetStringValue(o);
        char *text AUTO(free_ptr) =
            xasprintf("%s=%s", o->string ? o->string : "", value ? value : "");
        if (repo_tag_parse(text, key, &value, err) < 0)
            return err_ctx(err, "tag");
    }
    cJSON_ArrayForEach(o, notes)
    {
        const char *text =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "text"));
        if (!text || !text[0])
            return err_set(err, ERR_INVALID, "a note without text");
        if (repo_check_text(text, REPO_NOTE_MAX, true, "the note", err) < 0)
            return -(int)err->code;
    }
    return 0;
}

/* Tags, notes and attachments of a version that is new here, in its transaction. */
static int
put_said(struct svc_call *c, const struct repo_bundle_entry *e, int64_t version_id,
         struct err *err)
{
    const cJSON *o, *tags = cJSON_GetObjectItemCaseSensitive(e->about, "tags"),
                    *notes = cJSON_GetObjectItemCaseSensitive(e->about, "notes");
    int r = 0;
    cJSON_ArrayForEach(o, tags)
    {
        const char *value = cJSON_GetStringValue(o);
        if (repo_tag_set(c->repo, version_id, o->string, value ? value : "", err) < 0)
            return -(int)err->code;
    }
    cJSON_ArrayForEach(o, notes)
    {
        if (repo_note_add(
                c->repo, version_id,
                cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "text")),
                err) < 0)
            return -(int)err->code;
    }
    for (int i = 0; r >= 0 && i < e->n_attachments; i++)
        r = repo_attach(c->repo, version_id, e->attachments[i].type,
                        e->attachments[i].name, &e->attachments[i].blob, false, err);
    return r < 0 ? r : 0;
}

static int
import_one(struct svc_call *c, struct repo_bundle *b, struct repo_bundle_entry *e,
           const char *model, cJSON *list, struct err *err)
{
    struct svc_taken files AUTO(svc_taken_end) = { .r = c->repo };
    struct svc_taken golden AUTO(svc_taken_end) = { .r = c->repo };
    struct buf provenance AUTO(buf_release) = BUF_INIT;
    const struct repo_manifest *set = export_set(e);
    cJSON *origin AUTO(json_free) = cJSON_CreateObject();
    struct attached attached AUTO(attached_end) = { c->repo, e->attachments, 0 };
    struct repo_version v;
    struct val_set stored;
    struct repo_wish wish;
    bool is_new;
    put_origin(origin, b, e);
    json_print(origin, &provenance, true);
    if (svc_push_wish(c, &wish, err) < 0)
        return -(int)err->code;
    wish.number = svc_flag(c, "keep_number") ? e->number : 0;
    if (repo_room_for_files(c->repo, model, &e->manifest, err) < 0 ||
        repo_bundle_take(b, &e->manifest, &files.in, err) < 0 ||
        (c->s->who && repo_ingest_tell(c->repo, &files.in, false, err) < 0) ||
        take_attached(c, b, e, &attached, err) < 0 ||
        check_model(c, &e->manifest, err) < 0 ||
        (set && repo_bundle_take(b, set, &golden.in, err) < 0) ||
        db_begin(c->repo->db, err) < 0 ||
        repo_version_add_as(c->repo, model, &files.in.manifest, buf_str(&provenance),
                            &wish, &v, &is_new, err) < 0)
        return -(int)err->code;
    if (is_new &&
        (put_said(c, e, v.id, err) < 0 || repo_quota_check(c->repo, model, err) < 0 ||
         (set && val_set_add(c->repo, model, &v, "export", &golden.in, false, NULL,
                             &stored, err) < 0)))
        return -(int)err->code;
    svc_about(c, &v);
    cJSON_Delete(c->body);
    c->body = cJSON_Duplicate(origin, true);
    json_put_bool(c->body, "new", is_new);
    json_put_int(c->body, "bytes", v.size_bytes);
    if (svc_commit(c, err) < 0)
        return -(int)err->code;
    files.kept = true;
    golden.kept = is_new;
    attached.n = is_new ? 0 : attached.n;
    cJSON *o = svc_version_json(&v);
    json_put_bool(o, "new", is_new);
    json_put_int(o, "new_bytes", files.in.new_bytes);
    json_put_str(o, "was", e->model);
    json_put_int(o, "was_number", e->number);
    cJSON_AddItemToArray(list, o);
    return 0;
}

int
svc_do_import(struct svc_call *c, struct err *err)
{
    struct repo_bundle b AUTO(repo_bundle_close) = { .dirfd = -1,
                                                     .stage = REPO_VIEW_INIT };
    const char *as = svc_str(c, "as");
    if ((as && (repo_check_model_name(as, err) < 0 ||
                svc_allow(c, ACC_PUSH, acc_model(as), err) < 0)) ||
        repo_bundle_open(c->repo, svc_str(c, "bundle"), &b, err) < 0)
        return -(int)err->code;
    if (as)
        for (int i = 1; i < b.n_entries; i++)
            if (strcmp(b.entries[i].model, b.entries[0].model) != 0)
                return err_set(err, ERR_USAGE,
                               "--as %s: the bundle has versions of %s and of %s", as,
                               b.entries[0].model, b.entries[i].model);
    for (int i = 0; i < b.n_entries; i++)
        if (svc_allow(c, ACC_PUSH, acc_model(as ? as : b.entries[i].model), err) < 0 ||
            check_said(&b.entries[i], err) < 0)
            return -(int)err->code;
    cJSON *list = cJSON_AddArrayToObject(c->reply, "versions");
    for (int i = 0; i < b.n_entries; i++) {
        const char *model = as ? as : b.entries[i].model;
        const bool is_last = i == b.n_entries - 1;
        c->recorded = false;
        if (c->keyed) /* it stands with the last one: before, the call is not done */
            acc_key_set(c->repo->acc, is_last ? svc_str(c, "idempotency_key") : NULL,
                        is_last ? &c->request : NULL);
        if (import_one(c, &b, &b.entries[i], model, list, err) < 0)
            return err_ctx(err, "import %s@%" PRId64, b.entries[i].model,
                           b.entries[i].number);
    }
    return 0;
}
