"""Kills the service, or its workers, at each point of a push, a promotion and a pull; the same client
goes on. usage: service_crash.py DIR SOCKET LOG     (DIR: a SavedModel; $SLUICE_STORE: the store)
Prints "ok NAME" or "not ok NAME: why"."""
import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

DIR, PATH, LOG = sys.argv[1:4]
service = None


def check(name, good, why=""):
    print("ok " + name if good else f"not ok {name}: {str(why)[:600]}", flush=True)


def start():
    global service
    service = subprocess.Popen(["sluice", "serve", "--socket", PATH], stderr=open(LOG, "ab"))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            s = socket.socket(socket.AF_UNIX)
            s.connect(PATH)
            s.close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("not ok the service does not start")


def kill():
    service.send_signal(signal.SIGKILL)
    service.wait()
    start()


def kill_workers():
    for p in os.listdir("/proc"):
        try:
            stat = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            if int(stat[1]) == service.pid and b"--worker" in open(f"/proc/{p}/cmdline", "rb").read():
                os.kill(int(p), signal.SIGKILL)
        except (OSError, ValueError, IndexError):
            pass


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(PATH)


def ask(method, target, body=None, **headers):
    c = Connection("x")
    data = json.dumps(body) if isinstance(body, (dict, list)) else body
    try:
        c.request(method, target, data, {k.replace("_", "-"): v for k, v in headers.items()})
    except BrokenPipeError:
        pass  # it has answered already
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, json.loads(text) if "json" in r.headers.get("Content-Type", "") else text


def send_only(method, target, body, whole=True):
    """A request whose answer is not waited for; not whole: half of its body."""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    s = socket.socket(socket.AF_UNIX)
    s.connect(PATH)
    s.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode()
              + data[:None if whole else len(data) // 2])
    return s


def again(fn):
    """As a client does: what found nobody is asked again."""
    end = time.monotonic() + 120
    while True:
        try:
            status, reply = fn()
            # a worker that was killed: a call with a key may be repeated
            if status != 503 and not (status == 500 and "may be repeated" in reply.get("detail", "")):
                return status, reply
        except (OSError, http.client.HTTPException) as e:
            status, reply = 0, e
        if time.monotonic() > end:
            return status, reply
        time.sleep(0.05)


def model(n):
    files = {}
    for folder, _, names in os.walk(DIR):
        for name in names:
            path = os.path.join(folder, name)
            files[os.path.relpath(path, DIR)] = open(path, "rb").read()
    files["assets.extra/number"] = b"%d " % n * 1000
    return files


def versions():
    status, reply = again(lambda: ask("GET", "/api/v1/list?model=fraud"))
    return [v["number"] for v in reply["versions"]] if status == 200 else []


def listing(files):
    return [{"path": p, "size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for p, b in sorted(files.items())]


def upload(files, at=None):
    """The whole way to a tree; at: (phase, what to do there)."""
    def here(phase, *args):
        if at and at[0] == phase:
            fn = at[1]
            at[0] = None
            fn(*args)
    while True:
        status, u = again(lambda: ask("POST", "/api/v1/uploads", {"model": "fraud", "files": listing(files)}))
        if status != 201:
            return status, u
        here("begun")
        for i, f in enumerate(u["files"]):
            if f["state"] == "have":
                continue
            data = files[f["path"]]
            target = f"/api/v1/uploads/{u['id']}/files/{i}?offset="
            half = len(data) // 2
            if half:
                here("within a part", lambda: send_only("PUT", target + "0", data, False))
                again(lambda: ask("PUT", target + "0", data[:half]))
                here("between parts")
                again(lambda: ask("PUT", target + "0", data[:half]))  # the same part twice
            again(lambda: ask("PUT", target + str(half), data[half:]))
        here("all parts")
        commit = f"/api/v1/uploads/{u['id']}/commit", {"files": listing(files)}
        here("within the commit", lambda: send_only("POST", *commit))
        status, reply = again(lambda: ask("POST", *commit))
        if status == 409:  # what came was lost with the service: it is asked for again
            continue
        here("committed")
        return status, reply


def push(files, key, at=None):
    status, reply = upload(files, at)
    if status != 200:
        return status, reply
    call = "/api/v1/push", {"dir": reply["tree"], "model": "fraud", "idempotency_key": key}
    if at and at[0] == "within the push":
        at[1](lambda: send_only("POST", *call))
    status, reply = again(lambda: ask("POST", *call))
    if at and at[0] == "pushed":
        at[1]()
        status, reply = again(lambda: ask("POST", *call))
    return status, reply


def after(seconds, how):
    """Sends what it is given, and kills a little later."""
    def do(send=None):
        s = send() if send else None
        time.sleep(seconds)
        how()
        if s:
            s.close()
    return do


n = 0
for how in (kill, kill_workers):
    for phase, delays in (("begun", (0,)), ("within a part", (0, 0.01)), ("between parts", (0,)), ("all parts", (0,)),
                          ("within the commit", (0, 0.003, 0.02)), ("committed", (0,)),
                          ("within the push", (0, 0.005, 0.02, 0.05, 0.1)), ("pushed", (0,))):
        if how == kill_workers and phase != "within the push":
            continue
        for delay in delays:
            if service is None:
                start()
            n += 1
            before = versions()
            status, reply = push(model(n), f"push-{n}", [phase, after(delay, how)])
            now = versions()
            check(f"{how.__name__} {phase}, {delay} s: one version more",
                  status == 200 and len(now) == len(before) + 1, (status, reply, before, now))

# Promotions: each happens once.
for how in (kill, kill_workers):
    for i, delay in enumerate((0, 0.005, 0.02, 0.05)):
        ref = f"fraud@{versions()[i % 2]}"
        was = again(lambda: ask("GET", "/api/v1/releases?ref=fraud@production"))[1].get("releases", [])
        call = "/api/v1/promote", {"ref": ref, "to": "production", "idempotency_key": f"{how.__name__}-{i}"}
        s = send_only("POST", *call)
        time.sleep(delay)
        how()
        s.close()
        status, reply = again(lambda: ask("POST", *call))
        now = again(lambda: ask("GET", "/api/v1/releases?ref=fraud@production"))[1].get("releases", [])
        check(f"{how.__name__} within a promotion, {delay} s: it happens once",
              status == 200 and len(now) == len(was) + 1, (status, reply, len(was), len(now)))

# A pull that breaks off goes on where it was.
files = model(n)
_, tree = upload(files)
big = max(files, key=lambda p: len(files[p]))
digest = hashlib.sha256(files[big]).hexdigest()
s = send_only("GET", f"/api/v1/objects/sha256:{digest}", b"")
part = s.recv(1000)
kill()
s.close()
status, rest = again(lambda: ask("GET", f"/api/v1/objects/sha256:{digest}", Range="bytes=100-"))
check("a pull goes on", status == 206 and rest == files[big][100:], status)

# Commits: of nothing, of another list, two at once.
files = model(n + 1)
status, u = ask("POST", "/api/v1/uploads", {"model": "fraud", "files": listing(files)})
target = f"/api/v1/uploads/{u['id']}"
check("a commit without parts", ask("POST", target + "/commit", {"files": listing(files)})[0] == 409)
check("and of another list", ask("POST", target + "/commit", {"files": listing(files)[:-1]})[0] in (400, 409))
wrong = [i for i, f in enumerate(u["files"]) if f["state"] != "have"][0]
size = u["files"][wrong]["size"]
check("a part with wrong bytes", ask("PUT", f"{target}/files/{wrong}?offset=0", b"x" * size)[0] == 422)
bad = base64.b64encode(b"y" * 32).decode()
check("with a wrong digest", ask("PUT", f"{target}/files/{wrong}?offset=0", b"x" * (size - 1),
                                 Content_Digest=f"sha-256=:{bad}:")[0] == 422)
check("beyond its end", ask("PUT", f"{target}/files/{wrong}?offset={size}", b"x")[0] == 400)
check("of a file that is none", ask("PUT", f"{target}/files/{len(files)}?offset=0", b"x")[0] == 404)
check("of another upload", ask("PUT", f"/api/v1/uploads/{'0' * 32}/files/0?offset=0", b"x")[0] == 404)
for i, f in enumerate(u["files"]):
    if f["state"] != "have":
        ask("PUT", f"{target}/files/{i}?offset=0", files[f["path"]])
got = []
both = [threading.Thread(target=lambda: got.append(again(lambda: ask("POST", target + "/commit", {"files": listing(files)}))))
        for _ in range(4)]
[t.start() for t in both]
[t.join() for t in both]
check("commits at once give one tree", {g[0] for g in got} == {200} and len({g[1]["tree"] for g in got}) == 1, got)
got.clear()
call = {"dir": got[0][1]["tree"] if got else ask("POST", target + "/commit", {"files": listing(files)})[1]["tree"],
        "model": "fraud", "idempotency_key": "at-once"}
before = versions()
both = [threading.Thread(target=lambda: got.append(again(lambda: ask("POST", "/api/v1/push", call)))) for _ in range(4)]
[t.start() for t in both]
[t.join() for t in both]
check("pushes at once, of one key, are one", {g[0] for g in got} == {200} and len(versions()) == len(before) + 1, got)

# A graceful end under load: who was heard gets an answer.
lost, answered, stop = [], [0], threading.Event()


def load():
    while not stop.is_set():
        try:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(120)
            s.connect(PATH)
        except OSError:
            return  # nobody listens any more
        try:
            s.sendall(b"GET /api/v1/list?model=fraud HTTP/1.1\r\nHost: x\r\n\r\n")
            data = s.recv(65536)
        except OSError as e:
            data = str(e).encode()
        if data.startswith(b"HTTP/1.1 200"):
            answered[0] += 1
        else:
            lost.append(data[:200])
        s.close()


threads = [threading.Thread(target=load) for _ in range(16)]
[t.start() for t in threads]
end = time.monotonic() + 60
while answered[0] < 100 and time.monotonic() < end:
    time.sleep(0.05)
service.send_signal(signal.SIGTERM)
status = service.wait(120)
stop.set()
[t.join() for t in threads]
check("it ends well under load", status == 0, status)
check("no request is lost", not lost and answered[0] > 16, (answered, lost[:3]))
