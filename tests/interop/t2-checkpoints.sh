#!/bin/sh
# Against real TensorFlow: it reads, loads and runs a model that got its weights from a
# checkpoint, and says what it says with these weights itself.
. "$(dirname "$0")/../cli/lib.sh"

python=${SLUICE_TF_PYTHON:-$top/build/interop/venv/bin/python}
if ! "$python" -c 'import tensorflow' 2>/dev/null; then
    skip "TensorFlow loads models with pushed weights" "no TensorFlow at $python; make interop-tools"
    skip "the index is the one that TensorFlow writes" "no TensorFlow"
    finish
    exit
fi
ckpts=$data/checkpoints
sl init
for kind in module keras tf1_saver; do sl push "$ckpts/$kind/model" $kind; done
sl push --checkpoint "$ckpts/module/ckpt" --onto module
sl push --checkpoint "$ckpts/keras/weights" --onto keras
sl push --checkpoint "$ckpts/tf1_saver/ckpt" --onto tf1_saver
mkdir pulled
for kind in module keras tf1_saver; do
    sl pull $kind@2 pulled/$kind
    ok "$kind"
done
check "TensorFlow loads models with pushed weights, and answers the same" \
    env TF_CPP_MIN_LOG_LEVEL=3 "$python" -B "$top/tools/make-checkpoint-data.py" --check pulled

# An index of several blocks, out of order in its shard: the same bytes.
cat >big.py <<'EOP'
import sys, tensorflow as tf
class Big(tf.Module):
    def __init__(self, shift):
        super().__init__()
        for i in range(700):
            setattr(self, f"layer{i}_{'x' * 400}", tf.Variable(float(i + shift)))
tf.saved_model.save(Big(1), "big")
tf.train.Checkpoint(model=Big(1)).write("same")
tf.train.Checkpoint(model=Big(2)).write("other")
EOP
check "a model of 700 variables with long names" env TF_CPP_MIN_LOG_LEVEL=3 "$python" big.py
sl push ./big big
sl push --checkpoint ./same --onto big@1
prints "the index is the one that TensorFlow writes, byte for byte" 'unchanged: these bytes are this version already'
sl push --checkpoint ./other --onto big@1
sl pull big@2 bigger
cat >compare.py <<'EOP'
import tensorflow as tf
r = tf.train.load_checkpoint("bigger/variables/variables")
for i in range(700):
    assert r.get_tensor(f"layer{i}_{'x' * 400}/.ATTRIBUTES/VARIABLE_VALUE") == i + 2
EOP
check "TensorFlow reads every value" env TF_CPP_MIN_LOG_LEVEL=3 "$python" compare.py
finish
