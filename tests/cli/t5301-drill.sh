#!/bin/sh
# drill: a rehearsed rollback, measured until the server answers, and what can come between.
. "$(dirname "$0")/lib.sh"

# A server that reads web/config/models.config as TF Serving does: it loads what is named there,
# 0.2 s a version, and then moves the labels. The file `mood` makes it hang, or lie.
cat >serve.py <<'END'
import http.server, json, os, re, sys, threading, time
state, labels = {}, {}
def poll():
    while True:
        try: text = open("web/config/models.config").read()
        except OSError: text = ""
        for model in re.findall(r'config \{\n(.*?)\n  \}', text, re.S):
            name = re.search('name: "(.*)"', model)[1]
            want = {int(n) for n in re.findall(r"versions: (\d+)", model)}
            have = state.setdefault(name, {})
            for n in want:
                if have.get(n) in (None, "END"):
                    have[n] = "LOADING"
                    time.sleep(0.2)
                    have[n] = "AVAILABLE"
            for n in have:
                if n not in want: have[n] = "END"
            labels[name] = {k: int(v) for k, v in re.findall(r'key: "(\w+)" value: (\d+)', model)}
        time.sleep(0.05)
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        mood = open("mood").read() if os.path.exists("mood") else ""
        if mood == "hang": time.sleep(60)
        m = re.fullmatch(r"/v1/models/(\w+)(?:/labels/(\w+)/metadata)?", self.path)
        code, said = 404, {"error": "Could not find any versions of model"}
        if m and m[2]:
            n = labels.get(m[1], {}).get(m[2])
            code, said = (200, {"model_spec": {"name": m[1], "version": str(n)}}) if n else (
                400, {"error": "Unrecognized servable version label: " + m[2]})
        elif m and state.get(m[1]):
            code, said = 200, {"model_version_status": [
                {"version": str(n), "state": "LOADING" if mood == "loading" else s,
                 "status": {"error_code": "OK", "error_message": ""}} for n, s in state[m[1]].items()]}
        text = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
threading.Thread(target=poll, daemon=True).start()
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
print(s.server_port, flush=True)
s.serve_forever()
END

# ---- where the links say what is served ----
digits_live plain
sl drill digits@production --yes
fails "nothing to go back to" 7 "no older release was live"
sl push "$digits/v2" digits
sl promote digits@2 --to production
sl drill digits@production
ok "without --yes"
prints "it says what it would do" "nothing was changed: --yes does it"
sl status digits
prints "and does nothing" "promote, release 2"
sl drill digits@production --yes --reason "every month"
ok "a drill"
prints "goes there and back" "digits@production: 2 -> 1 -> 2"
prints "and measures it" "target web answers with it after [0-9]+ ms"
sl status
prints "what was live is live" "live +2 "
prints "and it is told" "rollback rehearsed 0 days ago: [0-9]+ ms to switch, [0-9]+ ms until"
prints "a rollback goes where it did" "rollback  to 1; marks bad: 2"
sl audit log --verb drill --json
is "the log has both ways, and the evidence" "$(printf %s "$out" | grep -c '"verb": "drill"')" 3
sl log digits
prints "and the history" "drill"
sl freeze digits@production --reason "year's end"
sl drill digits@production --yes
fails "frozen" 5 "it is frozen: year's end"
sl unfreeze digits@production
sl drill digits@production --yes --target wob
fails "no such target" 7 "no target wob shows production"
sl drill digits@production --wait 0 --yes
fails "no time" 2 "1 to 86400"
sl drill digits@elsewhere --yes
fails "nothing is live there" 7 "no older release"

# ---- no rollback lands on a drill ----
sl push "$digits/v3" digits
sl promote digits@3 --to production
sl drill digits@production --yes
ok "a second drill"
sl rollback digits@production
prints "a rollback after it" "3 -> 2 "
sl rollback digits@production
prints "and one more" "2 -> 1 "
sl rollback digits@production
fails "and then there is nothing left" 7 "no older release"

# ---- nobody says what is served ----
sl init "$scratch/store2"
SLUICE_STORE=$scratch/store2
rm -rf web
sl target add web "$scratch/web" --alias production --layout tfserving
for v in 1 2; do
    sl push "$digits/v$v" digits
    sl promote digits@$v --to production
done
sl drill digits@production --yes
fails "without a status URL" 8 "nobody said what target web served: no status URL"
sl status
prints "what was live is live again" "live +2 "
prints "it says that nobody said" "and nobody said what was served"

# ---- a server ----
python3 serve.py >port 2>serve.err &
server=$!
trap 'kill $server 2>/dev/null; wait; chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
for _ in $(seq 100); do
    [ -s port ] && break
    sleep 0.1
done
sl target set web --status-url "http://127.0.0.1:$(cat port)"
sl target step --wait 20
sl drill digits@production --yes --wait 30 --json
ok "with a server"
is "it is seen, both ways" "$(printf %s "$out" | grep -c '"observed_ms": [0-9]')" 2
sl status --json
is "which status tells" "$(printf %s "$out" | python3 -c '
import json, sys
a = json.load(sys.stdin)["aliases"][0]
print(a["latest"], 0 < a["drill"]["observed_ms"] < 30000, a["drill"]["observed_ms"] >= a["drill"]["switch_ms"])')" "2 True True"

# ---- a server that never gets there ----
printf loading >mood
(sleep 3; rm -f mood) &
sl drill digits@production --yes --wait 1
fails "a server that is late" 1 "release [0-9]+ is live again: target web does not answer|does not answer with it after 1 s"
rm -f mood
sl target step --wait 20
sl status
prints "what was live is live" "live +2 "
printf hang >mood
sl drill digits@production --yes --wait 1
fails "a server that hangs" 1 "target web does not answer with it after 1 s: .*timed out"
rm -f mood
sl target step --wait 20
ok "it comes back"

# ---- killed in the middle ----
printf loading >mood
sluice drill digits@production --yes --wait 60 >/dev/null 2>&1 &
drill=$!
for _ in $(seq 100); do
    sluice status digits 2>/dev/null | grep -q "UNFINISHED drill" && break
    sleep 0.1
done
sl drill digits@production --yes
fails "one at a time" 75 "another drill is under way"
kill -9 $drill
wait $drill 2>/dev/null
rm -f mood
sl status
prints "status says so, and the way out" "UNFINISHED drill of digits@production .*sluice drill digits@production --yes brings release [0-9]+ back"
prints "and what is live" "live +1 "
sl drill digits@production
prints "the next one would end it" "which ends a drill that was interrupted"
sl drill digits@production --yes --wait 30
ok "and does"
sl status
prints "what was live is live" "live +2 "
is "nothing is left" "$(printf %s "$out" | grep -c UNFINISHED)" 0
sl rollback digits@production
prints "a rollback still goes where it did" "2 -> 1 "
sl fsck
ok "the store is whole"
finish
