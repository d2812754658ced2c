/* SPDX-License-Identifier: Apache-2.0 */
/* Rules in memory, and the one function that decides by them. It reads no clock, no
 * catalogue and no state but its arguments.
 *
 * A rule says of a subject that it may, or may not (deny), do something with an object.
 * "Something" is a right of rights.def or the name of one verb. A rule of a role
 * (`role:NAME`) counts for who has that role at the time. In this order:
 *   1. one rule that denies decides, whatever else there is;
 *   2. else one that allows does: its right, or its verb, is the one that is asked, and
 *      any right that is given includes reading (one that is denied denies no other);
 *   3. else nothing allows it.
 * Of several that would do, the one with the lowest number is named.
 *
 * What covers what:
 *   *                    everything
 *   store                the store as a whole: settings, gc, backup, grants, log
 *   MODEL                its versions, aliases, golden sets, and policies of its own
 *   MODEL@ALIAS          what is asked about that alias of that model
 *   target:NAME golden:MODEL/NAME policy:ALIAS policy:target:NAME
 *   hook:NAME key:NAME host:NAME
 *
 * In each part of a name * stands for any bytes (team-*, *@production); a backslash
 * takes that away from the character that follows. A model that is called "store" is
 * model:store. */
#ifndef ACCESS_RULE_H
#define ACCESS_RULE_H

#include "access/access.h"

#define ACC_FOREVER INT64_MAX

enum acc_effect { ACC_ALLOW, ACC_DENY, ACC_ROLE /* the subject has role `object` */ };

struct acc_rule {
    int64_t id; /* above 0 */
    enum acc_effect effect;
    const char *subject;       /* "alice", "role:oncall" */
    const char *what;          /* "promote", "rollback", "verb:push"; of a role: "" */
    const char *object;        /* as above; of a role: "role:oncall" */
    int64_t from_ns, until_ns; /* from <= now < until */
};

struct acc_rules;
struct acc_rules *acc_rules_new(void);
void acc_rules_free(struct acc_rules *x);
/* Copies. ERR_INVALID: `object` or `what` is none. */
int acc_rules_add(struct acc_rules *x, const struct acc_rule *rule,
                  struct err *err) MUST_CHECK;
int acc_rules_count(const struct acc_rules *x);

struct acc_question {
    const char *subject;
    enum acc_right right; /* ACC_NONE: only the verb is asked */
    const char *verb;     /* NULL: only the right is */
    struct acc_object on;
    int64_t now_ns;
};
struct acc_answer {
    bool allowed;
    int64_t rule; /* that decided; 0: none does */
    int64_t role; /* the rule that gives its role; 0: it is the subject's own */
};
void acc_decide(const struct acc_rules *x, const struct acc_question *q,
                struct acc_answer *out);
/* Whether anything at all may be asked of what `q` names, on whatever object: some rule
 * allows it somewhere now. q->on is not read. */
bool acc_decide_any(const struct acc_rules *x, const struct acc_question *q);

/* ---- objects of rules ---- */

#define ACC_OBJECT_MAX 448 /* bytes of its text */

/* Writes the canonical text of an object of a rule. ERR_INVALID says what there is. */
int acc_object_parse(const char *text, struct buf *canonical,
                     struct err *err) MUST_CHECK;
/* The one thing that such a text names. ERR_INVALID: it is none, or several. */
struct acc_asked {
    struct acc_object on; /* of the text below */
    struct buf text;
};
int acc_asked_parse(const char *text, struct acc_asked *out,
                    struct err *err) MUST_CHECK;
void acc_asked_release(struct acc_asked *x); /* for AUTO */
/* A right, or a verb: "verb:push" where a right has the name, too. `what` gets what a
 * rule holds. ERR_INVALID: no name of either. Which verbs there are is not known here.
 */
int acc_what_parse(const char *text, enum acc_right *right, const char **verb,
                   struct err *err) MUST_CHECK;
/* "role:NAME" with a NAME of letters, digits and . _ - */
bool acc_is_role(const char *subject);

#endif
