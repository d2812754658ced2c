/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/server_int.h"

#include "base/proc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define QUOTE_BYTES 160
#define OUTPUT_BYTES ((size_t)64 << 10) /* of a command */

const char *const server_state_names[SERVER_N_STATES] = {
    [SERVER_UNKNOWN] = "UNKNOWN",     [SERVER_START] = "START",
    [SERVER_LOADING] = "LOADING",     [SERVER_AVAILABLE] = "AVAILABLE",
    [SERVER_UNLOADING] = "UNLOADING", [SERVER_END] = "END",
};

/* Which server reads a layout. */
static const struct {
    const char *layout;
    const struct server_kind *kind;
} servers[] = {
    { "tfserving", &server_tfserving },
    { "tfserving-scan", &server_tfserving_scan },
    { "triton", &server_triton },
};

static const struct server_kind *
server_of(const char *layout)
{
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
        if (strcmp(layout, servers[i].layout) == 0)
            return servers[i].kind;
    return NULL;
}

/* An address at which this server is told to reload. */
static bool
is_address(const struct server_kind *kind, const char *reload)
{
    for (int i = 0; kind && kind->schemes[i]; i++)
        if (strncmp(reload, kind->schemes[i], strlen(kind->schemes[i])) == 0)
            return true;
    return false;
}

/* ---- what servers say ---------------------------------------------------------------
 */

void
server_quote(struct buf *out, struct str said)
{
    size_t n;

    while (said.n > 0 && (unsigned char)said.p[said.n - 1] <= ' ')
        said.n--;
    n = said.n < QUOTE_BYTES ? said.n : QUOTE_BYTES;

    while (n < said.n && n > 0 && ((unsigned char)said.p[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)said.p[i];

        buf_addc(out, c < 0x20 || c == 0x7f ? ' ' : (char)c);
    }
    if (n < said.n)
        buf_adds(out, " …");
}

int
server_strange(const struct http_answer *a, struct err *err)
{
    struct buf said AUTO(buf_release) = BUF_INIT;

    server_quote(&said, (struct str){ buf_str(&a->body), a->body.len });
    return err_set(err, ERR_CORRUPT, "it answered with HTTP %d%s%s", a->status,
                   said.len ? ": " : "", buf_str(&said));
}

int
server_corrupt(const struct http_answer *a, struct err *err)
{
    struct buf said AUTO(buf_release) = BUF_INIT;

    if (err->code == ERR_INVALID)
        err->code = ERR_CORRUPT;
    if (err->code != ERR_CORRUPT)
        return -(int)err->code;
    server_quote(&said, (struct str){ buf_str(&a->body), a->body.len });
    return err_ctx(err, "it answered with \"%s\"", buf_str(&said));
}

int
server_ask(const char *base_url, const char *path, const char *body, int wall_ms,
           struct http_answer *out, struct err *err)
{
    static const char *const json[] = { "Content-Type: application/json", NULL };
    size_t n = strlen(base_url);
    struct buf url AUTO(buf_release) = BUF_INIT;
    int e;

    while (n > 0 && base_url[n - 1] == '/')
        n--;
    buf_add(&url, base_url, n);
    buf_adds(&url, path);
    e = http_ask(&(struct http_ask){ .url = buf_str(&url),
                                     .headers = body ? json : NULL,
                                     .body = body,
                                     .body_bytes = body ? strlen(body) : 0,
                                     .connect_ms = wall_ms,
                                     .wall_ms = wall_ms,
                                     .max_bytes = SERVER_ANSWER_BYTES },
                 out, err);
    if (e < 0) {
        if (err->code == ERR_IO || err->code == ERR_LIMIT)
            err->code = ERR_BUSY;
        return -(int)err->code;
    }
    if (out->cut) {
        e = err_set(err, ERR_LIMIT, "the answer has more than %zu bytes",
                    SERVER_ANSWER_BYTES);
    } else if (out->status >= 300 && out->status <= 399) {
        e = err_set(err, ERR_CORRUPT,
                    "HTTP %d: it points elsewhere, which is not followed; give the "
                    "address itself",
                    out->status);
    } else if (out->status == 429 || (out->status >= 502 && out->status <= 504)) {
        (void)server_strange(out, err);
        err->code = ERR_BUSY;
        e = -ERR_BUSY;
    }
    return e < 0 ? err_ctx(err, "%s", buf_str(&url)) : 0;
}

int
server_number(const char *text, int64_t *out, struct err *err)
{
    const char *digits = text + (*text == '-');
    struct buf said AUTO(buf_release) = BUF_INIT;
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    if (*digits >= '0' && *digits <= '9' && *end == '\0' && errno == 0)
        return 0;
    server_quote(&said, str_of(text));
    return err_set(err, ERR_CORRUPT, "\"%s\" is no version number", buf_str(&said));
}

/* What is kept longest: what is there, then what failed, then what merely ended. */
static int
rank(const struct server_version *v)
{
    return v->state != SERVER_END ? 2 : v->error[0] ? 1 : 0;
}

static bool
goes_before(const struct server_version *a, const struct server_version *b)
{
    return rank(a) != rank(b) ? rank(a) < rank(b) : a->number < b->number;
}

/* A server that runs for long names everything it ever had. */
int
server_add(struct server_seen *seen, const char *number, enum server_state state,
           const char *error, struct err *err)
{
    struct server_version v = { .state = state }, *least = &v;
    struct buf said AUTO(buf_release) = BUF_INIT;

    if (server_number(number, &v.number, err) < 0)
        return -(int)err->code;
    server_quote(&said, str_of(error));
    snprintf(v.error, sizeof(v.error), "%s", buf_str(&said));
    for (int i = 0; i < seen->n; i++)
        if (seen->v[i].number == v.number)
            return err_set(err, ERR_CORRUPT, "version %" PRId64 " is there twice",
                           v.number);
    if (seen->n < SERVER_VERSIONS_MAX) {
        seen->v[seen->n++] = v;
        return 0;
    }
    for (int i = 0; i < seen->n; i++)
        if (goes_before(&seen->v[i], least))
            least = &seen->v[i];
    if (rank(least) == 2)
        return err_set(err, ERR_LIMIT, "it names more than %d versions of the model",
                       SERVER_VERSIONS_MAX);
    *least = v;
    return 0;
}

enum server_state
server_state_of(const struct server_seen *seen, int64_t number)
{
    for (int i = 0; i < seen->n; i++)
        if (seen->v[i].number == number)
            return seen->v[i].state;
    return SERVER_UNKNOWN;
}

static int
find_server(const struct deploy_target *t, const struct server_kind **out,
            struct err *err)
{
    *out = server_of(t->layout);
    if (!*out)
        return err_set(err, ERR_INVALID,
                       "target %s: no server reads the layout %s, so none says what is "
                       "served",
                       t->name, t->layout);
    if (!t->option[DEPLOY_STATUS_URL])
        return err_set(err, ERR_INVALID,
                       "target %s has no status URL: sluice target set %s --status-url "
                       "URL",
                       t->name, t->name);
    return 0;
}

int
server_observe(const struct deploy_target *t, const char *model, int wall_ms,
               struct server_seen *out, struct err *err)
{
    const struct server_kind *kind;
    int e = find_server(t, &kind, err);

    out->n = 0;
    if (e < 0)
        return e;
    e = kind->observe(t, model, wall_ms, out, err);
    return e < 0 ? err_ctx(err, "what target %s serves of %s", t->name, model) : e;
}

int
server_label(const struct deploy_target *t, const char *model, const char *label,
             int wall_ms, int64_t *number, struct err *err)
{
    const struct server_kind *kind;
    int e = find_server(t, &kind, err);

    if (e == 0 && !kind->label)
        e = err_set(err, ERR_UNSUPPORTED, "target %s: %s knows no labels", t->name,
                    kind->name);
    if (e < 0)
        return e;
    e = kind->label(t, model, label, wall_ms, number, err);
    return e < 0 ? err_ctx(err, "what \"%s\" of %s means to target %s", label, model,
                           t->name)
                 : e;
}

/* ---- telling it ---------------------------------------------------------------------
 */

/* Lends the last line that says something. */
static struct str
last_line(const struct buf *said)
{
    const char *p = buf_str(said), *end = p + said->len, *from;

    while (end > p && (unsigned char)end[-1] <= ' ')
        end--;
    for (from = end; from > p && from[-1] != '\n'; from--)
        ;
    return (struct str){ from, (size_t)(end - from) };
}

static int
run_command(struct repo *r, const struct deploy_target *t,
            const struct deploy_release *rel, int wall_ms, struct err *err)
{
    char *env[] = { xasprintf("SLUICE_TARGET=%s", t->name),
                    xasprintf("SLUICE_DIR=%s", t->dir),
                    xasprintf("SLUICE_MODEL=%s", rel->model),
                    xasprintf("SLUICE_ALIAS=%s", rel->alias),
                    xasprintf("SLUICE_RELEASE=%" PRId64, rel->number),
                    xasprintf("SLUICE_VERSION=%" PRId64, rel->latest),
                    xasprintf("SLUICE_STORE=%s", r->path),
                    NULL };
    const char *const argv[] = { "/bin/sh", "-c", t->option[DEPLOY_RELOAD], NULL };
    struct buf output AUTO(buf_release) = { .cap_bytes = OUTPUT_BYTES };
    struct buf said AUTO(buf_release) = BUF_INIT;
    char how[48];
    int status = 0;
    const int e = proc_run(&(struct proc_args){ .argv = argv,
                                                .extra_env = (const char *const *)env,
                                                .timeout_ms = wall_ms },
                           &output, &status, err);

    for (int i = 0; env[i]; i++)
        free(env[i]);
    if (e < 0) {
        if (err->code == ERR_LIMIT)
            err->code = ERR_BUSY;
        return -(int)err->code;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    server_quote(&said, last_line(&output));
    return err_set(err, ERR_REFUSED, "%s%s%s", proc_status_text(status, how),
                   said.len ? ": " : "", buf_str(&said));
}

int
server_reload(struct repo *r, const struct deploy_target *t,
              const struct deploy_release *rel, int wall_ms, struct err *err)
{
    const struct server_kind *kind = server_of(t->layout);
    const char *how = t->option[DEPLOY_RELOAD];
    int e;

    if (!how)
        return 0;
    if (is_address(kind, how))
        e = kind->reload(t, rel, wall_ms, err);
    else
        e = run_command(r, t, rel, wall_ms, err);
    return e < 0 ? err_ctx(err, "reload of target %s (%s)", t->name, how) : 0;
}

/* ---- options ------------------------------------------------------------------------
 */

/* "word://…", which no shell runs. */
static bool
begins_with_scheme(const char *s)
{
    const size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");

    return n > 0 && strncmp(s + n, "://", 3) == 0;
}

/* Of "word://HOST…". */
static bool
has_host(const char *url)
{
    const char *host = strstr(url, "://");

    return host && host[3] && !strchr("/:?#", host[3]);
}

int
server_check_options(const char *layout, const char *status_url_or_null,
                     const char *reload_or_null, struct err *err)
{
    const struct server_kind *kind = server_of(layout);

    if (status_url_or_null && !kind)
        return err_set(err, ERR_USAGE,
                       "a status URL with the layout %s: its links say what is served, "
                       "no server is asked",
                       layout);
    if (status_url_or_null && status_url_or_null[strcspn(status_url_or_null, "?#")])
        return err_set(err, ERR_USAGE,
                       "status URL \"%s\": without \"?\" and \"#\"; paths are added to "
                       "it",
                       status_url_or_null);
    if (status_url_or_null && !has_host(status_url_or_null))
        return err_set(err, ERR_USAGE,
                       "status URL \"%s\": no host in it: give the server's REST "
                       "address, like http://127.0.0.1:8501",
                       status_url_or_null);
    if (!reload_or_null || !begins_with_scheme(reload_or_null))
        return 0;
    if (is_address(kind, reload_or_null) && has_host(reload_or_null))
        return 0;
    return err_set(
        err, ERR_USAGE, "reload \"%s\" with the layout %s: give %s%sa command",
        reload_or_null, layout, kind && kind->schemes[0] ? kind->schemes[0] : "",
        kind && kind->schemes[0] ? "HOST:PORT, or " : "");
}
