/* SPDX-License-Identifier: Apache-2.0 */
/* What runner_client.c and the runner's own process share: the protocol.
 *
 * A stream socket. A message is struct wire_head, then `n_bytes` of payload; tensors
 * lie in one memfd that comes with the head (SCM_RIGHTS) and is sealed against
 * shrinking, growing and writing, so that what was checked stays so. The other side is
 * not trusted: everything is copied before it is looked at, and checked against what
 * there is.
 *
 *   payload   numbers little-endian; a text is u32 length + bytes
 *   tensors   u32 n, then each: text name, u32 dtype, u32 rank, i64 dims…, u64 offset,
 *             u64 bytes in the memfd. Fixed dtypes: the elements. Strings: a u64 length
 *             for each element, then all bytes
 *
 *   request         payload                       answer (kind WIRE_OK)
 *   WIRE_LOAD       text dir, text tags,          f64 load_ms
 *                   u32 threads, u64 memory,
 *                   i64 wall_ms, i64 steps,
 *                   text passes ("": none said)
 *   WIRE_SIGNATURE  text key                      u32 n, inputs, u32 n, outputs
 *   WIRE_RUN        text key, tensors             f64 run_ms, tensors
 *   WIRE_PROFILE    text key, u32 more, tensors   f64 run_ms, tensors, text JSON
 *   WIRE_PLAN       text key                      text JSON
 *   WIRE_WATCH      text key, u32 n, n times      tensors, text JSON
 *                   (u32 event, i64 at), tensors
 *   WIRE_RESET      -                             -
 *   any of them     -                             WIRE_ERROR: u32 code, text message
 *
 *   inputs and outputs, each: text key, u32 dtype, u32 has_default, u32 unknown_rank,
 *   u32 rank, i64 dims…
 */
#ifndef RUNTIME_RUNNER_INT_H
#define RUNTIME_RUNNER_INT_H

#include "runtime/backend.h"

enum wire_kind {
    WIRE_OK = 1,
    WIRE_ERROR,
    WIRE_LOAD,
    WIRE_SIGNATURE,
    WIRE_RUN,
    WIRE_PROFILE,
    WIRE_PLAN,
    WIRE_RESET,
    WIRE_WATCH
};
struct wire_head {
    uint32_t kind;
    uint32_t n_bytes;    /* of the payload */
    uint64_t data_bytes; /* of the memfd; 0: none */
};
enum { WIRE_PAYLOAD_MAX_BYTES = 64 << 20 };

/* A message; for AUTO(wire_msg_release). */
struct wire_msg {
    uint32_t kind;
    struct buf payload;
    int fd; /* memfd, -1: none */
    uint64_t data_bytes;
    void *map; /* of it, once it was mapped */
};
#define WIRE_MSG_INIT                                                                  \
    {                                                                                  \
        .fd = -1, .payload = {.cap_bytes = WIRE_PAYLOAD_MAX_BYTES }                    \
    }
void wire_msg_release(struct wire_msg *m);
int wire_send(int sock, struct wire_msg *m, struct err *err) MUST_CHECK;
/* 1 a message, 0 the other side has gone, -code. ERR_LIMIT: nothing came for timeout_ms
 * (0: waits for ever). */
int wire_recv(int sock, struct wire_msg *m, int64_t timeout_ms,
              struct err *err) MUST_CHECK;

void wire_put_u32(struct wire_msg *m, uint32_t v);
void wire_put_i64(struct wire_msg *m, int64_t v);
void wire_put_f64(struct wire_msg *m, double v);
void wire_put_text(struct wire_msg *m, struct str s);
/* Makes m's memfd. */
int wire_put_tensors(struct wire_msg *m, const struct sm_tensor_list *l,
                     struct err *err) MUST_CHECK;

/* Reading ends well or not at all: after the end every value is 0 and `bad` is set. */
struct wire_in {
    struct str left;
    bool bad;
};
uint32_t wire_get_u32(struct wire_in *in);
int64_t wire_get_i64(struct wire_in *in);
double wire_get_f64(struct wire_in *in);
struct str wire_get_text(struct wire_in *in);
char *wire_get_cstr(struct wire_in *in); /* owned; NUL bytes make it bad */
int wire_get_shape(struct wire_in *in, struct sm_shape *s);
void wire_put_shape(struct wire_msg *m, const struct sm_shape *s);
/* Maps m's memfd and reads the tensors that `in` describes. Without `copy` they are
 * views of the map, good until m is released. ERR_CORRUPT: the message is malformed. */
int wire_get_tensors(struct wire_msg *m, struct wire_in *in, bool copy,
                     struct sm_tensor_list *out, struct err *err) MUST_CHECK;

/* ---- the runner's process -------------------------------------------------------- */

struct runner_limits {
    int dirfd; /* the model's: the only place that may be read */
    size_t memory_bytes;
};
/* Locks this process down for good: no privileges, no new programs, no network, no file
 * written, no file read outside the model where the kernel has Landlock. */
int runner_lock_down(const struct runner_limits *l, struct err *err) MUST_CHECK;
/* Answers requests on `sock` until the other side goes; the exit status. */
int runner_serve(int sock);

#endif
