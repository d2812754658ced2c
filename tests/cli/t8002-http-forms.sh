#!/bin/sh
# HTTP that is malformed, or that two readers may take for two different requests.
. "$(dirname "$0")/lib.sh"

needs python3
sl init
serve serve.err --socket "$scratch/sock"
python3 "$top/tests/cli/http_forms.py" "$scratch/sock" >forms 2>&1
check "all forms were tried" [ "$(grep -c '^[gb]' forms)" -gt 60 ]
is "each is taken or refused as it must be, and its connection ended" "$(grep -v '^good' forms)" ""
check "the service lives" kill -0 "$service"
ends "$service"
is "and ends well" $? 0
is "and says where it listened, no more" "$(cat serve.err)" "sluice-server: listens on unix:$scratch/sock"

finish
