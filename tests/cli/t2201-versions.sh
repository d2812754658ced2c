#!/bin/sh
# Numbers, tags, notes, provenance, quarantine, rejection, attachments.
. "$(dirname "$0")/lib.sh"

sl init
# ---- numbers ----
sl push "$digits/v1" digits --number 7
prints "push --number" '^digits@7 '
sl push "$digits/v1" digits --number 7
prints "again, the same" '^digits@7 .*unchanged'
sl push "$digits/v1" digits --number 8
fails "a version has one number" 3 'are digits@7 already'
sl push "$digits/v2" digits --number 7
fails "a number that was given" 3 'number 7 is not above 7.*--number 8 or more'
sl push "$digits/v2" digits --number 3
fails "a number below one that was given" 3 'number 3 is not above 7'
sl push "$digits/v2" digits --number 0
fails "no number" 2 '1 or more'
sl push "$digits/v2" digits --number -4
fails "a negative one" 2 '1 or more'
sl push "$digits/v2" digits --number 9999999999999999
fails "one too large" 2 'number must be a whole number'
sl push "$digits/v2" digits --number 1000000000000000
fails "one larger than any" 1 'no number above 999999999999999'
sl push "$digits/v2" digits
prints "the next one goes on from there" '^digits@8 '
check "numbers that were refused took no file" test "$(ls "$SLUICE_STORE/versions/digits" | tr '\n' ' ')" = '7 8 '

# ---- tags ----
sl tag digits@7 stage=eval team=risk urgent
prints "tag" 'digits@7 has the tags stage=eval team=risk urgent'
sl tag digits@7 stage=done
prints "a key that it has gets the new value" 'stage=done'
sl list --tag stage=done --tag team
prints "list --tag" '^digits@7 .*stage=done'
is "and nothing else" "$(printf '%s\n' "$out" | wc -l)" 2
sl list --tag stage=eval
prints "an old value finds nothing" 'no version has these tags'
sl list --tag 'a b'
fails "no tag" 1 "list --tag: 'a%20b' is not KEY or KEY=VALUE"
sl untag digits@7 urgent nothing
fails "untag what is not there" 7 "no tag 'nothing'; nothing was removed"
sl list --tag urgent
prints "indeed nothing was" '^digits@7 '
sl untag digits@7 urgent
ok "untag"
sl tag digits@7 =x
fails "a tag without a key" 1 'is not KEY'
sl tag digits@7 a=1 a=2
fails "a tag twice" 2 "'a' is named twice"
sl tag digits@7 "v=$(printf 'a\001b')"
fails "a control character" 1 'v: byte 2 is a control character'
sl tag digits@7 "v=$(head -c 1025 /dev/zero | tr '\0' x)"
fails "a long value" 1 '1025 bytes; at most 1024'
sl tag digits@7 $(seq -f 'k%g=1' 1 99)
fails "many tags" 1 'at most 100 tags'
sl list --tag k1
prints "and none of them" 'no version has these tags'
sl tag digits@9 a
fails "of no version" 7 'no version 9'

# ---- notes ----
sl note digits@7 'better on small digits
see the report'
ok "note"
sl note digits@7 ''
fails "an empty note" 1 'is empty'
sl note digits@7 "$(head -c 16385 /dev/zero | tr '\0' x)"
fails "a long one" 1 '16385 bytes; at most 16384'
sl inspect digits@7
prints "inspect shows it" 'better on small digits$'
prints "and the tags" '^tags: stage=done team=risk$'
sl log digits
prints "log shows it on one line" 'note +digits@7 .*note: better on small digits see the report'
prints "and the tags" 'tag +digits@7 .*tags: stage=eval team=risk urgent'

# ---- provenance ----
sl push "$digits/v3" digits --provenance data=may --provenance seed=4
prints "push --provenance" '^digits@9 '
sl inspect digits@9 --json
prints "inspect gives it" '"data": "may"'
sl push "$digits/v3" digits --provenance data=june
prints "the same bytes again" '^digits@9 .*unchanged'
sl inspect digits@9
prints "record where they came from this time" '^  data +june$'
prints "beside the first" '^  data +may$'
sl push "$digits/v3" digits --provenance data
fails "no pair" 1 "'data' is not KEY=VALUE"
sl push "$digits/v3" digits --provenance a=1 --provenance a=2
fails "a pair twice" 1 "'a' is given twice"
sl push "$digits/v3" digits --provenance onto=digits@1
fails "what push says itself" 1 "push itself says 'onto'"
sl push "$digits/v3" digits --provenance repo=https://ci:geheim@git.example/x
fails "a password" 1 'repo: looks like a URL with a password'
sl push "$digits/v3" digits --provenance key=ghp_0123456789abcdef
fails "a token" 1 'key: looks like a secret'
check "neither is in the store" sh -c '! grep -rqE "geheim|ghp_0123" "$1"' - "$SLUICE_STORE/audit"
ci() { # NAME=VALUE...: pushes v3 under them, and keeps what inspect has of the last push
    env "$@" sluice push "$digits/v3" digits >/dev/null 2>"$scratch/.err" || cat "$scratch/.err"
    out=$(sluice inspect digits@9 | sed -n '/^pushed again/,/^$/p' | awk '/^pushed again/{s=""} {s=s $0 "\n"} END{print s}')
    err=$(cat "$scratch/.err")
}
ci GITHUB_ACTIONS=true GITHUB_SHA=0a1b GITHUB_REF_NAME=main GITHUB_RUN_ID=77 GITHUB_ACTOR=ann \
    GITHUB_SERVER_URL=https://git.example GITHUB_REPOSITORY=o/r GITHUB_TOKEN=ghs_secret
prints "GitHub Actions: the commit" 'ci.commit +0a1b'
prints "the run" 'ci.run +https://git.example/o/r/actions/runs/77'
prints "who" 'ci.actor +ann'
is "and no other variable" "$(printf '%s' "$out" | grep -c secret)" 0
ci GITLAB_CI=true CI_COMMIT_SHA=0c2d CI_COMMIT_REF_NAME=dev CI_PIPELINE_ID=5 CI_PIPELINE_URL=https://gl.example/p/5 \
    CI_PROJECT_PATH=g/p GITLAB_USER_LOGIN=bob CI_REPOSITORY_URL=https://ci:secret@gl.example/g/p.git
prints "GitLab" 'ci.pipeline +5'
prints "its branch" 'ci.branch +dev'
is "and not the URL with the token" "$(printf '%s' "$out" | grep -c secret)" 0
ci JENKINS_URL=https://j.example/ GIT_COMMIT=0e3f BUILD_URL=https://j.example/job/1/ BUILD_NUMBER=1 \
    GIT_URL=https://me:secret@git.example/r.git JOB_NAME=train
prints "Jenkins" 'ci.repository +https://git.example/r.git'
prints "its run" 'ci.run +https://j.example/job/1/'
ci GITLAB_CI=true CI_COMMIT_SHA=0a4b CI_COMMIT_REF_NAME=ghp_0123456789 CI_JOB_NAME="$(printf '\377')"
prints "what push would refuse is left out" 'ci.commit +0a4b'
is "and stops nobody" "$(printf '%s' "$out" | grep -cE 'branch|job')" 0
GITLAB_CI=true CI_COMMIT_SHA=dddd sluice push "$digits/v3" digits --no-ci >/dev/null
is "--no-ci" "$(sluice inspect digits@9 --json | grep -c dddd)" 0
GITLAB_CI=true CI_COMMIT_SHA=eeee sluice push "$digits/v3" digits --provenance ci.commit=ffff >/dev/null
is "what is said counts more" "$(sluice inspect digits@9 --json | grep -cE 'eeee|ffff')" 1

# ---- quarantine ----
sl push "$digits/v1" held --quarantine --golden "$digits/v1-golden"
prints "push --quarantine" 'quarantined until it is accepted: sluice accept held@1'
sl promote held@1 --to production
fails "no traffic" 5 'saw quarantined; sluice validate, then sluice accept held@1'
sl weights held@production 1=1
fails "none by weights either" 5 'saw quarantined'
sl show held
fails "it is nobody's newest" 7 'no version that is ready'
sl accept held@1
fails "not without a verdict" 5 'export set export: wanted a passing verdict.*sluice validate held@1'
sl validate held@1
prints "validate says what is next" 'sluice accept held@1'
sl golden add held "$digits/acceptance" --name exam
sl accept held@1
fails "nor without the exam" 5 'acceptance exam: .*no verdict yet'
sl validate held@1
sl accept held@1 --reason 'passed all'
ok "accept when all passed"
sl accept held@1
prints "twice is as before" 'is ready, as before'
sl promote held@1 --to production
ok "and it may have traffic"
sl push "$digits/v3" bare --quarantine
sl accept bare@1
fails "no golden set is no pass" 5 'none to be judged by'
sl accept bare@1 --unchecked
fails "waiving needs a reason" 2 'needs --reason'
sl accept bare@1 --unchecked --reason 'first of its kind'
ok "accept --unchecked"
sl config set quarantine on
sl push "$digits/v2" bare
prints "the store can want it of every push" 'quarantined until'
sl config set quarantine default

# ---- rejection ----
sl reject held@1 --reason 'bad data'
fails "not under traffic" 3 'held@1 has traffic on production'
sl reject bare@2
fails "a rejection needs a reason" 2 'reason'
sl reject bare@2 --reason ''
fails "that says something" 2 'say why'
sl reject bare@2 --reason 'trained on test data'
ok "reject"
sl push "$digits/v2" bare
fails "its bytes again" 5 'these bytes are bare@2, which was rejected: trained on test data: .*--again'
sl promote bare@2 --to production
fails "no traffic" 5 'saw rejected'
sl accept bare@2
fails "rejected is final" 5 'bare@2 is rejected'
sl inspect bare@2
prints "inspect says why" '^because: trained on test data$'
sl push "$digits/v2" bare --again
prints "push --again is a new version" '^bare@3 '
sl push "$digits/v2" bare
prints "which is the one they are from now on" '^bare@3 .*unchanged'
sl log bare
prints "the log has it" 'reject +bare@2 .*state: rejected; reason: trained on test data'

# ---- push --dry_run says what push would ----

sl push "$digits/v1" dry --dry_run --number 7 --golden "$digits/v1-golden"
prints "the number that was wished for" 'dry@7 .*would be stored'
prints "and the golden set" 'golden set export sha256:[0-9a-f]*: new of it'
sl push "$digits/v1" dry --number 7
sl push "$digits/v2" dry --dry_run --number 7
fails "one that is not above all" 3 'number 7 is not above 7'
sl push "$digits/v1" dry --dry_run --number 8
fails "one for bytes that have another" 3 'are dry@7 already'
sl reject dry@7 --reason leak
sl push "$digits/v1" dry --dry_run
fails "rejected bytes" 5 'dry@7, which was rejected: leak'
sl delete dry@7 --days 0
sl push "$digits/v1" dry
fails "rejected bytes that were deleted, too" 5 'dry@7, which was rejected: leak'
sl gc
sl push "$digits/v1" dry --dry_run
fails "and collected" 5 'dry@7, which was rejected: leak'
sl push "$digits/v1" dry --again --dry_run
prints "--again" 'dry@8 .*would be stored'
sl push "$digits/v1" dry --again
ok "which push does"

# ---- attachments ----
echo '<h1>fine</h1>' >eval.html
sl attach digits@7 report eval.html
prints "attach" "report eval.html sha256:$(sha256sum eval.html | cut -d' ' -f1)"
sl attach digits@7 report ./eval.html
prints "the same again" 'attached so already'
echo changed >eval.html
sl attach digits@7 report eval.html
fails "other bytes under that name" 3 "report 'eval.html' already.*--replace"
sl attach digits@7 report eval.html --replace --reason typo
ok "--replace"
sl attach digits@7 report eval.html --name other.html
sl attach digits@7 card /dev/null
fails "a device" 1 'not a regular file'
mkfifo pipe
sl attach digits@7 card pipe
fails "a FIFO does not hold it up" 1 'not a regular file'
sl attach digits@7 'Re port' eval.html
fails "a type that is none" 1 'no type of an attachment'
sl attach digits@7 card eval.html --name ../x
fails "a name that is a path" 1 'cannot be an attachment'
sl attach digits@7 card nothing.md
fails "no such file" 7 'nothing.md'
sl config set attachment_mib 1
head -c 1048577 /dev/zero >big
sl attach digits@7 labels big
fails "a large file" 1 'big: 1048577 bytes; an attachment has at most 1048576'
sl attachments digits@7
prints "attachments" 'report +eval.html'
sl attachments digits@7 report --out got
check "attachments --out" cmp got/eval.html eval.html
sl attachments digits@7 report --out got
fails "does not write over" 3 'got: eval.html: there is something already'
sl attachments digits@7 card
fails "none of that type" 7 'no attachment of type card'
sl detach digits@7 report
fails "detach wants to know which" 3 'several: report/eval.html, report/other.html'
sl detach digits@7 report other.html
ok "detach"
sl inspect digits@7
prints "inspect shows what is left" 'report +eval.html'
sl log digits
prints "the log has it" 'attach +digits@7 .*type: report; name: eval.html'

# ---- settings ----
sl config list
prints "config list" '^unrecorded_reads +refuse +refuse +refuse\|allow'
sl config get attachment_mib
prints "config get" '^1$'
sl config set attachment_mib 0
fails "a value out of range" 1 "attachment_mib is 1..1048576, not '0'"
sl config set attachment_mib 5x
fails "no number" 1 "not '5x'"
sl config set quarantine o
fails "no word" 1 "quarantine is off.on, not 'o'"
sl config set colour red
fails "no setting" 7 "no setting 'colour'; there are quarantine"
sl config set attachment_mib default
prints "default" 'attachment_mib is 1024'
# ---- killed at every call ----
if TEST_FAULT=open:1:EIO sluice list >/dev/null 2>&1; then
    skip "killed at every call" "this build has no TEST_FAULT"
else
    left=0
    for k in $(seq 1 60); do
        echo "try $k" >eval.html
        TEST_FAULT=any:$k:kill sluice attach digits@7 report eval.html --replace >/dev/null 2>&1 && break
        rm -rf got
        sluice attachments digits@7 report --out got >/dev/null 2>&1 && grep -qE '^(changed|try [0-9]+)$' got/eval.html || left=$((left + 1))
    done
    check "attach was killed at many calls" test "$k" -ge 10
    is "and what was attached is always whole" "$left" 0
    for k in $(seq 1 60); do
        TEST_FAULT=any:$k:kill sluice reject digits@8 --reason "try $k" >/dev/null 2>&1 && break
        state=$(sluice inspect digits@8 --json | tr -d '\n' | sed 's/.*"state": "\([a-z]*\)".*/\1/')
        events=$(sluice audit log digits --verb reject --json | grep -c '"from": "ready"')
        case $state$events in ready0 | rejected1) ;; *) echo "killed at call $k: $state, $events events" >>wrong ;; esac
    done
    is "a rejection and its event are one" "$(cat wrong 2>/dev/null)" ""
fi
sl fsck
ok "fsck: all that was attached is well"
sl audit verify
ok "and so is the log"
finish
