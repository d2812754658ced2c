#!/bin/sh
# The service and its workers are killed in each phase of a push, a promotion and a pull.
. "$(dirname "$0")/lib.sh"

needs python3
sl init
sl push "$digits/v1" fraud
ok "a store"
python3 "$top/tests/cli/service_crash.py" "$digits/v2" "$scratch/sock" "$scratch/serve.err" >crash 2>&1
check "all was tried" [ "$(grep -c '^ok\|^not ok' crash)" -gt 35 ]
is "and the same client goes on" "$(grep -v '^ok' crash)" ""
is "without a word of the service" "$(grep -hv ' listens on ' serve.err)" ""
sl audit verify
ok "the log holds"
sl fsck
ok "and so does the store"

finish
