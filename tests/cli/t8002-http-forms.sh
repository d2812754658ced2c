#!/bin/sh
# HTTP that is malformed, or that two readers may take for two different requests: on each way in.
. "$(dirname "$0")/lib.sh"

needs python3 openssl
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 \
    -subj /CN=localhost 2>/dev/null
sl init
sl user add "$me"
sl token create "$me"
ok "a token"
SLUICE_TOKEN=$(printf '%s\n' "$out" | grep -o 'slc_[A-Za-z0-9_]*')
export SLUICE_TOKEN
serve plain.err --listen 127.0.0.1:0 --socket "$scratch/sock"
pid=$service plain=${at##*:}
serve tls.err --listen 127.0.0.1:0 --tls_cert cert --tls_key key
tls_pid=$service tls=${at##*:}
for how in "unix $scratch/sock" "tcp $plain" "tls $tls" stdio; do
    # shellcheck disable=SC2086
    python3 -W ignore "$top/tests/cli/http_forms.py" $how >forms 2>&1
    check "${how%% *}: all forms were tried" [ "$(grep -c '^good\|^bad' forms)" -gt 120 ]
    is "${how%% *}: each is taken or refused as it must be, and its connection ended" "$(grep -v '^good' forms)" ""
done
check "the service lives" kill -0 "$pid"
ends "$pid"
is "and ends well" $? 0
ends "$tls_pid"
is "with TLS, too" $? 0
is "and says where it listened, no more" "$(cat plain.err tls.err | grep -v ' listens on ')" ""

finish
