/* SPDX-License-Identifier: Apache-2.0 */
/* What push takes in, and what it says when it only looks. */
#include "service/svc_int.h"

#include "repo/gc.h"
#include "repo/tree.h"

#include <string.h>
#include <sys/stat.h>

static void
tell_pushed(void *arg, int64_t done_bytes, int64_t total_bytes)
{
    const struct svc *s = arg;
    s->progress(s->progress_arg, "pushing", done_bytes, total_bytes);
}

static void
tell_unpacked(void *arg, int64_t done_bytes)
{
    const struct svc *s = arg;
    s->progress(s->progress_arg, "unpacking", done_bytes, 0);
}

/* A directory that came over the network: 1 taken, 0: it is none. */
static int
take_tree(struct svc_call *c, const char *text, bool is_model, struct svc_taken *files,
          struct err *err)
{
    struct digest d;
    const char *name;
    int r = repo_tree_parse(text, &d, &name, err);
    if (r <= 0 || name[0])
        return r < 0 ? r : 0;
    if (svc_flag(c, "reread"))
        return err_set(err, ERR_USAGE, "--reread is for files that lie here");
    files->r = c->repo;
    files->kept = true; /* the tree has them */
    if (repo_tree_take(c->repo, &d, is_model, text, &files->in, err) < 0 ||
        repo_room_for_files(c->repo, is_model ? svc_str(c, "model") : NULL,
                            &files->in.manifest, err) < 0)
        return -(int)err->code;
    return 1;
}

bool
svc_is_manifest(const cJSON *request, const char *dir)
{
    return strncmp(dir, SVC_MANIFEST_PREFIX, sizeof SVC_MANIFEST_PREFIX - 1) == 0 &&
           cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "dry_run"));
}

/* Files that are elsewhere: whether they are known, and that there is room. */
static int
take_list(struct svc_call *c, const char *text, struct svc_taken *files,
          struct err *err)
{
    files->r = c->repo;
    files->kept = true; /* nothing to give back */
    if (repo_tree_foresee(c->repo, str_of(text), &files->in, err) < 0)
        return -(int)err->code;
    return repo_room_for_files(c->repo, svc_str(c, "model"), &files->in.manifest, err);
}

int
svc_take_dir(struct svc_call *c, const char *path, bool is_model,
             struct svc_taken *files, struct err *err)
{
    struct repo_view stage AUTO(repo_view_close) = REPO_VIEW_INIT;
    char *root AUTO(free_ptr) = NULL;
    struct repo_ingest_opts opts = { .is_model = is_model,
                                     .reread = svc_flag(c, "reread"),
                                     .dry_run = svc_flag(c, "dry_run"),
                                     .name = path,
                                     .progress = c->s->progress ? tell_pushed : NULL,
                                     .arg = c->s };
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    char *sent AUTO(free_ptr) = NULL;
    struct stat st;
    int r = take_tree(c, path, is_model, files, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (is_model && c->s->who && svc_is_manifest(c->req, path))
        return take_list(c, path + sizeof SVC_MANIFEST_PREFIX - 1, files, err);
    if (strncmp(path, "tree:", 5) == 0) { /* a file of one: an archive */
        if (repo_tree_open(c->repo, path, &view, &sent, err) < 0)
            return -(int)err->code;
        path = sent;
    }
    if (is_model && stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        if (repo_unpack(c->repo, path, c->s->progress ? tell_unpacked : NULL, c->s,
                        &stage, &root, err) < 0)
            return -(int)err->code;
        opts.is_ours = true;
    }
    /* golden sets count for no model's quota */
    if (repo_room_for(c->repo, is_model ? svc_str(c, "model") : NULL,
                      root ? root : path, err) < 0)
        return -(int)err->code;
    files->r = c->repo;
    files->kept = opts.dry_run; /* nothing to give back */
    r = repo_ingest(c->repo, root ? root : path, &opts, &files->in, err);
    return r == 0 && c->s->who
               ? repo_ingest_tell(c->repo, &files->in, opts.dry_run, err)
               : r;
}

int
svc_dry_push(struct svc_call *c, const char *model, const struct svc_taken *files,
             const struct svc_taken *golden_or_null, struct err *err)
{
    const struct repo_ingest *in = &files->in;
    char digest[REPO_DIGEST_BYTES];
    struct repo_wish wish;
    int64_t number;
    bool is_new;
    if (svc_push_wish(c, &wish, err) < 0 ||
        repo_version_foresee(c->repo, model, &in->manifest.digest, &wish, &number,
                             &is_new, err) < 0)
        return -(int)err->code;
    json_put_bool(c->reply, "dry_run", true);
    json_put_str(c->reply, "model", model);
    json_put_int(c->reply, "number", number);
    repo_digest_text(&in->manifest.digest, digest);
    json_put_str(c->reply, "digest", digest);
    json_put_bool(c->reply, "new", is_new);
    json_put_int(c->reply, "files", in->manifest.n_files);
    json_put_int(c->reply, "bytes", in->manifest.size_bytes);
    json_put_int(c->reply, "new_files", in->n_new_files);
    json_put_int(c->reply, "new_bytes", in->new_bytes);
    json_put_int(c->reply, "read_bytes", in->read_bytes);
    cJSON *list = cJSON_AddArrayToObject(c->reply, "manifest");
    for (int i = 0; i < in->manifest.n_files; i++) {
        const struct repo_file *f = &in->manifest.files[i];
        cJSON *o = cJSON_CreateObject();
        json_put_str(o, "path", f->path);
        json_put_int(o, "bytes", f->size_bytes);
        repo_digest_text(&f->digest, digest);
        json_put_str(o, "digest", digest);
        json_put_bool(o, "new", in->is_new[i]);
        cJSON_AddItemToArray(list, o);
    }
    if (golden_or_null) {
        cJSON *golden = cJSON_AddObjectToObject(c->reply, "golden");
        repo_digest_text(&golden_or_null->in.manifest.digest, digest);
        json_put_str(golden, "digest", digest);
        json_put_int(golden, "bytes", golden_or_null->in.manifest.size_bytes);
        json_put_int(golden, "new_bytes", golden_or_null->in.new_bytes);
    }
    return 0;
}
