/* SPDX-License-Identifier: Apache-2.0 */
/* How a target's tree looks to the server that reads it. A layout is pure: it names
 * directories, renders texts and says which links must point where; deploy/ does the
 * rest. So the switch of any layout is the same list of link flips, of which the first
 * is the commit point. */
#ifndef DEPLOY_LAYOUT_H
#define DEPLOY_LAYOUT_H

#include "deploy/deploy.h"

#define LAYOUT_LINKS_MAX 2
/* Where rendered files lie below the target, and the link through which they are read.
 */
#define LAYOUT_RELEASES ".sluice/releases"
#define LAYOUT_CONFIG_LINK "config"
/* For a target that is told by grpc://: TF Serving's ReloadConfigRequest, with the list
 * of models.config in it. */
#define LAYOUT_CONFIG_WIRE "reload.pb"

struct layout_file {
    const char *name; /* static: "models.config" */
    struct buf text;
    bool is_binary; /* says what another file says, to a program */
};
struct layout_files {
    struct layout_file file[4];
    int n;
};
void layout_files_release(struct layout_files *f);

struct layout_link {
    struct buf path; /* below the target */
    struct buf text; /* what it must point at */
};
struct layout_links {
    struct layout_link link[LAYOUT_LINKS_MAX];
    int n;
};
void layout_links_release(struct layout_links *l);

struct layout_ops {
    const char *name; /* "plain", "tfserving" */
    /* "v3" or "3", appended */
    void (*version_dir)(int64_t number, struct buf *out);
    /* Texts for what every model of the target means; NULL: none. Depends on nothing
     * else, so that equal meanings have equal files. */
    void (*render)(const struct deploy_target *t,
                   const struct deploy_release *const *live, int n,
                   struct layout_files *out);
    /* Links that must hold for `rel`; [0] is the commit point. config_id names the
     * rendered files ("" without). */
    void (*links)(const struct deploy_release *rel, const char *config_id,
                  struct layout_links *out);
    /* NULL: what the links say is what is served (observed at the switch). Else why
     * what is served is not known. */
    const char *not_observed;
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

extern const struct layout_ops layout_plain, layout_tfserving;

#endif
