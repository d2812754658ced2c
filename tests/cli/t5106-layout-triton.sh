#!/bin/sh
# The layout triton: a repository for NVIDIA Triton in TARGET/models.
. "$(dirname "$0")/lib.sh"

versions() { sed -n 's/.*versions: \[ \(.*\) \].*/\1/p' "web/models/${1:-digits}/config.pbtxt"; }
tree() { (cd web && find models -mindepth 1 -maxdepth 3 | sort | paste -sd ' ' -); }

sl init
sl target add web web --alias production --layout triton
ok "a target"
check "has what the server is started with" test -d web/models
for v in 1 2 3; do sl push "$digits/v$v" digits; done
sl promote digits@1 --to production
ok "a release"
is "is what Triton reads, and nothing else" "$(tree)" \
    "models/digits models/digits/1 models/digits/1/model.savedmodel models/digits/config.pbtxt"
is "with the versions that it loads" "$(versions)" 1
check "its files" cmp web/models/digits/1/model.savedmodel/saved_model.pb "$digits/v1/saved_model.pb"
check "for people it lies where it does in each layout" cmp web/digits/latest/saved_model.pb "$digits/v1/saved_model.pb"
check "the config is a file of its own, not a link out of models/" test ! -L web/models/digits/config.pbtxt
sl promote digits@2 --to production --dry-run
ok "a dry run"
prints "tells the difference" "file +models/digits/config.pbtxt"
prints "in lines" "^ +\+.*versions: \[ 1, 2 \]"
is "and changes nothing" "$(versions)" 1
cp web/models/digits/config.pbtxt one
sl promote digits@2 --to production
ok "another"
is "keeps what a rollback needs" "$(versions)" "1, 2"
sl weights digits@production 2=90% 3=10%
ok "traffic can be shared"
is "of what is loaded" "$(versions)" "2, 3"
check "for a program that splits it" grep -q '"version": *3' web/config/routes.json
check "and nginx" grep -q 'sluice_digits' web/config/nginx.conf
sl rollback digits@production --to 1
ok "a rollback"
is "loads it alone" "$(versions)" 1
check "by the very same text" cmp one web/models/digits/config.pbtxt
sl status
ok "status"
sl target check
ok "nothing differs"

# drift
echo 'name: "digits"' >other && mv other web/models/digits/config.pbtxt
sl target check --repair
ok "a config that somebody wrote is mended"
check "it is ours again" cmp one web/models/digits/config.pbtxt
rm -f web/models/digits/1/model.savedmodel/saved_model.pb
sl target check web --repair
ok "so is a version"
sl fsck
ok "fsck"
mkdir web/models/mine
sl target check
fails "a directory that Triton would take for a model is told" 1 "1 difference"
prints "by name" "foreign models/mine"
rmdir web/models/mine

# names
sl push "$digits/v1" "two words"
sl promote "two words@1" --to production
fails "a name that Triton cannot have for a directory" 3 "Triton wants a directory of the model's own name.*import --as"
check "nothing of it is there" test ! -e "web/models/two%20words"
sl push "$digits/v1" models
sl promote models@1 --to production
fails "nor that of the repository" 3 "models/ is the repository"
sl promote models@1 --to staging
ok "to an alias without such a target"
sl target add other other --alias staging --layout triton
fails "which then cannot be added" 3 "models/ is the repository"

# deleting
sl promote digits@3 --to production --again
sl promote digits@1 --to production --again
sl promote digits@2 --to production --again
sl delete digits@3 --days 0 --reason gone
ok "delete what nobody serves"
sl gc --yes
ok "gc"
check "its directory goes, whole" test ! -e web/models/digits/3

mkdir -p hand && cp -r "$digits/v1" hand/1
sl target adopt hand --model half --layout triton
fails "a tree made by hand cannot have this layout" 1 "adopt the tree with another layout"
sl audit verify
ok "audit verify"
finish
