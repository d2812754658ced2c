/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensor of one model or checkpoint is which of another: the one with the same
 * key; or, when more are found so, the one at the same place in the object graph, since
 * tf.train.Checkpoint(model=…) puts "model/" before every key. */
#include "fingerprint/fingerprint.h"
#include "service/svc_int.h"

#include <stdlib.h>

void
svc_pairs_release(struct svc_pairs *p)
{
    free(p->of_a);
    free(p->is_taken);
    *p = (struct svc_pairs){ 0 };
}

static void
take(struct svc_pairs *p, const struct svc_weights *a, const struct svc_weights *b,
     const struct fp_tensor *t, const struct fp_tensor *u)
{
    if (!t || !u || p->of_a[t - a->weights->v] || p->is_taken[u - b->weights->v])
        return;
    p->of_a[t - a->weights->v] = u;
    p->is_taken[u - b->weights->v] = true;
    p->n++;
}

static struct svc_pairs
none(const struct svc_weights *a, const struct svc_weights *b)
{
    return (struct svc_pairs){
        .of_a = xcalloc((size_t)a->weights->n + 1, sizeof(const struct fp_tensor *)),
        .is_taken = xcalloc((size_t)b->weights->n + 1, sizeof(bool))
    };
}

/* With `part` as the model and `whole` as the checkpoint that has it somewhere. What
 * cannot be paired so (object graphs that are damaged or fit twice) is not. */
static void
by_objects(struct svc_pairs *p, const struct svc_weights *a,
           const struct svc_weights *b, bool b_is_part)
{
    const struct svc_weights *part = b_is_part ? b : a, *whole = b_is_part ? a : b;
    struct sm_matches m AUTO(sm_matches_release) = { .n = 0 };
    struct err ignored = ERR_INIT;
    p->by_objects = true;
    if (sm_match_checkpoint(&m, part->meta, part->bundle, whole->bundle, NULL,
                            &ignored) < 0)
        return;
    for (int i = 0; i < m.n; i++) {
        if (!m.v[i].from || m.v[i].state == SM_MATCH_AMBIGUOUS)
            continue;
        struct str key = m.v[i].entry->key, from = m.v[i].from->key;
        take(p, a, b, fp_weights_find(a->weights, b_is_part ? from : key),
             fp_weights_find(b->weights, b_is_part ? key : from));
    }
}

void
svc_pair_tensors(struct svc_pairs *out, const struct svc_weights *a,
                 const struct svc_weights *b)
{
    *out = none(a, b);
    for (int i = 0; i < a->weights->n; i++) {
        const struct fp_tensor *t = &a->weights->v[i];
        take(out, a, b, t, fp_weights_find(b->weights, t->entry->key));
    }
    for (int i = 0; i < 2 && a->bundle && b->bundle; i++) {
        struct svc_pairs other AUTO(svc_pairs_release) = none(a, b);
        if (out->n == a->weights->n && out->n == b->weights->n)
            return;
        by_objects(&other, a, b, i == 1);
        if (other.n > out->n) {
            struct svc_pairs fewer = *out;
            *out = other;
            other = fewer;
        }
    }
}
