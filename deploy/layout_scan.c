/* SPDX-License-Identifier: Apache-2.0 */
/* A tree for TensorFlow Serving without a config file: one server a model, run with
 * --model_name=fraud --model_base_path=TARGET/fraud. It lists the names there each
 * second (--file_system_poll_wait_seconds above 0) and serves the highest number.
 *
 *     fraud/2/…                  not above what leads: seen, and not loaded
 *     fraud/3/…                  leads
 *     fraud/.4/…                 parked: no number for the server
 *     fraud/latest -> 3          for people; the server takes no notice
 *
 * What the server serves changes with the highest name alone. So going up, one rename
 * shows the new number; going down, what lies below the highest is put in order first,
 * which the server does not care for, and one rename parks the highest. */
#include "deploy/layout.h"

static void
add_dir(struct layout_links *out, const struct deploy_release *rel, int64_t number,
        bool shown, bool before)
{
    struct layout_link *l = layout_links_add(out, LAYOUT_DIR);

    repo_name_encode(rel->model, &l->path);
    buf_addc(&l->path, '/');
    layout_number(number, &l->path);
    if (!shown)
        buf_addc(&l->text, '.');
    layout_number(number, &l->text);
    l->before = before;
}

static void
add_latest(struct layout_links *out, const struct deploy_release *rel, bool before)
{
    struct layout_link *l = layout_links_latest(out, rel);

    layout_number(rel->latest, &l->text);
    l->before = before;
}

static void
links(const struct deploy_release *rel, const struct layout_tree *tree,
      struct layout_links *out)
{
    const int last = tree->n_shown - 1;
    const bool down = last >= 0 && tree->shown[last] > rel->latest;

    add_dir(out, rel, rel->latest, true, down);
    add_latest(out, rel, down); /* before what it shows is parked */
    for (int i = 0; i <= last; i++)
        if (tree->shown[i] > rel->latest)
            add_dir(out, rel, tree->shown[i], false, i < last);
}

static void
refuse(const struct deploy_release *rel, struct buf *why)
{
    if (rel->n_members > 1 || deploy_mirror(rel))
        buf_adds(
            why,
            "its server serves one version, the highest: traffic can be shared, "
            "or copied, with the layout tfserving, or by a second target and alias");
}

const struct layout_ops layout_tfserving_scan = {
    .name = "tfserving-scan",
    .models = "",
    .inside = "",
    .parks = true,
    .version_dir = layout_number,
    .links = links,
    .refuse = refuse,
    .not_observed = "no status URL",
};
