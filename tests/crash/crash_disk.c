/* SPDX-License-Identifier: Apache-2.0 */
/* A directory tree in memory, and what operations do to it. Data and entries are shared
 * between a disk and its copies until they are changed. */
#include "tests/crash/crash.h"

#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
#define PAGE 4096

int
disk_find(const struct disk *d, uint64_t ino)
{
    for (int i = 0; i < d->n; i++)
        if (d->nodes[i].ino == ino)
            return i;
    return -1;
}

static int
add_node(struct disk *d, uint64_t ino, mode_t mode)
{
    d->nodes = xreallocarray(d->nodes, (size_t)d->n + 1, sizeof(*d->nodes));
    d->nodes[d->n] = (struct disk_node){
        .ino = ino, .mode = mode, .own = true, .own_entries = true
    };
    return d->n++;
}

static void
set_entry(struct disk_node *dir, const char *name, int node)
{
    if (!dir->own_entries) {
        struct disk_entry *mine = xcalloc((size_t)dir->n_entries + 1, sizeof(*mine));

        for (int i = 0; i < dir->n_entries; i++)
            mine[i] = (struct disk_entry){ xstrdup(dir->entries[i].name),
                                           dir->entries[i].node };
        dir->entries = mine;
        dir->own_entries = true;
    }
    for (int i = 0; i < dir->n_entries; i++)
        if (strcmp(dir->entries[i].name, name) == 0) {
            if (node >= 0) {
                dir->entries[i].node = node;
                return;
            }
            free(dir->entries[i].name);
            dir->entries[i] = dir->entries[--dir->n_entries];
            return;
        }
    if (node < 0)
        return;
    dir->entries =
        xreallocarray(dir->entries, (size_t)dir->n_entries + 1, sizeof(*dir->entries));
    dir->entries[dir->n_entries++] = (struct disk_entry){ xstrdup(name), node };
}

/* ---- from the real one ---- */

static int
read_dir(struct disk *d, int at, int dirfd)
{
    DIR *dir = fdopendir(dirfd);
    struct dirent *e;

    if (!dir)
        return -1;
    while ((e = readdir(dir)) != NULL) {
        struct stat st;
        int node, fd;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (fstatat(dirfd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            goto fail;
        node = disk_find(d, st.st_ino);
        if (node < 0) {
            node = add_node(d, st.st_ino, st.st_mode);
            d->nodes[node].n_bytes = S_ISDIR(st.st_mode) ? 0 : (size_t)st.st_size;
            d->nodes[node].data = xmalloc((size_t)st.st_size + 1);
            if (S_ISLNK(st.st_mode)) {
                if (readlinkat(dirfd, e->d_name, (char *)d->nodes[node].data,
                               (size_t)st.st_size) != st.st_size)
                    goto fail;
            } else {
                fd = openat(dirfd, e->d_name, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                    goto fail;
                if (S_ISDIR(st.st_mode)) {
                    if (read_dir(d, node, fd) < 0)
                        goto fail;
                } else {
                    ssize_t got = pread(fd, d->nodes[node].data, (size_t)st.st_size, 0);

                    close(fd);
                    if (got != st.st_size)
                        goto fail;
                }
            }
        }
        set_entry(&d->nodes[at], e->d_name, node);
    }
    closedir(dir);
    return 0;
fail:
    closedir(dir);
    return -1;
}

int
disk_read(struct disk *d, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *d = (struct disk){ .n = 0 };
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    add_node(d, st.st_ino, st.st_mode);
    return read_dir(d, 0, fd);
}

void
disk_copy(struct disk *to, const struct disk *from)
{
    to->n = from->n;
    to->nodes = xmalloc((size_t)from->n * sizeof(*to->nodes));
    memcpy(to->nodes, from->nodes, (size_t)from->n * sizeof(*to->nodes));
    for (int i = 0; i < to->n; i++)
        to->nodes[i].own = to->nodes[i].own_entries = false;
}

void
disk_release(struct disk *d)
{
    for (int i = 0; i < d->n; i++) {
        struct disk_node *n = &d->nodes[i];

        if (n->own)
            free(n->data);
        for (int k = 0; n->own_entries && k < n->n_entries; k++)
            free(n->entries[k].name);
        if (n->own_entries)
            free(n->entries);
    }
    free(d->nodes);
    *d = (struct disk){ .n = 0 };
}

/* ---- to the real one ---- */

static bool
is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int
write_file(const struct disk_node *n, int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? -1 : ftruncate(fd, (off_t)n->n_bytes);

    for (size_t at = 0; r == 0 && at < n->n_bytes; at += PAGE) {
        size_t k = n->n_bytes - at < PAGE ? n->n_bytes - at : PAGE;

        if (!is_zero(n->data + at, k) &&
            pwrite(fd, n->data + at, k, (off_t)at) != (ssize_t)k)
            r = -1;
    }
    if (r == 0)
        r = fchmod(fd, n->mode & 07777);
    if (fd >= 0)
        close(fd);
    return r;
}

struct places {
    char **first; /* by node: path of its first name */
    int root;
};

static int
write_dir(const struct disk *d, int at, int dirfd, const char *path,
          struct places *places)
{
    const struct timespec old[2] = { { .tv_sec = time(NULL) - 3600 },
                                     { .tv_sec = time(NULL) - 3600 } };
    const struct disk_node *dir = &d->nodes[at];

    for (int i = 0; i < dir->n_entries; i++) {
        const char *name = dir->entries[i].name;
        const int k = dir->entries[i].node;
        const struct disk_node *n = &d->nodes[k];
        char here[PATH_MAX];
        int r = 0;

        snprintf(here, sizeof(here), "%s%s%s", path, path[0] ? "/" : "", name);
        if (S_ISDIR(n->mode)) {
            int fd = -1;

            r = mkdirat(dirfd, name, 0700);
            if (r == 0)
                fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            r = fd < 0 ? -1 : write_dir(d, k, fd, here, places);
            if (r == 0)
                r = fchmod(fd, n->mode & 07777);
            if (fd >= 0)
                close(fd);
        } else if (places->first[k]) {
            r = linkat(places->root, places->first[k], dirfd, name, 0);
        } else if (S_ISLNK(n->mode)) {
            char text[PATH_MAX];

            snprintf(text, sizeof(text), "%.*s", (int)n->n_bytes, n->data);
            r = symlinkat(text, dirfd, name);
        } else {
            places->first[k] = xstrdup(here);
            r = write_file(n, dirfd, name);
        }
        if (r < 0 ||
            (!S_ISLNK(n->mode) && utimensat(dirfd, name, old, AT_SYMLINK_NOFOLLOW) < 0))
            return -1;
    }
    return 0;
}

int
disk_write(const struct disk *d, const char *path)
{
    struct places places = { .first = xcalloc((size_t)d->n, sizeof(char *)) };
    struct err err = ERR_INIT;
    int r = fs_remove_tree(AT_FDCWD, path, &err);

    if (r == 0)
        r = mkdir(path, 0700);
    places.root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r == 0)
        r = places.root < 0 ? -1 : write_dir(d, 0, places.root, "", &places);
    if (places.root >= 0)
        close(places.root);
    for (int i = 0; i < d->n; i++)
        free(places.first[i]);
    free(places.first);
    return r;
}

/* ---- telling states apart ---- */

static uint64_t
mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * UINT64_C(0x9fb21c651e98df25);
    return h ^ h >> 29;
}

uint64_t
disk_hash_bytes(const uint8_t *p, size_t n)
{
    uint64_t h = n + 1, x;

    for (; n >= PAGE; p += PAGE, n -= PAGE) { /* most of a WAL is zeros */
        h = mix(h, n);
        if (!is_zero(p, PAGE)) {
            uint64_t lanes[4] = { h, h + 1, h + 2, h + 3 };

            for (int k = 0; k < PAGE; k += 32)
                for (int j = 0; j < 4; j++) {
                    memcpy(&x, p + k + 8 * j, 8);
                    lanes[j] = mix(lanes[j], x);
                }
            for (int j = 0; j < 4; j++)
                h = mix(h, lanes[j]);
        }
    }
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&x, p, 8);
        h = mix(h, x);
    }
    x = 0;
    if (n > 0)
        memcpy(&x, p, n);
    h = mix(h, x);
    return h ? h : 1;
}

static bool
ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), k = strlen(end);

    return n > k && strcmp(name + n - k, end) == 0;
}

/* The log beside a database, or NULL. */
static const struct disk_node *
wal_of(const struct disk *d, const struct disk_node *dir, const char *name)
{
    for (int i = 0; i < dir->n_entries; i++)
        if (ends_with(dir->entries[i].name, "-wal") &&
            strlen(dir->entries[i].name) == strlen(name) + 4 &&
            strncmp(dir->entries[i].name, name, strlen(name)) == 0)
            return &d->nodes[dir->entries[i].node];
    return NULL;
}

static uint64_t
hash_node(struct disk *d, int at, bool replayed)
{
    struct disk_node *n = &d->nodes[at];
    uint64_t h = 0;

    if (!S_ISDIR(n->mode)) {
        if (!n->hash)
            n->hash = disk_hash_bytes(n->data, n->n_bytes);
        return mix(n->hash, n->mode);
    }
    /* a sum: the order of entries is nobody's concern */
    for (int i = 0; i < n->n_entries; i++) {
        const char *name = n->entries[i].name;
        const struct disk_node *node = &d->nodes[n->entries[i].node], *wal;
        uint64_t what;

        if (ends_with(name, "-shm")) /* SQLite makes it anew after a start */
            continue;
        wal = replayed ? wal_of(d, n, name) : NULL;
        if (wal)
            what = mix(wal_replayed_hash(node, wal), node->mode);
        else if (replayed && ends_with(name, "-wal"))
            what = mix(node->n_bytes, node->mode);
        else
            what = hash_node(d, n->entries[i].node, replayed);
        h += mix(disk_hash_bytes((const uint8_t *)name, strlen(name)), what);
    }
    return mix(h, n->mode);
}

uint64_t
disk_hash(struct disk *d, bool replayed)
{
    return hash_node(d, 0, replayed);
}

/* ---- operations ---- */

int
disk_log_read(struct disk_log *l, const struct shim *s, struct disk *d)
{
    *l = (struct disk_log){ .n = 0 };
    for (const struct shim_op *op = shim_first(s); op; op = shim_next(s, op)) {
        struct disk_op *o;

        l->ops = xreallocarray(l->ops, (size_t)l->n + 1, sizeof(*l->ops));
        o = &l->ops[l->n++];
        *o = (struct disk_op){ .op = op, .durable_at = INT_MAX };
        o->node = op->ino ? disk_find(d, op->ino) : -1;
        o->dir = op->dir ? disk_find(d, op->dir) : -1;
        o->dir2 = op->dir2 ? disk_find(d, op->dir2) : -1;
        if (op->kind == OP_CREATE || op->kind == OP_INODE) {
            /* the number of something that is gone may come again */
            if (o->node >= 0)
                d->nodes[o->node].ino = 0;
            o->node = add_node(d, op->ino,
                               op->kind == OP_INODE ? S_IFREG | op->mode : op->mode);
            if (S_ISLNK(op->mode)) {
                struct disk_node *n = &d->nodes[o->node];

                n->n_bytes = op->data_bytes;
                n->data = xmalloc(op->data_bytes + 1);
                memcpy(n->data, shim_data(op), op->data_bytes);
            }
        }
    }
    for (int j = 0; j < l->n; j++) {
        const struct disk_op *sync = &l->ops[j];

        if (sync->op->kind != OP_SYNC && sync->op->kind != OP_SYNC_ALL)
            continue;
        for (int i = 0; i < j; i++) {
            struct disk_op *o = &l->ops[i];
            bool covers = sync->op->kind == OP_SYNC_ALL;

            switch (o->op->kind) {
            case OP_WRITE:
            case OP_TRUNCATE:
            case OP_MODE:
                covers |= o->node >= 0 && o->node == sync->node;
                break;
            default: /* a rename is one step: whichever end is synced brings it */
                covers |=
                    sync->node >= 0 && (o->dir == sync->node || o->dir2 == sync->node);
            }
            if (covers && o->durable_at == INT_MAX)
                o->durable_at = j;
        }
    }
    return s->overflow ? -1 : 0;
}

static void
resize(struct disk_node *n, size_t to_bytes)
{
    if (!n->own) {
        uint8_t *mine = xmalloc(to_bytes + 1);

        if (n->n_bytes)
            memcpy(mine, n->data, n->n_bytes < to_bytes ? n->n_bytes : to_bytes);
        n->data = mine;
        n->own = true;
    } else {
        n->data = xrealloc(n->data, to_bytes + 1);
    }
    if (to_bytes > n->n_bytes)
        memset(n->data + n->n_bytes, 0, to_bytes - n->n_bytes);
    n->n_bytes = to_bytes;
    n->hash = 0;
}

void
disk_apply(struct disk *d, const struct disk_op *o, enum disk_how how)
{
    const struct shim_op *op = o->op;
    struct disk_node *n = o->node >= 0 ? &d->nodes[o->node] : NULL;
    size_t from = 0, to = op->data_bytes, end;

    switch (op->kind) {
    case OP_CREATE:
        n->mode = op->mode;
        /* fall through */
    case OP_LINK:
        if (o->dir >= 0 && n)
            set_entry(&d->nodes[o->dir], shim_name(op), o->node);
        break;
    case OP_UNLINK:
        if (o->dir >= 0)
            set_entry(&d->nodes[o->dir], shim_name(op), -1);
        break;
    case OP_RENAME:
        if (o->dir >= 0)
            set_entry(&d->nodes[o->dir], shim_name(op), -1);
        if (o->dir2 >= 0 && n)
            set_entry(&d->nodes[o->dir2], shim_name2(op), o->node);
        break;
    case OP_TRUNCATE:
        if (n)
            resize(n, (size_t)op->at);
        break;
    case OP_MODE:
        if (n)
            n->mode = (n->mode & S_IFMT) | op->mode;
        break;
    case OP_WRITE:
        if (!n)
            break;
        end = (size_t)op->at + op->data_bytes;
        resize(n, end > n->n_bytes ? end : n->n_bytes);
        if (how == DISK_ZEROS)
            to = 0;
        else if (how == DISK_HEAD || how == DISK_TAIL || how == DISK_HEAD_PAGE) {
            const size_t unit = how == DISK_HEAD_PAGE ? PAGE : SECTOR;
            /* a boundary of the disk's inside what was written, or nothing is torn */
            size_t cut = ((size_t)op->at + op->data_bytes / 2) / unit * unit;

            cut = cut > (size_t)op->at ? cut - (size_t)op->at : 0;
            if (how == DISK_TAIL)
                from = cut;
            else
                to = cut;
        }
        memcpy(n->data + op->at + from, shim_data(op) + from, to - from);
        break;
    default:
        break;
    }
}
