#!/bin/sh
# Several hosts, each in a network namespace of its own, follow a store over a real sshd (Debian:
# openssh-server); a line is cut in the middle of a download. And a store that is mounted
# read-only. Only its own namespaces, keys and configuration are used.
. "$(dirname "$0")/../cli/lib.sh"
PATH=$PATH:/usr/sbin:/sbin
for need in sshd ssh ssh-keygen ip unshare; do
    if ! command -v $need >/dev/null; then
        skip "hosts in network namespaces" "there is no $need"
        finish
        exit
    fi
done
tag=sl$$
if [ "$(id -u)" != 0 ] || ! ip netns add $tag-s 2>/dev/null; then
    skip "hosts in network namespaces" "this user cannot make them"
    finish
    exit
fi
pids=
leave() {
    for pid in $pids; do kill "$pid" 2>/dev/null; done
    for h in s a b c; do ip netns del $tag-$h 2>/dev/null; done
    chmod -R u+w "$scratch" 2>/dev/null
    rm -rf "$scratch"
}
trap leave EXIT
trap 'exit 1' INT TERM

# ---- a store, three hosts, a bridge between them ----
within() { # namespace command…
    where=$tag-$1
    shift
    ip netns exec "$where" "$@"
}
start() { # namespace command…: in the background; its process is $!
    where=$tag-$1
    shift
    ip netns exec "$where" "$@" >"$scratch/started.log" 2>&1 &
}
within s ip link add br0 type bridge
within s ip addr add 10.213.7.1/24 dev br0
within s ip link set br0 up
within s ip link set lo up
i=1
for h in a b c; do
    i=$((i + 1))
    ip netns add $tag-$h
    within s ip link add to-$h type veth peer name up0 netns $tag-$h
    within s ip link set to-$h master br0 up
    within $h ip addr add 10.213.7.$i/24 dev up0
    within $h ip link set up0 up
    # slow enough that a line can be cut in the middle
    within s tc qdisc add dev to-$h root tbf rate 160mbit burst 512k latency 200ms 2>/dev/null ||
        echo "# this kernel has no tbf: the lines are fast"
done

mkdir keys
ssh-keygen -q -t ed25519 -N '' -f keys/host
ssh-keygen -q -t ed25519 -N '' -f keys/user
echo "[10.213.7.1]:2222 $(cut -d' ' -f1-2 keys/host.pub)" >keys/known
cat >sshd_config <<END
Port 2222
ListenAddress 10.213.7.1
HostKey $scratch/keys/host
AuthorizedKeysFile $scratch/keys/user.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
END
cat >ssh_config <<END
IdentityFile $scratch/keys/user
IdentitiesOnly yes
UserKnownHostsFile $scratch/keys/known
StrictHostKeyChecking yes
ConnectTimeout 5
ServerAliveInterval 1
ServerAliveCountMax 2
END
mkdir -p /run/sshd
start s "$(command -v sshd)" -D -e -f "$scratch/sshd_config"
pids=$!
export SLUICE_SSH="ssh -F $scratch/ssh_config"
from=ssh://$(id -un)@10.213.7.1:2222$scratch/up
await 60 within a $SLUICE_SSH -p 2222 10.213.7.1 true

up() { sluice --store "$scratch/up" "$@" >/dev/null 2>"$scratch/.up" || cat "$scratch/.up" >&2; }
agent() { # host, more
    h=$1
    shift
    status=0
    within "$h" sluice --store "$scratch/$h" agent --from "$from" --host "$h" \
        --remote "$BIN/sluice" "$@" >"$scratch/.out" 2>"$scratch/.err" || status=$?
    out=$(cat "$scratch/.out") err=$(cat "$scratch/.err")
}
shows() { readlink "$1-models/digits/latest"; }
state() {
    sluice --store up host list --json | python3 -c '
import json, sys
for h in json.load(sys.stdin)["hosts"]:
    if h["host"] == sys.argv[1]: print(h["release"], h["state"], h["shows"])' "$1"
}
is_shown() { [ "$(shows "$1")" = "$2" ]; }
until_shows() { # host version
    await 120 is_shown "$@"
    is "$1 shows $2" "$(shows "$1")" "$2"
}
sluice --store up init >/dev/null
cp -r "$digits/v2" big
mkdir -p big/assets.extra
dd if=/dev/urandom of=big/assets.extra/table bs=1M count=48 2>/dev/null
up push "$digits/v1" digits
up push big digits
up push "$digits/v3" digits
up promote digits@1 --to production
for h in a b c; do
    sluice --store $h init >/dev/null
    sluice --store $h target add web "$scratch/$h-models" --alias production >/dev/null
    agent $h --once
    ok "$h, over sshd"
    is "$h shows it" "$(shows $h) $(state $h)" "v1 1 observed 1"
done

# ---- the line of b is cut in the middle of a download ----
up promote digits@2 --to production
agent b --once &
downloading=$!
await 60 sh -c '[ -n "$(find b/incoming -size +4M)" ]'
within s ip link set to-b down
wait $downloading
came=$(find b/incoming -type f -size +1M -printf '%s\n')
check "a part came" test "${came:-0}" -gt 4000000 -a "${came:-0}" -lt 50331648
is "the last good one stays" "$(shows b)" v1
agent b --once
ok "the host goes on without the store"
prints "which is away" "away: .*; shows 1|away: "
sl --store b rollback digits@production
fails "a rollback works offline as ever" 7 "no older release"
within s ip link set to-b up
agent b --once
ok "back"
is "gone on with" "$(shows b) $(state b)" "v2 2 observed 2"
check "from where it stopped" sh -c "sluice --store up audit log --verb cat --json | grep -q '\"offset\": $came'"
check "whole" cmp b-models/digits/v2/assets.extra/table big/assets.extra/table

# ---- all at once, in their loops ----
for h in a b c; do
    start $h sluice --store "$scratch/$h" agent --from "$from" --host $h --interval 1s \
        --remote "$BIN/sluice"
    pids="$pids $!"
    eval "loop_$h=$!"
done
for h in a b c; do until_shows $h v2; done
within s ip link set to-c down
up promote digits@3 --to production
for h in a b; do until_shows $h v3; done
sl --store c rollback digits@production --reason 'while it is cut off'
ok "a rollback where the line is cut"
is "holds" "$(shows c)" v1
within s ip link set to-c up
is_told() { [ "$(state c)" = "3 observed 3" ]; }
await 120 is_told
is "until there is something newer than what was left" "$(shows c) $(state c)" "v3 3 observed 3"
sl --store up audit log --verb host_report
prints "the rollback was reported all the same" "rolled-back"
sl --store up host list
prints "all three" "^c .*observed"
for h in a b c; do
    eval "kill -TERM \$loop_$h; wait \$loop_$h"
    is "$h ends when it is told to" $? 0
    sl --store $h fsck
    ok "$h is whole"
done

# ---- a host that fails stops the rollout ----
sl --store up host rollout production --max-failing 0
up promote digits@1 --to production
agent a --once --check /bin/false --check-wait 0
agent b --once
prints "b is spared" "the rollout is stopped: 1 failing \(a\)"
is "a went back" "$(shows a) $(state a)" "v3 4 failed 3"
sl --store up host rollout production --clear

# ---- a store that is mounted read-only ----
mkdir ro
read_only() {
    unshare -m sh -c 'mount --bind up ro && mount -o remount,ro,bind ro && exec "$@"' sh "$@" \
        >"$scratch/.out" 2>"$scratch/.err"
    status=$?
    out=$(cat "$scratch/.out") err=$(cat "$scratch/.err")
}
read_only sluice --store b agent --from ro --host b --once
ok "a read-only store that allows no unrecorded reads"
prints "says so" "away: .*unrecorded_reads allow"
sl --store up config set unrecorded_reads allow
before=$(state b)
read_only sluice --store b agent --from ro --host b --once
ok "one that does"
prints "is followed" "release 4: observed; shows 1"
prints "what cannot be delivered is said" "takes no reports"
is "and kept" "$(state b)" "$before"
agent b --once
is "until it can be" "$(state b)" "4 observed 1"
finish
