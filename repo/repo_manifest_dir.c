/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest that a directory would get, without storing anything. */
#include "repo/repo_int.h"

static int
hash_file(const struct fs_entry *e, struct repo_file *f, struct err *err)
{
    int fd AUTO(fs_close) = -1;
    if (fs_open(&fd, e->dirfd, e->name, O_RDONLY | O_NOFOLLOW, 0, err) < 0)
        return -(int)err->code;
    return objects_hash_fd(fd, e->path, &f->digest, &f->size_bytes, err);
}

static int
add_entry(void *arg, const struct fs_entry *e, struct err *err)
{
    struct repo_manifest *m = arg;
    struct repo_file f;
    if (!S_ISREG(e->st.st_mode))
        return 0;
    if (m->n_files == REPO_FILES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files", REPO_FILES_MAX);
    if (hash_file(e, &f, err) < 0)
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
