#!/bin/sh
# The gate "http": 2xx is yes, all else is no, and what was answered is kept.
. "$(dirname "$0")/lib.sh"

cat >tickets.py <<'END'
import http.server, json
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_POST(self):
        q = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        open("asked.json", "w").write(json.dumps(q))
        status, said = int(open("status").read()), open("answer").read()
        if self.headers["Content-Type"] != "application/json":
            status = 415
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/yes")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
s = http.server.HTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
END
python3 tickets.py >port 2>/dev/null &
server=$!
servers="$servers $server"
await 60 test -s port
url=http://127.0.0.1:$(cat port)/change
says() { printf %s "$1" >status; printf %s "$2" >answer; }

digits_live
sl push "$digits/v2" digits
printf '{"policy": 1, "require": [{"http": "%s"}]}\n' "$url" >policy.json
sl policy set production --file policy.json
ok "an address as a gate"
says 403 "no ticket for digits"
sl promote digits@2 --to production
fails "403 is no" 5 'http: wanted http://.* answers with 2xx; saw HTTP 403: no ticket for digits'
says 302 ""
sl promote digits@2 --to production
fails "no redirect is followed" 5 'saw HTTP 302'
says 500 "$(head -c 20000 /dev/zero | tr '\0' x)"
sl promote digits@2 --to production
fails "a long no" 5 'saw HTTP 500: xxx'
says 201 '{"ticket": "CHG-4711", "by": "anna"}'
sl promote digits@2 --to production --reason 'CHG-4711' --json
ok "201 is yes"
prints "and the answer is kept, word for word" 'CHG-4711.*anna'
is "it was told what is asked" "$(python3 -c '
import json
q = json.load(open("asked.json"))
print(q["model"], q["number"], q["alias"], q["reason"], q["digest"][:7], q["replaces_release"])')" "digits 2 production CHG-4711 sha256: 1"
is "with the release, too" "$(python3 -c '
import json, sqlite3
c = sqlite3.connect("store/catalogue.db")
(r,) = c.execute("SELECT report FROM gate_pass ORDER BY release_id DESC LIMIT 1").fetchone()
print([json.loads(g["said"])["ticket"] for g in json.loads(r) if g["gate"] == "http"])')" "['CHG-4711']"
ends "$server" 2>/dev/null
sl policy check digits@1 --for production
fails "a server that is away says no" 5 'saw no answer: .*onnect[^;]*; see what it says'
finish
