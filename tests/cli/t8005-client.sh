#!/bin/sh
# --server: a Unix socket, ssh, TLS with its certificates and tokens; exec, cat, export; what
# does not answer. (The rest of the commands: make check-served.)
. "$(dirname "$0")/lib.sh"
unset SLUICE_TEST_SERVER SLUICE_CA_FILE SLUICE_CERT SLUICE_KEY SLUICE_TOKEN_FILE SLUICE_SSH
export XDG_CACHE_HOME="$scratch/cache"

digits_live
serve serve.log --socket "$scratch/s"
here=$at

sl list --json
want=$out
sl list --json --server "$here"
is "the same answer" "$out" "$want"
sl inspect digits@7
want="$status $err"
sl inspect digits@7 --server "$here"
is "the same error and exit status" "$status $err" "$want"
sl list --store "$SLUICE_STORE" --server "$here"
fails "one store at a time" 2 "one of them"
sl init --server "$here" there
fails "what is about this machine" 2 "store of this machine"
sl list --server ftp://x
fails "no such kind of address" 2 "unix:PATH"
sl push "$digits/v2" digits --server "$here"
prints "push" "^digits@2 sha256:"
sl pull digits@2 --server "$here"
check "pull, where it would be without a name" diff -r -x assets "$digits/v2" digits-2
sl pull digits@2 --server "$here"
fails "not over what is there" 3 "digits-2"
sluice cat digits@2 saved_model.pb --server "$here" >got.pb
check "cat" cmp got.pb "$digits/v2/saved_model.pb"
sl run digits@2 --inputs "image=$digits/predict.npz[image]" --outdir out --server "$here"
ok "run reads files of here"
check "and writes some" test -s out/label.npy -o -n "$(ls out/*.npy)"
sl export digits@1 digits@2 two.tar --server "$here"
prints "export to a file" "^digits@2 sha256:"
sl export digits@1 digits@2 local.tar
check "the same bytes" cmp two.tar local.tar

# ---- exec: a cache of versions ----
sl exec digits@1 --server "$here" -- sh -c 'echo "$SLUICE_VERSION $SLUICE_MODEL_DIR"; ls "$SLUICE_MODEL_DIR"'
prints "exec" "^digits@1 $scratch/cache/sluice/views/[0-9a-f]{64}$"
prints "the files are there" "^saved_model.pb$"
sl exec digits@1 --server "$here" -- sh -c 'exit 9'
is "its exit status is the program's" "$status" 9
is "one version, one directory" "$(find cache/sluice/views -mindepth 1 -maxdepth 1 -type d | wc -l)" 1

# ---- ssh: what it runs there ----
cat >ssh <<'EOS'
#!/bin/sh
while [ $# -gt 1 ]; do shift; done
exec sh -c "$1"
EOS
chmod +x ssh
SLUICE_SSH=$scratch/ssh
export SLUICE_SSH
sl list --json --server ssh://anybody@somewhere
is "over ssh" "$out" "$(sluice list --json)"
printf '#!/bin/sh\necho "Host key verification failed." >&2\nexit 255\n' >ssh
sl list --server ssh://somewhere
fails "what ssh says is said" 75 "Host key verification failed"

# ---- nobody there ----
sl list --server "unix:$scratch/nobody"
fails "no socket: try again" 75 "no such socket.*sluice serve"
sl list --server http://127.0.0.1:1
fails "no server: try again" 75 "refused"
sl list --server http://192.0.2.1:8600
fails "plain HTTP stays here" 1 "SLUICE_INSECURE"

# ---- TLS ----
if ! command -v openssl >/dev/null; then
    skip "TLS" "there is no openssl"
    finish
    exit
fi
ca() { # name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.pem" -days 2 \
        -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE >/dev/null 2>&1
}
cert() { # name, by, names[, more extensions[, days]]
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" >/dev/null 2>&1
    printf 'subjectAltName=%s\n%s\n' "$3" "${4:-}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "${5:-2}" -extfile "$1.ext" -out "$1.pem" >/dev/null 2>&1
}
ca ours
ca others
cert there ours "DNS:localhost,IP:127.0.0.1"
cert elsewhere ours "DNS:models.example.org"
tls() { # certificate, options
    own=$1
    shift
    serve tls.log --listen 127.0.0.1:0 --tls_cert "$own.pem" --tls_key "$own.key" "$@"
    port=${at##*:}
}
tls there
export SLUICE_CA_FILE="$scratch/ours.pem"
sl token create "$me"
token=$(printf '%s\n' "$out" | grep -oE 'slc_[A-Za-z0-9_-]+' | head -n 1)
sl list --server "https://127.0.0.1:$port"
fails "who is it?" 6 "SLUICE_TOKEN"
printf '%s\n' "$token" >token
SLUICE_TOKEN_FILE=$scratch/token SLUICE_SERVER=https://127.0.0.1:$port sluice list >.tls 2>.tls-err
check "a token, over TLS" grep -q '^digits@2 ' .tls
SLUICE_TOKEN=slc_wrong SLUICE_SERVER=https://localhost:$port sluice list >.tls 2>.tls-err
check "a token that is none" grep -q 'this is no token of sluice' .tls-err
SLUICE_CA_FILE=$scratch/others.pem SLUICE_SERVER=https://localhost:$port sluice list >.tls 2>.tls-err
is "somebody else's certificate" "$?" 1
check "the way out is said" grep -q 'SLUICE_CA_FILE' .tls-err
SLUICE_CA_FILE=$scratch/gone.pem SLUICE_SERVER=https://localhost:$port sluice list >.tls 2>.tls-err
check "no file of authorities" grep -q 'SLUICE_CA_FILE.*gone.pem: No such file' .tls-err
ends "$service"
tls elsewhere
SLUICE_SERVER=https://localhost:$port sluice list >.tls 2>.tls-err
check "a certificate for another name says for which" grep -q 'not for localhost but for: models.example.org' .tls-err
SLUICE_SERVER=https://$(printf %s "${here#unix:}" | tr -d /):1 sluice list >.tls 2>.tls-err
check "a name that there is not" grep -q 'look up' .tls-err

ends "$service"

# ---- TLS: this client's own certificate ----
for name in gpu-7 stranger disabled; do cert $name ours "URI:spiffe://example.org/$name" extendedKeyUsage=clientAuth; done
cert forged others URI:spiffe://example.org/gpu-7 extendedKeyUsage=clientAuth
cert old ours URI:spiffe://example.org/gpu-7 extendedKeyUsage=clientAuth -1
cert misused ours URI:spiffe://example.org/gpu-7 extendedKeyUsage=serverAuth
cat gpu-7.pem gpu-7.key >both.pem
for name in gpu-7 disabled; do
    sl user add $name --service
    sl grant $name read '*'
    sl user cert $name --san URI:spiffe://example.org/$name
done
ok "whom they stand for"
tls there --client_ca ours.pem
by() { # certificate, key, words
    SLUICE_CERT=$1 SLUICE_KEY=$2
    export SLUICE_CERT SLUICE_KEY
    [ "$2" ] || unset SLUICE_KEY
    [ "$1" ] || unset SLUICE_CERT
    shift 2
    sl --server "https://127.0.0.1:$port" "$@"
    unset SLUICE_CERT SLUICE_KEY
}
by gpu-7.pem gpu-7.key list
ok "SLUICE_CERT and SLUICE_KEY"
prints "answer for whom it stands" "^digits@2 "
by both.pem "" list
ok "both in one file"
by gpu-7.pem gpu-7.key pull digits@2 by-cert
check "several connections, each with it" diff -r -x assets "$digits/v2" by-cert
by gpu-7.pem gpu-7.key push "$digits/v3" digits
fails "what it stands for may not push" 6 "gpu-7 may not push digits"
by disabled.pem disabled.key list
ok "another one"
sl user disable disabled
by disabled.pem disabled.key list
fails "its subject is disabled" 6 "not accepted here.*disabled"
sl user enable disabled
by disabled.pem disabled.key list
ok "and enabled again"
by stranger.pem stranger.key list
fails "one that stands for nobody" 6 "say who you are"
for name in forged old misused; do
    by $name.pem $name.key list
    fails "one that does not hold: $name" 6 "not accepted|does not hold|does not accept this client's certificate"
done
by "" "" list
fails "none at all" 6 "SLUICE_TOKEN"
by gpu-7.pem stranger.key list
fails "the key of another" 2 'SLUICE_KEY.*stranger.key'
by gpu-7.pem gone.key list
fails "a key that is not there" 2 'SLUICE_KEY.*gone.key'
by gone.pem gone.key list
fails "a certificate that is not there" 2 'SLUICE_CERT.*gone.pem'
by "" gpu-7.key list
fails "a key without one" 2 'SLUICE_KEY needs .SLUICE_CERT'
export SLUICE_TOKEN="$token"
by stranger.pem stranger.key list
ok "a token counts more"
unset SLUICE_TOKEN
sl user cert gpu-7 --san URI:spiffe://example.org/gpu-7 --remove
by gpu-7.pem gpu-7.key list
fails "taken back, at once" 6 "say who you are"
sl audit log --json
prints "the log says by which certificate it was" '"via": "certificate [0-9a-f]+'

# ---- an agent that follows the service ----
sl init "$scratch/mine"
sluice --store "$scratch/mine" target add web "$scratch/host" --alias production >/dev/null
sl --store "$scratch/mine" agent --from "$here" --host h1 --once
ok "an agent follows a service"
is "and shows what it shows" "$(readlink host/digits/latest)" v1
sl host list
prints "which knows of it" "h1"
finish
