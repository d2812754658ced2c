/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to break a model, and rewrites that keep its meaning. */
#ifndef TESTS_CONFORMANCE_MUTATE_H
#define TESTS_CONFORMANCE_MUTATE_H

#include "validate/validate.h"

typedef void break_fn(struct sm_tensor *t, unsigned seed);

enum how {
    WEIGHT,
    WEIGHTS,
    KEY,
    ASSET_DROP,
    ASSET_MOVE,
    REORDER,
    EXTRA,
    BARE,
    NO_PASS
};
struct mutation {
    const char *name;
    enum how how;
    break_fn *fn;
    unsigned n; /* versions of it */
    bool keeps; /* the meaning */
};
enum { N_MUTATIONS = 15 };
extern const struct mutation mutations[N_MUTATIONS];

/* Which tensor of the checkpoint was broken (the last of them) and how many of its
 * values are others now. */
struct broken {
    char key[256];
    int n_tensors;
    int64_t n_changed;
};
/* 1 done to the model in `dir`, 0 it has nothing to do it to. */
int mutate(const struct mutation *m, const char *dir, unsigned seed,
           const struct val_golden *g, struct broken *out, struct err *err);

/* Whether a node of the model reads this variable, found from the graph alone: 1, 0. */
int reads_weight(const char *dir, const char *tags, const char *function,
                 const char *node, const char *variable, struct err *err);

#endif
