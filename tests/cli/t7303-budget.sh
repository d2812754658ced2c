#!/bin/sh
# Budgets: kept, missed, relative to what is live, and inside the noise.
. "$(dirname "$0")/lib.sh"

sl init
sl target add web "$scratch/web" --alias production
sl push "$digits/v1" digits --golden "$digits/v1-golden"
sl validate digits@1 --budget p99_ms=60000 --budget size_mb=1000 --budget throughput=0.001 --budget peak_mb=8000
ok "wide budgets are kept"
sl verdict show digits@1 --json
printf '%s\n' "$out" >v.json
check "measured, with noise, under times alone" python3 - <<'P'
import json
d = json.load(open("v.json"))["document"]
m = d["times"]["measured"]
assert set(m) == {"load_ms", "first_ms", "p50_ms", "p99_ms", "throughput", "peak_mb", "size_mb"}
assert m["first_ms"]["value"] > m["load_ms"]["value"] > 0 and m["p99_ms"]["value"] >= m["p50_ms"]["value"] > 0
assert 1 < m["peak_mb"]["value"] < 4000 and m["size_mb"]["noise"] == 0 < m["size_mb"]["value"]
assert [c["saw"] for c in d["checks"] if c["id"].startswith("budget ")] == ["kept"] * 4
P
sl replay digits@1
ok "and replayed with the same budgets"
sl validate digits@1 --budget size_mb=0.0001
fails "a missed one" 1 "failed"
prints "is told with its value" 'budget size_mb=0.0001: missed \(0.0[0-9]+ ± 0\)'
sl verdict show digits@1
prints "is named" '^NO +budget size_mb=0.0001 +at most 0.0001 MB +missed \(0.0[0-9]+ ± 0\)'
sl verdict export digits@1 --format markdown
prints "with its value in exports, too" 'at most 0.0001 MB \| missed: 0.0[0-9]+ ± 0 \|'
sl validate digits@1 --budget load_ms=+10%
fails "a share without a baseline" 1 "failed"
sl verdict show digits@1
prints "says so" 'no baseline to measure beside'
sl promote digits@1 --to production
sl push "$digits/v2" digits --golden "$digits/v2-golden"
sl validate digits@2 --budget size_mb=+900% --budget peak_mb=+900%
ok "beside what is live"
prints "whose value is told" 'budget size_mb=\+900%: kept \(.*; the baseline 0.0[0-9]+ ± 0\)'
sl verdict show digits@2 --json
prints "which is named" '"budget_baseline"'
prints "and was measured, too" '"measured_baseline"'

# Beside itself a model is as fast as the noise lets it look; seldom that is not so.
for try in 1 2 3; do
    sl validate digits@1 --budget throughput=-0%
    [ "${err#*inside the noise}" = "$err" ] || break
done
fails "as fast as itself: inside the noise" 1 "inside the noise"
sl verdict export digits@1 --format junit
prints "which JUnit calls an error" '<error message="the limit lies inside the noise: [0-9.e+]+ ± [0-9.e+]+; the baseline [0-9]'

sl validate digits@1 --budget speed=5
fails "no such kind" 1 "kinds: load_ms"
sl validate digits@1 --budget p99_ms=-5
fails "no such limit" 1 "limit above 0"
sl validate digits@1 --budget p99_ms=nan
fails "no number" 1 "limit above 0"
cp -r "$digits/v1-golden" golden
chmod -R u+w golden
python3 - <<'P'
import json
d = json.load(open("golden/golden.json"))
d["budgets"] = ["peak_mb=0.001"]
json.dump(d, open("golden/golden.json", "w"))
P
sl validate --dir "$digits/v1" --golden golden
fails "a set's own budgets count" 1 "failed"
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --budget size_mb=0.0001
fails "so do those asked for of a directory" 1 "failed"
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --budget size_mb=+900% --budget peak_mb=+900% --baseline "$digits/v2"
ok "beside another directory"
sl validate digits@2 --budget size_mb=+900% --baseline digits@2
ok "and beside any version"
sl verdict show digits@2 --json
prints "which is named" '"budget_baseline": *\{ *$|"budget_baseline": *\{"digest'
prints "by its number" '"number": *2'
finish
