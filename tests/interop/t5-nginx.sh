#!/bin/sh
# Against nginx (Debian: nginx-light): it loads the rendered file, and splits 100,000 units at
# five splits exactly as `route` does; its log says which version answered. It mirrors the units
# that `route` says, and those alone.
. "$(dirname "$0")/../cli/lib.sh"
PATH=$PATH:/usr/sbin
units=${BENCH_BIN:-$top/build/release/bench}/route
if ! command -v nginx >/dev/null; then
    skip "nginx splits as route does" "nginx is not installed"
    finish
    exit
fi
if ! [ -x "$units" ]; then
    skip "nginx splits as route does" "no $units: make check-interop builds it"
    finish
    exit
fi

# ---- five splits, and names that nginx does not take as they are ----
long=a-name-of-a-model-that-is-longer-than-any-variable-of-nginx-may-be
sl init
sl target add web "$scratch/web" --alias production --layout tfserving
share() { # model, weights of 1, 2, 3…
    model=$1
    shift
    for v in 1 2 3; do sl push "$digits/v$v" "$model"; done
    sl promote "$model@1" --to production
    sl weights "$model@production" "$@"
    ok "weights of $model: $*"
}
share fraud 1=90% 2=10%
share Fraud 2=0.01% 1=99.99%
share 'a "b\ c' 1=33.33% 2=33.33% 3=33.34%
share "$long" 2=80% 1=20%
share "prüfung" 3=49.99% 1=50.01%
cat >models <<END
fraud
Fraud
a "b\\ c
$long
prüfung
END
sl push "$digits/v1" whole
sl promote whole@1 --to production

# ---- nginx ----
variable() { # encoded name: as the comment above its block says
    sed -n "s/^# $1@production: \\\$//p" web/config/nginx.conf
}
vars=
for name in fraud Fraud a%20%22b%5C%20c "$long" pr%C3%BCfung whole; do
    vars="$vars \$$(variable "$name")"
done
mkdir temp
cat >nginx.conf <<END
daemon off; master_process off; pid $scratch/nginx.pid;
events { worker_connections 64; }
http {
    client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
    uwsgi_temp_path temp; scgi_temp_path temp;
    keepalive_requests 10000000;
    map \$http_x_unit \$sluice_unit { default \$http_x_unit; }
    include $scratch/web/config/nginx.conf;
    server {
        listen unix:$scratch/socket;
        access_log $scratch/access.log sluice_fraud;
        location /worse { if (\$sluice_fraud = 2) { return 503; } return 200 "ok\n"; }
        location / { return 200 "=$vars\n"; }
    }
}
END
check "nginx takes the file" nginx -t -p "$scratch" -c "$scratch/nginx.conf" -e stderr
is "and has nothing to say about it" "$(grep -cE 'warn|emerg|alert' "$scratch/.check")" 0
nginx -p "$scratch" -c "$scratch/nginx.conf" -e "$scratch/error.log" &
servers="$servers $!"

cat >ask.py <<'END'
import random, re, socket, sys, time
scratch, n = sys.argv[1], int(sys.argv[2])
rng = random.Random(7)
units = []
for i in range(n):
    if i % 4 == 0: u = b"C%d" % i
    elif i % 4 == 1: u = b"%08x-%04x-4000-8000-%012x" % (rng.getrandbits(32), rng.getrandbits(16), i)
    elif i % 4 == 2: u = "k\u00fcnde-\u4e00%d" .encode() % i
    else: u = bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz0123456789=;%$\"\\{}") for _ in range(1 + i % 200)) + b"%d" % i
    units.append(u)
s = socket.socket(socket.AF_UNIX)
for _ in range(1200):
    try: s.connect(scratch + "/socket"); break
    except OSError: time.sleep(0.05)
def ask(headers):
    s.sendall(b"".join(b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % h for h in headers))
    got, answers = b"", []
    while len(answers) < len(headers):
        piece = s.recv(1 << 20)
        if not piece: sys.exit("nginx hung up")
        got += piece
        answers = re.findall(rb"\r\n\r\n= ([0-9 ]+)\n", got)
    return answers
with open("units", "wb") as f: f.write(b"\n".join(units) + b"\n")
with open("answers", "wb") as f:
    for i in range(0, n, 100):
        f.write(b"\n".join(ask([b"X-Unit: %s\r\n" % u for u in units[i : i + 100]])) + b"\n")
print(ask([b""])[0].decode())
END
nobody=$(python3 ask.py "$scratch" 100000)
is "the empty unit gets the stable versions" "$nobody" "1 1 1 1 1 1"
column=0
while read -r model; do
    column=$((column + 1))
    "$units" "$SLUICE_STORE" "$model" production <units >want
    cut -d ' ' -f $column answers >got
    is "all units were asked" "$(wc -l <got) $(sort -u got | wc -l)" "100000 $(sort -u want | wc -l)"
    check "100,000 units of $model are split as route does" cmp want got
done <models
is "one version alone gets all" "$(cut -d ' ' -f 6 answers | sort -u)" 1

cat >log.py <<'END'
import json, sys
units = open("units", "rb").read().split(b"\n")[:-1]
versions = [line.split()[0] for line in open("answers", "rb")]
lines = [json.loads(line) for line in open("access.log", "rb")]
assert len(lines) == len(units) + 1, len(lines)
for line, unit, version in zip(lines, units, versions):
    assert line["unit"].encode() == unit and line["version"] == int(version), line
    assert line["alias"] == "fraud@production" and line["status"] == 200, line
    assert line["seconds"] >= 0 and line["time"] and line["request"] == "GET / HTTP/1.1", line
END
check "the log has each unit and its version, a line of JSON each" python3 log.py
unit=$(sed -n 5p units)
sl route fraud@production --unit "$unit" --json
prints "which the command says too" "\"version\": $(sed -n 5p answers | cut -d ' ' -f 1),"

# ---- its log is what a canary is watched by ----
sl canary fraud@production --source "log:$scratch/access.log" --for 0 --metric 'errors<=+1%' --json
ok "nginx's log is read, and nothing is worse"
is "every request in it that came later than the release" "$(printf '%s\n' "$out" | tail -n 1 | python3 -c 'import json, sys
d = json.load(sys.stdin)
seen = sum(v["requests"] for v in d["versions"])
print(seen > 90000, "lines_not_understood" in d)')" "True False"
sluice canary fraud@production --source "log:$scratch/access.log" --from-now --for 300s >canary.out 2>canary.err &
watcher=$!
await 60 test -s canary.out
cat >worse.py <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1] + "/socket")
for i in range(1500):
    s.sendall(b"GET /worse HTTP/1.1\r\nHost: x\r\nX-Unit: W%d\r\n\r\n" % i)
    s.recv(65536)
END
python3 worse.py "$scratch"
wait $watcher
is "a canary that answers 503 is found" $? 1
sl status fraud
prints "and rolled back" 'live +1 '
check "in the file that nginx is given, one version has all" sh -c "! sed -n '/^split_clients .*:fraud@production/,/^}/p' web/config/nginx.conf | grep -q '%'"
# ---- mirror ----
sl weights fraud@production --mirror 3=20% --again
ok "a share is mirrored"
mkdir mirror
cat >mirror/nginx.conf <<END
daemon off; master_process off; pid $scratch/mirror/nginx.pid;
events { worker_connections 256; }
http {
    client_body_temp_path $scratch/temp; proxy_temp_path $scratch/temp; fastcgi_temp_path $scratch/temp;
    uwsgi_temp_path $scratch/temp; scgi_temp_path $scratch/temp;
    keepalive_requests 10000000;
    map \$http_x_unit \$sluice_unit { default \$http_x_unit; }
    include $scratch/web/config/nginx.conf;
    log_format seen '\$http_x_unit \$request_uri';
    upstream tfserving { server unix:$scratch/mirror/tfserving; keepalive 8; }
    server {
        listen unix:$scratch/mirror/tfserving;
        access_log $scratch/mirror/seen.log seen;
        location / { return 200 "answer\n"; }
    }
    server {
        listen unix:$scratch/mirror/socket;
        access_log off;
        proxy_http_version 1.1; proxy_set_header Connection "";
        location ~ ^/v1/models/fraud(?<sluice_call>:.*)\$ {
            mirror /sluice_mirror_fraud;
            proxy_pass http://tfserving/v1/models/fraud/versions/\$sluice_fraud\$sluice_call;
        }
        location = /sluice_mirror_fraud {
            internal;
            if (\$sluice_fraud_mirror = "") { return 204; }
            proxy_pass http://tfserving/v1/models/fraud/versions/\$sluice_fraud_mirror\$sluice_call;
        }
    }
}
END
check "nginx takes the mirror" nginx -t -p "$scratch" -c "$scratch/mirror/nginx.conf" -e stderr
nginx -p "$scratch" -c "$scratch/mirror/nginx.conf" -e "$scratch/mirror/error.log" &
servers="$servers $!"
cat >copied.py <<'END'
import socket, sys, time
sys.path.insert(0, sys.argv[2])
from routes import Routes
scratch, n = sys.argv[1] + "/mirror", 20000
s = socket.socket(socket.AF_UNIX)
for _ in range(1200):
    try: s.connect(scratch + "/socket"); break
    except OSError: time.sleep(0.05)
units = [b"C%d" % i for i in range(n)]
for i in range(0, n, 50):
    s.sendall(b"".join(b"POST /v1/models/fraud:predict HTTP/1.1\r\nHost: x\r\nX-Unit: %s\r\nContent-Length: 2\r\n\r\n{}" % u
                       for u in units[i : i + 50]))
    got = b""
    while got.count(b"answer\n") < 50:
        piece = s.recv(1 << 20)
        if not piece: sys.exit("nginx hung up")
        got += piece
s.sendall(b"POST /v1/models/fraud:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
routes = Routes.load(sys.argv[1] + "/web/config/routes.json")
want = []
for u in units + [b"-"]:
    unit = b"" if u == b"-" else u
    for v in (routes.version("fraud", unit), routes.mirror("fraud", unit)):
        if v: want.append("%s /v1/models/fraud/versions/%d:predict" % (u.decode(), v))
for _ in range(1200): # the last copies are under way
    seen = open(scratch + "/seen.log").read().splitlines()
    if len(seen) >= len(want): break
    time.sleep(0.05)
assert sorted(seen) == sorted(want), (len(seen), len(want), sorted(set(want) - set(seen))[:3], sorted(set(seen) - set(want))[:3])
copies = len(want) - n - 1
assert 3600 < copies < 4400, copies
print([u.decode() for u in units if routes.mirror("fraud", u)][0])
END
copied=$(python3 -B copied.py "$scratch" "$top/etc/routes")
check "nginx mirrors the units that routes.json names, to that version, and no others" test -n "$copied"
sl route fraud@production --unit "$copied"
prints "which route says too" "mirror +copied to 3"
sl weights fraud@production --mirror 3=0
check "without a mirror nginx still takes its own file" nginx -t -p "$scratch" -c "$scratch/mirror/nginx.conf" -e stderr
finish
