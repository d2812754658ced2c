/* SPDX-License-Identifier: Apache-2.0 */
/* A repository for NVIDIA Triton, run with --model-repository=TARGET/models
 * --model-control-mode=explicit --load-model=*, and told to load the model again after
 * a release (POST /v2/repository/models/fraud/load).
 *
 *     models/fraud/config.pbtxt                  which versions are loaded
 *     models/fraud/3/model.savedmodel/…
 *     fraud/latest -> ../models/fraud/3/model.savedmodel      for people
 *     config -> .sluice/releases/<id>            routes.json, nginx.conf
 *     .sluice/models/fraud/<id>/config.pbtxt     what config.pbtxt was, and may be
 * again
 *
 * Triton takes every directory in models/ for a model, and every name in a model's
 * directory counts for when it changed (a link for what it points at): so nothing else
 * lies there, and what is renamed into it was made elsewhere. It reads config.pbtxt
 * again when the latest time of the model's directory, or of anything in it, is later
 * than before. A file that is renamed into the directory makes it so, whichever way its
 * own time went; and unlike a link it can be read where models/ alone is mounted. Of a
 * config that differs in its versions alone, Triton loads and unloads those that differ
 * and leaves the others. */
#include "deploy/layout.h"

#include <inttypes.h>
#include <string.h>

#define MODELS "models/"
#define INSIDE "/model.savedmodel"
#define CONFIG "config.pbtxt"

static void
render(const struct deploy_target *t, const struct deploy_release *const *live, int n,
       struct layout_files *out)
{
    out->n = 0;
    layout_extras(t, live, n, out);
}

static void
render_model(const struct deploy_release *rel, struct layout_files *out)
{
    int64_t versions[LAYOUT_VERSIONS_MAX];
    const int n = layout_versions(rel, versions);
    struct buf *text = &out->file[0].text;

    out->n = 1;
    out->file[0] = (struct layout_file){ .name = CONFIG };
    buf_adds(text,
             "# Rendered by sluice; changes are overwritten. Triton completes the "
             "rest from the SavedModel.\n"
             "name: ");
    layout_quoted(rel->model, text);
    buf_adds(text, "\nplatform: \"tensorflow_savedmodel\"\n"
                   "version_policy { specific { versions: [");
    for (int i = 0; i < n; i++)
        buf_addf(text, "%s%" PRId64, i ? ", " : " ", versions[i]);
    buf_adds(text, " ] } }\n");
}

static void
links(const struct deploy_release *rel, const struct layout_tree *tree,
      struct layout_links *out)
{
    struct layout_link *l = layout_links_add(out, LAYOUT_FILE);

    buf_adds(&l->path, MODELS);
    repo_name_encode(rel->model, &l->path);
    buf_addf(&l->text, LAYOUT_OWN "%s/%s/" CONFIG, buf_str(&l->path), tree->model_id);
    buf_adds(&l->path, "/" CONFIG);
    l = layout_links_add(out, LAYOUT_LINK);
    buf_adds(&l->path, LAYOUT_CONFIG_LINK);
    buf_addf(&l->text, LAYOUT_RELEASES "/%s", tree->config_id);
    l = layout_links_latest(out, rel);
    buf_adds(&l->text, "../" MODELS);
    repo_name_encode(rel->model, &l->text);
    buf_addf(&l->text, "/%" PRId64 INSIDE, rel->latest);
}

/* Triton wants the directory to have the model's name, and the name in URLs. */
static void
refuse(const struct deploy_release *rel, struct buf *why)
{
    struct buf dir AUTO(buf_release) = BUF_INIT;

    repo_name_encode(rel->model, &dir);
    if (strcmp(buf_str(&dir), rel->model) != 0)
        buf_adds(why, "Triton wants a directory of the model's own name, which other "
                      "characters than A-Za-z0-9_.- cannot have here");
    else if (strcmp(rel->model, "models") == 0)
        buf_adds(why, "models/ is the repository that Triton reads");
    else
        return;
    buf_adds(why, ": give the model another name (sluice export, and import --as), or "
                  "release it to an alias that only other layouts show");
}

const struct layout_ops layout_triton = {
    .name = "triton",
    .models = MODELS,
    .inside = INSIDE,
    .version_dir = layout_number,
    .render = render,
    .render_model = render_model,
    .links = links,
    .refuse = refuse,
    .not_observed = "no status URL",
    .no_adoption = "Triton wants its versions in models/NAME/NUMBER/model.savedmodel: "
                   "adopt the tree with another layout, and add a target with this one "
                   "for the same alias",
};
