/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACCESS_ACC_RULE_INT_H
#define ACCESS_ACC_RULE_INT_H

#include "access/rule.h"

/* An object as a rule names it: parts of its text, whose life it shares. */
struct acc_pattern {
    enum acc_kind kind;
    bool all; /* "*": everything; the rest is empty */
    struct str model, name;
};
/* false: it is none. */
bool acc_pattern_parse(struct acc_pattern *out, struct str text);
/* Whether the text is what the pattern (* and \) stands for. */
bool acc_fits(struct str pattern, struct str text);
/* ACC_NONE: it is none. */
enum acc_right acc_right_named(const char *text);

#endif
