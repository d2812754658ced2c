/* SPDX-License-Identifier: Apache-2.0 */
/* golden.json: parsed, bound to a signature, compared with itself. */
#include "validate/val_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct backend_tensor keys[] = {
    { .key = "x", .dtype = SM_FLOAT },    { .key = "y", .dtype = SM_INT64 },
    { .key = "h", .dtype = SM_HALF },     { .key = "s", .dtype = SM_STRING },
    { .key = "b", .dtype = SM_BFLOAT16 }, { .key = "t", .dtype = SM_BOOL },
};

static void
walk_case(const struct val_case *c, int n_keys)
{
    const struct backend_signature sig = { .inputs = keys, .n_inputs = n_keys };
    struct sm_tensor_list in AUTO(sm_tensor_list_release) = { .n = 0 };
    struct err err = ERR_INIT;
    struct val_diff d;

    val_borrow(&in, &c->inputs);
    if (val_bind(&in, &sig, &err) < 0)
        return;
    for (int i = 0; i < in.n; i++)
        for (int k = 0; k < c->n_tolerances; k++)
            val_compare("y", &in.v[i].t, &in.v[0].t, c->tolerances[k].kind,
                        c->tolerances[k].limit, &d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct val_golden g;

    if (val_golden_parse(&g, (struct str){ (const char *)data, n }, -1, "fuzz", &err) <
        0)
        return 0;
    for (int i = 0; i < g.n_cases; i++) {
        walk_case(&g.cases[i], (int)(sizeof(keys) / sizeof(keys[0])));
        walk_case(&g.cases[i], 1);
    }
    val_golden_release(&g);
    return 0;
}
