#!/bin/sh
# etc/systemd under a real systemd: as pid 1 of namespaces of its own, upon a copy (an overlay)
# of this machine's files. The service starts, answers, judges a model (whose process locks
# itself in under the unit's own locks), reopens its log, restarts without refusing anybody, and
# ends gracefully. Needs root.
. "$(dirname "$0")/../cli/lib.sh"
if [ "$(id -u)" -ne 0 ] || ! [ -x /lib/systemd/systemd ] || ! command -v curl >/dev/null; then
    skip "the units under systemd" "needs root, systemd and curl"
    finish
    exit
fi
[ -x "$BIN/sluice-server" ] || BIN=$top/build/release/bin
for u in sluice.service sluice-agent.service sluice.socket; do
    # complaints about the programs, which are not installed here, are none
    systemd-analyze verify --man=no "$top/etc/systemd/$u" 2>&1 | grep -vE "is not executable|No such file|Transaction|sluice.service: Job" >verify
    is "systemd-analyze verify $u" "$(cat verify)" ""
done
exposure=$(systemd-analyze security --offline=yes "$top/etc/systemd/sluice.service" 2>/dev/null | sed -n 's/.*Overall exposure level for [^:]*: \([0-9]*\)\..*/\1/p')
check "systemd-analyze security: exposure $exposure, below 3" test "${exposure:-9}" -lt 3

mkdir out up root
cat >inside.sh <<'I'
# runs as a unit; each line of the report is "NAME VALUE"
exec 3>/mnt/report
say() { printf '%s %s\n' "$1" "$2" >&3; }
until_it_is() { for _ in $(seq 300); do "$@" 2>/dev/null && return; sleep 0.2; done; }
unix() { runuser -u sluice -- curl -sS --max-time 60 --unix-socket "$@"; }
rm -rf /var/lib/sluice
systemctl start sluice.service 2>/dev/null # makes the directories
systemctl reset-failed sluice.service
runuser -u sluice -- sluice init /var/lib/sluice/store >/dev/null 2>/mnt/init || say init failed
runuser -u sluice -- env SLUICE_STORE=/var/lib/sluice/store sluice push /models/v1 digits --golden /models/golden >/dev/null 2>>/mnt/init
systemctl start sluice.service && say start ok
say active "$(systemctl is-active sluice.service)"
sock=/run/sluice/sluice.sock
say ready "$(unix $sock http://x/readyz)"
say ready_tcp "$(curl -sS --max-time 60 http://127.0.0.1:8600/readyz)"
unix $sock -d '{"ref":"digits@1"}' -H 'Content-Type: application/json' http://x/api/v1/validate >/mnt/validate
unix $sock "http://x/api/v1/doctor?verbose=true" >/mnt/doctor
say seccomp "$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' "/proc/$(systemctl show -P MainPID sluice.service)/status")"
say foreign "$(curl -sS --max-time 60 --unix-socket $sock -o /dev/null -w '%{http_code}' -X POST -H 'Content-Type: application/json' -d '{"ref":"digits@1","reason":"x"}' http://x/api/v1/delete)"
mv /var/log/sluice/access.log /var/log/sluice/access.log.1
systemctl reload sluice.service
until_it_is [ -e /var/log/sluice/access.log ]
unix $sock http://x/healthz >/dev/null
until_it_is grep -q healthz /var/log/sluice/access.log
say reopened "$(grep -c healthz /var/log/sluice/access.log)"
systemctl stop sluice.service
say result "$(systemctl show -P Result sluice.service) $(systemctl show -P ExecMainStatus sluice.service)"
say listens "$(curl -sS --max-time 60 -o /dev/null -w '%{http_code}' http://127.0.0.1:8600/healthz 2>/dev/null)"

# ---- sockets by systemd: a restart refuses nobody ----
echo 'SLUICE_SERVE=--access_log /var/log/sluice/access.log' >/etc/default/sluice
systemctl start sluice.socket
say socket "$(unix /run/sluice.sock http://x/readyz)"
: >/mnt/codes
(while [ ! -e /mnt/enough ]; do curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8600/healthz 2>&1; done >/mnt/codes) &
until_it_is [ -s /mnt/codes ]
for i in 1 2 3; do systemctl restart sluice.service; sleep 0.3; done
touch /mnt/enough
wait
say asked "$(wc -l </mnt/codes)"
say refused "$(grep -vc '^200$' /mnt/codes)"
say end reached
I
cat >pid1.sh <<'I'
set -e
mount --make-rprivate /
mount -t tmpfs -o size=1g none up
mkdir up/u up/w
mount -t overlay overlay -o lowerdir=/,upperdir=up/u,workdir=up/w root
mount --rbind /dev root/dev
mount --rbind /sys root/sys
mount -t proc proc root/proc
mount -t tmpfs tmpfs root/run
mount -t tmpfs tmpfs root/tmp
mount --bind out root/mnt
rm -rf root/etc/systemd/system
mkdir -p root/etc/systemd/system root/usr/local/bin root/usr/local/libexec/sluice root/models
cp "$2"/etc/systemd/sluice.service "$2"/etc/systemd/sluice.socket units/* root/etc/systemd/system/
cp "$1/sluice" root/usr/local/bin/
cp "$1"/sluice-* root/usr/local/libexec/sluice/
cp -r "$2/demo/digits/v1" root/models/v1
cp -r "$2/demo/digits/v1-golden" root/models/golden
cp inside.sh root/usr/local/bin/
rm -f root/etc/default/sluice
echo 'sluice:x:10001:10001::/var/lib/sluice:/bin/sh' >>root/etc/passwd
echo 'sluice:x:10001:' >>root/etc/group
ip link set lo up
exec chroot root /usr/bin/env -i container=docker PATH="$PATH" /lib/systemd/systemd --unit=test.target --log-target=console --log-level=warning --show-status=no
I
mkdir units
cat >units/test.target <<'I'
[Unit]
DefaultDependencies=no
Wants=test.service
I
cat >units/test.service <<'I'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/bin/inside.sh
ExecStopPost=/bin/touch /mnt/ended
StandardOutput=file:/mnt/said
StandardError=file:/mnt/said
I
unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child=KILL sh pid1.sh "$BIN" "$top" >systemd.log 2>&1 &
boot=$!
trap 'kill -9 $boot 2>/dev/null; chmod -R u+w "$scratch" 2>/dev/null; rm -rf "$scratch"' EXIT
i=0
while [ ! -e out/ended ] && [ $i -lt 1500 ] && kill -0 $boot 2>/dev/null; do
    sleep 0.2
    i=$((i + 1))
done
kill -9 $boot 2>/dev/null
wait $boot 2>/dev/null
if ! [ -e out/report ]; then
    skip "the units under systemd" "systemd does not start in namespaces here: $(tail -n 1 systemd.log)"
    finish
    exit
fi
value() { sed -n "s/^$1 //p" out/report; }
is "all of it was run" "$(value end)" reached
is "Type=notify: started when it is ready" "$(value start) $(value active)" "ok active"
is "on the Unix socket" "$(value ready)" ready
is "and on TCP" "$(value ready_tcp)" ready
check "a model is judged by its own process, locked in, under the unit's locks" python3 - <<'P'
import json
r = json.load(open("out/validate"))
assert r["verdict"] == "passed", r
P
check "doctor has no findings" python3 - <<'P'
import json
r = json.load(open("out/doctor"))
text = json.dumps(r)
assert "no network, no process" in text and "only the model can be read" in text, text
assert all(f.get("ok", True) for f in r.get("findings", r.get("checks", []))), text
P
is "no new privileges" "$(value seccomp)" 1
is "root is not its owner: no grant, no right" "$(value foreign)" 403
is "SIGHUP: the log is a new file" "$(value reopened)" 1
is "ends well" "$(value result)" "success 0"
is "and is gone" "$(value listens)" 000
is "sockets by systemd: the first who comes starts it" "$(value socket)" ready
check "asked $(value asked) times while it restarts three times" test "$(value asked)" -gt 10
is "nobody is refused" "$(value refused)" 0
finish
