# SPDX-License-Identifier: Apache-2.0
"""Golden sets written and checked with TensorFlow itself.

Shared by make-demo-models.py and make-test-models.py. Import this module before
TensorFlow: it fixes what must be fixed to get the same bytes on every run of the
same TensorFlow on the same kind of processor.
"""

import contextlib
import itertools
import json
import os
import shutil
import unittest.mock
import uuid
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np
import tensorflow as tf

tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

TAGS = ["serve"]
TOLERANCE = {"rel_max": 1e-5}


@contextlib.contextmanager
def saving(model_dir):
    """Make room for a SavedModel, and tidy what was saved there.

    TF1's saver writes a random UUID into the graph; here it is a counted one, so
    that making the same model again gives the same file. The empty assets directory
    goes, as version control would not keep it either."""
    model_dir = Path(model_dir)
    shutil.rmtree(model_dir, ignore_errors=True)
    model_dir.parent.mkdir(parents=True, exist_ok=True)
    numbers = itertools.count(1)
    with unittest.mock.patch("uuid.uuid4", lambda: uuid.UUID(int=next(numbers))):
        yield str(model_dir)
    for name in ("assets", "assets.extra"):
        if (model_dir / name).is_dir() and not any((model_dir / name).iterdir()):
            (model_dir / name).rmdir()


def answer(model_dir, signature, inputs):
    """TensorFlow's outputs for one call, from a freshly loaded model.

    An input that is left out takes the signature's default, as in TensorFlow
    Serving."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, TAGS, str(model_dir))
        sig = meta.signature_def[signature]
        arrays = {k: tf.make_ndarray(v) for k, v in sig.defaults.items()}
        arrays |= {
            k: np.asarray(v, tf.DType(sig.inputs[k].dtype).as_numpy_dtype)
            for k, v in inputs.items()
        }
        out = session.run(
            {k: t.name for k, t in sig.outputs.items()},
            {sig.inputs[k].name: v for k, v in arrays.items()},
        )
    return {k: plain(v) for k, v in out.items()}


def plain(array):
    """npz must not hold pickled objects: strings become NumPy S<n>."""
    array = np.asarray(array)
    return array.astype("S") if array.dtype == object else array


def write_npz(path, arrays):
    arrays = {k: plain(v) for k, v in arrays.items()}
    big = sum(a.nbytes for a in arrays.values()) > 4096
    (np.savez_compressed if big else np.savez)(path, **arrays)


def write_json(path, document):
    path.write_text(json.dumps(document, indent=1) + "\n")


def write_export_set(set_dir, model_dir, cases, note=None):
    """Write golden.json and its arrays; `cases` are (name, signature, inputs).

    Inputs given as lists are written inline, arrays into npz files."""
    set_dir = Path(set_dir)
    set_dir.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, signature, inputs in cases:
        expected = answer(model_dir, signature, inputs)
        row = {"name": name, "signature": signature}
        if any(isinstance(v, np.ndarray) for v in inputs.values()):
            row["inputs"], row["expected"] = f"{name}.in.npz", f"{name}.out.npz"
            write_npz(set_dir / row["inputs"], inputs)
            write_npz(set_dir / row["expected"], expected)
        else:
            row["inputs"] = inputs
            row["expected"] = {k: inline(v) for k, v in expected.items()}
        rows.append(row | {"tolerance": TOLERANCE})
    head = {"golden": 1, "kind": "export", "tags": TAGS, "sequential": False}
    if note:
        head["note"] = note
    write_json(set_dir / "golden.json", head | {"cases": rows})


def inline(array):
    if array.dtype.kind == "S":
        return [s.decode() for s in array.tolist()]
    return array.tolist()


def side(set_dir, value):
    """One side of a case: the arrays of an npz file, or what stands inline."""
    if isinstance(value, dict):
        return value
    with np.load(set_dir / value, allow_pickle=False) as arrays:
        return dict(arrays)


def check_export_set(set_dir, model_dir):
    """Ask TensorFlow again, from the files alone. Returns (cases, worst error as a
    share of the tolerance); raises on the first case that does not hold."""
    set_dir = Path(set_dir)
    golden = json.loads((set_dir / "golden.json").read_text())
    worst = 0.0
    for case in golden["cases"]:
        got = answer(model_dir, case["signature"], side(set_dir, case["inputs"]))
        expected = side(set_dir, case["expected"])
        where = f"{set_dir}: {case['name']}"
        if got.keys() != expected.keys():
            raise SystemExit(f"{where}: outputs {sorted(got)}, not {sorted(expected)}")
        for key, a in got.items():
            b = np.asarray(expected[key])
            if a.dtype.kind == "f":
                used = spread(a, b) / case["tolerance"]["rel_max"]
            else:
                b = np.char.encode(b, "utf-8") if b.dtype.kind == "U" else b
                used = 0.0 if np.array_equal(a, b) else np.inf
            if not used <= 1 or a.shape != b.shape:
                raise SystemExit(f"{where}: {key}: differs, {used:g} x its tolerance")
            worst = max(worst, used)
    return len(golden["cases"]), worst


def spread(a, b):
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    if a.size == 0:
        return 0.0
    return float(np.max(np.abs(a - b)) / max(1.0, np.max(np.abs(b))))


def tree_bytes(path):
    return sum(p.stat().st_size for p in Path(path).rglob("*") if p.is_file())
