/* SPDX-License-Identifier: Apache-2.0 */
/* libtensorflow's C API as bench/runtime's engine. Threads are those within an op; ops
 * run one after the other, as they do in the embedded runtime. */
#include "bench/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

static struct {
    TF_Session *session;
    TF_Graph *graph;
    TF_Status *status;
    TF_Output in[BENCH_MAX_TENSORS], out[BENCH_MAX_TENSORS];
    TF_Tensor *args[BENCH_MAX_TENSORS], *answers[BENCH_MAX_TENSORS];
    int n_in, n_out;
} e;

static void
need(const char *what)
{
    if (TF_GetCode(e.status) != TF_OK)
        bench_die(what, TF_Message(e.status));
}

static TF_Output
output_of(const char *name)
{
    char node[1024];
    snprintf(node, sizeof node, "%s", name);
    char *colon = strrchr(node, ':');
    int index = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
    if (colon)
        *colon = '\0';
    TF_Output o = { TF_GraphOperationByName(e.graph, node), index };
    if (!o.oper)
        bench_die(name, "is not in the graph");
    return o;
}

static TF_Tensor *
tensor_of(TF_Output o, const struct bench_tensor *t)
{
    TF_DataType dtype = TF_OperationOutputType(o);
    if (dtype != TF_STRING) {
        TF_Tensor *x = TF_AllocateTensor(dtype, t->dims, t->rank, t->n_bytes);
        memcpy(TF_TensorData(x), t->data, t->n_bytes);
        return x;
    }
    size_t n = (size_t)t->n_elems;
    TF_Tensor *x = TF_AllocateTensor(dtype, t->dims, t->rank, n * sizeof(TF_TString));
    TF_TString *s = TF_TensorData(x);
    for (size_t i = 0; i < n; i++) {
        TF_TString_Init(&s[i]);
        TF_TString_Copy(&s[i], t->data, t->n_bytes);
    }
    return x;
}

void
engine_load(const char *dir, int n_threads, const struct bench_io *io)
{
    const char *tags = getenv("BENCH_TAGS");
    if (!tags)
        tags = "serve";
    e.status = TF_NewStatus();
    e.graph = TF_NewGraph();
    TF_SessionOptions *options = TF_NewSessionOptions();
    /* ConfigProto: intra_op_parallelism_threads (2), inter_op_parallelism_threads (5)
     */
    unsigned char config[] = { 0x10, (unsigned char)n_threads, 0x28, 1 };
    TF_SetConfig(options, config, sizeof config, e.status);
    need("config");
    e.session = TF_LoadSessionFromSavedModel(options, NULL, dir, &tags, 1, e.graph,
                                             NULL, e.status);
    need(dir);
    for (int i = 0; i < io->n_in; i++) {
        e.in[i] = output_of(io->in[i].name);
        e.args[i] = tensor_of(e.in[i], &io->in[i]);
    }
    for (int i = 0; i < io->n_out; i++)
        e.out[i] = output_of(io->out[i].name);
    e.n_in = io->n_in;
    e.n_out = io->n_out;
}

void
engine_run(void)
{
    for (int i = 0; i < e.n_out; i++)
        if (e.answers[i])
            TF_DeleteTensor(e.answers[i]);
    TF_SessionRun(e.session, NULL, e.in, e.args, e.n_in, e.out, e.answers, e.n_out,
                  NULL, 0, NULL, e.status);
    need("run");
}

size_t
engine_answer(int i, double *v, size_t n)
{
    const TF_Tensor *t = e.answers[i];
    if (TF_TensorType(t) != TF_FLOAT)
        return 0;
    size_t have = (size_t)TF_TensorElementCount(t);
    n = have < n ? have : n;
    for (size_t k = 0; k < n; k++)
        v[k] = (double)((const float *)TF_TensorData(t))[k];
    return n;
}
