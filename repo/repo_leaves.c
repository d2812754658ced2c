/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf lists: the pieces that savedmodel cuts a file into (sm_cuts), hashed. */
#include "repo/cold_int.h"

#include "savedmodel/savedmodel.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES 44

void
leaf_list_release(struct leaf_list *l)
{
    free(l->v);
    *l = (struct leaf_list){ .v = NULL };
}

/* ---- root: RFC 6962, section 2.1 ---- */

static void
hash_leaf(const struct digest *d, struct digest *out)
{
    struct sha256 hash;

    sha256_init(&hash);
    sha256_add(&hash, "\0", 1);
    sha256_add(&hash, d->b, sizeof(d->b));
    sha256_end(&hash, out);
}

static void
hash_pair(struct digest *left, const struct digest *right)
{
    struct sha256 hash;

    sha256_init(&hash);
    sha256_add(&hash, "\1", 1);
    sha256_add(&hash, left->b, sizeof(left->b));
    sha256_add(&hash, right->b, sizeof(right->b));
    sha256_end(&hash, left);
}

/* The stack holds the roots of whole subtrees, one for each bit of the count. */
static void
make_root(struct leaf_list *l)
{
    struct digest stack[64];
    int n = 0;

    for (size_t i = 0; i < l->n; i++) {
        hash_leaf(&l->v[i].digest, &stack[n++]);
        for (size_t bit = i + 1; (bit & 1) == 0; bit >>= 1, n--)
            hash_pair(&stack[n - 2], &stack[n - 1]);
    }
    for (; n > 1; n--)
        hash_pair(&stack[n - 2], &stack[n - 1]);
    if (n == 1)
        l->root = stack[0];
    else
        sha256_of("", 0, &l->root);
}

/* ---- cutting and hashing ---- */

int
leaf_list_make(struct leaf_list *out, struct cold_reader *rd, struct sm_hint *hints,
               size_t n_hints, struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc((size_t)SM_CUT_BYTES);
    struct sm_cut *cuts AUTO(free_ptr) = NULL;
    const size_t n = sm_cuts(hints, n_hints, rd->size_bytes, &cuts);
    int r = 0;

    *out = (struct leaf_list){ .v = xcalloc(n + 1, sizeof(*out->v)) };
    for (; r == 0 && out->n < n; out->n++) {
        const struct sm_cut *c = &cuts[out->n];
        struct leaf *leaf = &out->v[out->n];

        *leaf = (struct leaf){ .at = c->at,
                               .length = (uint32_t)c->size_bytes,
                               .tag = c->tag };
        r = cold_read(rd, c->at, chunk, (size_t)c->size_bytes, err);
        sha256_of(chunk, (size_t)c->size_bytes, &leaf->digest);
    }
    if (r < 0)
        leaf_list_release(out);
    else
        make_root(out);
    return r;
}

/* ---- as stored ---- */

void
leaf_list_format(const struct leaf_list *l, struct buf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        const uint32_t length = htole32(l->v[i].length);
        const uint64_t tag = htole64(l->v[i].tag);

        buf_add(out, &length, sizeof(length));
        buf_add(out, &tag, sizeof(tag));
        buf_add(out, l->v[i].digest.b, sizeof(l->v[i].digest.b));
    }
}

bool
leaf_list_parse(struct leaf_list *out, struct str text, int64_t size_bytes)
{
    int64_t at = 0;

    *out = (struct leaf_list){ .n = text.n / ROW_BYTES };
    if (text.n % ROW_BYTES != 0)
        return false;
    out->v = xcalloc(out->n > 0 ? out->n : 1, sizeof(*out->v));
    for (size_t i = 0; i < out->n; i++) {
        const char *row = text.p + i * ROW_BYTES;
        struct leaf *leaf = &out->v[i];

        memcpy(&leaf->length, row, 4);
        memcpy(&leaf->tag, row + 4, 8);
        memcpy(leaf->digest.b, row + 12, sizeof(leaf->digest.b));
        leaf->length = le32toh(leaf->length);
        leaf->tag = le64toh(leaf->tag);
        leaf->at = at;
        if (leaf->length == 0 || leaf->length > COLD_LEAF_BYTES ||
            leaf->length > size_bytes - at) {
            leaf_list_release(out);
            return false;
        }
        at += leaf->length;
    }
    if (at != size_bytes) {
        leaf_list_release(out);
        return false;
    }
    make_root(out);
    return true;
}
