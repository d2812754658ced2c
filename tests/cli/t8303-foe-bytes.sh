#!/bin/sh
# Bytes that are no HTTP; clients that are slow, or gone.
. "$(dirname "$0")/lib.sh"

needs python3 openssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 \
    -subj /CN=localhost 2>/dev/null
sl init
cp -r "$digits/v1" model
chmod -R u+w model
mkdir -p model/assets.extra
head -c 16000000 /dev/urandom >model/assets.extra/big
sl push model fraud
ok "a model that takes its time"
sl user add "$me"
sl token create "$me"
ok "a token"
SLUICE_TOKEN=$(printf '%s\n' "$out" | grep -o 'slc_[A-Za-z0-9_]*')
export SLUICE_TOKEN
serve serve.err --listen 127.0.0.1:0 --socket "$scratch/sock"
pid=$service plain=${at##*:}
serve tls.err --listen 127.0.0.1:0 --tls_cert cert --tls_key key
tls_pid=$service tls=${at##*:}
python3 -W ignore "$top/tests/cli/service_bytes.py" "$plain" "$tls" "$scratch/sock" >bytes 2>&1
check "all was tried" [ "$(grep -c '^ok\|^not ok' bytes)" -gt 30 ]
is "and the service bears it" "$(grep -v '^ok' bytes)" ""
# SQLite keeps those of a catalogue that is open for who opens it next
# shellcheck disable=SC2012
few() { [ "$(ls -l "/proc/$pid/fd" | grep -cv 'catalogue\.db$')" -lt 60 ]; }
check "no descriptor stays" await 60 few
ends "$pid"
is "it ends well" $? 0
ends "$tls_pid"
is "with TLS, too" $? 0
is "without a word" "$(grep -hv ' listens on ' serve.err tls.err)" ""

finish
