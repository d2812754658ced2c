/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/rt_ops.h"

#include "runtime/rt_int.h"

const struct rt_op_def rt_op_defs[] = {
#define OP(name, in, out, run, prepare, flags)                                         \
    { #name, in, out, rt_run_##run, rt_prep_##prepare, flags },
#include "runtime/ops.def"
#undef OP
};
const int rt_n_op_defs = (int)(sizeof(rt_op_defs) / sizeof(rt_op_defs[0]));

int
rt_prep_none(struct rt_prep *p)
{
    (void)p;
    return 0;
}

int
rt_run_none(struct rt_ctx *ctx, struct err *err)
{
    return rt_fail(ctx, err, ERR_UNSUPPORTED, "has no meaning here");
}
