#!/bin/sh
# A service that is run: backups while everybody works, its log turned over in both ways, an
# agent that follows it.
. "$(dirname "$0")/lib.sh"
command -v curl >/dev/null || {
    skip "operations" "no curl"
    finish
    exit
}
sl init
sl target add web "$scratch/web" --alias production --layout tfserving
sl push "$digits/v1" digits
sluice serve --socket "$scratch/s" --access_log "$scratch/access.log" 2>serve.err &
servers="$servers $!"
service=$!
for i in $(seq 300); do
    [ -S s ] && break
    sleep 0.1
done
at=unix:$scratch/s

# ---- backups under load ----

work() { # pushes, promotes and rolls back until the file `enough` is there
    i=0
    while [ ! -e enough ]; do
        i=$((i + 1))
        rm -rf "export-$1"
        cp -r "$digits/v2" "export-$1"
        mkdir -p "export-$1/assets"
        echo "$1 $i" >"export-$1/assets/note"
        sluice --server "$at" push "export-$1" digits >>"work-$1" 2>&1 || echo "FAILED push" >>"work-$1"
        sluice --server "$at" promote "digits@$((i % 2 + 1))" --to production --again >>"work-$1" 2>&1 || echo "promote: $?" >>"work-$1"
    done
}
sl --server "$at" push "$digits/v2" digits
work a &
a=$!
work b &
b=$!
for i in 1 2 3 4; do
    sl --server "$at" backup "$scratch/backup"
    ok "backup $i while two work"
done
touch enough
wait $a $b
is "nobody's push failed meanwhile" "$(grep -h -B 1 FAILED work-a work-b)" ""
sl --server "$at" backup "$scratch/backup" --verify
ok "every generation verifies"
prints "there are four" "4 generations"
sl restore "$scratch/backup" --to "$scratch/again"
ok "restore"
SLUICE_STORE=$scratch/again sl fsck
# its target has gone on with the store that it is the backup of
is "what was restored is whole" "$(printf '%s\n' "$out" | grep -v '^target web: ' | grep -vc 'read again')" 0
SLUICE_STORE=$scratch/again sl audit verify
ok "its log verifies"
sl fsck
ok "and so is the store"

# ---- the access log ----

ask() { curl -sS --max-time 20 --unix-socket s "http://x/healthz?$1" -o /dev/null; }
lines_are_json() { python3 -c 'import json, sys
for n, line in enumerate(open(sys.argv[1])): assert json.loads(line)["status"], n' "$1"; }
mv access.log access.log.1
ask moved
check "before SIGHUP the old file goes on" grep -q healthz access.log.1
kill -HUP $service
for i in $(seq 300); do
    [ -e access.log ] && break
    sleep 0.1
done
before=$(wc -l <access.log.1)
ask new
is "after it a new one" "$(grep -c healthz access.log)" 1
is "and the old one is left alone" "$(wc -l <access.log.1)" "$before"
# copytruncate: what comes after it begins at the start, without a hole
for i in 1 2 3 4 5; do ask $i; done
cp access.log access.log.2
: >access.log
ask truncated
check "after copytruncate: whole lines from the start" lines_are_json access.log
check "no line of JSON was cut anywhere" lines_are_json access.log.1
if command -v logrotate >/dev/null; then
    sed -e "s,/var/log/sluice/access.log,$scratch/access.log,; s/create 0640 sluice sluice/create 0640/; s/daily/size 1/; /compress/d" \
        -e "s,systemctl kill .*,kill -HUP $service,; s/notifempty/su $(id -un) $(id -gn)/" "$top/etc/logrotate/sluice" >rotate
    chmod 600 rotate
    logrotate -s "$scratch/rotate.state" -f rotate >rotate.out 2>&1
    is "logrotate takes the sample" "$?" 0
    for i in $(seq 300); do # until the service has heard of it
        ask rotated
        grep -q healthz access.log && break
        sleep 0.1
    done
    check "and what comes is in the new file" grep -q healthz access.log
else
    skip "logrotate" "it is not installed"
fi

# ---- an agent that follows the service ----

sluice init "$scratch/host" >/dev/null
sluice --store "$scratch/host" target add web "$scratch/models" --alias production --layout tfserving >/dev/null
sl --server "$at" promote digits@2 --to production --again
SLUICE_STORE=$scratch/host sl agent --from "$at" --host web-1 --once
ok "an agent follows a service"
is "it shows what is released" "$(readlink "$scratch/models/digits/latest")" 2
sl host list
prints "the store has its report" "web-1"
SLUICE_STORE=$scratch/host sl agent --from ftp://x --host web-1 --once
fails "what is none of them" 2 "a directory, ssh://.*or a service: https://host"

# ---- and over https, with a token, as an own process ----

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
until_is() { # seconds, what it shall be, command…: what it is at last
    tries=$(($1 * 10)) wanted=$2
    shift 2
    while :; do
        got=$("$@" 2>/dev/null)
        [ "$got" != "$wanted" ] || break
        tries=$((tries - 1))
        [ $tries -gt 0 ] || break
        sleep 0.1
    done
    echo "$got"
}
if command -v openssl >/dev/null && command -v python3 >/dev/null && [ -x "$BIN/sluice-client" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout key.pem -out chain.pem \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost >/dev/null 2>&1
    port=$(free_port)
    sluice serve --listen "127.0.0.1:$port" --tls_cert chain.pem --tls_key key.pem 2>tls.err &
    servers="$servers $!"
    sl user add gpu-7 --service
    sl grant gpu-7 read digits
    sluice token create gpu-7 --scope 'read:*' --out narrow >/dev/null
    sluice token create gpu-7 --out token >/dev/null
    sluice init "$scratch/gpu-7" >/dev/null
    sluice --store "$scratch/gpu-7" target add web "$scratch/gpu-models" --alias production --layout tfserving >/dev/null
    of() { SLUICE_STORE=$scratch/gpu-7 SLUICE_CA_FILE=$scratch/chain.pem SLUICE_RETRY_S=30 "$@"; }
    SLUICE_TOKEN_FILE=$scratch/token of sl agent --from "https://localhost:$port" --host gpu-7 --once
    ok "an agent over https"
    is "it shows what is released" "$(readlink "$scratch/gpu-models/digits/latest")" 2
    check "the same bytes" diff -rx assets "$digits/v2" "$scratch/gpu-models/digits/2"
    SLUICE_TOKEN_FILE=$scratch/token of sl agent --from "https://localhost:$port" --host gpu-8 --once
    prints "it speaks for no other host" "gpu-7 may not admin host:gpu-8 .*sluice grant gpu-7 host_report 'host:gpu-8'; or its agent shows a token of the host's own"
    of sl agent --from "https://localhost:$port" --host gpu-7 --once
    prints "without a token: which variable" "^away: https://localhost:$port: say who you are.*SLUICE_TOKEN_FILE says who asks"
    is "what was there stays" "$(readlink "$scratch/gpu-models/digits/latest")" 2
    sl grant gpu-7 host_report 'host:gpu-*'
    SLUICE_TOKEN_FILE=$scratch/narrow of sl agent --from "https://localhost:$port" --host gpu-8 --once
    prints "a scope that is too narrow is named as such" "the scope of token [0-9A-Za-z]+ does not include it; use one that has host_report:host:gpu-8"
    SLUICE_STORE=$scratch/gpu-7 SLUICE_CA_FILE=$scratch/chain.pem SLUICE_RETRY_S=30 SLUICE_TOKEN_FILE=$scratch/token \
        sluice agent --from "https://localhost:$port" --host gpu-7 --interval 1s >agent.log 2>&1 &
    agent=$!
    servers="$servers $agent"
    latest() { readlink "$scratch/gpu-models/digits/latest"; }
    sl promote digits@1 --to production --again
    is "a release is followed" "$(until_is 60 1 latest)" 1
    sl rollback digits@production
    is "and a rollback" "$(until_is 60 2 latest)" 2
    shows() { sluice host list --json | python3 -c 'import json, sys
print([(h["shows"], h["state"]) for h in json.load(sys.stdin)["hosts"] if h["host"] == "gpu-7"])'; }
    is "which the store is told" "$(until_is 60 "[('2', 'switched')]" shows)" "[('2', 'switched')]"
    kill $agent
    wait $agent
    is "SIGTERM ends it" "$?" 0
else
    skip "an agent over https" "no openssl, python3 or sluice-client"
fi
kill $service
wait $service
is "it ends well" "$?" 0
finish
