/* SPDX-License-Identifier: Apache-2.0 */
#include "access/acc_int.h"

/* All of them are facts: none can be derived from the others. `event` and its two
 * hashes are written out beside the database too (acc_publish). Keys of requests live
 * for days only. */
static const char *const migrations[] = {
    "CREATE TABLE event(\n"
    "  seq INTEGER PRIMARY KEY,   -- 1, 2, 3 ... without a gap\n"
    "  time_ns INTEGER NOT NULL,  -- nanoseconds since 1970-01-01T00:00:00Z\n"
    "  actor TEXT NOT NULL,       -- Unix user, or uid:N\n"
    "  verb TEXT NOT NULL,        -- service verb\n"
    "  object TEXT NOT NULL,      -- model, model@number, model@alias; '': the store\n"
    "  digest TEXT NOT NULL,      -- sha256:... of the version concerned, or ''\n"
    "  outcome TEXT NOT NULL,     -- ok, denied, refused, failed\n"
    "  body TEXT NOT NULL,        -- one JSON object on one line\n"
    "  leaf BLOB NOT NULL CHECK(length(leaf) = 32),  -- hash of the columns above\n"
    "  chain BLOB NOT NULL CHECK(length(chain) = 32) -- hash of all leaves up to here\n"
    ") STRICT;\n"
    "CREATE TRIGGER event_no_update BEFORE UPDATE ON event\n"
    "  BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;\n"
    "CREATE TRIGGER event_no_delete BEFORE DELETE ON event\n"
    "  BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;\n"
    "CREATE TABLE subject(\n"
    "  name TEXT PRIMARY KEY,     -- as in event.actor\n"
    "  uid INTEGER NOT NULL UNIQUE, -- of the kernel\n"
    "  is_owner INTEGER NOT NULL CHECK(is_owner IN (0, 1)), -- 1: holds every right\n"
    "  time_ns INTEGER NOT NULL   -- when recorded, since 1970\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE grant_(\n"
    "  subject TEXT NOT NULL,     -- as in event.actor\n"
    "  right_ TEXT NOT NULL,      -- a name of access/rights.def\n"
    "  model TEXT NOT NULL,       -- its name; '*': every model\n"
    "  granted_by TEXT NOT NULL,  -- as in event.actor\n"
    "  time_ns INTEGER NOT NULL,  -- since 1970\n"
    "  PRIMARY KEY(subject, right_, model)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE key(\n"
    "  id INTEGER PRIMARY KEY,    -- 1: the store's own\n"
    "  public BLOB NOT NULL CHECK(length(public) = 32), -- Ed25519, raw\n"
    "  time_ns INTEGER NOT NULL   -- when made, since 1970\n"
    ") STRICT;\n",
    "CREATE TABLE request(\n"
    "  key TEXT PRIMARY KEY,      -- as the caller gave it\n"
    "  digest BLOB NOT NULL CHECK(length(digest) = 32), -- of actor, verb, fields\n"
    "  reply TEXT NOT NULL,       -- JSON; '': its process died before it answered\n"
    "  intent INTEGER NOT NULL,   -- deploy's release.id it brings about; 0: none\n"
    "  time_ns INTEGER NOT NULL   -- of the act, since 1970\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX request_time ON request(time_ns);\n"
    "CREATE INDEX request_intent ON request(intent) WHERE intent <> 0;\n",
    "CREATE TABLE rule(\n"
    "  id INTEGER PRIMARY KEY,    -- 1, 2, 3 ... as they were given\n"
    "  subject TEXT NOT NULL,     -- as in event.actor, or role:NAME\n"
    "  effect TEXT NOT NULL CHECK(effect IN ('allow', 'deny', 'role')),\n"
    "  what TEXT NOT NULL,        -- a right, or a verb; of a role ''\n"
    "  object TEXT NOT NULL,      -- access/rule.h; of a role role:NAME\n"
    "  from_ns INTEGER NOT NULL,  -- since 1970; holds from then\n"
    "  until_ns INTEGER NOT NULL, -- and until then; 2^63-1: no end\n"
    "  given_by TEXT NOT NULL,    -- as in event.actor\n"
    "  given_ns INTEGER NOT NULL, -- since 1970\n"
    "  reason TEXT NOT NULL,      -- '': none was given\n"
    "  ended_by TEXT,             -- who took it back; NULL: it stands\n"
    "  ended_ns INTEGER NOT NULL, -- when; 2^63-1: it stands\n"
    "  change INTEGER NOT NULL UNIQUE -- 1, 2, 3 ... of all changes of rules\n"
    ") STRICT;\n"
    "CREATE INDEX rule_subject ON rule(subject);\n" ACC_RULES_FROM_GRANTS
    ";" ACC_GRANTS_GONE ";",
};

/* grant_ is empty but where the log of an older program is read back; then its rows
 * become rules, too. */
static const char *const facts[] = { "subject", "grant_", "key", "rule", NULL };

const struct db_schema acc_schema = {
    .module = "access",
    .migrations = migrations,
    .n_migrations = sizeof(migrations) / sizeof(migrations[0]),
    .facts = facts,
};
