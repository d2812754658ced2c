/* SPDX-License-Identifier: Apache-2.0 */
/* Prototypes of all kernels, from runtime/ops.def: own header of the files in
 * runtime/ops/. (A function may serve many lines: it finds its own by ctx->node->op,
 * best looked up in prepare.) */
#ifndef RUNTIME_RT_OPS_H
#define RUNTIME_RT_OPS_H

#include "runtime/rt_kernel.h"

#define OP(name, in, out, run, prepare, flags)                                         \
    rt_run_fn rt_run_##run;                                                            \
    rt_prepare_fn rt_prep_##prepare;
#include "runtime/ops.def"
#undef OP
rt_prepare_fn rt_prep_none; /* nothing to prepare */
rt_run_fn rt_run_none;      /* of RT_CONTROL and RT_REFUSED lines */

#endif
