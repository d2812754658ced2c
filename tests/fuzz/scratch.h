/* SPDX-License-Identifier: Apache-2.0 */
/* A scratch directory for parsers that open files by name. */
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H

#include "base/fs.h"

#include <stdlib.h>
#include <unistd.h>

struct scratch {
    char path[32];
    int fd;
};

static inline void
scratch_open(struct scratch *s)
{
    struct err err = ERR_INIT;
    *s = (struct scratch){ .path = "/tmp/fuzz-XXXXXX", .fd = -1 };
    if (!mkdtemp(s->path) || fs_open_dir(&s->fd, AT_FDCWD, s->path, &err) < 0)
        BUG("no scratch directory %s", s->path);
}

static inline void
scratch_put(struct scratch *s, const char *name, const void *p, size_t n)
{
    struct err err = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    if (fs_open(&fd, s->fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600, &err) < 0 ||
        fs_write_all(fd, p, n, name, &err) < 0)
        BUG("%s", err.msg);
}

static inline void
scratch_close(struct scratch *s)
{
    struct err err = ERR_INIT;
    fs_close(&s->fd);
    if (fs_remove_tree(AT_FDCWD, s->path, &err) < 0)
        BUG("%s", err.msg);
}

#endif
