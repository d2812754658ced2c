#!/bin/sh
# --idempotency-key: a call that is made again happens once.
. "$(dirname "$0")/lib.sh"

sl init
sl push "$digits/v1" digits --idempotency-key build-1 --json
first=$out
ok "push with a key"
cp -r "$digits/v1" elsewhere
sl push elsewhere digits --idempotency-key build-1 --provenance try=2 --json
is "the same bytes from elsewhere: the same answer" "$(printf '%s' "$out" | grep -v replayed | tr -d ' ,\n')" "$(printf '%s' "$first" | tr -d ' ,\n')"
prints "which says that it is" '"replayed": true'
is "nothing was recorded of it" "$(sluice inspect digits@1 --json | grep -c '"try"')" 0
sl push "$digits/v2" digits --idempotency-key build-1
fails "other bytes" 3 "key 'build-1' belongs to another call"
is "were not stored" "$(sluice list digits | grep -c digits@)" 1
sl push "$digits/v1" other --idempotency-key build-1
fails "another model" 3 "belongs to another call"
sl push "$digits/v1" digits --idempotency-key build-1 --number 1
fails "another wish" 3 "belongs to another call"
sl tag digits@1 a --idempotency-key build-1
fails "another verb" 3 "belongs to another call"
sl push "$digits/v1" digits --idempotency-key ''
fails "an empty key" 2 'printable ASCII'
sl push "$digits/v1" digits --idempotency-key 'a b'
fails "a key with a blank" 2 'printable ASCII'
sl push "$digits/v1" digits --idempotency-key "$(head -c 201 /dev/zero | tr '\0' k)"
fails "a long key" 2 '1 to 200 bytes'
sl push "$digits/nothing" digits --idempotency-key build-2
fails "a call that failed" 7 'nothing'
sl push "$digits/v2" digits --idempotency-key build-2
prints "keeps no key" '^digits@2 '
sl push "$digits/v3" digits --idempotency-key build-3

sl promote digits@1 --to production --idempotency-key p1
sl promote digits@2 --to production --idempotency-key p2
sl promote digits@1 --to production --idempotency-key p1
prints "promote: the answer of then" '^digits@production: 1 \(release 1\)$'
is "and nothing moved" "$(sluice status digits --json | sed -n 's/.*"latest": \([0-9]*\).*/\1/p' | head -n 1)" 2
sl promote digits@3 --to production
sl rollback digits@production --idempotency-key r1
prints "rollback" '3 -> 2 \(release 4\)'
sl rollback digits@production --idempotency-key r1
prints "pressed again with its key" '3 -> 2 \(release 4\)'
is "goes no further back" "$(sluice status digits --json | sed -n 's/.*"latest": \([0-9]*\).*/\1/p' | head -n 1)" 2
sl rollback digits@production --idempotency-key r2
prints "with another key it does" '2 -> 1 \(release 5\)'
sl weights digits@production 1=1 2=1 --again --idempotency-key w1
ok "weights"
sl weights digits@production 1=1 2=3 --again --idempotency-key w1
fails "weights: others" 3 'belongs to another call'
sl freeze digits@production --reason audit --idempotency-key f1
sl unfreeze digits@production --idempotency-key f2
sl unfreeze digits@production --idempotency-key f2
ok "unfreeze twice with a key"
sl unfreeze digits@production
fails "and without" 7 'not frozen'
sl target add lab "$scratch/lab" --alias staging --idempotency-key t1
sl target add lab "$scratch/lab" --alias staging --idempotency-key t1
ok "target add twice with a key"
sl note digits@1 once --idempotency-key n1
sl note digits@1 once --idempotency-key n1
is "a note" "$(sluice inspect digits@1 --json | grep -c '"once"')" 1
echo one >card.md
sl attach digits@1 card card.md --idempotency-key a1
ok "attach"
mkdir moved && mv card.md moved/
sl attach digits@1 card moved/card.md --idempotency-key a1
ok "attach: the same bytes"
echo two >moved/card.md
sl attach digits@1 card moved/card.md --idempotency-key a1
fails "attach: others" 3 'belongs to another call'
sl golden add digits "$digits/acceptance" --name exam --idempotency-key g1
sl golden add digits "$digits/acceptance" --name exam --idempotency-key g1
prints "golden add" 'exam'

# A process that dies after the switch and before it answers: the next call with its key
# finishes what it began, and does not begin again.
if TEST_FAULT=rename:1:EIO sluice --store "$scratch/none" init >/dev/null 2>&1; then
    skip "a call that died" "this build has no TEST_FAULT"
else
    sl target add web "$scratch/web" --alias live --layout plain
    sl promote digits@1 --to live
    sl promote digits@2 --to live
    sl promote digits@3 --to live
    died=0
    for k in $(seq 1 60); do
        TEST_FAULT=any:$k:kill sluice rollback digits@live --idempotency-key "die-$k" >/dev/null 2>&1
        status=$?
        [ "$status" -eq 0 ] && break
        died=$((died + 1))
        sluice rollback digits@live --idempotency-key "die-$k" >again 2>&1 || cat again
        to=$(sed -n 's/^digits@live: .*\([0-9]\) (release.*/\1/p' again)
        [ "$to" = 2 ] || { echo "killed at call $k: went to '$to'" >>wrong; cat again >>wrong; }
        now=$(readlink web/digits/latest)
        [ "$now" = v2 ] || echo "killed at call $k: shows $now" >>wrong
        sluice promote digits@3 --to live --again >/dev/null 2>&1
    done
    check "a rollback was killed at many calls" test "$died" -ge 5
    is "each was carried out once" "$(cat wrong 2>/dev/null)" ""
fi
sl audit verify
ok "audit verify"
sl audit log digits
prints "an answer given again is in the log as such" 'push +digits .*replayed'
finish
