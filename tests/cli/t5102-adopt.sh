#!/bin/sh
# target adopt: trees that were made by hand.
. "$(dirname "$0")/lib.sh"

# tree DIR NAME=VERSION…: a hand-made tree of digits' versions
tree() {
    dir=$1
    mkdir -p "$dir"
    shift
    for pair; do
        cp -r "$digits/${pair#*=}" "$dir/${pair%=*}"
    done
}
model_of() { cksum <"$1/saved_model.pb"; }

sl init
tree models/digits v1=v1 v2=v2
ln -s v1 models/digits/latest
echo notes >models/digits/README
find models -printf '%p %i %l\n' | sort >before
sl target adopt models
ok "the plan"
prints "which directory becomes which version" "digits/v1 +digits@1 .*same name"
prints "what is left, and why" "left digits/README: not a version's name"
prints "what the alias will mean" "digits@production means 1, as latest shows"
prints "and that nothing was done" "nothing was changed: --yes"
find models -printf '%p %i %l\n' | sort >after
check "nothing was moved" cmp before after
sl list
prints "nor stored" "no versions yet"

# A reader by name all the while: it must find every file.
echo go >reading
(while [ -e reading ]; do
    for f in v1/saved_model.pb v2/saved_model.pb latest/saved_model.pb latest/variables/variables.index; do
        cat "models/digits/$f" >/dev/null 2>>missed || :
    done
    echo . >>rounds
done) &
reader=$!
while [ ! -s rounds ]; do sleep 0.05; done
exec 9<models/digits/v1
sl target adopt models --yes
ok "adopt"
rm reading
wait $reader
check "a reader never misses a file" test -e rounds -a ! -s missed
check "one that has the old directory open goes on" test -e /proc/$$/fd/9/saved_model.pb
exec 9<&-
is "live is what latest showed" "$(readlink models/digits/latest)" v1
is "the files are the store's" "$(stat -c %h models/digits/v2/saved_model.pb)" 2
check "foreign files stay" test -f models/digits/README
check "what was there is kept" diff -r models/.sluice/adopted/digits_v2 "$digits/v2"
sl status digits
prints "status" "target +models .*as it should be"
sl promote digits@2 --to production
is "and it is moved like any target" "$(readlink models/digits/latest)" v2
sl push "$digits/v3" digits
prints "numbers go on from there" "digits@3"
sl target adopt models
fails "a target already" 3 "target already: models"

# One model's versions directly in the directory, TFX's numbers, no latest.
tree tfx 1700000001=v1 1700000100=v2
sl target adopt tfx
fails "whose versions" 2 "--model NAME"
sl target adopt tfx --model tfx --alias staging --yes
ok "adopt a flat tree"
prints "by its names" "shows staging as tfserving"
is "the greatest number is live" "$(readlink tfx/tfx/latest)" 1700000100
is "the old names are links" "$(readlink tfx/1700000001) $(readlink tfx/latest)" "tfx/1700000001 tfx/latest"
is "to the same bytes" "$(model_of tfx/1700000001)" "$(model_of "$digits/v1")"
check "with a config" grep -q 'versions: 1700000100' tfx/config/models.config
sl list tfx
prints "the numbers are kept" "tfx@1700000001 "

# Several models; another layout than the names.
tree many/a 1=v1 2=v2
tree many/b 7=v3
ln -s 1 many/a/latest
mkdir many/empty
sl target adopt many --layout plain --alias dev --name lots --yes
ok "a directory of models"
prints "what has no versions is left" "left empty: no versions in it"
is "each is a model" "$(readlink many/a/latest) $(readlink many/b/latest)" "v1 v7"
is "old names go on" "$(readlink many/a/2) $(model_of many/a/2)" "v2 $(model_of "$digits/v2")"
sl target adopt many --model a
fails "all of it or nothing" 2 "leave --model out"

# bad NAME STATUS TEXT: adopt of the tree in bad/ is refused, and changes nothing
bad() {
    find bad -printf '%p %i %l\n' | sort >before
    sl target adopt bad --alias dev2 --yes
    good=0
    [ "$status" -eq "$2" ] && printf '%s\n%s\n' "$out" "$err" | grep -qE -- "$3" || good=1
    find bad -printf '%p %i %l\n' | sort | cmp -s before - || good=1
    result "$1" $good "status $status
$out
$err"
    chmod -R u+w bad
    rm -rf bad
}
tree bad/m v1=v1 && ln -s v9 bad/m/latest
bad "latest that points nowhere" 3 "IN THE WAY m/latest: a link that points nowhere"
tree bad/m v1=v1 latest=v1
bad "latest is a directory" 3 "IN THE WAY m/latest: a directory, not a link"
tree bad/m v1=v1 && tree outside x=v2 && ln -s "$scratch/outside/x" bad/m/latest
bad "latest out of the tree" 3 "m/latest: a link to .*outside/x"
tree bad/m v1=v1 && ln -s "$scratch/outside/x" bad/m/v2
bad "a version out of the tree" 3 "m/v2: a link out of the tree"
tree bad/m v2=v1 2=v2
bad "two of one number" 3 "(v2|2) has this number too"
tree bad/m v1=v1 && mkdir bad/m/v2
bad "a directory that is no model" 3 "IN THE WAY m/v2: .*does not exist"
tree bad/m v1=v1 v2=v1
bad "two with the same bytes" 3 "m/v2: the bytes of m/v1"
tree bad/m v01=v1
bad "nothing but a leading zero" 1 "leading zero"
tree bad/m v1=v1 && mkdir bad/m/v3 && echo >bad/m/v3/x && ln -s v3 bad/m/latest
bad "latest shows what is no model" 3 "latest shows it"
mkdir -p bad/x/y
bad "no versions at all" 1 "holds no versions"
tree bad/m 1=v1 && mkdir bad/config
bad "a name that the target needs" 3 "IN THE WAY config"
sl push "$digits/v3" m --number 5
tree bad/m v1=v1
bad "a number below those that were given" 3 "m/v1: .*5"
tree bad/tfx 1700000001=v1
sl target adopt bad --model tfx --alias staging --yes
fails "the alias means something else" 3 "tfx@staging means 1700000100, and the tree shows 1700000001"
rm -rf bad
tree zeros/z v1=v1 v02=v2
sl target adopt zeros --alias dev3 --yes
ok "a leading zero beside good names"
prints "is left, and said" "left z/v02: a leading zero"
sl target adopt ./absent --model x
fails "no such directory" 7 "absent"
sl target adopt "$SLUICE_STORE"
check "the store itself is none" test "$status" -ne 0

sl fsck
ok "fsck"
sl audit verify
ok "audit verify"
finish
