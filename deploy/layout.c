/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/layout.h"

#include <inttypes.h>
#include <string.h>

static const struct layout_ops *const layouts[] = { &layout_plain, &layout_tfserving };
#define N_LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

int
layout_find(const char *name, const struct layout_ops **out, struct err *err)
{
    struct buf list AUTO(buf_release) = BUF_INIT;

    for (size_t i = 0; i < N_LAYOUTS; i++) {
        if (strcmp(name, layouts[i]->name) == 0) {
            *out = layouts[i];
            return 0;
        }
        buf_addf(&list, "%s%s", i ? ", " : "", layouts[i]->name);
    }
    return err_set(err, ERR_INVALID, "no layout \"%s\": there are %s", name, list.data);
}

void
layout_files_release(struct layout_files *f)
{
    for (int i = 0; i < f->n; i++)
        buf_release(&f->file[i].text);
    f->n = 0;
}

void
layout_links_release(struct layout_links *l)
{
    for (int i = 0; i < l->n; i++) {
        buf_release(&l->link[i].path);
        buf_release(&l->link[i].text);
    }
    l->n = 0;
}

/* ---- plain: v1 v2 latest -> v2 ------------------------------------------------------
 */

static void
plain_version_dir(int64_t number, struct buf *out)
{
    buf_addf(out, "v%" PRId64, number);
}

static void
plain_links(const struct deploy_release *rel, const char *config_id,
            struct layout_links *out)
{
    struct layout_link *l = &out->link[0];

    (void)config_id;
    *l = (struct layout_link){ BUF_INIT, BUF_INIT };
    out->n = 1;
    repo_name_encode(rel->model, &l->path);
    buf_adds(&l->path, "/latest");
    plain_version_dir(rel->latest, &l->text);
}

const struct layout_ops layout_plain = {
    .name = "plain",
    .version_dir = plain_version_dir,
    .links = plain_links,
};
