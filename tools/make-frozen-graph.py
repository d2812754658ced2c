#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/frozen: a frozen graph in both forms, and TensorFlow's answers.

    tools/make-frozen-graph.py OUT         needs TensorFlow 2.15

graph.pb, graph.pbtxt: two Placeholders (image, scale), a small network, a top-k and a branch
that needs neither; image_0.npy, scale_0.npy: inputs; <tensor>.npy: what TensorFlow says, of flat too."""
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

WANTED = ["net/flat:0", "net/probabilities:0", "best:0", "best:1", "bright:0", "five:0"]


class Net(tf.Module):
    def __init__(self):
        rng = np.random.default_rng(7)
        self.kernel = tf.Variable(rng.normal(size=(3, 3, 1, 2)).astype(np.float32))
        self.dense = tf.Variable(rng.normal(size=(18, 4)).astype(np.float32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 5, 5, 1], tf.float32, name="image"),
            tf.TensorSpec([], tf.float32, name="scale"),
        ]
    )
    def __call__(self, image, scale):
        with tf.name_scope("net"):
            h = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "VALID"))
            flat = tf.reshape(h, [-1, 18], name="flat")
            scores = tf.matmul(flat, self.dense) * scale
            p = tf.nn.softmax(scores, name="probabilities")
        best = tf.raw_ops.TopKV2(input=p, k=2, name="best")
        bright = tf.greater(tf.reduce_max(image, [1, 2, 3]), 0.5, name="bright")
        five = tf.add(tf.constant([2, 3]), 3, name="five")
        return p, best, bright, five


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    net = Net()  # must outlive its function
    frozen = convert_variables_to_constants_v2(net.__call__.get_concrete_function())
    graph = frozen.graph.as_graph_def()
    for name, text in (("graph.pb", False), ("graph.pbtxt", True)):
        tf.io.write_graph(graph, out, name, as_text=text)
    image = np.random.default_rng(8).normal(size=(3, 5, 5, 1)).astype(np.float32)
    feeds = {"image:0": image, "scale:0": np.float32(0.25)}
    with tf.Graph().as_default() as g, tf.compat.v1.Session() as session:
        tf.import_graph_def(graph, name="")
        answers = session.run(WANTED, feeds)
    for name, value in {**feeds, **dict(zip(WANTED, answers))}.items():
        np.save(os.path.join(out, name.replace("/", "_").replace(":", "_") + ".npy"), value)


main()
