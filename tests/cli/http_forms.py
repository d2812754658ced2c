"""Says HTTP by hand on a Unix socket; prints "NAME STATUS CLOSED" for each form.
usage: http_forms.py SOCKET"""
import socket
import sys

H = b"Host: x\r\n"
LIST = b"POST /api/v1/list HTTP/1.1\r\n" + H
HEALTH = b"GET /healthz HTTP/1.1\r\n"
CHUNKED = LIST + b"Transfer-Encoding: chunked\r\n\r\n"


def get(target):
    return b"GET " + target + b" HTTP/1.1\r\n" + H + b"\r\n"


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
    "chunked-in-1.0": (b"POST /api/v1/list HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, True),
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
}


def ask(path, data, ends):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    try:
        s.sendall(data)
    except OSError:
        pass  # it has answered already
    answer, closed = b"", False
    try:
        while b"\r\n\r\n" not in answer:
            piece = s.recv(65536)
            if not piece:
                closed = True
                break
            answer += piece
        while ends and not closed:
            closed = not s.recv(65536)
    except socket.timeout:
        pass
    except OSError:
        closed = True
    s.close()
    return answer, closed


for name, (data, status, ends) in FORMS.items():
    answer, closed = ask(sys.argv[1], data, ends)
    got = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "none"
    good = got == str(status) and (closed or not ends)
    print("good" if good else "bad", name, got, "closed" if closed else "open")
