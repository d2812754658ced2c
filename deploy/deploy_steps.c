/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of one release on a target whose server says what it has loaded.
 *
 *     load ── all versions AVAILABLE ── label ── labels seen ── look ── seen ── done
 *
 * A server refuses a config whole that gives a label to a version it has not loaded,
 * and an answer is wanted at each moment; so new versions are loaded beside what is in
 * force, then labels and shares move, then what nothing needs is dropped. The row says
 * which config is meant, and is written before the tree shows it: whoever comes next
 * renders from rows. What is rendered is a view: a release that nobody made, in place
 * of the live one, so that layouts know nothing of steps. */
#include "deploy/deploy_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const step_names[] = { [STEP_LOAD] = "load",
                                   [STEP_LABEL] = "label",
                                   [STEP_LOOK] = "look",
                                   [STEP_DONE] = "done" };

bool
site_is_stepped(const struct site *s)
{
    return s->t.option[DEPLOY_STATUS_URL] && s->layout->not_observed;
}

/* It has rows. */
static bool
is_tracked(const struct site *s)
{
    return site_is_stepped(s) || s->t.option[DEPLOY_RELOAD];
}

/* ---- sets --------------------------------------------------------------------------
 */

bool
step_set_has(const struct step_set *s, int64_t number)
{
    for (int i = 0; i < s->n; i++)
        if (s->number[i] == number)
            return true;
    return false;
}

/* When it is full the oldest goes. */
void
step_set_add(struct step_set *s, int64_t number)
{
    if (step_set_has(s, number))
        return;
    if (s->n == STEP_VERSIONS_MAX)
        memmove(s->number, s->number + 1, (size_t)--s->n * sizeof(s->number[0]));
    s->number[s->n++] = number;
}

static void
step_set_drop(struct step_set *s, int64_t number)
{
    int n = 0;

    for (int i = 0; i < s->n; i++)
        if (s->number[i] != number)
            s->number[n++] = s->number[i];
    s->n = n;
}

/* ---- what is shown ------------------------------------------------------------------
 */

static bool
has_version(const struct deploy_release *rel, int64_t version_id)
{
    const struct deploy_member *m;

    for (int i = 0; (m = release_at(rel, i)) != NULL; i++)
        if (m->version_id == version_id)
            return true;
    return false;
}

/* Loaded, and nothing else. */
static void
add_loaded(struct deploy_release *view, const struct deploy_member *m, int n)
{
    for (int i = 0; i < n && view->n_kept < DEPLOY_KEPT_MAX; i++) {
        struct deploy_member *k = &view->kept[view->n_kept];

        if (has_version(view, m[i].version_id))
            continue;
        *k = m[i];
        k->weight = k->mirror = 0;
        k->label[0] = '\0';
        view->n_kept++;
    }
}

static void
put_labels(struct deploy_member *m, int n, const struct step *st)
{
    for (int i = 0; i < n; i++)
        snprintf(m[i].label, sizeof(m[i].label), "%s",
                 m[i].number == st->stable   ? "stable"
                 : m[i].number == st->canary ? "canary"
                                             : "");
}

static void
hold_back(struct deploy_release *view, const struct step *st)
{
    int n = 0;

    for (int i = 0; i < view->n_kept; i++)
        if (!step_set_has(&st->dropped, view->kept[i].number))
            view->kept[n++] = view->kept[i];
    view->n_kept = n;
}

void
step_view(const struct step *st, struct deploy_release *out)
{
    const bool is_first = st->from.n_members == 0;

    if (!st->is_stepped || st->stage != STEP_LOAD) {
        *out = st->rel;
        if (st->is_stepped)
            weights_label(out);
        if (st->is_stepped && st->stage == STEP_LABEL)
            add_loaded(out, st->from.members, st->from.n_members);
        hold_back(out, st);
        return;
    }
    *out = is_first ? st->rel : st->from;
    put_labels(out->members, out->n_members, st);
    put_labels(out->kept, out->n_kept, st);
    add_loaded(out, st->rel.members, st->rel.n_members);
    add_loaded(out, st->rel.kept, st->rel.n_kept);
    hold_back(out, st);
}

bool
step_needs(const struct deploy_member *m)
{
    return m->weight > 0 || m->mirror > 0;
}

static bool
all_available(const struct step *st)
{
    const struct deploy_member *m;
    bool all = true;

    for (int i = 0; (m = release_at(&st->rel, i)) != NULL; i++)
        all &= !step_needs(m) || step_set_has(&st->available, m->number);
    return all;
}

static enum step_stage
step_next(const struct step *st)
{
    if (st->stage != STEP_LOAD)
        return st->stage == STEP_LABEL ? STEP_LOOK : STEP_DONE;
    for (int i = 0; i < st->from.n_members; i++)
        if (!has_version(&st->rel, st->from.members[i].version_id))
            return STEP_LABEL;
    return STEP_LOOK; /* nothing would be dropped then */
}

/* The labels that a view has. */
static void
note_labels(struct step *st, const struct deploy_release *view)
{
    const struct deploy_member *m;

    st->stable = st->canary = 0;
    for (int i = 0; (m = release_at(view, i)) != NULL; i++) {
        if (strcmp(m->label, "stable") == 0)
            st->stable = m->number;
        if (strcmp(m->label, "canary") == 0)
            st->canary = m->number;
    }
}

/* What the new config does not name any more is not there, whatever was seen. */
static void
drop(struct step *st, const struct deploy_release *was)
{
    const struct deploy_member *m;
    struct deploy_release view;

    step_view(st, &view);
    for (int i = 0; (m = release_at(was, i)) != NULL; i++) {
        if (has_version(&view, m->version_id))
            continue;
        step_set_drop(&st->available, m->number);
        step_set_add(&st->dropped, m->number);
    }
}

void
step_on(struct step *st)
{
    struct deploy_release was;

    step_view(st, &was);
    st->stage = step_next(st);
    drop(st, &was);
}

/* A server that finds its versions by itself has them one after the other: it needs no
 * more than to be seen. */
static enum step_stage
first_stage(const struct site *s)
{
    return !site_is_stepped(s) ? STEP_DONE : s->layout->parks ? STEP_LOOK : STEP_LOAD;
}

void
step_begin(const struct site *s, const struct step *now,
           const struct deploy_release *next, struct step *out)
{
    struct deploy_release view;

    memset(out, 0, sizeof(*out));
    out->is_stepped = site_is_stepped(s);
    out->is_told = !s->t.option[DEPLOY_RELOAD];
    out->stage = first_stage(s);
    out->rel = *next;
    if (out->stage != STEP_LOAD || !now)
        return;
    out->from = now->stage == STEP_LOAD && now->from.n_members ? now->from : now->rel;
    step_view(now, &view);
    note_labels(out, &view);
    out->available = now->available;
    out->dropped = now->dropped;
    if (all_available(out))
        out->stage = step_next(out);
    drop(out, &view);
}

/* ---- rows ---------------------------------------------------------------------------
 */

static void
set_read(const char *text, struct step_set *out)
{
    char *end;

    for (int64_t n; n = strtoll(text, &end, 10), end != text; text = end)
        step_set_add(out, n);
}

static void
set_write(const struct step_set *s, struct buf *out)
{
    for (int i = 0; i < s->n; i++)
        buf_addf(out, " %" PRId64, s->number[i]);
}

static int
read_row(struct repo *r, const struct site *s, const struct deploy_release *rel,
         int64_t *from_id, struct step *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(
        r->db, &st, err,
        "SELECT stage, from_id, stable, canary, available, "
        "dropped, told, observed_ns FROM shown WHERE target_id = ? AND model = ? AND "
        "release_id = ?",
        "iti", s->t.id, rel->model, rel->id);

    if (e == 0)
        e = db_step(st, err);
    if (e <= 0)
        return e;
    for (int i = 0; out->is_stepped && i <= STEP_DONE; i++)
        if (strcmp(step_names[i], db_text(st, 0)) == 0)
            out->stage = (enum step_stage)i;
    *from_id = db_int(st, 1);
    out->stable = db_int(st, 2);
    out->canary = db_int(st, 3);
    set_read(db_text(st, 4), &out->available);
    set_read(db_text(st, 5), &out->dropped);
    out->is_told = db_int(st, 6) != 0;
    out->observed_ns = db_int(st, 7);
    return 1;
}

/* One that has no row was shown before there was a status URL: it is in force, with the
 * labels that its release says, but nobody has seen it. */
int
step_get(struct repo *r, const struct site *s, const struct deploy_release *rel,
         struct step *out, struct err *err)
{
    int64_t from_id = 0;
    int e;

    memset(out, 0, sizeof(*out));
    out->is_stepped = site_is_stepped(s);
    out->is_told = true;
    out->stage = first_stage(s);
    out->rel = *rel;
    if (!is_tracked(s))
        return 0;
    e = read_row(r, s, rel, &from_id, out, err);
    if (e == 0 && out->is_stepped) {
        out->from = *rel;
        note_labels(out, rel);
    }
    if (e == 1 && from_id)
        e = release_get(r, from_id, &out->from, err);
    return e < 0 ? e : 0;
}

int
step_put(struct repo *r, const struct site *s, const struct step *st, struct err *err)
{
    struct buf available AUTO(buf_release) = BUF_INIT;
    struct buf dropped AUTO(buf_release) = BUF_INIT;

    set_write(&st->available, &available);
    set_write(&st->dropped, &dropped);
    return db_run(
        r->db, err,
        "INSERT INTO shown(target_id, model, release_id, stage, from_id, stable, "
        "canary, available, dropped, told, observed_ns) "
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(target_id, model) "
        "DO UPDATE SET release_id = excluded.release_id, stage = excluded.stage, "
        "from_id = excluded.from_id, stable = excluded.stable, "
        "canary = excluded.canary, available = excluded.available, "
        "dropped = excluded.dropped, "
        "told = excluded.told, observed_ns = excluded.observed_ns",
        "ititiiittii", s->t.id, st->rel.model, st->rel.id, step_names[st->stage],
        st->from.id, st->stable, st->canary, buf_str(&available), buf_str(&dropped),
        (int64_t)st->is_told, st->observed_ns);
}

int
steps_start(struct repo *r, struct sites *sites, const struct deploy_release *rel,
            struct err *err)
{
    struct deploy_release cur;
    int e = 0, had = -1;

    for (int i = 0; e == 0 && i < sites->n; i++) {
        struct site *s = &sites->s[i];
        struct step now, next;

        if (!is_tracked(s))
            continue;
        if (had < 0)
            e = had = deploy_live(r, rel->model, rel->alias, &cur, err);
        if (e >= 0)
            e = had ? step_get(r, s, &cur, &now, err) : 0;
        if (e < 0)
            return e;
        step_begin(s, had ? &now : NULL, rel, &next);
        e = step_put(r, s, &next, err);
    }
    return e;
}

int
steps_cancel(struct repo *r, struct sites *sites, const struct deploy_release *rel,
             struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < sites->n; i++)
        if (site_is_stepped(&sites->s[i]))
            e = db_run(r->db, err,
                       "UPDATE shown SET available = '' WHERE target_id = ? AND "
                       "model = ?",
                       "it", sites->s[i].t.id, rel->model);
    return e;
}

int
live_shown(struct repo *r, const struct site *s, const struct live *live,
           struct live *out, struct err *err)
{
    int e = 0;

    out->n = live->n;
    out->rel = xreallocarray(NULL, (size_t)live->n + 1, sizeof(*out->rel));
    out->by = xreallocarray(NULL, (size_t)live->n + 1, sizeof(*out->by));
    for (int i = 0; e == 0 && i < live->n; i++) {
        struct step st;

        e = step_get(r, s, &live->rel[i], &st, err);
        step_view(&st, &out->rel[i]);
        out->by[i] = &out->rel[i];
    }
    return e;
}
