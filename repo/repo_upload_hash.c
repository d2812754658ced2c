/* SPDX-License-Identifier: Apache-2.0 */
/* Big files are hashed behind the parts as they come, and written out to the disk on
 * the way, so that little is left to do for the commit. A thread begins when there is
 * something to hash and ends soon after there is nothing more. */
#include "repo/upload_int.h"

#include "savedmodel/savedmodel.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 20)
#define WRITEOUT_BYTES ((int64_t)8 << 20)
#define STAY_MS 2000 /* a thread waits so long for more */

/* How far the file can be hashed. */
static int64_t
ready_bytes(const struct upload_file *f)
{
    return f->came.n > 0 && f->came.v[0].from == 0 ? f->came.v[0].to : 0;
}

static struct upload_file *
find_work(struct repo_upload *u)
{
    for (int i = 0; i < u->n_files; i++) {
        struct upload_file *f = &u->files[i];

        if (f->hash && !f->hash->is_running && !f->hash->is_done &&
            (ready_bytes(f) > f->hash->at_bytes || upload_is_whole(f)))
            return f;
    }
    return NULL;
}

/* ---- the tensors of a shard ---- */

struct upload_checks {
    struct sm_bundle *bundle;
    struct objects_crc *crcs;
    struct objects_file file;
    struct repo_crc_run run;
    bool is_bad;
};

void
upload_checks_free(struct upload_checks *k)
{
    if (!k)
        return;
    sm_bundle_close(k->bundle);
    free(k->crcs);
    free(k);
}

void
upload_hash_free(struct upload_hash *h)
{
    if (h)
        upload_checks_free(h->checks);
    free(h);
}

/* The index of this upload, when all of it is there: a hint that is held against its
 * digest by the commit. Under the lock. */
static void
take_index(struct repo_upload *u)
{
    struct err err = ERR_INIT;
    char name[16];

    for (int i = 0; !u->has_index && i < u->n_files; i++) {
        const struct upload_file *f = &u->files[i];

        if (strcmp(f->path, REPO_MODEL_INDEX) != 0 || f->is_have || !upload_is_whole(f))
            continue;
        upload_file_name(u, f, name);
        u->has_index = fs_link(u->dirfd, name, u->dirfd, "index.index", &err) == 0;
        err_clear(&err);
    }
}

/* Under the lock. */
static struct upload_checks *
new_checks(struct repo_upload *u, const struct upload_file *f)
{
    struct upload_checks *k;
    struct sm_bundle *bundle;
    struct err err = ERR_INIT;

    if (!u->has_index || !repo_model_is_shard(f->path))
        return NULL;
    if (sm_bundle_open(&bundle, u->dirfd, "index", &err) < 0) {
        err_clear(&err); /* the push looks at it once more, and says what is wrong */
        return NULL;
    }
    k = xcalloc(1, sizeof(*k));
    k->bundle = bundle;
    k->file.size_bytes = f->size_bytes;
    k->file.n_crcs = repo_model_crcs(bundle, f->path, &k->crcs);
    k->file.crcs = k->crcs;
    k->run = (struct repo_crc_run){ .file = &k->file, .what = f->path };
    return k;
}

/* ---- one file ---- */

/* Waits for more of it. Under the lock. False: nobody waits for it any more, or it
 * does not come. */
static bool
wait_for_more(struct repo_upload *u, struct upload_file *f)
{
    struct timespec until;
    int e = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STAY_MS / 1000;
    while (e == 0 && !u->is_ending && !u->is_dropped &&
           ready_bytes(f) <= f->hash->at_bytes && f->hash->at_bytes < f->size_bytes)
        e = pthread_cond_timedwait(&u->moved, &u->lock, &until);
    return !u->is_ending && !u->is_dropped &&
           (ready_bytes(f) > f->hash->at_bytes || f->hash->at_bytes == f->size_bytes);
}

static void
hash_chunk(struct upload_hash *h, const char *p, size_t n, int64_t at)
{
    struct upload_checks *k = h->checks;
    struct err err = ERR_INIT;

    sha256_add(&h->sha, p, n);
    if (k && !k->is_bad && repo_crc_run(&k->run, p, n, at, &err) < 0)
        k->is_bad = true; /* the push tells which tensor it is */
}

/* The next bytes, without the lock: from memory, else from the disk. */
static int
hash_bytes(struct repo_upload *u, struct upload_file *f, int fd, char *chunk,
           int64_t to, struct err *err)
{
    int64_t at = f->hash->at_bytes;

    while (at < to) {
        const size_t n =
            to - at < (int64_t)CHUNK_BYTES ? (size_t)(to - at) : CHUNK_BYTES;
        struct upload_slab *s;
        int64_t got;

        pthread_mutex_lock(&u->lock);
        s = upload_slab_find(u, f, at);
        pthread_mutex_unlock(&u->lock);
        if (s) {
            hash_chunk(f->hash, s->p + (at - s->from), (size_t)(s->to - at), at);
            at = s->to;
            pthread_mutex_lock(&u->lock);
            upload_slab_give(u, s);
            pthread_mutex_unlock(&u->lock);
            continue;
        }
        got = fs_read_at(fd, chunk, n, at, f->path, err);
        if (got < (int64_t)n)
            return got < 0 ? (int)got
                           : err_set(err, ERR_IO, "%s: what came of it is not there",
                                     f->path);
        hash_chunk(f->hash, chunk, n, at);
        if ((at + got) / WRITEOUT_BYTES > at / WRITEOUT_BYTES)
            fs_writeout(fd, at / WRITEOUT_BYTES * WRITEOUT_BYTES, WRITEOUT_BYTES);
        at += got;
    }
    return 0;
}

static void
finish(struct upload_hash *h, int rc, const struct err *err)
{

    if (rc < 0) {
        h->err = *err;
        h->is_bad = true;
    } else {
        sha256_end(&h->sha, &h->got);
        h->is_checked = h->checks && !h->checks->is_bad;
    }
    h->is_done = true;
    upload_checks_free(h->checks);
    h->checks = NULL;
}

/* Under the lock, which is let go of meanwhile. */
static void
hash_file(struct repo_upload *u, struct upload_file *f, char *chunk)
{
    struct upload_hash *h = f->hash;
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    char name[16];
    int rc;

    h->is_running = true;
    upload_file_name(u, f, name);
    if (h->at_bytes == 0) {
        sha256_init(&h->sha);
        take_index(u);
        h->index_generation = u->index_generation;
        upload_checks_free(h->checks);
        h->checks = new_checks(u, f);
    }
    rc = fs_open(&fd, u->dirfd, name, O_RDONLY | O_NOFOLLOW, 0, &err);
    while (rc == 0 && h->at_bytes < f->size_bytes && wait_for_more(u, f)) {
        const int64_t to = ready_bytes(f);

        pthread_mutex_unlock(&u->lock);
        rc = hash_bytes(u, f, fd, chunk, to, &err);
        pthread_mutex_lock(&u->lock);
        h->at_bytes = to;
    }
    if (rc == 0 && h->at_bytes == f->size_bytes) {
        pthread_mutex_unlock(&u->lock);
        rc = fs_datasync(fd, f->path, &err);
        pthread_mutex_lock(&u->lock);
        finish(h, rc, &err);
    } else if (rc < 0) {
        finish(h, rc, &err);
    }
    h->is_running = false;
    pthread_cond_broadcast(&u->moved);
}

static void *
hasher(void *arg)
{
    struct repo_upload *u = arg;
    char *chunk = xmalloc(CHUNK_BYTES);
    struct upload_file *f;

    pthread_mutex_lock(&u->lock);
    while (!u->is_ending && !u->is_dropped && (f = find_work(u)))
        hash_file(u, f, chunk);
    if (--u->n_hashers == 0)
        upload_slabs_cool(u, NULL);
    pthread_cond_broadcast(&u->moved);
    pthread_mutex_unlock(&u->lock);
    free(chunk);
    return NULL;
}

/* ---- threads ---- */

void
upload_hash_wake(struct repo_upload *u, struct upload_file *f)
{
    pthread_attr_t detached;
    pthread_t thread;

    pthread_cond_broadcast(&u->moved);
    if (f->size_bytes <= UPLOAD_BIG_BYTES)
        return;
    if (!f->hash)
        f->hash = xcalloc(1, sizeof(*f->hash));
    if (f->hash->is_running || f->hash->is_done || u->n_hashers == UPLOAD_HASHERS ||
        (ready_bytes(f) == 0 && !upload_is_whole(f)))
        return;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, hasher, u) == 0)
        u->n_hashers++; /* else the next part, or the commit, tries again */
    pthread_attr_destroy(&detached);
}

void
upload_hash_stop(struct repo_upload *u)
{
    u->is_ending = true;
    pthread_cond_broadcast(&u->moved);
    while (u->n_hashers > 0)
        pthread_cond_wait(&u->moved, &u->lock);
    u->is_ending = false;
}
