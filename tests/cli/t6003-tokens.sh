#!/bin/sh
# users, tokens, certificates, issuers: what is made, told, kept, and refused. How a
# service asks for them: t8101.
. "$(dirname "$0")/lib.sh"

sl init
sl token create ci-fraud
fails "a token of nobody: the way out" 7 "sluice user add ci-fraud"
sl user add ci-fraud --service --note 'the pipeline of fraud'
ok "user add"
prints "what it is" "ci-fraud is a service here"
sl user add ci-fraud --service --note 'the pipeline of fraud'
prints "twice does no harm" "as before"
sl user add 'ci fraud'
fails "a name with a blank" 1 "no name of a user"
sl grant ci-fraud push fraud
ok "an account may get grants, without a Unix user of its name"

# ---- tokens ----
sl token create ci-fraud --scope push:fraud --note nightly --expires 30d --idempotency-key k1
ok "token create"
prints "says whose, and for what" "^token [0-9A-Za-z]{8} for ci-fraud, until .*: push:fraud"
prints "the secret stands alone on its line" "^slc_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}$"
token=$(printf '%s\n' "$out" | grep '^slc_')
id=$(echo "$token" | cut -c5-12)
secret=$(echo "$token" | cut -c14-45)
sl token create ci-fraud --scope push:fraud --note nightly --expires 30d --idempotency-key k1
ok "the same call with its key"
prints "is the same token" "^token $id for ci-fraud"
is "and does not give the secret again" "$(printf '%s\n' "$out" | grep -c slc_)" 0
prints "but the way out" "sluice token rotate $id"
sl token create ci-fraud --json
is "--json gives it" "$(printf '%s' "$out" | grep -cE '"token": "slc_[0-9A-Za-z_]{47}"')" 1
other=$(printf '%s\n' "$out" | sed -n 's/.*"id": "\(.*\)".*/\1/p')
sl token create ci-fraud --out ./secret/token
fails "--out where nothing can be written: nothing is made" 1 "secret"
sl token create ci-fraud --out ./token
ok "--out FILE"
is "the terminal does not see it" "$(printf '%s\n' "$out" | grep -c slc_)" 0
is "nobody else reads the file" "$(stat -c %a token)" 600
check "it is a token" grep -qE '^slc_[0-9A-Za-z_]{47}$' token
sl token list
is "three, with their ids" "$(printf '%s\n' "$out" | grep -c ci-fraud)" 3
prints "scope and note" "$id +ci-fraud +push:fraud .*never +[a-z]+ +nightly"
sl token list --unused 1h
prints "nobody is called idle who was born a moment ago" "no tokens"
sl token rotate "$other" --grace 0 --json
ok "token rotate"
sl token list --all --json
is "the old one ended" "$(printf '%s' "$out" | grep -c '"id"')" 4
sl token revoke "$id" --reason 'seen in a log'
ok "token revoke"
sl token revoke "$id"
prints "twice does no harm" "as before"
sl token rotate "$id"
fails "what ended is not rotated" 1 "has ended"
sl token revoke 00000000
fails "no such token" 7 "token list"
for expires in 0 4000d soon; do
    sl token create ci-fraud --expires $expires
    fails "--expires $expires" 1 "expires"
done
sl token create ci-fraud --scope push
fails "a scope has a right and an object" 1 "RIGHT:OBJECT"
sl user disable ci-fraud --reason 'left'
ok "user disable"
sl token create ci-fraud
fails "no new token for who is disabled" 6 "sluice user enable ci-fraud"
sl user list
prints "user list" "ci-fraud +service, disabled +2 +never +the pipeline"
sl user enable ci-fraud
ok "user enable"
sl user disable "$me"
fails "the owner cannot be shut out" 1 "owns this store"

# ---- what is kept ----
sl audit log
prints "the log names the token" "token create +token:$id +ok"
is "no secret in any file of the store" "$(grep -rlF "$secret" store | wc -l)" 0
is "nor any token" "$(grep -rlE 'slc_[0-9A-Za-z]{8}_' store | wc -l)" 0
sl token list --all --json
before=$out
rm store/catalogue.db*
sl fsck --rebuild
ok "the catalogue is made again from the log"
sl token list --all --json
is "with all tokens, also the revoked" "$out" "$before"

# ---- certificates ----
fpr=$(printf 'x' | sha256sum | cut -c1-64)
sl user cert ci-fraud --sha256 "$(echo "$fpr" | tr a-f A-F | sed 's/../&:/g; s/:$//')"
ok "user cert, as openssl prints it"
prints "is kept in one form" "ci-fraud: sha256 $fpr"
sl user cert ci-fraud --san URI:spiffe://example.org/ci-fraud
ok "an alternative name"
sl user add other
sl user cert other --san URI:spiffe://example.org/ci-fraud
fails "one certificate, one subject" 3 "stands for ci-fraud"
sl user cert ci-fraud --san spiffe://example.org
fails "what kind of name" 2 "URI:"
sl user cert ci-fraud --sha256 "$fpr" --remove
ok "take it back"
is "one is left" "$(printf '%s\n' "$out" | grep -c ci-fraud)" 1

# ---- issuers ----
github=https://token.actions.githubusercontent.com
sl issuer add github $github --audience https://models.example.org --subject ci-fraud \
    --match repository=org/fraud --match ref=refs/heads/main --scope push:fraud
ok "issuer add"
sl issuer add github $github --audience https://models.example.org --subject other --match 'repository=org/*'
prints "a second rule" "rule 2 of github"
sl issuer add github $github --audience https://models.example.org --subject other --match 'repository=*'
fails "not for all the world" 1 "repository=org/fraud"
sl issuer add github $github --audience x --subject other --match repository=org/fraud
fails "one audience" 3 "issuer remove github"
sl issuer add http http://ci.example.org --audience x --subject other --match a=b
fails "not without TLS" 1 "https://"
sl issuer list
prints "issuer list" "1 +github $github +https://models.example.org +ref=refs/heads/main repository=org/fraud +ci-fraud +push:fraud"
sl issuer remove github --rule 1
ok "a rule is taken back"
sl issuer remove github
ok "all of it"
sl issuer remove github
fails "twice" 7 "issuer list"
sl audit verify
ok "the log holds"
finish
