#!/bin/sh
# show prints what saved_model_cli prints: functions and their arguments, quoting, graphs.
. "$(dirname "$0")/lib.sh"
arguments=$data/show/arguments/model
tf2=$data/half_plus_two_tf2/model

# TensorFlow's own text for odd models (tools/make-show-models.py).
if command -v python3 >/dev/null; then
    python3 "$top/tests/show_text.py" "$BIN/sluice" "$data/show" >got 2>&1
    check "it is TensorFlow's own text" grep -q '^[1-9][0-9]* passed, 0 failed$' got
else
    skip "TensorFlow's own text" "no python3"
fi
sl show --dir "$data/tf1_resource/model" --all
ok "--all of a TF1 model"
is "it has no functions" "$(printf '%s\n' "$out" | grep -c 'Concrete Functions')" 0

sl show --dir "$arguments" --all --json
prints "--json has the functions" '"name":[[:space:]]*"named"'
prints "--json has the arguments' types" '"type":[[:space:]]*"RaggedTensorSpec"'
prints "--json has a spec's parts" '"dtype":[[:space:]]*"DT_BFLOAT16"'

sl show --dir "$tf2" --list_ops
is "--list_ops without a tag set" "$out" "--list_ops must be paired with a tag-set or with --all.
The given SavedModel contains the following tag-sets:
'serve'"
sl show --dir "$tf2" --tag_set serve --list_ops
prints "--list_ops" "^The MetaGraph with tag set \['serve'\] contains the following ops: \{'AddV2', 'AssignVariableOp', .*\}$"
prints "--list_ops is followed by the keys" '^SignatureDef key: "serving_default"$'
sl show --dir "$tf2" --tag_set gpu,serve
fails "no such tag set" 7 "MetaGraphDef associated with tag-set gpu,serve could not be found in the SavedModel. Please use one of the following tag-sets: \['serve'\]"
sl show --dir "$tf2" --tag_set serve --signature_def nope
fails "no such signature" 7 'Could not find signature "nope". Please choose from: .*serving_default'

# A model of nothing but tags: "it's" and "a b" (SavedModel 2 { MetaGraphDef 1 { 4 tag } }).
mkdir tags
printf '\022\015\012\013\042\004it'"'"'s\042\003a b' >tags/saved_model.pb
sl show --dir tags
is "tags are quoted as Python quotes them" "$out" 'The given SavedModel contains the following tag-sets:
"a b, it'"'"'s"'
sl show --dir tags --all
is "--all of it" "$out" "
MetaGraphDef with tag-set: 'it's, a b' contains the following SignatureDefs:
The MetaGraph with tag set [\"it's\", 'a b'] contains the following ops: set()"

sl show --dir "$data/half_plus_two_tf1/model" --tag_set serve --signature_def serving_default --graph
ok "--graph"
prints "--graph is DOT" '^digraph "serving_default" \{$'
prints "--graph marks inputs" '\[label="Placeholder\\nx", style=filled, fillcolor=lightblue\];'
prints "--graph has edges" '^  n[0-9]+ -> n[0-9]+;$'
sl show --dir "$tf2" --graph
prints "functions are folded" 'label="StatefulPartitionedCall\\n.*\\n__inference_.* \([0-9]+ nodes\)", shape=box3d'
is "what no output needs is left out" "$(printf '%s\n' "$out" | grep -c 'SaveV2')" 0
sl show --dir "$tf2" --graph --signature_def nope
fails "--graph of no signature" 7 'Could not find signature "nope"'
finish
