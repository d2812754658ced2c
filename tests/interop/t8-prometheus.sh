#!/bin/sh
# Against Prometheus (Debian: prometheus, which has promtool): it takes /metrics as they are, a
# real one scrapes them, and what alerts and dashboard ask for is served.
. "$(dirname "$0")/../cli/lib.sh"
if ! command -v promtool >/dev/null || ! command -v curl >/dev/null; then
    skip "metrics for Prometheus" "prometheus or curl is not installed"
    finish
    exit
fi

sl init
sl push "$digits/v1" 'fraud "a\b"'
sl push "$digits/v1" digits
sl push "$digits/v2" digits
sl target add web "$scratch/web" --alias production
sl promote digits@1 --to production
sl promote digits@2 --to production
sl freeze digits@production --reason holidays
printf '#!/bin/sh\nexit "$(cat hook-says)"\n' >store/hooks/pre-promote
chmod 700 store/hooks/pre-promote
echo 0 >store/hook-says
sl target add tfs "$scratch/tfs" --alias staging --layout tfserving --status_url http://127.0.0.1:9
sl promote digits@1 --to staging
sl gc
serve serve.log --listen 127.0.0.1:0 --socket "$scratch/sock" --metrics_open
address=${at#http://}
here() { curl -sS --unix-socket "$scratch/sock" "$@"; }
here -o /dev/null "http://x/api/v1/resolve?ref=digits@production"
here -o /dev/null "http://x/api/v1/resolve?ref=digits@production"
here -o /dev/null "http://x/api/v1/resolve?ref=digits@9"
call() { here -o /dev/null -H 'Content-Type: application/json' "$@"; }
call -d '{"ref": "digits@2", "to": "staging"}' http://x/api/v1/promote
call -d '{"ref": "digits@1", "to": "production"}' http://x/api/v1/promote
echo 3 >store/hook-says
call -d '{"ref": "digits@1", "to": "staging"}' http://x/api/v1/promote
# look-ups are written after a moment; who asked before may not have hung up yet
has_settled() {
    here http://x/metrics >metrics && grep -q '^sluice_lookups_recorded_total 3$' metrics &&
        grep -q '^sluice_connections{kind="unix"} 1$' metrics
}
await 60 has_settled
check "promtool finds nothing" promtool check metrics <metrics
metric() { # name and labels, value
    grep -qxF -- "$1 $2" metrics
    result "$1 is $2" $? "$(grep -F "${1%%\{*}" metrics)"
}
metric 'sluice_requests_total{operation="resolve",status="2xx"}' 2
metric 'sluice_requests_total{operation="resolve",status="4xx"}' 1
metric 'sluice_request_duration_seconds_count{operation="promote"}' 3
metric 'sluice_model_requests_total{model="digits",version="2",status="2xx"}' 3
metric 'sluice_lookups_total{from="memory"}' 1
metric 'sluice_lookups_recorded_total' 3
metric 'sluice_store_models' 2
metric 'sluice_store_versions{state="ready"}' 3
metric 'sluice_release_intended{model="digits",alias="production"}' 2
metric 'sluice_release_observed{model="digits",alias="production"}' 2
metric 'sluice_alias_frozen{model="digits",alias="production"}' 1
metric 'sluice_target_release_intended{target="tfs",model="digits",alias="staging"}' 2
metric 'sluice_target_release_observed{target="tfs",model="digits",alias="staging"}' 0
metric 'sluice_connections{kind="unix"}' 1
metric 'sluice_gates_total{gate="freeze",result="refused"}' 1
metric 'sluice_hook_runs_total{hook="pre-promote",result="passed"}' 1
metric 'sluice_hook_runs_total{hook="pre-promote",result="refused"}' 1
check "how long hooks took" grep -qE '^sluice_hook_seconds_total\{hook="pre-promote"\} 0\.0*[1-9]' metrics
check "gc ran" grep -qE '^sluice_gc_last_run_timestamp_seconds 1[0-9]{9}' metrics
check "events are counted" grep -q '^sluice_events_total{verb="promote",outcome="refused"} 2$' metrics

# ---- who may read them ----
serve closed.log --listen 127.0.0.1:0
is "strangers are told nothing" "$(curl -s -o closed -w '%{http_code}' "$at/metrics")" 401
check "not even a name" sh -c '! grep -q digits closed'

# ---- alerts and dashboard ----
etc=$top/etc/prometheus
check "promtool takes the rules" promtool check rules "$etc/sluice.rules.yml"
check "promtool takes the example of a config" promtool check config --syntax-only "$etc/prometheus.yml"
check "the alerts fire when they should" promtool test rules "$etc/sluice.rules.test.yml" "$etc/sluice.rules.days.test.yml"
check "the dashboard is JSON" python3 -m json.tool "$top/etc/grafana/sluice.json" /dev/null
sed -n 's/^METRIC([A-Z_]*, "\([a-z_]*\)", \([A-Z]*\),.*/\1 \2/p' "$top/server/metrics.def" |
    awk '{ print $1 } $2 == "HISTOGRAM" { print $1 "_bucket"; print $1 "_sum"; print $1 "_count" }' | sort >known
grep -ohE '\b(sluice|process)_[a-z_]+' "$etc/sluice.rules.yml" "$top/etc/grafana/sluice.json" | sort -u >used
is "they ask for metrics that there are" "$(comm -23 used known)" ""
sed -n 's/^\([a-z_]*\)[{ ].*/\1/p' metrics | sort -u >served
is "and that are served" "$(comm -23 used served)" ""

# ---- a real one ----
mkdir tsdb
printf '%s\n' 'global: {scrape_interval: 1s}' 'scrape_configs:' '  - job_name: sluice' '    static_configs:' \
    "      - targets: [\"$address\"]" >prometheus.yml
port=$(free_port)
prometheus --config.file=prometheus.yml --storage.tsdb.path="$scratch/tsdb" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn >prometheus.log 2>&1 &
servers="$servers $!"
query() {
    curl -sf "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1"
}
has() { query "$1" | grep -q "\"$2\"\]"; }
check "it scrapes" await 120 has 'up{job="sluice"}' 1
check "and knows what is live" await 120 has 'sluice_release_intended{model="digits",alias="production"}' 2
check "and quantiles" await 120 has 'histogram_quantile(0.99, sum by (le) (sluice_request_duration_seconds_bucket{operation="resolve"})) < bool 60' 1
finish
