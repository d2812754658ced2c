/* SPDX-License-Identifier: Apache-2.0 */
/* Where the numbers come from; and the two sources that are asked over HTTP. What they
 * count since a server started is turned into what came between two looks. */
#include "deploy/canary_int.h"
#include "deploy/deploy_split.h"

#include "base/http.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 3000
#define WALL_MS 5000
#define BODY_BYTES ((size_t)4 << 20)

/* ---- traffic ------------------------------------------------------------------------
 */

void
canary_traffic_init(struct canary_traffic *t)
{
    *t = (struct canary_traffic){ .n = 0 };
    t->hist = xcalloc(CANARY_BUCKETS_MAX, sizeof(t->hist[0]));
}

void
canary_traffic_release(struct canary_traffic *t)
{
    free(t->hist);
    t->hist = NULL;
}

void
canary_traffic_clear(struct canary_traffic *t)
{
    t->n = t->errors = t->server_errors = 0;
    memset(t->hist, 0, CANARY_BUCKETS_MAX * sizeof(t->hist[0]));
}

void
canary_traffic_add(struct canary_traffic *t, const struct canary_traffic *more,
                   const struct canary_scale *s)
{
    t->n += more->n;
    t->errors += more->errors;
    t->server_errors += more->server_errors;
    for (int i = 0; i <= s->n; i++)
        t->hist[i] += more->hist[i];
}

char *
canary_who(const struct deploy_release *rel)
{
    struct deploy_split s AUTO(deploy_split_release) = { .n = 0 };

    deploy_split_init(&s, rel);
    return xstrdup(buf_str(&s.salt) + 1);
}

/* ---- all sources --------------------------------------------------------------------
 */

static const struct canary_source_ops *const all[] = { &canary_log_ops,
                                                       &canary_prom_ops,
                                                       &canary_tfs_ops };

int
canary_source_open(struct canary_source *out, const char *spec,
                   const struct deploy_release *rel, const cJSON *options,
                   struct err *err)
{
    *out = (struct canary_source){ .rel = *rel, .fd = -1 };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const size_t n = strlen(all[i]->scheme);

        if (strncmp(spec, all[i]->scheme, n) == 0 && spec[n] == ':' && spec[n + 1]) {
            out->ops = all[i];
            return out->ops->open(out, spec + n + 1, options, err);
        }
    }
    return err_set(err, ERR_USAGE,
                   "source '%.200s' is not log:PATH, prometheus:URL or tfserving:URL",
                   spec);
}

void
canary_source_close(struct canary_source *s)
{
    if (s->ops)
        s->ops->close(s);
    free(s->scores);
    canary_scale_release(&s->scale);
    fs_close(&s->fd);
}

int
canary_source_get(const char *url, struct buf *out, struct err *err)
{
    const struct http_ask ask = { .url = url,
                                  .connect_ms = CONNECT_MS,
                                  .wall_ms = WALL_MS,
                                  .max_bytes = BODY_BYTES };
    struct http_answer answer AUTO(http_answer_release) = HTTP_ANSWER_INIT;

    if (http_ask(&ask, &answer, err) < 0)
        return -(int)err->code;
    if (answer.cut)
        return err_set(err, ERR_LIMIT, "%.200s: the answer has more than %zu MiB", url,
                       BODY_BYTES >> 20);
    buf_add(out, buf_str(&answer.body), answer.body.len);
    /* Prometheus says in the body what was wrong with a query */
    if (answer.status != 200 && answer.status != 400 && answer.status != 422)
        return err_set(err, ERR_IO, "%.200s: status %d", url, answer.status);
    return 0;
}

void
canary_source_since(struct canary_source *s, struct canary_before *b, int member,
                    const struct canary_counters *now, struct canary_traffic *t)
{
    if (!s->scale.edge && now->n_le > 0) {
        s->scale.n = now->n_le - 1;
        s->scale.edge = xreallocarray(NULL, (size_t)s->scale.n + 1, sizeof(double));
        memcpy(s->scale.edge, now->le, (size_t)s->scale.n * sizeof(double));
    }
    if (b->has[member] && !canary_counters_since(&b->last[member], now, t, &s->scale) &&
        memcmp(&b->last[member], now, sizeof(*now)) != 0)
        snprintf(s->note, sizeof(s->note),
                 "the counters of version %lld went backwards, or have other buckets: "
                 "its server started again? Counted from now on",
                 (long long)s->rel.members[member].number);
    b->last[member] = *now;
    b->has[member] = true;
}

int
canary_source_name(const struct canary_source *s, const cJSON *options, int member,
                   const char **out, struct err *err)
{
    if (json_str(options, member == 0 ? "stable_name" : "canary_name",
                 member == 0 ? s->rel.model : "", out, "options", err) < 0)
        return -(int)err->code;
    if (s->rel.n_members > 2)
        return err_set(err, ERR_USAGE,
                       "TF Serving's metrics have no version, so that two models of it "
                       "can be compared, not %d versions: use an access log",
                       s->rel.n_members);
    if (!**out)
        return err_set(err, ERR_USAGE,
                       "TF Serving's metrics have no version: serve the canary there "
                       "as a model of its own, and say --canary-name NAME");
    return 0;
}

/* ---- TF Serving ---------------------------------------------------------------------
 */

#define TFS_PATH "/monitoring/prometheus/metrics"

struct tfs_source {
    char *url;
    char *name[2];
    struct canary_before before;
};

static int
tfs_open(struct canary_source *s, const char *rest, const cJSON *options,
         struct err *err)
{
    struct tfs_source *t = xcalloc(1, sizeof(*t));
    const char *host = strstr(rest, "://"), *path;

    s->state = t;
    path = host ? strchr(host + 3, '/') : NULL;
    t->url = path && path[1] ? xstrdup(rest)
                             : xasprintf("%.*s%s", path ? (int)(path - rest) : 2000,
                                         rest, TFS_PATH);
    for (int i = 0; i < s->rel.n_members; i++) {
        const char *name;

        if (canary_source_name(s, options, i, &name, err) < 0)
            return -(int)err->code;
        t->name[i] = xstrdup(name);
    }
    return 0;
}

static int
tfs_read(struct canary_source *s, struct canary_traffic *t, struct err *err)
{
    struct tfs_source *f = s->state;
    struct buf text AUTO(buf_release) = BUF_INIT;
    struct canary_counters *now AUTO(free_ptr) = NULL;

    if (canary_source_get(f->url, &text, err) < 0)
        return -(int)err->code;
    now = xcalloc(2, sizeof(now[0]));
    for (int i = 0; i < s->rel.n_members; i++) {
        int e = canary_tfs_read((struct str){ buf_str(&text), text.len }, f->name[i],
                                &now[i], err);

        if (e == -(int)ERR_NOTFOUND) { /* it was not asked yet */
            snprintf(s->note, sizeof(s->note), "%.190s", err->msg);
            err_clear(err);
        } else if (e < 0) {
            return err_ctx(err, "%.200s", f->url);
        }
    }
    for (int i = 0; i < s->rel.n_members; i++)
        canary_source_since(s, &f->before, i, &now[i], &t[i]);
    return 0;
}

static void
tfs_close(struct canary_source *s)
{
    struct tfs_source *t = s->state;

    if (!t)
        return;
    free(t->url);
    free(t->name[0]);
    free(t->name[1]);
    free(t);
    s->state = NULL;
}

const struct canary_source_ops canary_tfs_ops = {
    .scheme = "tfserving", .open = tfs_open, .read = tfs_read, .close = tfs_close
};

/* ---- Prometheus ---------------------------------------------------------------------
 */

/* What is counted, by the names of queries; without any: what TF Serving publishes. */
enum {
    Q_REQUESTS,
    Q_ERRORS,
    Q_SERVER_ERRORS,
    Q_LATENCY,
    Q_LATENCY_MS,
    Q_LATENCY_US,
    N_Q
};
static const struct {
    const char *name;
    double unit;     /* of times, in seconds */
    const char *tfs; /* NULL: there is none */
} known[N_Q] = {
    [Q_REQUESTS] = { "requests", 0,
                     "sum(:tensorflow:serving:request_count{model_name=\"$name\"})" },
    [Q_ERRORS] = { "errors", 0,
                   "sum(:tensorflow:serving:request_count{model_name=\"$name\","
                   "status!=\"OK\"})" },
    [Q_SERVER_ERRORS] = { "server_errors", 0,
                          "sum(:tensorflow:serving:request_count{model_name=\"$name\","
                          "status=~\"UNKNOWN|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|"
                          "ABORTED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS\"})" },
    [Q_LATENCY] = { "latency", 1, NULL },
    [Q_LATENCY_MS] = { "latency_ms", 1e-3, NULL },
    [Q_LATENCY_US] = { "latency_us", 1e-6,
                       "sum by (le) (:tensorflow:serving:request_latency_bucket{"
                       "model_name=\"$name\"})" },
};

struct prom {
    char *base;
    cJSON *queries; /* NAME: PROMQL */
    const char *name[DEPLOY_MEMBERS_MAX];
    cJSON *options; /* what `name` borrows from */
    struct canary_before before;
};

static int
add_query(struct prom *p, const cJSON *text, struct err *err)
{
    const char *s = cJSON_GetStringValue(text);
    const char *eq = s ? strchr(s, '=') : NULL;
    char *name AUTO(free_ptr) = eq ? xstrndup(s, (size_t)(eq - s)) : NULL;

    if (!eq || eq == s || !eq[1] || strpbrk(name, " {(\""))
        return err_set(err, ERR_USAGE,
                       "query '%.100s' is not NAME=PROMQL, such as "
                       "requests=sum(http_requests_total{version=\"$version\"})",
                       s ? s : "");
    if (json_has(p->queries, name))
        return err_set(err, ERR_USAGE, "two queries have the name %s", name);
    json_put_str(p->queries, name, eq + 1);
    return 0;
}

static const char *
query_of(const struct prom *p, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(p->queries, name));
}

static bool
uses_name(const struct prom *p)
{
    const cJSON *q;
    bool found = false;

    cJSON_ArrayForEach(q, p->queries) found |= strstr(q->valuestring, "$name") != NULL;
    return found;
}

static int
prom_open(struct canary_source *s, const char *rest, const cJSON *options,
          struct err *err)
{
    struct prom *p = xcalloc(1, sizeof(*p));
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(options, "queries"), *q;
    size_t n = strlen(rest);

    s->state = p;
    while (n > 0 && rest[n - 1] == '/')
        n--;
    p->base = xstrndup(rest, n);
    p->queries = cJSON_CreateObject();
    p->options = cJSON_Duplicate(options, true);
    cJSON_ArrayForEach(q, list)
    {
        if (add_query(p, q, err) < 0)
            return -(int)err->code;
    }
    if (!query_of(p, known[Q_REQUESTS].name)) {
        bool other = false;

        for (int i = 0; i < N_Q; i++)
            other |= query_of(p, known[i].name) != NULL;
        if (other)
            return err_set(err, ERR_USAGE,
                           "a --query requests=… is wanted beside the others: how many "
                           "requests a version had");
        for (int i = 0; i < N_Q; i++)
            if (known[i].tfs)
                json_put_str(p->queries, known[i].name, known[i].tfs);
    }
    s->lacks[CANARY_ERRORS] = !query_of(p, known[Q_ERRORS].name);
    s->lacks[CANARY_SERVER_ERRORS] = !query_of(p, known[Q_SERVER_ERRORS].name);
    s->lacks[CANARY_QUANTILE] = !query_of(p, known[Q_LATENCY].name) &&
                                !query_of(p, known[Q_LATENCY_MS].name) &&
                                !query_of(p, known[Q_LATENCY_US].name);
    s->lacks[CANARY_MEAN] = s->lacks[CANARY_OVER] = s->lacks[CANARY_QUANTILE];
    for (int i = 0; i < s->rel.n_members && uses_name(p); i++)
        if (canary_source_name(s, p->options, i, &p->name[i], err) < 0)
            return -(int)err->code;
    return 0;
}

/* The query for a member, as a part of a URL. */
static void
add_encoded(struct buf *out, const struct prom *p, const struct canary_source *s,
            const char *query, int member)
{
    struct buf text AUTO(buf_release) = BUF_INIT;

    while (*query) {
        if (strncmp(query, "$version", 8) == 0) {
            buf_addf(&text, "%lld", (long long)s->rel.members[member].number);
            query += 8;
        } else if (strncmp(query, "$name", 5) == 0 && p->name[member]) {
            for (const char *c = p->name[member]; *c; c++) {
                if (*c == '"' || *c == '\\')
                    buf_addc(&text, '\\');
                buf_addc(&text, *c);
            }
            query += 5;
        } else {
            buf_addc(&text, *query++);
        }
    }
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char c = (unsigned char)text.data[i];

        if (isalnum(c) || strchr("-_.~", c))
            buf_addc(out, (char)c);
        else
            buf_addf(out, "%%%02X", c);
    }
}

static int
prom_ask(const struct canary_source *s, const char *name, int member,
         struct canary_series *out, int cap, int *n, struct err *err)
{
    const struct prom *p = s->state;
    struct buf url AUTO(buf_release) = BUF_INIT, body AUTO(buf_release) = BUF_INIT;

    buf_addf(&url, "%s/api/v1/query?query=", p->base);
    add_encoded(&url, p, s, query_of(p, name), member);
    if (canary_source_get(buf_str(&url), &body, err) < 0)
        return -(int)err->code;
    if (canary_prom_read((struct str){ buf_str(&body), body.len }, out, cap, n, err) <
        0)
        return err_ctx(err, "query %s", name);
    return 0;
}

/* One number; an empty result is `empty`. */
static int
ask_number(struct canary_source *s, const char *name, int member, double empty,
           double *out, struct err *err)
{
    struct canary_series one[2];
    int n;

    if (prom_ask(s, name, member, one, 2, &n, err) < 0)
        return -(int)err->code;
    if (n > 1)
        return err_set(err, ERR_INVALID,
                       "query %s gives more than one series: sum(…) makes it one",
                       name);
    *out = n == 1 ? one[0].value : empty;
    return 0;
}

static int
prom_query(struct canary_source *s, const char *name, int member, double *out,
           struct err *err)
{
    if (!query_of(s->state, name))
        return err_set(err, ERR_USAGE, "metric %s: there is no --query %s=…", name,
                       name);
    return ask_number(s, name, member, NAN, out, err);
}

static int
read_member(struct canary_source *s, int member, struct canary_counters *c,
            struct err *err)
{
    struct canary_series bucket[CANARY_EDGES_MAX];
    double *const number[] = { [Q_REQUESTS] = &c->n,
                               [Q_ERRORS] = &c->errors,
                               [Q_SERVER_ERRORS] = &c->server_errors };
    int n, e = 0;

    for (int i = 0; e == 0 && i < N_Q; i++) {
        if (!query_of(s->state, known[i].name))
            continue;
        if (i < Q_LATENCY) {
            e = ask_number(s, known[i].name, member, 0, number[i], err);
            if (e == 0 && !(*number[i] >= 0 && *number[i] < 1e300))
                e = err_set(err, ERR_INVALID, "query %s gives %g, not a count",
                            known[i].name, *number[i]);
            continue;
        }
        e = prom_ask(s, known[i].name, member, bucket, CANARY_EDGES_MAX, &n, err);
        if (e == 0 && canary_counters_buckets(c, bucket, n, known[i].unit, err) < 0)
            e = err_ctx(err, "query %s", known[i].name);
    }
    return e;
}

static int
prom_read(struct canary_source *s, struct canary_traffic *t, struct err *err)
{
    struct prom *p = s->state;
    struct canary_counters *now AUTO(free_ptr) =
        xcalloc((size_t)s->rel.n_members, sizeof(now[0]));

    for (int i = 0; i < s->rel.n_members; i++)
        if (read_member(s, i, &now[i], err) < 0)
            return -(int)err->code;
    for (int i = 0; i < s->rel.n_members; i++) {
        if (now[i].n == 0)
            snprintf(s->note, sizeof(s->note),
                     "Prometheus knows of no request of version %lld",
                     (long long)s->rel.members[i].number);
        canary_source_since(s, &p->before, i, &now[i], &t[i]);
    }
    return 0;
}

static void
prom_close(struct canary_source *s)
{
    struct prom *p = s->state;

    if (!p)
        return;
    free(p->base);
    cJSON_Delete(p->queries);
    cJSON_Delete(p->options);
    free(p);
    s->state = NULL;
}

const struct canary_source_ops canary_prom_ops = { .scheme = "prometheus",
                                                   .open = prom_open,
                                                   .read = prom_read,
                                                   .ask = prom_query,
                                                   .close = prom_close };
