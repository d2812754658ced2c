#!/bin/sh
# etc/container: compose.yaml and kubernetes.yaml by their schemas, and compose.yaml done without
# containers: the lines at its top, then its entry scripts with its arguments and environment.
. "$(dirname "$0")/../cli/lib.sh"
etc=$top/etc/container
python=$top/build/interop/venv/bin/python
if "$python" -c 'import kubernetes_validate, compose_spec' 2>/dev/null; then
    for v in 1.25 1.37; do
        check "Kubernetes $v knows all that kubernetes.yaml says" "$python" - "$etc/kubernetes.yaml" $v <<'P'
import sys, yaml, kubernetes_validate
docs = [d for d in yaml.safe_load_all(open(sys.argv[1])) if d]
assert len(docs) == 4
for d in docs:
    kubernetes_validate.validate(d, sys.argv[2], strict=True)
    pod = d["spec"].get("template", {}).get("spec", {})
    volumes = pod.get("volumes", []) + [t["metadata"] for t in d["spec"].get("volumeClaimTemplates", [])]
    for c in pod.get("containers", []) + pod.get("initContainers", []):
        assert {m["name"] for m in c.get("volumeMounts", [])} <= {v["name"] for v in volumes}, c["name"]
P
    done
    check "compose knows all that compose.yaml says" "$python" - "$etc/compose.yaml" <<'P'
import sys
from compose_spec import PyCompose
c = PyCompose.from_yaml(open(sys.argv[1]).read())
c.validate()
c.validate_secrets()
c.validate_volumes()
P
else
    skip "compose.yaml and kubernetes.yaml by their schemas" "make interop-tools"
fi
if [ "$(id -u)" -ne 0 ] || ! command -v openssl >/dev/null || ! /usr/bin/python3 -c 'import yaml' 2>/dev/null; then
    skip "compose.yaml, done" "needs root, openssl and PyYAML"
    finish
    exit
fi

mkdir secrets service agent models run
/usr/bin/python3 - "$etc" <<'P'
# first.sh, then.sh: what is to be typed; serve.sh, agent.sh: what the containers run; all with
# paths of this directory
import os, shlex, socket, sys, yaml
etc, scratch = sys.argv[1], os.getcwd()
s = socket.socket()
s.bind(("127.0.0.1", 0))
port = str(s.getsockname()[1])
places = {"/run/secrets": scratch + "/secrets", "/run/sluice": scratch + "/run", "0.0.0.0:8600": "127.0.0.1:" + port,
          "//sluice:8600": "//localhost:" + port}
def here(text):
    for there, place in places.items():
        text = text.replace(there, place)
    return text
def script(name, who, env, entry, args):
    words = ["exec", "setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "env", "-i", "PATH=" + os.environ["PATH"],
             f"SLUICE_STORE={scratch}/{who}/sluice"] + [f"{k}={here(v)}" for k, v in env.items()]
    words += entry + [here(a) for a in args]
    open(name, "w").write(shlex.join(words) + ' "$@"\n')
text = open(etc + "/compose.yaml").read()
doc = yaml.safe_load(text)["services"]
typed = "\n".join(l[4:] for l in text.splitlines() if l.startswith("#   ")).replace("\\\n", " ").splitlines()
up = [i for i, l in enumerate(typed) if l.startswith("docker compose up")]
execs = "docker compose exec -T sluice "
then = typed[up[0] + 1:up[1]]
assert len(up) == 2 and up[0] > 0 and then and all(l.startswith(execs) for l in then), typed
open("first.sh", "w").write("\n".join(typed[:up[0]]) + "\n")
open("then.sh", "w").write("".join("sh ../exec.sh " + l[len(execs):] + "\n" for l in then))
env = doc["agent"]["environment"] | {"SLUICE_TARGET": scratch + "/models"}
del env["SLUICE_STATUS_URL"] # no server reads this directory
script("exec.sh", "service", {}, [], [])
script("serve.sh", "service", {}, ["sh", etc + "/service-entry"], doc["sluice"]["command"])
script("agent.sh", "agent", env, ["sh", etc + "/agent-entry"], doc["agent"]["command"])
P
until_good() { # command…
    for i in $(seq 300); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    return 1
}
(cd secrets && sh -e ../first.sh) >first.log 2>&1
is "the lines to type first" "$?" 0
is "who may read the secrets" "$(stat -c '%u %a' secrets/tls.key secrets/agent.token | sort -u)" "10001 600"
chown 10001 service agent models run
chmod 755 "$scratch"
sh serve.sh >serve.log 2>&1 &
service=$!
servers="$servers $service"
check "the service starts with its arguments" until_good grep "listens on https://127.0.0.1:.*$scratch/run/sluice.sock" serve.log
(cd secrets && sh -e ../then.sh) >then.log 2>&1
is "the lines to type then" "$?" 0
is "the token is in its file" "$(grep -c '^slc_' secrets/agent.token)" 1
sh exec.sh sluice push "$digits/v1" digits >then.log 2>&1
sh exec.sh sluice promote digits@1 --to production >>then.log 2>&1
sh agent.sh >agent.log 2>&1 &
agent=$!
servers="$servers $agent"
check "the agent shows what is released" until_good test -e models/digits/latest/saved_model.pb
is "and was never refused" "$(grep -c away agent.log)" 0
kill $agent
wait $agent
is "the agent ends well" "$?" 0
kill $service
wait $service
is "and so does the service" "$?" 0
finish
