/* SPDX-License-Identifier: Apache-2.0 */
/* The least that a durable, recorded rollback can do: start, open the WAL catalogue,
 * commit an intent (FULL), rename a link, sync its directory, commit the outcome
 * (FULL). Talks to SQLite and the kernel itself, so that it stays a floor whatever the
 * rest becomes.
 *
 * usage: floor DIR        DIR/floor.db and DIR/latest are made on the first run */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sqlite3 *db;

static void
run(const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) {
        fprintf(stderr, "floor: %s: %s\n", sql, why);
        exit(1);
    }
}

static void
need(int r, const char *what)
{
    if (r < 0) {
        perror(what);
        exit(1);
    }
}

int
main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: floor DIR\n");
        return 2;
    }
    int dir = open(argv[1], O_RDONLY | O_DIRECTORY);
    need(dir, argv[1]);
    char path[4096];
    snprintf(path, sizeof path, "%s/floor.db", argv[1]);
    bool fresh = access(path, F_OK) != 0;
    if (sqlite3_open(path, &db) != SQLITE_OK) {
        fprintf(stderr, "floor: %s: %s\n", path, sqlite3_errmsg(db));
        return 1;
    }
    int persist = 1;
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (fresh)
        run("PRAGMA journal_mode=WAL; CREATE TABLE event(seq INTEGER PRIMARY KEY, body "
            "TEXT NOT NULL) STRICT;"
            "CREATE TABLE intent(id INTEGER PRIMARY KEY, state TEXT NOT NULL) STRICT;");
    run("PRAGMA synchronous=FULL");
    run("BEGIN IMMEDIATE; INSERT INTO intent(state) VALUES('switching'); COMMIT");
    unlinkat(dir, "latest.new", 0);
    need(symlinkat("v1", dir, "latest.new"), "symlink");
    need(renameat(dir, "latest.new", dir, "latest"), "rename");
    need(fsync(dir), "fsync");
    run("BEGIN IMMEDIATE; UPDATE intent SET state='done' WHERE state='switching';"
        "INSERT INTO event(body) VALUES('rolled back'); COMMIT");
    sqlite3_close(db);
    return 0;
}
