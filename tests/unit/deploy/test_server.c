/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/server_int.h"

#include "tests/unit/deploy/fixture.h"
#include "tests/unit/once.h"

#define HTTP_OK "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
#define HTTP(status) "HTTP/1.1 " status "\r\nConnection: close\r\n\r\n"

/* A target whose server answers once. */
struct web {
    struct deploy_target t;
    struct once o;
    char asked[4096];
};

/* For who answers; a wait that is to end is a short one. */
enum { LONG_MS = 60000, SHORT_MS = 300 };

static void
web_start(struct web *w, const char *layout, const char *says)
{
    memset(w, 0, sizeof(*w));
    snprintf(w->t.name, sizeof(w->t.name), "web");
    snprintf(w->t.layout, sizeof(w->t.layout), "%s", layout);
    once_start(&w->o, says);
    w->t.option[DEPLOY_STATUS_URL] = w->o.url;
}

static int
observe(const char *layout, const char *says, struct server_seen *seen, char said[4096],
        char asked[4096])
{
    struct err err = ERR_INIT;
    struct web w;
    int e;

    web_start(&w, layout, says);
    e = server_observe(&w.t, "a b%", says ? LONG_MS : SHORT_MS, seen, &err);
    once_end(&w.o, w.asked, sizeof(w.asked));
    memcpy(said, err.msg, 4096);
    memcpy(asked, w.asked, 4096);
    return e;
}

TEST(test_server__what_tf_serving_says)
{
    struct server_seen seen;
    char said[4096], asked[4096];

    CHECK_INT(observe("tfserving",
                      HTTP_OK
                      "{\n \"model_version_status\": [\n"
                      "{\"version\": \"3\", \"state\": \"AVAILABLE\", \"status\": "
                      "{\"error_code\": \"OK\", \"error_message\": \"\"}},\n"
                      "{\"version\": \"9223372036854775807\", \"state\": \"END\", "
                      "\"status\": {\"error_code\": \"NOT_FOUND\", \"error_message\": "
                      "\"no\\nfile\"}}]}",
                      &seen, said, asked),
              1);
    CHECK(strncmp(asked, "GET /x/v1/models/a%20b%25 HTTP/1.1\r\n", 36) == 0);
    CHECK_INT(seen.n, 2);
    CHECK_INT(server_state_of(&seen, 3), SERVER_AVAILABLE);
    CHECK_INT(server_state_of(&seen, INT64_MAX), SERVER_END);
    CHECK_INT(server_state_of(&seen, 4), SERVER_UNKNOWN);
    CHECK_STR(seen.v[0].error, "");
    CHECK_STR(seen.v[1].error, "NOT_FOUND: no file");
}

TEST(test_server__a_model_it_does_not_know)
{
    struct server_seen seen;
    char said[4096], asked[4096];

    CHECK_INT(observe("tfserving-scan",
                      HTTP("404 Not Found") "{ \"error\": \"Could not find any "
                                            "versions of model a b%\" }",
                      &seen, said, asked),
              0);
    CHECK_INT(seen.n, 0);
}

/* Whatever a server says, it ends in time and is told apart. */
TEST(test_server__no_answer_of_the_kind)
{
#define STATUS(s) HTTP_OK "{\"model_version_status\": [" s "]}"
#define VERSION(v, s) "{\"version\": " v ", \"state\": " s "}"
    static const struct {
        const char *says;
        enum err_code code;
        const char *why;
    } cases[] = {
        { NULL, ERR_BUSY, "timed out" },
        { "", ERR_BUSY, "Empty reply" },
        { "SSH-2.0-OpenSSH_9\r\n", ERR_BUSY, "HTTP/0.9" },
        { HTTP("503 No") "{ \"error\": \"soon\" }", ERR_BUSY,
          "HTTP 503: { \"error\": \"soon\" }" },
        { HTTP("429 No"), ERR_BUSY, "HTTP 429" },
        { HTTP("500 No") "oh\x1b[2J", ERR_CORRUPT, "HTTP 500: oh " },
        { HTTP("401 No"), ERR_CORRUPT, "HTTP 401" },
        { HTTP("404 Not Found") "<html>", ERR_CORRUPT, "HTTP 404: <html>" },
        { HTTP("404 Not Found") "{ \"error\": \"Malformed request\" }", ERR_CORRUPT,
          "Malformed" },
        { "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n"
          "Content-Length: 0\r\n\r\n",
          ERR_CORRUPT, "points elsewhere" },
        { HTTP_OK, ERR_CORRUPT, "answered with \"\"" },
        { HTTP_OK "[]", ERR_CORRUPT, "no list" },
        { HTTP_OK "{\"error\": \"x\"}", ERR_CORRUPT, "no list" },
        { HTTP_OK "{\"model_version_status\": {}}", ERR_CORRUPT, "no list" },
        { STATUS("7"), ERR_CORRUPT, "no object" },
        { STATUS("{}"), ERR_CORRUPT, "version" },
        { STATUS(VERSION("3", "\"END\"")), ERR_CORRUPT, "version" },
        { STATUS(VERSION("\"3\"", "4")), ERR_CORRUPT, "state" },
        { STATUS(VERSION("\"3\"", "\"GONE\"")), ERR_CORRUPT, "\"GONE\" is no state" },
        { STATUS(VERSION("\"\"", "\"END\"")), ERR_CORRUPT, "no version number" },
        { STATUS(VERSION("\"0x3\"", "\"END\"")), ERR_CORRUPT, "no version number" },
        { STATUS(VERSION("\" 3\"", "\"END\"")), ERR_CORRUPT, "no version number" },
        { STATUS(VERSION("\"9223372036854775808\"", "\"END\"")), ERR_CORRUPT,
          "no version number" },
        { STATUS(VERSION("\"3\"", "\"END\"") "," VERSION("\"3\"", "\"AVAILABLE\"")),
          ERR_CORRUPT, "there twice" },
        { STATUS("{\"version\": \"3\", \"state\": \"END\", \"status\": 3}"),
          ERR_CORRUPT, "no object" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct server_seen seen;
        char said[4096], asked[4096];

        CHECK_INT(observe("tfserving", cases[i].says, &seen, said, asked),
                  -(int)cases[i].code);
        if (!strstr(said, cases[i].why))
            unit_fail(__FILE__, __LINE__, "case %zu: \"%s\" does not say %s", i, said,
                      cases[i].why);
        CHECK(strchr(said, '\n') == NULL && strchr(said, '\x1b') == NULL);
    }
}

static void
add(struct server_seen *seen, int64_t number, enum server_state state,
    const char *error)
{
    char *text AUTO(free_ptr) = xasprintf("%" PRId64, number);
    struct err err = ERR_INIT;

    CHECK_OK(server_add(seen, text, state, error, &err));
}

TEST(test_server__what_ended_long_ago_goes_first)
{
    struct server_seen seen = { .n = 0 };
    struct err err = ERR_INIT;

    for (int i = 1; i <= 10000; i++)
        add(&seen, i, SERVER_END, i % 1000 == 1 ? "INTERNAL: no" : "");
    CHECK_INT(seen.n, SERVER_VERSIONS_MAX);
    CHECK_INT(server_state_of(&seen, 1), SERVER_END);
    CHECK_INT(server_state_of(&seen, 10000), SERVER_END);
    CHECK_INT(server_state_of(&seen, 9900), SERVER_UNKNOWN);
    for (int i = 0; i < SERVER_VERSIONS_MAX; i++)
        add(&seen, 20000 + i, SERVER_AVAILABLE, "");
    CHECK_INT(server_state_of(&seen, 1), SERVER_UNKNOWN);
    CHECK_INT(server_state_of(&seen, 20000), SERVER_AVAILABLE);
    CHECK_ERR(server_add(&seen, "20999", SERVER_LOADING, "", &err), ERR_LIMIT);
    add(&seen, 1, SERVER_END, "");
    CHECK_INT(server_state_of(&seen, 1), SERVER_UNKNOWN);
}

TEST(test_server__a_long_answer)
{
    char *text AUTO(free_ptr) = xmalloc(SERVER_ANSWER_BYTES + 1000);
    struct server_seen seen;
    char said[4096], asked[4096];

    memset(text, ' ', SERVER_ANSWER_BYTES + 999);
    text[SERVER_ANSWER_BYTES + 999] = '\0';
    memcpy(text, HTTP_OK, sizeof(HTTP_OK) - 1);
    CHECK_INT(observe("tfserving", text, &seen, said, asked), -ERR_LIMIT);
    CHECK(strstr(said, "more than 4194304 bytes") != NULL);
}

static int
label(const char *says, int64_t *number, char asked[4096])
{
    struct err err = ERR_INIT;
    struct web w;
    int e;

    web_start(&w, "tfserving", says);
    e = server_label(&w.t, "fraud", "stable", says ? LONG_MS : SHORT_MS, number, &err);
    once_end(&w.o, asked, 4096);
    return e;
}

TEST(test_server__labels)
{
    char asked[4096];
    int64_t number = 0;

    CHECK_INT(label(HTTP_OK "{\"model_spec\": {\"name\": \"fraud\", \"version\": "
                            "\"42\"}, \"metadata\": {}}",
                    &number, asked),
              1);
    CHECK_INT(number, 42);
    CHECK(strncmp(asked, "GET /x/v1/models/fraud/labels/stable/metadata ", 46) == 0);
    CHECK_INT(label(HTTP("400 Bad") "{\"error\": \"Unrecognized servable version "
                                    "label: stable\"}",
                    &number, asked),
              0);
    CHECK_INT(label(HTTP("404 No") "{\"error\": \"Servable not found for request: "
                                   "Specific(fraud, 4)\"}",
                    &number, asked),
              0);
    CHECK_INT(label(HTTP("400 Bad") "{\"error\": \"other\"}", &number, asked),
              -ERR_CORRUPT);
    CHECK_INT(label(HTTP_OK "{}", &number, asked), -ERR_CORRUPT);
    CHECK_INT(label(HTTP_OK "{\"model_spec\": {\"version\": 42}}", &number, asked),
              -ERR_CORRUPT);
}

TEST(test_server__what_triton_says)
{
    struct server_seen seen;
    char said[4096], asked[4096];

    CHECK_INT(observe("triton",
                      HTTP_OK
                      "[{\"name\": \"a%20b%25\", \"version\": \"1\", \"state\": "
                      "\"UNAVAILABLE\", \"reason\": \"unloaded\"},"
                      "{\"name\": \"other\", \"version\": \"2\", \"state\": \"READY\"},"
                      "{\"name\": \"a%20b%25\", \"version\": \"3\", \"state\": "
                      "\"UNAVAILABLE\", \"reason\": \"no file\"},"
                      "{\"name\": \"a%20b%25\", \"version\": \"4\", \"state\": "
                      "\"READY\", \"reason\": \"\"}]",
                      &seen, said, asked),
              1);
    CHECK(strncmp(asked, "POST /x/v2/repository/index ", 28) == 0);
    CHECK_INT(seen.n, 3);
    CHECK_INT(server_state_of(&seen, 1), SERVER_END);
    CHECK_INT(server_state_of(&seen, 4), SERVER_AVAILABLE);
    CHECK_STR(seen.v[0].error, "");
    CHECK_STR(seen.v[1].error, "no file");
    CHECK_INT(observe("triton", HTTP_OK "[{\"name\": \"x\"}]", &seen, said, asked), 0);
    CHECK_INT(
        observe("triton", HTTP_OK "[{\"name\": \"a%20b%25\"}]", &seen, said, asked), 1);
    CHECK_INT(seen.n, 0);
    CHECK_INT(observe("triton", HTTP_OK "{}", &seen, said, asked), -ERR_CORRUPT);
    CHECK_INT(observe("triton", HTTP_OK "[3]", &seen, said, asked), -ERR_CORRUPT);
    CHECK_INT(observe("triton",
                      HTTP_OK "[{\"name\": \"a%20b%25\", \"version\": \"1\"}]", &seen,
                      said, asked),
              -ERR_CORRUPT);
}

TEST(test_server__whom_nobody_asks)
{
    struct deploy_target t = { .name = "web", .layout = "plain" };
    struct err err = ERR_INIT;
    struct server_seen seen;
    int64_t number;

    CHECK_ERR(server_observe(&t, "fraud", 100, &seen, &err), ERR_INVALID);
    memcpy(t.layout, "triton", 7);
    CHECK_ERR(server_observe(&t, "fraud", 100, &seen, &err), ERR_INVALID);
    t.option[DEPLOY_STATUS_URL] = (char[]){ "http://127.0.0.1:1/" };
    CHECK_ERR(server_label(&t, "fraud", "stable", 100, &number, &err), ERR_UNSUPPORTED);
    CHECK_ERR(server_observe(&t, "fraud", LONG_MS, &seen, &err), ERR_BUSY);
}

/* ---- telling it ---------------------------------------------------------------------
 */

static const struct deploy_release fraud_2 = {
    .model = "fr aud", .alias = "production", .number = 7, .latest = 2
};

static int
reload_within(int wall_ms, struct fx *f, const char *layout, char *how)
{
    char web[] = "/tmp";
    struct deploy_target t = { .name = "web", .dir = web };

    snprintf(t.layout, sizeof(t.layout), "%s", layout);
    t.option[DEPLOY_RELOAD] = how;
    return server_reload(f->r, &t, &fraud_2, wall_ms, &f->err);
}

static int
reload(struct fx *f, const char *layout, char *how)
{
    return reload_within(LONG_MS, f, layout, how);
}

TEST(test_server__a_command)
{
    char good[] = "[ \"$SLUICE_TARGET $SLUICE_DIR $SLUICE_MODEL $SLUICE_ALIAS "
                  "$SLUICE_RELEASE $SLUICE_VERSION\" = \"web /tmp fr aud production 7 "
                  "2\" ] && [ -f \"$SLUICE_STORE/format\" ]";
    char bad[] = "echo fine; echo 'cannot reach it\x1b[1m' >&2; echo; exit 3";
    char slow[] = "sleep 1000", silent[] = "exit 4";
    struct fx f = { .err = ERR_INIT };

    fx_open(&f);
    FX_OK(reload(&f, "plain", NULL));
    FX_OK(reload(&f, "plain", good));
    FX_ERR(reload(&f, "tfserving", bad), ERR_REFUSED);
    CHECK(strstr(f.said, "exit status 3: cannot reach it [1m") != NULL);
    FX_ERR(reload(&f, "triton", silent), ERR_REFUSED);
    FX_ERR(reload_within(SHORT_MS, &f, "plain", slow), ERR_BUSY);
    fx_close(&f);
}

TEST(test_server__triton_is_told)
{
    struct fx f = { .err = ERR_INIT };
    struct once o;
    char asked[4096];

    fx_open(&f);
    once_start(&o, HTTP_OK);
    FX_OK(reload(&f, "triton", o.url));
    once_end(&o, asked, sizeof(asked));
    CHECK(strncmp(asked, "POST /x/v2/repository/models/fr%2520aud/load ", 45) == 0);
    once_start(&o, HTTP("400 Bad") "{\"error\": \"failed to load\"}");
    FX_ERR(reload(&f, "triton", o.url), ERR_REFUSED);
    once_end(&o, asked, sizeof(asked));
    CHECK(strstr(f.said, "HTTP 400: {\"error\": \"failed to load\"}") != NULL);
    once_start(&o, HTTP("503 No"));
    FX_ERR(reload(&f, "triton", o.url), ERR_BUSY);
    once_end(&o, asked, sizeof(asked));
    fx_close(&f);
}

TEST(test_server__a_config_that_is_not_there)
{
    char how[] = "grpc://127.0.0.1:1";
    struct fx f = { .err = ERR_INIT };

    fx_open(&f);
    FX_ERR(reload(&f, "tfserving", how), ERR_NOTFOUND);
    CHECK(strstr(f.said, "sluice target check web --repair") != NULL);
    fx_close(&f);
}

TEST(test_server__options)
{
    struct err err = ERR_INIT;

    CHECK_ERR(server_check_options("plain", "http://x", NULL, &err), ERR_USAGE);
    CHECK_ERR(server_check_options("tfserving", "http://x?y", NULL, &err), ERR_USAGE);
    CHECK_ERR(server_check_options("tfserving", NULL, "http://x", &err), ERR_USAGE);
    CHECK_ERR(server_check_options("tfserving-scan", NULL, "grpc://x:1", &err),
              ERR_USAGE);
    CHECK_ERR(server_check_options("triton", NULL, "grpcs://x:1", &err), ERR_USAGE);
    CHECK_OK(server_check_options("tfserving", "http://x/y/", "grpc://x:1", &err));
    CHECK_OK(server_check_options("triton", "http://x", "https://x", &err));
    CHECK_OK(server_check_options("plain", NULL, "httpd -k graceful", &err));
    CHECK_OK(server_check_options("plain", NULL, "curl http://x", &err));
}
