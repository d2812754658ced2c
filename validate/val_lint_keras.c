/* SPDX-License-Identifier: Apache-2.0 */
/* What Keras would need to load the model as its own, and whether it can be trained on:
 * both from the object graph and keras_metadata.pb. */
#include "validate/val_lint_int.h"

#include <stdlib.h>
#include <string.h>

/* Fields of SavedObject, and of the messages in it. */
enum { OBJECT_USER = 4, OBJECT_FUNCTION = 6, OBJECT_VARIABLE = 7 };

/* ---- classes of Keras ---- */

static const char *const keras_classes[] = {
#define KERAS_CLASS(name) #name,
#include "validate/lint_keras.def"
};

static bool
is_keras_class(struct str name)
{
    for (size_t i = 0; i < sizeof keras_classes / sizeof keras_classes[0]; i++)
        if (str_is(name, keras_classes[i]))
            return true;
    return false;
}

static bool
is_layer(struct str identifier)
{
    static const char *const layers[] = { "_tf_keras_layer", "_tf_keras_rnn_layer",
                                          "_tf_keras_model", "_tf_keras_network",
                                          "_tf_keras_sequential" };
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        if (str_is(identifier, layers[i]))
            return true;
    return false;
}

/* Counts the class when it is not Keras' own. JSON that Python writes and nobody else
 * reads (NaN) has no answer. */
static void
one_class(struct lint_tally *custom, cJSON *texts, struct str identifier,
          struct str metadata)
{
    cJSON *j AUTO(json_free) = NULL;
    if (!is_layer(identifier) || !metadata.n)
        return;
    j = cJSON_ParseWithLength(metadata.p, metadata.n);
    const char *name =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, "class_name"));
    if (!name || is_keras_class(str_of(name)))
        return;
    cJSON *kept = cJSON_CreateString(name); /* outlives j */
    cJSON_AddItemToArray(texts, kept);
    scan_index_add(&custom->names, str_of(kept->valuestring), 0);
}

int
lint_keras(struct lint *l, struct err *err)
{
    struct sm_keras k AUTO(sm_keras_release) = { 0 };
    struct lint_tally custom = { .names = { 0 } };
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *texts AUTO(json_free) = cJSON_CreateArray();
    struct lint_place at = { .file = STR_LIT("keras_metadata.pb") };
    struct str it = l->meta->object_graph, object;
    struct sm_field user;
    if (sm_keras_read(&k, l->dirfd, l->dir, err) < 0) {
        if (err->code != ERR_NOTFOUND)
            return -(int)err->code;
        err_clear(err); /* before TensorFlow 2.5 it stood in the object graph */
        at.file = str_of(sm_form_file(sm_form(l->model)));
        while (sm_pb_next_msg(&it, 1, &object) > 0)
            if (sm_pb_get(object, OBJECT_USER, &user) && user.wire == 2)
                one_class(&custom, texts, sm_pb_bytes(user.bytes, 1),
                          sm_pb_bytes(user.bytes, 3));
    }
    for (int i = 0; i < k.n; i++)
        one_class(&custom, texts, k.v[i].identifier, k.v[i].metadata);
    lint_tally_text(&custom, &text);
    if (text.len)
        lint_add(l, LINT_custom_objects, &at, "classes that Keras does not have: %s",
                 buf_str(&text));
    return 0;
}

/* ---- fine-tuning ---- */

/* A function's Python arguments hold `training`. FunctionSpec's fullargspec is a
 * namedtuple with args and kwonlyargs. */
static bool
takes_training(struct str function)
{
    struct str spec = sm_pb_bytes(sm_pb_bytes(function, 2), 1);
    bool found = false;
    int n;
    struct sm_kv *parts = sm_value_items(spec, &n);
    for (int i = 0; i < n && !found; i++) {
        int n_names;
        if (!str_is(parts[i].key, "args") && !str_is(parts[i].key, "kwonlyargs"))
            continue;
        struct sm_kv *names = sm_value_items(parts[i].value, &n_names);
        for (int k = 0; k < n_names && !found; k++) {
            struct buf text AUTO(buf_release) = BUF_INIT;
            if (sm_value_form(names[k].value) != SM_VALUE_STR)
                continue;
            sm_value_str(names[k].value, &text);
            found = strcmp(buf_str(&text), "training") == 0;
        }
        free(names);
    }
    free(parts);
    return found;
}

struct tuning {
    int n_variables;
    double bytes;
    uint8_t *takes; /* per object: a function with training= */
    int n_objects;
};

static void
read_objects(struct str graph, struct tuning *t)
{
    struct str it, object;
    struct sm_field f;
    for (it = graph; sm_pb_next_msg(&it, 1, &object) > 0;)
        t->n_objects++;
    t->takes = xcalloc((size_t)t->n_objects + 1, 1);
    it = graph;
    for (int i = 0; sm_pb_next_msg(&it, 1, &object) > 0; i++) {
        struct sm_shape shape;
        struct err err = ERR_INIT;
        if (sm_pb_get(object, OBJECT_FUNCTION, &f) && f.wire == 2)
            t->takes[i] = takes_training(f.bytes);
        if (!sm_pb_get(object, OBJECT_VARIABLE, &f) || f.wire != 2 ||
            !sm_pb_int(f.bytes, 3, 0))
            continue;
        t->n_variables++;
        if (sm_shape_parse(sm_pb_bytes(f.bytes, 2), &shape, &err) >= 0)
            t->bytes += lint_bytes((int)sm_pb_int(f.bytes, 1, 0), &shape);
    }
}

/* Functions of the root, and whether it lists its trainable variables. */
static bool
read_root(struct str graph, const struct tuning *t, cJSON *names)
{
    struct str root, child;
    bool lists = false;
    if (sm_pb_next_msg(&graph, 1, &root) <= 0)
        return false;
    while (sm_pb_next_msg(&root, 1, &child) > 0) {
        int64_t id = sm_pb_int(child, 1, 0);
        struct str name = sm_pb_bytes(child, 2);
        lists |= str_is(name, "trainable_variables");
        if (id < 0 || id >= t->n_objects || !t->takes[id])
            continue;
        char *text AUTO(free_ptr) = scan_text(name);
        cJSON_AddItemToArray(names, cJSON_CreateString(text));
    }
    return lists;
}

void
lint_fine_tuning(struct lint *l, cJSON *report)
{
    struct tuning t = { 0 };
    struct buf text AUTO(buf_release) = BUF_INIT;
    cJSON *o = cJSON_AddObjectToObject(report, "fine_tuning");
    cJSON *names = cJSON_AddArrayToObject(o, "functions_with_training"), *name;
    read_objects(l->meta->object_graph, &t);
    bool lists = read_root(l->meta->object_graph, &t, names);
    if (!t.n_objects) {
        buf_adds(&text, "no: there is no object graph (an export of TensorFlow 1)");
    } else if (!t.n_variables) {
        buf_adds(&text, "no: no variable of the object graph is trainable");
    } else {
        buf_addf(&text, "%d trainable variables (", t.n_variables);
        lint_size(&text, t.bytes);
        buf_addf(&text, "), %s",
                 lists ? "listed as trainable_variables"
                       : "not listed by the root object");
        if (names->child)
            buf_adds(&text, "; training= is an argument of");
        cJSON_ArrayForEach(name, names) buf_addf(&text, " %s", name->valuestring);
        if (!names->child)
            buf_adds(&text, "; no function of the root object takes training=");
    }
    json_put_bool(o, "possible", t.n_variables > 0);
    json_put_int(o, "trainable_variables", t.n_variables);
    json_put_int(o, "trainable_bytes", (int64_t)t.bytes);
    json_put_str(o, "message", buf_str(&text));
    free(t.takes);
}
