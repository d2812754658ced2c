/* SPDX-License-Identifier: Apache-2.0 */
/* A directory with a catalogue that holds the tables of access/ only. */
#ifndef TESTS_ACC_FIXTURE_H
#define TESTS_ACC_FIXTURE_H

#include "access/access.h"
#include "base/fs.h"
#include "tests/unit/unit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

struct fixture {
    char path[512], db_path[600];
    int dirfd;
    struct db *db;
    struct acc *acc;
    struct err err;
};

static inline void
fixture_open(struct fixture *f)
{
    struct err err = ERR_INIT;

    CHECK_OK(fs_open_dir(&f->dirfd, AT_FDCWD, f->path, &err));
    CHECK_OK(db_open(&f->db, f->db_path, DB_CREATE, &err));
    CHECK_OK(db_migrate(f->db, &acc_schema, 1, &err));
}

static inline void
fixture_close(struct fixture *f)
{
    acc_close(f->acc);
    f->acc = NULL;
    db_close(f->db);
    f->db = NULL;
    fs_close(&f->dirfd);
}

static inline void
fixture_new(struct fixture *f)
{
    struct err err = ERR_INIT;

    memset(f, 0, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "%s", unit_dir());
    snprintf(f->db_path, sizeof(f->db_path), "%s/catalogue.db", f->path);
    fixture_open(f);
    CHECK_OK(db_begin(f->db, &err));
    CHECK_OK(acc_init(f->dirfd, f->db, &err));
    CHECK_OK(db_commit(f->db, &err));
    CHECK_OK(acc_open(&f->acc, f->dirfd, f->db, &err));
}

/* Another process's view of the same store. */
static inline void
fixture_reopen(struct fixture *f)
{
    struct err err = ERR_INIT;

    fixture_close(f);
    fixture_open(f);
    CHECK_OK(acc_open(&f->acc, f->dirfd, f->db, &err));
}

static inline void
record(struct fixture *f, const char *verb, const char *object)
{
    struct err err = ERR_INIT;
    struct acc_event e = { .verb = verb,
                           .object = object,
                           .digest = "",
                           .outcome = "ok",
                           .body = "{\"from\":1,\"to\":2}" };

    CHECK_OK(db_begin(f->db, &err));
    CHECK_OK(acc_record(f->acc, &e, &err));
    CHECK_OK(db_commit(f->db, &err));
}

static inline void
publish(struct fixture *f)
{
    struct err err = ERR_INIT;

    CHECK_OK(acc_publish(f->acc, &err));
}

/* n events, each published. */
static inline void
record_many(struct fixture *f, int n)
{
    for (int i = 1; i <= n; i++) {
        char object[32];

        snprintf(object, sizeof(object), "digits@%d", i);
        record(f, i % 2 ? "push" : "promote", object);
        publish(f);
    }
}

/* SQL as an attacker with the file runs it: no triggers, no checks. */
static inline void
tamper(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    char *text = NULL;

    fixture_close(f);
    CHECK(sqlite3_open(f->db_path, &db) == SQLITE_OK);
    if (sqlite3_exec(db,
                     "PRAGMA ignore_check_constraints=1;"
                     "DROP TRIGGER IF EXISTS event_no_update;"
                     "DROP TRIGGER IF EXISTS event_no_delete;",
                     NULL, NULL, &text) != SQLITE_OK ||
        sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK)
        unit_fail(__FILE__, __LINE__, "%s: %s", sql, text);
    CHECK(sqlite3_close(db) == SQLITE_OK);
    fixture_open(f);
    struct err err = ERR_INIT;
    CHECK_OK(acc_open(&f->acc, f->dirfd, f->db, &err));
}

static inline void
read_file(struct fixture *f, const char *path, struct buf *out)
{
    struct err err = ERR_INIT;

    buf_clear(out);
    CHECK_OK(fs_read(f->dirfd, path, out, &err));
}

static inline void
write_file(struct fixture *f, const char *path, const void *p, size_t n)
{
    struct err err = ERR_INIT;

    CHECK_OK(fs_replace(f->dirfd, path, p, n, 0600, &err));
}

#endif
