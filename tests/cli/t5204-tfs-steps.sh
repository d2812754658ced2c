#!/bin/sh
# One release, several configs: promote --wait, target step, status and rollback with a
# server that says what it has loaded (tests/tools/tfs_model.h).
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

shows() { tr -d '\n' <web/config/models.config | sed 's/.*{ specific {\(.*\)} }.*/\1/; s/versions://g; s/  */ /g'; }
labels() { sed -n 's/.*key: "\(.*\)" value: \([0-9]*\).*/\1=\2/p' web/config/models.config | sort | paste -sd ' ' -; }
flags='--allow_version_labels_for_unavailable_models=true'

digits_live tfserving
sl push "$digits/v2" digits
sl push "$digits/v3" digits
tfs_start --model_config_file="$scratch/web/config/models.config" $flags
tfs_wait digits 1 AVAILABLE
sl target set web --status-url "$tfs_url"
ok "a target that is asked"
sl status
prints "what is live was not observed before" 'state +intended; not observed \(not yet\)'
sl target step --wait 20
ok "until it is"
prints "and says so" 'target web: digits@production release 1: done'
sl status
prints "status: observed" 'state +observed'
prints "and what the server says" 'step done, observed .*; its server has 1 AVAILABLE'

sl promote digits@2 --to production --dry-run
prints "a dry run shows the steps" 'step  load: loads 2$'
prints "one after the other" 'step  look: stable -> 2$'
prints "and what it takes in between" 'while it changes over'
sl promote digits@2 --to production
ok "without --wait a release stands"
prints "and says that it is not seen" 'target web: switched; not observed \(its server loads what is new'
is "the new one is loaded beside" "$(shows)" " 1 2 "
is "and has no label" "$(labels)" "stable=1"
is "nor the traffic" "$(readlink web/digits/latest)" 1
sl status digits
prints "which status says" 'step load, traffic stays with 1; its server has'
tfs_wait digits 2 AVAILABLE
sl target step web --wait 20
ok "target step moves it"
is "label" "$(labels)" "stable=2"
is "and traffic" "$(readlink web/digits/latest)" 2
sl audit log --verb target-step
prints "each step is in the log" 'target-step'

sl promote digits@3 --to production --wait 20 --keep-loaded 0 --idempotency-key one
ok "promote --wait"
prints "ends when it is seen" 'target web: switched$'
is "by its label" "$(tfs_asked digits/labels/stable)" 3
is "with nothing else loaded" "$(shows)" " 3 "
sl promote digits@3 --to production --wait 30 --keep-loaded 0 --idempotency-key one
ok "again with its key, and more time"
sl --json status digits
prints "it is the same release" '"release": *3'
sl rollback digits@production --wait 20
ok "rollback --wait"
is "loads what is needed first" "$(tfs_asked digits/labels/stable)" 2
tfs_wait digits 3 END
sl status
prints "status says how fast a rollback is" 'web has it loaded: as fast as it looks'
sl weights digits@production 1=90% 2=10% --wait 20
ok "weights --wait"
is "both labels are there" "$(labels)" "canary=2 stable=1"

# a release that is undone while the server loads
sl promote digits@3 --to production --again --keep-loaded 0
is "a label stays" "$(labels)" "canary=2 stable=1"
sl delete digits@2
fails "what the server has loaded still is not deleted" 5 'the server of target web still has it loaded'
sl rollback digits@production
ok "rollback in the middle"
sl target step --wait 20
is "goes back as a whole" "$(shows) $(labels)" " 1 2  canary=2 stable=1"

# more models
sl push "$data/half_plus_two_tf2/model" 'half two'
sl promote 'half two@1' --to production --wait 20
ok "another model"
is "is served" "$(tfs_asked half%20two) $(tfs_asked digits/labels/stable)" "1 1"
mv web/config/models.config saved
sed 's/name: "half two"/name: "stranger"/' saved >strange && mv strange web/config/models.config
sl promote digits@2 --to production
fails "a model that the catalogue does not know is not dropped by the way" 3 'stranger'
mv -f saved web/config/models.config

# a server that is down, or fails
tfs_stop
begun=$(date +%s)
sl status
ok "status needs no server"
prints "and says so" 'its server did not say'
check "without waiting for it" test $(($(date +%s) - begun)) -le 20
sl promote digits@2 --to production --wait 1 --idempotency-key two
fails "promote --wait: the release stays" 8 'switched and recorded as release [0-9]+; not seen everywhere in 1 s: web'
sl promote digits@2 --to production --wait 1 --idempotency-key two
fails "with a key it waits again" 8 'not seen everywhere'
sl target step web
fails "target step says what it waits for" 8 'target step: waiting for web \(digits, l'
tfs_start --model_config_file="$scratch/web/config/models.config" $flags
sl target set web --status-url "$tfs_url"
sl target step --wait 30
ok "and goes on when it is back"
is "to the end" "$(tfs_asked digits/labels/stable)" 2
is "nothing was refused" "$(tfs_count refused)" 0
is "never was there nothing to serve" "$(tfs_count unserved)" 0
sl target check
ok "and the tree is as it should be"

sl target set web --reload 'echo no such luck >&2; exit 3'
sl rollback digits@production
fails "a server that cannot be told undoes nothing" 8 'switched and recorded; the server was not told: .*target step web'
is "the release stands" "$(sluice status digits | sed -n 's/ *live *\([^ ]*\) .*/\1/p')" 1
sl status digits
prints "status says that it was not told" 'its server WAS NOT TOLD: sluice target step web'
sl target set web --reload "touch $scratch/told"
sl target step --wait 20
ok "a step tells it again"
check "it was told" test -f told
sl status digits
is "and status no more" "$(printf %s "$out" | grep -c 'NOT TOLD')" 0
sl promote digits@2 --to production --again --wait 0
fails "--wait 0" 2 'wait takes'
sl promote digits@2 --to production --again --keep-loaded 9
fails "--keep-loaded 9" 2 '0 to 8'
sl target step wob
fails "an unknown target" 7 'no target'
tfs_stop
finish
