"""Walks the operations that the service describes, over one connection of stdio.
usage: service_walk.py openapi|reach AS
  openapi  calls each once, as its example says: known, of the promised type, no breakdown
  reach    puts paths and addresses of this machine into each text of each verb: none may be
           opened, made or asked
Prints what is wrong, and last "N calls"."""
import ctypes
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import urllib.parse


class Service:
    def __init__(self, subject):
        self.subject, self.n, self.bad = subject, 0, 0
        self.begin()

    def begin(self):
        self.p = subprocess.Popen(["sluice", "serve", "--stdio", "--as", self.subject],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, method, target, body=None, headers=()):
        answer = self.say(method, target, body, headers)
        if answer[1].get("connection") == "close":
            self.bad += self.end() != 0
            self.begin()
        return answer

    def say(self, method, target, body, headers):
        self.n += 1
        data = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(data)}",
                *headers]
        if data:
            head.append("Content-Type: application/json")
        self.p.stdin.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        self.p.stdin.flush()
        out = self.p.stdout
        status = int(out.readline().split()[1])
        got = {}
        while (line := out.readline().strip()):
            key, value = line.decode().split(":", 1)
            got[key.lower()] = value.strip()
        if method == "HEAD" or status in (204, 304):
            return status, got, b""
        if got.get("transfer-encoding") == "chunked":
            text = b""
            while (n := int(out.readline(), 16)):
                text += out.read(n)
                out.readline()
            while out.readline().strip():  # trailers
                pass
            return status, got, text
        return status, got, out.read(int(got.get("content-length", 0)))

    def end(self):
        self.p.stdin.close()
        return self.p.wait()


def example(op):
    return op["requestBody"]["content"]["application/json"].get("example", {})


def query(op):
    return urllib.parse.urlencode([(p["name"], p["example"])
                                   for p in op.get("parameters", [])
                                   if p["in"] == "query" and "example" in p], doseq=True)


def openapi(s, doc):
    for path, item in doc["paths"].items():
        for method, op in item.items():
            target = re.sub(r"\{[^}]*\}", "x", path)
            body = None
            if method == "post" and "requestBody" in op:
                body = example(op)
            elif method == "get" and query(op):
                target += "?" + query(op)
            status, head, text = s.ask(method.upper(), target, body)
            kind = head.get("content-type", "").split(";")[0]
            kinds = list(op["responses"]["200"]["content"])
            wrong = None
            if status >= 400:
                if kind != "application/problem+json":
                    wrong = "no problem document"
                else:
                    problem = json.loads(text)
                    if status != 404 and "there is nothing at" in problem["detail"]:
                        wrong = "not served"
                    missing = set(doc["components"]["schemas"]["Problem"]["required"]) - set(problem)
                    if missing or problem["status"] != status:
                        wrong = f"a problem without {missing}"
                    if "x-sluice-right" in op and re.search(r"takes no|must be a|needs ", problem["detail"]) and problem["exit_code"] == 2:
                        wrong = "its example is not one: " + problem["detail"]
                    if "there is nothing at" in problem["detail"] or "there is no verb" in problem["detail"]:
                        wrong = "not served"
                if status >= 500 and status not in (501, 503):
                    wrong = "broke down: " + text.decode()
                if status == 405:
                    wrong = "not this method"
            elif "*/*" not in kinds and kind not in kinds:
                wrong = f"is {kind}, not {kinds}"
            if wrong:
                print(method, target, status, wrong)
    for verb, why in doc["x-sluice-not-carried"].items():
        status, _, text = s.ask("POST", "/api/v1/" + verb.replace("_", "/"), {})
        if status != 501 or why not in json.loads(text)["detail"]:
            print(verb, "is not refused:", status, text)


class Watch:
    """Tells whether anything below a directory was opened or made."""

    def __init__(self, top):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_NONBLOCK)
        for d, _, _ in os.walk(top):
            if self.libc.inotify_add_watch(self.fd, d.encode(), 0x20 | 0x1 | 0x2 | 0x100 | 0x200 | 0x40 | 0x80) < 0:
                raise OSError(ctypes.get_errno(), d)
        self.moved()  # by the walk itself

    def moved(self):
        try:
            return bool(os.read(self.fd, 65536))
        except BlockingIOError:
            return False


def reach(s, doc):
    top = tempfile.mkdtemp(dir=".")
    top = os.path.abspath(top)
    os.mkdir(top + "/dir")
    for name in ("/secret", "/dir/saved_model.pb", "/dir/golden.json"):
        with open(top + name, "w") as f:
            f.write('TOPSECRET {"golden": 1}')
    door = socket.create_server(("127.0.0.1", 0))
    door.settimeout(0)
    port = door.getsockname()[1]
    watch = Watch(top)
    address = f"http://127.0.0.1:{port}/v1/models/x"
    values = [top + "/secret", top + "/dir", f"x={top}/secret", f"log:{top}/secret",
              f"exec:cat {top}/secret", top + "/new", address, "prometheus:" + address,
              os.path.relpath(top + "/dir")]
    for path, item in doc["paths"].items():
        op = item.get("post", {})
        if not path.startswith("/api/v1/") or "x-sluice-right" not in op:
            continue
        schema = op["requestBody"]["content"]["application/json"]["schema"]
        base = {k: v for k, v in example(op).items() if k in schema.get("required", [])}
        for name, field in schema["properties"].items():
            if field["type"] not in ("string", "array") or name == "idempotency_key":
                continue
            for value in values:
                body = dict(base, **{name: [value] if field["type"] == "array" else value})
                status, _, text = s.ask("POST", path, body)
                if watch.moved() or b"TOPSECRET" in text or os.path.exists(top + "/new"):
                    print(path, name, value, status, "reached it:", text[:300])
                try:
                    door.accept()
                    print(path, name, value, status, "asked the address")
                except BlockingIOError:
                    pass


s = Service(sys.argv[2])
doc = json.loads(s.ask("GET", "/api/v1/openapi.json")[2])
{"openapi": openapi, "reach": reach}[sys.argv[1]](s, doc)
n = s.n
print(f"{n} calls" if s.end() + s.bad == 0 else "the service ended badly")
