#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the tests of `sluice lint` read: small SavedModels of TensorFlow, each with one
thing to say about it or with something near it about which there is nothing to say.

    tools/make-lint-models.py OUT          OUT/<case>/ and OUT/cases.tsv (tests/data/lint)

Needs TensorFlow 2.15. cases.tsv: case, the rules that lint finds in it, with commas ("-":
none). Every case has a fingerprint and warm-up requests, where it is not about them."""
import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
CASES = []


def case(rules="-", bare=False):
    def add(make):
        CASES.append((make.__name__, rules, bare, make))
        return make

    return add


def spec(*shape, dtype=tf.float32, name="x"):
    return tf.TensorSpec(list(shape), dtype, name)


def save(path, *specs, fn, module=None, key="serving_default"):
    m = module or tf.Module()
    m.f = tf.function(lambda *args: {"y": fn(*args)}, input_signature=list(specs))
    tf.saved_model.save(m, path, signatures={key: m.f})


def weights(shape=(3, 2), dtype=tf.float32):
    m = tf.Module()
    m.w = tf.Variable(tf.reshape(tf.range(float(np.prod(shape))), shape), name="w")
    m.w = tf.Variable(tf.cast(m.w, dtype), name="w", dtype=dtype)
    return m


def dense(path, **kw):
    m = weights()
    save(path, spec(None, 3), fn=lambda x: x @ m.w, module=m, **kw)


@case()
def good(path):
    dense(path)


@case("no_fingerprint,no_warmup", bare=True)
def bare(path):
    dense(path)
    os.remove(path + "/fingerprint.pb")


@case("no_serving_default")
def other_key(path):
    dense(path, key="score")


@case("no_signature")
def no_signature(path):
    m = weights()
    m.f = tf.function(lambda x: x @ m.w, input_signature=[spec(None, 3)])
    m.g = tf.function(lambda x: x @ m.w, input_signature=[spec(None, 3)])  # of one it makes a signature
    tf.saved_model.save(m, path)


@case("no_batch")
def batch_of_one(path):
    save(path, spec(1, 3), fn=lambda x: x + 1)


@case("no_batch")
def batch_of_seven(path):
    save(path, spec(7, 3), fn=lambda x: x + 1)


@case()
def without_batch(path):
    """One image, a scalar, serialised examples, a size: none of them is a batch of one."""
    save(path, spec(16, 24, 3, dtype=tf.uint8, name="image"), spec(name="scale"),
         spec(None, dtype=tf.string, name="examples"), spec(2, dtype=tf.int32, name="size"),
         fn=lambda image, scale, examples, size: tf.cast(tf.reduce_max(image), tf.float32) * scale
         + tf.cast(tf.size(examples) + tf.reduce_sum(size), tf.float32))


@case("unknown_rank")
def unknown_rank(path):
    save(path, tf.TensorSpec(None, tf.float32, "x"), fn=lambda x: x + 1)


@case("unneeded_unknown")
def open_matmul(path):
    m = weights()
    save(path, spec(None, None), fn=lambda x: tf.nn.relu(x) @ m.w, module=m)


@case("unneeded_unknown")
def open_conv(path):
    m = weights((3, 3, 4, 2))
    save(path, spec(None, None, None, None), fn=lambda x: tf.nn.conv2d(x, m.w, 1, "SAME"), module=m)


@case()
def open_and_free(path):
    """A length that nothing fixes, and one that a branch alone would."""
    m = weights()
    save(path, spec(None, None),
         fn=lambda x: tf.reduce_sum(x, 1) + tf.cond(
             tf.shape(x)[1] == 3, lambda: tf.reduce_sum(x @ m.w, 1), lambda: tf.reduce_max(x, 1)),
         module=m)


@case("changes_weights")
def step_in_call(path):
    m = weights()

    def f(x):
        tf.raw_ops.ResourceApplyGradientDescent(
            var=m.w.handle, alpha=0.1, delta=tf.matmul(x, x @ m.w, transpose_a=True))
        return x @ m.w

    save(path, spec(None, 3), fn=f, module=m)


@case()
def counts_calls(path):
    m = weights()
    m.n = tf.Variable(0, trainable=False)

    def f(x):
        m.n.assign_add(1)
        return x @ m.w

    save(path, spec(None, 3), fn=f, module=m)


@case("training_mode")
def dropout(path):
    save(path, spec(None, 3), fn=lambda x: tf.nn.dropout(x, 0.5))


@case()
def dropout_behind_switch(path):
    save(path, spec(None, 3), spec(dtype=tf.bool, name="training"),
         fn=lambda x, training: tf.cond(training, lambda: tf.nn.dropout(x, 0.5), lambda: x))


@case()
def sampling(path):
    """Random on purpose: no dropout."""
    save(path, spec(None, 3), fn=lambda x: x + tf.random.uniform(tf.shape(x)))


def norm(path, is_training):
    m = tf.Module()
    m.v = [tf.Variable(tf.ones([3])) for _ in range(4)]
    kw = {} if is_training else {"mean": m.v[2], "variance": m.v[3]}
    save(path, spec(None, 8, 8, 3), module=m, fn=lambda x: tf1.nn.fused_batch_norm(
        x, m.v[0], m.v[1], is_training=is_training, **kw)[0])


@case("training_mode")
def batch_norm(path):
    norm(path, True)


@case()
def batch_norm_off(path):
    norm(path, False)


@case()
def layer_norm(path):
    """Keras makes it of the op of batch norms, in training mode."""
    m = tf.Module()
    m.layer = tf.keras.layers.LayerNormalization()
    m.layer.build([None, 4])
    save(path, spec(None, 4), fn=m.layer.call, module=m)


def graph(path, train, tags=("serve",), train_tags=None):
    with tf.Graph().as_default(), tf1.Session() as s:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        w = tf1.get_variable("w", [3, 2], initializer=tf1.ones_initializer(), use_resource=False)
        y = tf.matmul(x, w, name="y")
        if train:
            tf1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(y * y))
        s.run(tf1.global_variables_initializer())
        b = tf1.saved_model.Builder(path)
        sig = tf1.saved_model.predict_signature_def({"x": x}, {"y": y})
        b.add_meta_graph_and_variables(s, list(tags), {"serving_default": sig})
        if train_tags:
            b.add_meta_graph(list(train_tags))
        b.save()


@case("training_ops,optimizer_slots,no_fingerprint")
def tf1_trained(path):
    graph(path, True)


@case("no_fingerprint")
def tf1_clean(path):
    graph(path, False)


@case("no_serve_tag,no_fingerprint")
def other_tags(path):
    graph(path, False, tags=("transform",))


@case("train_metagraph,no_fingerprint")
def two_metagraphs(path):
    graph(path, False, train_tags=("train",))


@case("unused_variables")
def left_over(path):
    """The checkpoint holds a tensor that no restore op asks for."""
    dense(path)
    r = tf.train.load_checkpoint(path + "/variables/variables")
    names = sorted(r.get_variable_to_shape_map())
    values = [r.get_tensor(n) for n in names] + [np.ones([4, 4], np.float32)]
    tf.raw_ops.SaveV2(prefix=path + "/variables/variables", tensor_names=names + ["old/w"],
                      shape_and_slices=[""] * (len(names) + 1), tensors=values)


@case("float64_weights")
def float64(path):
    m = weights((16, 16), tf.float64)
    save(path, spec(None, 16, dtype=tf.float64), fn=lambda x: x @ m.w, module=m)


@case()
def float64_scalar(path):
    m = weights()
    m.rate = tf.Variable(0.5, dtype=tf.float64)
    save(path, spec(None, 3), fn=lambda x: x @ m.w * tf.cast(m.rate, tf.float32), module=m)


@case("duplicate_constants")
def constant_twice(path):
    value = np.arange(17000, dtype=np.float32)
    save(path, spec(None, 17000), fn=lambda x: (x + tf.constant(value, name="a")) * tf.constant(value, name="b"))


@case()
def constants_differ(path):
    value = np.arange(17000, dtype=np.float32)
    save(path, spec(None, 17000), fn=lambda x: (x + tf.constant(value)) * tf.constant(value + 1))


@case("unused_asset")
def stray_asset(path):
    assets(path)
    with open(path + "/assets/notes.txt", "w") as f:
        f.write("notes\n")


@case()
def assets(path):
    words = path + "-words.txt"
    with open(words, "w") as f:
        f.write("a\nb\n")
    m = tf.Module()
    m.t = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
        words, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER), -1)
    save(path, spec(None, dtype=tf.string), fn=m.t.lookup, module=m)
    os.remove(words)


class Scale(tf.keras.layers.Layer):
    def call(self, x):
        return x * 2.0


@case("custom_objects")
def keras_custom(path):
    tf.keras.Sequential([tf.keras.Input([3]), Scale()]).save(path)


@case("optimizer_slots")
def keras_compiled(path):
    model = tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.fit(np.ones([4, 3]), np.ones([4, 2]), verbose=0)
    model.save(path)


@case()
def keras_plain(path):
    model = tf.keras.Sequential([tf.keras.Input([3]), tf.keras.layers.Dense(2), tf.keras.layers.Dropout(0.5),
                                 tf.keras.layers.BatchNormalization()])
    model.save(path, include_optimizer=False)


def warm_up(path):
    """A PredictionLog with one empty request is enough to be there."""
    os.makedirs(path + "/assets.extra", exist_ok=True)
    with tf.io.TFRecordWriter(path + "/assets.extra/tf_serving_warmup_requests") as w:
        w.write(bytes.fromhex("0a00"))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "cases.tsv"), "w") as f:
        for name, rules, is_bare, make in CASES:
            path = os.path.join(out, name)
            shutil.rmtree(path, ignore_errors=True)
            tf.keras.backend.clear_session()
            make(path)
            if not is_bare:
                warm_up(path)
            f.write("%s\t%s\n" % (name, rules))


if __name__ == "__main__":
    main()
