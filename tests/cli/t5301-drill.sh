#!/bin/sh
# drill: a rehearsed rollback, measured until the server answers, and what can come between.
. "$(dirname "$0")/lib.sh"
. "$top/tests/cli/tfs.sh"

# ---- where the links say what is served ----
digits_live plain
sl drill digits@production --yes
fails "nothing to go back to" 7 "no older release was live"
sl push "$digits/v2" digits
sl promote digits@2 --to production
sl drill digits@production
ok "without --yes"
prints "it says what it would do" "nothing was changed: --yes does it"
sl status digits
prints "and does nothing" "promote, release 2"
sl drill digits@production --yes --reason "every month"
ok "a drill"
prints "goes there and back" "digits@production: 2 -> 1 -> 2"
prints "and measures it" "target web answers with it after [0-9]+ ms"
sl status
prints "what was live is live" "live +2 "
prints "and it is told" "rollback rehearsed 0 days ago: [0-9]+ ms to switch, [0-9]+ ms until"
prints "a rollback goes where it did" "rollback  to 1; marks bad: 2"
sl audit log --verb drill --json
is "the log has both ways, and the evidence" "$(printf %s "$out" | grep -c '"outcome": "ok"')" 3
sl log digits
prints "and the history" "drill"
sl freeze digits@production --reason "year's end"
sl drill digits@production --yes
fails "frozen" 5 "it is frozen: year's end"
sl unfreeze digits@production
sl drill digits@production --yes --target wob
fails "no such target" 7 "no target wob shows production"
sl drill digits@production --wait 0 --yes
fails "no time" 2 "1 to 86400"
sl drill digits@elsewhere --yes
fails "nothing is live there" 7 "nothing was ever released on digits@elsewhere"

# ---- no rollback lands on a drill ----
sl push "$digits/v3" digits
sl promote digits@3 --to production
sl drill digits@production --yes
ok "a second drill"
sl rollback digits@production
prints "a rollback after it" "3 -> 2 "
sl rollback digits@production
prints "and one more" "2 -> 1 "
sl rollback digits@production
fails "and then there is nothing left" 7 "no older release"

# ---- nobody says what is served ----
sl init "$scratch/store2"
SLUICE_STORE=$scratch/store2
rm -rf web
sl target add web "$scratch/web" --alias production --layout tfserving
for v in 1 2; do
    sl push "$digits/v$v" digits
    sl promote digits@$v --to production
done
sl drill digits@production --yes
fails "without a status URL" 8 "nobody said what target web served: no status URL"
sl status
prints "what was live is live again" "live +2 "
prints "it says that nobody said" "and nobody said what was served"

# ---- a server ----
serves() { # options
    tfs_start --model_config_file="$scratch/web/config/models.config" \
        --allow_version_labels_for_unavailable_models=true "$@"
    sl target set web --status-url "$tfs_url"
}
serves --load_ms=100
sl target step --wait 20
sl drill digits@production --yes --wait 30 --json
ok "with a server"
is "it is seen, both ways" "$(printf %s "$out" | grep -c '"observed_ms": [0-9]')" 2
is "it answers with what is live" "$(tfs_asked digits) $(tfs_asked digits/labels/stable)" "2 2"
is "which it had to load again" "$(tfs_count loaded)" 3
is "it was never hurt" "$(tfs_count refused) $(tfs_count unserved) $(tfs_count torn)" "0 0 0"
sl status --json
is "status tells" "$(printf %s "$out" | python3 -c '
import json, sys
a = json.load(sys.stdin)["aliases"][0]
print(a["latest"], 0 < a["drill"]["observed_ms"] < 30000, a["drill"]["observed_ms"] >= a["drill"]["switch_ms"])')" "2 True True"

# ---- a policy that wants one ----
sl push "$digits/v3" digits
printf '{"policy": 1, "require": [{"drill": "30d"}]}\n' >policy.json
sl policy set production --file policy.json
ok "a policy"
sl policy check digits@3 --for production
ok "which has what it wants"
sl push "$digits/v1" other
sl policy check other@1 --for production
ok "nothing to go back to: nothing to rehearse"
sl promote other@1 --to production
sl push "$digits/v2" other
sl promote other@2 --to production
sl push "$digits/v3" other
sl promote other@3 --to production
fails "another model needs its own" 5 'drill: wanted a rollback of production was rehearsed in the last 30d; saw never; sluice drill other@production --yes'
sl policy clear production
sl target step --wait 20

# ---- a server that never gets there ----
tfs_stop
serves --model_config_file_poll_wait_seconds=0
sl drill digits@production --yes --wait 1
fails "a server that does not look" 1 "release [0-9]+ is live again: target web does not answer with it after 1 s: "
sl target step --wait 20
sl status digits
prints "what was live is live" "live +2 "
kill -STOP $tfs_pid
sl drill digits@production --yes --wait 1
fails "a server that hangs" 1 "target web does not answer with it after 1 s: .*timed out"
kill -CONT $tfs_pid
sl target step --wait 20
ok "it comes back"

# ---- killed in the middle ----
is_under_way() { sluice status digits | grep -q "UNFINISHED drill"; }
sluice drill digits@production --yes --wait 60 >/dev/null 2>&1 &
drill=$!
await 60 is_under_way
sl drill digits@production --yes
fails "one at a time" 75 "another drill is under way"
kill -9 $drill
wait $drill 2>/dev/null
sl status digits
prints "status says so, and the way out" "UNFINISHED drill of digits@production .*sluice drill digits@production --yes brings release [0-9]+ back"
prints "and what is live" "live +1 "
sl drill digits@production
prints "the next one would end it" "which ends a drill that was interrupted"
tfs_stop
serves
sl drill digits@production --yes --wait 30
ok "and does"
sl status digits
prints "what was live is live" "live +2 "
is "nothing is left" "$(printf %s "$out" | grep -c UNFINISHED)" 0

# ---- somebody moves it meanwhile ----
kill -STOP $tfs_pid
sluice drill digits@production --yes --wait 60 >drill.out 2>&1 &
drill=$!
await 60 is_under_way
sl promote digits@3 --to production
ok "a promotion while a drill is under way"
kill -CONT $tfs_pid
wait $drill
is "the drill ends" $? 3
check "and says why" grep -q "somebody moved it meanwhile" drill.out
sl status digits
prints "and leaves it" "live +3 "
is "nothing is left" "$(printf %s "$out" | grep -c UNFINISHED)" 0
sl rollback digits@production
prints "a rollback still goes where it did" "3 -> 2 "

# ---- a rollback while one is on its way ends it ----
sl status digits
before=$(printf %s "$out" | sed -n 's/^  live *\([0-9]*\) .*/\1/p')
sl promote digits@1 --to production --again
sl target step --wait 20
kill -STOP $tfs_pid
sluice drill digits@production --yes --wait 60 >drill.out 2>&1 &
drill=$!
await 60 is_under_way
sl status digits
prints "status says where a rollback goes" "rollback  to 1; marks nothing bad"
sl rollback digits@production
prints "which ends the drill" "$before -> 1 "
is "and marks nothing" "$(printf %s "$out" | grep -c 'marked bad')" 0
kill -CONT $tfs_pid
wait $drill
is "the drill says so" $? 3
sl rollback digits@production
prints "once more: back from there" "1 -> $before "
prints "with a mark" "marked bad here: 1"
sl fsck
ok "the store is whole"
finish
