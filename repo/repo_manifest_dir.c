/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest that a directory would get, without storing anything. */
#include "repo/repo_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int
hash_file(const struct fs_entry *e, struct digest *out, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    struct sha256 sha;
    char *block AUTO(free_ptr) = xmalloc(1 << 20);
    ssize_t n;
    sha256_init(&sha);
    if (fs_open(&fd, e->dirfd, e->name, O_RDONLY | O_NOFOLLOW, 0, err) < 0)
        return -(int)err->code;
    while ((n = read(fd, block, 1 << 20)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "read %s", e->path);
        sha256_add(&sha, block, (size_t)n);
    }
    sha256_end(&sha, out);
    return 0;
}

static int
add_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct repo_manifest *m = arg;
    struct repo_file f = { .size_bytes = e->st.st_size };
    if (!S_ISREG(e->st.st_mode))
        return 0;
    if (m->n_files == REPO_FILES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files", REPO_FILES_MAX);
    if (hash_file(e, &f.digest, err) < 0)
        return -(int)err->code;
    f.path = xstrdup(e->path);
    m->files = xreallocarray(m->files, (size_t)m->n_files + 1, sizeof *m->files);
    m->files[m->n_files++] = f;
    m->size_bytes += f.size_bytes;
    return 0;
}

int
repo_manifest_of_dir(const char *dir, struct repo_manifest *out, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    *out = (struct repo_manifest){ 0 };
    if (fs_walk(AT_FDCWD, dir, add_entry, out, err) < 0) {
        repo_manifest_release(out);
        return -(int)err->code;
    }
    repo_manifest_format(out, &text);
    sha256_of(buf_str(&text), text.len, &out->digest);
    return 0;
}
