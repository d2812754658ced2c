/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that come (docs/transfer.md): HTTP upon repo/upload.h. */
#include "repo/upload.h"

#include "server/server_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
srv_uploads_open(struct srv *srv, struct err *err)
{
    struct svc *s;
    struct repo *repo;
    if (srv_session_any(srv, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = repo->is_read_only ? 0 : repo_uploads_open(&srv->uploads, repo->path, err);
    srv_session_back(srv, s);
    return r;
}

void
srv_uploads_close(struct srv *srv)
{
    repo_uploads_close(srv->uploads);
}

static int
find(struct srv_req *q, struct repo_upload **out, struct err *err)
{
    if (!q->srv->uploads)
        return err_set(err, ERR_UNSUPPORTED, "the store is read-only here");
    return repo_upload_find(out, q->srv->uploads, q->args[0], q->who.subject, err);
}

static int
parse_body(struct srv_req *q, cJSON **out, struct err *err)
{
    if (json_parse(out, (struct str){ q->body.data, q->body.len }, "the body", err) <
            0 ||
        json_check_names(*out, "the body", err) < 0)
        return -(int)err->code;
    return cJSON_IsObject(*out)
               ? 0
               : err_set(err, ERR_INVALID, "the body must be a JSON object");
}

static int
parse_number(const char *text, int64_t *out, const char *what, struct err *err)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *text >= '0' && *text <= '9' && !*end
               ? 0
               : err_set(err, ERR_INVALID, "%s is no number", what);
}

/* ---- POST uploads ---- */

/* Who sends files for a verb must have the verb's right. */
static int
check_right(struct repo *repo, const cJSON *ask, struct srv_req *q, struct err *err)
{
    const char *verb, *model;
    if (json_str(ask, "verb", "push", &verb, "the upload", err) < 0 ||
        json_str(ask, "model", "", &model, "the upload", err) < 0)
        return -(int)err->code;
    const struct svc_verb *v = svc_find(verb);
    if (!v || v->needs == SVC_NONE)
        return err_set(err, ERR_INVALID, "no verb '%.100s' takes files", verb);
    /* those that ask for rights themselves, once they know what is in the files */
    const enum acc_right right = v->right != ACC_NONE          ? v->right
                                 : strcmp(verb, "import") == 0 ? ACC_PUSH
                                                               : ACC_READ;
    if (strlen(model) < sizeof q->object)
        memcpy(q->object, model, strlen(model) + 1);
    return model[0] ? acc_check_verb(repo->acc, verb, right, acc_model(model), err)
                    : acc_check_any(repo->acc, verb, right, err);
}

static int
reply_upload(struct srv_req *q, int status, struct repo_upload *u)
{
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    repo_upload_json(u, o);
    return srv_reply_json(q, status, o);
}

int
srv_do_upload_begin(struct srv_req *q, struct err *err)
{
    struct repo_upload *u AUTO(repo_upload_put_p) = NULL;
    cJSON *ask AUTO(json_free) = NULL;
    struct svc *s;
    struct repo *repo;
    if (!q->srv->uploads)
        return err_set(err, ERR_UNSUPPORTED, "the store is read-only here");
    if (parse_body(q, &ask, err) < 0 || srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = check_right(repo, ask, q, err);
    if (r == 0)
        r = repo_upload_begin(&u, q->srv->uploads, repo, ask, err);
    srv_session_give(q, s);
    return r < 0 ? r : reply_upload(q, 201, u);
}

int
srv_do_upload_show(struct srv_req *q, struct err *err)
{
    struct repo_upload *u AUTO(repo_upload_put_p) = NULL;
    if (find(q, &u, err) < 0)
        return -(int)err->code;
    return reply_upload(q, 200, u);
}

int
srv_do_upload_drop(struct srv_req *q, struct err *err)
{
    struct repo_upload *u AUTO(repo_upload_put_p) = NULL;
    if (find(q, &u, err) < 0 || repo_upload_drop(u, err) < 0)
        return -(int)err->code;
    return srv_reply_empty(q, 204);
}

/* ---- parts ---- */

struct part {
    struct repo_upload *u;
    struct repo_part *p;
};

int
srv_begin_upload_part(struct srv_req *q, struct err *err)
{
    struct repo_part_sums sums = { .has_sha256 = false };
    const char *digest = srv_header(q, "Content-Digest");
    const char *offset_text = srv_query(q, "offset");
    struct part *part = q->state = xcalloc(1, sizeof *part);
    int64_t n, offset = 0;
    if (q->body_bytes < 0)
        return err_set(err, ERR_INVALID, "a part says its Content-Length");
    if (!digest)
        digest = srv_header(q, "Repr-Digest"); /* of what a part is, the same */
    if (find(q, &part->u, err) < 0 ||
        parse_number(q->args[1], &n, "the file's place", err) < 0 ||
        (offset_text && parse_number(offset_text, &offset, "offset", err) < 0) ||
        (digest && repo_part_sums_parse(digest, &sums, err) < 0))
        return -(int)err->code;
    return repo_part_begin(&part->p, part->u, n, offset, q->body_bytes, &sums, err);
}

int
srv_data_upload_part(struct srv_req *q, const char *p, size_t *n, struct err *err)
{
    return repo_part_take(((struct part *)q->state)->p, p, n, err);
}

int
srv_work_upload_part(struct srv_req *q, struct err *err)
{
    return repo_part_flush(((struct part *)q->state)->p, err);
}

int
srv_do_upload_part(struct srv_req *q, struct err *err)
{
    int r = repo_part_end(((struct part *)q->state)->p, err);
    if (r == -ERR_CORRUPT) /* theirs, not ours */
        return srv_reply_status(q, 422, err);
    return r < 0 ? r : srv_reply_empty(q, 204);
}

void
srv_gone_upload_part(struct srv_req *q)
{
    struct part *part = q->state;
    if (!part)
        return;
    repo_part_close(part->p);
    if (part->u)
        repo_upload_put(part->u);
    free(part);
}

int
srv_do_upload_copy(struct srv_req *q, struct err *err)
{
    struct repo_upload *u AUTO(repo_upload_put_p) = NULL;
    cJSON *ask AUTO(json_free) = NULL, *reply AUTO(json_free) = cJSON_CreateObject();
    struct svc *s;
    struct repo *repo;
    int64_t n, n_bytes;
    if (parse_body(q, &ask, err) < 0 || find(q, &u, err) < 0 ||
        parse_number(q->args[1], &n, "the file's place", err) < 0 ||
        srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = repo_upload_copy(u, repo, n, ask, &n_bytes, err);
    srv_session_give(q, s);
    json_put_int(reply, "bytes", n_bytes);
    return r < 0 ? r : srv_reply_json(q, 200, reply);
}

/* ---- the end ---- */

int
srv_do_upload_commit(struct srv_req *q, struct err *err)
{
    struct repo_upload *u AUTO(repo_upload_put_p) = NULL;
    cJSON *ask AUTO(json_free) = NULL, *reply AUTO(json_free) = cJSON_CreateObject();
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct repo_tree tree;
    struct svc *s;
    struct repo *repo;
    if (parse_body(q, &ask, err) < 0 || find(q, &u, err) < 0 ||
        srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = repo_upload_commit(u, repo, ask, &tree, err);
    srv_session_give(q, s);
    if (r == -ERR_CORRUPT) /* theirs, not ours */
        return srv_reply_status(q, 422, err);
    if (r < 0)
        return r;
    repo_tree_text(&tree.digest, "", &text);
    json_put_str(reply, "tree", buf_str(&text));
    json_put_int(reply, "new_files", tree.n_new_files);
    json_put_int(reply, "new_bytes", tree.new_bytes);
    return srv_reply_json(q, 200, reply);
}
