/* SPDX-License-Identifier: Apache-2.0 */
/* What --server says, and the token. */
#include "client/client_int.h"

#include "base/fs.h"
#include "base/ssh.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TOKEN_MAX 4096
#define SERVERS                                                                        \
    "unix:PATH, ssh://[user@]host[:port], https://host[:port], http://127.0.0.1:PORT"

void
client_place_release(struct client_place *p)
{
    free(p->text);
    free(p->host);
    free(p->port);
    free(p->path);
    free(p->host_header);
    ssh_url_release(&p->ssh);
    *p = (struct client_place){ .text = NULL };
}

static bool
is_set(const char *name)
{
    const char *v = getenv(name);

    return v && strcmp(v, "1") == 0;
}

static bool
is_host(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
              (*s >= '0' && *s <= '9') || strchr(".-_:%", *s)))
            return false;
    return true;
}

/* host[:port][/path], into out; NULL, or what is wrong with it. */
static const char *
web_fault(char *rest, struct client_place *out)
{
    char *slash = strchr(rest, '/'), *host = rest, *port;
    const char *fault;

    for (const char *p = rest; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127 || *p == '?' || *p == '#')
            return "it has characters that no address has";
    if (slash) {
        size_t n = strlen(slash);

        while (n > 0 && slash[n - 1] == '/')
            n--;
        out->path = xstrndup(slash, n);
        *slash = '\0';
    } else {
        out->path = xstrdup("");
    }
    if (strchr(rest, '@'))
        return "a user or password does not belong there; a token comes by "
               "$SLUICE_TOKEN or $SLUICE_TOKEN_FILE";
    out->host_header = xstrdup(rest);
    if ((fault = ssh_split_port(&host, &port)))
        return fault;
    if (!is_host(host))
        return "its host is no name or address";
    out->host = xstrdup(host);
    out->port = xstrdup(port ? port : out->kind == CLIENT_TLS ? "443" : "8600");
    return NULL;
}

static const char *
place_fault(const char *text, struct client_place *out)
{
    static const char http[] = "http://", https[] = "https://", unix_[] = "unix:";

    if (strncmp(text, unix_, sizeof(unix_) - 1) == 0) {
        const char *path = text + sizeof(unix_) - 1;

        path += strncmp(path, "//", 2) == 0 ? 2 : 0; /* as URLs are written */
        out->kind = CLIENT_UNIX;
        out->path = xstrdup(path);
        out->host_header = xstrdup("localhost");
        return *path ? NULL : "it names no socket";
    }
    const bool tls = strncmp(text, https, sizeof(https) - 1) == 0;
    if (tls || strncmp(text, http, sizeof(http) - 1) == 0) {
        char *rest AUTO(free_ptr) =
            xstrdup(text + (tls ? sizeof(https) : sizeof(http)) - 1);

        out->kind = tls ? CLIENT_TLS : CLIENT_TCP;
        out->anywhere = tls || is_set("SLUICE_INSECURE");
        return web_fault(rest, out);
    }
    return "it is none of these";
}

int
client_place_parse(const char *text, struct client_place *out, struct err *err)
{
    const char *fault;

    *out = (struct client_place){ .text = xstrdup(text) };
    if (strncmp(text, "ssh://", 6) == 0) {
        out->kind = CLIENT_SSH;
        out->path = xstrdup("");
        out->host_header = xstrdup("localhost");
        if (ssh_url_parse(text, &out->ssh, err) == 0)
            return 0;
        client_place_release(out);
        return err_ctx(err, "--server");
    }
    fault = place_fault(text, out);
    if (!fault)
        return 0;
    client_place_release(out);
    return err_set(err, ERR_USAGE, "--server %.300s: %s: " SERVERS, text, fault);
}

/* ---- the token ---- */

#define BLANKS " \t\r\n"

static int
read_token(const char *path, const char *what, struct buf *out, struct err *err)
{
    out->cap_bytes = TOKEN_MAX;
    if (fs_read(AT_FDCWD, path, out, err) < 0)
        return err_ctx(err, "%s", what);
    if (buf_str(out)[strspn(buf_str(out), BLANKS)] == '\0')
        return err_set(err, ERR_USAGE, "%s: %s is empty", what, path);
    return 0;
}

/* The one that is kept for this host, if there is. 1: read. */
static int
kept_token(const struct client_place *p, struct buf *out, struct err *err)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    const bool is_set = config && *config;
    struct stat st;

    if ((p->kind != CLIENT_TLS && p->kind != CLIENT_TCP) || getenv("SLUICE_CERT") ||
        (!is_set && !(home && *home)))
        return 0;
    char *path AUTO(free_ptr) =
        xasprintf("%s%s/sluice/tokens/%s", is_set ? config : home,
                  is_set ? "" : "/.config", p->host_header);
    if (stat(path, &st) < 0)
        return 0;
    if (st.st_mode & 077)
        return err_set(err, ERR_DENIED, "others can read the token %s: chmod 600",
                       path);
    return read_token(path, "the token of this host", out, err) < 0 ? -(int)err->code
                                                                    : 1;
}

static int
take_token(struct client *c, const char *token, struct err *err)
{
    struct buf from_file AUTO(buf_release) = BUF_INIT;
    const char *file = getenv("SLUICE_TOKEN_FILE");

    if (!token)
        token = getenv("SLUICE_TOKEN");
    if (!token || !*token) {
        const int e = file && *file
                          ? read_token(file, "$SLUICE_TOKEN_FILE", &from_file, err)
                          : kept_token(&c->place, &from_file, err);

        if (e < 0)
            return e;
        token = buf_str(&from_file);
    }
    token += strspn(token, BLANKS); /* of whoever copied it */
    size_t n = strlen(token);
    while (n > 0 && strchr(BLANKS, token[n - 1]))
        n--;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (token[i] <= ' ' || token[i] >= 127 || i > TOKEN_MAX)
            return err_set(err, ERR_USAGE,
                           "the token ($SLUICE_TOKEN, $SLUICE_TOKEN_FILE) has "
                           "characters that no token has");
    c->authorization = xasprintf("Bearer %.*s", (int)n, token);
    return 0;
}

int
client_open(struct client **out, const char *server, const char *token_or_null,
            struct err *err)
{
    struct client *c = xcalloc(1, sizeof(*c));

    *out = NULL;
    pthread_mutex_init(&c->lock, NULL);
    if (client_place_parse(server, &c->place, err) < 0 ||
        take_token(c, token_or_null, err) < 0) {
        client_close(c);
        return -(int)err->code;
    }
    *out = c;
    return 0;
}

void
client_close(struct client *c)
{
    if (!c)
        return;
    while (c->idle) {
        struct client_conn *next = c->idle->next;

        client_conn_close(c->idle);
        c->idle = next;
    }
    SSL_CTX_free(c->tls);
    if (c->authorization)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    client_place_release(&c->place);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

int
client_cache_dir(const char *below, struct buf *out, struct err *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (cache && cache[0] == '/')
        buf_addf(out, "%s/sluice%s", cache, below);
    else if (home && home[0] == '/')
        buf_addf(out, "%s/.cache/sluice%s", home, below);
    else
        return err_set(err, ERR_USAGE,
                       "there is no place for the version's files: $XDG_CACHE_HOME "
                       "names a directory for them");
    return fs_mkdirs(AT_FDCWD, buf_str(out), 0700, err);
}

int
client_parallel(const struct client *c)
{
    return c->place.kind == CLIENT_SSH ? 1 : 4;
}

void
client_on_progress(struct client *c, svc_progress_fn *fn, void *arg)
{
    c->progress = fn;
    c->progress_arg = arg;
}

void
client_on_tell(struct client *c, svc_tell_fn *fn, void *arg)
{
    c->tell = fn;
    c->tell_arg = arg;
}

void
client_on_bytes(struct client *c,
                int (*fn)(void *arg, const char *p, size_t n, struct err *err),
                void *arg)
{
    c->bytes = fn;
    c->bytes_arg = arg;
}
