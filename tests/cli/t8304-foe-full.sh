#!/bin/sh
# The store's disk is full while somebody pushes through the service.
. "$(dirname "$0")/lib.sh"

disk=$scratch/disk
mkdir "$disk"
if ! command -v python3 >/dev/null 2>&1 || ! mount -t tmpfs -o size=24m none "$disk" 2>/dev/null; then
    skip "a full disk" "python3, or the right to mount a tmpfs, is not here"
    finish
    exit 0
fi
trap 'for s in $servers; do kill "$s"; done 2>/dev/null; umount -l "$disk"; chmod -R u+w "$scratch" 2>/dev/null; rm -rf "$scratch"' EXIT
export SLUICE_STORE=$disk/store
sl init
sl push "$digits/v1" fraud
sl promote fraud@1 --to production
sl push "$digits/v2" fraud
ok "a store on a small disk"
serve serve.err --socket "$scratch/sock"
cat >full.py <<'END'
import hashlib, http.client, json, os, socket, sys
PATH, DIR, DISK = sys.argv[1:4]
STORE = DISK + "/store"
def check(name, good, why=""):
    print("ok " + name if good else f"not ok {name}: {str(why)[:500]}", flush=True)
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(PATH)
def ask(method, target, body=None):
    c = Connection("x")
    try:
        c.request(method, target, json.dumps(body) if isinstance(body, (dict, list)) else body)
    except OSError:
        pass
    r = c.getresponse()
    text = r.read()
    return r.status, json.loads(text) if "json" in r.headers.get("Content-Type", "") else text
files = {os.path.relpath(os.path.join(f, n), DIR): open(os.path.join(f, n), "rb").read()
         for f, _, names in os.walk(DIR) for n in names}
OLD = open(DIR + "/../v1/saved_model.pb", "rb").read()
files["assets.extra/big"] = os.urandom(4 << 20)
listing = [{"path": p, "size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for p, b in sorted(files.items())]
status, r = ask("POST", "/api/v1/uploads", {"model": "fraud", "files": [{"path": "x", "size": 10 ** 12}]})
check("what can never fit is refused at once", status == 507 and "space" in str(r), (status, r))
check("and forgotten", os.listdir(STORE + "/uploads") == [])
# what is claimed takes no room: many claims fit where one of them does
free = os.statvfs(STORE).f_bavail * os.statvfs(STORE).f_frsize
claims = []
for i in range(8):
    status, r = ask("POST", "/api/v1/uploads", {"model": "fraud", "files": [{"path": "x%d" % i, "size": free // 2}]})
    check("a claim of half of the disk", status == 201, (status, r))
    claims.append(f"/api/v1/uploads/{r['id']}")
    status, r = ask("PUT", claims[-1] + "/files/0?offset=%d" % (free // 2 - 300000), os.urandom(300000))
    check("and a part of it", status == 204, (status, r))
left = os.statvfs(STORE).f_bavail * os.statvfs(STORE).f_frsize
check("take what came", free - left < 8 * 400000, (free, left))
for c in claims:
    check("and go", ask("DELETE", c)[0] == 204)
status, u = ask("POST", "/api/v1/uploads", {"model": "fraud", "files": listing})
check("what fits is begun", status == 201, u)
fill = open(DISK + "/fill", "wb")
try:
    while True:
        fill.write(b"x" * 65536)
        fill.flush()
except OSError:
    pass
got = []
for i, f in enumerate(u["files"]):
    if f["state"] != "have":
        got.append(ask("PUT", f"/api/v1/uploads/{u['id']}/files/{i}?offset=0", files[f["path"]]))
check("a part finds the disk full, and is told so", any(s in (507, 500, 503) and "space" in str(r) for s, r in got), got)
status, r = ask("POST", f"/api/v1/uploads/{u['id']}/commit", {"files": listing})
check("nothing is committed", status >= 400, (status, r))
status, r = ask("GET", "/api/v1/resolve?ref=fraud@production")
check("look-ups go on", status == 200, (status, r))
status, r = ask("GET", "/api/v1/list?model=fraud")
check("reads go on", status == 200 and len(r["versions"]) == 2, (status, r))
status, r = ask("GET", "/api/v1/objects/sha256:" + hashlib.sha256(OLD).hexdigest())
check("pulls go on", status == 200 and r == OLD, status)
fill.close()
os.unlink(DISK + "/fill")
status, u = ask("POST", "/api/v1/uploads", {"model": "fraud", "files": listing})
for i, f in enumerate(u["files"]):
    if f["state"] != "have":
        s, r = ask("PUT", f"/api/v1/uploads/{u['id']}/files/{i}?offset=0", files[f["path"]])
        check("with room again it is sent: " + f["path"], s == 204, (s, r))
status, r = ask("POST", f"/api/v1/uploads/{u['id']}/commit", {"files": listing})
check("committed", status == 200, (status, r))
status, r = ask("POST", "/api/v1/push", {"model": "fraud", "dir": r.get("tree")})
check("and pushed", status == 200 and r["number"] == 3, (status, r))
END
python3 full.py "$scratch/sock" "$digits/v3" "$disk" >full 2>&1
check "all was tried" [ "$(grep -c '^ok\|^not ok' full)" -gt 9 ]
is "and is as it must be" "$(grep -v '^ok' full)" ""
ends "$service"
is "the service ends well" $? 0
is "without a word" "$(grep -hv ' listens on ' serve.err)" ""
sl fsck
ok "the store is whole"
sl audit verify
ok "and so is its log"

finish
