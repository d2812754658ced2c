/* SPDX-License-Identifier: Apache-2.0 */
/* What must lie in the targets before a release is switched: its version directories,
 * its rendered files of all steps, and those of the rollbacks that would undo it. */
#include "deploy/deploy_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREPARE_MODELS 16 /* other models of a target whose undo is kept rendered */
#define PREPARE_DEPTH 2   /* rollbacks in a row that need nothing written */

/* ---- what is shown now --------------------------------------------------------------
 */

const struct site_plan *
plan_of(const struct plan *p, const struct site *s)
{
    return &p->by_site[s - p->sites.s];
}

static int
load_others(struct plan *p, struct err *err)
{
    struct history h AUTO(history_close) = HISTORY_INIT;
    struct deploy_release rel;
    int e;

    if (p->has_others)
        return 0;
    p->has_others = true;
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

static int
load_steps(struct plan *p, struct err *err)
{
    int e = 0;

    p->by_site = xcalloc((size_t)p->sites.n + 1, sizeof(*p->by_site));
    for (int i = 0; e == 0 && i < p->sites.n; i++) {
        const struct site *s = &p->sites.s[i];
        struct site_plan *sp = &p->by_site[i];

        if (p->has_cur)
            e = step_get(p->r, s, &p->cur, &sp->now, err);
        step_begin(s, p->has_cur ? &sp->now : NULL, &p->next, &sp->next);
        if (!site_is_stepped(s))
            continue;
        e = e < 0 ? e : load_others(p, err);
        sp->other = xcalloc((size_t)p->n_others + 1, sizeof(*sp->other));
        for (int k = 0; e == 0 && k < p->n_others; k++)
            e = step_get(p->r, s, &p->others[k], &sp->other[k], err);
    }
    return e;
}

/* ---- rendering ----------------------------------------------------------------------
 */

/* Renders a target in which `one` and `two` (NULL: none) take the place of what their
 * models show now, and the other models stay. */
static void
render_with(const struct plan *p, const struct site *s,
            const struct deploy_release *one, const struct deploy_release *two,
            struct layout_files *files, char id[CONFIG_ID_BYTES])
{
    const struct site_plan *sp = plan_of(p, s);
    struct deploy_release *views =
        sp->other ? xreallocarray(NULL, (size_t)p->n_others + 1, sizeof(*views)) : NULL;
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
        if (views)
            step_view(&sp->other[i], &views[i]);
        live[n++] = two && strcmp(two->model, o->model) == 0 ? two
                    : views                                  ? &views[i]
                                                             : o;
    }
    if (!put)
        live[n++] = one;
    site_render(s, live, n, files, id);
    free(live);
    free(views);
}

static int
put_rendered(struct plan *p, struct site *s, const struct step *one,
             const struct step *two, char id[CONFIG_ID_BYTES], struct err *err)
{
    struct layout_files files AUTO(layout_files_release) = { .n = 0 };
    struct deploy_release view, second;
    int e;

    id[0] = '\0';
    step_view(one, &view);
    e = site_put_model(s, &view, err);
    if (e < 0)
        return e;
    if (s->layout->render) {
        if (two)
            step_view(two, &second);
        render_with(p, s, &view, two ? &second : NULL, &files, id);
        e = site_put_files(s, LAYOUT_RELEASES, &files, id, err);
    }
    return e;
}

/* Drops what nothing has used for long. */
static void
prune(struct plan *p, struct site *s, const char *id)
{
    struct layout_files own AUTO(layout_files_release) = { .n = 0 };
    struct buf base AUTO(buf_release) = BUF_INIT;
    struct deploy_release view;
    char model_id[CONFIG_ID_BYTES];

    step_view(&plan_of(p, s)->next, &view);
    site_prune(s, LAYOUT_RELEASES, id);
    site_render_model(s, &view, &own, model_id);
    site_own_path(s, p->next.model, &base);
    site_prune(s, buf_str(&base), model_id);
}

void
plan_render(const struct plan *p, const struct site *s,
            const struct deploy_release *view, struct layout_files *files,
            char id[CONFIG_ID_BYTES])
{
    render_with(p, s, view, NULL, files, id);
}

#define MODEL_LINE "    name: "

/* A server unloads a model that its config does not name any more. No verb takes a
 * model from an alias; so one that would be left out is known to another catalogue (a
 * backup that was restored), or was put there by hand. */
static int
keeps_models(struct site *s, const struct layout_files *files, struct err *err)
{
    struct buf now AUTO(buf_release) = BUF_INIT;
    const char *text, *line;

    if (files->n == 0 || strcmp(files->file[0].name, "models.config") != 0)
        return 0;
    if (fs_read(s->dirfd, LAYOUT_CONFIG_LINK "/models.config", &now, err) < 0) {
        if (err->sys != ENOENT)
            return -(int)err->code;
        err_clear(err); /* `target check` tells */
        return 0;
    }
    text = buf_str(&files->file[0].text);
    for (line = buf_str(&now); (line = strstr(line, "\n" MODEL_LINE)) != NULL;) {
        const size_t n = strcspn(++line, "\n");
        char *name AUTO(free_ptr) = xasprintf("\n%.*s\n", (int)n, line);

        if (!strstr(text, name))
            return err_set(err, ERR_CONFLICT,
                           "target %s: %s/" LAYOUT_CONFIG_LINK
                           "/models.config has a model that nothing gives traffic here "
                           "(%.*s), and its server would unload it: promote it to %s "
                           "first, or drop it with sluice target check %s --repair",
                           s->t.name, s->t.dir, (int)(n - strlen(MODEL_LINE)),
                           line + strlen(MODEL_LINE), s->t.alias, s->t.name);
    }
    return 0;
}

/* A rollback looks first whether they are known. */
static int
find_files(struct plan *p, struct site *s, struct site_plan *sp,
           const struct deploy_release *view, struct err *err)
{
    int e = 0;

    sp->files_there = true;
    if (!s->layout->render)
        return 0;
    if (p->c->verb == DEPLOY_ROLLBACK && !p->c->dry_run && !site_is_stepped(s))
        e = undo_find(p->r, s, view, sp->files_id, err);
    if (e != 0)
        return e < 0 ? e : 0;
    sp->files_there = false;
    e = load_others(p, err);
    if (e == 0)
        plan_render(p, s, view, &sp->files, sp->files_id);
    return e;
}

int
plan_flips(struct plan *p, struct err *err)
{
    int e = load_steps(p, err);

    for (int i = 0; e == 0 && i < p->sites.n; i++) {
        struct site_plan *sp = &p->by_site[i];
        struct site *s = &p->sites.s[i];
        struct deploy_release view;

        step_view(&sp->next, &view);
        e = find_files(p, s, sp, &view, err);
        if (e == 0 && p->c->verb != DEPLOY_ROLLBACK)
            e = keeps_models(s, &sp->files, err);
        if (e == 0)
            e = flips_plan(p->r, &p->flips, s, &view, sp->files_id, err);
    }
    return e;
}

/* What plan_flips found or rendered lies in the tree, and is young again. */
static int
put_next(struct plan *p, struct site *s, struct err *err)
{
    const struct site_plan *sp = plan_of(p, s);
    struct deploy_release view;
    int e;

    step_view(&sp->next, &view);
    e = site_put_model(s, &view, err);
    return e < 0 || sp->files_there
               ? e
               : site_put_files(s, LAYOUT_RELEASES, &sp->files, sp->files_id, err);
}

/* ---- what would undo it -------------------------------------------------------------
 */

static void
assume_loaded(struct step *st, const struct deploy_member *m, int n)
{
    for (int i = 0; i < n; i++)
        step_set_add(&st->available, m[i].number);
}

/* To the step that follows; false: it was the last that shows something else. */
static bool
goes_on(struct step *st)
{
    if (!st->is_stepped || st->stage >= STEP_LOOK)
        return false;
    st->dropped.n = 0; /* nothing is left of it by then */
    assume_loaded(st, st->rel.members, st->rel.n_members);
    step_on(st);
    return true;
}

/* What a rollback looks up. Where a release has steps, it renders. */
static void
note_undo(struct plan *p, const struct site *s, const char *from_id,
          const struct step *undo, const char *id)
{
    if (s->layout->render && !undo->is_stepped)
        undos_add(&p->undos, s, from_id, &undo->rel, id);
}

/* Directories and files for all steps of a release, and for rollbacks at each of them,
 * so that none of these writes anything. */
static int
prepare(struct plan *p, struct site *s, const struct step *first,
        const struct bad_set *bad, int depth, const char *from_id, struct err *err)
{
    struct bad_set then AUTO(bad_release) = { .ids = NULL };
    struct deploy_release to;
    struct step st = *first;
    char id[CONFIG_ID_BYTES];
    int e = site_ready(p->r, s, &first->rel, err), undone = 0;

    if (e == 0 && depth > 0)
        e = undone = rollback_find(p->r, &first->rel, bad, &to, err);
    for (int i = 0; undone == 1 && i < bad->n; i++)
        bad_add(&then, bad->ids[i]);
    for (int i = 0; undone == 1 && i < first->rel.n_members; i++)
        if (weights_of(&to, first->rel.members[i].version_id) == 0)
            bad_add(&then, first->rel.members[i].version_id);
    if (e < 0)
        return e;
    do {
        struct step undo, gone = st;

        e = put_rendered(p, s, &st, NULL, id, err);
        if (e == 0 && from_id)
            note_undo(p, s, from_id, &st, id);
        gone.dropped.n = 0;
        if (e == 0 && st.dropped.n > 0)
            e = put_rendered(p, s, &gone, NULL, id, err);
        if (e < 0 || undone != 1)
            continue;
        step_begin(s, &st, &to, &undo);
        e = prepare(p, s, &undo, &then, depth - 1, id, err);
    } while (e == 0 && goes_on(&st));
    return e;
}

static int
newest_first(const void *a, const void *b)
{
    const int64_t x = (*(struct deploy_release *const *)a)->intended_ns;
    const int64_t y = (*(struct deploy_release *const *)b)->intended_ns;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* The first flip of a rollback of another model, at each step of this release. */
static int
prepare_other(struct plan *p, struct site *s, const struct deploy_release *other,
              const char *next_id, struct err *err)
{
    const struct site_plan *sp = plan_of(p, s);
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    struct deploy_release to;
    struct step now = { .rel = *other }, undo, st = sp->next;
    char id[CONFIG_ID_BYTES];
    int e = bad_load(p->r, other->model, other->alias, &bad, err);

    if (e == 0)
        e = rollback_find(p->r, other, &bad, &to, err);
    if (e <= 0)
        return e;
    step_begin(s, sp->other ? &sp->other[other - p->others] : &now, &to, &undo);
    do
        e = put_rendered(p, s, &st, &undo, id, err);
    while (e == 0 && goes_on(&st));
    if (e == 0)
        note_undo(p, s, next_id, &undo, id);
    return e;
}

/* The files of a target name every model, so this release changes what undoes the
 * others. Those that moved last are the ones that are likely to be needed. */
static int
prepare_others(struct plan *p, struct site *s, const char *next_id, struct err *err)
{
    const struct deploy_release **by_age AUTO(free_ptr) = NULL;
    int e = 0;

    if (!s->layout->render || p->n_others == 0)
        return 0;
    by_age = xreallocarray(NULL, (size_t)p->n_others, sizeof(*by_age));
    for (int i = 0; i < p->n_others; i++)
        by_age[i] = &p->others[i];
    qsort(by_age, (size_t)p->n_others, sizeof(*by_age), newest_first);
    for (int i = 0; e == 0 && i < p->n_others && i < PREPARE_MODELS; i++)
        e = prepare_other(p, s, by_age[i], next_id, err);
    return e;
}

/* ---- all of it ----------------------------------------------------------------------
 */

/* A rollback needs its first config; that the later ones find no room must not keep it
 * from being made. */
static int
ready_back(struct plan *p, struct site *s, struct err *err)
{
    struct step st = plan_of(p, s)->next;
    struct err ignored = ERR_INIT;
    char id[CONFIG_ID_BYTES];
    int e = site_ready(p->r, s, &st.rel, err);

    if (e == 0)
        e = put_next(p, s, err);
    while (e == 0 && goes_on(&st) && put_rendered(p, s, &st, NULL, id, &ignored) == 0)
        ;
    return e;
}

int
plan_ready(struct plan *p, struct err *err)
{
    const bool is_back = p->c->verb == DEPLOY_ROLLBACK;
    struct bad_set bad AUTO(bad_release) = { .ids = NULL };
    int e = 0;

    for (int i = 0; i < p->bad.n; i++)
        if (weights_of(&p->next, p->bad.ids[i]) == 0)
            bad_add(&bad, p->bad.ids[i]);
    for (int i = 0; e == 0 && i < p->sites.n; i++) {
        struct site *s = &p->sites.s[i];
        const struct site_plan *sp = &p->by_site[i];

        if (!is_back) /* before its own, which are pruned last */
            e = prepare_others(p, s, sp->files_id, err);
        if (e == 0)
            e = is_back ? ready_back(p, s, err)
                        : prepare(p, s, &sp->next, &bad, PREPARE_DEPTH, NULL, err);
        if (e == 0 && !is_back) {
            e = put_next(p, s, err); /* the youngest again */
            prune(p, s, sp->files_id);
        }
    }
    return e;
}
