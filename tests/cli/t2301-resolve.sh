#!/bin/sh
# resolve: what a reference means, for people and as JSON, and that it is a recorded read.
. "$(dirname "$0")/lib.sh"

sl init
sl push "$digits/v1" digits
sl push "$digits/v2" digits
sl target add web "$scratch/web" --alias production
sl promote digits@1 --to production
digest=$(sluice list digits --json | sed -n 's/.*"digest": "\(sha256:[0-9a-f]*\)".*/\1/p' | tail -n 1)

sl resolve digits@1
ok "a version by number"
prints "has number, digest and state" "^digits@1  $digest  ready$"
sl resolve "$digest" --json
prints "a digest is that version" '"number": 1'
sl resolve digits
prints "a bare name is the newest version" "^digits@2  "
sl resolve models:/digits@production
ok "MLflow's form"
prints "an alias says what it is" "^digits@production is digits@1  $digest  ready$"
prints "and its release" "^release 1: 1, since [0-9T:+-]*$"

sl weights digits@production 1=90% 2=10%
sl resolve digits@production
prints "shares of the traffic" "^release 2: 1=90% 2=10%, since"
sl resolve digits@production --json
prints "as JSON: the release" '"release": 2'
prints "and each weight" '"weight": 1000'

sl resolve digits@9
fails "a number that is not there" 7 "digits has no version 9"
sl resolve digits@staging
fails "an alias that is not there" 7 "digits has no alias staging; it has production"
sl resolve nothing
fails "a model that is not there" 7 "there is no model nothing"
sl resolve 'digits@'
fails "what is no reference" 1 "digits@"
sl resolve
fails "nothing" 2 "resolve needs ref"

sl audit log --verb resolve
prints "each is in the log, by the name that was asked for" "resolve +digits@production +sha256:[0-9a-f]* +ok"
prints "also one that failed" "resolve +digits@staging .* failed"
finish
