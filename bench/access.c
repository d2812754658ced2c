/* SPDX-License-Identifier: Apache-2.0 */
/* What a decision costs, by tables of several sizes: the decision alone, and the gate
 * as verbs ask it, which looks whether the catalogue's rules are still those.
 * usage: access DIRECTORY (a store, whose catalogue gets the rules) */
#include "access/rule.h"
#include "base/clock.h"
#include "base/fs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ASKED = 200000 };

static void
die(const struct err *err)
{
    fprintf(stderr, "access: %s\n", err->msg);
    exit(1);
}

/* Of this process: others may want the core, too. */
static int64_t
cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* n rules as a large team has them: most on one model each, some on patterns and
 * aliases, a few that deny; half of them those of four roles, which `alice` has. */
static void
rule_at(int i, char subject[32], char object[64], struct acc_rule *out)
{
    static const char *const whats[] = { "read", "push", "promote", "rollback" };

    snprintf(subject, 32, i % 2 ? "role:r%d" : "user%d",
             i % 2 ? i / 2 % 4 : i / 2 % 50);
    snprintf(object, 64,
             i % 16 == 3   ? "team%d-*"
             : i % 16 == 7 ? "model%d@production"
             : i % 64 == 9 ? "*@alias%d"
                           : "model%d",
             i);
    *out = (struct acc_rule){ .id = i + 1,
                              .effect = i % 50 == 17 ? ACC_DENY : ACC_ALLOW,
                              .subject = subject,
                              .what = whats[i / 2 % 4],
                              .object = object,
                              .until_ns = ACC_FOREVER };
}

static int
give_roles(int (*give)(void *arg, const struct acc_rule *r, struct err *err), void *arg,
           int n, struct err *err)
{
    for (int i = 0; i < 4; i++) {
        char role[32];
        const struct acc_rule r = { .id = n + i + 1,
                                    .effect = ACC_ROLE,
                                    .subject = "alice",
                                    .what = "",
                                    .object = role,
                                    .until_ns = ACC_FOREVER };

        snprintf(role, sizeof(role), "role:r%d", i);
        if (give(arg, &r, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int
add(void *arg, const struct acc_rule *r, struct err *err)
{
    return acc_rules_add(arg, r, err);
}

static void
decide(int n)
{
    struct acc_rules *x = acc_rules_new();
    struct err err = ERR_INIT;
    int64_t start_ns, took_ns, most_ns = 0;
    int n_allowed = 0;

    start_ns = cpu_ns();
    for (int i = 0; i < n; i++) {
        char subject[32], object[64];
        struct acc_rule r;

        rule_at(i, subject, object, &r);
        if (acc_rules_add(x, &r, &err) < 0)
            die(&err);
    }
    if (give_roles(add, x, n, &err) < 0)
        die(&err);
    const double load_ms = (double)(cpu_ns() - start_ns) / 1e6;
    start_ns = cpu_ns();
    for (int i = 0; i < ASKED; i++) {
        char model[32];
        const struct acc_question q = { .subject = "alice",
                                        .right = ACC_PROMOTE,
                                        .verb = "promote",
                                        .on = acc_alias(model, "production"),
                                        .now_ns = 1 };
        struct acc_answer a;

        snprintf(model, sizeof(model), i % 3 ? "model%d" : "team%d-a", i * 7 % n);
        const int64_t one_ns = i % 64 == 0 ? clock_mono_ns() : 0;
        acc_decide(x, &q, &a);
        if (one_ns && clock_mono_ns() - one_ns > most_ns)
            most_ns = clock_mono_ns() - one_ns;
        n_allowed += a.allowed;
    }
    took_ns = cpu_ns() - start_ns;
    printf(
        "  %6d rules  %6.2f us a decision (%4.1f %% allowed; the slowest of a sample "
        "%.1f us); to load them %.2f ms\n",
        n, (double)took_ns / 1e3 / ASKED, 100.0 * n_allowed / ASKED,
        (double)most_ns / 1e3, load_ms);
    acc_rules_free(x);
}

struct store {
    struct db *db;
    struct acc *acc;
};

static int
insert(void *arg, const struct acc_rule *r, struct err *err)
{
    static const char *const effects[] = {
        [ACC_ALLOW] = "allow", [ACC_DENY] = "deny", [ACC_ROLE] = "role"
    };
    const struct store *s = arg;

    return db_run(s->db, err,
                  "INSERT INTO rule(id, subject, effect, what, object, from_ns, "
                  "until_ns, given_by, given_ns, reason, ended_ns, change) "
                  "VALUES(?, ?, ?, ?, ?, 0, ?, 'x', 0, '', ?, ?)",
                  "ittttiii", r->id, r->subject, effects[r->effect], r->what, r->object,
                  r->until_ns, ACC_FOREVER, r->id);
}

/* The whole gate, in the name of alice. */
static int
gate(const char *dir, int n, struct err *err)
{
    const struct acc_who who = { .subject = "alice", .via = "" };
    struct store s = { .db = NULL };
    char path[4096];
    int dirfd AUTO(fs_close) = -1;
    int n_allowed = 0;

    snprintf(path, sizeof(path), "%s/catalogue-%d.db", dir, n);
    if (fs_open_dir(&dirfd, AT_FDCWD, dir, err) < 0 ||
        db_open(&s.db, path, DB_CREATE, err) < 0 ||
        db_migrate(s.db, &acc_schema, 1, err) < 0 || db_begin(s.db, err) < 0)
        return -(int)err->code;
    for (int i = 0; i < n; i++) {
        char subject[32], object[64];
        struct acc_rule r;

        rule_at(i, subject, object, &r);
        if (insert(&s, &r, err) < 0)
            return -(int)err->code;
    }
    if (give_roles(insert, &s, n, err) < 0 || db_commit(s.db, err) < 0 ||
        acc_open(&s.acc, dirfd, s.db, err) < 0 || acc_act_as(s.acc, &who, err) < 0)
        return -(int)err->code;
    int64_t start_ns = cpu_ns();
    if (acc_may(s.acc, NULL, ACC_READ, acc_model("model1"), err) < 0)
        return -(int)err->code;
    const double first_ms = (double)(cpu_ns() - start_ns) / 1e6;
    start_ns = cpu_ns();
    for (int i = 0; i < ASKED; i++) {
        char model[32];
        int r;

        snprintf(model, sizeof(model), i % 3 ? "model%d" : "team%d-a", i * 7 % n);
        r = acc_may(s.acc, "promote", ACC_PROMOTE, acc_alias(model, "production"), err);
        if (r < 0)
            return r;
        n_allowed += r;
    }
    printf(
        "  %6d rules  %6.2f us a question to the gate (%4.1f %% allowed); the first, "
        "which reads the rules, %.2f ms\n",
        n, (double)(cpu_ns() - start_ns) / 1e3 / ASKED, 100.0 * n_allowed / ASKED,
        first_ms);
    acc_close(s.acc);
    db_close(s.db);
    return 0;
}

int
main(int argc, char **argv)
{
    static const int sizes[] = { 10, 100, 1000, 5000, 20000, 100000 };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        decide(sizes[i]);
    for (size_t i = 0; argc > 1 && i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (gate(argv[1], sizes[i], &err) < 0)
            die(&err);
    return 0;
}
