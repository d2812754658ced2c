#!/bin/sh
# gc all the time while others push, pull and delete, and gc killed at random moments: nobody
# fails, nothing is missing.
. "$(dirname "$0")/lib.sh"

sl init
for k in 1 2 3; do
    cp -r "$digits/v1" "m$k"
    chmod -R u+w "m$k"
    mkdir -p "m$k/assets"
    head -c 300000 /dev/urandom >"m$k/assets/extra"
    cp m1/assets/extra "m$k/assets/shared"
done

(while [ ! -e stop ]; do
    sluice gc --empty_trash --yes >gc.out 2>gc.err || cp gc.err gc-failed
done) &
gc=$!
# Each pushes, reads and deletes its own model; the bytes are the same for all.
worker() { # name
    i=0
    while [ $i -lt 12 ]; do
        i=$((i + 1))
        v=$(sluice push "m$((i % 3 + 1))" "$1" 2>>"fail-$1" | sed -n 's/^\([^ ]*@[0-9]*\) .*/\1/p')
        sluice pull "$v" "out-$1" >/dev/null 2>>"fail-$1" &&
            diff -r "m$((i % 3 + 1))" "out-$1" >>"fail-$1" 2>&1
        rm -rf "out-$1"
        sluice delete "$v" --days 0 >/dev/null 2>>"fail-$1"
    done
}
for w in a b c; do worker $w & pids="${pids:-} $!"; done
wait $pids
touch stop
wait $gc
for w in a b c; do
    is "pushes, pulls and deletes beside gc: worker $w" "$(grep -v '^Only in out-.*: variables' "fail-$w")" ""
done
check "gc did not fail either" test ! -e gc-failed
sl fsck
ok "fsck is clean"

i=0 clean=0
while [ $i -lt 12 ]; do
    i=$((i + 1))
    v=$(sluice push "m$((i % 3 + 1))" killed | sed -n 's/^\([^ ]*@[0-9]*\) .*/\1/p')
    sluice delete "$v" --days 0 >/dev/null
    sluice gc --empty_trash --yes >/dev/null 2>&1 &
    pid=$!
    random=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
    sleep "$(awk "BEGIN { print $random % 40 / 1000 }")"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    sluice fsck >.fsck 2>&1 && clean=$((clean + 1)) || cat .fsck
done
is "kill -9 during gc, 12 times: fsck is clean after each" "$clean" 12
sl gc --empty_trash --yes
ok "and gc ends the work"
is "nothing is left" "$(find "$SLUICE_STORE/objects" "$SLUICE_STORE/trash" -type f | wc -l)" 0
sl audit verify
ok "the log holds"
finish
