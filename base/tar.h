/* SPDX-License-Identifier: Apache-2.0 */
/* Tar streams (POSIX ustar, of pax only path and size), for plain files under plain
 * names: what a backup or bundle is carried in. What else such a stream may hold
 * (links, devices, sparse files) is refused by name; general archives are libarchive's.
 * The same calls give the same bytes: times are 0, owners 0, modes as given. */
#ifndef BASE_TAR_H
#define BASE_TAR_H

#include "base/buf.h"

#include <sys/types.h>

#define TAR_NAME_BYTES 256

struct tar_out {
    int fd;
    int64_t left; /* of the file that is being written */
    int64_t pad;  /* zeros after it */
};
/* The next file: its name (at most 99 bytes) and exactly size_bytes of tar_write. */
int tar_file(struct tar_out *t, const char *name, int64_t size_bytes, mode_t mode,
             struct err *err) MUST_CHECK;
int tar_write(struct tar_out *t, const void *p, size_t n, struct err *err) MUST_CHECK;
/* The two blocks that end a stream; not synced. */
int tar_end(struct tar_out *t, struct err *err) MUST_CHECK;

/* The same in pieces, for who does not write to a descriptor: the blocks before an
 * entry's bytes, appended (type '0' a file, '5' a directory; any name), and the zeros
 * after them, of which there are at most 511. A stream ends with 1024 zeros. */
void tar_head(struct buf *out, const char *name, int64_t size_bytes, char type,
              mode_t mode);
size_t tar_padding(int64_t size_bytes);

struct tar_in {
    int fd;
    const char *what;  /* for messages */
    int64_t left, pad; /* of the entry: to be read, and zeros after it */
    int64_t n_entries;
};
struct tar_entry {
    char name[TAR_NAME_BYTES]; /* as it stands; the caller checks it */
    int64_t size_bytes;
};
/* 1: the next regular file (what was not read of the last one is passed over), 0: the
 * end. ERR_CORRUPT: cut off, or a checksum that does not fit; ERR_INVALID: something
 * that is no plain file. Directories are passed over. */
int tar_next(struct tar_in *t, struct tar_entry *out, struct err *err) MUST_CHECK;
/* At most n bytes of the file: their number, 0 at its end. */
int64_t tar_read(struct tar_in *t, void *p, size_t n, struct err *err) MUST_CHECK;

#endif
