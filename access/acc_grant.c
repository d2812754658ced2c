/* SPDX-License-Identifier: Apache-2.0 */
/* Rights, and the rows of the table `rule`. */
#include "access/acc_int.h"

#include "access/acc_rule_int.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- rights ---------------------------------------------------------------------- */

static const struct {
    enum acc_right right;
    const char *text;
} rights[] = {
#define ACC_RIGHT(name, text, meaning) { ACC_##name, text },
#include "access/rights.def"
#undef ACC_RIGHT
};
#define N_RIGHTS (sizeof(rights) / sizeof(rights[0]))

const char *
acc_right_text(enum acc_right r)
{
    for (size_t i = 0; i < N_RIGHTS; i++)
        if (rights[i].right == r)
            return rights[i].text;
    return "none";
}

enum acc_right
acc_right_named(const char *text)
{
    for (size_t i = 0; i < N_RIGHTS; i++)
        if (strcmp(rights[i].text, text) == 0)
            return rights[i].right;
    return ACC_NONE;
}

int
acc_right_parse(const char *text, enum acc_right *out, struct err *err)
{
    struct buf all AUTO(buf_release) = BUF_INIT;

    *out = acc_right_named(text);
    if (*out != ACC_NONE)
        return 0;
    for (size_t i = 0; i < N_RIGHTS; i++)
        buf_addf(&all, "%s%s", i > 0 ? ", " : "", rights[i].text);
    return err_set(err, ERR_INVALID, "'%s' is no right: there are %s", text,
                   buf_str(&all));
}

/* ---- giving and taking ----------------------------------------------------------- */

/* Tries it on: what cannot be read back must not be written. */
static int
check_rule(const struct acc_grant *g, struct err *err)
{
    const struct acc_rule rule = { .id = 1,
                                   .effect = strcmp(g->effect, "role") == 0 ? ACC_ROLE
                                                                            : ACC_DENY,
                                   .subject = g->subject,
                                   .what = g->what,
                                   .object = g->object };
    struct acc_rules *x = acc_rules_new();
    int r = acc_rules_add(x, &rule, err);

    acc_rules_free(x);
    if (r == 0 && g->until_ns <= g->from_ns)
        r = err_set(err, ERR_INVALID, "it would end before it begins");
    return r;
}

static int
next_change(struct acc *a, int64_t *out, struct err *err)
{
    acc_rules_forget(a);
    return db_get_int(a->db, out, err, "SELECT coalesce(max(change), 0) + 1 FROM rule",
                      "");
}

int
acc_grant(struct acc *a, struct acc_grant *g, struct err *err)
{
    const int64_t now_ns = clock_now_ns();
    int64_t change = 0, found = 0;
    int r = acc_check_subject(a, g->subject, err);

    g->from_ns = g->from_ns > now_ns ? g->from_ns : now_ns;
    g->given_by = a->actor;
    g->given_ns = now_ns;
    if (r == 0)
        r = check_rule(g, err);
    if (r == 0)
        r = db_get_int(a->db, &found, err,
                       "SELECT id FROM rule WHERE subject = ? AND effect = ? AND "
                       "what = ? AND object = ? AND ended_ns = ? AND from_ns <= ? AND "
                       "until_ns >= ? ORDER BY id LIMIT 1",
                       "ttttiii", g->subject, g->effect, g->what, g->object,
                       ACC_FOREVER, g->from_ns, g->until_ns);
    if (r != 0) {
        g->id = found;
        return r < 0 ? r : 0;
    }
    if (next_change(a, &change, err) < 0 ||
        db_run(a->db, err,
               "INSERT INTO rule(subject, effect, what, object, from_ns, until_ns, "
               "given_by, given_ns, reason, ended_ns, change) "
               "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
               "ttttiititii", g->subject, g->effect, g->what, g->object, g->from_ns,
               g->until_ns, a->actor, now_ns, g->reason ? g->reason : "", ACC_FOREVER,
               change) < 0)
        return -(int)err->code;
    g->id = db_last_id(a->db);
    return 1;
}

int
acc_revoke(struct acc *a, const struct acc_grant *g, struct err *err)
{
    const int64_t now_ns = clock_now_ns();
    int64_t id = 0, change = 0;
    bool some = false;
    int r = 1;

    while (r == 1) {
        r = db_get_int(a->db, &id, err,
                       "SELECT id FROM rule WHERE subject = ? AND effect = ? AND "
                       "what = ? AND object = ? AND ended_ns = ? AND until_ns > ? "
                       "ORDER BY id LIMIT 1",
                       "ttttii", g->subject, g->effect, g->what, g->object, ACC_FOREVER,
                       now_ns);
        if (r == 1 && (next_change(a, &change, err) < 0 ||
                       db_run(a->db, err,
                              "UPDATE rule SET ended_ns = ?, ended_by = ?, change = ? "
                              "WHERE id = ?",
                              "itii", now_ns, a->actor, change, id) < 0))
            return -(int)err->code;
        some |= r == 1;
    }
    return r < 0 ? r : some;
}

/* ---- reading them ---------------------------------------------------------------- */

#define COLUMNS                                                                        \
    "id, subject, effect, what, object, from_ns, until_ns, given_by, given_ns, "       \
    "reason, ended_by, ended_ns"

static void
read_row(struct db_stmt *st, struct acc_grant *out)
{
    *out = (struct acc_grant){ .id = db_int(st, 0),
                               .subject = db_text(st, 1),
                               .effect = db_text(st, 2),
                               .what = db_text(st, 3),
                               .object = db_text(st, 4),
                               .from_ns = db_int(st, 5),
                               .until_ns = db_int(st, 6),
                               .given_by = db_text(st, 7),
                               .given_ns = db_int(st, 8),
                               .reason = db_text(st, 9),
                               .ended_by = db_text(st, 10),
                               .ended_ns = db_int(st, 11) };
}

int
acc_grants(struct acc *a, const struct acc_grant_query *q,
           int (*fn)(void *arg, const struct acc_grant *row, struct err *err),
           void *arg, struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    const int64_t at_ns = q->at_ns ? q->at_ns : clock_now_ns();
    const char *subject = q->subject ? q->subject : "", *object = q->object;
    /* now: also what begins later */
    int r = db_query(
        a->db, &st, err,
        "SELECT " COLUMNS " FROM rule WHERE (? = '' OR subject = ? OR subject IN "
        "(SELECT object FROM rule WHERE subject = ? AND effect = 'role' AND "
        "from_ns <= ? AND until_ns > ? AND ended_ns > ?)) AND (? = '' OR object = ?) "
        "AND from_ns <= ? AND given_ns <= ? AND until_ns > ? AND ended_ns > ? "
        "ORDER BY subject, object, what, id",
        "tttiiittiiii", subject, subject, subject, at_ns, at_ns, at_ns,
        object ? object : "", object ? object : "", q->at_ns ? at_ns : ACC_FOREVER,
        at_ns, at_ns, at_ns);

    while (r >= 0 && (r = db_step(st, err)) == 1) {
        struct acc_grant row;

        read_row(st, &row);
        r = fn(arg, &row, err);
    }
    return r;
}

int
acc_grant_get(struct acc *a, int64_t id, struct acc_grant *out, struct buf *text,
              struct err *err)
{
    struct db_stmt *st AUTO(db_done_p) = NULL;
    int r =
        db_query(a->db, &st, err, "SELECT " COLUMNS " FROM rule WHERE id = ?", "i", id);
    const char **all[] = { &out->subject,  &out->effect, &out->what,    &out->object,
                           &out->given_by, &out->reason, &out->ended_by };
    const size_t n = sizeof(all) / sizeof(all[0]);
    size_t bytes = 0;

    if (r < 0 || (r = db_step(st, err)) != 1)
        return r;
    read_row(st, out);
    for (size_t i = 0; i < n; i++)
        bytes += *all[i] ? strlen(*all[i]) + 1 : 0;
    (void)buf_room(text, bytes); /* so that it does not move below */
    for (size_t i = 0; i < n; i++) {
        const char *to = text->data + text->len;

        if (!*all[i])
            continue;
        buf_add(text, *all[i], strlen(*all[i]) + 1);
        *all[i] = to;
    }
    return 1;
}
