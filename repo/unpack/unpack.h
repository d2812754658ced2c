/* SPDX-License-Identifier: Apache-2.0 */
/* Archives (.tar .tar.gz .tar.zst .zip) as a stream of entries. They are read by
 * sluice-unpack, a process that can do nothing else: it has the archive and a pipe, no
 * files, no network, bounded memory. What it says is checked like any foreign bytes. */
#ifndef REPO_UNPACK_UNPACK_H
#define REPO_UNPACK_UNPACK_H

#include "base/buf.h"

#include <sys/types.h>

enum unpack_kind {
    UNPACK_FILE,
    UNPACK_DIR,
    UNPACK_SYMLINK,
    UNPACK_HARDLINK,
    UNPACK_FIFO,
    UNPACK_SOCKET,
    UNPACK_DEVICE,
    UNPACK_N_KINDS
};
const char *unpack_kind_text(enum unpack_kind kind); /* "a symlink" */

struct unpack_entry {
    const char *path; /* as the archive has it: not checked, but without NUL */
    enum unpack_kind kind;
    unsigned mode;      /* permission bits */
    int64_t size_bytes; /* that the archive claims; -1: it does not say */
};
/* Who takes the entries; a negative value ends it. */
struct unpack_sink {
    int (*entry)(void *arg, const struct unpack_entry *e, struct err *err);
    /* The next bytes of the last entry, a file. */
    int (*data)(void *arg, const void *p, size_t n, struct err *err);
    void *arg;
};
/* Reads the archive in `fd`, a regular file, from its start. ERR_INVALID: no archive,
 * or of another form. ERR_CORRUPT: damaged. ERR_NOTFOUND: sluice-unpack is not there.
 * ERR_FAILED: it ended. */
int unpack_read(int fd, const struct unpack_sink *sink, struct err *err) MUST_CHECK;
/* The part of it that reads what sluice-unpack writes, to its end. ERR_CORRUPT: it is
 * malformed; ERR_FAILED: it is cut off. */
int unpack_receive(int fd, const struct unpack_sink *sink, struct err *err) MUST_CHECK;

#endif
