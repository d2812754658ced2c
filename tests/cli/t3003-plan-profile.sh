#!/bin/sh
# show --plan and run --profile: the stages, the steps, and where the time goes.
. "$(dirname "$0")/lib.sh"

sl show --dir "$digits/v1" --plan
ok "show --plan"
prints "it says what was read" "^read +[0-9]+ nodes, [0-9]+ functions"
prints "where inputs go" "image: float\[-1,8,8,1\] to serving_default_image:0"
prints "what its outputs need" "^bind +signature '[a-z_]+': [0-9]+ nodes needed, [0-9]+ pruned"
prints "what was restored" "^restore +[0-9]+ variables, .* mapped"
prints "how much memory its values share" "^memory +an arena of [0-9.]+ .* most in use at once [0-9]"
prints "by which of the model's ops" "^ +ran [A-Za-z0-9_/]+"
prints "how many steps the passes were given" "^plan +[0-9]+ steps of [0-9]+, "
prints "steps with slots, shapes and cost" "^ +[0-9]+ +MatMul[+A-Za-z]* +s[0-9]+.* float\[1,[0-9]+\] +[0-9.]+ +[0-9.]+ "
prints "ops that one step does the work of" "MatMul\+BiasAdd\+Relu"
sl show --dir "$digits/v1" --plan --signature_def nope
fails "a signature that is not there" 7 "serving_default"
sl show --dir "$digits/v1" --plan --json
check "--json has the stages" test "$(printf %s "$out" | tr -d ' \n' |
    grep -oE '"(read|bind|restore|plan|functions)":[[{]' | wc -l)" -ge 5
check "and says which variable is a slice of the file" test "$(printf %s "$out" | tr -d ' \n' |
    grep -oE '"mapped":true' | wc -l)" -ge 1

x=$digits/predict.npz
sl run --dir "$digits/v1" --inputs "image=$x[image]" --profile --profile_runs 3 --profile_out trace.json
prints "--profile counts runs" "^Profile: 4 runs; steps take [0-9.]+ ms a run"
prints "a line an op" "^MatMul[+A-Za-z]* +[0-9]+ +[0-9.]+ +[0-9.]+ "
prints "answers come as ever" "^Result for output key digit:"
prints "and a trace" "^Trace is saved to trace.json"
check "a complete event has begin and length" \
    grep -qE '"name":"MatMul[+A-Za-z]*","cat":"step","ph":"X","ts":[0-9.]+,"dur":[0-9.]+,"pid":1,"tid":1' trace.json
if command -v python3 >/dev/null; then
    check "the trace is JSON, and every event has what a viewer needs" python3 -c '
import json
events = json.load(open("trace.json"))["traceEvents"]
assert len(events) > 10
assert all(e["ph"] == "M" or {"name", "ph", "ts", "dur", "pid", "tid"} <= set(e) for e in events)'
else
    skip "the trace is JSON" "no python3"
fi
sl run --dir "$digits/v1" --inputs "image=$x[image]" --profile --json
check "--json has all steps" test "$(printf %s "$out" | grep -c '"percent":')" -gt 10
sl run --dir "$digits/v1" --inputs "image=$x[image]" --profile_out no/such/dir/t.json
fails "a trace that cannot be written" 7 "no/such/dir"
finish
