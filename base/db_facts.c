/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that the log must be able to bring back. A module lists its tables of facts;
 * triggers note each change of a row in fact_change, in the change's own transaction,
 * and whoever writes the next event takes the notes along (db_facts_take). So no verb
 * has to remember what a later rebuild will ask for.
 *
 * A note is an object: {"table": T, "row": {COLUMN: VALUE, …}} for a row as it is now,
 * {"table": T, "gone": {KEY: VALUE, …}} for one that was deleted. Values are strings
 * (integers in decimal, blobs in hex, reals with 17 digits) or null. The key of a row
 * is never changed. Triggers are DDL and belong to the dialect; what is read back is
 * plain rows. */
#include "base/db.h"

#include "base/db_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 32
#define NAME_BYTES 64
#define NAMES_AT 3 /* columns of fact_change: id, name, gone, columns, c0, c1, … */
#define VALUES_AT 4

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

/* ---- triggers -------------------------------------------------------------------- */

/* "INSERT INTO fact_change(…)" and the values of a row that `of` names: NEW, OLD or the
 * table. Values are kept as they are: taking them turns them into text. */
static void
add_note(const struct table *t, const char *of, bool gone, bool is_select,
         struct buf *out)
{
    struct buf names AUTO(buf_release) = BUF_INIT, values AUTO(buf_release) = BUF_INIT;
    int n = 0;

    buf_adds(out, "INSERT INTO fact_change(name, gone, columns");
    for (int i = 0; i < t->n; i++) {
        const struct column *c = &t->c[i];

        if (gone && !c->is_key)
            continue;
        buf_addf(out, ", c%d", n++);
        buf_addf(&names, "%s%s", names.len ? " " : "", c->name);
        buf_addf(&values, ", %s.\"%s\"", of, c->name);
    }
    buf_addf(out, ") %s'%s', %d, '%s'%s%s", is_select ? "SELECT " : "VALUES(", t->name,
             gone, buf_str(&names), buf_str(&values), is_select ? "" : ")");
}

static const struct {
    const char *suffix, *event, *of;
    bool gone;
} kinds[] = { { "i", "INSERT", "NEW", false },
              { "u", "UPDATE", "NEW", false },
              { "d", "DELETE", "OLD", true } };
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int
set_triggers(struct db *db, const struct table *t, struct err *err)
{
    struct buf script AUTO(buf_release) = BUF_INIT;
    struct buf insert AUTO(buf_release) = BUF_INIT, old AUTO(buf_release) = BUF_INIT;
    int r;

    buf_addf(&insert, "CREATE TRIGGER \"fact_%s_i\" AFTER INSERT ON \"%s\" BEGIN ",
             t->name, t->name);
    add_note(t, "NEW", false, false, &insert);
    buf_adds(&insert, "; END");
    r = db_get_text(db, &old, err,
                    "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND "
                    "tbl_name = ? AND sql LIKE 'CREATE TRIGGER \"fact_%_i\"%'",
                    "t", t->name);
    if (r < 0 || (r == 1 && strcmp(buf_str(&old), buf_str(&insert)) == 0))
        return r < 0 ? r : 0;
    for (size_t i = 0; i < N_KINDS; i++) {
        buf_addf(&script,
                 "DROP TRIGGER IF EXISTS \"fact_%s_%s\";"
                 "CREATE TRIGGER \"fact_%s_%s\" AFTER %s ON \"%s\" BEGIN ",
                 t->name, kinds[i].suffix, t->name, kinds[i].suffix, kinds[i].event,
                 t->name);
        add_note(t, kinds[i].of, kinds[i].gone, false, &script);
        buf_adds(&script, "; END;");
    }
    /* rows from before they were noted, or before they had all their columns */
    add_note(t, "x", false, true, &script);
    buf_addf(&script, " FROM \"%s\" AS x", t->name);
    return db_exec(db, buf_str(&script), t->name, err);
}

int
db_facts_watch(struct db *db, const struct db_schema *schemas, int n, struct err *err)
{
    struct buf script AUTO(buf_release) = BUF_INIT;
    int r;

    buf_adds(&script, "CREATE TABLE IF NOT EXISTS fact_change("
                      "id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, "
                      "gone INTEGER NOT NULL, columns TEXT NOT NULL");
    for (int i = 0; i < COLUMNS_MAX; i++)
        buf_addf(&script, ", c%d", i);
    buf_adds(&script, " /* see base/db_facts.c */)");
    r = db_exec(db, buf_str(&script), "make fact_change", err);

    for (int i = 0; r == 0 && i < n; i++)
        for (int k = 0; r == 0 && schemas[i].facts && schemas[i].facts[k]; k++) {
            struct table t;

            r = read_table(db, schemas[i].facts[k], &t, err);
            if (r == 0 && t.n == 0)
                BUG("%s lists a table of facts that it does not make: %s",
                    schemas[i].module, schemas[i].facts[k]);
            if (r == 0)
                r = set_triggers(db, &t, err);
        }
    return r;
}

/* ---- taking and giving back ------------------------------------------------------ */

static void
add_value(struct db_stmt *st, int col, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t n;
    const uint8_t *p;

    switch (db_type(st, col)) {
    case 'n':
        buf_adds(out, "null");
        return;
    case 'i':
        buf_addf(out, "\"%" PRId64 "\"", db_int(st, col));
        return;
    case 'r':
        buf_addf(out, "\"%.17g\"", db_real(st, col));
        return;
    case 'b':
        p = db_blob(st, col, &n);
        buf_addc(out, '"');
        for (size_t i = 0; i < n; i++) {
            buf_addc(out, digits[p[i] >> 4]);
            buf_addc(out, digits[p[i] & 15]);
        }
        buf_addc(out, '"');
        return;
    default:
        p = db_blob(st, col, &n);
        json_add_quoted(out, (struct str){ (const char *)p, n });
    }
}

static void
add_change(struct db_stmt *st, struct buf *out)
{
    const char *name = db_text(st, NAMES_AT);

    buf_addf(out, "{\"table\":\"%s\",\"%s\":{", db_text(st, 1),
             db_int(st, 2) ? "gone" : "row");
    for (int i = VALUES_AT; *name; i++) {
        size_t n = strcspn(name, " ");

        buf_addf(out, "%s\"%.*s\":", i > VALUES_AT ? "," : "", (int)n, name);
        add_value(st, i, out);
        name += n + (name[n] == ' ');
    }
    buf_adds(out, "}}");
}

/* *last: the number of the last one; 0: there is none. */
static int
read_changes(struct db *db, struct buf *out, int64_t *last, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r = db_query(db, &st, err, "SELECT * FROM fact_change ORDER BY id", "");

    *last = 0;
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        buf_addc(out, *last == 0 ? '[' : ',');
        add_change(st, out);
        *last = db_int(st, 0);
    }
    if (*last != 0)
        buf_addc(out, ']');
    return r;
}

int
db_facts_pending(struct db *db, struct buf *out, struct err *err)
{
    int64_t last;
    int r = read_changes(db, out, &last, err);

    return r < 0 ? r : last != 0;
}

int
db_facts_take(struct db *db, struct buf *out, struct err *err)
{
    int64_t last;
    int r;

    if (!db_in_tx(db))
        BUG("changes are taken outside a transaction");
    r = read_changes(db, out, &last, err);
    if (r < 0 || last == 0)
        return r;
    r = db_run(db, err, "DELETE FROM fact_change WHERE id <= ?", "i", last);
    return r < 0 ? r : 1;
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
        add_value(st, i, row);
        buf_addc(row, ',');
        if (t->c[i].is_key) {
            buf_adds(key, key->len ? ", " : "");
            add_value(st, i, key);
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

/* ---- pruning --------------------------------------------------------------------- */

typedef int dropped_fn(void *arg, const char *table, const char *parent, int64_t n_rows,
                       struct err *err);

struct fkey {
    int64_t id;
    char *parent;
    struct buf fits, there; /* "p.id = t.x AND …", "t.x IS NOT NULL AND …" */
};

static void
fkey_release(struct fkey *k)
{
    free(k->parent);
    buf_release(&k->fits);
    buf_release(&k->there);
    *k = (struct fkey){ .id = -1 };
}

static int
prune_key(struct db *db, const char *table, const struct fkey *k, int64_t *n_dropped,
          dropped_fn *dropped, void *arg, struct err *err)
{
    char *sql AUTO(free_ptr) = NULL;
    int64_t n;
    int r;

    if (!k->parent)
        return 0;
    sql = xasprintf("DELETE FROM \"%s\" AS t WHERE %s AND NOT EXISTS "
                    "(SELECT 1 FROM \"%s\" AS p WHERE %s)",
                    table, buf_str(&k->there), k->parent, buf_str(&k->fits));
    r = db_run(db, err, sql, "");
    n = r < 0 ? 0 : db_changes(db);
    *n_dropped += n;
    return n > 0 ? dropped(arg, table, k->parent, n, err) : r;
}

static int
prune_table(struct db *db, const char *table, int64_t *n_dropped, dropped_fn *dropped,
            void *arg, struct err *err)
{
    char *sql AUTO(free_ptr) = xasprintf("PRAGMA foreign_key_list(\"%s\")", table);
    struct db_stmt *st AUTO(db_done_p) = NULL;
    struct fkey k AUTO(fkey_release) = { .id = -1 };
    int r = db_query(db, &st, err, sql, "");

    /* id, seq, parent, from, to; the columns of one key stand together */
    while (r >= 0 && (r = db_step(st, err)) == 1) {
        if (db_int(st, 0) != k.id) {
            r = prune_key(db, table, &k, n_dropped, dropped, arg, err);
            fkey_release(&k);
            k.id = db_int(st, 0);
            k.parent = xstrdup(db_text(st, 2));
        }
        buf_addf(&k.fits, "%sp.\"%s\" = t.\"%s\"", k.fits.len ? " AND " : "",
                 db_text(st, 4), db_text(st, 3));
        buf_addf(&k.there, "%st.\"%s\" IS NOT NULL", k.there.len ? " AND " : "",
                 db_text(st, 3));
    }
    return r < 0 ? r : prune_key(db, table, &k, n_dropped, dropped, arg, err);
}

int
db_facts_prune(struct db *db, const struct db_schema *schemas, int n,
               dropped_fn *dropped, void *arg, struct err *err)
{
    int64_t n_dropped;
    int r = 0;

    do { /* a row that goes may be what another one names */
        n_dropped = 0;
        for (int i = 0; r == 0 && i < n; i++)
            for (int k = 0; r == 0 && schemas[i].facts && schemas[i].facts[k]; k++)
                r = prune_table(db, schemas[i].facts[k], &n_dropped, dropped, arg, err);
    } while (r == 0 && n_dropped > 0);
    return r;
}
