/* SPDX-License-Identifier: Apache-2.0 */
/* Reads that are counted now and recorded together. */
#include "base/clock.h"
#include "base/fnv.h"
#include "server/srv_lookup.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOTS 1024 /* of the table: chains, so it is never full */

/* So many of one kind; its texts lie behind it. */
struct read {
    struct read *next;
    uint64_t hash;
    struct svc_lookups sum;
};
struct batch {
    struct read *slot[SLOTS];
    int n;
    int64_t n_reads;
};

struct srv_reads {
    char *store;     /* NULL: the default */
    struct svc *svc; /* the thread's; NULL: not open */
    int interval_ms;
    pthread_t thread;
    pthread_mutex_t lock; /* over all that follows */
    pthread_cond_t wake;
    struct batch *now;
    int64_t first_mono_ns; /* of `now` */
    bool ends, is_writing;
    bool is_failing, is_allowed;
    struct err why; /* of the last write, while is_failing */
    int64_t n_recorded, n_failed_writes;
};

/* ---- a batch ---- */

static void
batch_free(struct batch *b)
{
    for (int i = 0; i < SLOTS; i++)
        for (struct read *r = b->slot[i], *next; r; r = next) {
            next = r->next;
            free(r);
        }
    free(b);
}

static uint64_t
hash_of(const struct svc_lookups *l)
{
    uint64_t h = fnv_adds(FNV_START, l->who.subject);

    h = fnv_adds(fnv_adds(h, l->who.via), l->about.object);
    return fnv_adds(h, l->about.digest) + (uint64_t)l->code;
}

static bool
same(const struct svc_lookups *a, const struct svc_lookups *b)
{
    return a->code == b->code && strcmp(a->about.object, b->about.object) == 0 &&
           strcmp(a->about.digest, b->about.digest) == 0 &&
           strcmp(a->who.subject, b->who.subject) == 0 &&
           strcmp(a->who.via, b->who.via) == 0;
}

/* A copy with its texts. */
static struct read *
read_new(const struct svc_lookups *of, uint64_t hash)
{
    const char *const texts[] = { of->who.subject, of->who.via,
                                  of->error ? of->error : "" };
    size_t n[3], all = sizeof(struct read);
    struct read *r;
    char *to;

    for (int i = 0; i < 3; i++)
        all += n[i] = strlen(texts[i]) + 1;
    r = xmalloc(all);
    *r = (struct read){ .hash = hash, .sum = *of };
    to = (char *)(r + 1);
    for (int i = 0; i < 3; to += n[i++])
        memcpy(to, texts[i], n[i]);
    r->sum.who =
        (struct acc_who){ .subject = (char *)(r + 1), .via = (char *)(r + 1) + n[0] };
    r->sum.error = of->error ? (char *)(r + 1) + n[0] + n[1] : NULL;
    return r;
}

/* False: there are too many kinds. */
static bool
batch_add(struct batch *b, const struct svc_lookups *l, bool may_refuse)
{
    const uint64_t hash = hash_of(l);
    struct read **at = &b->slot[hash % SLOTS];

    while (*at && ((*at)->hash != hash || !same(&(*at)->sum, l)))
        at = &(*at)->next;
    if (!*at && may_refuse && b->n >= SRV_READS_MAX)
        return false;
    b->n_reads += l->n;
    if (!*at) {
        *at = read_new(l, hash);
        b->n++;
        return true;
    }
    (*at)->sum.n += l->n;
    if ((*at)->sum.first_ns > l->first_ns)
        (*at)->sum.first_ns = l->first_ns;
    if ((*at)->sum.last_ns < l->last_ns)
        (*at)->sum.last_ns = l->last_ns;
    return true;
}

static int
by_time(const void *a, const void *b)
{
    const struct svc_lookups *x = a, *y = b;

    return (x->first_ns > y->first_ns) - (x->first_ns < y->first_ns);
}

/* ---- writing ---- */

static int
batch_write(struct srv_reads *r, const struct batch *b, struct svc_recorded *out,
            struct err *err)
{
    struct svc_lookups *list AUTO(free_ptr) =
        xcalloc((size_t)b->n + 1, sizeof(struct svc_lookups));
    int n = 0;

    for (int i = 0; i < SLOTS; i++)
        for (const struct read *at = b->slot[i]; at; at = at->next)
            list[n++] = at->sum;
    qsort(list, (size_t)n, sizeof(*list), by_time);
    if ((!r->svc && svc_open(&r->svc, r->store, err) < 0) ||
        svc_record_lookups(r->svc, list, n, out, err) < 0) {
        svc_close(r->svc); /* maybe the catalogue is another file now */
        r->svc = NULL;
        return -(int)err->code;
    }
    return 0;
}

/* With the lock held, which is let go while it writes. One at a time. */
static void
flush(struct srv_reads *r)
{
    struct batch *b = r->now;
    struct svc_recorded said = { .stands = false };
    struct err err = ERR_INIT;
    int e;

    r->now = xcalloc(1, sizeof(*b));
    r->is_writing = true;
    pthread_mutex_unlock(&r->lock);
    e = batch_write(r, b, &said, &err);
    pthread_mutex_lock(&r->lock);
    r->is_writing = false;
    pthread_cond_broadcast(&r->wake);
    r->is_failing = e < 0;
    r->is_allowed = said.is_allowed;
    r->why = err;
    r->n_failed_writes += e < 0;
    if (said.stands) {
        r->n_recorded += b->n_reads;
    } else { /* another time */
        if (r->now->n == 0)
            r->first_mono_ns = clock_mono_ns();
        for (int i = 0; i < SLOTS; i++)
            for (const struct read *at = b->slot[i]; at; at = at->next)
                (void)batch_add(r->now, &at->sum, false);
    }
    batch_free(b);
}

static void
wait_until(struct srv_reads *r, int64_t mono_ns)
{
    const struct timespec ts = { .tv_sec = mono_ns / 1000000000,
                                 .tv_nsec = mono_ns % 1000000000 };

    pthread_cond_timedwait(&r->wake, &r->lock, &ts);
}

static void *
writer(void *arg)
{
    struct srv_reads *r = arg;
    const int64_t interval_ns = (int64_t)r->interval_ms * 1000000;

    pthread_mutex_lock(&r->lock);
    while (!r->ends) {
        const int64_t due_ns = r->first_mono_ns + interval_ns;

        if (r->is_writing || (r->now->n == 0 && !r->is_failing)) {
            pthread_cond_wait(&r->wake, &r->lock);
        } else if (clock_mono_ns() < due_ns) {
            wait_until(r, due_ns);
        } else {
            r->first_mono_ns = clock_mono_ns();
            flush(r);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- for the others ---- */

int
srv_reads_add(struct srv_reads *r, const struct acc_who *who,
              const struct svc_look *about, const struct err *failure, struct buf *why,
              struct err *err)
{
    const int64_t now_ns = clock_now_ns();
    const struct svc_lookups one = { .who = { .subject = who->subject,
                                              .via = who->via ? who->via : "" },
                                     .about = *about,
                                     .code = failure ? failure->code : ERR_OK,
                                     .error = failure ? failure->msg : NULL,
                                     .n = 1,
                                     .first_ns = now_ns,
                                     .last_ns = now_ns };
    int e = 0;

    pthread_mutex_lock(&r->lock);
    if (r->is_failing && !r->is_allowed) {
        e = err_set(err, ERR_BUSY,
                    "%s; look-ups that cannot be recorded are not given out, unless "
                    "the store allows it: sluice config set unrecorded_reads allow",
                    r->why.msg);
    } else if (!batch_add(r->now, &one, true) && !r->is_failing) {
        e = err_set(err, ERR_BUSY,
                    "more than %d kinds of look-ups wait to be recorded; ask again in "
                    "a second",
                    SRV_READS_MAX);
    } else if (r->is_failing) {
        buf_adds(why, r->why.msg);
        e = 1;
    } else if (r->now->n_reads == 1) {
        r->first_mono_ns = clock_mono_ns();
        pthread_cond_broadcast(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
    return e;
}

static void
reads_free(struct srv_reads *r)
{
    batch_free(r->now);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    svc_close(r->svc);
    free(r->store);
    free(r);
}

int
srv_reads_open(struct srv_reads **out, const char *store, int interval_ms,
               struct err *err)
{
    struct srv_reads *r = xcalloc(1, sizeof(*r));
    pthread_condattr_t attr;
    int e;

    *out = NULL;
    r->store = store ? xstrdup(store) : NULL;
    r->interval_ms = interval_ms;
    r->now = xcalloc(1, sizeof(*r->now));
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &attr);
    pthread_condattr_destroy(&attr);
    e = pthread_create(&r->thread, NULL, writer, r);
    if (e != 0) {
        reads_free(r);
        return err_sys(err, e, "start a thread");
    }
    *out = r;
    return 0;
}

int
srv_reads_flush(struct srv_reads *r, struct err *err)
{
    int e = 0;

    pthread_mutex_lock(&r->lock);
    while (r->is_writing)
        pthread_cond_wait(&r->wake, &r->lock);
    if (r->now->n > 0)
        flush(r);
    if (r->now->n > 0)
        e = err_set(err, r->why.code != ERR_OK ? r->why.code : ERR_BUSY,
                    "%" PRId64 " look-ups were answered and are not in the log: %s",
                    r->now->n_reads, r->why.msg);
    pthread_mutex_unlock(&r->lock);
    return e;
}

int
srv_reads_close(struct srv_reads *r, struct err *err)
{
    int e;

    if (!r)
        return 0;
    pthread_mutex_lock(&r->lock);
    r->ends = true;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    e = srv_reads_flush(r, err);
    reads_free(r);
    return e;
}

void
srv_reads_stats(struct srv_reads *r, struct srv_reads_stats *out)
{
    pthread_mutex_lock(&r->lock);
    *out = (struct srv_reads_stats){ .n_waiting = r->now->n_reads,
                                     .n_recorded = r->n_recorded,
                                     .n_failed_writes = r->n_failed_writes };
    pthread_mutex_unlock(&r->lock);
}
