/* SPDX-License-Identifier: Apache-2.0 */
/* A tree comes here. Beside the destination grows, under a name that the same call
 * finds again after a kill:
 *
 *   .sluice-<16 hex>/manifest   the list, verified
 *                    parts      what came, one line each: FILE OFFSET SIZE, FILE whole
 *                    tree/      the files
 *
 * `parts` may promise too much after a power cut: of a file that is not whole all is
 * hashed again. When each file has its digest and is on the disk, tree/ is renamed. */
#include "client/client_pull.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define SMALL_BYTES ((int64_t)1 << 20) /* one request, and one job */
#define PART_BYTES ((int64_t)8 << 20)
#define CHUNK_BYTES ((size_t)1 << 20)
#define TRIES 3
#define MANIFEST_MAX ((size_t)64 << 20)

/* ---- requests ---- */

static void
object_path(const struct digest *d, const char *what, char out[120])
{
    char name[REPO_DIGEST_BYTES];

    repo_digest_text(d, name);
    snprintf(out, 120, "/api/v1/%s/%s", what, name);
}

struct sink {
    int fd;
    int64_t at, end;
    const char *what;
};

static int
to_file(void *arg, const char *bytes, size_t n, struct err *err)
{
    struct sink *s = arg;

    if ((int64_t)n > s->end - s->at)
        return err_set(err, ERR_INVALID, "%s: the answer has more bytes than asked for",
                       s->what);
    if (fs_write_at(s->fd, bytes, n, s->at, s->what, err) < 0)
        return -(int)err->code;
    s->at += (int64_t)n;
    return 0;
}

int
pull_range(struct pull *p, const struct repo_file *f, int fd, int64_t at,
           int64_t n_bytes, struct err *err)
{
    struct sink sink = { .fd = fd, .at = at, .end = at + n_bytes, .what = f->path };
    char path[120];
    int e = 0;

    object_path(&f->digest, "objects", path);
    for (int i = 0; i < TRIES && sink.at < sink.end;
         i++) { /* from where it broke off */
        struct client_answer a AUTO(client_answer_release) = { .status = 0 };
        char range[80];
        const char *const headers[] = { range, NULL };
        struct client_ask ask = { .method = "GET",
                                  .path = path,
                                  .headers = headers,
                                  .sink = to_file,
                                  .arg = &sink };

        err_clear(err);
        snprintf(range, sizeof(range), "Range: bytes=%" PRId64 "-%" PRId64, sink.at,
                 sink.end - 1);
        e = client_ask(p->c, &ask, &a, err);
        if (e == 0 && a.status / 100 != 2)
            return client_problem(p->c, &a, NULL, err);
        if (e == 0 && a.status != 206 && !(at == 0 && n_bytes == f->size_bytes))
            return err_set(err, ERR_INVALID, "%s: it answers %d to a range", f->path,
                           a.status);
        if (e < 0 && e != -ERR_BUSY)
            return e;
    }
    if (sink.at == sink.end) {
        err_clear(err);
        return 0;
    }
    return e < 0 ? e
                 : err_set(err, ERR_BUSY, "%s: the answer ended early: try again",
                           f->path);
}

/* ---- the list ---- */

static int
take_manifest(struct pull *p, const struct digest *want, struct str text,
              struct err *err)
{
    struct digest got;

    sha256_of(text.p, text.n, &got);
    if (!digest_eq(&got, want))
        return err_set(err, ERR_CORRUPT, "the list of files is not the one asked for");
    return repo_manifest_parse(&p->m, text, "the list of files", err);
}

static int
fetch_manifest(struct pull *p, const struct digest *d, struct err *err)
{
    struct client_answer a AUTO(client_answer_release) = { .status = 0 };
    struct buf kept AUTO(buf_release) = { .cap_bytes = MANIFEST_MAX };
    char path[120];
    struct client_ask ask = { .method = "GET", .path = path };
    struct err ignored = ERR_INIT;

    if (fs_exists(p->work_fd, "manifest", &ignored) == 1 &&
        fs_read(p->work_fd, "manifest", &kept, &ignored) == 0 &&
        take_manifest(p, d, (struct str){ buf_str(&kept), kept.len }, &ignored) == 0)
        return 0;
    err_clear(&ignored);
    object_path(d, "trees", path);
    if (client_ask_ok(p->c, &ask, &a, err) < 0 ||
        take_manifest(p, d, (struct str){ buf_str(&a.body), a.body.len }, err) < 0)
        return -(int)err->code;
    return fs_replace(p->work_fd, "manifest", buf_str(&a.body), a.body.len, 0600, err);
}

/* ---- what came before ---- */

int
pull_note(struct pull *p, int i, int64_t at, int64_t n_bytes, struct err *err)
{
    char line[80];
    const int n = n_bytes < 0
                      ? snprintf(line, sizeof(line), "%d whole\n", i)
                      : snprintf(line, sizeof(line), "%d %" PRId64 " %" PRId64 "\n", i,
                                 at, n_bytes);

    return fs_write_all(p->journal_fd, line, (size_t)n, "parts", err);
}

/* What of "parts" is read. */
struct journal {
    struct pull *p;
    int i; /* the file whose parts are wanted; -1: only what is whole */
    struct pull_part *came;
    size_t n_came;
};

static void
read_line(struct journal *j, const char *line)
{
    int64_t at, n_bytes;
    int i, end = 0;

    if (sscanf(line, "%d whole%n", &i, &end) == 1 && end > 0 && !line[end]) {
        if (i >= 0 && i < j->p->m.n_files)
            j->p->is_done[i] = true;
    } else if (sscanf(line, "%d %" SCNd64 " %" SCNd64 "%n", &i, &at, &n_bytes, &end) ==
                   3 &&
               !line[end] && i == j->i && at >= 0 && n_bytes >= 0) {
        j->came = xreallocarray(j->came, j->n_came + 1, sizeof(*j->came));
        j->came[j->n_came++] = (struct pull_part){ at, n_bytes, true };
    }
}

static int
read_journal(struct journal *j, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    if (fs_read(j->p->work_fd, "parts", &text, err) < 0)
        return -(int)err->code;
    for (char *at = text.data, *lf; at && (lf = strchr(at, '\n')); at = lf + 1) {
        *lf = '\0';
        read_line(j, at);
    }
    return 0;
}

/* ---- one file ---- */

static void
tell(struct pull *p, int64_t n_bytes)
{
    p->done_bytes += n_bytes;
    if (p->c->progress && p->total_bytes > SMALL_BYTES)
        p->c->progress(p->c->progress_arg, "pulling", p->done_bytes, p->total_bytes);
}

void
pull_add_part(struct pull *p, int64_t at, int64_t n_bytes, bool came)
{
    while (n_bytes > 0) {
        const int64_t n = came || n_bytes < PART_BYTES ? n_bytes : PART_BYTES;

        p->parts = xreallocarray(p->parts, p->n_parts + 1, sizeof(*p->parts));
        p->parts[p->n_parts++] = (struct pull_part){ at, n, came };
        at += n;
        n_bytes -= n;
    }
}

static int
open_new(struct pull *p, const struct repo_file *f, int *fd, struct err *err)
{
    const char *slash = strrchr(f->path, '/');
    char *up AUTO(free_ptr) =
        slash ? xstrndup(f->path, (size_t)(slash - f->path)) : NULL;

    if (up && fs_mkdirs(p->tree_fd, up, 0755, err) < 0)
        return -(int)err->code;
    return fs_open(fd, p->tree_fd, f->path, O_RDWR | O_CREAT | O_NOFOLLOW, 0644, err);
}

static int
fetch_small(struct pull *p, struct repo_file *f, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    char *bytes AUTO(free_ptr) = xmalloc((size_t)f->size_bytes + 1);
    struct digest got;

    if (open_new(p, f, &fd, err) < 0)
        return -(int)err->code;
    if (ftruncate(fd, f->size_bytes) < 0)
        return err_sys(err, errno, "write %s", f->path);
    if (f->size_bytes > 0 && pull_range(p, f, fd, 0, f->size_bytes, err) < 0)
        return -(int)err->code;
    if (fs_read_at(fd, bytes, (size_t)f->size_bytes, 0, f->path, err) < 0)
        return -(int)err->code;
    sha256_of(bytes, (size_t)f->size_bytes, &got);
    if (!digest_eq(&got, &f->digest))
        return err_set(err, ERR_CORRUPT, "%s: what came is not what was pushed",
                       f->path);
    fs_writeout(fd, 0, 0);
    return 0;
}

/* A job: fetches one range; with fd -1 a whole small file. */
static int
run(void *arg, const struct client_job *job, struct err *err)
{
    struct pull *p = arg;
    struct repo_file *f = job->file;

    if (job->is_piece)
        return pull_hash_piece(arg, job, err);
    if (job->fd < 0)
        return fetch_small(p, f, err);
    if (pull_range(p, f, job->fd, job->at, job->n_bytes, err) < 0)
        return -(int)err->code;
    pthread_mutex_lock(&p->jobs.lock);
    p->parts[job->piece].came = true;
    int e = pull_note(p, (int)(f - p->m.files), job->at, job->n_bytes, err);
    pthread_cond_broadcast(&p->jobs.moved);
    pthread_mutex_unlock(&p->jobs.lock);
    return e;
}

static int
by_place(const void *a, const void *b)
{
    const struct pull_part *x = a, *y = b;

    return (x->at > y->at) - (x->at < y->at);
}

/* Of the whole file: what came before, or is in the older one, and what is missing. */
static int
plan(struct pull *p, int i, int fd, struct err *err)
{
    struct journal j = { .p = p, .i = i };
    const int64_t size_bytes = p->m.files[i].size_bytes;
    int64_t at = 0;
    int e;

    p->n_parts = 0;
    e = read_journal(&j, err);
    if (e == 0 && j.n_came > 0)
        qsort(j.came, j.n_came, sizeof(*j.came), by_place);
    for (size_t k = 0; e == 0 && k < j.n_came; k++) {
        const struct pull_part *came = &j.came[k];

        if (came->at < at || came->at > size_bytes ||
            came->n_bytes > size_bytes - came->at)
            continue;
        pull_add_part(p, at, came->at - at, false);
        pull_add_part(p, came->at, came->n_bytes, true);
        at = came->at + came->n_bytes;
    }
    free(j.came);
    if (e == 0 && at == 0 && p->have_fd >= 0)
        e = pull_pieces(p, i, fd, err); /* 1: of all of it */
    if (e == 0)
        pull_add_part(p, at, size_bytes - at, false);
    return e < 0 ? e : 0;
}

/* Waits until part k is in the file. */
static int
wait_for(struct pull *p, size_t k, struct err *err)
{
    pthread_mutex_lock(&p->jobs.lock);
    while (!p->parts[k].came && p->jobs.error.code == ERR_OK)
        pthread_cond_wait(&p->jobs.moved, &p->jobs.lock);
    const bool came = p->parts[k].came;
    pthread_mutex_unlock(&p->jobs.lock);
    return came ? 0 : client_jobs_check(&p->jobs, err);
}

static int
hash_part(struct pull *p, const struct repo_file *f, int fd,
          const struct pull_part *part, struct sha256 *sha, char *chunk,
          struct err *err)
{
    for (int64_t at = part->at; at < part->at + part->n_bytes;) {
        const int64_t left = part->at + part->n_bytes - at;
        const size_t n = left < (int64_t)CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        const int64_t got = fs_read_at(fd, chunk, n, at, f->path, err);

        if (got < (int64_t)n)
            return got < 0
                       ? (int)got
                       : err_set(err, ERR_IO, "%s: what came is not there", f->path);
        sha256_add(sha, chunk, n);
        at += got;
    }
    fs_writeout(fd, part->at, part->n_bytes);
    tell(p, part->n_bytes);
    return 0;
}

/* Parts are fetched while those before them are hashed. */
static int
follow(struct pull *p, struct repo_file *f, int fd, struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    struct sha256 sha;
    struct digest got;
    size_t n_asked = 0;
    int e = 0;

    sha256_init(&sha);
    for (size_t k = 0; e == 0 && k < p->n_parts; k++) {
        for (; e == 0 && n_asked < p->n_parts && n_asked < k + CLIENT_JOBS_MAX / 2;
             n_asked++) {
            struct client_job job = { .file = f,
                                      .fd = fd,
                                      .at = p->parts[n_asked].at,
                                      .n_bytes = p->parts[n_asked].n_bytes,
                                      .piece = n_asked };

            pthread_mutex_lock(&p->jobs.lock);
            const bool came = p->parts[n_asked].came;
            pthread_mutex_unlock(&p->jobs.lock);
            if (!came)
                e = client_jobs_add(&p->jobs, &job, err);
        }
        if (e == 0)
            e = wait_for(p, k, err);
        if (e == 0)
            e = hash_part(p, f, fd, &p->parts[k], &sha, chunk, err);
    }
    e = client_jobs_wait(&p->jobs, e, err);
    sha256_end(&sha, &got);
    if (e == 0 && !digest_eq(&got, &f->digest))
        e = err_set(err, ERR_CORRUPT, "%s: what came is not what was pushed", f->path);
    return e;
}

/* Whatever is wrong with what came before is wrong only once: all of it comes anew. */
static int
fetch_big(struct pull *p, int i, struct err *err)
{
    struct repo_file *f = &p->m.files[i];
    int fd AUTO(fs_close) = -1;
    int e = open_new(p, f, &fd, err);

    for (int tries = 0; e == 0 && tries < 2; tries++) {
        bool any = false;
        struct stat st;

        if (fstat(fd, &st) == 0 && st.st_size < f->size_bytes)
            e = fs_reserve(fd, 0, f->size_bytes, f->path, err);
        if (e == 0 && ftruncate(fd, f->size_bytes) < 0)
            e = err_sys(err, errno, "write %s", f->path);
        if (e == 0)
            e = plan(p, i, fd, err);
        for (size_t k = 0; k < p->n_parts; k++)
            any |= p->parts[k].came;
        if (e == 0)
            e = follow(p, f, fd, err);
        if (e != -ERR_CORRUPT || !any || tries == 1)
            break;
        err_clear(err);
        client_jobs_reset(&p->jobs);
        fs_close(&p->have_fd);
        e = 0;
        if (ftruncate(p->journal_fd, 0) < 0)
            e = err_sys(err, errno, "empty parts");
    }
    if (e == 0)
        e = fs_datasync(fd, f->path, err);
    return e < 0 ? e : pull_note(p, i, 0, -1, err);
}

/* ---- all files ---- */

static int
fetch_all_small(struct pull *p, struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < p->m.n_files; i++) {
        struct repo_file *f = &p->m.files[i];
        struct client_job job = { .file = f, .fd = -1 };

        if (f->size_bytes <= SMALL_BYTES && !p->is_done[i]) {
            e = client_jobs_add(&p->jobs, &job, err);
            tell(p, f->size_bytes);
        }
    }
    e = client_jobs_wait(&p->jobs, e, err);
    if (e == 0) /* one barrier for all */
        e = fs_sync_all(p->tree_fd, "what came", err);
    for (int i = 0; e == 0 && i < p->m.n_files; i++)
        if (p->m.files[i].size_bytes <= SMALL_BYTES && !p->is_done[i])
            e = pull_note(p, i, 0, -1, err);
    return e;
}

static int
sync_dir(void *arg, const struct fs_entry *e, struct err *err)
{
    const struct pull *p = arg;

    return S_ISDIR(e->st.st_mode) ? fs_fsync_dir(p->tree_fd, e->path, err) : 0;
}

/* What TensorFlow writes even when there is nothing in it. */
static int
make_always(struct pull *p, struct err *err)
{
    for (int i = 0; i < p->m.n_files; i++)
        if (strncmp(p->m.files[i].path, "saved_model.", 12) == 0)
            return fs_mkdirs(p->tree_fd, "assets", 0755, err) < 0 ||
                           fs_mkdirs(p->tree_fd, "variables", 0755, err) < 0
                       ? -(int)err->code
                       : 0;
    return 0;
}

static int
fetch_all(struct pull *p, struct err *err)
{
    struct journal j = { .p = p, .i = -1 };
    int e;

    p->is_done = xcalloc((size_t)p->m.n_files + 1, sizeof(*p->is_done));
    e = read_journal(&j, err);
    for (int i = 0; i < p->m.n_files; i++)
        if (!p->is_done[i])
            p->total_bytes += p->m.files[i].size_bytes;
    if (e == 0)
        e = fetch_all_small(p, err);
    for (int i = 0; e == 0 && i < p->m.n_files; i++)
        if (p->m.files[i].size_bytes > SMALL_BYTES && !p->is_done[i])
            e = fetch_big(p, i, err);
    if (e == 0)
        e = make_always(p, err);
    if (e == 0)
        e = fs_walk(p->tree_fd, ".", sync_dir, p, err);
    return e < 0 ? e : fs_fsync_dir(p->work_fd, "tree", err);
}

/* ---- beside the destination ---- */

struct place {
    char *up;         /* the destination's directory */
    const char *name; /* in it */
    char *work;       /* ".sluice-…" in it */
    int fd;
};

static void
place_release(struct place *l)
{
    free(l->up);
    free(l->work);
    fs_close(&l->fd);
}

static int
find_place(const char *dest, const struct digest *d, struct place *out, struct err *err)
{
    struct buf key AUTO(buf_release) = BUF_INIT;
    char hex[DIGEST_HEX_BYTES];
    struct digest k;
    char *slash, *end;
    int e;

    *out = (struct place){ .up = xstrdup(dest), .fd = -1 };
    end = out->up + strlen(out->up);
    while (end > out->up + 1 && end[-1] == '/')
        *--end = '\0';
    slash = strrchr(out->up, '/');
    out->name = slash ? slash + 1 : out->up;
    buf_add(&key, d->b, sizeof(d->b));
    buf_adds(&key, out->name);
    sha256_of(key.data, key.len, &k);
    digest_hex(&k, hex);
    hex[16] = '\0';
    out->work = xasprintf(".sluice-%s", hex);
    if (slash)
        *slash = '\0';
    e = fs_open_dir(&out->fd, AT_FDCWD,
                    !slash             ? "."
                    : slash == out->up ? "/"
                                       : out->up,
                    err);
    if (e == 0)
        e = fs_exists(out->fd, out->name, err);
    return e == 1 ? err_set(err, ERR_CONFLICT, "%s: there is something already", dest)
                  : e;
}

static int
open_work(struct pull *p, const struct place *l, struct err *err)
{
    if (fs_mkdirs(l->fd, l->work, 0700, err) < 0 ||
        fs_open_dir(&p->work_fd, l->fd, l->work, err) < 0)
        return -(int)err->code;
    if (flock(p->work_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_BUSY, "another pull writes there just now");
    if (fs_mkdirs(p->work_fd, "tree", 0755, err) < 0 ||
        fs_open_dir(&p->tree_fd, p->work_fd, "tree", err) < 0)
        return -(int)err->code;
    return fs_open(&p->journal_fd, p->work_fd, "parts",
                   O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0600, err);
}

/* The last step. A directory, or (name) one file of the tree. */
static int
put_in_place(struct pull *p, const struct place *l, const char *name, struct err *err)
{
    char *from AUTO(free_ptr) = xasprintf("tree%s%s", name[0] ? "/" : "", name);
    int e = fs_rename_new(p->work_fd, from, l->fd, l->name, err);

    if (e == 0)
        e = fs_fsync_dir(l->fd, ".", err);
    return e < 0 ? e : fs_remove_tree(l->fd, l->work, err);
}

static void
pull_release(struct pull *p)
{
    client_jobs_close(&p->jobs);
    repo_manifest_release(&p->m);
    free(p->is_done);
    free(p->parts);
    fs_close(&p->work_fd);
    fs_close(&p->tree_fd);
    fs_close(&p->have_fd);
    fs_close(&p->journal_fd);
}

int
client_pull_tree(struct client *c, const char *text, const char *dest,
                 const char *have_or_null, struct err *err)
{
    struct pull p AUTO(pull_release) = {
        .c = c, .work_fd = -1, .tree_fd = -1, .have_fd = -1, .journal_fd = -1
    };
    struct place l AUTO(place_release) = { .fd = -1 };
    struct digest d;
    const char *name;
    int e = repo_tree_parse(text, &d, &name, err);

    client_jobs_open(&p.jobs, c, run, &p);
    if (e <= 0)
        return e < 0 ? e : err_set(err, ERR_INVALID, "'%.100s' is no tree", text);
    e = 0;
    if (have_or_null)
        e = fs_open_dir(&p.have_fd, AT_FDCWD, have_or_null, err);
    if (e == 0)
        e = find_place(dest, &d, &l, err);
    if (e < 0)
        return e;
    e = open_work(&p, &l, err);
    if (e == 0)
        e = fetch_manifest(&p, &d, err);
    if (e == 0)
        e = fetch_all(&p, err);
    if (e == 0)
        e = put_in_place(&p, &l, name, err);
    return e < 0 ? err_ctx(err, "make %s", dest) : 0;
}
