/* SPDX-License-Identifier: Apache-2.0 */
/* One bit of one file is flipped, of a store, its backup or a bundle. Either fsck,
 * audit verify, backup --verify or import says so, or it does no harm: everything is
 * seen as before, and what a pull gives is what was pushed. */
#include "tests/crash/crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct scene shop = {
    "a store",
    "init; push ../../models/A m; push ../../models/wide m --provenance by=me; push "
    "../../models/wider m; tag m@2 stage=eval; attach m@2 report "
    "../../models/C/assets/note; target add web web --alias prod; promote m@1 --to "
    "prod; promote m@3 --to prod; cold m@2; backup bak; export m@1 bundle",
    "list", 0, NULL
};

/* Paths of regular files below a node. */
static void
list_files(const struct disk *d, int at, const char *path, char *paths[], int nodes[],
           int *n, int max)
{
    const struct disk_node *dir = &d->nodes[at];

    for (int i = 0; i < dir->n_entries && *n < max; i++) {
        const int k = dir->entries[i].node;
        char *here =
            xasprintf("%s%s%s", path, path[0] ? "/" : "", dir->entries[i].name);

        if (S_ISDIR(d->nodes[k].mode)) {
            list_files(d, k, here, paths, nodes, n, max);
            free(here);
        } else if (S_ISREG(d->nodes[k].mode) && d->nodes[k].n_bytes > 0 &&
                   (strncmp(here, "store/", 6) == 0 || strncmp(here, "bak/", 4) == 0 ||
                    strcmp(here, "bundle") == 0) &&
                   !strstr(here, "-shm")) {
            paths[*n] = here;
            nodes[(*n)++] = k;
        } else {
            free(here);
        }
    }
}

int
crash_bits(struct crash *c, struct worker *w)
{
    enum { FILES_MAX = 500 };
    char *paths[FILES_MAX];
    int nodes[FILES_MAX], n = 0;
    uint64_t random =
        (uint64_t)c->o.seed * 0x9e3779b97f4a7c15 + (uint64_t)w->dir[strlen(w->dir) - 1];

    if (scene_begin(w, &shop) < 0) {
        crash_bad(c, "the store cannot be made");
        return 0;
    }
    list_files(&w->start, 0, "", paths, nodes, &n, FILES_MAX);
    while (!crash_over(c)) {
        const long job = __atomic_fetch_add(&c->count->next, 1, __ATOMIC_RELAXED);
        const int file = (int)(job % n);
        struct disk d;
        struct disk_node *node;
        uint64_t at;
        uint8_t *mine, bit;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        disk_copy(&d, &w->start);
        node = &d.nodes[nodes[file]];
        at = (random >> 8) % node->n_bytes;
        bit = (uint8_t)(1u << (random & 7));
        mine = xmalloc(node->n_bytes);
        memcpy(mine, node->data, node->n_bytes);
        mine[at] ^= bit;
        node->data = mine;
        node->own = true;
        if (disk_write(&d, w->live) < 0)
            abort();
        if (!scene_bit_is_safe(w, paths[file]))
            crash_bad(c, "seed %u: bit %#x of byte %lu of %s: %s", c->o.seed, bit,
                      (unsigned long)at, paths[file], w->said);
        __atomic_add_fetch(&c->count->n_states, 1, __ATOMIC_RELAXED);
        disk_release(&d);
        if (c->o.seconds == 0 && job >= (c->o.fast ? 300 : 20000))
            break;
    }
    for (int i = 0; i < n; i++)
        free(paths[i]);
    return 0;
}
