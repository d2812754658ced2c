/* SPDX-License-Identifier: Apache-2.0 */
/* What is intended and what was seen, by the rows. */
#include "deploy/deploy_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A target that is not done with a release has still the one before. */
static const char *const queries[] = {
    "SELECT r.model, r.alias, NULL, r.number, r.intended_ns, r.latest, "
    "coalesce(o.number, 0), coalesce(o.observed_ns, 0), "
    "EXISTS (SELECT 1 FROM freeze f WHERE f.model = r.model AND f.alias = r.alias) "
    "FROM release r LEFT JOIN release o ON o.model = r.model AND o.alias = r.alias "
    "AND o.number = (SELECT max(n.number) FROM release n WHERE n.model = r.model "
    "AND n.alias = r.alias AND n.state IN ('live', 'past') AND n.observed_ns > 0) "
    "WHERE r.state = 'live' ORDER BY r.alias, r.model",
    "SELECT s.model, t.alias, t.name, r.number, r.intended_ns, r.latest, "
    "CASE WHEN s.stage = 'done' THEN r.number WHEN b.observed_ns > 0 THEN b.number "
    "ELSE 0 END, "
    "CASE WHEN s.stage = 'done' THEN s.observed_ns ELSE coalesce(b.observed_ns, 0) "
    "END, 0 FROM shown s JOIN target t ON t.id = s.target_id "
    "JOIN release r ON r.id = s.release_id "
    "LEFT JOIN release b ON b.id = s.from_id "
    "WHERE t.status_url IS NOT NULL ORDER BY t.alias, t.name, s.model",
};

struct alias {
    char name[REPO_ALIAS_BYTES];
    bool can_observe;
};

static int
look_at(struct repo *r, const char *alias, struct alias *out, struct err *err)
{
    struct sites sites AUTO(sites_release) = SITES_INIT;
    int e;

    if (strcmp(out->name, alias) == 0)
        return 0;
    e = sites_load(r, alias, &sites, err);
    snprintf(out->name, sizeof(out->name), "%s", alias);
    out->can_observe = sites.n > 0;
    for (int i = 0; i < sites.n; i++)
        if (sites.s[i].layout->not_observed && !site_is_stepped(&sites.s[i]))
            out->can_observe = false;
    return e;
}

int
deploy_figures(struct repo *r, int64_t *n_unfinished,
               int (*fn)(void *arg, const struct deploy_figure *f, struct err *err),
               void *arg, struct err *err)
{
    struct alias alias = { .name = "" };
    int e = db_get_int(r->db, n_unfinished, err,
                       "SELECT count(*) FROM release WHERE state = 'intended'", "");

    for (int i = 0; e >= 0 && i < 2; i++) {
        struct db_stmt *st AUTO(db_done_p) = NULL;

        e = db_query(r->db, &st, err, queries[i], "");
        while (e >= 0 && (e = db_step(st, err)) == 1) {
            struct deploy_figure f = { .model = db_text(st, 0),
                                       .alias = db_text(st, 1),
                                       .target = db_text(st, 2),
                                       .intended = db_int(st, 3),
                                       .intended_ns = db_int(st, 4),
                                       .version = db_int(st, 5),
                                       .can_observe = true,
                                       .observed = db_int(st, 6),
                                       .observed_ns = db_int(st, 7),
                                       .is_frozen = db_int(st, 8) != 0 };

            if (!f.target && (e = look_at(r, f.alias, &alias, err)) < 0)
                return e;
            f.can_observe = f.target || alias.can_observe;
            e = fn(arg, &f, err);
        }
    }
    return e < 0 ? e : 0;
}
