/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of a file by their digests: what a push sends and a pull fetches of one that
 * changed. */
#ifndef CLIENT_CLIENT_PIECES_H
#define CLIENT_CLIENT_PIECES_H

#include "client/client.h"
#include "savedmodel/savedmodel.h"

struct client_piece {
    struct digest digest;
    int64_t at, size_bytes;
};
struct client_pieces {
    struct client_piece *v;
    size_t n;
    int64_t size_bytes; /* of all */
};
void client_pieces_release(struct client_pieces *l); /* for AUTO */
/* Those of an object over there, in order. */
int client_pieces_get(struct client *c, const struct digest *object,
                      struct client_pieces *out, struct err *err) MUST_CHECK;
/* By digest, for _find. */
void client_pieces_sort(struct client_pieces *l);
/* NULL: none has these bytes. */
const struct client_piece *client_pieces_find(const struct client_pieces *l,
                                              const struct digest *d,
                                              int64_t size_bytes);
/* Where the file `path` below dirfd is cut; the caller frees them. An index beside it
 * that cannot be read gives cuts that are worse. */
size_t client_pieces_cut(int dirfd, const char *path, int64_t size_bytes,
                         struct sm_cut **out);

#endif
