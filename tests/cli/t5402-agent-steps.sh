#!/bin/sh
# agent on a host whose server says what it has loaded (tests/tools/tfs_model.h): the agent takes
# a release on by its steps, and goes back when the server does not.
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

up() { sluice --store "$scratch/up" "$@" >/dev/null; }
agent() { sl --store "$scratch/h" agent --from "$scratch/up" --host h --once "$@"; }
state() { sluice --store up host list --json | sed -n 's/.*"state": "\(.*\)",/\1/p; s/.*"shows": "\(.*\)",/\1/p' | paste -sd ' ' -; }

up init
for v in 1 2 3; do up push "$digits/v$v" digits; done
up promote digits@1 --to production
sluice --store h init >/dev/null
sluice --store h target add web "$scratch/web" --alias production --layout tfserving >/dev/null
agent
ok "before there is a server"
is "nobody knows" "$(state)" "switched 1"
tfs_start --model_config_file="$scratch/web/config/models.config" --allow_version_labels_for_unavailable_models=true
tfs_wait digits 1 AVAILABLE
sl --store h target set web --status-url "$tfs_url"

up promote digits@2 --to production
agent --check-wait 20
ok "a release in steps"
prints "observed" "release 2: observed; shows 2: the servers have it"
is "reported" "$(state)" "observed 2"
is "the label moved" "$(tfs_asked digits/labels/stable)" 2

up promote digits@3 --to production
tfs_stop
agent --check-wait 1
ok "the server is down"
prints "so it goes back" "release 3: failed; shows 2: .*went back to 2"
is "reported" "$(state)" "failed 2"
finish
