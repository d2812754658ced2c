"""Bytes that are no HTTP, on a plain port and on one of TLS; clients that are slow, or gone; more than
one request in a piece. usage: service_bytes.py PORT TLS_PORT SOCKET
Prints "ok NAME" or "not ok NAME: why"."""
import os
import socket
import ssl
import struct
import sys
import time

PLAIN, TLS, PATH = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
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
while len(ended) < 2 and time.monotonic() - begun < 120:
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
    time.sleep(0.5)
check("a slow head is ended", 10 < ended.get("head", 0) < 60, ended)
check("a slow body is ended", 25 < ended.get("body", 0) < 90, ended)
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
