/* SPDX-License-Identifier: Apache-2.0 */
/* A directory or file goes there. What is known of its files is said first; the answer
 * says what is missing. Big files that were never hashed are hashed while they are
 * sent: one thread reads and hashes in order, others send behind it; the digest of the
 * whole is said by the commit. A file that may be like one that is there is compared
 * piece by piece, and only pieces that are new are sent. */
#include "client/client_push.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL_BYTES ((int64_t)1 << 20) /* hashed before it is told of */
#define PART_BYTES ((int64_t)4 << 20)
#define TRIES 3 /* of all, when the other side lost something meanwhile */

/* ---- what there is ---- */

static struct push_file *
add_file(struct push *p, const char *path, const struct stat *st)
{
    struct push_file *f;

    if (p->n_files == p->n_alloc) {
        p->n_alloc = p->n_alloc ? 2 * p->n_alloc : 16;
        p->files = xreallocarray(p->files, p->n_alloc, sizeof(*p->files));
    }
    f = &p->files[p->n_files++];
    *f = (struct push_file){ .path = xstrdup(path), .st = *st };
    return f;
}

static int
walk_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    if (repo_check_file_path(e->path, err) < 0) /* JSON could not say it, either */
        return -(int)err->code;
    if (S_ISDIR(e->st.st_mode))
        return 0;
    if (e->st.st_mode & (S_ISUID | S_ISGID))
        return err_set(err, ERR_INVALID,
                       "%s: a set%cid file is no part of a model: chmod %c-s it",
                       e->path, e->st.st_mode & S_ISUID ? 'u' : 'g',
                       e->st.st_mode & S_ISUID ? 'u' : 'g');
    (void)add_file(arg, e->path, &e->st);
    return 0;
}

/* *name: of a single file; else "". */
static int
list_files(struct push *p, const char *path, const char **name, struct err *err)
{
    char *up AUTO(free_ptr) = xstrdup(path);
    char *slash = strrchr(up, '/');
    struct stat st;

    *name = "";
    if (stat(path, &st) < 0)
        return err_sys(err, errno, "open %s", path);
    if (S_ISDIR(st.st_mode)) {
        if (fs_open_dir(&p->dirfd, AT_FDCWD, path, err) < 0 ||
            fs_walk(p->dirfd, ".", walk_entry, p, err) < 0)
            return -(int)err->code;
        return p->n_files > 0
                   ? 0
                   : err_set(err, ERR_INVALID, "%s: there is no file in it", path);
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s: not a regular file", path);
    if (slash)
        *slash = '\0';
    *name = slash ? strrchr(path, '/') + 1 : path;
    (void)add_file(p, *name, &st);
    return fs_open_dir(&p->dirfd, AT_FDCWD, !slash ? "." : slash == up ? "/" : up, err);
}

int
push_modified(struct push_file *f, struct err *err)
{
    f->is_modified = true;
    return err_set(err, ERR_CONFLICT,
                   "%s: modified during push; push again when its writer is done",
                   f->path);
}

static bool
is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

int
push_open_file(const struct push *p, struct push_file *f, int *out, struct err *err)
{
    struct stat st;

    if (fs_open(out, p->dirfd, f->path, O_RDONLY | O_NONBLOCK, 0, err) < 0)
        return -(int)err->code;
    if (fstat(*out, &st) < 0 || !is_same(&st, &f->st)) {
        fs_close(out);
        return push_modified(f, err);
    }
    (void)posix_fadvise(*out, 0, 0, POSIX_FADV_SEQUENTIAL);
    return 0;
}

int
push_check_file(struct push_file *f, int fd, struct err *err)
{
    struct stat st;

    return fstat(fd, &st) == 0 && is_same(&st, &f->st) ? 0 : push_modified(f, err);
}

void
push_learn(struct push *p, struct push_file *f, const struct digest *d,
           int64_t begun_ns)
{
    f->digest = *d;
    f->has_digest = true;
    p->read_bytes += f->st.st_size;
    client_hashes_add(p->hashes, &f->st, d, begun_ns);
}

/* Small files are hashed at once; of big ones what is known is enough. */
static int
hash_small(struct push *p, struct push_file *f, char *chunk, struct err *err)
{
    const int64_t begun_ns = clock_now_ns();
    int fd AUTO(fs_close) = -1;
    struct digest d;
    int64_t n;

    f->has_digest = !p->c->reread && client_hashes_find(p->hashes, &f->st, &f->digest);
    if (f->has_digest || f->st.st_size > SMALL_BYTES)
        return 0;
    if (push_open_file(p, f, &fd, err) < 0)
        return -(int)err->code;
    n = fs_read_at(fd, chunk, (size_t)f->st.st_size, 0, f->path, err);
    if (n < 0 || n < f->st.st_size)
        return n < 0 ? (int)n : push_modified(f, err);
    sha256_of(chunk, (size_t)n, &d);
    if (push_check_file(f, fd, err) < 0)
        return -(int)err->code;
    push_learn(p, f, &d, begun_ns);
    return 0;
}

/* ---- what is missing there ---- */

/* What tells one state of a file from the next. */
static void
put_tag(cJSON *o, const struct push_file *f)
{
    const int64_t v[] = {
        (int64_t)f->st.st_dev,         (int64_t)f->st.st_ino, f->st.st_size,
        f->st.st_mtim.tv_sec,          f->st.st_mtim.tv_nsec, f->st.st_ctim.tv_sec,
        (int64_t)f->st.st_ctim.tv_nsec
    };
    struct digest d;
    char hex[DIGEST_HEX_BYTES];

    sha256_of(v, sizeof(v), &d);
    digest_hex(&d, hex);
    hex[32] = '\0';
    json_put_str(o, "tag", hex);
}

/* The list; as a commit it has all digests. */
static cJSON *
list_json(const struct push *p, bool is_commit)
{
    cJSON *list = cJSON_CreateArray();

    for (size_t i = 0; i < p->n_files; i++) {
        const struct push_file *f = &p->files[i];
        cJSON *o = cJSON_CreateObject();
        char hex[DIGEST_HEX_BYTES];

        json_put_str(o, "path", f->path);
        json_put_int(o, "size", f->st.st_size);
        digest_hex(&f->digest, hex);
        if (f->has_digest)
            json_put_str(o, "sha256", hex);
        if (!is_commit)
            put_tag(o, f);
        cJSON_AddItemToArray(list, o);
    }
    return list;
}

int
push_post(struct push *p, const char *path, const cJSON *body, cJSON **reply,
          struct err *err)
{
    static const char *const headers[] = { "Content-Type: application/json", NULL };
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct client_ask ask = {
        .method = "POST", .path = path, .headers = headers, .again = true
    };

    json_print(body, &text, true);
    ask.body = text.data;
    ask.body_bytes = (int64_t)text.len;
    return client_ask_json(p->c, &ask, reply, err);
}

static int
bad_answer(struct err *err)
{
    return err_set(err, ERR_INVALID,
                   "the service's answer about an upload is not what it should be");
}

static int
take_came(struct push_file *f, const cJSON *came, struct err *err)
{
    for (const cJSON *pair = came ? came->child : NULL; pair; pair = pair->next) {
        const cJSON *from = cJSON_GetArrayItem(pair, 0),
                    *n = cJSON_GetArrayItem(pair, 1);

        if (!cJSON_IsNumber(from) || !cJSON_IsNumber(n))
            return bad_answer(err);
        f->came = xreallocarray(f->came, f->n_came + 1, sizeof(*f->came));
        f->came[f->n_came++] =
            (struct push_range){ (int64_t)from->valuedouble,
                                 (int64_t)(from->valuedouble + n->valuedouble) };
    }
    return 0;
}

static int
take_state(struct push_file *f, const cJSON *o, struct err *err)
{
    const char *path, *state, *base;

    free(f->came);
    f->came = NULL;
    f->n_came = 0;
    if (json_str(o, "path", NULL, &path, "its answer", err) < 0 ||
        json_str(o, "state", NULL, &state, "its answer", err) < 0 ||
        json_str(o, "base", "", &base, "its answer", err) < 0)
        return -(int)err->code;
    if (strcmp(path, f->path) != 0)
        return bad_answer(err);
    f->state = strcmp(state, "have") == 0   ? PUSH_HAVE
               : strcmp(state, "come") == 0 ? PUSH_COME
                                            : PUSH_WANT;
    f->has_base = repo_digest_parse(base, &f->base);
    return take_came(f, cJSON_GetObjectItemCaseSensitive(o, "came"), err);
}

static int
begin(struct push *p, struct err *err)
{
    cJSON *ask AUTO(json_free) = cJSON_CreateObject(), *reply AUTO(json_free) = NULL;
    const cJSON *list, *o;
    const char *id;
    size_t i = 0;

    json_put_str(ask, "verb", p->verb);
    if (p->model)
        json_put_str(ask, "model", p->model);
    cJSON_AddItemToObject(ask, "files", list_json(p, false));
    if (push_post(p, "/api/v1/uploads", ask, &reply, err) < 0 ||
        json_str(reply, "id", NULL, &id, "its answer", err) < 0)
        return -(int)err->code;
    if (strlen(id) >= sizeof(p->id) || strspn(id, "0123456789abcdef") != strlen(id))
        return bad_answer(err);
    snprintf(p->id, sizeof(p->id), "%s", id);
    list = cJSON_GetObjectItemCaseSensitive(reply, "files");
    if (!cJSON_IsArray(list) || (size_t)cJSON_GetArraySize(list) != p->n_files)
        return bad_answer(err);
    cJSON_ArrayForEach(o, list) if (take_state(&p->files[i++], o, err) <
                                    0) return -(int)err->code;
    return 0;
}

/* ---- the digest of a file that is read here alone, or while others send it ---- */

bool
push_has_come(const struct push_file *f, int64_t from, int64_t to)
{
    for (size_t i = 0; i < f->n_came; i++)
        if (f->came[i].from <= from && f->came[i].to >= to)
            return true;
    return f->state != PUSH_WANT;
}

void
push_tell(struct push *p, int64_t n_bytes)
{
    p->done_bytes += n_bytes;
    if (p->c->progress && p->total_bytes > SMALL_BYTES)
        p->c->progress(p->c->progress_arg, "pushing", p->done_bytes, p->total_bytes);
}

/* Hashes the file in order; each part that is missing there is a job. */
static int
read_parts(struct push *p, struct push_file *f, int fd, char *chunk, struct err *err)
{
    const int64_t begun_ns = clock_now_ns();
    struct sha256 sha;
    struct digest d;

    sha256_init(&sha);
    for (int64_t at = 0; at < f->st.st_size;) {
        const int64_t left = f->st.st_size - at;
        const size_t n = (size_t)(left < PART_BYTES ? left : PART_BYTES);
        const int64_t got = fs_read_at(fd, chunk, n, at, f->path, err);

        if (got < (int64_t)n)
            return got < 0 ? (int)got : push_modified(f, err);
        if (!push_has_come(f, at, at + got)) {
            struct client_job job = { .file = f, .fd = fd, .at = at, .n_bytes = got };

            job.crc = crc32c(0, chunk, n);
            if (client_jobs_add(&p->jobs, &job, err) < 0)
                return -(int)err->code;
        }
        if (!f->has_digest)
            sha256_add(&sha, chunk, n);
        at += got;
        push_tell(p, got);
    }
    if (f->has_digest)
        return 0;
    sha256_end(&sha, &d);
    if (push_check_file(f, fd, err) < 0)
        return -(int)err->code;
    push_learn(p, f, &d, begun_ns);
    return 0;
}

static int
send_file(struct push *p, struct push_file *f, char *chunk, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    int e;

    if (f->st.st_size == 0 || (f->state != PUSH_WANT && f->has_digest))
        return 0;
    e = push_open_file(p, f, &fd, err);
    if (e == 0 && f->state == PUSH_WANT && f->has_base)
        e = push_pieces_begin(p, f, err);
    if (e == 0)
        e = f->pieces ? push_pieces_read(p, f, fd, chunk, err)
                      : read_parts(p, f, fd, chunk, err);
    /* those who send have the descriptor until they are through with it */
    e = client_jobs_wait(&p->jobs, e, err);
    if (e == 0 && f->pieces)
        e = push_pieces_end(p, f, err);
    push_pieces_free(f);
    return e < 0 ? e : push_check_file(f, fd, err);
}

/* ---- small files: each is one request, and many are under way ---- */

static int
send_small(struct push *p, struct err *err)
{
    int e = 0;

    for (size_t i = 0; e == 0 && i < p->n_files; i++) {
        struct push_file *f = &p->files[i];
        struct client_job job = { .file = f, .fd = -1, .n_bytes = f->st.st_size };

        if (f->state == PUSH_WANT && f->st.st_size > 0 && f->st.st_size <= SMALL_BYTES)
            e = client_jobs_add(&p->jobs, &job, err);
    }
    e = client_jobs_wait(&p->jobs, e, err);
    return e;
}

static int
send_all(struct push *p, struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc((size_t)PART_BYTES);
    int e = send_small(p, err);

    for (size_t i = 0; e == 0 && i < p->n_files; i++)
        if (p->files[i].st.st_size > SMALL_BYTES)
            e = send_file(p, &p->files[i], chunk, err);
    return e;
}

static int
commit(struct push *p, struct buf *tree, struct err *err)
{
    cJSON *ask AUTO(json_free) = cJSON_CreateObject(), *reply AUTO(json_free) = NULL;
    char path[100];
    const char *text, *name;
    struct digest d;
    int e;

    cJSON_AddItemToObject(ask, "files", list_json(p, true));
    snprintf(path, sizeof(path), "/api/v1/uploads/%s/commit", p->id);
    if (push_post(p, path, ask, &reply, err) < 0 ||
        json_str(reply, "tree", NULL, &text, "its answer", err) < 0)
        return -(int)err->code;
    e = repo_tree_parse(text, &d, &name, err);
    if (e <= 0 || name[0])
        return e < 0 ? e : bad_answer(err);
    buf_clear(tree);
    buf_adds(tree, text);
    return 0;
}

/* The other side lost the upload, or something that it had, or has other bytes: once
 * more, for what is missing then. What is wrong here is wrong the next time, too. */
static bool
is_worth_another(const struct push *p, const struct err *err)
{
    for (size_t i = 0; i < p->n_files; i++)
        if (p->files[i].is_modified)
            return false;
    return err->code == ERR_CONFLICT || err->code == ERR_CORRUPT ||
           err->code == ERR_NOTFOUND;
}

static int
push(struct push *p, struct buf *tree, struct err *err)
{
    int e = 0;

    for (int i = 0; i < TRIES; i++) {
        p->done_bytes = 0;
        e = begin(p, err);
        if (e < 0)
            break;
        e = send_all(p, err);
        if (e == 0)
            e = commit(p, tree, err);
        if (e == 0 || i + 1 == TRIES || !is_worth_another(p, err))
            break;
        err_clear(err);
        client_jobs_reset(&p->jobs);
    }
    return e;
}

static void
push_release(struct push *p)
{
    client_jobs_close(&p->jobs);
    client_hashes_close(p->hashes);
    for (size_t i = 0; i < p->n_files; i++) {
        free(p->files[i].path);
        free(p->files[i].came);
        push_pieces_free(&p->files[i]);
    }
    free(p->files);
    fs_close(&p->dirfd);
}

int
client_push_tree(struct client *c, const char *verb, const char *model_or_null,
                 const char *path, struct buf *text, struct client_sent *out,
                 struct err *err)
{
    struct push p AUTO(
        push_release) = { .c = c, .verb = verb, .model = model_or_null, .dirfd = -1 };
    char *chunk AUTO(free_ptr) = xmalloc((size_t)SMALL_BYTES);
    struct buf tree AUTO(buf_release) = BUF_INIT;
    const char *name;
    int e;

    *out = (struct client_sent){ .read_bytes = 0 };
    client_jobs_open(&p.jobs, c, push_run, &p);
    e = list_files(&p, path, &name, err);
    client_hashes_open(&p.hashes);
    for (size_t i = 0; e == 0 && i < p.n_files; i++) {
        e = hash_small(&p, &p.files[i], chunk, err);
        p.total_bytes += p.files[i].st.st_size;
    }
    out->is_asked = e == 0;
    if (e == 0)
        e = push(&p, &tree, err);
    if (e < 0)
        return -(int)err->code;
    out->read_bytes = p.read_bytes;
    buf_addf(text, "%s%s%s", buf_str(&tree), name[0] ? "/" : "", name);
    return 0;
}

int
client_push_list(struct client *c, const char *dir, struct buf *text,
                 struct client_sent *out, struct err *err)
{
    struct push p AUTO(push_release) = { .c = c, .verb = "push", .dirfd = -1 };
    char *chunk AUTO(free_ptr) = xmalloc((size_t)PART_BYTES);
    struct repo_file *files AUTO(free_ptr) = NULL;
    const char *name;
    int e;

    client_jobs_open(&p.jobs, c, push_run, &p);
    e = list_files(&p, dir, &name, err);
    client_hashes_open(&p.hashes);
    for (size_t i = 0; i < p.n_files; i++) {
        p.files[i].state = PUSH_COME; /* it is read and hashed, no more */
        p.total_bytes += p.files[i].st.st_size;
    }
    files = xcalloc(p.n_files + 1, sizeof(*files));
    for (size_t i = 0; e == 0 && i < p.n_files; i++) {
        struct push_file *f = &p.files[i];

        e = hash_small(&p, f, chunk, err);
        if (e == 0)
            e = send_file(&p, f, chunk, err);
        files[i] = (struct repo_file){ .path = f->path,
                                       .digest = f->digest,
                                       .size_bytes = f->st.st_size };
    }
    if (e < 0)
        return -(int)err->code;
    const struct repo_manifest m = { .files = files, .n_files = (int)p.n_files };
    repo_manifest_format(&m, text);
    out->read_bytes = p.read_bytes;
    return 0;
}
