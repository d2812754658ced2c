/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that send or fetch, while another one reads and hashes. */
#ifndef CLIENT_CLIENT_JOBS_H
#define CLIENT_CLIENT_JOBS_H

#include "client/client.h"

#include <pthread.h>

#define CLIENT_JOBS_MAX 16
#define CLIENT_THREADS_MAX 8

/* Bytes of one file; what the members mean is whose jobs they are. */
struct client_job {
    void *file;
    int fd;
    int64_t at, n_bytes;
    uint32_t crc;
    bool is_piece;
    size_t piece;
};
typedef int client_job_fn(void *arg, const struct client_job *job, struct err *err);
struct client_jobs {
    client_job_fn *run;
    void *arg;
    int most; /* threads */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    struct client_job jobs[CLIENT_JOBS_MAX];
    int n_jobs, n_busy, n_threads;
    pthread_t threads[CLIENT_THREADS_MAX];
    bool is_ending;
    struct err error; /* of the first that failed; those behind it are not run */
};
/* Starts no thread yet. */
void client_jobs_open(struct client_jobs *j, const struct client *c, client_job_fn *run,
                      void *arg);
void client_jobs_close(struct client_jobs *j);
/* Waits for room. What went wrong with an earlier one is told here, or by _wait. */
int client_jobs_add(struct client_jobs *j, const struct client_job *job,
                    struct err *err) MUST_CHECK;
/* Until all are done. What went wrong with one is told, unless e (which err has) went
 * wrong before. */
int client_jobs_wait(struct client_jobs *j, int e, struct err *err) MUST_CHECK;
/* What went wrong so far, without waiting. */
int client_jobs_check(struct client_jobs *j, struct err *err) MUST_CHECK;
void client_jobs_reset(struct client_jobs *j); /* forgets what went wrong */

#endif
