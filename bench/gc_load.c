/* SPDX-License-Identifier: Apache-2.0 */
/* Gives gc something to do, and is the writer beside it.
 *
 * usage: gc_load rows STORE N          N object rows, a tenth of them in no version
 *        gc_load files STORE N         N objects with files that nothing names
 *        gc_load pass STORE            reads the same rows once: the floor of a mark
 *        gc_load write STORE OUT MS [COMMAND...]
 *            durable commits for MS milliseconds, or while COMMAND runs; appends to OUT
 *            the microseconds that each took
 *        gc_load stats NAME OUT        p50, p99, p99.9 and the most of what OUT has */
#include "base/clock.h"
#include "base/db.h"
#include "base/fs.h"

#include <spawn.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_PER_VERSION 1000

extern char **environ;

static void
die(const char *what)
{
    fprintf(stderr, "gc_load: %s\n", what);
    exit(1);
}

static void
need(int r, const struct err *err)
{
    if (r < 0)
        die(err->msg);
}

static sqlite3 *
open_rows(const char *store)
{
    char *path = xasprintf("%s/catalogue.db", store);
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA cache_size=-600000; PRAGMA synchronous=OFF", NULL,
                     NULL, NULL) != SQLITE_OK)
        die(path);
    free(path);
    return db;
}

static void
run(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        die(why);
}

static sqlite3_stmt *
prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
        die(sqlite3_errmsg(db));
    return st;
}

static void
step(sqlite3_stmt *st)
{
    if (sqlite3_step(st) != SQLITE_DONE)
        die(sqlite3_errmsg(sqlite3_db_handle(st)));
    sqlite3_reset(st);
}

/* Evenly spread, in order, and as random as a digest further on. */
static void
digest_at(uint64_t i, uint64_t n, uint64_t salt, uint8_t out[32])
{
    uint64_t high = i * (UINT64_MAX / n) + salt % (UINT64_MAX / n);
    uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ salt;

    for (int k = 0; k < 8; k++)
        out[k] = (uint8_t)(high >> (56 - 8 * k));
    for (int k = 8; k < 32; k++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[k] = (uint8_t)x;
    }
}

static void
add_object(sqlite3_stmt *st, const uint8_t d[32])
{
    sqlite3_bind_blob(st, 1, d, 32, SQLITE_TRANSIENT);
    sqlite3_bind_int64(st, 2, 4096);
    step(st);
}

static void
fill_rows(const char *store, uint64_t n)
{
    sqlite3 *db = open_rows(store);
    const uint64_t n_versions = (n - n / 10) / FILES_PER_VERSION;
    sqlite3_stmt *object = prepare(db, "INSERT INTO object VALUES(?, ?, 0)");
    sqlite3_stmt *file, *version;
    uint8_t d[32], m[32];

    run(db, "BEGIN; INSERT INTO model VALUES(1, 'm', 0, 'bench')");
    for (uint64_t i = 0; i < n; i++) {
        digest_at(i, n, 0, d);
        add_object(object, d);
    }
    version = prepare(db, "INSERT INTO version(model_id, number, digest, state, "
                          "created_ns, size_bytes, n_files, pushed_by, provenance) "
                          "VALUES(1, ?, ?, 'ready', 0, 1, 1, 'bench', '{}')");
    file = prepare(db, "INSERT INTO manifest_file VALUES(?, ?, ?, 4096)");
    for (uint64_t v = 0; v < n_versions; v++) {
        digest_at(v, n_versions, 12345, m);
        add_object(object, m);
        sqlite3_bind_int64(version, 1, (int64_t)v + 1);
        sqlite3_bind_blob(version, 2, m, 32, SQLITE_TRANSIENT);
        step(version);
        for (uint64_t f = 0; f < FILES_PER_VERSION; f++) {
            char path[32];

            /* every object but each tenth is in one version, spread over all */
            digest_at((f * n_versions + v) / 9 * 10 + (f * n_versions + v) % 9, n, 0,
                      d);
            snprintf(path, sizeof(path), "assets/%06d", (int)f);
            sqlite3_bind_blob(file, 1, m, 32, SQLITE_TRANSIENT);
            sqlite3_bind_text(file, 2, path, -1, SQLITE_TRANSIENT);
            sqlite3_bind_blob(file, 3, d, 32, SQLITE_TRANSIENT);
            step(file);
        }
    }
    run(db, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_finalize(object);
    sqlite3_finalize(version);
    sqlite3_finalize(file);
    sqlite3_close(db);
}

static void
make_files(const char *store, uint64_t n)
{
    sqlite3 *db = open_rows(store);
    sqlite3_stmt *object = prepare(db, "INSERT INTO object VALUES(?, ?, 0)");
    const uint64_t salt = (uint64_t)clock_now_ns();
    struct err err = ERR_INIT;
    uint8_t d[32];

    run(db, "BEGIN IMMEDIATE");
    for (uint64_t i = 0; i < n; i++) {
        char *path, hex[65];
        FILE *f;

        digest_at(i, n, salt, d);
        for (int k = 0; k < 32; k++)
            snprintf(hex + 2 * k, 3, "%02x", d[k]);
        path = xasprintf("%s/objects/%.2s", store, hex);
        need(fs_mkdirs(AT_FDCWD, path, 0700, &err), &err);
        free(path);
        path = xasprintf("%s/objects/%.2s/%s", store, hex, hex + 2);
        f = fopen(path, "w");
        if (!f || fputs(hex, f) < 0 || fclose(f) != 0)
            die(path);
        free(path);
        add_object(object, d);
    }
    run(db, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_finalize(object);
    sqlite3_close(db);
    sync();
}

/* Each row of what a mark looks at, once, in order. */
static void
pass(const char *store)
{
    sqlite3 *db = open_rows(store);
    sqlite3_stmt *st = prepare(db, "SELECT digest, size_bytes FROM object");
    int64_t n = 0;

    while (sqlite3_step(st) == SQLITE_ROW)
        n += sqlite3_column_int64(st, 1) > 0;
    sqlite3_finalize(st);
    st = prepare(db, "SELECT object, manifest FROM manifest_file ORDER BY object");
    while (sqlite3_step(st) == SQLITE_ROW)
        n += sqlite3_column_bytes(st, 1);
    sqlite3_finalize(st);
    sqlite3_close(db);
    if (n == 0)
        die("no rows");
}

static bool
goes_on(pid_t pid, int64_t end_ns)
{
    int status;

    if (pid == 0)
        return clock_mono_ns() < end_ns;
    if (waitpid(pid, &status, WNOHANG) == 0)
        return true;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die("the command failed");
    return false;
}

static void
commits(const char *store, const char *out, int64_t ms, char **command)
{
    char *path = xasprintf("%s/catalogue.db", store);
    struct err err = ERR_INIT;
    FILE *f = fopen(out, "a");
    struct db *db;
    pid_t pid = 0;
    int64_t end_ns;

    if (!f)
        die(out);
    need(db_open(&db, path, 0, &err), &err);
    need(db_run(db, &err, "CREATE TABLE IF NOT EXISTS bench(body TEXT NOT NULL)", ""),
         &err);
    if (command[0] && posix_spawnp(&pid, command[0], NULL, NULL, command, environ) != 0)
        die(command[0]);
    end_ns = clock_mono_ns() + ms * 1000000;
    while (goes_on(pid, end_ns)) {
        const int64_t from_ns = clock_mono_ns();

        need(db_begin(db, &err), &err);
        need(db_run(db, &err, "INSERT INTO bench(body) VALUES(?)", "t",
                    "what an event of a few hundred bytes takes, more or less: who did "
                    "what to which version of which model, and why it was done"),
             &err);
        need(db_commit(db, &err), &err);
        fprintf(f, "%lld\n", (long long)((clock_mono_ns() - from_ns) / 1000));
        usleep(200); /* as a process would, between two acts */
    }
    db_close(db);
    free(path);
    fclose(f);
}

static int
by_value(const void *a, const void *b)
{
    const long x = *(const long *)a, y = *(const long *)b;

    return (x > y) - (x < y);
}

static void
stats(const char *name, const char *path)
{
    FILE *f = fopen(path, "r");
    long *v = NULL, one;
    size_t n = 0;

    while (f && fscanf(f, "%ld", &one) == 1) {
        v = xreallocarray(v, n + 1, sizeof(*v));
        v[n++] = one;
    }
    if (n < 1000)
        die("too few samples");
    qsort(v, n, sizeof(*v), by_value);
    printf("%-28s n %7zu  p50 %6ld us  p99 %6ld us  p99.9 %6ld us  max %6ld us\n", name,
           n, v[n / 2], v[n * 99 / 100], v[n * 999 / 1000], v[n - 1]);
    free(v);
    fclose(f);
}

int
main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";

    if (strcmp(what, "rows") == 0 && argc == 4)
        fill_rows(argv[2], strtoull(argv[3], NULL, 10));
    else if (strcmp(what, "files") == 0 && argc == 4)
        make_files(argv[2], strtoull(argv[3], NULL, 10));
    else if (strcmp(what, "pass") == 0 && argc == 3)
        pass(argv[2]);
    else if (strcmp(what, "write") == 0 && argc >= 5)
        commits(argv[2], argv[3], strtoll(argv[4], NULL, 10), argv + 5);
    else if (strcmp(what, "stats") == 0 && argc == 4)
        stats(argv[2], argv[3]);
    else {
        fprintf(stderr, "usage: gc_load rows|files|pass|write|stats ...\n");
        return 2;
    }
    return 0;
}
