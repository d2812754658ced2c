#!/bin/sh
# Policies: their form and gates, what the catalogue refuses, break-glass, approvals.
. "$(dirname "$0")/lib.sh"

policy() { printf '{"policy": 1, "require": [%s]}\n' "$1" >policy.json; }
live() { readlink "$scratch/web/digits/latest"; }

digits_live
sl push "$digits/v2" digits
sl push "$digits/v3" digits
policy '{"scan": "clean", "allow": "x"}, {"aproval": 2}'
sl policy set production --file policy.json
fails "an unknown gate is refused, with those there are" 1 'no gate "aproval"; there is "acceptance", "export"'
policy '{"scan": "clean", "alow": "x"}'
sl policy set production --file policy.json
fails "so is an unknown option" 1 '"scan" has no option "alow"'
policy '{"freeze": "x", "from": "2026-01-01"}'
sl policy set production --file policy.json
fails "and one that is missing" 1 'needs "until"'
policy '{"approvals": 0}'
sl policy set production --file policy.json
fails "a count is one" 1 'from 1 to 20'
echo '{"policy": 2, "require": []}' >policy.json
sl policy set production --file policy.json
fails "a form of another day" 1 'form 1 only'
policy '{"earlier": "staging"}'
sl policy set production --file policy.json
ok "production waits for staging"
policy '{"earlier": "dev"}'
sl policy set staging --file policy.json
ok "staging for dev"
policy '{"earlier": "production", "for": "1h"}'
sl policy set dev --file policy.json
fails "a cycle is refused, with its names" 1 'dev waits for production waits for staging waits for dev'
for rule in '{"quality": "f1"}' '{"quality": "f1", "min": 0.9, "min": 0.1}' '{"freeze": "x", "from": "2026-12-20", "until": "2026-12-10"}' '{"baseline": "production", "max_shift": -1}'; do
    policy "$rule"
    sl policy set dev --file policy.json
    fails "a gate that makes no sense: $rule" 1 'needs "min"|stands twice|is not after|must be 0 or more'
done
sl policy set --target nowhere --require-acceptance '*'
fails "a target that is none" 7 "there is no target nowhere"
sl policy history
fails "neither alias nor target" 2 "policy history needs"
sl policy show dev
prints "and nothing was set" 'none'
sl policy list
prints "policy list" 'earlier staging'

sl policy check digits@2 --for production
fails "policy check" 5 'earlier: wanted these bytes had traffic of staging; saw never'
prints "prints the table" 'earlier +NO +these bytes had traffic of staging +never +sluice promote digits@2 --to staging'
sl promote digits@2 --to production
fails "not before staging" 5 'had traffic of staging'
sl promote digits@2 --to staging
fails "nor that before dev" 5 'had traffic of dev'
sl promote digits@2 --to dev
sl promote digits@2 --to staging
sl promote digits@2 --to production
ok "dev, staging, production"
is "it is live" "$(live)" v2
policy '{"earlier": "staging", "for": "24h"}'
sl policy set production --file policy.json --model digits
sl promote digits@3 --to dev
sl promote digits@3 --to staging
sl promote digits@3 --to production
fails "time in staging counts" 5 'for 24h; saw [0-9]+ s'
if TEST_CLOCK=172800:0 sluice version >/dev/null; then
    TEST_CLOCK=172800:0 sl promote digits@3 --to production
    fails "a clock that is set forward makes nothing pass" 5 'for 24h; saw [0-9]+ s'
    TEST_CLOCK=172800:172800 sl policy check digits@3 --for production
    ok "two days of running do"
fi

# The catalogue refuses what came through no gate.
if command -v sqlite3 >/dev/null; then
    db() { sqlite3 "$SLUICE_STORE/catalogue.db" "$1" 2>&1; }
    was=$(db "SELECT * FROM alias; SELECT * FROM release; SELECT * FROM release_member")
    check "UPDATE alias" sh -c 'case $1 in *"moves with its release"*) ;; *) echo "$1"; false ;; esac' - \
        "$(db "UPDATE alias SET version_id = 3 WHERE name = 'production'")"
    check "UPDATE release" sh -c 'case $1 in *"never changed"*) ;; *) echo "$1"; false ;; esac' - \
        "$(db "UPDATE release SET latest_id = 3, latest = 3 WHERE state = 'live'")"
    check "an old release made live" sh -c 'case $1 in *"never changed"*) ;; *) echo "$1"; false ;; esac' - \
        "$(db "UPDATE release SET state = 'live' WHERE state = 'past'")"
    check "UPDATE release_member" sh -c 'case $1 in *"never changed"*) ;; *) echo "$1"; false ;; esac' - \
        "$(db "UPDATE release_member SET version_id = 3")"
    check "a release that begins as live" sh -c 'case $1 in *"begins as intended"*) ;; *) echo "$1"; false ;; esac' - \
        "$(db "INSERT INTO release SELECT 99, model, alias, 99, verb, 'live', number, 99, latest_id, latest, 1, 1, actor, reason FROM release WHERE state = 'live' AND alias = 'production'")"
    check "one that passed no gate" sh -c 'case $1 in *"no gate was passed"*) ;; *) echo "$1"; false ;; esac' - \
        "$(db "BEGIN; UPDATE release SET state = 'past' WHERE alias = 'production' AND state = 'live';
            INSERT INTO release SELECT 99, model, alias, 99, verb, 'intended', number, 99, 3, 3, 1, 1, actor, reason FROM release WHERE alias = 'production' LIMIT 1;
            INSERT INTO release_member VALUES(99, 0, 3, 3, 10000, '', 0);
            UPDATE release SET state = 'live' WHERE id = 99; COMMIT")"
    for change in "UPDATE policy SET rules = '{}'" "DELETE FROM policy" "DELETE FROM alias" \
        "DELETE FROM release" "DELETE FROM release_member" "DELETE FROM gate_pass" "UPDATE policy_age SET age_ns = 0"; do
        check "$change" sh -c 'case $1 in *"is never"*|*"moves with"*) ;; *) echo "$1"; false ;; esac' - "$(db "$change")"
    done
    is "nothing has changed" "$(db "SELECT * FROM alias; SELECT * FROM release; SELECT * FROM release_member")" "$was"
else
    skip "direct changes of the catalogue" "needs sqlite3"
fi

sl promote digits@3 --to production --break-glass 'site is down'
ok "break-glass, by the owner"
prints "says what it overruled" 'GATE earlier OVERRULED .*site is down'
sl status digits
prints "and status goes on saying it" 'BREAK GLASS: site is down'
sl audit log digits
prints "so does the log" 'promote +digits@production'
check "with the reason" grep -q 'BREAK GLASS: site is down' "$SLUICE_STORE/audit/log.jsonl"
sl rollback digits@production
ok "rollback asks no gate"
is "as before" "$(live)" v2
sl fsck
ok "fsck finds the log and the catalogue alike"

# Windows, scan, signature, blessing, programs, on another alias.
policy '{"freeze": "year end", "from": "2020-01-01", "until": "2200-01-01"}'
sl policy set eu --file policy.json
sl promote digits@2 --to eu
fails "a freeze window" 5 'year end.*saw within'
policy '{"freeze": "the past", "from": "2020-01-01", "until": "2020-01-02"}, {"scan": "clean"}, {"signature": "compatible"}'
sl policy set eu --file policy.json
sl promote digits@2 --to eu
ok "outside of it; scan; signature"
now=$(date +%s)
from=$(date -u -d "@$((now - 3600))" +%FT%TZ) until=$(date -u -d "@$((now + 3600))" +%FT%TZ)
policy '{"freeze": "now", "from": "'"$from"'", "until": "'"$until"'"}'
sl policy set eu --file policy.json
TEST_CLOCK=7200:0 sl policy check digits@1 --for eu
fails "a clock that is set past the window does not end it" 5 "within by the store's age"
policy '{"blessed": "tfx"}'
sl policy set eu --file policy.json
sl policy check digits@1 --for eu --bless blessing
fails "no blessing" 5 'saw neither'
is "NOT_BLESSED for the Pusher" "$(ls blessing)" NOT_BLESSED
: >BLESSED
sl attach digits@1 tfx BLESSED
ok "TFX's file"
sl policy check digits@1 --for eu --bless blessing
ok "is evidence"
is "BLESSED for the Pusher" "$(ls blessing)" BLESSED
policy ''
sl policy set production --file policy.json --model digits
policy '{"program": "ticket"}'
sl policy set --target web --file policy.json
ok "a policy on a target"
sl promote digits@1 --to production --again
fails "a program that is not there is no yes" 5 'hooks/gate-ticket'
mkdir -p "$SLUICE_STORE/hooks"
printf '#!/bin/sh\necho "ticket 4711 for $SLUICE_MODEL@$SLUICE_VERSION"\n' >"$SLUICE_STORE/hooks/gate-ticket"
chmod 700 "$SLUICE_STORE/hooks/gate-ticket"
sl promote digits@1 --to production --again
prints "its answer is kept" 'gate program: yes: ticket 4711 for digits@1'
sl policy history production
prints "policy history" 'for 24h'

if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
    skip "approvals by another user" "needs root and setpriv to be two users"
    finish
    exit
fi
# As root: an unprivileged owner asks, and root approves.
own="$scratch/own"
mkdir "$own"
chmod 755 "$scratch"
chown 12345:12345 "$own"
owner() {
    status=0
    setpriv --reuid=12345 --regid=12345 --clear-groups env SLUICE_STORE="$own/store" "$BIN/sluice" "$@" \
        >"$scratch/.out" 2>"$scratch/.err" </dev/null || status=$?
    out=$(cat "$scratch/.out") err=$(cat "$scratch/.err")
}
export SLUICE_STORE="$own/store"
policy '{"approvals": 1, "expires": "2h"}'
chmod 644 policy.json
owner init
for v in 1 2 3; do owner push "$digits/v$v" digits; done
owner policy set production --file "$scratch/policy.json"
ok "a policy that wants an approval"
owner promote digits@1 --to production
fails "nobody was asked" 5 'nobody was asked; sluice approve request digits@1 --for production'
owner approve request digits@1 --for production --reason 'ticket 4711'
ok "approve request"
sl approve approve digits@1 --for production
fails "approving needs a grant" 6 'approve'
owner grant root approve digits
owner approve approve digits@1 --for production
fails "not by who pushed it" 6 'pushed the version'
sl approve comment digits@1 'who saw the slices?' --for production
ok "approve comment"
sl approve approve digits@1 --for production --reason fine
ok "approve approve, by another"
prints "shows what was said" 'approve by root .*fine'
owner policy check digits@1 --for production
prints "policy check sees it" 'approvals +yes .*1, by root'
TEST_CLOCK=0:7300 owner promote digits@1 --to production
fails "an approval expires" 5 'has expired'
TEST_CLOCK=7300:0 owner promote digits@1 --to production
fails "by either clock" 5 'has expired'
TEST_CLOCK=-90000:7300 owner promote digits@1 --to production
fails "and a clock set back does not bring it back" 5 'has expired'
owner revoke root approve digits
owner promote digits@1 --to production
fails "who may no longer approve has not" 5 'request 1: 0'
owner grant root approve digits
owner promote digits@1 --to production
ok "promote"
sl approve show digits@1 --for production
prints "approve show" 'comment by root .*who saw the slices'
sl approve list digits
prints "the request is done" 'request 1: .* done'

owner approve request digits@2 --for production
sl approve approve digits@2 --for production
owner policy set production --file "$scratch/policy.json" --model digits
owner policy set production --require-acceptance '*' --model digits
owner policy check digits@2 --for production
fails "another policy is asked at once" 5 'acceptance'
policy '{"approvals": 1}'
owner policy set production --file "$scratch/policy.json" --model digits
owner promote digits@2 --to production
fails "a policy that changed voids what was said" 5 'void: the policy has changed'
sl approve approve digits@2 --for production
fails "and can be said no more" 3 'void: the policy has changed'
owner promote digits@2 --to production --when-approved
fails "promote --when-approved is pending" 8 'waits for approval'
owner approve reject digits@2 --for production --reason self
fails "no rejecting oneself either" 6 'pushed'
sl approve approve digits@2 --for production
ok "the last approval lands"
prints "and the store promotes" 'promoted: digits@production'
owner status digits
prints "it is live" 'approved: request 3'
owner promote digits@3 --to production --when-approved
sl approve reject digits@3 --for production --reason 'too slow'
ok "approve reject"
owner promote digits@3 --to production
fails "a no ends it" 5 'is rejected'
owner approve request digits@3 --for production
owner approve withdraw digits@3 --for production
ok "approve withdraw"
sl approve withdraw digits@3 --for production
fails "which is its asker's to do" 6 'promote'
sl approve approve digits@3 --for production
fails "there is nothing to approve then" 3 'withdrawn'
owner push "$digits/v3" other --provenance author=root
owner grant root approve '*'
owner approve request other@1 --for production
sl approve approve other@1 --for production
fails "not by its author, as provenance says" 6 'wrote the version'
owner grant root promote '*'
sl promote digits@3 --to production --break-glass now
fails "breaking the glass is a right of its own" 6 'break-glass'

# Asking again does not take back what was said.
policy '{"approvals": 2}'
owner policy set production --file "$scratch/policy.json" --model digits
owner approve request digits@3 --for production
sl approve approve digits@3 --for production --reason fine
owner promote digits@3 --to production --when-approved
fails "one of two" 8 'waits for approval'
owner promote digits@3 --to production --when-approved
fails "asked again" 8 'waits for approval'
sl approve show digits@3 --for production
prints "the request is the one before, and now the store promotes" 'the store promotes it'
prints "what was said stays said" 'approve by root .*fine'
policy '{"approvals": 1}'
owner policy set production --file "$scratch/policy.json" --model digits

# Two at once: one release replaces the other's, so one approval cannot serve both.
owner approve request digits@3 --for production
sl approve approve digits@3 --for production
owner promote digits@3 --to production &
one=$!
sl promote digits@3 --to production
wait "$one"
is "two promotes at once make one release" "$(python3 -c 'import sqlite3, sys
print(*sqlite3.connect(sys.argv[1]).execute("SELECT count(*) FROM release WHERE latest = 3 AND model = ?", ["digits"]).fetchone())' \
    "$own/store/catalogue.db")" 1
owner audit verify
ok "the log holds"
owner fsck
ok "and fsck is content"
finish
