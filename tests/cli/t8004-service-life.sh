#!/bin/sh
# ETags, pages, keys, If-Match, events, logs, workers that die or are all taken, the end.
. "$(dirname "$0")/lib.sh"

needs python3
sl init
for v in 1 2 3; do
    sl push "$digits/v$v" fraud
done
ok "a store with three versions"
serve serve.err --socket "$scratch/sock" --access_log "$scratch/log"
python3 "$top/tests/cli/service_life.py" "$scratch/sock" "$service" "$scratch/log" >life 2>&1
check "all was tried" [ "$(grep -c '^ok' life)" -gt 35 ]
is "and is as it must be" "$(grep -v '^ok' life)" ""
wait "$service"
is "it ends well" $? 0
is "and says where it listened, no more" "$(cat serve.err)" "sluice-server: listens on unix:$scratch/sock"
check "its socket is gone" [ ! -e sock ]

finish
