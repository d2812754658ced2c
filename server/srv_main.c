/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-server: started by `sluice serve`, and by itself for each worker. */
#include "server/srv_openapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKER_FD = 3 };

static int
complain(const struct err *err)
{
    fprintf(stderr, "sluice-server: %s\n", err->msg);
    return err_exit_status(err->code);
}

enum { SERVE, WORKER, OPENAPI };

/* Flags as `sluice serve` has them, and what to do. */
static int
read_flags(int argc, char **argv, struct srv_options *o, struct err *err)
{
    const struct {
        const char *name;
        const char **text;
        int *number;
    } flags[] = { { "--store", &o->store, NULL },
                  { "--listen", &o->listen, NULL },
                  { "--socket", &o->socket, NULL },
                  { "--as", &o->as, NULL },
                  { "--tls_cert", &o->tls_cert, NULL },
                  { "--tls_key", &o->tls_key, NULL },
                  { "--client_ca", &o->client_ca, NULL },
                  { "--access_log", &o->access_log, NULL },
                  { "--workers", NULL, &o->workers } };
    int what = SERVE;
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n = sizeof flags / sizeof flags[0];
        while (k < n && strcmp(argv[i], flags[k].name) != 0)
            k++;
        if (strcmp(argv[i], "--worker") == 0)
            what = WORKER;
        else if (strcmp(argv[i], "--openapi") == 0)
            what = OPENAPI;
        else if (strcmp(argv[i], "--stdio") == 0)
            o->stdio = true;
        else if (strcmp(argv[i], "--metrics_open") == 0)
            o->metrics_open = true;
        else if (k == n || i + 1 >= argc)
            return err_set(err, ERR_USAGE, "%s: no such flag, or it lacks its value",
                           argv[i]);
        else if (flags[k].text)
            *flags[k].text = argv[++i];
        else
            *flags[k].number = (int)strtol(argv[++i], NULL, 10);
    }
    return what;
}

static int
print_openapi(void)
{
    cJSON *doc AUTO(json_free) = srv_openapi();
    struct buf out AUTO(buf_release) = BUF_INIT;
    struct err err = ERR_INIT;
    json_print(doc, &out, false);
    return fs_write_all(STDOUT_FILENO, out.data, out.len, "standard output", &err) < 0
               ? complain(&err)
               : 0;
}

int
main(int argc, char **argv)
{
    struct srv_options options = { .store = NULL };
    struct err err = ERR_INIT;
    crypto_setup();
    json_setup();
    int what = read_flags(argc, argv, &options, &err);
    if (what < 0 || fs_maps_guard(&err) < 0)
        return complain(&err);
    if (what == WORKER)
        return srv_work(WORKER_FD, options.store);
    if (what == OPENAPI)
        return print_openapi();
    struct srv *srv AUTO(srv_close_p) = NULL;
    if (srv_open(&srv, &options, &err) < 0 || srv_run(srv, &err) < 0)
        return complain(&err);
    return 0;
}
