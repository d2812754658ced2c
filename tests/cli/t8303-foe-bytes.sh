#!/bin/sh
# Bytes that are no HTTP; clients that are slow, or gone.
. "$(dirname "$0")/lib.sh"

needs python3 openssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 \
    -subj /CN=localhost 2>/dev/null
sl init
serve serve.err --listen 127.0.0.1:0 --socket "$scratch/sock"
pid=$service plain=${at##*:}
serve tls.err --listen 127.0.0.1:0 --tls_cert cert --tls_key key
tls_pid=$service tls=${at##*:}
python3 -W ignore "$top/tests/cli/service_bytes.py" "$plain" "$tls" "$scratch/sock" >bytes 2>&1
check "all was tried" [ "$(grep -c '^ok\|^not ok' bytes)" -ge 25 ]
is "and the service bears it" "$(grep -v '^ok' bytes)" ""
few() { [ "$(ls "/proc/$pid/fd" | wc -l)" -lt 60 ]; }
check "no descriptor stays" await 60 few
ends "$pid"
is "it ends well" $? 0
ends "$tls_pid"
is "with TLS, too" $? 0
is "without a word" "$(grep -hv ' listens on ' serve.err tls.err)" ""

finish
