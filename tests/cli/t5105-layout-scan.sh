#!/bin/sh
# The layout tfserving-scan: a server without a config file, which serves the highest number
# that it sees. What must not be seen is parked under a name with a dot.
. "$(dirname "$0")/lib.sh"
[ -e "$top/tests/cli/tfs.sh" ] && . "$top/tests/cli/tfs.sh"

seen() { ls web/digits | grep -v latest | sort | paste -sd ' ' -; }

sl init
sl target add web web --alias production --layout tfserving-scan
ok "a target"
for v in 1 2 3; do sl push "$digits/v$v" digits; done
sl promote digits@1 --to production
sl promote digits@3 --to production --dry-run
ok "a dry run"
prints "says what would be made" "new +digits/\.3"
prints "and which name would change" "name +digits/3: \.3 -> 3"
is "and changes nothing" "$(seen)" 1
sl promote digits@3 --to production
ok "up: a higher number"
is "what was lower stays in sight" "$(seen)" "1 3"
is "people have their link" "$(readlink web/digits/latest)" 3
sl status
ok "status"
sl promote digits@2 --to production
ok "to a lower number"
is "parks the higher one, in a tree that nobody copies" "$(ls -A web/digits | sort | paste -sd ' ' -)" ".3 1 2 latest"
sl rollback digits@production
ok "a rollback upwards"
is "shows it again" "$(seen)" "1 2 3"
sl promote digits@1 --to production --again
ok "down by two"
is "parks both" "$(seen)" 1
sl target check
ok "nothing differs"
sl weights digits@production 1=50% 2=50%
fails "two versions cannot share the traffic" 3 "its server serves one version, the highest: .*layout tfserving"
sl target add second second --alias production --layout tfserving
ok "but a target with a config file beside it may be there"
sl weights digits@production 1=50% 2=50%
fails "for as long as all can show it" 3 "target web .layout tfserving-scan. cannot show it"

# drift
mv web/digits/.2 web/digits/2
sl status
prints "status sees what is shown and must not be" "digits/2 is 2, not .2"
sl target check web
fails "so does the check" 1 "1 difference"
sl target check web --repair
ok "which parks it"
is "again" "$(seen)" 1
mkdir web/digits/0099
sl promote digits@2 --to production --again
fails "a number of somebody else's would win" 3 "digits/0099 is not of this store"
rmdir web/digits/0099
sl promote digits@2 --to production --again
ok "without it the release goes on"

# a parked version can be deleted
sl promote digits@1 --to production
sl push "$data/half_plus_two_tf2/model" digits
sl promote digits@4 --to production
sl promote digits@1 --to production --again
sl promote digits@2 --to production --again
sl delete digits@4 --days 0
ok "delete what is parked"
sl gc --yes
ok "gc"
is "its directory goes" "$(ls -A web/digits | grep 4)" ""
sl target check
ok "nothing differs then"

# adopting a tree that such a server reads
mkdir -p hand/half && cp -r "$data/half_plus_two_tf2/model" hand/half/7 && cp -r "$digits/v1" hand/half/9
ln -s 7 hand/half/latest
sl target adopt hand --layout tfserving-scan --alias staging
fails "the link says one thing, the server does another" 3 "1 name stands in the way"
prints "and what to do" "half/latest: it shows 7, and .*serves the highest, 9: let the link say"
ln -sfn 9 hand/half/latest
sl target adopt hand --layout tfserving-scan --alias staging --yes
ok "when both say the same it is adopted"
is "as it was" "$(ls hand/half | sort | paste -sd ' ' -)" "7 9 latest"
sl promote half@7 --to staging
ok "and goes down"
is "by parking" "$(ls -A hand/half | sort | paste -sd ' ' -)" ".9 7 latest"

mkdir -p named/three && cp -r "$digits/v2" named/three/v3
sl target adopt named --layout tfserving-scan --alias named
fails "other names cannot be links to what may be parked" 3 "1 name stands in the way"
prints "and what to do" "three/v3: it must be three/3, .*rename it"

# against the model of the server
if [ -z "${tools:-}" ] || ! [ -x "$tools/tfs-model" ]; then
    skip "a server that scans serves what was released" "no tests/tools/tfs-model"
else
    rm -rf store web second
    digits_live tfserving-scan
    for v in 2 3; do sl push "$digits/v$v" digits; done
    tfs_start --model_name=digits --model_base_path="$scratch/web/digits" --load_retry_interval_micros=50000
    for to in 2 3 1 3 2 1 2 3 1; do
        sl promote digits@$to --to production --again
        tfs_wait digits $to AVAILABLE
        tfs_until_asked digits $to
        is "the server serves $to" "$(tfs_asked digits)" $to
    done
    for count in torn reused refused missing unserved; do
        is "nothing was $count" "$(tfs_count $count)" 0
    done
    # faster than it loads: what is parked while it is being loaded fails to load, is tried again, and that is all
    i=0
    while [ $i -lt 40 ]; do
        i=$((i + 1))
        sl promote digits@$((i % 3 + 1)) --to production --again
    done
    tfs_until_asked digits 2
    is "after 40 releases in a row it serves the last" "$(tfs_asked digits)" 2
    is "and always served one" "$(tfs_count unserved) $(tfs_count reused) $(tfs_count refused)" "0 0 0"
    tfs_stop
fi
finish
