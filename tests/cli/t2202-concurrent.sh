#!/bin/sh
# 64 pushes at once: each number once, no failure, no stall.
. "$(dirname "$0")/lib.sh"
N=64

sl init
for i in $(seq $N); do
    cp -r "$digits/v1" "m$i"
    echo "$i" >"m$i/extra"
done
one() {
    start=$(date +%s%N)
    sluice push "m$1" digits >"out.$1" 2>"err.$1"
    echo "$? $((($(date +%s%N) - start) / 1000000))" >"result.$1"
}
for i in $(seq $N); do one "$i" & done
wait
is "no push failed" "$(cat result.* | grep -vc '^0 ')" 0
is "numbers 1 to $N, each once" "$(sed 's/^digits@\([0-9]*\) .*/\1/' out.* | sort -n | tr '\n' ' ')" "$(seq $N | tr '\n' ' ')"
slowest=$(cut -d' ' -f2 result.* | sort -n | tail -n 1)
echo "# the slowest of $N waited $slowest ms"
check "none waited for half the time that a lock is waited for" test "$slowest" -lt 15000
# One number, 16 wishes: one gets it, the others are told.
wish() {
    sluice push "m$1" wished --number 5 >"wish.$1" 2>&1
    echo $? >"wished.$1"
}
for i in $(seq 16); do wish "$i" & done
wait
is "one number wished for 16 times at once" "$(sort wished.* | uniq -c | tr -s ' ' | tr '\n' ';')" " 1 0; 15 3;"
# The same bytes at once are one version, whoever is first.
same() { sluice push "m1" other >"same.$1" 2>&1; }
for i in $(seq 16); do same "$i" & done
wait
is "the same bytes 16 times at once" "$(cut -d' ' -f1 same.* | sort | uniq -c | tr -s ' ')" " 16 other@1"
is "of which one was new" "$(grep -vc unchanged same.* | grep -c ':1$')" 1
# One key, 16 callers, one act.
keyed() { sluice push "m2" keyed --again --idempotency-key k >"keyed.$1" 2>&1; }
for i in $(seq 16); do keyed "$i" & done
wait
is "one key 16 times at once" "$(cut -d' ' -f1 keyed.* | sort | uniq -c | tr -s ' ')" " 16 keyed@1"
sl promote digits@1 --to production
sl promote digits@2 --to production
sl promote digits@3 --to production
back() { sluice rollback digits@production --idempotency-key back >"back.$1" 2>&1; }
for i in $(seq 8); do back "$i" & done
wait
is "a rollback pressed 8 times with one key goes back once" "$(sluice status digits --json | sed -n 's/.*"latest": \([0-9]*\).*/\1/p' | head -n 1)" 2
is "and each was told the same" "$(grep -hc '3 -> 2 (release 4)' back.* | sort | uniq -c | tr -s ' ')" " 8 1"
sl fsck
ok "fsck"
sl audit verify
ok "audit verify"
finish
