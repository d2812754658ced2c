/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups: what a reference means, from memory, each recorded as a read.
 *
 * An answer is kept for as long as nobody commits anything to the catalogue, and no
 * grant begins or ends by its time: each look-up asks the database whether that is so,
 * so a right that was taken away, or an alias that was moved, counts for the next one.
 *
 * Events are counted in memory and written together, at most SRV_READS_MS after the
 * first of them: a process that is killed, or a machine that goes down, loses the count
 * of that time. A graceful end writes them. When they cannot be written, look-ups are
 * refused until they can, unless the store says `unrecorded_reads allow`; what was
 * counted is kept and written then. */
#ifndef SERVER_SRV_LOOKUP_H
#define SERVER_SRV_LOOKUP_H

#include "service/service.h"

#define SRV_READS_MS 900      /* from the first of a batch until it is written */
#define SRV_READS_MAX 10000   /* of one batch: subject, object, version */
#define SRV_LOOKUPS_MAX 10000 /* answers kept */

/* ---- srv_reads.c: reads to be recorded ---- */

struct srv_reads;
/* Starts the thread that writes. The store is opened by the first write. */
int srv_reads_open(struct srv_reads **out, const char *store_or_null, int interval_ms,
                   struct err *err) MUST_CHECK;
/* Counts one; any thread. `failure`: what the look-up ended with, or NULL. 1: it may
 * not be recorded, which the store allows; appends why. ERR_BUSY: the last write
 * failed, or too many different ones wait: the answer must not be given out. */
int srv_reads_add(struct srv_reads *r, const struct acc_who *who,
                  const struct svc_look *about, const struct err *failure,
                  struct buf *why, struct err *err) MUST_CHECK;
/* Writes what waits. An error: so many are not in the log, and why. */
int srv_reads_flush(struct srv_reads *r, struct err *err) MUST_CHECK;
/* The same, and ends; what could not be written is lost. NULL allowed. */
int srv_reads_close(struct srv_reads *r, struct err *err) MUST_CHECK;

struct srv_reads_stats {
    int64_t n_waiting, n_recorded, n_failed_writes;
};
void srv_reads_stats(struct srv_reads *r, struct srv_reads_stats *out);

/* ---- srv_lookup.c ---- */

struct srv_lookup;
int srv_lookup_open(struct srv_lookup **out, const char *store_or_null,
                    struct err *err) MUST_CHECK;
/* As of srv_reads. */
int srv_lookup_flush(struct srv_lookup *l, struct err *err) MUST_CHECK;
int srv_lookup_close(struct srv_lookup *l, struct err *err) MUST_CHECK;

/* The reply of resolve as JSON on one line, appended to `out`; `about` is filled as far
 * as it is known, also after an error. Any thread. Errors: of resolve; ERR_BUSY: it
 * cannot be recorded. */
int srv_lookup(struct srv_lookup *l, const struct acc_who *who, const char *ref,
               struct buf *out, struct svc_look *about, struct err *err) MUST_CHECK;

struct srv_lookup_stats {
    int64_t n_kept, n_hits, n_misses;
    struct srv_reads_stats reads;
};
void srv_lookup_stats(struct srv_lookup *l, struct srv_lookup_stats *out);

#endif
