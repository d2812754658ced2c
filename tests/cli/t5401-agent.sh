#!/bin/sh
# agent: hosts that follow a store. The store is a directory; "ssh" is a program that runs the
# command here, and cuts, spoils or refuses it when told to.
. "$(dirname "$0")/lib.sh"

up() { sluice --store "$scratch/up" "$@" >"$scratch/.up" 2>&1 || cat "$scratch/.up" >&2; }
cat >ssh <<'END'
#!/bin/sh
# The last argument is the command. Files say what goes wrong: off; cut (after so many bytes of a
# file); flip (the first byte of a file is another one)
unset TEST_FAULT
here=$(dirname "$0")
for command; do :; done
echo "$*" >>"$here/asked"
[ ! -e "$here/off" ] || { echo "ssh: connect to host: no route" >&2; exit 255; }
case $command in
*" 'cat' "*" '--' '"*)
    if [ -e "$here/cut" ]; then
        sh -c "$command" | head -c "$(cat "$here/cut")"
        exit 255
    elif [ -e "$here/slow" ]; then
        sh -c "$command" | { while [ -e "$here/slow" ]; do head -c 1; sleep 0.1; done; cat; }
        exit 0
    elif [ -e "$here/flip" ]; then
        [ "$(cat "$here/flip")" = always ] || rm "$here/flip"
        sh -c "$command" | { printf '\377'; tail -c +2; }
        exit 0
    fi ;;
esac
exec sh -c "$command"
END
chmod +x ssh
export SLUICE_SSH="$scratch/ssh -F none"
from=ssh://models@store.example:2222$scratch/up

host() { # name
    sluice --store "$scratch/$1" init >/dev/null
    sluice --store "$scratch/$1" target add web "$scratch/$1-models" --alias production >/dev/null
}
agent() { # name, more
    name=$1
    shift
    sl --store "$scratch/$name" agent --from "$from" --host "$name" --once "$@"
}
shows() { readlink "$1-models/digits/latest"; }
state() { # host: release, state and versions, as the store knows them
    sluice --store up host list --json | python3 -c '
import json, sys
for h in json.load(sys.stdin)["hosts"]:
    if h["host"] == sys.argv[1]: print(h["release"], h["state"], h["shows"])' "$1"
}

sluice --store up init >/dev/null
for v in 1 2 3; do up push "$digits/v$v" digits; done
host a

# ---- nothing live, no target, no store ----
agent a
fails "nothing is live yet" 75 "shows nothing yet"
sluice --store none init >/dev/null
sl --store none agent --from up --once
fails "nothing to follow" 2 "no target here"
sl --store a agent --from ftp://store --once
fails "no such way" 2 "ssh://"
sl --store a agent --from ssh://-oProxyCommand=x/dir --once
fails "no flag for ssh" 2 "its host is no name"
sl --store a agent --from "$scratch/nowhere" --once
fails "no store there" 75 "no store"

# ---- over a directory ----
up promote digits@1 --to production
sl --store a agent --from "$scratch/up" --host a --once
ok "over a directory"
prints "what became of it" "digits@production release 1: observed; shows 1"
is "switched" "$(shows a)" v1
is "reported" "$(state a)" "1 observed 1"
check "the same bytes" diff -rx assets "$digits/v1" a-models/digits/v1
sl --store a status digits
prints "an ordinary release here" "release 1 of production, by"

# ---- over ssh; numbers stay, also with gaps ----
up promote digits@3 --to production
agent a
ok "over ssh"
is "switched" "$(shows a)" v3
is "the numbers" "$(sluice --store a list digits --json | grep -c '"number": [13]')" 2
check "as it is to be asked" grep -q -- "-F none .*-oBatchMode=yes .*-p 2222 models@store.example sluice '--store' '$scratch/up' 'cat'" asked
up promote digits@2 --to production
agent a
is "a number below others" "$(shows a) $(state a)" "v2 3 observed 2"
check "whole" diff -rx assets "$digits/v2" a-models/digits/v2
agent a
ok "again"
sl --store a list digits
prints "what no release needs is gone" "digits@3 "
check "digits@1 went" sh -c 'sluice --store a list digits | grep -q digits@1; [ $? -eq 1 ]'
up promote digits@1 --to production
agent a
is "it comes back, under its number" "$(shows a) $(state a)" "v1 4 observed 1"
sl --store a fsck
ok "fsck"

# ---- weights, in the store's order ----
up weights digits@production 1=40% 3=60%
agent a
is "weights" "$(state a)" "5 observed 1=40% 3=60%"
host b
agent b
for h in up a b; do
    sluice --store $h route digits@production --unit C1 --json |
        python3 -c 'import json, sys; d = json.load(sys.stdin); print(d["version"], d["versions"])' >route-$h
done
check "a host that comes late splits alike" cmp route-up route-b
check "and the one before" cmp route-up route-a

# ---- the line is cut, bytes are wrong ----
up promote digits@1 --to production
for h in a b; do agent $h; done
up promote digits@2 --to production
echo 30000 >cut
agent a
ok "cut in the middle: the last good one stays"
prints "said" "away: .*this host stays"
is "not switched" "$(shows a)" v1
is "what came is kept" "$(find a/incoming -name '[0-9a-f]*' -size +20k | wc -l)" 1
agent a --require-fresh
fails "unless it must be new" 75 "not the newest"
: >asked
rm cut
agent a
ok "and gone on with"
check "from where it stopped" grep -qE "'--offset' '[1-9][0-9]+' '--' 'variables" asked
is "switched" "$(shows a)" v2
check "whole" diff -rx assets "$digits/v2" a-models/digits/v2

echo 60000 >cut
agent b
partial=$(find b/incoming -type f -size +1k | head -n 1)
printf '\001' | dd of="$partial" bs=1 seek=100 conv=notrunc 2>/dev/null
rm cut
agent b
ok "a byte was flipped in what came"
prints "discarded, and said" "note: .*were discarded"
check "fetched anew, whole" diff -rx assets "$digits/v2" b-models/digits/v2
up promote digits@3 --to production
: >flip
agent a
ok "a byte was flipped on the way"
prints "discarded, and said" "note: .*were discarded"
check "whole" diff -rx assets "$digits/v3" a-models/digits/v3
echo always >flip
agent b
ok "always: the last good one stays"
prints "not switched to" "release [0-9]+: failed; shows 2: .*came wrong 3 times"
is "nor shown" "$(shows b)" v2
is "the store knows" "$(state b)" "8 failed 2"
rm flip
agent b
prints "not tried again by itself" "failed; shows 2"
sl --store up host retry b
ok "host retry"
agent b
is "given again" "$(shows b) $(state b)" "v3 8 observed 3"

# ---- the store is away; a rollback here holds ----
: >off
sl --store b rollback digits@production --reason 'it was slow'
ok "rollback while the store is away"
agent b
ok "the host goes on"
prints "away" "away: .*no route"
is "what the store knows" "$(state b)" "8 observed 3"
rm off
agent b
is "reported afterwards" "$(state b)" "8 rolled-back 2"
is "and not undone" "$(shows b)" v2
sl --store up status digits
prints "status shows hosts that differ" "b rolled-back, release 8, shows 2: rollback here by .*it was slow"
up rollback digits@production
agent b
is "until there is something newer" "$(shows b) $(state b)" "v2 9 observed 2"
up promote digits@3 --to production --again
agent b
is "and then it follows" "$(shows b) $(state b)" "v3 10 observed 3"

# ---- frozen here ----
sl --store b freeze digits@production --reason 'fair days'
up promote digits@1 --to production
agent b
is "held" "$(shows b) $(state b)" "v3 11 held 3"
sl --store b unfreeze digits@production
agent b
is "and let go" "$(shows b) $(state b)" "v1 11 observed 1"

# ---- a rollout over three hosts ----
host c
for h in a b c; do agent $h; done
sl --store up host rollout production --at-once 1 --max-failing 0
ok "host rollout"
up promote digits@2 --to production
sl --store up host report a digits@production --release 12 --state fetching
ok "a takes its turn"
sl --store up host want b --alias production
prints "b waits" "not now: waits for its turn: a is at it"
sl --store up host report b digits@production --release 12 --state fetching
prints "also when it is fast" "not noted: waits for its turn"
agent b
prints "so the agent waits" "waits; shows 1: waits for its turn"
agent a --check /bin/false --check-wait 0
ok "a fails, and goes back"
is "to the last good one" "$(shows a) $(state a)" "v1 12 failed 1"
for h in b c; do
    agent $h
    prints "$h is spared" "waits; shows 1: the rollout is stopped: 1 failing \(a\)"
done
sl --store up status digits
prints "status says so" "a failed, release 12, shows 1: exit status 1; this host went back to 1"
prints "and that nobody else gets it" "the rollout is stopped: 1 failing .a., at most 0 may be: sluice rollback digits@production, or sluice host retry HOST"
sl --store up host list
prints "host list, too" "^a +digits@production 12 +1 +failed"
sl --store up host retry a
agent a --check 'test -n'
ok "tried again"
is "it is well" "$(shows a) $(state a)" "v2 12 observed 2"
for h in b c; do agent $h; done
is "and the rollout goes on" "$(shows b) $(shows c)" "v2 v2"
sl --store up host rollout production
prints "the rule" "1 at once, stops with more than 0 failing"
up promote digits@3 --to production
agent a --check /bin/false --check-wait 0
up rollback digits@production
for h in a b c; do agent $h; done
is "a rollback goes to all" "$(state a),$(state b),$(state c)" "14 observed 2,14 observed 2,14 observed 2"
sl --store up host rollout production --clear
sl --store up host forget c
ok "host forget"
is "it is" "$(state c)" ""

# ---- killed at every step ----
up promote digits@3 --to production --again
killed=0 i=1
while [ $i -lt 400 ]; do
    TEST_FAULT=any:$i:kill sluice --store a agent --from "$from" --host a --once >/dev/null 2>&1
    [ $? -eq 137 ] || break
    killed=$((killed + 1))
    case $(shows a) in v2 | v3) ;; *) echo "latest is $(shows a) after $i" >>torn ;; esac
    i=$((i + 3))
done
check "the tree was whole all the while" test ! -e torn
agent a
ok "after $killed kills"
is "it is there" "$(shows a) $(state a)" "v3 15 observed 3"
check "whole" diff -rx assets "$digits/v3" a-models/digits/v3
sl --store a fsck
ok "fsck"
sl --store a audit verify
ok "the log"

# ---- the loop ----
: >off
sluice --store a agent --from "$from" --host a --interval 1s >loop 2>&1 &
loop=$!
calls=$(wc -l <asked)
tried_thrice() { [ "$(wc -l <asked)" -ge $((calls + 3)) ]; }
await 60 tried_thrice
is "away is said once" "$(grep -c away: loop)" 1
up promote digits@1 --to production
rm off
is_back() { [ "$(shows a)" = v1 ]; }
await 60 is_back
is "it comes back by itself" "$(shows a)" v1
kill -TERM $loop
wait $loop
is "and ends when it is told to" $? 0
: >flip
sl cat digits@1 --offset=-1
sl --store up cat digits@1 nothing
fails "no such file" 7 "has no file 'nothing'"
sl --store up cat digits@1 --offset 100 saved_model.pb
ok "cat from an offset"
check "is the rest" sh -c "tail -c +101 '$digits/v1/saved_model.pb' | cmp - '$scratch/.out'"

# ---- a version that only gets copies ----
rm -f flip
up weights digits@production --mirror 3=10%
agent a
ok "a mirrored share"
prints "is taken over" 'shows 1 \(mirrored to 3: 10%\)'
is "and told" "$(state a | cut -d ' ' -f 3-)" "1 (mirrored to 3: 10%)"
sl --store a status digits
prints "by a release of the host" 'live +1 \(mirrored to 3: 10%\)'
check "with its files" test -e a-models/digits/v3/saved_model.pb
up weights digits@production 1=60% 3=40%
agent a
prints "it ends when it gets traffic" 'shows 1=60% 3=40%: '
up weights digits@production 1=60% 3=40% --mirror 2=5%
agent a
prints "another, beside traffic" 'shows 1=60% 3=40% \(mirrored to 2: 5%\)'
up weights digits@production --mirror 2=0
agent a
prints "and it ends" 'shows 1=60% 3=40%: '

# ---- what comes before what it is at ----
shows() { [ "$(readlink a-models/digits/latest)" = "v$1" ]; }
up promote digits@3 --to production
agent a
sluice --store a agent --from "$from" --host a --check /bin/false --check-wait 600 --interval 1s >agent.log 2>&1 </dev/null &
servers="$servers $!"
up promote digits@2 --to production
check "a release that nobody serves well" await 60 shows 2
up rollback digits@production
check "a rollback does not wait for its check" await 60 shows 3
ends $!
agent a
sluice --store a agent --from "$from" --host a --interval 1s >agent.log 2>&1 </dev/null &
servers="$servers $!"
up promote digits@2 --to production --again
check "one that is served" await 60 shows 2
: >slow
up push "$digits/v1" other
up promote other@1 --to production
check "another model takes its time" await 60 grep -q "'cat'.*other@1" asked
up rollback digits@production
check "a rollback does not wait for its bytes" await 60 shows 3
check "which were not there yet" [ ! -e a-models/other/latest ]
rm slow
check "and come then" await 60 test -e a-models/other/latest
ends $!
finish
