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

/* What let each release through, and since when (ages: ns of the store's life).
 * A release is written in one order only: intended, its members, what the gate said,
 * then live. Guards refuse anything else, from whatever program it comes; they are
 * lifted while a log is played again. */
static const char guards[] =
    "CREATE TABLE gate_pass("
    "  release_id INTEGER NOT NULL REFERENCES release(id),"
    "  version_id INTEGER NOT NULL REFERENCES version(id),"
    "  report TEXT NOT NULL, /* JSON: each gate, wanted and seen */"
    "  broke TEXT NOT NULL, /* why the policy did not count; '': it did */"
    "  PRIMARY KEY(release_id, version_id)"
    ") STRICT, WITHOUT ROWID;"
    "INSERT INTO gate_pass(release_id, version_id, report, broke)"
    "  SELECT DISTINCT m.release_id, m.version_id, '[]', '' FROM release_member m"
    "  JOIN release r ON r.id = m.release_id WHERE r.state = 'intended';"
    "CREATE TABLE release_age("
    "  release_id INTEGER PRIMARY KEY REFERENCES release(id),"
    "  since_age_ns INTEGER NOT NULL, /* live from */"
    "  until_age_ns INTEGER /* to; NULL: it still is */"
    ") STRICT;"

    "CREATE TRIGGER guard_release_i BEFORE INSERT ON release"
    "  WHEN NEW.state <> 'intended' BEGIN"
    "  SELECT RAISE(ABORT, 'a release begins as intended: sluice promote'); END;"
    /* not looked at by an UPDATE of other columns, which every promotion makes */
    "CREATE TRIGGER guard_release_u BEFORE UPDATE OF id, model, alias, number, verb,"
    "  replaces, stands_at, latest_id, latest, actor, reason ON release BEGIN"
    "  SELECT RAISE(ABORT, 'a release is never changed: sluice promote'); END;"
    "CREATE TRIGGER guard_release_state BEFORE UPDATE OF state ON release"
    "  WHEN NEW.state <> OLD.state AND OLD.state || ' ' || NEW.state"
    "   NOT IN ('intended live', 'intended cancelled', 'live past') BEGIN"
    "  SELECT RAISE(ABORT, 'a release is never changed: sluice promote'); END;"
    /* A version gets traffic by a gate, as much as it had, or by a rollback to where it
     * had some. */
    "CREATE TRIGGER guard_release_live BEFORE UPDATE OF state ON release"
    "  WHEN NEW.state = 'live' AND OLD.state = 'intended' AND EXISTS"
    "   (SELECT 1 FROM release_member m WHERE m.release_id = NEW.id"
    "   AND m.weight > 0"
    "   AND NOT EXISTS (SELECT 1 FROM gate_pass p WHERE p.release_id = NEW.id"
    "    AND p.version_id = m.version_id)"
    "   AND NOT EXISTS (SELECT 1 FROM release_member o"
    "    JOIN release b ON b.id = o.release_id WHERE b.model = NEW.model"
    "    AND b.alias = NEW.alias AND o.version_id = m.version_id"
    "    AND (b.number = NEW.replaces AND o.weight >= m.weight"
    "     OR NEW.verb = 'rollback' AND b.state IN ('live', 'past')"
    "      AND o.weight > 0))) BEGIN"
    "  SELECT RAISE(ABORT, 'no gate was passed: sluice promote'); END;"
    "CREATE TRIGGER guard_member_i BEFORE INSERT ON release_member"
    "  WHEN NOT EXISTS (SELECT 1 FROM release WHERE id = NEW.release_id"
    "   AND state = 'intended') BEGIN"
    "  SELECT RAISE(ABORT, 'a release is never changed: sluice promote'); END;"
    "CREATE TRIGGER guard_member_u BEFORE UPDATE ON release_member BEGIN"
    "  SELECT RAISE(ABORT, 'a release is never changed: sluice weights'); END;"
    "CREATE TRIGGER guard_pass_u BEFORE UPDATE ON gate_pass BEGIN"
    "  SELECT RAISE(ABORT, 'what a gate said is never changed'); END;"
    "CREATE TRIGGER guard_alias_i BEFORE INSERT ON alias WHEN NOT EXISTS"
    "  (SELECT 1 FROM release r WHERE r.id = NEW.release_id AND r.alias = NEW.name"
    "   AND r.state = 'live' AND r.latest_id = NEW.version_id) BEGIN"
    "  SELECT RAISE(ABORT, 'an alias moves with its release: sluice promote'); END;"
    "CREATE TRIGGER guard_alias_u BEFORE UPDATE ON alias WHEN NOT EXISTS"
    "  (SELECT 1 FROM release r WHERE r.id = NEW.release_id AND r.alias = NEW.name"
    "   AND r.state = 'live' AND r.latest_id = NEW.version_id) BEGIN"
    "  SELECT RAISE(ABORT, 'an alias moves with its release: sluice promote'); END;";

/* What is gone guards nothing. */
static const char guards_of_deletes[] =
    "CREATE TRIGGER guard_release_d BEFORE DELETE ON release BEGIN"
    "  SELECT RAISE(ABORT, 'a release is never deleted: sluice rollback'); END;"
    "CREATE TRIGGER guard_member_d BEFORE DELETE ON release_member BEGIN"
    "  SELECT RAISE(ABORT, 'a release is never changed: sluice weights'); END;"
    "CREATE TRIGGER guard_pass_d BEFORE DELETE ON gate_pass BEGIN"
    "  SELECT RAISE(ABORT, 'what a gate said is never deleted'); END;"
    "CREATE TRIGGER guard_alias_d BEFORE DELETE ON alias BEGIN"
    "  SELECT RAISE(ABORT, 'an alias moves with its release: sluice promote'); END;";

/* What a target is told besides (NULL: nothing), and a share of traffic that is only
 * copied. */
static const char options[] =
    "ALTER TABLE target ADD COLUMN status_url TEXT;"
    "ALTER TABLE target ADD COLUMN reload TEXT;"
    "ALTER TABLE target ADD COLUMN render TEXT;"
    "ALTER TABLE target ADD COLUMN readers TEXT;"
    "ALTER TABLE target ADD COLUMN of_group TEXT;"
    "ALTER TABLE release_member ADD COLUMN mirror INTEGER NOT NULL DEFAULT 0;";

/* What a flip is of. Before the commit point a place is below 0. */
static const char kinds[] =
    "ALTER TABLE intent ADD COLUMN kind TEXT NOT NULL DEFAULT 'link'"
    "  CHECK(kind IN ('link', 'directory', 'file'));";

/* How far a target with a status URL has got with a release (deploy_steps.c), and
 * whether the server of one with --reload was told of the last flip. */
static const char steps[] =
    "CREATE TABLE shown("
    "  target_id INTEGER NOT NULL REFERENCES target(id),"
    "  model TEXT NOT NULL,"
    "  release_id INTEGER NOT NULL REFERENCES release(id), /* what it is to show */"
    "  stage TEXT NOT NULL CHECK(stage IN ('load', 'label', 'look', 'done')),"
    "  from_id INTEGER NOT NULL, /* the release that was in force; 0: none */"
    "  stable INTEGER NOT NULL, /* load: the version with this label; 0: none */"
    "  canary INTEGER NOT NULL,"
    "  available TEXT NOT NULL, /* numbers its server was seen to have: ' 3 4' */"
    "  dropped TEXT NOT NULL, /* numbers left out that were not seen gone */"
    "  told INTEGER NOT NULL, /* 0: its server does not know of the last flip */"
    "  observed_ns INTEGER NOT NULL, /* seen at; 0: not yet */"
    "  PRIMARY KEY(target_id, model)"
    ") STRICT, WITHOUT ROWID;";

/* Drills: rehearsed rollbacks, which give traffic to what had some, as a rollback does.
 * Copies of traffic come by a gate too, or as they were. */
static const char drills[] =
    "CREATE TABLE drill("
    "  id INTEGER PRIMARY KEY NOT NULL,"
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  from_release INTEGER NOT NULL, /* number of what was live, and is again */"
    "  state TEXT NOT NULL CHECK(state IN ('open', 'done', 'unseen', 'failed')),"
    "  report TEXT NOT NULL, /* JSON: what was measured */"
    "  began_ns INTEGER NOT NULL,"
    "  ended_ns INTEGER NOT NULL, /* 0: not yet */"
    "  ended_age_ns INTEGER NOT NULL, /* the same, in the store's life */"
    "  actor TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX drill_alias ON drill(alias, model);"
    "DROP TRIGGER guard_release_live;"
    "CREATE TRIGGER guard_release_live BEFORE UPDATE OF state ON release"
    "  WHEN NEW.state = 'live' AND OLD.state = 'intended' AND EXISTS"
    "   (SELECT 1 FROM release_member m WHERE m.release_id = NEW.id"
    "   AND (m.weight > 0 OR m.mirror > 0)"
    "   AND NOT EXISTS (SELECT 1 FROM gate_pass p WHERE p.release_id = NEW.id"
    "    AND p.version_id = m.version_id)"
    "   AND NOT EXISTS (SELECT 1 FROM release_member o"
    "    JOIN release b ON b.id = o.release_id WHERE b.model = NEW.model"
    "    AND b.alias = NEW.alias AND o.version_id = m.version_id"
    "    AND o.mirror >= m.mirror"
    "    AND (b.number = NEW.replaces AND o.weight >= m.weight"
    "     OR NEW.verb IN ('rollback', 'drill') AND b.state IN ('live', 'past')"
    "      AND (o.weight > 0 OR m.weight = 0)))) BEGIN"
    "  SELECT RAISE(ABORT, 'no gate was passed: sluice promote'); END;";

/* Hosts that follow this store (deploy/host.h), and what this store follows, when it is
 * a host's own (deploy/agent.h). */
static const char hosts[] =
    "CREATE TABLE host_rule("
    "  alias TEXT PRIMARY KEY NOT NULL,"
    "  at_once INTEGER NOT NULL, /* hosts; 0: all */"
    "  max_failing INTEGER NOT NULL, /* hosts; -1: any number */"
    "  silent_s INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE host_state("
    "  host TEXT NOT NULL,"
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  release INTEGER NOT NULL, /* number of the release it is about */"
    "  state TEXT NOT NULL, /* as host.h has them, or again */"
    "  detail TEXT NOT NULL,"
    "  shows TEXT NOT NULL, /* '3=90% 4=10%' */"
    "  at_ns INTEGER NOT NULL, /* by the host's clock */"
    "  PRIMARY KEY(host, model, alias)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE host_heard(" /* no fact: a rebuilt catalogue hears them anew */
    "  host TEXT PRIMARY KEY NOT NULL,"
    "  heard_ns INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE follow("
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  release INTEGER NOT NULL, /* number of the release there */"
    "  local_release INTEGER NOT NULL, /* number of the one that shows it; 0: none */"
    "  state TEXT NOT NULL, /* as it was reported */"
    "  detail TEXT NOT NULL,"
    "  reason TEXT NOT NULL, /* of the local release: tells it from a person's */"
    "  PRIMARY KEY(model, alias)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE follow_report(" /* what was not delivered yet */
    "  id INTEGER PRIMARY KEY NOT NULL,"
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  release INTEGER NOT NULL,"
    "  state TEXT NOT NULL,"
    "  detail TEXT NOT NULL,"
    "  shows TEXT NOT NULL,"
    "  at_ns INTEGER NOT NULL"
    ") STRICT;";

/* Shares of a version that grow by themselves. One for each alias: the newest. */
static const char ramps[] =
    "CREATE TABLE ramp("
    "  model TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  version INTEGER NOT NULL, /* number of the one whose share grows */"
    "  steps TEXT NOT NULL, /* shares in 1/10000, with blanks */"
    "  step INTEGER NOT NULL, /* so many are done */"
    "  release INTEGER NOT NULL, /* number of the release it stands at */"
    "  every_ns INTEGER NOT NULL,"
    "  again INTEGER NOT NULL, /* 1: though the version is marked bad */"
    "  options TEXT NOT NULL, /* JSON of deploy/canary.h; '': no conditions */"
    "  state TEXT NOT NULL CHECK(state IN ('running', 'done', 'breach', 'ended')),"
    "  why TEXT NOT NULL,"
    "  started_ns INTEGER NOT NULL,"
    "  started_by TEXT NOT NULL,"
    "  PRIMARY KEY(model, alias)"
    ") STRICT, WITHOUT ROWID;";

/* See deploy_undo.c. No facts. */
static const char undo_files[] = "CREATE TABLE undo_files("
                                 "  target_id INTEGER NOT NULL REFERENCES target(id),"
                                 "  was TEXT NOT NULL,"
                                 "  means TEXT NOT NULL,"
                                 "  becomes TEXT NOT NULL,"
                                 "  PRIMARY KEY(target_id, was, means)"
                                 ") STRICT, WITHOUT ROWID;";

static const char *const migrations[] = { first,     guards, guards_of_deletes,
                                          options,   kinds,  steps,
                                          drills,    hosts,  ramps,
                                          undo_files };

static const char *const keepers[] = {
    "SELECT m.version_id AS version_id, r.model || '@' || r.alias || "
    "CASE WHEN m.weight > 0 THEN ' gives it traffic' "
    "WHEN m.mirror > 0 THEN ' mirrors traffic to it' "
    "ELSE ' keeps it loaded for a rollback' END AS why, "
    "CASE WHEN m.weight > 0 THEN 'promote another version to ' || r.alias "
    "WHEN m.mirror > 0 THEN 'sluice weights ' || r.model || '@' || r.alias || "
    "' --mirror ' || m.number || '=0' "
    "ELSE 'the promotion after the next lets go of it' END AS way_out "
    "FROM release_member m JOIN release r ON r.id = m.release_id "
    "WHERE r.state IN ('live', 'intended')",
    "SELECT m.version_id AS version_id, "
    "'the server of target ' || t.name || ' still has it loaded' AS why, "
    "'sluice target step ' || t.name AS way_out "
    "FROM release_member m JOIN shown s ON s.from_id = m.release_id "
    "JOIN target t ON t.id = s.target_id WHERE s.stage IN ('load', 'label')",
    NULL,
};

static const char *const was_live[] = {
    "SELECT m.version_id AS version_id, r.alias AS alias FROM release_member m "
    "JOIN release r ON r.id = m.release_id WHERE m.weight > 0 AND "
    "r.state IN ('live', 'past')",
    NULL,
};

static const char *const facts[] = {
    "target",    "release",       "release_member", "intent", "mark",      "freeze",
    "gate_pass", "release_age",   "shown",          "drill",  "host_rule", "host_state",
    "follow",    "follow_report", "ramp",           NULL
};

const struct db_schema deploy_schema = {
    .module = "deploy",
    .migrations = migrations,
    .n_migrations = sizeof(migrations) / sizeof(migrations[0]),
    .keepers = keepers,
    .was_live = was_live,
    .facts = facts,
};
