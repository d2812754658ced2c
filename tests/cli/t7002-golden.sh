#!/bin/sh
# Golden sets as things of their own: their versions, what they ask, what is refused, and TF
# Serving's warm-up file.
. "$(dirname "$0")/lib.sh"

sl init
sl push "$digits/v1" digits --golden "$digits/v1-golden"
cp -r "$digits/acceptance" exam
sl golden add digits exam --name quality
ok "golden add"
sed 's/0\.93/0.95/' exam/golden.json >exam/new && mv exam/new exam/golden.json
sl golden add digits exam --name quality
sl golden add digits exam --name quality
sl golden list digits --all
prints "the first was replaced" 'quality +acceptance +sha256:[0-9a-f]+ +1 .*T.*T'
prints "the second counts; the same bytes are no third" 'quality +acceptance +sha256:[0-9a-f]+ +2 .*counts'
prints "and what came with the version" 'export@1 +export .*counts'
is "three in all" "$(printf '%s\n' "$out" | grep -c sha256)" 3
sl golden show digits quality
prints "golden show: the limits" 'min 0\.95'
prints "the arrays" 'image float32 \(500, 8, 8, 1\)'
sl golden show digits quality@1
prints "an earlier one" 'min 0\.93'
sl golden show digits export@1
prints "an export set, and its tolerances" 'rel_max 1e-05'
sl golden show digits quality@7
fails "one that is not there" 7 "golden list digits --all"
sl golden export digits quality@1 out
ok "golden export"
check "gives the files that were added" diff -r "$digits/acceptance" out
sl golden export digits quality@1 out
fails "never over what is there" 3 "out"

# A warm-up file that TF Serving takes: the model's own run reads it, and interop TensorFlow.
sl pull digits@1 model
sl golden export digits export@1 model --warmup
prints "golden export --warmup" '3 warm-up records'
sl run --dir model --warmup
ok "the records run"
prints "each of them" 'record 2 +predict serving_default'
sl golden export digits export@1 model --warmup
fails "not over one that is there" 3 "nothing was written over what is there"
mkdir inline
echo '{"golden": 1, "kind": "acceptance", "cases": [{"inputs": {"x": [1.5, 2]}, "expected": {"y": [2.75, 3]}}]}' >inline/golden.json
sl push "$data/half_plus_two_tf2/model" half
sl golden add half inline --name inline
ok "numbers in golden.json"
sl golden export half inline half --warmup
ok "get the dtype that the signature has"
sl pull half@1 halfmodel
cp -r half/assets.extra halfmodel/
sl run --dir halfmodel --warmup
ok "and run"

sl golden list halv
fails "no such model" 7 "there is no model halv"
sl golden add later inline --name exam
prints "a model to come: what could not be asked is said" 'not held against a model: later has no ready version'
sl golden list later
prints "and has its sets" 'exam +acceptance'
sl golden add half nowhere --name exam
fails "no such directory" 7 '^sluice: golden add: nowhere: no such golden set'
sl golden show digits export@1
prints "an export set is called as it was asked for" '^export golden set export@1 of digits'

mkdir all
echo '{"golden": 1, "kind": "acceptance", "budgets": ["p99_ms=5"], "limits": {"seconds": 5, "output_mb": 10}, "slices": [{"tag": "fr", "tolerance": {"abs": 1e-3}}, {"tag": "it", "optional": true}], "cases": [{"tags": ["fr"], "inputs": {"x": [1]}, "expected": {"y": [2.5]}}]}' >all/golden.json
sl golden add half all --name all
sl golden show half all
prints "golden show: slices" 'slice #fr: 1 cases$'
prints "that may be missing" 'slice #it: 0 cases, optional'
prints "budgets" 'budget p99_ms=5'
prints "limits" 'limit seconds 5$'

# What does not fit is refused before anything is stored.
refused() { # name, words of the error, golden.json's cases and what follows
    mkdir -p bad
    printf '{"golden": 1, "kind": "acceptance", "cases": [%s}' "$3" >bad/golden.json
    before=$(find store/objects -type f | wc -l)
    sl golden add half bad --name bad
    fails "$1" 1 "$2"
    is "$1: nothing was stored" "$(find store/objects -type f | wc -l)" "$before"
}
refused "a missing array" "input 'x' is missing" '{"inputs": {}, "expected": {"y": [1]}}]'
refused "a missing file" "no such file" '{"inputs": "gone.npz", "expected": {"y": [1]}}]'
refused "a wrong shape" "input 'x' has the shape \(2, 1\); the signature asks for" '{"inputs": {"x": [[1], [2]]}, "expected": {"y": [1]}}]'
refused "a wrong output" "there is no output 'z'" '{"inputs": {"x": [1]}, "expected": {"z": [1]}}]'
refused "two cases of one name" "two cases are called so" '{"name": "a", "inputs": {"x": [1]}, "expected": {"y": [1]}}, {"name": "a", "inputs": {"x": [1]}, "expected": {"y": [1]}}]'
refused "a tolerance below zero" "at least 0" '{"inputs": {"x": [1]}, "expected": {"y": [1]}, "tolerance": {"abs": -1}}]'
refused "a tolerance for an output that is not expected" "the case expects no 'z'" '{"inputs": {"x": [1]}, "expected": {"y": [1]}, "tolerance": {"outputs": {"z": {"abs": 1}}}}]'
refused "a name that comes twice" '"rel_max" stands twice' '{"inputs": {"x": [1]}, "expected": {"y": [1]}, "tolerance": {"rel_max": 1e-5, "rel_max": 1}}]'
refused "labels of another length" "3 labels 'l' for 2 rows of 'y'" '{"inputs": {"x": [1, 2]}, "labels": {"l": [1, 0, 1]}}], "metrics": [{"metric": "accuracy", "output": "y", "labels": "l", "min": 0.5}]'
sed 's/"cases": \[/"cases": [{"inputs": {}, "expected": {"y": [1]}}, /' bad/golden.json >bad/new && mv bad/new bad/golden.json
sl golden add half bad --name later --unchecked
ok "--unchecked: for a version to come"
sl golden add half inline --name export
fails "the name of export sets" 1 "another --name"
sl golden add half inline --name x --owner nobody-at-all
fails "an owner whom nobody knows" 7 "no user 'nobody-at-all'"
mkdir mine
sed 's/acceptance/export/; s/1.5, 2/[1], [2]/' inline/golden.json >mine/golden.json
sl push "$data/half_plus_two_tf2/model" other --golden mine
fails "push asks the same of a set that comes along" 1 "mine"
is "and then there is no version" "$(sluice list --json | grep -c '"other"')" 0

sl golden delete digits export@1
fails "an export set goes with its version" 1 "export set goes with its version"
sl golden delete digits quality --reason "wrong labels"
ok "golden delete"
sl golden list digits
prints "it counts no more" 'no acceptance sets'
sl golden show digits quality@2
prints "and stays on record" 'counts no more'
sl golden delete digits quality
fails "once" 7 "no golden set 'quality'"
sl audit log digits --verb golden_delete
prints "the log has it" 'golden delete +digits .*ok'
sl audit verify
ok "the log holds"
finish
