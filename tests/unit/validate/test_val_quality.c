/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics against what scikit-learn says (tools/make-metrics.py recorded it). */
#include "tests/unit/unit.h"

#include "base/fs.h"
#include "validate/val_int.h"
#include "validate/val_quality.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>

/* A tensor of NumPy's dtype name with the values of a JSON list; the caller frees
 * `data`. */
static void
tensor(struct sm_tensor *t, const cJSON *doc, const char *values, const char *shape,
       const char *dtype)
{
    const cJSON *list = cJSON_GetObjectItem(doc, values), *v;
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItem(doc, dtype));
    int64_t i = 0;

    *t = (struct sm_tensor){ .dtype = strcmp(name, "float32") == 0   ? SM_FLOAT
                                      : strcmp(name, "float64") == 0 ? SM_DOUBLE
                                      : strcmp(name, "bool") == 0    ? SM_BOOL
                                                                     : SM_INT64,
                             .n_elems = cJSON_GetArraySize(list) };
    cJSON_ArrayForEach(v, cJSON_GetObjectItem(doc, shape)) t->dims[t->rank++] =
        (int64_t)v->valuedouble;
    t->data = xcalloc((size_t)t->n_elems, 8);
    cJSON_ArrayForEach(v, list)
    {
        if (t->dtype == SM_FLOAT)
            ((float *)t->data)[i++] = (float)v->valuedouble;
        else if (t->dtype == SM_DOUBLE)
            ((double *)t->data)[i++] = v->valuedouble;
        else if (t->dtype == SM_BOOL)
            ((uint8_t *)t->data)[i++] = cJSON_IsTrue(v) ? 1 : 0;
        else
            ((int64_t *)t->data)[i++] = (int64_t)v->valuedouble;
    }
}

/* The value of a recorded case. */
static double
value_of(const cJSON *doc)
{
    cJSON *spec = cJSON_GetObjectItem(doc, "metric");
    struct err err = ERR_INIT;
    struct val_metric m;
    struct val_rows rows = { .n = 0 };
    struct sm_tensor answers, labels;
    double value;

    cJSON_AddStringToObject(spec, "output", "y");
    CHECK_OK(val_metric_load(&m, spec, &err));
    tensor(&answers, doc, "answers", "shape", "dtype");
    tensor(&labels, doc, "labels", "labels_shape", "labels_dtype");
    CHECK_OK(val_rows_add(&rows, &m, &answers, &labels, &err));
    CHECK_OK(val_metric_find(m.metric)->value(&m, &rows, &value, &err));
    free(answers.data);
    free(labels.data);
    val_rows_release(&rows);
    val_metric_release(&m);
    return value;
}

TEST(test_val_quality__agrees_with_scikit_learn)
{
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *doc AUTO(json_free) = NULL;
    struct err err = ERR_INIT;
    const cJSON *c;
    int n = 0;

    CHECK_OK(fs_read(AT_FDCWD, unit_data("metrics/cases.json"), &text, &err));
    doc = cJSON_Parse(buf_str(&text));
    cJSON_ArrayForEach(c, cJSON_GetObjectItem(doc, "cases"))
    {
        const double want = cJSON_GetObjectItem(c, "value")->valuedouble;
        const double got = value_of(c);

        if (!(fabs(got - want) <= 1e-9))
            unit_fail(__FILE__, __LINE__, "case %d, %s: %.17g, not %.17g", n,
                      cJSON_GetStringValue(cJSON_GetObjectItem(
                          cJSON_GetObjectItem(c, "metric"), "metric")),
                      got, want);
        n++;
    }
    CHECK(n > 150);
}

/* One metric over inline answers and labels, given as a recorded case is: "ok", or
 * why there is no value. */
static void
check_no_value(const char *metric, const char *rest, const char *why)
{
    char *text AUTO(free_ptr) = xasprintf(
        "{\"metric\": {\"output\": \"y\", %s}, \"labels_dtype\": \"int64\", %s}",
        metric, rest);
    cJSON *doc AUTO(json_free) = cJSON_Parse(text);
    struct err err = ERR_INIT;
    struct val_rows rows = { .n = 0 };
    struct val_metric m;
    struct sm_tensor answers, labels;
    double value;

    CHECK(doc);
    CHECK_OK(val_metric_load(&m, cJSON_GetObjectItem(doc, "metric"), &err));
    tensor(&answers, doc, "answers", "shape", "dtype");
    tensor(&labels, doc, "labels", "labels_shape", "labels_dtype");
    if (val_rows_add(&rows, &m, &answers, &labels, &err) == 0)
        CHECK(val_metric_find(m.metric)->value(&m, &rows, &value, &err) < 0);
    CHECK_STR(err.msg, why);
    free(answers.data);
    free(labels.data);
    val_rows_release(&rows);
    val_metric_release(&m);
}

#define ROWS(dtype, shape, answers, labels, labels_shape)                              \
    "\"dtype\": \"" dtype "\", \"shape\": " shape ", \"answers\": " answers            \
    ", \"labels\": " labels ", \"labels_shape\": " labels_shape

TEST(test_val_quality__what_has_no_value_says_why)
{
    check_no_value("\"metric\": \"auc\"",
                   ROWS("float32", "[3]", "[0.1,0.2,0.3]", "[1,1,1]", "[3]"),
                   "all labels are of class 1");
    check_no_value("\"metric\": \"auc\"",
                   ROWS("int64", "[3]", "[0,1,1]", "[1,1,0]", "[3]"),
                   "the output is DT_INT64; auc wants scores (float)");
    check_no_value("\"metric\": \"f1\"",
                   ROWS("int64", "[3]", "[0,1,2]", "[1,1,0]", "[3]"),
                   "there are 3 classes: say \"average\": \"macro\", \"micro\" or "
                   "\"weighted\"");
    check_no_value(
        "\"metric\": \"log_loss\"",
        ROWS("float32", "[2,2]", "[0.1,0.9,4,-3]", "[0,1]", "[2]"),
        "the answer to label 1 is -3, no probability; say \"logits\": true if "
        "they are logits");
    check_no_value("\"metric\": \"log_loss\"",
                   ROWS("float32", "[2,2]", "[0.1,0.9,0.5,0.5]", "[0,2]", "[2]"),
                   "label 1 is 2; the output has classes 0 to 1");
    check_no_value("\"metric\": \"r2\"", ROWS("float32", "[1]", "[1]", "[2]", "[1]"),
                   "one label; r2 wants two at least");
    check_no_value("\"metric\": \"mae\"",
                   ROWS("float32", "[2]", "[1, 1e999]", "[2, 1, 2]", "[3]"),
                   "2 answers for 3 labels");
}
