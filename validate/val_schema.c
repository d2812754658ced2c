/* SPDX-License-Identifier: Apache-2.0 */
#include "validate/val_int.h"

/* Names as db_guards_lift knows them. */
#define KEPT(table, way)                                                               \
    "CREATE TRIGGER guard_" table "_u BEFORE UPDATE ON " table " BEGIN\n"              \
    "  SELECT RAISE(ABORT, '" table " is never changed: " way "'); END;\n"             \
    "CREATE TRIGGER guard_" table "_d BEFORE DELETE ON " table " BEGIN\n"              \
    "  SELECT RAISE(ABORT, '" table " is never deleted from: " way "'); END;\n"

static const char guards[] =
    "CREATE TRIGGER guard_approval_u BEFORE UPDATE ON approval WHEN\n"
    "  OLD.state <> 'open' OR NEW.id IS NOT OLD.id OR NEW.model IS NOT OLD.model\n"
    "  OR NEW.alias IS NOT OLD.alias OR NEW.version_id IS NOT OLD.version_id\n"
    "  OR NEW.bound IS NOT OLD.bound OR NEW.asked_by IS NOT OLD.asked_by\n"
    "  OR NEW.created_ns IS NOT OLD.created_ns OR NEW.age_ns IS NOT OLD.age_ns BEGIN\n"
    "  SELECT RAISE(ABORT, 'a request is never changed: sluice approve'); END;\n"
    "CREATE TRIGGER guard_approval_d BEFORE DELETE ON approval BEGIN\n"
    "  SELECT RAISE(ABORT, 'a request is never deleted: sluice approve'); END;\n"
    "CREATE TRIGGER guard_set_u BEFORE UPDATE ON golden_set WHEN\n"
    "  OLD.replaced_ns IS NOT NULL OR NEW.id IS NOT OLD.id\n"
    "  OR NEW.model IS NOT OLD.model OR NEW.version_id IS NOT OLD.version_id\n"
    "  OR NEW.name IS NOT OLD.name OR NEW.digest IS NOT OLD.digest\n"
    "  OR NEW.owner IS NOT OLD.owner OR NEW.added_by IS NOT OLD.added_by BEGIN\n"
    "  SELECT RAISE(ABORT, 'a golden set is never changed: sluice golden add'); END;\n"
    "CREATE TRIGGER guard_set_d BEFORE DELETE ON golden_set BEGIN\n"
    "  SELECT RAISE(ABORT, 'a golden set stays on record: sluice golden delete');\n"
    "END;\n";

/* All three tables are facts; rows are added and never changed, but for replaced_ns.
 * Models are named, not numbered: an exam and a policy may be there before the first
 * version. */
static const char *const migrations[] = {
    "CREATE TABLE golden_set(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  model TEXT NOT NULL,         -- name of the model\n"
    "  version_id INTEGER           -- export set: the version it came with; NULL: an\n"
    "    REFERENCES version(id),    -- acceptance set, which belongs to the model\n"
    "  name TEXT NOT NULL,          -- 'export', or the acceptance set's name\n"
    "  digest BLOB NOT NULL CHECK(length(digest) = 32), -- of the set's manifest\n"
    "  limits TEXT NOT NULL,        -- its metrics' limits in words, or ''\n"
    "  created_ns INTEGER NOT NULL, -- since 1970-01-01T00:00:00Z\n"
    "  added_by TEXT NOT NULL,      -- actor, as in event\n"
    "  replaced_ns INTEGER          -- since 1970; NULL: this one counts\n"
    ") STRICT;\n"
    "CREATE UNIQUE INDEX golden_set_acceptance ON golden_set(model, name)\n"
    "  WHERE version_id IS NULL AND replaced_ns IS NULL;\n"
    "CREATE UNIQUE INDEX golden_set_export ON golden_set(version_id, name)\n"
    "  WHERE version_id IS NOT NULL AND replaced_ns IS NULL;\n"
    "CREATE TABLE verdict(\n"
    "  id INTEGER PRIMARY KEY,      -- a later verdict has a larger one\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  version_digest BLOB NOT NULL CHECK(length(version_digest) = 32),\n"
    "  set_digest BLOB NOT NULL CHECK(length(set_digest) = 32), -- golden_set.digest\n"
    "  set_name TEXT NOT NULL,      -- golden_set.name\n"
    "  acceptance INTEGER NOT NULL CHECK(acceptance IN (0, 1)), -- 0: export set\n"
    "  outcome TEXT NOT NULL\n"
    "    CHECK(outcome IN ('passed', 'failed', 'unsupported')),\n"
    "  backend TEXT NOT NULL,       -- what ran it: 'native', ...\n"
    "  created_ns INTEGER NOT NULL, -- since 1970\n"
    "  made_by TEXT NOT NULL,       -- actor, as in event\n"
    "  report TEXT NOT NULL         -- JSON object: cases, metrics, times\n"
    ") STRICT;\n"
    "CREATE INDEX verdict_of ON verdict(version_id, set_digest, id);\n"
    "CREATE TABLE policy(\n"
    "  id INTEGER PRIMARY KEY,      -- of equal alias and model the largest counts\n"
    "  alias TEXT NOT NULL,         -- name of the alias it guards\n"
    "  model TEXT NOT NULL,         -- name of a model; '*': those without their own\n"
    "  rules TEXT NOT NULL,         -- JSON object, as given\n"
    "  created_ns INTEGER NOT NULL, -- since 1970\n"
    "  set_by TEXT NOT NULL         -- actor, as in event\n"
    ") STRICT;\n"
    "CREATE INDEX policy_of ON policy(alias, model, id);\n",
    /* Who may replace an acceptance set. */
    "ALTER TABLE golden_set ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- '': "
    "added_by\n",
    /* ---- signed verdicts, one outcome more ------------------------------------ */
    "CREATE TABLE verdict_new(\n"
    "  id INTEGER PRIMARY KEY,      -- a later verdict has a larger one\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  version_digest BLOB NOT NULL CHECK(length(version_digest) = 32),\n"
    "  set_digest BLOB NOT NULL CHECK(length(set_digest) = 32), -- golden_set.digest\n"
    "  set_name TEXT NOT NULL,      -- golden_set.name\n"
    "  acceptance INTEGER NOT NULL CHECK(acceptance IN (0, 1)), -- 0: export set\n"
    "  outcome TEXT NOT NULL CHECK(outcome IN\n"
    "    ('passed', 'failed', 'unsupported', 'inconclusive')),\n"
    "  backend TEXT NOT NULL,       -- what ran it: 'native', ...\n"
    "  created_ns INTEGER NOT NULL, -- since 1970\n"
    "  made_by TEXT NOT NULL,       -- actor, as in event\n"
    "  report TEXT NOT NULL,        -- the verdict, canonical JSON (docs/formats.md)\n"
    "  signature BLOB NOT NULL DEFAULT x''\n"
    "    CHECK(length(signature) IN (0, 64)) -- the store's, of its statement; or ''\n"
    ") STRICT;\n"
    "INSERT INTO verdict_new SELECT *, x'' FROM verdict;\n"
    "DROP TABLE verdict;\n"
    "ALTER TABLE verdict_new RENAME TO verdict;\n"
    "CREATE INDEX verdict_of ON verdict(version_id, set_digest, id);\n",
    /* ---- ages of evidence and policies (ns of the store's life), and approvals.
     * policy.alias may also be 'target/NAME' ---- */
    "CREATE TABLE verdict_age(\n"
    "  verdict_id INTEGER PRIMARY KEY REFERENCES verdict(id),\n"
    "  age_ns INTEGER NOT NULL      -- of the store when it was made\n"
    ") STRICT;\n"
    "CREATE TABLE policy_age(\n"
    "  policy_id INTEGER PRIMARY KEY REFERENCES policy(id),\n"
    "  age_ns INTEGER NOT NULL      -- of the store when it was set\n"
    ") STRICT;\n"
    "CREATE TABLE approval(\n"
    "  id INTEGER PRIMARY KEY,      -- of a version and alias the largest counts\n"
    "  model TEXT NOT NULL,         -- its name\n"
    "  alias TEXT NOT NULL,\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  number INTEGER NOT NULL,     -- of the version\n"
    "  bound TEXT NOT NULL,         -- JSON: what was asked for, and what it rests on\n"
    "  state TEXT NOT NULL CHECK(state IN\n"
    "    ('open', 'rejected', 'withdrawn', 'replaced', 'done')),\n"
    "  when_approved INTEGER NOT NULL CHECK(when_approved IN (0, 1)), -- 1: promote "
    "then\n"
    "  asked_by TEXT NOT NULL,      -- actor, as in event\n"
    "  created_ns INTEGER NOT NULL, -- since 1970\n"
    "  age_ns INTEGER NOT NULL,     -- of the store then\n"
    "  reason TEXT NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX approval_of ON approval(version_id, alias, id);\n"
    "CREATE TABLE approval_said(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  approval_id INTEGER NOT NULL REFERENCES approval(id),\n"
    "  what TEXT NOT NULL CHECK(what IN ('approve', 'reject', 'comment')),\n"
    "  actor TEXT NOT NULL,         -- as in event\n"
    "  text TEXT NOT NULL,\n"
    "  time_ns INTEGER NOT NULL     -- since 1970\n"
    ") STRICT;\n"
    "CREATE INDEX approval_said_of ON approval_said(approval_id, id);\n",
    /* Whose answers are expected. */
    "ALTER TABLE golden_set ADD COLUMN recorded TEXT NOT NULL DEFAULT ''; -- 'fraud@3 "
    "sha256:…'; '': nobody's\n",
    /* ---- what a gate rests on is added to, and never changed -------------------- */
    KEPT("policy", "sluice policy set adds the next"),
    KEPT("policy_age", "sluice policy set adds the next"),
    KEPT("verdict", "sluice validate adds the next"),
    KEPT("verdict_age", "sluice validate adds the next"),
    KEPT("approval_said", "sluice approve adds to it"),
    guards,
};

/* A verdict's evidence stays; an export set goes with its version. */
static const char *const object_refs[] = {
    "SELECT digest FROM golden_set WHERE version_id IS NULL OR version_id IN "
    "(SELECT id FROM kept_version)",
    NULL,
};

static const char *const facts[] = { "golden_set",    "verdict",    "policy",
                                     "verdict_age",   "policy_age", "approval",
                                     "approval_said", NULL };

const struct db_schema val_schema = {
    .module = "validate",
    .migrations = migrations,
    .n_migrations = sizeof(migrations) / sizeof(migrations[0]),
    .object_refs = object_refs,
    .facts = facts,
};
