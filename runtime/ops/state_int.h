/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_OPS_STATE_INT_H
#define RUNTIME_OPS_STATE_INT_H

#include "runtime/rt_int.h"
#include "runtime/rt_ops.h"

/* The variable of a resource or reference input, lent. NULL with err set. */
struct rt_var *state_var_in(const struct rt_ctx *ctx, int i, struct err *err);
/* For the prepare function of an op that writes a TF1 reference: from now on the
 * variable is written in place (not while loading, when its value may be a slice of the
 * checkpoint). */
int state_share_target(struct rt_prep *p);

#endif
