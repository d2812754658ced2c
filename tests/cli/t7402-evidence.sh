#!/bin/sh
# Gates that look at verdicts: export sets, caps, a baseline, quality, budgets, what is no answer, who signed.
. "$(dirname "$0")/lib.sh"

policy() {
    printf '{"policy": 1, "require": [%s]}\n' "$1" >policy.json
    sl policy set production --file policy.json
}
bad() { # name, rule, message
    policy "$2"
    fails "$1" 1 "$3"
}
check_gate() { sl policy check "$1" --for production; }

sl init
sl target add web "$scratch/web" --alias production
for v in 1 2 3; do sl push "$digits/v$v" digits --golden "$digits/v$v-golden"; done
sl golden add digits "$digits/acceptance" --name quality
bad "an unknown tolerance" '{"acceptance": "*", "caps": {"rel": 1, "near": 2}}' 'no tolerance "near"'
bad "a word that is none of two" '{"acceptance": "*", "unsupported": "pass"}' '"refuse" or "allow"'
bad "a share above 1" '{"baseline": "production", "max_flips": 7}' 'share from 0 to 1'
bad "a budget of no kind" '{"budgets": ["speed=5"]}' 'kinds: load_ms'
bad "budgets are a list" '{"budgets": "p99_ms=5"}' '"budgets" must be a list'
bad "an option of another gate" '{"acceptance": "*", "max_flips": 0.1}' 'has no option "max_flips"'

# export sets and caps
policy '{"export": "passed", "caps": {"rel_max": 1e-4}}'
check_gate digits@1
fails "no verdict on the export set yet" 5 'export set export: wanted a passing verdict .*; saw no verdict yet; sluice validate digits@1'
sl validate digits@1
check_gate digits@1
ok "a passed one, with tolerances within the caps"
policy '{"export": "passed", "caps": {"rel_max": 1e-6}}'
check_gate digits@1
fails "tolerances beyond the caps" 5 'saw case .one.: output .*rel_max 1e-05.*rel_max 1e-06'
sl policy show production
prints "policy show" 'export passed \(caps \{"rel_max": *1e-06\}\)|export passed \(caps \{"rel_max":1e-0?6\}\)'
sl push "$digits/v1" other
policy '{"export": "passed"}'
sl policy check other@1 --for production
fails "no export set" 5 'saw no such set; push it with --golden'

# a baseline
policy '{"baseline": "production", "max_flips": 0.05, "optional": false}'
check_gate digits@1
fails "nothing is live to be beside" 5 'nothing is live on production; "optional": true'
policy '{"baseline": "production", "max_flips": 0.05, "optional": true}'
sl promote digits@1 --to production
ok "optional: the first version passes"
check_gate digits@1
ok "what is live is not beside itself"
sl validate digits@2
check_gate digits@2
fails "a verdict without a baseline is none" 5 'no verdict beside digits@1; sluice validate digits@2 --baseline digits@1'
sl validate digits@2 --baseline digits@1
sl validate digits@2
check_gate digits@2
ok "one beside what is live, though another came after"
prints "says what flipped" 'baseline production on quality +yes .*% flipped'
policy '{"baseline": "production", "max_flips": 0.001, "max_shift": 0}'
check_gate digits@2
fails "beyond its limits" 5 'at most 0.1 % flipped, means moved by at most 0'

# quality
policy '{"quality": "accuracy", "min": 0.9, "max_drop": 0.02}'
check_gate digits@2
ok "a metric within limits"
prints "and its value" 'quality accuracy on quality +yes +accuracy ≥ 0.9, worse by at most 0.02 than production +accuracy 0\.9'
policy '{"quality": "accuracy", "min": 0.9999}'
check_gate digits@2
fails "below" 5 'wanted accuracy ≥ 0.9999; saw accuracy 0.9'
policy '{"quality": "f1", "min": 0}'
check_gate digits@2
fails "a metric that the set has not" 5 'the set has no such metric'

# budgets
policy '{"budgets": ["size_mb=100", "peak_mb=+900%"]}'
check_gate digits@2
fails "nothing was measured" 5 'sluice validate digits@2 --budget size_mb=100 --budget peak_mb=\+900% --baseline digits@1'
sl validate digits@2 --budget size_mb=100 --baseline digits@1
check_gate digits@2
ok "measured beside what is live"
prints "with value and limit" 'size_mb 0[.0-9]+ ± 0, limit 100: kept; peak_mb'
policy '{"budgets": ["size_mb=0.0001"]}'
check_gate digits@2
fails "missed" 5 'limit 0.0001: missed'

# what is no answer
mkdir odd
cp "$data/unsupported_ops/golden.json" "$data/unsupported_ops/"*.npz odd
sl push "$data/unsupported_ops/model" odd --golden odd
sl validate odd@1
policy '{"export": "passed"}'
sl policy check odd@1 --for production
fails "unsupported is no pass" 5 'saw unsupported: .*never counts as passed'
policy '{"export": "passed", "unsupported": "allow"}'
sl policy check odd@1 --for production
ok "unless the policy"
prints "lets it through, which it says" 'export set export +yes .*\(the policy lets that through\)'

# who signed
policy '{"export": "passed"}'
sl validate digits@3
check_gate digits@3
ok "a verdict of this store"
if command -v python3 >/dev/null; then
    forge() {
        python3 - "$1" <<'P'
import sqlite3, sys
c = sqlite3.connect("store/catalogue.db")
for (t,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'verdict'").fetchall():
    c.execute("DROP TRIGGER " + t)
c.execute(sys.argv[1])
c.commit()
P
    }
    forge "UPDATE verdict SET outcome = 'failed'"
    check_gate digits@3
    fails "a changed row counts for nothing" 5 'a verdict that this store did not sign'
    forge "UPDATE verdict SET outcome = 'passed', report = replace(report, 'digits', 'digitz')"
    check_gate digits@3
    fails "nor a changed document" 5 'did not sign'
    forge "UPDATE verdict SET signature = x''"
    check_gate digits@3
    fails "nor one without a signature" 5 'before verdicts were signed'
fi
finish
