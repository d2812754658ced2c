/* SPDX-License-Identifier: Apache-2.0 */
/* A tar stream: names end, sizes are not negative, and what is read is no more than was
 * there. */
#include "base/tar.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct tar_in tar = { .fd = memfd_create("tar", MFD_CLOEXEC), .what = "fuzz" };
    struct err err = ERR_INIT;
    struct tar_entry e;
    char block[512];
    int64_t total = 0, got;
    int r;

    if (tar.fd < 0 || write(tar.fd, data, n) != (ssize_t)n ||
        lseek(tar.fd, 0, SEEK_SET) != 0)
        BUG("no file to read");
    while ((r = tar_next(&tar, &e, &err)) == 1) {
        if (e.size_bytes < 0 || !memchr(e.name, '\0', sizeof(e.name)))
            BUG("an entry of %lld bytes", (long long)e.size_bytes);
        while ((got = tar_read(&tar, block, sizeof(block), &err)) > 0)
            total += got;
        if (got < 0)
            break;
        if (tar.left != 0)
            BUG("%lld bytes are left", (long long)tar.left);
    }
    if (total > (int64_t)n)
        BUG("%lld bytes out of %zu", (long long)total, n);
    close(tar.fd);
    return 0;
}
