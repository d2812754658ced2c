"""Says HTTP by hand; prints "good|bad NAME STATUS closed|open" for each form.
usage: http_forms.py unix SOCKET | tcp PORT | tls PORT | stdio    ($SLUICE_TOKEN: for tcp and tls)"""
import os
import re
import select
import socket
import ssl
import subprocess
import sys
import time

HOW, WHERE = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
TOKEN = os.environ.get("SLUICE_TOKEN", "")
H = b"Host: x\r\n"
AUTH = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n" if HOW in ("tcp", "tls") else b""
LIST = b"POST /api/v1/list HTTP/1.1\r\n" + H + AUTH
HEALTH = b"GET /healthz HTTP/1.1\r\n"
CHUNKED = LIST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(target):
    return b"GET " + target + b" HTTP/1.1\r\n" + H + b"\r\n"


def body(data):
    return LIST + b"Content-Length: %d\r\n\r\n" % len(data) + data


FORMS = {  # name: (bytes, the status it must get, whether the connection must end)
    "plain": (HEALTH + H + b"\r\n", 200, False),
    "chunked": (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", 200, False),
    "two-lengths": (LIST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400, True),
    "same-lengths": (LIST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, True),
    "length-list": (LIST + b"Content-Length: 2, 2\r\n\r\n{}", 400, True),
    "length-sign": (LIST + b"Content-Length: +2\r\n\r\n{}", 400, True),
    "length-minus": (LIST + b"Content-Length: -2\r\n\r\n{}", 400, True),
    "length-none": (LIST + b"Content-Length: \r\n\r\n{}", 400, True),
    "length-huge": (LIST + b"Content-Length: 99999999999999999999\r\n\r\n{}", 413, True),
    "length-and-chunked": (LIST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, True),
    "chunked-and-length": (LIST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, True),
    "chunked-twice": (LIST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, True),
    "encoding-other": (LIST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, True),
    "encoding-like": (LIST + b"Transfer-Encoding: xchunked\r\n\r\n", 501, True),
    "chunked-in-1.0": (b"POST /api/v1/list HTTP/1.0\r\n" + H + AUTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, True),
    "fold": (HEALTH + H + b"X: a\r\n b\r\n\r\n", 400, True),
    "fold-encoding": (b"POST /healthz HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, True),
    "fold-first": (HEALTH + b" Host: x\r\nHost: x\r\n\r\n", 400, True),
    "blank-before-colon": (HEALTH + H + b"X : a\r\n\r\n", 400, True),
    "no-colon": (HEALTH + H + b"XX\r\n\r\n", 400, True),
    "no-name": (HEALTH + H + b": a\r\n\r\n", 400, True),
    "control": (HEALTH + H + b"X: a\x01b\r\n\r\n", 400, True),
    "nul": (HEALTH + H + b"X: a\0b\r\n\r\n", 400, True),
    "bare-cr": (HEALTH + H + b"X: a\rb\r\n\r\n", 400, True),
    "bare-lf": (b"GET /healthz HTTP/1.1\nHost: x\n\n", 400, True),
    "bare-lf-header": (HEALTH + b"Host: x\nX: y\r\n\r\n", 400, True),
    "bare-lf-end": (HEALTH + H + b"\n", 400, True),
    "no-host": (HEALTH + b"\r\n", 400, True),
    "two-hosts": (HEALTH + H + H + b"\r\n", 400, True),
    "absolute": (get(b"http://x/healthz"), 400, True),
    "connect": (b"CONNECT x:80 HTTP/1.1\r\n" + H + b"\r\n", 400, True),
    "http-0.9": (b"GET /healthz\r\n\r\n", 400, True),
    "http-2": (b"GET /healthz HTTP/2.0\r\n" + H + b"\r\n", 505, True),
    "blank-in-target": (get(b"/healthz x"), 400, True),
    "two-blanks": (get(b" /healthz"), 400, True),
    "nul-in-target": (get(b"/heal\0thz"), 400, True),
    "byte-in-target": (get(b"/heal\xffthz"), 400, True),
    "%2f": (get(b"/api%2fv1/list"), 400, True),
    "%00": (get(b"/healthz%00"), 400, True),
    "%0a": (get(b"/healthz%0a"), 400, True),
    "%zz": (get(b"/healthz%zz"), 400, True),
    "%-at-end": (get(b"/healthz%"), 400, True),
    "%ff": (get(b"/healthz%ff"), 400, True),
    "dots": (get(b"/a/../healthz"), 400, True),
    "%2e": (get(b"/a/%2e%2e/healthz"), 400, True),
    "long-target": (get(b"/" + b"a" * 5000), 400, True),
    "longer-target": (get(b"/" + b"a" * 100000), 414, True),
    "chunk-no-size": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400, True),
    "chunk-0x": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400, True),
    "chunk-sign": (CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", 400, True),
    "chunk-blank": (CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n", 400, True),
    "chunk-overflow": (CHUNKED + b"10000000000000002\r\n{}\r\n0\r\n\r\n", 413, True),
    "chunk-too-short": (CHUNKED + b"2\r\n{}x\r\n0\r\n\r\n", 400, True),
    "headers-1MB": (HEALTH + H + b"X: " + b"a" * 1000000 + b"\r\n\r\n", 431, True),
    "headers-many": (HEALTH + H + b"X: y\r\n" * 100000 + b"\r\n", 431, True),
    "body-too-long": (LIST + b"Content-Length: 5000000\r\n\r\n", 413, True),
    "body-too-long-chunked": (CHUNKED + (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 5 + b"0\r\n\r\n", 413, True),
    "json-deep": (LIST + b"Content-Length: 200000\r\n\r\n" + b"[" * 200000, 400, False),
    "json-twice": (LIST + b'Content-Length: 25\r\n\r\n{"model":"a","model":"b"}', 400, False),
    "json-none": (LIST + b"Content-Length: 3\r\n\r\n{},", 400, False),
    "json-list": (LIST + b"Content-Length: 2\r\n\r\n[]", 400, False),
    "json-nul": (LIST + b'Content-Length: 18\r\n\r\n{"model":"\\u0000"}', 400, False),
    "not-json": (LIST + b"Content-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", 415, False),
    "chunked-upper": (LIST + b"tRANSFER-encoding:\tCHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200, False),
    "chunked-blank-after": (LIST + b"Transfer-Encoding: chunked \r\n\r\n2\r\n{}\r\n0\r\n\r\n", (400, 501), True),
    "chunked-vt": (LIST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, True),
    "chunked-quoted": (LIST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501, True),
    "chunked-comma": (LIST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 501, True),
    "chunked-list": (LIST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501, True),
    "chunked-param": (LIST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501, True),
    "identity": (LIST + b"Transfer-Encoding: identity\r\n\r\n", 501, True),
    "encoding-none": (LIST + b"Transfer-Encoding:\r\nContent-Length: 2\r\n\r\n{}", 400, True),
    "length-blank": (LIST + b"Content-Length: 2 2\r\n\r\n{}", 400, True),
    "length-hex": (LIST + b"Content-Length: 0x2\r\n\r\n{}", 400, True),
    "length-dot": (LIST + b"Content-Length: 2.0\r\n\r\n{}", 400, True),
    "length-2^64+2": (LIST + b"Content-Length: 18446744073709551618\r\n\r\n{}", 413, True),
    "length-zeros": (LIST + b"Content-Length: 002\r\n\r\n{}", 200, False),
    "chunk-extension": (CHUNKED + b'2;a=b;c="d"\r\n{}\r\n0;x\r\n\r\n', 200, False),
    "chunk-extension-100kB": (CHUNKED + b"2;" + b"a" * 100000 + b"\r\n{}\r\n0\r\n\r\n", (413, 431, 500), True),
    "chunk-plus": (CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n", 400, True),
    "chunk-no-end": (CHUNKED + b"2\r\n{}0\r\n\r\n", 400, True),
    "trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\n\r\n", 200, False),
    "trailer-1MB": (CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"a" * 1000000 + b"\r\n\r\n", 431, True),
    "trailer-no-colon": (CHUNKED + b"2\r\n{}\r\n0\r\nXX\r\n\r\n", 400, True),
    "host-none": (HEALTH + b"Host:\r\n\r\n", 200, False),
    "hosts-50": (HEALTH + H * 50 + b"\r\n", 400, True),
    "star": (get(b"*"), 400, True),
    "trace": (b"TRACE /healthz HTTP/1.1\r\n" + H + b"\r\n", 405, False),
    "method-lower": (b"get /healthz HTTP/1.1\r\n" + H + b"\r\n", 405, False),
    "method-at": (b"G@T /healthz HTTP/1.1\r\n" + H + b"\r\n", 400, True),
    "http-1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 200, True),
    "http-1.0-keep": (b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, False),
    "http-01.1": (b"GET /healthz HTTP/01.1\r\n" + H + b"\r\n", 400, True),
    "http-lower": (b"GET /healthz http/1.1\r\n" + H + b"\r\n", 400, True),
    "upgrade-h2c": (HEALTH + H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n", 200, False),
    "expect": (LIST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", 100, False),
    "expect-too-long": (LIST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", 413, True),
    "expect-nothing": (b"POST /nothing HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", 404, True),
    "overlong": (get(b"/%c0%ae%c0%ae/healthz"), 400, True),
    "surrogate": (get(b"/%ed%a0%80"), 400, True),
    "%u": (get(b"/%u002e%u002e/healthz"), 400, True),
    "%252f": (get(b"/api%252fv1/list"), 404, False),
    "slash-slash": (get(b"//healthz"), 404, False),
    "hash": (get(b"/healthz#a"), 400, True),
    "query-%00": (b"GET /api/v1/list?model=%00 HTTP/1.1\r\n" + H + AUTH + b"\r\n", 400, True),
    "query-1000-parts": (b"GET /api/v1/list?" + b"a&" * 1000 + b" HTTP/1.1\r\n" + H + AUTH + b"\r\n", 400, True),
    "query-7000-parts": (b"GET /api/v1/list?" + b"a&" * 7000 + b" HTTP/1.1\r\n" + H + AUTH + b"\r\n", 400, True),
    "json-NaN": (body(b'{"limit":NaN}'), 400, False),
    "json-1e999": (body(b'{"limit":1e999}'), 400, False),
    "json-surrogate": (body(b'{"model":"\\ud800"}'), 400, False),
    "json-overlong": (body(b'{"model":"\xc0\xaf"}'), 400, False),
    "json-utf-16": (body("{}".encode("utf-16")), 400, False),
    "json-comma": (body(b'{"model":"x",}'), 400, False),
    "json-300000-members": (body(b"{" + b",".join(b'"k%d":1' % i for i in range(300000)) + b"}"), 400, False),
    "json-million-objects": (body(b'{"tag":[' + b"{}," * 1000000 + b"{}]}"), 400, False),
    "json-4MB-number": (body(b'{"limit":' + b"9" * 4000000 + b"}"), 400, False),
    # what follows an answer: (forms, the statuses of all answers, …)
    "after-404": (get(b"/nothing") + HEALTH + H + b"\r\n", [404, 200], False),
    "after-404-with-a-body": (b"POST /nothing HTTP/1.1\r\n" + H + b"Content-Length: 42\r\n\r\n" + get(b"/healthz")[:42].ljust(42) + HEALTH + H + b"\r\n", [404, 200], False),
    "after-404-with-chunks": (b"POST /nothing HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + HEALTH + H + b"\r\n", [404], True),
    "after-404-with-much": (b"POST /nothing HTTP/1.1\r\n" + H + b"Content-Length: 100000\r\n\r\n" + (HEALTH + H + b"\r\n") * 1000, [404], True),
    "after-400": (get(b"/a/../b") + HEALTH + H + b"\r\n", [400], True),
    "after-close": (HEALTH + H + b"Connection: close\r\n\r\n" + HEALTH + H + b"\r\n", [200], True),
    "after-two-lengths": (LIST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + HEALTH + H + b"\r\n", [400], True),
    "after-length-and-chunked": (LIST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HEALTH + H + b"\r\n", [400], True),
    "after-a-body-of-GET": (HEALTH + H + b"Content-Length: 5\r\n\r\nabcde" + HEALTH + H + b"\r\n", [200, 200], False),
    "token-in-trailer": (b"POST /api/v1/list HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n", 401 if AUTH else 200, False),
}


def connect():
    """Two functions: send(bytes), recv(seconds), whose b"" is the end, None: nothing came."""
    if HOW == "stdio":
        p = subprocess.Popen(["sluice", "serve", "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

        def recv(wait):
            return p.stdout.read(65536) if select.select([p.stdout], [], [], wait)[0] else None

        def end():
            p.stdin.close()
            p.stdout.close()
            p.wait()
        return p.stdin.write, recv, end
    s = socket.socket(socket.AF_UNIX) if HOW == "unix" else socket.socket()
    s.connect(WHERE if HOW == "unix" else ("127.0.0.1", int(WHERE)))
    if HOW == "tls":
        s = ssl._create_unverified_context().wrap_socket(s)
    s.settimeout(60)

    def recv(wait):
        s.settimeout(wait)
        try:
            return s.recv(65536)
        except TimeoutError:
            return None
        except OSError:
            return b""
    return s.sendall, recv, s.close


def statuses(answer):
    """Of all that is there; a body that looks like a head is none."""
    found = []
    while m := re.match(rb"HTTP/1\.1 (\d\d\d) ", answer):
        found.append(int(m[1]))
        head, _, rest = answer.partition(b"\r\n\r\n")
        n = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
        answer = rest[int(n[1]) if n else 0:]
    return found


def ask(data, n_wanted, ends):
    """What came until there are so many answers, and the end when there must be one."""
    send, recv, end = connect()
    try:
        send(data)
    except OSError:
        pass  # it has answered already
    answer, closed, until = b"", False, time.monotonic() + 60
    while time.monotonic() < until and not closed and (ends or len(statuses(answer)) < n_wanted):
        piece = recv(1)
        answer += piece or b""
        closed = piece == b""
    if not closed:  # and no more than that
        piece = recv(0.1)
        answer += piece or b""
        closed = piece == b""
    end()
    return statuses(answer), closed


for name, (data, wanted, ends) in FORMS.items():
    n = len(wanted) if isinstance(wanted, list) else 1
    # a reset may overtake the answer of who sends more than is read
    for _ in range(5 if len(data) > 30000 and ends else 1):
        got, closed = ask(data, n, ends)
        if got:
            break
    if isinstance(wanted, list):
        good = got == wanted
    else:
        good = got[:1] and got[0] in (wanted if isinstance(wanted, tuple) else (wanted,))
    print("good" if good and (closed or not ends) else "bad", name, got, "closed" if closed else "open", flush=True)
