/* SPDX-License-Identifier: Apache-2.0 */
/* What a step costs, from its shapes alone: an estimate to compare steps by, in the way
 * papers count (a multiply-add is two operations). */
#include "runtime/rt_trace.h"

#include "runtime/ops/nn_int.h"

#include <fnmatch.h>
#include <math.h>

enum cost {
    MOVES,
    ELEMENTS,
    READS,
    MATMUL,
    CONTRACTS,
    CONV,
    DEPTHWISE,
    CONV_BACK,
    ATTENTION
};

/* The first line that fits counts; what stands in none costs one an element of its
 * outputs. */
static const struct {
    const char *op; /* as a file name pattern */
    enum cost cost;
} costs[] = {
    { "DepthwiseConv2dNative", DEPTHWISE },
    { "_FusedDepthwiseConv2dNative", DEPTHWISE },
    { "Conv*Backprop*", CONV_BACK },
    { "*Conv[23]D*", CONV },
    { "*MatMul*", MATMUL },
    { "_Attention", ATTENTION },
    { "*Einsum", CONTRACTS },
    { "Sum", READS },
    { "Mean", READS },
    { "Prod", READS },
    { "Max", READS },
    { "Min", READS },
    { "Arg*", READS },
    { "All", READS },
    { "Any", READS },
    { "*Pool*", READS },
    { "Segment*", READS },
    { "UnsortedSegment*", READS },
    { "Identity*", MOVES },
    { "*Reshape", MOVES },
    { "ExpandDims", MOVES },
    { "Squeeze", MOVES },
    { "*Transpose", MOVES },
    { "Concat*", MOVES },
    { "Pack", MOVES },
    { "Unpack", MOVES },
    { "Split*", MOVES },
    { "*Slice", MOVES },
    { "Gather*", MOVES },
    { "ResourceGather*", MOVES },
    { "*Pad*", MOVES },
    { "Tile", MOVES },
    { "Broadcast*", MOVES },
    { "Fill", MOVES },
    { "*Shape*", MOVES },
    { "Rank", MOVES },
    { "Size", MOVES },
    { "*Variable*", MOVES },
    { "VarHandleOp", MOVES },
    { "Tensor*", MOVES },
    { "*SpaceTo*", MOVES },
    { "*ToSpace*", MOVES },
    { "Reverse*", MOVES },
    { "*While", MOVES },
    { "*If", MOVES },
    { "*Case", MOVES },
    { "*PartitionedCall", MOVES },
    { "Switch", MOVES },
    { "Merge", MOVES },
    { "Enter", MOVES },
    { "Exit", MOVES },
    { "NextIteration", MOVES },
};

static enum cost
cost_of(const char *op)
{
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
        if (fnmatch(costs[i].op, op, 0) == 0)
            return costs[i].cost;
    return ELEMENTS;
}

static double
elems(const struct rt_tensor *t)
{
    return (double)t->n_elems;
}

/* Filters are [k…, channels in, channels out]. */
static double
per_output(const struct rt_tensor *filter)
{
    int64_t out = filter->rank > 0 ? filter->dims[filter->rank - 1] : 1;
    return out > 0 ? 2 * elems(filter) / (double)out : 0;
}

/* The sum index of [.., m, k] x [.., k, n] from what is known whichever of them is
 * transposed: (m k) (k n) / (m n) = k^2. */
static double
matmul(const struct rt_tensor *a, const struct rt_tensor *b, const struct rt_tensor *y)
{
    if (a->rank < 2 || b->rank < 2 || y->rank < 2 || y->n_elems == 0)
        return 0;
    const int64_t *p = &a->dims[a->rank - 2], *q = &b->dims[b->rank - 2],
                  *r = &y->dims[y->rank - 2];
    double k2 = (double)p[0] * (double)p[1] * (double)q[0] * (double)q[1] /
                ((double)r[0] * (double)r[1]);
    return 2 * elems(y) * sqrt(k2);
}

double
rt_cost_flops(const struct rt_node *n, const struct rt_tensor *const *in,
              const struct rt_tensor *out)
{
    if (n->n_out == 0)
        return 0;
    double reads = 0, writes = 0;
    for (int i = 0; i < n->n_in; i++)
        reads = fmax(reads, elems(in[i]));
    for (int i = 0; i < n->n_out; i++)
        writes += elems(&out[i]);
    switch (cost_of(n->op)) {
    case MOVES:
        return 0;
    case READS:
        return reads;
    case MATMUL:
        return n->n_in >= 2 ? matmul(in[0], in[1], &out[0]) : 0;
    case CONTRACTS:
        return n->n_in >= 2 ? 2 * sqrt(elems(in[0]) * elems(in[1]) * elems(&out[0]))
                            : reads;
    case CONV:
        return n->n_in >= 2 ? elems(&out[0]) * per_output(in[1]) : 0;
    case DEPTHWISE:
        return n->n_in >= 2 && in[1]->rank == 4
                   ? 2 * elems(&out[0]) * (double)in[1]->dims[0] *
                         (double)in[1]->dims[1]
                   : 0;
    case CONV_BACK:
        return n->n_in >= 3 ? elems(in[2]) * per_output(in[1]) : 0;
    case ATTENTION:
        return nn_attention_flops(n->state, in);
    case ELEMENTS:
        break;
    }
    return writes;
}
