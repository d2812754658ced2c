#!/bin/sh
# Against TF Serving's own messages (PyPI: tensorflow-serving-api) and a real gRPC server:
# models.config parses and means what the release means; the reload request is the same.
. "$(dirname "$0")/../cli/lib.sh"

python=${SLUICE_TF_PYTHON:-$top/build/interop/venv/bin/python}
if ! "$python" -c 'import grpc, tensorflow_serving.apis' 2>/dev/null; then
    skip "TF Serving's messages" "no grpc and tensorflow-serving-api at $python; make interop-tools"
    finish
    exit
fi
TF_CPP_MIN_LOG_LEVEL=3
export TF_CPP_MIN_LOG_LEVEL

# ---- the server: keeps what it was told, and answers as the file `answer` says ----
cat >serve.py <<'END'
import os, sys, grpc
from concurrent import futures
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc
class Service(model_service_pb2_grpc.ModelServiceServicer):
    n = 0
    def HandleReloadConfigRequest(self, request, context):
        with open("asked", "wb") as f: f.write(request.SerializeToString())
        says = open("answer").read().split(None, 1) if os.path.exists("answer") else ["ok"]
        reply = model_management_pb2.ReloadConfigResponse()
        if says[0] == "status":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, says[1])
        if says[0] == "away":
            context.abort(grpc.StatusCode.UNAVAILABLE, says[1])
        if says[0] == "message":
            reply.status.error_code, reply.status.error_message = 9, says[1]
        if says[0] == "hang":
            import time; time.sleep(60)
        return reply
server = grpc.server(futures.ThreadPoolExecutor(4))
model_service_pb2_grpc.add_ModelServiceServicer_to_server(Service(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
server.wait_for_termination()
END
"$python" serve.py >port 2>serve.err &
server=$!
servers="$servers $server"
await 120 test -s port
grpc=grpc://127.0.0.1:$(cat port)

# ---- releases of many shapes ----
sl init
sl target add web "$scratch/web" --alias production --layout tfserving --serving-root '/mo "dels"' --reload "$grpc"
ok "a target that is told by gRPC"
share() { # model, weights
    model=$1
    shift
    for v in 1 2 3; do sl push "$digits/v$v" "$model"; done
    sl promote "$model@1" --to production
    [ $# -eq 0 ] || sl weights "$model@production" "$@"
    ok "$model: $*"
}
share digits
sl promote digits@2 --to production
share fraud 1=90% 2=10%
share 'a "b\ c%' 1=33.33% 2=33.33% 3=33.34%
share "prüfung'" 3=50% 1=50%
sl rollback fraud@production
sl promote fraud@3 --to production
ok "one that was rolled back and promoted"

cat >means.py <<'END'
import sqlite3, sys, urllib.parse
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.config import model_server_config_pb2
config = text_format.Parse(open("web/config/models.config").read(), model_server_config_pb2.ModelServerConfig())
asked = model_management_pb2.ReloadConfigRequest.FromString(open("asked", "rb").read())
assert asked.config == config, f"{asked}\n---\n{config}"
size = asked.ByteSize()
asked.DiscardUnknownFields()
assert asked.ByteSize() == size and not asked.metric_names, "fields that TF Serving does not have"
catalogue = sqlite3.connect("store/catalogue.db")
want = {}
for model, number, label in catalogue.execute(
        "SELECT r.model, m.number, m.label FROM release r JOIN release_member m ON m.release_id = r.id "
        "WHERE r.state = 'live'"):
    numbers, labels = want.setdefault(model, (set(), {}))
    numbers.add(number)
    if label and sys.argv[1:] == ["labels"]: labels[label] = number
assert len(want) == 4, want
got = {}
for c in config.model_config_list.config:
    assert c.name not in got, "twice"
    assert c.model_platform == "tensorflow", c
    assert c.base_path == '/mo "dels"/' + urllib.parse.quote(c.name, safe=""), c.base_path
    assert c.model_version_policy.WhichOneof("policy_choice") == "specific", c
    got[c.name] = (set(c.model_version_policy.specific.versions), dict(c.version_labels))
assert got == want, f"{got}\n---\n{want}"
END
check "models.config, the request and the release mean the same" "$python" means.py
sl target set web --status-url http://127.0.0.1:1
sl target step web
fails "a server that is asked" 8 'target step: waiting for web'
check "labels, too" "$python" means.py labels
sl target set web --status-url ''
sl target step web
ok "and one that is not any more"
sl drill digits@production --yes
fails "a drill moves it there and back" 8 "nobody said what target web served"
check "and the server was told of that" "$python" means.py
sl weights fraud@production 1=50% 3=50%
ok "another share"
check "and of that" "$python" means.py

# ---- a server that says no ----
one() { # name, answer, what is told
    echo "$2" >answer
    sl promote digits@$((3 - $(cat flip))) --to production --again
    echo $((1 - $(cat flip))) >flip
    fails "$1: the release stands, and it is told" 8 "the server was not told: .*$3.*; sluice target step web"
}
echo 0 >flip
one "a status" "status label to version 4, which is not … available%" \
    'it says no \(status 9\): label to version 4, which is not … available%'
one "a message" "message cannot do" 'status 9\): cannot do'
one "not now" "away later" 'status 14\): later'
rm -f answer
sl target step
ok "a step tells it again"
check "and then it knows" "$python" means.py
ends "$server" 2>/dev/null
one "a server that is down" "" "Couldn't connect"
finish
