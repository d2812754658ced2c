/* SPDX-License-Identifier: Apache-2.0 */
/* A tree that was made by hand (v1 v2 latest -> v2, or 1/ 2/, of one model or of
 * several) becomes a target.
 *
 * Nothing is deleted, and no name is missing at any moment: a directory is exchanged,
 * in one step, for one of the store's files, and then lies in .sluice/adopted/, where
 * whoever has it open goes on reading. Where the layout wants another name the old one
 * becomes a link to it. A run that was interrupted is made again. */
#ifndef DEPLOY_ADOPT_H
#define DEPLOY_ADOPT_H

#include "deploy/deploy.h"

#include <limits.h>

/* A directory that can become a version. */
struct adopt_dir {
    char *path; /* below the tree: "v1", "fraud/v1" */
    char *real; /* what it is: absolute, without links */
    int model;  /* of the tree's models */
    int64_t number;
    bool in_the_way; /* the layout needs this name: it cannot stay as it is */
    /* The caller's, before deploy_adopt: its version, which has another number when
     * these bytes have one already; 0: it stays as it is. */
    int64_t version_id, becomes;
};
struct adopt_model {
    char name[REPO_NAME_BYTES];
    int64_t live;  /* what `latest` shows, else the greatest; 0: a problem */
    bool has_link; /* there is a `latest` */
};
/* What is left as it is, and why; in the way: the layout needs the name. */
struct adopt_note {
    char *path, *why;
    bool in_the_way;
};
struct adopt_tree {
    char dir[PATH_MAX];
    bool flat; /* one model's versions lie in it, not models */
    const char *layout;
    struct adopt_dir *dirs; /* by model, then number */
    int n_dirs;
    struct adopt_model *models;
    int n_models;
    struct adopt_note *notes;
    int n_notes;
};
void adopt_tree_release(struct adopt_tree *t); /* for AUTO */
void adopt_note(struct adopt_tree *t, const char *path, bool in_the_way,
                const char *fmt, ...) PRINTF(4, 5);

/* Reads names and links, no files. `model` names the model whose versions lie in `dir`;
 * of a directory of models it must be the only one, or NULL. `layout` NULL: tfserving
 * for 1 2 3, else plain. ERR_INVALID: there are no versions, or no name for the model.
 */
int adopt_scan(const char *dir, const char *model_or_null, const char *layout_or_null,
               struct adopt_tree *out, struct err *err) MUST_CHECK;
/* Whether the tree can become this target; what stands against it becomes a note in the
 * way. Changes nothing. ERR_CONFLICT: it is a target already, or the alias means other
 * versions of its models. */
int deploy_adopt_check(struct repo *r, struct adopt_tree *t, const char *name,
                       const char *alias, struct err *err) MUST_CHECK;
/* The versions are there, and the alias means those that are live in the tree. Records
 * its own event ("target-adopt"). ERR_UNSUPPORTED: this file system cannot exchange two
 * names. */
int deploy_adopt(struct repo *r, const struct adopt_tree *t, const char *name,
                 const char *alias, const struct deploy_options *options_or_null,
                 struct err *err) MUST_CHECK;

#endif
