#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/show_arguments: a SavedModel whose functions take each kind of argument
that saved_model_cli has words for, and its own text. Needs TensorFlow 2.15.

    make-show-model.py tests/data/show_arguments
"""
import collections
import contextlib
import io
import pathlib
import sys

import tensorflow as tf
from tensorflow.python.tools import saved_model_cli

out = pathlib.Path(sys.argv[1])
Pair = collections.namedtuple("Pair", "left right")
x = tf.constant([1.0, 2.0])
strings = tf.TensorSpec(None, tf.string)
arguments = {
    "array_like_spec": tf.TensorSpec([], tf.bfloat16, name="half"),
    "boolean": True,
    "dataset": tf.data.DatasetSpec(tf.TensorSpec([], tf.int64)),
    "empty_list": [],
    "float_big": 1e22,
    "float_plain": 100.0,
    "float_small": 1e-7,
    "infinite": float("inf"),
    "integer": -5,
    "items": [x, "it's", 'a "b"', None, 1.5, (x,), {"k": Pair("s", 2)}, [True, strings]],
    "keys": {k: len(k) for k in "the quick brown fox jumps over a lazy dog, then a key_of_more_than_sixteen_bytes".split()},
    "named": Pair(x, Pair("right", ())),
    "nothing": None,
    "optional": tf.OptionalSpec(strings),
    "pair": (x, "y"),
    "ragged": tf.RaggedTensorSpec([None, None], tf.int32),
    "shape": tf.TensorShape([None, 3]),
    "dtype": tf.float16,
    "shape_list": [tf.TensorShape([2]), tf.float16, tf.TensorShape(None)],
    "slices": tf.IndexedSlicesSpec([None, 2], tf.float32),
    "sparse": tf.SparseTensorSpec([3, None], tf.float64),
    "text": "it's \"it\"",
    "unknown_rank": strings,
}
model = tf.Module()
model.variable = tf.Variable(1.0)


def takes(argument):
    f = tf.function(lambda value: model.variable + 1.0)
    f.get_concrete_function(argument)
    return f


for name, argument in arguments.items():
    setattr(model, name, takes(argument))


@tf.function
def by_name(x, *, scale, mode, b, c, d, e, f):
    return x


@tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="given")])
def traced(x):
    return x


by_name.get_concrete_function(x, scale=2.0, mode="fast", b=1, c=2, d=3, e=4, f=5)
model.by_name = by_name
model.bare = traced.get_concrete_function()
model.traced = model.another_name = traced
model.untraced = tf.function(lambda y: y)
model.no_arguments = tf.function(lambda: model.variable * 2.0)
model.no_arguments.get_concrete_function()

tf.saved_model.save(model, str(out / "model"))
text = io.StringIO()
with contextlib.redirect_stdout(text):
    saved_model_cli._show_all(str(out / "model"))
(out / "all.txt").write_text(text.getvalue())
