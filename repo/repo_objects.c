/* SPDX-License-Identifier: Apache-2.0 */
/* What every backend of repo/objects.h shares. */
#include "repo/objects.h"

#include <errno.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 20)

void
objects_close(struct objects *o)
{
    if (o)
        o->ops->close(o);
}

int
objects_hash_fd(int fd, const char *what, struct digest *out, int64_t *size_bytes,
                struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    struct sha256 hash;
    ssize_t n;

    *size_bytes = 0;
    sha256_init(&hash);
    for (;;) {
        n = read(fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        sha256_add(&hash, chunk, (size_t)n);
        *size_bytes += n;
    }
    sha256_end(&hash, out);
    return n < 0 ? err_sys(err, errno, "read %s", what) : 0;
}

int
objects_verify_fd(int fd, const struct digest *want, const char *what, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    struct digest got;
    int64_t size_bytes;
    int r = objects_hash_fd(fd, what, &got, &size_bytes, err);

    if (r < 0)
        return r;
    digest_hex(&got, hex);
    return digest_eq(&got, want)
               ? 0
               : err_set(err, ERR_CORRUPT, "%s: its bytes hash to %s", what, hex);
}

int
objects_verify(struct objects *o, const struct digest *d, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    char hex[DIGEST_HEX_BYTES];
    struct buf what AUTO(buf_release) = BUF_INIT;
    int r;

    if (o->ops->verify)
        return o->ops->verify(o, d, err);
    r = o->ops->open(o, d, &fd, err);
    digest_hex(d, hex);
    buf_addf(&what, "object %s", hex);
    return r < 0 ? r : objects_verify_fd(fd, d, buf_str(&what), err);
}
