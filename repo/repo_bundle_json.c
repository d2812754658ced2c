/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON of a bundle, read: whoever wrote it, a digest is 64 lower-case hex digits, a
 * size is a whole number that a file can have, and nothing here becomes a path. */
#include "repo/repo_bundle_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
text_of(const cJSON *o, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));

    return s ? s : "";
}

/* "digest" and the member that says how many bytes. */
static int
parse_blob(const cJSON *o, const char *what, const char *size_key,
           struct bundle_ref *out, struct err *err)
{
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(o, size_key);
    const char *digest = text_of(o, "digest");
    char again[REPO_DIGEST_BYTES];

    if (!cJSON_IsObject(o) || !repo_digest_parse(digest, &out->digest) ||
        (repo_digest_text(&out->digest, again), strcmp(again, digest) != 0))
        return err_set(err, ERR_INVALID, "%s: '%.80s' is no sha256 digest", what,
                       digest);
    if (!cJSON_IsNumber(size) || size->valuedouble < 0 || size->valuedouble > 9e15 ||
        (double)(int64_t)size->valuedouble != size->valuedouble)
        return err_set(err, ERR_INVALID, "%s: %.20s…: its size is no whole number",
                       what, digest);
    out->size_bytes = (int64_t)size->valuedouble;
    out->title[0] = '\0';
    return 0;
}

static int
parse_ref(const cJSON *o, const char *what, struct bundle_ref *out, struct err *err)
{
    return parse_blob(o, what, "size", out, err);
}

static int
parse_document(struct str json, const char *what, const char *type, cJSON **out,
               struct err *err)
{
    const cJSON *version;
    int r = json_parse(out, json, what, err);

    if (r < 0)
        return r;
    version = cJSON_GetObjectItemCaseSensitive(*out, "schemaVersion");
    if (!cJSON_IsNumber(version) || version->valuedouble != 2)
        return err_set(err, ERR_INVALID, "%s: schemaVersion is not 2", what);
    if (text_of(*out, "mediaType")[0] && strcmp(text_of(*out, "mediaType"), type) != 0)
        return err_set(err, ERR_INVALID, "%s: its mediaType is %.100s, not %s", what,
                       text_of(*out, "mediaType"), type);
    return 0;
}

int
bundle_parse_index(struct str json, struct bundle_ref *out, int *n, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *list, *o;
    int n_others = 0, r = parse_document(json, "index.json", OCI_INDEX_TYPE, &doc, err);

    *n = 0;
    if (r < 0)
        return r;
    list = cJSON_GetObjectItemCaseSensitive(doc, "manifests");
    cJSON_ArrayForEach(o, list)
    {
        if (strcmp(text_of(o, "mediaType"), OCI_MANIFEST_TYPE) != 0 ||
            (text_of(o, "artifactType")[0] &&
             strcmp(text_of(o, "artifactType"), BUNDLE_TYPE) != 0)) {
            n_others++;
            continue;
        }
        if (*n == BUNDLE_VERSIONS_MAX)
            return err_set(err, ERR_LIMIT, "index.json: more than %d versions",
                           BUNDLE_VERSIONS_MAX);
        r = parse_ref(o, "index.json", &out[(*n)++], err);
        if (r < 0)
            return r;
    }
    return *n > 0 ? 0
                  : err_set(
                        err, ERR_INVALID,
                        "index.json: it names no version of a model (%d other thing%s)",
                        n_others, n_others == 1 ? "" : "s");
}

int
bundle_parse_manifest(struct str json, struct bundle_manifest *out, struct err *err)
{
    cJSON *doc AUTO(json_free) = NULL;
    const cJSON *config, *layers, *o;
    bool has_files = false;
    int r = parse_document(json, "manifest", OCI_MANIFEST_TYPE, &doc, err);

    memset(out, 0, sizeof(*out));
    if (r < 0)
        return r;
    config = cJSON_GetObjectItemCaseSensitive(doc, "config");
    layers = cJSON_GetObjectItemCaseSensitive(doc, "layers");
    if (strcmp(text_of(config, "mediaType"), BUNDLE_CONFIG_TYPE) != 0)
        return err_set(
            err, ERR_INVALID,
            "manifest: its config is %.100s: no version that sluice exported",
            text_of(config, "mediaType"));
    r = parse_ref(config, "manifest: config", &out->config, err);
    cJSON_ArrayForEach(o, layers)
    {
        const char *type = text_of(o, "mediaType");
        const char *title =
            text_of(cJSON_GetObjectItemCaseSensitive(o, "annotations"), OCI_TITLE);

        if (r < 0)
            return r;
        if (strcmp(type, BUNDLE_FILES_TYPE) == 0) {
            if (has_files)
                return err_set(err, ERR_INVALID, "manifest: two lists of files");
            has_files = true;
            r = parse_ref(o, "manifest: list of files", &out->files, err);
        } else if (strcmp(type, BUNDLE_SET_TYPE) == 0) {
            struct bundle_ref *set = &out->sets[out->n_sets];

            if (out->n_sets == BUNDLE_SETS_MAX)
                return err_set(err, ERR_LIMIT, "manifest: more than %d golden sets",
                               BUNDLE_SETS_MAX);
            out->n_sets++;
            r = parse_ref(o, "manifest: golden set", set, err);
            if (r == 0 && repo_check_alias_name(title, err) < 0)
                r = err_ctx(err, "manifest: golden set");
            if (r == 0)
                snprintf(set->title, sizeof(set->title), "%s", title);
        }
    }
    if (r == 0 && !has_files)
        r = err_set(err, ERR_INVALID, "manifest: no layer of type %s",
                    BUNDLE_FILES_TYPE);
    return r;
}

int
bundle_parse_attachments(const cJSON *about, struct repo_bundle_attachment **out,
                         int *n, struct err *err)
{
    const cJSON *o, *list = cJSON_GetObjectItemCaseSensitive(about, "attachments");
    const int n_most = cJSON_GetArraySize(list);
    int r = 0;

    *n = 0;
    *out = NULL;
    if (n_most > BUNDLE_ATTACHMENTS_MAX)
        return err_set(err, ERR_LIMIT, "config: more than %d attachments",
                       BUNDLE_ATTACHMENTS_MAX);
    *out = xcalloc((size_t)n_most + 1, sizeof(**out));
    cJSON_ArrayForEach(o, list)
    {
        struct repo_bundle_attachment *a = &(*out)[*n];
        struct bundle_ref ref;

        r = repo_check_attachment_type(text_of(o, "type"), err);
        if (r == 0)
            r = repo_check_attachment_name(text_of(o, "name"), err);
        if (r == 0)
            r = parse_blob(o, "config: attachment", "bytes", &ref, err);
        if (r < 0)
            break;
        snprintf(a->type, sizeof(a->type), "%s", text_of(o, "type"));
        snprintf(a->name, sizeof(a->name), "%s", text_of(o, "name"));
        a->blob =
            (struct repo_blob){ .digest = ref.digest, .size_bytes = ref.size_bytes };
        (*n)++;
    }
    if (r < 0) {
        free(*out);
        *out = NULL;
    }
    return r;
}
