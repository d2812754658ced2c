#!/bin/sh
# grants, the log, its verification, hooks. Needs a second user: root can be one.
. "$(dirname "$0")/lib.sh"

digits_live
sl audit log digits
prints "the log: who did what to which digest" "push +digits@1 +sha256:[0-9a-f]{12} +ok"
prints "promotions too" "promote +digits@production +sha256:[0-9a-f]{12} +ok"
sl show digits@1
sl audit log digits
prints "reads are recorded" "show +digits@1 +sha256:[0-9a-f]{12} +ok"
sl promote digits@7 --to production
sl audit log
prints "failures are recorded" "promote +digits@7 .*failed"
sl audit verify
ok "audit verify"

mkdir -p "$SLUICE_STORE/hooks"
cat >"$SLUICE_STORE/hooks/pre-promote" <<'EOF'
#!/bin/sh
[ "$SLUICE_REASON" = please ] || { echo "say please to $SLUICE_MODEL@$SLUICE_VERSION"; exit 1; }
EOF
chmod 700 "$SLUICE_STORE/hooks/pre-promote"
sl push "$digits/v2" digits
sl promote digits@2 --to production
fails "a pre-promote hook can veto, with its own words" 5 "say please to digits@2"
is "nothing moved" "$(readlink web/digits/latest)" v1
sl promote digits@2 --to production --reason please
ok "or agree"
sl audit log digits
prints "the veto is in the log" "promote +digits@.*refused"
chmod 600 "$SLUICE_STORE/hooks/pre-promote"
sl promote digits@1 --to production
fails "a hook that cannot run is no yes" 5 "chmod"
rm "$SLUICE_STORE/hooks/pre-promote"

# Another user. As root: an unprivileged owner, and root is the stranger.
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    own="$scratch/own"
    mkdir "$own"
    chmod 755 "$scratch"
    chown 12345:12345 "$own"
    owner() { setpriv --reuid=12345 --regid=12345 --clear-groups env SLUICE_STORE="$own/store" "$BIN/sluice" "$@"; }
    owner init >/dev/null
    owner push "$digits/v1" digits >/dev/null
    export SLUICE_STORE="$own/store"
    sl list
    fails "a stranger may not read" 6 "root may not read"
    sl push "$digits/v2" digits
    fails "nor push: the message says what would allow it" 6 "sluice grant root push 'digits'"
    is "nothing was stored" "$(owner list digits | grep -c digits@)" 1
    # Every verb that touches the store asks the same function: a stranger gets nowhere.
    for verb in $(sed -n 's/^VERB(\([a-z_]*\), [A-Z]*, STORE.*/\1/p' "$top/service/verbs.def") show run validate fsck; do
        words=$(echo "$verb" | tr _ ' ')
        case $verb in
        push) set -- "$digits/v1" digits ;;
        golden_add) set -- digits "$digits/acceptance" --name x ;;
        golden_show | golden_delete) set -- digits x ;;
        golden_record) set -- digits@1 --inputs "$digits/predict.npz" ;;
        golden_probe) set -- digits@1 ;;
        golden_export) set -- digits x "$scratch/stranger-set" ;;
        verdict_show | verdict_export | replay) set -- digits@1 ;;
        pull | inspect | resolve | show | validate | cold | warm | delete | undelete | unhold) set -- digits@1 ;;
        hold) set -- digits@1 --reason x ;;
        retention_set) set -- digits --keep_last 1 ;;
        retention_show | retention_clear) set -- digits ;;
        quota_set) set -- digits --max 1G ;;
        run) set -- digits@1 --input_exprs 'image=[1.0]' ;;
        tag | untag) set -- digits@1 x ;;
        accept | attachments) set -- digits@1 ;;
        note) set -- digits@1 x ;;
        attach) set -- digits@1 report "$digits/v1/saved_model.pb" ;;
        detach) set -- digits@1 report ;;
        reject) set -- digits@1 --reason x ;;
        config_get) set -- quarantine ;;
        config_set) set -- quarantine on ;;
        log | golden_list) set -- digits ;;
        policy_set) set -- production --require-acceptance '*' ;;
        policy_show | policy_history) set -- production ;;
        policy_check) set -- digits@1 --for production ;;
        approve_request | approve_show | approve_approve | approve_withdraw) set -- digits@1 --for production ;;
        approve_reject) set -- digits@1 --for production --reason x ;;
        approve_comment) set -- digits@1 x --for production ;;
        target_add) set -- web "$scratch/stranger" --alias production ;;
        target_adopt) set -- "$digits" --model digits ;;
        target_remove) set -- web ;;
        target_set) set -- web --readers all ;;
        target_render) set -- web --as compose ;;
        exec) set -- digits@1 true ;;
        promote) set -- digits@1 --to production ;;
        weights) set -- digits@production 1=1 ;;
        canary) set -- digits@production --source log:/dev/null ;;
        drill) set -- digits@production ;;
        cat) set -- digits@1 saved_model.pb ;;
        agent) set -- --from "$PWD/store" --once ;;
        host_want) set -- web-1 --alias production ;;
        host_report) set -- web-1 digits@production --release 1 --state observed ;;
        host_rollout) set -- production --at-once 1 ;;
        host_retry | host_forget) set -- web-1 ;;
        rollback | unfreeze | releases) set -- digits@production ;;
        freeze) set -- digits@production --reason x ;;
        route) set -- digits@production --unit C123 ;;
        grant | revoke) set -- root read digits ;;
        role_give | role_take) set -- root oncall ;;
        explain) set -- daemon read digits ;;
        hook_set) set -- pre-promote "$digits/v1/saved_model.pb" ;;
        hook_show | hook_remove) set -- pre-promote ;;
        key_show | key_rotate) set -- store ;;
        user_add | user_disable | user_enable | user_cert | token_create) set -- root ;;
        token_revoke | token_rotate) set -- 7fQx2k9A ;;
        issuer_add) set -- ci https://ci.example.org --audience x --match a=b --subject root ;;
        issuer_remove) set -- ci ;;
        backup) set -- "$scratch/stranger-backup" ;;
        export) set -- digits@1 "$scratch/stranger.tar" ;;
        import) set -- "$scratch/stranger.tar" --as digits ;;
        *) set -- ;;
        esac
        sl $words "$@"
        fails "a stranger may not: sluice $words" 6 "root may not"
    done
    check "and each try is in the log" sh -c '[ "$(grep -c denied "$1")" -ge 20 ]' - "$own/store/audit/log.jsonl"
    owner grant root push digits >/dev/null
    sl push "$digits/v2" digits
    ok "with a grant, pushing works"
    sl show digits@2
    ok "and reading, which push implies"
    sl promote digits@2 --to production
    fails "but not promoting" 6 "promote"
    sl validate digits@2 --backend exec:/bin/true
    fails "nor judging by a program of one's own" 6 "judge"
    sl push "$digits/v2" other
    fails "nor pushing to another model" 6 "other"
    owner grant root promote '*' >/dev/null
    sl promote digits@2 --to production
    ok "a grant on every model"
    is "files stay the owner's" "$(find "$SLUICE_STORE" ! -user 12345 | head -n 3)" ""
    owner grant root judge digits >/dev/null
    sl golden add digits "$digits/acceptance" --name exam
    fails "who pushes a model does not write its exam" 6 "root pushed digits@2, and who pushes"
    sl golden probe digits@1
    fails "nor records one" 6 "root pushed digits@2, and who pushes"
    owner golden add digits "$digits/acceptance" --name exam >/dev/null
    sl golden delete digits exam
    fails "nor deletes it" 6 "root pushed digits@2"
    owner grant root judge other >/dev/null
    owner golden add other "$digits/acceptance" --name exam >/dev/null
    sl golden add other "$digits/acceptance" --name exam --reason x
    fails "one owner's exam is not another's to change" 6 "may not change 'exam'"
    sl golden delete other exam
    fails "nor to delete" 6 "may not change 'exam'"
    owner golden add other "$digits/acceptance" --name exam --owner root >/dev/null
    sl golden delete other exam
    ok "who owns it may"
    owner revoke root push digits >/dev/null
    sl push "$digits/v3" digits
    fails "revoked" 6 "push"
    sl grant root admin '*'
    fails "nobody grants himself" 6 "admin"
    owner audit log >"$scratch/log"
    check "refusals are in the log, by name" grep -qE 'root +push +digits .*denied' "$scratch/log"
    owner audit verify >"$scratch/verify" 2>&1
    check "the log holds" grep -q 'chain holds' "$scratch/verify"
else
    skip "grants to another user" "needs root and setpriv to be two users"
fi
finish
