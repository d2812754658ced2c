/* SPDX-License-Identifier: Apache-2.0 */
/* Flipping links, and healing what a crash left half flipped.
 *
 * The first flip of each target that changes what is served is its commit point. A
 * release is past it as soon as one target shows the new state (version directories and
 * rendered files of every target are ready before the first flip), so healing goes
 * forward then, and back otherwise. What a layout needs to have in order before its
 * commit point is flipped before that of any target.
 *
 * All are renamed in this order, and then each directory that holds one is synced once:
 * with a journal the first of these takes the other renames along. Until then a power
 * cut may keep any of the renames and lose the rest, so healing back looks at every
 * one. Only where the order itself is what a server sees (names of directories) each is
 * on the disk before the next. */
#include "deploy/deploy_int.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
flips_release(struct flips *f)
{
    for (int i = 0; i < f->n; i++) {
        free(f->f[i].path);
        free(f->f[i].was);
        free(f->f[i].becomes);
    }
    free(f->f);
    *f = (struct flips)FLIPS_INIT;
}

static bool
same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool
is_planned(const struct flips *f, const struct site *s, const char *path)
{
    for (int i = 0; i < f->n; i++)
        if (f->f[i].s == s && strcmp(f->f[i].path, path) == 0)
            return true;
    return false;
}

static struct flip *
add_flip(struct flips *f)
{
    f->f = xreallocarray(f->f, (size_t)f->n + 1, sizeof(*f->f));
    f->f[f->n] = (struct flip){ .s = NULL };
    return &f->f[f->n++];
}

/* The first that is not `before` is the commit point. */
static void
number_flips(struct flip *f, int n, int n_before)
{
    for (int i = 0; i < n; i++)
        f[i].place = i - n_before;
}

int
flips_plan(struct repo *r, struct flips *f, struct site *s,
           const struct deploy_release *rel, const char *config_id, struct err *err)
{
    struct layout_links links AUTO(layout_links_release) = { .n = 0 };
    const int first = f->n;
    int n_before = 0, e = site_links(r, s, rel, config_id, &links, err);

    for (int i = 0; e == 0 && i < links.n; i++) {
        const char *path = buf_str(&links.link[i].path);
        char *was AUTO(free_ptr) = NULL;
        struct flip *flip;

        if (is_planned(f, s, path))
            continue;
        e = flip_read(s, links.link[i].kind, path, &was, err);
        if (e < 0 || same_text(was, buf_str(&links.link[i].text)))
            continue;
        n_before += links.link[i].before;
        flip = add_flip(f);
        flip->s = s;
        flip->kind = links.link[i].kind;
        flip->path = xstrdup(path);
        flip->becomes = buf_take(&links.link[i].text);
        flip->was = was;
        was = NULL;
    }
    number_flips(f->f + first, f->n - first, n_before);
    return e;
}

int
flips_insert(struct repo *r, int64_t release_id, const struct flips *f, struct err *err)
{
    int e = 0;

    for (int i = 0; e == 0 && i < f->n; i++)
        e = db_run(r->db, err,
                   "INSERT INTO intent(release_id, target_id, place, kind, path, was, "
                   "becomes) VALUES(?, ?, ?, ?, ?, ?, ?)",
                   "iiitttt", release_id, f->f[i].s->t.id, (int64_t)f->f[i].place,
                   flip_kind_names[f->f[i].kind], f->f[i].path, f->f[i].was,
                   f->f[i].becomes);
    return e;
}

int
flips_load(struct repo *r, int64_t release_id, struct sites *sites, struct flips *out,
           struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int e = db_query(r->db, &st, err,
                     "SELECT target_id, place, path, was, becomes, kind FROM intent "
                     "WHERE release_id = ? ORDER BY target_id, place",
                     "i", release_id);

    while (e >= 0 && (e = db_step(st, err)) == 1) {
        struct flip *flip = add_flip(out);

        flip->place = (int)db_int(st, 1);
        flip->path = xstrdup(db_text(st, 2));
        flip->was = db_text(st, 3) ? xstrdup(db_text(st, 3)) : NULL;
        flip->becomes = xstrdup(db_text(st, 4));
        for (int i = 0; i < sites->n; i++)
            if (sites->s[i].t.id == db_int(st, 0))
                flip->s = &sites->s[i];
        if (!flip->s)
            return err_set(err, ERR_CORRUPT,
                           "an intent names target %" PRId64
                           ", which is not of its alias",
                           db_int(st, 0));
        if (flip_kind_find(db_text(st, 5), &flip->kind) < 0)
            return err_set(err, ERR_CORRUPT, "an intent has a flip of kind \"%s\"",
                           db_text(st, 5));
    }
    return e;
}

/* The directory that holds a link; NULL: the target's own. The caller frees it. */
static char *
holder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? xstrndup(path, (size_t)(slash - path)) : NULL;
}

static int
sync_holder(struct site *s, const char *path, struct err *err)
{
    char *dir AUTO(free_ptr) = holder_of(path);

    return dir ? fs_fsync_dir(s->dirfd, dir, err) : fs_fsync(s->dirfd, s->t.dir, err);
}

void
flips_sweep(const struct flips *f)
{
    for (int i = 0; i < f->n; i++) {
        char *dir AUTO(free_ptr) = holder_of(f->f[i].path);

        fs_tmp_sweep(f->f[i].s->dirfd, dir ? dir : ".");
        if (f->f[i].kind == LAYOUT_FILE)
            (void)unlinkat(f->f[i].s->dirfd, SITE_FLIP, 0);
    }
}

static int
point(const struct flip *f, const char *text, struct err *err)
{
    int e = flip_turn(f->s, f->kind, f->path, text, err);

    if (e == 0 && f->kind == LAYOUT_DIR)
        e = sync_holder(f->s, f->path, err);
    return e < 0 ? err_ctx(err, "target %s (%s)", f->s->t.name, f->s->t.dir) : 0;
}

/* Is f[i] the first that lies in its directory? */
static bool
is_first_in_holder(const struct flips *f, int i)
{
    char *dir AUTO(free_ptr) = holder_of(f->f[i].path);

    for (int k = 0; k < i; k++) {
        char *other AUTO(free_ptr) = holder_of(f->f[k].path);

        if (f->f[k].s == f->f[i].s && same_text(dir, other))
            return false;
    }
    return true;
}

/* Each directory once. */
static int
sync_holders(const struct flips *f, struct err *err)
{
    for (int i = 0; i < f->n; i++)
        if (is_first_in_holder(f, i) && sync_holder(f->f[i].s, f->f[i].path, err) < 0)
            return err_ctx(err, "target %s (%s)", f->f[i].s->t.name, f->f[i].s->t.dir);
    return 0;
}

/* -1: before a commit point, 0: one, 1: after. */
static int
part_of(const struct flip *f)
{
    return f->place < 0 ? -1 : f->place > 0;
}

/* Turns a link that does not say it yet. What was tried is turned back in any case: a
 * disk that refuses that, too, may have kept what was staged for it, which healing then
 * sweeps. */
static int
turn(struct flip *f, bool back, struct err *err)
{
    char *now AUTO(free_ptr) = NULL;
    int e = flip_read(f->s, f->kind, f->path, &now, err);

    if (e < 0 ||
        (back ? !f->tried && !same_text(now, f->becomes) : same_text(now, f->becomes)))
        return e;
    f->tried = true;
    return point(f, back ? f->was : f->becomes, err);
}

/* In order; back: from the last. */
static int
turn_all(struct flips *f, bool back, struct err *err)
{
    int e = 0;

    for (int part = -1; part <= 1; part++)
        for (int i = 0; e == 0 && i < f->n; i++) {
            struct flip *flip = &f->f[back ? f->n - 1 - i : i];

            if (part_of(flip) == (back ? -part : part))
                e = turn(flip, back, err);
        }
    return e;
}

int
flips_apply(struct flips *f, bool *past, struct err *err)
{
    struct err second = ERR_INIT;
    int e = turn_all(f, false, err);

    if (e == 0)
        e = sync_holders(f, err);
    *past = e == 0 || turn_all(f, true, &second) < 0 || sync_holders(f, &second) < 0;
    return e;
}

int
flips_committed(const struct flips *f, struct err *err)
{
    for (int i = 0; i < f->n; i++) {
        char *now AUTO(free_ptr) = NULL;

        if (f->f[i].place != 0)
            continue;
        if (flip_read(f->f[i].s, f->f[i].kind, f->f[i].path, &now, err) < 0)
            return -(int)err->code;
        if (same_text(now, f->f[i].becomes))
            return 1;
    }
    return 0;
}

int64_t
sites_observed_ns(const struct sites *s)
{
    for (int i = 0; i < s->n; i++)
        if (s->s[i].layout->not_observed)
            return 0;
    return s->n > 0 ? clock_now_ns() : 0;
}

/* Before an intent is forgotten: what its links say is on disk, also when it was put
 * back just before the crash, and what it was staging is gone. */
static int
settle(struct sites *sites, const struct flips *f, struct err *err)
{
    int e = 0;

    flips_sweep(f);
    for (int i = 0; e == 0 && i < f->n; i++) {
        e = sync_holder(f->f[i].s, f->f[i].path, err);
        if (e < 0 && err->sys == ENOENT) { /* no version of this model was ever there */
            err_clear(err);
            e = 0;
        }
    }
    for (int i = 0; e == 0 && i < sites->n; i++)
        e = site_clear_staging(&sites->s[i], err);
    return e;
}

static int
heal_one(struct repo *r, struct sites *sites, int64_t id, struct err *err)
{
    struct flips flips AUTO(flips_release) = FLIPS_INIT;
    struct db *tx AUTO(tx_end_p) = NULL;
    struct deploy_release rel;
    struct err why = ERR_INIT;
    bool forward = false;
    int e = release_get(r, id, &rel, err);

    if (e == 1)
        e = flips_load(r, id, sites, &flips, err);
    if (e == 0)
        e = flips_committed(&flips, err);
    if (e == 1) {
        e = flips_apply(&flips, &forward, &why);
        if (e < 0 && forward) {
            *err = why;
            return e;
        }
        e = 0;
    } else if (e == 0) {
        e = turn_all(&flips, true, err);
    }
    if (e == 0)
        e = settle(sites, &flips, err);
    if (e == 0)
        e = db_begin(r->db, err);
    if (e < 0)
        return e;
    tx = r->db;
    e = release_end(r, sites, &rel, forward, true, NULL, err);
    if (e < 0)
        return e;
    tx = NULL;
    return db_commit(r->db, err);
}

int
heal(struct repo *r, struct sites *sites, const char *alias, struct err *err)
{
    int64_t id;
    int e;

    while ((e = release_pending(r, alias, &id, err)) == 1) {
        e = heal_one(r, sites, id, err);
        if (e < 0)
            return err_ctx(err, "heal what an interrupted command left on %s", alias);
    }
    return e;
}
