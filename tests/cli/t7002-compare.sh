#!/bin/sh
# Comparison: where answers part and how errors are spread, slices, a baseline's flips.
. "$(dirname "$0")/lib.sh"

sl validate --dir "$digits/v2" --golden "$digits/v1-golden"
fails "other weights, other scores" 1 "failed"
prints "how errors are spread" 'errors: [0-9]+ of [0-9]+ elements are the same'
prints "a line a decade" '> 1e-0[0-9] +[0-9]+ #+'
sl validate --dir "$digits/v2" --golden "$digits/v1-golden" --json
prints "the worst element's place" '"at"'
prints "and both values" '"got"'

sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --baseline "$digits/v2"
ok "beside another version, without limits"
prints "flips are counted" 'decisions flipped'
sl validate --dir "$digits/v3" --golden "$digits/acceptance" --baseline "$digits/v1" --max-flips 0.1
fails "beyond the limit" 1 "failed"
prints "says the share" 'digit: [0-9]+ of 500 decisions flipped, [0-9.]+ % > 10 %'
prints "and the classes" 'by class: [0-9]+ to [0-9]+ '
sl validate --dir "$digits/v3" --golden "$digits/acceptance" --max-flips 0.1
fails "a limit needs a baseline" 2 "need --baseline"
sl validate --dir "$digits/v3" --golden "$digits/acceptance" --baseline "$digits/v1" --max-flips 7
fails "a share is at most 1" 2 "from 0 to 1"

sl init
sl target add web "$scratch/web" --alias production
for v in 1 2; do sl push "$digits/v$v" digits --golden "$digits/v$v-golden"; done
sl validate digits@2 --baseline digits@production --max-flips 0.1
fails "a baseline that does not exist fails" 1 "failed"
prints "and is named" 'beside digits@production.*no such baseline'
sl validate digits@2 --baseline digits@production --max-flips 0.1 --baseline-optional
ok "unless told otherwise"
sl promote digits@1 --to production
ok "promote"
sl validate digits@2 --baseline digits@production --max-flips 0.5
ok "beside the live version"
prints "named as it was given" 'beside digits@production, 3 cases: ok'
sl replay digits@2
ok "replay sets it beside the same version"
sl verdict show digits@2
prints "each output is a check" 'beside digits@production: '
sl validate digits@2 --baseline digits@production --max-shift 0
fails "a shift beyond its limit" 1 "failed"
sl inspect digits@2
prints "the verdict is stored" 'failed'
sl verdict show digits@2
prints "which says that both answered" 'ok +beside digits@production +an answer of both to each case +both answered'
prints "and what moved" 'NO +beside digits@production: '
sl push "$digits/v1" other
sl validate digits@2 --baseline other@1
fails "a baseline is of the same model" 1 "another model"

cp -r "$digits/v1-golden" slices
sed 's/"cases"/"slices": [{"tag": "fr"}], "cases"/' "$digits/v1-golden/golden.json" >slices/golden.json
sl validate --dir "$digits/v1" --golden slices
fails "a slice without cases" 1 "no case has the tag 'fr'"
sed 's/"cases"/"slices": [{"tag": "fr", "optional": true}], "cases"/' "$digits/v1-golden/golden.json" >slices/golden.json
sl validate --dir "$digits/v1" --golden slices
ok "unless it is optional"
prints "and it is counted" 'slice fr: 0 of 0 cases failed'
finish
