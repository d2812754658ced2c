#!/bin/sh
# releases: the history of an alias, and what differs between two of them.
. "$(dirname "$0")/lib.sh"

sl init
digits_live plain
sl push "$digits/v2" digits
sl push "$digits/v3" digits
sl weights digits@production 1=90% 2=10% --mirror 3=5% --reason trial
sl promote digits@2 --to production
sl releases digits@production
ok "they are listed"
is "newest first" "$(printf '%s\n' "$out" | sed 1d | awk '{print $1 $2}' | tr '\n' ' ')" \
    "3promote 2weights 1promote "
prints "with shares, and why" '^2 +weights +1=90% 2=10% \(mirrored to 3: 5%\) .*past +trial'
sl releases digits@production --limit 1 --json
is "as JSON" "$(printf '%s' "$out" | python3 -c 'import json, sys
r, = json.load(sys.stdin)["releases"]
print(r["release"], r["state"], r["live"], r["kept"], r["replaces"])')" "3 live [{'version': 2, 'weight': 10000}] [1] 2"
sl releases digits@production --from 1 --to 2
prints "two are compared: a share that shrinks" 'version 1: 100% -> 90%'
prints "one that comes" 'version 2: not there -> 10%'
prints "copies" 'version 3: not there -> copies of 5%'
sl releases digits@production --from 2
prints "with what is live" 'release 2 -> 3'
prints "what is kept" 'version 1: 90% -> kept loaded'
prints "what goes" 'version 3: copies of 5% -> not there'
prints "and what leads" 'latest: 1 -> 2'
sl releases digits@production --from 3
prints "nothing changed" 'the same versions'
sl releases digits@production --from 9
fails "a release that is not" 7 "no release 9 on digits@production"
sl releases digits@production --to 2
fails "half a question" 2 "goes with --from"
sl releases digits@staging
prints "an alias without any" 'never had a release'
finish
