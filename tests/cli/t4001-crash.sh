#!/bin/sh
# kill -9 at random moments, a full disk, several commands at once: the store opens, fsck is
# clean, and `latest` is a complete tree.
. "$(dirname "$0")/lib.sh"

# A model of some MB, so that a push takes long enough to be hit.
make_model() { # directory, seed
    cp -r "$digits/v1" "$1"
    chmod -R u+w "$1"
    mkdir -p "$1/assets"
    for i in 1 2 3 4 5 6; do
        printf '%s %s' "$2" "$i" >"$1/assets/small-$i"
        head -c 2000000 /dev/urandom >"$1/assets/big-$i"
    done
}
# Runs sluice in the background and kills it after a random time below $1 ms.
kill_within() { # milliseconds, arguments…
    most=$1
    shift
    sluice "$@" >/dev/null 2>&1 &
    pid=$!
    random=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
    sleep "$(awk "BEGIN { print $random % $most / 1000 }")"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}

digits_live
make_model big 1
i=0 clean=0 whole=0
while [ $i -lt 20 ]; do
    i=$((i + 1))
    echo "$i" >big/assets/small-1
    kill_within 60 push big "killed-$i"
    sluice fsck >.fsck 2>&1 && clean=$((clean + 1)) || cat .fsck
    # What was killed is absent or complete. (Its number may be taken for good: it is
    # written down before the row.)
    sluice push big "killed-$i" 2>&1 | grep -q "^killed-$i@[12] " && whole=$((whole + 1))
done
is "kill -9 during push, 20 times: fsck is clean after each" "$clean" 20
is "and the same push then ends well" "$whole" 20
sl pull killed-7 back
check "what was pushed after a kill is complete" sh -c 'cmp back/assets/big-6 big/assets/big-6 && cmp back/variables/variables.index big/variables/variables.index'

sl push "$digits/v2" digits
i=0 clean=0 whole=0 agree=0
while [ $i -lt 20 ]; do
    i=$((i + 1))
    kill_within 8 promote digits@$((i % 2 + 1)) --to production --again
    now=$(readlink "$scratch/web/digits/latest")
    cmp -s "web/digits/latest/saved_model.pb" "$digits/$now/saved_model.pb" &&
        cmp -s "web/digits/latest/variables/variables.index" "$digits/$now/variables/variables.index" &&
        whole=$((whole + 1))
    sluice fsck >.fsck 2>&1 && clean=$((clean + 1)) || cat .fsck
    # The next command heals: alias and tree agree again.
    sluice promote digits@1 --to production --again >/dev/null 2>&1
    live=$(sluice status digits --json | sed -n 's/.*"latest":.*\([0-9]\),*$/\1/p' | head -n 1)
    [ "v$live" = "$(readlink "$scratch/web/digits/latest")" ] && agree=$((agree + 1))
done
is "kill -9 during a flip, 20 times: latest is a complete tree after each" "$whole" 20
is "fsck is clean" "$clean" 20
is "and alias and tree agree after the next command" "$agree" 20
sl audit verify
ok "the log holds"

# Several at once.
for k in 1 2 3 4 5 6; do
    cp -r "$digits/v1" "m$k"
    chmod -R u+w "m$k"
    mkdir -p "m$k/assets"
    echo "$k" >"m$k/assets/which"
done
for k in 1 2 3 4 5 6; do sluice push "m$k" crowd >"push-$k" 2>&1 & done
wait
is "six pushes at once get six numbers" "$(cat push-? | sed -n 's/^\(crowd@[0-9]*\) .*/\1/p' | sort -u | wc -l)" 6
for k in 1 2 3 4; do sluice push m1 same >"same-$k" 2>&1 & done
wait
is "the same bytes four times at once are one version" "$(cat same-? | sed -n 's/^\(same@[0-9]*\) .*/\1/p' | sort -u)" "same@1"
sluice promote digits@1 --to production --again >flip-1 2>&1 &
one=$!
sluice promote digits@2 --to production --again >flip-2 2>&1 &
two=$!
wait $one && wait $two
result "two flips at once both end well" $? "$(cat flip-1 flip-2)"
sl status digits
live=$(readlink "$scratch/web/digits/latest")
prints "and the tree is what status says" "live +${live#v} "
sl fsck
ok "fsck is clean"

# A full disk: a small tmpfs where mounts are allowed.
mkdir small
cat >small.sh <<'EOF'
set -u
mount -t tmpfs -o size=6m none small || exit 77
export SLUICE_STORE=$PWD/small/store
sluice init >/dev/null || exit 1
sluice push "$1" tiny >/dev/null || exit 2
sluice push big huge >push.out 2>push.err
[ $? -eq 1 ] || exit 3
grep -q 'No space left on device' push.err || exit 4
[ "$(find small/store/stage -mindepth 1 | wc -l)" -eq 0 ] || exit 5
sluice list | grep -q huge && exit 6
sluice fsck >fsck.out 2>&1 || exit 7
sluice pull tiny pulled >/dev/null || exit 8
EOF
if unshare -rm true 2>/dev/null; then
    unshare -rm sh small.sh "$digits/v1" >small.out 2>&1
    small=$?
elif [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    unshare -m sh small.sh "$digits/v1" >small.out 2>&1
    small=$?
else
    small=77
fi
if [ $small -eq 77 ]; then
    # No mounts here: the same by a write that is refused.
    if TEST_FAULT=write:3:ENOSPC sluice push big full >out.full 2>err.full; then
        skip "a full disk during push" "mounts are not allowed, and this build has no fault hooks"
    else
        check "a full disk during push is said" grep -q 'No space left on device' err.full
    fi
else
    is "a full disk during push: said, nothing half-written, the store works" "$small" 0
fi
finish
