#!/bin/sh
# Verdicts: shown, signed, exported in every form, and judged again.
. "$(dirname "$0")/lib.sh"

sl init
sl push "$digits/v1" digits --golden "$digits/v1-golden"
sl push "$digits/v2" digits --golden "$digits/v1-golden"
sl verdict show digits@1
fails "none yet" 7 "sluice validate digits@1"
sl validate digits@1
ok "validate"
sl verdict show 1
ok "verdict show"
prints "what it is bound to" 'verdict 1: digits@1 passed by export'
prints "each check" '^ok +case .*: '
prints "signed" 'signature good'
sl verdict show digits@1 --json
prints "by its version, as JSON" '"subject"'
sl verdict show 99
fails "no such verdict" 7 "no verdict 99"
sl validate digits@2
fails "v2 has other answers" 1 "failed"

sl verdict export 1
printf '%s\n' "$out" >one.json
check "canonical: the same as Python writes it" python3 - <<'P'
import json
text = open("one.json").read().strip()
d = json.loads(text)
assert d["verdict"] == 1 and d["outcome"] == "passed" and d["subject"]["model"] == "digits"
assert d["set"]["digest"].startswith("sha256:") and d["host"]["processors"] > 0
assert all(c["ok"] for c in d["checks"]) and len(d["checks"]) > 3
assert set(d["times"]) == {"made", "load_ms", "run_ms"}
def order(o):
    if isinstance(o, dict):
        assert list(o) == sorted(o)
        for v in o.values(): order(v)
    if isinstance(o, list):
        for v in o: order(v)
order(d)
assert " " not in text.split('"checks"')[0]
P
sl verdict export 1 --format dsse --out one.dsse
ok "the signed statement"
check "it is in-toto's, in DSSE, and OpenSSL agrees with the signature" python3 - "$SLUICE_STORE/keys/store.pub" <<'P'
import base64, hashlib, json, subprocess, sys
e = json.load(open("one.dsse"))
body = base64.b64decode(e["payload"])
s = json.loads(body)
assert e["payloadType"] == "application/vnd.in-toto+json"
assert s["_type"] == "https://in-toto.io/Statement/v1" and s["subject"][0]["name"] == "digits@1"
assert s["predicate"] == json.load(open("one.json"))
assert "sha256:" + s["subject"][0]["digest"]["sha256"] == s["predicate"]["subject"]["digest"]
t = e["payloadType"].encode()
open("pae", "wb").write(b"DSSEv1 %d %s %d %s" % (len(t), t, len(body), body))
open("sig", "wb").write(base64.b64decode(e["signatures"][0]["sig"]))
der = subprocess.run(["openssl", "pkey", "-pubin", "-in", sys.argv[1], "-outform", "DER"], capture_output=True, check=True).stdout
assert hashlib.sha256(der).hexdigest() == e["signatures"][0]["keyid"]
subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", sys.argv[1], "-rawin", "-in", "pae", "-sigfile", "sig"], check=True)
P
for form in junit html; do sl verdict export 2 --format $form --out two.$form; ok "$form"; done
check "JUnit is XML, and counts agree" python3 - <<'P'
import xml.etree.ElementTree as E
s = E.parse("two.junit").getroot().find("testsuite")
cases = s.findall("testcase")
assert int(s.get("tests")) == len(cases) > 3
assert int(s.get("failures")) == len(s.findall("testcase/failure")) > 0
assert float(s.get("time")) > 0
P
check "HTML is well formed, with plots and no address" python3 - <<'P'
import html.parser
class P(html.parser.HTMLParser):
    stack, seen = [], set()
    def handle_starttag(self, t, a):
        self.seen.add(t)
        assert t not in ("script", "link", "img") and not any(k in ("src", "href") for k, _ in a)
        if t not in ("meta", "br"): self.stack.append(t)
    def handle_startendtag(self, t, a): self.seen.add(t)
    def handle_endtag(self, t):
        while self.stack and self.stack[-1] == "li" != t: self.stack.pop()
        assert self.stack.pop() == t, t
p = P(); p.feed(open("two.html").read())
assert not p.stack and {"svg", "rect", "table"} <= p.seen
text = open("two.html").read()
assert "Errors by size" in text and "decisions flipped" in text and "{" not in text.split("</style>")[1]
P
sl verdict export 2 --format junit --out no/such/place
fails "a file that cannot be written" 7 "no/such"
is "and nothing claims that it was" "$out" ""
sl verdict export 2 --format sarif
prints "SARIF: what failed" '"ruleId": "case"'
printf '%s\n' "$out" >two.sarif
check "and it is JSON" python3 -c 'import json; d = json.load(open("two.sarif")); assert d["version"] == "2.1.0" and d["runs"][0]["results"]'
sl verdict export 2 --format markdown --against digits@1
prints "Markdown: signatures" 'against digits@1: signatures compatible; [0-9]+ tensors? changed'
prints "and a row a check" '^\| failed \| case '
sl verdict export 2 --format pdf
fails "no such form" 2 "junit"

sl replay 1
ok "replay"
prints "the same but for times" 'passed then, passed now; the same but for times'
sl replay digits@2
ok "a failure fails again, alike"
sl replay 1 --json
prints "no difference" '"differences": \[\]'
before=$(sluice audit log digits | wc -l)
sl inspect digits@1 --json
prints "replay stores no verdict" '"id": 1'
is "one verdict" "$(printf '%s\n' "$out" | grep -c '"set_digest"')" 1
check "catalogue edited by hand" python3 - "$SLUICE_STORE" <<'P'
import glob, sqlite3, sys
path = [p for p in glob.glob(sys.argv[1] + "/*.db")][0]
db = sqlite3.connect(path)
db.execute("DROP TRIGGER guard_verdict_u")
db.execute("UPDATE verdict SET report = replace(report, '\"outcome\":\"failed\"', '\"outcome\":\"passed\"') WHERE id = 2")
db.commit()
P
sl verdict show 2
fails "an edited verdict is no longer signed" 1 "signature"
finish
