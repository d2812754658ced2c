/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: the bytes through DecodeImage, as they are and as floats, and through
 * DecodeAndCropJpeg. */
#include "runtime/rt_int.h"
#include "runtime/rt_ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MEMORY_BYTES = 64 << 20 };

static void
decode(struct rt_session *s, const char *op, struct str node, struct str bytes)
{
    struct err err = ERR_INIT;
    struct rt_plan_mem mem = { 0 };
    int32_t window[4] = { 1, 2, 3, 4 };
    struct rt_tensor x = { .dtype = SM_STRING, .n_elems = 1, .data = &bytes };
    struct rt_tensor w = { .dtype = SM_INT32, .rank = 1, .n_elems = 4, .data = window };
    struct rt_tensor y = { 0 }, deref[2] = { { 0 } };
    const struct rt_tensor *in[2] = { &x, &w };
    struct sm_node sm;
    struct rt_run run;
    w.dims[0] = 4;
    if (sm_node_parse(node, &sm, &err) < 0)
        BUG("the node is ours");
    struct rt_step step = { .node = { .name = "n", .op = op, .n_out = 1 },
                            .run = rt_run_image_decode };
    struct rt_prep prep = { .node = &step.node, .err = &err, .mem = &mem, .sm = &sm };
    step.node.n_in = strcmp(op, "DecodeAndCropJpeg") == 0 ? 2 : 1;
    rt_run_init(&run, s);
    if (rt_prep_image_decode(&prep) == 0 &&
        rt_step_run(&run, &step, in, deref, &y, &err) == 0)
        rt_tensor_unref(&y);
    rt_run_release(&run);
    rt_arena_release(&mem.arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    /* attr { key: "dtype" value { type: DT_FLOAT } } */
    static const char floats[] = "\x2a\x0b\x0a\x05"
                                 "dtype\x12\x02\x30\x01";
    struct rt_session s = { .n_threads = 1 };
    struct str bytes = { (const char *)data, n }, none = { "", 0 };
    rt_mem_init(&s.mem, MEMORY_BYTES);
    decode(&s, "DecodeImage", none, bytes);
    decode(&s, "DecodeImage", (struct str){ floats, sizeof(floats) - 1 }, bytes);
    decode(&s, "DecodeAndCropJpeg", none, bytes);
    rt_mem_release(&s.mem);
    return 0;
}
