#!/bin/sh
# doctor --server: what is wrong on the way to a service, each with its way out.
. "$(dirname "$0")/lib.sh"
for tool in openssl python3 curl; do
    command -v $tool >/dev/null || {
        skip "doctor --server" "no $tool"
        finish
        exit
    }
done
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
certificate() { # FILE DAYS
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$2" -keyout "$1.key" -out "$1.pem" \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost >/dev/null 2>&1
}
serve() { # FLAGS…, the last one is the socket
    sluice serve "$@" 2>>serve.err &
    servers="$servers $!"
    for i in $(seq 300); do
        for last in "$@"; do :; done
        [ -S "$last" ] && return
        sleep 0.1
    done
}
certificate good 90
certificate soon 5
port=$(free_port) late=$(free_port)
sl init
sl user add ci --service
sl grant ci read '*'
sluice token create ci --out token --expires 30d >/dev/null
sluice token create ci --out ending --expires 2d --scope 'read:*' >/dev/null
serve --listen "127.0.0.1:$port" --tls_cert good.pem --tls_key good.key --socket "$scratch/s"
serve --listen "127.0.0.1:$late" --tls_cert soon.pem --tls_key soon.key --socket "$scratch/l"

sl --server "unix:$scratch/s" doctor
ok "on the Unix socket"
prints "the way" "^ok +the way to the service: unix:"
prints "ready" "^ok +it is ready: HTTP 200, ready"
prints "clocks" "^ok +the two clocks: 0 s apart"
prints "versions" "^ok +versions: .* here, .* there"
prints "no token is needed" "^ok +the token: none is needed"
prints "what it says of itself: room on its disk" "^ok +there: room for new versions: .* free"
prints "its log" "^ok +there: audit log"

SLUICE_CA_FILE=$scratch/good.pem SLUICE_TOKEN_FILE=$scratch/token
export SLUICE_CA_FILE SLUICE_TOKEN_FILE
sl --server "https://localhost:$port" doctor --json
ok "by TLS, with a token"
check "as JSON" python3 - .out <<'P'
import json, sys
f = {x["what"]: x for x in json.load(open(sys.argv[1]))["findings"]}
assert all(x["ok"] for x in f.values()), f
assert f["its certificate"]["saw"] in ["TLSv1.3; valid for %d more days" % n for n in (89, 90)], f
assert "of ci, until 20" in f["the token"]["saw"] and "for all that is granted" in f["the token"]["saw"], f
P
SLUICE_TOKEN_FILE=$scratch/ending sl --server "https://localhost:$port" doctor
fails "a token that ends soon" 1 "doctor: 1 finding$"
prints "says which, and what it is for" "^BAD +the token: [0-9A-Za-z]+ of ci, until 20.*, only for read:\*"
prints "and the way out" "do: sluice token rotate [0-9A-Za-z]+"
SLUICE_CA_FILE=$scratch/soon.pem sl --server "https://localhost:$late" doctor
fails "a certificate that ends soon" 1 "doctor: 1 finding$"
prints "says when" "^BAD +its certificate: TLSv1.[23]; valid for [45] more days"
prints "and the way out" "do: renew it .*SIGHUP"
SLUICE_CA_FILE=$scratch/soon.pem sl --server "https://localhost:$port" doctor
fails "nobody knows the issuer" 1 "doctor: 1 finding$"
prints "stops at the way" "^BAD +the way to the service: .*certificate"
prints "its way out" "SLUICE_CA_FILE"
sl --server "https://127.0.0.1:$port" doctor
fails "another name than the certificate's" 1 "doctor: 1 finding$"
prints "says whom it is for" "^BAD +the way to the service: .*localhost"
echo slc_AAAAAAAA_0000000000000000000000000000000000000000 >none
SLUICE_TOKEN_FILE=$scratch/none sl --server "https://localhost:$port" doctor
fails "a token that nobody made" 1 "doctor: 1 finding$"
prints "way out" "do: a token in .SLUICE_TOKEN or .SLUICE_TOKEN_FILE"
(SLUICE_TOKEN_FILE= && unset SLUICE_TOKEN_FILE && sluice --server "https://localhost:$port" doctor >.out 2>.err)
is "no token at all" "$?" 1
check "says so" grep -q "^BAD  who you are: " .out

start=$(date +%s)
sl --server "https://localhost:$(free_port)" doctor
fails "nobody listens" 1 "doctor: 1 finding$"
prints "its way out" "do: is the name right and the service .* running"
sl --server "https://no-such-host.invalid" doctor
fails "no such name" 1 "doctor: 1 finding$"
sl --server "unix:$scratch/nothing" doctor
fails "no such socket" 1 "doctor: 1 finding$"
prints "its way out" "do: is .sluice serve --socket. running"
check "and says so at once" test $(($(date +%s) - start)) -lt 10

cat >odd.py <<'P'
# A service whose clock is two hours late and whose release is far ahead.
import http.server, os, time
class Odd(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def date_time_string(self, t=None): return super().date_time_string(time.time() - 7200)
    def do_GET(self):
        n = int(self.headers.get("Content-Length", 0))
        self.rfile.read(n)
        text = b'{"version": "0.9.0", "libexec": "new"}' if "version" in self.path else b'{"findings": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    do_POST = do_GET
s = http.server.HTTPServer(("127.0.0.1", 0), Odd)
open("odd.new", "w").write(str(s.server_port))
os.rename("odd.new", "odd")
s.serve_forever()
P
python3 odd.py &
servers="$servers $!"
for i in $(seq 150); do [ -s odd ] || sleep 0.2; done
sl --server "http://127.0.0.1:$(cat odd)" doctor
fails "another clock, another time" 1 "doctor: 2 findings"
prints "the clock" "^BAD +the two clocks: 7200 s apart"
prints "the versions" "^BAD +versions: 0.1.0 here, 0.9.0 there"
prints "which first" "do: one release apart works; upgrade the older one, the service first"
finish
