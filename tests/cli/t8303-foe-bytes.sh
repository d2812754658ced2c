#!/bin/sh
# Bytes that are no HTTP; clients that are slow, or gone.
. "$(dirname "$0")/lib.sh"

command -v python3 >/dev/null 2>&1 && command -v openssl >/dev/null 2>&1 || {
    skip "bytes on sockets" "python3 or openssl is not installed"
    finish
    exit 0
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 \
    -subj /CN=localhost 2>/dev/null
port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
sl init
cp -r "$digits/v1" model
chmod -R u+w model
mkdir -p model/assets.extra
head -c 16000000 /dev/urandom >model/assets.extra/big
sl push model fraud
ok "a model that takes its time"
sl user add "$(id -un)"
sl token create "$(id -un)"
ok "a token"
SLUICE_TOKEN=$(printf '%s\n' "$out" | grep -o 'slc_[A-Za-z0-9_]*')
export SLUICE_TOKEN
plain=$(port)
tls=$(port)
sluice serve --listen "127.0.0.1:$plain" --socket "$scratch/sock" 2>serve.err &
pid=$!
sluice serve --listen "127.0.0.1:$tls" --tls_cert cert --tls_key key 2>tls.err &
tls_pid=$!
sleep 2
python3 -W ignore "$top/tests/cli/service_bytes.py" "$plain" "$tls" "$scratch/sock" >bytes 2>&1
check "all was tried" [ "$(grep -c '^ok\|^not ok' bytes)" -gt 30 ]
is "and the service bears it" "$(grep -v '^ok' bytes)" ""
# SQLite keeps those of a catalogue that is open for who opens it next
# shellcheck disable=SC2012
check "no descriptor stays" [ "$(ls -l /proc/$pid/fd | grep -cv 'catalogue\.db$')" -lt 60 ]
kill $pid $tls_pid
wait $pid
is "it ends well" $? 0
wait $tls_pid
is "with TLS, too" $? 0
is "without a word" "$(grep -hv ' listens on ' serve.err tls.err)" ""

finish
