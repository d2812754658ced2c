/* SPDX-License-Identifier: Apache-2.0 */
/* What the service and its workers say to each other, on a stream socket. A frame is
 * u32 kind, u32 n_bytes (both in the machine's order), then n_bytes of JSON.
 *
 *   to a worker
 *     CALL      {"verb", "request", "subject", "via", "scope", "trace", "if_match"};
 *               a descriptor may come with it (SCM_RIGHTS): the verb's standard output
 *     STOP      {}: nobody waits for the call any more
 *   from a worker
 *     PROGRESS  {"what", "done", "total"}
 *     TELL      what the verb tells
 *     REPLY     {"reply", "error": {"code", "sys", "msg"}}: ends the call */
#ifndef SERVER_SRV_FRAME_H
#define SERVER_SRV_FRAME_H

#include "base/json.h"

enum srv_frame {
    SRV_FRAME_CALL = 1,
    SRV_FRAME_STOP,
    SRV_FRAME_PROGRESS,
    SRV_FRAME_TELL,
    SRV_FRAME_REPLY
};
enum { SRV_FRAME_MAX_BYTES = 256 * 1024 * 1024 };

/* fd -1: none. The descriptor stays the caller's. */
int srv_frame_send(int sock, enum srv_frame kind, const cJSON *j, int fd,
                   struct err *err) MUST_CHECK;
/* 1: a frame, whose *fd (-1: none) and *j the caller owns; 0: the other side has gone;
 * -code. Waits; whoever does not want to polls first. */
int srv_frame_recv(int sock, enum srv_frame *kind, cJSON **j, int *fd,
                   struct err *err) MUST_CHECK;

#endif
