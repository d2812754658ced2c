/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo.h"

static const char *const migrations[] = {
    /* ---- facts --------------------------------------------------------------- */
    "CREATE TABLE store(\n"
    "  id TEXT PRIMARY KEY,         -- 32 random hex digits; one row\n"
    "  created_ns INTEGER NOT NULL  -- since 1970-01-01T00:00:00Z\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE model(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  name TEXT NOT NULL UNIQUE,   -- as given, not encoded\n"
    "  created_ns INTEGER NOT NULL, -- since 1970\n"
    "  created_by TEXT NOT NULL     -- actor, as in event\n"
    ") STRICT;\n"
    "CREATE TABLE version(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  model_id INTEGER NOT NULL REFERENCES model(id),\n"
    "  number INTEGER NOT NULL CHECK(number > 0), -- given once, never reused\n"
    "  digest BLOB NOT NULL CHECK(length(digest) = 32), -- SHA-256 of the manifest\n"
    "  state TEXT NOT NULL          -- what may be done with it\n"
    "    CHECK(state IN ('quarantined', 'ready', 'rejected', 'deleted')),\n"
    "  created_ns INTEGER NOT NULL, -- since 1970\n"
    "  size_bytes INTEGER NOT NULL, -- sum of its files\n"
    "  n_files INTEGER NOT NULL,    -- count of its files\n"
    "  pushed_by TEXT NOT NULL,     -- actor, as in event\n"
    "  provenance TEXT NOT NULL,    -- JSON object of the pusher: commit, run, ...\n"
    "  UNIQUE(model_id, number),\n"
    "  UNIQUE(id, model_id)\n"
    ") STRICT;\n"
    "CREATE INDEX version_digest ON version(digest);\n"
    "CREATE TABLE alias(\n"
    "  model_id INTEGER NOT NULL REFERENCES model(id),\n"
    "  name TEXT NOT NULL,\n"
    "  version_id INTEGER NOT NULL, -- what it means now\n"
    "  release_id INTEGER NOT NULL, -- the release that said so\n"
    "  PRIMARY KEY(model_id, name),\n"
    "  FOREIGN KEY(version_id, model_id) REFERENCES version(id, model_id)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX alias_version ON alias(version_id);\n"
    /* ---- what the manifests and objects/ say too ----------------------------- */
    "CREATE TABLE object(\n"
    "  digest BLOB PRIMARY KEY CHECK(length(digest) = 32), -- SHA-256 of the bytes\n"
    "  size_bytes INTEGER NOT NULL, -- of the file\n"
    "  created_ns INTEGER NOT NULL  -- since 1970; a row says: durable since then\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE manifest_file(\n"
    "  manifest BLOB NOT NULL REFERENCES object(digest),\n"
    "  path TEXT NOT NULL,          -- encoded as in the manifest\n"
    "  object BLOB NOT NULL REFERENCES object(digest),\n"
    "  size_bytes INTEGER NOT NULL, -- of the file\n"
    "  PRIMARY KEY(manifest, path)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX manifest_file_object ON manifest_file(object);\n",
    /* ---- what is only quicker to know (repo_seen.c); may be emptied at any time */
    "CREATE TABLE seen_file(\n"
    "  dev INTEGER NOT NULL,        -- of a file that was pushed, as stat gives it\n"
    "  ino INTEGER NOT NULL,        -- so are the next three\n"
    "  size_bytes INTEGER NOT NULL,\n"
    "  mtime_ns INTEGER NOT NULL,   -- since 1970\n"
    "  ctime_ns INTEGER NOT NULL,   -- since 1970\n"
    "  digest BLOB NOT NULL CHECK(length(digest) = 32), -- of its bytes then\n"
    "  hashed_ns INTEGER NOT NULL,  -- since 1970\n"
    "  PRIMARY KEY(dev, ino)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX seen_file_hashed ON seen_file(hashed_ns);\n",
};

const struct db_schema repo_schema = {
    .module = "repo",
    .migrations = migrations,
    .n_migrations = sizeof(migrations) / sizeof(migrations[0]),
};
