/* SPDX-License-Identifier: Apache-2.0 */
#include "base/db.h"

#include "base/db_int.h"

#include <stdio.h>
#include <string.h>

#define MAX_MODULES 32
#define FACTS "facts" /* a row like a module's: whose rows of facts were all noted */
#define NOTED_BY_HOOK 10000 /* less: by triggers, see drop_triggers */

/* The stored version of each schema, by one query; 0 where there is none. *facts is
 * that of the notes. */
static int
read_versions(struct db *db, const struct db_schema *schemas, int n, int *versions,
              int *facts, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err, "SELECT module, version FROM module_schema", "");

    memset(versions, 0, (size_t)n * sizeof(*versions));
    *facts = 0;
    if (r < 0)
        return r;
    while ((r = db_step(st, err)) == 1) {
        if (strcmp(db_text(st, 0), FACTS) == 0)
            *facts = (int)db_int(st, 1);
        for (int i = 0; i < n; i++)
            if (strcmp(db_text(st, 0), schemas[i].module) == 0)
                versions[i] = (int)db_int(st, 1);
    }
    return r;
}

/* The tables that every other one hangs on. */
static int
make_root(struct db *db, struct err *err)
{
    int r = db_begin(db, err);

    if (r < 0)
        return r;
    r = db_exec(db,
                "CREATE TABLE IF NOT EXISTS module_schema("
                "module TEXT PRIMARY KEY NOT NULL, "
                "version INTEGER NOT NULL /* migrations that have been run */);"
                "CREATE TABLE IF NOT EXISTS fact_table("
                "name TEXT PRIMARY KEY NOT NULL, "
                "columns TEXT NOT NULL /* that its rows were noted with */);"
                "CREATE TABLE IF NOT EXISTS fact_note("
                "id INTEGER PRIMARY KEY NOT NULL, "
                "notes TEXT NOT NULL /* see base/db_facts.c */);",
                "make module_schema", err);
    if (r == 0)
        return db_commit(db, err);
    db_rollback(db);
    return r;
}

/* Runs migration `version` (from 1), unless another process was faster. */
static int
migrate_one(struct db *db, const struct db_schema *schema, int version, struct err *err)
{
    char doing[96];
    int64_t stored = 0;
    int r;

    snprintf(doing, sizeof(doing), "migrate %s to %d", schema->module, version);
    r = db_get_int(db, &stored, err,
                   "SELECT version FROM module_schema WHERE module = ?", "t",
                   schema->module);
    if (r < 0 || stored >= version)
        return r < 0 ? r : 0;
    r = db_exec(db, schema->migrations[version - 1], doing, err);
    if (r == 0)
        r = stored == 0
                ? db_run(db, err,
                         "INSERT INTO module_schema(module, version) VALUES(?, ?)",
                         "ti", schema->module, (int64_t)version)
                : db_run(db, err,
                         "UPDATE module_schema SET version = ? WHERE module = ?", "it",
                         (int64_t)version, schema->module);
    return r;
}

static int
migrate(struct db *db, const struct db_schema *schema, int from, struct err *err)
{
    for (int version = from + 1; version <= schema->n_migrations; version++) {
        int r = db_begin(db, err);

        if (r < 0)
            return r;
        r = migrate_one(db, schema, version, err);
        if (r < 0) {
            db_rollback(db);
            return r;
        }
        r = db_commit(db, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Every migration and every table of facts counts one: either more makes it stale. */
static int
facts_version(const struct db_schema *schemas, int n)
{
    int version = NOTED_BY_HOOK;

    for (int i = 0; i < n; i++) {
        version += schemas[i].n_migrations;
        for (int k = 0; schemas[i].facts && schemas[i].facts[k]; k++)
            version++;
    }
    return version;
}

/* Notes were once made by triggers, in a table of their own. */
static int
drop_triggers(struct db *db, struct err *err)
{
    struct buf script AUTO(buf_release) = BUF_INIT;
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err,
                     "SELECT name FROM sqlite_master WHERE type = 'trigger' AND "
                     "substr(name, 1, 5) = 'fact_'",
                     "");

    while (r >= 0 && (r = db_step(st, err)) == 1)
        buf_addf(&script, "DROP TRIGGER \"%s\";", db_text(st, 0));
    db_done_p(&st);
    buf_adds(&script, "DROP TABLE IF EXISTS fact_change");
    return r < 0 ? r : db_exec(db, buf_str(&script), "drop old triggers", err);
}

static int
note_facts(struct db *db, const struct db_schema *schemas, int n, struct err *err)
{
    int r = db_begin(db, err);

    if (r < 0)
        return r;
    r = drop_triggers(db, err);
    if (r == 0)
        r = db_facts_note_all(db, err);
    if (r == 0)
        r = db_run(db, err,
                   "INSERT INTO module_schema(module, version) VALUES('" FACTS "', ?) "
                   "ON CONFLICT(module) DO UPDATE SET version = excluded.version",
                   "i", (int64_t)facts_version(schemas, n));
    if (r == 0)
        return db_commit(db, err);
    db_rollback(db);
    return r;
}

int
db_migrate(struct db *db, const struct db_schema *schemas, int n, struct err *err)
{
    int versions[MAX_MODULES], facts;
    bool watched, stale;
    int r;

    if (n > MAX_MODULES)
        BUG("%d schemas, room for %d", n, MAX_MODULES);
    r = read_versions(db, schemas, n, versions, &facts, err);
    if (r == -ERR_DB && (err->sys & 0xff) == 1) { /* SQLITE_ERROR: there is no table */
        err_clear(err);
        r = make_root(db, err);
        if (r == 0)
            r = read_versions(db, schemas, n, versions, &facts, err);
    }
    for (int i = 0; r == 0 && i < n; i++)
        if (versions[i] > schemas[i].n_migrations)
            r = err_set(
                err, ERR_CONFLICT,
                "%s: schema %d of %s is newer than this program, which knows %d: "
                "use the program that made it, or a newer one",
                db_path(db), versions[i], schemas[i].module, schemas[i].n_migrations);
    /* nobody takes the changes of one that is gone when it is closed */
    watched = !db_is_in_memory(db);
    stale = watched && facts != facts_version(schemas, n);
    if (r == 0 && stale)
        r = make_root(db, err);
    if (r == 0 && watched)
        db_facts_watch(db, schemas, n);
    for (int i = 0; r == 0 && i < n; i++)
        r = migrate(db, &schemas[i], versions[i], err);
    if (r == 0 && stale) {
        db_facts_watch(db, schemas, n); /* the tables may have other columns now */
        r = note_facts(db, schemas, n, err);
    }
    return r;
}
