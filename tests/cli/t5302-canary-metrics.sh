#!/bin/sh
# A canary by what servers publish: TF Serving's metrics, and Prometheus; both may lie.
. "$(dirname "$0")/lib.sh"

# Each scrape adds what the file `plan` says to the counters of each model; `mode` makes it
# misbehave.
cat >server.py <<'END'
import http.server, json, time, urllib.parse
EDGES = [10 * 1.8 ** k for k in range(33)]
total = {}
def scrape():
    for name, p in json.load(open("plan")).items():
        t = total.setdefault(name, {"n": 0, "bad": 0, "slow": 0})
        if p.get("restart"): t.update(n=0, bad=0, slow=0)
        t["n"] += p["n"]; t["bad"] += p["bad"]; t["slow"] += p["slow"]
def buckets(t):
    return [("%g" % e, t["n"] - t["slow"] if e > 20000 else 0) if e < 90000 else ("%g" % e, t["n"]) for e in EDGES] + [("+Inf", t["n"])]
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    def log_message(self, *a): pass
    def do_GET(self):
        mode = open("mode").read().strip()
        url = urllib.parse.urlparse(self.path)
        if mode == "hang": time.sleep(30)
        if mode == "500": return self.say(500, "no")
        if mode == "html": return self.say(200, "<html>hello</html>")
        if url.path == "/monitoring/prometheus/metrics":
            scrape()
            out = "# TYPE :tensorflow:serving:request_count counter\n"
            for name, t in total.items():
                out += ':tensorflow:serving:request_count{model_name="%s",status="OK"} %d\n' % (name, t["n"] - t["bad"])
                out += ':tensorflow:serving:request_count{model_name="%s",status="INTERNAL"} %d\n' % (name, t["bad"])
                for le, n in buckets(t):
                    out += ':tensorflow:serving:request_latency_bucket{model_name="%s",API="predict",entrypoint="REST",le="%s"} %d\n' % (name, le, n)
            return self.say(200, out)
        if url.path == "/prom/api/v1/query":
            query = urllib.parse.parse_qs(url.query)["query"][0]
            open("queries", "a").write(query + "\n")
            if mode == "error": return self.say(400, '{"status":"error","errorType":"bad_data","error":"parse error at char 3"}')
            if mode == "nan": return self.vector([({}, "NaN")])
            if mode == "matrix": return self.say(200, '{"status":"success","data":{"resultType":"matrix","result":[]}}')
            if mode == "many": return self.vector([({"a": "1"}, "1"), ({"a": "2"}, "2")])
            if mode == "text": return self.vector([({}, "lots")])
            if mode == "empty": return self.vector([])
            name = "digits-new" if "digits-new" in query or '"2"' in query else "digits"
            if "drift" in query: return self.say(200, '{"status":"success","data":{"resultType":"scalar","result":[1,"0.7"]}}')
            if "count" in query and "status" not in query and name == "digits": scrape()
            t = total.setdefault(name, {"n": 0, "bad": 0, "slow": 0})
            if "bucket" in query: return self.vector([({"le": le}, str(n)) for le, n in buckets(t)])
            return self.vector([({}, str(t["bad"] if "status" in query else t["n"]))])
        self.say(404, "nothing here")
    def vector(self, list):
        self.say(200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": [{"metric": m, "value": [1, v]} for m, v in list]}}))
    def say(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())
class S(http.server.ThreadingHTTPServer):
    daemon_threads = True
s = S(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
END
echo >mode
plan() { # errors and slow ones of the canary, at each scrape
    echo "{\"digits\": {\"n\": 2000, \"bad\": 20, \"slow\": 40}, \"digits-new\": {\"n\": 200, \"bad\": $1, \"slow\": $2}}" >plan
}
plan 2 4
python3 server.py >port 2>/dev/null &
servers="$servers $!"
await 60 test -s port
url=http://127.0.0.1:$(cat port)
watch() { sl canary digits@production --interval 0 "$@"; }
tfs() { watch --source "tfserving:$url" "$@"; }
prom() { watch --source "prometheus:$url/prom/" "$@"; }
shared() { sl weights digits@production 1=90% 2=10% --again; }

digits_live tfserving
sl push "$digits/v2" digits --golden "$digits/v2-golden"
sl validate digits@2
shared

# ---- TF Serving ----
tfs --for 0
fails "its metrics have no version: a second model is wanted" 2 'serve the canary there as a model of its own, and say --canary-name'
tfs --canary-name digits-new --for 2s
ok "as good"
prints "the requests between two looks count" '^2 +errors<=\+0.1% +passes'
tfs --canary-name fraud --for 1s
fails "a model that it does not know" 8 'had 0 of 100'
prints "with those that there are" 'no requests of a model "fraud" there; there are "digits" "digits-new"'
plan 40 4
tfs --canary-name digits-new --for 120s
fails "errors" 1 'version 2: errors [0-9.]+% beside .*; rolled back'
shared
plan 2 60
tfs --canary-name digits-new --for 120s --metric 'p99_ms<=+0%'
fails "slow ones" 1 'version 2: p99_ms .*; rolled back'
shared
plan 2 4
echo '{"digits": {"n": 2000, "bad": 20, "slow": 40}, "digits-new": {"n": 200, "bad": 2, "slow": 4, "restart": true}}' >plan
tfs --canary-name digits-new --for 1s
fails "counters that go backwards count for nothing" 8 'had 0 of 100 requests'
plan 2 4
for m in 500 html hang; do
    echo $m >mode
    tfs --canary-name digits-new --for 120s --consecutive-errors 0
    fails "a server that misbehaves: $m" 8 'inconclusive: .*(status 500|line 1 is no metric|Timeout was reached|timed out after)'
done
echo >mode
sl canary digits@production --source tfserving:http://127.0.0.1:1 --canary-name digits-new --interval 0 --for 60s --consecutive-errors 2
fails "a server that is down" 8 '3 measurements in a row failed to be made'
sl canary digits@production --source tfserving:ftp://x --canary-name digits-new --interval 0 --consecutive-errors 0
fails "no address" 8 'ftp://x'

# ---- Prometheus ----
prom --canary-name digits-new --for 2s
ok "what it scraped of TF Serving"
check "names begin with a colon" grep -q '^sum(:tensorflow:serving:request_count{model_name="digits-new"})$' queries
plan 40 4
prom --canary-name digits-new --for 120s
fails "errors" 1 'version 2: errors .*; rolled back'
shared
plan 2 4
own() { prom --query 'requests=count{v="$version"}' --query 'errors=count{v="$version",status="5"}' "$@"; }
own --metric 'errors<=+0.5%' --for 2s
ok "queries of one's own"
check "with the version" grep -q '^count{v="2",status="5"}$' queries
own --metric 'p99_ms<=+5%'
fails "what no query tells" 2 'no --query tells it'
prom --query 'errors=x' --metric 'errors<=1%'
fails "requests are wanted" 2 'requests=… is wanted'
prom --query 'x' --metric 'errors<=1%'
fails "a query has a name" 2 'is not NAME=PROMQL'
own --query 'drift=drift($version)' --metric 'drift<=0.5' --for 60s
fails "a number with a limit" 1 'drift 0.7 \(drift<=0.5, failed 1 of 1 times, 0 allowed\)'
shared
own --query 'drift=drift($version)' --metric 'drift>=0.5' --for 1s
ok "from below, too"
for m in error nan matrix many text 500 html; do
    echo $m >mode
    own --metric 'errors<=+1%' --for 120s --consecutive-errors 0
    fails "an answer that is none: $m" 8 'inconclusive: .*(parse error at char 3|not a count|matrix|more than one series|has no value|status 500|answer)'
done
echo empty >mode
own --metric 'errors<=+1%' --for 1s
fails "no such series" 8 'had 0 of 100 requests'
prints "is said" 'Prometheus knows of no request of version'
finish
