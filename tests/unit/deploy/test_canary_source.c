/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/canary_int.h"
#include "deploy/ramp.h"

#include "tests/unit/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TEST(test_canary_metric__what_is_understood)
{
    struct err err = ERR_INIT;
    struct canary_metric m;

    CHECK_OK(canary_metric_parse("errors<=+1%", &m, &err));
    CHECK(m.kind == CANARY_ERRORS && m.relative && m.bound == 0.01);
    CHECK_OK(canary_metric_parse("server_errors<=0.05", &m, &err));
    CHECK(m.kind == CANARY_SERVER_ERRORS && !m.relative && m.bound == 0.05);
    CHECK_OK(canary_metric_parse("p99_ms<=+20%", &m, &err));
    CHECK(m.kind == CANARY_QUANTILE && m.relative && m.bound == 0.2);
    CHECK(fabs(m.quantile - 0.99) < 1e-12);
    CHECK_OK(canary_metric_parse("p999_ms<=120", &m, &err));
    CHECK(!m.relative && m.bound == 0.12 && fabs(m.quantile - 0.999) < 1e-12);
    CHECK_OK(canary_metric_parse("mean_ms<=+0%", &m, &err));
    CHECK(m.kind == CANARY_MEAN && m.relative && m.bound == 0);
}

TEST(test_canary_metric__what_is_not)
{
    static const char *const bad[] = { "",
                                       "errors",
                                       "<=5%",
                                       "errors<5%",
                                       "errors=5%",
                                       "errors<=",
                                       "errors<=+",
                                       "errors<=-1%",
                                       "errors<=100%",
                                       "errors<=nan",
                                       "errors<=1%x",
                                       "p99_ms<=+20",
                                       "p99_ms<=5%",
                                       "p99_ms<=-5",
                                       "p99_ms>=5",
                                       "p9_ms<=+5%",
                                       "p00_ms<=+5%",
                                       "x y<=1",
                                       "x<=+1%" };
    struct err err = ERR_INIT;
    struct canary_metric m;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(canary_metric_parse(bad[i], &m, &err), ERR_INVALID);
}

TEST(test_canary_line__forms)
{
    static const struct {
        const char *line;
        int want;
        int64_t version;
    } all[] = {
        { "{\"alias\":\"m@a\",\"version\":4,\"status\":200,\"seconds\":0.01}", 1, 4 },
        { "{\"version\":\"4\",\"status\":\"200\",\"seconds\":\"0.01\"}", 1, 4 },
        { "{\"version\":\"m@4\",\"status\":200,\"ms\":10}", 1, 4 },
        { "{\"version\":\"v4\",\"status\":200,\"unit\":\"\xff\xfe\"}", 1, 4 },
        { "{\"alias\":\"m@b\",\"version\":4,\"status\":200}", 0, 0 },
        { "{\"version\":0,\"status\":200}", 0, 0 },
        { "{\"version\":\"latest\",\"status\":200}", 0, 0 },
        { "{\"version\":1e300,\"status\":200}", 0, 0 },
        { "{\"version\":4.5,\"status\":200}", 0, 0 },
        { "{\"version\":4}", -1, 0 },
        { "{\"version\":4,\"status\":\"-\"}", -1, 0 },
        { "{\"version\":4,\"status\":12345}", -1, 0 },
        { "[4]", -1, 0 },
        { "10.0.0.1 - - GET /", -1, 0 },
        { "", -1, 0 },
    };
    struct canary_line l;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        CHECK_INT(canary_line_parse(str_of(all[i].line), "m@a", &l), all[i].want);
        if (all[i].want == 1)
            CHECK_INT(l.version, all[i].version);
    }
    CHECK_INT(canary_line_parse(str_of("{\"version\":4,\"status\":503,\"seconds\":-1,"
                                       "\"time\":\"1970-01-01T00:00:01+00:00\"}"),
                                "m@a", &l),
              1);
    CHECK(isnan(l.seconds) && l.status == 503 && l.time_ns == 1000000000);
}

/* ---- TF Serving ---------------------------------------------------------------------
 */

static const char tfs_text[] =
    "# TYPE :tensorflow:serving:request_count counter\n"
    ":tensorflow:serving:request_count{model_name=\"m\",status=\"OK\"} 90\n"
    ":tensorflow:serving:request_count{status=\"INTERNAL\",model_name=\"m\"} 7\n"
    ":tensorflow:serving:request_count{model_name=\"m\",status=\"INVALID_ARGUMENT\"} "
    "3 1700000000\n"
    ":tensorflow:serving:request_count{model_name=\"a\\\"}b\",status=\"OK\"} 1\n"
    "# TYPE :tensorflow:serving:request_latency histogram\n"
    ":tensorflow:serving:request_latency_bucket{model_name=\"m\",API=\"predict\","
    "entrypoint=\"REST\",le=\"1000\"} 10\n"
    ":tensorflow:serving:request_latency_bucket{model_name=\"m\",API=\"predict\","
    "entrypoint=\"REST\",le=\"+Inf\"} 60\n"
    ":tensorflow:serving:request_latency_bucket{model_name=\"m\",API=\"predict\","
    "entrypoint=\"GRPC\",le=\"1000\"} 30\n"
    ":tensorflow:serving:request_latency_bucket{model_name=\"m\",API=\"predict\","
    "entrypoint=\"GRPC\",le=\"+Inf\"} 40\n"
    ":tensorflow:serving:request_latency_sum{model_name=\"m\"} 1e6\n"
    "process_cpu_seconds_total 12.5\n\n";

TEST(test_canary_tfs__counts_of_a_model)
{
    struct canary_counters c;
    struct err err = ERR_INIT;

    CHECK_OK(canary_tfs_read(str_of(tfs_text), "m", &c, &err));
    CHECK(c.n == 100 && c.errors == 10 && c.server_errors == 7);
    CHECK_INT(c.n_le, 2);
    CHECK(c.le[0] == 1000 * 1e-6 && c.below[0] == 40 && c.below[1] == 100);
    CHECK_INT(canary_tfs_read(str_of(tfs_text), "other", &c, &err), -(int)ERR_NOTFOUND);
    CHECK(strstr(err.msg, "there are \"m\""));
    err_clear(&err);
    CHECK_ERR(canary_tfs_read(str_of("<html>"), "m", &c, &err), ERR_INVALID);
    CHECK_ERR(canary_tfs_read(
                  str_of(":tensorflow:serving:request_count{model_name=\"m\"} NaN"),
                  "m", &c, &err),
              ERR_INVALID);
    CHECK_ERR(canary_tfs_read(
                  str_of(":tensorflow:serving:request_count{model_name=\"m\"} -1"), "m",
                  &c, &err),
              ERR_INVALID);
    CHECK_ERR(canary_tfs_read(str_of(":tensorflow:serving:request_latency_bucket{"
                                     "model_name=\"m\",le=\"5\"} 3"),
                              "m", &c, &err),
              ERR_INVALID); /* no +Inf */
    CHECK_ERR(canary_tfs_read(str_of("a{b=\"c"), "m", &c, &err), ERR_INVALID);
}

TEST(test_canary_counters__between_two_readings)
{
    double edge[] = { 1 };
    const struct canary_scale s = { .edge = edge, .n = 1 };
    struct canary_counters a = { .n = 10, .errors = 1, .n_le = 2 }, b,
                           none = { .n = 0 };
    struct canary_traffic t;

    a.le[0] = 1;
    a.le[1] = INFINITY;
    a.below[0] = 6;
    a.below[1] = 10;
    b = a;
    b.n = 14;
    b.below[0] = 9;
    b.below[1] = 14;
    canary_traffic_init(&t);
    CHECK(canary_counters_since(&a, &b, &t, &s));
    CHECK(t.n == 4 && t.errors == 0 && t.hist[0] == 3 && t.hist[1] == 1);
    CHECK(!canary_counters_since(&b, &a, &t, &s)); /* started again */
    b.below[0] = 20;
    CHECK(!canary_counters_since(&a, &b, &t, &s)); /* lies */
    b = a;
    b.le[0] = 2;
    CHECK(!canary_counters_since(&a, &b, &t, &s)); /* other buckets */
    CHECK(t.n == 4);
    CHECK(canary_counters_since(&none, &a, &t, &s)); /* its first request */
    CHECK(t.n == 14 && t.hist[0] == 9);
    canary_traffic_release(&t);
}

/* ---- Prometheus ---------------------------------------------------------------------
 */

#define ANSWER(type, result)                                                           \
    "{\"status\":\"success\",\"data\":{\"resultType\":\"" type "\",\"result\":" result \
    "}}"

TEST(test_canary_prom__answers)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"status\":\"success\"}",
        "{\"status\":\"error\",\"error\":\"x\"}",
        ANSWER("matrix", "[]"),
        ANSWER("vector", "{}"),
        ANSWER("vector", "[{}]"),
        ANSWER("vector", "[{\"metric\":{},\"value\":[1]}]"),
        ANSWER("vector", "[{\"metric\":{},\"value\":[1,2]}]"),
        ANSWER("vector", "[{\"metric\":{\"le\":\"x\"},\"value\":[1,\"2\"]}]"),
        ANSWER("scalar", "[1,\"two\"]"),
    };
    struct canary_series s[2];
    struct err err = ERR_INIT;
    int n;

    CHECK_OK(canary_prom_read(
        str_of(ANSWER("vector", "[{\"metric\":{\"le\":\"+Inf\"},\"value\":[1,\"2\"]},"
                                "{\"metric\":{},\"value\":[1,\"NaN\"]}]")),
        s, 2, &n, &err));
    CHECK_INT(n, 2);
    CHECK(isinf(s[0].le) && s[0].value == 2 && isnan(s[1].le) && isnan(s[1].value));
    CHECK_OK(canary_prom_read(str_of(ANSWER("scalar", "[1,\"3\"]")), s, 2, &n, &err));
    CHECK(n == 1 && s[0].value == 3);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(canary_prom_read(str_of(bad[i]), s, 2, &n, &err), ERR_INVALID);
    CHECK_ERR(canary_prom_read(
                  str_of(ANSWER("vector", "[{\"value\":[1,\"2\"]},{\"value\":[1,\"2\"]}"
                                          ",{\"value\":[1,\"2\"]}]")),
                  s, 2, &n, &err),
              ERR_LIMIT);
}

TEST(test_ramp__steps)
{
    static const char *const bad[] = { "",   "5",      "5%,5%", "6%,5%",
                                       "0%", "101%",   "nan%",  "5%;6%",
                                       ",",  "5%,,6%", "-5%",   "0.001%" };
    struct ramp p = { .n_steps = 0 };
    struct err err = ERR_INIT;

    CHECK_OK(ramp_parse_steps("0.5%,1%,25%,100%", &p, &err));
    CHECK_INT(p.n_steps, 4);
    CHECK(p.steps[0] == 50 && p.steps[3] == 10000);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_ERR(ramp_parse_steps(bad[i], &p, &err), ERR_USAGE);
}
