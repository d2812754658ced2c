#!/bin/sh
# tensors: what a model's tensors are, and which of them cannot be read.
. "$(dirname "$0")/lib.sh"
suffix=/.ATTRIBUTES/VARIABLE_VALUE

sl tensors --dir "$digits/v1"
ok "a model's tensors"
prints "a line each" "^weights/0$suffix +DT_FLOAT +\(64, 16\) +4.1 kB +-[0-9.]+ +[0-9.]+ +-?[0-9.]+ +[0-9.]+ +[0-9a-f]{12}\$"
prints "and their sum" '^4 tensors, 1210 parameters, 4.8 kB$'
sl tensors --dir "$digits/v1" --json
prints "all digits of a digest" '"sha256":.*"[0-9a-f]{64}"'
prints "the totals" '"parameters":.*1210'
sl tensors --dir "$digits/v2" --sort bytes
is "the biggest first" "$(printf '%s\n' "$out" | sed -n '2s/ .*//p')" "weights/5$suffix"
sl tensors --dir "$digits/v2" --name 'weights/1[0-3]*' --no-stats --no-digest
is "only those that match, from the index alone" "$(printf '%s\n' "$out" | sed 's/  */ /g')" "NAME DTYPE SHAPE SIZE
weights/10$suffix DT_FLOAT (128, 32) 16 kB
weights/11$suffix DT_FLOAT (32) 128 B
weights/12$suffix DT_FLOAT (32, 10) 1.3 kB
weights/13$suffix DT_FLOAT (10) 40 B
4 tensors, 4458 parameters, 18 kB"
sl tensors --dir "$data/half_plus_two_tf1/model"
prints "a scalar, and its digest" '^b +DT_FLOAT +\(\) +4 B +2 +2 +2 +0 +[0-9a-f]{12}'
is "which is the SHA-256 of its bytes" "$(sluice tensors --dir "$data/half_plus_two_tf1/model" --name b --json | sed -n 's/.*"sha256": *"\(.*\)".*/\1/p')" \
    "$(printf '\000\000\000\100' | sha256sum | cut -d' ' -f1)"
sl tensors --dir "$data/tf1_partitioned/model"
prints "a partitioned one is one, of so many slices" '[0-9]+ slices'
sl tensors --checkpoint "$digits/v1/variables/variables"
prints "a checkpoint by its prefix" '^4 tensors'
mkdir ckpt
cp "$digits/v1/variables/"* ckpt/
sl tensors --checkpoint ckpt
prints "the only one of a directory" '^4 tensors'
cp ckpt/variables.index ckpt/other.index
sl tensors --checkpoint ckpt
fails "a directory that does not say which" 7 "ckpt has no state file 'checkpoint' and 2 checkpoints: name one"
echo 'model_checkpoint_path: "variables"' >ckpt/checkpoint
sl tensors --checkpoint ckpt
prints "the newest of a directory" '^4 tensors'
sl tensors --checkpoint ckpt --constants
fails "a checkpoint has no graph" 2 "stands alone"
sl tensors --dir "$digits/v1" --constants --json
ok "with constants"

LC_ALL=C sl tensors --dir "$digits/v2" --histogram weights/10
ok "a histogram, by the name without its end"
prints "bars of ASCII" '^ +-0\.00978419 +535  #{40,}$'
is "as wide as a terminal" "$(printf '%s\n' "$out" | grep '#' | awk 'length > 80' | wc -l)" 0
LC_ALL=C.UTF-8 sl tensors --dir "$digits/v2" --histogram "weights/10$suffix"
prints "bars of blocks" '535  ██████'
LC_ALL=C
sl tensors --dir "$digits/v2" --histogram weights/10 --json
prints "its counts" '"counts":'
sl tensors --dir "$digits/v2" --histogram weights/1O
fails "a wrong name, and what is near it" 7 "no tensor is called 'weights/1O'; of 14 tensors near it:"
sl tensors --dir "$digits/v2" --name 'wrong*'
fails "a pattern that nothing matches" 7 "matches 'wrong\*'"
sl tensors --dir "$digits/v2" --sort colour
fails "no such order" 2 "name or bytes"
sl tensors --dir "$digits/v2" --threads 0
fails "no threads" 2 "1 to 256"
sl tensors --dir "$data/half_plus_two_tf2/model" --histogram nothing
fails "another wrong name" 7 "nothing"
sl tensors --dir nowhere
fails "a directory that is not there" 7 "nowhere"

cp -r "$digits/v2" broken
chmod -R u+w broken
shard=broken/variables/variables.data-00000-of-00001
printf '\377' | dd of="$shard" bs=1 seek=20000 conv=notrunc 2>/dev/null
sl tensors --dir broken
fails "a damaged shard" 4 "1 of 14 tensors cannot be read; the first: .*checksum is wrong"
prints "which one" "^weights/[0-9]+$suffix .* cannot be read\$"
is "the others are there" "$(printf '%s\n' "$out" | grep -cE '[0-9a-f]{12}$')" 13
sl tensors --dir broken --json
prints "its error" '"error":.*checksum'
rm "$shard"
sl tensors --dir broken
fails "a missing shard" 7 "14 of 14 tensors cannot be read.*is missing"
sl tensors --dir broken --no-stats --no-digest
ok "the index alone needs no shard"

sl init
sl push "$digits/v1" digits
sl tensors digits@1
prints "a version" '^4 tensors'
finish
