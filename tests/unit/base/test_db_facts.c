/* SPDX-License-Identifier: Apache-2.0 */
#include "base/db.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <unistd.h>

static const char *const fact_migrations[] = {
    "CREATE TABLE thing(id INTEGER PRIMARY KEY, name TEXT, bytes BLOB, ratio REAL) "
    "STRICT;"
    "CREATE TABLE pair(a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY(b, a)) STRICT, "
    "WITHOUT ROWID;",
    "ALTER TABLE thing ADD COLUMN late TEXT NOT NULL DEFAULT 'early';",
};
static const char *const fact_tables[] = { "thing", "pair", NULL };

static void
facts_open(struct db **db, const char *path, int version, bool watched)
{
    struct err err = ERR_INIT;
    const struct db_schema s = { .module = "f",
                                 .migrations = fact_migrations,
                                 .n_migrations = version,
                                 .facts = watched ? fact_tables : NULL };

    CHECK_OK(db_open(db, path, DB_CREATE, &err));
    CHECK_OK(db_migrate(*db, &s, 1, &err));
}

static cJSON *
taken(struct db *db)
{
    struct err err = ERR_INIT;
    struct buf text = BUF_INIT;
    cJSON *list;

    CHECK_OK(db_begin(db, &err));
    CHECK_INT(db_facts_take(db, &text, &err), 1);
    CHECK_OK(db_commit(db, &err));
    CHECK_OK(json_parse(&list, (struct str){ text.data, text.len }, "facts", &err));
    buf_release(&text);
    return list;
}

static void
apply_all(struct db *db, const cJSON *list)
{
    const struct db_schema s = { .module = "f", .facts = fact_tables };
    struct err err = ERR_INIT;
    const cJSON *change;

    CHECK_OK(db_begin(db, &err));
    cJSON_ArrayForEach(change, list) CHECK_OK(db_facts_apply(db, &s, 1, change, &err));
    CHECK_OK(db_commit(db, &err));
}

TEST(test_db__facts_come_back)
{
    char path[512], other[512];
    struct db *db, *copy;
    struct err err = ERR_INIT;
    struct buf text = BUF_INIT;
    cJSON *list;
    int64_t n;

    snprintf(path, sizeof(path), "%s/a.db", unit_dir());
    snprintf(other, sizeof(other), "%s/b.db", unit_dir());
    /* rows from before anybody watched are noted when watching begins */
    facts_open(&db, path, 1, false);
    CHECK_OK(db_run(db, &err, "INSERT INTO thing VALUES(9007199254740993, ?, ?, 0.1)",
                    "tb", "it's \"quoted\"\n\\", "\0\1\377", (size_t)3));
    db_close(db);
    facts_open(&db, path, 1, true);
    list = taken(db);
    CHECK_INT(cJSON_GetArraySize(list), 1);
    facts_open(&copy, other, 2, true); /* a younger program */
    apply_all(copy, list);
    cJSON_Delete(list);
    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_run(db, &err, "INSERT INTO pair VALUES('x', 1)", ""));
    CHECK_OK(db_run(db, &err, "INSERT INTO pair VALUES('y', 2)", ""));
    CHECK_OK(db_run(db, &err, "DELETE FROM pair WHERE a = 'x'", ""));
    CHECK_OK(db_run(db, &err, "UPDATE thing SET name = NULL, ratio = 7", ""));
    /* a statement that fails half-way leaves no notes */
    CHECK_ERR(db_run(db, &err, "INSERT INTO pair VALUES('z', 1), ('y', 2)", ""),
              ERR_CONFLICT);
    CHECK_OK(db_commit(db, &err)); /* nobody took them: they wait */
    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_run(db, &err, "INSERT INTO pair VALUES('never', 3)", ""));
    db_rollback(db);
    list = taken(db);
    CHECK_INT(cJSON_GetArraySize(list), 4);
    apply_all(copy, list);
    apply_all(copy, list); /* twice does no harm */
    cJSON_Delete(list);
    CHECK_OK(db_get_int(copy, &n, &err,
                        "SELECT count(*) FROM thing WHERE id = 9007199254740993 AND "
                        "name IS NULL AND bytes = x'0001ff' AND ratio = 7.0 AND "
                        "late = 'early'",
                        ""));
    CHECK_INT(n, 1);
    CHECK_OK(db_get_text(copy, &text, &err, "SELECT a FROM pair", ""));
    CHECK_STR(buf_str(&text), "y");
    buf_release(&text);
    db_close(copy);
    db_close(db);
    /* a column more: what is there is noted once more, with it */
    facts_open(&db, path, 2, true);
    list = taken(db);
    CHECK(cJSON_GetArraySize(list) >= 1);
    CHECK_STR(cJSON_GetStringValue(cJSON_GetObjectItem(
                  cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "row"), "late")),
              "early");
    cJSON_Delete(list);
    db_close(db);
}

TEST(test_db__facts_that_are_none)
{
    static const char *const bad[] = {
        "{}",
        "{\"table\":\"other\",\"row\":{}}",
        "{\"table\":\"thing\"}",
        "{\"table\":\"thing\",\"row\":{}}",
        "{\"table\":\"thing\",\"row\":{\"id\":\"1; DROP TABLE thing\"}}",
        "{\"table\":\"thing\",\"row\":{\"id\":1}}",
        "{\"table\":\"thing\",\"row\":{\"id\":\"1\",\"bytes\":\"zz\"}}",
        "{\"table\":\"thing\",\"row\":{\"id\":\"1\",\"ratio\":\"1); --\"}}",
        "{\"table\":\"pair\",\"gone\":{\"a\":\"x\"}}",
    };
    const struct db_schema s = { .module = "f", .facts = fact_tables };
    char path[512];
    struct db *db;
    struct err err = ERR_INIT;

    snprintf(path, sizeof(path), "%s/a.db", unit_dir());
    facts_open(&db, path, 2, true);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cJSON *change;

        CHECK_OK(json_parse(&change, str_of(bad[i]), "fact", &err));
        CHECK_ERR(db_facts_apply(db, &s, 1, change, &err), ERR_INVALID);
        cJSON_Delete(change);
    }
    db_close(db);
}

TEST(test_db__copy_and_replaced)
{
    char path[512], copy[512];
    struct db *db, *other;
    struct err err = ERR_INIT;
    int64_t n;

    snprintf(path, sizeof(path), "%s/a.db", unit_dir());
    snprintf(copy, sizeof(copy), "%s/copy.db", unit_dir());
    facts_open(&db, path, 2, true);
    CHECK_OK(db_begin(db, &err));
    CHECK_OK(db_run(db, &err, "INSERT INTO pair VALUES('x', 1)", ""));
    CHECK_OK(db_commit(db, &err));
    CHECK_OK(db_copy(db, copy, &err));
    CHECK_ERR(db_copy(db, copy, &err), ERR_CONFLICT);
    CHECK_OK(db_open(&other, copy, 0, &err));
    CHECK_OK(db_set_up(other, &err));
    CHECK_INT(db_get_int(other, &n, &err, "SELECT b FROM pair", ""), 1);
    db_close(other);
    CHECK(rename(copy, path) == 0);
    CHECK_ERR(db_begin(db, &err), ERR_BUSY);
    db_close(db);
}
