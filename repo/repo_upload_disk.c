/* SPDX-License-Identifier: Apache-2.0 */
/* An upload's state in its directory, from which it goes on after a restart: `about`
 * (who, for what, the list), `parts` (a line for each range that came), `tree` (once it
 * is committed). */
#include "repo/upload_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER "uploads"
#define ABOUT_MAX ((size_t)64 << 20)
#define PARTS_MAX ((size_t)256 << 20)

void
upload_file_name(const struct repo_upload *u, const struct upload_file *f, char out[16])
{
    snprintf(out, 16, "%d", (int)(f - u->files));
}

int
upload_note(struct repo_upload *u, const struct upload_file *f, int64_t offset,
            int64_t size, struct err *err)
{
    char line[80];
    int n = size < 0 ? snprintf(line, sizeof(line), "%d none\n", (int)(f - u->files))
                     : snprintf(line, sizeof(line), "%d %" PRId64 " %" PRId64 "\n",
                                (int)(f - u->files), offset, size);

    return fs_write_all(u->parts_fd, line, (size_t)n, FOLDER "/parts", err);
}

int
upload_forget(struct repo_upload *u, struct upload_file *f, struct err *err)
{
    char name[16];
    int rc = upload_note(u, f, 0, -1, err);

    upload_file_name(u, f, name);
    for (struct repo_part *p = u->parts; p; p = p->next)
        p->is_taken |= p->f == f;
    upload_ranges_release(&f->came);
    upload_slabs_cool(u, f);
    upload_hash_free(f->hash);
    f->hash = NULL;
    if (rc == 0) /* the next bytes go to a new file: this one may be an object */
        rc = fs_unlink(u->dirfd, name, err);
    if (rc == 0 && strcmp(f->path, REPO_MODEL_INDEX) == 0) {
        rc = fs_unlink(u->dirfd, "index.index", err);
        u->has_index = false;
        u->index_generation++;
    }
    return rc;
}

static cJSON *
about(const struct repo_upload *u)
{
    cJSON *o = cJSON_CreateObject(), *list;

    json_put_str(o, "subject", u->subject);
    json_put_str(o, "model", u->model);
    list = cJSON_AddArrayToObject(o, "files");
    for (int i = 0; i < u->n_files; i++) {
        const struct upload_file *f = &u->files[i];
        char hex[DIGEST_HEX_BYTES];
        cJSON *one = cJSON_CreateObject();

        json_put_str(one, "path", f->path);
        json_put_int(one, "size", f->size_bytes);
        digest_hex(&f->digest, hex);
        if (f->has_digest)
            json_put_str(one, "sha256", hex);
        if (f->tag[0])
            json_put_str(one, "tag", f->tag);
        if (f->is_have)
            json_put_bool(one, "have", true);
        if (f->has_base) {
            digest_hex(&f->base, hex);
            json_put_str(one, "base", hex);
        }
        cJSON_AddItemToArray(list, one);
    }
    return o;
}

int
upload_write_about(struct repo_upload *u, struct err *err)
{
    cJSON *o AUTO(json_free) = about(u);
    struct buf text AUTO(buf_release) = BUF_INIT;

    json_print(o, &text, true);
    return fs_replace(u->dirfd, "about", buf_str(&text), text.len, 0600, err);
}

static void
apply_line(struct repo_upload *u, const char *line)
{
    int64_t offset, size;
    int n, end = 0;

    if (sscanf(line, "%d %" SCNd64 " %" SCNd64 "%n", &n, &offset, &size, &end) == 3 &&
        line[end] == '\0') {
        if (n >= 0 && n < u->n_files && offset >= 0 && size >= 0 &&
            size <= u->files[n].size_bytes && offset <= u->files[n].size_bytes - size)
            upload_ranges_add(&u->files[n].came, offset, offset + size);
    } else if (sscanf(line, "%d none%n", &n, &end) == 1 && end > 0 &&
               line[end] == '\0') {
        if (n >= 0 && n < u->n_files)
            upload_ranges_release(&u->files[n].came);
    }
}

/* A file that is shorter than what came of it lost its end with its machine. */
static void
check_sizes(struct repo_upload *u)
{
    for (int i = 0; i < u->n_files; i++) {
        struct upload_file *f = &u->files[i];
        const struct upload_range *last = f->came.n ? &f->came.v[f->came.n - 1] : NULL;
        char name[16];
        struct stat st;

        upload_file_name(u, f, name);
        if (last && (fstatat(u->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                     !S_ISREG(st.st_mode) || st.st_size < last->to))
            upload_ranges_release(&f->came);
    }
}

int
upload_read_parts(struct repo_upload *u, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = PARTS_MAX };
    int rc = fs_read(u->dirfd, "parts", &text, err);

    if (rc < 0)
        return rc;
    for (char *p = text.data, *lf; p && (lf = strchr(p, '\n')); p = lf + 1) {
        *lf = '\0';
        apply_line(u, p);
    }
    check_sizes(u);
    return 0;
}

int
upload_read_about(struct repo_upload *u, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = ABOUT_MAX };
    cJSON *o AUTO(json_free) = NULL;
    const char *subject, *model, *base;
    const cJSON *list;
    int i = 0;

    if (fs_read(u->dirfd, "about", &text, err) < 0 ||
        json_parse(&o, (struct str){ buf_str(&text), text.len }, FOLDER "/about", err) <
            0 ||
        json_str(o, "subject", NULL, &subject, "about", err) < 0 ||
        json_str(o, "model", "", &model, "about", err) < 0)
        return -(int)err->code;
    list = cJSON_GetObjectItemCaseSensitive(o, "files");
    if (upload_files_parse(list, &u->files, &u->n_files, false, err) < 0)
        return -(int)err->code;
    snprintf(u->subject, sizeof(u->subject), "%s", subject);
    snprintf(u->model, sizeof(u->model), "%s", model);
    for (const cJSON *one = list->child; one; one = one->next, i++) {
        struct upload_file *f = &u->files[i]; /* they were in order */

        if (json_bool(one, "have", false, &f->is_have, "about", err) < 0 ||
            json_str(one, "base", "", &base, "about", err) < 0)
            return -(int)err->code;
        f->has_base = digest_parse(str_of(base), &f->base);
    }
    return 0;
}

int
upload_read_tree(struct repo_upload *u, struct err *err)
{
    struct buf text AUTO(buf_release) = { .cap_bytes = 256 };
    int rc = fs_exists(u->dirfd, "tree", err);

    if (rc == 1)
        rc = fs_read(u->dirfd, "tree", &text, err);
    if (rc < 0 || text.len < 64)
        return rc < 0 ? rc : 0;
    return digest_parse((struct str){ text.data, 64 }, &u->tree.digest);
}
