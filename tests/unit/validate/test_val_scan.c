/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"
#include "tests/unit/unit.h"
#include "validate/scan.h"
#include "validate/val_scan_int.h"

#include <stdio.h>

static const struct val_scan_options all = { 0 };

/* A directory with the crafted model `name` as saved_model.pb. */
static const char *
model_dir(const char *name)
{
    struct err err = ERR_INIT;
    char *file AUTO(free_ptr) = xasprintf("scan/%s.pb", name);
    char *to AUTO(free_ptr) = xasprintf("%s/saved_model.pb", unit_dir());
    CHECK_OK(fs_copy(AT_FDCWD, unit_data(file), AT_FDCWD, to, 0644, &err));
    return unit_dir();
}

static const char *
member(const cJSON *o, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

static const cJSON *
first(const cJSON *o, const char *key)
{
    return cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(o, key), 0);
}

TEST(test_val_scan__tables_agree_with_each_other)
{
    static const char *const listed[] = {
#define SCAN_OP(op, ...) #op,
#include "validate/scan_ops.def"
    };
    for (size_t i = 0; i < sizeof listed / sizeof listed[0]; i++) {
        const struct scan_op *op = scan_op_find(str_of(listed[i]));
        if (!scan_is_tf_op(str_of(listed[i])))
            unit_fail(__FILE__, __LINE__, "%s is no op of TensorFlow", listed[i]);
        CHECK_STR(op->name, listed[i]);
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(listed[i], listed[k]) != 0);
        CHECK(op->how == SCAN_ALWAYS || op->file_input >= 0);
    }
    CHECK(scan_op_find(STR_LIT("Relu")) == NULL);
}

TEST(test_val_scan__tf_ops_are_sorted)
{
    static const char *const names[] = {
#define TF_OP(name) #name,
#include "validate/tf_ops.def"
#undef TF_OP
    };
    size_t n = sizeof names / sizeof names[0];
    CHECK(n > 1800);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) >= 0)
            unit_fail(__FILE__, __LINE__, "%s stands before %s", names[i - 1],
                      names[i]);
    CHECK(scan_is_tf_op(str_of(names[0])) && scan_is_tf_op(str_of(names[n - 1])));
    CHECK(!scan_is_tf_op(STR_LIT("Rel")) && !scan_is_tf_op(STR_LIT("Reluu")));
    CHECK(!scan_is_tf_op(STR_LIT("")) && !scan_is_tf_op(STR_LIT("zzz")));
}

TEST(test_val_scan__path_goes_through_each_call)
{
    struct err err = ERR_INIT;
    cJSON *report AUTO(json_free) = NULL;
    CHECK_OK(val_scan(&report, model_dir("call-three-deep"), &all, &err));
    const cJSON *finding = first(report, "findings");
    CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItem(report, "n_findings")), 1);
    CHECK_STR(member(finding, "class"), "file");
    CHECK_STR(member(finding, "severity"), "error");
    CHECK_STR(member(finding, "op"), "ReadFile");
    CHECK_STR(member(finding, "function"), "f");
    CHECK_STR(member(finding, "tag_set"), "serve");
    const cJSON *way = first(finding, "reached_by");
    CHECK_STR(member(way, "from"), "signature");
    CHECK_STR(member(way, "name"), "serving_default");
    static const char *const want[] = { "y", "a", "x", "b", "x", "c", "x", "f", "x" };
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(way, "path");
    CHECK_INT(cJSON_GetArraySize(path), 9);
    for (int i = 0; i < 9; i++)
        CHECK_STR(cJSON_GetArrayItem(path, i)->valuestring, want[i]);
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(report, "reach_complete")));
}

TEST(test_val_scan__control_characters_do_not_reach_the_report)
{
    struct err err = ERR_INIT;
    cJSON *report AUTO(json_free) = NULL;
    CHECK_OK(val_scan(&report, model_dir("escape-in-function-name"), &all, &err));
    CHECK_STR(member(first(report, "findings"), "function"), "f\\x1b[2J");
}

TEST(test_val_scan__sarif_names_rule_level_and_place)
{
    struct err err = ERR_INIT;
    cJSON *report AUTO(json_free) = NULL;
    CHECK_OK(val_scan(&report, model_dir("call-while-body"), &all, &err));
    cJSON *log AUTO(json_free) = val_scan_sarif(report, "export");
    CHECK_STR(member(log, "version"), "2.1.0");
    const cJSON *run = first(log, "runs");
    const cJSON *driver =
        cJSON_GetObjectItem(cJSON_GetObjectItem(run, "tool"), "driver");
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(driver, "rules")), SCAN_N_CLASSES);
    const cJSON *result = first(run, "results");
    CHECK_STR(member(result, "ruleId"), "file");
    CHECK_STR(member(result, "level"), "error");
    const cJSON *place = first(result, "locations");
    CHECK_STR(member(cJSON_GetObjectItem(cJSON_GetObjectItem(place, "physicalLocation"),
                                         "artifactLocation"),
                     "uri"),
              "export/saved_model.pb");
    CHECK_STR(member(first(place, "logicalLocations"), "fullyQualifiedName"), "f/x");
}

TEST(test_val_scan__what_cannot_be_looked_at_is_an_error)
{
    struct err err = ERR_INIT;
    struct val_scan_options other = { .tag_set = "train" };
    cJSON *report = NULL;
    char *nowhere AUTO(free_ptr) = xasprintf("%s/nowhere", unit_dir());
    char *file AUTO(free_ptr) = xasprintf("%s/saved_model.pb", unit_dir());
    CHECK_ERR(val_scan(&report, nowhere, &all, &err), ERR_NOTFOUND);
    CHECK_ERR(val_scan(&report, unit_dir(), &all, &err), ERR_NOTFOUND);
    CHECK_ERR(val_scan(&report, model_dir("op-print"), &other, &err), ERR_NOTFOUND);
    CHECK_OK(fs_replace(AT_FDCWD, file, "\x0a\xff", 2, 0644, &err));
    CHECK_ERR(val_scan(&report, unit_dir(), &all, &err), ERR_CORRUPT);
    CHECK(report == NULL);
}

/* Findings beyond the limit are counted, and thousands of ways cost no more than one.
 */
TEST(test_val_scan__too_many_findings_are_counted)
{
    enum { N = SCAN_MAX_FINDINGS + 5 };
    struct err err = ERR_INIT;
    struct buf b AUTO(buf_release) = BUF_INIT;
    cJSON *report AUTO(json_free) = NULL;
    char *file AUTO(free_ptr) = xasprintf("%s/saved_model.pb", unit_dir());
    /* SavedModel { 2: MetaGraphDef { 2: GraphDef { 1: NodeDef … } } } */
    struct buf graph AUTO(buf_release) = BUF_INIT;
    for (int i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%05d", i);
        buf_add(&graph, "\x0a\x0f\x0a\x06", 4);
        buf_adds(&graph, name);
        buf_add(&graph, "\x12\x05Print", 7);
    }
    size_t sizes[2] = { graph.len + 5, graph.len }; /* tag, four bytes of length */
    for (int i = 0; i < 2; i++) {
        buf_addc(&b, 0x12);
        for (int k = 0; k < 4; k++)
            buf_addc(&b, (char)((sizes[i] >> 7 * k & 0x7f) | (k < 3 ? 0x80 : 0)));
    }
    buf_add(&b, graph.data, graph.len);
    CHECK_OK(fs_replace(AT_FDCWD, file, b.data, b.len, 0644, &err));
    CHECK_OK(val_scan(&report, unit_dir(), &all, &err));
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(report, "findings")),
              SCAN_MAX_FINDINGS);
    CHECK_INT(cJSON_GetNumberValue(cJSON_GetObjectItem(report, "n_findings")), N);
}
