#!/bin/sh
# --graph_def: a GraphDef without signatures is shown and run; answers are TensorFlow's.
. "$(dirname "$0")/lib.sh"
frozen=$data/frozen
export TMPDIR="$scratch/tmp"
mkdir "$TMPDIR"

sl show --graph_def "$frozen/graph.pb"
fails "without --outputs it lists what nobody consumes" 2 \
    "graph.pb: a frozen graph has no signature: --outputs .*: Identity:0,Identity_1:0,Identity_2:0,Identity_3:0,Identity_4:0$"
sl show --graph_def "$frozen/graph.pb" --outputs net/probabilities,best:1,bright:0 --tag_set serve \
    --signature_def serving_default
is "show has the Placeholders as inputs" "$out" "The given SavedModel SignatureDef contains the following input(s):
  inputs['image:0'] tensor_info:
      dtype: DT_FLOAT
      shape: (-1, 5, 5, 1)
      name: image:0
  inputs['scale:0'] tensor_info:
      dtype: DT_FLOAT
      shape: ()
      name: scale:0
The given SavedModel SignatureDef contains the following output(s):
  outputs['best:1'] tensor_info:
      dtype: DT_INT32
      shape: unknown_rank
      name: best:1
  outputs['bright:0'] tensor_info:
      dtype: DT_BOOL
      shape: unknown_rank
      name: bright:0
  outputs['net/probabilities:0'] tensor_info:
      dtype: DT_FLOAT
      shape: unknown_rank
      name: net/probabilities:0
Method name is: tensorflow/serving/predict"
cp .out wire
sl show --graph_def "$frozen/graph.pbtxt" --outputs net/probabilities,best:1,bright:0 --tag_set serve \
    --signature_def serving_default
check "the text form shows the same" cmp .out wire
sl show --graph_def "$frozen/graph.pb" --outputs bright:0 --all
prints "only the inputs that the outputs need" "inputs\['image:0'\]"
is "and no other" "$(printf '%s' "$out" | grep -c "inputs\['scale")" 0

# Floats of two .npy files, headers of 128 bytes, to 1e-6: the last bit is the processor's.
near() { # got, wanted
    od -An -v -w4 -tf4 -j128 "$2" >wanted.txt && od -An -v -w4 -tf4 -j128 "$1" | paste - wanted.txt |
        awk 'NF != 2 || ($1 - $2)^2 > 1e-12 { bad = 1 } END { exit bad || NR == 0 }'
}

all=net/flat:0,net/probabilities:0,best:0,best:1,bright:0,five:0
for form in pb pbtxt; do
    sl run --graph_def "$frozen/graph.$form" --outputs $all --outdir $form \
        --inputs "image:0=$frozen/image_0.npy;scale:0=$frozen/scale_0.npy"
    ok "run on graph.$form"
    for name in best:1 bright:0 five:0; do
        want=$(printf %s "$name" | tr : _)
        check "$form: $name is TensorFlow's" cmp "$form/$name.npy" "$frozen/$want.npy"
    done
    check "$form: net_flat:0 is TensorFlow's" near "$form/net_flat:0.npy" "$frozen/net_flat_0.npy"
done
sl run --graph_def "$frozen/graph.pb" --outputs net/probabilities \
    --inputs "image:0=$frozen/image_0.npy;scale:0=$frozen/scale_0.npy"
is "probabilities are TensorFlow's in six digits" \
    "$(printf '%s\n' "$out" | sed 's/\(0\.[0-9]\{5\}\)[0-9]*/\1/g; s/ \+/ /g; s/ \]/]/g')" "Result for output key net/probabilities:0:
[[0.28635 0.06726 0.21008 0.43629]
 [0.04363 0.38791 0.18801 0.38043]
 [0.22967 0.19155 0.25152 0.32724]]"
cp .out wire
sl run --graph_def "$frozen/graph.pb" --outputs net/probabilities:0 --input_exprs 'scale:0=0.25' \
    --inputs "net/flat:0=$frozen/net_flat_0.npy"
check "any tensor can be fed" cmp .out wire

sl scan --graph_def "$frozen/graph.pb" --outputs best,bright
ok "scan looks into it"
prints "all of it" "^nothing found in tag set 'serve': [0-9]+ nodes"
sl scan --graph_def "$frozen/graph.pb" --outputs best --op_denylist MatMul
fails "and names the file" 1 "frozen/graph.pb: 1 finding$"
sl tensors --graph_def "$frozen/graph.pb" --outputs best
ok "tensors lists its constants"
prints "with what they are" ' constant$'
sl tensors --graph_def "$frozen/graph.pb" --outputs best --histogram net/w
fails "it draws none" 7 "no variables, and only those are drawn"
sl tensors --graph_def "$frozen/graph.pb" --outputs best --checkpoint ./x
fails "a checkpoint too" 2 "stands alone"

sl run --graph_def "$frozen/graph.pb" --outputs best --input_exprs 'x:0=[1.0]'
fails "a feed that is not in the graph" 7 "graph.pb: --inputs: the graph has no tensor 'x:0'"
sl show --graph_def "$frozen/graph.pb" --outputs best:0,nope
fails "an output that is not in the graph" 7 "graph.pb: --outputs: the graph has no tensor 'nope'"
sl show --graph_def none.pb --outputs y
fails "no such file" 7 "none.pb: no such file"
sl show --graph_def "$data/half_plus_two_tf1/model/saved_model.pb" --outputs y
fails "a SavedModel is none" 4 "saved_model.pb: cut off, damaged or no GraphDef"
head -c 1000 "$frozen/graph.pb" >cut.pb
sl show --graph_def cut.pb --outputs best
fails "a file that is cut off" 4 "cut.pb: cut off, damaged or no GraphDef"
sl show --graph_def "$frozen/graph.pb" --dir "$data/half_plus_two_tf1/model" --outputs best
fails "--dir too" 2 "show needs"
sl show --dir "$data/half_plus_two_tf1/model" --outputs best
fails "--outputs of a SavedModel" 2 "goes with --graph_def"
is "no scratch is left" "$(ls "$TMPDIR")" ""
finish
