#!/bin/sh
# target set: what is said of a target can change.
. "$(dirname "$0")/lib.sh"

sl init
digits_live tfserving
sl target set web --serving-root /models --status-url http://127.0.0.1:1
ok "it changes"
check "and shows in the tree at once" grep -q 'base_path: "/models/digits"' web/config/models.config
sl target check
ok "which is as it should be"
sl target list
prints "and in the list" "serving_root=/models status_url=http://127.0.0.1:1"
sl target set web --serving-root ''
ok "it can be taken back"
sl --json target list
prints "for itself" '"serving_root": *null'
prints "and nothing else with it" '"status_url": *"http://127.0.0.1:1"'
sl audit log --verb target-set
prints "who did it is in the log" target-set
sl target set web
fails "nothing said" 2 "say what"
sl target set wob --readers all
fails "an unknown target" 7 'no target "wob"'
sl target set web --status-url 127.0.0.1:8501
fails "an address that is none" 2 "REST address"
sl target set web --status-url http://
fails "an address without a host" 2 "no host in it"
sl target set web --status-url http://:8501
fails "or with nothing but a port" 2 "no host in it"
sl target set web --reload grpc://
fails "a reload without a host" 2 'reload "grpc://".*grpc://HOST:PORT'
sl target set web --readers some
fails "readers that there are not" 2 "all and grants"
sl target set web --serving-root models
fails "a relative root" 2 'must begin with "/"'

# ---- remove ----
mkdir lab
sl target add lab "$scratch/lab" --alias production
sl push "$digits/v2" digits
sl promote digits@2 --to production
rm -rf lab
sl rollback digits@production
fails "a target that is gone holds a rollback up" 3 "bring it back"
sl target remove lab
ok "it can be forgotten"
sl rollback digits@production
ok "and then it goes"
is "in those that are left" "$(readlink web/digits/latest)" 1
sl target remove lab
fails "it is gone" 7 'no target "lab"'
sl target remove web
ok "one that is there, too"
check "its tree stays" test -f web/digits/latest/saved_model.pb
sl promote digits@2 --to production --again
is "and is not moved any more" "$(readlink web/digits/latest)" 1
sl target add web "$scratch/web" --alias production --layout tfserving
ok "it can be added again"
is "and shows what is live" "$(readlink web/digits/latest)" 2
sl audit verify
ok "the log is whole"
sl fsck
ok "and the store"
finish
