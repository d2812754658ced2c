/* SPDX-License-Identifier: Apache-2.0 */
/* Objects against their names: hashed by several threads, findings told in order by
 * one. Everything else that the catalogue says is repo_check.c's. */
#include "repo/repo_fsck_int.h"

#include "repo/cold.h"
#include "repo/gc.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)256 << 10)
#define BATCH_OBJECTS 16384
#define THREADS_MAX 64
#define SCRUB_COMMIT_NS (10 * INT64_C(1000000000))

/* ---- findings -------------------------------------------------------------------- */

int
fsck_tell(struct fsck *f, const struct repo_finding *finding, struct err *err)
{
    if (!finding->repaired && f->out->n_bad++ == 0)
        snprintf(f->first, sizeof(f->first), "%s", finding->text);
    f->out->n_repaired += finding->repaired;
    return f->fn ? f->fn(f->arg, finding, err) : 0;
}

int
fsck_problem(struct fsck *f, const char *kind, const char *way_out, struct err *err,
             const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return fsck_tell(
        f, &(struct repo_finding){ .kind = kind, .text = text, .way_out = way_out },
        err);
}

static void
bad_add(struct fsck *f, const struct fsck_job *j)
{
    f->bad = xreallocarray(f->bad, (size_t)f->n_bad + 1, sizeof(*f->bad));
    f->bad[f->n_bad++] = (struct fsck_bad){ .digest = j->digest,
                                            .size_bytes = j->size_bytes,
                                            .missing = j->state == JOB_MISSING,
                                            .why = xstrdup(j->why ? j->why : "") };
}

/* ---- hashing --------------------------------------------------------------------- */

struct pool {
    struct fsck *f;
    struct fsck_job *jobs;
    int n_jobs;
    atomic_int next;
};

/* Waits until what was read so far is what the rate allows. */
static void
throttle(struct fsck *f, size_t n)
{
    int64_t read_bytes = atomic_fetch_add(&f->read_bytes, (int64_t)n) + (int64_t)n;
    int64_t due_ns, ahead_ns;

    if (f->how->rate_bytes <= 0)
        return;
    due_ns = (int64_t)((double)read_bytes * 1e9 / (double)f->how->rate_bytes);
    ahead_ns = due_ns - (clock_mono_ns() - f->start_ns);
    if (ahead_ns > 0) {
        struct timespec t = { .tv_sec = (time_t)(ahead_ns / 1000000000),
                              .tv_nsec = (long)(ahead_ns % 1000000000) };

        nanosleep(&t, NULL);
    }
}

static enum job_state
damaged(struct fsck_job *j, char *why)
{
    j->why = why;
    return JOB_DAMAGED;
}

static enum job_state
hash_whole(struct fsck *f, struct fsck_job *j, char *block)
{
    struct objects *o = objects_cold_whole(f->r->objects);
    struct err err = ERR_INIT;
    char hex[DIGEST_HEX_BYTES];
    struct digest got;
    struct sha256 sha;
    int64_t total = 0;
    int fd AUTO(fs_close) = -1;
    ssize_t n;
    int r = o->ops->open(o, &j->digest, &fd, &err);

    if (r == -ERR_NOTFOUND)
        return JOB_MISSING;
    if (r < 0)
        return damaged(j, xasprintf("%s", err.msg));
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    sha256_init(&sha);
    while ((n = read(fd, block, BLOCK_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return damaged(j,
                           xasprintf("it cannot be read: %s", strerrordesc_np(errno)));
        sha256_add(&sha, block, (size_t)n);
        total += n;
        throttle(f, (size_t)n);
    }
    sha256_end(&sha, &got);
    if (total != j->size_bytes)
        return damaged(j, xasprintf("it has %" PRId64 " bytes, not %" PRId64, total,
                                    j->size_bytes));
    digest_hex(&got, hex);
    return digest_eq(&got, &j->digest)
               ? JOB_GOOD
               : damaged(j, xasprintf("its bytes hash to %s", hex));
}

/* Both forms, where there are both: the delta may be all there is tomorrow. */
static enum job_state
hash_object(struct fsck *f, struct fsck_job *j, char *block)
{
    enum job_state whole = hash_whole(f, j, block);
    struct err err = ERR_INIT;
    int r;

    if (whole == JOB_DAMAGED)
        return whole;
    r = repo_cold_verify(f->r, &j->digest, &err);
    return r == 0               ? JOB_GOOD
           : r == -ERR_NOTFOUND ? whole
                                : damaged(j, xasprintf("%s", err.msg));
}

static void *
work(void *arg)
{
    struct pool *p = arg;
    char *block AUTO(free_ptr) = xmalloc(BLOCK_BYTES);
    int i;

    while ((i = atomic_fetch_add(&p->next, 1)) < p->n_jobs)
        p->jobs[i].state = hash_object(p->f, &p->jobs[i], block);
    return NULL;
}

static void
hash_all(struct fsck *f, struct fsck_job *jobs, int n)
{
    struct pool p = { .f = f, .jobs = jobs, .n_jobs = n };
    pthread_t threads[THREADS_MAX];
    int want = f->n_threads < n ? f->n_threads : n, started = 0;

    /* one that cannot be started is not needed: this one works too */
    while (started < want - 1 && pthread_create(&threads[started], NULL, work, &p) == 0)
        started++;
    work(&p);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* ---- which objects --------------------------------------------------------------- */

/* Takes rows (digest, size) until the batch is full. */
static int
read_jobs(struct fsck *f, struct db_stmt *st, struct fsck_job *jobs, int *n,
          struct err *err)
{
    int r = 0;

    *n = 0;
    while (*n < BATCH_OBJECTS && (r = db_step(st, err)) == 1) {
        struct fsck_job *j = &jobs[*n];

        *j = (struct fsck_job){ .size_bytes = db_int(st, 1) };
        if (!repo_column_digest(st, 0, &j->digest)) {
            r = fsck_problem(f, "row", FSCK_REBUILD, err,
                             "an object row without a digest");
            if (r < 0)
                return r;
            continue;
        }
        (*n)++;
    }
    return r < 0 ? r : 0;
}

static void
count(struct fsck *f, const struct fsck_job *j)
{
    f->out->n_objects++;
    f->out->n_bytes += j->size_bytes;
    if (j->state != JOB_GOOD)
        bad_add(f, j);
}

int
fsck_objects(struct fsck *f, struct err *err)
{
    struct fsck_job *jobs AUTO(free_ptr) = xcalloc(BATCH_OBJECTS, sizeof(*jobs));
    struct digest last = { .b = { 0 } };
    int n, r;

    do {
        struct db_stmt *st AUTO(db_done_p) = NULL;

        r = db_query(f->r->db, &st, err,
                     f->out->n_objects == 0
                         ? "SELECT digest, size_bytes FROM object WHERE digest >= ? "
                           "ORDER BY digest"
                         : "SELECT digest, size_bytes FROM object WHERE digest > ? "
                           "ORDER BY digest",
                     "b", last.b, sizeof(last.b));
        if (r == 0)
            r = read_jobs(f, st, jobs, &n, err);
        if (r < 0)
            return r;
        db_done_p(&st); /* no view of the database is held while files are read */
        hash_all(f, jobs, n);
        for (int i = 0; i < n; i++) {
            count(f, &jobs[i]);
            free(jobs[i].why);
        }
        if (n > 0)
            last = jobs[n - 1].digest;
    } while (n == BATCH_OBJECTS);
    return 0;
}

/* ---- scrub ----------------------------------------------------------------------- */

static int
remember(struct fsck *f, const struct fsck_job *jobs, int from, int to, struct err *err)
{
    const int64_t now_ns = clock_now_ns();
    int r = db_begin(f->r->db, err);

    for (int i = from; r == 0 && i < to; i++)
        if (jobs[i].state == JOB_GOOD)
            r = db_run(f->r->db, err,
                       "INSERT INTO object_check(object, verified_ns) VALUES(?, ?) "
                       "ON CONFLICT(object) DO UPDATE SET verified_ns = "
                       "excluded.verified_ns",
                       "bi", jobs[i].digest.b, sizeof(jobs[i].digest.b), now_ns);
    if (r == 0)
        return db_commit(f->r->db, err);
    db_rollback(f->r->db);
    return r;
}

/* One batch, remembered every some seconds, so that what is killed goes on from there.
 */
static int
scrub_batch(struct fsck *f, struct fsck_job *jobs, int n, bool *time_is_up,
            struct err *err)
{
    int64_t since_ns = clock_mono_ns();
    int from = 0, r = 0;

    for (int i = 0; r == 0 && i < n && !*time_is_up; i++) {
        int64_t now_ns;

        hash_all(f, &jobs[i], 1);
        count(f, &jobs[i]);
        now_ns = clock_mono_ns();
        *time_is_up = now_ns - f->start_ns >= f->how->scrub_ns;
        if (now_ns - since_ns >= SCRUB_COMMIT_NS || *time_is_up || i + 1 == n) {
            r = remember(f, jobs, from, i + 1, err);
            from = i + 1;
            since_ns = now_ns;
        }
    }
    for (int i = 0; i < n; i++)
        free(jobs[i].why);
    return r;
}

int
fsck_scrub(struct fsck *f, struct err *err)
{
    struct fsck_job *jobs AUTO(free_ptr) = xcalloc(BATCH_OBJECTS, sizeof(*jobs));
    const int64_t begun_ns = clock_now_ns();
    bool time_is_up = false;
    int n_before, n = 0;
    int r = db_begin(f->r->db, err);

    if (r == 0) {
        r = db_run(f->r->db, err,
                   "DELETE FROM object_check WHERE object NOT IN "
                   "(SELECT digest FROM object)",
                   "");
        if (r == 0)
            r = db_commit(f->r->db, err);
        db_rollback(f->r->db);
    }
    do {
        struct db_stmt *st AUTO(db_done_p) = NULL;

        n_before = f->n_bad;
        if (r == 0)
            r = db_query(f->r->db, &st, err,
                         "SELECT o.digest, o.size_bytes FROM object o "
                         "LEFT JOIN object_check c ON c.object = o.digest "
                         "WHERE coalesce(c.verified_ns, 0) < ? "
                         "ORDER BY coalesce(c.verified_ns, 0), o.digest",
                         "i", begun_ns);
        if (r == 0)
            r = read_jobs(f, st, jobs, &n, err);
        if (r < 0)
            return r;
        db_done_p(&st);
        r = scrub_batch(f, jobs, n, &time_is_up, err);
        /* a batch of nothing but damaged ones would come again */
    } while (r == 0 && n == BATCH_OBJECTS && !time_is_up && f->n_bad - n_before < n);
    return r;
}

/* ---- all ------------------------------------------------------------------------- */

static void
fsck_release(struct fsck *f)
{
    for (int i = 0; i < f->n_bad; i++) {
        free(f->bad[i].why);
        buf_release(&f->bad[i].aside);
    }
    free(f->bad);
}

int
repo_object_uses(struct repo *r, const struct digest *d,
                 int (*fn)(void *arg, const struct repo_version *v, const char *path,
                           struct err *err),
                 void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int rc = db_query(r->db, &st, err,
                      "SELECT v.id, '' AS path FROM version v WHERE v.digest = ? UNION "
                      "SELECT v.id, f.path FROM manifest_file f JOIN version v ON "
                      "v.digest = f.manifest "
                      "WHERE f.object = ? ORDER BY 1, 2",
                      "bb", d->b, sizeof(d->b), d->b, sizeof(d->b));

    while (rc >= 0 && (rc = db_step(st, err)) == 1) {
        struct repo_version v;

        rc = repo_version_get(r, db_int(st, 0), &v, err);
        if (rc == 0)
            rc = fn(arg, &v, db_text(st, 1), err);
    }
    return rc;
}

int
repo_fsck(struct repo *r, const struct repo_fsck *how, struct repo_check *out,
          repo_finding_fn *fn, void *arg, struct err *err)
{
    struct fsck f AUTO(fsck_release) = { .r = r,
                                         .how = how,
                                         .out = out,
                                         .fn = fn,
                                         .arg = arg,
                                         .start_ns = clock_mono_ns() };
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int lock_fd AUTO(fs_close) = -1;
    int rc;

    memset(out, 0, sizeof(*out));
    f.n_threads = how->n_threads > 0 ? how->n_threads : cores > 0 ? (int)cores : 1;
    if (f.n_threads > THREADS_MAX)
        f.n_threads = THREADS_MAX;
    /* a gc at work takes rows and files away while they are compared */
    rc = fs_open_dir(&lock_fd, r->dirfd, "trash", err);
    while (rc == 0 && flock(lock_fd, LOCK_SH) < 0)
        if (errno != EINTR)
            rc = err_sys(err, errno, "lock trash");
    if (rc == 0)
        rc = repo_trash_heal(r, err);
    if (rc == 0)
        rc = how->scrub_ns > 0 ? fsck_scrub(&f, err) : fsck_catalogue(&f, err);
    if (rc == 0 && how->scrub_ns == 0 && how->schemas)
        rc = fsck_facts(&f, err);
    if (rc == 0 && how->scrub_ns == 0)
        rc = fsck_objects(&f, err);
    if (rc == 0)
        rc = fsck_repair(&f, err);
    if (rc == 0 && how->scrub_ns == 0)
        rc = fsck_rows(&f, err);
    if (rc < 0)
        return err_ctx(err, "check %s", r->path);
    if (out->n_bad > 0)
        return err_set(err, ERR_FAILED, "%s: %" PRId64 " problem%s, the first: %s",
                       r->path, out->n_bad, out->n_bad == 1 ? "" : "s", f.first);
    return 0;
}
