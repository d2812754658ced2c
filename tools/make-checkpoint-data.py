#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/data/checkpoints: models, checkpoints for them, and what each model
answers with the checkpoint's weights.

    make-checkpoint-data.py [--out DIR]     write all
    make-checkpoint-data.py --check DIR     DIR/KIND is a model that got its weights from
                                            KIND's checkpoint: ask TensorFlow

Needs TensorFlow 2.15. A function makes one kind: a model in `path`, checkpoints beside
it. It returns how to save the model with the checkpoint's weights, from which the golden
set's answers come, and the cases.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import golden_tf as gold

import numpy as np
import tensorflow as tf

tf.keras.utils.disable_interactive_logging()
tf1 = tf.compat.v1
KINDS = []


def kind(make):
    KINDS.append(make)
    return make


def floats(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Layer(tf.Module):
    def __init__(self, seed, n_in, n_out):
        super().__init__()
        self.kernel = tf.Variable(floats(seed, n_in, n_out), name="kernel")
        self.bias = tf.Variable(floats(seed + 1, n_out), name="bias")


class Net(tf.Module):
    """Two layers whose variables have the same names, and strings."""

    def __init__(self, seed, n_out=2):
        super().__init__()
        self.layers = [Layer(seed, 3, 4), Layer(seed + 10, 4, n_out)]
        self.words = tf.Variable(["seed", str(seed)], name="words")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def __call__(self, x):
        for layer in self.layers:
            x = tf.nn.relu(x @ layer.kernel + layer.bias)
        return {"y": x, "words": tf.identity(self.words)}


@kind
def module(path, out):
    """tf.Module; tf.train.Checkpoint(model=, step=, val_loss=), two of them"""
    tf.saved_model.save(Net(1), path)
    net = Net(2)
    step, loss = tf.Variable(0, dtype=tf.int64), tf.Variable(0.0)
    saver = tf.train.Checkpoint(model=net, step=step, val_loss=loss)
    manager = tf.train.CheckpointManager(saver, str(out / "ckpt"), max_to_keep=5)
    for at, value in ((100, 0.25), (200, 0.5)):
        step.assign(at)
        loss.assign(value)
        net.layers[0].bias.assign(floats(at, 4))
        manager.save()
    # Alone, and two networks in one.
    tf.train.Checkpoint(net).write(str(out / "alone"))
    tf.train.Checkpoint(student=Net(5), teacher=net).write(str(out / "pair"))
    wide = Net(6, 3)
    wide.layers[0].bias = tf.Variable(np.zeros(4), name="bias")
    del wide.words
    tf.train.Checkpoint(model=wide).write(str(out / "wide"))
    return (
        lambda to: tf.saved_model.save(net, to),
        [("x", "serving_default", {"x": floats(99, 3, 3)})],
    )


def keras_net(seed, adam):
    net = tf.keras.Sequential(
        [
            tf.keras.layers.Input([3], name="x"),
            tf.keras.layers.Dense(4, "relu", name="hidden"),
            tf.keras.layers.Dense(2, name="y"),
        ]
    )
    net.compile(adam(0.1), "mse")
    net.set_weights([floats(seed + i, *w.shape) for i, w in enumerate(net.weights)])
    net.fit(floats(seed, 8, 3), floats(seed + 1, 8, 2), epochs=1, shuffle=False)
    return net


@kind
def keras(path, out):
    """Keras 2: model.save(), save_weights(), Checkpoint(model=, optimizer=)"""
    keras_net(1, tf.keras.optimizers.Adam).save(path, save_format="tf")
    net = keras_net(2, tf.keras.optimizers.Adam)
    net.save_weights(str(out / "weights" / "w"))
    legacy = keras_net(3, tf.keras.optimizers.legacy.Adam)
    saver = tf.train.Checkpoint(model=legacy, optimizer=legacy.optimizer)
    saver.save(str(out / "legacy" / "ckpt"))
    return (
        lambda to: net.save(to, save_format="tf"),
        [("x", "serving_default", {"x": floats(99, 3, 3)})],
    )


def tf1_graph(seed):
    tf1.set_random_seed(seed)
    x = tf1.placeholder(tf.float32, [None, 3], "x")
    w = tf1.get_variable("net/w", [3, 2], partitioner=tf1.fixed_size_partitioner(3))
    b = tf1.get_variable("net/b", [2], use_resource=True)
    y = tf.add(x @ tf.convert_to_tensor(w), b, name="y")
    return x, y, [*w, b]


@kind
def tf1_saver(path, out):
    """TF1: Saver, with Adam, a moving average and global_step; one in the form V1"""
    with tf.Graph().as_default(), tf1.Session() as session:
        x, y, _ = tf1_graph(1)
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, path, {"x": x}, {"y": y})
    with tf.Graph().as_default(), tf1.Session() as session:
        x, y, weights = tf1_graph(2)
        step = tf1.train.get_or_create_global_step()
        train = tf1.train.AdamOptimizer().minimize(
            tf.reduce_sum(y * y), global_step=step, var_list=weights
        )
        average = tf1.train.ExponentialMovingAverage(0.9).apply(weights[-1:])
        session.run(tf1.global_variables_initializer())
        for _ in range(3):
            session.run([train, average], {x: floats(5, 4, 3)})
        tf1.train.Saver(save_relative_paths=True).save(
            session, str(out / "ckpt" / "model"), step, write_meta_graph=False
        )
        (out / "v1").mkdir()
        tf1.train.Saver(
            write_version=tf1.train.SaverDef.V1, save_relative_paths=True
        ).save(session, str(out / "v1" / "old"), write_meta_graph=False)
    ckpt = str(out / "ckpt" / "model-3")

    def save(to):
        with tf.Graph().as_default(), tf1.Session() as session:
            x, y, _ = tf1_graph(2)
            tf1.train.Saver().restore(session, ckpt)
            tf1.saved_model.simple_save(session, to, {"x": x}, {"y": y})

    return save, [("x", "serving_default", {"x": floats(99, 3, 3)})]


def make(out):
    for build in KINDS:
        top = out / build.__name__
        shutil.rmtree(top, ignore_errors=True)
        tf.keras.backend.clear_session()
        with gold.saving(top / "model") as path:
            save, cases = build(path, top)
        with tempfile.TemporaryDirectory() as scratch:
            save(scratch + "/model")
            gold.write_export_set(
                top, scratch + "/model", cases, " ".join(build.__doc__.split())
            )


def check(data, pushed):
    x = tf.constant(floats(99, 3, 3))
    for build in KINDS:
        name = build.__name__
        reader = tf.train.load_checkpoint(str(pushed / name / "variables/variables"))
        for key in reader.get_variable_to_shape_map():
            reader.get_tensor(key)
        n_cases, worst = gold.check_export_set(data / name, pushed / name)
        print(f"{name}: {n_cases} cases, worst {worst:.3f} of the tolerance")
        golden = np.load(data / name / "x.out.npz")
        if name == "tf1_saver":
            continue
        loaded = tf.saved_model.load(str(pushed / name))
        got = loaded.signatures["serving_default"](x=x)
        for key in golden.files:
            a, b = gold.plain(got[key].numpy()), golden[key]
            assert np.array_equal(a, b) or np.max(np.abs(a - b)) < 1e-5, (name, key)
    net = tf.keras.models.load_model(str(pushed / "keras"))
    assert np.max(np.abs(net(x).numpy() - np.load(data / "keras/x.out.npz")["y"])) < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "tests" / "data" / "checkpoints"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--check", type=Path, help="models that got weights")
    args = parser.parse_args()
    if args.check:
        check(args.out, args.check)
    else:
        make(args.out)


if __name__ == "__main__":
    main()
