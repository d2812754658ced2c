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
prints "and which files" '^files: fingerprint.pb removed$'
sl diff "$digits/v2" "$digits/v3"
fails "the same net trained again" 1 "differ"
prints "every tensor moved" '^tensors: 14 differ \(of 14 and 14\)'
prints "by how much, and how many elements" '[a-z0-9] +changed +DT_FLOAT \(10\) +max [0-9.e-]+ \([0-9.]+ of the largest\); mean [0-9.e-]+; 10 of 10 elements'
sl diff "$digits/v1" "$digits/v2"
prints "ops with counts" '^ops: .*Conv2D \+2'
is "callers of v1 can call v2: no word about signatures" "$(printf '%s\n' "$out" | grep -c '^signature')" 0
prints "and one that no caller breaks" '^callers: none breaks$'
sl diff "$digits/v1" "$digits/v2" --json
prints "--json says so too" '"breaks_callers":[[:space:]]*false'
sl diff "$data/mlp_tiny/model" "$digits/v1"
prints "another signature: callers break" '^signature serving_default: changed; callers break'
prints "and why" "input 'x' is gone"
sl diff "$data/multi_signature/model" "$digits/v1"
prints "a signature that is gone" '^signature scaled: removed; callers break'
sl diff "$digits/v1" "$data/multi_signature/model" --json
prints "one that is new breaks nobody" '"change":.*"added"'

prints "tensors say what changed" '"change":.*"removed"'

# Several MetaGraphs: those with the same tags are compared.
many=$data/show/v1_many/model
sl diff "$many" "$many"
ok "several MetaGraphs"
sl diff "$many" "$data/half_plus_two_tf1/model"
fails "fewer tag sets" 1 "differ"
prints "tag sets that are gone" "^tag set 'train,gpu': removed; callers break"
prints "signatures of the one that both have" '^signature classify: removed; callers break'
sl diff "$data/half_plus_two_tf1/model" "$many"
prints "tag sets that are new" "^tag set 'train,gpu': added\$"

# Another file under the name of an asset: neither graph nor weights.
cp -r "$data/every_reference/model" other_words
chmod -R u+w other_words
for asset in other_words/assets/*; do echo more >>"$asset"; done
sl diff "$data/every_reference/model" ./other_words
fails "an asset's content" 1 "differ"
prints "is told apart from graph and weights" '^same graph and weights, other assets$'
prints "by its name" '^asset [a-z_.]+: changed$'

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
