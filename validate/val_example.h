/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up tf.Examples. */
#ifndef VALIDATE_VAL_EXAMPLE_H
#define VALIDATE_VAL_EXAMPLE_H

#include "validate/val_probe_int.h"
#include "validate/val_scan_int.h"

struct val_feature {
    char *key;
    int dtype; /* float, int64 or string */
    int64_t n; /* of values; below 0: 1 to -n */
};
struct val_features {
    struct val_feature *v;
    int n;
};
/* What the graph parses from the Examples that an input takes; false: it parses none,
 * or says not what. */
bool val_features_find(struct scan_graph *g, const struct sm_tensor_info *input,
                       struct val_features *out);
void val_features_release(struct val_features *f); /* for AUTO */
unsigned val_features_families(const struct val_features *f);
/* As val_fill, of a string tensor of Examples: values of the given families are filled
 * so, others at random. */
int val_examples_fill(struct sm_tensor *t, const struct val_features *f, enum fill fill,
                      unsigned families, uint64_t *state, struct err *err) MUST_CHECK;

#endif
