/* SPDX-License-Identifier: Apache-2.0 */
/* The list of files of an upload, or (a first byte of '#') the digests of a part. */
#include "repo/upload_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
try_sums(const char *text)
{
    struct repo_part_sums sums;
    struct err err = ERR_INIT;

    if (repo_part_sums_parse(text, &sums, &err) < 0 && err.code != ERR_INVALID)
        BUG("%s", err.msg);
}

static void
try_list(struct str text)
{
    cJSON *o AUTO(json_free) = NULL;
    struct upload_file *v;
    struct err err = ERR_INIT;
    int n_files;

    if (json_parse(&o, text, "fuzz", &err) < 0)
        return;
    if (upload_files_parse(cJSON_GetObjectItemCaseSensitive(o, "files"), &v, &n_files,
                           false, &err) < 0)
        return;
    for (int i = 0; i < n_files; i++)
        if (!repo_path_is_clean(v[i].path) || v[i].size_bytes < 0 ||
            (i > 0 && strcmp(v[i - 1].path, v[i].path) >= 0))
            BUG("a list that is no manifest's: '%s'", v[i].path);
    upload_files_free(v, n_files);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 0 && data[0] == '#') {
        char *text = xstrndup((const char *)data + 1, n - 1);

        try_sums(text);
        free(text);
    } else {
        try_list((struct str){ (const char *)data, n });
    }
    return 0;
}
