#!/bin/sh
# key list, show, rotate: what an old key signed stays good, and what it did not does not
# become so; killed in between; who may.
. "$(dirname "$0")/lib.sh"

digits_live
sl golden add digits "$digits/acceptance" --name exam
sl validate digits@1
ok "a verdict by the first key"
sl key list
prints "one key, that signs" "^store +ed25519 +[0-9a-f]{16} +20[^ ]+ +1 to now$"
sluice key show store >first.pem
check "its public half, as the file has it" cmp first.pem store/keys/store.pub
if command -v openssl >/dev/null; then
    is "the fingerprint is the DER's" "$(sluice key list --json | sed -n 's/.*"fingerprint": "\(.*\)".*/\1/p')" \
        "$(openssl pkey -pubin -in first.pem -outform DER | sha256sum | cut -c1-64)"
fi
cp store/keys/store.key old.key
sl key rotate store --reason yearly --idempotency-key k1
ok "key rotate"
prints "which from which" "^key store is now [0-9a-f]{16}; it was [0-9a-f]{16}, whose signatures stay good"
sl key rotate store --reason yearly --idempotency-key k1 --json
prints "the same call is one" '"replayed": true'
sl audit verify
ok "the log holds"
check "another key" sh -c '! cmp -s old.key store/keys/store.key && ! cmp -s first.pem store/keys/store.pub'
is "nothing of the change stays" "$(ls store/keys | tr '\n' ' ')" "store.key store.pub "
is "the private key is its owner's" "$(stat -c %a store/keys/store.key)" 600
is "it is nowhere else" "$(grep -rlF "$(sed -n 2p store/keys/store.key)" store | tr '\n' ' ')" "store/keys/store.key "
sl key list
prints "both are listed: the new one" "^store .* [0-9]+ to now$"
prints "and the one before it" "^store .* 1 to [0-9]+$"
finger=$(sluice key list --json | sed -n 's/.*"fingerprint": "\(.*\)".*/\1/p' | tail -n 1)
sluice key show store --fingerprint "$finger" >shown.pem
check "which can be had still" cmp shown.pem first.pem
sl key show store --fingerprint 00000000
fails "none of that fingerprint" 7 "no key of this store"
sl key show store --fingerprint 12
fails "or of none" 2 "8 digits"
sl key show other
fails "no other key" 7 "there is no key 'other'"
sl key rotate ../store
fails "nor a path" 1 "alias|name"
sl verdict show digits@1
ok "an old verdict is good"
sluice verdict export digits@1 --format dsse >old.json
check "and says by which key" grep -q "\"keyid\": *\"$finger\"" old.json
sl validate digits@1
sluice verdict export digits@1 --format dsse >new.json
check "a new one is by the new key" sh -c '! grep -q "$1" new.json' - "$finger"
if command -v openssl >/dev/null && command -v python3 >/dev/null; then
    python3 - <<'P'
import base64, json
e = json.load(open("old.json"))
body = base64.b64decode(e["payload"])
kind = e["payloadType"].encode()
open("pae", "wb").write(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body))
open("sig", "wb").write(base64.b64decode(e["signatures"][0]["sig"]))
h = [json.loads(l) for l in open("store/audit/log.jsonl")]
h = [x for x in h if x["verb"] == "key_rotate" and x["outcome"] == "ok"][0]
o = h["body"]["handover"]
open("said", "w").write("sluice-handover 1 %d %s %s keeps" % (h["seq"], o["from"], o["to"]))
open("by_from", "wb").write(base64.b64decode(o["signed_by_from"]))
open("by_to", "wb").write(base64.b64decode(o["signed_by_to"]))
P
    signed() { openssl pkeyutl -verify -pubin -inkey "$1" -rawin -in "$2" -sigfile "$3"; }
    check "OpenSSL says so, too" signed first.pem pae sig
    check "the old key signs the new one, in the log" signed first.pem said by_from
    check "and the new one the old one" signed store/keys/store.pub said by_to
fi

# ---- it leaked ----
sl promote digits@1 --to production --again
printf '{"policy": 1, "require": [{"acceptance": "exam"}]}\n' >policy.json
sl policy set production --file policy.json
sl policy check digits@1 --for production
ok "a gate takes the verdict"
sl key rotate store
sl policy check digits@1 --for production
ok "after another key, too"
sl verdict show digits@1
ok "and the verdict is good"
sl key rotate store --leaked
prints "a key that leaked" "count no more"
sl policy check digits@1 --for production
fails "what it signed counts no more" 5 ""
sl validate digits@1
sl policy check digits@1 --for production
ok "but a new verdict does"
sl audit verify
ok "the log holds all the same"
sl key list
is "four keys" "$(printf '%s\n' "$out" | grep -c '^store')" 4
is "three leaked: the newest of them vouched for the others" "$(printf '%s\n' "$out" | grep -c leaked)" 3

# ---- fsck, rebuild, backup, restore ----
sl fsck
ok "fsck"
[ -n "${SLUICE_TEST_SERVER:-}" ] || {
    sl fsck --rebuild
    ok "the keys come back from the log"
    is "all of them" "$(sluice key list | grep -c '^store')" 4
    sl audit verify
    ok "and the log holds"
}
sl backup bk --with-key
sl restore bk --to back
ok "a backup has the key"
sl --store back audit verify
ok "and its log holds"
is "with those before it" "$(sluice --store back key list | grep -c '^store')" 4
sl backup without
sl restore without --to new
ok "without it, a new one begins"
sl --store new audit verify
ok "which nobody vouches for"
is "nor it for others" "$(sluice --store new key list | grep -c '^store')" 1

# ---- killed in between ----
if [ -z "${SLUICE_TEST_SERVER:-}" ]; then
    for call in rename:1 rename:2 rename:3 write:1 write:2 write:3 write:4 write:5 fsync:1 fsync:2 fsync:3 fsync:4 fsync:5 fsync:6 commit:1; do
        TEST_FAULT=$call:kill sluice key rotate store >killed 2>&1
        sl audit verify
        [ "$status" -eq 0 ] && sluice key list >list && sluice note digits@1 "after $call" >/dev/null && sluice audit verify >/dev/null
        result "killed at $call" $? "$out $err $(cat list killed)"
    done
    sl key rotate store
    ok "and again"
    check "nothing stays" [ ! -e store/keys/next.key ]
    sl audit verify
    ok "the log holds"

    # ---- what nobody signed ----
    cp store/keys/store.pub now.pem
    cp -f first.pem store/keys/store.pub
    sl audit verify
    fails "an old public key in its place" 1 "store.pub is not the key"
    cp -f now.pem store/keys/store.pub
    cp store/keys/store.key now.key
    cp old.key store/keys/store.key
    sl note digits@1 forged
    fails "an old private key signs nothing" 4 "is not by keys/store.key: nothing was signed"
    cp now.key store/keys/store.key
    sl audit verify
    ok "the right one again"
fi

# ---- who may ----
sl user add ops
sl grant ops admin key:store
sl explain ops key_rotate key:store
ok "a grant on a key"
sl user add auditor
sl grant auditor read key:store
sl grant auditor read digits
sl explain auditor 'key show' key:store
ok "or to read it"
sl explain auditor key_rotate key:store
fails "which is not to change it" 1 "auditor may not"
auditor=$(new_token auditor)
ops=$(new_token ops --scope admin:key:store)
serve serve.log --socket "$scratch/s"
sl_as "$auditor" key show store
is "an auditor far away gets it" "$out" "$(cat store/keys/store.pub)"
sl_as "$auditor" key rotate store
fails "and changes nothing" 6 "auditor may not admin key:store"
before=$out
sl_as "$ops" key rotate store
ok "who may, does, under a service"
sl_as "$auditor" key show store
is "it goes on, with the new key" "$out" "$(cat store/keys/store.pub)"
sl_as "$ops" key list
prints "and says so" "^store .* to now$"
sl audit log --verb key_rotate
prints "the log says who" "ops +key rotate +key:store"
sl audit verify
ok "and holds"
finish
