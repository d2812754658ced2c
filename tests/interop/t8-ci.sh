#!/bin/sh
# The examples of etc/ci, read by those who know: PyYAML, actionlint, Groovy's own parser,
# shellcheck; a job of GitLab's played step by step is tests/cli/t8702-ci.sh.
. "$(dirname "$0")/../cli/lib.sh"
PATH=$PATH:$top/build/interop/bin
if /usr/bin/python3 -c 'import yaml' 2>/dev/null; then
    check "the YAML is YAML, and has what it must" /usr/bin/python3 - "$top/etc" <<'P'
import sys, yaml
etc = sys.argv[1]
action = yaml.safe_load(open(etc + "/ci/github/action.yml"))
flow = yaml.safe_load(open(etc + "/ci/github/workflow.yml"))
lab = yaml.safe_load(open(etc + "/ci/gitlab-ci.yml"))
used = [s for j in flow["jobs"].values() for s in j["steps"] if "sluice/etc/ci/github" in s.get("uses", "")]
assert len(used) == 2
for step in used: # an input that there is not would be ignored silently
    assert set(step["with"]) <= set(action["inputs"]), step
assert flow["permissions"]["id-token"] == "write"
for s in action["runs"]["steps"]: # no input stands in a script: it would be run
    assert "${{" not in s["run"], s
assert lab["promote"]["allow_failure"]["exit_codes"] == [8]
assert lab[".sluice"]["retry"]["exit_codes"] == [75] and "SLUICE_TOKEN" in lab[".sluice"]["id_tokens"]
P
else
    skip "the YAML" "no PyYAML"
fi
if command -v actionlint >/dev/null; then
    mkdir -p repo/.github/workflows && cp "$top/etc/ci/github/workflow.yml" repo/.github/workflows/
    (cd repo && git init -q . && actionlint) >lint 2>&1
    is "actionlint" "$(cat lint)" ""
else
    skip "actionlint" "go install github.com/rhysd/actionlint/cmd/actionlint@latest, into build/interop/bin"
fi
if command -v groovy >/dev/null; then
    check "the Jenkinsfile is Groovy" groovy -e 'new GroovyShell().parse(new File(args[0]))' "$top/etc/ci/Jenkinsfile"
else
    skip "the Jenkinsfile" "no groovy"
fi
if command -v shellcheck >/dev/null; then
    shellcheck -s sh "$top/etc/ci/sluice-ci" "$top"/etc/container/*-entry "$top/etc/container/runtime-packages" >shell 2>&1
    is "shellcheck" "$(cat shell)" ""
else
    skip "shellcheck" "it is not installed"
fi
finish
