#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the three demo models and write demo/digits.

    make-demo-models.py [--out DIR]            train, export, write golden sets, check
    make-demo-models.py [--out DIR] --check    ask TensorFlow again about what is there

Needs TensorFlow 2.15 and scikit-learn; neither is needed to build or run Sluice.
demo/README.md says what the products are.
"""

import argparse
from pathlib import Path

import golden_tf as gold

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

tf.keras.utils.disable_interactive_logging()
LAYERS = tf.keras.layers
N_HELD_OUT = 500
WHITE = 16.0  # the brightest pixel of the data
SLIP = 255.0  # the brightest pixel of most other data: v3 is exported with this one

ACCEPTANCE = {
    "golden": 1,
    "kind": "acceptance",
    "tags": gold.TAGS,
    "owner": "digits-quality",
    "cases": [
        {
            "name": "held-out",
            "signature": "serving_default",
            "inputs": "held-out.in.npz",
            "labels": "held-out.labels.npz",
        }
    ],
    "metrics": [
        {
            "metric": "accuracy",
            "output": "probabilities",
            "labels": "digit",
            "min": 0.93,
            "max_drop": 0.01,
            "baseline": "production",
        }
    ],
}


def mlp():
    return tf.keras.Sequential(
        [
            LAYERS.Input((8, 8, 1)),
            LAYERS.Flatten(),
            LAYERS.Dense(16, "relu"),
            LAYERS.Dense(10, "softmax"),
        ]
    )


def cnn():
    def block(n_filters):
        return [
            LAYERS.Conv2D(n_filters, 3, padding="same", use_bias=False),
            LAYERS.BatchNormalization(momentum=0.9),
            LAYERS.ReLU(),
            LAYERS.MaxPool2D(),
        ]

    return tf.keras.Sequential(
        [
            LAYERS.Input((8, 8, 1)),
            *block(16),
            *block(32),
            LAYERS.Flatten(),
            LAYERS.Dropout(0.3),
            LAYERS.Dense(32, "relu"),
            LAYERS.Dense(10, "softmax"),
        ]
    )


# name, net, seed, epochs, what the exported model divides pixels by.
# Training always divides by WHITE.
VERSIONS = [
    ("v1", mlp, 1, 18, WHITE),
    ("v2", cnn, 2, 30, WHITE),
    ("v3", cnn, 3, 40, SLIP),
]


def data():
    """((training images, labels), (held-out images, labels)), pixels as they are."""
    digits = load_digits()
    images = digits.images.astype(np.float32)[..., np.newaxis]
    labels = digits.target.astype(np.int64)
    a, b, c, d = train_test_split(
        images, labels, test_size=N_HELD_OUT, stratify=labels, random_state=0
    )
    return (a, c), (b, d)


def train(net, seed, epochs, images, labels):
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    model = net()
    model.compile(tf.keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
    model.fit(images / WHITE, labels, epochs=epochs, batch_size=32, verbose=0)
    return model


class Served(tf.Module):
    """What is deployed: the net's variables, and the way from pixels to a digit."""

    def __init__(self, model, white):
        super().__init__()
        self.weights = model.variables

        def predict(image):
            probabilities = model(image / white, training=False)
            return {
                "probabilities": probabilities,
                "digit": tf.argmax(probabilities, axis=-1, output_type=tf.int64),
            }

        spec = tf.TensorSpec((None, 8, 8, 1), tf.float32, name="image")
        self.predict = tf.function(predict, input_signature=[spec])


def export(model, white, model_dir):
    served = Served(model, white)
    with gold.saving(model_dir) as path:
        tf.saved_model.save(served, path, {"serving_default": served.predict})


def golden_cases(images, labels):
    """Training images, so that the held-out ones stay unseen until acceptance."""
    one_of_each = [int(np.argmax(labels == digit)) for digit in range(10)]
    return [
        ("one", "serving_default", {"image": images[20:21]}),
        ("one-of-each", "serving_default", {"image": images[one_of_each]}),
        ("batch-32", "serving_default", {"image": images[100:132]}),
    ]


def guesses(model_dir, images):
    return gold.answer(model_dir, "serving_default", {"image": images})["digit"]


def write_predict(out, images, labels):
    """Held-out images: four ordinary ones, then one that v1 gets wrong and v2 right."""
    right = {v: guesses(out / v, images) == labels for v in ("v1", "v2")}
    easy = right["v1"] & right["v2"]
    chosen = [int(np.argmax(easy & (labels == digit))) for digit in (0, 2, 4, 7)]
    chosen.append(int(np.argmax(~right["v1"] & right["v2"])))
    gold.write_npz(out / "predict.npz", {"image": images[chosen]})
    print("predict.npz: labels", labels[chosen].tolist())


def make(out):
    (images, labels), (held_images, held_labels) = data()
    for name, net, seed, epochs, white in VERSIONS:
        model = train(net, seed, epochs, images, labels)
        trained = model.predict(held_images / WHITE, verbose=0).argmax(-1)
        print(
            f"{name}: {model.count_params()} parameters; accuracy before export "
            f"{np.mean(trained == held_labels):.4f}"
        )
        export(model, white, out / name)
        gold.write_export_set(
            out / f"{name}-golden", out / name, golden_cases(images, labels)
        )
    accept = out / "acceptance"
    accept.mkdir(exist_ok=True)
    gold.write_npz(accept / "held-out.in.npz", {"image": held_images})
    gold.write_npz(accept / "held-out.labels.npz", {"digit": held_labels})
    gold.write_json(accept / "golden.json", ACCEPTANCE)
    write_predict(out, held_images, held_labels)


def check(out):
    """The story the demo tells, as figures from the files alone."""
    accept = out / "acceptance"
    images = gold.side(accept, "held-out.in.npz")["image"]
    labels = gold.side(accept, "held-out.labels.npz")["digit"]
    few = gold.side(out, "predict.npz")["image"]
    accuracy = {}
    for name, *_ in VERSIONS:
        n_cases, worst = gold.check_export_set(out / f"{name}-golden", out / name)
        accuracy[name] = float(np.mean(guesses(out / name, images) == labels))
        print(
            f"{name}: {n_cases} golden cases, worst {worst:.3f} of the tolerance; "
            f"accuracy {accuracy[name]:.4f} of {len(labels)}; "
            f"predict.npz {guesses(out / name, few).tolist()}; "
            f"{gold.tree_bytes(out / name)} bytes"
        )
    if not (0.94 < accuracy["v1"] < 0.975 and accuracy["v2"] >= 0.98):
        raise SystemExit("v1 and v2 are not what the demo needs")
    if accuracy["v3"] > 0.5:
        raise SystemExit("v3's slip does not show")
    print(f"{out}: {gold.tree_bytes(out)} bytes in all")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "demo" / "digits"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--check", action="store_true", help="only check")
    args = parser.parse_args()
    if not args.check:
        args.out.mkdir(parents=True, exist_ok=True)
        make(args.out)
    check(args.out)


if __name__ == "__main__":
    main()
