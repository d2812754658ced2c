/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that share the pieces of one loop. The caller works too; several callers take
 * turns. */
#include "runtime/rt_int.h"

#include <stdlib.h>

struct rt_pool {
    pthread_mutex_t turn; /* one loop at a time */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    pthread_t *threads;
    int n_threads; /* beside the caller */
    int busy;
    uint64_t loop; /* number of the loop that is on */
    bool ends;
    int64_t n, piece, next; /* next: atomic */
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
        while (!p->ends && p->loop == seen)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->ends)
            break;
        seen = p->loop;
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
    while (p->n_threads < n_threads - 1 &&
           pthread_create(&p->threads[p->n_threads], NULL, thread_main, p) == 0)
        p->n_threads++;
    return p;
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
    int64_t workers = p->n_threads + 1, piece = (n + workers - 1) / workers;
    if (piece < grain)
        piece = grain;
    pthread_mutex_lock(&p->turn);
    pthread_mutex_lock(&p->lock);
    p->n = n;
    p->piece = piece > 0 ? piece : 1;
    p->next = 0;
    p->fn = fn;
    p->arg = arg;
    p->busy = p->n_threads;
    p->loop++;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    work(p);
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0)
        pthread_cond_wait(&p->idle, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&p->turn);
}
