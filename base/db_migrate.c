/* SPDX-License-Identifier: Apache-2.0 */
#include "base/db.h"

#include "base/db_int.h"

#include <stdio.h>
#include <string.h>

#define MAX_MODULES 32
#define FACTS "facts" /* a row like a module's: what the triggers were made for */

/* The stored version of each schema, by one query; 0 where there is none. *facts is
 * that of the triggers. */
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

/* The table that every other one hangs on. */
static int
make_root(struct db *db, struct err *err)
{
    int r = db_begin(db, err);

    if (r < 0)
        return r;
    r = db_exec(db,
                "CREATE TABLE IF NOT EXISTS module_schema("
                "module TEXT PRIMARY KEY NOT NULL, "
                "version INTEGER NOT NULL /* migrations that have been run */)",
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
    int version = 0;

    for (int i = 0; i < n; i++) {
        version += schemas[i].n_migrations;
        for (int k = 0; schemas[i].facts && schemas[i].facts[k]; k++)
            version++;
    }
    return version;
}

static int
watch_facts(struct db *db, const struct db_schema *schemas, int n, struct err *err)
{
    int r = db_begin(db, err);

    if (r < 0)
        return r;
    r = db_facts_watch(db, schemas, n, err);
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
    for (int i = 0; r == 0 && i < n; i++)
        r = migrate(db, &schemas[i], versions[i], err);
    /* nobody takes the changes of one that is gone when it is closed */
    if (r == 0 && !db_is_in_memory(db) && facts != facts_version(schemas, n))
        r = watch_facts(db, schemas, n, err);
    return r;
}
