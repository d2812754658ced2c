/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-server: started by `sluice serve`, and by itself for each worker. */
#include "server/server_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKER_FD = 3 };

static int
complain(const struct err *err)
{
    fprintf(stderr, "sluice-server: %s\n", err->msg);
    return err_exit_status(err->code);
}

/* Flags as `sluice serve` has them; 1: --worker. */
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
                  { "--threads", NULL, &o->threads },
                  { "--workers", NULL, &o->workers } };
    int worker = 0;
    for (int i = 1; i < argc; i++) {
        size_t k = 0, n = sizeof flags / sizeof flags[0];
        while (k < n && strcmp(argv[i], flags[k].name) != 0)
            k++;
        if (strcmp(argv[i], "--worker") == 0)
            worker = 1;
        else if (strcmp(argv[i], "--stdio") == 0)
            o->stdio = true;
        else if (k == n || i + 1 >= argc)
            return err_set(err, ERR_USAGE, "%s: no such flag, or it lacks its value",
                           argv[i]);
        else if (flags[k].text)
            *flags[k].text = argv[++i];
        else
            *flags[k].number = (int)strtol(argv[++i], NULL, 10);
    }
    return worker;
}

int
main(int argc, char **argv)
{
    struct srv_options options = { .store = NULL };
    struct err err = ERR_INIT;
    crypto_setup();
    json_setup();
    int worker = read_flags(argc, argv, &options, &err);
    if (worker < 0 || fs_maps_guard(&err) < 0)
        return complain(&err);
    if (worker)
        return srv_work(WORKER_FD, options.store);
    struct srv *srv AUTO(srv_close_p) = NULL;
    if (srv_open(&srv, &options, &err) < 0 || srv_run(srv, &err) < 0)
        return complain(&err);
    return 0;
}
