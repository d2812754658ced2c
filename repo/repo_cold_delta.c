/* SPDX-License-Identifier: Apache-2.0 */
/* One object as a delta on another: leaves that the base has too, wherever it has them,
 * are named; a leaf of the same tensor and place that differs is compared block by
 * block; what is left is the delta's own. */
#include "repo/cold_int.h"

#include <stdlib.h>
#include <string.h>

#define RUNS_MAX 256 /* of a leaf, before it is kept whole instead */
#define TWINS_MAX 8  /* leaves with one key that are remembered: zeros have many */

/* A base's leaves by digest and by tag: open addressing, indices + 1. */
struct finder {
    const struct leaf_list *l;
    uint32_t *by_digest, *by_tag;
    size_t mask;
};

static uint64_t
digest_key(const struct leaf *leaf)
{
    uint64_t key;

    memcpy(&key, leaf->digest.b, sizeof(key));
    return key;
}

static uint64_t
tag_key(const struct leaf *leaf)
{
    return leaf->tag;
}

static void
insert(uint32_t *table, size_t mask, const struct leaf_list *l, size_t i, uint64_t key,
       uint64_t (*key_of)(const struct leaf *leaf))
{
    size_t at = key & mask;
    int n_twins = 0;

    for (; table[at]; at = (at + 1) & mask)
        if (key_of(&l->v[table[at] - 1]) == key && ++n_twins == TWINS_MAX)
            return;
    table[at] = (uint32_t)i + 1;
}

static void
finder_start(struct finder *f, const struct leaf_list *l)
{
    size_t n = 16;

    while (n < 2 * l->n)
        n *= 2;
    *f = (struct finder){ .l = l, .mask = n - 1 };
    f->by_digest = xcalloc(n, sizeof(*f->by_digest));
    f->by_tag = xcalloc(n, sizeof(*f->by_tag));
    for (size_t i = 0; i < l->n; i++) {
        insert(f->by_digest, f->mask, l, i, digest_key(&l->v[i]), digest_key);
        if (l->v[i].tag)
            insert(f->by_tag, f->mask, l, i, tag_key(&l->v[i]), tag_key);
    }
}

static void
finder_release(struct finder *f)
{
    free(f->by_digest);
    free(f->by_tag);
}

/* The base's leaf of these bytes; of several the one at the same place. */
static const struct leaf *
find_same(const struct finder *f, const struct leaf *leaf)
{
    const struct leaf *found = NULL;

    for (size_t at = digest_key(leaf) & f->mask; f->by_digest[at];
         at = (at + 1) & f->mask) {
        const struct leaf *other = &f->l->v[f->by_digest[at] - 1];

        if (other->length == leaf->length && digest_eq(&other->digest, &leaf->digest) &&
            (!found || other->at == leaf->at))
            found = other;
    }
    return found;
}

/* The base's leaf of the same tensor and place, or the one at the same offset. */
static const struct leaf *
find_alike(const struct finder *f, const struct leaf *leaf, size_t i)
{
    for (size_t at = leaf->tag & f->mask; leaf->tag && f->by_tag[at];
         at = (at + 1) & f->mask) {
        const struct leaf *other = &f->l->v[f->by_tag[at] - 1];

        if (other->tag == leaf->tag && other->length == leaf->length)
            return other;
    }
    return !leaf->tag && i < f->l->n && f->l->v[i].at == leaf->at ? &f->l->v[i] : NULL;
}

int64_t
leaf_list_shared(const struct leaf_list *l, const struct leaf_list *base)
{
    struct finder f AUTO(finder_release);
    int64_t shared = 0;

    finder_start(&f, base);
    for (size_t i = 0; i < l->n; i++)
        if (find_same(&f, &l->v[i]))
            shared += l->v[i].length;
    return shared;
}

/* Blocks that differ become own pieces, those that do not the base's. A leaf with many
 * short runs costs more in pieces than it is worth. */
static bool
is_scattered(const char *a, const char *b, size_t n)
{
    int runs = 0;
    bool was_same = false;

    for (size_t at = 0; at < n; at += COLD_BLOCK_BYTES) {
        const size_t block = n - at < COLD_BLOCK_BYTES ? n - at : COLD_BLOCK_BYTES;
        const bool same = memcmp(a + at, b + at, block) == 0;

        runs += at == 0 || same != was_same;
        was_same = same;
    }
    return runs > RUNS_MAX;
}

static int
write_blocks(struct cold_writer *w, const char *p, const char *base, size_t n,
             int64_t base_at, struct err *err)
{
    int r = 0;

    for (size_t at = 0, from = 0; r == 0 && at < n; from = at) {
        bool same = false, first = true;

        while (at < n) {
            const size_t block = n - at < COLD_BLOCK_BYTES ? n - at : COLD_BLOCK_BYTES;
            const bool is_same = memcmp(p + at, base + at, block) == 0;

            if (!first && is_same != same)
                break;
            same = is_same;
            first = false;
            at += block;
        }
        r = same
                ? cold_write_base(w, base_at + (int64_t)from, (int64_t)(at - from), err)
                : cold_write_own(w, p + from, at - from, err);
    }
    return r;
}

struct delta {
    struct cold_writer *w;
    struct cold_reader *rd, *base; /* base NULL: none */
    struct finder finder;
    char *own, *other; /* a leaf each */
};

static int
write_leaf(struct delta *d, const struct leaf *leaf, size_t i, struct err *err)
{
    const struct leaf *same = d->base ? find_same(&d->finder, leaf) : NULL;
    const struct leaf *alike =
        d->base && !same ? find_alike(&d->finder, leaf, i) : NULL;
    size_t n = leaf->length;
    int r;

    if (same)
        return cold_write_base(d->w, same->at, same->length, err);
    r = cold_read(d->rd, leaf->at, d->own, n, err);
    if (r < 0 || !alike)
        return r < 0 ? r : cold_write_own(d->w, d->own, n, err);
    if (n > alike->length)
        n = alike->length;
    r = cold_read(d->base, alike->at, d->other, n, err);
    if (r < 0)
        return r;
    if (is_scattered(d->own, d->other, n))
        return cold_write_own(d->w, d->own, leaf->length, err);
    r = write_blocks(d->w, d->own, d->other, n, alike->at, err);
    return r < 0 ? r : cold_write_own(d->w, d->own + n, leaf->length - n, err);
}

int
cold_delta_write(struct cold_writer *w, struct cold_reader *rd,
                 const struct leaf_list *leaves, struct cold_reader *base_or_null,
                 const struct leaf_list *base_leaves, struct err *err)
{
    static const struct leaf_list none;
    struct delta d = { .w = w, .rd = rd, .base = base_or_null };
    int r = 0;

    finder_start(&d.finder, base_or_null ? base_leaves : &none);
    d.own = xmalloc((size_t)COLD_LEAF_BYTES);
    d.other = xmalloc((size_t)COLD_LEAF_BYTES);
    for (size_t i = 0; r == 0 && i < leaves->n; i++)
        r = write_leaf(&d, &leaves->v[i], i, err);
    free(d.own);
    free(d.other);
    finder_release(&d.finder);
    return r;
}
