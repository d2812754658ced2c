/* SPDX-License-Identifier: Apache-2.0 */
/* Objects bear their digests as names; a generation's other files have theirs in its
 * info.json: SQLite's pages have no checksums, and a copied log nobody else holds
 * against its catalogue before a store is made of both. */
#include "repo/repo_backup_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_BYTES ((size_t)1 << 20)

static int
hash_file(int dirfd, const char *name, char hex[DIGEST_HEX_BYTES], struct err *err)
{
    char *block AUTO(free_ptr) = xmalloc(COPY_BYTES);
    int fd AUTO(fs_close) = -1;
    struct sha256 sha;
    struct digest d;
    ssize_t n = 0;
    int r = fs_open(&fd, dirfd, name, O_RDONLY | O_NOFOLLOW, 0, err);

    if (r < 0)
        return r;
    sha256_init(&sha);
    while ((n = read(fd, block, COPY_BYTES)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            sha256_add(&sha, block, (size_t)n);
    r = n < 0 ? errno : 0;
    sha256_end(&sha, &d);
    digest_hex(&d, hex);
    return r ? err_sys(err, r, "read %s", name) : 0;
}

static int
seal_file(void *arg, const struct fs_entry *e, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int r;

    /* what SQLite has beside an open database is gone when it is closed */
    if (!S_ISREG(e->st.st_mode) || strncmp(e->name, "catalogue.db-", 13) == 0)
        return 0;
    r = hash_file(e->dirfd, e->name, hex, err);
    if (r == 0)
        json_put_str(arg, e->name, hex);
    return r;
}

int
backup_seal(int gen_fd, cJSON *info, struct err *err)
{
    return fs_walk(gen_fd, ".", seal_file, cJSON_AddObjectToObject(info, "files"), err);
}

int
backup_check_seal(int gen_fd, const char *what, struct err *err)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *info AUTO(json_free) = NULL;
    const cJSON *file;
    int r = fs_read(gen_fd, "info.json", &text, err);

    if (r == 0)
        r = json_parse(&info, (struct str){ text.data, text.len }, "info.json", err);
    cJSON_ArrayForEach(file, cJSON_GetObjectItemCaseSensitive(info, "files"))
    {
        char hex[DIGEST_HEX_BYTES];

        if (r == 0 && strchr(file->string, '/'))
            r = err_set(err, ERR_CORRUPT, "info.json: '%s' is no file's name",
                        file->string);
        if (r == 0)
            r = hash_file(gen_fd, file->string, hex, err);
        if (r == 0 && (!cJSON_IsString(file) || strcmp(file->valuestring, hex) != 0))
            r = err_set(err, ERR_CORRUPT, "%s is not what was backed up", file->string);
    }
    return r < 0 ? err_ctx(err, "%s", what) : 0;
}
