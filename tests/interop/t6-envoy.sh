#!/bin/sh
# Against Envoy (make interop-tools; or in PATH, or $ENVOY): it takes the rendered bootstrap and
# routes, splits and copies by their shares, and sees a release without being told.
. "$(dirname "$0")/../cli/lib.sh"
envoy=${ENVOY:-$top/build/interop/venv/bin/envoy}
[ -x "$envoy" ] || envoy=$(command -v envoy)
if [ -z "$envoy" ]; then
    skip "Envoy takes envoy.yaml" "envoy is not installed: make interop-tools"
    finish
    exit
fi

digits_live tfserving
sl push "$digits/v2" digits
sl push "$digits/v3" digits
sl push "$digits/v1" 'a.b 1'
sl promote 'a.b 1@1' --to production
sl weights digits@production 1=70% 2=30% --mirror 3=20%
cat >work.py <<'END'
import collections, http.client, http.server, json, re, socket, subprocess, sys, threading, time
envoy, scratch = sys.argv[1], sys.argv[2]
seen, lock = [], threading.Lock()
class Server(http.server.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, 65536
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with lock: seen.append((self.path, body, self.headers.get("x-sluice-version")))
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"{}"); self.wfile.flush()
    do_GET = do_POST
    def log_message(self, *a): pass
class Threads(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 64
server = Threads(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = int(sys.argv[3])
sluice = lambda *a: subprocess.run(["sluice", *a], check=True, capture_output=True, text=True).stdout
sluice("target", "set", "web", "--render", "routes,envoy", "--status-url", "http://127.0.0.1:%d" % server.server_address[1])
text = sluice("target", "render", "web", "--as", "envoy")
assert "10000" in text
sluice("target", "set", "web", "--status-url", "") # this server knows no versions: no steps
open("boot.yaml", "w").write(text.replace("10000", str(port)))
said = subprocess.run([envoy, "--mode", "validate", "-c", "boot.yaml"], capture_output=True, text=True)
assert said.returncode == 0, said.stderr[-2000:]
proxy = subprocess.Popen([envoy, "-c", "boot.yaml", "--disable-hot-restart", "--log-path", scratch + "/envoy.log", "--concurrency", "2"])
def ask(c, path, body=b"{}"):
    c.request("POST", path, body); r = c.getresponse(); r.read(); return r.status
def counts(): # by version, once nothing comes in any more
    n = -1
    while n != len(seen): n = len(seen); time.sleep(1)
    with lock: got = list(seen); seen.clear()
    assert all(re.fullmatch("/v1/models/[^/]+/versions/[0-9]+(:predict|/metadata)?", p) for p, _, _ in got), got[:3]
    assert all(h is None for _, _, h in got), "the header is not taken out"
    return collections.Counter(int(p.split("/")[5].split(":")[0]) for p, _, _ in got), got
try:
    for _ in range(600):
        try: c = http.client.HTTPConnection("127.0.0.1", port); c.connect(); break
        except OSError: time.sleep(0.1)
    for _ in range(600):
        if ask(c, "/v1/models/digits:predict") == 200: break
        time.sleep(0.1)
    counts()
    n = 2000
    for i in range(n): assert ask(c, "/v1/models/digits:predict", b"%d" % i) == 200
    by, got = counts()
    assert by[1] + by[2] == n and abs(by[2] - 0.3 * n) < 105, by # over 5 sigma
    assert abs(by[3] - 0.2 * n) < 92, by
    assert len({b for p, b, _ in got if "/versions/3" not in p}) == n # each once, and its copy is the same bytes
    assert {b for p, b, _ in got if "/versions/3" in p} <= {b"%d" % i for i in range(n)}
    assert ask(c, "/v1/models/a.b%201:predict") == 200 and ask(c, "/v1/models/axb%201:predict") == 404
    assert ask(c, "/v1/models/digits/metadata") == 200
    assert ask(c, "/v1/models/digits/versions/3:predict") == 404, "a version by its number is no part of the split"
    _, got = counts()
    assert "/v1/models/a.b%201/versions/1:predict" in [p for p, _, _ in got], got
    sluice("promote", "digits@2", "--to", "production")
    begun = time.time()
    while time.time() - begun < 60:
        for i in range(20): ask(c, "/v1/models/digits:predict")
        by, _ = counts()
        if set(by) == {2}: break
    assert set(by) == {2}, by
finally:
    proxy.terminate(); proxy.wait()
END
check "Envoy takes bootstrap and routes, splits and copies by shares, and sees a release by itself" \
    python3 work.py "$envoy" "$scratch" "$(free_port)"
finish
