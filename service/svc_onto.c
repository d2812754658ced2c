/* SPDX-License-Identifier: Apache-2.0 */
/* push --checkpoint: the weights of a checkpoint on the graph of a version. What is
 * made is a SavedModel as TensorFlow would have saved it: every file of the version but
 * its variables, which are written anew under the same keys, and fingerprint.pb, whose
 * checkpoint hash follows them. All of the model's tensors fit, or nothing is stored.
 */
#include "fingerprint/fingerprint.h"
#include "repo/gc.h"
#include "service/svc_int.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLES "variables/variables"

struct onto {
    struct repo_version base;
    struct repo_view view; /* of base */
    struct sm_model *model;
    struct sm_bundle *bundle;
    struct svc_ckpt ckpt;
    struct sm_matches matches;
};

static void
onto_close(struct onto *o)
{
    sm_matches_release(&o->matches);
    svc_ckpt_close(&o->ckpt);
    sm_bundle_close_p(&o->bundle);
    sm_close_p(&o->model);
    repo_view_close(&o->view);
}

/* ---- what is there ---- */

static int
base_open(struct svc_call *c, struct onto *o, struct err *err)
{
    const char *ref = svc_str(c, "onto");
    if (svc_resolve(c, ref, ACC_READ, &o->base, err) < 0 ||
        repo_view_open(c->repo, &o->base.digest, &o->view, err) < 0 ||
        sm_open(&o->model, o->view.lock_fd, ref, err) < 0)
        return -(int)err->code;
    int rc = sm_bundle_open(&o->bundle, o->view.lock_fd, VARIABLES, err);
    if (rc == -ERR_NOTFOUND) {
        err_clear(err);
        return err_set(err, ERR_INVALID, "%s has no variables that could get weights",
                       ref);
    }
    return rc < 0 ? err_ctx(err, "%s", ref) : 0;
}

/* A word after --checkpoint and --onto is the model's name, which must be REF's. */
static int
check_words(struct svc_call *c, const char *model, struct err *err)
{
    const char *word = svc_str(c, "dir");
    if (svc_str(c, "model"))
        return err_set(err, ERR_USAGE,
                       "push --checkpoint CKPT --onto REF takes no directory");
    if (word && strcmp(word, model) != 0)
        return err_set(
            err, ERR_USAGE,
            "the new version is one of %s, whose graph it has; leave '%s' out", model,
            word);
    return 0;
}

/* ---- what fits ---- */

static void
put_type(cJSON *o, const char *key, const struct sm_entry *e)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    buf_addf(&text, "%s ", sm_dtype_name(e->dtype));
    sm_shape_text(&e->shape, &text);
    json_put_str(o, key, buf_str(&text));
}

static const char *
problem_of(enum sm_match_state s)
{
    switch (s) {
    case SM_MATCH_MISSING:
        return "missing in the checkpoint";
    case SM_MATCH_AMBIGUOUS:
        return "several tensors could be meant";
    case SM_MATCH_DTYPE:
        return "other dtype";
    case SM_MATCH_SHAPE:
        return "other shape";
    case SM_MATCH_FITS:
    case SM_MATCH_KEPT:
        break;
    }
    return NULL;
}

/* The reply's `onto`; returns how many do not fit. */
static int
report(struct svc_call *c, const struct onto *o, cJSON *out)
{
    bool may_miss = svc_flag(c, "allow_missing");
    int n_bad = 0, n_taken = 0, n_by_name = 0;
    json_put_str(out, "checkpoint", buf_str(&o->ckpt.prefix));
    json_put_str(out, "version", c->object);
    svc_put_slice(out, "root", o->matches.root);
    cJSON *kept = cJSON_AddArrayToObject(out, "kept");
    cJSON *bad = cJSON_AddArrayToObject(out, "mismatches");
    cJSON *unused = cJSON_AddArrayToObject(out, "unused");
    for (int i = 0; i < o->matches.n; i++) {
        const struct sm_match *m = &o->matches.v[i];
        bool is_kept =
            m->state == SM_MATCH_KEPT || (m->state == SM_MATCH_MISSING && may_miss);
        if (m->state == SM_MATCH_FITS) {
            n_taken++;
            n_by_name += m->by_name;
            continue;
        }
        cJSON *x = cJSON_CreateObject();
        cJSON_AddItemToArray(is_kept ? kept : bad, x);
        svc_put_slice(x, "tensor", m->entry->key);
        if (is_kept)
            continue;
        n_bad++;
        json_put_str(x, "problem", problem_of(m->state));
        put_type(x, "model", m->entry);
        if (m->from) {
            svc_put_slice(x, "checkpoint_tensor", m->from->key);
            put_type(x, "checkpoint", m->from);
        }
    }
    for (int i = 0; i < o->matches.n_unused; i++) {
        cJSON *x = cJSON_CreateObject();
        cJSON_AddItemToArray(unused, x);
        svc_put_slice(x, "tensor", o->matches.unused[i]->key);
    }
    json_put_int(out, "taken", n_taken);
    json_put_int(out, "taken_by_name", n_by_name);
    return n_bad;
}

/* ---- the new files ---- */

static int
by_place(const void *pa, const void *pb)
{
    const struct sm_entry *a = *(const struct sm_entry *const *)pa;
    const struct sm_entry *b = *(const struct sm_entry *const *)pb;
    if (a->shard_id != b->shard_id)
        return a->shard_id < b->shard_id ? -1 : 1;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return str_cmp(a->key, b->key);
}

static int
by_key(const void *key, const void *match)
{
    return str_cmp(*(const struct str *)key,
                   ((const struct sm_match *)match)->entry->key);
}

/* In the order in which the old shard has them: the same weights make the same bytes.
 */
static int
write_variables(const struct onto *o, int dirfd, struct err *err)
{
    struct sm_bundle_writer *w AUTO(sm_bundle_write_close_p) = NULL;
    int n = sm_bundle_n_entries(o->bundle);
    const struct sm_entry **v AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof(*v));
    for (int i = 0; i < n; i++)
        v[i] = sm_bundle_entry(o->bundle, i);
    qsort(v, (size_t)n, sizeof(*v), by_place);
    int rc = fs_mkdirs(dirfd, "variables", 0755, err);
    if (rc == 0)
        rc = sm_bundle_write_open(&w, dirfd, VARIABLES, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct sm_match *m =
            o->matches.n ? bsearch(&v[i]->key, o->matches.v, (size_t)o->matches.n,
                                   sizeof(*o->matches.v), by_key)
                         : NULL;
        if (m && m->from)
            rc = sm_bundle_write_copy(w, v[i]->key, o->ckpt.bundle, m->from->key, err);
        else
            rc = sm_bundle_write_copy(w, v[i]->key, o->bundle, v[i]->key, err);
    }
    return rc < 0 ? rc : sm_bundle_write_end(w, err);
}

static int
write_fingerprint(const struct onto *o, int dirfd, struct err *err)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    int rc = fp_stored_renew(o->view.lock_fd, dirfd, o->base.model, &out, err);
    if (rc == -ERR_NOTFOUND) {
        err_clear(err);
        return 0;
    }
    return rc < 0 ? rc
                  : fs_replace(dirfd, "fingerprint.pb", out.data, out.len, 0644, err);
}

/* The version's files without the old variables. */
static int
other_files(struct svc_call *c, const struct onto *o, struct repo_manifest *out,
            struct err *err)
{
    int n = 0, rc = repo_manifest_get(c->repo, &o->base.digest, out, err);
    for (int i = 0; i < out->n_files; i++) {
        if (strncmp(out->files[i].path, VARIABLES ".", strlen(VARIABLES) + 1) == 0)
            free(out->files[i].path);
        else
            out->files[n++] = out->files[i];
    }
    out->n_files = n;
    return rc;
}

static int
make(struct svc_call *c, const struct onto *o, struct svc_taken *files, struct err *err)
{
    struct repo_view stage AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct repo_manifest rest AUTO(repo_manifest_release) = { .files = NULL };
    if (repo_stage_open(c->repo, &stage, err) < 0 ||
        write_variables(o, stage.lock_fd, err) < 0 ||
        write_fingerprint(o, stage.lock_fd, err) < 0 ||
        other_files(c, o, &rest, err) < 0 ||
        repo_room_for(c->repo, o->base.model, stage.path, err) < 0)
        return -(int)err->code;
    files->r = c->repo;
    const struct repo_ingest_opts opts = { .over = &rest, .is_ours = true };
    return repo_ingest(c->repo, stage.path, &opts, &files->in, err);
}

int
svc_onto_take(struct svc_call *c, struct svc_taken *files, char model[REPO_NAME_BYTES],
              cJSON *about, struct err *err)
{
    struct onto o AUTO(onto_close) = { .view = REPO_VIEW_INIT };
    const char *path = svc_str(c, "checkpoint");
    if (base_open(c, &o, err) < 0 || check_words(c, o.base.model, err) < 0)
        return -(int)err->code;
    svc_about(c, &o.base);
    if (svc_ckpt_open(path, &o.ckpt, err) < 0 ||
        sm_match_checkpoint(&o.matches, sm_meta(o.model, 0), o.bundle, o.ckpt.bundle,
                            svc_str(c, "root"), err) < 0)
        return err_ctx(err, "push %s onto %s", path, c->object);
    int n_bad = report(c, &o, about);
    if (n_bad > 0)
        return err_set(err, ERR_INVALID,
                       "%d of %d tensors of %s have none in %s that fits: nothing is "
                       "stored",
                       n_bad, o.matches.n, c->object, buf_str(&o.ckpt.prefix));
    if (make(c, &o, files, err) < 0)
        return err_ctx(err, "push %s onto %s", path, c->object);
    memcpy(model, o.base.model, REPO_NAME_BYTES);
    return 0;
}
