/* SPDX-License-Identifier: Apache-2.0 */
/* What must lie in the targets before a release is switched: its version directories,
 * its rendered files, and those of the rollbacks that would undo it. */
#include "deploy/deploy_int.h"

#include <stdlib.h>
#include <string.h>

#define PREPARE_MODELS 16 /* other models of a target whose undo is kept rendered */
#define PREPARE_DEPTH 2   /* rollbacks in a row that need nothing written */

/* ---- rendering ----------------------------------------------------------------------
 */

static int
load_others(struct plan *p, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    bool wanted = false;
    int e;

    for (int i = 0; i < p->sites.n; i++)
        wanted |= p->sites.s[i].layout->render != NULL;
    if (!wanted)
        return 0;
    e = history_open_live(&h, p->r, p->c->alias, err);
    while (e == 0 && (e = history_next(&h, &rel, err)) == 1) {
        e = 0;
        if (strcmp(rel.model, p->c->model) == 0)
            continue;
        p->others =
            xreallocarray(p->others, (size_t)p->n_others + 1, sizeof(*p->others));
        p->others[p->n_others++] = rel;
    }
    return e;
}

/* Renders a target in which `one` and `two` (NULL: none) take the place of what their
 * models mean now, and the other models stay. */
static void
render_with(const struct plan *p, const struct site *s,
            const struct deploy_release *one, const struct deploy_release *two,
            struct layout_files *files, char id[CONFIG_ID_BYTES])
{
    const struct deploy_release **live =
        xreallocarray(NULL, (size_t)p->n_others + 1, sizeof(struct deploy_release *));
    int n = 0;
    bool put = false;

    for (int i = 0; i < p->n_others; i++) {
        const struct deploy_release *o = &p->others[i];

        if (!put && strcmp(one->model, o->model) < 0) {
            live[n++] = one;
            put = true;
        }
        live[n++] = two && strcmp(two->model, o->model) == 0 ? two : o;
    }
    if (!put)
        live[n++] = one;
    site_render(s, live, n, files, id);
    free(live);
}

static int
put_rendered(struct plan *p, struct site *s, const struct deploy_release *one,
             const struct deploy_release *two, char id[CONFIG_ID_BYTES],
             struct err *err)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };

    render_with(p, s, one, two, &files, id);
    return site_put_files(s, &files, id, err);
}

void
plan_render(const struct plan *p, const struct site *s, struct layout_files *files,
            char id[CONFIG_ID_BYTES])
{
    render_with(p, s, &p->next, NULL, files, id);
}

int
plan_flips(struct plan *p, struct err *err)
{
    int e = load_others(p, err);

    for (int i = 0; e == 0 && i < p->sites.n; i++) {
        struct layout_files files AUTO(layout_files_release) = { .n = 0 };
        char id[CONFIG_ID_BYTES];

        plan_render(p, &p->sites.s[i], &files, id);
        e = flips_plan(&p->flips, &p->sites.s[i], &p->next, id, err);
    }
    return e;
}

/* ---- what would undo it -------------------------------------------------------------
 */

/* Directories and files for rollbacks from `p->next`, so that they write nothing. */
static int
prepare_undo(struct plan *p, struct site *s, struct err *err)
{
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release from = p->next, to;
    char id[CONFIG_ID_BYTES];
    int e = 0;

    for (int i = 0; i < p->bad.n; i++)
        if (weights_of(&p->next, p->bad.ids[i]) == 0)
            bad_add(&bad, p->bad.ids[i]);
    for (int depth = 0; e == 0 && depth < PREPARE_DEPTH; depth++) {
        e = rollback_find(p->r, &from, &bad, &to, err);
        if (e <= 0)
            return e;
        for (int i = 0; i < from.n_members; i++)
            if (weights_of(&to, from.members[i].version_id) == 0)
                bad_add(&bad, from.members[i].version_id);
        e = site_ready(p->r, s, &to, err);
        if (e == 0 && s->layout->render)
            e = put_rendered(p, s, &to, NULL, id, err);
        from = to;
    }
    return e;
}

static int
newest_first(const void *a, const void *b)
{
    const int64_t x = ((const struct deploy_release *)a)->intended_ns;
    const int64_t y = ((const struct deploy_release *)b)->intended_ns;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* The files of a target name every model, so this release changes what undoes the
 * others. Those that moved last are the ones that are likely to be needed. */
static int
prepare_others(struct plan *p, struct site *s, struct err *err)
{
    struct deploy_release *by_age AUTO(free_ptr) = NULL;
    char id[CONFIG_ID_BYTES];
    int e = 0;

    if (!s->layout->render || p->n_others == 0)
        return 0;
    by_age = xreallocarray(NULL, (size_t)p->n_others, sizeof(*by_age));
    memcpy(by_age, p->others, (size_t)p->n_others * sizeof(*by_age));
    qsort(by_age, (size_t)p->n_others, sizeof(*by_age), newest_first);
    for (int i = 0; e == 0 && i < p->n_others && i < PREPARE_MODELS; i++) {
        struct bad_set bad AUTO(bad_release) = { .ids = NULL };
        struct deploy_release to;

        e = bad_load(p->r, by_age[i].model, by_age[i].alias, &bad, err);
        if (e == 0)
            e = rollback_find(p->r, &by_age[i], &bad, &to, err);
        if (e == 1)
            e = put_rendered(p, s, &p->next, &to, id, err);
    }
    return e;
}

/* ---- all of it ----------------------------------------------------------------------
 */

int
plan_ready(struct plan *p, struct err *err)
{
    char id[CONFIG_ID_BYTES];
    int e = 0;

    for (int i = 0; e == 0 && i < p->sites.n; i++) {
        struct site *s = &p->sites.s[i];

        e = site_ready(p->r, s, &p->next, err);
        if (e == 0 && s->layout->render)
            e = put_rendered(p, s, &p->next, NULL, id, err);
        if (e == 0 && p->c->verb != DEPLOY_ROLLBACK)
            e = prepare_undo(p, s, err);
        if (e == 0 && p->c->verb != DEPLOY_ROLLBACK)
            e = prepare_others(p, s, err);
        if (e == 0 && p->c->verb != DEPLOY_ROLLBACK && s->layout->render)
            site_prune(s, id);
    }
    return e;
}
