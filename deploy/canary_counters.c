/* SPDX-License-Identifier: Apache-2.0 */
/* Counters that a server publishes: TF Serving's text, and what Prometheus answers.
 *
 * A line of the text is NAME{LABEL="VALUE",…} NUMBER; names may begin with ":". A
 * histogram's bucket has a label `le`, its upper bound, and counts all below it. */
#include "deploy/canary_int.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_BYTES 300

/* ---- buckets ------------------------------------------------------------------------
 */

static int
by_le(const void *a, const void *b)
{
    const double x = ((const struct canary_series *)a)->le;
    const double y = ((const struct canary_series *)b)->le;

    return (x > y) - (x < y);
}

int
canary_counters_buckets(struct canary_counters *c, const struct canary_series *s, int n,
                        double unit, struct err *err)
{
    struct canary_series *sorted AUTO(free_ptr) = NULL;

    c->n_le = 0;
    if (n <= 0)
        return 0;
    for (int i = 0; i < n; i++)
        if (isnan(s[i].le) || !(s[i].value >= 0))
            return err_set(err, ERR_INVALID,
                           isnan(s[i].le) ? "a series without le=\"…\": a histogram's "
                                            "buckets are wanted (sum by (le) (…))"
                                          : "a bucket's count is no number from 0 on");
    sorted = xreallocarray(NULL, (size_t)n, sizeof(sorted[0]));
    memcpy(sorted, s, (size_t)n * sizeof(sorted[0]));
    qsort(sorted, (size_t)n, sizeof(sorted[0]), by_le);
    for (int i = 0; i < n; i++) {
        const double le = sorted[i].le * unit;

        if (c->n_le > 0 && le <= c->le[c->n_le - 1]) /* of another series: together */
            c->below[c->n_le - 1] += sorted[i].value;
        else if (c->n_le == CANARY_EDGES_MAX)
            return err_set(err, ERR_LIMIT, "more than %d buckets", CANARY_EDGES_MAX);
        else {
            c->le[c->n_le] = le;
            c->below[c->n_le++] = sorted[i].value;
        }
    }
    for (int i = 1; i < c->n_le; i++)
        if (c->below[i] < c->below[i - 1])
            return err_set(err, ERR_INVALID,
                           "a bucket (le=%g) counts less than the one before it",
                           sorted[i].le);
    if (!isinf(c->le[c->n_le - 1]))
        return err_set(err, ERR_INVALID, "no bucket has le=\"+Inf\"");
    return 0;
}

/* What bucket i counted; before the first request a server has none. */
static double
below(const struct canary_counters *c, int i)
{
    return c->n_le > 0 ? c->below[i] : 0;
}

bool
canary_counters_since(const struct canary_counters *before,
                      const struct canary_counters *now, struct canary_traffic *t,
                      const struct canary_scale *s)
{
    double last = 0;

    if (now->n < before->n || now->errors < before->errors ||
        now->server_errors < before->server_errors || now->n_le < before->n_le ||
        (now->n_le > 0 && now->n_le != s->n + 1) ||
        (before->n_le > 0 && before->n_le != s->n + 1))
        return false;
    for (int i = 0; i < now->n_le; i++) {
        const double more = now->below[i] - below(before, i);

        if ((i < s->n && now->le[i] != s->edge[i]) || more < last)
            return false;
        last = more;
    }
    last = 0;
    for (int i = 0; i < now->n_le; i++) {
        const double more = now->below[i] - below(before, i);

        t->hist[i] += more - last;
        last = more;
    }
    t->n += now->n - before->n;
    t->errors += now->errors - before->errors;
    t->server_errors += now->server_errors - before->server_errors;
    return true;
}

/* ---- TF Serving's text --------------------------------------------------------------
 */

struct sample {
    struct str name, model, status, le;
    double value;
};

static bool
is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == ':';
}

/* NAME="VALUE" at the beginning of *rest, which moves behind it. Escapes stay. */
static bool
take_label(struct str *rest, struct str *name, struct str *value)
{
    size_t i = 0;

    while (i < rest->n && is_name_char(rest->p[i]))
        i++;
    *name = (struct str){ rest->p, i };
    if (i == 0 || i + 1 >= rest->n || rest->p[i] != '=' || rest->p[i + 1] != '"')
        return false;
    i += 2;
    value->p = rest->p + i;
    while (i < rest->n && rest->p[i] != '"')
        i += rest->p[i] == '\\' ? 2 : 1;
    if (i >= rest->n)
        return false;
    value->n = (size_t)(rest->p + i - value->p);
    *rest = (struct str){ rest->p + i + 1, rest->n - i - 1 };
    return true;
}

/* A number and what may follow it, a time. */
static bool
take_number(struct str text, double *out)
{
    char number[64];
    char *end;

    if (text.n == 0 || text.n >= sizeof(number))
        return false;
    memcpy(number, text.p, text.n);
    number[text.n] = '\0';
    *out = strtod(number, &end);
    return end != number && (*end == '\0' || *end == ' ');
}

static void
skip(struct str *s, const char *these)
{
    while (s->n > 0 && strchr(these, s->p[0]) && s->p[0]) {
        s->p++;
        s->n--;
    }
}

static bool
sample_parse(struct str line, struct sample *out)
{
    size_t i = 0;

    *out = (struct sample){ .value = NAN };
    while (i < line.n && is_name_char(line.p[i]))
        i++;
    out->name = (struct str){ line.p, i };
    line = (struct str){ line.p + i, line.n - i };
    if (i == 0 || line.n == 0)
        return false;
    if (line.p[0] == '{') {
        skip(&line, "{");
        for (skip(&line, " ,"); line.n > 0 && line.p[0] != '}'; skip(&line, " ,")) {
            struct str name, value;

            if (!take_label(&line, &name, &value))
                return false;
            if (str_is(name, "model_name"))
                out->model = value;
            else if (str_is(name, "status"))
                out->status = value;
            else if (str_is(name, "le"))
                out->le = value;
        }
        if (line.n == 0)
            return false;
        line = (struct str){ line.p + 1, line.n - 1 };
    }
    skip(&line, " ");
    return take_number(line, &out->value);
}

/* What the client did wrong; everything else that is not OK is the server's. */
static bool
is_clients(struct str status)
{
    static const char *const all[] = { "INVALID_ARGUMENT", "NOT_FOUND",
                                       "ALREADY_EXISTS",   "PERMISSION_DENIED",
                                       "UNAUTHENTICATED",  "FAILED_PRECONDITION",
                                       "OUT_OF_RANGE" };
    bool found = false;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        found |= str_is(status, all[i]);
    return found;
}

struct tfs {
    const char *model;
    struct canary_counters *out;
    struct canary_series *bucket;
    int n_buckets;
    bool found;
    struct buf names; /* other models */
};

static void
note_other(struct tfs *t, struct str model)
{
    char *quoted AUTO(free_ptr) = xasprintf(" \"%.*s\"", STR_ARG(model));

    if (!strstr(buf_str(&t->names), quoted))
        buf_adds(&t->names, quoted);
}

static int
take_sample(struct tfs *t, const struct sample *s, struct err *err)
{
    const bool is_count = str_is(s->name, ":tensorflow:serving:request_count");
    const bool is_bucket =
        str_is(s->name, ":tensorflow:serving:request_latency_bucket");

    if (!is_count && !is_bucket)
        return 0;
    if (!str_is(s->model, t->model)) {
        note_other(t, s->model);
        return 0;
    }
    if (!(s->value >= 0) || isinf(s->value))
        return err_set(err, ERR_INVALID, "%.*s counts %g", STR_ARG(s->name), s->value);
    t->found = true;
    if (is_bucket) {
        struct canary_series b = { .value = s->value };

        if (!take_number(s->le, &b.le))
            b.le = NAN;
        if (t->n_buckets == 16 * CANARY_EDGES_MAX)
            return err_set(err, ERR_LIMIT, "more than %d buckets",
                           16 * CANARY_EDGES_MAX);
        t->bucket[t->n_buckets++] = b;
        return 0;
    }
    t->out->n += s->value;
    if (str_is(s->status, "OK"))
        return 0;
    t->out->errors += s->value;
    if (!is_clients(s->status))
        t->out->server_errors += s->value;
    return 0;
}

int
canary_tfs_read(struct str text, const char *model, struct canary_counters *out,
                struct err *err)
{
    struct canary_series *bucket AUTO(free_ptr) =
        xcalloc((size_t)16 * CANARY_EDGES_MAX, sizeof(bucket[0]));
    struct tfs t = { .model = model,
                     .out = out,
                     .bucket = bucket,
                     .names = { .cap_bytes = NAMES_BYTES } };
    int e = 0, at = 0;

    *out = (struct canary_counters){ .n = 0 };
    while (e == 0 && text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        struct str line = { text.p, end ? (size_t)(end - text.p) : text.n };
        struct sample s;

        text.p += line.n + (end != NULL);
        text.n -= line.n + (end != NULL);
        at++;
        while (line.n > 0 && isspace((unsigned char)line.p[line.n - 1]))
            line.n--;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (sample_parse(line, &s))
            e = take_sample(&t, &s, err);
        else
            e = err_set(err, ERR_INVALID,
                        "line %d is no metric: '%.*s' (TF Serving publishes them when "
                        "it is started with --monitoring_config_file)",
                        at, (int)(line.n < 60 ? line.n : 60), line.p);
    }
    if (e == 0 && !t.found)
        e = err_set(err, ERR_NOTFOUND, "no requests of a model \"%s\" there%s%s", model,
                    t.names.len ? "; there are" : ": none was asked yet",
                    buf_str(&t.names));
    if (e == 0) /* microseconds */
        e = canary_counters_buckets(out, bucket, t.n_buckets, 1e-6, err);
    buf_release(&t.names);
    return e;
}

/* ---- Prometheus ---------------------------------------------------------------------
 */

/* [TIME, "NUMBER"] */
static bool
sample_of(const cJSON *pair, double *out)
{
    const char *text = cJSON_GetStringValue(cJSON_GetArrayItem(pair, 1));

    return cJSON_IsArray(pair) && text && take_number(str_of(text), out);
}

static int
read_vector(const cJSON *list, struct canary_series *out, int cap, int *n,
            struct err *err)
{
    const cJSON *e;

    cJSON_ArrayForEach(e, list)
    {
        const char *le = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(
            cJSON_GetObjectItemCaseSensitive(e, "metric"), "le"));
        struct canary_series s = { .le = NAN };

        if (le && !take_number(str_of(le), &s.le))
            return err_set(err, ERR_INVALID, "le=\"%.40s\" is no number", le);
        if (!sample_of(cJSON_GetObjectItemCaseSensitive(e, "value"), &s.value))
            return err_set(err, ERR_INVALID,
                           "element %d of the result has no value [time, \"number\"]",
                           *n + 1);
        if (*n == cap)
            return err_set(err, ERR_LIMIT, "more than %d series in the result", cap);
        out[(*n)++] = s;
    }
    return 0;
}

int
canary_prom_read(struct str json, struct canary_series *out, int cap, int *n,
                 struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *data, *result;
    const char *status, *why, *type;

    *n = 0;
    if (json_parse(&doc, json, "Prometheus' answer", err) < 0)
        return -(int)err->code;
    status = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "status"));
    why = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(doc, "error"));
    if (status && strcmp(status, "error") == 0)
        return err_set(err, ERR_INVALID, "Prometheus says: %.300s",
                       why ? why : "error");
    data = cJSON_GetObjectItemCaseSensitive(doc, "data");
    type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(data, "resultType"));
    result = cJSON_GetObjectItemCaseSensitive(data, "result");
    if (!status || strcmp(status, "success") != 0 || !type || !cJSON_IsArray(result))
        return err_set(err, ERR_INVALID,
                       "not an answer of Prometheus' /api/v1/query: {\"status\": "
                       "\"success\", \"data\": {\"resultType\", \"result\"}}");
    if (strcmp(type, "vector") == 0)
        return read_vector(result, out, cap, n, err);
    if (strcmp(type, "scalar") == 0 && cap > 0) {
        out[0] = (struct canary_series){ .le = NAN };
        *n = 1;
        return sample_of(result, &out[0].value)
                   ? 0
                   : err_set(err, ERR_INVALID, "the scalar has no number");
    }
    return err_set(err, ERR_INVALID,
                   "the result is a %.20s; an instant vector or a scalar is wanted",
                   type);
}
