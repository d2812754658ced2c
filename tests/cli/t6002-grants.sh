#!/bin/sh
# Grants on everything there is: patterns, aliases, deny, roles, limits in time, explain.
. "$(dirname "$0")/lib.sh"

# Needs two users: as root, an unprivileged owner, and root is the guest.
if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
    skip "grants to another user" "needs root and setpriv to be two users"
    finish
    exit
fi
own="$scratch/own"
mkdir "$own"
chmod 755 "$scratch"
chown 12345:12345 "$own"
owner() { setpriv --reuid=12345 --regid=12345 --clear-groups env SLUICE_STORE="$own/store" "$BIN/sluice" "$@"; }
# What the owner does, as `sl` says it.
ow() {
    status=0
    owner "$@" >.out 2>.err </dev/null || status=$?
    out=$(cat .out) err=$(cat .err)
}
export SLUICE_STORE="$own/store"
owner init >/dev/null
for m in fraud team-a team-b; do
    owner push "$digits/v1" "$m" >/dev/null
    owner push "$digits/v2" "$m" >/dev/null
    owner promote "$m@1" --to production >/dev/null
done

# ---- objects ----
ow grant root read 'fr aud/x'
fails "nothing a grant can be on" 1 "golden:MODEL/SET"
ow grant root fly fraud
fails "neither a right nor a verb" 1 "no right: there are read, push"
ow grant root 'target add' target:web
prints "a verb as it is typed" "root may target_add on target:web"
ow grant root verb:push fraud
prints "a verb that a right has the name of" "root may verb:push on fraud"
sl show fraud@1
fails "is not the right: it includes no reading" 6 "root may not read fraud .show."
sl push "$digits/v3" fraud
ok "but it lets do that"
sl tag fraud@3 x
fails "and nothing else" 6 "grant root tag 'fraud'"
ow revoke root verb:push fraud
ow grant root read 'team-*'
sl show team-a@1
ok "a pattern"
sl show fraud@1
fails "names no others" 6 "root may not read fraud"
ow grant root rollback '*@production'
owner promote fraud@2 --to production >/dev/null
owner promote fraud@2 --to staging >/dev/null
sl rollback fraud@production
ok "one verb on one alias of every model"
sl rollback fraud@staging
fails "not on another alias" 6 "root may not promote fraud@staging .rollback.*grant root rollback 'fraud@staging'"
sl promote fraud@2 --to production
fails "nor another verb" 6 "root may not promote fraud@production"
ow grant root promote fraud@staging
sl promote fraud@2 --to staging
ok "a right on one alias"
sl show fraud@staging
ok "which includes reading it"
sl show fraud@2
fails "and nothing of the model" 6 "root may not read fraud"

# ---- deny ----
ow grant --deny root read team-b
prints "denied" "root may not read on team-b"
sl show team-b@1
fails "what is denied stays so" 6 "rule [0-9]+ of uid:12345 denies read on team-b to root"
prints_err() { if printf '%s' "$err" | grep -qE "$2"; then result "$1" 0 ""; else result "$1" 1 "$err"; fi; }
prints_err "with the way out" "sluice revoke --deny root read 'team-b'"
sl show team-a@1
ok "nothing else is"
ow revoke --deny root read team-b
sl show team-b@1
ok "taken back"
ow grant --deny uid:12345 read '*'
ow show fraud@1
ok "the owner cannot be locked out"

# ---- roles ----
sl role give root oncall
fails "nobody takes one himself" 6 "root may not admin store .role_give"
ow role give root oncall
prints "a role" "root has role oncall"
ow grant role:oncall freeze '*@production' --reason "3 a.m."
sl freeze fraud@production --reason x
ok "what a role is granted"
sl unfreeze fraud@production
fails "and no more" 6 "root may not promote fraud@production .unfreeze"
ow role list
prints "who has it" "root +oncall"
ow explain root freeze fraud@production
ok "explained"
prints "by the rule" "rule [0-9]+: role:oncall may freeze on \*@production, given by uid:12345 on .*: 3 a.m."
prints "and the role" "through role oncall, given by"
sl explain root unfreeze fraud@production
fails "who may not" 1 "root may not unfreeze fraud@production"
prints "is told what would allow it" "to allow it: sluice grant root unfreeze 'fraud@production'"
sl explain daemon read fraud
fails "what others may is not for everybody" 6 "root may not admin store"
ow grant --deny role:oncall freeze fraud@production
sl freeze fraud@production --reason x
fails "a role can be denied, too" 6 "denies freeze on fraud@production to role:oncall, a role of this caller"
sl role list --user root
prints "one's own" "root +oncall +- +uid:12345"
sl role take root oncall
fails "nor gives it away" 6 "root may not admin store .role_take"
ow role take root oncall
ow explain root freeze fraud@production
fails "taken" 1 "root may not freeze"
prints "by no rule" "no grant gives that"

# ---- time ----
ow grant root delete team-a --for 1h
prints "for a while" "root may delete on team-a until"
ow explain root delete team-a
ok "within it"
ow revoke root delete team-a
ow grant root delete team-a --for 1s
sleep 1.1
ow explain root delete team-a
fails "after it" 1 "root may not delete"
ow grant root delete team-b --from 2099-01-01
ow explain root delete team-b
fails "before it" 1 "root may not delete"
ow grant list --on team-b
prints "though it is listed" "root +delete +team-b"
ow grant root delete team-b --from 2099-01-01 --until 2098-01-01
fails "an end before the beginning" 1 "end before it begins"
ow grant root delete team-b --until 2098-01-01 --for 4h
fails "two ends" 2 "one of them"

# ---- history ----
then=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
ow revoke root read 'team-*'
ow grant list --user root --json
is "taken back" "$(printf '%s' "$out" | grep -c '"team-\*"')" 0
ow grant list --user root --at "$then" --json
is "it was there then" "$(printf '%s' "$out" | grep -c '"team-\*"')" 1
prints "with its end" '"ended_by": "uid:12345"'
ow grant list --at 2001-01-01
prints "long ago" "no grants"

# ---- what a guest sees ----
sl grant list --json
is "his own" "$(printf '%s' "$out" | grep '"user"' | sort -u)" '      "user": "root",'

# ---- a rebuild ----
ow grant list --at "$then" --json
before=$out
owner fsck --rebuild >/dev/null 2>&1
ow grant list --at "$then" --json
is "the log brings rules back" "$out" "$before"
ow fsck
ok "fsck"
finish
