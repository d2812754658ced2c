#!/bin/sh
# Ramps: steps that are releases, conditions, being killed, and what ends one.
. "$(dirname "$0")/lib.sh"
requests() { python3 "$top/tests/cli/requests.py" "$@"; }
ramp() { sl weights digits@production 2 --ramp "$@"; }
later() { # seconds, command…: as if it were so much later
    export TEST_CLOCK="$1:$1"
    shift
    sl "$@"
    unset TEST_CLOCK
}
live() { sluice status | sed -n 's/^  live *\(.*\)  sha256.*/\1/p' | sed 's/  sha256.*//'; }
steps() { sluice audit log digits --verb weights | grep -c ' ok .*ramp, step'; }

sl init
sl target add web "$scratch/web" --alias production --layout tfserving
sl push "$digits/v1" digits
sl push "$digits/v2" digits --golden "$digits/v2-golden"
sl validate digits@2
ramp 1%,100%
fails "nothing is live" 1 'nothing is live on digits@production'
sl promote digits@1 --to production

# ---- what is asked for ----
for steps in 5 5%,1% 5%,5% 0%,5% 101% , '' 1%,x 1%,,2%; do
    ramp "$steps"
    fails "no steps: '$steps'" 2 'ramp'
done
sl weights digits@production 1=50% 2=50% --ramp 1%
fails "one version" 2 'takes one version'
sl weights digits@production 1 --ramp 1%
fails "not the stable one" 1 'is the stable one'
sl weights digits@production 9 --ramp 1%
fails "a version that is there" 7 'digits'
ramp 1% --while 'errors<=+1%'
fails "conditions need a source" 2 'needs --source'
ramp 1% --while 'errors<1%' --source log:a.log
fails "and are checked at once" 1 "metric 'errors<1%'"
ramp 1% --every soon
fails "how often" 1 'weights --every'
sl weights digits@production 2=5% 1=95% --every 5m
fails "--every goes with --ramp" 2 'go with --ramp'
sl ramp digits@production
fails "none was made" 7 'no ramp was made'
is "nothing moved" "$(live)" 1

# ---- without conditions ----
ramp 1%,5%,25%,100% --every 0s --json
ok "a ramp"
is "each step is a release" "$(printf '%s\n' "$out" | python3 -c 'import json, sys
for line in sys.stdin:
    d = json.loads(line)
    if "step" in d: print(",".join(str(m["version"]) + "=" + str(m["weight"]) for m in d["step"]["live"]), d["step"]["release"])')" "1=9900,2=100 2
1=9500,2=500 3
1=7500,2=2500 4
2=10000 5"
sl ramp digits@production
fails "it is done" 7 'runs no more \(done\)'
sl rollback digits@production
ramp 10%,100% --every 1h
fails "a version marked bad" 5 'marked bad'
sl status
prints "the refusal ended it" 'ramp .*ended.*marked bad'
ramp 10%,50%,100% --every 1h --again --detach
ok "stored"
is "and nothing else" "$(live)" 1
sl ramp --once
ok "who follows does the first step"
is "10 %" "$(live)" "1=90% 2=10%"
sl ramp --once
is "the next one is not due" "$(live)" "1=90% 2=10%"
sl status
prints "status shows it" 'ramp .*ramp of 2, running: \[10%\] 50% 100%'
ramp 20%,100% --every 1h
fails "one at a time" 3 'another ramp is running'
later 3601 ramp --once
is "an hour later" "$(live)" "1=50% 2=50%"
sl freeze digits@production --reason holiday
later 7203 ramp --once
is "a freeze keeps it where it is" "$(live)" "1=50% 2=50%"
ramp 10%,50%,100% --every 1h --again --detach
ok "the same command goes on with it, frozen or not"
sl unfreeze digits@production
sl ramp digits@production --stop --reason 'enough'
ok "--stop"
prints "why" 'ended.*\(enough\)'
later 7203 ramp --once
is "the share stays" "$(live)" "1=50% 2=50%"
sl ramp
prints "none is left" 'no ramp is running'
sl freeze digits@production --reason holiday
ramp 60%,100%
fails "none begins while frozen" 5 'frozen: holiday; sluice unfreeze digits@production'
sl ramp
prints "nor is it stored" 'no ramp is running'
sl unfreeze digits@production
ramp 50%,100%
fails "it begins above" 1 'has 50% already'
ramp 100% --every 1h --detach
sl rollback digits@production
sl ramp --once
fails "another release ends it" 8 'release [0-9]+ \(rollback by .*\) took its place'

# ---- with conditions; the path is kept whole ----
: >access.log
ramp 10%,50%,100% --every 0s --again --source log:access.log --while 'errors<=+1%' --detach
mkdir elsewhere
(cd elsewhere && sluice ramp --once) >/dev/null
is "the first step" "$(live)" "1=90% 2=10%"
sl ramp --once
is "not on, while nothing is known" "$(live)" "1=90% 2=10%"
sleep 1
requests 4000 0.1 1 2 later=0 >>access.log
sl ramp --once
is "on, when enough was seen" "$(live)" "1=50% 2=50%"
requests 4000 0.5 1 2 canary_errors=0.2 later=2 >>access.log
sl ramp --once
fails "worse: back at once" 1 'errors [0-9.]+% beside .*; rolled back'
is "all of it" "$(live)" 1
sl promote digits@2 --to production
fails "marked bad" 5 'marked bad'
sl status
prints "status says what happened" 'ramp .*breach: .*errors'

# ---- killed at any moment; the same command goes on ----
sl promote digits@1 --to production
before=$(steps)
ramp 1%,2%,3%,4%,5%,6%,7%,8%,9%,100% --every 0s --again --detach
for fault in commit:2 fsync:3 rename:1 rename:2 commit:4 any:30 commit:3 any:50 unlink:1 commit:5; do
    TEST_FAULT=$fault:kill sluice ramp >/dev/null 2>&1
done
sl ramp
is "all steps were taken" "$(live)" 2
sl status
prints "to the version" 'live +2 '
is "each once" "$(steps)" $((before + 10))
sl audit verify
ok "the log holds"
cp -r store copy
rm store/catalogue.db*
sl fsck --rebuild
ok "rebuilt from the log"
sl status --json
is "with the same state" "$(live)" 2

# ---- a service that stays ----
sl promote digits@1 --to production --again
sluice ramp --stay >stay.out 2>&1 &
stays=$!
sleep 0.3 # so that it is there first, mostly
ramp 40%,60% --every 0s --again --detach
is_done() { sluice status | awk '$1 == "ramp" { running = 1 } END { exit running }'; }
await 60 is_done
is "it does what is begun meanwhile" "$(live)" "1=40% 2=60%"
check "and goes on" kill $stays
wait $stays 2>/dev/null

# ---- a server that says what it has: a step is done when it was seen ----
. "$top/tests/cli/tfs.sh"
sl promote digits@1 --to production
tfs_start --model_config_file="$scratch/web/config/models.config" --allow_version_labels_for_unavailable_models=true
sl target set web --status-url "$tfs_url"
kill -STOP $tfs_pid
ramp 10%,50%,100% --every 0s --again --detach
sl ramp --once
sl ramp --once
is "a server that does not say that it has a step gets no other" "$(live)" "1=90% 2=10%"
prints "and why" 'waits for target web: .*timed out'
kill -CONT $tfs_pid
sl ramp
ok "the ramp takes its releases through their steps"
prints "to the end" 'ramp of 2, done'
is "and the server has it" "$(tfs_asked digits/labels/stable)" 2
is "which was never hurt" "$(tfs_count refused) $(tfs_count unserved)" "0 0"
finish
