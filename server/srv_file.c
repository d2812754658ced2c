/* SPDX-License-Identifier: Apache-2.0 */
/* Trees and files that go: lists, objects and their ranges, archives. What is asked for
 * by its digest is given to who may read a model that has it, and is not there for
 * anybody else. */
#include "repo/objects.h"
#include "repo/tree.h"
#include "server/server_int.h"
#include "server/srv_range.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OCTETS "application/octet-stream"
#define FOREVER "private, max-age=31536000, immutable"

static int
take_digest(const char *text, struct digest *out, struct err *err)
{
    if (!repo_digest_parse(text, out))
        return err_set(err, ERR_INVALID, "'%.100s' is not sha256:<64 hex digits>",
                       text);
    return 0;
}

static int
not_there(const char *what, const struct digest *d, struct err *err)
{
    char name[REPO_DIGEST_BYTES];
    repo_digest_text(d, name);
    return err_set(err, ERR_NOTFOUND, "there is no %s %s", what, name);
}

/* ---- what identifies an answer ---- */

static void
put_digest(struct srv_req *q, const struct digest *d)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    buf_adds(&text, "sha-256=:");
    base64_add(&text, d->b, sizeof d->b);
    buf_addc(&text, ':');
    srv_reply_header(q, "Repr-Digest", buf_str(&text));
}

/* ---- several ranges in one answer ---- */

struct many {
    int fd, n, i;
    int64_t size_bytes;
    struct srv_range ranges[SRV_RANGES_MAX];
    struct buf text; /* of a part's head, or of the end */
    size_t text_at;
    int64_t left; /* of the range at hand */
    char boundary[32];
};

static void
many_done(void *arg)
{
    struct many *m = arg;
    fs_close(&m->fd);
    buf_release(&m->text);
    free(m);
}

static ssize_t
many_next(void *arg, char *to, size_t n)
{
    struct many *m = arg;
    if (m->text_at == m->text.len && m->left == 0) {
        buf_clear(&m->text);
        m->text_at = 0;
        if (m->i > m->n)
            return 0;
        if (m->i == m->n) {
            buf_addf(&m->text, "\r\n--%s--\r\n", m->boundary);
        } else {
            const struct srv_range *r = &m->ranges[m->i];
            buf_addf(&m->text,
                     "\r\n--%s\r\nContent-Type: " OCTETS
                     "\r\nContent-Range: bytes %" PRId64 "-%" PRId64 "/%" PRId64
                     "\r\n\r\n",
                     m->boundary, r->from, r->from + r->n_bytes - 1, m->size_bytes);
            m->left = r->n_bytes;
        }
        m->i++;
    }
    if (m->text_at < m->text.len) {
        size_t k = m->text.len - m->text_at < n ? m->text.len - m->text_at : n;
        memcpy(to, m->text.data + m->text_at, k);
        m->text_at += k;
        return (ssize_t)k;
    }
    const struct srv_range *r = &m->ranges[m->i - 1];
    struct err err = ERR_INIT;
    int64_t got = fs_read_at(m->fd, to, (int64_t)n < m->left ? n : (size_t)m->left,
                             r->from + r->n_bytes - m->left, "an object", &err);
    m->left -= got > 0 ? got : 0;
    return got > 0 ? (ssize_t)got : -1;
}

static int
reply_many(struct srv_req *q, int *fd, int64_t size_bytes,
           const struct srv_range *ranges, int n)
{
    struct many *m = xcalloc(1, sizeof *m);
    m->fd = *fd;
    *fd = -1;
    m->n = n;
    m->size_bytes = size_bytes;
    memcpy(m->ranges, ranges, (size_t)n * sizeof *ranges);
    snprintf(m->boundary, sizeof m->boundary, "sluice%s", q->id);
    char *type AUTO(free_ptr) =
        xasprintf("multipart/byteranges; boundary=%s", m->boundary);
    return srv_reply_stream(q, 206, type, many_next, many_done, m);
}

/* ---- an object ---- */

static int
reply_fd(struct srv_req *q, const struct digest *d, bool by_name, int *fd,
         struct err *err)
{
    struct srv_range ranges[SRV_RANGES_MAX];
    const char *range = srv_header(q, "Range"), *only = srv_header(q, "If-Range");
    char name[REPO_DIGEST_BYTES];
    struct stat st;
    if (fstat(*fd, &st) < 0)
        return err_sys(err, errno, "look at an object");
    repo_digest_text(d, name);
    char *etag AUTO(free_ptr) = xasprintf("\"%s\"", name);
    /* Another time a name may mean another object; a digest never does. */
    if (srv_reply_known(q, etag, by_name ? "private, no-cache" : FOREVER))
        return 0;
    srv_reply_header(q, "Accept-Ranges", "bytes");
    put_digest(q, d);
    int n = range && (!only || strcmp(only, etag) == 0)
                ? srv_range_parse(range, st.st_size, ranges)
                : -1;
    if (n > 1)
        return reply_many(q, fd, st.st_size, ranges, n);
    int file = n == 0 ? -1 : *fd;
    *fd = n == 0 ? *fd : -1; /* the answer closes it */
    if (n < 0)
        return srv_reply_fd(q, 200, OCTETS, file, 0, st.st_size);
    char *said AUTO(free_ptr) =
        n == 0 ? xasprintf("bytes */%" PRId64, (int64_t)st.st_size)
               : xasprintf("bytes %" PRId64 "-%" PRId64 "/%" PRId64, ranges[0].from,
                           ranges[0].from + ranges[0].n_bytes - 1, (int64_t)st.st_size);
    srv_reply_header(q, "Content-Range", said);
    return n == 0
               ? srv_reply_empty(q, 416)
               : srv_reply_fd(q, 206, OCTETS, file, ranges[0].from, ranges[0].n_bytes);
}

static int
reply_object(struct srv_req *q, const struct digest *d, bool by_name, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct svc *s;
    struct repo *repo;
    if (srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = by_name ? 1 : repo_object_may_read(repo, d, err);
    if (r == 0)
        r = not_there("object", d, err);
    if (r == 1)
        r = repo->objects->ops->open(repo->objects, d, &fd, err);
    srv_session_give(q, s);
    return r < 0 ? r : reply_fd(q, d, by_name, &fd, err);
}

int
srv_do_object(struct srv_req *q, struct err *err)
{
    struct digest d;
    if (take_digest(q->args[0], &d, err) < 0)
        return -(int)err->code;
    return reply_object(q, &d, false, err);
}

/* ---- pieces ---- */

static int
add_piece(void *arg, int64_t at, int64_t size_bytes, const struct digest *d,
          struct err *err)
{
    struct buf *out = arg;
    char hex[DIGEST_HEX_BYTES];
    (void)err;
    digest_hex(d, hex);
    buf_addf(out, "%s[%" PRId64 ", \"%s\"]", at > 0 ? ", " : "", size_bytes, hex);
    return 0;
}

int
srv_do_object_pieces(struct srv_req *q, struct err *err)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct digest d;
    struct svc *s;
    struct repo *repo;
    char name[REPO_DIGEST_BYTES];
    if (take_digest(q->args[0], &d, err) < 0 || srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    repo_digest_text(&d, name);
    buf_addf(&out, "{\"object\": \"%s\", \"pieces\": [", name);
    int r = repo_object_pieces(repo, &d, add_piece, &out, err);
    srv_session_give(q, s);
    buf_adds(&out, "]}\n");
    char *etag AUTO(free_ptr) = xasprintf("\"%s.pieces\"", name);
    if (r < 0 || srv_reply_known(q, etag, FOREVER))
        return r < 0 ? r : 0;
    return srv_reply_text(q, 200, "application/json",
                          (struct str){ out.data, out.len });
}

/* ---- a list ---- */

int
srv_do_tree(struct srv_req *q, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct digest d;
    struct svc *s;
    struct repo *repo;
    if (take_digest(q->args[0], &d, err) < 0 || srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = repo_tree_may_read(repo, &d, err);
    if (r == 0)
        r = not_there("tree", &d, err);
    if (r == 1)
        r = repo->objects->ops->get(repo->objects, &d, &text, err);
    srv_session_give(q, s);
    if (r < 0)
        return r;
    char name[REPO_DIGEST_BYTES];
    repo_digest_text(&d, name);
    char *etag AUTO(free_ptr) = xasprintf("\"%s\"", name);
    if (srv_reply_known(q, etag, FOREVER))
        return 0;
    put_digest(q, &d);
    return srv_reply_text(q, 200, "text/plain; charset=utf-8",
                          (struct str){ text.data, text.len });
}

/* ---- what a reference means: a pull, which is on record ---- */

static int
pull(struct srv_req *q, const char *ref, struct digest *out, struct err *err)
{
    struct srv_call_hooks hooks = { .trace = q->trace };
    cJSON *ask AUTO(json_free) = cJSON_CreateObject(), *reply AUTO(json_free) = NULL;
    const char *name, *tree;
    q->verb = "pull";
    snprintf(q->object, sizeof q->object, "%s", ref);
    json_put_str(ask, "ref", ref);
    json_put_str(ask, "dest", "tree:");
    if (srv_worker_call(q->srv, &q->who, "pull", ask, &hooks, &reply, err) < 0)
        return -(int)err->code;
    tree = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(reply, "trees"), "dest"));
    if (!tree || repo_tree_parse(tree, out, &name, err) != 1)
        return err->code ? -(int)err->code
                         : err_set(err, ERR_CORRUPT, "a pull gave no tree");
    return 0;
}

static int
manifest(struct srv_req *q, const struct digest *d, struct repo_manifest *out,
         struct err *err)
{
    struct svc *s;
    struct repo *repo;
    if (srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    int r = repo_manifest_get(repo, d, out, err);
    srv_session_give(q, s);
    return r;
}

int
srv_do_file(struct srv_req *q, struct err *err)
{
    struct repo_manifest m AUTO(repo_manifest_release) = { .files = NULL };
    const char *ref = srv_query(q, "ref"), *path = srv_query(q, "path");
    struct digest d;
    if (!ref || !path)
        return err_set(err, ERR_USAGE, "files needs ?ref=MODEL@VERSION&path=FILE");
    if (pull(q, ref, &d, err) < 0 || manifest(q, &d, &m, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < m.n_files; i++)
        if (strcmp(m.files[i].path, path) == 0)
            return reply_object(q, &m.files[i].digest, true, err);
    return err_set(err, ERR_NOTFOUND, "%s has no file '%.300s'", ref, path);
}

/* ---- archives ---- */

struct archive {
    struct srv *srv;
    struct svc *s; /* its own while it is sent */
    struct repo *repo;
    struct digest digest;
    bool is_zstd;
};

static void
archive_done(void *arg)
{
    struct archive *a = arg;
    if (a->s)
        srv_session_back(a->srv, a->s);
    free(a);
}

static int
to_sink(void *arg, const void *p, size_t n, struct err *err)
{
    return srv_sink_write(arg, p, n) < 0 ? err_set(err, ERR_BUSY, "the client is gone")
                                         : 0;
}

static int
archive_run(void *arg, struct srv_sink *to, struct err *err)
{
    struct archive *a = arg;
    return repo_tree_tar(a->repo, &a->digest, a->is_zstd, to_sink, to, err);
}

/* "fraud/3.tar.zst", "fraud@production.tar" */
static int
take_ref(const char *rest, char **ref, bool *is_zstd, struct err *err)
{
    size_t n = strlen(rest);
    *is_zstd = n > 8 && strcmp(rest + n - 8, ".tar.zst") == 0;
    if (!*is_zstd && !(n > 4 && strcmp(rest + n - 4, ".tar") == 0))
        return err_set(err, ERR_NOTFOUND,
                       "what is pulled ends in .tar or .tar.zst: /pull/MODEL/3.tar.zst,"
                       " /pull/MODEL@ALIAS.tar.zst");
    char *text = xstrndup(rest, n - (*is_zstd ? 8 : 4));
    char *slash = strrchr(text, '/');
    if (slash && !strchr(text, '@') && slash[1] &&
        strspn(slash + 1, "0123456789") == strlen(slash + 1))
        *slash = '@';
    *ref = text;
    return 0;
}

int
srv_do_pull(struct srv_req *q, struct err *err)
{
    char *ref AUTO(free_ptr) = NULL;
    struct archive a = { .srv = q->srv };
    char name[REPO_DIGEST_BYTES];
    if (take_ref(q->args[0], &ref, &a.is_zstd, err) < 0 ||
        pull(q, ref, &a.digest, err) < 0)
        return -(int)err->code;
    repo_digest_text(&a.digest, name);
    char *etag AUTO(free_ptr) = xasprintf("\"%s.tar%s\"", name, a.is_zstd ? "z" : "");
    srv_reply_header(q, "X-Sluice-Digest", name);
    if (srv_reply_known(q, etag, "private, no-cache"))
        return 0;
    if (srv_session_any(q->srv, &a.s, &a.repo, err) < 0)
        return -(int)err->code;
    struct archive *own = xmalloc(sizeof *own);
    *own = a;
    return srv_reply_run_checked(q, 200,
                                 a.is_zstd ? "application/zstd" : "application/x-tar",
                                 archive_run, archive_done, own, err);
}
