/* SPDX-License-Identifier: Apache-2.0 */
/* usage: crash PART [--fast] [--scene TEXT] [--seed N] [--seconds S] [--jobs N]
 *   fault   the n-th call fails
 *   states  what a power cut may leave
 *   bits    single flipped bits
 *   count   how often a run of a scene makes each call that the shim stands before
 * Prints TAP. Works below $CRASH_DIR, else /dev/shm, else /tmp. */
#include "tests/crash/crash.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "service/service.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void
crash_bad(struct crash *c, const char *fmt, ...)
{
    const long i = __atomic_fetch_add(&c->count->n_bad, 1, __ATOMIC_RELAXED);
    va_list ap;

    if (i >= (long)(sizeof(c->count->bad) / sizeof(c->count->bad[0])))
        return;
    va_start(ap, fmt);
    vsnprintf(c->count->bad[i], sizeof(c->count->bad[i]), fmt, ap);
    va_end(ap);
}

bool
crash_wanted(const struct crash *c, const struct scene *s)
{
    if (s->needs && !svc_find(s->needs))
        return false;
    if (c->o.scene)
        return strstr(s->name, c->o.scene) != NULL;
    return !c->o.fast || s->flags & SCENE_FAST;
}

void
crash_share(struct crash *c, long n_jobs)
{
    const int64_t now_ns = clock_mono_ns(), left_ns = c->all_end_ns - now_ns;
    const int64_t share_ns = left_ns / (n_jobs > 0 ? n_jobs : 1) * c->o.n_workers;

    if (c->all_end_ns)
        c->end_ns = now_ns + (share_ns < left_ns ? share_ns : left_ns);
}

bool
crash_over(const struct crash *c)
{
    if (c->end_ns && clock_mono_ns() > c->end_ns) {
        c->count->n_cut = 1;
        return true;
    }
    return c->count->n_bad >= 2000;
}

static int
parse(struct options *o, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--fast") == 0) {
            o->fast = true;
            continue;
        }
        if (!value)
            return -1;
        if (strcmp(argv[i], "--scene") == 0)
            o->scene = value;
        else if (strcmp(argv[i], "--seed") == 0)
            o->seed = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            o->seconds = (int)strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--jobs") == 0)
            o->n_workers = (int)strtol(value, NULL, 10);
        else
            return -1;
        i++;
    }
    return 0;
}

/* A place for all, with the models that scenes push. */
static int
make_work(char work[200])
{
    static const char *const bases[] = { "/dev/shm", "/tmp" };
    static const char *const argv[] = { "sh", "tests/crash/models.sh", NULL };
    const char *base = getenv("CRASH_DIR");
    struct buf said AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    char *models AUTO(free_ptr) = NULL;
    const char *env[2] = { NULL };
    int status;

    for (size_t i = 0; !base && i < 2; i++)
        if (access(bases[i], W_OK) == 0)
            base = bases[i];
    snprintf(work, 200, "%s/sluice-crash-XXXXXX", base ? base : ".");
    if (!mkdtemp(work))
        return -1;
    models = xasprintf("CRASH_MODELS=%s/models", work);
    env[0] = models;
    if (proc_run(&(struct proc_args){ .argv = argv, .extra_env = env }, &said, &status,
                 &err) == 0 &&
        status == 0)
        return 0;
    fprintf(stderr, "tests/crash/models.sh: %s%s\n", buf_str(&said), err.msg);
    return -1;
}

/* A part that tried nothing has shown nothing. */
static bool
is_good(const struct crash *c, const char *part)
{
    const bool none = c->count->n_tried + c->count->n_states == 0;

    return c->count->n_bad == 0 && (!none || strcmp(part, "count") == 0);
}

static void
report(const struct crash *c, const char *part, int64_t began_ns)
{
    const struct job_count *n = c->count;
    const long shown = n->n_bad < 2000 ? n->n_bad : 2000;

    for (long i = 0; i < shown; i++) {
        char *line AUTO(free_ptr) = xstrdup(n->bad[i]);

        for (char *p = line; *p; p++)
            if (*p == '\n')
                *p = ' ';
        printf("# %s\n", line);
    }
    for (int i = 0; strcmp(part, "bits") != 0 && i < n_scenes; i++)
        if (scenes[i].needs && !svc_find(scenes[i].needs))
            printf("# not run: %s: there is no verb %s\n", scenes[i].name,
                   scenes[i].needs);
    if (n->n_tried) {
        printf("# failures by the call that failed first:");
        for (int k = 0; shim_call_name(k); k++)
            if (n->n_hits[k])
                printf(" %s %ld", shim_call_name(k), n->n_hits[k]);
        printf("\n");
    }
    if (n->n_checked)
        printf(
            "# %ld of the states were recovered and checked; the others become one of "
            "these once SQLite has replayed its log\n",
            n->n_checked);
    printf("%s 1 - %s: %ld violations in %ld %s (seed %u, %.0f s%s)\n1..1\n",
           is_good(c, part) ? "ok" : "not ok", part, n->n_bad,
           n->n_tried ? n->n_tried : n->n_states,
           n->n_tried ? "failed calls" : "states", c->o.seed,
           (double)(clock_mono_ns() - began_ns) / 1e9,
           n->n_cut ? ", cut short by --seconds" : "");
}

static int
crash_count(struct crash *c, struct worker *w)
{
    for (int i = 0; i < n_scenes; i++) {
        struct ran ran;

        if (!crash_wanted(c, &scenes[i]) ||
            __atomic_load_n(&c->count->next, __ATOMIC_RELAXED) > i)
            continue;
        __atomic_store_n(&c->count->next, i + 1, __ATOMIC_RELAXED);
        if (scene_begin(w, &scenes[i]) < 0 || disk_write(&w->start, w->live) < 0)
            return -1;
        shim_reset(w->shim);
        scene_run(w, &scenes[i], &ran);
        buf_release(&ran.err);
        printf("# %s:", scenes[i].name);
        for (int k = 0; shim_call_name(k); k++)
            if (w->shim->seen[k])
                printf(" %s %lu", shim_call_name(k), (unsigned long)w->shim->seen[k]);
        printf("\n");
    }
    fflush(stdout);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct crash *c, struct worker *w);
    } parts[] = { { "count", crash_count },
                  { "fault", crash_fault },
                  { "states", crash_states },
                  { "bits", crash_bits } };
    struct crash c = { .o = { .seed = 1 } };
    const int64_t began_ns = clock_mono_ns();
    struct err err = ERR_INIT;
    struct crash_server server;
    char work[200];
    int part = -1;

    for (int i = 0; argc > 1 && i < 4; i++)
        if (strcmp(argv[1], parts[i].name) == 0)
            part = i;
    /* no books about memory: they cost a lock for each allocation */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    c.o.n_workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (part < 0 || parse(&c.o, argc, argv) < 0) {
        fprintf(stderr, "usage: crash fault|states|bits|count [--fast] [--scene TEXT] "
                        "[--seed N] [--seconds S] [--jobs N]\n");
        return 2;
    }
    if (c.o.seconds)
        c.end_ns = c.all_end_ns = began_ns + (int64_t)c.o.seconds * 1000000000;
    c.count = mmap(NULL, sizeof(*c.count), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (c.count == MAP_FAILED || make_work(work) < 0) {
        fprintf(stderr, "no place to work in: %s\n", strerror(errno));
        return 1;
    }
    if (crash_server_open(&server) < 0)
        crash_bad(&c, "no server of models: %s", strerror(errno));
    for (int i = 0; i < c.o.n_workers; i++)
        if (fork() == 0) {
            struct worker w;
            int r = worker_open(&w, work, i);

            if (r == 0)
                r = parts[part].run(&c, &w);
            worker_close(&w);
            _exit(r < 0);
        }
    for (int i = 0, status; i < c.o.n_workers; i++)
        if (wait(&status) < 0 || status != 0)
            crash_bad(&c, "a worker ended badly: wait status %#x", (unsigned)status);
    crash_server_close(&server);
    if (fs_remove_tree(AT_FDCWD, work, &err) < 0)
        fprintf(stderr, "%s\n", err.msg);
    report(&c, argv[1], began_ns);
    return !is_good(&c, argv[1]);
}
