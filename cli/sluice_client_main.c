/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-client: the command line upon a service. `sluice` becomes it with --server;
 * the static build of it is a `sluice` that needs nothing else. */
#include "cli/cli.h"
#include "client/client.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

struct session {
    struct client *client; /* NULL: the verb needs none */
    struct client_view view;
};

static int
to_stdout(void *arg, const char *p, size_t n, struct err *err)
{
    (void)arg;
    return cli_write(p, n, err);
}

static int
first(const struct cli_call *call, char **argv, int *status, struct err *err)
{
    (void)argv;
    *status = -1;
    if (strcmp(call->verb->name, "version") == 0)
        return 0;
    struct buf words AUTO(buf_release) = BUF_INIT;
    cli_verb_words(call->verb->name, &words);
    if (call->verb->needs == SVC_NONE || cli_is_only_local(call->verb))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s works on this machine's files: the whole of sluice does it, "
                       "this is its client alone",
                       buf_str(&words));
    if (!call->server)
        return err_set(err, ERR_USAGE,
                       "this is the client alone, which needs a service: --server X or "
                       "$SLUICE_SERVER, where X is unix:PATH, ssh://HOST or "
                       "https://HOST%s",
                       call->store ? "; --store needs the whole of sluice" : "");
    return 0;
}

static int
open_there(void **out, const struct cli_call *call, struct err *err)
{
    struct session *s = xcalloc(1, sizeof *s);
    s->view = (struct client_view)CLIENT_VIEW_INIT;
    *out = s;
    if (strcmp(call->verb->name, "version") == 0)
        return 0;
    if (client_open(&s->client, call->server, NULL, err) < 0)
        return -(int)err->code;
    client_on_bytes(s->client, to_stdout, NULL);
    return 0;
}

static void
on_progress(void *session, svc_progress_fn *fn, void *arg)
{
    struct session *s = session;
    if (s->client)
        client_on_progress(s->client, fn, arg);
}

static void
on_tell(void *session, svc_tell_fn *fn, void *arg)
{
    struct session *s = session;
    if (s->client)
        client_on_tell(s->client, fn, arg);
}

static cJSON *
version(const cJSON *request)
{
    cJSON *reply = cJSON_CreateObject();
    json_put_str(reply, "version", SLUICE_VERSION);
    if (cli_bool(request, "verbose")) {
        json_put_str(reply, "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
        json_put_str(reply, "cjson", cJSON_Version());
    }
    return reply;
}

static int
call_there(void *session, const char *verb, const cJSON *request, cJSON **reply,
           struct err *err)
{
    struct session *s = session;
    if (!s->client) {
        *reply = version(request);
        return 0;
    }
    if (strcmp(verb, "doctor") == 0)
        return client_doctor(s->client, request, reply, err);
    if (strcmp(verb, "exec") == 0 &&
        (!json_has(request, "ref") || !json_has(request, "command")))
        return err_set(err, ERR_USAGE,
                       "exec needs a version, and a command after --: the program and "
                       "its arguments");
    if (strcmp(verb, "exec") == 0)
        return client_view_open(s->client, cli_str(request, "ref"), &s->view, reply,
                                err);
    return client_call(s->client, verb, request, reply, err);
}

/* The program that exec runs keeps the view's lock. */
static int
become(void **session, const struct cli_call *call, const cJSON *reply)
{
    struct session *s = *session;
    client_close(s->client);
    s->client = NULL;
    return cli_exec(s->view.lock_fd, call->request, reply);
}

static void
leave(void *session)
{
    struct session *s = session;
    client_close(s->client); /* ssh ends with it */
}

int
main(int argc, char **argv)
{
    static const struct cli_ends there = { first,      open_there, on_progress, on_tell,
                                           call_there, become,     leave };
    return cli_run(argc, argv, &there);
}
