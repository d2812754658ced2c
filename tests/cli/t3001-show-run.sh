#!/bin/sh
# show and run with saved_model_cli's flags and words.
. "$(dirname "$0")/lib.sh"
model=$data/half_plus_two_tf1/model

sl show --dir "$digits/v1"
is "tag sets" "$out" "The given SavedModel contains the following tag-sets:
'serve'"
sl show --dir "$digits/v1" --tag_set serve
is "signature keys" "$out" 'The given SavedModel MetaGraphDef contains SignatureDefs with the following keys:
SignatureDef key: "__saved_model_init_op"
SignatureDef key: "serving_default"'
sl show --dir "$digits/v1" --tag_set serve --signature_def serving_default
is "a signature" "$out" "The given SavedModel SignatureDef contains the following input(s):
  inputs['image'] tensor_info:
      dtype: DT_FLOAT
      shape: (-1, 8, 8, 1)
      name: serving_default_image:0
The given SavedModel SignatureDef contains the following output(s):
  outputs['digit'] tensor_info:
      dtype: DT_INT64
      shape: (-1)
      name: StatefulPartitionedCall:0
  outputs['probabilities'] tensor_info:
      dtype: DT_FLOAT
      shape: (-1, 10)
      name: StatefulPartitionedCall:1
Method name is: tensorflow/serving/predict"
sl show --dir "$digits/v1" --all
prints "--all" "^MetaGraphDef with tag-set: 'serve' contains the following SignatureDefs:"
prints "--all lists the ops" "^The MetaGraph with tag set \['serve'\] contains the following ops: \{.*'MatMul'"
sl show --dir nowhere
fails "a directory that is not there" 7 "SavedModel file does not exist at: nowhere"
sl show --dir "$digits/v1" --tag_set serve,gpu
fails "a tag set that is not there names those that are" 7 "serve"
sl show --dir "$digits/v1" --tag_set serve --signature_def nope
fails "a signature that is not there names those that are" 7 "serving_default"
sl show
fails "neither --dir nor a version" 2 "--dir"

run() { sl run --dir "$model" --tag_set serve --signature_def serving_default "$@"; }
run --input_exprs 'x=[1.0,2]'
is "run on a literal" "$out" "Result for output key y:
[2.5 3. ]"
run --input_exprs 'x=[1.0,2]' --outdir deep/er
prints "--outdir" "^Output y is saved to deep/er/y.npy$"
run --input_exprs 'x=[1.0,2]' --outdir deep/er
fails "does not write over what is there" 3 "already exists. Add \"--overwrite\""
run --input_exprs 'x=[1.0,2]' --outdir deep/er --overwrite
ok "--overwrite does"
run --inputs x=deep/er/y.npy
is "an .npy as input" "$out" "Result for output key y:
[3.25 3.5 ]"
run
fails "no input at all" 2 "--input_exprs"
run --input_exprs 'q=[[1]]'
fails "an input of a wrong name" 1 '"q" is not a valid input key. Please choose from "x"'
run --input_exprs 'x=["a"]'
fails "an input of a wrong dtype" 1 'input "x": DT_STRING cannot be given as DT_FLOAT'
run --input_exprs 'x=[[1,2]]'
fails "an input of a wrong shape" 1 "x.*shape \[1,2\]"
run --input_exprs 'x=np.frob(2)'
fails "an expression that is none" 1 'not a valid python literal'
run --input_exprs 'x'
fails "an expression without a key" 1 'format is incorrect'
run --inputs x=none.npy
fails "an input file that is not there" 7 "none.npy"
run --inputs "x=$digits/predict.npz[nope]"
fails "an array that is not in the file" 7 'does not contain variable with name "nope"'
sl run --dir "$digits/v2" --inputs "image=$digits/predict.npz[image]"
prints "a convolutional net answers" "^\[0 2 4 7 8\]$"

sl run --dir "$model" --golden "$data/half_plus_two_tf1/golden.json" --outdir answers
ok "run --golden"
check "writes a file a case" test -s answers/report.jsonl
for m in half_plus_two_tf2 tf1_resource tf1_partitioned mlp_tiny cnn_tiny multi_signature \
    strings_passthrough variant_no_variables fail_assert; do
    sl validate --dir "$data/$m/model" --golden "$data/$m/golden.json"
    ok "$m gives TensorFlow's answers"
done
sl run --dir "$data/unsupported_ops/model" --signature_def serving_default --input_exprs 'x=[1.0]'
sl run --dir "$data/unsupported_ops/model" --golden "$data/unsupported_ops/golden.json"
fails "unsupported ops are named all at once" 1 "DrawBoundingBoxesV2.*DecodeWav|DecodeWav.*DrawBoundingBoxesV2"

sl init
sl push "$digits/v1" digits
sl show digits@1
is "show takes a version" "$out" "The given SavedModel contains the following tag-sets:
'serve'"
sl run digits --inputs "image=$digits/predict.npz[image]"
prints "run takes a version" "^\[0 2 4 7 7\]$"
finish
