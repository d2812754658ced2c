"""What a client sees of the service besides single answers. usage: service_life.py SOCKET PID LOG
The service runs with --socket SOCKET --access_log LOG; it is ended at the end. Prints "ok NAME" or
"not ok NAME: why"."""
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

PATH, PID, LOG = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("x")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(PATH)


def ask(method, target, body=None, **headers):
    c = Connection()
    data = None if body is None else json.dumps(body)
    c.request(method, target, data, {k.replace("_", "-"): v for k, v in headers.items()}
              | ({"Content-Type": "application/json"} if data else {}))
    r = c.getresponse()
    text = r.read()
    c.close()
    return r.status, r.headers, json.loads(text) if text and "json" in r.headers.get("Content-Type", "") else text


def begin(verb, body):
    """A call whose answer is not waited for."""
    c = Connection()
    c.request("POST", "/api/v1/" + verb, json.dumps(body), {"Content-Type": "application/json"})
    return c


def cmdline(pid):
    try:
        return open(f"/proc/{pid}/cmdline", "rb").read()
    except OSError:
        return b""


def workers():
    out = []
    for p in os.listdir("/proc"):
        try:
            stat = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            if int(stat[1]) == PID and b"--worker" in cmdline(p):
                out.append(int(p))
        except (OSError, ValueError, IndexError):
            pass
    return out


def until(fn):
    end = time.monotonic() + 60
    while not fn():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def check(name, good, why=""):
    print("ok " + name if good else f"not ok {name}: {why}")


def tags():
    status, head, _ = ask("GET", "/api/v1/list")
    tag = head["ETag"]
    again, _, text = ask("GET", "/api/v1/list", If_None_Match=f'"x", W/{tag}')
    check("what did not change is not sent again", (status, again, text) == (200, 304, b""), (status, again))
    head_only = ask("HEAD", "/api/v1/list")
    check("HEAD is GET without the body", head_only[0] == 200 and head_only[1]["ETag"] == tag, head_only)
    check("OPTIONS says what there is", ask("OPTIONS", "/api/v1/list")[1]["Allow"] == "POST, GET, HEAD")
    check("GET changes nothing", ask("GET", "/api/v1/promote")[0] == 405)


def pages(target, member, key):
    got, token, n = [], None, 0
    while token is not None or n == 0:
        status, head, reply = ask("GET", target + "page_size=2" + (f"&page_token={token}" if token else ""))
        if status != 200:
            return [reply]
        got.append([e[key] for e in reply[member]])
        token = reply.get("next_page_token")
        if len(got[-1]) > 2 or (token is not None) != ("Link" in head):
            return [status]
        n += 1
        if n > 100:
            break
    return got


def paging():
    got = pages("/api/v1/list?", "versions", "number")
    check("a list comes in pages", got == [[1, 2], [3]], got)
    whole = [e["seq"] for e in ask("GET", "/api/v1/audit/log")[2]["events"]]
    got = [s for page in reversed(pages("/api/v1/audit/log?", "events", "seq")) for s in page]
    check("the log comes in pages, from the newest back", got[:len(whole)] == whole, (got[:9], whole[:9]))
    got = pages("/api/v1/log?model=fraud&", "history", "seq")
    check("so does a model's history", sum(got, []) == sorted(sum(got, []), reverse=True) and len(got) > 1, got)
    check("a token of another list is refused",
          ask("GET", "/api/v1/list?page_size=2&page_token=s4")[0] == 400)


def once():
    note = {"ref": "fraud@1", "text": "looked at it"}
    first = ask("POST", "/api/v1/note", note, Idempotency_Key='"k1"')
    second = ask("POST", "/api/v1/note", note, Idempotency_Key="k1")
    check("a call with a key happens once", first[0] == second[0] == 200 and second[2].get("replayed") is True, second)
    other = ask("POST", "/api/v1/note", note | {"text": "no"}, Idempotency_Key="k1")
    check("the key belongs to that call", other[0] == 409, other)
    check("a verb without keys refuses one", ask("POST", "/api/v1/gc", {"dry_run": True}, Idempotency_Key="k")[0] == 400)


def match():
    digest = {v["number"]: v["digest"] for v in ask("GET", "/api/v1/list")[2]["versions"]}
    go = lambda verb, body, tag: ask("POST", "/api/v1/" + verb, body, If_Match=tag)[0]
    to = lambda n: {"ref": f"fraud@{n}", "to": "production"}
    check("nothing is live yet", go("promote", to(1), '"r1"') == 412)
    check("a first promotion", ask("POST", "/api/v1/promote", to(1))[0] == 200)
    check("only while that release is live", go("promote", to(2), '"r1"') == 200)
    status, _, problem = ask("POST", "/api/v1/promote", to(3), If_Match='"r1"')
    check("not when it has moved", (status, problem["exit_code"]) == (412, 3), problem)
    check("by the digest of what is live", go("promote", to(3), f'"{digest[2]}"') == 200)
    check("not by another", go("rollback", {"ref": "fraud@production"}, f'"{digest[2]}"') == 412)
    check("rollback, too", go("rollback", {"ref": "fraud@production"}, f'"{digest[3]}"') == 200)
    check("and freeze", go("freeze", {"ref": "fraud@production", "reason": "x"}, f'"{digest[3]}"') == 412)
    detail = ask("GET", "/api/v1/audit/log?verb=promote&limit=1")[2]["events"][0]["detail"]
    check("how it is known who moved it is on record", detail.get("via") == "socket" and "trace" in detail, detail)
    check("where it makes no sense it is refused", go("note", {"ref": "fraud@1", "text": "x"}, '"r1"') == 400)


def events():
    status, head, text = ask("POST", "/api/v1/inspect", {"ref": "fraud@1"}, Accept="text/event-stream")
    lines = text.decode().splitlines()
    good = head["Content-Type"] == "text/event-stream" and "event: reply" in lines
    check("an answer as events", good and json.loads([l for l in lines if l.startswith("data: ")][-1][6:])["number"] == 1, text)
    text = ask("POST", "/api/v1/inspect", {"ref": "fraud@9"}, Accept="text/event-stream")[2].decode()
    problem = [l for l in text.splitlines() if l.startswith("data: ")][-1]
    check("a problem, too", "event: problem" in text and json.loads(problem[6:])["exit_code"] == 7, text)
    trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    ask("GET", "/api/v1/inspect?ref=fraud@2", traceparent=trace)
    last = ask("GET", "/api/v1/audit/log?verb=inspect&limit=1")[2]["events"][0]["detail"]
    check("who asked, how, and the trace are on record", (last["via"], last["trace"]) == ("socket", trace), last)


def log():
    def lines():
        with open(LOG) as f:
            return [json.loads(l) for l in f]
    status, _, _ = ask("GET", "/healthz?token=slc_secret")
    until(lambda: lines()[-1]["path"] == "/healthz")  # a line is written after the answer
    lines = lines()
    check("a line for each request", lines[-1]["path"] == "/healthz" and lines[-1]["status"] == 200, lines[-1])
    check("without the query", not any("slc_secret" in json.dumps(l) for l in lines))
    os.rename(LOG, LOG + ".1")
    os.kill(PID, signal.SIGHUP)
    check("a log that was moved away is begun anew", until(lambda: os.path.exists(LOG)))
    ask("GET", "/readyz")
    check("and gone on with", until(lambda: "/readyz" in open(LOG).read()))


def death():
    c = begin("ramp", {"stay": True})
    check("a call that stays", until(lambda: b'\nsluice_workers{state="busy"} 1\n' in ask("GET", "/metrics")[2]))
    time.sleep(0.5)
    while not select.select([c.sock], [], [], 0.1)[0]:
        for w in workers():
            try:
                os.kill(w, signal.SIGKILL)
            except ProcessLookupError:
                pass
    r = c.getresponse()
    problem = json.loads(r.read())
    check("a worker that dies is a problem that says so",
          r.status == 500 and "whether it took effect is not known" in problem["detail"], problem)
    check("the next call gets another", ask("GET", "/api/v1/list")[0] == 200)


def crowd():
    """Long calls take all their places; a rollback and a look are answered all the same."""
    ask("POST", "/api/v1/promote", {"ref": "fraud@1", "to": "production"})
    calls = [begin("ramp", {"stay": True}) for _ in range(40)]
    check("forty long calls", until(lambda: len(workers()) >= 32), len(workers()))
    begun = time.monotonic()
    status, _, reply = ask("POST", "/api/v1/rollback", {"ref": "fraud@production"})
    check("a rollback finds a worker", status == 200 and time.monotonic() - begun < 25, (status, reply))
    check("and short calls theirs", ask("GET", "/api/v1/status")[0] == 200)
    for c in calls:
        c.close()
    begun = time.monotonic()
    status, _, _ = ask("POST", "/api/v1/gc", {"dry_run": True})
    check("callers that are gone are waited for no more", status == 200 and time.monotonic() - begun < 25, status)


def end():
    """What was begun is answered; nobody new is let in."""
    slow, late, idle = Connection(), Connection(), Connection()
    idle.request("GET", "/readyz")
    ready = idle.getresponse()
    ready.read()
    slow.putrequest("POST", "/api/v1/list")
    slow.putheader("Content-Type", "application/json")
    slow.putheader("Content-Length", "2")
    slow.endheaders()
    slow.send(b"{")
    late.connect()
    late.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n")  # its last line comes after the signal
    time.sleep(0.3)
    os.kill(PID, signal.SIGTERM)

    def closed():
        try:
            Connection().connect()
            return False
        except OSError:
            return True
    check("nobody new", until(closed))
    late.send(b"\r\n")
    r = http.client.HTTPResponse(late.sock)
    r.begin()
    text = r.read()
    check("ready before, not ready after the signal", (ready.status, r.status) == (200, 503), text)
    check("connections end", r.headers["Connection"] == "close")
    check("also who asks for nothing", idle.sock.recv(1) == b"")
    after = subprocess.Popen(["sluice", "serve", "--socket", PATH], stderr=subprocess.DEVNULL)
    until(lambda: not closed())
    slow.send(b"}")
    r = slow.getresponse()
    check("what was begun is answered", r.status == 200 and "versions" in json.loads(r.read()), r.status)
    until(lambda: b"serve" not in cmdline(PID))  # its shell may not have asked how it ended
    check("the next service has the socket, whenever this one ends", not closed())
    after.terminate()
    check("and ends well", after.wait() == 0)


for part in (tags, paging, once, events, match, log, death, crowd, end):
    try:
        part()
    except Exception as e:  # the others are to be tried, too
        check(part.__name__, False, repr(e))
