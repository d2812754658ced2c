#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models that are run by other names than a signature's single tensors: functions of objects that share names,
tables and captured constants; a signature with a sparse and a ragged input; a signature with a default.

usage: make-function-models.py DIR        (TensorFlow 2.15; writes DIR/functions, DIR/sparse_signature)
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

v1 = tf.compat.v1


class Functions(tf.Module):
    def __init__(self):
        self.w = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="w")
        self.b = tf.Variable([10.0, 20.0], name="w")  # a name twice
        self.swapped = tf.Variable([[0.0, 0.0], [0.0, 0.0]], name="w")  # and a shape
        self.n = tf.Variable(0, name="count", dtype=tf.int32)
        self.hundred = tf.constant([100.0, 200.0])
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        self.table = tf.lookup.StaticHashTable(pairs, -1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def __call__(self, x):
        return tf.matmul(x, self.w) + self.b + self.hundred + tf.reduce_sum(self.swapped)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def look(self, words):
        return {"value": self.table.lookup(words), "n": tf.shape(words)[0]}

    @tf.function(input_signature=[])
    def count(self):
        return self.n.assign_add(1)

    @tf.function
    def scale(self, x, by=2.0, flip=False):
        y = x * by
        return (-y, y) if flip else (y, x)


def functions(path):
    m = Functions()
    m.scale(tf.constant([1.0, 2.0]))
    m.scale(tf.constant([[1.0]]), flip=True)
    tf.saved_model.save(m, path)


def sparse_signature(path):
    """y = row sums of a sparse matrix, and the lengths of ragged rows, times `by` (default 3)."""
    with tf.Graph().as_default(), v1.Session() as session:
        s = v1.sparse_placeholder(tf.float32, [None, 4], name="s")
        r = v1.ragged.placeholder(tf.float32, 1, name="r")
        by = v1.placeholder(tf.float32, [], name="by")
        y = tf.multiply(tf.sparse.reduce_sum(s, 1), by, name="y")
        n = tf.cast(r.row_lengths(), tf.float32) * by
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def(
            {"s": info(s), "r": info(r), "by": info(by)},
            {"y": info(y), "n": info(n), "same": info(tf.sparse.map_values(tf.multiply, s, 2.0))}, "predict")
        signature.defaults["by"].CopyFrom(tf.make_tensor_proto(3.0))
        builder = v1.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


if len(sys.argv) != 2:
    sys.exit(__doc__)
functions(sys.argv[1] + "/functions")
sparse_signature(sys.argv[1] + "/sparse_signature")
