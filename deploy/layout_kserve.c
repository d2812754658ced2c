/* SPDX-License-Identifier: Apache-2.0 */
/* kserve.yaml: an InferenceService for each model, with KServe's own canary. KServe has
 * two revisions of a service and whole percents; what does not fit is said in the file,
 * in the place of the service. A version's directory is mounted under its number, for
 * TF Serving looks for a directory of that name. */
#include "deploy/layout.h"

#include "base/crypto.h"
#include "base/json.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define NAME_MAX_BYTES 40 /* KServe adds to it, within the 63 of a DNS label */
#define HASH_BYTES 16

/* A Kubernetes name: the model's, or one made of its hash. */
static void
add_name(struct buf *out, const char *model)
{
    const size_t n = strlen(model);
    bool plain = n > 0 && n <= NAME_MAX_BYTES && islower((unsigned char)model[0]) &&
                 model[n - 1] != '-';
    char hex[DIGEST_HEX_BYTES];
    struct digest d;

    for (size_t i = 0; i < n; i++)
        plain &= strchr("abcdefghijklmnopqrstuvwxyz0123456789-", model[i]) != NULL;
    if (plain) {
        buf_adds(out, model);
        return;
    }
    sha256_of(model, n, &d);
    digest_hex(&d, hex);
    buf_addf(out, "model-%.*s", HASH_BYTES, hex);
}

/* NULL: it has an InferenceService. */
static const char *
why_not(const struct deploy_release *rel)
{
    if (rel->n_members > 2)
        return "more than two versions share the traffic, and an InferenceService has "
               "two revisions";
    if (rel->n_members == 2 && rel->members[1].weight % 100 != 0)
        return "canaryTrafficPercent takes whole percents";
    return NULL;
}

static void
add_service(const struct deploy_target *t, const struct deploy_release *rel,
            const char *base, struct buf *out)
{
    const struct deploy_member *newest = &rel->members[rel->n_members - 1];
    struct buf name AUTO(buf_release) = BUF_INIT, uri AUTO(buf_release) = BUF_INIT;

    repo_name_encode(rel->model, &name);
    buf_addf(&uri, "%s%s/%s/%" PRId64, base[0] ? "" : "file://",
             base[0] ? base : layout_root(t), buf_str(&name), newest->number);
    buf_addf(out, "---\n# %s@%s:", buf_str(&name), rel->alias);
    for (int i = 0; i < rel->n_members; i++)
        buf_addf(out, " version %" PRId64 " has %g%%", rel->members[i].number,
                 rel->members[i].weight / 100.0);
    buf_addc(out, '\n');
    if (deploy_mirror(rel))
        buf_addf(out,
                 "# The copies to version %" PRId64 " are not made: KServe has none.\n",
                 deploy_mirror(rel)->number);
    if (why_not(rel)) {
        buf_addf(out, "# NO SERVICE: %s.\n", why_not(rel));
        return;
    }
    if (rel->n_members == 2)
        buf_addf(out,
                 "# Version %" PRId64
                 " must have been applied with all traffic before.\n",
                 rel->members[0].number);
    buf_adds(out, "apiVersion: serving.kserve.io/v1beta1\n"
                  "kind: InferenceService\n"
                  "metadata:\n"
                  "  name: ");
    add_name(out, rel->model);
    buf_addf(out,
             "\n  annotations:\n"
             "    sluice/version: \"%s@%" PRId64 "\"\n"
             "spec:\n"
             "  predictor:\n",
             buf_str(&name), newest->number);
    if (rel->n_members == 2)
        buf_addf(out, "    canaryTrafficPercent: %d\n", newest->weight / 100);
    buf_adds(out, "    model:\n"
                  "      modelFormat:\n"
                  "        name: tensorflow\n"
                  "    storageUris:\n"
                  "    - uri: ");
    json_add_quoted(out, (struct str){ buf_str(&uri), uri.len });
    buf_addf(out, "\n      mountPath: /mnt/models/%" PRId64 "\n", newest->number);
}

void
layout_kserve(const struct deploy_target *t, const struct deploy_release *const *live,
              int n, const char *base, struct buf *out)
{
    buf_addf(out,
             "# Rendered by sluice for target %s; changes are overwritten.\n"
             "#\n"
             "# THE SPLIT CANNOT BE RECOMPUTED: KServe's ingress draws a revision at "
             "random for\n"
             "# each request. A customer has no version of its own, and what `sluice "
             "route`\n"
             "# says does not hold here.\n"
             "#\n"
             "# Needs KServe 0.16 (storageUris) in its serverless mode "
             "(canaryTrafficPercent),\n"
             "# and somebody who applies it: kubectl apply -f\n",
             t->name);
    for (int i = 0; i < n; i++)
        add_service(t, live[i], base, out);
}
