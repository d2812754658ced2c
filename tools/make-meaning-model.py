#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/every_reference: a SavedModel with each way to refer to a function
(attribute, list of branches, loop, gradient, alias), tables, assets, two equal random
ops, an optimizer's slots and state that changes. Tests of the semantic digest rewrite
it in many ways.

    make-meaning-model.py tests/data/every_reference
"""
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import tensorflow as tf


@tf.custom_gradient
def clipped(x):
    def grad(dy):
        return tf.clip_by_value(dy, -0.5, 0.5)

    return tf.identity(x), grad


class Model(tf.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.kernel = tf.Variable(tf.reshape(tf.range(12.0), [3, 4]) / 7, name="kernel")
        self.bias = tf.Variable(tf.zeros([4]), name="bias")
        self.calls = tf.Variable(tf.constant(0, tf.int64), trainable=False, name="calls")
        self.m = [tf.Variable(tf.ones_like(v), trainable=False) for v in (self.kernel, self.bias)]
        self.scale = tf.constant([1.5, 1.5, 1.5, 1.5])
        self.words = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER), -1)
        self.names = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer([0, 1, 2], ["low", "mid", "high"], tf.int64, tf.string), "?")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def score(self, x):
        y = clipped(tf.matmul(x, self.kernel) + self.bias) * self.scale
        y = tf.cond(tf.reduce_sum(y) > 0, lambda: y + 1, lambda: y - 1)
        y = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * 0.5 + self.bias), [0, y],
                          shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 4])])[1]
        self.calls.assign_add(1)
        return {"scores": y, "class": self.names.lookup(tf.math.argmax(y, 1) % 3)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="which"),
                                  tf.TensorSpec([None], tf.string, name="words")])
    def pick(self, which, words):
        n = self.words.lookup(words)
        r = tf.switch_case(which, [lambda: n + 1, lambda: n * 2, lambda: -n])
        return {"number": r}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.int32, name="shape")])
    def noise(self, shape):
        a = tf.random.uniform(shape)
        b = tf.random.uniform(shape)
        return {"sum": a + b, "difference": a - b}


def main():
    out = os.path.abspath(os.path.join(sys.argv[1], "model"))
    tf.random.set_seed(1)
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # so that the path in the table's name is a short one
        with open("vocabulary.txt", "w") as f:
            f.write("alpha\nbeta\ngamma\n")
        save(Model("vocabulary.txt"), out)


def save(m, out):
    score = m.score.get_concrete_function()
    tf.saved_model.save(
        m, out,
        signatures={"serving_default": score, "pick": m.pick.get_concrete_function(),
                    "noise": m.noise.get_concrete_function()},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=True,
                                           function_aliases={"score_alias": m.score}))


if __name__ == "__main__":
    main()
