/* SPDX-License-Identifier: Apache-2.0 */
#include "base/db.h"

#include "base/db_int.h"
#include "base/fs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FACTS "facts" /* a row like a module's: whose rows of facts were all noted */
#define NOTED_BY_HOOK 10000 /* less: by triggers, see drop_triggers */

struct found {
    int versions[DB_MODULES_MAX]; /* of each schema; 0: it has no tables yet */
    int facts;                    /* of the notes */
    int n_rows;                   /* 0: the database is new */
};

static int
too_new(const struct db *db, const char *module, int version, int known,
        struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "%s was made by a newer Sluice: it has version %d of the tables of "
                   "%s, and this program knows %d. Upgrade this program; nothing was "
                   "changed",
                   db_path(db), version, module, known);
}

/* By one query, held against what is known. */
static int
read_versions(struct db *db, struct found *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err, "SELECT module, version FROM module_schema", "");

    *out = (struct found){ 0 };
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        const char *module = db_text(st, 0);
        const int version = (int)db_int(st, 1);
        int i = 0;

        out->n_rows++;
        if (strcmp(module, FACTS) == 0) {
            out->facts = version;
            continue;
        }
        while (i < db->n_known && strcmp(db->known[i].module, module) != 0)
            i++;
        if (i == db->n_known || version > db->known[i].version)
            return too_new(db, module, version,
                           i < db->n_known ? db->known[i].version : 0, err);
        out->versions[i] = version;
    }
    return r;
}

int
db_still_known(struct db *db, struct err *err)
{
    struct found ignored;
    int64_t number;
    int r =
        db->n_known > 0 ? db_get_int(db, &number, err, "PRAGMA schema_version", "") : 0;

    if (r <= 0 || number == db->schema_number)
        return r < 0 ? r : 0;
    r = read_versions(db, &ignored, err);
    if (r == 0)
        db->schema_number = number;
    return r;
}

/* The tables that every other one hangs on. */
static int
make_root(struct db *db, struct err *err)
{
    return db_exec(db,
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
}

static int
migrate(struct db *db, const struct db_schema *schema, int from, struct err *err)
{
    char doing[96];
    int r = 0;

    for (int version = from + 1; r == 0 && version <= schema->n_migrations; version++) {
        snprintf(doing, sizeof(doing), "migrate %s to %d", schema->module, version);
        r = db_exec(db, schema->migrations[version - 1], doing, err);
    }
    if (r < 0 || from >= schema->n_migrations)
        return r;
    return db_run(db, err,
                  "INSERT INTO module_schema(module, version) VALUES(?, ?) "
                  "ON CONFLICT(module) DO UPDATE SET version = excluded.version",
                  "ti", schema->module, (int64_t)schema->n_migrations);
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
    int r = drop_triggers(db, err);

    if (r == 0)
        r = db_facts_note_all(db, err);
    if (r == 0)
        r = db_run(db, err,
                   "INSERT INTO module_schema(module, version) VALUES('" FACTS "', ?) "
                   "ON CONFLICT(module) DO UPDATE SET version = excluded.version",
                   "i", (int64_t)facts_version(schemas, n));
    return r;
}

/* A whole file takes the place of the copy before it. */
static int
copy_over(struct db *db, const char *path, struct err *err)
{
    char *new_path AUTO(free_ptr) = xasprintf("%s.new", path);
    const char *slash = strrchr(path, '/');
    char *dir AUTO(free_ptr) =
        slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
    int r = fs_unlink(AT_FDCWD, new_path, err);

    if (r == 0)
        r = db_copy(db, new_path, err);
    if (r == 0)
        r = fs_rename(AT_FDCWD, new_path, AT_FDCWD, path, err);
    if (r == 0)
        r = fs_fsync_dir(AT_FDCWD, dir[0] ? dir : "/", err);
    return r;
}

/* It has tables, and fewer or others than this program's. */
static bool
is_older(const struct db *db, const struct found *f, int facts)
{
    bool older = f->facts != facts;

    for (int i = 0; i < db->n_known; i++)
        older |= f->versions[i] < db->known[i].version;
    return older;
}

/* arg: the number of the facts to come. Another process may have been faster. */
static int
keep_older(struct db *db, void *arg, struct err *err)
{
    char *path AUTO(free_ptr) = xasprintf("%s" DB_BEFORE_UPGRADE, db_path(db));
    struct found f;
    int r = read_versions(db, &f, err);

    if (r < 0 || !is_older(db, &f, *(const int *)arg))
        return r < 0 ? r : 0;
    r = copy_over(db, path, err);
    db->upgraded = r == 0;
    return r < 0 ? err_ctx(err, "keep the database as it is before its upgrade") : 0;
}

/* In a transaction; another process may have done it meanwhile. */
static int
upgrade(struct db *db, const struct db_schema *schemas, int n, bool watched,
        struct err *err)
{
    struct found f;
    int r = make_root(db, err);

    if (r == 0)
        r = read_versions(db, &f, err);
    /* rows from before there were notes are noted all together at the end */
    if (r == 0 && watched && f.facts != 0)
        db_facts_watch(db, schemas, n);
    for (int i = 0; r == 0 && i < n; i++)
        r = migrate(db, &schemas[i], f.versions[i], err);
    if (r == 0 && watched) {
        db_facts_watch(db, schemas, n); /* the tables may have other columns now */
        if (f.facts != facts_version(schemas, n))
            r = note_facts(db, schemas, n, err);
    }
    if (r == 0)
        r = db_get_int(db, &db->schema_number, err, "PRAGMA schema_version", "") < 0
                ? -(int)err->code
                : 0;
    return r;
}

int
db_migrate(struct db *db, const struct db_schema *schemas, int n, struct err *err)
{
    /* nobody takes the changes of one that is gone when it is closed */
    const bool watched = !db_is_in_memory(db);
    int facts = watched ? facts_version(schemas, n) : 0;
    struct found f = { 0 };
    int r;

    if (n > DB_MODULES_MAX)
        BUG("%d schemas, room for %d", n, DB_MODULES_MAX);
    db->n_known = n;
    for (int i = 0; i < n; i++)
        db->known[i] = (struct db_known){ schemas[i].module, schemas[i].n_migrations };
    r = read_versions(db, &f, err);
    if (r == -ERR_DB && (err->sys & 0xff) == 1) { /* SQLITE_ERROR: there is no table */
        err_clear(err);
        r = 0;
    }
    if (r == 0 && !is_older(db, &f, facts)) {
        if (watched)
            db_facts_watch(db, schemas, n);
        return 0;
    }
    if (r == 0)
        r = f.n_rows > 0 ? db_begin_after(db, keep_older, &facts, err)
                         : db_begin(db, err);
    if (r < 0)
        return r;
    r = upgrade(db, schemas, n, watched, err);
    if (r == 0)
        return db_commit(db, err);
    db_rollback(db);
    db->upgraded = false;
    return r;
}

bool
db_was_upgraded(const struct db *db)
{
    return db->upgraded;
}
