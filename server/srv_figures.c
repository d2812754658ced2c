/* SPDX-License-Identifier: Apache-2.0 */
/* What /metrics says of the store and of this process. */
#include "base/clock.h"
#include "deploy/deploy.h"
#include "server/srv_metrics.h"
#include "service/service.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    SERIES_MAX = 2000,  /* aliases and targets */
    KINDS_MAX = 500,    /* verbs with their outcomes */
    EVENTS_BACK = 20000 /* looked through for the last gc */
};
#define SECOND_NS INT64_C(1000000000)

struct kind {
    char verb[48], outcome[12];
    int64_t n;
};
struct figure {
    char *model, *alias, *target;
    struct deploy_figure f; /* whose text is the above */
};

struct srv_figures {
    char *store;
    pthread_mutex_t lock; /* over all that follows */
    struct svc *svc;
    struct buf text;
    int64_t read_ns; /* when the text was made; 0: never */
    /* the log, as far as it was read */
    int64_t first_seq, seen_seq; /* first_seq: what was there at the start */
    struct kind kinds[KINDS_MAX];
    int n_kinds;
    int64_t gc_ns, gc_freed_bytes;
};

/* ---- the log ---- */

static int64_t
member(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);

    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

/* A run of gc that freed something, or could have. */
static void
see_gc(struct srv_figures *f, const struct acc_event_row *row)
{
    cJSON *body AUTO(json_free) = cJSON_Parse(row->e.body);
    const cJSON *freed = cJSON_GetObjectItemCaseSensitive(body, "freed");

    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "dry_run")))
        return;
    if (freed)
        f->gc_freed_bytes = member(freed, "bytes");
    else if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(body, "applied")))
        f->gc_freed_bytes = member(body, "free_after") - member(body, "free_before");
    else
        return;
    f->gc_ns = row->time_ns;
}

static int
see_event(void *arg, const struct acc_event_row *row, struct err *err)
{
    struct srv_figures *f = arg;
    int i = 0;

    (void)err;
    f->seen_seq = row->seq;
    if (strcmp(row->e.verb, "gc") == 0 && strcmp(row->e.outcome, "ok") == 0)
        see_gc(f, row);
    if (row->seq <= f->first_seq)
        return 0;
    while (i < f->n_kinds && (strcmp(f->kinds[i].verb, row->e.verb) != 0 ||
                              strcmp(f->kinds[i].outcome, row->e.outcome) != 0))
        i++;
    if (i == KINDS_MAX)
        return 0;
    if (i == f->n_kinds) {
        snprintf(f->kinds[i].verb, sizeof(f->kinds[i].verb), "%s", row->e.verb);
        snprintf(f->kinds[i].outcome, sizeof(f->kinds[i].outcome), "%s",
                 row->e.outcome);
        f->n_kinds++;
    }
    f->kinds[i].n++;
    return 0;
}

/* Where the log stands when the service starts: events count from there on. */
static int
read_start(struct srv_figures *f, struct err *err)
{
    struct acc_figures audit;
    struct repo *repo;

    if (svc_open(&f->svc, f->store, err) < 0 || svc_store(f->svc, &repo, err) < 0 ||
        acc_figures(repo->acc, &audit, err) < 0)
        return -(int)err->code;
    f->first_seq = audit.last_seq;
    f->seen_seq = audit.last_seq > EVENTS_BACK ? audit.last_seq - EVENTS_BACK : 0;
    return 0;
}

/* Events since the last time; of those before the start only a gc counts. */
static int
read_log(struct srv_figures *f, struct repo *repo, struct acc_figures *audit,
         struct err *err)
{
    struct acc_log_query q = { .after = f->seen_seq };
    int e = acc_figures(repo->acc, audit, err);

    return e < 0 ? e : acc_log(repo->acc, &q, see_event, f, err);
}

static int
by_kind(const void *a, const void *b)
{
    const struct kind *x = a, *y = b;
    const int c = strcmp(x->verb, y->verb);

    return c != 0 ? c : strcmp(x->outcome, y->outcome);
}

/* ---- the store ---- */

struct figures {
    struct figure *v;
    int n, n_dropped;
};

static void
figures_release(struct figures *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->v[i].model);
        free(l->v[i].alias);
        free(l->v[i].target);
    }
    free(l->v);
}

static int
add_figure(void *arg, const struct deploy_figure *f, struct err *err)
{
    struct figures *l = arg;
    struct figure *to;

    (void)err;
    if (l->n == SERIES_MAX) {
        l->n_dropped++;
        return 0;
    }
    l->v = xreallocarray(l->v, (size_t)l->n + 1, sizeof(*l->v));
    to = &l->v[l->n++];
    *to = (struct figure){ .model = xstrdup(f->model),
                           .alias = xstrdup(f->alias),
                           .target = f->target ? xstrdup(f->target) : NULL,
                           .f = *f };
    return 0;
}

static double
seconds(int64_t ns)
{
    return (double)(ns / 1000000) / 1000;
}

static void
add_store(struct srv_text *t, const struct repo_figures *g)
{
    srv_text_int(t, SRV_M_MODELS, g->n_models);
    for (int i = 0; i < g->n_states; i++)
        srv_text_int(t, SRV_M_VERSIONS, g->versions[i].n, g->versions[i].state);
    srv_text_int(t, SRV_M_OBJECTS, g->n_objects);
    srv_text_int(t, SRV_M_OBJECT_BYTES, g->object_bytes);
    srv_text_int(t, SRV_M_COLD_BYTES, g->cold_bytes);
    srv_text_int(t, SRV_M_TRASH_BYTES, g->trash_bytes);
    srv_text_int(t, SRV_M_FREE_BYTES, g->free_bytes);
    srv_text_int(t, SRV_M_MIN_FREE_BYTES, g->min_free_bytes);
    srv_text_int(t, SRV_M_RESERVE_BYTES, g->reserve_bytes);
}

static void
add_log(struct srv_text *t, struct srv_figures *f, const struct acc_figures *audit,
        int64_t n_log_failures)
{
    srv_text_real(t, SRV_M_GC_TIME, seconds(f->gc_ns));
    srv_text_int(t, SRV_M_GC_FREED, f->gc_freed_bytes);
    qsort(f->kinds, (size_t)f->n_kinds, sizeof(f->kinds[0]), by_kind);
    for (int i = 0; i < f->n_kinds; i++)
        srv_text_int(t, SRV_M_EVENTS, f->kinds[i].n, f->kinds[i].verb,
                     f->kinds[i].outcome);
    srv_text_int(t, SRV_M_AUDIT_LAST, audit->last_seq);
    srv_text_int(t, SRV_M_AUDIT_SIGNED, audit->head_seq);
    srv_text_int(t, SRV_M_AUDIT_FAILED, n_log_failures);
    srv_text_int(t, SRV_M_TOKENS_ENDING, audit->n_tokens_ending);
}

static void
add_alias(struct srv_text *t, enum srv_metric m, const struct figure *g)
{
    const struct deploy_figure *f = &g->f;
    const int64_t good_ns = f->can_observe ? f->observed_ns : f->intended_ns;

    if (m == SRV_M_RELEASE)
        srv_text_int(t, m, f->intended, g->model, g->alias);
    else if (m == SRV_M_RELEASE_SEEN && f->can_observe)
        srv_text_int(t, m, f->observed, g->model, g->alias);
    else if (m == SRV_M_RELEASE_TIME)
        srv_text_real(t, m, seconds(f->intended_ns), g->model, g->alias);
    else if (m == SRV_M_RELEASE_VERSION)
        srv_text_int(t, m, f->version, g->model, g->alias);
    else if (m == SRV_M_LAST_GOOD && good_ns > 0)
        srv_text_real(t, m, seconds(clock_now_ns() - good_ns), g->model, g->alias);
    else if (m == SRV_M_FROZEN)
        srv_text_int(t, m, f->is_frozen, g->model, g->alias);
}

static void
add_releases(struct srv_text *t, const struct figures *l, int64_t n_unfinished)
{
    for (enum srv_metric m = SRV_M_RELEASE; m <= SRV_M_FROZEN; m++)
        for (int i = 0; i < l->n; i++)
            if (!l->v[i].target)
                add_alias(t, m, &l->v[i]);
    srv_text_int(t, SRV_M_UNFINISHED, n_unfinished);
    for (enum srv_metric m = SRV_M_TARGET; m <= SRV_M_TARGET_SEEN; m++)
        for (int i = 0; i < l->n; i++)
            if (l->v[i].target)
                srv_text_int(
                    t, m, m == SRV_M_TARGET ? l->v[i].f.intended : l->v[i].f.observed,
                    l->v[i].target, l->v[i].model, l->v[i].alias);
    srv_text_int(t, SRV_M_SERIES_DROPPED, l->n_dropped);
}

static int
read_store(struct srv_figures *f, int64_t n_log_failures, struct srv_text *t,
           struct err *err)
{
    struct figures list AUTO(figures_release) = { .n = 0 };
    struct repo_figures store;
    struct acc_figures audit;
    struct repo *repo;
    int64_t n_unfinished;
    int e;

    if (f->svc && !svc_is_current(f->svc))
        svc_close_p(&f->svc);
    e = f->svc ? 0 : svc_open(&f->svc, f->store, err);
    if (e < 0 || (e = svc_store(f->svc, &repo, err)) < 0 ||
        (e = repo_figures(repo, &store, err)) < 0 ||
        (e = read_log(f, repo, &audit, err)) < 0 ||
        (e = deploy_figures(repo, &n_unfinished, add_figure, &list, err)) < 0)
        return e;
    srv_text_int(t, SRV_M_STORE_UP, 1);
    add_store(t, &store);
    add_log(t, f, &audit, n_log_failures);
    add_releases(t, &list, n_unfinished);
    return 0;
}

void
srv_figures_text(struct srv_figures *f, int64_t n_log_failures, struct srv_text *t)
{
    const int64_t now_ns = clock_mono_ns();
    struct err err = ERR_INIT;

    pthread_mutex_lock(&f->lock);
    if (f->read_ns == 0 || now_ns - f->read_ns > SRV_FIGURES_S * SECOND_NS) {
        struct srv_text own = { .out = &f->text, .last = -1 };

        buf_clear(&f->text);
        if (read_store(f, n_log_failures, &own, &err) < 0) {
            err_clear(&err); /* the verbs say what is wrong */
            svc_close(f->svc);
            f->svc = NULL;
            own = (struct srv_text){ .out = &f->text, .last = -1 };
            srv_text_int(&own, SRV_M_STORE_UP, 0);
        }
        f->read_ns = now_ns;
    }
    buf_add(t->out, f->text.data, f->text.len);
    pthread_mutex_unlock(&f->lock);
    t->last = SRV_M_SERIES_DROPPED;
}

int
srv_figures_open(struct srv_figures **out, const char *store, struct err *err)
{
    struct srv_figures *f = *out = xcalloc(1, sizeof(*f));

    f->store = store ? xstrdup(store) : NULL;
    pthread_mutex_init(&f->lock, NULL);
    return read_start(f, err);
}

void
srv_figures_close(struct srv_figures *f)
{
    if (!f)
        return;
    svc_close(f->svc);
    buf_release(&f->text);
    pthread_mutex_destroy(&f->lock);
    free(f->store);
    free(f);
}

/* ---- this process ---- */

static int
count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = -3; /* ".", ".." and the directory's own */

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n > 0 ? n : 0;
}

/* Since 1970, of the machine; 0: nobody knows. */
static int64_t
boot_s(void)
{
    FILE *in = fopen("/proc/stat", "re");
    char line[512];
    long long s = 0;

    while (in && fgets(line, sizeof(line), in))
        if (sscanf(line, "btime %lld", &s) == 1)
            break;
    if (in)
        fclose(in);
    return s;
}

void
srv_process_text(struct srv_text *t)
{
    unsigned long long user = 0, system = 0, start = 0, vsize = 0;
    const double hz = (double)sysconf(_SC_CLK_TCK);
    long long rss = 0;
    struct rlimit fds;
    char line[1024] = "";
    FILE *in = fopen("/proc/self/stat", "re");
    const char *at;

    if (in && !fgets(line, sizeof(line), in))
        line[0] = '\0';
    if (in)
        fclose(in);
    at = strrchr(line, ')'); /* a program's name may hold anything */
    if (!at || sscanf(at + 1,
                      " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d "
                      "%*d %*d %*d %*d %llu %llu %lld",
                      &user, &system, &start, &vsize, &rss) != 5)
        return;
    srv_text_real(t, SRV_M_CPU, (double)(user + system) / hz);
    srv_text_int(t, SRV_M_RSS, rss * sysconf(_SC_PAGESIZE));
    srv_text_int(t, SRV_M_VIRTUAL, (int64_t)vsize);
    srv_text_int(t, SRV_M_FDS, count_fds());
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
        srv_text_int(t, SRV_M_MAX_FDS, (int64_t)fds.rlim_cur);
    srv_text_real(t, SRV_M_START, (double)boot_s() + (double)start / hz);
}
