/* SPDX-License-Identifier: Apache-2.0 */
/* How files of a request go there, and those that a verb made come back
 * (docs/transfer.md): client_call does both for the fields that are SVC_IN and SVC_OUT.
 */
#ifndef CLIENT_TREE_H
#define CLIENT_TREE_H

#include "client/client.h"

struct client_sent {
    int64_t read_bytes; /* hashed now; the others are known not to have changed */
    bool is_asked;      /* after an error: the other side may have said it */
};
/* Sends what the other side has not of the directory or file `path`, for `verb` on
 * `model` (NULL: the verb is about none). text: "tree:sha256:…", and for a file
 * "/NAME". What came before a kill, here or there, is not sent again. ERR_CONFLICT: it
 * changed meanwhile. Errors of local pushes for what is no model's file. */
int client_push_tree(struct client *c, const char *verb, const char *model_or_null,
                     const char *path, struct buf *text, struct client_sent *out,
                     struct err *err) MUST_CHECK;

/* Sends nothing: the manifest of what a push of the directory would send. */
int client_push_list(struct client *c, const char *dir, struct buf *text,
                     struct client_sent *out, struct err *err) MUST_CHECK;

/* Writes the tree `text` to dest, which must not exist (ERR_CONFLICT): each file
 * verified, all of it durable, named last. Files of `have` (a directory pulled before,
 * or NULL) are taken in place of bytes on the wire where they are the same. What a
 * killed call left beside dest is gone on with. */
int client_pull_tree(struct client *c, const char *text, const char *dest,
                     const char *have_or_null, struct err *err) MUST_CHECK;

#endif
