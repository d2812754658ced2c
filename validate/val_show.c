/* SPDX-License-Identifier: Apache-2.0 */
/* What a golden set asks, as JSON. */
#include "validate/val_int.h"

static void
put_arrays(cJSON *to, const char *key, const struct sm_tensor_list *l)
{
    cJSON *list = cJSON_AddArrayToObject(to, key);

    for (int i = 0; i < l->n; i++) {
        const struct sm_tensor *t = &l->v[i].t;
        cJSON *o = cJSON_CreateObject(), *shape;

        cJSON_AddItemToArray(list, o);
        json_put_str(o, "key", l->v[i].name);
        json_put_str(o, "dtype",
                     t->dtype == VAL_NUMBERS ? "inline"
                                             : sm_dtype_info(t->dtype)->tf_name);
        shape = cJSON_AddArrayToObject(o, "shape");
        for (int d = 0; d < t->rank; d++)
            json_put_int(shape, NULL, t->dims[d]);
    }
}

static void
put_case(cJSON *list, const struct val_case *c)
{
    cJSON *o = cJSON_CreateObject(), *tolerances, *tags;

    cJSON_AddItemToArray(list, o);
    json_put_str(o, "name", c->name);
    json_put_str(o, "signature", c->signature);
    put_arrays(o, "inputs", &c->inputs);
    put_arrays(o, "expected", &c->expected);
    put_arrays(o, "labels", &c->labels);
    tolerances = cJSON_AddArrayToObject(o, "tolerances");
    for (int i = 0; i < c->n_tolerances; i++) {
        cJSON *t = cJSON_CreateObject();

        cJSON_AddItemToArray(tolerances, t);
        json_put_str(t, "output", c->tolerances[i].output);
        json_put_str(t, "kind", val_tol_name(c->tolerances[i].kind));
        json_put_real(t, "limit", c->tolerances[i].limit);
    }
    tags = cJSON_AddArrayToObject(o, "tags");
    for (int i = 0; i < c->n_tags; i++)
        json_put_str(tags, NULL, c->tags[i]);
}

static void
put_metric(cJSON *list, const struct val_metric *m)
{
    cJSON *o = cJSON_CreateObject();

    cJSON_AddItemToArray(list, o);
    json_put_str(o, "title", m->title);
    json_put_str(o, "output", m->output);
    json_put_str(o, "labels", m->labels);
    val_metric_put_limits(o, m);
}

/* In golden.json's units; nothing when it has none. */
static void
put_limits(const struct backend_args *l, cJSON *to)
{
    const struct {
        const char *key;
        double v;
    } all[] = { { "seconds", (double)l->max_wall_ms / 1e3 },
                { "memory_mb", (double)l->max_memory_bytes / 1e6 },
                { "output_mb", (double)l->max_output_bytes / 1e6 } };
    cJSON *o = cJSON_CreateObject();

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].v > 0)
            json_put_real(o, all[i].key, all[i].v);
    if (o->child)
        cJSON_AddItemToObject(to, "limits", o);
    else
        cJSON_Delete(o);
}

void
val_golden_describe(const struct val_golden *g, cJSON *to)
{
    cJSON *cases, *metrics, *slices = NULL;

    json_put_str(to, "tags", g->tags);
    json_put_bool(to, "sequential", g->sequential);
    if (g->recording)
        cJSON_AddItemToObject(to, "recording", cJSON_Duplicate(g->recording, true));
    cases = cJSON_AddArrayToObject(to, "cases");
    for (int i = 0; i < g->n_cases; i++)
        put_case(cases, &g->cases[i]);
    metrics = cJSON_AddArrayToObject(to, "metrics");
    for (int i = 0; i < g->n_metrics; i++)
        put_metric(metrics, &g->metrics[i]);
    if (g->n_slices > 0)
        slices = cJSON_AddArrayToObject(to, "slices");
    for (int i = 0; i < g->n_slices; i++) {
        cJSON *o = cJSON_CreateObject();

        json_put_str(o, "tag", g->slices[i].tag);
        json_put_int(o, "cases", g->slices[i].n_cases);
        json_put_bool(o, "optional", g->slices[i].optional);
        cJSON_AddItemToArray(slices, o);
    }
    if (g->budgets)
        cJSON_AddItemToObject(to, "budgets", cJSON_Duplicate(g->budgets, true));
    put_limits(&g->limits, to);
}
