/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client_jobs.h"

#include "client/client_int.h"

#include <string.h>

static void *
worker(void *arg)
{
    struct client_jobs *j = arg;

    pthread_mutex_lock(&j->lock);
    for (;;) {
        struct err err = ERR_INIT;
        struct client_job job;

        while (j->n_jobs == 0 && !j->is_ending)
            pthread_cond_wait(&j->moved, &j->lock);
        if (j->n_jobs == 0)
            break;
        job = j->jobs[0];
        memmove(j->jobs, j->jobs + 1, (size_t)--j->n_jobs * sizeof(job));
        j->n_busy++;
        pthread_cond_broadcast(&j->moved);
        if (j->error.code == ERR_OK) {
            pthread_mutex_unlock(&j->lock);
            (void)!j->run(j->arg, &job, &err);
            pthread_mutex_lock(&j->lock);
        }
        if (err.code != ERR_OK && j->error.code == ERR_OK)
            j->error = err;
        j->n_busy--;
        pthread_cond_broadcast(&j->moved);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

void
client_jobs_open(struct client_jobs *j, const struct client *c, client_job_fn *run,
                 void *arg)
{
    const int most = client_parallel(c);

    *j = (struct client_jobs){ .run = run, .arg = arg };
    j->most = most < CLIENT_THREADS_MAX ? most : CLIENT_THREADS_MAX;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->moved, NULL);
}

/* Under the lock. As many as are of use. */
static int
need_thread(struct client_jobs *j, struct err *err)
{
    int e;

    if (j->n_threads > 0 && (j->n_threads >= j->most || j->n_jobs == 0))
        return 0;
    e = pthread_create(&j->threads[j->n_threads], NULL, worker, j);
    if (e != 0)
        return j->n_threads > 0 ? 0 : err_sys(err, e, "start a thread");
    j->n_threads++;
    return 0;
}

/* Under the lock. */
static int
failure(const struct client_jobs *j, struct err *err)
{
    if (j->error.code != ERR_OK)
        *err = j->error;
    return -(int)err->code;
}

int
client_jobs_add(struct client_jobs *j, const struct client_job *job, struct err *err)
{
    int e;

    pthread_mutex_lock(&j->lock);
    e = need_thread(j, err);
    while (e == 0 && j->n_jobs == CLIENT_JOBS_MAX && j->error.code == ERR_OK)
        pthread_cond_wait(&j->moved, &j->lock);
    if (e == 0)
        e = failure(j, err);
    if (e == 0) {
        j->jobs[j->n_jobs++] = *job;
        pthread_cond_broadcast(&j->moved);
    }
    pthread_mutex_unlock(&j->lock);
    return e;
}

int
client_jobs_wait(struct client_jobs *j, int e, struct err *err)
{
    pthread_mutex_lock(&j->lock);
    while (j->n_jobs > 0 || j->n_busy > 0)
        pthread_cond_wait(&j->moved, &j->lock);
    if (e == 0)
        e = failure(j, err);
    pthread_mutex_unlock(&j->lock);
    return e;
}

int
client_jobs_check(struct client_jobs *j, struct err *err)
{
    int e;

    pthread_mutex_lock(&j->lock);
    e = failure(j, err);
    pthread_mutex_unlock(&j->lock);
    return e;
}

void
client_jobs_reset(struct client_jobs *j)
{
    err_clear(&j->error);
}

void
client_jobs_close(struct client_jobs *j)
{
    pthread_mutex_lock(&j->lock);
    j->is_ending = true;
    j->n_jobs = 0;
    pthread_cond_broadcast(&j->moved);
    pthread_mutex_unlock(&j->lock);
    for (int i = 0; i < j->n_threads; i++)
        pthread_join(j->threads[i], NULL);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->moved);
}
