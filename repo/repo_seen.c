/* SPDX-License-Identifier: Apache-2.0 */
/* What a file outside the store was when it was hashed, so that an unchanged one is not
 * read again. A row is believed when device, inode, size, mtime and ctime are what they
 * were and the store still has the object; it is only written when the ctime was older
 * than the racy window then, for within one tick of a clock a file can change without
 * showing it (git's rule for its index). */
#include "repo/repo_int.h"

#include "base/clock.h"

#include <string.h>

#define SECOND_NS INT64_C(1000000000)
#define RACY_NS (2 * SECOND_NS) /* the coarsest clock of a file system, FAT's */
#define KEPT_NS                                                                        \
    (90 * 86400 * SECOND_NS) /* then a file is read again, as it was new               \
                              */

static int64_t
ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * SECOND_NS + t->tv_nsec;
}

struct repo_seen
repo_seen_of(const struct stat *st)
{
    return (struct repo_seen){ .dev = (int64_t)st->st_dev,
                               .ino = (int64_t)st->st_ino,
                               .size_bytes = st->st_size,
                               .mtime_ns = ns_of(&st->st_mtim),
                               .ctime_ns = ns_of(&st->st_ctim) };
}

bool
repo_seen_same(const struct repo_seen *a, const struct repo_seen *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size_bytes == b->size_bytes &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool
repo_seen_is_calm(const struct repo_seen *s, int64_t now_ns)
{
    return s->ctime_ns <= now_ns - RACY_NS;
}

int
repo_seen_find(struct repo *r, const struct repo_seen *s, struct digest *out,
               struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int64_t size_bytes = -1;
    const void *digest;
    size_t n;
    int rc =
        db_query(r->db, &st, err,
                 "SELECT s.digest FROM seen_file s "
                 "JOIN object o ON o.digest = s.digest "
                 "WHERE s.dev = ? AND s.ino = ? AND s.size_bytes = ? AND "
                 "s.mtime_ns = ? AND s.ctime_ns = ? AND o.size_bytes = s.size_bytes",
                 "iiiii", s->dev, s->ino, s->size_bytes, s->mtime_ns, s->ctime_ns);

    if (rc == 0)
        rc = db_step(st, err);
    if (rc != 1)
        return rc;
    digest = db_blob(st, 0, &n);
    if (n != sizeof(out->b))
        return 0;
    memcpy(out->b, digest, n);
    rc = r->objects->ops->has(r->objects, out, &size_bytes, err);
    return rc == 1 ? size_bytes == s->size_bytes : rc;
}

int
repo_ingest_remember(struct repo *r, const struct repo_ingest *in, struct err *err)
{
    const int64_t now_ns = clock_now_ns();
    int rc = in->n_learned == 0
                 ? 0
                 : db_run(r->db, err, "DELETE FROM seen_file WHERE hashed_ns < ?", "i",
                          now_ns - KEPT_NS);

    for (int i = 0; rc == 0 && i < in->n_learned; i++) {
        const struct repo_seen *s = &in->learned[i].seen;
        const struct digest *d = &in->learned[i].digest;

        rc = db_run(r->db, err,
                    "INSERT INTO seen_file(dev, ino, size_bytes, mtime_ns, ctime_ns, "
                    "digest, hashed_ns) VALUES(?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT(dev, ino) DO UPDATE SET "
                    "size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns, "
                    "ctime_ns = excluded.ctime_ns, digest = excluded.digest, "
                    "hashed_ns = excluded.hashed_ns",
                    "iiiiibi", s->dev, s->ino, s->size_bytes, s->mtime_ns, s->ctime_ns,
                    d->b, sizeof(d->b), now_ns);
    }
    return rc;
}
