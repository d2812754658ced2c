/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that the log must be able to bring back. A module lists its tables of facts;
 * each change of a row in one of them is noted as it is made, and whoever writes the
 * next event of the transaction takes the notes along (db_facts_take). What nobody has
 * taken when the transaction is committed waits in fact_note for the next event. So no
 * verb has to remember what a later rebuild will ask for.
 *
 * A note is an object: {"table": T, "row": {COLUMN: VALUE, …}} for a row as it is now,
 * {"table": T, "gone": {KEY: VALUE, …}} for one that was deleted. Values are strings
 * (integers in decimal, blobs in hex, reals with 17 digits) or null. The key of a row
 * is never changed.
 *
 * SQLite tells of changes before it makes them (sqlite3_preupdate_hook). Triggers would
 * do it, too, but three for each table are parsed whenever the catalogue is opened, and
 * were a quarter of a short command's time. */
#include "base/db.h"

#include "base/db_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 32
#define NAME_BYTES 64

struct column {
    char name[NAME_BYTES];
    char type; /* i r t b */
    bool is_key;
};
struct table {
    const char *name;
    struct column c[COLUMNS_MAX];
    int n;
};
struct db_fact {
    const char *name;
    struct table *table; /* NULL: not read yet */
};

static int
read_table(struct db *db, const char *name, struct table *out, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    char sql[NAME_BYTES + 32];
    int r;

    *out = (struct table){ .name = name };
    snprintf(sql, sizeof(sql), "PRAGMA table_info(\"%s\")", name);
    r = db_query(db, &st, err, sql, "");
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        const char *type = db_text(st, 2);
        struct column *c = &out->c[out->n];

        if (out->n == COLUMNS_MAX || strlen(db_text(st, 1)) >= NAME_BYTES)
            BUG("table %s: more columns than a table of facts may have", name);
        snprintf(c->name, sizeof(c->name), "%s", db_text(st, 1));
        c->type = type[0] == 'I'   ? 'i'
                  : type[0] == 'R' ? 'r'
                  : type[0] == 'B' ? 'b'
                                   : 't';
        c->is_key = db_int(st, 5) > 0;
        out->n++;
    }
    return r;
}

/* ---- notes ----------------------------------------------------------------------- */

static void
add_value(sqlite3_value *v, char column_type, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    int type = sqlite3_value_type(v);
    const uint8_t *p;
    size_t n;

    if (type == SQLITE_INTEGER && column_type == 'r')
        type = SQLITE_FLOAT; /* a real that is whole is kept, and told, as an integer */
    switch (type) {
    case SQLITE_NULL:
        buf_adds(out, "null");
        return;
    case SQLITE_INTEGER:
        buf_addf(out, "\"%" PRId64 "\"", (int64_t)sqlite3_value_int64(v));
        return;
    case SQLITE_FLOAT:
        buf_addf(out, "\"%.17g\"", sqlite3_value_double(v));
        return;
    case SQLITE_BLOB:
        p = sqlite3_value_blob(v);
        n = (size_t)sqlite3_value_bytes(v);
        buf_addc(out, '"');
        for (size_t i = 0; i < n; i++) {
            buf_addc(out, digits[p[i] >> 4]);
            buf_addc(out, digits[p[i] & 15]);
        }
        buf_addc(out, '"');
        return;
    default:
        p = sqlite3_value_text(v);
        n = (size_t)sqlite3_value_bytes(v);
        json_add_quoted(out, (struct str){ (const char *)p, n });
    }
}

/* value_of(arg, i): the row's i-th value, NULL when memory is out. */
static bool
add_note(const struct table *t, bool gone,
         sqlite3_value *(*value_of)(void *arg, int column, bool gone), void *arg,
         struct buf *out)
{
    const char *sep = "";

    buf_addf(out, "%s{\"table\":\"%s\",\"%s\":{", out->len ? "," : "", t->name,
             gone ? "gone" : "row");
    for (int i = 0; i < t->n; i++) {
        sqlite3_value *v;

        if (gone && !t->c[i].is_key)
            continue;
        v = value_of(arg, i, gone);
        if (!v)
            return false;
        buf_addf(out, "%s\"%s\":", sep, t->c[i].name);
        add_value(v, t->c[i].type, out);
        sep = ",";
    }
    buf_adds(out, "}}");
    return true;
}

static sqlite3_value *
changing_value(void *arg, int column, bool gone)
{
    sqlite3_value *v = NULL;
    int rc = gone ? sqlite3_preupdate_old(arg, column, &v)
                  : sqlite3_preupdate_new(arg, column, &v);

    return rc == SQLITE_OK ? v : NULL;
}

static sqlite3_value *
row_value(void *arg, int column, bool gone)
{
    (void)gone;
    return sqlite3_column_value(((struct db_stmt *)arg)->sql, column);
}

/* Called by SQLite before each change of a row; a failure fails the commit. */
static void
on_change(void *arg, sqlite3 *sql, int op, const char *schema, const char *name,
          sqlite3_int64 old_id, sqlite3_int64 new_id)
{
    struct db *db = arg;
    struct db_fact *f = NULL;

    (void)old_id;
    (void)new_id;
    if (strcmp(schema, "main") != 0) /* VACUUM fills a "vacuum_db" */
        return;
    for (int i = 0; i < db->n_facts && !f; i++)
        if (strcmp(db->facts[i].name, name) == 0)
            f = &db->facts[i];
    if (!f || db->notes_err.code != ERR_OK)
        return;
    if (!f->table) {
        f->table = xcalloc(1, sizeof(*f->table));
        if (read_table(db, f->name, f->table, &db->notes_err) < 0) {
            free(f->table);
            f->table = NULL;
            return;
        }
    }
    if (!add_note(f->table, op == SQLITE_DELETE, changing_value, sql, &db->notes))
        db_fail(db, "note a change", &db->notes_err);
}

void
db_facts_forget(struct db *db)
{
    buf_clear(&db->notes);
    err_clear(&db->notes_err);
}

static void
drop_tables(struct db *db)
{
    for (int i = 0; i < db->n_facts; i++)
        free(db->facts[i].table);
    free(db->facts);
    db->facts = NULL;
    db->n_facts = 0;
}

void
db_facts_unwatch(struct db *db)
{
    drop_tables(db);
    buf_release(&db->notes);
}

void
db_facts_watch(struct db *db, const struct db_schema *schemas, int n)
{
    drop_tables(db);
    for (int i = 0; i < n; i++)
        for (int k = 0; schemas[i].facts && schemas[i].facts[k]; k++) {
            db->facts =
                xreallocarray(db->facts, (size_t)db->n_facts + 1, sizeof(*db->facts));
            db->facts[db->n_facts++] = (struct db_fact){ schemas[i].facts[k], NULL };
        }
    sqlite3_preupdate_hook(db->sql, on_change, db);
}

static int
note_rows(struct db *db, const struct table *t, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct buf sql AUTO(buf_release) = BUF_INIT;
    int r;

    buf_adds(&sql, "SELECT ");
    for (int i = 0; i < t->n; i++)
        buf_addf(&sql, "%s\"%s\"", i ? ", " : "", t->c[i].name);
    buf_addf(&sql, " FROM \"%s\"", t->name);
    r = db_query(db, &st, err, buf_str(&sql), "");
    while (r >= 0 && (r = db_step(st, err)) == 1)
        (void)add_note(t, false, row_value, st, &db->notes);
    return r;
}

int
db_facts_note_all(struct db *db, struct err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < db->n_facts; i++) {
        const char *name = db->facts[i].name;
        struct buf columns AUTO(buf_release) = BUF_INIT,
                           old AUTO(buf_release) = BUF_INIT;
        struct table t;

        r = read_table(db, name, &t, err);
        if (r == 0 && t.n == 0)
            BUG("a schema lists a table of facts that it does not make: %s", name);
        for (int k = 0; r == 0 && k < t.n; k++)
            buf_addf(&columns, "%s%s", k ? " " : "", t.c[k].name);
        if (r == 0)
            r = db_get_text(db, &old, err,
                            "SELECT columns FROM fact_table WHERE name = ?", "t", name);
        if (r < 0 || (r == 1 && strcmp(buf_str(&old), buf_str(&columns)) == 0)) {
            r = r < 0 ? r : 0;
            continue;
        }
        r = note_rows(db, &t, err);
        if (r == 0)
            r = db_run(db, err,
                       "INSERT INTO fact_table(name, columns) VALUES(?, ?) "
                       "ON CONFLICT(name) DO UPDATE SET columns = excluded.columns",
                       "tt", name, buf_str(&columns));
    }
    return r;
}

int
db_facts_keep(struct db *db, struct err *err)
{
    struct buf notes AUTO(buf_release) = BUF_INIT;

    if (db->notes_err.code != ERR_OK) {
        *err = db->notes_err;
        return -(int)err->code;
    }
    notes = db->notes;
    db->notes = (struct buf)BUF_INIT;
    return notes.len == 0 ? 0
                          : db_run(db, err, "INSERT INTO fact_note(notes) VALUES(?)",
                                   "s", (struct str){ notes.data, notes.len });
}

/* ---- taking and giving back ------------------------------------------------------ */

/* *last: the number of the last kept one; 0: there is none. */
static int
read_kept(struct db *db, struct buf *out, int64_t *last, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err, "SELECT id, notes FROM fact_note ORDER BY id", "");

    *last = 0;
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        buf_addc(out, *last == 0 ? '[' : ',');
        buf_adds(out, db_text(st, 1));
        *last = db_int(st, 0);
    }
    return r;
}

int
db_facts_pending(struct db *db, struct buf *out, struct err *err)
{
    int64_t last;
    int r = read_kept(db, out, &last, err);

    if (r < 0 || last == 0)
        return r;
    buf_addc(out, ']');
    return 1;
}

int
db_facts_take(struct db *db, struct buf *out, struct err *err)
{
    const bool changed = db->notes.len > 0;
    int64_t last;
    int r;

    if (!db_in_tx(db))
        BUG("changes are taken outside a transaction");
    if (db->notes_err.code != ERR_OK) {
        *err = db->notes_err;
        return -(int)err->code;
    }
    r = read_kept(db, out, &last, err);
    if (r == 0 && last != 0)
        r = db_run(db, err, "DELETE FROM fact_note WHERE id <= ?", "i", last);
    if (r < 0 || (last == 0 && !changed))
        return r;
    if (changed) {
        buf_addc(out, last == 0 ? '[' : ',');
        buf_add(out, db->notes.data, db->notes.len);
    }
    buf_addc(out, ']');
    db_facts_forget(db);
    return 1;
}

/* A value as SQL; false: it is not one of this column's. */
static bool
add_literal(const struct column *c, const cJSON *v, struct buf *out)
{
    const char *s = cJSON_GetStringValue(v);
    size_t n = s ? strlen(s) : 0;

    if (cJSON_IsNull(v)) {
        buf_adds(out, "NULL");
        return true;
    }
    if (!s)
        return false;
    switch (c->type) {
    case 'i':
        if (n == 0 || n > 20 ||
            strspn(s + (*s == '-'), "0123456789") != n - (*s == '-'))
            return false;
        buf_adds(out, s);
        return true;
    case 'r':
        if (n == 0 || n > 40 || strspn(s, "0123456789+-.eEinfIN") != n)
            return false;
        buf_addf(out, "CAST('%s' AS REAL)", s);
        return true;
    case 'b':
        if (n % 2 != 0 || strspn(s, "0123456789abcdefABCDEF") != n)
            return false;
        buf_addf(out, "X'");
        buf_adds(out, s);
        buf_addc(out, '\'');
        return true;
    default:
        buf_addc(out, '\'');
        for (; *s; s++) {
            if (*s == '\'')
                buf_addc(out, '\'');
            buf_addc(out, *s);
        }
        buf_addc(out, '\'');
        return true;
    }
}

static int
bad_change(const char *table, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "a row of %s: %s", table, why);
}

static int
apply_row(struct db *db, const struct table *t, const cJSON *row, struct err *err)
{
    struct buf names AUTO(buf_release) = BUF_INIT, values AUTO(buf_release) = BUF_INIT;
    struct buf keys AUTO(buf_release) = BUF_INIT, sets AUTO(buf_release) = BUF_INIT;
    struct buf sql AUTO(buf_release) = BUF_INIT;

    for (int i = 0; i < t->n; i++) {
        const struct column *c = &t->c[i];
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(row, c->name);

        if (!v && !c->is_key)
            continue; /* a column that is younger than the note has its default */
        buf_addf(&names, "%s\"%s\"", names.len ? "," : "", c->name);
        buf_adds(&values, values.len ? "," : "");
        if (!v || !add_literal(c, v, &values))
            return bad_change(t->name, c->name, err);
        if (c->is_key)
            buf_addf(&keys, "%s\"%s\"", keys.len ? "," : "", c->name);
        else
            buf_addf(&sets, "%s\"%s\"=excluded.\"%s\"", sets.len ? "," : "", c->name,
                     c->name);
    }
    buf_addf(&sql, "INSERT INTO \"%s\"(", t->name);
    buf_adds(&sql, buf_str(&names));
    buf_adds(&sql, ") VALUES(");
    buf_adds(&sql, buf_str(&values));
    buf_addf(&sql, ") ON CONFLICT(%s) DO %s", buf_str(&keys),
             sets.len ? "UPDATE SET " : "NOTHING");
    buf_adds(&sql, buf_str(&sets));
    return db_exec(db, buf_str(&sql), t->name, err);
}

static int
apply_gone(struct db *db, const struct table *t, const cJSON *gone, struct err *err)
{
    struct buf sql AUTO(buf_release) = BUF_INIT;
    const char *sep = " WHERE ";

    buf_addf(&sql, "DELETE FROM \"%s\"", t->name);
    for (int i = 0; i < t->n; i++) {
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(gone, t->c[i].name);

        if (!t->c[i].is_key)
            continue;
        buf_addf(&sql, "%s\"%s\"=", sep, t->c[i].name);
        sep = " AND ";
        if (!v || !add_literal(&t->c[i], v, &sql))
            return bad_change(t->name, t->c[i].name, err);
    }
    return sep[1] == 'W' ? bad_change(t->name, "it has no key", err)
                         : db_exec(db, buf_str(&sql), t->name, err);
}

int
db_facts_apply(struct db *db, const struct db_schema *schemas, int n,
               const cJSON *change, struct err *err)
{
    const char *name =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(change, "table"));
    const cJSON *row = cJSON_GetObjectItemCaseSensitive(change, "row");
    const cJSON *gone = cJSON_GetObjectItemCaseSensitive(change, "gone");
    const char *known = NULL;
    struct table t;
    int r;

    for (int i = 0; name && !known && i < n; i++)
        for (int k = 0; schemas[i].facts && schemas[i].facts[k]; k++)
            if (strcmp(schemas[i].facts[k], name) == 0)
                known = schemas[i].facts[k];
    if (!known || !(cJSON_IsObject(row) || cJSON_IsObject(gone)))
        return bad_change(
            name ? name : "a table without a name",
            known ? "neither a row nor gone" : "this program knows no such table", err);
    r = read_table(db, known, &t, err);
    if (r < 0)
        return r;
    return gone ? apply_gone(db, &t, gone, err) : apply_row(db, &t, row, err);
}

/* ---- comparing ------------------------------------------------------------------- */

/* Every row as text, in order of its key. */
static int
open_rows(struct db *db, const struct table *t, struct db_stmt **st, struct err *err)
{
    struct buf sql AUTO(buf_release) = BUF_INIT;
    const char *sep = " ORDER BY ";

    buf_adds(&sql, "SELECT ");
    for (int i = 0; i < t->n; i++)
        buf_addf(&sql, "%s\"%s\"", i ? ", " : "", t->c[i].name);
    buf_addf(&sql, " FROM \"%s\"", t->name);
    for (int i = 0; i < t->n; i++)
        if (t->c[i].is_key) {
            buf_addf(&sql, "%s\"%s\"", sep, t->c[i].name);
            sep = ", ";
        }
    return db_query(db, st, err, buf_str(&sql), "");
}

static int
next_row(struct db_stmt *st, const struct table *t, struct buf *row, struct buf *key,
         struct err *err)
{
    int r = db_step(st, err);

    buf_clear(row);
    buf_clear(key);
    for (int i = 0; r == 1 && i < t->n; i++) {
        sqlite3_value *v = sqlite3_column_value(st->sql, i);

        add_value(v, t->c[i].type, row);
        buf_addc(row, ',');
        if (t->c[i].is_key) {
            buf_adds(key, key->len ? ", " : "");
            add_value(v, t->c[i].type, key);
        }
    }
    return r;
}

/* Rows stand in one order in both. At a key that only one of them has the walk of this
 * table ends: one difference says enough. */
static int
compare_table(struct db *a, struct db *b, const struct table *t,
              int (*differs)(void *arg, const char *row, struct err *err), void *arg,
              struct err *err)
{
    struct db_stmt *sa AUTO(db_done_p) = NULL, *sb AUTO(db_done_p) = NULL;
    struct buf ra AUTO(buf_release) = BUF_INIT, rb AUTO(buf_release) = BUF_INIT;
    struct buf ka AUTO(buf_release) = BUF_INIT, kb AUTO(buf_release) = BUF_INIT;
    int r = open_rows(a, t, &sa, err), more_a, more_b;

    if (r == 0)
        r = open_rows(b, t, &sb, err);
    if (r < 0)
        return r;
    more_a = next_row(sa, t, &ra, &ka, err);
    more_b = more_a < 0 ? 0 : next_row(sb, t, &rb, &kb, err);
    while (r == 0 && more_a >= 0 && more_b >= 0 && (more_a || more_b)) {
        char *name AUTO(free_ptr) =
            xasprintf("%s %s", t->name, buf_str(more_a ? &ka : &kb));
        const bool same_key =
            more_a && more_b && strcmp(buf_str(&ka), buf_str(&kb)) == 0;

        if (!same_key || strcmp(buf_str(&ra), buf_str(&rb)) != 0)
            r = differs(arg, name, err);
        if (r < 0)
            return r;
        if (same_key ||
            (more_a && !more_b)) /* a key that only one has shifts the rest */
            more_a = next_row(sa, t, &ra, &ka, err);
        else if (more_a && more_b)
            return 0;
        if (same_key || !more_a)
            more_b = more_b ? next_row(sb, t, &rb, &kb, err) : 0;
    }
    return more_a < 0 ? more_a : more_b < 0 ? more_b : r;
}

int
db_facts_compare(struct db *a, struct db *b, const struct db_schema *schemas, int n,
                 int (*differs)(void *arg, const char *row, struct err *err), void *arg,
                 struct err *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < n; i++)
        for (int k = 0; r == 0 && schemas[i].facts && schemas[i].facts[k]; k++) {
            struct table t;

            r = read_table(a, schemas[i].facts[k], &t, err);
            if (r == 0)
                r = compare_table(a, b, &t, differs, arg, err);
        }
    return r;
}
