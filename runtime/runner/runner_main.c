/* SPDX-License-Identifier: Apache-2.0 */
/* sluice-runner: runs models for a sluice that started it, on the socket it was given
 * as descriptor 3. It is of no use by hand. */
#include "runtime/runner/runner_int.h"

#include "base/fs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCK_FD = 3 };

int
main(int argc, char **argv)
{
    int type = 0;
    socklen_t n = sizeof(type);
    if (argc != 2 || getsockopt(SOCK_FD, SOL_SOCKET, SO_TYPE, &type, &n) < 0) {
        fputs("sluice-runner: started by sluice, not by hand\n", stderr);
        return 2;
    }
    /* It ends with whoever started it (whose id it was given, in case he is gone). */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (strtol(argv[1], NULL, 10) != getppid())
        return 1;
    close_range(SOCK_FD + 1, ~0U, 0);
    signal(SIGPIPE, SIG_IGN);
    struct err err = ERR_INIT;
    if (fs_maps_guard(&err) < 0) {
        fprintf(stderr, "sluice-runner: %s\n", err.msg);
        return 1;
    }
    return runner_serve(SOCK_FD);
}
