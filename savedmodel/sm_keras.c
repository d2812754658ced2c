/* SPDX-License-Identifier: Apache-2.0 */
/* keras_metadata.pb: what Keras 2 needs to make its objects again.
 *
 * SavedMetadata: 1 repeated SavedObject { 2 node_id, 3 node_path, 4 identifier,
 *   5 metadata (JSON), 6 version { 1 producer, 2 min_consumer } }.
 * node_id is the place in the object graph of saved_model.pb; the root is 0. */
#include "savedmodel/sm_int.h"

#include <stdlib.h>

#define NODES_MAX (1 << 20)

static int
node_parse(struct str raw, struct sm_keras_node *n, struct err *err)
{
    struct str it = raw;
    struct sm_field f;
    int r;
    *n = (struct sm_keras_node){ .path = STR_LIT(""),
                                 .identifier = STR_LIT(""),
                                 .metadata = STR_LIT("") };
    while ((r = sm_pb_next(&it, &f)) > 0) {
        if (f.num == 2 && f.wire == 0)
            n->node_id = (int)(int32_t)(uint32_t)f.v;
        else if (f.num == 3 && f.wire == 2)
            n->path = f.bytes;
        else if (f.num == 4 && f.wire == 2)
            n->identifier = f.bytes;
        else if (f.num == 5 && f.wire == 2)
            n->metadata = f.bytes;
        else if (f.num == 6 && f.wire == 2)
            n->producer = (int)sm_pb_int(f.bytes, 1, 0);
    }
    return r < 0 ? err_set(err, ERR_CORRUPT, "malformed SavedObject") : 0;
}

static int
nodes_read(struct sm_keras *k, struct err *err)
{
    struct str it = k->file->bytes, raw;
    int r, rc = 0;
    size_t cap = 0;
    while (rc == 0 && (r = sm_pb_next_msg(&it, 1, &raw)) != 0) {
        if (r < 0)
            return err_set(err, ERR_CORRUPT, "cut off, damaged or no SavedMetadata");
        if (k->n == NODES_MAX)
            return err_set(err, ERR_LIMIT, "more than %d objects", NODES_MAX);
        if ((size_t)k->n == cap) {
            cap = cap ? 2 * cap : 16;
            k->v = xreallocarray(k->v, cap, sizeof(*k->v));
        }
        rc = node_parse(raw, &k->v[k->n++], err);
    }
    return rc;
}

int
sm_keras_read(struct sm_keras *out, int dirfd, const char *dir, struct err *err)
{
    static const char name[] = "keras_metadata.pb";
    *out = (struct sm_keras){ .file = xcalloc(1, sizeof(*out->file)) };
    int rc = sm_file_open(out->file, dirfd, name, err);
    if (rc == 0 && nodes_read(out, err) < 0)
        rc = err_ctx(err, "%s", name);
    if (rc < 0) {
        sm_keras_release(out);
        return err_ctx(err, "%s", dir);
    }
    return 0;
}

void
sm_keras_release(struct sm_keras *k)
{
    if (k->file)
        sm_file_release(k->file);
    free(k->file);
    free(k->v);
    *k = (struct sm_keras){ .v = NULL };
}
