/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of a golden set: thresholds that cases get by their tags. */
#include "validate/val_int.h"

#include <stdlib.h>
#include <string.h>

enum { SLICES_MAX = 100 };

bool
val_case_has_tag(const struct val_case *c, const char *tag)
{
    for (int i = 0; i < c->n_tags; i++)
        if (strcmp(c->tags[i], tag) == 0)
            return true;
    return false;
}

static int
load_slice(struct val_golden *g, const cJSON *j, const bool *has_own, struct err *err)
{
    const cJSON *tolerance = cJSON_GetObjectItemCaseSensitive(j, "tolerance");
    struct val_slice *s = &g->slices[g->n_slices++];
    const char *tag = NULL;

    if (!cJSON_IsObject(j))
        return err_set(err, ERR_INVALID, "wanted objects with \"tag\"");
    if (json_str(j, "tag", NULL, &tag, "slices", err) < 0 ||
        json_bool(j, "optional", false, &s->optional, "slices", err) < 0)
        return -(int)err->code;
    s->tag = xstrdup(tag);
    for (int i = 0; i < g->n_slices - 1; i++)
        if (strcmp(g->slices[i].tag, tag) == 0)
            return err_set(err, ERR_INVALID, "tag '%s' is given twice", tag);
    for (int i = 0; i < g->n_cases; i++) {
        struct val_case *c = &g->cases[i];

        if (!val_case_has_tag(c, tag))
            continue;
        s->n_cases++;
        if (tolerance && !has_own[i] &&
            val_tolerances_load(c, NULL, tolerance, err) < 0)
            return err_ctx(err, "tag '%s': tolerance", tag);
    }
    if (s->n_cases == 0 && !s->optional)
        return err_set(err, ERR_INVALID,
                       "no case has the tag '%s': add one, or say \"optional\": true",
                       tag);
    return 0;
}

int
val_slices_load(struct val_golden *g, const cJSON *doc, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(doc, "slices");
    bool *has_own AUTO(free_ptr) = xcalloc((size_t)g->n_cases + 1, sizeof(bool));

    if (!list)
        return 0;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > SLICES_MAX)
        return err_set(err, ERR_INVALID, "\"slices\": wanted a list of at most %d",
                       SLICES_MAX);
    for (int i = 0; i < g->n_cases; i++)
        has_own[i] = g->cases[i].n_tolerances > 0;
    g->slices = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(g->slices[0]));
    for (const cJSON *j = list->child; j; j = j->next)
        if (load_slice(g, j, has_own, err) < 0)
            return err_ctx(err, "slices");
    return 0;
}

void
val_slices_release(struct val_golden *g)
{
    for (int i = 0; i < g->n_slices; i++)
        free(g->slices[i].tag);
    free(g->slices);
}
