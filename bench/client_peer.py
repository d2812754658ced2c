#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite or ONNX Runtime as bench/runtime's engine; client.h says the protocol.

usage: client_peer.py {tflite|onnx} MODEL THREADS STARTED_NS {in KEY NAME DTYPE DIMS FILE | out KEY NAME}...
       client_peer.py convert {tflite|onnx} SAVED_MODEL_DIR OUT     (needs TensorFlow)
"""
import os
import resource
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
MAX_SENT = 1000
DTYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_INT64": "int64"}


def convert(kind, saved_model, out):
    import tensorflow as tf

    if kind == "tflite":
        blob = tf.lite.TFLiteConverter.from_saved_model(saved_model).convert()
        with open(out, "wb") as f:
            f.write(blob)
        return
    import subprocess

    subprocess.run([sys.executable, "-m", "tf2onnx.convert", "--saved-model", saved_model,
                    "--signature_def", "serving_default", "--opset", "15", "--output", out],
                   check=True, stdout=subprocess.DEVNULL)


def tflite_engine(model, threads, feeds):
    import tensorflow as tf

    it = tf.lite.Interpreter(model, num_threads=threads)
    details = it.get_input_details()

    def index_of(key):
        named = [d for d in details if d["name"].split(":")[0].removeprefix("serving_default_") == key]
        return (named or details)[0]["index"]

    places = {key: index_of(key) for key in feeds}
    for key, value in feeds.items():
        it.resize_tensor_input(places[key], value.shape)
    it.allocate_tensors()

    def run():
        for key, value in feeds.items():
            it.set_tensor(places[key], value)
        it.invoke()
        return [it.get_tensor(d["index"]) for d in it.get_output_details()]

    return run


def onnx_engine(model, threads, feeds):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    s = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if len(feeds) == 1:  # converters rename it
        feeds = {s.get_inputs()[0].name: v for v in feeds.values()}
    return lambda: s.run(None, feeds)


def main(argv):
    if argv[1] == "convert":
        return convert(*argv[2:])
    kind, model, threads, started_ns = argv[1], argv[2], int(argv[3]), int(argv[4])
    import numpy as np

    feeds, outs, i = {}, [], 5
    while i < len(argv):
        if argv[i] == "in":
            key, _, dtype, dims, path = argv[i + 1:i + 6]
            feeds[key] = np.fromfile(path, DTYPES[dtype]).reshape([int(d) for d in dims.split("x") if d])
            i += 6
        else:
            outs.append(argv[i + 1])
            i += 3
    begin = time.monotonic_ns()
    run = (tflite_engine if kind == "tflite" else onnx_engine)(model, threads, feeds)
    loaded = time.monotonic_ns()
    answers = run()
    answered = time.monotonic_ns()
    if len(outs) == 1 and len(answers) == 1 and answers[0].dtype == np.float32:
        print("answer", outs[0], *("%.9g" % v for v in answers[0].ravel()[:16]))
    print("ready %.3f %.3f %.3f" % ((loaded - begin) / 1e6, (answered - loaded) / 1e6,
                                    (answered - started_ns) / 1e6), flush=True)
    for line in sys.stdin:
        if line.startswith("end"):
            break
        took, at = [], time.monotonic_ns()
        until = at + int(float(line.split()[1]) * 1e9)
        while True:
            run()
            now = time.monotonic_ns()
            took.append((now - at) / 1e3)
            at = now
            if at >= until:
                break
        every = -(-len(took) // MAX_SENT)
        print("n", len(took), *("%.3f" % t for t in took[::every]), flush=True)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


main(sys.argv)
