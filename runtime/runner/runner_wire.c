/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/runner/runner_int.h"

#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALIGN = 64, MAX_TENSORS = 1 << 16 };
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MAX_DATA_BYTES ((uint64_t)1 << 40)

void
wire_msg_release(struct wire_msg *m)
{
    if (m->map)
        munmap(m->map, m->data_bytes);
    fs_close(&m->fd);
    buf_release(&m->payload);
    *m = (struct wire_msg)WIRE_MSG_INIT;
}

/* ---- the socket ------------------------------------------------------------------ */

static int
send_all(int sock, const char *p, size_t n, struct err *err)
{
    while (n > 0) {
        ssize_t k = send(sock, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_sys(err, errno, "send to the runner");
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

int
wire_send(int sock, struct wire_msg *m, struct err *err)
{
    struct wire_head h = { m->kind, (uint32_t)m->payload.len, m->data_bytes };
    struct iovec iov = { &h, sizeof(h) };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (buf_check(&m->payload, "a message to the runner", err) < 0)
        return -(int)err->code;
    if (m->fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &m->fd, sizeof(int));
    }
    ssize_t n;
    while ((n = sendmsg(sock, &msg, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return err_sys(err, errno, "send to the runner");
    if (send_all(sock, (const char *)&h + n, sizeof(h) - (size_t)n, err) < 0)
        return -(int)err->code;
    return send_all(sock, m->payload.data, m->payload.len, err);
}

/* Keeps the first descriptor that came along; others are closed. */
static void
take_fd(struct msghdr *msg, int *fd)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int got;
            memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (*fd < 0)
                *fd = got;
            else
                close(got);
        }
    }
}

/* 1 all n bytes, 0 the other side has gone before the first, -code. */
static int
recv_all(int sock, char *p, size_t n, int *fd, int64_t until_ns, struct err *err)
{
    size_t got = 0;
    while (got < n) {
        struct pollfd pfd = { .fd = sock, .events = POLLIN };
        int64_t left_ms = until_ns ? (until_ns - clock_mono_ns()) / 1000000 + 1 : -1;
        int ready = poll(&pfd, 1,
                         !until_ns           ? -1
                         : left_ms <= 0      ? 0
                         : left_ms > 1 << 30 ? 1 << 30
                                             : (int)left_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready < 0)
            return err_sys(err, errno, "wait for the runner");
        if (ready == 0)
            return err_set(err, ERR_LIMIT, "no answer in time");
        struct iovec iov = { p + got, n - got };
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control;
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
        ssize_t k = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != ECONNRESET)
            return err_sys(err, errno, "receive from the runner");
        if (k > 0)
            take_fd(&msg, fd);
        if (k <= 0)
            return got == 0 ? 0 : err_set(err, ERR_CORRUPT, "a message was cut off");
        got += (size_t)k;
    }
    return 1;
}

int
wire_recv(int sock, struct wire_msg *m, int64_t timeout_ms, struct err *err)
{
    struct wire_head h;
    int none = -1;
    int64_t until_ns = timeout_ms > 0 ? clock_mono_ns() + timeout_ms * 1000000 : 0;
    wire_msg_release(m);
    int rc = recv_all(sock, (char *)&h, sizeof(h), &m->fd, until_ns, err);
    if (rc <= 0)
        return rc;
    char *room =
        h.n_bytes <= WIRE_PAYLOAD_MAX_BYTES ? buf_room(&m->payload, h.n_bytes) : NULL;
    if (!room || h.data_bytes > MAX_DATA_BYTES || (h.data_bytes > 0) != (m->fd >= 0))
        return err_set(err, ERR_CORRUPT, "a malformed message");
    if (h.n_bytes > 0 &&
        (rc = recv_all(sock, room, h.n_bytes, &none, until_ns, err)) <= 0)
        return rc < 0 ? rc : err_set(err, ERR_CORRUPT, "a message was cut off");
    fs_close(&none);
    m->payload.len += h.n_bytes;
    room[h.n_bytes] = '\0';
    m->kind = h.kind;
    m->data_bytes = h.data_bytes;
    return 1;
}

/* ---- values ---------------------------------------------------------------------- */

void
wire_put_u32(struct wire_msg *m, uint32_t v)
{
    buf_add(&m->payload, &v, sizeof(v));
}

void
wire_put_i64(struct wire_msg *m, int64_t v)
{
    buf_add(&m->payload, &v, sizeof(v));
}

void
wire_put_f64(struct wire_msg *m, double v)
{
    buf_add(&m->payload, &v, sizeof(v));
}

void
wire_put_text(struct wire_msg *m, struct str s)
{
    wire_put_u32(m, (uint32_t)s.n);
    buf_add(&m->payload, s.p, s.n);
}

static void
get(struct wire_in *in, void *v, size_t n)
{
    memset(v, 0, n);
    if (in->bad || in->left.n < n) {
        in->bad = true;
        return;
    }
    memcpy(v, in->left.p, n);
    in->left.p += n;
    in->left.n -= n;
}

uint32_t
wire_get_u32(struct wire_in *in)
{
    uint32_t v;
    get(in, &v, sizeof(v));
    return v;
}

int64_t
wire_get_i64(struct wire_in *in)
{
    int64_t v;
    get(in, &v, sizeof(v));
    return v;
}

double
wire_get_f64(struct wire_in *in)
{
    double v;
    get(in, &v, sizeof(v));
    return v;
}

struct str
wire_get_text(struct wire_in *in)
{
    uint32_t n = wire_get_u32(in);
    struct str s = { in->left.p, n };
    if (in->bad || in->left.n < n) {
        in->bad = true;
        return (struct str){ "", 0 };
    }
    in->left.p += n;
    in->left.n -= n;
    return s;
}

char *
wire_get_cstr(struct wire_in *in)
{
    struct str s = wire_get_text(in);
    in->bad |= s.n > 0 && memchr(s.p, '\0', s.n) != NULL;
    return str_dup(s);
}

void
wire_put_shape(struct wire_msg *m, const struct sm_shape *s)
{
    wire_put_u32(m, s->unknown_rank);
    wire_put_u32(m, s->unknown_rank ? 0 : (uint32_t)s->rank);
    for (int i = 0; !s->unknown_rank && i < s->rank; i++)
        wire_put_i64(m, s->dims[i]);
}

int
wire_get_shape(struct wire_in *in, struct sm_shape *s)
{
    *s = (struct sm_shape){ .unknown_rank = wire_get_u32(in) != 0 };
    uint32_t rank = wire_get_u32(in);
    in->bad |= rank > SM_MAX_RANK;
    s->rank = in->bad ? 0 : (int)rank;
    for (int i = 0; i < s->rank; i++)
        s->dims[i] = wire_get_i64(in);
    return in->bad ? -1 : 0;
}

/* ---- tensors --------------------------------------------------------------------- */

static size_t
place(size_t at)
{
    return (at + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t
data_size(const struct sm_tensor *t)
{
    return sm_tensor_bytes(t) +
           (t->dtype == SM_STRING ? (size_t)t->n_elems * sizeof(uint64_t) : 0);
}

static void
write_data(char *to, const struct sm_tensor *t)
{
    if (t->dtype != SM_STRING) {
        if (t->n_elems > 0)
            memcpy(to, t->data, sm_tensor_bytes(t));
        return;
    }
    const struct str *s = sm_tensor_str(t);
    char *text = to + (size_t)t->n_elems * sizeof(uint64_t);
    for (int64_t i = 0; i < t->n_elems; i++) {
        uint64_t n = s[i].n;
        memcpy(to + (size_t)i * sizeof(n), &n, sizeof(n));
        if (n > 0)
            memcpy(text, s[i].p, n);
        text += n;
    }
}

static int
fill_memfd(struct wire_msg *m, const struct sm_tensor_list *l, struct err *err)
{
    m->fd = memfd_create("tensors", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (m->fd < 0)
        return err_sys(err, errno, "make memory for tensors");
    if (ftruncate(m->fd, (off_t)m->data_bytes) < 0)
        return errno == EFBIG
                   ? err_set(err, ERR_LIMIT,
                             "%llu bytes of tensors are above the limit",
                             (unsigned long long)m->data_bytes)
                   : err_sys(err, errno, "make %llu bytes of memory for tensors",
                             (unsigned long long)m->data_bytes);
    char *map = mmap(NULL, m->data_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
    if (map == MAP_FAILED)
        return err_sys(err, errno, "map %llu bytes of tensors",
                       (unsigned long long)m->data_bytes);
    size_t at = 0;
    for (int i = 0; i < l->n; i++) {
        write_data(map + at, &l->v[i].t);
        at = place(at + data_size(&l->v[i].t));
    }
    munmap(map, m->data_bytes);
    if (fcntl(m->fd, F_ADD_SEALS, SEALS) < 0)
        return err_sys(err, errno, "seal memory");
    return 0;
}

int
wire_put_tensors(struct wire_msg *m, const struct sm_tensor_list *l, struct err *err)
{
    size_t at = 0;
    wire_put_u32(m, (uint32_t)l->n);
    for (int i = 0; i < l->n; i++) {
        const struct sm_tensor *t = &l->v[i].t;
        wire_put_text(m, str_of(l->v[i].name));
        wire_put_u32(m, (uint32_t)t->dtype);
        wire_put_u32(m, (uint32_t)t->rank);
        for (int d = 0; d < t->rank; d++)
            wire_put_i64(m, t->dims[d]);
        wire_put_i64(m, (int64_t)at);
        wire_put_i64(m, (int64_t)data_size(t));
        at = place(at + data_size(t));
    }
    m->data_bytes = at;
    return at > 0 ? fill_memfd(m, l, err) : 0;
}

static int
map_memfd(struct wire_msg *m, struct err *err)
{
    struct stat st;
    if (m->fd < 0 || m->map)
        return 0;
    int seals = fcntl(m->fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(m->fd, &st) < 0 ||
        (uint64_t)st.st_size != m->data_bytes)
        return err_set(err, ERR_CORRUPT, "the tensors' memory is not sealed");
    void *map = mmap(NULL, m->data_bytes, PROT_READ, MAP_PRIVATE, m->fd, 0);
    if (map == MAP_FAILED)
        return err_sys(err, errno, "map %llu bytes of tensors",
                       (unsigned long long)m->data_bytes);
    m->map = map;
    return 0;
}

/* The number of elements; -1: dims do not make sense. */
static int64_t
count(const struct sm_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->dims[i] < 0 || __builtin_mul_overflow(n, t->dims[i], &n))
            return -1;
    return n <= (int64_t)MAX_DATA_BYTES ? n : -1;
}

/* Elements are built from their lengths, which are read once. */
static int
read_strings(struct sm_tensor *t, const char *p, uint64_t n_bytes, bool copy,
             struct err *err)
{
    uint64_t n = (uint64_t)t->n_elems, at = n * sizeof(uint64_t);
    if (n > n_bytes / sizeof(uint64_t))
        return err_set(err, ERR_CORRUPT, "a string tensor is cut off");
    struct str *s = xcalloc(n + 1, sizeof(s[0]));
    for (uint64_t i = 0; i < n; i++) {
        uint64_t len;
        memcpy(&len, p + i * sizeof(len), sizeof(len));
        if (len > n_bytes - at) {
            free(s);
            return err_set(err, ERR_CORRUPT, "a string tensor is cut off");
        }
        s[i] = (struct str){ p + at, len };
        at += len;
    }
    if (!copy) {
        t->data = t->owned = s;
        return 0;
    }
    struct sm_tensor like = *t;
    int rc = sm_tensor_strings(t, like.rank, like.dims, s, err);
    free(s);
    return rc;
}

static int
read_numbers(struct sm_tensor *t, const char *p, uint64_t n_bytes, bool copy,
             struct err *err)
{
    const struct sm_dtype_info *d = sm_dtype_info(t->dtype);
    if (!d || d->size_bytes == 0 || t->dtype > SM_REF ||
        n_bytes != (uint64_t)t->n_elems * d->size_bytes)
        return err_set(err, ERR_CORRUPT, "a tensor's size does not fit its shape");
    if (!copy) {
        t->data = (void *)(uintptr_t)p;
        return 0;
    }
    struct sm_tensor like = *t;
    if (sm_tensor_alloc(t, like.dtype, like.rank, like.dims, err) < 0)
        return -(int)err->code;
    if (n_bytes > 0)
        memcpy(t->data, p, n_bytes);
    return 0;
}

static int
read_tensor(const struct wire_msg *m, struct wire_in *in, bool copy,
            struct sm_tensor *t, struct err *err)
{
    *t = (struct sm_tensor){ .dtype = (int)wire_get_u32(in) };
    uint32_t rank = wire_get_u32(in);
    in->bad |= rank > SM_MAX_RANK;
    t->rank = in->bad ? 0 : (int)rank;
    for (int i = 0; i < t->rank; i++)
        t->dims[i] = wire_get_i64(in);
    uint64_t at = (uint64_t)wire_get_i64(in), n = (uint64_t)wire_get_i64(in);
    t->n_elems = count(t);
    if (in->bad || t->n_elems < 0 || at % ALIGN != 0 || at > m->data_bytes ||
        n > m->data_bytes - at)
        return err_set(err, ERR_CORRUPT, "a malformed tensor");
    const char *p = m->map ? (const char *)m->map + at : "";
    return t->dtype == SM_STRING ? read_strings(t, p, n, copy, err)
                                 : read_numbers(t, p, n, copy, err);
}

int
wire_get_tensors(struct wire_msg *m, struct wire_in *in, bool copy,
                 struct sm_tensor_list *out, struct err *err)
{
    uint32_t n = wire_get_u32(in);
    if (in->bad || n > MAX_TENSORS)
        return err_set(err, ERR_CORRUPT, "a malformed message");
    if (map_memfd(m, err) < 0)
        return -(int)err->code;
    for (uint32_t i = 0; i < n; i++) {
        char *name AUTO(free_ptr) = wire_get_cstr(in);
        struct sm_tensor t;
        if (read_tensor(m, in, copy, &t, err) < 0)
            return -(int)err->code;
        sm_tensor_list_add(out, name, &t);
    }
    return 0;
}
