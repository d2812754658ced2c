/* SPDX-License-Identifier: Apache-2.0 */
/* One look at each tensor's value, from which come its digest and its statistics. */
#include "fingerprint/fp_int.h"

#include <pthread.h>
#include <stdlib.h>

/* SHA-256 waits for its own results most of the time; sums of the same bytes fill the
 * gaps when they come often enough. */
#define STEP_BYTES 2048

struct looker {
    unsigned want;
    size_t unit_bytes;
    struct sha256 h;
    struct fp_sum sum;
    struct fp_histogram *histogram;
};

static void
look_at(void *arg, const void *p, size_t n_bytes)
{
    struct looker *l = arg;
    size_t step = l->want & FP_LOOK_STATS ? STEP_BYTES : n_bytes;
    for (size_t at = 0; at < n_bytes; at += step) {
        size_t n = n_bytes - at < step ? n_bytes - at : step;
        const char *from = (const char *)p + at;
        if (l->want & FP_LOOK_DIGEST)
            sha256_add(&l->h, from, n);
        if (l->want & FP_LOOK_STATS)
            fp_sum_add(&l->sum, from, n / l->unit_bytes);
        if (l->histogram)
            fp_histogram_add(l->histogram, from, n / l->unit_bytes);
    }
}

static void
looker_init(struct looker *l, int dtype, unsigned want, struct fp_histogram *h)
{
    const struct sm_dtype_info *info = sm_dtype_info(dtype);
    if (fp_stats_of(dtype) == FP_OF_NOTHING)
        want &= ~(unsigned)FP_LOOK_STATS;
    l->want = want;
    l->unit_bytes = info && info->size_bytes ? info->size_bytes : sizeof(struct str);
    l->histogram = h;
    sha256_init(&l->h);
    if (want & FP_LOOK_STATS)
        fp_sum_init(&l->sum, dtype);
}

static void
looker_end(struct looker *l, struct fp_look *out)
{
    out->has_digest = l->want & FP_LOOK_DIGEST;
    out->has_stats = l->want & FP_LOOK_STATS;
    if (out->has_digest)
        sha256_end(&l->h, &out->digest);
    if (out->has_stats)
        fp_sum_end(&l->sum, &out->stats);
}

/* Strings: lengths are looked at as numbers; the digest is of lengths and bytes. */
static void
look_at_strings(struct looker *l, const struct sm_tensor *t)
{
    unsigned want = l->want;
    l->want &= ~(unsigned)FP_LOOK_DIGEST;
    look_at(l, t->data, (size_t)t->n_elems * sizeof(struct str));
    l->want = want;
    if (want & FP_LOOK_DIGEST)
        for (int64_t i = 0; i < t->n_elems; i++)
            fp_h_str(&l->h, sm_tensor_str(t)[i]);
}

void
fp_look_tensor(struct fp_look *out, const struct sm_tensor *t, unsigned want,
               struct fp_histogram *h_or_null)
{
    struct looker l;
    *out = (struct fp_look){ .n_bytes = sm_tensor_bytes(t) };
    looker_init(&l, t->dtype, want, h_or_null);
    if (t->dtype == SM_STRING)
        look_at_strings(&l, t);
    else
        look_at(&l, t->data, out->n_bytes);
    looker_end(&l, out);
}

void
fp_tensor_digest(const struct sm_tensor *t, struct digest *out)
{
    struct fp_look look;
    fp_look_tensor(&look, t, FP_LOOK_DIGEST, NULL);
    *out = look.digest;
}

/* Variants hold tensors and other things, by kind: each element by its message. */
static int
look_at_variants(struct fp_look *out, struct sm_bundle *b, const struct sm_entry *e,
                 struct err *err)
{
    struct str *v AUTO(free_ptr) = NULL;
    struct sha256 h;
    int64_t n;
    int rc = sm_bundle_variants(b, e->key, &v, &n, err);
    sha256_init(&h);
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        rc = fp_h_det(&h, FP_M_VariantTensorDataProto, v[i], err);
        out->n_bytes += v[i].n;
    }
    sha256_end(&h, &out->digest);
    out->has_digest = true;
    return rc;
}

int
fp_look_entry(struct fp_look *out, struct sm_bundle *b, const struct sm_entry *e,
              unsigned want, struct fp_histogram *h_or_null, struct err *err)
{
    struct looker l;
    const struct sm_dtype_info *info = sm_dtype_info(e->dtype);
    *out = (struct fp_look){ .entry = e };
    if (e->dtype == SM_VARIANT)
        return look_at_variants(out, b, e, err);
    if (e->dtype == SM_STRING) {
        struct sm_tensor t AUTO(sm_tensor_release) = { .data = NULL };
        if (sm_bundle_tensor(b, e->key, (struct str){ "", 0 }, true, &t, err) < 0)
            return -(int)err->code;
        fp_look_tensor(out, &t, want, h_or_null);
        out->entry = e;
        return 0;
    }
    looker_init(&l, e->dtype, want, h_or_null);
    int rc = sm_bundle_pieces(b, e, look_at, &l, err);
    if (rc < 0)
        return rc;
    looker_end(&l, out);
    out->n_bytes = info->size_bytes;
    for (int i = 0; i < e->shape.rank; i++) /* fits: the bundle has checked it */
        out->n_bytes *= (uint64_t)e->shape.dims[i];
    return 0;
}

/* ---- all, in threads ---- */

struct crew {
    struct fp_look **v; /* in the order of work */
    int n;
    int next; /* atomic */
    int dirfd;
    const char *prefix;
    unsigned want;
};

static void
work(struct crew *c, struct sm_bundle *b)
{
    for (;;) {
        int i = __atomic_fetch_add(&c->next, 1, __ATOMIC_RELAXED);
        if (i >= c->n)
            return;
        struct err err = ERR_INIT;
        struct fp_look *x = c->v[i];
        const struct sm_entry *e = x->entry, *mine = sm_bundle_find(b, e->key);
        if (mine ? fp_look_entry(x, b, mine, c->want, NULL, &err)
                 : err_set(&err, ERR_CORRUPT, "the index changed while it was read")) {
            x->code = err.code;
            x->why = xstrdup(err.msg);
        }
        x->entry = e;
    }
}

/* A handle is used by one thread at a time: each has its own. */
static void *
crew_main(void *arg)
{
    struct crew *c = arg;
    struct err err = ERR_INIT;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    if (sm_bundle_open(&b, c->dirfd, c->prefix, &err) == 0)
        work(c, b);
    return NULL; /* what it did not do, the others do */
}

static int
by_size(const void *pa, const void *pb)
{
    int64_t a = (*(struct fp_look *const *)pa)->entry->size_bytes;
    int64_t b = (*(struct fp_look *const *)pb)->entry->size_bytes;
    return (a < b) - (a > b);
}

void
fp_look_all(struct fp_look *v, int n, struct sm_bundle *b, int dirfd,
            const char *prefix, unsigned want, int n_threads)
{
    struct fp_look **order AUTO(free_ptr) = xcalloc((size_t)n + 1, sizeof *order);
    struct crew c = {
        .v = order, .n = n, .dirfd = dirfd, .prefix = prefix, .want = want
    };
    for (int i = 0; i < n; i++)
        order[i] = &v[i];
    qsort(order, (size_t)n, sizeof *order, by_size);
    if (n_threads > n)
        n_threads = n > 0 ? n : 1;
    int n_more = 0;
    pthread_t *more AUTO(free_ptr) = xcalloc((size_t)n_threads, sizeof *more);
    while (n_more < n_threads - 1 &&
           pthread_create(&more[n_more], NULL, crew_main, &c) == 0)
        n_more++;
    work(&c, b);
    for (int i = 0; i < n_more; i++)
        pthread_join(more[i], NULL);
}

void
fp_look_free(struct fp_look *v, int n)
{
    for (int i = 0; i < n; i++)
        free(v[i].why);
    free(v);
}
