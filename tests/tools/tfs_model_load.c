/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/tfs_model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One file as it was read. */
struct seen {
    char *path; /* below the version */
    unsigned char digest[TFS_DIGEST_BYTES];
    int64_t size_bytes;
};
struct look {
    struct seen *f;
    int n;
    const char *top;
    char *why;
};

static void
look_release(struct look *l)
{
    for (int i = 0; i < l->n; i++)
        free(l->f[i].path);
    free(l->f);
}

static bool
read_file(struct look *l, int dirfd, const char *name, const char *path)
{
    static const size_t cap_bytes = 1 << 18;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    char *block = malloc(cap_bytes);
    int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;
    struct seen *s;

    l->f = realloc(l->f, ((size_t)l->n + 1) * sizeof(*l->f));
    if (!md || !block || !l->f)
        abort();
    s = &l->f[l->n];
    *s = (struct seen){ .size_bytes = 0 };
    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    while (fd >= 0 && (got = read(fd, block, cap_bytes)) > 0) {
        EVP_DigestUpdate(md, block, (size_t)got);
        s->size_bytes += got;
    }
    EVP_DigestFinal_ex(md, s->digest, NULL);
    if (got < 0)
        snprintf(l->why, TFS_WHY_BYTES, "%s/%s: %s", l->top, path, strerror(errno));
    else
        l->f[l->n++].path = strdup(path);
    if (fd >= 0)
        close(fd);
    EVP_MD_CTX_free(md);
    free(block);
    return got >= 0;
}

/* Takes the descriptor. */
static bool
read_below(struct look *l, int fd, const char *prefix)
{
    DIR *d = fdopendir(fd);
    struct dirent *e;
    bool good = d != NULL;

    while (good && (errno = 0, e = readdir(d)) != NULL) {
        struct stat st;
        char *path;
        int sub;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (asprintf(&path, "%s%s%s", prefix, *prefix ? "/" : "", e->d_name) < 0)
            abort();
        good = fstatat(fd, e->d_name, &st, 0) == 0;
        if (!good) {
            snprintf(l->why, TFS_WHY_BYTES, "%s/%s: %s", l->top, path, strerror(errno));
        } else if (S_ISDIR(st.st_mode)) {
            sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            good = sub >= 0 && read_below(l, sub, path);
        } else {
            good = read_file(l, fd, e->d_name, path);
        }
        free(path);
    }
    if (d)
        closedir(d);
    return good;
}

static int
by_path(const void *a, const void *b)
{
    return strcmp(((const struct seen *)a)->path, ((const struct seen *)b)->path);
}

static bool
look(const char *dir, struct look *l, char *why)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *l = (struct look){ .top = dir, .why = why };
    if (fd < 0) {
        snprintf(why, TFS_WHY_BYTES, "%s: %s", dir, strerror(errno));
        return false;
    }
    if (!read_below(l, fd, ""))
        return false;
    if (l->n > 0)
        qsort(l->f, (size_t)l->n, sizeof(*l->f), by_path);
    return true;
}

/* NULL: the same; else the file that is not. */
static const char *
differs(const struct look *a, const struct look *b)
{
    for (int i = 0; i < a->n || i < b->n; i++) {
        const int order = i >= a->n   ? 1
                          : i >= b->n ? -1
                                      : strcmp(a->f[i].path, b->f[i].path);

        if (order > 0)
            return b->f[i].path;
        if (order < 0 || memcmp(a->f[i].digest, b->f[i].digest, TFS_DIGEST_BYTES) != 0)
            return a->f[i].path;
    }
    return NULL;
}

static bool
is_model(const struct look *l)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->f[i].path, "saved_model.pb") == 0 ||
            strcmp(l->f[i].path, "saved_model.pbtxt") == 0)
            return true;
    return false;
}

int
tfs_load_dir(const char *dir, int load_ms, struct tfs_load *out,
             char why[TFS_WHY_BYTES])
{
    struct look first, again = { .f = NULL };
    EVP_MD_CTX *md = NULL;
    const char *other = NULL;
    int state = 0;

    if (!look(dir, &first, why)) {
        state = 1;
    } else if (!is_model(&first)) {
        snprintf(why, TFS_WHY_BYTES,
                 "Could not find SavedModel .pb or .pbtxt at supplied export directory "
                 "path: %s",
                 dir);
        state = 1;
    } else {
        tfs_sleep_ms(load_ms);
        if (!look(dir, &again, why)) {
            state = 2;
        } else if ((other = differs(&first, &again)) != NULL) {
            snprintf(why, TFS_WHY_BYTES, "%s/%s changed while it was loaded", dir,
                     other);
            state = 2;
        }
    }
    if (state == 0) {
        md = EVP_MD_CTX_new();
        EVP_DigestInit_ex(md, EVP_sha256(), NULL);
        for (int i = 0; i < first.n; i++) {
            EVP_DigestUpdate(md, first.f[i].path, strlen(first.f[i].path) + 1);
            EVP_DigestUpdate(md, first.f[i].digest, TFS_DIGEST_BYTES);
        }
        EVP_DigestFinal_ex(md, out->digest, NULL);
        EVP_MD_CTX_free(md);
        out->n_files = first.n;
    }
    look_release(&first);
    look_release(&again);
    return state;
}
