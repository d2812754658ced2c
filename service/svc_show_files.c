/* SPDX-License-Identifier: Apache-2.0 */
/* show --json: what lies beside the graph. */
#include "savedmodel/savedmodel.h"
#include "service/svc_int.h"

#include <string.h>

#define KERAS_MAX_BYTES ((size_t)32 << 20) /* of JSON that is looked into */

static int
put_file(void *arg, const struct fs_entry *e, struct err *err)
{
    (void)err;
    if (S_ISDIR(e->st.st_mode))
        return 0;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "name", e->path);
    json_put_int(o, "bytes", e->st.st_size);
    cJSON_AddItemToArray(arg, o);
    return 0;
}

/* A folder that is not there has no files; one that cannot be walked says why. */
static void
put_folder(cJSON *reply, int dirfd, const char *folder, const char *key)
{
    struct err err = ERR_INIT;
    cJSON *list = cJSON_AddArrayToObject(reply, key);
    int there = fs_exists(dirfd, folder, &err);
    if (there > 0 && fs_walk(dirfd, folder, put_file, list, &err) < 0)
        there = -1;
    if (there >= 0)
        return;
    cJSON *o = cJSON_CreateObject();
    json_put_str(o, "error", err.msg);
    cJSON_AddItemToArray(list, o);
}

/* The name of the Keras class in a node's JSON; empty: none. */
static void
put_class(cJSON *o, struct str metadata)
{
    struct err err = ERR_INIT;
    cJSON *m AUTO(json_free) = NULL;
    const char *name = "";
    if (metadata.n <= KERAS_MAX_BYTES &&
        json_parse(&m, metadata, "metadata", &err) == 0 &&
        json_str(m, "class_name", "", &name, "metadata", &err) < 0)
        name = "";
    json_put_str(o, "class", name);
}

/* The graph does not need the file: a damaged one is told, and no error. */
static void
put_keras(cJSON *reply, int dirfd, const char *dir)
{
    struct err err = ERR_INIT;
    struct sm_keras k AUTO(sm_keras_release) = { .v = NULL };
    int rc = sm_keras_read(&k, dirfd, dir, &err);
    if (rc < 0 && rc != -(int)ERR_NOTFOUND)
        json_put_str(reply, "keras_error", err.msg);
    if (rc < 0)
        return;
    cJSON *list = cJSON_AddArrayToObject(reply, "keras");
    for (int i = 0; i < k.n; i++) {
        cJSON *o = cJSON_CreateObject();
        json_put_int(o, "node", k.v[i].node_id);
        svc_put_slice(o, "path", k.v[i].path);
        svc_put_slice(o, "kind", k.v[i].identifier);
        put_class(o, k.v[i].metadata);
        cJSON_AddItemToArray(list, o);
    }
}

int
svc_show_files(cJSON *reply, const char *dir, struct err *err)
{
    int dirfd AUTO(fs_close) = -1;
    if (fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0)
        return -(int)err->code;
    put_folder(reply, dirfd, "assets", "assets");
    put_folder(reply, dirfd, "assets.extra", "assets_extra");
    put_keras(reply, dirfd, dir);
    return 0;
}
