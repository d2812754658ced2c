/* SPDX-License-Identifier: Apache-2.0 */
#include "savedmodel/sm_int.h"

#include "base/fnv.h"

#include <stdlib.h>

static int *
slot_of(const struct sm_names *set, struct str s)
{
    uint32_t i = (uint32_t)fnv_add(FNV_START, s.p, s.n) & (set->n_slots - 1);
    while (set->slots[i] && !str_eq(set->v[set->slots[i] - 1], s))
        i = (i + 1) & (set->n_slots - 1);
    return &set->slots[i];
}

int
sm_names_find(const struct sm_names *set, struct str s)
{
    return set->n_slots ? *slot_of(set, s) - 1 : -1;
}

bool
sm_names_add(struct sm_names *set, struct str s)
{
    if (sm_names_find(set, s) >= 0)
        return false;
    if ((uint32_t)set->n * 2 >= set->n_slots) {
        set->n_slots = set->n_slots ? set->n_slots * 2 : 64;
        free(set->slots);
        set->slots = xcalloc(set->n_slots, sizeof *set->slots);
        set->v = xreallocarray(set->v, set->n_slots, sizeof *set->v);
        for (int i = 0; i < set->n; i++)
            *slot_of(set, set->v[i]) = i + 1;
    }
    int *slot = slot_of(set, s);
    set->v[set->n] = s;
    *slot = ++set->n;
    return true;
}

void
sm_names_release(struct sm_names *set)
{
    free(set->v);
    free(set->slots);
    *set = (struct sm_names){ .v = NULL };
}
