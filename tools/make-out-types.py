#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes savedmodel/out_types.def, to stdout: what types the outputs of TensorFlow's ops have.

    tools/make-out-types.py >savedmodel/out_types.def      needs TensorFlow 2.15"""
import textwrap

from tensorflow.core.framework import op_def_pb2, types_pb2
from tensorflow.python.client import pywrap_tf_session as c

HEAD = """/* Made by tools/make-out-types.py from TensorFlow 2.15.1. Do not edit.
 * OUT_TYPES(types, ops): each output in order, with commas: DT_X, or the attribute that says
 * it (a list of types is so many outputs), "=DT_X" when it has a default, "N*" before when
 * attribute N says how many there are. Ops whose outputs all have type "T" are left out, and
 * those without outputs. */"""


def types_of(op):
    attrs = {a.name: a for a in op.attr}
    for out in op.output_arg:
        attr = out.type_attr or out.type_list_attr
        text = attr or types_pb2.DataType.Name(out.type)
        if attr and attrs[attr].default_value.WhichOneof("value") == "type":
            text += "=" + types_pb2.DataType.Name(attrs[attr].default_value.type)
        yield (out.number_attr + "*" if out.number_attr else "") + text


def main():
    ops = op_def_pb2.OpList.FromString(c.TF_GetBuffer(c.TF_GetAllOpList()))
    by_types = {}
    for op in sorted(ops.op, key=lambda op: op.name):
        types = list(types_of(op))
        if set(types) - {"T"}:
            by_types.setdefault(",".join(types), []).append(op.name)
    print(HEAD)
    for types, names in sorted(by_types.items()):
        lines = textwrap.wrap(" ".join(names), 88)
        text = "\n    ".join('"%s "' % line for line in lines)
        print('OUT_TYPES("%s",\n    %s)' % (types, text))


main()
