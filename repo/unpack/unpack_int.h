/* SPDX-License-Identifier: Apache-2.0 */
/* What unpack_client.c and sluice-unpack share: the protocol.
 *
 * sluice-unpack has the archive as descriptor 0 and writes frames to descriptor 1:
 *
 *   frame    u32 kind, u32 n_bytes (both in the machine's order), n_bytes of payload
 *   ENTRY    u32 enum unpack_kind, u32 mode, i64 size (-1: unknown), the path
 *   DATA     bytes of the last ENTRY, which was a file: 1 to UNPACK_DATA_MAX
 *   END      nothing; the last frame
 *   ERROR    u32 enum err_code, text; the last frame */
#ifndef REPO_UNPACK_UNPACK_INT_H
#define REPO_UNPACK_UNPACK_INT_H

#include "repo/unpack/unpack.h"

enum unpack_frame { UNPACK_ENTRY = 1, UNPACK_DATA, UNPACK_END, UNPACK_ERROR };
enum { UNPACK_ENTRY_BYTES = 16, UNPACK_DATA_MAX = 256 << 10 };

/* Leaves this process descriptors 0 to 2, some memory and nothing else, for good. */
int unpack_lock_down(struct err *err) MUST_CHECK;

#endif
