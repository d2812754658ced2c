/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics, and what is counted for it. */
#include "server/srv_metrics.h"

#include "base/clock.h"
#include "base/fnv.h"
#include "server/server_int.h"
#include "server/srv_lookup.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLASSES = 4,      /* of statuses: 2xx to 5xx; what is below is none of ours */
    MODELS_MAX = 500, /* models and versions with figures of their own */
    MODEL_SLOTS = 1024,
    NAMES_MAX = 64 /* of gates, and of hooks */
};
static const char *const class_names[CLASSES] = { "2xx", "3xx", "4xx", "5xx" };

struct counts {
    _Atomic uint64_t n[CLASSES];
    struct srv_histogram took;
    _Atomic uint64_t received, sent;
};
struct model {
    struct counts counts;
    char version[24];
    char name[REPO_NAME_BYTES];
};
/* What was said by gates, or by hooks. */
struct answers {
    struct {
        char name[64];
        _Atomic uint64_t n[2], us; /* refused, passed */
    } of[NAMES_MAX];
    _Atomic int n;
};

struct srv_metrics {
    struct counts *operations; /* verbs, then routes, then what had no route */
    int n_verbs, n_operations;
    struct srv_figures *figures;
    _Atomic(struct model *) models[MODEL_SLOTS]; /* open addressing */
    struct model other;
    struct answers gates, hooks;
    pthread_mutex_t lock; /* over what follows, and places in models and answers */
    int n_models;
    _Atomic int64_t n_audit_failures;
};

/* ---- counting ---- */

static int
class_of(int status)
{
    return status >= 500 ? 3 : status >= 400 ? 2 : status >= 300 ? 1 : 0;
}

static void
count(struct counts *c, const struct srv_req *q, int64_t ns)
{
    atomic_fetch_add_explicit(&c->n[class_of(q->status)], 1, memory_order_relaxed);
    srv_histogram_add(&c->took, ns);
    if (q->got_bytes > 0)
        atomic_fetch_add_explicit(&c->received, (uint64_t)q->got_bytes,
                                  memory_order_relaxed);
    if (q->sent_bytes > 0)
        atomic_fetch_add_explicit(&c->sent, (uint64_t)q->sent_bytes,
                                  memory_order_relaxed);
}

static int
operation_of(const struct srv_metrics *m, const struct srv_req *q)
{
    const struct svc_verb *v = q->verb ? svc_find(q->verb) : NULL;

    if (v)
        return v->index;
    return q->route ? m->n_verbs + (int)(q->route - srv_route_at(0))
                    : m->n_operations - 1;
}

static const char *
operation_name(const struct srv_metrics *m, int i)
{
    return i < m->n_verbs            ? svc_verb_at(i)->name
           : i < m->n_operations - 1 ? srv_route_at(i - m->n_verbs)->name
                                     : "none";
}

/* NULL: it has no place. Places are taken and never given back. */
static struct model *
find_model(struct srv_metrics *m, const char *name, const char *version, bool add)
{
    size_t at = fnv_adds(fnv_adds(FNV_START, name), version) % MODEL_SLOTS;
    struct model *found;

    while ((found = atomic_load_explicit(&m->models[at], memory_order_acquire)) &&
           (strcmp(found->name, name) != 0 || strcmp(found->version, version) != 0))
        at = (at + 1) % MODEL_SLOTS;
    if (found || !add || m->n_models >= MODELS_MAX)
        return found;
    found = xcalloc(1, sizeof(*found));
    snprintf(found->name, sizeof(found->name), "%s", name);
    snprintf(found->version, sizeof(found->version), "%s", version);
    atomic_store_explicit(&m->models[at], found, memory_order_release);
    m->n_models++;
    return found;
}

/* Models get a place by an answer that went well: what a caller only names is counted
 * with "other". */
static void
count_model(struct srv_metrics *m, const struct srv_req *q, int64_t ns)
{
    char name[REPO_NAME_BYTES + REPO_ALIAS_BYTES], version[24] = "";
    const bool good = q->status < 400;
    struct model *of;
    char *at;

    snprintf(name, sizeof(name), "%s", q->object);
    if (!name[0] || strncmp(name, "sha256:", 7) == 0)
        return;
    at = strchr(name, '@');
    if (at)
        *at = '\0';
    if (q->number > 0)
        snprintf(version, sizeof(version), "%lld", (long long)q->number);
    else if (at && at[1] >= '1' && at[1] <= '9')
        snprintf(version, sizeof(version), "%.20s", at + 1);
    of = find_model(m, name, version, false);
    if (!of && good) {
        pthread_mutex_lock(&m->lock);
        of = find_model(m, name, version, true);
        if (of)
            (void)find_model(m, name, "", true);
        pthread_mutex_unlock(&m->lock);
    } else if (!of) {
        of = find_model(m, name, "", false);
    }
    count(of ? &of->counts : &m->other.counts, q, ns);
}

void
srv_metrics_count(struct srv *srv, const struct srv_req *q)
{
    struct srv_metrics *m = srv->metrics;
    const int64_t ns = clock_mono_ns() - q->begun_ns;

    count(&m->operations[operation_of(m, q)], q, ns);
    count_model(m, q, ns);
}

static const cJSON *
get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* One entry of a list of gates or of hooks: {`what`: its name, "ok": …, "seconds": …}.
 */
static void
count_answer(struct srv_metrics *m, struct answers *a, const cJSON *entry,
             const char *what)
{
    const char *name = cJSON_GetStringValue(get(entry, what));
    const double seconds = cJSON_GetNumberValue(get(entry, "seconds"));
    int n = a->n, i = 0;

    while (name && i < n && strcmp(a->of[i].name, name) != 0)
        i++;
    if (name && i == n) {
        pthread_mutex_lock(&m->lock);
        for (n = a->n; i < n && strcmp(a->of[i].name, name) != 0;)
            i++;
        if (i == n && n < NAMES_MAX) {
            snprintf(a->of[i].name, sizeof(a->of[i].name), "%s", name);
            a->n = n + 1;
        }
        pthread_mutex_unlock(&m->lock);
    }
    if (!name || i == NAMES_MAX)
        return;
    atomic_fetch_add(&a->of[i].n[cJSON_IsTrue(get(entry, "ok"))], 1);
    if (seconds > 0 && seconds < 1e9)
        atomic_fetch_add(&a->of[i].us, (uint64_t)(seconds * 1e6));
}

int64_t
srv_metrics_reply(struct srv *srv, const cJSON *reply)
{
    struct srv_metrics *m = srv->metrics;
    const cJSON *number = get(reply, "number"), *entry, *gate;

    if (json_has(reply, "log_note"))
        atomic_fetch_add(&m->n_audit_failures, 1);
    cJSON_ArrayForEach(entry, get(reply, "gates"))
    {
        cJSON_ArrayForEach(gate, get(entry, "gates"))
        {
            count_answer(m, &m->gates, gate, "gate");
        }
    }
    cJSON_ArrayForEach(entry, get(reply, "hooks"))
    {
        count_answer(m, &m->hooks, entry, "hook");
    }
    return cJSON_IsNumber(number) && number->valuedouble > 0 &&
                   number->valuedouble < 9e15
               ? (int64_t)number->valuedouble
               : 0;
}

/* ---- text ---- */

static uint64_t
load(const _Atomic uint64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static uint64_t
total(const struct counts *c)
{
    return load(&c->n[0]) + load(&c->n[1]) + load(&c->n[2]) + load(&c->n[3]);
}

static void
add_operations(struct srv_text *t, const struct srv_metrics *m)
{
    static const enum srv_metric which[] = { SRV_M_REQUESTS, SRV_M_DURATION,
                                             SRV_M_RECEIVED, SRV_M_SENT };

    for (size_t k = 0; k < sizeof(which) / sizeof(which[0]); k++)
        for (int i = 0; i < m->n_operations; i++) {
            const struct counts *c = &m->operations[i];
            const char *name = operation_name(m, i);

            if (total(c) == 0)
                continue;
            for (int s = 0; which[k] == SRV_M_REQUESTS && s < CLASSES; s++)
                if (load(&c->n[s]) > 0 || s == 0)
                    srv_text_int(t, which[k], (int64_t)load(&c->n[s]), name,
                                 class_names[s]);
            if (which[k] == SRV_M_DURATION)
                srv_text_histogram(t, which[k], &c->took, 1, name);
            else if (which[k] == SRV_M_RECEIVED)
                srv_text_int(t, which[k], (int64_t)load(&c->received), name);
            else if (which[k] == SRV_M_SENT)
                srv_text_int(t, which[k], (int64_t)load(&c->sent), name);
        }
}

static void
add_model(struct srv_text *t, const struct model *of, bool requests)
{
    if (total(&of->counts) == 0)
        return;
    if (!requests)
        srv_text_histogram(t, SRV_M_MODEL_DURATION, &of->counts.took, 3, of->name,
                           of->version);
    for (int s = 0; requests && s < CLASSES; s++)
        if (load(&of->counts.n[s]) > 0)
            srv_text_int(t, SRV_M_MODEL_REQUESTS, (int64_t)load(&of->counts.n[s]),
                         of->name, of->version, class_names[s]);
}

static void
add_models(struct srv_text *t, const struct srv_metrics *m)
{
    for (int requests = 1; requests >= 0; requests--) {
        for (int i = 0; i < MODEL_SLOTS; i++) {
            const struct model *of =
                atomic_load_explicit(&m->models[i], memory_order_acquire);

            if (of)
                add_model(t, of, requests);
        }
        add_model(t, &m->other, requests);
    }
}

static void
add_answers(struct srv_text *t, enum srv_metric which, const struct answers *a)
{
    for (int i = 0; i < a->n; i++)
        for (int passed = 0; passed < 2; passed++)
            srv_text_int(t, which, (int64_t)load(&a->of[i].n[passed]), a->of[i].name,
                         passed ? "passed" : "refused");
}

static void
add_service(struct srv_text *t, struct srv *srv, int64_t *n_log_failures)
{
    static const char *const kinds[] = { "tcp", "unix", "stdio" };
    const struct srv_metrics *m = srv->metrics;
    struct srv_pool_figures pool;
    struct srv_lookup_stats look;
    int64_t conns[SRV_STDIO + 1];

    srv_conn_figures(srv, conns);
    for (int i = 0; i <= SRV_STDIO; i++)
        srv_text_int(t, SRV_M_CONNECTIONS, conns[i], kinds[i]);
    srv_pool_figures(srv, &pool);
    srv_text_int(t, SRV_M_WORKERS, pool.n_busy, "busy");
    srv_text_int(t, SRV_M_WORKERS, pool.n_idle, "idle");
    srv_text_int(t, SRV_M_WORKERS_MAX, pool.n_max);
    srv_text_int(t, SRV_M_QUEUED, pool.n_waiting);
    srv_text_int(t, SRV_M_RESTARTS, pool.n_died);
    add_answers(t, SRV_M_GATES, &m->gates);
    add_answers(t, SRV_M_HOOKS, &m->hooks);
    for (int i = 0; i < m->hooks.n; i++)
        srv_text_real(t, SRV_M_HOOK_SECONDS, (double)load(&m->hooks.of[i].us) / 1e6,
                      m->hooks.of[i].name);
    srv_lookup_stats(srv->lookup, &look);
    srv_text_int(t, SRV_M_LOOKUPS, look.n_hits, "memory");
    srv_text_int(t, SRV_M_LOOKUPS, look.n_misses, "store");
    srv_text_int(t, SRV_M_LOOKUPS_WAIT, look.reads.n_waiting);
    srv_text_int(t, SRV_M_LOOKUPS_DONE, look.reads.n_recorded);
    *n_log_failures = look.reads.n_failed_writes + m->n_audit_failures;
}

/* ---- who may read them ---- */

static bool
is_here(const struct srv_conn *c)
{
    return c && (c->kind != SRV_TCP || (c->peer[0] && srv_is_local(c->peer)));
}

/* They name models: for who may read the store, or, if its owner says so, for
 * everybody on this machine. */
static int
check(struct srv_req *q, struct err *err)
{
    struct svc *s;
    struct repo *repo;
    int e;

    if (q->srv->opts->metrics_open && is_here(q->conn))
        return 0;
    if (!q->who.is_known)
        return err_set(err, ERR_DENIED,
                       "metrics name models: they need a token of somebody who may "
                       "read the store");
    if (srv_session_take(q, &s, &repo, err) < 0)
        return -(int)err->code;
    e = acc_check(repo->acc, ACC_READ, acc_store(), err);
    srv_session_give(q, s);
    return e;
}

int
srv_do_metrics(struct srv_req *q, struct err *err)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_text t = { .out = &out, .last = -1 };
    int64_t n_log_failures;

    if (check(q, err) < 0)
        return q->who.is_known ? -(int)err->code : srv_reply_status(q, 401, err);
    srv_text_int(&t, SRV_M_BUILD, 1, SLUICE_VERSION);
    add_operations(&t, q->srv->metrics);
    add_models(&t, q->srv->metrics);
    add_service(&t, q->srv, &n_log_failures);
    srv_figures_text(q->srv->metrics->figures, n_log_failures, &t);
    srv_process_text(&t);
    return srv_reply_text(q, 200, SRV_METRICS_TYPE, (struct str){ out.data, out.len });
}

/* ---- life ---- */

int
srv_metrics_open(struct srv *srv, struct err *err)
{
    struct srv_metrics *m = xcalloc(1, sizeof(*m));

    srv->metrics = m;
    m->n_verbs = svc_n_verbs();
    m->n_operations = m->n_verbs + srv_n_routes() + 1;
    m->operations = xcalloc((size_t)m->n_operations, sizeof(*m->operations));
    snprintf(m->other.name, sizeof(m->other.name), "other");
    snprintf(m->other.version, sizeof(m->other.version), "other");
    pthread_mutex_init(&m->lock, NULL);
    return srv_figures_open(&m->figures, srv->opts->store, err);
}

void
srv_metrics_close(struct srv *srv)
{
    struct srv_metrics *m = srv->metrics;

    for (int i = 0; i < MODEL_SLOTS; i++)
        free(m->models[i]);
    srv_figures_close(m->figures);
    pthread_mutex_destroy(&m->lock);
    free(m->operations);
    free(m);
    srv->metrics = NULL;
}
