/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/savedmodel/samples.h"

TEST(test_sm_warmup__every_kind)
{
    static const char *const want[] = {
        "predict half 3 serving_default x",
        "regress half -1 regress inputs",
        "classify half -1 regress inputs",
        "multi_inference half -1 regress,regress inputs",
        "session_run half 3 serving_default serving_default_x:0 -> PartitionedCall_1:0",
    };
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_records r;
    CHECK_OK(fs_read(AT_FDCWD, unit_data("warmup/model/" SM_WARMUP_FILE), &b, &err));
    CHECK_OK(sm_tfrecord_read(str_buf(&b), "f", &r, &err));
    CHECK_INT((int64_t)r.n, 5);
    for (size_t i = 0; i < r.n; i++) {
        struct sm_warmup w;
        struct buf text = BUF_INIT;
        CHECK_OK(sm_warmup_parse(r.v[i], &w, &err));
        buf_addf(&text, "%s %.*s %" PRId64 " ", sm_warmup_kind_name(w.kind),
                 STR_ARG(w.model), w.version);
        for (int k = 0; k < w.n_signatures; k++)
            buf_addf(&text, "%s%.*s", k ? "," : "", STR_ARG(w.signatures[k]));
        CHECK_INT(w.inputs.n, 1);
        buf_addf(&text, " %s", w.inputs.v[0].name);
        for (int k = 0; k < w.n_fetches; k++)
            buf_addf(&text, " -> %.*s", STR_ARG(w.fetches[k]));
        CHECK_STR(buf_str(&text), want[i]);
        const struct sm_tensor *t = &w.inputs.v[0].t;
        if (t->dtype == SM_FLOAT)
            CHECK(t->n_elems == 2 && ((const float *)t->data)[1] == 2);
        else
            CHECK(t->dtype == SM_STRING && t->n_elems == (i == 2 ? 1 : 2) &&
                  sm_tensor_str(t)[0].n > 4);
        sm_warmup_release(&w);
        buf_release(&text);
    }
    sm_records_release(&r);
    buf_release(&b);
}

static void
refused(const char *hex, enum err_code code, const char *part)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT;
    struct sm_warmup w;
    add_hex(&b, hex);
    int rc = sm_warmup_parse(str_buf(&b), &w, &err);
    if (rc != -(int)code || !strstr(err.msg, part))
        unit_fail(__FILE__, __LINE__, "%s: %d %s", hex, rc, err.msg);
    CHECK(w.inputs.n == 0 && w.signatures == NULL);
    buf_release(&b);
}

TEST(test_sm_warmup__refused)
{
    refused("", ERR_UNSUPPORTED, "without a request");
    refused("3a00", ERR_UNSUPPORTED, "streamed");
    refused("4a00", ERR_UNSUPPORTED, "not known");
    refused("3205", ERR_CORRUPT, "malformed PredictionLog");
    refused("3203 0a05 00", ERR_CORRUPT, "malformed PredictionLog");
    refused("320c 0a0a 1208 0a0178 1203 080109", ERR_CORRUPT, "input \"x\"");
}
