#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `sluice show` with saved_model_cli's text for models with texts beside them, as
tools/make-show-models.py writes them. The order of the set of ops and of a function's
options means nothing: both sides are sorted first.

    show_text.py SLUICE FOLDER    FOLDER/NAME/model, FOLDER/NAME/text/index.json
"""
import json
import pathlib
import re
import subprocess
import sys


def show(sluice, model, *flags):
    p = subprocess.run([sluice, "show", "--dir", model, *flags], capture_output=True)
    return p.stdout if p.returncode == 0 else p.stdout + b"[status %d] " % p.returncode + p.stderr


def sorted_ops(m):
    return m[1] + b", ".join(sorted(m[2].split(b", "))) + b"}\n"


def normal(text):
    text = re.sub(rb"(contains the following ops: \{)(.*)\}\n", sorted_ops, text)
    head, mark, functions = text.partition(b"\nConcrete Functions:")
    out = [head, mark]
    for function in re.split(rb"(?m)^(?=  Function Name: )", functions):
        name, *options = re.split(rb"(?m)^    Option #\d+\n", function)
        if b"Named Argument #1" in function:  # options of nothing else have no head of their own
            out += sorted(re.sub(rb"(?m)^    Option #\d+$", b"    Option #", function).splitlines(True))
            continue
        tail = b"\n" if options and options[-1].endswith(b"\n\n") else b""  # before the next function
        if tail:
            options[-1] = options[-1][:-1]
        out += [name, *(b"    Option #\n" + o for o in sorted(options)), tail]
    return b"".join(out)


class Comparison:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, got, want):
        a, b = normal(got), normal(want)
        if a == b:
            self.passed += 1
            return
        self.failed += 1
        a, b = a.splitlines(), b.splitlines()
        i = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        print(f"FAIL {name}: line {i + 1}: {a[i:i + 1]}, not {b[i:i + 1]}")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return self.failed != 0 or self.passed == 0


if __name__ == "__main__":
    all = Comparison()
    for index in sorted(pathlib.Path(sys.argv[2]).glob("*/text/index.json")):
        for file, flags in json.loads(index.read_text()).items():
            folder = index.parent.parent
            got = show(sys.argv[1], folder / "model", *flags)
            all.add(f"{folder.name} {' '.join(flags)}", got, (index.parent / file).read_bytes())
    sys.exit(all.end())
