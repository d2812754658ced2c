#!/bin/sh
# Golden sets, verdicts, policy, gate: v3 passes its own goldens and is wrong all the same.
. "$(dirname "$0")/lib.sh"

sl init
sl target add web "$scratch/web" --alias production
sl push "$digits/v1" digits --golden "$digits/v1-golden"
ok "push --golden"
sl push "$digits/v1" digits --golden "$digits/acceptance"
fails "an acceptance set does not come with a push" 1 "golden add"
sl golden add digits "$digits/v1-golden" --name own
fails "an export set is no exam" 1 "export set"
sl golden add digits "$digits/acceptance" --name digits-quality
ok "golden add"
sl golden list digits
prints "golden list" 'digits-quality +acceptance +sha256:'
sl policy set production --require-acceptance '*'
ok "policy set"
sl policy show production
prints "policy show" 'every acceptance set'

sl promote digits@1 --to production
fails "no verdict, no traffic" 5 "sluice validate digits@1"
is "nothing is live" "$(ls -d web/digits 2>/dev/null)" ""
sl weights digits@production 1=100%
fails "weights pass the same gate" 5 "sluice validate digits@1"
sl rollback digits@production --to 1
fails "so does rollback to what was never live" 5 "sluice validate digits@1"
sl validate digits@1
ok "validate"
prints "a verdict a set" 'passed +export .*3 of 3 cases'
prints "with the metric" 'accuracy 0\.962'
sl promote digits@1 --to production
ok "and then it is promoted"

for v in 2 3; do sl push "$digits/v$v" digits --golden "$digits/v$v-golden"; done
sl validate digits@2
prints "v2 is better" 'accuracy 0\.994'
sl promote digits@2 --to production
ok "v2 is promoted"
sl validate digits@3
fails "v3 fails the exam" 1 "failed"
prints "though its own goldens pass" 'passed +export'
prints "and the metric says why" 'accuracy 0\.102'
sl promote digits@3 --to production
fails "v3 gets no traffic" 5 "accuracy 0\.102"
sl weights digits@production 2=90% 3=10%
fails "not even a tenth" 5 "digits@3"
is "v2 stays" "$(readlink web/digits/latest)" v2
sl validate digits@1
fails "v1 passed, but it is now more than 0.01 worse than production" 1 "failed|digits"
sl rollback digits@production
ok "and rollback asks no gate"
is "back to v1" "$(readlink web/digits/latest)" v1
sl inspect digits@3
prints "inspect shows the verdicts" 'digits-quality +acceptance +failed'
sl audit log digits
prints "the refusal is in the log" 'promote +digits@3 .*refused'

sl push "$data/unsupported_ops/model" gifs --golden "$data/unsupported_ops"
sl validate gifs@1
fails "what the runtime cannot run is unsupported, never passed" 1 "cannot run|unsupported"
prints "every op is named" 'DrawBoundingBoxesV2'
sl validate --dir "$digits/v3" --golden "$digits/v3-golden"
ok "a directory in no store"
sl validate --dir "$digits/v1" --golden "$digits/v3-golden"
fails "the wrong answers" 1 "failed"
prints "the worst element, and both values" 'digit: 1 of 1 differ, first at \[0\]: 7, not 1'
mkdir bad
echo '{"golden": 1, "kind": "export", "cases": [{"name": "x", "inputs": "../../etc/x.npz"}]}' >bad/golden.json
sl validate --dir "$digits/v1" --golden bad
fails "arrays lie beside golden.json" 1 "golden.json"
echo '{"golden": 1, ' >bad/golden.json
sl validate --dir "$digits/v1" --golden bad
fails "JSON that ends early" 1 "golden.json"
sl grant nobody push digits
ok "grant"
sl grant list
prints "grant list" 'nobody +push +digits'
sl revoke nobody push digits
prints "revoke" 'nobody no longer has push on digits'
sl doctor
ok "doctor"
finish
