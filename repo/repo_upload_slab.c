/* SPDX-License-Identifier: Apache-2.0 */
/* Big buffers that parts come in: they go past the page cache to the disk, and then to
 * the thread that hashes, which has nothing to read. There are few; a part that gets
 * none, and a hash that is behind, do with less. */
#include "repo/upload_int.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SLABS_MAX 16 /* of all uploads */

static struct upload_slab *
slab_open(struct repo_uploads *us)
{
    struct upload_slab *s;
    void *p;

    if (atomic_fetch_add(&us->n_slabs, 1) >= SLABS_MAX) {
        atomic_fetch_sub(&us->n_slabs, 1);
        return NULL;
    }
    p = mmap(NULL, UPLOAD_SLAB_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        atomic_fetch_sub(&us->n_slabs, 1);
        return NULL;
    }
    s = xcalloc(1, sizeof(*s));
    s->p = p;
    return s;
}

static void
slab_close(struct repo_uploads *us, struct upload_slab *s)
{
    munmap(s->p, UPLOAD_SLAB_BYTES);
    free(s);
    atomic_fetch_sub(&us->n_slabs, 1);
}

struct upload_slab *
upload_slab_take(struct repo_upload *u)
{
    struct upload_slab *s = u->spare;

    if (!s)
        return slab_open(u->us);
    u->spare = s->next;
    return s;
}

void
upload_slab_give(struct repo_upload *u, struct upload_slab *s)
{
    if (!s)
        return;
    if (u->n_hashers == 0) { /* it seems to have ended */
        slab_close(u->us, s);
        return;
    }
    s->next = u->spare;
    u->spare = s;
}

void
upload_slab_warm(struct repo_upload *u, struct upload_slab *s,
                 const struct upload_file *f, int64_t from, int64_t to)
{
    if (u->n_hashers == 0) {
        upload_slab_give(u, s);
        return;
    }
    s->file = f;
    s->from = from;
    s->to = to;
    s->next = u->warm;
    u->warm = s;
}

struct upload_slab *
upload_slab_find(struct repo_upload *u, const struct upload_file *f, int64_t at)
{
    struct upload_slab *found = NULL;

    for (struct upload_slab **link = &u->warm, *s; (s = *link);) {
        if (s->file != f || s->from > at) {
            link = &s->next;
            continue;
        }
        *link = s->next;
        if (s->to > at && !found)
            found = s;
        else
            upload_slab_give(u, s);
    }
    return found;
}

void
upload_slabs_cool(struct repo_upload *u, const struct upload_file *f_or_null)
{
    for (struct upload_slab **link = &u->warm, *s; (s = *link);) {
        if (f_or_null && s->file != f_or_null) {
            link = &s->next;
            continue;
        }
        *link = s->next;
        upload_slab_give(u, s);
    }
    for (struct upload_slab *s; u->n_hashers == 0 && (s = u->spare);) {
        u->spare = s->next;
        slab_close(u->us, s);
    }
}
