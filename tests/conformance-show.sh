#!/bin/sh
# Compares `sluice show` with the text of TensorFlow's saved_model_cli for every public model
# that TensorFlow shows. usage: tests/conformance-show.sh [FOLDER]
# FOLDER (default ../shared) holds conformance/show-text.tar.zst and corpus/public-models.tar.zst.
# $SLUICE_BIN: where sluice is, default build/release/bin. The order of the set of ops and of a
# function's options means nothing: both sides are sorted first.
# Last line: "N passed, N failed".
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
shared=${1:-$top/../shared}
sluice=${SLUICE_BIN:-$top/build/release/bin}/sluice
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-show-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
for pack in conformance/show-text corpus/public-models; do
    tar --zstd -xf "$shared/$pack.tar.zst" -C "$work" || exit 1
done
exec python3 - "$sluice" "$work" <<'EOF'
import json, pathlib, re, subprocess, sys

sluice, work = sys.argv[1], pathlib.Path(sys.argv[2])
texts, models = work / "show", work / "models"
passed, failed = 0, 0


def show(model, *flags):
    p = subprocess.run([sluice, "show", "--dir", models / model, *flags], capture_output=True)
    return p.stdout if p.returncode == 0 else p.stdout + b"[status %d] " % p.returncode + p.stderr


def sorted_ops(m):
    return m[1] + b", ".join(sorted(m[2].split(b", "))) + b"}\n"


def normal(text):
    text = re.sub(rb"(contains the following ops: \{)(.*)\}\n", sorted_ops, text)
    head, mark, functions = text.partition(b"\nConcrete Functions:")
    out = [head, mark]
    for function in re.split(rb"(?m)^(?=  Function Name: )", functions):
        name, *options = re.split(rb"(?m)^    Option #\d+\n", function)
        tail = b"\n" if options and options[-1].endswith(b"\n\n") else b""  # before the next function
        if tail:
            options[-1] = options[-1][:-1]
        out += [name, *(b"    Option #\n" + o for o in sorted(options)), tail]
    return b"".join(out)


def compare(name, got, want):
    global passed, failed
    if normal(got) == normal(want):
        passed += 1
        return
    failed += 1
    a, b = normal(got).splitlines(), normal(want).splitlines()
    i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    print(f"FAIL {name}: line {i + 1}: {a[i:i + 1]}, not {b[i:i + 1]}")


for model, entry in sorted(json.loads((texts / "index.json").read_text()).items()):
    def text(part):
        path = texts / f"{model}.{part}.txt"
        return path.read_bytes() if path.exists() else None

    if text("tags") is not None:
        compare(f"{model} --dir", show(model), text("tags"))
    if text("all") is not None and not (texts / f"{model}.all.txt.err").exists():
        compare(f"{model} --all", show(model, "--all"), text("all"))
    tag_sets = dict.fromkeys(s["tag_set"] for s in entry["sigs"])
    for i, tag_set in enumerate(tag_sets):
        keys, ops = text(f"mg{i}.keys"), text(f"mg{i}.ops")
        if keys is not None:
            compare(f"{model} keys", show(model, "--tag_set", tag_set), keys)
        if keys is not None and ops is not None:
            compare(f"{model} --list_ops", show(model, "--tag_set", tag_set, "--list_ops"), ops + keys)
    for s in entry["sigs"]:
        flags = ("--tag_set", s["tag_set"], "--signature_def", s["signature_def"])
        if (texts / s["file"]).exists():  # equal models have their texts once
            compare(f"{model} {s['signature_def']}", show(model, *flags), (texts / s["file"]).read_bytes())
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
EOF
