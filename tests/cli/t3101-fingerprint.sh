#!/bin/sh
# fingerprint: TensorFlow's own files agree, and what does not is named.
. "$(dirname "$0")/lib.sh"

for m in "$digits/v1" "$digits/v2" "$data/mlp_tiny/model" "$data/multi_signature/model"; do
    sl fingerprint --dir "$m" --check
    ok "the shipped fingerprint.pb of ${m##*/demo/}"
done
sl fingerprint --dir "$data/half_plus_two_tf1/model" --check
fails "a model without one" 7 "fingerprint.pb"
cp -r "$digits/v1" m
chmod -R u+w m
cp "$digits/v2/variables/variables.index" m/variables/
sl fingerprint --dir m --check
fails "another checkpoint" 1 "differs from the model in checkpoint_hash"
sl fingerprint --dir "$digits/v1" --singleprint
prints "singleprint is four numbers" '^[0-9]+/[0-9]+/[0-9]+/[0-9]+$'

sl fingerprint --dir "$digits/v1"
prints "same bytes, as push says" 'same bytes +sha256:951fc84ca550'
meaning=$(printf '%s\n' "$out" | sed -n 's/^same meaning *//p')
weights=$(printf '%s\n' "$out" | sed -n 's/^same weights *\([^ ]*\) .*/\1/p')
cp -r "$digits/v1" copy
chmod -R u+w copy
rm copy/fingerprint.pb
sl fingerprint --dir copy
prints "without its fingerprint.pb it has other bytes" 'same bytes +sha256:[^9]'
prints "and the same meaning" "same meaning +$meaning"
prints "and the same weights" "same weights +$weights"
sl fingerprint --dir "$digits/v2"
is "another model means something else" "$(printf '%s\n' "$out" | grep -c "$meaning")" 0
sl init
sl push "$digits/v1" digits
sl fingerprint digits@1
prints "a version" "same meaning +$meaning"
rm copy/variables/variables.data-00000-of-00001
sl fingerprint --dir copy
prints "a missing shard: TensorFlow's hashes are there all the same" 'checkpoint_hash'
prints "and it says what is missing" 'not whole: .*data shard'
sl fingerprint --dir "$data/formats/cpb_snappy"
prints "a chunked model has rules of its own" 'by the rules of chunked models .producer 2.'
prints "and hashes" '^  graph_def_program_hash +9136377011154189283$'
prints "and a meaning" '^same meaning  sha256:'
sl fingerprint --dir "$data/formats/layouts/nested" --check
ok "the fingerprint.pb of a chunked model"
sl fingerprint --dir "$data/formats/layouts/meta_graph"
prints "one that TensorFlow makes no fingerprint of" 'chunk is a whole MetaGraph: TensorFlow makes no'
sl fingerprint --dir "$data/formats/layouts/meta_graph" --singleprint
fails "and so no singleprint" 1 'whole MetaGraph'
sl fingerprint --dir nowhere
fails "a directory that is not there" 7 "nowhere"
finish
