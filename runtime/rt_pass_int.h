/* SPDX-License-Identifier: Apache-2.0 */
/* Passes: each looks at the drafts of a plan, in the order in which they will run, and
 * makes them fewer. A pass never adds a draft: the last of a group takes the group's
 * work over (its inputs come before it anyway), and what nobody wants any more is
 * dropped by rt_emit_finish. Plans with TF1 control flow are left as they are. */
#ifndef RUNTIME_RT_PASS_INT_H
#define RUNTIME_RT_PASS_INT_H

#include "runtime/rt_plan_int.h"

struct rt_rewrite {
    struct rt_builder *b;
    bool *needed; /* per draft */
    int *uses;    /* per value: by drafts that are needed, and by results */
    int n_uses, n_fired;
};

/* ---- looking --------------------------------------------------------------------- */

static inline bool
rt_is_op(const struct rt_draft *d, const char *op)
{
    return strcmp(d->s.node.op, op) == 0;
}
const struct rt_tensor *rt_value_const(const struct rt_builder *b, int value);
/* The only element of a float or integer constant. */
bool rt_value_scalar(const struct rt_builder *b, int value, float *out);
/* Who makes a value as output 0: an index of b->steps; -1: an argument, a constant or
 * another output. */
int rt_value_maker(const struct rt_builder *b, int value);
/* The attribute says float32; what a graph only claims is checked again when it runs:
 * rewritten steps keep the checks of their inputs' dtypes. */
bool rt_draft_is_float(const struct rt_draft *d, const char *attr);

/* What a pattern (rt_match.c) found for its letters. */
struct rt_match {
    int v[26];
    float f[26];
    bool has[26];
};
bool rt_match(const struct rt_builder *b, int value, const char *pattern,
              struct rt_match *m);

/* ---- changing -------------------------------------------------------------------- */

void *rt_pass_alloc(struct rt_builder *b, size_t size_bytes);
/* A new constant: float[n], uninitialised, in *data. Returns its value, or -1 (no
 * memory: the pass leaves things as they are). */
int rt_pass_floats(struct rt_builder *b, int rank, const int64_t *dims, float **data);
/* Draft `at` does from now on what `as` does, from these inputs, all of one dtype; its
 * outputs beyond those of `as` are used by nobody. */
void rt_pass_become(struct rt_rewrite *w, int at, const struct rt_draft *as,
                    const int *in, int n_in);

/* ---- the passes ------------------------------------------------------------------ */

typedef void rt_pass_fn(struct rt_rewrite *w);
bool rt_pass_attention(struct rt_rewrite *w, int at); /* of pattern: a product */
rt_pass_fn rt_pass_rnn, rt_pass_fold, rt_pass_pattern, rt_pass_fuse;

enum {
#define PASS(id, what) RT_PASS_##id,
#include "runtime/rt_pass.def"
#undef PASS
    RT_N_PASSES
};

#endif
