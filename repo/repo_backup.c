/* SPDX-License-Identifier: Apache-2.0 */
/* A backup directory is an object store of its own beside generations:
 *
 *     DEST/format                    "sluice-backup 1\n"
 *          objects/ab/cd… stage/     as in a store; shared by all generations
 *          generations/<time>/       catalogue.db, log.jsonl, head, store.pub,
 * versions, hooks.<name>, info.json, and store.key if asked for
 *
 * A tar holds the same names, of one generation. Order: the log and its head, then the
 * catalogue (as one transaction sees it, so it goes on from that head), then the
 * objects that it names, then the generation's name. So pushes may go on, and what is
 * named is whole. */
#include "repo/repo_backup_int.h"

#include "base/clock.h"
#include "base/tar.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 3 /* when gc takes an object from under a generation */
#define COPY_BYTES ((size_t)1 << 20)
#define GENERATION_FILES_MAX 64

/* ---- objects from one store to another ------------------------------------------- */

struct from_fd {
    int fd;
    const char *what;
};

static int64_t
read_fd(void *arg, void *p, size_t n, struct err *err)
{
    const struct from_fd *f = arg;
    ssize_t got;

    do
        got = read(f->fd, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? err_sys(err, errno, "read %s", f->what) : got;
}

int
backup_put(struct objects *to, const struct digest *want,
           int64_t (*read)(void *arg, void *p, size_t n, struct err *err), void *arg,
           bool *is_new, struct err *err)
{
    char hex[DIGEST_HEX_BYTES], got[DIGEST_HEX_BYTES];
    struct objects_put put = { .read = read, .arg = arg, .what = "an object" };
    int r = to->ops->put(to, &put, err);

    if (r < 0)
        return r;
    *is_new = put.is_new;
    if (digest_eq(&put.digest, want))
        return 0;
    if (put.is_new && (r = to->ops->delete (to, &put.digest, err)) < 0)
        return r;
    digest_hex(want, hex);
    digest_hex(&put.digest, got);
    return err_set(err, ERR_CORRUPT, "object %s: its bytes hash to %s", hex, got);
}

int
backup_copy(struct objects *from, struct objects *to, const struct digest *d,
            int64_t size_bytes, bool *is_new, struct err *err)
{
    struct from_fd f = { .fd = -1, .what = "an object" };
    int64_t there_bytes;
    int r = to->ops->has(to, d, &there_bytes, err);

    *is_new = false;
    if (r < 0 || (r == 1 && there_bytes == size_bytes))
        return r < 0 ? r : 0;
    r = from->ops->open(from, d, &f.fd, err);
    if (r == 0)
        r = backup_put(to, d, read_fd, &f, is_new, err);
    fs_close(&f.fd);
    return r;
}

/* ---- a generation's own files ---------------------------------------------------- */

static int
copy_file(int from_dirfd, const char *from, int to_dirfd, const char *to, mode_t mode,
          struct err *err)
{
    return fs_copy(from_dirfd, from, to_dirfd, to, mode, err);
}

static bool
is_number(const char *name)
{
    return name[0] && strspn(name, "0123456789") == strlen(name);
}

static int
add_version_file(struct repo *r, const char *model, const char *number, struct buf *out,
                 struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 4096 };
    char *path AUTO(free_ptr) = xasprintf("versions/%s/%s", model, number);
    int rc = fs_read(r->dirfd, path, &text, err);

    if (rc < 0)
        return rc;
    buf_addf(out, "%zu ", text.len);
    buf_adds(out, path + sizeof("versions/") - 1);
    buf_addc(out, '\n');
    buf_add(out, text.data, text.len);
    return 0;
}

/* What a push has under way there has no number for a name. */
static int
copy_versions_of(struct repo *r, const char *model, struct buf *out, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("versions/%s", model);
    struct dirent **names = NULL;
    int n = scandirat(r->dirfd, path, &names, NULL, alphasort), rc = 0;

    if (n < 0)
        return err_sys(err, errno, "list %s", path);
    for (int i = 0; i < n; i++) {
        if (rc == 0 && is_number(names[i]->d_name))
            rc = add_version_file(r, model, names[i]->d_name, out, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

/* Every file below versions/: "<length> <path>\n" and its bytes. */
static int
copy_versions(struct repo *r, int to_dirfd, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;
    struct dirent **names = NULL;
    int n = scandirat(r->dirfd, "versions", &names, NULL, alphasort), rc = 0;

    if (n < 0)
        return err_sys(err, errno, "list versions");
    for (int i = 0; i < n; i++) {
        if (rc == 0 && names[i]->d_name[0] != '.')
            rc = copy_versions_of(r, names[i]->d_name, &all, err);
        free(names[i]);
    }
    free(names);
    if (rc == 0)
        rc = buf_check(&all, "versions/", err);
    return rc < 0 ? rc
                  : fs_replace(to_dirfd, "versions", buf_str(&all), all.len, 0600, err);
}

/* What a link leads to is what runs, and what is kept. */
static int
copy_hooks(struct repo *r, int to_dirfd, struct err *err)
{
    struct dirent **names = NULL;
    int n = scandirat(r->dirfd, "hooks", &names, NULL, alphasort), rc = 0;

    if (n < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "list %s/hooks", r->path);
    for (int i = 0; i < n; i++) {
        char *from AUTO(free_ptr) = xasprintf("hooks/%s", names[i]->d_name);
        char *to AUTO(free_ptr) = xasprintf("hooks.%s", names[i]->d_name);
        struct stat st;

        if (rc == 0 && names[i]->d_name[0] != '.' /* what a killed process left, too */
            && fstatat(r->dirfd, from, &st, 0) == 0 && S_ISREG(st.st_mode))
            rc = copy_file(r->dirfd, from, to_dirfd, to, st.st_mode & 0777, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int
write_info(struct repo *r, int dirfd, const struct repo_backup *b, int64_t n_bytes,
           struct err *err)
{
    struct buf id AUTO(buf_release) = BUF_INIT, text AUTO(buf_release) = BUF_INIT;
    cJSON *o AUTO(json_free) = cJSON_CreateObject();
    int rc = db_get_text(r->db, &id, err, "SELECT id FROM store", "");

    if (rc >= 0)
        rc = backup_seal(dirfd, o, err);
    json_put_int(o, "sluice_backup", 1);
    json_put_str(o, "store", buf_str(&id));
    json_put_str(o, "generation", b->generation);
    json_put_int(o, "versions", b->n_versions);
    json_put_int(o, "objects", b->n_objects);
    json_put_int(o, "bytes", n_bytes);
    json_put_bool(o, "has_key", b->has_key);
    json_print(o, &text, false);
    return rc < 0 ? rc : fs_replace(dirfd, "info.json", text.data, text.len, 0600, err);
}

/* The key of the catalogue, which the files must have, too: else the copy had two. */
static int
settled_key(struct repo *r, uint8_t pub[32], struct err *err)
{
    const int rc = acc_key_now(r->acc, pub, err);

    if (rc == 0)
        return err_set(err, ERR_BUSY, "the store's key is being changed: again");
    return rc < 0 ? rc : 0;
}

/* Everything of a generation but its objects and info.json. */
static int
snapshot(struct repo *r, const char *dir, int dirfd, bool with_key, struct err *err)
{
    char *db_path AUTO(free_ptr) = xasprintf("%s/catalogue.db", dir);
    uint8_t before[32], after[32];
    int rc = settled_key(r, before, err);

    if (rc == 0)
        rc = copy_file(r->dirfd, "audit/log.jsonl", dirfd, "log.jsonl", 0600, err);
    if (rc == 0)
        rc = copy_file(r->dirfd, "audit/head", dirfd, "head", 0600, err);
    if (rc == 0)
        rc = copy_file(r->dirfd, "keys/store.pub", dirfd, "store.pub", 0444, err);
    if (rc == 0 && with_key)
        rc = copy_file(r->dirfd, "keys/store.key", dirfd, "store.key", 0600, err);
    if (rc == 0)
        rc = db_copy(r->db, db_path, err);
    if (rc == 0)
        rc = settled_key(r, after, err);
    if (rc == 0 && memcmp(before, after, sizeof(after)) != 0)
        rc = err_set(err, ERR_BUSY, "the store's key was changed meanwhile: again");
    if (rc == 0)
        rc = copy_versions(r, dirfd, err);
    if (rc == 0)
        rc = copy_hooks(r, dirfd, err);
    return rc;
}

/* ---- the objects that a catalogue names ------------------------------------------ */

int
backup_each_object(const char *catalogue, backup_object_fn *fn, void *arg,
                   int64_t *n_versions, struct err *err)
{
    struct db *db AUTO(db_close_p) = NULL;
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_open(&db, catalogue, 0, err);

    if (r == 0 && n_versions)
        r = db_get_int(db, n_versions, err, "SELECT count(*) FROM version", "") < 0
                ? -(int)err->code
                : 0;
    if (r == 0)
        r = db_query(db, &st, err,
                     "SELECT digest, size_bytes FROM object ORDER BY digest", "");
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        struct digest d;
        size_t n;
        const void *p = db_blob(st, 0, &n);

        if (n != sizeof(d.b))
            return err_set(err, ERR_CORRUPT, "%s: an object row without a digest",
                           catalogue);
        memcpy(d.b, p, n);
        r = fn(arg, &d, db_int(st, 1), err);
    }
    return r;
}

struct taking {
    struct repo *r;
    struct objects *to; /* NULL: a tar */
    struct tar_out *tar;
    struct repo_backup *out;
    int64_t n_bytes;
    bool gone; /* gc took one that the catalogue copy still names */
};

static int
count_missing(struct taking *t, const struct digest *d, struct err *err)
{
    int64_t one;
    const struct err why = *err;
    int rc;

    err_clear(err);
    rc = db_get_int(t->r->db, &one, err, "SELECT 1 FROM object WHERE digest = ?", "b",
                    d->b, sizeof(d->b));
    t->gone = rc == 0;
    return rc < 0 ? rc
           : rc == 0
               ? err_set(err, ERR_BUSY, "%s", why.msg)
               : err_set(err, ERR_CORRUPT,
                         "%s: mend the store first: sluice fsck says how", why.msg);
}

static int
take_to_dir(void *arg, const struct digest *d, int64_t size_bytes, struct err *err)
{
    struct taking *t = arg;
    bool is_new;
    int r = backup_copy(t->r->objects, t->to, d, size_bytes, &is_new, err);

    if (r == -ERR_NOTFOUND)
        return count_missing(t, d, err);
    t->out->n_objects++;
    t->n_bytes += size_bytes;
    t->out->n_new_objects += is_new;
    t->out->new_bytes += is_new ? size_bytes : 0;
    return r;
}

static int
tar_from_fd(struct tar_out *tar, int fd, const char *name, int64_t size_bytes,
            mode_t mode, struct digest *got, struct err *err)
{
    char *block AUTO(free_ptr) = xmalloc(COPY_BYTES);
    struct from_fd f = { .fd = fd, .what = name };
    struct sha256 sha;
    int64_t n;
    int r = tar_file(tar, name, size_bytes, mode, err);

    if (r < 0)
        return r;
    sha256_init(&sha);
    while ((n = read_fd(&f, block, COPY_BYTES, err)) > 0) {
        sha256_add(&sha, block, (size_t)n);
        r = tar_write(tar, block, (size_t)n, err);
        if (r < 0)
            return r;
    }
    sha256_end(&sha, got);
    if (n == 0 && tar->left > 0)
        return err_set(err, ERR_CONFLICT, "%s: shorter than it was", name);
    return (int)n;
}

static int
take_to_tar(void *arg, const struct digest *d, int64_t size_bytes, struct err *err)
{
    struct taking *t = arg;
    char hex[DIGEST_HEX_BYTES], name[96];
    struct digest got;
    struct stat st;
    int fd AUTO(fs_close) = -1;
    int r = t->r->objects->ops->open(t->r->objects, d, &fd, err);

    if (r == -ERR_NOTFOUND)
        return count_missing(t, d, err);
    digest_hex(d, hex);
    if (r == 0 && (fstat(fd, &st) < 0 || st.st_size != size_bytes))
        r = err_set(err, ERR_CORRUPT, "object %s: not %" PRId64 " bytes long", hex,
                    size_bytes);
    snprintf(name, sizeof(name), "objects/%.2s/%s", hex, hex + 2);
    if (r == 0)
        r = tar_from_fd(t->tar, fd, name, size_bytes, 0444, &got, err);
    if (r == 0 && !digest_eq(&got, d))
        r = err_set(err, ERR_CORRUPT,
                    "object %s: its bytes hash to something else: sluice fsck --repair",
                    hex);
    t->out->n_objects++;
    t->out->n_new_objects++;
    t->n_bytes += size_bytes;
    t->out->new_bytes += size_bytes;
    return r;
}

/* ---- to a directory -------------------------------------------------------------- */

static void
name_generation(char out[64])
{
    char text[CLOCK_TEXT_BYTES];
    size_t n = 0;

    clock_text(clock_now_ns(), text);
    for (const char *p = text; *p; p++)
        if (*p != '-' && *p != ':')
            out[n++] = *p;
    out[n] = '\0';
}

/* Opens DEST, making it when there is nothing. */
static int
open_dest(const char *dest, int *dirfd, int *lock_fd, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 64 };
    struct dirent **names = NULL;
    int n, n_foreign = 0, r = fs_mkdirs(AT_FDCWD, dest, 0700, err);

    if (r == 0)
        r = fs_open_dir(dirfd, AT_FDCWD, dest, err);
    if (r == 0)
        r = fs_exists(*dirfd, "format", err);
    if (r == 0) {
        n = scandirat(*dirfd, ".", &names, NULL, NULL);
        for (int i = 0; i < n; i++) {
            /* a backup that was killed at its first step leaves a .tmp- file */
            n_foreign += names[i]->d_name[0] != '.' ||
                         (strcmp(names[i]->d_name, ".") != 0 &&
                          strcmp(names[i]->d_name, "..") != 0 &&
                          strncmp(names[i]->d_name, ".tmp-", 5) != 0);
            free(names[i]);
        }
        free(names);
        if (n_foreign > 0)
            return err_set(
                err, ERR_CONFLICT,
                "%s: neither empty nor a backup: give a directory of its own", dest);
        r = fs_replace(*dirfd, "format", BACKUP_FORMAT, strlen(BACKUP_FORMAT), 0600,
                       err);
    }
    if (r >= 0)
        r = fs_read(*dirfd, "format", &text, err);
    if (r == 0 && strcmp(buf_str(&text), BACKUP_FORMAT) != 0)
        return err_set(err, ERR_CONFLICT, "%s: its format file does not say '%.15s'",
                       dest, BACKUP_FORMAT);
    if (r == 0) /* folders without it would be somebody's directory */
        r = fs_fsync(*dirfd, dest, err);
    if (r == 0)
        r = fs_lock(lock_fd, *dirfd, "lock", 0, err);
    if (r == 0)
        r = fs_remove_tree(*dirfd, "stage", err); /* of a backup that was killed */
    for (size_t i = 0; r == 0 && i < 4; i++) {
        static const char *const folders[] = { "objects", "stage", "quarantine",
                                               "generations" };

        r = fs_mkdirs(*dirfd, folders[i], 0700, err);
    }
    return r == -ERR_BUSY ? err_ctx(err, "another backup writes to %s", dest) : r;
}

/* One try. ERR_BUSY with t->gone: an object went away under it. */
static int
generation(struct taking *t, const char *dest, int dest_fd, bool with_key,
           struct err *err)
{
    struct repo_backup *out = t->out;
    char *dir AUTO(free_ptr) = NULL, *db_path AUTO(free_ptr) = NULL;
    char work[96], final[96];
    struct err ignored = ERR_INIT;
    int fd AUTO(fs_close) = -1;
    int r;

    memset(out, 0, sizeof(*out));
    out->has_key = with_key;
    t->n_bytes = 0;
    name_generation(out->generation);
    snprintf(work, sizeof(work), "stage/generation-%s", out->generation);
    snprintf(final, sizeof(final), "generations/%s", out->generation);
    dir = xasprintf("%s/%s", dest, work);
    db_path = xasprintf("%s/catalogue.db", dir);
    r = fs_mkdirs(dest_fd, work, 0700, err);
    if (r == 0)
        r = fs_open_dir(&fd, dest_fd, work, err);
    if (r == 0)
        r = snapshot(t->r, dir, fd, with_key, err);
    if (r == 0)
        r = backup_each_object(db_path, take_to_dir, t, &out->n_versions, err);
    if (r == 0)
        r = t->to->ops->sync(t->to, err);
    if (r == 0)
        r = write_info(t->r, fd, out, t->n_bytes, err);
    if (r == 0)
        r = fs_fsync_dir(fd, ".", err);
    if (r == 0)
        r = fs_rename_new(dest_fd, work, dest_fd, final, err);
    if (r == 0)
        r = fs_fsync_dir(dest_fd, "generations", err);
    if (r < 0 && fs_remove_tree(dest_fd, work, &ignored) < 0)
        err_clear(&ignored); /* the next backup does it */
    return r;
}

static int
backup_dir(struct repo *r, const char *dest, bool with_key, struct repo_backup *out,
           struct err *err)
{
    int dest_fd AUTO(fs_close) = -1, lock_fd AUTO(fs_close) = -1;
    struct taking t = { .r = r, .out = out };
    int rc = open_dest(dest, &dest_fd, &lock_fd, err);

    if (rc == 0)
        rc = objects_open_local(&t.to, dest_fd, err);
    for (int i = 0; rc == 0; i++) {
        rc = generation(&t, dest, dest_fd, with_key, err);
        if (rc != -ERR_BUSY || !t.gone || i + 1 == TRIES)
            break;
        err_clear(err);
        rc = 0;
    }
    objects_close(t.to);
    return rc;
}

/* ---- to a tar -------------------------------------------------------------------- */

static int
tar_generation_file(void *arg, const struct fs_entry *e, struct err *err)
{
    struct taking *t = arg;
    char *name AUTO(free_ptr) =
        xasprintf("generations/%s/%s", t->out->generation, e->path);
    struct digest got;
    int fd AUTO(fs_close) = -1;
    int r;

    if (!S_ISREG(e->st.st_mode))
        return 0;
    r = fs_open(&fd, e->dirfd, e->name, O_RDONLY | O_NOFOLLOW, 0, err);
    return r < 0 ? r
                 : tar_from_fd(t->tar, fd, name, e->st.st_size, e->st.st_mode & 0777,
                               &got, err);
}

static int
add_bytes(void *arg, const struct digest *d, int64_t size_bytes, struct err *err)
{
    struct taking *t = arg;

    (void)d;
    (void)err;
    t->out->n_objects++;
    t->n_bytes += size_bytes;
    return 0;
}

static int
tar_all(struct taking *t, const char *dir, int dirfd, bool with_key, struct err *err)
{
    char *db_path AUTO(free_ptr) = xasprintf("%s/catalogue.db", dir);
    struct repo_backup *out = t->out;
    int r = snapshot(t->r, dir, dirfd, with_key, err);

    if (r == 0) /* info.json goes before the objects that it counts */
        r = backup_each_object(db_path, add_bytes, t, &out->n_versions, err);
    if (r == 0)
        r = write_info(t->r, dirfd, out, t->n_bytes, err);
    out->n_objects = 0;
    t->n_bytes = 0;
    if (r == 0)
        r = tar_file(t->tar, "format", (int64_t)strlen(BACKUP_FORMAT), 0644, err);
    if (r == 0)
        r = tar_write(t->tar, BACKUP_FORMAT, strlen(BACKUP_FORMAT), err);
    if (r == 0)
        r = fs_walk(dirfd, ".", tar_generation_file, t, err);
    if (r == 0)
        r = backup_each_object(db_path, take_to_tar, t, NULL, err);
    return r < 0 ? r : tar_end(t->tar, err);
}

static int
backup_tar(struct repo *r, const char *dest, bool with_key, struct repo_backup *out,
           struct err *err)
{
    struct repo_view stage AUTO(repo_view_close) = REPO_VIEW_INIT;
    struct taking t = { .r = r, .out = out };
    const bool to_stdout = strcmp(dest, "-") == 0;
    struct tar_out tar = { .fd = -1 };
    int rc = repo_stage_open(r, &stage, err);

    memset(out, 0, sizeof(*out));
    out->has_key = with_key;
    name_generation(out->generation);
    t.tar = &tar;
    if (rc < 0)
        return rc;
    if (to_stdout)
        tar.fd = dup(STDOUT_FILENO);
    else
        rc = fs_open(&tar.fd, AT_FDCWD, dest, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
    if (rc < 0 && err->sys == EEXIST) {
        err_clear(err);
        rc = err_set(err, ERR_CONFLICT,
                     "there is something already: a tar holds one generation; name a "
                     "new file, or a directory");
    }
    if (rc == 0 && tar.fd < 0)
        rc = err_sys(err, errno, "standard output");
    if (rc == 0)
        rc = tar_all(&t, stage.path, stage.lock_fd, with_key, err);
    if (rc == 0 && !to_stdout)
        rc = fs_fsync(tar.fd, dest, err);
    if (rc < 0 && tar.fd >= 0 && !to_stdout)
        unlink(dest); /* half a backup is none */
    fs_close(&tar.fd);
    return rc;
}

bool
backup_is_tar(const char *path)
{
    size_t n = strlen(path);

    return strcmp(path, "-") == 0 || (n > 4 && strcmp(path + n - 4, ".tar") == 0);
}

int
repo_backup(struct repo *r, const char *dest, bool with_key, struct repo_backup *out,
            struct err *err)
{
    int rc = backup_is_tar(dest) ? backup_tar(r, dest, with_key, out, err)
                                 : backup_dir(r, dest, with_key, out, err);

    return rc < 0 ? err_ctx(err, "backup to %s", dest) : 0;
}
