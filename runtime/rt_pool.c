/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that share the pieces of one loop. The caller works too, and never waits for
 * a thread that did not take part: on a busy machine one may wake when all is done.
 * Several callers take turns. */
#include "runtime/rt_int.h"

#include <stdlib.h>

enum { PIECES = 4 }; /* for each thread: who comes late takes fewer */

struct rt_pool {
    pthread_mutex_t turn; /* one loop at a time */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    pthread_t *threads;
    int n_wanted, n_threads; /* beside the caller; threads: started */
    int busy;                /* threads that take part in the loop */
    uint64_t loop;           /* its number */
    bool on, ends;           /* on: one may still join it */
    int64_t n, piece, next;  /* next: atomic */
    void (*fn)(void *arg, int64_t begin, int64_t end);
    void *arg;
};

static void
work(struct rt_pool *p)
{
    for (;;) {
        int64_t begin = __atomic_fetch_add(&p->next, p->piece, __ATOMIC_RELAXED);
        if (begin >= p->n)
            return;
        p->fn(p->arg, begin, begin + p->piece < p->n ? begin + p->piece : p->n);
    }
}

static void *
thread_main(void *arg)
{
    struct rt_pool *p = arg;
    uint64_t seen = 0;
    (void)rt_fpu_enter();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->ends && (!p->on || p->loop == seen))
            pthread_cond_wait(&p->work, &p->lock);
        if (p->ends)
            break;
        seen = p->loop;
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        work(p);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            pthread_cond_signal(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct rt_pool *
rt_pool_new(int n_threads)
{
    if (n_threads <= 1)
        return NULL;
    struct rt_pool *p = xcalloc(1, sizeof(*p));
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->threads = xcalloc((size_t)n_threads, sizeof(p->threads[0]));
    p->n_wanted = n_threads - 1;
    return p;
}

/* Under `turn`. With the first loop, not before: a model of small loops stays one
 * thread, whose allocations and locks are cheaper. Those that cannot be started are
 * done without. */
static void
start_threads(struct rt_pool *p)
{
    while (p->n_threads < p->n_wanted &&
           pthread_create(&p->threads[p->n_threads], NULL, thread_main, p) == 0)
        p->n_threads++;
    p->n_wanted = p->n_threads;
}

void
rt_pool_free(struct rt_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->ends = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->idle);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->turn);
    free(p->threads);
    free(p);
}

void
rt_pool_for(struct rt_pool *p, int64_t n, int64_t grain,
            void (*fn)(void *arg, int64_t begin, int64_t end), void *arg)
{
    pthread_mutex_lock(&p->turn);
    start_threads(p);
    int64_t pieces = (p->n_threads + 1) * PIECES, piece = (n + pieces - 1) / pieces;
    if (piece < grain / PIECES)
        piece = grain / PIECES;
    pthread_mutex_lock(&p->lock);
    p->n = n;
    p->piece = piece > 0 ? piece : 1;
    p->next = 0;
    p->fn = fn;
    p->arg = arg;
    p->on = true;
    p->loop++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    work(p);
    pthread_mutex_lock(&p->lock);
    p->on = false;
    while (p->busy > 0)
        pthread_cond_wait(&p->idle, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->turn);
}
