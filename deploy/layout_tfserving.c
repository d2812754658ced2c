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
 *         nginx.conf             the same for nginx: split_clients, and log formats;
 *                                others as the target's option `render` says
 *         reload.pb              models.config as a request, where it is sent (grpc://)
 *
 * The server loads exactly the versions of `specific`. Asked for none in particular it
 * answers with the highest of them, so what is kept loaded for a rollback is always
 * lower than what leads; traffic that is split asks by number or label. */
#include "deploy/layout.h"

#include "savedmodel/savedmodel.h"

#include <inttypes.h>
#include <string.h>

/* A ModelConfig of tensorflow_serving/config/model_server_config.proto, to be written
 * as text and as bytes. */
struct config {
    const char *name;
    struct buf base_path;
    int64_t versions[LAYOUT_VERSIONS_MAX];
    int n_versions;
    const struct deploy_member *labelled[LAYOUT_VERSIONS_MAX];
    int n_labelled;
};
#define PLATFORM "tensorflow"

static void
config_add(struct config *c, const struct deploy_member *m, int n)
{
    for (int i = 0; i < n; i++)
        if (m[i].label[0])
            c->labelled[c->n_labelled++] = &m[i];
}

static void
config_init(struct config *c, const struct deploy_target *t,
            const struct deploy_release *rel)
{
    *c = (struct config){ .name = rel->model, .base_path = BUF_INIT };
    buf_adds(&c->base_path,
             t->option[DEPLOY_SERVING_ROOT] ? t->option[DEPLOY_SERVING_ROOT] : t->dir);
    if (c->base_path.len > 0 && c->base_path.data[c->base_path.len - 1] != '/')
        buf_addc(&c->base_path, '/');
    repo_name_encode(rel->model, &c->base_path);
    /* A label that moves to a version which is not loaded makes a server refuse the
     * config, and all that follow: there are none where nobody sees what is. */
    if (t->option[DEPLOY_STATUS_URL]) {
        config_add(c, rel->members, rel->n_members);
        config_add(c, rel->kept, rel->n_kept);
    }
    c->n_versions = layout_versions(rel, c->versions);
}

static void
add_text(const struct config *c, struct buf *out)
{
    buf_adds(out, "  config {\n    name: ");
    layout_quoted(c->name, out);
    buf_adds(out, "\n    base_path: ");
    layout_quoted(buf_str(&c->base_path), out);
    buf_adds(out, "\n    model_platform: \"" PLATFORM "\"\n"
                  "    model_version_policy { specific {");
    for (int i = 0; i < c->n_versions; i++)
        buf_addf(out, " versions: %" PRId64, c->versions[i]);
    buf_adds(out, " } }\n");
    for (int i = 0; i < c->n_labelled; i++)
        buf_addf(out, "    version_labels { key: \"%s\" value: %" PRId64 " }\n",
                 c->labelled[i]->label, c->labelled[i]->number);
    buf_adds(out, "  }\n");
}

static void
put_message(struct buf *out, uint32_t field, struct buf *message)
{
    sm_pb_put_bytes(out, field, (struct str){ buf_str(message), message->len });
    buf_release(message);
}

/* The same, as an element of ModelConfigList. */
static void
add_bytes(const struct config *c, struct buf *list)
{
    enum { LIST_CONFIG = 1 };
    enum { NAME = 1, BASE_PATH = 2, MODEL_PLATFORM = 4, POLICY = 7, LABELS = 8 };
    enum { POLICY_SPECIFIC = 102, SPECIFIC_VERSIONS = 1, KEY = 1, VALUE = 2 };
    struct buf config = BUF_INIT, policy = BUF_INIT, specific = BUF_INIT;

    sm_pb_put_bytes(&config, NAME, str_of(c->name));
    sm_pb_put_bytes(&config, BASE_PATH, str_of(buf_str(&c->base_path)));
    sm_pb_put_bytes(&config, MODEL_PLATFORM, STR_LIT(PLATFORM));
    for (int i = 0; i < c->n_versions; i++)
        sm_pb_put_int(&specific, SPECIFIC_VERSIONS, (uint64_t)c->versions[i]);
    put_message(&policy, POLICY_SPECIFIC, &specific);
    put_message(&config, POLICY, &policy);
    for (int i = 0; i < c->n_labelled; i++) {
        struct buf label = BUF_INIT;

        sm_pb_put_bytes(&label, KEY, str_of(c->labelled[i]->label));
        sm_pb_put_int(&label, VALUE, (uint64_t)c->labelled[i]->number);
        put_message(&config, LABELS, &label);
    }
    put_message(list, LIST_CONFIG, &config);
}

/* models.config, and a ReloadConfigRequest with the same. */
static void
render_config(const struct deploy_target *t, const struct deploy_release *const *live,
              int n, struct buf *text, struct buf *request)
{
    enum { REQUEST_CONFIG = 1, SERVER_LIST = 1 };
    struct buf list = BUF_INIT, server = BUF_INIT;

    buf_addf(text,
             "# Rendered by sluice for target %s; changes are overwritten.\n"
             "# Needs --allow_version_labels_for_unavailable_models=true and\n"
             "# --model_config_file_poll_wait_seconds above 0.\n"
             "model_config_list {\n",
             t->name);
    for (int i = 0; i < n; i++) {
        struct config c;

        config_init(&c, t, live[i]);
        add_text(&c, text);
        add_bytes(&c, &list);
        buf_release(&c.base_path);
    }
    buf_adds(text, "}\n");
    put_message(&server, SERVER_LIST, &list);
    put_message(request, REQUEST_CONFIG, &server);
}

static void
render(const struct deploy_target *t, const struct deploy_release *const *live, int n,
       struct layout_files *out)
{
    const char *reload = t->option[DEPLOY_RELOAD];
    struct buf request = BUF_INIT;

    out->n = 1;
    out->file[0] = (struct layout_file){ .name = "models.config" };
    render_config(t, live, n, &out->file[0].text, &request);
    layout_extras(t, live, n, out);
    if (reload && strncmp(reload, "grpc://", 7) == 0)
        out->file[out->n++] = (struct layout_file){ LAYOUT_CONFIG_WIRE, request, true };
    else
        buf_release(&request);
}

static void
links(const struct deploy_release *rel, const struct layout_tree *tree,
      struct layout_links *out)
{
    struct layout_link *config = layout_links_add(out, LAYOUT_LINK);

    buf_adds(&config->path, LAYOUT_CONFIG_LINK);
    buf_addf(&config->text, LAYOUT_RELEASES "/%s", tree->config_id);
    layout_number(rel->latest, &layout_links_latest(out, rel)->text);
}

const struct layout_ops layout_tfserving = {
    .name = "tfserving",
    .models = "",
    .inside = "",
    .by_number = true,
    .version_dir = layout_number,
    .render = render,
    .links = links,
    .not_observed = "no status URL",
};
