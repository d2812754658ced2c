#!/bin/sh
# A canary beside the stable version, by an access log: worse is found and goes back at once.
. "$(dirname "$0")/lib.sh"
requests() { python3 "$top/tests/cli/requests.py" "$@"; }
watch() { sl canary digits@production --source "log:$scratch/access.log" --interval 1s "$@"; }
shared() { sl weights digits@production 1=90% 2=10% --again; }

digits_live tfserving
watch
fails "one version alone has nobody beside it" 1 'not shared: there is nothing to compare'
sl push "$digits/v2" digits --golden "$digits/v2-golden"
sl validate digits@2
shared

# ---- what is asked for ----
sl canary digits@production --source "$scratch/access.log"
fails "a source has a scheme" 2 "not log:PATH, prometheus:URL or tfserving:URL"
for m in 'p99<=+20%' 'errors<5%' 'p99_ms<=+20' 'p99_ms<=20%' 'errors>=5%' 'errors<=200%' 'p99_ms<=' 'score<=+5%' 'errors<=1e999'; do
    watch --metric "$m"
    fails "no metric: $m" 1 "metric '"
done
watch --metric 'score<=0.5'
fails "a log is not asked" 2 'cannot be asked for it'
watch --alpha 2
fails "alpha is a chance" 2 'above 0 and below 0.5'
watch --alpha one
fails "alpha is a number" 2 "'one' is no number"
watch --on-breach panic
fails "what is done on a breach" 2 'rollback, weights or report'
watch --for soon
fails "for how long" 1 'canary --for'
mkdir dir.log
sl canary digits@production --source "log:$scratch/dir.log" --for 0
fails "a directory is no log" 1 'is no regular file'

# ---- not known ----
watch --for 0
fails "no log yet" 8 'inconclusive: .*access.log: No such file'
sl canary digits@production --source "log:$scratch/access.log" --interval 0 --consecutive-errors 1
fails "a source that is not there ends it by its limit" 8 '2 measurements in a row failed'
requests 300 0.1 1 2 >access.log
watch --for 0
fails "too few requests" 8 'version 2 had [0-9]+ of 100 requests'
requests 3000 0.1 1 2 alias=other@production >access.log
watch --for 0
fails "of another alias" 8 'version 2 had 0 of 100'
requests 3000 0.1 1 2 later=-86400 >access.log
watch --for 0
fails "of before the release" 8 'version 2 had 0 of 100'
printf 'GET / HTTP/1.1 200\n{"version":\n{"version":9,"status":200,"seconds":1}\n' >access.log
watch --for 0 --json
prints "lines that are none are counted" '"lines_not_understood": ?2'
prints "and those of other versions" '"lines_of_other_versions": ?1'

# ---- as good ----
requests 20000 0.1 1 2 seed=3 >access.log
watch --for 0
ok "as good as the stable version"
prints "each metric is told" '^2 +errors<=\+0.1% +passes +[0-9.]+% beside [0-9.]+%, e-value [0-9.e-]+ of 200'
watch --for 0 --metric 'errors<=5%' --metric 'p99_ms<=200' --metric 'over_500ms<=1%' --metric 'mean_ms<=100' --json
ok "limits that hold"
is "json: a line each" "$(printf '%s\n' "$out" | python3 -c 'import json, sys
for line in sys.stdin: last = json.loads(line)
print(len(last["checks"]), {c["state"] for c in last["checks"]})')" "4 {'passes'}"

# ---- worse ----
requests 20000 0.1 1 2 canary_errors=0.04 >access.log
watch --for 0 --on-breach report
fails "errors are found" 1 'version 2: errors [0-9.]+% beside .* of version 1 \(errors<=\+0.1%\) after [0-9]+ requests: e-value [0-9.e+]+, 200 is enough$'
check "and only told" test "$(sluice route digits@production --unit '' --json 2>/dev/null | grep -c x)" = 0
sl status
prints "nothing moved" 'live +1=90% 2=10%'
watch --for 0 --on-breach weights
fails "or its share goes back" 1 'its share went back'
sl status
prints "to the stable version" 'live +1 '
prints "with the reason" 'weights, release 3\): canary: version 2: errors'
shared
requests 20000 0.1 1 2 slower=1.3 >access.log
watch --for 0
fails "slower ones are found" 1 'version 2: p99_ms [0-9.]+ ms beside .*; rolled back$'
prints "traffic moved" 'moved: 1=90% 2=10% -> 1 \(release [0-9]+\)'
sl status
prints "the release says why" 'rollback, release .*: canary: version 2: p99_ms'
sl audit log digits --limit 2
prints "so does the event" 'rollback .*reason: canary: version 2: p99_ms'
sl promote digits@2 --to production
fails "the version is marked bad" 5 'marked bad'
shared
requests 4000 0.5 1 2 errors=0.2 >access.log
watch --for 0 --metric 'errors<=5%'
fails "a limit that fails" 1 'errors [0-9.]+% \(errors<=5%, failed 1 of 1 times, 0 allowed\); rolled back'
shared
watch --for 0 --metric 'errors<=5%' --failure-limit 3
fails "so many failures are borne" 8 'errors<=5% was never measured|inconclusive'
sl freeze digits@production --reason holiday
requests 20000 0.1 1 2 slower=1.5 >access.log
watch --for 0
fails "a freeze does not keep it" 1 'rolled back$'
sl unfreeze digits@production

# ---- scores ----
shared
requests 5000 0.3 1 2 score=1 >access.log
watch --for 0 --metric 'errors<=50%'
ok "drift of scores is no breach"
prints "but told" 'scores of 2: PSI [0-9.]+, KS 0\.[34][0-9]+ \(chance [0-9.e-]+\)  ALERT'

# ---- followed: written while it is watched, across a rotation, and emptied ----
: >access.log
sluice canary digits@production --source "log:$scratch/access.log" --interval 1s --for 300s --json >look.json 2>look.err &
watcher=$!
seen() { tail -n 1 look.json | grep -o '"requests": *[0-9]*' | awk -F: '{ n += $2 } END { print n + 0 }'; }
has_seen() { [ "$(seen)" = "$1" ]; }
await 60 test -s look.json
requests 4000 0.2 1 2 seed=11 >>access.log
mv access.log access.log.1
requests 100 0.2 1 2 seed=12 >>access.log.1
await 60 has_seen 4100
requests 4000 0.2 1 2 seed=13 >access.log
await 60 has_seen 8100
: >access.log
requests 100 0.2 1 2 seed=14 >access.log
await 60 has_seen 8200
is "every line counted once" "$(seen)" 8200
requests 20000 0.5 1 2 canary_errors=0.9 >>access.log
wait $watcher
is "the breach ends it" $? 1
check "said at once" grep -q 'rolled back' look.err
moved=$(tail -n 1 look.json | python3 -c 'import json, sys; print(json.loads(sys.stdin.read())["moved_in_ms"] < 60000)')
is "and says how long moving took" "$moved" True

# ---- somebody else releases ----
shared
: >access.log
sluice canary digits@production --source "log:$scratch/access.log" --for 300s >look.out 2>look.err &
watcher=$!
await 60 test -s look.out
sl promote digits@1 --to production
wait $watcher
is "another release ends it" $? 8
check "which is said" grep -q 'another release took its place' look.err
finish
