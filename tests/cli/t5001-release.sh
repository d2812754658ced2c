#!/bin/sh
# promote, weights, rollback, freeze, status in both layouts.
. "$(dirname "$0")/lib.sh"

live() { readlink "$scratch/web/digits/latest"; }

digits_live plain
ok "promote without a policy"
is "plain: latest points at v1" "$(live)" v1
check "the deployed tree is the model" diff -r -x assets "$digits/v1" web/digits/latest/
is "by hard links" "$(stat -c %h web/digits/v1/saved_model.pb)" 2
sl promote digits@1 --to production
prints "what is live already is no change" "as before"
sl rollback digits@production
fails "rollback with nothing older" 7 "digits@production"
sl push "$digits/v2" digits
sl push "$digits/v3" digits
sl weights digits@production 1=90% 2=10%
ok "weights"
is "latest is the largest weight" "$(live)" v1
check "both versions are in the tree" test -f web/digits/v2/saved_model.pb
sl status digits
prints "status shows the weights" 'live +1=90% 2=10%'
find web store/catalogue.db store/audit -printf '%p %l %i %T@\n' | sort >before
sl promote digits@2 --to production --dry-run
ok "promote --dry-run"
prints "says what the server will do" "server loads nothing; unloads nothing; then holds"
prints "and which links move" "link  digits/latest: v1 -> v2"
find web store/catalogue.db store/audit -printf '%p %l %i %T@\n' | sort >after
check "and changes nothing" cmp before after
sl promote digits@3 --to production --dry-run
prints "a version that is not in the tree yet" "new   digits/v3"
prints "is one to load" "server loads 3"
sl promote digits@3 --to production --dry-run --idempotency-key k
fails "and is no act that could have a key" 2 "dry-run"
sl promote digits@2 --to production
ok "promote"
is "latest moved" "$(live)" v2
sl promote digits@3 --to production --reason 'why not'
sl status
prints "status: what a rollback would do" 'rollback +to 2; marks bad: 3; everything is in place'
prints "status: since when, by whom, why" "since .* by .*: why not"

sl rollback digits@production --reason alarm
ok "rollback"
is "goes to the one before" "$(live)" v2
sl rollback digits@production
ok "rollback again"
is "goes further back, never forward" "$(live)" v1
sl rollback digits@production
fails "and then there is nothing older" 7 "3"
is "which changes nothing" "$(live)" v1
sl promote digits@3 --to production
fails "a bad version is not promoted by accident" 5 "--again"
sl promote digits@3 --to production --dry-run
fails "a dry run says so too" 5 "--again"
prints "and what it would have done" "link  digits/latest: v1 -> v3"
sl promote digits@2 --to production --again
ok "but on purpose"
sl rollback digits@production --to 1
ok "rollback --to a version that was live"
is "goes there" "$(live)" v1

sl weights digits@production 1=50% 2=20%
fails "percentages sum to 100" 2 "70, not 100"
sl weights digits@production 1=1 2=x
fails "a share is a number" 2 "2=x"
sl weights digits@production 1=1 1=2
fails "a version is named once" 2 "twice"
sl weights digits@production 1=1 9=1
fails "a version is there" 7 "9"
sl promote digits@2 --to latest
fails "latest is no alias" 1 "latest"
sl promote digits@2 --to production --expect 1 --again
fails "--expect: somebody was faster" 3 "release"

sl freeze digits@production --reason 'audit week'
ok "freeze"
sl promote digits@2 --to production --again
fails "frozen: the reason is shown" 5 "audit week"
sl status
prints "status says so too" "frozen .*audit week"
sl unfreeze digits@production
ok "unfreeze"
sl promote digits@2 --to production --again
ok "and promote works again"
sl rollback digits@production
ok "rollback"

sl target add web2 "$scratch/web" --alias production
fails "a directory serves one target" 3 "web"
mkdir -p strangers/home
sl target add lab strangers --alias staging
fails "a directory with other things in it is left alone" 3 "home"
sl target add lab "$scratch/lab" --alias staging --layout cubic
fails "layouts that there are" 1 "plain.*tfserving"

# TF Serving: numbers, and one file that says which are loaded.
sl target add tfs "$scratch/tfs" --alias production --layout tfserving --serving-root /models
ok "a second target on the same alias shows what is live"
is "numbers, and latest for people" "$(readlink tfs/digits/latest)" 1
check "models.config is there" grep -q 'base_path: "/models/digits"' tfs/config/models.config
sl weights digits@production 1=90% 2=10% --again
check "both versions are specified" grep -q 'versions: 2' tfs/config/models.config
is "both targets moved" "$(live) $(readlink tfs/digits/latest)" "v1 1"
sl promote digits@2 --to production --again --dry-run
prints "the files' lines that change" '^ +\+ +"latest": 2,'
prints "and how they were" '^ +- +90.00% "1";'
sl promote digits@2 --to production --again
is "both targets moved again" "$(live) $(readlink tfs/digits/latest)" "v2 2"
check "labels need a status URL" sh -c '! grep -q "version_labels {" tfs/config/models.config'
sl target set tfs --status-url http://127.0.0.1:1
check "which brings them" grep -q 'version_labels { key: "stable" value: 2 }' tfs/config/models.config
sl promote digits@1 --to production --dry-run
prints "a dry run says when they move" 'stable -> 1'
sl weights digits@production 1=99.999% 2=0.001%
fails "a share that would be rounded to nothing" 2 "2=0.001%.*least is 0.01%"
sl weights digits@production 01=90% 2=10%
fails "a number with a leading zero" 2 "01=90%.*NUMBER=SHARE"
sl weights digits@production +1=90% 2=10%
fails "a number with a sign" 2 "[+]1=90%.*NUMBER=SHARE"
sl rollback digits@prodution
fails "rollback of an alias that never was" 7 "nothing was ever released on digits@prodution"
mkdir tfs/digits/003
sl push "$digits/v3" digits
sl promote digits@3 --to production --again
fails "another name with the version's number" 3 "tfs/digits/003 is not of this store, .*takes it for version 3: move it away"
is "nothing moved" "$(live) $(readlink tfs/digits/latest)" "v2 2"
rmdir tfs/digits/003
mkdir tfs/digits/007 # of no version that is loaded
sl promote digits@3 --to production --again
ok "a name that is nobody's number is let be"
rmdir tfs/digits/007
sl target list
prints "target list" 'tfs +production +tfserving'
sl fsck
ok "fsck"
sl audit verify
ok "audit verify"
finish
