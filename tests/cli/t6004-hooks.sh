#!/bin/sh
# hook list, show, set, remove: programs that run as the store's owner; who may put them
# there, through a service too, and what is no hook.
. "$(dirname "$0")/lib.sh"

digits_live
sl push "$digits/v2" digits
sl hook list
prints "no hooks yet" "no hooks"
cat >veto <<'END'
#!/bin/sh
echo "not today"
exit 1
END
sl hook set pre-promote veto --reason "a freeze"
ok "hook set"
prints "says when it is called" "^hook pre-promote is in place \($(sha256sum veto | cut -c1-12)\), called before"
check "executable for the owner alone" [ "$(stat -c %a store/hooks/pre-promote)" = 700 ]
sl promote digits@2 --to production
fails "it decides" 5 "not today"
sl hook list
prints "hook list" "^pre-promote +$(wc -c <veto) +0700 +$(sha256sum veto | cut -c1-12) +before"
sl hook list --json
prints "with the whole hash" "\"sha256\": \"$(sha256sum veto | cut -c1-64)\""
sluice hook show pre-promote >shown
check "hook show gives its bytes" cmp shown veto
printf '#!/bin/sh\nexit 0\n# \000\377 any bytes\n' >yes
sl hook set pre-promote yes --idempotency-key once
ok "another in its place"
sl hook set pre-promote yes --idempotency-key once --json
prints "the same call again" '"replayed": true'
sl hook set pre-promote veto --idempotency-key once
fails "other bytes under its key" 3 "idempotency"
sluice hook show pre-promote >shown
check "any bytes come back" cmp shown yes
sl promote digits@2 --to production
ok "which agrees"
sl audit log --verb hook_set --json
prints "the log has both hashes" "\"before\": \"$(sha256sum veto | cut -c1-64)\""
prints "of both" "\"sha256\": \"$(sha256sum yes | cut -c1-64)\""
prints "about the hook" '"object": "hook:pre-promote"'
printf '#!/bin/sh\necho "ticket 7"\n' >ticket
sl hook set gate-ticket ticket
ok "a policy's program"
printf '{"policy": 1, "require": [{"program": "ticket"}]}\n' >policy.json
sl policy set production --file policy.json
ok "a policy asks it"
sl policy check digits@1 --for production
prints "and hears it" "ticket 7"

# ---- replaced while it runs: who runs goes on ----
cat >slow <<END
#!/bin/sh
: >$PWD/begun
while [ ! -e $PWD/go ]; do sleep 0.05; done
exit 0
END
sl hook set pre-promote slow
sluice promote digits@1 --to production >slow.out 2>&1 &
pid=$!
for _ in $(seq 600); do [ -e begun ] && break || sleep 0.1; done
check "a hook runs" [ -e begun ]
sl hook set pre-promote veto
ok "it is replaced meanwhile"
: >go
wait $pid
is "the run ends as it began" "$?" 0
sl promote digits@2 --to production
fails "the next asks the new one" 5 "not today"
sl hook set pre-promote yes

# ---- what is no hook ----
before=$(ls -A store/hooks)
for name in ../evil hooks/x pre-promote/.. . .. .tmp-x post-promote 'gate-*' gate- GATE-x gate-x.sh "$(printf 'gate-%0130d' 1)" "$(printf 'gate-x\nrm')"; do
    sl hook set "$name" yes
    fails "no hook: $(printf %.30s "$name" | tr '\n' ' ')" 1 "nothing calls a hook"
done
sl hook remove ../format
fails "nor to remove" 1 "nothing calls a hook"
sl hook show ../keys/store.key
fails "nor to show" 1 "nothing calls a hook"
sl hook set "" yes
fails "no name" 1 "nothing calls a hook"
sl hook set gate-x /dev/null
[ "$status" -ne 0 ]
result "no device" $? "$out $err"
: >empty
sl hook set gate-x empty
fails "no empty file" 1 "no program"
head -c 1048577 /dev/zero >big
sl hook set gate-x big
fails "not above a mebibyte" 1 "1048576"
sl hook set gate-x none
fails "a file that is not there" 7 "none"
sl hook show gate-x
fails "none there to show" 7 "there is no hook gate-x"
sl hook remove gate-x
fails "or to remove" 7 "there is no hook gate-x"
is "nothing came of them" "$(ls -A store/hooks)" "$before"
echo secret >elsewhere
ln -s "$PWD/elsewhere" store/hooks/gate-link
sl hook set gate-link yes
fails "a link stays as it is" 3 "is a link.*hook remove gate-link"
is "so does what it is to" "$(cat elsewhere)" secret
sl hook remove gate-link
ok "unless it is removed"
is "and only it goes" "$(cat elsewhere)$(ls store/hooks/gate-link 2>/dev/null)" secret
mkfifo store/hooks/gate-pipe
sl hook list
prints "what is no file is told as such" "^gate-pipe .*no regular file"
sl hook show gate-pipe
fails "and waited for by nobody" 5 "no regular file"
sl hook remove gate-pipe
ok "it can go"

# ---- after a kill, in a backup ----
: >store/hooks/.tmp-0000
sl backup saved.tar
ok "what a killed process left is not backed up"
sl restore saved.tar --to back
ok "so that the backup can be restored"
check "with the hooks" cmp back/hooks/pre-promote yes
sl hook set pre-promote yes
check "the next one clears up" [ ! -e store/hooks/.tmp-0000 ]
ln -s "$PWD/veto" store/hooks/gate-link
ln -s "$PWD/gone" store/hooks/gate-gone
sl backup linked.tar
ok "links in hooks/ keep nobody from a backup"
sl restore linked.tar --to linked
check "which has what they lead to" cmp linked/hooks/gate-link veto
rm store/hooks/gate-link store/hooks/gate-gone

# ---- who may ----
sl user add ops
sl grant ops admin 'hook:pre-*'
ok "a grant on hooks"
sl explain ops hook_set hook:pre-promote
prints "explain" "ops may hook_set on hook:pre-promote"
sl explain ops 'hook set' hook:gate-ticket
fails "not the others" 1 "ops may not hook_set hook:gate-ticket"
prints "how it would be" "sluice grant ops hook_set 'hook:gate-ticket'"
sl grant list --on 'hook:pre-*'
prints "grant list" "^ops +admin +hook:pre-\*"
sl user add far --service
sl grant far admin 'hook:*'
sl grant far read digits
sl grant far hook_remove 'hook:*' --deny
ops=$(new_token ops)
far=$(new_token far)
narrow=$(new_token far --scope admin:hook:pre-promote)
mine=$(new_token "$me" --scope 'admin:store')
serve serve.log --socket "$scratch/s"
sl_as "$ops" hook set pre-promote veto
ok "from afar: the file travels"
check "and is in place" cmp store/hooks/pre-promote veto
sl_as "$ops" hook show pre-promote
prints "and comes back" "not today"
sl_as "$ops" hook set gate-ticket veto
fails "no other hook" 6 "ops may not admin hook:gate-ticket \(hook_set\)"
sl_as "$ops" hook show gate-ticket
fails "nor its bytes" 6 "ops may not"
sl_as "$ops" hook list
is "nor a word of it" "$(printf '%s\n' "$out" | grep -c gate-ticket)" 0
sl_as "$ops" audit log
prints "his events" "hook set +hook:pre-promote"
is "and not the others'" "$(printf '%s\n' "$out" | grep -v denied | grep -c hook:gate)" 0
sl_as "$narrow" hook set pre-promote yes
ok "a token's scope names a hook"
sl_as "$narrow" hook set gate-ticket yes
fails "and bounds" 6 "the scope of token"
sl_as "$mine" hook set pre-promote yes
fails "admin of the store is not of its hooks" 6 "the scope of token"
sl_as "$far" hook remove pre-promote
fails "what is denied is" 6 "denies"
sl grant list --user far --at 2020-01-01
is "nothing of it then" "$(printf '%s\n' "$out" | grep -c hook)" 0
sl_as "$narrow" explain far hook_set hook:pre-promote
ok "explain in a scope: what is in it"
sl_as "$narrow" explain far hook_set hook:gate-ticket
fails "what is not" 1 "far may not"
prints "the scope decides" "the scope of token [0-9A-Za-z]{8} does not include it"
sl_as "$mine" explain "$me" push digits
fails "of the owner, too" 1 "may not push digits"
prints "whom no grant bounds" "the scope of token"
sl_as "$far" explain far hook_set hook:gate-ticket
ok "without one, everybody asks about himself"
sl_as "$far" explain far push digits
fails "also about what he may not" 1 "far may not push digits"
sl_as "$far" explain ops push digits
fails "about others, who administers" 6 "far may not"
sl audit log --verb hook_set
prints "who was refused is in the log" "hook set +hook:gate-ticket .*denied"
sl audit verify
ok "the log holds"
finish
