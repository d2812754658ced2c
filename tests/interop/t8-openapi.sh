#!/bin/sh
# The service's description, before a validator of OpenAPI 3.1 (make interop-tools).
. "$(dirname "$0")/../cli/lib.sh"
validator=$top/build/interop/venv/bin/openapi-spec-validator
if [ ! -x "$validator" ]; then
    skip "the description is OpenAPI 3.1" "openapi-spec-validator is not installed: make interop-tools"
    finish
    exit
fi
sluice-server --openapi >openapi.json
check "the service describes itself" grep -q '"openapi": "3.1.0"' openapi.json
check "a validator agrees" "$validator" openapi.json
sed 's/"operationId": "promote"/"operationId": 7/' openapi.json >bad.json
check "which can disagree" sh -c "! '$validator' bad.json"
finish
