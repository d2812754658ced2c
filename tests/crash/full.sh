#!/bin/sh
# usage: full.sh   TAP. A full disk and one that is read-only: what is there can be read and
# rolled back to, a push says why it cannot, and nothing is half-written.
top=$(cd "$(dirname "$0")/../.." && pwd)
PATH=${SLUICE_BIN:-$top/build/release/bin}:$PATH
export PATH LC_ALL=C
if [ "$1" != inside ]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-full-XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT
    CRASH_MODELS="$work/models" sh "$top/tests/crash/models.sh"
    for how in "unshare -rm" "unshare -m"; do
        $how sh -c 'mount -t tmpfs -o size=1m none "$0"' "$work" 2>/dev/null || continue
        cd "$work" && $how sh "$top/tests/crash/full.sh" inside
        exit
    done
    echo "ok 1 - a full disk # SKIP mounts are not allowed here"
    echo "1..1"
    exit 0
fi
n=0 bad=0
result() { # name, 0 for good, what to say when bad
    n=$((n + 1))
    [ "$2" -eq 0 ] && echo "ok $n - $1" && return
    bad=$((bad + 1))
    echo "not ok $n - $1"
    printf '%s\n' "$3" | sed 's/^/# /'
}
good() { # name, command
    what=$1
    shift
    out=$("$@" 2>&1)
    result "$what" $? "$out"
}
mkdir disk
mount -t tmpfs -o size=24m none disk || exit 1
export SLUICE_STORE="$PWD/disk/store"
for c in "init" "push models/A m" "push models/B m" "target add web disk/web --alias prod" \
    "promote m@1 --to prod" "promote m@2 --to prod"; do
    sluice $c >/dev/null || exit 1
done
head -c 30000000 /dev/urandom >models/big/assets/more
out=$(sluice push models/big m 2>&1)
[ $? -eq 1 ] && case $out in *"No space left on device"*) true ;; *) false ;; esac
result "a push that does not fit says so" $? "$out"
good "nothing of it stays" test "$(find disk/store/stage -mindepth 1 | wc -l)" -eq 0
good "fsck is clean" sluice fsck
dd if=/dev/zero of=disk/filler bs=4096 >/dev/null 2>&1
good "0 bytes free: list" sluice list
good "0 bytes free: pull to another disk" sluice pull m@1 pulled
good "0 bytes free: rollback" sluice rollback m@prod --to 1
good "… is what the tree shows" test "$(readlink disk/web/m/latest)" = v1
out=$(sluice push models/big m 2>&1) # a small one fits into what rollback took from the reserve
result "0 bytes free: a push fails" "$([ $? -ne 0 ]; echo $?)" "$out"
good "0 bytes free: fsck" sluice fsck
good "0 bytes free: the log holds" sluice audit verify
good "0 bytes free: delete" sluice delete m@2 --days 0
out=$(sluice gc --need 1000 --yes 2>&1)
result "0 bytes free: gc --need frees what was asked" $? "$out"
good "… and that is free" test "$(df --output=avail -B1 disk | tail -n 1)" -ge 1000
rm disk/filler
good "with room again: push" sluice push models/C m
good "with room again: fsck" sluice fsck
mount -o remount,ro disk
out=$(sluice push models/B other 2>&1)
status=$?
case $out in *"ead-only"*) [ $status -ne 0 ] ;; *) false ;; esac
result "read-only: a push says so" $? "$status: $out"
out=$(sluice pull m@2 frozen 2>&1)
status=$?
# a read that cannot be recorded is refused, and says why
[ $status -eq 0 ] || case $out in *"ead-only"*) true ;; *) false ;; esac
result "read-only: a pull works, or says why not" $? "$status: $out"
good "read-only: the served tree is whole" cmp disk/web/m/latest/saved_model.pb models/A/saved_model.pb
mount -o remount,rw disk
good "writable again: fsck" sluice fsck
good "writable again: push" sluice push models/B other
echo "1..$n"
[ $bad -eq 0 ]
