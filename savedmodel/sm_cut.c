/* SPDX-License-Identifier: Apache-2.0 */
/* Where a file is cut into pieces that are told apart by their digests: where its
 * tensors start, as variables.index says, and every 4 MiB from there; what the index
 * does not cover, or covers twice, is cut every 4 MiB from where that part starts.
 * Tensors below 4 KiB that follow each other share pieces. */
#include "savedmodel/sm_int.h"

#include "base/farmhash.h"

#include <stdlib.h>

#define SMALL_BYTES 4096

struct cutter {
    struct sm_cut *v;
    size_t n, n_alloc;
};

/* [at, end); `tag` is the first piece's, those after it count on from there. */
static void
cut(struct cutter *c, int64_t at, int64_t end, uint64_t tag)
{
    for (uint64_t i = 0; at < end; i++) {
        const int64_t n = end - at < SM_CUT_BYTES ? end - at : SM_CUT_BYTES;

        if (c->n == c->n_alloc) {
            c->n_alloc = c->n_alloc ? 2 * c->n_alloc : 64;
            c->v = xreallocarray(c->v, c->n_alloc, sizeof(*c->v));
        }
        c->v[c->n++] = (struct sm_cut){ .at = at,
                                        .size_bytes = n,
                                        .tag = tag ? farm_cat(tag, i) : 0 };
        at += n;
    }
}

static int
compare_hints(const void *a, const void *b)
{
    const struct sm_hint *x = a, *y = b;

    return x->at != y->at     ? (x->at < y->at ? -1 : 1)
           : x->tag != y->tag ? (x->tag < y->tag ? -1 : 1)
                              : 0;
}

size_t
sm_cuts(struct sm_hint *hints, size_t n_hints, int64_t size_bytes, struct sm_cut **out)
{
    struct cutter c = { .v = NULL };
    /* what lies in [from, at) is not cut yet: a gap, or small tensors */
    int64_t from = 0, at = 0;
    uint64_t tag = 0;
    bool is_small = false;

    if (n_hints > 0)
        qsort(hints, n_hints, sizeof(*hints), compare_hints);
    for (size_t i = 0; i < n_hints; i++) {
        const struct sm_hint *h = &hints[i];

        if (h->size_bytes <= 0 || h->at < at || h->at > size_bytes ||
            h->size_bytes > size_bytes - h->at)
            continue; /* overlaps another, or lies outside */
        if (is_small && h->size_bytes < SMALL_BYTES && h->at == at &&
            at + h->size_bytes - from <= SM_CUT_BYTES) {
            at += h->size_bytes;
            continue;
        }
        cut(&c, from, at, tag);
        cut(&c, at, h->at, 0);
        from = h->at;
        at = h->at + h->size_bytes;
        tag = h->tag;
        is_small = h->size_bytes < SMALL_BYTES;
    }
    cut(&c, from, at, tag);
    cut(&c, at, size_bytes, 0);
    *out = c.v;
    return c.n;
}

size_t
sm_bundle_hints(const struct sm_bundle *b, int shard, struct sm_hint **out)
{
    size_t n = 0;

    *out = xcalloc((size_t)sm_bundle_n_entries(b) + 1, sizeof(**out));
    for (int i = 0; i < sm_bundle_n_entries(b); i++) {
        const struct sm_entry *e = sm_bundle_entry(b, i);

        if (e->shard_id == shard && e->n_slices == 0)
            (*out)[n++] = (struct sm_hint){ .at = e->offset,
                                            .size_bytes = e->size_bytes,
                                            .tag = farm64(e->key) };
    }
    return n;
}
