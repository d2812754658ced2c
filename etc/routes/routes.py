#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a target's config/routes.json and says which version a unit gets.

    routes = Routes.load("/srv/models/config/routes.json")
    routes.version("fraud", b"C123")        # 4
    routes.mirror("fraud", b"C123")         # 5, or None

As a program: routes.py FILE MODEL < units, one a line; prints a version a line; with a third
argument, mirror: the version that gets a copy, or 0.
Load the file again to see a later release: one rename replaces it.
"""
import json
import sys

MULTIPLIER = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data):
    """MurmurHash2, 32 bit, seed 0."""
    n = len(data)
    value = n & MASK
    whole = n - n % 4
    for i in range(0, whole, 4):
        word = int.from_bytes(data[i : i + 4], "little") * MULTIPLIER & MASK
        value = value * MULTIPLIER & MASK ^ (word ^ word >> 24) * MULTIPLIER & MASK
    if whole < n:
        value = (value ^ int.from_bytes(data[whole:], "little")) * MULTIPLIER & MASK
    value = (value ^ value >> 13) * MULTIPLIER & MASK
    return value ^ value >> 15


class Routes:
    def __init__(self, doc):
        if doc.get("routes") != 1 or doc.get("hash") != "murmur2-32":
            raise ValueError("not a routes.json that this reader knows")
        self.models = {m["name"]: m for m in doc["models"]}
        for m in doc["models"]:
            below = [v["below"] for v in m["versions"]]
            if below != sorted(below) or below[-1:] != [1 << 32]:
                raise ValueError(f"{m['name']}: its versions do not cover the line")

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as f:
            return cls(json.load(f))

    def mirror(self, model, unit):
        """The version that gets a copy of this unit's requests (its answers are thrown away), or None."""
        m = self.models[model].get("mirror")
        unit = unit.encode() if isinstance(unit, str) else bytes(unit)
        if not m or not unit or murmur2(unit + m["salt"].encode()) >= m["below"]:
            return None
        return m["version"]

    def version(self, model, unit):
        """unit: bytes, or text (its UTF-8). Empty: the stable version. KeyError: no such model."""
        m = self.models[model]
        unit = unit.encode() if isinstance(unit, str) else bytes(unit)
        if not unit:
            return m["stable"]
        place = murmur2(unit + m["salt"].encode())
        return next(v["version"] for v in m["versions"] if place < v["below"])


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["mirror"]):
        sys.exit("usage: routes.py FILE MODEL [mirror] < units")
    routes = Routes.load(sys.argv[1])
    if sys.argv[2] not in routes.models:
        sys.exit(f"routes.py: {sys.argv[1]} has no model {sys.argv[2]}")
    ask = routes.mirror if sys.argv[3:] else routes.version
    for line in sys.stdin.buffer:
        print(ask(sys.argv[2], line.rstrip(b"\n")) or 0)
