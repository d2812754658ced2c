#!/bin/sh
# What people meet on the way: a catalogue made anew under a service, an object that was
# lost, where weights came from, words typed wrong. (What is asked is the same as at the
# store itself: make check-served.)
. "$(dirname "$0")/lib.sh"
unset SLUICE_TEST_SERVER SLUICE_CA_FILE SLUICE_CERT SLUICE_KEY SLUICE_TOKEN_FILE SLUICE_SSH
export XDG_CACHE_HOME="$scratch/cache"

sl init
sl push "$digits/v1" digits
sluice serve --socket "$scratch/s" >serve.log 2>&1 </dev/null &
servers="$servers $!"
for _ in $(seq 200); do
    [ -S s ] && break
    sleep 0.1
done
far() { sl --server "unix:$scratch/s" "$@"; }
far push "$digits/v2" digits
ok "a service"

# ---- a catalogue that is made anew while it is served ----
sl fsck --rebuild
ok "the owner makes the catalogue anew"
far list --json
want=$out
ok "the service has the new one"
sl list --json
is "which says the same" "$want" "$out"
far push "$digits/v3" digits
prints "and is written to" '^digits@3 sha256:'
far resolve digits
prints "look-ups too" '^digits@3 '
check "it is ready" curl -fsS --unix-socket s http://x/readyz

# ---- a file of the store that is lost: the same push brings it back ----
object=$(sha256sum "$digits/v2/saved_model.pb" | cut -c1-64)
rm -f "store/objects/$(echo "$object" | cut -c1-2)/$(echo "$object" | cut -c3-)"
far fsck
fails "an object is lost" 1 "push the same files again"
far push "$digits/v2" digits
prints "they are pushed again" '^digits@2 sha256:.* \(unchanged'
far fsck
ok "and are whole"

# ---- room: what was pushed is the version's, and goes with it ----
cp -r "$digits/v1" own
chmod -R u+w own
mkdir -p own/assets
head -c 5000 /dev/urandom >own/assets/own
far push own own
far delete own@1 --days 0
far gc --explain "$(sha256sum own/assets/own | cut -c1-64)"
prints "it stays for those who push it again" 'sent, or made, through a service'
if (TEST_CLOCK=x sluice list 2>&1) 2>/dev/null | grep -q TEST_CLOCK; then # in builds that can
    export TEST_CLOCK=0:700
    sl gc # gives the version up, and sets the store's clock
    sl gc
    prints "but not for a day" 'to the trash: [1-9]'
    unset TEST_CLOCK
else
    skip "not for a day" "needs a build with TEST_CLOCK"
fi

# ---- a dry run sends nothing, and says what would go ----
head -c 3000000 /dev/urandom >own/assets/more
find store/objects store/uploads >before
far push own dry --dry-run
prints "a dry run" '^dry@1 sha256:.* would be stored: [2-6] of 6 files new, 3.0 MB of 3.0 MB'
is "sends nothing" "$(find store/objects store/uploads | diff before -)" ""
far push own "no/name" --dry-run
fails "what a push would be refused for" 1 "cannot be a model's name"
far push "$digits/v1" digits --dry-run
prints "what is there" 'digits@1 .*is these bytes already'
far push own dry --reread --json
prints "a push reads here" '"read_bytes": 30[0-9]*'

# ---- where weights came from, as it was typed ----
ckpt=$data/checkpoints/module
far push "$ckpt/model" module
ok "a model for other weights"
(cd "$ckpt/ckpt" && far push --checkpoint ckpt-2 --onto module@1 && echo "$out") >pushed
check "named by what its files begin with" grep -q '^weights of ckpt-2 on module@1: ' pushed
far inspect module@2 --json
prints "it is on record without a path of the service" '"checkpoint": "\./ckpt-2"'
far push --checkpoint "$ckpt/ckpt" --onto module@1 --again
far log module --json
is "and nowhere else is one" "$(printf '%s\n' "$out" | grep -c 'store/stage')" 0
far push "$digits/v1" digits --provenance checkpoint=x
fails "without weights nobody says so" 1 "push itself says 'checkpoint'"

# ---- a ramp: it takes no key, not even the client's own ----
far target add web "$scratch/web" --alias production
far promote digits@1 --to production
far weights digits@production 2 --ramp 10%,100% --every 0 --json
ok "a ramp through a service"
prints "comes to its end" '"state": *"done"'
far weights digits@production 1 --ramp 1% --idempotency-key k
fails "a key is not for it" 2 "takes no idempotency key"

# ---- names ----
cp -r "$digits/v1" m
chmod -R u+w m
mkdir -p m/assets
touch "m/assets/$(printf '\351')"
far push m digits
fails "a name that is not UTF-8" 1 '^sluice: push m: assets/%E9: its name is not UTF-8: rename it$'
far push nowhere digits
fails "nothing there" 7 '^sluice: push nowhere: open nowhere: No such file'
far pull digits@1 m
fails "a place that is taken" 3 '^sluice: pull digits@1: m: there is something already$'

# ---- words typed wrong ----
sl list --server https://127.0.0.1:99999
fails "a port that is none" 2 "a port is 1 to 65535"
sl list --server "unix:$scratch"
fails "a directory" 1 "it is no socket"
sl push m -q
fails "a flag of one letter" 2 "^sluice: push has no flag -q; sluice push --help"
sl push --dry-rum
fails "one that is near another" 2 "has no flag --dry-rum; near it: --dry_run"
sl push --help
prints "each command's help says where stores are" "--server X"

# ---- who asks: the token of a host, and what a job's statement says ----
sl user add ci --service
sl grant ci push digits
sl token create ci --out token
port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sluice serve --listen "127.0.0.1:$port" >tcp.log 2>&1 </dev/null &
servers="$servers $!"
for _ in $(seq 200); do
    curl -fs "http://127.0.0.1:$port/healthz" >/dev/null 2>&1 && break
    sleep 0.1
done
near="http://127.0.0.1:$port"
sl resolve digits --server "$near"
fails "nobody" 6 "say who you are"
export XDG_CONFIG_HOME="$scratch/config"
mkdir -p config/sluice/tokens
cp token "config/sluice/tokens/127.0.0.1:$port"
chmod 600 "config/sluice/tokens/127.0.0.1:$port"
sl resolve digits --server "$near"
prints "a token that is kept for the host" '^digits@'
chmod 644 "config/sluice/tokens/127.0.0.1:$port"
sl resolve digits --server "$near"
fails "not when others can read it" 6 "others can read the token .*chmod 600"
export SLUICE_TOKEN="
 $(cat token) "
sl resolve digits --server "$near"
prints "blanks around a token are nobody's" '^digits@'
sl resolve digits --server "$near/there"
fails "a wrong path is not a version that is missing" 1 "is the path of --server right"
SLUICE_TOKEN=$(/usr/bin/python3 -c 'import base64, json
part = lambda o: base64.urlsafe_b64encode(json.dumps(o).encode()).rstrip(b"=").decode()
print(part({"alg": "RS256"}) + "." + part({"iss": "https://ci", "aud": ["a", "b"], "sub": "repo:x", "exp": 1}) + ".eHh4")')
sl resolve digits --server "$near"
fails "a job that is nobody is told what it showed" 6 'it says: iss https://ci, aud a, sub repo:x; it ended [0-9]+ s ago'
finish
