/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/deploy.h"

/* All of it are facts: nothing here can be rebuilt from files, except that the links of
 * a target show what was live. Times are nanoseconds since 1970-01-01T00:00:00Z. */
static const char first[] =
    "CREATE TABLE target("
    "  id INTEGER PRIMARY KEY NOT NULL,"
    "  name TEXT NOT NULL UNIQUE,"
    "  uid TEXT NOT NULL UNIQUE, /* 32 hex digits, also in .sluice/target.json */"
    "  dir TEXT NOT NULL UNIQUE, /* absolute */"
    "  alias TEXT NOT NULL, /* what it shows, of every model */"
    "  layout TEXT NOT NULL, /* plain, tfserving */"
    "  serving_root TEXT, /* its path as the server sees it; NULL: dir */"
    "  created_ns INTEGER NOT NULL,"
    "  created_by TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX target_alias ON target(alias);"

    /* A model is named, not numbered: a model keeps its name for life. */
    "CREATE TABLE release("
    "  id INTEGER PRIMARY KEY NOT NULL,"
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  number INTEGER NOT NULL, /* per model and alias, from 1, gaps never filled */"
    "  verb TEXT NOT NULL, /* promote, weights, rollback */"
    "  state TEXT NOT NULL CHECK(state IN ('intended', 'live', 'past', 'cancelled')),"
    "  replaces INTEGER NOT NULL, /* number of the release before; 0: the first */"
    "  stands_at INTEGER NOT NULL, /* number whose place a rollback takes, or its own "
    "*/"
    "  latest_id INTEGER NOT NULL REFERENCES version(id), /* the member that leads */"
    "  latest INTEGER NOT NULL, /* its number */"
    "  intended_ns INTEGER NOT NULL, /* switched at; 0: never */"
    "  observed_ns INTEGER NOT NULL, /* seen live at; 0: not yet */"
    "  actor TEXT NOT NULL,"
    "  reason TEXT NOT NULL,"
    "  UNIQUE(model, alias, number)"
    ") STRICT;"
    "CREATE UNIQUE INDEX release_live ON release(alias, model) WHERE state = 'live';"
    "CREATE UNIQUE INDEX release_intended ON release(alias, model)"
    "  WHERE state = 'intended';"

    "CREATE TABLE release_member("
    "  release_id INTEGER NOT NULL REFERENCES release(id),"
    "  place INTEGER NOT NULL, /* order as given, from 0 */"
    "  version_id INTEGER NOT NULL REFERENCES version(id),"
    "  number INTEGER NOT NULL, /* of the version */"
    "  weight INTEGER NOT NULL, /* 1/10000; 0: only kept loaded, for a rollback */"
    "  label TEXT NOT NULL, /* 'stable', 'canary' or '' */"
    "  PRIMARY KEY(release_id, place)"
    ") STRICT, WITHOUT ROWID;"

    /* One link to flip; place 0 is its target's commit point. Rows stay only while the
     * release is intended. */
    "CREATE TABLE intent("
    "  release_id INTEGER NOT NULL REFERENCES release(id),"
    "  target_id INTEGER NOT NULL REFERENCES target(id),"
    "  place INTEGER NOT NULL,"
    "  path TEXT NOT NULL, /* below the target */"
    "  was TEXT, /* text of the link before; NULL: there was none */"
    "  becomes TEXT NOT NULL,"
    "  PRIMARY KEY(release_id, target_id, place)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE mark("
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  version_id INTEGER NOT NULL REFERENCES version(id), /* bad on this alias */"
    "  release_id INTEGER NOT NULL REFERENCES release(id), /* the rollback that left "
    "it */"
    "  PRIMARY KEY(model, alias, version_id)"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE freeze("
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  reason TEXT NOT NULL,"
    "  frozen_ns INTEGER NOT NULL,"
    "  frozen_by TEXT NOT NULL,"
    "  PRIMARY KEY(model, alias)"
    ") STRICT, WITHOUT ROWID;";

static const char *const migrations[] = { first };

static const char *const keepers[] = {
    "SELECT m.version_id AS version_id, r.model || '@' || r.alias || "
    "CASE WHEN m.weight > 0 THEN ' gives it traffic' "
    "ELSE ' keeps it loaded for a rollback' END AS why, "
    "CASE WHEN m.weight > 0 THEN 'promote another version to ' || r.alias "
    "ELSE 'the promotion after the next lets go of it' END AS way_out "
    "FROM release_member m JOIN release r ON r.id = m.release_id "
    "WHERE r.state IN ('live', 'intended')",
    NULL,
};

static const char *const was_live[] = {
    "SELECT m.version_id AS version_id, r.alias AS alias FROM release_member m "
    "JOIN release r ON r.id = m.release_id WHERE m.weight > 0 AND "
    "r.state IN ('live', 'past')",
    NULL,
};

static const char *const facts[] = { "target", "release", "release_member",
                                     "intent", "mark",    "freeze",
                                     NULL };

const struct db_schema deploy_schema = {
    .module = "deploy",
    .migrations = migrations,
    .n_migrations = sizeof(migrations) / sizeof(migrations[0]),
    .keepers = keepers,
    .was_live = was_live,
    .facts = facts,
};
