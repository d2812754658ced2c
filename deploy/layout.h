/* SPDX-License-Identifier: Apache-2.0 */
/* How a target's tree looks to the server that reads it. A layout is pure: it names
 * directories, renders texts and says which links must point where; deploy/ does the
 * rest. So the switch of any layout is the same list of link flips, of which the first
 * is the commit point. */
#ifndef DEPLOY_LAYOUT_H
#define DEPLOY_LAYOUT_H

#include "deploy/deploy.h"

/* Where rendered files lie below the target, and the link through which they are read.
 */
#define LAYOUT_RELEASES ".sluice/releases"
#define LAYOUT_CONFIG_LINK "config"
/* For a target that is told by grpc://: TF Serving's ReloadConfigRequest, with the list
 * of models.config in it. */
#define LAYOUT_CONFIG_WIRE "reload.pb"
/* Where the files of one model lie: beside its directory's path,
 * ".sluice/models/fraud".
 */
#define LAYOUT_OWN ".sluice/"

struct layout_file {
    const char *name; /* static: "models.config" */
    struct buf text;
    bool is_binary; /* says what another file says, to a program */
};
#define LAYOUT_FILES_MAX 6
struct layout_files {
    struct layout_file file[LAYOUT_FILES_MAX];
    int n;
};
void layout_files_release(struct layout_files *f);

/* What a release flips; each by one rename. */
enum layout_kind {
    LAYOUT_LINK, /* a link; says what it points at */
    LAYOUT_DIR,  /* a version's directory that a server sees, or that is parked beside;
                  * says the name that it has: "3", or ".3" (also when there is none) */
    LAYOUT_FILE, /* a file; says which of the model's rendered ones it is */
    LAYOUT_N_KINDS
};
struct layout_link {
    enum layout_kind kind;
    bool before;     /* what is served does not change by it; put back when the commit
                      * point is not reached */
    struct buf path; /* below the target */
    struct buf text; /* what it must say */
};
struct layout_links {
    struct layout_link *link;
    int n;
};
void layout_links_release(struct layout_links *l);
/* With an empty path and text. */
struct layout_link *layout_links_add(struct layout_links *l, enum layout_kind kind);
/* "fraud/latest" */
struct layout_link *layout_links_latest(struct layout_links *l,
                                        const struct deploy_release *rel);

/* What a layout may know of the tree. */
struct layout_tree {
    const char *config_id; /* names the rendered files; "": none */
    const char *model_id;  /* names the model's own; "": none */
    const int64_t *shown;  /* of a layout that parks: numbers that a server sees, in
                            * order */
    int n_shown;
};

struct layout_ops {
    const char *name; /* "plain", "tfserving" … */
    /* The directory of models, and where in a version's directory its files lie; "":
     * the target, the directory itself. */
    const char *models; /* "models/" */
    const char *inside; /* "/model.savedmodel" */
    /* A server takes the highest number that it sees: what is above the one that leads
     * has a dot before its name, as has what was never shown. */
    bool parks;
    /* A server finds a version by the number that it reads in a name: 003 is 3, too. */
    bool by_number;
    /* "v3" or "3", appended */
    void (*version_dir)(int64_t number, struct buf *out);
    /* Texts for what every model of the target means; NULL: none. Depends on nothing
     * else, so that equal meanings have equal files. */
    void (*render)(const struct deploy_target *t,
                   const struct deploy_release *const *live, int n,
                   struct layout_files *out);
    /* The one file that a model has for itself; NULL: none. */
    void (*render_model)(const struct deploy_release *rel, struct layout_files *out);
    /* What must hold for `rel`, in the order of flipping. The first that is not
     * `before` is the commit point. */
    void (*links)(const struct deploy_release *rel, const struct layout_tree *tree,
                  struct layout_links *out);
    /* Says (appended) why its server cannot serve `rel`, and the way out; nothing: it
     * can. NULL: it can serve all. */
    void (*refuse)(const struct deploy_release *rel, struct buf *why);
    /* NULL: what the links say is what is served (observed at the switch). Else why
     * what is served is not known. */
    const char *not_observed;
    /* Why a tree made by hand cannot get this layout; NULL: it can. */
    const char *no_adoption;
};
/* ERR_INVALID lists the layouts there are. */
int layout_find(const char *name, const struct layout_ops **out,
                struct err *err) MUST_CHECK;

/* For layouts whose server is asked for a version by its number: routes.json (read by
 * the programs in etc/routes/) and nginx.conf (split_clients, and a log format that
 * carries the version). */
void layout_routes_json(const struct deploy_target *t,
                        const struct deploy_release *const *live, int n,
                        struct buf *out);
void layout_routes_nginx(const struct deploy_release *const *live, int n,
                         struct buf *out);

#define LAYOUT_VERSIONS_MAX (DEPLOY_MEMBERS_MAX + DEPLOY_KEPT_MAX)
/* All that a server has loaded for a release, in order; returns how many. */
int layout_versions(const struct deploy_release *rel, int64_t out[LAYOUT_VERSIONS_MAX]);
void layout_number(int64_t number, struct buf *out); /* "3" */
/* A quoted string of protobuf's text format. */
void layout_quoted(const char *s, struct buf *out);

/* The same for Envoy and for KServe, which draw at random. `base`: the tree's URI as
 * the cluster sees it; "": file:// and layout_root. */
void layout_envoy(const struct deploy_target *t,
                  const struct deploy_release *const *live, int n, struct buf *out);
void layout_kserve(const struct deploy_target *t,
                   const struct deploy_release *const *live, int n, const char *base,
                   struct buf *out);
/* Appends the files that the target's option `render` names. */
void layout_extras(const struct deploy_target *t,
                   const struct deploy_release *const *live, int n,
                   struct layout_files *out);
/* ERR_USAGE lists the names there are. */
int layout_extras_check(const struct layout_ops *layout, const char *list,
                        struct err *err) MUST_CHECK;
/* The variable of a model in nginx.conf, without "$"; of the version that gets a copy.
 */
void layout_nginx_variable(const char *model, bool mirror, struct buf *out);
/* The target's path as the server sees it. */
const char *layout_root(const struct deploy_target *t);

extern const struct layout_ops layout_plain, layout_tfserving, layout_tfserving_scan,
    layout_triton;

#endif
