/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a graph with TF1 control flow: made by rt_flow_plan.c, run by rt_flow.c.
 */
#ifndef RUNTIME_RT_FLOW_INT_H
#define RUNTIME_RT_FLOW_INT_H

#include "runtime/rt_plan_int.h"

#include <limits.h>

enum flow_kind {
    FLOW_NORMAL,
    FLOW_SWITCH,
    FLOW_MERGE,
    FLOW_ENTER,
    FLOW_EXIT,
    FLOW_NEXT,
    FLOW_LOOPCOND
};

enum { FLOW_IN_TOKEN = INT_MAX, FLOW_TO_CONTROL = -1, FLOW_TO_RESULT = -2 };

struct flow_edge {
    int step;  /* FLOW_TO_RESULT: the plan's output `input` */
    int input; /* FLOW_TO_CONTROL: a control edge */
};

struct flow_node {
    enum flow_kind kind;
    int frame;     /* it runs in */
    int child;     /* ENTER: the frame it leads to */
    int local;     /* number within its frame */
    int first_in;  /* its place among the frame's inputs */
    int n_wait;    /* tokens to wait for (MERGE: control tokens) */
    int n_data;    /* data tokens */
    bool constant; /* ENTER: for every iteration */
    int *edge_at;  /* n_out + 2: edges of output i begin at edge_at[i], control edges
                      last */
    struct flow_edge *edges;
};

struct flow_frame {
    const char *name;
    int parent, n_inputs, n_enters, enter;
    int *steps, n_steps;
    int *exits, n_exits;
};

struct rt_flow_plan {
    struct flow_node *nodes;
    int n_nodes;
    struct flow_frame *frames;
    int n_frames;
};

#endif
