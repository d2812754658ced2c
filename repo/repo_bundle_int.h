/* SPDX-License-Identifier: Apache-2.0 */
/* An OCI image layout as Sluice writes and reads it: names, types and the two kinds of
 * JSON in it, which come from elsewhere. */
#ifndef REPO_REPO_BUNDLE_INT_H
#define REPO_REPO_BUNDLE_INT_H

#include "repo/keep.h"
#include "repo/repo_int.h"

#define OCI_LAYOUT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define OCI_INDEX_TYPE "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define BUNDLE_TYPE "application/vnd.sluice.version.v1"
#define BUNDLE_CONFIG_TYPE "application/vnd.sluice.version.config.v1+json"
#define BUNDLE_FILES_TYPE                                                              \
    "application/vnd.sluice.manifest.v1" /* the sluice-manifest                        \
                                          */
#define BUNDLE_FILE_TYPE "application/vnd.sluice.file.v1"
#define BUNDLE_SET_TYPE                                                                \
    "application/vnd.sluice.golden.v1" /* a set's sluice-manifest                      \
                                        */
#define BUNDLE_SET_FILE_TYPE "application/vnd.sluice.golden.file.v1"
#define BUNDLE_ATTACHMENT_TYPE "application/vnd.sluice.attachment.v1"
#define BUNDLE_EVENTS_TYPE "application/vnd.sluice.events.v1+jsonl"
#define OCI_TITLE "org.opencontainers.image.title"
#define OCI_REF_NAME "org.opencontainers.image.ref.name"
#define OCI_CREATED "org.opencontainers.image.created"

#define BUNDLE_JSON_MAX                                                                \
    ((size_t)64 << 20) /* bytes of index.json, a manifest, a config */
#define BUNDLE_VERSIONS_MAX 1000
#define BUNDLE_SETS_MAX 100
#define BUNDLE_ATTACHMENTS_MAX 10000

/* A blob that JSON names. */
struct bundle_ref {
    struct digest digest;
    int64_t size_bytes;
    char title[REPO_ALIAS_BYTES]; /* of a golden set: its name */
};
/* The manifests of an index: those of type BUNDLE_TYPE. *n of them, at most
 * BUNDLE_VERSIONS_MAX. ERR_INVALID names place and rule. */
int bundle_parse_index(struct str json, struct bundle_ref *out, int *n,
                       struct err *err) MUST_CHECK;
struct bundle_manifest {
    struct bundle_ref config, files;
    struct bundle_ref sets[BUNDLE_SETS_MAX];
    int n_sets;
};
int bundle_parse_manifest(struct str json, struct bundle_manifest *out,
                          struct err *err) MUST_CHECK;
/* `attachments` of a config; the caller frees *out. ERR_INVALID names the rule. */
int bundle_parse_attachments(const cJSON *about, struct repo_bundle_attachment **out,
                             int *n, struct err *err) MUST_CHECK;

#endif
