/* SPDX-License-Identifier: Apache-2.0 */
/* A file that may be like one that is there: its pieces are hashed here, those that the
 * base has are copied there, and the others are sent. */
#include "client/client_push.h"

#include "base/clock.h"
#include "client/client_pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct push_pieces {
    struct client_pieces base; /* by digest */
    struct sm_cut *cuts;
    int64_t *from; /* of each cut: where the base has it; -1 */
    size_t n;
};

void
push_pieces_free(struct push_file *f)
{
    if (!f->pieces)
        return;
    client_pieces_release(&f->pieces->base);
    free(f->pieces->cuts);
    free(f->pieces->from);
    free(f->pieces);
    f->pieces = NULL;
}

int
push_pieces_begin(struct push *p, struct push_file *f, struct err *err)
{
    struct push_pieces *l = xcalloc(1, sizeof(*l));
    int e = client_pieces_get(p->c, &f->base, &l->base, err);

    if (e < 0) {
        free(l);
        if (e != -ERR_NOTFOUND && e != -ERR_INVALID && e != -ERR_CORRUPT)
            return e;
        err_clear(err); /* there is no base, or it is damaged: all of it goes */
        return 0;
    }
    client_pieces_sort(&l->base);
    l->n = client_pieces_cut(p->dirfd, f->path, f->st.st_size, &l->cuts);
    l->from = xcalloc(l->n + 1, sizeof(*l->from));
    for (size_t i = 0; i < l->n; i++)
        l->from[i] = -1;
    f->pieces = l;
    return 0;
}

int
push_pieces_read(struct push *p, struct push_file *f, int fd, char *chunk,
                 struct err *err)
{
    const struct push_pieces *l = f->pieces;
    const int64_t begun_ns = clock_now_ns();
    const bool knows = f->has_digest;
    struct sha256 sha;
    struct digest d;

    sha256_init(&sha);
    for (size_t i = 0; i < l->n; i++) {
        const struct sm_cut *c = &l->cuts[i];
        struct client_job job = { .file = f,
                                  .fd = fd,
                                  .at = c->at,
                                  .n_bytes = c->size_bytes,
                                  .is_piece = true,
                                  .piece = i };
        int64_t n = c->size_bytes;

        if (!push_has_come(f, c->at, c->at + c->size_bytes) &&
            client_jobs_add(&p->jobs, &job, err) < 0)
            return -(int)err->code;
        if (!knows)
            n = fs_read_at(fd, chunk, (size_t)c->size_bytes, c->at, f->path, err);
        if (n < c->size_bytes)
            return n < 0 ? (int)n : push_modified(f, err);
        if (!knows)
            sha256_add(&sha, chunk, (size_t)n);
        push_tell(p, n);
    }
    if (knows)
        return 0;
    sha256_end(&sha, &d);
    if (push_check_file(f, fd, err) < 0)
        return -(int)err->code;
    push_learn(p, f, &d, begun_ns);
    return 0;
}

int
push_piece(struct push *p, const struct client_job *job, struct err *err)
{
    struct push_file *f = job->file;
    struct push_pieces *l = f->pieces;
    const size_t n = (size_t)job->n_bytes;
    char *bytes AUTO(free_ptr) = xmalloc(n);
    struct buf header AUTO(buf_release) = BUF_INIT;
    const struct client_piece *there;
    struct digest d;
    const int64_t got = fs_read_at(job->fd, bytes, n, job->at, f->path, err);

    if (got < job->n_bytes)
        return got < 0 ? (int)got : push_modified(f, err);
    sha256_of(bytes, n, &d);
    there = client_pieces_find(&l->base, &d, job->n_bytes);
    if (there) {
        l->from[job->piece] = there->at; /* each job has a piece of its own */
        return 0;
    }
    buf_adds(&header, "Content-Digest: sha-256=:");
    base64_add(&header, d.b, sizeof(d.b));
    buf_addc(&header, ':');
    return push_part(p, job, bytes, buf_str(&header), err);
}

static void
add_range(cJSON *list, int64_t at, int64_t size_bytes, int64_t from)
{
    cJSON *range = cJSON_CreateArray();

    json_put_int(range, NULL, at);
    json_put_int(range, NULL, size_bytes);
    json_put_int(range, NULL, from);
    cJSON_AddItemToArray(list, range);
}

int
push_pieces_end(struct push *p, struct push_file *f, struct err *err)
{
    const struct push_pieces *l = f->pieces;
    cJSON *ask AUTO(json_free) = cJSON_CreateObject(), *reply AUTO(json_free) = NULL;
    cJSON *list = cJSON_AddArrayToObject(ask, "pieces");
    char base[REPO_DIGEST_BYTES], path[120];
    int64_t at = 0, from = -1, n_bytes = 0;

    if (f->has_digest && digest_eq(&f->digest, &f->base))
        return 0; /* the commit finds it there */
    repo_digest_text(&f->base, base);
    json_put_str(ask, "from", base);
    for (size_t i = 0; i < l->n; i++) { /* neighbours there are neighbours here */
        const struct sm_cut *c = &l->cuts[i];

        if (from >= 0 && (l->from[i] != from + n_bytes || at + n_bytes != c->at)) {
            add_range(list, at, n_bytes, from);
            from = -1;
        }
        if (l->from[i] >= 0 && from < 0) {
            at = c->at;
            from = l->from[i];
            n_bytes = 0;
        }
        n_bytes += c->size_bytes;
    }
    if (from >= 0)
        add_range(list, at, n_bytes, from);
    if (!list->child)
        return 0;
    snprintf(path, sizeof(path), "/api/v1/uploads/%s/files/%td/copy", p->id,
             f - p->files);
    return push_post(p, path, ask, &reply, err);
}
