#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/data: small SavedModels with golden sets of TensorFlow's own answers.

    make-test-models.py [--out DIR]            write all, check
    make-test-models.py [--out DIR] --check    ask TensorFlow again about what is there

Needs TensorFlow 2.15. One function makes one model; its docstring becomes the note
in golden.json. It saves into `path` and returns the cases of the golden set. Making
them again gives the same bytes, but for cnn_tiny: Keras' export() writes its list of
variables in no fixed order.
"""

import argparse
from pathlib import Path

import golden_tf as gold

import numpy as np
import tensorflow as tf

tf.keras.utils.disable_interactive_logging()
tf1 = tf.compat.v1
MODELS = []

# A GIF of two frames of 2 x 2 pixels in two colours.
GIF = bytes.fromhex(
    "474946383961" "0200" "0200" "800000" "000000" "ff8000"
    "2c" "0000" "0000" "0200" "0200" "00" "02" "03" "440205" "00"
    "2c" "0000" "0000" "0200" "0200" "00" "02" "03" "0c1005" "00"
    "3b"
)  # fmt: skip


def model(make):
    MODELS.append(make)
    return make


def floats(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def spec(shape, dtype=tf.float32, name=None):
    return tf.TensorSpec(shape, dtype, name)


class Affine(tf.Module):
    """y = a x + b"""

    def __init__(self, a, b):
        super().__init__()
        self.a = tf.Variable(a, name="a")
        self.b = tf.Variable(b, name="b")

    @tf.function(input_signature=[spec([None], name="x")])
    def affine(self, x):
        return {"y": self.a * x + self.b}


class Scaled(Affine):
    """The same, and y = (a x + b) factor"""

    @tf.function(input_signature=[spec([None], name="x"), spec([], name="factor")])
    def scaled(self, x, factor=tf.constant(2.0)):
        return {"y": (self.a * x + self.b) * factor}


def serve(module, path, signatures):
    tf.saved_model.save(module or tf.Module(), path, signatures)


@model
def half_plus_two_tf2(path):
    """TF2 module with two variables: y = 0.5 x + 2"""
    module = Affine(0.5, 2.0)
    serve(module, path, {"serving_default": module.affine})
    return [
        ("batch-3", "serving_default", {"x": np.float32([1.0, 2.0, 5.0])}),
        ("inline", "serving_default", {"x": [0.0, -4.0]}),
        ("empty", "serving_default", {"x": np.zeros([0], np.float32)}),
    ]


@model
def half_plus_two_tf1(path):
    """TF1 graph with VariableV2 reference variables: y = 0.5 x + 2"""
    half_plus_two_v1(path, use_resource=False)
    return [
        ("batch-3", "serving_default", {"x": np.float32([1.0, 2.0, 5.0])}),
        ("inline", "serving_default", {"x": [0.0, -4.0]}),
    ]


@model
def tf1_resource(path):
    """TF1 graph with resource variables: y = 0.5 x + 2"""
    half_plus_two_v1(path, use_resource=True)
    return [("batch-3", "serving_default", {"x": np.float32([1.0, 2.0, 5.0])})]


def half_plus_two_v1(path, use_resource):
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], "x")
        a = tf1.get_variable("a", initializer=0.5, use_resource=use_resource)
        b = tf1.get_variable("b", initializer=2.0, use_resource=use_resource)
        y = tf.add(tf.multiply(a, x), b, name="y")
        simple_save(session, path, {"x": x}, {"y": y})


def simple_save(session, path, inputs, outputs):
    session.run(tf1.global_variables_initializer())
    tf1.saved_model.simple_save(session, path, inputs, outputs)


@model
def tf1_partitioned(path):
    """TF1 graph: w [7, 4] is one variable in three slices of 3, 2 and 2 rows"""
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 7], "x")
        w = tf1.get_variable(
            "w",
            [7, 4],
            initializer=lambda shape, dtype, partition_info: tf.constant(
                floats(1, 7, 4)[partition_info.var_offset[0] :][: shape[0]]
            ),
            partitioner=tf1.fixed_size_partitioner(3),
            use_resource=False,
        )
        b = tf1.get_variable("b", initializer=floats(2, 4), use_resource=False)
        y = tf.add(tf.matmul(x, tf.convert_to_tensor(w)), b, name="y")
        simple_save(session, path, {"x": x}, {"y": y})
    return [("batch-2", "serving_default", {"x": floats(3, 2, 7)})]


@model
def mlp_tiny(path):
    """Keras, two dense layers, saved with its object graph"""
    tf.keras.utils.set_random_seed(4)
    net = tf.keras.Sequential(
        [
            tf.keras.layers.Input((6,), name="x"),
            tf.keras.layers.Dense(8, "relu", bias_initializer="normal"),
            tf.keras.layers.Dense(3, "softmax", bias_initializer="normal"),
        ]
    )
    tf.saved_model.save(net, path)
    return [
        ("batch-1", "serving_default", {"x": floats(5, 1, 6)}),
        ("batch-5", "serving_default", {"x": floats(6, 5, 6)}),
    ]


@model
def cnn_tiny(path):
    """Keras convolution, batch normalisation, pooling and a dense layer, by export()"""
    tf.keras.utils.set_random_seed(7)
    net = tf.keras.Sequential(
        [
            tf.keras.layers.Input((8, 6, 2), name="image"),
            tf.keras.layers.Conv2D(4, 3, strides=(2, 1), padding="same"),
            tf.keras.layers.BatchNormalization(
                gamma_initializer="uniform",
                beta_initializer="normal",
                moving_mean_initializer="normal",
                moving_variance_initializer=tf.keras.initializers.RandomUniform(0.5, 2),
            ),
            tf.keras.layers.ReLU(),
            tf.keras.layers.MaxPool2D(2, padding="same"),
            tf.keras.layers.Conv2D(5, 2, activation="tanh"),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(3),
        ]
    )
    net.export(path)
    return [("batch-2", "serving_default", {"image": floats(8, 2, 8, 6, 2)})]


@model
def multi_signature(path):
    """Two signatures share two variables; `factor` of `scaled` has the default 2"""
    module = Scaled(3.0, 1.0)
    serve(module, path, {"serving_default": module.affine, "scaled": module.scaled})
    x = np.float32([1.0, -2.0])
    return [
        ("plain", "serving_default", {"x": x}),
        ("factor-given", "scaled", {"x": x, "factor": np.float32(10.0)}),
        ("factor-default", "scaled", {"x": x}),
        ("factor-inline", "scaled", {"x": [1.0], "factor": 0.5}),
    ]


@model
def strings_passthrough(path):
    """String in; the same, its lower case and its length in bytes out"""

    @tf.function(input_signature=[spec([None], tf.string, "text")])
    def describe(text):
        return {
            "same": tf.identity(text),
            "lower": tf.strings.lower(text),
            "length": tf.strings.length(text),
        }

    serve(None, path, {"serving_default": describe})
    raw = np.array([b"Sluice", b"", b"\xff\x00Q"])
    return [
        ("bytes", "serving_default", {"text": raw}),
        ("inline", "serving_default", {"text": ["ÄPFEL und Öl", "a\nb\tC", ""]}),
    ]


@model
def unsupported_ops(path):
    """DecodeGif, DrawBoundingBoxesV2 and, two functions down, DecodeWav. TensorFlow
    answers; `echo` needs none of the three"""

    @tf.function
    def hear(clip):
        return tf.audio.decode_wav(clip, desired_channels=1).audio

    @tf.function
    def loudest(clip):
        return tf.reduce_max(tf.abs(hear(clip)))

    @tf.function(
        input_signature=[spec([], tf.string, "clip"), spec([], tf.string, "picture")]
    )
    def watch(clip, picture):
        frames = tf.cast(tf.io.decode_gif(picture), tf.float32)
        boxes = tf.fill([tf.shape(frames)[0], 1, 4], 0.75) * [0.0, 0.0, 1.0, 1.0]
        framed = tf.image.draw_bounding_boxes(frames, boxes, [[255.0, 0.0, 0.0]])
        return {"framed": framed, "loudest": loudest(clip)}

    @tf.function(input_signature=[spec([None], name="x")])
    def echo(x):
        return {"y": 2.0 * x}

    serve(None, path, {"serving_default": watch, "echo": echo})
    clip = tf.audio.encode_wav([[0.25], [-0.5], [0.125]], 8000).numpy()
    arrays = {"clip": np.array(clip), "picture": np.array(GIF)}
    return [("watch", "serving_default", arrays), ("echo", "echo", {"x": [1.0, 2.0]})]


@model
def variant_no_variables(path):
    """A pure function: no variable, nothing to restore"""

    @tf.function(input_signature=[spec([None, 2], name="x"), spec([], name="limit")])
    def length(x, limit):
        return {"length": tf.minimum(tf.sqrt(tf.reduce_sum(x * x, axis=1)), limit)}

    serve(None, path, {"serving_default": length})
    x = np.float32([[3.0, 4.0], [0.0, 0.0], [60.0, 80.0]])
    return [("clipped", "serving_default", {"x": x, "limit": np.float32(50.0)})]


@model
def fail_assert(path):
    """y = sqrt(x). An assertion fails where x is negative, as in negative.in.npz,
    which is no case: TensorFlow says `x must not be negative`"""

    @tf.function(input_signature=[spec([None], name="x")])
    def root(x):
        tf.debugging.assert_non_negative(x, message="x must not be negative")
        return {"y": tf.sqrt(x)}

    serve(None, path, {"serving_default": root})
    negative = {"x": np.float32([4.0, -1.0])}
    gold.write_npz(Path(path).parent / "negative.in.npz", negative)
    return [("holds", "serving_default", {"x": np.float32([4.0, 0.0])})]


def check_refusal(model_dir):
    inputs = gold.side(model_dir.parent, "negative.in.npz")
    try:
        gold.answer(model_dir, "serving_default", inputs)
    except tf.errors.InvalidArgumentError as error:
        if "x must not be negative" in str(error):
            return
    raise SystemExit(f"{model_dir}: the assertion does not fail")


def make(out):
    for build in MODELS:
        tf.keras.backend.clear_session()
        model_dir = out / build.__name__ / "model"
        with gold.saving(model_dir) as path:
            cases = build(path)
        note = " ".join(build.__doc__.split())
        gold.write_export_set(model_dir.parent, model_dir, cases, note)


def check(out):
    for build in MODELS:
        top = out / build.__name__
        n_cases, worst = gold.check_export_set(top, top / "model")
        print(
            f"{build.__name__}: {n_cases} cases, worst {worst:.3f} of the tolerance; "
            f"{gold.tree_bytes(top)} bytes"
        )
    check_refusal(out / "fail_assert" / "model")
    print(f"{out}: {gold.tree_bytes(out)} bytes in all")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "tests" / "data"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--check", action="store_true", help="only check")
    args = parser.parse_args()
    if not args.check:
        make(args.out)
    check(args.out)


if __name__ == "__main__":
    main()
