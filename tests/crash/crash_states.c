/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk may hold after a power cut. A run is logged; at each of its steps every
 * operation that no sync has put on the disk may have happened or not, in any order
 * between files and directories. Of these states are built, once each:
 *
 *   nothing unsynced; everything; each operation missing; each alone; each prefix;
 *   seeded random subsets; the last of the writes torn at 512 and 4096 bytes, or with
 * its size but without its bytes; names without what they name (from the above).
 *
 * Every state is counted; those that are equal once SQLite has replayed its log are
 * checked once, and one in sixteen of the others.
 *
 * In each the store must open, fsck clean, show what it showed before or after, and the
 * same command must end well. Then two things deeper: the recovery itself is logged and
 * cut off in the same way; and a run is killed, repeated to its end (acknowledged), and
 * only then is the power cut. */
#include "tests/crash/crash.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A prime above any log: its multiples are each cut once, and spread over the log, so
 * that a run that is cut short has seen something of each part. */
#define SPREAD 1000003L

struct seen { /* an open hash table */
    uint64_t *slots;
    size_t n, alloc;
};

static bool
is_new(struct seen *s, uint64_t h)
{
    size_t i;

    if (2 * s->n >= s->alloc) {
        struct seen old = *s;

        s->alloc = old.alloc ? 2 * old.alloc : 4096;
        s->slots = xcalloc(s->alloc, sizeof(*s->slots));
        s->n = 0;
        for (size_t k = 0; k < old.alloc; k++)
            if (old.slots[k])
                (void)is_new(s, old.slots[k]);
        free(old.slots);
    }
    h += h == 0;
    for (i = h % s->alloc; s->slots[i]; i = (i + 1) % s->alloc)
        if (s->slots[i] == h)
            return false;
    s->slots[i] = h;
    s->n++;
    return true;
}

static void
forget(struct seen *s)
{
    s->n = 0;
    memset(s->slots, 0, s->alloc * sizeof(*s->slots));
}

struct study {
    struct crash *c;
    struct worker *w;
    const struct scene *s;
    struct disk disk; /* before the log, with its inodes */
    struct disk_log log;
    struct seen seen, replayed; /* raw states; and as SQLite's replay leaves them */
    uint64_t random;
    const struct buf *allowed;
    int n_allowed;
    unsigned flags;
    int depth;
    const char *what; /* for messages */
};

static uint64_t
next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* ---- one state ---- */

struct choice {
    int end;    /* the power goes after this many operations */
    bool *keep; /* of the unsynced ones; NULL: all */
    int torn;   /* this one is torn; -1: none */
    enum disk_how how;
};

static void study_recovery(struct study *st, const struct disk *d);

/* Notes a violation and what state it was. */
static void
blame(struct study *st, const struct choice *ch)
{
    struct buf lost AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < ch->end; i++) {
        const struct disk_op *o = &st->log.ops[i];

        if (o->durable_at < ch->end || o->op->kind == OP_SYNC ||
            (ch->keep ? ch->keep[i] : true) || lost.len > 300)
            continue;
        buf_addf(&lost, " %d(kind %u %s at %ld)", i, o->op->kind,
                 o->op->name_bytes ? shim_name(o->op) : "", (long)o->op->at);
    }
    crash_bad(st->c,
              "%s (%s, seed %u): cut after operation %d of %d, torn %d/%d, lost:%s: %s",
              st->s->name, st->what, st->c->o.seed, ch->end, st->log.n, ch->torn,
              (int)ch->how, buf_str(&lost), st->w->said);
}

static void
try_state(struct study *st, const struct choice *ch)
{
    struct disk d;

    if (crash_over(st->c))
        return;
    disk_copy(&d, &st->disk);
    for (int i = 0; i < ch->end; i++) {
        const struct disk_op *o = &st->log.ops[i];

        if (o->durable_at < ch->end || !ch->keep || ch->keep[i])
            disk_apply(&d, o, i == ch->torn ? ch->how : DISK_ALL);
    }
    if (is_new(&st->seen, disk_hash(&d, false)))
        __atomic_add_fetch(&st->c->count->n_states, 1, __ATOMIC_RELAXED);
    else
        goto out;
    /* what differs only by log frames that the replay drops is tried now and then */
    if (is_new(&st->replayed, disk_hash(&d, true)) ||
        next_random(&st->random) % 16 == 0) {
        if (disk_write(&d, st->w->live) < 0) {
            fprintf(stderr, "a state cannot be written: %s\n", strerror(errno));
            abort();
        }
        __atomic_add_fetch(&st->c->count->n_checked, 1, __ATOMIC_RELAXED);
        /* the second look at the store is for one in four: it takes half the time */
        if (!scene_check(st->w, st->s, st->allowed, st->n_allowed,
                         st->flags | (next_random(&st->random) & 3 ? CHECK_SHORT : 0)))
            blame(st, ch);
        /* several commands, done again from their end, show once more what lies between
         */
        if (st->depth == 1 && !(st->n_allowed == 1 && strchr(st->s->run, ';')) &&
            next_random(&st->random) % (st->c->o.fast ? 400 : 60) == 0)
            study_recovery(st, &d);
    }
out:
    disk_release(&d);
}

/* All states in which the power goes after `end` operations. */
static void
cut_at(struct study *st, int end)
{
    int *open_ = xmalloc(((size_t)end + 1) * sizeof(int)), n = 0;
    bool *keep = xmalloc((size_t)end + 1);
    struct choice ch = { .end = end, .torn = -1 };
    const int n_random = st->depth > 1 ? 2 : st->c->o.fast ? 2 : 24;

    for (int i = 0; i < end; i++)
        if (st->log.ops[i].durable_at >= end && st->log.ops[i].op->kind != OP_SYNC)
            open_[n++] = i;
    try_state(st, &ch); /* all */
    ch.keep = keep;
    memset(keep, 0, (size_t)end + 1);
    try_state(st, &ch);           /* none */
    for (int k = 0; k < n; k++) { /* prefixes and single ones */
        keep[open_[k]] = true;
        try_state(st, &ch);
    }
    for (int k = 0; k < n; k++) {
        memset(keep, 1, (size_t)end + 1);
        keep[open_[k]] = false;
        try_state(st, &ch);
        memset(keep, 0, (size_t)end + 1);
        keep[open_[k]] = true;
        try_state(st, &ch);
    }
    for (int r = 0; r < n_random && n > 2; r++) {
        for (int k = 0; k < n; k++)
            keep[open_[k]] = next_random(&st->random) & 1;
        try_state(st, &ch);
    }
    for (int k = n - 1; k >= 0 && k >= n - 6; k--) {
        if (st->log.ops[open_[k]].op->kind != OP_WRITE)
            continue;
        ch.torn = open_[k];
        for (ch.how = DISK_ZEROS; ch.how <= DISK_HEAD_PAGE; ch.how++) {
            memset(keep, 1, (size_t)end + 1);
            try_state(st, &ch);
            memset(keep, 0, (size_t)end + 1);
            keep[open_[k]] = true;
            try_state(st, &ch);
        }
    }
    free(open_);
    free(keep);
}

/* ---- a study: one log and all its cuts ---- */

static int
study_open(struct study *st, struct crash *c, struct worker *w, const struct scene *s,
           const struct disk *start)
{
    *st = (struct study){ .c = c, .w = w, .s = s };
    st->random = (uint64_t)c->o.seed * 0x9e3779b97f4a7c15 + 1;
    disk_copy(&st->disk, start);
    (void)disk_hash(&st->disk, false); /* its copies need not do it again */
    return disk_log_read(&st->log, w->shim, &st->disk);
}

static void
study_close(struct study *st)
{
    free(st->seen.slots);
    free(st->replayed.slots);
    free(st->log.ops);
    disk_release(&st->disk);
}

/* The inode numbers of what lies in live now. */
static int
relearn(struct worker *w, struct disk *out)
{
    return disk_read(out, w->live);
}

/* Cuts the retry off that follows state `d`. */
static void
study_recovery(struct study *up, const struct disk *d)
{
    const size_t log_before = up->w->shim->log_bytes;
    struct shim *shim = up->w->shim, *own = shim_open((size_t)16 << 20);
    struct disk start;
    struct study st;
    struct ran ran;

    if (!own || disk_write(d, up->w->live) < 0 || relearn(up->w, &start) < 0)
        abort();
    own->log = true;
    up->w->shim = own;
    scene_run(up->w, up->s, &ran);
    buf_release(&ran.err);
    if (study_open(&st, up->c, up->w, up->s, &start) == 0) {
        st.allowed = up->allowed;
        st.n_allowed = up->n_allowed;
        st.flags = up->flags | CHECK_LOOSE;
        st.depth = 2;
        st.what = "power cut in the recovery";
        st.random += up->random;
        for (int end = 0; end <= st.log.n;
             end += 1 + (int)(next_random(&st.random) % 12))
            cut_at(&st, end);
    }
    study_close(&st);
    disk_release(&start);
    shim_close(own);
    up->w->shim = shim;
    if (shim->log_bytes != log_before)
        abort();
}

/* Runs the scene from its start with a log; false: it did not end well. */
static bool
record(struct worker *w, const struct scene *s, struct disk *start)
{
    struct ran ran;

    if (disk_write(&w->start, w->live) < 0 || relearn(w, start) < 0)
        abort();
    shim_reset(w->shim);
    w->shim->log = true;
    scene_run(w, s, &ran);
    buf_release(&ran.err);
    return ran.status == 0;
}

static void
see(struct worker *w, struct buf *out)
{
    struct buf keep = w->after;

    w->after = (struct buf)BUF_INIT;
    scene_look(w, &w->after);
    *out = w->after;
    w->after = keep;
}

/* What several commands may have shown on the way: after none, one, two … of them. */
static int
see_steps(struct worker *w, const struct scene *s, struct buf *out, int max)
{
    int n = 0;
    const char *end = s->run;

    buf_adds(&out[n++], buf_str(&w->before));
    while (n + 1 < max && (end = strchr(end, ';')) != NULL) {
        char *part AUTO(free_ptr) = xstrndup(s->run, (size_t)(end - s->run));
        const struct scene some = { "part", "", part, 0, NULL };
        struct ran ran;

        if (disk_write(&w->start, w->live) < 0)
            abort();
        shim_reset(w->shim);
        scene_run(w, &some, &ran);
        buf_release(&ran.err);
        see(w, &out[n++]);
        end++;
    }
    buf_adds(&out[n++], buf_str(&w->after));
    return n;
}

static void
power_cuts(struct crash *c, struct worker *w, const struct scene *s)
{
    struct buf steps[8] = { BUF_INIT };
    const int n_steps = see_steps(w, s, steps, 8);
    struct disk start;
    struct study st;

    if (!record(w, s, &start) || study_open(&st, c, w, s, &start) < 0) {
        crash_bad(c, "%s: its run cannot be logged", s->name);
        return;
    }
    st.flags = CHECK_KILLED;
    st.depth = 1;
    st.what = "power cut";
    for (int i = 0; i <= st.log.n && !crash_over(c);
         i += c->o.fast ? 1 + (int)(next_random(&st.random) % 24) : 1) {
        st.allowed = steps;
        st.n_allowed = n_steps;
        cut_at(&st, c->o.fast ? i : (int)((long)i * SPREAD % (st.log.n + 1)));
    }
    /* acknowledged: what is seen is what was done, whatever was not synced */
    st.allowed = &steps[n_steps - 1];
    st.n_allowed = 1;
    forget(&st.seen);
    forget(&st.replayed);
    cut_at(&st, st.log.n);
    study_close(&st);
    disk_release(&start);
    for (int i = 0; i < n_steps; i++)
        buf_release(&steps[i]);
}

/* Killed before its n-th change, done again to the end, then the power goes. */
static void
kill_then_cut(struct crash *c, struct worker *w, const struct scene *s)
{
    for (long n = 1; !crash_over(c); n += c->o.fast ? 23 : 1) {
        struct disk start;
        struct study st;
        struct ran ran;
        bool was_killed;

        if (disk_write(&w->start, w->live) < 0 || relearn(w, &start) < 0)
            abort();
        shim_reset(w->shim);
        w->shim->log = true;
        w->shim->class = SHIM_SPACE | SHIM_DENIED;
        w->shim->what = SHIM_KILL;
        w->shim->n = n;
        scene_run(w, s, &ran);
        was_killed = ran.status == 128 + 9;
        buf_release(&ran.err);
        w->shim->n = 0;
        if (was_killed)
            scene_run(w, s, &ran);
        if (!was_killed || ran.status != 0) {
            if (was_killed &&
                !((ran.status == 3 || ran.status == 7) && s->flags & SCENE_ONCE))
                crash_bad(c, "%s: killed before change %ld, then: %d: %s", s->name, n,
                          ran.status, buf_str(&ran.err));
            disk_release(&start);
            if (was_killed)
                continue;
            return;
        }
        if (study_open(&st, c, w, s, &start) == 0) {
            st.allowed = &w->after;
            st.n_allowed = 1;
            st.flags = CHECK_KILLED | CHECK_LOOSE;
            st.depth = 2;
            st.what = "killed, repeated, then a power cut";
            cut_at(&st, st.log.n);
        }
        study_close(&st);
        disk_release(&start);
    }
}

static bool
is_mine(const struct crash *c, int scene)
{
    return crash_wanted(c, &scenes[scene]) && !(scenes[scene].flags & SCENE_BIG);
}

int
crash_states(struct crash *c, struct worker *w)
{
    for (;;) {
        const long job = __atomic_fetch_add(&c->count->next, 1, __ATOMIC_RELAXED);
        const int i = (int)(job / 2);
        long n_left = 0;

        if (i >= n_scenes)
            return 0;
        if (!is_mine(c, i))
            continue;
        for (int k = i; k < n_scenes; k++)
            n_left += is_mine(c, k) * 2;
        crash_share(c, n_left - job % 2);
        if (scene_begin(w, &scenes[i]) < 0) {
            crash_bad(c, "%s: cannot be set up", scenes[i].name);
            continue;
        }
        if (job % 2 == 0)
            power_cuts(c, w, &scenes[i]);
        else
            kill_then_cut(c, w, &scenes[i]);
        __atomic_add_fetch(&c->count->n_jobs_taken, 1, __ATOMIC_RELAXED);
    }
}
