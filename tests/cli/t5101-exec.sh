#!/bin/sh
# exec: a program on a version that is resolved once.
. "$(dirname "$0")/lib.sh"

digits_live plain
sl push "$digits/v2" digits
say='echo $SLUICE_VERSION $SLUICE_DIGEST; ls $SLUICE_MODEL_DIR; echo $0 $1'
sl exec digits@production -- sh -c "$say" one two
ok "exec"
prints "the version it is, not the alias" "^digits@1 sha256:[0-9a-f]{64}$"
prints "the model's files" "^saved_model.pb$"
prints "its arguments" "^one two$"
sl exec digits@1 -- sh -c 'diff -r -x assets "$1" "$SLUICE_MODEL_DIR"' x "$digits/v1"
ok "the bytes are those that were pushed"
sl exec digits@1 -- sh -c 'cd "$SLUICE_MODEL_DIR" && find . -perm /222'
is "nothing in it is writable" "$out" ""
sl --store ./store exec digits@1 -- sh -c 'cd / && test -f "$SLUICE_MODEL_DIR/saved_model.pb"'
ok "its path is absolute"

sl exec digits@1 -- sh -c 'exit 42'
is "the program's exit code" "$status" 42
sl exec digits@1 -- sh -c 'kill -TERM $$'
is "the program's signal" "$status" 143
views() { find store/stage -name 'view-*' | wc -l; }
before=$(views)
sl exec digits@1 -- ./absent
fails "no such program" 127 "absent: No such file"
echo text >plain-file
sl exec digits@1 -- ./plain-file
fails "not a program" 126 "plain-file: Permission denied"
is "neither leaves a directory" "$(views)" "$before"
sl exec digits@9 -- true
fails "no such version" 7 "digits@9|9"
sl exec digits@1
fails "no program" 2 "command"

# The directory stays while the program runs, whatever else goes on, and goes afterwards.
mkfifo go
sluice exec digits@production -- sh -c 'echo $$ >pid; readlink -f "$SLUICE_MODEL_DIR" >dir
    read x <go; cat "$SLUICE_MODEL_DIR/saved_model.pb" >seen' &
job=$!
while [ ! -s dir ]; do sleep 0.05; done
is "it is the process that was started" "$(cat pid)" $job
sl promote digits@2 --to production
touch -d '1 hour ago' "$(cat dir)"
sl exec digits@production -- sh -c 'echo $SLUICE_VERSION'
is "the alias has moved" "$out" digits@2
echo >go
wait $job
ok "the program ends"
check "and read what it was started on" cmp seen "$digits/v1/saved_model.pb"
touch -d '1 hour ago' "$(cat dir)"
sl exec digits@1 -- true
check "then its directory goes" test ! -e "$(cat dir)"

sl audit log --verb exec --json
is "one read each" "$(printf '%s' "$out" | grep -o '"outcome": *"ok"' | wc -l)" 11
sl fsck
ok "fsck"
finish
