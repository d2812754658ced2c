#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the networks that bench/runtime measures, with random weights.

usage: make-perf-models.py DIR        (a Python with TensorFlow 2.15)
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import numpy as np
import tensorflow as tf
from tensorflow import keras

layers, zoo = keras.layers, keras.applications


def shake(model, rng):
    """Batch norms of a new model do nothing, and a runtime could fold them to nothing."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([w + rng.uniform(0, 0.2, w.shape) for w in layer.get_weights()])


def bert(width=256, heads=4, length=128, words=8000):
    ids = keras.Input([length], dtype="int32")
    x = layers.Embedding(words, width)(ids) + layers.Embedding(length, width)(tf.range(length))
    x = layers.LayerNormalization(epsilon=1e-6)(x)
    for _ in range(4):
        seen = layers.MultiHeadAttention(heads, width // heads)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(x + seen)
        wide = layers.Dense(4 * width, activation="gelu")(x)
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dense(width)(wide))
    return keras.Model(ids, x)


def lstm():
    x = keras.Input([100, 64])
    return keras.Model(x, layers.LSTM(256)(layers.LSTM(256, return_sequences=True)(x)))


def mlp():
    x = keras.Input([1024])
    h = layers.Dense(1024, activation="relu")(layers.Dense(1024, activation="relu")(x))
    return keras.Model(x, layers.Dense(1024)(h))


IMAGE = [None, 224, 224, 3]
MODELS = {
    "mobilenet_v2": (lambda: zoo.MobileNetV2(weights=None), IMAGE, tf.float32),
    "resnet50": (lambda: zoo.ResNet50(weights=None), IMAGE, tf.float32),
    "efficientnet_b0": (lambda: zoo.EfficientNetB0(weights=None), IMAGE, tf.float32),
    "inception_v3": (lambda: zoo.InceptionV3(weights=None), [None, 299, 299, 3], tf.float32),
    "bert4x256": (bert, [None, 128], tf.int32),
    "lstm2x256": (lstm, [None, 100, 64], tf.float32),
    "mlp1024": (mlp, [None, 1024], tf.float32),
}


def main(out):
    for name, (make, shape, dtype) in MODELS.items():
        path = os.path.join(out, name)
        if os.path.exists(path + "/saved_model.pb"):
            continue
        keras.utils.set_random_seed(11)
        net = make()
        shake(net, np.random.default_rng(11))
        module = tf.Module()
        module.net_variables = net.variables
        module.serve = tf.function(lambda x, net=net: {"y": net(x, training=False)})
        signature = module.serve.get_concrete_function(tf.TensorSpec(shape, dtype, "x"))
        tf.saved_model.save(module, path, signatures={"serving_default": signature})
        print(name, net.count_params(), flush=True)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
