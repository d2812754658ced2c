/* SPDX-License-Identifier: Apache-2.0 */
/* One engine in a process of its own, for bench/runtime, which drives several of them
 * in turn. The engine is linked in; client.c does the rest.
 *
 * usage: client DIR THREADS STARTED_NS {in KEY NAME DTYPE DIMS FILE | out KEY NAME}...
 *   STARTED_NS   CLOCK_MONOTONIC when the process was started
 *   NAME         "node:k"; DTYPE "DT_FLOAT"; DIMS "1x224x224x3", "" for a scalar
 *   FILE         the elements' bytes; of strings: the one string that all elements are
 * Writes "answer KEY v v …" for each output of the first run, then
 * "ready LOAD_MS FIRST_MS START_TO_ANSWER_MS", then answers lines on stdin:
 *   slice SECONDS   runs for that long, at least once: "n N_RUNS us us …" (of many, an
 *                   even choice of latencies)
 *   end             "peak KIB", and the process ends */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_MAX_TENSORS = 64, BENCH_MAX_RANK = 8, BENCH_SHOWN = 16 };

struct bench_tensor {
    const char *key, *name, *dtype;
    int rank;
    int64_t dims[BENCH_MAX_RANK], n_elems;
    void *data; /* one string when dtype is DT_STRING */
    size_t n_bytes;
};

struct bench_io {
    struct bench_tensor in[BENCH_MAX_TENSORS], out[BENCH_MAX_TENSORS];
    int n_in, n_out;
};

/* Ends the process: "client: <what>: <why>". */
void bench_die(const char *what, const char *why);

/* ---- what an engine has ---------------------------------------------------------- */

void engine_load(const char *dir, int n_threads, const struct bench_io *io);
void engine_run(void);
/* The first `n` elements of output i of the last run as numbers; how many there are. */
size_t engine_answer(int i, double *v, size_t n);

#endif
