/* SPDX-License-Identifier: Apache-2.0 */
/* How files travel. A path of a request that the verb reads or writes for its caller
 * (SVC_IN, SVC_OUT in service/verbs.def) is a tree: the files below a directory, or one
 * file, as a manifest (docs/formats.md). Its text in a request or a reply is
 *
 *   tree:sha256:<64 hex>          the directory with this manifest
 *   tree:sha256:<64 hex>/NAME     the file, or directory, NAME of it
 *
 * IN: the client says the manifest (POST /api/v1/uploads), is told what of it is
 * missing, sends that, and commits; then the verb's field is the tree. OUT: the field
 * is "tree:" in the request; the reply's member "trees" says for each such field which
 * tree was made, and the client gets what it lacks (GET /api/v1/trees/sha256:…, GET
 * /api/v1/objects/sha256:…). A tree that no version names goes after a day. */
#ifndef SERVER_TREE_H
#define SERVER_TREE_H

#define TREE_PREFIX "tree:sha256:"

#endif
