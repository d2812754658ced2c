/* SPDX-License-Identifier: Apache-2.0 */
/* A tar that comes as an answer: into a file, or unpacked into a directory. */
#include "client/client_int.h"

#include "base/crypto.h"
#include "base/fs.h"
#include "base/tar.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)256 << 10)

int
client_save_open(struct client_saving *s, const char *to, struct err *err)
{
    uint32_t random = 0;
    int there = fs_exists(AT_FDCWD, to, err);

    *s = (struct client_saving){ .fd = -1 };
    if (there == 1)
        return err_set(err, ERR_CONFLICT, "there is something already");
    if (there < 0 || random_bytes(&random, sizeof(random), err) < 0)
        return -(int)err->code;
    s->work = xasprintf("%s.writing-%08x", to, random);
    return fs_open(&s->fd, AT_FDCWD, s->work, O_RDWR | O_CREAT | O_EXCL, 0644, err);
}

void
client_save_release(struct client_saving *s)
{
    struct err err = ERR_INIT;

    fs_close(&s->fd);
    if (s->work && fs_unlink(AT_FDCWD, s->work, &err) < 0)
        err_clear(&err); /* its name says what it is */
    free(s->work);
    *s = (struct client_saving){ .fd = -1 };
}

static bool
is_below(const char *name)
{
    return name[0] && name[0] != '/' && strcmp(name, "..") != 0 &&
           strncmp(name, "../", 3) != 0 && !strstr(name, "/../") &&
           (strlen(name) < 3 || strcmp(name + strlen(name) - 3, "/..") != 0);
}

static int
write_entry(struct tar_in *in, const char *dir, const char *name, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s/%s", dir, name);
    char *up AUTO(free_ptr) = xstrdup(path);
    char *piece AUTO(free_ptr) = xmalloc(PIECE_BYTES);
    int fd AUTO(fs_close) = -1;

    *strrchr(up, '/') = '\0';
    if (fs_mkdirs(AT_FDCWD, up, 0755, err) < 0 ||
        fs_open(&fd, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644, err) < 0)
        return -(int)err->code;
    for (;;) {
        const int64_t n = tar_read(in, piece, PIECE_BYTES, err);

        if (n <= 0)
            return n < 0 ? (int)n : fs_fsync(fd, path, err);
        if (fs_write_all(fd, piece, (size_t)n, path, err) < 0)
            return -(int)err->code;
    }
}

static int
unpack(int fd, const char *dir, struct err *err)
{
    struct tar_in in = { .fd = fd, .what = "its answer" };
    struct tar_entry e;
    int r;

    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_set(err, ERR_IO, "its answer cannot be read again");
    while ((r = tar_next(&in, &e, err)) == 1) {
        if (!is_below(e.name))
            return err_set(err, ERR_CORRUPT, "its answer: a file '%.100s'", e.name);
        if (write_entry(&in, dir, e.name, err) < 0)
            return -(int)err->code;
    }
    return r;
}

int
client_save_end(struct client_saving *s, const char *to, struct err *err)
{
    const size_t n = strlen(to);
    struct err second = ERR_INIT;
    int r;

    if (n > 4 && strcmp(to + n - 4, ".tar") == 0) {
        r = fs_fsync(s->fd, to, err);
        if (r == 0)
            r = fs_rename_new(AT_FDCWD, s->work, AT_FDCWD, to, err);
        if (r == 0) {
            free(s->work);
            s->work = NULL;
        }
        return r;
    }
    char *dir AUTO(free_ptr) = xasprintf("%s.d", s->work);
    r = fs_mkdirs(AT_FDCWD, dir, 0755, err);
    if (r == 0)
        r = unpack(s->fd, dir, err);
    if (r == 0)
        r = fs_rename_new(AT_FDCWD, dir, AT_FDCWD, to, err);
    if (r < 0 && fs_remove_tree(AT_FDCWD, dir, &second) < 0)
        err_clear(&second);
    return r;
}
