#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what the tests of `sluice scan` read: small SavedModels with one trick each.

    tools/make-scan-models.py OUT          OUT/<case>.pb and OUT/cases.tsv (tests/data/scan)
    tools/make-scan-models.py --ops        validate/tf_ops.def to stdout; needs TensorFlow

The bytes are written by hand, so that a model may break rules that protobuf and TensorFlow
keep. cases.tsv: case, exit status, a grep -E for the finding, a grep -E for how it is
reached ("-": not asked)."""
import os
import sys

# ---- protobuf ---------------------------------------------------------------------------


def varint(v):
    v &= (1 << 64) - 1
    out = b""
    while v > 127:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def raw(num, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(num << 3 | 2) + varint(len(data)) + data


def num(n, v):
    return varint(n << 3) + varint(v)


def entry(n, key, value):
    return raw(n, raw(1, key) + raw(2, value))


# ---- attributes, nodes, functions ---------------------------------------------------------

STRING, FLOAT, INT64, RESOURCE = 7, 1, 9, 20


def s(text):
    return raw(2, text)


def func(name, **attrs):
    return raw(10, name_attrs(name, **attrs))


def name_attrs(name, **attrs):
    return raw(1, name) + b"".join(entry(2, k, v) for k, v in attrs.items())


def funcs(*names):
    return raw(1, b"".join(raw(9, raw(1, n)) for n in names))


def strings(*texts):
    return raw(1, b"".join(raw(2, t) for t in texts))


def tensor(dtype, dims, *texts):
    shape = b"".join(raw(2, num(1, d)) for d in dims)
    return raw(8, num(1, dtype) + raw(2, shape) + b"".join(raw(8, t) for t in texts))


def node(name, op, *inputs, **attrs):
    return (raw(1, name) + raw(2, op) + b"".join(raw(3, i) for i in inputs)
            + b"".join(entry(5, k, v) for k, v in attrs.items()))


def const(name, text):
    return node(name, "Const", dtype=num(6, STRING), value=tensor(STRING, [], text))


def function(name, nodes, args=("arg",), ret="x:0"):
    signature = raw(1, name) + b"".join(raw(2, raw(1, a) + num(3, STRING)) for a in args)
    signature += raw(3, raw(1, "out") + num(3, STRING))
    return raw(1, signature) + b"".join(raw(3, n) for n in nodes) + entry(4, "out", ret)


# ---- models -------------------------------------------------------------------------------


def info(name, dtype=STRING):
    return raw(1, name) + num(2, dtype) + raw(3, b"")


def signature(inputs=("x:0",), outputs=("y:0",), raw_output=None):
    out = b"".join(entry(1, "in%d" % i, info(t)) for i, t in enumerate(inputs))
    out += b"".join(entry(2, "out%d" % i, raw_output or info(t)) for i, t in enumerate(outputs))
    return out + raw(3, "tensorflow/serving/predict")


def library(functions, gradients=()):
    return (b"".join(raw(1, f) for f in functions)
            + b"".join(raw(2, raw(1, a) + raw(2, b)) for a, b in gradients))


X = node("x", "Placeholder", dtype=num(6, STRING))


def meta(nodes=(), functions=(), gradients=(), signatures=None, tags=("serve",), extra=b"",
         saver=b"", more_graph=b"", with_x=True):
    graph = b"".join(raw(1, n) for n in ([X] if with_x else []) + list(nodes))
    if functions or gradients:
        graph += raw(2, library(functions, gradients))
    about = b"".join(raw(4, t) for t in tags) + raw(5, "2.15.1")
    if signatures is None:
        signatures = {"serving_default": signature()}
    return (raw(1, about) + raw(2, graph) + more_graph + (raw(3, saver) if saver else b"")
            + b"".join(entry(5, k, v) for k, v in signatures.items()) + extra)


def model(*metas):
    return num(1, 1) + b"".join(raw(2, m) for m in metas)


def asset(tensor_name, file):
    return raw(6, raw(1, raw(1, tensor_name)) + raw(2, file))


def collection(name, value):
    return entry(4, name, value)


def user_object(identifier, metadata):
    return raw(4, raw(1, identifier) + raw(3, metadata))


def objects(nodes, functions=()):
    return raw(7, b"".join(raw(1, n) for n in nodes)
               + b"".join(entry(2, k, b"".join(num(2, i) for i in bound))
                          for k, bound in functions))


Y = node("y", "Identity", "x")
READ = node("y", "ReadFile", "x")
IN_F = node("x", "ReadFile", "arg")  # a function's body whose answer is x:0
F = function("f", [IN_F])
TABLE = node("table", "HashTableV2")
CASES = []


def case(name, pattern, reach, *metas, status=1, body=None):
    CASES.append((name, status, pattern, reach, body if body is not None else model(*metas)))


def harmless(name, *metas):
    case(name, "nothing found in tag set 'serve'", "-", *metas, status=0)


def of_call(name, *nodes, functions=(F,), **more):
    """A ReadFile in function f, which the main graph reaches by these nodes."""
    case(name, "error +file ReadFile at node 'x' in function 'f'",
         "from signature serving_default: [yd] → .*f → x$", meta(nodes, functions, **more))


def one_op(class_, op, *inputs, severity="error", reach=True, also=(), **attrs):
    case("op-" + op.lower().strip("_"), "%s +%s %s at node 'y'" % (severity, class_, op),
         "from signature serving_default: y" if reach else "-",
         meta(list(also) + [node("y", op, *inputs, **attrs)]))


def ops():
    one_op("file", "ReadFile", "x")
    one_op("file", "WriteFile", "x", "x")
    one_op("file", "MatchingFiles", "x")
    one_op("file", "WholeFileReaderV2")
    one_op("file", "TFRecordDataset", "x", "x", "x")
    one_op("file", "SaveDataset", "x", "x")
    one_op("file", "CreateSummaryFileWriter", "x", "x", "x", "x", "x")
    one_op("file", "DebugIdentityV2", "x")
    one_op("process", "PyFunc", "x", token=s("pyfunc_0"))
    one_op("process", "EagerPyFunc", "x", token=s("pyfunc_0"))
    one_op("process", "XlaCustomCallV2", "x", call_target_name=s("system"))
    one_op("network", "RpcClient", "x", "x")
    one_op("network", "DataServiceDatasetV4", "x", "x", "x")
    one_op("network", "SqlDataset", "x", "x", "x")
    one_op("network", "DebugIdentity", "x", debug_urls=strings("grpc://192.0.2.1:6064"))
    one_op("network", "_Send", "x", severity="warning")
    one_op("network", "RemoteCall", "x", "x", f=func("g"))
    one_op("print", "PrintV2", "x", severity="warning")
    one_op("print", "Print", "x", "x", severity="warning")
    one_op("custom", "Exfiltrate", "x", severity="warning")
    case("fixed-path", "reads any file that the server may read: '/etc/passwd'", "-",
         meta([const("p", "/etc/passwd"), node("y", "ReadFile", "p")]))
    case("path-from-caller", "whoever feeds 'x' names it", "-", meta([READ]))
    case("cache-file", "warning file CacheDatasetV2", "signature serving_default",
         meta([const("p", "/tmp/c"), node("y", "CacheDatasetV2", "x", "p", "x")]))
    case("custom-in-function", "custom Exfiltrate at node 'x' in function 'f'",
         "signature serving_default: y → f → x",
         meta([node("y", "PartitionedCall", "x", f=func("f"))],
              [function("f", [node("x", "Exfiltrate", "arg")])]))


def calls():
    of_call("call-partitioned", node("y", "PartitionedCall", "x", f=func("f")))
    of_call("call-stateful", node("y", "StatefulPartitionedCall", "x", f=func("f")))
    of_call("call-by-op-name", node("y", "f", "x"))
    of_call("call-symbolic-gradient", node("y", "SymbolicGradient", "x", f=func("f")))
    of_call("call-while-body", node("y", "While", "x", cond=func("g"), body=func("f")))
    of_call("call-while-cond", node("y", "StatelessWhile", "x", cond=func("f"), body=func("g")))
    of_call("call-if-then", node("y", "If", "x", "x", then_branch=func("f"), else_branch=func("g")))
    of_call("call-if-else", node("y", "StatelessIf", "x", "x", then_branch=func("g"), else_branch=func("f")))
    of_call("call-case", node("y", "Case", "x", "x", branches=funcs("g", "h", "f")))
    of_call("call-mapdefun", node("y", "MapDefun", "x", f=func("f")))
    of_call("call-map-dataset", node("d", "MapDataset", "x", f=func("f")), node("y", "Identity", "x", "^d"))
    of_call("call-batch-function", node("y", "BatchFunction", "x", f=func("f")))
    of_call("call-any-attribute", node("y", "Identity", "x", _unheard_of=func("f")))
    of_call("call-in-func-attribute", node("y", "PartitionedCall", "x", f=func("g", body=func("f"))))
    of_call("call-by-text", node("y", "XlaHostCompute", "x", key=s("f")))
    of_call("call-three-deep", node("y", "PartitionedCall", "x", f=func("a")), functions=(
        function("a", [node("x", "While", "arg", cond=func("h"), body=func("b"))]),
        function("b", [node("x", "c", "arg")]),
        function("c", [node("x", "Case", "arg", "arg", branches=funcs("h", "f"))]), F))
    of_call("call-gradient", node("y", "PartitionedCall", "x", f=func("g")),
            functions=(function("g", [node("x", "Identity", "arg")]), F), gradients=[("g", "f")])
    case("function-not-called", "file ReadFile at node 'x' in function 'f'",
         "no signature reaches it", meta([Y], [F]))
    case("python-only", "file ReadFile at node 'x' in function 'f'", "from python f: f → x",
         meta([Y], [F], extra=objects([user_object("_generic_user_object", "")], [("f", [])])))


def reach():
    find = "error +file ReadFile at node"
    case("control-input", find, "serving_default: r$",
         meta([node("r", "ReadFile", "x"), node("y", "Identity", "x", "^r")]))
    case("control-before-cut", find, "serving_default: r$",
         meta([node("r", "ReadFile", "x"), node("m", "Identity", "x", "^r"),
               node("y", "Identity", "x", "^m")], signatures={
                   "serving_default": signature(inputs=("m:0",))}))
    case("behind-a-feed", find, "no signature reaches it",
         meta([node("r", "ReadFile", "x"), node("m", "Identity", "r"), node("y", "Identity", "m")],
              signatures={"serving_default": signature(inputs=("m:0",))}))
    case("sparse-output", find, "serving_default: r$",
         meta([node("r", "ReadFile", "x")], signatures={"serving_default": signature(
             raw_output=raw(4, raw(1, "r:0") + raw(2, "x:0") + raw(3, "x:0")))}))
    case("composite-output", find, "serving_default: r$",
         meta([node("r", "ReadFile", "x")], signatures={"serving_default": signature(
             raw_output=raw(5, raw(2, info("r:0"))))}))
    case("second-signature", find, "signature other: r$",
         meta([node("r", "ReadFile", "x"), Y], signatures={
             "serving_default": signature(), "other": signature(outputs=("r:0",))}))
    case("init-signature", find, "from load r: r$",
         meta([node("r", "ReadFile", "x"), Y], signatures={
             "serving_default": signature(),
             "__saved_model_init_op": entry(2, "__saved_model_init_op", info("r"))}))
    case("main-op", find, "from load r: r$",
         meta([node("r", "ReadFile", "x"), Y],
              extra=collection("saved_model_main_op", raw(1, raw(1, "r")))))
    case("legacy-init-op", find, "from load r: r$",
         meta([node("r", "ReadFile", "x"), Y],
              extra=collection("legacy_init_op", raw(1, raw(1, "r")))))
    case("no-signature", find, "no signature reaches it",
         meta([node("r", "ReadFile", "x")], signatures={}))
    case("second-metagraph", find, "serving_default: y$",
         meta([Y]), meta([READ], tags=("serve", "gpu")))
    case("graph-in-two-parts", find, "serving_default: y$",
         meta([], more_graph=raw(2, raw(1, READ))))
    case("library-in-two-parts", "ReadFile at node 'x' in function 'f'", "y → f → x$",
         meta([node("y", "f", "x")], more_graph=raw(2, raw(2, library([F])))))


SAVER = raw(1, "save/Const:0") + raw(2, "save/id:0") + raw(3, "save/restore")


def checkpoints():
    restore = [const("names", "v"), node("y", "RestoreV2", "x", "names", "names")]
    case("restore-in-signature", "error +checkpoint RestoreV2", "signature serving_default: y",
         meta(restore))
    case("save-in-signature", "error +checkpoint SaveV2", "signature serving_default: w",
         meta([node("w", "SaveV2", "x", "x", "x"), node("y", "Identity", "x", "^w")]))
    case("merge-in-function", "error +checkpoint MergeV2Checkpoints", "y → f → x",
         meta([node("y", "f", "x")],
              [function("f", [node("x", "MergeV2Checkpoints", "arg", "arg")])]))
    case("restore-fixed-path", "checkpoint RestoreV2 .*", "from restore save/restore",
         meta([Y, const("p", "/etc/ckpt"), node("save/restore", "RestoreV2", "p", "x", "x")],
              saver=SAVER))
    case("save-joined-path", "'../../elsewhere'", "-" ,
         meta([Y, const("save/Const", "model"), const("p", "../../elsewhere"),
               node("j", "StringJoin", "save/Const", "p"),
               node("save/id", "SaveV2", "j", "x", "x")], saver=SAVER))
    own = [Y, const("save/Const", "model"), const("part", "_temp_0123/part"),
           node("j", "StringJoin", "save/Const", "part"), node("w", "SaveV2", "j", "x", "x"),
           node("save/id", "Identity", "save/Const", "^w"),
           node("save/restore", "RestoreV2", "save/Const", "x", "x")]
    harmless("harmless-saver", meta(own, saver=SAVER))
    harmless("harmless-traced-saver", meta(
        [Y, node("save/Const", "Placeholder"), node("save/id", "PartitionedCall", "save/Const", f=func("w")),
         node("save/restore", "PartitionedCall", "save/Const", f=func("r"))],
        [function("w", [node("x", "SaveV2", "arg", "arg", "arg")]),
         function("r", [node("x", "RestoreV2", "arg", "arg", "arg")])], saver=SAVER))


def tables():
    def filled(path, *more, **options):
        return meta([TABLE, node("fill", "InitializeTableFromTextFileV2", "table", path),
                     node("y", "Identity", "x", "^fill")] + list(more), **options)

    def by_function(path, *more, op="PartitionedCall", attr="f", first=(), **options):
        return meta([TABLE, node("y", op, *first, "table", path, **{attr: func("fill")})] + list(more), [
            function("fill", [node("x", "InitializeTableFromTextFileV2", "t", "p")], ("t", "p"))], **options)

    find = "error +table InitializeTableFromTextFileV2"
    path, words = const("path", "/exporter/words.txt"), asset("path:0", "words.txt")
    case("table-fixed-path", find, "fills a table from a file: '/exporter/words.txt'", filled("path", path))
    case("table-from-caller", find, "whoever feeds 'x' names it", filled("x"))
    case("table-computed", find, "the name is computed", filled("j", node("j", "StringJoin", "x"), path, extra=words))
    case("table-other-asset", find, "fills a table from a file: '/etc/passwd'",
         filled("p2", const("p2", "/etc/passwd"), path, extra=words))
    case("table-in-function", find, "fills a table from a file: '/exporter", by_function("path", path))
    case("table-second-caller", find, "fills a table from a file: '/etc/passwd'",
         by_function("path", path, const("p2", "/etc/passwd"),
                     node("z", "PartitionedCall", "table", "p2", f=func("fill")), extra=words))
    case("table-in-while", find, "the name is computed",
         by_function("path", path, op="While", attr="body", extra=words))
    case("table-from-variable", find, "'/etc/passwd'",
         filled("read", node("v", "VarHandleOp"), node("read", "ReadVariableOp", "v"), path, const("p2", "/etc/passwd"),
                node("a", "AssignVariableOp", "v", "path"), node("b", "AssignVariableOp", "v", "p2"), extra=words))
    case("dataset-fixed-path", "error +file TextLineDataset", "'/etc/passwd'",
         meta([const("p2", "/etc/passwd"), node("y", "TextLineDataset", "p2", "x", "x")]))
    harmless("harmless-table", filled("path", path, extra=words))
    harmless("harmless-table-identity", filled("i", node("i", "Identity", "path"), path, extra=words))
    harmless("harmless-table-function", by_function("path", path, extra=words))
    harmless("harmless-table-if", by_function("path", path, op="If", attr="then_branch", first=("x",), extra=words))
    harmless("harmless-table-variable", filled(
        "read", node("v", "VarHandleOp"), node("read", "ReadVariableOp", "v"), path,
        node("a", "AssignVariableOp", "v", "path"), extra=words))
    harmless("harmless-dataset", meta([path, node("y", "TextLineDataset", "path", "x", "x")], extra=words))
    harmless("harmless-cache", meta([const("p", ""), node("y", "CacheDatasetV2", "x", "p", "x")]))
    harmless("harmless-table-bound", meta([Y], [
        function("fill", [node("x", "InitializeTableFromTextFileV2", "t", "p")], ("t", "p"))],
        extra=objects([user_object("_generic_user_object", ""), raw(5, num(1, 0)), raw(10, b"")],
                      [("fill", [2, 1])])))


def assets():
    for name, file, why in (("asset-dotdot", "../../etc/passwd", "leads out"),
                            ("asset-dotdot-inside", "a/../../b", "leads out"),
                            ("asset-absolute", "/etc/passwd", "is absolute"),
                            ("asset-empty", "", "is empty"), ("asset-address", "http://192.0.2.1/x", "is an address"),
                            ("asset-backslash", "..\\x", "Windows"), ("asset-control", "a\nb", "control character")):
        case(name, "error +asset saved_model.pb", why, meta([Y], extra=asset("x:0", file)))
    case("asset-collection", "error +asset saved_model.pb", "leads out", meta([Y], extra=collection(
        "saved_model_assets", raw(5, raw(1, raw(2, raw(1, raw(1, "x:0")) + raw(2, "../x")))))))
    harmless("harmless-asset", meta([Y], extra=asset("x:0", "a/..b/words.txt")))


def structures():
    case("node-twice", "error +structure Identity at node 'y'", "two nodes", meta([Y, Y]))
    case("function-twice", "structure in function 'f'", "two functions",
         meta([node("y", "f", "x")], [function("f", [node("x", "Identity", "arg")])] * 2))
    case("function-named-as-op", "structure in function 'Relu'", "name of a TensorFlow op",
         meta([node("y", "Relu", "x")], [function("Relu", [node("x", "Identity", "arg")])]))
    case("recursion", "structure .* in function 'f'", "calls itself",
         meta([node("y", "f", "x")], [function("f", [node("x", "f", "arg")])]))
    case("recursion-by-two", "structure .* in function", "calls itself",
         meta([node("y", "f", "x")], [function("f", [node("x", "g", "arg")]),
                                      function("g", [node("x", "f", "arg")])]))
    case("doubling", "error +oversize in function 'f0'", "make .* nodes of 66",
         meta([Y], [function("f%d" % i, [node(n, "f%d" % (i + 1) if i < 31 else "Identity", "arg")
                                         for n in "xz"]) for i in range(32)]))
    case("calls-300-deep", "error +oversize", "functions call functions 300 deep",
         meta([Y], [function("f%d" % i, [node("x", "f%d" % (i + 1) if i < 299 else "Identity", "arg")])
                    for i in range(300)]))
    case("fill-bomb", "oversize Const at node 'y'", "stand for a value of 4.4e.12 bytes",
         meta([node("y", "Const", value=tensor(FLOAT, [1 << 20, 1 << 20]))]))
    case("fill-bomb-overflow", "oversize Const at node 'y'", "stand for a value",
         meta([node("y", "Const", value=tensor(FLOAT, [1 << 62, 1 << 62]))]))
    case("fill-bomb-in-list", "oversize Const at node 'y'", "stand for a value",
         meta([node("y", "Const", value=raw(1, tensor(FLOAT, [1 << 40])))]))
    case("rank-300", "oversize Const at node 'y'", "rank 300",
         meta([node("y", "Const", value=tensor(FLOAT, [1] * 300))]))
    case("negative-dimension", "structure Const at node 'y'", "negative dimension",
         meta([node("y", "Const", value=tensor(FLOAT, [-5]))]))
    case("newline-in-name", "structure Identity at node 'a.x0ab'", "control characters",
         meta([Y, node("a\nb", "Identity", "x")]))
    case("escape-in-function-name", "structure in function 'f.x1b", "control characters",
         meta([Y], [function("f\x1b[2J", [node("x", "Identity", "arg")])]))
    case("tag-set-twice", "error +structure saved_model.pb", "two MetaGraphs", meta([Y]), meta([Y]))
    deep = raw(2, "x")
    for _ in range(60):
        deep = func_nested(deep)
    case("nested-messages", "error +oversize saved_model.pb", "nested more than 100 deep",
         meta([node("y", "Identity", "x", f=deep)]))
    case("keras-lambda", "error +process saved_model.pb", "Lambda", meta([Y], extra=objects(
        [user_object("_tf_keras_layer", '{"class_name": "Lambda", "config": {"function": ["4wEA", null, null]}}')])))
    case("keras-lambda-escaped", "error +process saved_model.pb", "Lambda", meta([Y], extra=objects(
        [user_object("_tf_keras_layer", '{"class_name": "\\u004cambda"}')])))
    case("keras-lambda-inside", "error +process saved_model.pb", "Lambda", meta([Y], extra=objects(
        [user_object("_tf_keras_model", '{"config": {"x": NaN, "layers": [{"class_name": "Lambda"}]}}')])))
    harmless("harmless-keras", meta([Y], extra=objects(
        [user_object("_tf_keras_layer", '{"class_name": "Dense", "name": "Lambda"}')])))
    harmless("harmless-call", meta([node("y", "PartitionedCall", "x", f=func("f"))],
                                   [function("f", [node("x", "Identity", "arg")])]))


def func_nested(value):
    return raw(10, raw(1, "g") + entry(2, "a", value))


def tf_ops():
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session as c
    ops_ = op_def_pb2.OpList.FromString(c.TF_GetBuffer(c.TF_GetAllOpList()))
    print("""/* Made by tools/make-scan-models.py --ops: the op types that TensorFlow 2.15.1 registers,
 * sorted bytewise. What is not here (nor a function of the model) needs a library of its
 * own. Do not edit. */""")
    for name in sorted(o.name for o in ops_.op):
        print("TF_OP(%s)" % name)


def main():
    if sys.argv[1:] == ["--ops"]:
        return tf_ops()
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for part in (ops, calls, reach, checkpoints, tables, assets, structures):
        part()
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "cases.tsv"), "w") as f:
        for name, status, pattern, reached, body in CASES:
            f.write("\t".join((name, str(status), pattern, reached)) + "\n")
            with open(os.path.join(out, name + ".pb"), "wb") as g:
                g.write(body)


if __name__ == "__main__":
    main()
