/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct layout_ops *const layouts[] = { &layout_plain, &layout_tfserving,
                                                    &layout_tfserving_scan,
                                                    &layout_triton };
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
    free(l->link);
    *l = (struct layout_links){ .n = 0 };
}

struct layout_link *
layout_links_add(struct layout_links *l, enum layout_kind kind)
{
    l->link = xreallocarray(l->link, (size_t)l->n + 1, sizeof(*l->link));
    l->link[l->n] = (struct layout_link){ kind, false, BUF_INIT, BUF_INIT };
    return &l->link[l->n++];
}

struct layout_link *
layout_links_latest(struct layout_links *l, const struct deploy_release *rel)
{
    struct layout_link *latest = layout_links_add(l, LAYOUT_LINK);

    repo_name_encode(rel->model, &latest->path);
    buf_adds(&latest->path, "/latest");
    return latest;
}

static int
by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int
layout_versions(const struct deploy_release *rel, int64_t out[LAYOUT_VERSIONS_MAX])
{
    int n = 0;

    for (int i = 0; i < rel->n_members; i++)
        out[n++] = rel->members[i].number;
    for (int i = 0; i < rel->n_kept; i++)
        out[n++] = rel->kept[i].number;
    qsort(out, (size_t)n, sizeof(out[0]), by_number);
    return n;
}

void
layout_number(int64_t number, struct buf *out)
{
    buf_addf(out, "%" PRId64, number);
}

/* What is not plain ASCII as \ooo. */
void
layout_quoted(const char *s, struct buf *out)
{
    buf_addc(out, '"');
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\')
            buf_addf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            buf_addf(out, "\\%03o", c);
        else
            buf_addc(out, (char)c);
    }
    buf_addc(out, '"');
}

/* ---- plain: v1 v2 latest -> v2 ------------------------------------------------------
 */

static void
plain_version_dir(int64_t number, struct buf *out)
{
    buf_addf(out, "v%" PRId64, number);
}

static void
plain_links(const struct deploy_release *rel, const struct layout_tree *tree,
            struct layout_links *out)
{
    (void)tree;
    plain_version_dir(rel->latest, &layout_links_latest(out, rel)->text);
}

const struct layout_ops layout_plain = {
    .name = "plain",
    .models = "",
    .inside = "",
    .version_dir = plain_version_dir,
    .links = plain_links,
};
