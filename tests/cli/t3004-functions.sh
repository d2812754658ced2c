#!/bin/sh
# Functions of a model's objects by name; inputs that are several tensors, and defaults.
. "$(dirname "$0")/lib.sh"
functions=$data/functions/model sparse=$data/sparse_signature/model

sl run --dir "$functions" --function __call__ --input_exprs 'x=[[1.0,1.0]]'
is "variables of one name are told apart" "$out" "Result for output key output_0:
[[114. 226.]]"
sl run --dir "$functions" --function look --input_exprs 'words=["a","z"]'
is "a table is captured, and a dictionary names the outputs" "$out" "Result for output key n:
2
Result for output key value:
[ 1. -1.]"
sl run --dir "$functions" --function count
is "a function without inputs" "$out" "Result for output key output_0:
1"
sl run --dir "$functions" --function scale --input_exprs 'x=[1.0,2.0]'
fails "of several traces one has to be named" 1 "has 2 traces; name one of them: __inference_scale_"
one=$(printf %s "$err" | grep -oE '__inference_scale_[0-9]+ \(TensorSpec\(shape=\(1, 1\)' | cut -d' ' -f1)
sl run --dir "$functions" --function "$one" --input_exprs 'x=[[4.0]]'
is "the name of a trace does" "$out" "Result for output key output_0:
[[-8.]]
Result for output key output_1:
[[8.]]"
sl run --dir "$functions" --function "$one" --input_exprs 'x=[1.0,2.0]'
fails "its shape is checked" 1 "has shape \[2\], not \[1,1\]"
sl run --dir "$functions" --function nope
fails "a function that is not there" 7 "there is no function 'nope'; there are '__call__', 'count', 'look', 'scale'"
sl run --dir "$functions" --signature_def serving_default --function look
fails "a signature and a function" 2 "only one of them"
sl run --dir "$functions" --input_exprs 'x=[[1.0,1.0]]'
fails "without a signature, the way out is named" 7 "--function NAME"
sl show --dir "$functions" --plan --function __call__
prints "the plan of a function" "^ +[0-9]+ +MatMul"

rows='r/0=[1.0,2.0,3.0];r/1=[0,1,1,3]'
sl run --dir "$sparse" --input_exprs "s/values=[1.0,2.0,3.0];s/indices=[[0,0],[0,3],[2,1]];s/dense_shape=[3,4];$rows"
prints "a sparse input is three tensors, a default is used" "^\[9. 0. 9.\]$"
prints "a ragged input is two" "^\[3. 0. 6.\]$"
prints "a sparse output is three" "^Result for output key same/dense_shape:$"
sl run --dir "$sparse" --input_exprs "by=10.0;s/values=[1.0];s/indices=[[0,0]];s/dense_shape=[1,4];$rows"
prints "a default gives way" "^\[10.  0. 20.\]$"
sl run --dir "$sparse" --input_exprs "s/values=[1.0];$rows"
fails "a part that is missing" 1 "also needs input 's/indices'"

sl run --dir "$functions" --function count --timeout 5 --memory 100 --steps 10
ok "limits"
sl run --dir "$functions" --function count --timeout 0
fails "a limit of nothing" 2 "timeout must be 1 to [0-9]+, not 0"
finish
