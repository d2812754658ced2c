#!/bin/sh
# usage: crowd.sh soak|storm SECONDS [WRITERS]   TAP; the programs are real processes.
# soak:  writers push (few contents, so that most are there already), pull, promote and, with
#        these verbs, delete, while gc runs without pause: no command may fail.
# storm: the same, each command killed (-9) at a random moment: afterwards everything holds.
# Works below $CRASH_DIR, else /dev/shm, else /tmp.
how=$1 seconds=${2:-60} writers=${3:-8}
top=$(cd "$(dirname "$0")/../.." && pwd)
PATH=${SLUICE_BIN:-$top/build/release/bin}:$PATH
base=${CRASH_DIR:-/dev/shm}
[ -w "$base" ] || base=/tmp
work=$(mktemp -d "$base/sluice-crowd-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
export PATH SLUICE_STORE="$work/store" CRASH_MODELS="$work/models" LC_ALL=C
n=0 bad=0
result() { # name, 0 for good, what to say when bad
    n=$((n + 1))
    [ "$2" -eq 0 ] && echo "ok $n - $1" && return
    bad=$((bad + 1))
    echo "not ok $n - $1"
    printf '%s\n' "$3" | head -n 20 | sed 's/^/# /'
}
has() { sluice "$1" --help >/dev/null 2>&1; }

sh "$top/tests/crash/models.sh"
cd "$work" || exit 1
sluice init >/dev/null || exit 1
end=$(($(date +%s) + seconds))

# Runs sluice as writer $who; in a soak what fails is written down, in a storm most are killed.
did() {
    if [ "$how" = storm ] && [ $((i % 4)) -ne 0 ]; then
        sluice "$@" >/dev/null 2>&1 &
        pid=$!
        sleep "0.0$(($(od -An -N1 -tu1 /dev/urandom) % 30 + 10))"
        kill -9 $pid 2>/dev/null
        wait $pid 2>/dev/null
    else
        sluice "$@" >"out.$who" 2>&1
        status=$?
        calls=$((calls + 1))
        [ "$how" = soak ] && [ $status -ne 0 ] &&
            echo "$who: sluice $*: $status: $(cat "out.$who")" >>failed
    fi
    return 0
}
writer() {
    who=$1 i=0 calls=0
    cp -r models/B "mine.$who"
    while [ "$(date +%s)" -lt $end ]; do
        i=$((i + 1))
        echo $((i * who % 17)) >"mine.$who/assets/note"
        did push "mine.$who" "w$who"
        number=$(sed -n "s/^w$who@\([0-9]*\) .*/\1/p" "out.$who" 2>/dev/null | head -n 1)
        did promote "w$who" --to "live$who" --again
        if [ $((i % 3)) -eq 0 ]; then
            rm -rf "pulls.$who" # a folder for each: what a killed pull leaves lies beside its destination
            mkdir "pulls.$who"
            did pull "w$who@${number:-1}" "pulls.$who/got"
            [ "$how" = storm ] || cmp -s "pulls.$who/got/assets/note" "mine.$who/assets/note" ||
                echo "$who: what was pulled is not what was pushed" >>failed
        fi
        # the next push of these bytes stores them again, while gc takes them
        [ $((i % 2)) -eq 0 ] && has delete && [ "${number:-1}" -gt 1 ] &&
            sluice delete "w$who@$((number - 1))" --days 0 >/dev/null 2>&1
    done
    echo $calls >"calls.$who"
}
collector() {
    runs=0
    while [ "$(date +%s)" -lt $end ]; do
        sluice gc --yes --empty_trash >out.gc 2>&1 || echo "gc: $(cat out.gc)" >>failed
        runs=$((runs + 1))
    done
    echo $runs >calls.gc
}
: >failed
k=0
while [ $k -lt "$writers" ]; do
    k=$((k + 1))
    writer $k &
done
with="no gc (this program has none)"
if has gc; then
    collector &
    with="gc always on"
fi
wait
total=$(cat calls.* | awk '{ n += $1 } END { print n + 0 }')
if [ "$how" = soak ]; then
    result "$writers writers, $with, $seconds s, $total commands: none failed" \
        "$([ ! -s failed ]; echo $?)" "$(sort failed | head -n 20)"
fi
rm -rf pulls.* # with what a pull leaves that is killed
out=$(sluice fsck 2>&1)
result "$how: fsck is clean" $? "$out"
out=$(sluice audit verify 2>&1)
result "$how: the log holds" $? "$out"
broken=
for v in $(sluice list --json | tr -d ' ",\n' | sed 's/{model:/\n/g' | sed -n 's/^\(w[0-9]*\)number:\([0-9]*\)digest.*/\1@\2/p'); do
    rm -rf whole
    sluice pull "$v" whole >/dev/null 2>out.pull || broken="$broken $v: $(cat out.pull)"
done
result "$how: every version can be pulled" "$([ -z "$broken" ]; echo $?)" "$broken"
touch -d '1 hour ago' store/stage/* 2>/dev/null
sluice push models/A last >/dev/null 2>&1
out=$(find store -name '.tmp-*' -o -path '*/stage/*')
result "$how: nothing half-made is left behind" "$([ -z "$out" ]; echo $?)" "$out"
echo "1..$n"
[ $bad -eq 0 ]
