/* SPDX-License-Identifier: Apache-2.0 */
/* sluice: verbs on a store that is here. With --server it becomes sluice-client, unless
 * the verb needs no store. */
#include "cli/cli.h"

#include "base/proc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int
open_here(void **out, const struct cli_call *call, struct err *err)
{
    struct svc *svc = NULL;
    int r = svc_open(&svc, call->store, err);
    *out = svc;
    return r;
}

static void
on_progress(void *session, svc_progress_fn *fn, void *arg)
{
    svc_on_progress(session, fn, arg);
}

static void
on_tell(void *session, svc_tell_fn *fn, void *arg)
{
    svc_on_tell(session, fn, arg);
}

static int
call_here(void *session, const char *verb, const cJSON *request, cJSON **reply,
          struct err *err)
{
    int r = svc_call(session, verb, request, reply, err);
    char *before AUTO(free_ptr) = svc_upgraded(session);
    if (before)
        fprintf(stderr,
                "sluice: note: the store's catalogue was upgraded for this program; as "
                "it was: %s (docs/operations.md)\n",
                before);
    return r;
}

/* The store is not held open for as long as the program runs. */
static int
become(void **session, const struct cli_call *call, const cJSON *reply)
{
    struct repo_view view AUTO(repo_view_close) = REPO_VIEW_INIT;
    svc_take_view(*session, &view);
    svc_close(*session);
    *session = NULL;
    return strcmp(call->verb->name, "serve") == 0
               ? cli_serve(call->request, reply)
               : cli_exec(view.lock_fd, call->request, reply);
}

static void
leave(void *session)
{
    svc_leave(session);
}

/* Becomes libexec/sluice/sluice-client, with the same words. */
static int
go_to_server(char **argv, struct err *err)
{
    struct buf program AUTO(buf_release) = BUF_INIT;
    if (proc_helper_path("sluice-client", &program, err) < 0)
        return err_ctx(err, "--server");
    execv(buf_str(&program), argv);
    return err_sys(err, errno, "--server: start %s", buf_str(&program));
}

static int
first(const struct cli_call *call, char **argv, int *status, struct err *err)
{
    *status = -1;
    if (call->server && !cli_is_local(call))
        return go_to_server(argv, err);
    if (strcmp(call->verb->name, "agent") == 0)
        *status = cli_agent(call);
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct cli_ends here = { first,     open_here, on_progress, on_tell,
                                          call_here, become,    leave };
    return cli_run(argc, argv, &here);
}
