/* SPDX-License-Identifier: Apache-2.0 */
/* Between rt_plan.c, which walks the graph, and rt_emit.c, which makes the steps. */
#ifndef RUNTIME_RT_PLAN_INT_H
#define RUNTIME_RT_PLAN_INT_H

#include "runtime/rt_int.h"

/* A tensor of the plan: an argument, a constant, or an output of a step. */
struct rt_value {
    int konst; /* >= 0: index of builder.consts */
    int step;  /* >= 0: who makes it */
    bool is_ref;
    int slot; /* set at the end */
};

/* A graph that is being walked: the root's, or the body of a call that is inlined. */
struct rt_inst {
    struct rt_graph *g;
    struct rt_inst *parent; /* NULL: the root */
    int call;               /* the node of the parent that calls it */
    int depth;
    uint8_t *state;         /* per node */
    int *first_out;         /* per node that is done: where its outputs begin in outs */
    int *step;              /* per node: its step, -1: none */
    struct rt_inst **child; /* per node: the body of an inlined call */
    struct rt_inst *next;
};

struct rt_draft {
    struct rt_step s;
    const struct rt_gnode *g;
    int *in; /* values */
    int first_value;
    int *ctrl; /* flow: steps that must be done before, -1: none */
    int n_ctrl;
    bool keep; /* for its effect */
};

struct rt_builder {
    struct rt_session *s;
    struct rt_plan *plan;
    const struct rt_plan_args *args;
    struct rt_missing *missing;
    bool flow; /* TF1 control flow: every node is a step */
    struct rt_inst *insts;
    size_t n_inst_nodes;
    struct rt_value *values;
    int n_values, cap_values;
    int *outs; /* values, in the order of nodes done */
    int n_outs, cap_outs;
    struct rt_tensor *consts;
    int n_consts, cap_consts;
    struct rt_draft *steps;
    int n_steps, cap_steps;
    int *results; /* values of the plan's outputs */
    struct rt_run fold;
    struct rt_late *late; /* flow: inputs of Merge that come round a loop */
    int n_late;
};
struct rt_late {
    struct rt_inst *inst;
    int node, input;
};

/* Makes node `node` of `inst` a step, a constant or another name of its inputs, and
 * sets inst->first_out. `in` are the values of its data inputs. */
int rt_emit(struct rt_builder *b, struct rt_inst *inst, int node, const int *in,
            struct err *err) MUST_CHECK;
int rt_new_value(struct rt_builder *b, int konst, int step);
int rt_new_const(struct rt_builder *b, struct rt_tensor *t); /* takes the tensor */
/* Which drafts must run: for an effect, or because something needs what they make. */
void rt_mark_needed(struct rt_builder *b, bool *needed);
/* Runs a draft whose inputs are all constants, so that its outputs are constants too.
 * False: it stays a step (a failure too: the run will report it). */
bool rt_fold_draft(struct rt_builder *b, struct rt_draft *d);
/* Makes the passes that are on (rt_pass.c). */
void rt_passes_make(struct rt_builder *b);
/* Drops what nobody needs, gives slots, fills b->plan. */
int rt_emit_finish(struct rt_builder *b, struct err *err) MUST_CHECK;
/* What rt_plan_make does for a function, within another plan. */
int rt_plan_function(struct rt_plan **out, struct rt_session *s, struct rt_func *f,
                     struct rt_missing *missing, struct err *err) MUST_CHECK;
/* Turns the finished plan into one for rt_flow.c. */
int rt_flow_make(struct rt_builder *b, struct err *err) MUST_CHECK;
void rt_flow_free(struct rt_flow_plan *f);

/* Room for one more element in a growing array. */
#define RT_GROW(v, n, cap)                                                             \
    do {                                                                               \
        if ((n) == (cap)) {                                                            \
            (cap) = (cap) ? (cap)*2 : 16;                                              \
            (v) = xreallocarray((v), (size_t)(cap), sizeof(*(v)));                     \
        }                                                                              \
    } while (0)

#endif
