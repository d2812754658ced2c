#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/data/formats/samples: what NumPy and TensorFlow themselves make.

    make-format-samples.py [--out DIR] [--only expressions,pickles,...]

  expressions.tsv  expression, dtype, shape, SHA-256 of NumPy's bytes
  examples.tsv     --input_examples text, the serialized Examples in hex, blank-separated
  pickles.tsv      pickle in hex, key, dtype, shape, bytes in hex (strings: hex, each with
                   a final 0a); *.pkl two of them
  npy.tsv          .npy in hex, dtype, shape, bytes; or "-" and a part of the refusal
  *.tfrecord, *.gz, *.zlib, keras_metadata.pb, tests/data/warmup: need TensorFlow 2.15; the last one also
                   tensorflow-serving-api 2.15 (pip install --no-deps)
Expressions and pickles need only NumPy. Made again they are the same bytes.
"""

import argparse
import ast
import hashlib
import io
import pickle
import random
from pathlib import Path

import numpy as np

PARTS = {}


def part(make):
    PARTS[make.__name__] = make
    return make


def shape_text(a):
    return ",".join(map(str, a.shape)) or "-"


def raw(a):
    if a.dtype.kind in "SUO":
        flat = [x.encode() if isinstance(x, str) else bytes(x) for x in a.ravel()]
        return b"".join(x + b"\n" for x in flat)
    return np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<")).tobytes()


def dtype_text(a):
    return "string" if a.dtype.kind in "SUO" else a.dtype.name


# ---- expressions ----

FIXED = """
np.ones(3)
np.ones((2, 3), dtype=np.float32)
np.ones(shape=(2,1), dtype='int64')
np.ones((0, 4))
np.ones([2, 2], np.float16)
numpy.zeros((1, 28, 28, 1), dtype=numpy.float32)
np.zeros((), dtype=bool)
np.zeros(4, dtype=np.complex64)
np.full((2, 2), 7)
np.full((2, 2), 7.5)
np.full((3,), True)
np.full((2,), 1.9, dtype=np.int32)
np.full(3, -1, dtype=int)
np.full((2,), np.nan)
np.full((2,), np.inf, dtype=np.float32)
np.full(shape=(2, 1), fill_value=np.pi)
np.full((2,), 'abc')
np.array([[1, 2], [3, 4]])
np.array([[1, 2], [3, 4]], dtype=np.float32)
np.array([1.5, -1.5, 2.9], dtype=np.int32)
np.array([0, 1, 2, -3], dtype=bool)
np.array(["a", "bc"])
np.array((1, 2.5))
np.array(3)
np.asarray([True, False])
np.array(np.arange(3), dtype=np.float64)
np.array([16777217, 9007199254740993, -9007199254740993], dtype=np.float32)
np.array([16777217, 9007199254740993], dtype=np.float64)
np.array([70000, 2049, 4097], dtype=np.float16)
np.array([[[1]]], dtype='<u2')
np.array([1e-8, 6e-8, 65519.0], dtype='half')
np.expand_dims(np.ones((2, 2)), 0)
np.expand_dims(np.arange(3), axis=-1)
np.arange(10)
np.arange(2, 10)
np.arange(2, 10, 3)
np.arange(10, 2, -3)
np.arange(5, 2)
np.arange(0.0)
np.arange(0, 1, 0.1)
np.arange(0.1, 0.75, 0.05)
np.arange(0.3, 1.9, 0.1, dtype=np.float32)
np.arange(0.3, 1.9, 0.1, dtype=np.float16)
np.arange(5, dtype=np.float32)
np.arange(5, dtype=np.uint8)
np.arange(300).astype(np.uint8)
np.arange(300).astype(np.int8)
np.arange(-5, 5).astype(np.uint16)
np.arange(-5, 5).astype('uint64')
np.arange(2, 7, dtype=np.complex64)
np.arange(start=1, stop=4, step=1)
np.arange(1.5, 6.5, 2, dtype=int)
np.arange(16777210, 16777225, dtype=np.float32)
np.arange(1, 2, 0.3333333333333333)
np.arange(0, 7, dtype=np.float64).reshape(7, 1)
np.arange(784).reshape(1, 28, 28, 1).astype(np.float32)
np.arange(12).reshape((3, -1))
np.arange(12).reshape(-1)
np.arange(24).reshape(2, 3, 4).astype('int32')
np.linspace(0, 1)
np.linspace(0, 1, 5)
np.linspace(0, 1, 7, dtype=np.float32)
np.linspace(0, 1, 7, endpoint=False)
np.linspace(-3.3, 12.7, num=29)
np.linspace(5, 5, 4)
np.linspace(0, 10, 4, dtype=int)
np.linspace(-1, 1, 4, dtype=np.int32)
np.linspace(0, 1, 1)
np.linspace(0, 1, 0)
np.linspace(1, 0, 6, dtype='float16')
np.linspace(0.0, 5e-324, 5)
np.eye(3)
np.eye(2, 4, 1)
np.eye(3, k=-1, dtype=np.float32)
np.eye(2, 3, -5)
np.eye(3, M=None, dtype=np.int64)
np.identity(2)
np.identity(3, dtype=bool)
np.float32(1.1)
np.float16(0.1)
np.int64(-3)
np.int32(2.9)
np.uint8(200)
np.bool_(2)
np.complex64(1.5)
np.pi
np.inf
np.e
np.random.RandomState(0).rand(2, 3)
np.random.RandomState(0).rand()
np.random.RandomState(seed=7).rand(1, 8, 8, 1).astype(np.float32)
np.random.RandomState(0).randn(5)
np.random.RandomState(123).randn(3, 3).astype('float32')
np.random.RandomState(4294967295).rand(700)
np.random.RandomState(1).random(4)
np.random.RandomState(1).random_sample((2, 2))
np.random.RandomState(1).standard_normal(7)
np.random.RandomState(1).standard_normal(size=(1, 3))
np.random.RandomState(1).uniform()
np.random.RandomState(1).uniform(-1, 1, (2, 3))
np.random.RandomState(1).uniform(low=0.5, high=0.7, size=5)
np.random.RandomState(1).normal(0.0, 2.5, 9)
np.random.RandomState(1).normal(loc=3, scale=0.1, size=(2, 2))
np.random.RandomState(1).normal()
np.random.RandomState(5).randint(10)
np.random.RandomState(5).randint(10, size=20)
np.random.RandomState(5).randint(0, 256, (4, 4)).astype(np.uint8)
np.random.RandomState(5).randint(-5, 5, size=(3, 3))
np.random.RandomState(5).randint(0, 2, 40, dtype=bool)
np.random.RandomState(5).randint(0, 256, 9, dtype=np.uint8)
np.random.RandomState(5).randint(0, 7, 11, dtype=np.uint8)
np.random.RandomState(5).randint(-128, 128, 13, dtype=np.int8)
np.random.RandomState(5).randint(0, 1000, 7, dtype=np.int16)
np.random.RandomState(5).randint(0, 65536, 7, dtype=np.uint16)
np.random.RandomState(5).randint(0, 100000, 7, dtype=np.int32)
np.random.RandomState(5).randint(0, 4294967296, 7, dtype=np.uint32)
np.random.RandomState(5).randint(0, 4294967296, 7)
np.random.RandomState(5).randint(0, 4294967297, 7)
np.random.RandomState(5).randint(-9223372036854775807, 9223372036854775807, 7)
np.random.RandomState(5).randint(3, 4, 5)
np.random.RandomState(5).randint(low=1, high=3, size=[2, 2])
np.random.RandomState(5).randint(0, 9, 3, dtype='uint64')
[1, 2.5]
[[True, False]]
["a", b"b"]
"""


def more_expressions():
    """Ranges and draws with arguments from a fixed generator."""
    r = random.Random(15)
    dtypes = ["float16", "float32", "float64", "int32", "int64"]
    for _ in range(60):
        a, b = round(r.uniform(-9, 9), r.randrange(5)), round(r.uniform(-9, 9), 3)
        n = r.randrange(1, 40)
        step = round((b - a) / n, r.randrange(1, 7)) or 0.5
        dtype = r.choice(dtypes[:3])
        yield f"np.arange({a}, {b}, {step}, dtype='{dtype}')"
        yield f"np.linspace({a}, {b}, {n}, dtype='{r.choice(dtypes)}')"
        seed = r.randrange(2**32)
        yield f"np.random.RandomState({seed}).normal({a}, {abs(b)}, {n})"
        yield f"np.random.RandomState({seed}).randint({n + 1}, size=({n}, 2))"
        yield f"np.random.RandomState({seed}).uniform({a}, {b}, {n}).astype('{r.choice(dtypes)}')"


@part
def expressions(out):
    lines = []
    for text in FIXED.strip().split("\n") + list(more_expressions()):
        a = np.asarray(eval(text, {"np": np, "numpy": np}))  # our own list, above
        digest = hashlib.sha256(raw(a)).hexdigest()
        lines.append(f"{text}\t{dtype_text(a)}\t{shape_text(a)}\t{digest}\n")
    (out / "expressions.tsv").write_text("".join(lines))


# ---- pickles ----


def values():
    yield "", np.arange(6, dtype=np.float32).reshape(2, 3)
    yield "", np.array([[1, 2], [3, 4]], dtype=">i4")
    yield "", np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    yield "", np.array(["a", "b\u20ac", ""], dtype="U")
    yield "", np.array([b"ab", b"\x00\xff"], dtype="S")
    yield "", np.array([True, False])
    yield "", np.array(2.5)
    yield "", np.zeros((0, 3), np.float64)
    yield "", np.array([1.5, -2], np.float16)
    yield "", np.array([1 + 2j], np.complex128)
    yield "", np.array([b"x", "yz"], dtype=object)
    yield "", np.array([["p", "q"], ["r", "s"]], dtype=object, order="F")
    yield "", np.arange(300, dtype=np.uint64)
    yield "", np.float32(1.5)
    yield "", np.str_("abc")
    yield "", [1, 2.5, True]
    yield "", [["a"], [b"b\xff"]]
    yield "", 7
    yield "", -(2**40)
    yield "x", {"x": np.ones((2, 1), np.float32), "y": [1, 2]}
    yield "y", {"x": np.ones((2, 1), np.float32), "y": [1, 2]}
    shared = np.arange(3)
    yield "b", {"a": shared, "b": shared}


def asarray(v):
    if isinstance(v, list):
        flat = str(v)
        if "'" in flat:
            return np.array(v, dtype=object)
    return np.asarray(v)


@part
def pickles(out):
    lines = []
    for key, v in values():
        a = asarray(v[key] if isinstance(v, dict) else v)
        for protocol in range(6):
            data = pickle.dumps(v, protocol)
            lines.append(
                f"{data.hex()}\t{key or '-'}\t{dtype_text(a)}\t{shape_text(a)}\t{raw(a).hex()}\n"
            )
    (out / "pickles.tsv").write_text("".join(lines))
    (out / "half.pkl").write_bytes(pickle.dumps(np.array([1.5, -2], np.float16), 4))
    two = {"x": np.ones((2, 1), np.float32), "y": [1, 2]}
    (out / "dict.pkl").write_bytes(pickle.dumps(two, 2))


# ---- npy ----


@part
def npy(out):
    arrays = [np.array([0, 1, 2, 3, 4, 5]).astype(t) for t in "?bBhHiIlLqQefdFD"]
    arrays = [a for a in arrays] + [a.astype(a.dtype.newbyteorder(">")) for a in arrays]
    arrays += [np.asfortranarray(a.reshape(2, 3)) for a in arrays]
    arrays += [np.array(["ab", "\U0001f600"]).astype(t) for t in ("<U2", ">U2", "<U5")]
    arrays += [np.array([b"ab", b""]), np.array(b"x"), np.array("y"), np.zeros((3, 0, 2))]
    lines = []
    for a in arrays:
        f = io.BytesIO()
        np.save(f, a)
        lines.append(f"{f.getvalue().hex()}\t{dtype_text(a)}\t{shape_text(a)}\t{raw(a).hex()}\n")
    for a, refusal in [
        (np.array(["2020-01-01"], dtype="M8[D]"), "dtype 'M8': times"),
        (np.array([1], dtype="m8[s]"), "dtype 'm8': durations"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "structured array"),
        (np.array([1, 2], dtype=np.longdouble), "dtype 'f16': no tensor"),
        (np.array([b"ab"], dtype="V2"), "dtype 'V2': raw bytes"),
        (np.array(["a", None], dtype=object), "dtype 'O': an object array"),
    ]:
        f = io.BytesIO()
        np.save(f, a)
        lines.append(f"{f.getvalue().hex()}\t-\t-\t{refusal}\n")
    (out / "npy.tsv").write_text("".join(lines))


# ---- TensorFlow ----

# No name is the beginning of another: Python's protobuf then puts the longer one first,
# C++ (and this project) the shorter one.
EXAMPLES = [
    '[{"age":[22],"name":["a"]}]',
    '[{"x":[3.0]},{"x":[4.5, 1]}]',
    '[{}]',
    "[]",
    "[{'b': [True, False, 7], 'a': [-1], 'c': ['\u20ac', b'\\xff'],}, {'z': [1e10]}]",
    '[{"a:b": ["x,y", "]}"], "c": [0.1]}]',
    '[{"a": [1], "a": [2]}]',
    '[{"big": [9223372036854775807, -9223372036854775808]}]',
]


def feature(tf, v):
    if isinstance(v[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=v))
    if isinstance(v[0], (str, bytes)):
        v = [x.encode() if isinstance(x, str) else x for x in v]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=v))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=v))


def example(tf, d):
    return tf.train.Example(
        features=tf.train.Features(feature={k: feature(tf, v) for k, v in d.items()})
    )


@part
def examples(out):
    import tensorflow as tf

    lines = []
    for text in EXAMPLES:
        made = [example(tf, d).SerializeToString(deterministic=True) for d in ast.literal_eval(text)]
        lines.append(text + "\t" + " ".join(m.hex() or "-" for m in made) + "\n")
    (out / "examples.tsv").write_text("".join(lines))


@part
def records(out):
    import tensorflow as tf

    rows = [
        example(tf, {"age": [22 + i], "w": [0.5 * i, 1.5], "name": [f"n{i}"]}) for i in range(3)
    ]
    steps = tf.train.FeatureLists(
        feature_list={
            "steps": tf.train.FeatureList(feature=[feature(tf, [i, i + 10]) for i in range(4)])
        }
    )
    sequence = tf.train.SequenceExample(context=rows[0].features, feature_lists=steps)
    for name, what, kind in [
        ("rows.tfrecord", rows, ""),
        ("rows.tfrecord.gz", rows, "GZIP"),
        ("rows.tfrecord.zlib", rows, "ZLIB"),
        ("sequence.tfrecord", [sequence, sequence], ""),
    ]:
        with tf.io.TFRecordWriter(str(out / name), options=kind) as w:
            for r in what:
                w.write(r.SerializeToString(deterministic=True))



@part
def keras(out):
    import tempfile

    import tensorflow as tf

    tf.keras.utils.set_random_seed(1)
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,), name="d")], name="s")
    with tempfile.TemporaryDirectory() as d:
        model.save(d, save_format="tf")
        (out / "keras_metadata.pb").write_bytes((Path(d) / "keras_metadata.pb").read_bytes())


@part
def warmup(out):
    import tensorflow as tf
    from tensorflow_serving.apis import (
        classification_pb2, inference_pb2, input_pb2, model_pb2, predict_pb2,
        prediction_log_pb2, regression_pb2, session_service_pb2,
    )  # fmt: skip

    path = out.parent.parent / "warmup" / "model"
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def half(x):
        return {"y": x / 2 + 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        return {"outputs": x["x"] / 2 + 2}

    tf.saved_model.save(
        module, str(path), signatures={"serving_default": half, "regress": regress}
    )
    (path / "fingerprint.pb").unlink(missing_ok=True)
    log = prediction_log_pb2
    spec = model_pb2.ModelSpec(name="half")
    spec.version.value = 3
    regress_spec = model_pb2.ModelSpec(name="half", signature_name="regress")
    rows = [example(tf, {"x": [float(i)]}) for i in range(2)]
    plain = input_pb2.Input(example_list=input_pb2.ExampleList(examples=rows))
    context = input_pb2.Input(
        example_list_with_context=input_pb2.ExampleListWithContext(
            examples=[tf.train.Example()], context=rows[1]
        )
    )
    half_spec = model_pb2.ModelSpec(name="half", signature_name="nope")
    x = tf.make_tensor_proto([1.0, 2.0])
    graph_x, graph_y = "serving_default_x:0", "PartitionedCall_1:0"
    logs = [
        log.PredictionLog(predict_log=log.PredictLog(
            request=predict_pb2.PredictRequest(model_spec=spec, inputs={"x": x}))),
        log.PredictionLog(regress_log=log.RegressLog(
            request=regression_pb2.RegressionRequest(model_spec=regress_spec, input=plain))),
        log.PredictionLog(classify_log=log.ClassifyLog(
            request=classification_pb2.ClassificationRequest(
                model_spec=regress_spec, input=context))),
        log.PredictionLog(multi_inference_log=log.MultiInferenceLog(
            request=inference_pb2.MultiInferenceRequest(
                tasks=[inference_pb2.InferenceTask(model_spec=regress_spec)] * 2, input=plain))),
        log.PredictionLog(session_run_log=log.SessionRunLog(
            request=session_service_pb2.SessionRunRequest(
                model_spec=spec, fetch=[graph_y],
                feed=[{"name": graph_x, "tensor": x}]))),
    ]  # fmt: skip
    wrong = [
        log.PredictionLog(predict_log=log.PredictLog(
            request=predict_pb2.PredictRequest(model_spec=half_spec, inputs={"x": x}))),
        log.PredictionLog(predict_log=log.PredictLog(
            request=predict_pb2.PredictRequest(
                model_spec=spec, inputs={"x": tf.make_tensor_proto([1])}))),
    ]  # fmt: skip
    extra = path / "assets.extra"
    extra.mkdir(exist_ok=True)
    for file, what in [
        (extra / "tf_serving_warmup_requests", logs),
        (out / "warmup_wrong.tfrecord", logs[:1] + wrong),
    ]:
        with tf.io.TFRecordWriter(str(file)) as w:
            for r in what:
                w.write(r.SerializeToString(deterministic=True))


def main():
    top = Path(__file__).resolve().parent.parent
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--out", type=Path, default=top / "tests/data/formats/samples")
    p.add_argument("--only", default=",".join(PARTS))
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for name in a.only.split(","):
        PARTS[name](a.out)


if __name__ == "__main__":
    main()
