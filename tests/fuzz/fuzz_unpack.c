/* SPDX-License-Identifier: Apache-2.0 */
/* What sluice-unpack says of an archive: whatever it is, nothing appears but plain
 * files and directories with clean names, below the directory it was unpacked to. */
#include "repo/repo_int.h"
#include "tests/fuzz/scratch.h"

#include <string.h>
#include <sys/mman.h>

#define INNER "outer/inner"
enum { MOST_BYTES = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int
look(void *arg, const struct fs_entry *e, struct err *err)
{
    int64_t *total_bytes = arg;
    if (strcmp(e->path, "outer") == 0 || strcmp(e->path, INNER) == 0)
        return 0;
    if (strncmp(e->path, INNER "/", strlen(INNER "/")) != 0)
        BUG("%s left its directory", e->path);
    if (repo_check_file_path(e->path, err) < 0)
        BUG("%s", err->msg);
    if (S_ISREG(e->st.st_mode))
        *total_bytes += e->st.st_size;
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct err err = ERR_INIT;
    struct scratch s;
    int64_t total_bytes = 0;
    int inner AUTO(fs_close) = -1;
    int fd AUTO(fs_close) = memfd_create("reply", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0)
        return 0;
    scratch_open(&s);
    if (fs_mkdirs(s.fd, INNER, 0700, &err) < 0 ||
        fs_open_dir(&inner, s.fd, INNER, &err) < 0)
        BUG("%s", err.msg);
    const struct repo_unpack_to to = { .dirfd = inner, .most_bytes = MOST_BYTES };
    if (repo_unpack_stream(fd, &to, true, &err) < 0) {
        if (!err.msg[0])
            BUG("no word of what is wrong");
        err_clear(&err);
    }
    if (fs_walk(s.fd, ".", look, &total_bytes, &err) < 0)
        BUG("%s", err.msg);
    if (total_bytes > MOST_BYTES)
        BUG("%lld bytes where %d are the most", (long long)total_bytes, MOST_BYTES);
    scratch_close(&s);
    return 0;
}
