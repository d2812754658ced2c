/* SPDX-License-Identifier: Apache-2.0 */
/* Where objects live: bytes named by their SHA-256, written once, never changed. One
 * backend per implementation of `struct objects_ops`; the catalogue does not know
 * which. A handle is used by one thread at a time. */
#ifndef REPO_OBJECTS_H
#define REPO_OBJECTS_H

#include "base/crypto.h"
#include "base/fs.h"

struct objects;

/* What the bytes of a file must hold: the checksums of tensors in it. */
struct objects_crc {
    int64_t offset, size_bytes;
    uint32_t crc32c; /* masked, as TensorFlow writes it */
    struct str name;
};
/* A file as a source, instead of `read`. */
struct objects_file {
    int fd;
    int64_t size_bytes; /* so many are taken, from offset 0 */
    bool is_ours; /* it becomes the object itself: open for reading and writing, on the
                     store's file system, and nobody writes to it any more */
    bool is_hashed; /* is_ours, and put.digest is that of its bytes, which are durable:
                       who wrote them has hashed them */
    const struct objects_crc *crcs; /* by offset; no two overlap */
    int n_crcs;
    /* Bytes that were taken in since the last call; NULL: nobody asks. */
    void (*progress)(void *arg, int64_t n_bytes);
};

/* One object on its way in. */
struct objects_put {
    /* The next bytes, at most n: their number, 0 at the end, -code. */
    int64_t (*read)(void *arg, void *p, size_t n, struct err *err);
    const struct objects_file *file; /* NULL: `read` gives the bytes */
    /* 1: the catalogue has a row for this object, 0: not, -code. Without a row nothing
     * that already bears the name is trusted before it was hashed. NULL: no row. */
    int (*known)(void *arg, const struct digest *d, struct err *err);
    void *arg;
    const char *what; /* for messages */
    /* filled */
    struct digest digest;
    int64_t size_bytes;
    bool is_new; /* this put made it, or replaced a damaged one */
};

typedef int objects_list_fn(void *arg, const struct digest *d, const char *name,
                            int64_t size_bytes, struct err *err);

struct objects_ops {
    const char *name; /* "local" */
    /* Reads the source once, hashing on the way. The object is there, and durable, only
     * after `sync`: small ones share one barrier. On failure nothing is left behind.
     * ERR_CORRUPT: the bytes do not fit one of the file's checksums; a file that ends
     * early gives a smaller size_bytes. */
    int (*put)(struct objects *o, struct objects_put *p, struct err *err);
    /* The bytes and the names of everything put through this handle are durable. */
    int (*sync)(struct objects *o, struct err *err);
    /* Nothing that was put waits for `sync`. Rows are written only then. */
    bool (*is_settled)(const struct objects *o);
    /* Lets go of what was put since the last `sync` and has no name yet. */
    void (*forget)(struct objects *o);
    /* Appends the whole object, hashed. ERR_NOTFOUND, ERR_CORRUPT, ERR_LIMIT (out's
     * cap). */
    int (*get)(struct objects *o, const struct digest *d, struct buf *out,
               struct err *err);
    /* 1 and *size_bytes, 0: absent, -code. */
    int (*has)(struct objects *o, const struct digest *d, int64_t *size_bytes,
               struct err *err);
    /* A descriptor for reading from offset 0; the caller closes it. ERR_NOTFOUND;
     * ERR_CORRUPT: what has the name is no regular file. Several threads may call it at
     * once. */
    int (*open)(struct objects *o, const struct digest *d, int *out_fd,
                struct err *err);
    /* Makes the object appear as a file without copying. ERR_NOTFOUND; ERR_UNSUPPORTED:
     * this backend, mount or inode cannot (copy instead). The directory is not synced.
     */
    int (*link)(struct objects *o, const struct digest *d, int to_dirfd, const char *to,
                struct err *err);
    /* An absent object is no error, one that waits for `sync` is let go. The caller
     * holds the catalogue's write transaction and has seen that no row names the
     * object. */
    int (*delete)(struct objects *o, const struct digest *d, struct err *err);
    /* What bears the object's name is kept below quarantine/, whatever it is; its path
     * there is appended. `stays`: a file keeps its name too, until a put replaces it.
     * ERR_NOTFOUND. */
    int (*set_aside)(struct objects *o, const struct digest *d, bool stays,
                     struct buf *path, struct err *err);
    /* In order of their names; `d` is NULL for a name that is no object's, size_bytes
     * -1 for what is no regular file. */
    int (*list)(struct objects *o, objects_list_fn *fn, void *arg, struct err *err);
    /* NULL: the object is opened and hashed. Else what objects_verify says. */
    int (*verify)(struct objects *o, const struct digest *d, struct err *err);
    void (*close)(struct objects *o);
};

/* A backend's own struct begins with this. */
struct objects {
    const struct objects_ops *ops;
};

/* objects/ and stage/ of a store directory, whose fd is borrowed. */
int objects_open_local(struct objects **out, int store_dirfd,
                       struct err *err) MUST_CHECK;
void objects_close(struct objects *o); /* NULL allowed */

/* Reads fd to its end; `what` names it. */
int objects_hash_fd(int fd, const char *what, struct digest *out, int64_t *size_bytes,
                    struct err *err) MUST_CHECK;
/* Reads fd to its end and compares. ERR_CORRUPT; `what` names it. */
int objects_verify_fd(int fd, const struct digest *want, const char *what,
                      struct err *err) MUST_CHECK;
/* The same for an object in its place. ERR_NOTFOUND, ERR_CORRUPT. */
int objects_verify(struct objects *o, const struct digest *d,
                   struct err *err) MUST_CHECK;

#endif
