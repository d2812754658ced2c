/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/build.h"

#define VALUE "/.ATTRIBUTES/" SM_VARIABLE_VALUE

struct expected {
    const char *key;
    enum sm_role role;
    int rank;
};

/* A checkpoint with these entries gives them these roles. */
static void
check_roles(const char *name, const struct expected *v, size_t n)
{
    struct err err = ERR_INIT;
    struct sm_bundle_writer *w AUTO(sm_bundle_write_close_p) = NULL;
    struct sm_bundle *b AUTO(sm_bundle_close_p) = NULL;
    char *prefix AUTO(free_ptr) = xasprintf("%s/%s", unit_dir(), name);
    float zeros[4] = { 0 };
    CHECK_OK(sm_bundle_write_open(&w, AT_FDCWD, prefix, &err));
    for (size_t i = 0; i < n; i++) {
        struct sm_tensor t = { .dtype = SM_FLOAT, .rank = v[i].rank, .data = zeros };
        t.n_elems = v[i].rank ? 4 : 1;
        t.dims[0] = 4;
        CHECK_OK(sm_bundle_write_tensor(w, str_of(v[i].key), &t, &err));
    }
    CHECK_OK(sm_bundle_write_end(w, &err));
    CHECK_OK(sm_bundle_open(&b, AT_FDCWD, prefix, &err));
    for (size_t i = 0; i < n; i++) {
        enum sm_role role = sm_entry_role(b, sm_bundle_find(b, str_of(v[i].key)));
        if (role != v[i].role)
            unit_fail(__FILE__, __LINE__, "%s: %d", v[i].key, (int)role);
    }
}

TEST(test_sm_training__objects_by_their_path)
{
    static const struct expected v[] = {
        { SM_OBJECT_GRAPH_KEY, SM_ROLE_OBJECT_GRAPH, 0 },
        { "layer/kernel" VALUE, SM_ROLE_WEIGHT, 1 },
        { "layer/kernel/.OPTIMIZER_SLOT/optimizer/m" VALUE, SM_ROLE_SLOT, 1 },
        { "optimizer/_variables/0" VALUE, SM_ROLE_TRAINING, 0 },
        { "optimizer/_variables/2" VALUE, SM_ROLE_SLOT, 1 },
        { "model/optimizer/_variables/3" VALUE, SM_ROLE_SLOT, 1 },
        { "optimizer/learning_rate" VALUE, SM_ROLE_TRAINING, 0 },
        { "optimizers_of_light/kernel" VALUE, SM_ROLE_WEIGHT, 1 },
        { "keras_api/metrics/0/total" VALUE, SM_ROLE_TRAINING, 0 },
        { "save_counter" VALUE, SM_ROLE_TRAINING, 0 },
    };
    check_roles("objects", v, sizeof v / sizeof v[0]);
}

TEST(test_sm_training__names_by_their_end)
{
    static const struct expected v[] = {
        { "w", SM_ROLE_WEIGHT, 1 },
        { "w/Adam", SM_ROLE_SLOT, 1 },
        { "w/Adam_1", SM_ROLE_SLOT, 1 },
        { "w/ExponentialMovingAverage", SM_ROLE_TRAINING, 1 },
        { "w/Momentum", SM_ROLE_WEIGHT, 0 }, /* another shape */
        { "gone/Adam", SM_ROLE_WEIGHT, 1 },  /* of nothing */
        { "metrics/w", SM_ROLE_WEIGHT, 1 },  /* a layer may be called so */
        { "beta1_power", SM_ROLE_TRAINING, 0 },
        { "global_step", SM_ROLE_TRAINING, 0 },
    };
    check_roles("names", v, sizeof v / sizeof v[0]);
}
