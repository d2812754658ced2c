"""Asks the service for what is not one's own. usage: service_foe.py SOCKET TOKENS DIGESTS
TOKENS: lines "NAME TOKEN"; mallory may push fraud, julia
judges it and administers the target web, nobody has no right at all, narrow is the owner with
the scope push:fraud. DIGESTS: lines of what only zebra has: of its version, its tree, its files.
There is a model zebra, which none of them may read, and none whose name is yebra: for each question the
two must look the same. Prints "ok NAME" or "not ok NAME: why"."""
import http.client
import json
import re
import socket
import sys

PATH = sys.argv[1]
TOKENS = dict(line.split() for line in open(sys.argv[2]))
DIGESTS = [line.strip() for line in open(sys.argv[3])]
SECRETS = ["zebra", "stripes", "zoe"] + [d.split(":")[1][:12] for d in DIGESTS]


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(PATH)


def ask(who, method, target, body=None, **headers):
    c = Connection("x")
    data = None if body is None else json.dumps(body)
    head = {k.replace("_", "-"): v for k, v in headers.items()} | {"Authorization": "Bearer " + TOKENS[who]}
    c.request(method, target, data, head | ({"Content-Type": "application/json"} if data else {}))
    r = c.getresponse()
    try:
        text = r.read().decode(errors="replace")
    except http.client.IncompleteRead as e:
        text = e.partial.decode(errors="replace")
    c.close()
    return r.status, dict(r.headers), text


def check(name, good, why=""):
    print("ok " + name if good else f"not ok {name}: {str(why)[:600]}")


def plain(text, word):
    """Without what differs from call to call."""
    text = text.replace(word, "WORD")
    text = re.sub(r'"instance": ?"[^"]*"', "", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]*Z", "", text)
    return re.sub(r"\d+(\.\d+)? ms", "", text)


def leaks(text, asked):
    return [s for s in SECRETS if s in text and s not in asked]


DOC = json.loads(ask("owner", "GET", "/api/v1/openapi.json")[2])
VERBS = {}
for path, item in DOC["paths"].items():
    op = item.get("post", {})
    schema = op.get("requestBody", {}).get("content", {}).get("application/json", {})
    if path.startswith("/api/v1/") and "example" in schema and "{" not in path:
        VERBS[path] = schema["example"]

# Fields that name something, and what of zebra they are filled with; Z is zebra or yebra.
FORMS = {
    "ref": ["Z", "Z@1", "Z@stripes", "Z@production", "models:/Z@stripes"],
    "model": ["Z"], "onto": ["Z@1"], "against": ["Z@1"], "baseline": ["Z@1"], "trace_against": ["Z@1"],
    "a": ["Z@1"], "b": ["Z@1"], "verdict": ["Z@1"], "on": ["Z", "Z@stripes"], "host": ["Z"],
    "alias": ["Z"], "name": ["Z"], "target": ["Z"], "set": ["Z"], "to": ["Z"], "for": ["Z"], "user": ["Z"],
    "subject": ["Z"], "as": ["Z"],
}


def lists(who):
    bad = []
    for path, example in VERBS.items():
        for body in ({}, example, {"alias": "production"}, {"verbose": True}, {"all": True},
                     {"ref": "fraud@1"}, {"model": "fraud"}, {"ref": "sha256:"}):
            status, head, text = ask(who, "POST", path, body)
            found = leaks(text + str(head), json.dumps(body))
            if found:
                bad.append((path, body, found, text))
            if status >= 500 and status != 503:
                bad.append((path, body, status, text))
    check(f"{who}: nothing says what is not to be read", not bad,
          [(b[0], b[1], b[2], [b[3][max(0, m.start() - 200):m.end() + 100] for m in re.finditer(str((b[2] or "x")[0]), b[3])])
           for b in bad])


def twins(who):
    bad = []
    for path, example in VERBS.items():
        for field in example.keys() | {"ref", "model", "onto", "against", "baseline"}:
            for form in FORMS.get(field, []):
                bodies = [{**example, field: form.replace("Z", m)} for m in ("zebra", "yebra")]
                for b in bodies:
                    if path.endswith("/push"):
                        b.pop("dir", None)
                real, none = (ask(who, "POST", path, b) for b in bodies)
                if (real[0], plain(real[2], "zebra")) != (none[0], plain(none[2], "yebra")):
                    bad.append((path, field, form, real[0], real[2][:500], none[0], none[2][:500]))
    check(f"{who}: what is not to be read looks as if it was not there", not bad, "\n".join(map(str, bad)))
    return bad


def digests(who):
    bad = []
    absent = "sha256:" + "5" * 64
    for d in DIGESTS:
        for form in ("/api/v1/objects/%s", "/api/v1/objects/%s/pieces", "/api/v1/trees/%s",
                     "/api/v1/inspect?ref=%s", "/api/v1/resolve?ref=%s", "/pull/%s.tar", "/api/v1/show?ref=%s",
                     "/api/v1/files?ref=%s&path=saved_model.pb"):
            for extra in ({}, {"If-None-Match": f'"{d}"'}, {"If-None-Match": "*"}, {"Range": "bytes=0-3"}):
                extra = {k.replace("-", "_"): v for k, v in extra.items()}
                one, other = ask(who, "GET", form % d, **extra), ask(who, "GET", form % absent, **extra)
                if one[0] < 400 or (one[0], plain(one[2], d)) != (other[0], plain(other[2], absent)):
                    bad.append((form, d, one, other))
        for n in (1, 4, 12, 40):
            short = d.split(":")[1][:n]
            got = ask(who, "GET", f"/api/v1/resolve?ref=sha256:{short}")
            if leaks(got[2], d):
                bad.append((d, got))
        for field in ("dir", "golden", "file", "bundle"):
            for path, example in VERBS.items():
                if field in example:
                    body = {**example, field: f"tree:{d}"}
                    one = ask(who, "POST", path, body)
                    if one[0] < 400:
                        bad.append((path, body, one))
    check(f"{who}: a digest opens nothing", not bad, bad[:3])


def uploads(who, model):
    """What the store has of others is asked for all the same."""
    bad = []
    for i, d in enumerate(DIGESTS):
        hexes = d.split(":")[1]
        status, _, text = ask(who, "POST", "/api/v1/uploads",
                              {"model": model, "files": [{"path": f"{i}", "size": 10, "sha256": hexes}]})
        if status == 403 and who == "nobody":
            continue
        u = json.loads(text)
        if status != 201 or u["files"][0]["state"] != "want" or "base" in u["files"][0]:
            bad.append((status, text))
            continue
        at = f"/api/v1/uploads/{u['id']}"
        copied = ask(who, "POST", at + "/files/0/copy", {"from": d, "pieces": [[0, 4, 0]]})
        done = ask(who, "POST", at + "/commit", {"files": [{"path": f"{i}", "size": 10, "sha256": hexes}]})
        other = ask("owner", "GET", at)
        if copied[0] != 404 or done[0] not in (409, 422) or \
                other[0] != (200 if who == "narrow" else 404):  # narrow is the owner
            bad.append((copied, done, other))
        ask(who, "DELETE", at)
    check(f"{who}: an upload does not say, nor take, what others have", not bad, bad[:3])


REFUSED = [  # what is asked, of the machine and of the store, of who has no right to
    ("fsck", {"rebuild": True}), ("fsck", {}), ("fsck", {"repair": True}), ("gc", {"yes": True}),
    ("grant", {"user": "mallory", "right": "admin", "on": "*"}), ("revoke", {"user": "zoe", "right": "read", "on": "zebra"}),
    ("role/give", {"user": "mallory", "role": "oncall"}), ("role/take", {"user": "zoe", "role": "oncall"}),
    ("user/add", {"name": "eve"}), ("user/disable", {"name": "zoe"}), ("user/list", {}),
    ("user/cert", {"name": "mallory", "san": "DNS:x"}), ("user/cert", {"name": "zoe"}),
    ("token/create", {"subject": "zoe"}), ("token/create", {"subject": "role:oncall"}),
    ("issuer/add", {"name": "i", "url": "https://x", "audience": "a", "match": ["sub=x"], "subject": "mallory"}),
    ("issuer/list", {}), ("config/set", {"key": "quarantine", "value": "on"}), ("quota/set", {"min_free": "1"}),
    ("promote", {"ref": "fraud@1", "to": "production"}), ("promote", {"ref": "fraud@1", "to": "production", "break_glass": "x"}),
    ("promote", {"ref": "zebra@1", "to": "production"}), ("rollback", {"ref": "zebra@stripes"}),
    ("freeze", {"ref": "zebra@stripes", "reason": "x"}), ("delete", {"ref": "fraud@1"}), ("delete", {"ref": "zebra@1"}),
    ("hold", {"ref": "fraud@1", "reason": "x"}), ("reject", {"ref": "fraud@1", "reason": "x"}),
    ("policy/set", {"alias": "production", "require_acceptance": "*"}),
    ("target/set", {"name": "web", "reload": "touch pwned"}), ("target/add", {"name": "t", "dir": "/tmp/x", "alias": "production"}),
    ("target/remove", {"name": "web"}), ("target/check", {"repair": True}), ("host/forget", {"host": "h1"}),
    ("host/retry", {"host": "h1"}), ("host/rollout", {"alias": "production", "max_failing": -1}),
    ("tag", {"ref": "zebra@1", "tags": ["a"]}), ("note", {"ref": "zebra@1", "text": "x"}), ("cold", {"ref": "fraud@1"}),
    ("push", {"onto": "zebra@1", "checkpoint": "tree:sha256:" + "0" * 64}), ("backup", {"dest": "-"}), ("backup", {"dest": "/tmp/b"}),
    ("canary", {"ref": "fraud@production", "source": "log:/etc/passwd"}), ("export", {"args": ["zebra@1", "-"]}),
    ("serve", {}), ("init", {"path": "/tmp/x"}), ("restore", {"backup": "/tmp/x", "to": "/tmp/y"}), ("exec", {"ref": "fraud@1", "command": ["id"]}),
]


def refused(who):
    bad = []
    for verb, body in REFUSED:
        status, _, text = ask(who, "POST", "/api/v1/" + verb, body)
        if status < 400 or status >= 500 and status != 501:
            bad.append((verb, body, status, text))
    check(f"{who}: what he may not is refused", not bad, bad)


def headers():
    token = TOKENS["mallory"]
    me = ask("mallory", "POST", "/api/v1/list", {})
    for name, value in (("X_Forwarded_User", "root"), ("X_Forwarded_For", "127.0.0.1"), ("X_Remote_User", "root"),
                        ("Forwarded", "for=127.0.0.1"), ("X_HTTP_Method_Override", "DELETE"), ("Cookie", "token=x")):
        got = ask("mallory", "POST", "/api/v1/list", {}, **{name: value})
        check(f"{name} changes nothing", (got[0], got[2]) == (me[0], me[2]), got)
    c = Connection("x")
    c.putrequest("POST", "/api/v1/list")
    for t in (token, TOKENS["owner"]):
        c.putheader("Authorization", "Bearer " + t)
    c.putheader("Content-Length", "0")
    c.endheaders()
    check("two tokens are none", c.getresponse().status == 400)
    for wrong in ("Bearer", "Bearer ", "bearer x", "Basic cm9vdDo=", "Bearer " + token[:-1], "Bearer " + "a" * 8000,
                  "Bearer eyJ.eyJ.x", "Bearer " + token + "," + TOKENS["owner"]):
        c = Connection("x")
        c.request("POST", "/api/v1/list", headers={"Authorization": wrong})
        status = c.getresponse().status
        check(f"'{wrong[:12]}…' of {len(wrong)} is nobody", status in (401, 400), status)


def keys():
    """Idempotency keys are each caller's own."""
    body = {"ref": "fraud@1", "tags": ["k=1"]}
    one = ask("mallory", "POST", "/api/v1/tag", body, Idempotency_Key="pipeline-1")
    two = ask("owner", "POST", "/api/v1/tag", {"ref": "fraud@1", "tags": ["k=2"]}, Idempotency_Key="pipeline-1")
    check("a key of another caller is free", one[0] == 200 and two[0] == 200 and '"replayed"' not in two[2], (one, two))


for who in ("nobody", "mallory", "narrow"):
    lists(who)  # first of all: what they ask for below is in the log
for who in ("nobody", "mallory", "narrow"):
    twins(who)
    digests(who)
    uploads(who, "fraud")
    refused(who)
status, _, text = ask("julia", "POST", "/api/v1/replay", {"verdict": "1"})
check("a verdict by a program is not replayed from elsewhere", status == 403 and "program" in text, text)


def tree(who, model, verb, path, data):
    """A directory with one file, sent for a verb; the field that names the file."""
    import hashlib
    entry = {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    u = json.loads(ask(who, "POST", "/api/v1/uploads", {"verb": verb, "model": model, "files": [entry]})[2])
    c = Connection("x")
    c.request("PUT", f"/api/v1/uploads/{u['id']}/files/0?offset=0", data, {"Authorization": "Bearer " + TOKENS[who]})
    c.getresponse().read()
    done = ask(who, "POST", f"/api/v1/uploads/{u['id']}/commit", {"files": [entry]})
    return json.loads(done[2])["tree"] + "/" + path


status, _, text = ask("julia", "POST", "/api/v1/policy/set", {
    "alias": "production", "model": "fraud",
    "file": tree("julia", "fraud", "policy_set", "p.json", b'{"policy": 1, "require": [{"http": "http://127.0.0.1:1/pwned"}]}')})
check("a gate that asks an address is for who administers the store", status == 403 and "admin" in text, text)
status, _, text = ask("julia", "POST", "/api/v1/policy/set", {
    "alias": "production", "model": "fraud",
    "file": tree("julia", "fraud", "policy_set", "p.json", b'{"policy": 1, "require": [{"scan": "clean"}]}')})
check("the other gates for who judges the model", status == 200, text)
for field in ("reload", "status_url"):
    status, _, text = ask("julia", "POST", "/api/v1/target/set", {"name": "web", field: "http://127.0.0.1:1/pwned"})
    check(f"{field} is for who administers the store", status == 403 and "admin" in text, text)
status, _, text = ask("julia", "POST", "/api/v1/target/set", {"name": "web", "serving_root": "/models"})
check("the rest of a target for who administers it", status == 200, text)
headers()
keys()
