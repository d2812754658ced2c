/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fs.h"
#include "tests/unit/unit.h"
#include "validate/lint.h"
#include "validate/val_lint_int.h"

#include <stdio.h>
#include <stdlib.h>

static const struct val_lint_options plain = { .tag_set = NULL };

/* Models of TensorFlow, tools/make-lint-models.py: none is bigger than this. */
static const char *
model_dir(const char *name)
{
    char *path AUTO(free_ptr) = xasprintf("lint/%s", name);
    return unit_data(path);
}

static const char *
member(const cJSON *o, const char *key)
{
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return s ? s : "";
}

static int
number(const cJSON *o, const char *key)
{
    return (int)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, key));
}

static cJSON *
lint(const char *dir, const struct val_lint_options *options)
{
    struct err err = ERR_INIT;
    cJSON *report = NULL;
    CHECK_OK(val_lint(&report, dir, options, &err));
    return report;
}

/* The rules of the findings, each once: "a,b"; "-" when there is none. */
static void
rules_of(const cJSON *report, struct buf *out)
{
    const char *last = "";
    const cJSON *f;
    cJSON_ArrayForEach(f, cJSON_GetObjectItem(report, "findings"))
    {
        if (strcmp(last, member(f, "rule")) == 0)
            continue;
        last = member(f, "rule");
        buf_addf(out, "%s%s", out->len ? "," : "", last);
    }
    if (!out->len)
        buf_adds(out, "-");
}

static const cJSON *
finding(const cJSON *report, const char *rule)
{
    const cJSON *f;
    cJSON_ArrayForEach(
        f, cJSON_GetObjectItem(report, "findings")) if (strcmp(member(f, "rule"),
                                                               rule) == 0) return f;
    return NULL;
}

/* Each model has exactly the findings that its line says: what triggers a rule, and
 * what lies near it and does not. */
TEST(test_val_lint__cases)
{
    struct err err = ERR_INIT;
    struct buf table AUTO(buf_release) = BUF_INIT;
    int n = 0;
    CHECK_OK(fs_read(AT_FDCWD, model_dir("cases.tsv"), &table, &err));
    for (const char *line = buf_str(&table); *line;
         line = strchr(line, '\n') + 1, n++) {
        struct buf got AUTO(buf_release) = BUF_INIT;
        const char *tab = strchr(line, '\t'), *end = strchr(line, '\n');
        char *name AUTO(free_ptr) = xstrndup(line, (size_t)(tab - line));
        char *want AUTO(free_ptr) = xstrndup(tab + 1, (size_t)(end - tab - 1));
        cJSON *report AUTO(json_free) = lint(model_dir(name), &plain);
        rules_of(report, &got);
        if (strcmp(want, buf_str(&got)) != 0)
            unit_fail(__FILE__, __LINE__, "%s has %s, not %s", name, buf_str(&got),
                      want);
    }
    CHECK(n >= 30);
}

TEST(test_val_lint__says_where_and_how_much)
{
    cJSON *j AUTO(json_free) = lint(model_dir("tf1_trained"), &plain);
    const cJSON *f = finding(j, "optimizer_slots");
    CHECK_STR(member(f, "tensor"), "w/Adam");
    CHECK_INT(number(f, "bytes"), 48); /* two of [3, 2] float32 */
    CHECK_STR(member(f, "severity"), "advice");
    CHECK(strstr(member(finding(j, "training_ops"), "message"), "ApplyAdam"));
    CHECK_INT(number(j, "n_warnings"), 0);
    CHECK_INT(number(j, "n_advice"), 3);
    json_free(&j);

    j = lint(model_dir("open_matmul"), &plain);
    f = finding(j, "unneeded_unknown");
    CHECK_STR(member(f, "signature"), "serving_default");
    CHECK_STR(member(f, "input"), "x");
    CHECK_STR(member(f, "op"), "MatMul");
    CHECK(member(f, "function")[0]);
    CHECK_STR(member(f, "message"),
              "dimension 1 is unknown, but the graph takes only 3 there");
    json_free(&j);

    j = lint(model_dir("float64"), &plain);
    CHECK_INT(number(finding(j, "float64_weights"), "bytes"), 16 * 16 * 8 / 2);
    json_free(&j);
    j = lint(model_dir("left_over"), &plain);
    CHECK_STR(member(finding(j, "unused_variables"), "tensor"), "old/w");
    CHECK_INT(number(finding(j, "unused_variables"), "bytes"), 64);
    json_free(&j);
    j = lint(model_dir("keras_custom"), &plain);
    CHECK_STR(member(finding(j, "custom_objects"), "message"),
              "classes that Keras does not have: Scale");
    json_free(&j);
    j = lint(model_dir("stray_asset"), &plain);
    CHECK_STR(member(finding(j, "unused_asset"), "file"), "assets/notes.txt");
    json_free(&j);
    j = lint(model_dir("step_in_call"), &plain);
    CHECK_STR(member(finding(j, "changes_weights"), "op"),
              "ResourceApplyGradientDescent");
    CHECK_STR(member(finding(j, "changes_weights"), "severity"), "warning");
}

TEST(test_val_lint__fine_tuning)
{
    cJSON *j AUTO(json_free) = lint(model_dir("keras_plain"), &plain);
    const cJSON *t = cJSON_GetObjectItem(j, "fine_tuning");
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(t, "possible")));
    CHECK_INT(number(t, "trainable_variables"), 4); /* two of Dense, two of the norm */
    CHECK(cJSON_GetArraySize(cJSON_GetObjectItem(t, "functions_with_training")) > 0);
    json_free(&j);
    j = lint(model_dir("tf1_clean"), &plain);
    t = cJSON_GetObjectItem(j, "fine_tuning");
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(t, "possible")));
    CHECK(strstr(member(t, "message"), "no object graph"));
    json_free(&j);
    j = lint(model_dir("good"), &plain);
    t = cJSON_GetObjectItem(j, "fine_tuning");
    CHECK_INT(number(t, "trainable_variables"), 1);
    CHECK_INT(number(t, "trainable_bytes"), 24);
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(t, "functions_with_training")), 0);
}

TEST(test_val_lint__allowed_rules_are_counted)
{
    struct val_lint_options options = { .allow = "no_warmup,nothing,optimizer_slots" };
    cJSON *j AUTO(json_free) = lint(model_dir("bare"), &options);
    struct buf rules AUTO(buf_release) = BUF_INIT;
    rules_of(j, &rules);
    CHECK_STR(buf_str(&rules), "no_fingerprint");
    CHECK_INT(number(cJSON_GetObjectItem(j, "allowed"), "no_warmup"), 1);
    CHECK(!cJSON_HasObjectItem(cJSON_GetObjectItem(j, "allowed"), "nothing"));
}

TEST(test_val_lint__callers_that_break)
{
    cJSON *changes AUTO(json_free) = cJSON_Parse(
        "[{\"signature\": \"a\", \"breaks_callers\": false, \"why\": [\"wider\"]},"
        " {\"signature\": \"b\", \"breaks_callers\": true, \"why\": [\"p\", \"q\"]},"
        " {\"signature\": \"c\", \"breaks_callers\": false}]");
    struct val_lint_options options = { .changes = changes, .against = "m@1" };
    cJSON *j AUTO(json_free) = lint(model_dir("good"), &options);
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(j, "findings")), 1);
    const cJSON *f = finding(j, "breaks_callers");
    CHECK_STR(member(f, "signature"), "b");
    CHECK_STR(member(f, "message"), "against m@1: p; q");
    CHECK_INT(number(j, "n_warnings"), 1);
}

/* ---- a large constant, which is too much for tests/data ---- */

static void
varint(struct buf *out, uint64_t v)
{
    for (; v > 127; v >>= 7)
        buf_addc(out, (char)((v & 127) | 128));
    buf_addc(out, (char)v);
}

static void
field(struct buf *out, unsigned num, const void *p, size_t n)
{
    varint(out, num << 3 | 2);
    varint(out, n);
    buf_add(out, p, n);
}

static void
wrap(struct buf *b, unsigned num)
{
    struct buf outer = BUF_INIT;
    field(&outer, num, b->data, b->len);
    buf_release(b);
    *b = outer;
}

static void
write_constant(size_t n_bytes)
{
    struct err err = ERR_INIT;
    struct buf b = BUF_INIT, attr = BUF_INIT, node = BUF_INIT;
    char *zeros AUTO(free_ptr) = xcalloc(n_bytes, 1);
    char *file AUTO(free_ptr) = xasprintf("%s/saved_model.pb", unit_dir());
    field(&b, 4, zeros, n_bytes); /* TensorProto.tensor_content */
    wrap(&b, 8);                  /* AttrValue.tensor */
    field(&attr, 1, "value", 5);
    field(&attr, 2, b.data, b.len);
    field(&node, 1, "c", 1);
    field(&node, 2, "Const", 5);
    field(&node, 5, attr.data, attr.len);
    wrap(&node, 1); /* GraphDef.node */
    wrap(&node, 2); /* MetaGraphDef.graph_def */
    wrap(&node, 2); /* SavedModel.meta_graphs */
    CHECK_OK(fs_replace(AT_FDCWD, file, node.data, node.len, 0644, &err));
    buf_release(&b);
    buf_release(&attr);
    buf_release(&node);
}

TEST(test_val_lint__large_constants)
{
    write_constant((1 << 20) - 16);
    cJSON *j AUTO(json_free) = lint(unit_dir(), &plain);
    CHECK(!finding(j, "large_constants"));
    json_free(&j);
    write_constant(1 << 20);
    j = lint(unit_dir(), &plain);
    CHECK_STR(member(finding(j, "large_constants"), "node"), "c");
    CHECK_STR(member(finding(j, "large_constants"), "message"), "a constant of 1.0 MB");
    CHECK(finding(j, "no_signature") && finding(j, "no_serve_tag"));
}

/* Signatures that all have to be followed through one graph. */
static void
write_signatures(int n_signatures, int n_nodes)
{
    struct err err = ERR_INIT;
    struct buf meta = BUF_INIT, graph = BUF_INIT, one = BUF_INIT;
    char *file AUTO(free_ptr) = xasprintf("%s/saved_model.pb", unit_dir());
    for (int i = 0; i < n_nodes; i++) {
        char *name AUTO(free_ptr) = xasprintf("n%d", i);
        one.len = 0;
        field(&one, 1, name, strlen(name));
        field(&one, 2, "NoOp", 4);
        field(&graph, 1, one.data, one.len);
    }
    field(&meta, 2, graph.data, graph.len);
    for (int i = 0; i < n_signatures; i++) {
        char *key AUTO(free_ptr) = xasprintf("s%d", i);
        one.len = 0;
        field(&one, 1, key, strlen(key));
        field(&one, 2, "", 0);
        field(&meta, 5, one.data, one.len); /* MetaGraphDef.signature_def */
    }
    wrap(&meta, 2);
    CHECK_OK(fs_replace(AT_FDCWD, file, meta.data, meta.len, 0644, &err));
    buf_release(&meta);
    buf_release(&graph);
    buf_release(&one);
}

TEST(test_val_lint__says_when_it_gave_up)
{
    write_signatures(10, 20000);
    cJSON *j AUTO(json_free) = lint(unit_dir(), &plain);
    CHECK(cJSON_IsTrue(cJSON_GetObjectItem(j, "complete")));
    json_free(&j);
    write_signatures(2600, 20000);
    j = lint(unit_dir(), &plain);
    CHECK(cJSON_IsFalse(cJSON_GetObjectItem(j, "complete")));
}

TEST(test_val_lint__sarif)
{
    cJSON *j AUTO(json_free) = lint(model_dir("step_in_call"), &plain);
    cJSON *log AUTO(json_free) = val_lint_sarif(j, "export");
    const cJSON *run = cJSON_GetArrayItem(cJSON_GetObjectItem(log, "runs"), 0);
    const cJSON *driver =
        cJSON_GetObjectItem(cJSON_GetObjectItem(run, "tool"), "driver");
    const cJSON *result = cJSON_GetArrayItem(cJSON_GetObjectItem(run, "results"), 0);
    CHECK_STR(member(driver, "name"), "sluice lint");
    CHECK_INT(cJSON_GetArraySize(cJSON_GetObjectItem(driver, "rules")), LINT_N_RULES);
    CHECK_STR(member(result, "ruleId"), "changes_weights");
    CHECK_STR(member(result, "level"), "warning");
    json_free(&j);
    json_free(&log);
    j = lint(model_dir("bare"), &plain);
    log = val_lint_sarif(j, "export");
    run = cJSON_GetArrayItem(cJSON_GetObjectItem(log, "runs"), 0);
    result = cJSON_GetArrayItem(cJSON_GetObjectItem(run, "results"), 0);
    CHECK_STR(member(result, "level"), "note");
    const cJSON *place =
        cJSON_GetArrayItem(cJSON_GetObjectItem(result, "locations"), 0);
    CHECK_STR(member(cJSON_GetObjectItem(cJSON_GetObjectItem(place, "physicalLocation"),
                                         "artifactLocation"),
                     "uri"),
              "export/fingerprint.pb");
}

TEST(test_val_lint__what_cannot_be_looked_at_is_an_error)
{
    struct err err = ERR_INIT;
    struct val_lint_options other = { .tag_set = "train" };
    cJSON *report = NULL;
    char *file AUTO(free_ptr) = xasprintf("%s/saved_model.pb", unit_dir());
    char *dir AUTO(free_ptr) = xasprintf("%s/variables", unit_dir());
    char *index AUTO(free_ptr) = xasprintf("%s/variables.index", dir);
    char *keras AUTO(free_ptr) = xasprintf("%s/keras_metadata.pb", unit_dir());
    CHECK_ERR(val_lint(&report, unit_dir(), &plain, &err), ERR_NOTFOUND);
    CHECK_ERR(val_lint(&report, model_dir("good"), &other, &err), ERR_NOTFOUND);
    CHECK_OK(fs_replace(AT_FDCWD, file, "\x08\x01", 2, 0644, &err));
    CHECK_ERR(val_lint(&report, unit_dir(), &plain, &err), ERR_CORRUPT);
    write_constant(10);
    CHECK_OK(fs_replace(AT_FDCWD, keras, "\x0a\xff", 2, 0644, &err));
    CHECK_ERR(val_lint(&report, unit_dir(), &plain, &err), ERR_CORRUPT);
    CHECK_OK(fs_unlink(AT_FDCWD, keras, &err));
    CHECK_OK(fs_mkdirs(AT_FDCWD, dir, 0755, &err));
    CHECK_OK(fs_replace(AT_FDCWD, index, "no table", 8, 0644, &err));
    CHECK_ERR(val_lint(&report, unit_dir(), &plain, &err), ERR_CORRUPT);
    CHECK(report == NULL);
}
