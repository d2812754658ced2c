#!/bin/sh
# Backends beside the embedded one: any program (exec:), a TF Serving (http://). The
# server here speaks the column form of its REST API and answers x/2 + 2 (or + $1).
. "$(dirname "$0")/lib.sh"

half=$data/half_plus_two_tf2
cat >program <<'END'
#!/bin/sh
# about DIR TAGS | run DIR TAGS SIGNATURE IN OUT
[ "$1" = about ] && echo '{"name": "mine", "version": "7", "device": "gpu:0"}' && exit 0
[ -e away ] && echo "the card is gone" && exit 75
[ -e unable ] && echo "no kernel for FooOp" && exit 3
dir=$(mktemp -d)
cp "$5" "$dir/in.npz"
echo '{"golden": 1, "cases": [{"name": "c", "signature": "'"$4"'", "inputs": "in.npz"}]}' >"$dir/golden.json"
"$SLUICE" run --dir "${OTHER:-$2}" --golden "$dir" --outdir "$dir/out" >"$dir/log" 2>&1 || { tail -n 1 "$dir/log"; rm -rf "$dir"; exit 1; }
mv "$dir/out/c.npz" "$6"
rm -rf "$dir"
END
chmod +x program
SLUICE=$SLUICE_BIN/sluice
export SLUICE
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend "exec:$PWD/program" --json
ok "a program that takes and gives npz"
prints "is named with its version" '"version": *"7"'
prints "and device" '"device": *"gpu:0"'
sl init
sl push "$digits/v1" digits --golden "$digits/v1-golden"
sl validate digits@1 --backend "exec:$PWD/program" --json
ok "of a stored version, too"
sl replay digits@1
ok "and asked again by replay"
sl verdict show digits@1
prints "the verdict says who it was" 'on mine 7'
OTHER=$digits/v2
export OTHER
sl replay digits@1
fails "which answers otherwise now" 1 "difference"
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend "exec:$PWD/program"
fails "its answers are compared by us" 1 "failed"
unset OTHER
touch unable
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend "exec:$PWD/program"
fails "what it cannot run is unsupported, never passed" 1 "cannot run"
prints "and why" 'no kernel for FooOp'
rm unable
touch away
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend "exec:$PWD/program"
fails "a program that could not look gives no verdict, and may be asked again" 75 "the card is gone"
rm away
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend exec:true
fails "a program that says nothing of itself" 1 "cannot run"
prints "is told what it must print" "'true about' must print"
printf '#!/bin/sh\necho "{}"\n' >idle
chmod +x idle
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend "exec:$PWD/idle"
fails "one that ends well without an answer has failed" 1 "golden set failed"
prints "and is told so" 'idle ended well, but wrote no OUT.npz'
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend 'exec: '
fails "exec: without a program is wrong usage" 2 "none of native"
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend "exec:$PWD/nothing"
fails "no such program" 7 "nothing"
sl validate --dir "$digits/v1" --golden "$digits/v1-golden" --backend cuda
fails "no such backend" 2 "exec:CMD"

cat >serving.py <<'END'
import http.server, json, sys
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def say(self, status, doc):
        body = json.dumps(doc).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/v1/models/unknown":
            return self.say(404, {"error": "Could not find any versions of model unknown"})
        self.say(200, {"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]})
    def do_POST(self):
        doc = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/models/half:predict" or doc["signature_name"] != "serving_default":
            return self.say(404, {"error": "Servable not found for request: Latest(%s)" % self.path})
        x = doc["inputs"]["x"]
        half = lambda v: [half(e) for e in v] if isinstance(v, list) else v / 2 + float(sys.argv[1])
        self.say(200, {"outputs": half(x)})
s = http.server.HTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
END
mkdir set
echo '{"golden": 1, "cases": [{"name": "a", "inputs": {"x": [1, 2, 5]}, "expected": {"y": [2.5, 3, 4.5]}}]}' >set/golden.json
serving() { # what is added
    : >port
    python3 serving.py "$1" >port 2>/dev/null &
    server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -s port ] && break
        sleep 0.2
    done
    url=http://127.0.0.1:$(cat port)/v1/models
}
serving 2
sl validate --dir "$half/model" --golden set --backend "$url/half" --json
ok "a TF Serving"
prints "named in the verdict" '"TF Serving"'
prints "with the version that it serves" '"model_version": *"3"'
sl validate --dir "$half/model" --golden set --backend "$url/other"
fails "the server's error is told" 1 "Servable not found|failed"
sl validate --dir "$half/model" --golden set --backend "$url/unknown"
fails "a server without the model gives no verdict" 75 "HTTP 404: Could not find"
sl validate --dir "$half/model" --golden set --backend "$url/half" --baseline "$half/model"
fails "one server is no baseline of itself" 2 "both"
ends "$server" 2>/dev/null
serving 2.5
sl validate --dir "$half/model" --golden set --backend "$url/half"
fails "its answers are compared by us" 1 "failed"
prints "with the worst element" 'not '
ends "$server" 2>/dev/null
sl validate --dir "$half/model" --golden set --backend "$url/half"
fails "a server that is away gives no verdict, and may be asked again" 75 "onnect"
finish
