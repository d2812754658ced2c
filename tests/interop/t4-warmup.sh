#!/bin/sh
# A warm-up file as TF Serving reads it: TensorFlow takes the records and the tensors out, by the
# messages of its public documentation, and gives the answers that the golden set expects.
. "$(dirname "$0")/../cli/lib.sh"

python=${SLUICE_TF_PYTHON:-$top/build/interop/venv/bin/python}
if ! "$python" -c 'import tensorflow' 2>/dev/null; then
    skip "TensorFlow reads the warm-up file" "no TensorFlow at $python; make interop-tools"
    finish
    exit
fi
cat >warmup.py <<'EOP'
import base64, sys, json, numpy as np, tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

# tensorflow_serving/apis: prediction_log.proto, predict.proto, model.proto, what is needed of them.
F = descriptor_pb2.FieldDescriptorProto
file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="serving", syntax="proto3",
                                          dependency=["tensorflow/core/framework/tensor.proto"])
def message(to, name, *fields):
    m = to.add(name=name)
    for field, number, kind, repeated in fields:
        f = m.field.add(name=field, number=number, label=3 if repeated else 1, type=F.TYPE_STRING)
        if kind:
            f.type, f.type_name = F.TYPE_MESSAGE, kind
    return m
message(file.message_type, "ModelSpec", ("name", 1, "", 0), ("signature_name", 3, "", 0))
request = message(file.message_type, "PredictRequest", ("model_spec", 1, ".serving.ModelSpec", 0),
                  ("inputs", 2, ".serving.PredictRequest.InputsEntry", 1))
entry = message(request.nested_type, "InputsEntry", ("key", 1, "", 0), ("value", 2, ".tensorflow.TensorProto", 0))
entry.options.map_entry = True
message(file.message_type, "PredictLog", ("request", 1, ".serving.PredictRequest", 0))
message(file.message_type, "PredictionLog", ("predict_log", 6, ".serving.PredictLog", 0))
pool = descriptor_pool.Default()
pool.Add(file)
Log = message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))

def plain(v):
    if isinstance(v, list):
        return [plain(x) for x in v]
    return base64.b64decode(v["b64"]) if isinstance(v, dict) else v.encode() if isinstance(v, str) else v
def arrays(v): # of a file, or inline
    if isinstance(v, str):
        return dict(np.load(f"{golden}/{v}"))
    return {k: np.array(plain(x)) for k, x in v.items()}
def same(got, want, near):
    assert got.shape == want.shape, (got.shape, want.shape)
    if want.dtype.kind == "S": # NumPy drops NULs at the end
        return got.astype(want.dtype).tolist() == want.tolist()
    return np.allclose(got, want, rtol=near, atol=near) if near else (got == want.astype(got.dtype)).all()

model, golden, name = sys.argv[1:]
cases = json.load(open(f"{golden}/golden.json"))["cases"]
records = list(tf.data.TFRecordDataset(f"{model}/assets.extra/tf_serving_warmup_requests"))
assert len(records) == len(cases), (len(records), len(cases))
signatures = tf.saved_model.load(model).signatures
for record, case in zip(records, cases):
    log = Log.FromString(record.numpy())
    known = Log.FromString(record.numpy())
    known.DiscardUnknownFields()
    assert known.ByteSize() == log.ByteSize() == len(record.numpy()), "fields that TF Serving does not have"
    spec = log.predict_log.request.model_spec
    assert spec.name == name, spec
    fed = arrays(case["inputs"])
    inputs = {k: tf.make_ndarray(v) for k, v in log.predict_log.request.inputs.items()}
    assert set(inputs) == set(fed), (set(inputs), set(fed))
    for k, v in inputs.items():
        assert same(v, fed[k], 0), k
    if set(inputs) != set(signatures[spec.signature_name].structured_input_signature[1]):
        continue  # a default is TF Serving's to fill in, and not this call's
    out = signatures[spec.signature_name](**{k: tf.constant(v) for k, v in inputs.items()})
    for k, want in arrays(case["expected"]).items():
        assert same(out[k].numpy(), want, 1e-5), k
EOP
sl init
one() { # name, model, golden set
    sl push "$2" "$1" --golden "$3"
    sl pull "$1@1" "$1"
    rm -rf "$1/assets.extra"
    sl golden export "$1" export@1 "$1" --warmup
    ok "$1: golden export --warmup"
    check "$1: TensorFlow reads the warm-up file, and answers as expected" \
        env TF_CPP_MIN_LOG_LEVEL=3 "$python" warmup.py "$1" "$3" "$1"
}
one digits "$digits/v1" "$digits/v1-golden"
one strings "$data/strings_passthrough/model" "$data/strings_passthrough"
one several "$data/multi_signature/model" "$data/multi_signature"
finish
