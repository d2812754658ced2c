#!/bin/sh
# checkpoint show, compare, list.
. "$(dirname "$0")/lib.sh"
ckpts=$data/checkpoints

sl checkpoint show "$ckpts/module/ckpt"
ok "show of a directory: its newest"
prints "what it is" '/ckpt-2: 8 tensors, 1.5 kB, 1 data shard, by objects$'
prints "counters with their values" '^counters: save_counter 2, step 200$'
prints "tensors" '^model/layers/0/kernel/.ATTRIBUTES/VARIABLE_VALUE +DT_FLOAT +\(3, 4\) +48$'
prints "the tree" '^    layers \(list\)$'
prints "variables and where they are" '^        bias \(variable\) model/layers/0/bias/.ATTRIBUTES/VARIABLE_VALUE$'
sl checkpoint show "$ckpts/keras/legacy/ckpt-1.index"
prints "an object with two names is shown once" '^    layer-0 = model/layer_with_weights-0$'
prints "slots of an optimizer before Keras 2.11" '^hidden/kernel +v +model/.*/.OPTIMIZER_SLOT/optimizer/v/'
sl checkpoint show "$ckpts/keras/weights"
prints "a cycle is shown once" '^  root = \(root\)$'
prints "slots of a new optimizer" '^y/bias +m +optimizer/_variables/7/'
prints "an optimizer is one" '^  optimizer \(optimizer\)$'
sl checkpoint show "$ckpts/tf1_saver/ckpt"
prints "TF1: names, no objects" '10 tensors, .*, by names$'
prints "its counter" '^counters: global_step 3$'
prints "a variable in slices" '^net/w +DT_FLOAT +\(3, 2\) +24 +3 slices$'
prints "slots by their names' ends" '^net/b +average +net/b/ExponentialMovingAverage$'
sl checkpoint show "$ckpts/tf1_saver/model"
prints "of a model: its variables" 'variables/variables: 2 tensors'
sl checkpoint show "$ckpts/keras/legacy" --json
prints "as JSON" '"same_as": *"model/layer_with_weights-0"'
sl checkpoint show "$ckpts/tf1_saver/v1"
fails "a V1 checkpoint, by name, with the way out" 1 'V1 checkpoint.*write_version=2'
mkdir unnamed && : >unnamed/export-00000-of-00001
sl checkpoint show unnamed
fails "also when nothing names it" 1 'unnamed/ is a V1 checkpoint'
sl checkpoint show "$ckpts/module"
fails "several without a state file" 7 'has no state file .checkpoint. and 3 checkpoints: name one, such as .*/wide'
sl checkpoint show ./none
fails "nothing there" 7 'none.index: no such file'
mkdir -p moved/now && cp "$ckpts/module/ckpt/ckpt-2".* moved/now
echo 'model_checkpoint_path: "/gone/ckpt-2"' >moved/now/checkpoint
sl checkpoint show moved/now
fails "a moved directory" 7 'names /gone/ckpt-2, which is not there; .* moved/now/ckpt-2'
cp "$ckpts/module/alone.index" cut.index
sl checkpoint show ./cut
fails "without its data" 4 'cut.data-00000-of-00001 is missing'

sl checkpoint compare "$ckpts/module/ckpt/ckpt-1" "$ckpts/module/ckpt"
fails "compare: two of one training" 1 'differ$'
prints "how much" '^  model/layers/0/bias +changed +DT_FLOAT \(4\) +max [0-9.]+ \([0-9.]+ of the largest\); mean [0-9.]+; 4 of 4 elements$'
prints "what is the same" '^same: 4 tensors$'
sl checkpoint compare "$ckpts/module/ckpt" "$ckpts/module/wide"
prints "added and removed" 'val_loss +removed'
prints "reshaped" 'layers/1/kernel +reshaped +DT_FLOAT \(4, 3\), was DT_FLOAT \(4, 2\)'
prints "retyped" 'layers/0/bias +retyped +DT_DOUBLE \(4\), was DT_FLOAT \(4\)'
sl checkpoint compare "$ckpts/module/alone" "$ckpts/module/alone.index"
ok "one and itself"
is "are the same" "$out" "same tensors
same: 5 tensors"
sl diff "$ckpts/module/alone" "$ckpts/module/alone"
ok "diff takes bare checkpoints"
sl checkpoint compare "$ckpts/module/alone" "$ckpts/module/ckpt"
fails "one inside another object" 1 'differ$'
prints "pairs by the object graphs" '^tensors are paired by the object graphs: their keys differ$'
prints "what both have is the same" '^same: 5 tensors$'
prints "what one has more is not" '^  save_counter +added'
is "and nothing else differs" "$(printf '%s\n' "$out" | grep -c '  added  ')" 3
sl checkpoint compare "$ckpts/module/ckpt" "$ckpts/module/model" --json
prints "also the other way round, with a model" '"tensor_was": *"model/layers/0/bias/'
cp -r "$ckpts/module/ckpt" here
sl diff here here
fails "a directory that is named like a version, without a store" 7 '; what lies here is ./here$'
sl diff ./here ./here/
ok "typed as it says"
sl diff "$ckpts/module/ckpt" "$ckpts/module/ckpt/ckpt-1"
fails "and directories of them" 1 'differ$'
sl diff "$ckpts/module/alone" "$ckpts/module/model" --json
prints "and a checkpoint and a model" '"tensors_b": *5'
sl init
sl push "$ckpts/module/model" module
sl diff module@1 here
fails "or with one" 7 "no model here.*; what lies here is ./here$"
sl checkpoint compare "$ckpts/module/model" module@1
ok "with a version"

sl checkpoint list
fails "no directory: the command as it is typed" 2 'checkpoint list needs'
sl checkpoint list "$ckpts/module/ckpt" --best val_loss
ok "list"
prints "best by a number" '^ckpt-1 .* 8 +1.5 kB +0.25 +best'
prints "newest" '^ckpt-2 .* 0.5 +newest'
sl checkpoint list "$ckpts/module/ckpt" --best val_loss:max
prints "the greatest" '^ckpt-2 .* newest best'
sl checkpoint list "$ckpts/module/ckpt" --best accuracy
fails "none has it" 7 "has a number 'accuracy'"
sl checkpoint list "$ckpts/module/ckpt" --best val_loss:most
fails "a word that is none" 2 'KEY:min or KEY:max'
sl checkpoint list "$ckpts/module"
prints "what no state file names" '^pair .*\(not in the state file\)'
cp -r "$ckpts/module/ckpt" part
chmod -R u+w part
rm part/ckpt-1.data-00000-of-00001
sl checkpoint list part --json
prints "one that is not whole" '"complete": *false'
prints "says why" 'ckpt-1.data-00000-of-00001 is missing'
rm part/ckpt-1.index
sl checkpoint list part
prints "one that is gone" '^ckpt-1 .*ckpt-1.index: no such file'
sl checkpoint list "$ckpts/tf1_saver/v1"
prints "a V1 one" 'V1 checkpoint'
mkdir empty
sl checkpoint list empty
fails "no checkpoints" 7 'empty has no checkpoints'
finish
