#!/bin/sh
# What a damaged export gets: the thing, the place, the way out; and nothing is stored.
. "$(dirname "$0")/lib.sh"

sl init
copy() {
    rm -rf m
    cp -r "$digits/v1" m
    chmod -R u+w m
}
flip() { # file, offset: one byte gets another value
    old=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %o $((old ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

mkdir empty
sl push empty digits
fails "a directory that is no SavedModel" 7 "push empty: SavedModel file does not exist at: empty"
sl push nowhere digits
fails "a directory that is not there" 7 "nowhere"
copy
truncate -s -100 m/saved_model.pb
sl push m digits
fails "a truncated saved_model.pb" 4 "saved_model.pb"
copy
rm m/variables/variables.data-00000-of-00001
sl push m digits
fails "a missing data shard" 4 "variables.data-00000-of-00001 is missing"
copy
truncate -s 1000 m/variables/variables.data-00000-of-00001
sl push m digits
fails "a data shard that was cut off" 4 "1000|1 000"
copy
flip m/variables/variables.index 40
sl push m digits
fails "an index with a flipped byte" 4 "variables.index"
copy
rm -r m/variables
sl push m digits
fails "variables that are gone" 4 "variables"
copy
ln -s saved_model.pb m/link.pb
sl push m digits
fails "a symlink" 1 "link.pb"
copy
mkfifo m/pipe
sl push m digits
fails "a FIFO" 1 "pipe"
sl list
prints "nothing was stored" "no versions yet"
is "no object stayed behind" "$(find "$SLUICE_STORE/objects" -type f | wc -l)" 0
is "nothing is left in stage" "$(find "$SLUICE_STORE/stage" -mindepth 1 | wc -l)" 0
sl fsck
ok "fsck is clean"
sl audit log
prints "each refusal is in the log" 'push +digits +failed'
finish
