/* SPDX-License-Identifier: Apache-2.0 */
/* What files were when they were hashed, in $XDG_CACHE_HOME/sluice/hashes (else
 * ~/.cache), so that a push of what did not change reads nothing. A line is believed
 * when device, inode, size, mtime and ctime are what they were; it is only written
 * when the ctime was at least two seconds old then, for within one tick of a clock a
 * file can change without showing it. Without a cache all is read. */
#ifndef CLIENT_CLIENT_HASHES_H
#define CLIENT_CLIENT_HASHES_H

#include "base/crypto.h"
#include "base/fs.h"

struct client_hashes;
void client_hashes_open(struct client_hashes **out); /* never fails */
/* Writes what is new; best effort. */
void client_hashes_close(struct client_hashes *h);
bool client_hashes_find(struct client_hashes *h, const struct stat *st,
                        struct digest *out);
/* `begun_ns`: when its reading began, since 1970; st: as it was then, and still is. */
void client_hashes_add(struct client_hashes *h, const struct stat *st,
                       const struct digest *d, int64_t begun_ns);

#endif
