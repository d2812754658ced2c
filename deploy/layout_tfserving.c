/* SPDX-License-Identifier: Apache-2.0 */
/* A tree for TensorFlow Serving, run with
 * --model_config_file=TARGET/config/models.config, a
 * --model_config_file_poll_wait_seconds above 0 (0 reads it once) and
 * --allow_version_labels_for_unavailable_models=true (without it a restarted server
 * refuses labels, as it has loaded nothing yet).
 *
 *     fraud/3/… fraud/4/…        never renamed or removed while a config names them
 *     fraud/latest -> 4          for people; the server takes no notice
 *     config -> .sluice/releases/<id>
 *         models.config          every model of the target, each time: a model that is
 *                                left out is unloaded
 *         routes.json            weights, for a client or gateway that splits traffic
 *         nginx.conf             the same for nginx: split_clients, and log formats
 *
 * The server loads exactly the versions of `specific`. Asked for none in particular it
 * answers with the highest of them, so what is kept loaded for a rollback is always
 * lower than what leads; traffic that is split asks by number or label. */
#include "deploy/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void
version_dir(int64_t number, struct buf *out)
{
    buf_addf(out, "%" PRId64, number);
}

/* A quoted string of protobuf's text format; what is not plain ASCII as \ooo. */
static void
add_quoted(struct buf *out, const char *s)
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

static int
by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void
add_label(struct buf *out, const struct deploy_member *m)
{
    if (m->label[0])
        buf_addf(out, "    version_labels { key: \"%s\" value: %" PRId64 " }\n",
                 m->label, m->number);
}

static void
add_model(const struct deploy_target *t, const struct deploy_release *rel,
          struct buf *out)
{
    struct buf path AUTO(buf_release) = BUF_INIT;
    int64_t versions[2 * DEPLOY_MEMBERS_MAX];
    int n = 0;

    buf_adds(&path,
             t->option[DEPLOY_SERVING_ROOT] ? t->option[DEPLOY_SERVING_ROOT] : t->dir);
    if (path.len > 0 && path.data[path.len - 1] != '/')
        buf_addc(&path, '/');
    repo_name_encode(rel->model, &path);
    for (int i = 0; i < rel->n_members; i++)
        versions[n++] = rel->members[i].number;
    for (int i = 0; i < rel->n_kept; i++)
        versions[n++] = rel->kept[i].number;
    qsort(versions, (size_t)n, sizeof(versions[0]), by_number);

    buf_adds(out, "  config {\n    name: ");
    add_quoted(out, rel->model);
    buf_adds(out, "\n    base_path: ");
    add_quoted(out, buf_str(&path));
    buf_adds(out, "\n    model_platform: \"tensorflow\"\n"
                  "    model_version_policy { specific {");
    for (int i = 0; i < n; i++)
        buf_addf(out, " versions: %" PRId64, versions[i]);
    buf_adds(out, " } }\n");
    for (int i = 0; i < rel->n_members; i++)
        add_label(out, &rel->members[i]);
    for (int i = 0; i < rel->n_kept; i++)
        add_label(out, &rel->kept[i]);
    buf_adds(out, "  }\n");
}

static void
render_config(const struct deploy_target *t, const struct deploy_release *const *live,
              int n, struct buf *out)
{
    buf_addf(out,
             "# Rendered by sluice for target %s; changes are overwritten.\n"
             "# Needs --allow_version_labels_for_unavailable_models=true and\n"
             "# --model_config_file_poll_wait_seconds above 0.\n"
             "model_config_list {\n",
             t->name);
    for (int i = 0; i < n; i++)
        add_model(t, live[i], out);
    buf_adds(out, "}\n");
}

static void
render(const struct deploy_target *t, const struct deploy_release *const *live, int n,
       struct layout_files *out)
{
    static const char *const names[] = { "models.config", "routes.json", "nginx.conf" };

    out->n = 3;
    for (int i = 0; i < out->n; i++)
        out->file[i] = (struct layout_file){ names[i], BUF_INIT };
    render_config(t, live, n, &out->file[0].text);
    layout_routes_json(t, live, n, &out->file[1].text);
    layout_routes_nginx(live, n, &out->file[2].text);
}

static void
links(const struct deploy_release *rel, const char *config_id, struct layout_links *out)
{
    out->n = 2;
    for (int i = 0; i < out->n; i++)
        out->link[i] = (struct layout_link){ BUF_INIT, BUF_INIT };
    buf_adds(&out->link[0].path, LAYOUT_CONFIG_LINK);
    buf_addf(&out->link[0].text, LAYOUT_RELEASES "/%s", config_id);
    repo_name_encode(rel->model, &out->link[1].path);
    buf_adds(&out->link[1].path, "/latest");
    version_dir(rel->latest, &out->link[1].text);
}

const struct layout_ops layout_tfserving = {
    .name = "tfserving",
    .version_dir = version_dir,
    .render = render,
    .links = links,
    .not_observed = "no status URL",
};
