#!/bin/sh
# retention rules, quotas, what must stay free, gc --need, and a disk with 0 bytes free.
. "$(dirname "$0")/lib.sh"

sl init
for v in v1 v2 v3; do sl push "$digits/$v" digits; done
copy_of() { # directory, bytes: the demo's v1 with some more
    cp -r "$digits/v1" "$1"
    chmod -R u+w "$1"
    mkdir -p "$1/assets"
    head -c "$2" /dev/urandom >"$1/assets/extra"
}

sl retention show digits
prints "without rules everything stays" 'digits@1 .*stays +no rules'
sl retention set digits --keep_last 0
fails "the newest stays" 1 "at least the newest"
sl retention set '*' --keep_last 2 --younger 30
ok "rules for every model"
sl retention show digits
prints "a model without its own has those" "by the rules of '\*'"
prints "young versions stay" 'digits@1 .*stays +younger than 30 days'
sl retention set digits --keep_last 1 --ever production
ok "sluice retention set"
sl target add web "$scratch/web" --alias production
sl promote digits@1 --to production
sl retention show digits
prints "what an alias means stays" 'digits@1 .*stays +digits@production means it'
prints "what no rule keeps goes" 'digits@2 .*goes +no rule keeps it'
sl promote digits@3 --to production
sl push "$digits/v2" other
sl push "$digits/v1" digits # unchanged
sl gc --retention --dry-run
prints "it is simulated first" 'would be deleted, by retention: digits@2'
sl list digits
prints "which deletes nothing" 'digits@2 .*ready'
sl gc
sl list digits
prints "nor does a gc that was not asked to" 'digits@2 .*ready'
sl gc --retention
prints "gc --retention does" 'deleted, by retention: digits@2'
sl undelete digits@2
ok "and undelete undoes it"
sl retention clear digits
ok "sluice retention clear"
sl retention clear digits
fails "twice" 7 "no retention rules"

sl quota set digits
fails "a quota needs a size" 2 "--max"
sl quota set digits --max many
fails "a real one" 1 "no size"
sl quota set digits --max 300k
ok "sluice quota set"
sl quota show
prints "sluice quota show" 'digits +3 +[0-9]+ kB +300 kB'
copy_of big 200000
sl push big digits
fails "a push over the quota" 1 "digits would take 40[89]\.[0-9] kB, and its quota is 300\.0 kB: .*sluice quota set digits"
sl push "$digits/v1" digits
ok "what is there already may be pushed"
copy_of small 10000
sl push small digits
ok "and what fits"
sl quota set digits --max 0
sl push big digits
ok "without a limit"
is "what was refused left nothing" "$(sluice fsck | grep -c 'all good')" 1

sl quota set --min_free 100T
ok "what pushes must leave free"
copy_of more 1000
sl push more digits
fails "a push that would take it" 1 "must stay free: sluice gc --need"
sl push "$digits/v2" digits
ok "the same bytes again take nothing"
sl quota set --min_free 0

# A full disk: needs a file system of its own.
cat >full.sh <<'EOF'
set -u
mount -t tmpfs -o size=40m none disk || exit 77
export SLUICE_STORE=$PWD/disk/store
sluice init >/dev/null || exit 1
[ "$(stat -c %s disk/store/reserve)" -gt 1000000 ] || exit 2
mkdir disk/web
sluice target add web "$PWD/disk/web" --alias production >/dev/null || exit 3
for v in a b c; do sluice push "v$v" m >/dev/null || exit 4; done
sluice promote m@1 --to production >/dev/null || exit 5
sluice promote m@2 --to production >/dev/null || exit 6
cp /dev/zero disk/filler 2>/dev/null
[ "$(df --output=avail disk | tail -n 1)" -eq 0 ] || exit 7
sluice list >/dev/null || exit 8
sluice pull m@3 pulled >/dev/null || exit 9
sluice push vd m >/dev/null 2>push.err && exit 26
grep -q 'No space left on device; sluice gc --need' push.err || exit 27
sluice rollback m@production >rollback.out || exit 10
[ "$(readlink disk/web/m/latest)" = v1 ] || exit 11
sluice delete m@3 >/dev/null || exit 12
sluice gc --need 4M >need.out || exit 13
grep -q 'deleted *m@3' need.out || exit 14
sluice list m | grep -q 'm@3 .*deleted' || exit 15
sluice gc --need 4M --yes >did.out || exit 16
[ "$(df --output=avail -B1 disk | tail -n 1)" -ge 4000000 ] || exit 17
sluice fsck >/dev/null || exit 18
sluice audit verify >/dev/null || exit 19
sluice gc --need 39M --yes >never.out 2>never.err
[ $? -eq 1 ] || exit 20
grep -q 'nothing is left that could go' never.out || exit 28
grep -q 'bytes are free' never.err || exit 21
sluice status m >/dev/null || exit 22
cmp disk/web/m/latest/assets/extra va/assets/extra || exit 23
mkdir tiny && mount -t tmpfs -o size=2m none tiny || exit 29
sluice pull m@1 tiny/pulled >/dev/null 2>small.err && exit 30
grep -q 'No space left' small.err && [ -z "$(ls -A tiny)" ] || exit 31
rm disk/filler
sluice target add tiny "$PWD/tiny/web" --alias canary >/dev/null || exit 32
sluice promote m@1 --to canary >/dev/null 2>small.err
[ $? -eq 1 ] && grep -q 'No space left' small.err || exit 33
sluice gc >/dev/null || exit 24
[ "$(stat -c %s disk/store/reserve)" -gt 1000000 ] || exit 25
EOF
for v in a b c d; do copy_of v$v 5000000; done
mkdir disk
if unshare -rm true 2>/dev/null; then
    unshare -rm sh full.sh >full.out 2>&1
    status=$?
elif [ "$(id -u)" -eq 0 ] && unshare -m true 2>/dev/null; then
    unshare -m sh full.sh >full.out 2>&1
    status=$?
else
    status=77
fi
if [ $status -eq 77 ]; then
    skip "a disk with 0 bytes free" "mounts are not allowed"
else
    out=$(cat full.out) err=
    ok "with 0 bytes free: list, pull, rollback, delete and gc --need work"
fi

# Links elsewhere keep the bytes: nothing is promised for them.
sl push va linked
sl pull linked@1 held --link
sl delete linked@1 --days 0
free=$(df --output=avail -B1 "$scratch" | tail -n 1)
sl gc --need $((free + 50000000000)) --json
frees=$(printf '%s' "$out" | tr -d '\n ' | sed -n 's/.*"version":"linked@1","why":"[^"]*","objects":[0-9]*,"bytes":[0-9]*,"frees":\([0-9]*\).*/\1/p')
check "gc --need counts no room for what has links elsewhere (the manifest has none)" \
    test "${frees:-5000000}" -lt 10000
sl gc --need 1k
prints "what is free already needs nothing" 'nothing has to go'
# What is old and not used becomes cold, before anything is deleted.
mkdir old && cp -r "$digits/v1/." old && head -c 3000000 /dev/urandom >old/extra
for i in 1 2 3; do echo $i >>old/extra; sl push old old; done
if TEST_FAULT=open:1:EIO sluice list >/dev/null 2>&1; then
    skip "gc --need makes old versions cold" "this build has no TEST_CLOCK"
else
    export TEST_CLOCK=4000000:0
    sl gc --need $((free + 50000000000))
    prints "gc --need counts what cold versions give" '^cold +old@1 +1 +3.0 MB +3.0 MB +not used for 30d'
    fails "and says what else there is" 1 'sluice cold --all --older 0'
    is "but not the newest" "$(printf '%s\n' "$out" | grep -c '^cold .*old@3')" 0
    is "safest first" "$(printf '%s\n' "$out" | awk '$1 == "cold" { c = NR } $1 == "deleted" && !d { d = NR } END { print (c && d && c < d) }')" 1
    sl gc --need $((free + 50000000000)) --yes
    prints "with --yes they become cold" '^cold +old@2 '
    sl list old --sizes
    prints "as list says" '^old@1 .* cold$'
    sl fsck
    ok "and nothing is lost"
    sl audit log old --json
    prints "each with its event" '"verb": "cold"'
    sl gc --need $((free + 50000000000)) --dry-run
    is "once" "$(printf '%s\n' "$out" | grep -c '^cold ')" 0
    unset TEST_CLOCK
fi
sl gc --need 1k --explain 00000000
fails "two questions" 2 "different questions"
finish
