/* SPDX-License-Identifier: Apache-2.0 */
/* A backup's directory or tar, opened. What it holds is listed in repo_backup.c;
 * nothing else is taken from one. */
#include "repo/repo_backup_int.h"

#include "base/tar.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

const struct backup_part backup_parts[BACKUP_N_PARTS] = {
    { "catalogue.db", "catalogue.db", 0600, false },
    { "log.jsonl", "audit/log.jsonl", 0600, false },
    { "head", "audit/head", 0600, false },
    { "store.pub", "keys/store.pub", 0444, false },
    { "store.key", "keys/store.key", 0600, true },
};

/* ---- a tar, entry by entry ------------------------------------------------------- */

int64_t
backup_read_entry(void *arg, void *p, size_t n, struct err *err)
{
    return tar_read(&((struct backup_unpack *)arg)->tar, p, n, err);
}

static bool
is_part(const char *name)
{
    for (size_t i = 0; i < BACKUP_N_PARTS; i++)
        if (strcmp(backup_parts[i].name, name) == 0)
            return true;
    return strcmp(name, "versions") == 0 || strcmp(name, "info.json") == 0 ||
           (strncmp(name, "hooks.", 6) == 0 && name[6] && name[6] != '.');
}

bool
backup_is_generation(const char *name, size_t n)
{
    return n > 0 && n < BACKUP_GENERATION_BYTES && strspn(name, "0123456789TZ.") >= n &&
           name[0] != '.';
}

static int
unpack_part(struct backup_unpack *u, const char *rest, struct err *err)
{
    char *block AUTO(free_ptr) = NULL;
    size_t n = strcspn(rest, "/");
    int fd AUTO(fs_close) = -1;
    int64_t got;
    int r;

    if (!backup_is_generation(rest, n) || rest[n] != '/' || strchr(rest + n + 1, '/') ||
        !is_part(rest + n + 1) ||
        (u->generation[0] &&
         (strlen(u->generation) != n || strncmp(u->generation, rest, n) != 0)))
        return err_set(err, ERR_INVALID, "%s: generations/%s: not part of a backup",
                       u->tar.what, rest);
    snprintf(u->generation, sizeof(u->generation), "%.*s", (int)n, rest);
    r = fs_open(&fd, u->gen_fd, rest + n + 1, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
    block = xmalloc(COPY_BYTES);
    while (r == 0 && (got = tar_read(&u->tar, block, COPY_BYTES, err)) != 0)
        r = got < 0 ? (int)got : fs_write_all(fd, block, (size_t)got, rest, err);
    return r;
}

static int
unpack_entry(struct backup_unpack *u, const struct tar_entry *e, struct err *err)
{
    char text[sizeof(BACKUP_FORMAT)] = "", hex[DIGEST_HEX_BYTES];
    struct digest d;

    if (strcmp(e->name, "format") == 0) {
        if (tar_read(&u->tar, text, sizeof(text) - 1, err) < 0)
            return -(int)err->code;
        u->has_format = strcmp(text, BACKUP_FORMAT) == 0;
        return u->has_format ? 0
                             : err_set(err, ERR_INVALID,
                                       "%s: no backup of this program", u->tar.what);
    }
    if (!u->has_format)
        return err_set(err, ERR_INVALID, "%s: no backup: it begins with %s",
                       u->tar.what, e->name);
    if (strncmp(e->name, "generations/", 12) == 0)
        return unpack_part(u, e->name + 12, err);
    if (strncmp(e->name, "objects/", 8) == 0 && strlen(e->name) == 8 + 65 &&
        e->name[10] == '/') {
        snprintf(hex, sizeof(hex), "%.2s%.62s", e->name + 8, e->name + 11);
        if (digest_parse(str_of(hex), &d))
            return u->object(u, &d, e->size_bytes, err);
    }
    return err_set(err, ERR_INVALID, "%s: %s: not part of a backup", u->tar.what,
                   e->name);
}

int
backup_unpack(struct backup_unpack *u, const char *path, struct err *err)
{
    struct tar_entry e;
    int r = 0;

    u->tar = (struct tar_in){ .fd = -1, .what = path };
    if (strcmp(path, "-") == 0) {
        u->tar.fd = dup(STDIN_FILENO);
        u->tar.what = "standard input";
        if (u->tar.fd < 0)
            r = err_sys(err, errno, "standard input");
    } else {
        r = fs_open(&u->tar.fd, AT_FDCWD, path, O_RDONLY, 0, err);
    }
    while (r == 0 && (r = tar_next(&u->tar, &e, err)) == 1)
        r = unpack_entry(u, &e, err);
    fs_close(&u->tar.fd);
    if (r == 0 && !u->generation[0])
        r = err_set(err, ERR_INVALID, "%s: no backup: there is no generation in it",
                    path);
    return r;
}

/* ---- a directory ----------------------------------------------------------------- */

int
backup_open(const char *path, int *dirfd, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 64 };
    int r = fs_open_dir(dirfd, AT_FDCWD, path, err);

    if (r == 0 && fs_read(*dirfd, "format", &text, err) < 0) {
        err_clear(err);
        r = err_set(err, ERR_INVALID, "%s: no backup: there is no format file in it",
                    path);
    }
    if (r == 0 && strcmp(buf_str(&text), BACKUP_FORMAT) != 0)
        r = err_set(err, ERR_INVALID,
                    "%s: no backup that this program knows: its format "
                    "file does not say '%.15s'",
                    path, BACKUP_FORMAT);
    return r;
}

/* Oldest first; ERR_NOTFOUND: none. */
int
backup_each_generation(int dirfd, const char *path, backup_generation_fn *fn, void *arg,
                       struct err *err)
{
    struct dirent **names = NULL;
    int n = scandirat(dirfd, "generations", &names, NULL, alphasort), r = 0, found = 0;

    if (n < 0)
        return err_sys(err, errno, "list %s/generations", path);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;

        if (r == 0 && backup_is_generation(name, strlen(name))) {
            found++;
            r = fn(arg, name, err);
        }
        free(names[i]);
    }
    free(names);
    return r < 0 ? r
           : found > 0
               ? 0
               : err_set(err, ERR_NOTFOUND, "%s: a backup without a generation", path);
}
