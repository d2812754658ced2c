/* SPDX-License-Identifier: Apache-2.0 */
/* The REST API: paths, answers, errors and layout of the JSON as the server has them.
 * Two things to know of it: the status of a label is the status of all versions (where
 * the label points is seen in .../labels/L/metadata), and what was ever loaded stays in
 * the status, as END. GET /counts is of the model's own. */
#include "tests/tools/tfs_model.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQUEST_BYTES = 1 << 22 };

struct request {
    bool post;
    char path[1024];
    char *body;
    char *model, *label, *verb; /* verb: predict…, metadata or NULL */
    int64_t number;
    bool has_number;
};
static const struct tfs_options *options;

/* ---- answers
 * ---------------------------------------------------------------------------- */

static void
answer(int fd, int status, const char *body)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = { { 200, "OK" },
                  { 400, "Bad Request" },
                  { 404, "Not Found" },
                  { 500, "Internal Server Error" },
                  { 501, "Not Implemented" } };
    const char *text = "";
    char *all;
    int len;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (texts[i].status == status)
            text = texts[i].text;
    len = asprintf(&all,
                   "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                   status, text, strlen(body), body);
    for (int sent = 0; sent < len;) {
        ssize_t n = write(fd, all + sent, (size_t)(len - sent));

        if (n <= 0)
            break;
        sent += (int)n;
    }
    free(all);
}

static void
refuse(int fd, int status, const char *why)
{
    char *quoted = tfs_quote(why), *body;

    if (asprintf(&body, "{\n    \"error\": %s\n}", quoted) < 0)
        abort();
    answer(fd, status, body);
    free(body);
    free(quoted);
}

/* ---- paths
 * ------------------------------------------------------------------------------- */

static int
hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* One part of a path, up to / or :, decoded. NULL: there is none. */
static char *
take_part(const char **at)
{
    size_t len = strcspn(*at, "/:");
    char *out = len > 0 ? malloc(len + 1) : NULL, *p = out;

    for (const char *s = *at, *end = s + len; out && s < end; s++) {
        if (*s == '%' && end - s > 2 && isxdigit((unsigned char)s[1]) &&
            isxdigit((unsigned char)s[2])) {
            *p++ = (char)(hex(s[1]) * 16 + hex(s[2]));
            s += 2;
        } else {
            *p++ = *s;
        }
    }
    if (out)
        *p = '\0';
    *at += len;
    return out;
}

static bool
skip(const char **at, const char *text)
{
    if (strncasecmp(*at, text, strlen(text)) != 0)
        return false;
    *at += strlen(text);
    return true;
}

/* 0, or an HTTP status and why. */
static int
parse_path(struct request *q, char *why)
{
    const char *at = q->path;
    bool good = skip(&at, "/v1/models");

    if (good && skip(&at, "/") && !(q->model = take_part(&at)))
        good = false;
    if (good && skip(&at, "/versions/")) {
        size_t len = strspn(at, "0123456789");
        char digits[64];

        snprintf(digits, sizeof(digits), "%.*s", (int)len, at);
        good = len > 0;
        if (good && (len > 40 || !tfs_number(digits, &q->number))) {
            snprintf(why, TFS_WHY_BYTES, "Failed to convert version: %s to numeric.",
                     digits);
            return 400;
        }
        at += len;
        q->has_number = true;
    } else if (good && skip(&at, "/labels/")) {
        good = (q->label = take_part(&at)) != NULL;
    }
    if (good && q->post) {
        q->verb = skip(&at, ":") ? strdup(at) : NULL;
        good = q->verb && q->model &&
               (strcasecmp(q->verb, "predict") == 0 ||
                strcasecmp(q->verb, "classify") == 0 ||
                strcasecmp(q->verb, "regress") == 0);
    } else if (good && *at) {
        good = skip(&at, "/metadata") && !*at;
        q->verb = strdup("metadata");
    }
    if (good)
        return 0;
    snprintf(why, TFS_WHY_BYTES, "Malformed request: %s %.400s",
             q->post ? "POST" : "GET", q->path);
    return 400;
}

/* ---- status, metadata
 * --------------------------------------------------------------------- */

static void
say_status(int fd, const struct request *q)
{
    static const char *const names[] = { "START", "LOADING", "AVAILABLE", "UNLOADING",
                                         "END" };
    char *body = NULL, why[TFS_WHY_BYTES];
    struct tfs_shown *s;
    size_t len;
    int n, shown = 0;
    bool known = tfs_status(q->model, &s, &n);
    FILE *f = open_memstream(&body, &len);

    fputs("{\n \"model_version_status\": [\n", f);
    for (int i = 0; i < n; i++) {
        char *error = tfs_quote(s[i].error ? s[i].error : "");

        if (!q->has_number || s[i].version == q->number)
            fprintf(f,
                    "%s  {\n   \"version\": \"%" PRId64
                    "\",\n   \"state\": \"%s\",\n   \"status\": {\n"
                    "    \"error_code\": \"%s\",\n    \"error_message\": %s\n   }\n  }",
                    shown++ > 0 ? ",\n" : "", s[i].version, names[s[i].state],
                    s[i].error ? "NOT_FOUND" : "OK", error);
        free(error);
    }
    fputs("\n ]\n}\n", f);
    fclose(f);
    if (shown > 0) {
        answer(fd, 200, body);
    } else {
        if (known || q->has_number)
            snprintf(why, sizeof(why), "Could not find version %" PRId64 " of model %s",
                     q->number, q->model);
        else
            snprintf(why, sizeof(why), "Could not find any versions of model %s",
                     q->model);
        refuse(fd, 404, why);
    }
    tfs_shown_free(s, n);
    free(body);
}

/* Without the signatures: it knows none. */
static void
say_metadata(int fd, const char *model, int64_t version)
{
    char *quoted = tfs_quote(model), *body;

    if (asprintf(&body,
                 "{\n\"model_spec\":{\n \"name\": %s,\n \"signature_name\": \"\",\n"
                 " \"version\": \"%" PRId64 "\"\n}\n,\n\"metadata\": "
                 "{\"signature_def\": {\n \"signature_def\": {}\n}\n}\n}\n",
                 quoted, version) < 0)
        abort();
    answer(fd, 200, body);
    free(body);
    free(quoted);
}

/* ---- predict
 * -------------------------------------------------------------------------------- */

/* What `sluice run --json` prints for these inputs; NULL: it failed. */
static char *
run(const char *dir, const char *exprs)
{
    char *out = NULL, block[4096];
    size_t len;
    FILE *f = open_memstream(&out, &len);
    int ends[2], status = 1;
    ssize_t n;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0 || (pid = fork()) < 0)
        abort();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execlp(options->runner, options->runner, "run", "--dir", dir, "--input_exprs",
               exprs, "--json", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    while ((n = read(ends[0], block, sizeof(block))) > 0)
        fwrite(block, 1, (size_t)n, f);
    close(ends[0]);
    waitpid(pid, &status, 0);
    fclose(f);
    if (status == 0)
        return out;
    fprintf(stderr, "tfs-model: %s\n", out);
    free(out);
    return NULL;
}

/* "[[1. 2.5]]" as numpy writes it to what JSON knows. */
static void
print_array(FILE *f, const char *text)
{
    char last = '[';

    for (const char *p = text; *p; p++) {
        if (isspace((unsigned char)*p)) {
            while (isspace((unsigned char)p[1]))
                p++;
            if (last != '[' && p[1] && p[1] != ']')
                fputs(last == ',' ? "" : ", ", f);
            continue;
        }
        fputc(*p, f);
        if (*p == '.' && !isdigit((unsigned char)p[1]))
            fputc('0', f);
        last = *p;
    }
}

static void
predict_by_run(int fd, const char *dir, const cJSON *inputs)
{
    char *exprs = NULL, *printed, *body = NULL;
    const cJSON *in, *out, *outputs;
    bool one;
    size_t len;
    FILE *f = open_memstream(&exprs, &len);
    cJSON *doc;

    cJSON_ArrayForEach(in, inputs)
    {
        char *value = cJSON_PrintUnformatted(in);

        fprintf(f, "%s%s=%s", in == inputs->child ? "" : ";", in->string, value);
        free(value);
    }
    fclose(f);
    printed = run(dir, exprs);
    doc = printed ? cJSON_Parse(printed) : NULL;
    f = open_memstream(&body, &len);
    outputs = cJSON_GetObjectItem(doc, "outputs");
    one = cJSON_GetArraySize(outputs) == 1; /* has no name then */
    fprintf(f, "{\n    \"outputs\": %s", one ? "" : "{");
    cJSON_ArrayForEach(out, outputs)
    {
        const char *key = cJSON_GetStringValue(cJSON_GetObjectItem(out, "key"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(out, "text"));

        if (!one)
            fprintf(f, "%s\n        \"%s\": ", out == outputs->child ? "" : ",",
                    key ? key : "");
        print_array(f, text ? text : "[]");
    }
    fputs(one ? "\n}" : "\n    }\n}", f);
    fclose(f);
    if (doc)
        answer(fd, 200, body);
    else
        refuse(fd, 500, "the runner failed");
    cJSON_Delete(doc);
    free(printed);
    free(body);
    free(exprs);
}

static void
predict(int fd, const struct request *q, const char *dir, int64_t version)
{
    cJSON *doc = cJSON_Parse(q->body ? q->body : "");
    const cJSON *inputs = cJSON_GetObjectItem(doc, "inputs");
    const cJSON *instances = cJSON_GetObjectItem(doc, "instances");
    char *body = NULL;

    if (!q->body || !*q->body) {
        refuse(fd, 400, "JSON Parse error: The document is empty");
    } else if (!doc) {
        refuse(fd, 400, "JSON Parse error: Invalid value. at offset: 0");
    } else if (!inputs == !instances) {
        refuse(fd, 400, "Missing 'inputs' or 'instances' key");
    } else if (options->runner && !cJSON_IsObject(inputs)) {
        refuse(fd, 501, "this model of a server computes only {\"inputs\": {KEY: …}}");
    } else if (options->runner) {
        predict_by_run(fd, dir, inputs);
    } else {
        if (asprintf(&body, "{\n    \"%s\": [%" PRId64 "\n    ]\n}",
                     inputs ? "outputs" : "predictions", version) < 0)
            abort();
        answer(fd, 200, body);
    }
    free(body);
    cJSON_Delete(doc);
}

/* ---- connections
 * ----------------------------------------------------------------------------- */

static void
dispatch(int fd, struct request *q)
{
    char why[TFS_WHY_BYTES], *dir = NULL;
    int64_t version;
    int status;

    if (strcmp(q->path, "/counts") == 0) {
        char *counts = tfs_counts_json(), *body;

        if (asprintf(&body, "{%s}\n", counts) < 0)
            abort();
        answer(fd, 200, body);
        free(body);
        free(counts);
        return;
    }
    status = parse_path(q, why);
    if (status == 0 && !q->model) {
        status = 400;
        snprintf(why, sizeof(why), "Missing model name in request.");
    }
    if (status == 0 && !q->verb) {
        if (options->status_hangs)
            for (;;)
                pause();
        if (options->status_500)
            refuse(fd, 500, "asked to fail");
        else
            say_status(fd, q);
        return;
    }
    if (status == 0)
        status = tfs_serving(q->model, q->has_number ? &q->number : NULL, q->label,
                             &version, &dir, why);
    if (status != 0)
        refuse(fd, status, why);
    else if (strcmp(q->verb, "metadata") == 0)
        say_metadata(fd, q->model, version);
    else if (strcasecmp(q->verb, "predict") == 0)
        predict(fd, q, dir, version);
    else
        refuse(fd, 501, "this model of a server only predicts");
    free(dir);
}

/* Reads until headers and the body that they promise are there. */
static bool
receive(int fd, struct request *q, char *text)
{
    size_t len = 0, body_bytes = 0;
    char *end = NULL, method[8], *field;

    while (!end || len < (size_t)(end - text) + body_bytes) {
        ssize_t n = read(fd, text + len, REQUEST_BYTES - 1 - len);

        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        if (!end && (end = strstr(text, "\r\n\r\n")) != NULL) {
            end += 4;
            field = strcasestr(text, "\r\ncontent-length:");
            if (field && field < end)
                body_bytes = strtoul(field + 17, NULL, 10);
            if (strcasestr(text, "\r\nexpect: 100-continue"))
                dprintf(fd, "HTTP/1.1 100 Continue\r\n\r\n");
            if (body_bytes >= REQUEST_BYTES - (size_t)(end - text))
                return false;
        }
    }
    if (sscanf(text, "%7s %1023s", method, q->path) != 2)
        return false;
    q->path[strcspn(q->path, "?")] = '\0';
    q->post = strcmp(method, "POST") == 0;
    q->body = end;
    return true;
}

static void *
connection(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    struct request q = { .post = false };
    char *text = malloc(REQUEST_BYTES);

    if (text && receive(fd, &q, text))
        dispatch(fd, &q);
    shutdown(fd, SHUT_WR);
    close(fd);
    free(q.model);
    free(q.label);
    free(q.verb);
    free(text);
    return NULL;
}

void
tfs_http_run(const struct tfs_options *o)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)o->port) };
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, got;
    char said[40];

    options = o;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        fprintf(stderr, "tfs-model: port %d: %s\n", o->port, strerror(errno));
        _exit(1);
    }
    snprintf(said, sizeof(said), "\"port\":%d", ntohs(at.sin_port));
    tfs_say("listening", said);
    if (o->port_file) {
        FILE *f = fopen(o->port_file, "we");

        if (f) {
            fprintf(f, "%d\n", ntohs(at.sin_port));
            fclose(f);
        }
    }
    for (;;) {
        pthread_t t;

        got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (got >= 0 &&
            pthread_create(&t, NULL, connection, (void *)(intptr_t)got) == 0)
            pthread_detach(t);
    }
}
