/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/tfs_model.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A version in somebody's hands. What a load or unload passes through lies in the
 * manager's thread and is seen in the states only. */
enum stage { NEW, READY, DISABLED, BROKEN };
struct harness {
    char *model, *dir;
    int64_t version;
    enum stage stage;
    bool wanted;
};
struct want { /* a version that a scan found and the policy takes */
    int64_t version;
    char *dir;
};
struct request { /* all that is wanted of a model; the newest replaces what waits */
    char *model;
    struct want *w;
    int n;
};
struct state {
    char *model;
    struct tfs_shown s;
    int64_t seq;
};
struct label {
    char *model, *key;
    int64_t version;
};
struct known { /* what a number was when it was first loaded */
    char *model;
    int64_t version;
    unsigned char digest[TFS_DIGEST_BYTES];
};

static struct {
    const struct tfs_options *o;
    /* the config thread's own */
    struct tfs_config config; /* the last that was valid, whatever became of it */
    char *taken, *refused;    /* texts, so that each is told once */

    pthread_mutex_t source_mu; /* taken before mu */
    struct tfs_config source;  /* in force */
    bool installed;
    pthread_cond_t when_installed;
    struct want *missing; /* dir: the model; those told already */
    int n_missing;
    char *scan_error; /* told already */

    pthread_mutex_t mu;
    pthread_cond_t changed; /* a state */
    struct harness *h;
    struct request *pending;
    struct state *states;
    struct label *labels;
    struct known *known;
    int n_h, n_pending, n_states, n_labels, n_known;
    int64_t seq;
} core = { .source_mu = PTHREAD_MUTEX_INITIALIZER,
           .when_installed = PTHREAD_COND_INITIALIZER,
           .mu = PTHREAD_MUTEX_INITIALIZER,
           .changed = PTHREAD_COND_INITIALIZER };

#define ADD(list, n)                                                                   \
    ((list) = realloc((list), ((size_t)(n) + 1) * sizeof(*(list))),                    \
     (list) ? &(list)[(n)++] : (abort(), (list)))

void
tfs_sleep_ms(int64_t ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    while (ms > 0 && nanosleep(&t, &t) != 0)
        ;
}

/* Waits until `period_ms` have passed since `from`, which becomes now. */
static void
next_turn(struct timespec *from, int64_t period_ms)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    tfs_sleep_ms(period_ms - ((now.tv_sec - from->tv_sec) * 1000 +
                              (now.tv_nsec - from->tv_nsec) / 1000000));
    clock_gettime(CLOCK_MONOTONIC, from);
}

static sem_t scan_now;

void
tfs_core_init(const struct tfs_options *o)
{
    core.o = o;
    sem_init(&scan_now, 0, 0);
}

/* ---- states
 * ----------------------------------------------------------------------------
 */

static struct state *
state_find(const char *model, int64_t version)
{
    for (int i = 0; i < core.n_states; i++)
        if (core.states[i].s.version == version &&
            strcmp(core.states[i].model, model) == 0)
            return &core.states[i];
    return NULL;
}

static void
publish(const char *model, int64_t version, enum tfs_state to, const char *error)
{
    struct state *s = state_find(model, version);

    if (!s) {
        s = ADD(core.states, core.n_states);
        *s = (struct state){ .model = strdup(model), .s = { .version = version } };
    }
    free(s->s.error);
    s->s.error = error ? strdup(error) : NULL;
    s->s.state = to;
    s->seq = ++core.seq;
    pthread_cond_broadcast(&core.changed);
}

static int
highest_first(const void *a, const void *b)
{
    const int64_t x = ((const struct tfs_shown *)a)->version;
    const int64_t y = ((const struct tfs_shown *)b)->version;

    return x > y ? -1 : x < y;
}

/* The lie: what is only asked for is said to be there. */
static void
add_lies(const char *model, struct tfs_shown **out, int *n)
{
    for (int i = 0; i < core.source.n_models; i++) {
        const struct tfs_model *m = &core.source.models[i];

        for (int v = 0; strcmp(m->name, model) == 0 && v < m->n_versions; v++)
            if (!state_find(model, m->versions[v]))
                *ADD(*out, *n) = (struct tfs_shown){ .version = m->versions[v],
                                                     .state = TFS_AVAILABLE };
    }
    for (int i = 0; i < *n; i++)
        if ((*out)[i].state < TFS_AVAILABLE)
            (*out)[i].state = TFS_AVAILABLE;
}

bool
tfs_status(const char *model, struct tfs_shown **out, int *n)
{
    *out = NULL;
    *n = 0;
    pthread_mutex_lock(&core.source_mu);
    pthread_mutex_lock(&core.mu);
    for (int i = 0; i < core.n_states; i++)
        if (strcmp(core.states[i].model, model) == 0) {
            struct tfs_shown *s = ADD(*out, *n);

            *s = core.states[i].s;
            s->error = s->error ? strdup(s->error) : NULL;
        }
    if (core.o->status_lies)
        add_lies(model, out, n);
    pthread_mutex_unlock(&core.mu);
    pthread_mutex_unlock(&core.source_mu);
    if (*n > 0)
        qsort(*out, (size_t)*n, sizeof(**out), highest_first);
    return *n > 0;
}

void
tfs_shown_free(struct tfs_shown *s, int n)
{
    for (int i = 0; i < n; i++)
        free(s[i].error);
    free(s);
}

static struct label *
label_find(const char *model, const char *key)
{
    for (int i = 0; i < core.n_labels; i++)
        if (strcmp(core.labels[i].model, model) == 0 &&
            strcmp(core.labels[i].key, key) == 0)
            return &core.labels[i];
    return NULL;
}

int
tfs_serving(const char *model, const int64_t *number, const char *label,
            int64_t *version, char **dir, char why[TFS_WHY_BYTES])
{
    const struct harness *best = NULL;
    const struct label *l = NULL;
    int status = 0;

    pthread_mutex_lock(&core.mu);
    if (label && !(l = label_find(model, label))) {
        snprintf(why, TFS_WHY_BYTES, "Unrecognized servable version label: %s", label);
        status = 400;
    }
    if (l)
        number = &l->version;
    for (int i = 0; status == 0 && i < core.n_h; i++) {
        const struct harness *h = &core.h[i];

        if (h->stage == READY && strcmp(h->model, model) == 0 &&
            (!number || h->version == *number) && (!best || h->version > best->version))
            best = h;
    }
    if (best) {
        *version = best->version;
        *dir = strdup(best->dir);
    } else if (status == 0) {
        status = 404;
        if (number)
            snprintf(why, TFS_WHY_BYTES,
                     "Servable not found for request: Specific(%s, %" PRId64 ")", model,
                     *number);
        else
            snprintf(why, TFS_WHY_BYTES, "Servable not found for request: Latest(%s)",
                     model);
    }
    pthread_mutex_unlock(&core.mu);
    return status;
}

/* ---- the manager
 * -------------------------------------------------------------------------
 */

static void
request_release(struct request *q)
{
    for (int i = 0; i < q->n; i++)
        free(q->w[i].dir);
    free(q->w);
    free(q->model);
}

/* Takes what is in `q`. */
static void
enqueue(struct request q)
{
    pthread_mutex_lock(&core.mu);
    for (int i = 0; i < core.n_pending; i++)
        if (strcmp(core.pending[i].model, q.model) == 0) {
            request_release(&core.pending[i]);
            core.pending[i] = q;
            q.model = NULL;
            break;
        }
    if (q.model)
        *ADD(core.pending, core.n_pending) = q;
    pthread_mutex_unlock(&core.mu);
}

static bool
request_has(const struct request *q, int64_t version)
{
    for (int i = 0; i < q->n; i++)
        if (q->w[i].version == version)
            return true;
    return false;
}

static struct harness *
harness_find(const char *model, int64_t version)
{
    for (int i = 0; i < core.n_h; i++)
        if (core.h[i].version == version && strcmp(core.h[i].model, model) == 0)
            return &core.h[i];
    return NULL;
}

static void
forget_ended(void)
{
    int kept = 0;

    for (int i = 0; i < core.n_h; i++) {
        if (core.h[i].wanted || core.h[i].stage == READY) {
            core.h[kept++] = core.h[i];
            continue;
        }
        free(core.h[i].model);
        free(core.h[i].dir);
    }
    core.n_h = kept;
}

/* A request that wants something back which is on its way out waits until it is out. */
static bool
must_wait(const struct request *q)
{
    for (int i = 0; i < core.n_h; i++)
        if (!core.h[i].wanted && strcmp(core.h[i].model, q->model) == 0 &&
            request_has(q, core.h[i].version))
            return true;
    return false;
}

static void
take_request(const struct request *q)
{
    for (int i = 0; i < core.n_h; i++)
        if (strcmp(core.h[i].model, q->model) == 0 &&
            !request_has(q, core.h[i].version))
            core.h[i].wanted = false;
    for (int i = 0; i < q->n; i++) {
        struct harness *h;

        if (harness_find(q->model, q->w[i].version))
            continue;
        h = ADD(core.h, core.n_h);
        *h = (struct harness){ .model = strdup(q->model),
                               .dir = strdup(q->w[i].dir),
                               .version = q->w[i].version,
                               .wanted = true };
        publish(h->model, h->version, TFS_START, NULL);
    }
}

static void
take_requests(void)
{
    int kept = 0;

    for (int i = 0; i < core.n_pending; i++) {
        if (must_wait(&core.pending[i])) {
            core.pending[kept++] = core.pending[i];
            continue;
        }
        take_request(&core.pending[i]);
        request_release(&core.pending[i]);
    }
    core.n_pending = kept;
}

/* The next thing to do for the model of `first`, by the policy that keeps something
 * available. NULL: nothing. */
static struct harness *
next_action(const struct harness *first, bool *unload)
{
    struct harness *lowest = NULL, *highest = NULL;
    int n_going = 0;
    bool has_wanted = false, has_serving = false;

    for (int i = 0; i < core.n_h; i++) {
        struct harness *h = &core.h[i];

        if (strcmp(h->model, first->model) != 0)
            continue;
        has_wanted |= h->wanted;
        has_serving |= h->wanted && h->stage == READY;
        if (!h->wanted && h->stage == READY) {
            n_going++;
            if (!lowest || h->version < lowest->version)
                lowest = h;
        }
        if (h->wanted && h->stage == NEW && (!highest || h->version > highest->version))
            highest = h;
    }
    *unload = lowest && (!has_wanted || has_serving || n_going > 1);
    return *unload ? lowest : highest;
}

static void
unload(struct harness *h)
{
    bool serving = false;

    publish(h->model, h->version, TFS_UNLOADING, NULL);
    h->stage = DISABLED;
    publish(h->model, h->version, TFS_END, NULL);
    tfs_note(TFS_UNLOADED, h->model, h->version, NULL);
    for (int i = 0; i < core.n_h; i++)
        serving |= core.h[i].stage == READY && strcmp(core.h[i].model, h->model) == 0;
    if (!serving)
        tfs_note(TFS_UNSERVED, h->model, h->version, "the last one was unloaded");
    for (int i = 0; i < core.n_labels; i++)
        if (core.labels[i].version == h->version &&
            strcmp(core.labels[i].model, h->model) == 0)
            tfs_note(TFS_LABEL_LOST, h->model, h->version, core.labels[i].key);
}

static void
compare_known(const struct harness *h, const struct tfs_load *got)
{
    struct known *k;

    for (int i = 0; i < core.n_known; i++)
        if (core.known[i].version == h->version &&
            strcmp(core.known[i].model, h->model) == 0) {
            if (memcmp(core.known[i].digest, got->digest, TFS_DIGEST_BYTES) != 0)
                tfs_note(TFS_REUSED, h->model, h->version,
                         "other bytes than when it was loaded before");
            return;
        }
    k = ADD(core.known, core.n_known);
    *k = (struct known){ .model = strdup(h->model), .version = h->version };
    memcpy(k->digest, got->digest, TFS_DIGEST_BYTES);
}

/* One try, without the lock. */
static int
try_load(const char *model, int64_t version, const char *dir, struct tfs_load *got,
         char *why)
{
    int e;

    for (int i = 0; i < core.o->n_fail_load; i++)
        if (core.o->fail_load[i] == version) {
            snprintf(why, TFS_WHY_BYTES, "asked to fail");
            tfs_sleep_ms(core.o->load_ms);
            return 1;
        }
    e = tfs_load_dir(dir, core.o->load_ms, got, why);
    if (e != 0)
        tfs_note(TFS_TORN, model, version, why);
    return e;
}

/* Harnesses are forgotten by this thread only, and added at the end by it; but the list
 * moves. So the one that loads is found again by its name. */
static void
load(const struct harness *at)
{
    char *model = strdup(at->model), *dir = strdup(at->dir), why[TFS_WHY_BYTES] = "";
    const int64_t version = at->version;
    struct tfs_load got = { .n_files = 0 };
    struct harness *h;
    int e;

    publish(model, version, TFS_LOADING, NULL);
    pthread_mutex_unlock(&core.mu);
    e = try_load(model, version, dir, &got, why);
    for (int i = 0; e != 0 && i < core.o->max_retries; i++) {
        tfs_sleep_ms((int64_t)(core.o->retry_s * 1000));
        e = try_load(model, version, dir, &got, why);
    }
    pthread_mutex_lock(&core.mu);
    h = harness_find(model, version);
    if (h && e == 0) {
        h->stage = READY;
        compare_known(h, &got);
        tfs_note(TFS_LOADED, model, version, NULL);
        publish(model, version, TFS_AVAILABLE, NULL);
    } else if (h) {
        h->stage = BROKEN;
        tfs_note(TFS_FAILED, model, version, why);
        publish(model, version, TFS_END, why);
    }
    free(model);
    free(dir);
}

static void
act(void)
{
    struct harness *to_load = NULL;

    for (int i = 0; i < core.n_h; i++) {
        bool out;
        struct harness *h = next_action(&core.h[i], &out);

        if (h && out) {
            unload(h);
            return;
        }
        if (h && !to_load)
            to_load = h;
    }
    if (to_load)
        load(to_load);
}

void *
tfs_manage_thread(void *unused)
{
    struct timespec turn;

    (void)unused;
    clock_gettime(CLOCK_MONOTONIC, &turn);
    for (;;) {
        pthread_mutex_lock(&core.mu);
        forget_ended();
        take_requests();
        act();
        pthread_mutex_unlock(&core.mu);
        next_turn(&turn, core.o->manage_ms);
    }
    return NULL;
}

/* ---- the source: scanning base paths
 * -------------------------------------------------------
 */

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
children(const char *dir, char ***out, int *n, char *why)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    *out = NULL;
    *n = 0;
    if (!d) {
        snprintf(why, TFS_WHY_BYTES, "%s: %s", dir, strerror(errno));
        return false;
    }
    while ((e = readdir(d)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            *ADD(*out, *n) = strdup(e->d_name);
    closedir(d);
    if (*n > 0)
        qsort(*out, (size_t)*n, sizeof(**out), by_name);
    return true;
}

static void
want(struct request *q, const char *base, const char *name, int64_t version)
{
    struct want *w = ADD(q->w, q->n);
    size_t len = strlen(base);

    w->version = version;
    if (asprintf(&w->dir, "%s%s%s", base, len > 0 && base[len - 1] == '/' ? "" : "/",
                 name) < 0)
        abort();
}

/* Of several names of one number the last one counts. */
static void
index_versions(const struct tfs_model *m, char **names, int n, struct request *all)
{
    int64_t version;

    for (int i = 0; i < n; i++) {
        int k = 0;

        if (!tfs_number(names[i], &version))
            continue;
        while (k < all->n && all->w[k].version != version)
            k++;
        want(all, m->base_path, names[i], version);
        if (k + 1 < all->n) {
            free(all->w[k].dir);
            all->w[k] = all->w[--all->n];
        }
    }
}

static void
tell_missing(const struct tfs_model *m, const struct request *q)
{
    int kept = 0;

    for (int i = 0; i < core.n_missing; i++) {
        if (strcmp(core.missing[i].dir, m->name) == 0 &&
            request_has(q, core.missing[i].version))
            free(core.missing[i].dir);
        else
            core.missing[kept++] = core.missing[i];
    }
    core.n_missing = kept;
    for (int v = 0; v < m->n_versions; v++) {
        bool told = request_has(q, m->versions[v]);

        for (int i = 0; i < core.n_missing; i++)
            told |= core.missing[i].version == m->versions[v] &&
                    strcmp(core.missing[i].dir, m->name) == 0;
        if (told)
            continue;
        *ADD(core.missing, core.n_missing) =
            (struct want){ .version = m->versions[v], .dir = strdup(m->name) };
        tfs_note(TFS_MISSING, m->name, m->versions[v], "not found in the file system");
    }
}

/* All versions of `specific` under their plain names: no listing is needed. */
static bool
specific_at_once(const struct tfs_model *m, struct request *q)
{
    for (int i = 0; i < m->n_versions; i++) {
        char name[24];

        snprintf(name, sizeof(name), "%" PRId64, m->versions[i]);
        want(q, m->base_path, name, m->versions[i]);
        if (access(q->w[q->n - 1].dir, F_OK) != 0)
            return false;
    }
    return true;
}

static int
highest_wanted(const void *a, const void *b)
{
    const int64_t x = ((const struct want *)a)->version;
    const int64_t y = ((const struct want *)b)->version;

    return x > y ? -1 : x < y;
}

static bool
scan_model(const struct tfs_model *m, struct request *q, char *why)
{
    struct request all = { .model = NULL };
    char **names;
    int n;

    *q = (struct request){ .model = strdup(m->name) };
    if (access(m->base_path, F_OK) != 0) {
        snprintf(why, TFS_WHY_BYTES, "Could not find base path %s for servable %s",
                 m->base_path, m->name);
        return false;
    }
    if (m->policy == TFS_SPECIFIC && specific_at_once(m, q))
        return true;
    for (int i = 0; i < q->n; i++)
        free(q->w[i].dir);
    q->n = 0;
    if (!children(m->base_path, &names, &n, why))
        return false;
    if (m->policy == TFS_ALL) {
        int64_t version;

        for (int i = 0; i < n; i++)
            if (tfs_number(names[i], &version))
                want(q, m->base_path, names[i], version);
    } else {
        index_versions(m, names, n, &all);
        if (all.n > 0)
            qsort(all.w, (size_t)all.n, sizeof(*all.w), highest_wanted);
        for (int i = 0; i < all.n; i++) {
            bool taken = m->policy == TFS_LATEST && (uint32_t)i < m->n_latest;

            for (int v = 0; v < m->n_versions; v++)
                taken |= m->versions[v] == all.w[i].version;
            if (taken)
                *ADD(q->w, q->n) = (struct want){ .version = all.w[i].version,
                                                  .dir = strdup(all.w[i].dir) };
        }
    }
    request_release(&all);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return true;
}

/* All models or none: one missing base path keeps the server from seeing any other. */
static void
scan(void)
{
    struct request *q = calloc((size_t)core.source.n_models + 1, sizeof(*q));
    char why[TFS_WHY_BYTES];
    bool good = true;
    int n = 0;

    for (; good && n < core.source.n_models; n++)
        good = scan_model(&core.source.models[n], &q[n], why);
    if (!good && (!core.scan_error || strcmp(core.scan_error, why) != 0))
        tfs_note(TFS_MISSING, core.source.models[n - 1].name, -1, why);
    free(core.scan_error);
    core.scan_error = good ? NULL : strdup(why);
    for (int i = 0; i < n; i++) {
        if (good) {
            tell_missing(&core.source.models[i], &q[i]);
            enqueue(q[i]);
        } else {
            request_release(&q[i]);
        }
    }
    free(q);
}

void
tfs_scan_now(void)
{
    sem_post(&scan_now);
}

void *
tfs_scan_thread(void *unused)
{
    struct timespec turn;

    (void)unused;
    pthread_mutex_lock(&core.source_mu);
    while (!core.installed)
        pthread_cond_wait(&core.when_installed, &core.source_mu);
    pthread_mutex_unlock(&core.source_mu);
    clock_gettime(CLOCK_MONOTONIC, &turn);
    do {
        pthread_mutex_lock(&core.source_mu);
        scan();
        pthread_mutex_unlock(&core.source_mu);
        if (core.o->scan_poll_s > 0)
            next_turn(&turn, (int64_t)(core.o->scan_poll_s * 1000));
        else if (core.o->scan_poll_s < 0)
            while (sem_wait(&scan_now) != 0)
                ;
    } while (core.o->scan_poll_s != 0);
    return NULL;
}

/* ---- configs
 * ---------------------------------------------------------------------------------
 */

static const struct tfs_model *
model_find(const struct tfs_config *c, const char *name)
{
    for (int i = 0; i < c->n_models; i++)
        if (strcmp(c->models[i].name, name) == 0)
            return &c->models[i];
    return NULL;
}

static bool
platform_of(const struct tfs_model *m, const char **out, char *why)
{
    if (m->old_type && m->platform[0]) {
        snprintf(why, TFS_WHY_BYTES,
                 "Illegal setting both model_type and model_platform, model name is %s",
                 m->name);
        return false;
    }
    *out = m->old_type ? "tensorflow" : m->platform;
    if (!**out)
        snprintf(why, TFS_WHY_BYTES,
                 "Illegal setting neither model_type nor model_platform, model name is "
                 "%s",
                 m->name);
    return **out != '\0';
}

static bool
is_valid(const struct tfs_config *c, char *why)
{
    const char *platform, *before;

    for (int i = 0; i < c->n_models; i++) {
        const struct tfs_model *m = &c->models[i], *old;

        if (model_find(c, m->name) != m) {
            snprintf(why, TFS_WHY_BYTES,
                     "Illegal to list model %s multiple times in config list", m->name);
            return false;
        }
        if (m->base_path[0] != '/' && !strstr(m->base_path, "://")) {
            snprintf(why, TFS_WHY_BYTES,
                     "Expected model %s to have an absolute path or URI; got "
                     "base_path()=%s",
                     m->name, m->base_path);
            return false;
        }
        old = model_find(&core.config, m->name);
        if (!platform_of(m, &platform, why) || (old && !platform_of(old, &before, why)))
            return false;
        if (old && strcmp(platform, before) != 0) {
            snprintf(why, TFS_WHY_BYTES, "Illegal to change a model's platform: %s",
                     m->name);
            return false;
        }
    }
    return true;
}

/* May this label point at a version that is not available? */
static bool
may_be_early(const char *model, const struct tfs_label *l)
{
    const struct label *now = label_find(model, l->key);

    return core.o->any_labels ||
           (core.o->early_labels && (!now || now->version == l->version));
}

/* All labels of all models, or none. */
static bool
move_labels(const struct tfs_config *c, char *why)
{
    struct label *labels = NULL;
    int n = 0;
    bool good = true;

    pthread_mutex_lock(&core.mu);
    for (int i = 0; good && i < c->n_models; i++) {
        const struct tfs_model *m = &c->models[i];

        for (int k = 0; good && k < m->n_labels; k++) {
            const struct state *s = state_find(m->name, m->labels[k].version);

            good = may_be_early(m->name, &m->labels[k]) ||
                   (s && s->s.state == TFS_AVAILABLE);
            if (good)
                *ADD(labels, n) = (struct label){ .model = strdup(m->name),
                                                  .key = strdup(m->labels[k].key),
                                                  .version = m->labels[k].version };
            else
                snprintf(why, TFS_WHY_BYTES,
                         "Request to assign label to version %" PRId64
                         " of model %s, which is not currently available for inference",
                         m->labels[k].version, m->name);
        }
    }
    if (good) {
        struct label *old = core.labels;
        int n_old = core.n_labels;

        core.labels = labels;
        core.n_labels = n;
        labels = old;
        n = n_old;
    }
    pthread_mutex_unlock(&core.mu);
    for (int i = 0; i < n; i++) {
        free(labels[i].model);
        free(labels[i].key);
    }
    free(labels);
    return good;
}

static bool
known_platforms(const struct tfs_config *c, char *why)
{
    const char *platform;

    for (int i = 0; i < c->n_models; i++) {
        if (!platform_of(&c->models[i], &platform, why))
            return false;
        if (strcmp(platform, "tensorflow") != 0) {
            snprintf(why, TFS_WHY_BYTES, "Model %s requests unsupported platform %s",
                     c->models[i].name, platform);
            return false;
        }
    }
    return true;
}

/* 1 some version is available, -1 the highest that got anywhere ended, 0 neither. */
static int
reached(const char *model, int64_t since)
{
    const struct state *best = NULL;

    for (int i = 0; i < core.n_states; i++) {
        const struct state *s = &core.states[i];

        if (s->seq > since && strcmp(s->model, model) == 0 &&
            (s->s.state == TFS_AVAILABLE || s->s.state == TFS_END) &&
            (!best || s->s.version > best->s.version))
            best = s;
    }
    return !best ? 0 : best->s.state == TFS_AVAILABLE ? 1 : -1;
}

/* Waits, for ever when need be, as the server's config thread does. */
static bool
wait_available(char **models, int n, int64_t since, char *why)
{
    bool good = true;

    pthread_mutex_lock(&core.mu);
    for (int i = 0; i < n; i++) {
        int r;

        while ((r = reached(models[i], since)) == 0)
            pthread_cond_wait(&core.changed, &core.mu);
        if (r < 0) {
            snprintf(why, TFS_WHY_BYTES, "1 servable(s) did not become available: %s",
                     models[i]);
            good = false;
        }
    }
    pthread_mutex_unlock(&core.mu);
    return good;
}

/* Takes `next`. Models that are gone are wanted no more. */
static bool
install(struct tfs_config next, char *why)
{
    char **fresh = NULL;
    int n = 0;
    int64_t since;
    struct tfs_config old;
    bool good;

    pthread_mutex_lock(&core.mu);
    since = core.seq;
    pthread_mutex_unlock(&core.mu);
    pthread_mutex_lock(&core.source_mu);
    old = core.source;
    core.source = next;
    for (int i = 0; i < old.n_models; i++)
        if (!model_find(&next, old.models[i].name))
            enqueue((struct request){ .model = strdup(old.models[i].name) });
    for (int i = 0; i < next.n_models; i++)
        if (!model_find(&old, next.models[i].name))
            *ADD(fresh, n) = strdup(next.models[i].name);
    core.installed = true;
    pthread_cond_broadcast(&core.when_installed);
    pthread_mutex_unlock(&core.source_mu);
    tfs_config_release(&old);
    good = wait_available(fresh, n, since, why);
    for (int i = 0; i < n; i++)
        free(fresh[i]);
    free(fresh);
    return good;
}

/* The config file's text; without one, NULL and what --model_base_path says. */
static bool
read_config(char **text, struct tfs_config *out, char *why)
{
    size_t cap_bytes = 0, len = 0;
    FILE *f;

    *text = NULL;
    if (!core.o->config_file) {
        *out = (struct tfs_config){ .is_set = true, .n_models = 1 };
        out->models = calloc(1, sizeof(*out->models));
        out->models[0] = (struct tfs_model){ .name = strdup(core.o->model_name),
                                             .base_path = strdup(core.o->base_path),
                                             .platform = strdup("tensorflow"),
                                             .n_latest = 1 };
        *text = strdup(core.o->base_path);
        return true;
    }
    f = fopen(core.o->config_file, "re");
    if (!f) {
        snprintf(why, TFS_WHY_BYTES, "%s: %s", core.o->config_file, strerror(errno));
        return false;
    }
    for (;;) {
        *text = realloc(*text, cap_bytes = cap_bytes * 2 + 4096);
        len += fread(*text + len, 1, cap_bytes - len - 1, f);
        if (len < cap_bytes - 1)
            break;
    }
    (*text)[len] = '\0';
    fclose(f);
    return tfs_config_parse(*text, len, out, why);
}

/* Tells of a config that is not in force, once for each text and reason. Takes text. */
static bool
refuse(char *text, const char *why)
{
    char *both;

    if (asprintf(&both, "%s\n%s", why, text ? text : "") < 0)
        abort();
    free(text);
    if (!core.refused || strcmp(core.refused, both) != 0)
        tfs_note(TFS_REFUSED, NULL, -1, why);
    free(core.refused);
    core.refused = both;
    return false;
}

/* "m: 1 2, stable 1; n: latest": to be freed. */
static char *
summary(const struct tfs_config *c)
{
    char *out = NULL;
    size_t len;
    FILE *f = open_memstream(&out, &len);

    for (int i = 0; i < c->n_models; i++) {
        const struct tfs_model *m = &c->models[i];

        fprintf(f, "%s%s:%s", i > 0 ? "; " : "", m->name,
                m->policy == TFS_ALL      ? " all"
                : m->policy == TFS_LATEST ? " latest"
                                          : "");
        for (int v = 0; v < m->n_versions; v++)
            fprintf(f, " %" PRId64, m->versions[v]);
        for (int l = 0; l < m->n_labels; l++)
            fprintf(f, ", %s %" PRId64, m->labels[l].key, m->labels[l].version);
    }
    fclose(f);
    return out;
}

bool
tfs_parses(void)
{
    struct tfs_config c = { .models = NULL };
    char *text, why[TFS_WHY_BYTES] = "";
    bool good = read_config(&text, &c, why);

    if (!good)
        printf("%s\n", why);
    tfs_config_release(&c);
    free(text);
    return good;
}

bool
tfs_reload(void)
{
    struct tfs_config next = { .models = NULL }, copy;
    char *text, *again, why[TFS_WHY_BYTES] = "";
    bool good;

    if (!read_config(&text, &next, why)) {
        tfs_config_release(&next);
        return refuse(text, why);
    }
    if (!next.is_set) {
        tfs_config_release(&next);
        if (core.config.is_set)
            return refuse(text, "Cannot transition to requested config. It is only "
                                "legal to transition from one ModelConfigList to "
                                "another.");
        free(text);
        tfs_say("empty_config", "");
        return true;
    }
    if (!is_valid(&next, why)) {
        tfs_config_release(&next);
        return refuse(text, why);
    }
    tfs_config_release(&core.config);
    core.config = next;
    if (!move_labels(&core.config, why) || !known_platforms(&core.config, why))
        return refuse(text, why);
    again = core.o->config_file ? strdup(text) : NULL;
    if (again)
        good = tfs_config_parse(again, strlen(again), &copy, why);
    else
        good = read_config(&again, &copy, why);
    free(again);
    if (!good || !install(copy, why))
        return refuse(text, why);
    if (!core.taken || strcmp(core.taken, text) != 0) {
        char *what = summary(&core.config);

        tfs_note(TFS_TAKEN, NULL, -1, what);
        free(what);
    }
    free(core.taken);
    core.taken = text;
    free(core.refused);
    core.refused = NULL;
    return true;
}
