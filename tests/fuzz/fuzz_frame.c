/* SPDX-License-Identifier: Apache-2.0 */
/* Frames between the service and its workers. */
#include "server/srv_frame.h"

#include "base/fs.h"

#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    int pair[2], r = 1;
    if (n > 60000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return 0;
    int mine AUTO(fs_close) = pair[0], other AUTO(fs_close) = pair[1];
    if (fs_write_all(mine, data, n, "the other end", &err) < 0)
        BUG("%s", err.msg);
    shutdown(mine, SHUT_WR);
    while (r == 1) {
        enum srv_frame kind;
        cJSON *j AUTO(json_free) = NULL;
        int fd AUTO(fs_close) = -1;
        r = srv_frame_recv(other, &kind, &j, &fd, &err);
        if (r == 1 && (kind < SRV_FRAME_CALL || kind > SRV_FRAME_REPLY || !j))
            BUG("a frame of kind %d", kind);
    }
    return 0;
}
