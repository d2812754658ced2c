/* SPDX-License-Identifier: Apache-2.0 */
/* Leaf lists. A file is cut where its tensors start, as variables.index says, and each
 * part every 4 MiB from there; what the index does not cover, or covers twice, is cut
 * every 4 MiB from where that part starts. Tensors below 4 KiB that follow each other
 * share leaves: a leaf costs 44 bytes. An index is a hint: a wrong one gives other
 * leaves, never wrong ones. */
#include "repo/cold_int.h"

#include "base/farmhash.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#define ROW_BYTES 44
#define SMALL_BYTES 4096

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

struct cutter {
    struct leaf_list *out;
    struct cold_reader *rd;
    char *chunk;
    size_t n_alloc;
};

/* [at, end) in leaves; `tag` is the first one's, those after it count on from there. */
static int
cut(struct cutter *c, int64_t at, int64_t end, uint64_t tag, struct err *err)
{
    struct leaf_list *l = c->out;

    for (uint64_t i = 0; at < end; i++) {
        const int64_t n = end - at < COLD_LEAF_BYTES ? end - at : COLD_LEAF_BYTES;
        struct leaf *leaf;
        int r = cold_read(c->rd, at, c->chunk, (size_t)n, err);

        if (r < 0)
            return r;
        if (l->n == c->n_alloc) {
            c->n_alloc = c->n_alloc ? 2 * c->n_alloc : 64;
            l->v = xreallocarray(l->v, c->n_alloc, sizeof(*l->v));
        }
        leaf = &l->v[l->n++];
        *leaf = (struct leaf){ .at = at, .length = (uint32_t)n };
        leaf->tag = tag ? farm_cat(tag, i) : 0;
        sha256_of(c->chunk, (size_t)n, &leaf->digest);
        at += n;
    }
    return 0;
}

static int
compare_hints(const void *a, const void *b)
{
    const struct leaf_hint *x = a, *y = b;

    return x->at != y->at     ? (x->at < y->at ? -1 : 1)
           : x->tag != y->tag ? (x->tag < y->tag ? -1 : 1)
                              : 0;
}

int
leaf_list_make(struct leaf_list *out, struct cold_reader *rd, struct leaf_hint *hints,
               size_t n_hints, struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc((size_t)COLD_LEAF_BYTES);
    struct cutter c = { .out = out, .rd = rd, .chunk = chunk };
    /* what lies in [from, at) is not cut yet: a gap, or small tensors */
    int64_t from = 0, at = 0;
    uint64_t tag = 0;
    bool is_small = false;
    int r = 0;

    *out = (struct leaf_list){ .v = NULL };
    if (n_hints > 0)
        qsort(hints, n_hints, sizeof(*hints), compare_hints);
    for (size_t i = 0; r == 0 && i < n_hints; i++) {
        const struct leaf_hint *h = &hints[i];

        if (h->size_bytes <= 0 || h->at < at || h->at > rd->size_bytes ||
            h->size_bytes > rd->size_bytes - h->at)
            continue; /* overlaps another, or lies outside */
        if (is_small && h->size_bytes < SMALL_BYTES && h->at == at &&
            at + h->size_bytes - from <= COLD_LEAF_BYTES) {
            at += h->size_bytes;
            continue;
        }
        r = cut(&c, from, at, tag, err);
        if (r == 0)
            r = cut(&c, at, h->at, 0, err);
        from = h->at;
        at = h->at + h->size_bytes;
        tag = h->tag;
        is_small = h->size_bytes < SMALL_BYTES;
    }
    if (r == 0)
        r = cut(&c, from, at, tag, err);
    if (r == 0)
        r = cut(&c, at, rd->size_bytes, 0, err);
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
