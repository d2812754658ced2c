#!/bin/sh
# etc/ci/sluice-ci, as GitHub, GitLab and Jenkins run it: exit statuses, retries, job tokens,
# one comment that is changed and not followed by others. A small HTTP server stands for the
# APIs of GitHub and GitLab.
. "$(dirname "$0")/lib.sh"
ci=$top/etc/ci/sluice-ci
for tool in curl jq python3; do
    command -v $tool >/dev/null || {
        skip "sluice-ci" "no $tool"
        finish
        exit
    }
done

cat >api.py <<'P'
# Comments of pull request 7 (GitHub) and merge request 9 (GitLab), and GitHub's job tokens.
import http.server, json
comments, seen = {}, open("seen", "a", buffering=1)
class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        auth = self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "none"
        print(self.command, path, query, auth, self.headers.get("Content-Type"), file=seen)
        if path == "/token":
            return self.say(200, {"count": 1, "value": "job.token.for-" + query.rpartition("audience=")[2]})
        if auth not in ("Bearer gh", "gl"):
            return self.say(401, {"message": "Bad credentials"})
        if self.command == "GET": # ours are on the second page: a hundred people were faster
            if "&page=2" not in query:
                return self.say(200, [{"id": i, "body": "a person's"} for i in range(900, 1000)])
            return self.say(200, [{"id": i, "body": b} for i, b in comments.items()])
        text = json.loads(body)["body"]
        if self.command == "POST":
            comments[len(comments) + 41] = text
        else:
            comments[int(path.rpartition("/")[2])] = text
        json.dump(comments, open("comments", "w"))
        self.say(201, {})
    do_GET = do_POST = do_PATCH = do_PUT = do
    def say(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
s = http.server.HTTPServer(("127.0.0.1", 0), Api)
open("port.new", "w").write(str(s.server_port))
__import__("os").rename("port.new", "port")
s.serve_forever()
P
python3 api.py &
servers="$servers $!"
for i in $(seq 150); do [ -s port ] || sleep 0.2; done
url=http://127.0.0.1:$(cat port)

# runs sluice-ci as `sl` runs sluice
run() {
    status=0
    "$ci" "$@" >.out 2>.err </dev/null || status=$?
    out=$(cat .out) err=$(cat .err)
}

sl init
sl target add web "$scratch/web" --alias production --layout tfserving

# ---- plain ----

run
fails "no arguments" 2 "usage: sluice-ci push"
run deploy x y
fails "no such word" 2 "usage: sluice-ci push"
(unset SLUICE_STORE; "$ci" push a b) 2>.err
is "neither service nor store" "$?" 2
check "says which variable" grep -q "SLUICE_SERVER says where the service is" .err
run push "$digits/v1" digits --golden "$digits/v1-golden"
ok "push"
is "prints the version" "$out" digits@1
run push "$digits/v1" digits
is "the same bytes are the same version" "$out" digits@1
SLUICE_CI_ENV=env GITHUB_OUTPUT=output
export SLUICE_CI_ENV GITHUB_OUTPUT
run push "$digits/v2" digits --golden "$digits/v1-golden"
is "the next steps know it: GitLab" "$(cat env)" SLUICE_REF=digits@2
is "the next steps know it: GitHub" "$(cat output)" ref=digits@2
run push "$scratch/nothing" digits
fails "what cannot be pushed" 7 "nothing"
run validate digits@1
ok "validate"
prints "what was judged" "^passed +export"
run validate digits@2
fails "a model that fails" 1 "failed"
prints "says what failed" "failed +export"
run promote digits@2 production
ok "promote"
is "its state" "$(tail -n 1 output)" state=live

# ---- gates and approvals ----

sl policy set production --require-acceptance '*'
sl golden add digits "$digits/acceptance" --name digits-quality
run promote digits@1 production
fails "refused by a gate" 5 "digits-quality"
is "its state" "$(tail -n 1 output)" state=refused
echo '{"policy": 1, "require": [{"approvals": 1}]}' >policy.json
sl policy set team --file policy.json
ok "a policy that asks people"
run promote digits@1 team
fails "waits for approval" 8 "sluice approve approve digits@1 --for team.*Nothing has failed"
is "its state" "$(tail -n 1 output)" state=pending
unset SLUICE_CI_ENV GITHUB_OUTPUT

# ---- try again ----

mkdir shim
cat >shim/sluice <<'S'
#!/bin/sh
# Busy as often as the file `busy` says.
echo "$SLUICE_TOKEN $*" >>calls
n=$(cat busy)
if [ "$n" -gt 0 ]; then
    echo $((n - 1)) >busy
    echo "sluice: away" >&2
    exit 75
fi
exec "$REAL" "$@"
S
chmod +x shim/sluice
REAL=$BIN/sluice
export REAL
old_path=$PATH PATH=$scratch/shim:$PATH
echo 2 >busy
run push "$digits/v3" digits
ok "busy twice"
is "and then it is there" "$out" digits@3
is "tried three times" "$(wc -l <calls)" 3
is "as one call: one idempotency key" "$(sed 's/.*--idempotency-key \([^ ]*\).*/\1/' calls | sort -u | wc -l)" 1
echo 99 >busy
SLUICE_CI_RETRY_S=3 run push "$digits/v3" digits
fails "busy for good" 75 "tried for [0-9]+ s: try the job again later"

# ---- a job that is cancelled ----

until_there() { # file
    for i in $(seq 300); do
        [ -s "$1" ] && return
        /bin/sleep 0.1 # not the one of shim/
    done
}
cat >shim/sleep <<'S'
#!/bin/sh
echo $$ >sleeper
exec /bin/sleep 600
S
chmod +x shim/sleep
TMPDIR=$scratch/ci-tmp
mkdir ci-tmp
export TMPDIR
echo 99 >busy
"$ci" push "$digits/v3" digits >.out 2>.err &
job=$!
until_there sleeper
kill $job
wait $job
is "SIGTERM while it waits to try again" "$?" 143
rm shim/sleep
check "does not go on waiting" sh -c '! kill -0 "$(cat sleeper)" 2>/dev/null'
cat >hang <<'S'
#!/bin/sh
echo $$ >pusher
exec sleep 600
S
chmod +x hang
echo 0 >busy
REAL=$scratch/hang "$ci" push "$digits/v3" digits >.out 2>.err &
job=$!
until_there pusher
kill $job
wait $job
is "SIGTERM in the middle of a push" "$?" 143
check "ends the push, too" sh -c '! kill -0 "$(cat pusher)" 2>/dev/null'
is "nothing is left behind" "$(ls ci-tmp)" ""
unset TMPDIR
run push "$digits/v3" digits
is "the next one is as if nothing had been" "$status $out" "0 digits@3"

# ---- GitHub's job token ----

rm calls
echo 1 >busy
SLUICE_SERVER=unix:/nowhere
ACTIONS_ID_TOKEN_REQUEST_URL="$url/token?x=1" ACTIONS_ID_TOKEN_REQUEST_TOKEN=runner
export ACTIONS_ID_TOKEN_REQUEST_URL ACTIONS_ID_TOKEN_REQUEST_TOKEN
SLUICE_AUDIENCE='https://sluice.example?a&b' run validate digits@1
ok "with the job's token"
is "a new token for each try" "$(grep -c 'GET /token' seen)" 2
check "asked with what the runner has" grep -q "GET /token x=1&audience=https://sluice.example?a%26b bearer runner" seen
check "sluice has it" grep -q '^job.token.for-https://sluice.example?a%26b validate digits@1' calls
SLUICE_TOKEN=slc_own run validate digits@1
check "a token of one's own counts" grep -q '^slc_own validate' calls
ACTIONS_ID_TOKEN_REQUEST_URL=$url/none?x run validate digits@1
fails "GitHub gives none" 1 "permissions: id-token: write"
unset ACTIONS_ID_TOKEN_REQUEST_URL ACTIONS_ID_TOKEN_REQUEST_TOKEN SLUICE_SERVER
PATH=$old_path

# ---- comments ----

sl validate digits@1
run comment digits@1
ok "no pull request"
prints "says it here" '^### digits@1 by digits-quality: \*\*passed\*\*'
prints "each set's newest verdict" '^### digits@1 by export: \*\*passed\*\*'
GITHUB_REPOSITORY=acme/fraud GITHUB_REF=refs/pull/7/merge GITHUB_API_URL=$url
export GITHUB_REPOSITORY GITHUB_REF GITHUB_API_URL
run comment digits@1
ok "without GITHUB_TOKEN"
GITHUB_TOKEN=gh GITHUB_STEP_SUMMARY=summary
export GITHUB_TOKEN GITHUB_STEP_SUMMARY
run comment digits@1 "by run 3"
ok "a comment on GitHub"
check "made" grep -qx "POST /repos/acme/fraud/issues/7/comments  Bearer gh application/json" seen
run comment digits@2
ok "another one"
check "changes the first, wherever it is" grep -qx "PATCH /repos/acme/fraud/issues/comments/41  Bearer gh application/json" seen
check "one comment, in words" python3 - <<'P'
import json
c = json.load(open("comments"))
assert list(c) == ["41"], c
t = c["41"]
assert t.startswith("<!-- sluice digits -->\n### Sluice: digits@2\n"), t
assert "### digits@2 by export: **failed**" in t and "| failed | case" in t, t
P
check "the job's summary has both" test "$(grep -c '^### Sluice' summary)" -eq 2
GITHUB_TOKEN=wrong run comment digits@1
fails "a token that may not" 1 "401.*|no comment: GET http"
unset GITHUB_REF GITHUB_TOKEN GITHUB_STEP_SUMMARY GITHUB_API_URL
CI_MERGE_REQUEST_IID=9 CI_PROJECT_ID=5 CI_API_V4_URL=$url/api/v4
export CI_MERGE_REQUEST_IID CI_PROJECT_ID CI_API_V4_URL
run comment digits@1
ok "GitLab without a token"
prints "says it here" "^### Sluice: digits@1"
check "and why" grep -q "SLUICE_CI_GITLAB_TOKEN may" .err
SLUICE_CI_GITLAB_TOKEN=gl run comment digits@1
ok "a note on GitLab"
check "changed, as there is one" grep -qx "PUT /api/v4/projects/5/merge_requests/9/notes/41  gl application/json" seen
SLUICE_CI_GITLAB_TOKEN=gl CI_API_V4_URL=http://127.0.0.1:1 run comment digits@1
fails "nobody takes the comment" 1 "no comment: GET http://127.0.0.1:1/projects/5"
check "no secret on a command line" sh -c '! grep -n "curl.*TOKEN" "$1"' - "$ci"
finish
