#!/bin/sh
# Each pass of the runtime's planner fires on real models it was made for, and answers do
# not depend on it. The models are those of ../shared/conformance (or $CONFORMANCE),
# generated.tar.zst: <name>/golden.json beside <name>/model. Needs NumPy.
. "$(dirname "$0")/../cli/lib.sh"

cat >compare.py <<'EOF'
import glob, sys, numpy as np
files = sorted(glob.glob(sys.argv[1] + "/*.npz"))
assert files
for f in files:
    a, b = np.load(f), np.load(f.replace(sys.argv[1], sys.argv[2], 1))
    for k in a.files:
        x, y = a[k], b[k]
        assert x.shape == y.shape and x.dtype == y.dtype, (f, k)
        if x.dtype.kind == "f":
            assert np.allclose(x, y, rtol=1e-5, atol=1e-5 * max(1, np.abs(y).max(initial=0)),
                               equal_nan=True), (f, k, np.abs(x - y).max())
        else:
            assert (x == y).all(), (f, k)
EOF

one() { # pass, model
    set=models/$2
    sl show --dir "$set/model" --plan --json
    fired=$(printf %s "$out" | tr -d ' \n' | grep -oE '"passes":\{[^}]*\}' | head -n 1 |
        sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p")
    check "$1 fires on $2" test "${fired:-0}" -gt 0
    sl run --dir "$set/model" --golden "$set" --outdir "with-$1-$2"
    SLUICE_PLAN=-$1
    export SLUICE_PLAN
    sl run --dir "$set/model" --golden "$set" --outdir "without-$1-$2"
    unset SLUICE_PLAN
    check "$2 answers alike without $1" python3 compare.py "with-$1-$2" "without-$1-$2"
}

# A network's values stay in the layout that its convolutions take, from first to last.
one_layout() { # model
    sl show --dir "models/$1/model" --plan --json
    plan=$(printf %s "$out" | tr -d ' \n')
    check "convolutions of $1 are oneDNN's" test "$(printf %s "$plan" | grep -oE '"kernel":"[a-z]' | wc -l)" -ge 5
    check "which reorder no value of $1" test "$(printf %s "$plan" | grep -oE '"reorders":[1-9]' | wc -l)" -eq 0
}

# What runs is the one kernel, not the steps or turns that it can fall back to.
runs_kernel() { # kernel, times, model
    sl show --dir "models/$3/model" --plan --json
    ran=$(printf %s "$out" | tr -d ' \n' | grep -oE "\"kernel\":\"own:$1\"" | wc -l)
    check "$1 runs $2 times or more in $3" test "$ran" -ge "$2"
}

mkdir models
check "the models are there" tar --zstd -xf "${CONFORMANCE:-$top/../shared/conformance}/generated.tar.zst" -C models
one fold cnn_mobilenetv2
one fuse cnn_mobilenetv2
one fuse cnn_resnet_hand
one fuse cnn_grouped
one fuse mlp_activations
one fuse tf1_refvar_mlp
one fuse tr_encoder_mha
one fuse cnn_tcn_wavenet
one fuse k3_vit_tiny
one pattern k3_vit_tiny
one pattern tr_gpt_small
one pattern cnn_efficientnet
one pattern tr_bert_tiny
for model in tr_encoder_mha tr_gpt_causal; do
    one pattern "$model"
done
one rnn rnn_gru_both
one rnn rnn_bidir_stack
one rnn rnn_lstm_mask
one rnn rnn_simple_td
one rnn k3_rnn_export
runs_kernel attention 2 tr_bert_tiny
runs_kernel attention 1 tr_encoder_mha
runs_kernel attention 2 tr_gpt_causal
runs_kernel attention 2 tr_gpt_small
runs_kernel attention 2 k3_vit_tiny
runs_kernel rnn 1 rnn_gru_both
runs_kernel rnn 8 rnn_bidir_stack
runs_kernel rnn 2 rnn_lstm_mask
runs_kernel rnn 2 rnn_simple_td
runs_kernel rnn 4 k3_rnn_export
for model in cnn_mobilenetv2 cnn_efficientnet cnn_densenet cnn_unet; do
    one_layout $model
done
finish
