#!/bin/sh
# Versions carried to another store as an OCI image layout.
. "$(dirname "$0")/lib.sh"
needs python3

sl init
sl push "$digits/v1" digits --golden "$digits/v1-golden"
sl golden add digits "$digits/acceptance" --name quality
sl validate digits@1
sl push "$digits/v2" digits --reason "second"

echo fine >eval.txt
sl attach digits@1 report eval.txt
sl tag digits@1 stage=eval
sl note digits@1 "trained in May"

sl export digits@1 digits@2 two.tar
ok "export to a tar"
prints "names what" "digits@2 sha256:"
sl export digits@1 digits@2 again.tar
check "the same versions give the same bytes" cmp two.tar again.tar
sl export digits@1 ./one
ok "to a directory"
is "it has the parts of a layout" "$(ls one | tr '\n' ' ')" "blobs index.json oci-layout "
check "each blob is what its name says" sh -c 'cd one/blobs/sha256 && for f in *; do echo "$f  $f"; done | sha256sum -c --quiet'
check "descriptors have digest, size and media type" python3 - <<'PY'
import hashlib, json, os
index = json.load(open("one/index.json"))
assert json.load(open("one/oci-layout")) == {"imageLayoutVersion": "1.0.0"} and index["schemaVersion"] == 2
seen = set()
def blob(d):
    path = "one/blobs/" + d["digest"].replace(":", "/")
    data = open(path, "rb").read()
    assert len(data) == d["size"] and "sha256:" + hashlib.sha256(data).hexdigest() == d["digest"] and d["mediaType"]
    seen.add(os.path.basename(path))
    return data
m = json.loads(blob(index["manifests"][0]))
config = json.loads(blob(m["config"]))
titles = [l.get("annotations", {}).get("org.opencontainers.image.title") for l in m["layers"]]
data = [blob(l) for l in m["layers"]]
assert {"saved_model.pb", "variables/variables.index", "export", "quality", "golden.json", "report/eval.txt"} <= set(titles), titles
assert config["model"] == "digits" and config["number"] == 1
assert {v["verdict"] for v in config["verdicts"]} == {"passed"} and len(config["verdicts"]) == 2
assert config["digest"] == "sha256:" + hashlib.sha256(data[0]).hexdigest()
assert b'"verb": "push"' in data[-1] and b'"verb": "validate"' in data[-1]
assert seen == set(os.listdir("one/blobs/sha256"))
PY
sl export digits@1 ./one
fails "never over something" 3 "something already"
sl export digits@1
fails "where to is missing" 2 "export needs"
sl export digits@1 digits
fails "a version where a place should be" 2 "is a version"

SLUICE_STORE=$scratch/other
sl init
sl import "$scratch/two.tar"
ok "import"
prints "the digest stays" "digits@1 sha256:951fc84ca550.*digits@1"
sl import "$scratch/two.tar"
prints "twice is once" "digits@2 .*unchanged"
sl init "$scratch/keyed"
sl --store "$scratch/keyed" import "$scratch/two.tar" --idempotency-key once
prints "with a key, too, all of it comes" "digits@2 "
sl inspect digits@1 --json
prints "provenance names the store" '"imported_from"'
prints "and its verdicts, as claims" '"set": *"quality"'
sl attachments digits@1 --out got
check "its attachment came along" cmp got/eval.txt "$scratch/eval.txt"
sl inspect digits@1
prints "its tag" 'tags: stage=eval'
prints "its note" 'trained in May'
prints "where it comes from" 'imported_from.store +[0-9a-f]'
sl promote digits@1 --to production
ok "without a policy it may go live"
sl golden list digits
check "an exam does not come with it" sh -c '! sluice golden list digits | grep -q quality'
sl inspect digits@1
prints "a claim is no verdict" "none: sluice validate"
sl validate digits@1
ok "its export set came along"
sl import "$scratch/one" --as fraud --keep-number
prints "another name, its number" "fraud@1 .*digits@1"
sl import "$scratch/two.tar" --as taken
sl push "$digits/v3" high
sl push "$digits/v2" high
sl import "$scratch/one" --as high --keep-number
fails "a number that was given" 3 "number 1 is not above 2"
sl import "$scratch/one" --as high
prints "the next one is free" "high@3"
sl import "$scratch/two.tar" --as 'no/name'
fails "a name that is none" 1 "no/name"
cat "$scratch/two.tar" | sluice import - --as piped >/dev/null
sl list piped
prints "from standard input" "piped@2"
sl fsck
ok "the store is whole"
sl audit log
prints "an event for each" "import"
before=$(find "$SLUICE_STORE/objects" -type f | wc -l)

# Whatever is wrong with a bundle: said, and nothing is stored.
SLUICE_STORE=$scratch/third
sl init
bad() { # name, status, message: one/ as the Python on stdin leaves it
    chmod -R u+w hurt 2>/dev/null
    rm -rf hurt && cp -r one hurt && chmod -R u+w hurt
    (cd hurt && cat >../edit.py && python3 ../edit.py)
    sl import ./hurt
    fails "$1" "$2" "$3"
}
big='import glob, os
f = sorted(glob.glob("blobs/sha256/*"), key=os.path.getsize)[-1]'
bad "a changed byte" 4 "hash to" <<PY
$big
b = bytearray(open(f, "rb").read()); b[9] ^= 1; open(f, "wb").write(b)
PY
bad "a missing blob" 7 "is missing: the bundle is incomplete" <<PY
$big
os.remove(f)
PY
bad "a blob that is too short" 4 "bytes, not the" <<PY
$big
os.truncate(f, 10)
PY
bad "a blob that is a link" 1 "blobs/sha256/" <<PY
$big
os.remove(f); os.symlink("/etc/passwd", f)
PY
bad "a blob that is a FIFO" 1 "not a regular file" <<PY
$big
os.remove(f); os.mkfifo(f)
PY
edit='import json
i = json.load(open("index.json")); m = i["manifests"][0]'
bad "a digest that is a path" 1 "is no sha256 digest" <<PY
$edit
m["digest"] = "sha256:../../../../etc/passwd"; json.dump(i, open("index.json", "w"))
PY
# about.py: the first version's config, changed and named anew by all that name it
cat >about.py <<'PY'
import hashlib, json, os
def put(data):
    name = hashlib.sha256(data).hexdigest()
    open("blobs/sha256/" + name, "wb").write(data)
    return {"digest": "sha256:" + name, "size": len(data)}
def get(d):
    return json.load(open("blobs/sha256/" + d["digest"][7:]))
def change(how):
    i = json.load(open("index.json")); m = get(i["manifests"][0]); about = get(m["config"])
    how(about)
    m["config"].update(put(json.dumps(about).encode()))
    i["manifests"][0].update(put(json.dumps(m).encode()))
    json.dump(i, open("index.json", "w"))
PY
bad "an attachment that would be a path" 1 "cannot be an attachment's name" <<PY
import sys; sys.path.insert(0, "..")
from about import change
change(lambda a: a["attachments"][0].update(name="../../x"))
PY
bad "an attachment whose bytes are not there" 7 "is missing: the bundle is incomplete" <<PY
import sys; sys.path.insert(0, "..")
from about import change
change(lambda a: a["attachments"][0].update(digest="sha256:" + 64 * "0"))
PY
bad "a tag that is none" 1 "is not KEY or KEY=VALUE" <<PY
import sys; sys.path.insert(0, "..")
from about import change
change(lambda a: a["tags"].update({"a b": "c"}))
PY
bad "a size beyond all files" 1 "9000000000000000 bytes; such a blob has at most" <<PY
$edit
m["size"] = 9000000000000000; json.dump(i, open("index.json", "w"))
PY
bad "a size that is none" 1 "no whole number" <<PY
$edit
m["size"] = -1; json.dump(i, open("index.json", "w"))
PY
bad "an image of something else" 1 "names no version of a model" <<PY
$edit
m["artifactType"] = "application/x"; json.dump(i, open("index.json", "w"))
PY
bad "no JSON" 1 "index.json" <<PY
open("index.json", "w").write("{")
PY
bad "no layout" 1 "no oci-layout" <<PY
import os
os.remove("oci-layout")
PY
# The manifest names a file outside: a new manifest with right digests all the way up.
bad "a path that leaves the model" 4 "its path is absolute" <<PY
$edit
import hashlib
def put(data):
    h = hashlib.sha256(data).hexdigest(); open("blobs/sha256/" + h, "wb").write(data); return "sha256:" + h, len(data)
o = json.load(open("blobs/sha256/" + m["digest"][7:])); l = o["layers"][0]
text = open("blobs/sha256/" + l["digest"][7:]).read().replace("saved_model.pb", "../saved_model.pb")
l["digest"], l["size"] = put(text.encode()); m["digest"], m["size"] = put(json.dumps(o).encode())
json.dump(i, open("index.json", "w"))
PY
mkdir -p evil && cp -r one/. evil/ && echo x >evil/evil
for name in ../evil blobs/sha256/../../evil blobs/sha256/short; do
    tar -cf evil.tar -C evil --transform "s,^evil\$,$name," -P oci-layout evil
    sl import evil.tar
    fails "a tar with $name" 1 "no file of an OCI image layout"
done
tar -cf links.tar -C hurt . 2>/dev/null
rm -rf hurt && cp -r one hurt && chmod -R u+w hurt && ln -s /etc/passwd hurt/blobs/sha256/link
tar -cf links.tar -C hurt .
sl import links.tar
fails "a tar with a link" 1 "no plain file"
head -c 20000 two.tar >cut.tar
sl import cut.tar
fails "a tar that is cut off" 4 "cut off"
is "nothing was stored by any of them" "$(find third/objects -type f | wc -l | tr -d ' ') $(ls third/versions | wc -l | tr -d ' ')" "0 0"
rm -rf hurt && mkdir hurt && tar -xf two.tar -C hurt && tar -cf gnu.tar -C hurt . && tar --format=pax -cf pax.tar -C hurt .
sl import gnu.tar
ok "a tar by GNU tar, with ./ and directories"
sl import pax.tar
prints "and one in pax form" "unchanged"
finish
