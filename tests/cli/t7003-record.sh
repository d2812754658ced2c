#!/bin/sh
# Golden sets of what a version answers: inputs from every kind of file, and made-up ones.
. "$(dirname "$0")/lib.sh"

sl init
sl push "$data/mlp_tiny/model" mlp
sl push "$data/record/model" rec
sl push "$data/strings_passthrough/model" strings
sl push "$data/warmup/model" warm

# ---- inputs from files
cat >body.json <<'EOF2'
{"signature_name": "serving_default", "instances": [[1, 2, 3, 4, 5, 6], [0.5, -0.0, 1e-3, 7, 8, 9]]}
EOF2
sl golden record mlp --inputs body.json
ok "record: a predict request in JSON"
prints "says what it is" 'recorded from mlp@1 sha256:[0-9a-f]{64}: what it answers now, not the truth'
sl golden show mlp recorded
prints "show: from which version, by which runtime, when, by whom" 'recorded from mlp@1 sha256:[0-9a-f]{64}, runtime native [0-9.]+, on 20.*T.* by .*not the truth'
prints "and from which bytes" 'inputs of body.json, SHA-256 [0-9a-f]{64}'
sl golden list mlp
prints "list" 'recorded +acceptance, recorded'
sl validate mlp@1
prints "a version passes its own recording, and the verdict says whose it is" 'passed +recorded \(acceptance, recorded from mlp@1 sha256:.*\): 1 of 1'
sl validate mlp@1 --json
prints "in JSON too" '"recorded": *"mlp@1 sha256:'
prints "and in its summary" '"summary": *"1 case agrees with what was recorded from mlp@1 sha256:'
sl golden export mlp recorded set
sl run --dir "$data/mlp_tiny/model" --golden set
ok "it is a golden set like others"

cat >lines.jsonl <<'EOF2'
{"instances": [[1, 2, 3, 4, 5, 6]]}
{"inputs": {"x": [[1, 2, 3, 4, 5, 6]]}}
{"inputs": [[5, 6, 7, 8, 9, 10]]}
{"x": [1, 2, 3, 4, 5, 6]}

[1, 2, 3, 4, 5, 6]
{"instances": [[1, 2, 3]]}
{broken
{"instances": [["1", "2", "3", "4", "5", "6"]]}
{"signature_name": "other", "instances": [[1, 2, 3, 4, 5, 6]]}
{"instances": [{"x": [1, 2, 3, 4, 5, 6]}, {"y": [1, 2, 3, 4, 5, 6]}]}
{"examples": [{"x": 1}]}
{"instances": [[1, 2, 3, 4, 5, 6]], "inputs": [[1, 2, 3, 4, 5, 6]]}
EOF2
key=$(sluice show --dir "$data/mlp_tiny/model" --tag_set serve --signature_def serving_default | sed -n "s/.*inputs\['\([^']*\)'\].*/\1/p")
sed -i "s/\"x\"/\"$key\"/g" lines.jsonl
sl golden record mlp --inputs lines.jsonl --name lines
ok "lines of requests and of bare instances"
prints "five are recorded" ': 5 cases'
prints "each of the others is named, with its line" '7 inputs are left out'
for line in "7: .*shape" "8: .*not JSON" "9: .*string" "10: no signature 'other'" "11: .*row 1 has no|11: .*row 1 has other" "12: .*classify" "13: .*one of the two"; do
    prints "line $line" "lines.jsonl:$line"
done
sl golden show mlp lines
prints "cases are called by their lines" 'lines.jsonl:6 \(serving_default\)'
prints "what was left out is counted in the set" '12 of 12 inputs taken; 7 left out'
sl golden record mlp --inputs "$data/mlp_tiny/batch-5.in.npz" --name npz
ok "an .npz"
sl golden show mlp npz
prints "is one case" 'batch-5.in.npz'
sl golden export mlp lines wu --warmup
sl golden record mlp --inputs wu/assets.extra/tf_serving_warmup_requests --name log
ok "a log of TF Serving's requests"
prints "all of it" ': 5 cases'
sl golden record mlp --inputs wu/assets.extra/tf_serving_warmup_requests --inputs lines.jsonl --inputs body.json --max-cases 7 --name mixed
prints "several files; --max-cases takes the first" '7 of 18 inputs were taken'
sl golden record warm --inputs "$data/warmup/model/assets.extra/tf_serving_warmup_requests" --name warmup
ok "the model's own warm-up file: predict, classify, multi-inference, session run"
sl golden record mlp --inputs lines.jsonl --sample 4 --seed 9 --name s1
prints "a sample, and its seed" '4 of 12 inputs were taken, drawn with seed 9'
one=$(printf '%s\n' "$out" | sed -n 's/.*\(sha256:[0-9a-f]*\): [0-9]* case.*/\1/p' | head -n 1)
sl golden record mlp --inputs lines.jsonl --sample 4 --seed 9 --name s2
two=$(printf '%s\n' "$out" | sed -n 's/.*\(sha256:[0-9a-f]*\): [0-9]* case.*/\1/p' | head -n 1)
is "the same command gives the same bytes" "$two" "${one:-none}"
sl golden show mlp s1
prints "and the seed is in the set" '4 of 12 inputs taken, drawn with seed 9'

# ---- strings: bytes that NumPy would lose
printf '{"inputs": {"s": [{"b64": "AGEA"}, {"b64": "/w=="}, "Gr\\u00fc\\u00dfe"]}}\n' >strings.json
sl show --dir "$data/strings_passthrough/model" --all
name=$(printf '%s\n' "$out" | sed -n "s/.*inputs\['\([^']*\)'\].*/\1/p" | head -n 1)
sed -i "s/\"s\"/\"$name\"/" strings.json
sl golden record strings --inputs strings.json
ok "strings, bytes that are no text, NULs at the end"
sl golden export strings recorded strset
check "are kept as they are" grep -q AGEA strset/golden.json
sl validate strings
ok "and judged"

# ---- outputs, tolerances
sl golden record rec --inputs strings.json
fails "inputs of another signature" 7 "none of 1 inputs can be recorded"
echo '{"signature_name": "lookup", "inputs": {"ids": [[1, 2], [3, 11]], "word": ["a"], "scale": 2}}' >lookup.json
sl golden record rec --inputs lookup.json --outputs sum --tolerance abs=1e-3 --tolerance sum:rel_max=1e-4
ok "--outputs, --tolerance"
sl golden show rec recorded
prints "are in the set" 'expected: sum float32 \(2, 3\)$'
prints "also those of one output" 'sum: rel_max 0\.0001'
sl golden record rec --inputs lookup.json --tolerance nearly=1 --name t
fails "a tolerance that nobody knows" 2 "KIND=LIMIT"
sl golden record rec --inputs lookup.json --tolerance smu:abs=1 --name t
fails "one for an output that no case has" 2 "tolerance smu:.*no case has this output"
sl golden record rec --inputs lookup.json --outputs none --name t
fails "an output that is not there" 1 "no output of none"

# ---- names
sl golden record mlp --inputs body.json
ok "the same bytes under the same name change nothing"
sl golden list mlp --all
is "nothing new" "$(printf '%s\n' "$out" | grep -c '^recorded ')" 1
sl golden record mlp --inputs lines.jsonl
fails "a name that is taken" 3 "already \(recorded from mlp@1.*--replace"
cp -r set own && sed -i '/"recorded": {/,/^  },/d' own/golden.json
sl golden add mlp own --name exam
ok "an exam of a person"
sl golden record mlp --inputs body.json --name exam
fails "is not replaced unawares" 3 "already \(not recorded\)"
sl golden record mlp --inputs lines.jsonl --replace
ok "--replace"
sl golden record mlp --inputs body.json --name export
fails "the name of export sets" 1 "another --name"

# ---- done wrong
sl golden record mlp
fails "no inputs" 2 "needs --inputs"
sl golden record mlp --inputs gone.json --name x
fails "a file that is not there" 7 "gone.json: no such file of inputs"
sl golden record mlp --inputs . --name x
fails "a directory" 1 "wanted a file of inputs"
: >empty
sl golden record mlp --inputs empty --name x
fails "an empty file" 1 "is empty"
head -c 100 "$data/mlp_tiny/model/variables/variables.index" >junk
sl golden record mlp --inputs junk --name x
fails "a file of something else" 1 "neither .npz"
head -c 100 wu/assets.extra/tf_serving_warmup_requests >cut
sl golden record mlp --inputs cut --name x
fails "a log that is cut off" 4 "record: cut: record 1: cut off"
sl golden record mlp --inputs body.json --name x --signature_def none
fails "an unknown signature" 7 "no signature 'none'"
sl golden record mlp@7 --inputs body.json --name x
fails "an unknown version" 7 "no version 7"
sl golden record mlp --inputs body.json --name x --sample 3 --max-cases 3
fails "--sample with --max-cases" 2 "one of the two"
sl golden record mlp --inputs body.json --name x --seed 3
fails "--seed without --sample" 2 "goes with --sample"
sl golden show mlp x
fails "none of these left a set" 7 "no golden set 'x'"
is "nor files" "$(ls -A store/stage)" ""

# ---- what keeps something from call to call
printf '{"signature_name": "count", "inputs": [1, 2]}\n{"signature_name": "count", "inputs": [3, 4]}\n' >count.jsonl
sl golden record rec --inputs count.jsonl --name count
fails "a model that is not deterministic" 1 "case 'count.jsonl:1': the same input run twice gives two answers: n: .*--sequential.*--outputs"
sl golden record rec --inputs count.jsonl --name count --outputs y
ok "the output that does not count"
sl golden record rec --inputs count.jsonl --name session --sequential
ok "or one session"
sl validate rec
prints "which validate plays again" 'passed +session .*: 2 of 2'
sl push "$data/lint/dropout" dropout
sl golden probe dropout
fails "a model that draws at random" 1 "gives two answers"

# ---- probes
sl golden probe rec --dry-run
ok "probe --dry-run"
prints "prints its seed" '^seed 0$'
prints "the ids that the graph takes" 'lookup: ids int32 \(-1, -1\), ids below 12'
prints "batches, and 8 where nothing is said" 'ids int32 \(7, 8\)'
prints "the largest id" 'ids int32 \(2, 8\) \[\[11 11 11'
sl golden list rec
is "and stores nothing" "$(printf '%s\n' "$out" | grep -c '^probe')" 0
sl golden probe rec --signature_def lookup --seed 4
ok "probe"
first=$(printf '%s\n' "$out" | sed -n 's/.*\(sha256:[0-9a-f]*\): [0-9]* cases.*/\1/p' | head -n 1)
sl golden probe rec --signature_def lookup --seed 4 --name again
prints "the same command gives the same bytes" "${first:-none}"
sl golden probe rec --signature_def lookup --seed 5 --name other
is "another seed others" "$(printf '%s\n' "$out" | grep -c "$first")" 0
sl golden show rec probe
prints "the seed is in the set" 'probes of seed 4, batches of 1,2,7,32'
sl validate rec
ok "a version passes its own probes"
sl golden probe rec --signature_def lookup --name dims --dim ids:1=3 --batch 2,5 --nonfinite
ok "--dim, --batch, --nonfinite"
sl golden show rec dims
prints "sizes as given" 'random-5 .*'
prints "of the axis" 'ids int32 \(5, 3\)'
prints "infinities" '^  minus-inf '
sl golden probe rec --signature_def lookup --name x --dim idz=3
fails "--dim of no input" 2 "no input has an unknown dimension there"
sl golden probe rec --signature_def lookup --name x --dim ids
fails "--dim without a size" 2 "INPUT:AXIS=N"
sl golden probe rec --signature_def lookup --name x --batch 0
fails "--batch" 2 "sizes from 1"
sl golden probe rec --signature_def lookup --name x --batch 1000000 --dim 1=1000000
fails "more than there is room for" 1 "more than 67108864 elements"
sl golden probe rec --signature_def lookup --name x --seed -1
fails "--seed" 2 "0 to"
sl golden probe rec --signature_def none --name x
fails "an unknown signature" 7 "no signature 'none'"
sl golden probe warm
ok "inputs that are tf.Examples"
prints "have the features that the graph parses" 'tf.Examples of [0-9]+ feature'
sl push "$data/fail_assert/model" refuses
sl golden probe refuses
prints "what the model refuses is told, with its words" 'left out:'
sl push "$data/lint/unknown_rank" rank
sl golden probe rank --dry-run --dim 1=3
prints "as many axes as --dim names" 'x float32 \(7, 3\)'
sl push "$data/sparse_signature/model" sparse
sl golden probe sparse --dry-run
prints "what cannot be made is told" 'no probes: input .* is no plain tensor'

# ---- the gate sees a probe as any set; the log has all of it
sl golden probe mlp --name mlp-probe --idempotency-key p1
sl golden probe mlp --name mlp-probe --idempotency-key p1 --json
prints "a call with a key happens once" '"replayed": *true'
sl golden record mlp --inputs body.json --name keyed --idempotency-key r1
cp body.json elsewhere.json
sl golden record mlp --inputs elsewhere.json --name keyed --idempotency-key r1 --json
prints "by the bytes of its files, wherever they lie" '"replayed": *true'
sl audit log mlp --verb golden_record
prints "the log" 'golden record +mlp@1 +sha256:.* ok'
sl audit verify
ok "holds"
sl fsck
ok "and so does the store"
finish
