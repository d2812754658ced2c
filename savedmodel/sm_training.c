/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensors of a checkpoint are a model's weights, and which only its training
 * needs. Nothing but the names says so:
 *
 * TensorFlow 2 names a tensor along its path in the object graph,
 *   PATH/.OPTIMIZER_SLOT/OPTIMIZER/SLOT/.ATTRIBUTES/… and, since Keras 2.11,
 *   optimizer/_variables/N/.ATTRIBUTES/…, of which those without a shape are counters.
 * TensorFlow 1 names a slot VARIABLE/OPTIMIZER, its second one VARIABLE/OPTIMIZER_1. */
#include "savedmodel/sm_int.h"

static const struct {
    const char *end, *slot;
} slot_ends[] = {
    { "/Adam", "m" },
    { "/Adam_1", "v" },
    { "/adam_m", "m" },
    { "/adam_v", "v" },
    { "/AdamW", "m" },
    { "/AdamW_1", "v" },
    { "/LazyAdam", "m" },
    { "/LazyAdam_1", "v" },
    { "/AdaMax", "m" },
    { "/AdaMax_1", "v" },
    { "/LAMB", "m" },
    { "/LAMB_1", "v" },
    { "/Momentum", "momentum" },
    { "/RMSProp", "rms" },
    { "/RMSProp_1", "momentum" },
    { "/RMSProp_2", "momentum" }, /* then _1 is the mean gradient */
    { "/Adagrad", "accumulator" },
    { "/Adadelta", "accum" },
    { "/Adadelta_1", "accum_update" },
    { "/Adafactor", "v" },
    { "/Ftrl", "accumulator" },
    { "/Ftrl_1", "linear" },
    { "/ExponentialMovingAverage", SM_SLOT_AVERAGE },
};

bool
sm_slot_of_name(struct str name, struct str *variable, struct str *slot)
{
    for (size_t i = 0; i < sizeof(slot_ends) / sizeof(slot_ends[0]); i++) {
        size_t n = strlen(slot_ends[i].end);
        if (name.n <= n || memcmp(name.p + name.n - n, slot_ends[i].end, n) != 0)
            continue;
        *variable = (struct str){ name.p, name.n - n };
        *slot = str_of(slot_ends[i].slot);
        return true;
    }
    return false;
}

/* Cuts the part before the first '/' off the front of *path. */
static struct str
next_part(struct str *path)
{
    const char *end = memchr(path->p, '/', path->n);
    struct str part = { path->p, end ? (size_t)(end - path->p) : path->n };
    path->p += part.n + (end != NULL);
    path->n -= part.n + (end != NULL);
    return part;
}

enum sm_role
sm_entry_role(const struct sm_bundle *b, const struct sm_entry *e)
{
    /* Without objects only names count that a layer would not have: the first three. */
    static const char *const parts[] = {
        "global_step", "beta1_power", "beta2_power",
        "optimizer",   "metrics",     "save_counter",
    };
    bool has_objects = sm_bundle_find(b, STR_LIT(SM_OBJECT_GRAPH_KEY)) != NULL;
    size_t n_parts = has_objects ? sizeof(parts) / sizeof(parts[0]) : 3;
    enum sm_role role = SM_ROLE_WEIGHT;
    struct str variable, slot, rest = e->key, before = { "", 0 };
    if (str_is(e->key, SM_OBJECT_GRAPH_KEY))
        return SM_ROLE_OBJECT_GRAPH;
    if (sm_slot_of_name(e->key, &variable, &slot)) {
        const struct sm_entry *v = sm_bundle_find(b, variable);
        return !v || !sm_shape_eq(&v->shape, &e->shape) ? SM_ROLE_WEIGHT
               : str_is(slot, SM_SLOT_AVERAGE)          ? SM_ROLE_TRAINING
                                                        : SM_ROLE_SLOT;
    }
    while (rest.n > 0) {
        struct str part = next_part(&rest);
        if (str_is(part, ".OPTIMIZER_SLOT") ||
            (str_is(before, "optimizer") && str_is(part, "_variables") &&
             e->shape.rank > 0))
            return SM_ROLE_SLOT;
        for (size_t i = 0; i < n_parts; i++)
            if (str_is(part, parts[i]))
                role = SM_ROLE_TRAINING;
        before = part;
    }
    return role;
}
