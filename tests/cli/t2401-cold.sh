#!/bin/sh
# cold, warm, list --sizes: versions that nobody serves, kept as deltas.
. "$(dirname "$0")/lib.sh"

# digits with an asset of 3 MB, of which each version changes a few bytes.
cp -r "$digits/v1" src
chmod -R u+w src
mkdir -p src/assets
head -c 3000000 /dev/urandom >src/assets/embedding
version() { # number
    printf 'version %s' "$1" | dd of=src/assets/embedding bs=1 seek=$(($1 * 500000)) conv=notrunc 2>/dev/null
    sl push src digits
    cp -r src "v$1"
}
blocks() { du -s --apparent-size -k "$SLUICE_STORE/objects" "$SLUICE_STORE/cold" | awk '{ n += $1 } END { print n }'; }
# A member of the object that a version's reference is in.
field() { # reference number, name
    sluice list digits --sizes --json | tr -d ' \n\t' |
        sed -n "s/\"tags\":{[^}]*},*//g; s/.*\"number\":$1,\(\"[^{]*\)\"$2\":\([0-9]*\).*/\2/p" | head -n 1
}

sl init
sl target add web "$scratch/web" --alias production
version 1
version 2
version 3
sl promote digits@3 --to production
before=$(blocks)

sl cold digits@1 --dry-run
ok "cold --dry-run"
prints "says what would be" '3\.0 MB would be .*kB'
is "and changes nothing" "$(blocks)" "$before"
sl cold digits@1
ok "sluice cold"
prints "says what it did" '^digits@1 +1 +3\.0 MB +[0-9.]+ kB'
check "and it takes less" [ "$(blocks)" -lt $((before - 2000)) ]
sl fsck
ok "fsck is clean"
sl list digits --sizes
prints "list --sizes marks it" 'digits@1 .*cold'
prints "and others" 'digits@3 +3\.[0-9] MB .*hot'
prints "sums the model" 'digits, all'
sl list --sizes
prints "and the store" '^total'
check "as JSON too: a cold version takes little" [ "$(field 1 stored_bytes)" -lt 200000 ]
sl cold digits@1
prints "again: nothing to do" 'nothing to make cold'

sl cold digits@3
fails "what is deployed stays whole" 3 'digits@3 stays whole: digits@production means it'
sl cold
fails "cold wants a version or --all" 2 'either a version or --all'
sl cold digits@1 --all
fails "not both" 2 'either a version or --all'
sl cold digits@1 --older 3d
fails "--older goes with --all" 2 'all'
sl cold --all --older soon
fails "a length of time" 1 "'soon' is no length of time"
sl cold nothing
fails "no such model" 7 nothing
sl cold --all
ok "cold --all"
prints "leaves what is younger than 30 days" '3 versions stay whole'
sl cold --all --older 0
ok "cold --all --older 0"
prints "takes what nobody uses" '^digits@2 +1 '
sl audit log digits
prints "each is an event" 'cold +digits@2'
sl log digits
ok "log"
prints "the history tells it" 'cold +digits@1'

sl pull digits@1 out
ok "pull of a cold version"
check "gives its bytes" diff -r v1 out
sl list digits --sizes
prints "and leaves it cold" 'digits@1 .*cold'
sl pull digits@1 linked --link
check "links too" diff -r v1 linked
sl list digits --sizes
prints "for which it is brought back" 'digits@1 .*hot'
rm -rf linked
sl cold --all --older 0
prints "and its space is given back at once" '^digits@1 +1 '
sl lint digits@2
check "a reader of a cold version finds it" [ "$status" -le 1 ]
sl promote digits@2 --to production
ok "promote a cold version"
check "its tree is complete" diff -r -x assets v2 web/digits/v2
check "with the large file" cmp v2/assets/embedding web/digits/v2/assets/embedding
sl fsck
ok "fsck is clean"
sl warm digits@1
ok "sluice warm"
prints "says so" 'digits@1: 1 files, 3\.0 MB, whole again'
sl warm digits@1
prints "again: nothing to do" 'no file of it is cold'
check "its delta is gone" [ "$(field 1 cold_files)" -eq 0 ]
sl fsck
ok "fsck is clean"

# kill -9 at random moments of both ways.
i=0 clean=0 whole=0
while [ $i -lt 12 ]; do
    i=$((i + 1))
    sluice cold digits@1 >/dev/null 2>&1 &
    pid=$!
    sleep "0.0$(od -An -N1 -tu1 /dev/urandom | awk '{ print $1 % 6 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    sluice fsck >.fsck 2>&1 && clean=$((clean + 1)) || cat .fsck
    rm -rf out
    sluice pull digits@1 out >/dev/null 2>&1 &
    pid=$!
    sleep "0.0$(od -An -N1 -tu1 /dev/urandom | awk '{ print $1 % 4 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    rm -rf out .sluice-*
    sluice pull digits@1 out >/dev/null 2>&1 && diff -r v1 out >/dev/null && whole=$((whole + 1))
    sluice warm digits@1 >/dev/null 2>&1
done
is "kill -9 while making cold and bringing back: fsck is clean each time" "$clean" 12
is "and the version can be had" "$whole" 12

# Two bring one object back, and one makes it cold, all at once.
sl cold digits@1
for k in 1 2 3; do sluice pull digits@1 "at-once-$k" >"at-once-$k.out" 2>&1 & done
sluice warm digits@1 >warm.out 2>&1 &
wait
for k in 1 2 3; do check "four at once: $k" diff -r v1 "at-once-$k"; done
sl fsck
ok "fsck is clean"

# A write that the disk refuses.
sl warm digits@1
if TEST_FAULT=write:2:ENOSPC sluice cold digits@1 >full.out 2>full.err; then
    skip "a full disk" "this build has no fault hooks"
else
    check "a full disk is said" grep -q 'No space left on device' full.err
    sl fsck
    ok "and leaves the whole file"
fi

# A bit that flips.
sl cold digits@1
ok "cold again"
delta=$SLUICE_STORE/cold/$(sha256sum v1/assets/embedding | sed 's,^\(..\)\([0-9a-f]*\).*,\1/\2,')
chmod u+w "$delta"
was=$(od -An -tu1 -j20 -N1 "$delta")
printf "\\$(printf %o $((was ^ 1)))" | dd of="$delta" bs=1 seek=20 conv=notrunc 2>/dev/null
sl fsck
fails "fsck finds a damaged delta" 1 'problem'
sl pull digits@1 damaged
fails "and nobody gets its bytes" 4 'damaged'
finish
