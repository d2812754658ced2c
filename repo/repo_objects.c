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
objects_verify_fd(int fd, const struct digest *want, const char *what, struct err *err)
{
    char *chunk AUTO(free_ptr) = xmalloc(CHUNK_BYTES);
    char hex[DIGEST_HEX_BYTES];
    struct digest got;
    struct sha256 hash;
    ssize_t n;

    sha256_init(&hash);
    for (;;) {
        n = read(fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        sha256_add(&hash, chunk, (size_t)n);
    }
    if (n < 0)
        return err_sys(err, errno, "read %s", what);
    sha256_end(&hash, &got);
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
    int r = o->ops->open(o, d, &fd, err);

    digest_hex(d, hex);
    buf_addf(&what, "object %s", hex);
    return r < 0 ? r : objects_verify_fd(fd, d, buf_str(&what), err);
}
