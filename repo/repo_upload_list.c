/* SPDX-License-Identifier: Apache-2.0 */
/* What an upload consists of: its list of files, and the ranges that came of each. */
#include "repo/upload_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES_MAX INT64_C(9000000000000000) /* of all files: a double holds it */

/* ---- ranges ---- */

void
upload_ranges_release(struct upload_ranges *s)
{
    free(s->v);
    *s = (struct upload_ranges){ .v = NULL };
}

void
upload_ranges_add(struct upload_ranges *s, int64_t from, int64_t to)
{
    size_t i = 0, k;

    if (from >= to)
        return;
    while (i < s->n && s->v[i].to < from)
        i++;
    for (k = i; k < s->n && s->v[k].from <= to; k++) {
        from = s->v[k].from < from ? s->v[k].from : from;
        to = s->v[k].to > to ? s->v[k].to : to;
    }
    if (k == i)
        s->v = xreallocarray(s->v, s->n + 1, sizeof(*s->v));
    memmove(s->v + i + 1, s->v + k, (s->n - k) * sizeof(*s->v));
    s->v[i] = (struct upload_range){ from, to };
    s->n = s->n - (k - i) + 1;
}

void
upload_ranges_gaps(const struct upload_ranges *s, int64_t from, int64_t to,
                   struct upload_ranges *gaps)
{
    for (size_t i = 0; i < s->n && from < to; i++) {
        if (s->v[i].to <= from)
            continue;
        upload_ranges_add(gaps, from, s->v[i].from < to ? s->v[i].from : to);
        from = s->v[i].to;
    }
    upload_ranges_add(gaps, from, to);
}

bool
upload_is_whole(const struct upload_file *f)
{
    return f->size_bytes == 0 || (f->came.n == 1 && f->came.v[0].from == 0 &&
                                  f->came.v[0].to == f->size_bytes);
}

/* ---- lists of files ---- */

void
upload_files_free(struct upload_file *v, int n)
{
    for (int i = 0; i < n; i++) {
        free(v[i].path);
        upload_hash_free(v[i].hash);
        upload_ranges_release(&v[i].came);
    }
    free(v);
}

void
upload_manifest(const struct upload_file *v, int n, struct repo_manifest *out)
{
    *out = (struct repo_manifest){ .n_files = n };
    out->files = xcalloc((size_t)n + 1, sizeof(*out->files));
    for (int i = 0; i < n; i++) {
        out->files[i] = (struct repo_file){ .path = v[i].path,
                                            .digest = v[i].digest,
                                            .size_bytes = v[i].size_bytes };
        out->size_bytes += v[i].size_bytes;
    }
}

static int
by_path(const void *a, const void *b)
{
    return strcmp(((const struct upload_file *)a)->path,
                  ((const struct upload_file *)b)->path);
}

/* The rules of a manifest. */
static int
check_list(const struct upload_file *v, int n, struct err *err)
{
    struct repo_manifest m, again AUTO(repo_manifest_release) = { .files = NULL };
    struct buf text AUTO(buf_release) = { .cap_bytes = REPO_MANIFEST_MAX };
    int rc;

    upload_manifest(v, n, &m);
    repo_manifest_format(&m, &text);
    free(m.files);
    rc = buf_check(&text, "the list of files", err);
    if (rc == 0)
        rc = repo_manifest_parse(&again, (struct str){ buf_str(&text), text.len },
                                 "the list of files", err);
    if (rc < 0)
        err->code = rc == -ERR_CORRUPT ? ERR_INVALID : err->code;
    return -(int)err->code;
}

static int
parse_file(const cJSON *o, struct upload_file *f, bool needs_digest, struct err *err)
{
    const char *path, *sha256, *tag;
    double size;

    if (json_str(o, "path", NULL, &path, "the list of files", err) < 0 ||
        json_num(o, "size", NAN, &size, path, err) < 0 ||
        json_str(o, "sha256", "", &sha256, path, err) < 0 ||
        json_str(o, "tag", "", &tag, path, err) < 0 ||
        repo_check_file_path(path, err) < 0)
        return -(int)err->code;
    if (strlen(path) > REPO_PATH_MAX)
        return err_set(err, ERR_LIMIT, "a path longer than %d bytes", REPO_PATH_MAX);
    if (!(size >= 0) || size > (double)BYTES_MAX || size != (double)(int64_t)size)
        return err_set(err, ERR_INVALID, "%.300s: its size is no whole number", path);
    if (strlen(tag) >= sizeof(f->tag))
        return err_set(err, ERR_INVALID, "%.300s: its tag is longer than %d bytes",
                       path, REPO_UPLOAD_TAG_BYTES - 1);
    f->has_digest = sha256[0] != '\0';
    if ((f->has_digest || needs_digest) && !digest_parse(str_of(sha256), &f->digest))
        return err_set(err, ERR_INVALID, "%.300s: its sha256 is not 64 hex digits",
                       path);
    f->size_bytes = (int64_t)size;
    snprintf(f->tag, sizeof(f->tag), "%s", tag);
    f->path = xstrdup(path);
    return 0;
}

int
upload_files_parse(const cJSON *list, struct upload_file **out, int *n,
                   bool needs_digest, struct err *err)
{
    struct upload_file *v;
    int64_t all_bytes = 0;
    int n_all, rc = 0;

    *out = NULL;
    *n = 0;
    n_all = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (n_all == 0)
        return err_set(err, ERR_INVALID, "there is no list 'files', or no file in it");
    if (n_all > REPO_FILES_MAX)
        return err_set(err, ERR_LIMIT, "more than %d files", REPO_FILES_MAX);
    v = xcalloc((size_t)n_all, sizeof(*v));
    for (const cJSON *o = list->child; o && rc == 0; o = o->next) {
        rc = parse_file(o, &v[*n], needs_digest, err);
        all_bytes += rc == 0 ? v[(*n)++].size_bytes : 0;
        if (all_bytes > BYTES_MAX)
            rc = err_set(err, ERR_INVALID, "more bytes than any disk has");
    }
    if (rc == 0) {
        qsort(v, (size_t)*n, sizeof(*v), by_path);
        rc = check_list(v, *n, err);
    }
    if (rc < 0) {
        upload_files_free(v, *n);
        return rc;
    }
    *out = v;
    return 0;
}
