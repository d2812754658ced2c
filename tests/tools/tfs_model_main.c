/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/tfs_model.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- log
 * ------------------------------------------------------------------------------- */

const char *const tfs_count_names[TFS_N_COUNTS] = {
    "taken",    "refused",    "torn",   "reused", "missing",
    "unserved", "label_lost", "failed", "loaded", "unloaded",
};
static struct {
    pthread_mutex_t mu;
    FILE *to;
    int64_t counts[TFS_N_COUNTS], began_ms;
} logged = { .mu = PTHREAD_MUTEX_INITIALIZER };

static int64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

char *
tfs_quote(const char *s)
{
    char *out = malloc(strlen(s) * 6 + 3), *p = out;

    if (!out)
        abort();
    *p++ = '"';
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            *p++ = '\\';
        if ((unsigned char)*s >= 0x20) {
            *p++ = *s;
        } else {
            snprintf(p, 7, "\\u%04x", (unsigned)*s);
            p += 6;
        }
    }
    *p++ = '"';
    *p = '\0';
    return out;
}

void
tfs_say(const char *event, const char *extra)
{
    pthread_mutex_lock(&logged.mu);
    fprintf(logged.to, "{\"ms\":%" PRId64 ",\"event\":\"%s\"%s%s}\n",
            now_ms() - logged.began_ms, event, *extra ? "," : "", extra);
    fflush(logged.to);
    pthread_mutex_unlock(&logged.mu);
}

void
tfs_note(enum tfs_count what, const char *model, int64_t version, const char *why)
{
    char *m = tfs_quote(model ? model : ""), *w = tfs_quote(why ? why : ""), *extra;
    char v[40] = "";

    if (version >= 0)
        snprintf(v, sizeof(v), ",\"version\":%" PRId64, version);
    if (asprintf(&extra, "\"model\":%s%s,\"why\":%s", m, v, w) < 0)
        abort();
    pthread_mutex_lock(&logged.mu);
    logged.counts[what]++;
    pthread_mutex_unlock(&logged.mu);
    tfs_say(tfs_count_names[what], extra);
    free(extra);
    free(m);
    free(w);
}

char *
tfs_counts_json(void)
{
    char *out = NULL;
    size_t len;
    FILE *f = open_memstream(&out, &len);

    pthread_mutex_lock(&logged.mu);
    for (int i = 0; i < TFS_N_COUNTS; i++)
        fprintf(f, "%s\"%s\":%" PRId64, i > 0 ? "," : "", tfs_count_names[i],
                logged.counts[i]);
    pthread_mutex_unlock(&logged.mu);
    fclose(f);
    return out;
}

/* ---- options
 * --------------------------------------------------------------------------- */

static const char usage[] =
    "usage: tfs-model --model_config_file=FILE | --model_base_path=DIR "
    "[--model_name=M]\n"
    "           [--model_config_file_poll_wait_seconds=0] "
    "[--file_system_poll_wait_seconds=1]\n"
    "           [--allow_version_labels_for_unavailable_models]\n"
    "           [--force_allow_any_version_labels_for_unavailable_models]\n"
    "           [--max_num_load_retries=5] [--load_retry_interval_micros=60000000]\n"
    "           [--rest_api_port=0]   as tensorflow_model_server has them, and\n"
    "  --manage_ms=100     how often it decides what to load and unload\n"
    "  --load_ms=0         how long a version takes to load\n"
    "  --fail_load=N       a version that does not load (may be repeated)\n"
    "  --status_lies       says AVAILABLE as soon as a version is configured\n"
    "  --status_hangs      never answers a status request\n"
    "  --status_500        answers one with HTTP 500\n"
    "  --runner=SLUICE     answers {\"inputs\": {…}} by 'SLUICE run' on the version "
    "that\n"
    "                      serves; without it an answer is the version's number\n"
    "  --log=FILE          JSON lines; default: standard output\n"
    "  --port_file=FILE    gets the port, once it answers\n"
    "  --parse_only        0: the config file parses, 1: why it does not\n"
    "SIGHUP: reads the config now. SIGTERM: ends, with the counts as its last line.\n";

enum {
    O_CONFIG,
    O_CONFIG_POLL,
    O_SCAN_POLL,
    O_NAME,
    O_BASE,
    O_EARLY,
    O_ANY,
    O_RETRIES,
    O_RETRY,
    O_PORT,
    O_MANAGE,
    O_LOAD,
    O_FAIL,
    O_LIES,
    O_HANGS,
    O_500,
    O_RUNNER,
    O_LOG,
    O_PORT_FILE,
    O_PARSE,
};
static const struct option options[] = {
    { "model_config_file", required_argument, NULL, O_CONFIG },
    { "model_config_file_poll_wait_seconds", required_argument, NULL, O_CONFIG_POLL },
    { "file_system_poll_wait_seconds", required_argument, NULL, O_SCAN_POLL },
    { "model_name", required_argument, NULL, O_NAME },
    { "model_base_path", required_argument, NULL, O_BASE },
    { "allow_version_labels_for_unavailable_models", optional_argument, NULL, O_EARLY },
    { "force_allow_any_version_labels_for_unavailable_models", optional_argument, NULL,
      O_ANY },
    { "max_num_load_retries", required_argument, NULL, O_RETRIES },
    { "load_retry_interval_micros", required_argument, NULL, O_RETRY },
    { "rest_api_port", required_argument, NULL, O_PORT },
    { "manage_ms", required_argument, NULL, O_MANAGE },
    { "load_ms", required_argument, NULL, O_LOAD },
    { "fail_load", required_argument, NULL, O_FAIL },
    { "status_lies", no_argument, NULL, O_LIES },
    { "status_hangs", no_argument, NULL, O_HANGS },
    { "status_500", no_argument, NULL, O_500 },
    { "runner", required_argument, NULL, O_RUNNER },
    { "log", required_argument, NULL, O_LOG },
    { "port_file", required_argument, NULL, O_PORT_FILE },
    { "parse_only", no_argument, NULL, O_PARSE },
    { NULL, 0, NULL, 0 },
};

static bool
is_true(const char *text)
{
    return !text || strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
}

static void
take_option(struct tfs_options *o, int c, const char *text)
{
    const double number = text ? strtod(text, NULL) : 0;

    switch (c) {
    case O_CONFIG:
        o->config_file = text;
        break;
    case O_CONFIG_POLL:
        o->config_poll_s = number;
        break;
    case O_SCAN_POLL:
        o->scan_poll_s = number;
        break;
    case O_NAME:
        o->model_name = text;
        break;
    case O_BASE:
        o->base_path = text;
        break;
    case O_EARLY:
        o->early_labels = is_true(text);
        break;
    case O_ANY:
        o->any_labels = is_true(text);
        break;
    case O_RETRIES:
        o->max_retries = (int)number;
        break;
    case O_RETRY:
        o->retry_s = number / 1e6;
        break;
    case O_PORT:
        o->port = (int)number;
        break;
    case O_MANAGE:
        o->manage_ms = (int)number;
        break;
    case O_LOAD:
        o->load_ms = (int)number;
        break;
    case O_FAIL:
        if (o->n_fail_load < TFS_FAIL_MAX)
            o->fail_load[o->n_fail_load++] = (int64_t)number;
        break;
    case O_LIES:
        o->status_lies = true;
        break;
    case O_HANGS:
        o->status_hangs = true;
        break;
    case O_500:
        o->status_500 = true;
        break;
    case O_RUNNER:
        o->runner = text;
        break;
    case O_LOG:
        o->log_path = text;
        break;
    case O_PORT_FILE:
        o->port_file = text;
        break;
    case O_PARSE:
        o->parse_only = true;
        break;
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

/* ---- threads
 * --------------------------------------------------------------------------- */

static sem_t reload_now;

static void *
config_thread(void *arg)
{
    const struct tfs_options *o = arg;

    for (;;) {
        struct timespec until;
        bool told = true;
        int64_t ns;

        clock_gettime(CLOCK_REALTIME, &until);
        ns = until.tv_nsec + (int64_t)(o->config_poll_s * 1e9);
        until.tv_sec += ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        if (o->config_poll_s > 0)
            while (!(told = sem_timedwait(&reload_now, &until) == 0) && errno == EINTR)
                ;
        else
            while (sem_wait(&reload_now) != 0)
                ;
        tfs_reload();
        if (told)
            tfs_say("told", "");
    }
    return NULL;
}

static void *
http_thread(void *arg)
{
    tfs_http_run(arg);
    return NULL;
}

static void
start(void *(*fn)(void *), struct tfs_options *o)
{
    pthread_t t;

    if (pthread_create(&t, NULL, fn, o) != 0)
        abort();
    pthread_detach(t);
}

/* The first config: the server does not start with one that it refuses, and answers
 * only when every model has a version. */
static void *
first_thread(void *arg)
{
    if (!tfs_reload()) {
        fprintf(stderr, "tfs-model: the first config was refused (see the log)\n");
        _exit(1);
    }
    start(config_thread, arg);
    start(http_thread, arg);
    return NULL;
}

int
main(int argc, char **argv)
{
    static struct tfs_options o = { .model_name = "default",
                                    .scan_poll_s = 1,
                                    .manage_ms = 100,
                                    .max_retries = 5,
                                    .retry_s = 60 };
    sigset_t set;
    char *counts;
    int c, sig = 0;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        take_option(&o, c, optarg);
    if (optind != argc || (!o.config_file && !o.base_path))
        take_option(&o, -1, NULL);
    logged.to = o.log_path ? fopen(o.log_path, "we") : stdout;
    logged.began_ms = now_ms();
    if (!logged.to) {
        fprintf(stderr, "tfs-model: %s: %s\n", o.log_path, strerror(errno));
        return 1;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sem_init(&reload_now, 0, 0);
    tfs_core_init(&o);
    if (o.parse_only)
        return !tfs_parses();
    start(tfs_manage_thread, &o);
    start(tfs_scan_thread, &o);
    start(first_thread, &o);
    while (sigwait(&set, &sig) == 0 && (sig == SIGHUP || sig == SIGUSR1)) {
        if (sig == SIGHUP)
            sem_post(&reload_now);
        else
            tfs_scan_now();
    }
    counts = tfs_counts_json();
    tfs_say("end", counts);
    _exit(0);
}
