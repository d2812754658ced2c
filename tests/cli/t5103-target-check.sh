#!/bin/sh
# target check: what a target holds against what it should.
. "$(dirname "$0")/lib.sh"

sl init
sl target check
ok "no targets"
for layout in plain tfserving tfserving-scan; do
    rm -rf store web
    digits_live $layout
    sl push "$digits/v2" digits
    sl promote digits@2 --to production
    one=$(ls web/digits | grep 1) two=$(ls web/digits | grep 2)
    sl target check
    ok "$layout: nothing differs"
    prints "$layout: and says so" "target web .*as it should be"

    # drift KIND TEXT: the check finds it, twice; the repair mends it, and then all is well
    drift() {
        sl target check web
        [ "$status" -eq 1 ] && printf '%s\n' "$out" | grep -qE -- "^  $1 .*$2"
        result "$layout: $1 is found: $2" $? "status $status
$out
$err"
        sl target check web --repair
        [ "$status" -eq 0 ] && printf '%s\n' "$out" | grep -qE -- "^  $1 .*\(mended\)"
        result "$layout: and mended" $? "status $status
$out
$err"
        sl target check
        ok "$layout: then nothing differs"
    }
    ln -sfn "$one" web/digits/latest
    drift link "web/digits/latest|digits/latest: wanted $two; saw $one"
    rm web/digits/latest
    drift link "digits/latest: wanted $two; saw nothing"
    chmod 0777 "web/digits/$two/variables"
    drift mode "digits/$two/variables: wanted mode 0755; saw mode 0777"
    chmod 0644 "web/digits/$one/saved_model.pb"
    drift mode "digits/$one/saved_model.pb: wanted mode 0444; saw mode 0644"
    rm -f "web/digits/$two/saved_model.pb"
    drift missing "digits/$two/saved_model.pb: wanted sha256:[0-9a-f]{64}; saw absent"
    check "$layout: with the bytes that were pushed" cmp "web/digits/$two/saved_model.pb" "$digits/v2/saved_model.pb"
    rm -f "web/digits/$one/saved_model.pb" && echo other >"web/digits/$one/saved_model.pb" &&
        chmod 0444 "web/digits/$one/saved_model.pb"
    drift changed "digits/$one/saved_model.pb: .*6 bytes, not"
    rm -rf "web/digits/$two/variables"
    drift missing "digits/$two/variables/variables.index"
    chmod -R u+w "web/digits/$one" && rm -rf "web/digits/$one"
    drift missing "digits/\\.?$one: wanted a version directory; saw nothing"
    if [ $layout = tfserving ]; then
        sed -i 's/digits/didgits/' web/config/models.config
        drift config "models.config: wanted as rendered"
        check "the text is the release's" grep -q 'name: "digits"' web/config/models.config
        rm web/config
        drift link "config: wanted .sluice/releases/[0-9a-f]+; saw nothing"
    fi
    if [ "$(id -u)" -eq 0 ]; then
        chown 12345 "web/digits/$two"
        drift owner "digits/$two: wanted owner 0; saw owner 12345"
    fi

    mkdir web/mine && echo x >"web/digits/$two/extra" && mkdir web/digits/backup
    sl target check web --repair
    fails "$layout: what is foreign is not mended" 1 "3 differences could not be mended"
    prints "$layout: a directory" "foreign mine: wanted nothing of this name; saw a directory"
    prints "$layout: beside the versions" "foreign digits/backup: "
    prints "$layout: a file in a version" "foreign digits/$two/extra: .*a file that was not pushed"
    check "$layout: and left" test -e web/mine -a -e "web/digits/$two/extra"
    sl target check web --json
    prints "$layout: as JSON" '"kind": *"foreign"'
    rm -rf web/mine web/digits/backup "web/digits/$two/extra"
    sl target check
    ok "$layout: without it nothing differs"
done
mkdir keep && mv web/.sluice keep
sl target check --repair
fails "a target that was emptied" 1 "1 difference"
prints "says what to do" "bring it back"
mv keep/.sluice web
rm web/digits/latest && mkdir web/digits/latest
sl target check --repair
fails "what is no link is not replaced" 1 "1 difference"
prints "and why" "link digits/latest.*not a link that sluice made"
rmdir web/digits/latest
sl target check --repair
ok "until it is moved away"
sl target check nothere
fails "no such target" 7 "nothere"

# One of two targets is away: the other is not blamed, nor mended without the lock of both.
sl target add beside beside --alias production
mv beside away
sl target check --repair
fails "a target that is away" 1 "1 difference "
prints "is named, with the way out" "target .*/beside: .*the directory is gone, or its disk is not mounted: bring it back"
is "the other one is as it should be" "$(printf '%s\n' "$out" | grep -c 'target web .*as it should be')" 1
rm web/digits/latest
sl target check --repair web
prints "what differs there is told apart from what holds the repair" "link digits/latest: wanted .* saw nothing; not mended: target beside .*bring it back"
sl promote digits@1 --to production --again
sl status digits
prints "status does not promise a rollback then" "rollback .*CANNOT BE DONE NOW: target beside .*bring it back"
sl status digits --json
prints "in JSON too" '"held": "target beside'
sl rollback digits@production
fails "as the rollback itself says" 3 "target beside .*bring it back"
sl fsck
prints "fsck names a way out that there is" "beside.*way out: sluice target check --repair"
mv away beside
sl target check --repair
ok "back again, and mended"

# A tree that was adopted keeps its old names.
mkdir -p hand && cp -r "$digits/v1" hand/1
sl target adopt hand --model digits2 --layout plain --alias staging --yes
ok "adopt"
sl target check hand
ok "its old names are no drift"
sl fsck
ok "fsck"
sl audit verify
ok "audit verify"
finish
