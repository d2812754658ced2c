/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the canary analysis share: what is asked for, and where numbers
 * come from. */
#ifndef DEPLOY_CANARY_INT_H
#define DEPLOY_CANARY_INT_H

#include "deploy/canary.h"
#include "deploy/canary_stat.h"

/* ---- canary_metric.c ----------------------------------------------------------------
 */

enum canary_kind {
    CANARY_ERRORS,        /* share of requests answered with 400 and more */
    CANARY_SERVER_ERRORS, /* with 500 and more */
    CANARY_QUANTILE,      /* a quantile of the seconds */
    CANARY_MEAN,
    CANARY_OVER,  /* share of requests that took longer than so many seconds */
    CANARY_QUERY, /* a number that the source is asked for */
    CANARY_N_KINDS
};
struct canary_metric {
    enum canary_kind kind;
    bool relative;   /* `bound` is above the stable version's value, by a test */
    bool at_least;   /* >=, of a query */
    double quantile; /* of CANARY_QUANTILE */
    double over_s;   /* of CANARY_OVER */
    double bound;    /* a share, seconds, or (relative, of times) a part of them */
    char text[64];   /* as it was given */
    char name[48];
};
/* errors<=+1%  errors<=5%  p99_ms<=+20%  p99_ms<=120  mean_ms<=+10%
 * over_100ms<=+1%  NAME<=0.2  NAME>=0.9. ERR_INVALID says what is understood. */
int canary_metric_parse(const char *text, struct canary_metric *out,
                        struct err *err) MUST_CHECK;
/* "1.2%", "103 ms" */
void canary_metric_value(const struct canary_metric *m, double v, struct buf *out);

/* ---- what came ----------------------------------------------------------------------
 */

enum { CANARY_BUCKETS_MAX = 1100 };
/* Requests of one version. */
struct canary_traffic {
    double n, errors, server_errors;
    double *hist; /* CANARY_BUCKETS_MAX, of which the scale uses n + 1 */
};
void canary_traffic_init(struct canary_traffic *t);
void canary_traffic_release(struct canary_traffic *t);
void canary_traffic_clear(struct canary_traffic *t);
void canary_traffic_add(struct canary_traffic *t, const struct canary_traffic *more,
                        const struct canary_scale *s);

/* ---- canary_log.c: one line of an access log ---------------------------------------
 */

struct canary_line {
    int64_t version;
    int status;
    double seconds;  /* NaN: not told */
    double score;    /* NaN: not told */
    int64_t time_ns; /* 0: not told */
};
/* A line of JSON as config/nginx.conf has it written: "alias" (absent: any), "version",
 * "status", "seconds" (or "ms"), "time", and "score", if somebody adds it. 1: of this
 * alias; 0: of another, or of no version; -1: not understood. */
int canary_line_parse(struct str line, const char *who, struct canary_line *out);

/* ---- canary_counters.c: counters that only grow -------------------------------------
 */

enum { CANARY_EDGES_MAX = 256 };
struct canary_counters {
    double n, errors, server_errors;
    double le[CANARY_EDGES_MAX]; /* seconds, ascending; the last is infinite */
    double below[CANARY_EDGES_MAX];
    int n_le; /* 0: no times */
};
/* The metrics of a TF Serving: what it says of a model. ERR_INVALID: not such a text.
 * ERR_NOTFOUND: nothing of that model, with the names that there are. */
int canary_tfs_read(struct str text, const char *model, struct canary_counters *out,
                    struct err *err) MUST_CHECK;
/* An answer of Prometheus to /api/v1/query. `le` of a series without one is NaN. */
struct canary_series {
    double le, value;
};
int canary_prom_read(struct str json, struct canary_series *out, int cap, int *n,
                     struct err *err) MUST_CHECK;
/* Buckets by their `le` times `unit` seconds. ERR_INVALID: not those of a histogram. */
int canary_counters_buckets(struct canary_counters *c, const struct canary_series *s,
                            int n, double unit, struct err *err) MUST_CHECK;
/* What came between two readings, added to `t`. false: the counters went backwards (the
 * server started again) or have other buckets than `s`; what came since is not known.
 */
bool canary_counters_since(const struct canary_counters *before,
                           const struct canary_counters *now, struct canary_traffic *t,
                           const struct canary_scale *s);

/* ---- canary_source.c ----------------------------------------------------------------
 */

struct canary_source;
struct canary_source_ops {
    const char *scheme;
    int (*open)(struct canary_source *s, const char *rest, const cJSON *options,
                struct err *err);
    /* Adds what came since the last time. */
    int (*read)(struct canary_source *s, struct canary_traffic *t, struct err *err);
    /* A query's number for a member; NULL: there are none. */
    int (*ask)(struct canary_source *s, const char *name, int member, double *out,
               struct err *err);
    void (*close)(struct canary_source *s);
};
struct canary_source {
    const struct canary_source_ops *ops;
    struct deploy_release rel;
    struct canary_scale scale;    /* edge NULL: not known, or no times */
    struct canary_scores *scores; /* of each member; NULL: the source has none */
    int fd;                       /* readable when there may be something; -1: none */
    bool follows;                 /* may be read at any time, not once an interval */
    bool lacks[CANARY_N_KINDS];   /* what it cannot tell */
    bool more;                    /* the last reading did not come to the end */
    double n_other, n_bad;        /* lines of other versions; not understood */
    char note[200];               /* what the last reading found odd; "" */
    void *state;
};
/* "log:PATH", "prometheus:URL", "tfserving:URL". */
int canary_source_open(struct canary_source *out, const char *spec,
                       const struct deploy_release *rel, const cJSON *options,
                       struct err *err) MUST_CHECK;
void canary_source_close(struct canary_source *s);
/* A body, or why there is none. */
int canary_source_get(const char *url, struct buf *out, struct err *err) MUST_CHECK;
/* What two sources of counters share: the reading before of each member. */
struct canary_before {
    struct canary_counters last[DEPLOY_MEMBERS_MAX];
    bool has[DEPLOY_MEMBERS_MAX];
};
/* Adds what came since, and keeps `now`; the first reading only begins. */
void canary_source_since(struct canary_source *s, struct canary_before *b, int member,
                         const struct canary_counters *now, struct canary_traffic *t);
/* The name of a member's model at the server: ERR_USAGE: it has to be given. */
int canary_source_name(const struct canary_source *s, const cJSON *options, int member,
                       const char **out, struct err *err) MUST_CHECK;

extern const struct canary_source_ops canary_log_ops, canary_prom_ops, canary_tfs_ops;

/* ---- canary.c -----------------------------------------------------------------------
 */

enum { CANARY_METRICS_MAX = 16 };
/* A metric of one canary beside the stable version. */
struct canary_check {
    struct canary_seq seq;
    struct canary_latency latency;
    struct canary_tally tally;
    double past_n, past_k;  /* of the stable version, for the level of a share */
    double value, measured; /* of the last interval; NaN: none */
    bool breached;
};
/* One canary. */
struct canary_pair {
    struct canary_traffic pending[2], total[2], window;
    double n_at_rebase;
    struct canary_check check[CANARY_METRICS_MAX];
};
struct canary {
    struct canary_source source;
    struct canary_metric metric[CANARY_METRICS_MAX];
    int n_metrics, n_tests;
    double alpha, min_requests;
    int64_t interval_ns, next_ns;
    struct canary_limits limits;
    struct canary_tally tally;   /* of the source: was it there? */
    struct canary_traffic *came; /* of each member */
    struct canary_pair *pair;    /* [1…] */
    bool has_scale;
    int64_t n_looks;
    char error[300]; /* of the last reading; "" */
    enum canary_outcome outcome;
    int64_t worse;
    struct buf why;
};

/* NaN: nothing came, or its times are not known. */
double canary_value(const struct canary *c, const struct canary_metric *m,
                    const struct canary_traffic *t);
/* From which e-value on it is a breach. */
double canary_needed(const struct canary *c);
double canary_log_e(const struct canary_metric *m, const struct canary_check *k);
/* What keeps metric k of a member from saying anything; false: nothing. */
bool canary_is_missing(const struct canary *c, int member, int k, struct buf *out);

#endif
