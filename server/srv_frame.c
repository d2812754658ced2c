/* SPDX-License-Identifier: Apache-2.0 */
#include "server/srv_frame.h"

#include "base/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct head {
    uint32_t kind, n_bytes;
};

/* 1: all of it; 0: the other side has gone before its first byte. */
static int
recv_all(int sock, void *to, size_t n, int *fd, struct err *err)
{
    char *at = to;
    size_t got = 0;
    while (got < n) {
        struct iovec v = { at + got, n - got };
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        struct msghdr m = { .msg_iov = &v,
                            .msg_iovlen = 1,
                            .msg_control = fd ? control : NULL,
                            .msg_controllen = fd ? sizeof control : 0 };
        ssize_t k = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
        if (k < 0 && errno == EINTR)
            continue;
        if ((k < 0 && errno == ECONNRESET) || (k == 0 && got == 0))
            return 0;
        if (k < 0)
            return err_sys(err, errno, "read from a worker's socket");
        if (k == 0)
            return err_set(err, ERR_CORRUPT, "a frame is cut off");
        struct cmsghdr *c = fd ? CMSG_FIRSTHDR(&m) : NULL;
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            fs_close(fd);
            memcpy(fd, CMSG_DATA(c), sizeof *fd);
        }
        got += (size_t)k;
    }
    return 1;
}

int
srv_frame_send(int sock, enum srv_frame kind, const cJSON *j, int fd, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = SRV_FRAME_MAX_BYTES };
    json_print(j, &text, true);
    if (buf_check(&text, "an answer", err) < 0)
        return -(int)err->code;
    struct head h = { kind, (uint32_t)text.len };
    struct iovec v[2] = { { &h, sizeof h }, { text.data, text.len } };
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
    if (fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        *c = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
                               .cmsg_type = SCM_RIGHTS,
                               .cmsg_len = CMSG_LEN(sizeof fd) };
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    while (m.msg_iovlen > 0) {
        ssize_t k = sendmsg(sock, &m, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_sys(err, errno, "write to a worker's socket");
        m.msg_control = NULL;
        m.msg_controllen = 0;
        while (m.msg_iovlen > 0 && (size_t)k >= m.msg_iov->iov_len) {
            k -= (ssize_t)m.msg_iov->iov_len;
            m.msg_iov++;
            m.msg_iovlen--;
        }
        if (m.msg_iovlen > 0) {
            m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + k;
            m.msg_iov->iov_len -= (size_t)k;
        }
    }
    return 0;
}

int
srv_frame_recv(int sock, enum srv_frame *kind, cJSON **j, int *fd, struct err *err)
{
    struct head h;
    struct buf text AUTO(buf_release) = { .cap_bytes = SRV_FRAME_MAX_BYTES };
    *fd = -1;
    *j = NULL;
    int r = recv_all(sock, &h, sizeof h, fd, err);
    if (r <= 0)
        return r;
    if (h.kind < SRV_FRAME_CALL || h.kind > SRV_FRAME_REPLY ||
        h.n_bytes > SRV_FRAME_MAX_BYTES) {
        fs_close(fd);
        return err_set(err, ERR_CORRUPT, "a malformed frame");
    }
    char *to = buf_room(&text, h.n_bytes);
    r = to ? recv_all(sock, to, h.n_bytes, NULL, err) : -1;
    if (r == 0)
        r = err_set(err, ERR_CORRUPT, "a frame is cut off");
    if (r > 0)
        text.len = h.n_bytes;
    if (r < 0 ||
        json_parse(j, (struct str){ text.data, text.len }, "a frame", err) < 0) {
        fs_close(fd);
        return -(int)err->code;
    }
    *kind = (enum srv_frame)h.kind;
    return 1;
}
