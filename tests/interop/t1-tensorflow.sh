#!/bin/sh
# Against real TensorFlow: it loads what we deploy, and says what our golden files say.
. "$(dirname "$0")/../cli/lib.sh"

python=${SLUICE_TF_PYTHON:-$top/build/interop/venv/bin/python}
if ! "$python" -c 'import tensorflow' 2>/dev/null; then
    skip "TensorFlow loads a deployed tree and gives the runner's answers" "no TensorFlow at $python; make interop-tools"
    skip "the demo's golden sets are TensorFlow's answers" "no TensorFlow"
    skip "the test models' golden sets are TensorFlow's answers" "no TensorFlow"
    finish
    exit
fi
digits_live tfserving
sl push "$digits/v2" digits
sl promote digits@2 --to production
sl run --dir web/digits/latest --inputs "image=$digits/predict.npz[image]" --outdir ours
ok "sluice run on the deployed tree"
cat >compare.py <<'EOF'
import sys, numpy as np, tensorflow as tf
f = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
want = f(image=tf.constant(np.load(sys.argv[2])["image"]))
for key, value in want.items():
    got = np.load(f"{sys.argv[3]}/{key}.npy")
    value = value.numpy()
    assert got.dtype == value.dtype and got.shape == value.shape, (key, got.dtype, got.shape)
    assert np.max(np.abs(got - value)) <= 1e-5, key
EOF
check "TensorFlow loads the deployed tree and gives the runner's answers" \
    env TF_CPP_MIN_LOG_LEVEL=3 "$python" compare.py web/digits/2 "$digits/predict.npz" ours
check "the demo's golden sets are TensorFlow's answers" \
    env TF_CPP_MIN_LOG_LEVEL=3 "$python" -B "$top/tools/make-demo-models.py" --check
check "the test models' golden sets are TensorFlow's answers" \
    env TF_CPP_MIN_LOG_LEVEL=3 "$python" -B "$top/tools/make-test-models.py" --check
finish
