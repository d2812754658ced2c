#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model for golden record and golden probe: one signature looks rows of an embedding of 12 up by
ids of any number and measures words, the other says how often it was called.

usage: make-record-model.py DIR        (TensorFlow 2.15; writes DIR/record/model)
"""
import os
import shutil
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf


class Model(tf.Module):
    def __init__(self):
        rows = np.arange(12 * 3, dtype=np.float32).reshape(12, 3) / 8
        self.table = tf.Variable(rows, name="table")
        self.calls = tf.Variable(0, dtype=tf.int64, trainable=False, name="calls")

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "ids"),
                                  tf.TensorSpec([None], tf.string, "word"),
                                  tf.TensorSpec([], tf.float32, "scale")])
    def lookup(self, ids, word, scale):
        rows = tf.gather(self.table, tf.cast(ids, tf.int64))
        return {"sum": tf.reduce_sum(rows, axis=1) * scale,
                "length": tf.strings.length(word)}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def count(self, x):
        return {"n": self.calls.assign_add(1), "y": x + 1}


def main():
    to = os.path.join(sys.argv[1], "record", "model")
    m = Model()
    tf.saved_model.save(m, to, {"lookup": m.lookup, "count": m.count})
    shutil.rmtree(os.path.join(to, "assets"), ignore_errors=True)


main()
