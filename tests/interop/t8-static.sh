#!/bin/sh
# The static client in a root directory that has nothing else: read-only, as a user that no
# file knows, without HOME; over HTTP by address, by a name of /etc/hosts and by one of DNS;
# over HTTPS with the list of whom to trust where each distribution keeps it.
. "$(dirname "$0")/../cli/lib.sh"

PATH=$PATH:/usr/sbin:/sbin
chroot=$(command -v chroot)
static=$(dirname "$BIN")/static/sluice
B=$(basename "$(dirname "$BIN")")
if ! make -s -C "$top" B="$B" static >make.log 2>&1; then
    skip "the static client" "$(tail -n 1 make.log)"
    finish
    exit
fi
check "nothing is linked at run time" sh -c 'ldd "$1" 2>&1 | grep -q "not a dynamic"' - "$static"
if [ "$(id -u)" -ne 0 ]; then
    skip "in an empty root directory" "needs root, to make one"
    finish
    exit
fi

sluice init >/dev/null
mkdir -p root/etc root/box root/tmp root/dev
cp "$static" root/sluice
cp -r "$digits/v1" root/model
: >root/dev/null
printf '127.0.0.1 there\n' >root/etc/hosts
printf 'nameserver 127.0.0.1\n' >root/etc/resolv.conf
chmod -R a+rX root
cat >dns.py <<'EOP'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
open("dns-up", "w").close()
while True:
    q, to = s.recvfrom(512)
    end = q.index(b"\0", 12) + 5
    is_a = q[end - 4:end - 2] == b"\0\1"
    head = q[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if is_a else b""
    s.sendto(head + q[12:end] + answer, to)
EOP
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout key.pem -out chain.pem \
    -subj /CN=there -addext subjectAltName=DNS:there >/dev/null 2>&1
# as Debian, RHEL (its file, and what that is a link to), Alpine and SUSE lay it
lists='etc/ssl/certs/ca-certificates.crt etc/pki/tls/certs/ca-bundle.crt
    etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem etc/ssl/cert.pem etc/ssl/ca-bundle.pem'
i=0
for list in none etc/mine.pem $lists; do
    i=$((i + 1))
    mkdir -p "os$i/$(dirname "$list")" "os$i/etc"
    cp "$static" "os$i/sluice"
    cp root/etc/hosts "os$i/etc/"
    [ $list = none ] || cp chain.pem "os$i/$list"
done
chmod -R a+rX os*
cat >inside.sh <<'EOP'
ip link set lo up 2>/dev/null || ifconfig lo up
mount --bind root root && mount --bind box root/box && mount -o remount,bind,ro root
sluice serve --listen 127.0.0.1:8600 >serve.log 2>&1 & server=$!
sluice serve --listen 127.0.0.1:8643 --tls_cert chain.pem --tls_key key.pem >tls.log 2>&1 & tls=$!
sluice serve --socket "$PWD/box/socket" >socket.log 2>&1 & socket=$!
/usr/bin/python3 dns.py & dns=$!
for _ in $(seq 150); do
    [ -e dns-up ] && [ -S box/socket ] && grep -q 8600 serve.log && grep -q 8643 tls.log && break
    sleep 0.2
done
chmod 666 box/socket
run() { # name, words…
    name=$1
    shift
    status=0
    env -i SLUICE_RETRY_S=3 ${var:-} "$chroot" --userspec=54321:54321 "${in:-root}" /sluice "$@" >"out-$name" 2>"err-$name" || status=$?
    echo "$status" >"status-$name"
}
run version --version
run socket --server unix:/box/socket push /model digits
run pull --server unix:/box/socket pull digits /box/pulled
run address --server http://127.0.0.1:8600 list
run hosts --server http://there:8600 list
run dns --server http://anything.example:8600 list
run cache --server unix:/box/socket exec digits -- /sluice version
run local --server unix:/box/socket init /box/store
for in in os*; do
    var=
    run "$in" --server https://there:8643 list
    var=SSL_CERT_FILE=/etc/mine.pem
    run "$in-var" --server https://there:8643 list
done
kill "$server" "$tls" "$socket" "$dns"
EOP
mkdir -m 777 box
sluice grant uid:54321 push digits >/dev/null 2>&1
sluice grant uid:54321 read digits >/dev/null 2>&1
export chroot
unshare -mn sh inside.sh >inside.log 2>&1
got() { cat "status-$1" "out-$1" "err-$1" 2>/dev/null; }
shows() { # name, case, status, text
    good=0
    [ "$(cat "status-$2" 2>/dev/null)" = "$3" ] && got "$2" | grep -qE -- "$4" || good=1
    result "$1" $good "$(got "$2"; tail -n 3 inside.log serve.log socket.log)"
}
shows "it runs" version 0 '^sluice [0-9]'
shows "pushes over a Unix socket" socket 0 '^digits@1 sha256:'
shows "pulls" pull 0 'digits@1'
check "the same bytes" diff -r -x assets "$digits/v1" box/pulled
shows "over HTTP, it is asked who it is" address 6 'SLUICE_TOKEN'
shows "a name of /etc/hosts" hosts 6 'SLUICE_TOKEN'
shows "a name of DNS" dns 6 'SLUICE_TOKEN'
shows "no place for a cache: says so" cache 2 'XDG_CACHE_HOME'
shows "what needs the whole of sluice" local 2 'store of this machine'
shows "HTTPS, and no list: says what is missing" os1 1 'ca-certificates is not installed.*SLUICE_CA_FILE'
shows "HTTPS, \$SSL_CERT_FILE" os2-var 6 'SLUICE_TOKEN'
shows "HTTPS, \$SSL_CERT_FILE names nothing" os3-var 2 'SSL_CERT_FILE: /etc/mine.pem: No such file'
i=2
for list in $lists; do
    i=$((i + 1))
    shows "HTTPS, whom to trust in /$list" os$i 6 'SLUICE_TOKEN'
done
finish
