#!/bin/sh
# HTTP that is malformed, or that two readers may take for two different requests: on each way in.
. "$(dirname "$0")/lib.sh"

command -v python3 >/dev/null 2>&1 && command -v openssl >/dev/null 2>&1 || {
    skip "forms of HTTP" "python3 or openssl is not installed"
    finish
    exit 0
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out cert -days 2 \
    -subj /CN=localhost 2>/dev/null
sl init
sl user add "$(id -un)"
sl token create "$(id -un)"
ok "a token"
SLUICE_TOKEN=$(printf '%s\n' "$out" | grep -o 'slc_[A-Za-z0-9_]*')
export SLUICE_TOKEN
# where() NAME: once it listens, the port that it says, or its socket
where() {
    tries=0
    while ! grep -q listens "$1.err" && [ $tries -lt 600 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$1.err"
}
sluice serve --listen 127.0.0.1:0 --socket "$scratch/sock" 2>plain.err &
pid=$!
sluice serve --listen 127.0.0.1:0 --tls_cert cert --tls_key key 2>tls.err &
tls_pid=$!
for how in "unix $scratch/sock" "tcp $(where plain)" "tls $(where tls)" stdio; do
    # shellcheck disable=SC2086
    python3 -W ignore "$top/tests/cli/http_forms.py" $how >forms 2>&1
    check "${how%% *}: all forms were tried" [ "$(grep -c '^good\|^bad' forms)" -gt 120 ]
    is "${how%% *}: each is taken or refused as it must be, and its connection ended" "$(grep -v '^good' forms)" ""
done
check "the service lives" kill -0 $pid
kill $pid $tls_pid
wait $pid
is "and ends well" $? 0
wait $tls_pid
is "with TLS, too" $? 0
is "and says where it listened, no more" "$(cat plain.err tls.err | grep -v '^sluice-server: listens on ')" ""

finish
