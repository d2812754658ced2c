#!/bin/sh
# diff: from "same bytes" down to single tensors; 0 the same, 1 not.
. "$(dirname "$0")/lib.sh"

sl diff "$digits/v1" "$digits/v1"
ok "a model and itself"
is "same bytes" "$out" "same bytes"
cp -r "$digits/v1" copy
chmod -R u+w copy
rm copy/fingerprint.pb
sl diff "$digits/v1" ./copy
ok "without fingerprint.pb the meaning is the same"
prints "and it says that bytes are not" '^same meaning, other bytes$'
sl diff "$digits/v2" "$digits/v3"
fails "the same net trained again" 1 "differ"
prints "every tensor moved" '^tensors: 14 differ \(of 14 and 14\)'
prints "by how much, and how many elements" 'VARIABLE_VALUE +changed +DT_FLOAT \(10\) +max [0-9.e-]+ \([0-9.]+ of the largest\); 10 of 10 elements'
sl diff "$digits/v1" "$digits/v2"
prints "ops with counts" '^ops: .*Conv2D \+2'
is "callers of v1 can call v2: no word about signatures" "$(printf '%s\n' "$out" | grep -c '^signature')" 0
sl diff "$data/mlp_tiny/model" "$digits/v1"
prints "another signature: callers break" '^signature serving_default: changed; callers break'
prints "and why" "input 'x' is gone"
sl diff "$data/multi_signature/model" "$digits/v1"
prints "a signature that is gone" '^signature scaled: removed; callers break'
sl diff "$digits/v1" "$data/multi_signature/model" --json
prints "one that is new breaks nobody" '"change":.*"added"'

sl init
sl push "$digits/v1" digits
sl push "$digits/v2" digits
sl diff digits@1 digits@2
fails "versions of the store" 1 "digits@1 and digits@2 differ"
sl diff digits@1 "$digits/v1"
is "a version and a directory" "$out" "same bytes"
sl diff digits@1 digits@9
fails "a version that is not there" 7 "9"
sl diff digits@1 ./nowhere
fails "a directory that is not there" 7 "nowhere"
finish
