"""What a client and the service say to each other, kept and played again.

  wire.py record SOCKET SERVICE DIR   stands between them on a Unix socket; DIR gets a file
                                      NNN.http for each request
  wire.py replay SERVICE DIR          sends the requests again, to the service of today, and
                                      holds its answers against what was relied on then
  wire.py odd SOCKET SERVICE          stands between them and adds members, headers and events
                                      that no client knows to each answer
  wire.py age SOCKET SERVICE VERSION  stands between them as a service of that release, which
                                      knows no verb `key list`, and of `hook list` not all fields

A file is the request as it was sent (with its length), and after a line ">>>" JSON of the answer:
its status, the headers that clients look at, and for a body of JSON the names and types of all its
members. Values count where they follow from what was sent: digests, numbers, names, exit codes.
"""
import http.client, http.server, json, os, socket, socketserver, sys, threading

HEADERS = ("content-type", "etag", "accept-ranges", "content-range", "link", "location")
VALUES = ("model", "number", "digest", "verdict", "exit_code", "code", "state", "new", "bytes", "tree", "path", "size", "version", "alias")
DROPPED = ("host", "connection", "content-length", "transfer-encoding", "expect", "authorization")


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self.path)


def ask(service, method, path, headers, body):
    c = Unix(service)
    c.request(method, path, body or None, headers)
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, {k.lower(): v for k, v in r.getheaders()}, data


def shape(v):
    """A value's type, and what it is where that counts."""
    if isinstance(v, dict):
        return {k: x if k in VALUES and not isinstance(x, (dict, list)) else shape(x) for k, x in v.items()}
    if isinstance(v, list):
        return [shape(v[0])] if v else []
    return {bool: "<bool>", int: "<number>", float: "<number>", str: "<text>", type(None): "<null>"}[type(v)]


def events(data):
    """name, document of each of a text/event-stream"""
    for block in data.decode().split("\n\n"):
        lines = dict(l.split(": ", 1) for l in block.splitlines() if ": " in l and not l.startswith(":"))
        if "data" in lines:
            yield lines.get("event", "message"), json.loads(lines["data"])


def answer_of(status, headers, data):
    out = {"status": status, "headers": {k: headers[k] for k in HEADERS if k in headers}}
    kind = headers.get("content-type", "")
    if kind.startswith(("application/json", "application/problem+json")) and data:
        out["body"] = shape(json.loads(data))
    elif kind.startswith("text/event-stream"):
        last = list(events(data))[-1]
        out["last_event"], out["body"] = last[0], shape(last[1])
    elif data:
        out["bytes"] = len(data)
    return out


class Between(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = dir = odd = age = None
    n, lock = 0, threading.Lock()

    def log_message(self, *a):
        pass

    def address_string(self):
        return "unix"

    def take(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do(self):
        body = self.take()
        sent = {k: v for k, v in self.headers.items() if k.lower() not in DROPPED}
        path = self.path
        if self.age and path == "/api/v1/key/list":
            path = "/api/v1/key/of_another_release"
        if self.age and path == "/api/v1/hook/list":
            body = json.dumps({**json.loads(body), "of_another_release": True})
        status, headers, data = ask(self.service, self.command, path, sent, body)
        if self.age:
            headers["server"] = "sluice/" + self.age
        if self.dir:
            answer = answer_of(status, headers, data)
            if self.command == "POST" and self.path == "/api/v1/uploads" and status < 300:
                answer["upload"] = json.loads(data)["id"]
            self.keep(sent, body, answer)
        if self.odd:
            data = self.made_odd(headers, data)
        self.send_response_only(status)
        for k, v in headers.items():
            if k not in DROPPED:
                self.send_header(k, v)
        if self.odd:
            self.send_header("X-From-The-Future", "yes")
        if status != 204 and status != 304:
            self.send_header("Content-Length", headers["content-length"] if self.command == "HEAD" and "content-length" in headers else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do

    def keep(self, sent, body, answer):
        text = f"{self.command} {self.path} HTTP/1.1\n" + "".join(f"{k}: {v}\n" for k, v in sent.items())
        with Between.lock:
            Between.n += 1
            with open(f"{self.dir}/{Between.n:03}.http", "wb") as f:
                f.write(f"{text}Content-Length: {len(body)}\n\n".encode() + body)
                f.write(b"\n>>>\n" + json.dumps(answer, indent=1, sort_keys=True).encode() + b"\n")

    @staticmethod
    def made_odd(headers, data):
        kind = headers.get("content-type", "")
        more = {"from_the_future": {"deep": [1, {"er": None}]}, "zz": "\u00e9"}
        if "json" in kind and data:
            doc = json.loads(data)
            return json.dumps({**more, **doc}).encode() if isinstance(doc, dict) else data
        if kind.startswith("text/event-stream"):
            head = b": a comment\nevent: from-the-future\nid: 7\nretry: 10\ndata: {\"a\": 1}\n\n"
            return head + b"".join(
                f"event: {name}\ndata: {json.dumps({**more, **doc} if isinstance(doc, dict) else doc)}\n\n".encode() for name, doc in events(data))
        return data


def fits(then, now, where, faults):
    """All that was there is there still, of the same type."""
    if isinstance(then, dict):
        if not isinstance(now, dict):
            return faults.append(f"{where}: {now!r} is no object")
        for k, v in then.items():
            if k not in now:
                faults.append(f"{where}.{k} is gone")
            else:
                fits(v, now[k], f"{where}.{k}", faults)
    elif isinstance(then, list):
        if not isinstance(now, list):
            faults.append(f"{where}: {now!r} is no list")
        elif then and now:
            fits(then[0], now[0], f"{where}[0]", faults)
        elif then:
            faults.append(f"{where} is empty")
    elif then != now and "<null>" not in (then, now):
        faults.append(f"{where}: {now!r}, was {then!r}")


def replay(service, dir):
    names, bad = {}, 0  # of uploads: then -> now
    files = sorted(f for f in os.listdir(dir) if f.endswith(".http"))
    for file in files:
        raw, _, said = open(f"{dir}/{file}", "rb").read().rpartition(b"\n>>>\n")
        then = json.loads(said)
        head, _, body = raw.partition(b"\n\n")
        first, *lines = head.decode().split("\n")
        method, path, _ = first.split(" ")
        headers = dict(l.split(": ", 1) for l in lines)
        for a, b in names.items():
            path = path.replace(a, b)
        status, got, data = ask(service, method, path, headers, body)
        faults = []
        if status != then["status"]:
            faults.append(f"status {status}, was {then['status']}: {data[:300]!r}")
        else:
            now = answer_of(status, got, data)
            for k in ("last_event", "bytes", "body"):
                if k in then:
                    fits(then[k], now.get(k), k, faults)
            for k, v in then["headers"].items():
                if k == "content-type" and got.get(k, "").split(";")[0] != v.split(";")[0]:
                    faults.append(f"{k}: {got.get(k)}, was {v}")
                elif k not in got:
                    faults.append(f"header {k} is gone")
        # an upload's name is made anew each time
        kept = then.get("upload")
        if kept and status < 300:
            names[kept] = json.loads(data)["id"]
        if faults:
            bad += 1
            print(f"{file}: {method} {path}")
            print("\n".join("  " + f for f in faults))
    print(f"{len(files)} requests, {bad} answered otherwise")
    return bad == 0 and len(files) > 0


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "replay":
        sys.exit(0 if replay(*rest) else 1)
    Between.service, Between.odd = rest[1], what == "odd"
    if what == "age":
        Between.age = rest[2]
    if what == "record":
        Between.dir = rest[2]
        os.makedirs(rest[2], exist_ok=True)
    Server(rest[0], Between).serve_forever()
