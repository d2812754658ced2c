/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_metrics.h"
#include "tests/unit/unit.h"

TEST(test_srv_metrics_text__samples_of_one_metric_stand_together)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_text t = { .out = &out, .last = -1 };

    srv_text_int(&t, SRV_M_BUILD, 1, "1.0");
    srv_text_int(&t, SRV_M_WORKERS, 2, "busy");
    srv_text_int(&t, SRV_M_WORKERS, -3, "idle");
    srv_text_real(&t, SRV_M_CPU, 0.5);
    CHECK(strstr(buf_str(&out), "# HELP sluice_build_info ") == buf_str(&out));
    CHECK(strstr(buf_str(&out), "# TYPE sluice_build_info gauge\n"
                                "sluice_build_info{version=\"1.0\"} 1\n# HELP "));
    CHECK(strstr(buf_str(&out), "# TYPE sluice_workers gauge\n"
                                "sluice_workers{state=\"busy\"} 2\n"
                                "sluice_workers{state=\"idle\"} -3\n# HELP "));
    CHECK(strstr(buf_str(&out), "# TYPE process_cpu_seconds_total counter\n"
                                "process_cpu_seconds_total 0.5\n"));
}

/* Names of models are free: quotes, backslashes, whatever UTF-8 has. */
TEST(test_srv_metrics_text__label_values_are_escaped)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_text t = { .out = &out, .last = -1 };

    srv_text_int(&t, SRV_M_RELEASE, 7, "a \"b\\c\n", "prüfung");
    CHECK(strstr(buf_str(&out),
                 "sluice_release_intended{model=\"a \\\"b\\\\c\\n\",alias=\"prüfung\"} "
                 "7\n"));
}

TEST(test_srv_metrics_text__histograms_add_up)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_text t = { .out = &out, .last = -1 };
    struct srv_histogram h = { .sum_us = 0 };

    srv_histogram_add(&h, 100000);               /* 0.1 ms: the end belongs to it */
    srv_histogram_add(&h, 100001);               /* just above */
    srv_histogram_add(&h, INT64_C(2000000000));  /* 2 s */
    srv_histogram_add(&h, INT64_C(90000000000)); /* beyond all */
    srv_text_histogram(&t, SRV_M_DURATION, &h, 1, "push");
    CHECK(strstr(buf_str(&out), "_bucket{operation=\"push\",le=\"0.0001\"} 1\n"));
    CHECK(strstr(buf_str(&out), "_bucket{operation=\"push\",le=\"0.00025\"} 2\n"));
    CHECK(strstr(buf_str(&out), "_bucket{operation=\"push\",le=\"1\"} 2\n"));
    CHECK(strstr(buf_str(&out), "_bucket{operation=\"push\",le=\"2.5\"} 3\n"));
    CHECK(strstr(buf_str(&out), "_bucket{operation=\"push\",le=\"60\"} 3\n"));
    CHECK(strstr(buf_str(&out), "_bucket{operation=\"push\",le=\"+Inf\"} 4\n"));
    CHECK(strstr(buf_str(&out), "_sum{operation=\"push\"} 92.000200\n"));
    CHECK(strstr(buf_str(&out), "_count{operation=\"push\"} 4\n"));
    buf_clear(&out);
    srv_text_histogram(&t, SRV_M_MODEL_DURATION, &h, 3, "fraud", "3");
    CHECK(strstr(buf_str(&out), "{model=\"fraud\",version=\"3\",le=\"0.0005\"} 2\n"));
    CHECK(strstr(buf_str(&out), "{model=\"fraud\",version=\"3\",le=\"5\"} 3\n"));
    CHECK(strstr(buf_str(&out), "{model=\"fraud\",version=\"3\",le=\"+Inf\"} 4\n"));
    CHECK(!strstr(buf_str(&out), "le=\"0.001\""));
}

TEST(test_srv_metrics_text__process)
{
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct srv_text t = { .out = &out, .last = -1 };

    srv_process_text(&t);
    CHECK(strstr(buf_str(&out), "\nprocess_resident_memory_bytes "));
    CHECK(strstr(buf_str(&out), "\nprocess_open_fds "));
    CHECK(strstr(buf_str(&out), "\nprocess_start_time_seconds 1"));
}
