"""Bytes that are no HTTP, on a plain port and on one of TLS; clients that are slow, or gone; more than
one request in a piece. usage: service_bytes.py PORT TLS_PORT SOCKET
Prints "ok NAME" or "not ok NAME: why"."""
import os
import re
import resource
import socket
import ssl
import struct
import sys
import time

PLAIN, TLS, PATH = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def check(name, good, why=""):
    print("ok " + name if good else f"not ok {name}: {str(why)[:400]}", flush=True)


def connect(where):
    s = socket.socket(socket.AF_UNIX) if where == PATH else socket.socket()
    s.settimeout(120)
    s.connect(where if where == PATH else ("127.0.0.1", where))
    return s


def read(s):
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except OSError:
        pass
    return data


def honest(name):
    s = connect(PLAIN)
    s.sendall(HEALTH)
    got = s.recv(1000)
    context = ssl._create_unverified_context()
    with context.wrap_socket(connect(TLS)) as t:
        t.sendall(HEALTH)
        tls = t.recv(1000)
    check("after " + name + " the next is answered", got.startswith(b"HTTP/1.1 200") and tls.startswith(b"HTTP/1.1 200"),
          (got, tls))


# What is not what the port speaks.
s = connect(TLS)
s.sendall(HEALTH)
got = read(s)
check("HTTP on the TLS port gets no answer of HTTP", not got.startswith(b"HTTP/1.1 200"), got)
s = connect(PLAIN)
try:
    ssl._create_unverified_context().wrap_socket(s)
    check("TLS on the plain port does not hold", False)
except OSError as e:
    check("TLS on the plain port does not hold", True)
honest("the wrong protocol")
for name, data in (("noise", os.urandom(5000)), ("a TLS record of noise", b"\x16\x03\x01\x40\x00" + os.urandom(0x4000)),
                   ("an alert", b"\x15\x03\x03\x00\x02\x02\x28"), ("zeros", bytes(100000)),
                   ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")):
    for port in (PLAIN, TLS):
        s = connect(port)
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        got = read(s)
        check(f"{name} on the {'TLS' if port == TLS else 'plain'} port", b" 200 " not in got, got)
honest("noise")
old = ssl._create_unverified_context()
old.minimum_version = ssl.TLSVersion.TLSv1
old.maximum_version = ssl.TLSVersion.TLSv1_1
try:
    old.wrap_socket(connect(TLS))
    check("TLS 1.1 is refused", False)
except OSError:
    check("TLS 1.1 is refused", True)

# Several requests in one piece are answered in turn.
s = connect(PLAIN)
s.sendall(HEALTH * 50 + HEALTH.replace(b"Host", b"Connection: close\r\nHost"))
got = read(s)
check("51 requests in one piece get 51 answers", got.count(b"HTTP/1.1 200") == 51, got.count(b"HTTP/1.1"))
s = connect(PATH)
s.sendall(b"POST /api/v1/list HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" * 20
          + HEALTH.replace(b"Host", b"Connection: close\r\nHost"))
check("verbs, too", read(s).count(b"HTTP/1.1 200") == 21)
s = connect(PLAIN)
for b in HEALTH:
    s.sendall(bytes([b]))
check("byte by byte", s.recv(100).startswith(b"HTTP/1.1 200"))

# Clients that vanish, in each phase; with a reset, and without.
for reset in (False, True):
    for data in (b"", HEALTH[:10], HEALTH, HEALTH[:-2], b"POST /api/v1/list HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
                 b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20):
        for where in (PLAIN, PATH):
            for _ in range(20):
                s = connect(where)
                s.sendall(data)
                if reset and where == PLAIN:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
honest("480 who vanished")

# Who reads nothing of what he asked for keeps nobody from working.
def post(path, data, s=None):
    s = s or connect(PATH)
    s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, len(data)) + data)
    return s


def busy():
    s = connect(PATH)
    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return int(re.search(rb'sluice_workers{state="busy"} (\d+)', read(s))[1])


lazy, begun = [], []
while len(lazy) < 520:
    some = [connect(PATH) for _ in range(40)]
    for s in some:
        s.sendall(b"GET /pull/fraud/1.tar HTTP/1.1\r\nHost: x\r\n\r\n")
    begun += [s.recv(12) for s in some]
    lazy += some
got = post(b"/api/v1/list", b"{}").recv(12)
check("520 archives that nobody reads, and a verb is carried out", got == b"HTTP/1.1 200", (got, set(begun)))
for s in lazy:
    s.close()
held, refused = [], 0
for _ in range(30):  # bodies of 4 MB that do not end
    s = connect(PATH)
    s.sendall(b"POST /api/v1/list HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
    try:
        s.sendall(b" " * 3990000)
    except OSError:
        pass
    held.append(s)
got = post(b"/api/v1/list", b"{}").recv(12)
check("30 bodies of 4 MB on their way, and a small one is taken", got == b"HTTP/1.1 200", got)
for s in held:
    try:
        s.sendall(b" " * 9998 + b"{}")
        refused += s.recv(12) == b"HTTP/1.1 503"
    except OSError:
        refused += 1
    s.close()
check("not all of these", 10 < refused < 30, refused)
got = post(b"/api/v1/list", b" " * 3999998 + b"{}").recv(12)
check("with room again, the next is", got == b"HTTP/1.1 200", got)
s = post(b"/api/v1/run", b'{"ref": "fraud@1", "input_exprs": "image=np.ones((1,8,8,1))", "profile": true, "profile_runs": 100000000}')
end = time.monotonic() + 60
while busy() == 0 and time.monotonic() < end:
    time.sleep(0.1)
was = busy()
s.close()
while busy() > 0 and time.monotonic() < end:
    time.sleep(0.1)
check("who goes away while his model runs ends it", was == 1 and busy() == 0, (was, busy()))
def sip():
    """A reader that takes some 300 bytes a second: the library sees it move."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(70)
    s.connect(("127.0.0.1", PLAIN))
    data = b'{"ref": "fraud@1", "paths": ["assets.extra/big"]}'
    s.sendall(b"POST /api/v1/cat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
              % (os.environ["SLUICE_TOKEN"].encode(), len(data)) + data)
    return s


readers = [sip() for _ in range(3)]
check("a slow reader has a worker", all(s.recv(12) == b"HTTP/1.1 200" for s in readers) and busy() >= 3)
readers_since, readers_ended = time.monotonic(), None

# 5,000 who say nothing, while others work.
silent = []
try:
    while len(silent) < 5000:
        silent.append(connect((PLAIN, PLAIN, PATH, TLS)[len(silent) % 4]))
except OSError:
    pass  # so many descriptors there are
check("as many as there may be descriptors", len(silent) > 500, len(silent))
honest("those who say nothing, while they are there,")
got = post(b"/api/v1/list", b"{}").recv(12)
check("and a verb is carried out", got == b"HTTP/1.1 200", got)
for s in silent:
    s.close()

# Slow on purpose: a head that comes by bytes ends in 20 s, a body in 30 s; others wait for neither.
head, body, idle = connect(PLAIN), connect(PATH), connect(TLS)
body.sendall(b"POST /api/v1/list HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
slow = {"head": head, "body": body}
many = [connect(PLAIN) for _ in range(500)]
for s in many:
    s.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
for _ in range(3):
    honest("500 slow ones, while they are there,")
begun, ended = time.monotonic(), {}
while (len(ended) < 2 or readers_ended is None) and time.monotonic() - begun < 240:
    for name, s in slow.items():
        if name in ended:
            continue
        try:
            s.sendall(b"G" if name == "head" else b" ")
            s.settimeout(0.01)
            if s.recv(100) == b"":
                ended[name] = time.monotonic() - begun
        except socket.timeout:
            pass
        except OSError:
            ended[name] = time.monotonic() - begun
    for s in readers:
        try:
            s.recv(150)
        except OSError:
            pass
    if readers_ended is None and busy() == 0:
        readers_ended = time.monotonic() - readers_since
    time.sleep(0.5)
check("a slow head is ended", 10 < ended.get("head", 0) < 60, ended)
check("a slow body is ended", 25 < ended.get("body", 0) < 90, ended)
check("and a slow reader loses it", readers_ended is not None and readers_ended > 30, readers_ended)
gone = 0
for s in many:
    s.settimeout(60)
    try:
        gone += s.recv(100) == b""
    except ConnectionError:
        gone += 1
    except OSError:
        pass
check("and so are 500 others", gone == 500, gone)
