#!/bin/sh
# The service behind nginx and Caddy, by etc/nginx and etc/caddy: TLS, a push and a pull of
# some size that neither stores on its way, events that come as they happen, problem documents,
# an end of the service that nobody notices.
. "$(dirname "$0")/../cli/lib.sh"
PATH=$PATH:/usr/sbin
for tool in openssl curl python3; do
    command -v $tool >/dev/null || {
        skip "fronts" "no $tool"
        finish
        exit
    }
done
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
back=$(free_port)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout key.pem -out chain.pem \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost >/dev/null 2>&1
sl init
sl user add ci --service
for r in push read judge; do sl grant ci $r '*'; done
sluice token create ci --out token >/dev/null
mkdir big && cp -r "$digits/v1/." big/ && mkdir -p big/assets && head -c 30000000 /dev/urandom >big/assets/vocabulary.bin
serve() {
    sluice serve --listen "127.0.0.1:$back" --access_log access.log 2>serve.err &
    daemon=$!
    servers="$servers $daemon"
    for i in $(seq 150); do
        curl -fs -o /dev/null "http://127.0.0.1:$back/readyz" && return
        sleep 0.2
    done
}
serve

# front NAME PORT: the tests
front() {
    who=$1 url=https://localhost:$2
    for i in $(seq 100); do
        curl -fs --cacert chain.pem -o /dev/null "$url/healthz" && break
        sleep 0.3
    done
    is "$who: ready" "$(curl -s --cacert chain.pem "$url/readyz")" ready
    is "$who: metrics are not for everybody" "$(curl -s --cacert chain.pem -o /dev/null -w '%{http_code}' "$url/metrics")" 404
    is "$who: a problem document" "$(curl -s --cacert chain.pem "$url/api/v1/list" | python3 -c 'import json, sys; print(json.load(sys.stdin)["exit_code"])')" 6
    is "$who: a path that two may read in two ways" "$(curl -s --path-as-is --cacert chain.pem -o /dev/null -w '%{http_code}' "$url/api/v1/..%2f..%2fetc/passwd" | cut -c1)" 4
    if [ ! -x "$BIN/sluice-client" ]; then
        skip "$who: push and pull" "no sluice-client"
        return
    fi
    export SLUICE_TOKEN_FILE=$scratch/token SSL_CERT_FILE=$scratch/chain.pem
    sl --server "$url" push big "$who" --golden "$digits/v1-golden"
    ok "$who: push of 30 MB"
    sl --server "$url" pull "$who@1" "$who-pulled"
    ok "$who: pull"
    check "$who: the same bytes" cmp big/assets/vocabulary.bin "$who-pulled/assets/vocabulary.bin"
    sl --server "$url" validate "$who@1"
    ok "$who: a verb that takes a while"
    sl --server "$url" promote "$who@1" --to production
    fails "$who: what the token may not" 6 "promote"
    curl -sN --cacert chain.pem -H "Authorization: Bearer $(cat token)" -H 'Content-Type: application/json' -H 'Accept: text/event-stream' \
        -d "{\"ref\":\"$who@1\"}" "$url/api/v1/validate" >events
    check "$who: events" grep -q '^event: reply' events
    # the service ends while a call is on its way: the call ends well, the next one waits for the new
    sluice --server "$url" list >one 2>&1 &
    one=$!
    kill $daemon
    wait $one
    is "$who: a call while it ends" "$?" 0
    wait $daemon
    (sleep 1 && exec sluice serve --listen "127.0.0.1:$back" --access_log access.log 2>>serve.err) &
    daemon=$!
    servers="$servers $daemon"
    export SLUICE_RETRY_S=60
    sl --server "$url" list
    ok "$who: a call while it is away waits"
    export SLUICE_RETRY_S=2
    unset SLUICE_TOKEN_FILE SSL_CERT_FILE
}

if command -v nginx >/dev/null; then
    port=$(free_port)
    mkdir nginx
    sed -e "s/127.0.0.1:8600/127.0.0.1:$back/; s/listen 443/listen 127.0.0.1:$port/; s/sluice.example/localhost/" \
        -e "s,/etc/ssl/sluice,$scratch,; s,/var/log/nginx/sluice.log,$scratch/nginx/access.log," "$top/etc/nginx/sluice.conf" >nginx/sluice.conf
    cat >nginx/nginx.conf <<N
pid $scratch/nginx/pid;
error_log $scratch/nginx/error.log;
daemon off;
master_process off;
events { worker_connections 64; }
http {
    client_body_temp_path $scratch/nginx/body;
    proxy_temp_path $scratch/nginx/proxy;
    fastcgi_temp_path $scratch/nginx/f;
    uwsgi_temp_path $scratch/nginx/u;
    scgi_temp_path $scratch/nginx/s;
    include $scratch/nginx/sluice.conf;
}
N
    nginx -t -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf" >nginx/test 2>&1
    check "nginx takes the file" grep -q "test is successful" nginx/test
    nginx -p "$scratch/nginx" -c "$scratch/nginx/nginx.conf" &
    servers="$servers $!"
    front nginx "$port"
    is "nginx stored nothing on its way" "$(find nginx/body nginx/proxy -type f | wc -l)$(grep -c 'temporary file' nginx/error.log)" 00
    id=$(sed -n 's/.*id=\([0-9a-f]*\)$/\1/p' nginx/access.log | tail -n 1)
    check "its log's ids are the service's" grep -q "\"id\":\"$id\"" access.log
else
    skip "nginx" "it is not installed"
fi
if command -v caddy >/dev/null; then
    port=$(free_port)
    # no certificate from elsewhere, no ports 80 and 443
    { printf '{\n\tadmin off\n\tauto_https off\n}\n'; sed -e "s/127.0.0.1:8600/127.0.0.1:$back/" -e "s,^sluice.example {,https://localhost:$port {\n\tbind 127.0.0.1\n\ttls $scratch/chain.pem $scratch/key.pem," "$top/etc/caddy/Caddyfile"; } >Caddyfile
    HOME=$scratch caddy run --config Caddyfile --adapter caddyfile >caddy.log 2>&1 &
    servers="$servers $!"
    front caddy "$port"
else
    skip "Caddy" "it is not installed"
fi
finish
