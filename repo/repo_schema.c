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

    /* ---- what goes and what stays; ages are ns of the store's life (repo_age) -----
     */
    "CREATE TABLE store_age(\n"
    "  id INTEGER PRIMARY KEY CHECK(id = 1), -- one row\n"
    "  age_ns INTEGER NOT NULL,\n"
    "  boot TEXT NOT NULL,          -- the kernel's id of the boot; '': unknown\n"
    "  boot_ns INTEGER NOT NULL,    -- since that boot, when age_ns was written\n"
    "  wall_ns INTEGER NOT NULL     -- since 1970, when age_ns was written\n"
    ") STRICT;\n"
    "CREATE TABLE version_age(\n"
    "  version_id INTEGER PRIMARY KEY REFERENCES version(id) ON DELETE CASCADE,\n"
    "  age_ns INTEGER NOT NULL      -- of the store when it was pushed\n"
    ") STRICT;\n"
    "INSERT INTO version_age(version_id, age_ns) SELECT id, 0 FROM version;\n"
    "CREATE TRIGGER version_age_of AFTER INSERT ON version BEGIN\n"
    "  INSERT INTO version_age(version_id, age_ns) VALUES(NEW.id,\n"
    "    coalesce((SELECT age_ns FROM store_age), 0)); END;\n"
    "CREATE TABLE deletion(\n"
    "  version_id INTEGER PRIMARY KEY REFERENCES version(id),\n"
    "  was TEXT NOT NULL,           -- version.state before\n"
    "  deleted_ns INTEGER NOT NULL, -- since 1970\n"
    "  deleted_by TEXT NOT NULL,    -- actor, as in event\n"
    "  until_age_ns INTEGER NOT NULL, -- then gc may take its bytes\n"
    "  purged_ns INTEGER            -- since 1970: they are nobody's; NULL: kept\n"
    ") STRICT;\n"
    "CREATE TABLE hold(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  model_id INTEGER NOT NULL REFERENCES model(id),\n"
    "  version_id INTEGER REFERENCES version(id), -- NULL: every version of it\n"
    "  reason TEXT NOT NULL,\n"
    "  held_ns INTEGER NOT NULL,    -- since 1970\n"
    "  held_by TEXT NOT NULL        -- actor, as in event\n"
    ") STRICT;\n"
    "CREATE TABLE lease(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  version_id INTEGER REFERENCES version(id), -- a pull's; NULL: a push\n"
    "  holder TEXT NOT NULL,        -- for a person: actor and process\n"
    "  since_age_ns INTEGER NOT NULL,\n"
    "  until_age_ns INTEGER NOT NULL -- then it is over, unless renewed\n"
    ") STRICT;\n"
    "CREATE TABLE doomed(\n"
    "  digest BLOB PRIMARY KEY CHECK(length(digest) = 32),\n"
    "  size_bytes INTEGER NOT NULL,\n"
    "  since_age_ns INTEGER NOT NULL, -- nothing kept it, or a push found it, last\n"
    "  is_orphan INTEGER NOT NULL CHECK(is_orphan IN (0, 1)) -- 1: file without row\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE trash(\n"
    "  digest BLOB PRIMARY KEY CHECK(length(digest) = 32), -- of trash/<hex>\n"
    "  size_bytes INTEGER NOT NULL,\n"
    "  until_age_ns INTEGER NOT NULL -- then gc unlinks it\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE retention(\n"
    "  model TEXT PRIMARY KEY,      -- name; '*': models without their own\n"
    "  keep_last INTEGER NOT NULL CHECK(keep_last > 0), -- newest so many\n"
    "  ever TEXT NOT NULL,          -- those once live on this alias; '': no rule\n"
    "  younger_days INTEGER NOT NULL, -- 0: no rule\n"
    "  set_ns INTEGER NOT NULL,     -- since 1970\n"
    "  set_by TEXT NOT NULL         -- actor, as in event\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE quota(\n"
    "  model TEXT PRIMARY KEY,      -- name; '': free bytes of the file system\n"
    "  bytes INTEGER NOT NULL CHECK(bytes > 0),\n"
    "  set_ns INTEGER NOT NULL,     -- since 1970\n"
    "  set_by TEXT NOT NULL         -- actor, as in event\n"
    ") STRICT, WITHOUT ROWID;\n",
    /* ---- what is said of versions, and of the store -------------------------- */
    "ALTER TABLE version ADD COLUMN\n"
    "  state_reason TEXT NOT NULL DEFAULT ''; -- why it has its state; '': not said\n"
    "CREATE TABLE version_push(    -- the same bytes once more, with a provenance\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  provenance TEXT NOT NULL,   -- as in version\n"
    "  time_ns INTEGER NOT NULL,   -- since 1970\n"
    "  actor TEXT NOT NULL         -- as in event\n"
    ") STRICT;\n"
    "CREATE INDEX version_push_version ON version_push(version_id);\n"
    "CREATE TABLE version_tag(\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  key TEXT NOT NULL,\n"
    "  value TEXT NOT NULL,        -- '' for a tag without one\n"
    "  time_ns INTEGER NOT NULL,   -- since 1970\n"
    "  actor TEXT NOT NULL,        -- as in event\n"
    "  PRIMARY KEY(version_id, key)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE version_note(\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  text TEXT NOT NULL,\n"
    "  time_ns INTEGER NOT NULL,   -- since 1970\n"
    "  actor TEXT NOT NULL         -- as in event\n"
    ") STRICT;\n"
    "CREATE INDEX version_note_version ON version_note(version_id);\n"
    "CREATE TABLE attachment(\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  type TEXT NOT NULL,         -- report, card, labels ...\n"
    "  name TEXT NOT NULL,         -- of the file\n"
    "  object BLOB NOT NULL REFERENCES object(digest), -- its bytes\n"
    "  size_bytes INTEGER NOT NULL,\n"
    "  time_ns INTEGER NOT NULL,   -- since 1970\n"
    "  actor TEXT NOT NULL,        -- as in event\n"
    "  PRIMARY KEY(version_id, type, name)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX attachment_object ON attachment(object);\n"
    "CREATE TABLE setting(\n"
    "  key TEXT PRIMARY KEY,       -- of repo/settings.def\n"
    "  value TEXT NOT NULL,\n"
    "  time_ns INTEGER NOT NULL,   -- since 1970\n"
    "  set_by TEXT NOT NULL        -- actor, as in event\n"
    ") STRICT, WITHOUT ROWID;\n",
    /* ---- when a scrub found an object whole; forgotten without harm ----------- */
    "CREATE TABLE object_check(\n"
    "  object BLOB PRIMARY KEY,     -- object.digest; rows outlive their object\n"
    "  verified_ns INTEGER NOT NULL -- since 1970\n"
    ") STRICT, WITHOUT ROWID;\n",
    /* ---- cold objects: what cold/ and the objects say too ------------------- */
    "CREATE TABLE cold(\n"
    "  object BLOB PRIMARY KEY      -- it has a file in cold/; its row in object may\n"
    "    CHECK(length(object) = 32), -- go before the file does (trash)\n"
    "  base BLOB REFERENCES object(digest)\n"
    "    DEFERRABLE INITIALLY DEFERRED, -- what the file stands on; NULL: nothing\n"
    "  stored_bytes INTEGER NOT NULL, -- of the file in cold/\n"
    "  created_ns INTEGER NOT NULL    -- since 1970\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX cold_base ON cold(base);\n"
    "CREATE TABLE leaf_list(\n"
    "  object BLOB PRIMARY KEY REFERENCES object(digest) ON DELETE CASCADE,\n"
    "  root BLOB NOT NULL CHECK(length(root) = 32), -- RFC 6962, over the digests\n"
    "  leaves BLOB NOT NULL -- 44 bytes a leaf: length, tag, SHA-256\n"
    ") STRICT;\n",
    /* ---- a version's attachments outlive their bytes, as its row does ---------- */
    "CREATE TABLE attachment_new(\n"
    "  version_id INTEGER NOT NULL REFERENCES version(id),\n"
    "  type TEXT NOT NULL,         -- report, card, labels ...\n"
    "  name TEXT NOT NULL,         -- of the file\n"
    "  object BLOB NOT NULL,       -- its bytes; gone when the version was purged\n"
    "  size_bytes INTEGER NOT NULL,\n"
    "  time_ns INTEGER NOT NULL,   -- since 1970\n"
    "  actor TEXT NOT NULL,        -- as in event\n"
    "  PRIMARY KEY(version_id, type, name)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "INSERT INTO attachment_new SELECT * FROM attachment;\n"
    "DROP TABLE attachment;\n"
    "ALTER TABLE attachment_new RENAME TO attachment;\n"
    "CREATE INDEX attachment_object ON attachment(object);\n",
    /* ---- files that came over the network, for a day (repo/tree.h) ------------ */
    "CREATE TABLE tree(\n"
    "  digest BLOB NOT NULL CHECK(length(digest) = 32), -- of its manifest\n"
    "  subject TEXT NOT NULL,      -- whose it is: as event.actor\n"
    "  until_age_ns INTEGER NOT NULL, -- of the store's life\n"
    "  n_new_files INTEGER NOT NULL, -- that he had to send, and their bytes\n"
    "  new_bytes INTEGER NOT NULL,\n"
    "  is_checked INTEGER NOT NULL CHECK(is_checked IN (0, 1)), -- tensors fit the\n"
    "                               -- index\n"
    "  PRIMARY KEY(digest, subject)\n"
    ") STRICT, WITHOUT ROWID;\n",
};

static const char *const object_refs[] = {
    "SELECT digest FROM kept_version",
    "SELECT v.digest FROM lease l JOIN version v ON v.id = l.version_id WHERE "
    "l.until_age_ns > coalesce((SELECT age_ns FROM store_age), 0)",
    "SELECT base FROM cold WHERE base IS NOT NULL",
    "SELECT digest FROM tree WHERE until_age_ns > coalesce((SELECT age_ns FROM "
    "store_age), 0)",
    "SELECT object FROM attachment WHERE version_id IN (SELECT id FROM kept_version)",
    NULL,
};

static const char *const keepers[] = {
    "SELECT a.version_id AS version_id, m.name || '@' || a.name || ' means it' AS why, "
    "'promote another version to ' || a.name AS way_out "
    "FROM alias a JOIN model m ON m.id = a.model_id",
    "SELECT h.version_id AS version_id, 'held by ' || h.held_by || ': ' || h.reason "
    "AS why, 'sluice unhold ' || m.name || '@' || v.number AS way_out FROM hold h "
    "JOIN version v ON v.id = h.version_id JOIN model m ON m.id = v.model_id",
    "SELECT v.id AS version_id, 'the model is held by ' || h.held_by || ': ' || "
    "h.reason AS why, 'sluice unhold ' || m.name AS way_out FROM hold h "
    "JOIN version v ON v.model_id = h.model_id JOIN model m ON m.id = v.model_id "
    "WHERE h.version_id IS NULL",
    "SELECT l.version_id AS version_id, 'in use: ' || l.holder AS why, 'wait until it "
    "ends' AS way_out FROM lease l WHERE l.version_id IS NOT NULL AND "
    "l.until_age_ns > coalesce((SELECT age_ns FROM store_age), 0)",
    NULL,
};

static const char *const facts[] = { "store",       "model",        "version",
                                     "alias",       "version_age",  "version_push",
                                     "version_tag", "version_note", "attachment",
                                     "setting",     "deletion",     "hold",
                                     "retention",   "quota",        NULL };

const struct db_schema repo_schema = {
    .module = "repo",
    .migrations = migrations,
    .n_migrations = sizeof(migrations) / sizeof(migrations[0]),
    .object_refs = object_refs,
    .keepers = keepers,
    .facts = facts,
};
