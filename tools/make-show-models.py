#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes odd SavedModels and what saved_model_cli says of them. Needs TensorFlow 2.15;
tests/show_text.py compares. tests/data/show has some of them.

    make-show-models.py OUT [NAME...]      models OUT/NAME/model, texts OUT/NAME/text/*
    make-show-models.py OUT any_1 any_2    models of random functions, by seed
    make-show-models.py --texts OUT        only the texts again, of the models in OUT

The texts come from a process of their own: what a model brings along (namedtuples,
extension types) must be read from the model. text/index.json: file name -> arguments of show.
"""
import collections
import contextlib
import io
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import typing

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model import nested_structure_coder
from tensorflow.python.saved_model.model_utils import export_utils
from tensorflow.python.tools import saved_model_cli

v1 = tf.compat.v1
F = tf.float32
MODELS = {}


def model(build):
    MODELS[build.__name__] = build
    return build


def spec(shape, dtype=F, name=None):
    return tf.TensorSpec(shape, dtype, name)


def module(**functions):
    m = tf.Module()
    m.v = tf.Variable(1.0)
    for name, f in functions.items():
        setattr(m, name, f)
    return m


def traced(*calls, of=None):
    """A function of anything, traced for each (args, kwargs)."""
    f = tf.function(of or (lambda *args, **kwargs: tf.constant(1.0)))
    for args, kwargs in calls:
        f.get_concrete_function(*args, **kwargs)
    return f


def takes(*values):
    f = tf.function(lambda value: tf.constant(1.0))
    for v in values:
        f.get_concrete_function(v)
    return f


# ---- arguments of functions ------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")
Deep = collections.namedtuple("Deep", ["first", "second_", "p"])


@model
def arguments():
    """Each kind of argument once; tests/cli/t3002-show-text.sh looks for some of them."""
    Pair = collections.namedtuple("Pair", "left right")
    x = tf.constant([1.0, 2.0])
    strings = tf.TensorSpec(None, tf.string)
    values = {
        "array_like_spec": tf.TensorSpec([], tf.bfloat16, name="half"),
        "boolean": True,
        "dataset": tf.data.DatasetSpec(tf.TensorSpec([], tf.int64)),
        "empty_list": [],
        "float_big": 1e22,
        "float_plain": 100.0,
        "float_small": 1e-7,
        "infinite": float("inf"),
        "integer": -5,
        "items": [x, "it's", 'a "b"', None, 1.5, (x,), {"k": Pair("s", 2)}, [True, strings]],
        "keys": {k: len(k) for k in "the quick brown fox jumps over a lazy dog, then a key_of_more_than_sixteen_bytes".split()},
        "named": Pair(x, Pair("right", ())),
        "nothing": None,
        "optional": tf.OptionalSpec(strings),
        "pair": (x, "y"),
        "ragged": tf.RaggedTensorSpec([None, None], tf.int32),
        "shape": tf.TensorShape([None, 3]),
        "dtype": tf.float16,
        "shape_list": [tf.TensorShape([2]), tf.float16, tf.TensorShape(None)],
        "slices": tf.IndexedSlicesSpec([None, 2], tf.float32),
        "sparse": tf.SparseTensorSpec([3, None], tf.float64),
        "text": "it's \"it\"",
        "unknown_rank": strings,
    }

    def by_name(x, *, scale, mode, b, c, d, e, f):
        return x

    given = tf.function(lambda x: x, input_signature=[spec([None], name="given")])
    m = module(**{name: takes(v) for name, v in values.items()})
    m.by_name = traced(((x,), dict(scale=2.0, mode="fast", b=1, c=2, d=3, e=4, f=5)), of=by_name)
    m.bare = given.get_concrete_function()
    m.traced = m.another_name = given
    m.untraced = tf.function(lambda y: y)
    m.no_arguments = traced(((), {}), of=lambda: m.v * 2.0)
    return m


@model
def floats():
    values = [0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e15, 1e16, 123456789012345680.0, 1e-4, 1e-5, 5e-324,
              1.7976931348623157e308, math.inf, -math.inf, math.pi, 2.0**53, 1e22, 1e21, 0.30000000000000004]
    m = module()
    for i, v in enumerate(values):
        setattr(m, f"f{i:02}", takes(v))
    m.all = takes(values)
    m.nan = takes(math.nan)
    m.nans = takes([math.nan, 1.0])
    return m


@model
def numpy_scalars():
    return module(
        f32=takes(np.float32(0.1)), f64=takes(np.float64(0.1)), i32=takes(np.int32(3)), b=takes(np.bool_(True)),
        array=takes(np.arange(6).reshape(2, 3)), scalar=takes(np.array(2.5)), text=takes(np.array(["a", "b"])),
        inside=takes({"a": np.float32(2), "b": [np.int64(1), np.ones(2)]}))


@model
def integers():
    values = [0, 1, -1, 2**31, -(2**31), 2**62, -(2**62), True, False]
    return module(**{f"i{i}": takes(v) for i, v in enumerate(values)}, both=takes([1, True, 1.0]))


@model
def strings():
    values = ["", " ", "plain", "it's", 'say "hi"', "it's \"both\"", "back\\slash", "new\nline", "tab\t", "cr\r",
              "\x1b[31m", "\x7f", "\u0085", "é", "ß", "日本語", "😀", "a\u0301", "\u00a0", "\u00ad",
              "\u200b", "\u2028", "\u3000", "\ufeff", "\ue000", "\U000e0001", "\uffff", "עברית",
              "{}%s", "'", '"', "''", "\\'", "\U0001f9ff", "\u0870",
              "\u061c", "\u08e2", "\U000110bd", "\U0001d173", "\u2065", "\ufff9", "\u180e", "\u1680"]
    m = module()
    for i, v in enumerate(values):
        setattr(m, f"s{i:02}", takes(v))
    m.listed = takes(values)
    m.keyed = takes({"k": values[3], "quoted": values[4], "both": values[5]})
    m.nested = takes([values])
    m.bytes_ = takes(tf.constant(b"bytes\xff"))
    return m


@model
def structures():
    t = spec([None, 2])
    return module(
        lists=takes([[], [[]], [[[1]]], [t, [t, [t]]]]), tuples=takes((), (1,), ((1,),), (1, 2), (t, (t,), "s")),
        mixed=takes([(1, [2, (3,)]), {"a": (t,), "b": {"c": [None]}}]), empty_dict=takes({}),
        dict_in_dict=takes({"z": {"y": {"x": t}}}), point=takes(Point(t, 1)), points=takes([Point(1, Point(2, t))]),
        deep=takes(Deep([t], (), {"a": Point(None, True)})), none_list=takes([None, None]),
        ordered=takes(collections.OrderedDict([("b", 1), ("a", t)])), default=takes(collections.defaultdict(list, a=[1])),
        int_keys=takes({"1": 1, "02": 2, "10": t}), long=takes(list(range(40))), many=takes({f"key_{i}": i for i in range(60)}),
        unicode_keys=takes({"ключ": t, "键": 1, "it's": 2, 'a"b': 3, "": 4}))


@model
def specs():
    m = module()
    shapes = [None, [], [None], [0], [1], [None, None], [2, None, 3], [1, 1, 1, 1, 1, 1]]
    for i, s in enumerate(shapes):
        setattr(m, f"shape{i}", takes(tf.TensorSpec(s, F, name=f"in{i}" if i % 2 else None)))
    dtypes = [tf.float16, tf.float64, tf.bfloat16, tf.int8, tf.int16, tf.int64, tf.uint8, tf.uint16, tf.uint32,
              tf.uint64, tf.bool, tf.string, tf.complex64, tf.complex128, tf.qint8, tf.quint8, tf.qint32, tf.variant,
              tf.resource]
    for d in dtypes:
        setattr(m, f"dtype_{d.name}", takes(tf.TensorSpec([None], d)))
        setattr(m, f"as_{d.name}", takes(d))
    m.listed = takes([tf.TensorSpec([None], d) for d in dtypes] + dtypes)
    for name in ("a/b", "a:0", "it's", "ünïcode", "with space", "trailing_", "x" * 80, "a\nb"):
        with contextlib.suppress(ValueError):
            setattr(m, f"named_{len(name)}", takes(tf.TensorSpec([1], F, name=name)))
    return m


@model
def composites():
    return module(
        ragged=takes(tf.RaggedTensorSpec([None, None], F), tf.RaggedTensorSpec([2, None, 3], tf.string),
                     tf.RaggedTensorSpec([None, None, None], tf.int32, ragged_rank=1, row_splits_dtype=tf.int32)),
        sparse=takes(tf.SparseTensorSpec([None, 3], F), tf.SparseTensorSpec(None, tf.int64)),
        slices=takes(tf.IndexedSlicesSpec([None, 2], F, dense_shape_dtype=tf.int64)),
        array=takes(tf.TensorArraySpec([2], F), tf.TensorArraySpec([None], F, True, False)),
        optional=takes(tf.OptionalSpec(tf.TensorSpec([], F))), dataset=takes(tf.data.DatasetSpec(tf.TensorSpec([None], F))),
        dataset_nested=takes(tf.data.DatasetSpec({"a": tf.TensorSpec([], F), "b": (tf.TensorSpec([], tf.string),)})),
        values=takes(tf.ragged.constant([[1], [2, 3]]), tf.sparse.from_dense([[1, 0]]),
                     tf.IndexedSlices(tf.ones([1, 2]), tf.constant([0]))),
        nested=takes({"r": tf.RaggedTensorSpec([None, None], F), "l": [tf.SparseTensorSpec([1], F), Point(tf.OptionalSpec(tf.TensorSpec([], F)), 1)]}),
        iterator=takes(tf.data.IteratorSpec(tf.TensorSpec([], F))),
        shape_values=takes([tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([1, None]), tf.TensorShape(None)]),
        flat_shapes=takes(tf.TensorShape([]), tf.TensorShape([3]), tf.TensorShape([None, 3]), tf.TensorShape(None)))


@model
def variables():
    v = tf.Variable([1.0, 2.0], name="weights")
    f = tf.function(lambda variable, other=None: variable + 1.0)
    f.get_concrete_function(v)
    g = tf.function(lambda vs: vs[0] + vs[1])
    m = module(f=f)
    m.w = tf.Variable(2.0, trainable=False)
    m.x = v
    g.get_concrete_function([v, tf.Variable(1.0)])
    m.g = g
    return m


def extensions():
    """Their classes must not be known to the process that makes the texts."""

    class Ext(tf.experimental.ExtensionType):
        __name__ = "sluice.test.Ext"
        values: tf.Tensor
        mask: tf.Tensor
        flag: bool = True

    class Named(tf.experimental.BatchableExtensionType):
        __name__ = "sluice.test.Named"
        values: tf.Tensor
        tag: str = "it's"
        pair: typing.Tuple[int, ...] = (1, 2)
        table: typing.Mapping[str, float] = {"a": 1.0}
        inner: typing.Optional[Ext] = None
        dtype: tf.DType = tf.int32
        shape: tf.TensorShape = tf.TensorShape([None, 2])
    return Ext, Named


@model
def extension_types():
    Ext, Named = extensions()
    e = Ext(values=tf.ones([2]), mask=tf.constant([True, False]))
    return module(ext=takes(e, Ext.Spec(tf.TensorSpec([None], F), tf.TensorSpec([None], tf.bool), False)),
                  inside=takes([e, {"k": e}]), named=takes(Named(tf.ones([3])), Named(tf.ones([1]), inner=e)))


@model
def core_types():
    from tensorflow.python.framework.none_tensor import NoneTensorSpec
    from tensorflow.python.ops.ragged.dynamic_ragged_shape import DynamicRaggedShape
    from tensorflow.python.ops.ragged.row_partition import RowPartitionSpec
    from tensorflow.python.ops.structured.structured_tensor import StructuredTensor
    m = module(
        rows=takes(RowPartitionSpec(nrows=3, nvals=None, dtype=tf.int32), RowPartitionSpec(uniform_row_length=2)),
        none=takes(NoneTensorSpec()),
        dataset_none=takes(tf.data.DatasetSpec((tf.TensorSpec([], F), NoneTensorSpec()))),
        dataset_deep=takes(tf.data.DatasetSpec(tf.data.DatasetSpec(tf.RaggedTensorSpec([None, None], F)))),
        optional_deep=takes(tf.OptionalSpec(tf.OptionalSpec(Point(tf.TensorSpec([], F), tf.TensorSpec([2], tf.bool))))),
        slices_deep=takes(tf.IndexedSlicesSpec(None, tf.int32, tf.int32)))
    shape = DynamicRaggedShape.from_lengths([2, (1, 2)])
    others = {
        "shape": lambda: takes(shape), "structured": lambda: takes(StructuredTensor.from_pyval([{"a": 1, "b": [1.0, 2.0]}])),
        "diag": lambda: takes(tf.linalg.LinearOperatorDiag([1.0, 2.0])), "identity": lambda: takes(tf.linalg.LinearOperatorIdentity(2)),
        "full": lambda: takes(tf.linalg.LinearOperatorFullMatrix([[1.0, 2.0], [0.0, 1.0]], is_non_singular=True)),
        "composed": lambda: takes(tf.linalg.LinearOperatorComposition([tf.linalg.LinearOperatorDiag([1.0]), tf.linalg.LinearOperatorIdentity(1)])),
        "generator": lambda: takes(tf.random.Generator.from_seed(1)),
    }
    for name, make in others.items():
        try:
            f = make()
            nested_structure_coder.encode_structure(f._list_all_concrete_functions()[0].structured_input_signature)
            setattr(m, name, f)
        except Exception as e:
            print(name, type(e), str(e)[:100], file=sys.stderr)
    return m


@model
def bounded():
    from tensorflow.python.framework.tensor import BoundedTensorSpec as B
    return module(
        unit=takes(B([], F, 0.0, 1.0)), named=takes(B([3], tf.int32, 0, 5, name="action")),
        each=takes(B([2], F, [-1.0, -2.5], [1.0, 1e30], name="each")), wide=takes(B([None], tf.float64, -math.inf, math.inf)),
        inside=takes([B([2], tf.int64, 0, 9)]), small=takes(B([1], tf.uint8, 0, 255), B([1], F, 1e-7, 0.1)),
        half=takes(B([], tf.float16, 0.5, 1.5)), matrix=takes(B([2, 2], F, np.zeros((2, 2)), np.eye(2) * 3)))


# ---- how functions are called ----------------------------------------------------------


@model
def calls():
    t = spec([None])

    def defaults(x, n=3, name="it's", flag=True, rate=0.5, nothing=None, items=(1, 2)):
        return x

    def keyword_only(*, a, b=2):
        return a

    def varargs(*args):
        return args[0]

    def kwargs(x, **options):
        return x

    def mixed(x, *rest, flag=False, **options):
        return x

    def positional(x, /, y, *, z=1):
        return x

    return module(
        defaults=traced(((t,), {}), ((t, 4), {}), ((t,), {"name": 'x"y', "rate": math.inf}), of=defaults),
        keyword_only=traced(((), {"a": t}), ((), {"a": t, "b": [1, t]}), of=keyword_only),
        varargs=traced(((t,), {}), ((t, 1), {}), ((t, "s", [1]), {}), of=varargs),
        kwargs=traced(((t,), {}), ((t,), {"zeta": 1, "alpha": t}), of=kwargs),
        mixed=traced(((t, 1, 2), {"flag": True, "other": t}), of=mixed),
        positional=traced(((t, t), {"z": 5}), of=positional))


@model
def keyword_names():
    t = spec([])
    names = "zulu yankee alpha bravo charlie delta_very_long_keyword_name_beyond_32_bytes e1 e2 e3 e4 e5 e6 e7 e8".split()
    return module(f=traced(((), {n: t for n in names}), ((t, "a"), {n: i for i, n in enumerate(names)})))


@model
def polymorphic():
    @tf.function
    def f(x, training=False):
        return x * 2 if training else x

    for dtype in (F, tf.float64, tf.int32):
        for training in (False, True):
            for shape in ([None], [2], [None, 3]):
                f.get_concrete_function(tf.TensorSpec(shape, dtype), training)
    return module(f=f, also=f)


@model
def input_signatures():
    sig = lambda *s, **k: tf.function(lambda *a: a[0], input_signature=s, **k)
    nested = tf.function(lambda d: d["a"], input_signature=[{"a": spec([None]), "b": [spec([], tf.string), spec([2])]}])
    two = tf.function(lambda x, y: x + y, input_signature=[spec([None], name="left"), spec([None])])
    default = tf.function(lambda x, y=2.0: x + y, input_signature=[spec([None])])
    none = tf.function(lambda: tf.constant(1), input_signature=[])
    ragged = tf.function(lambda r: r.values, input_signature=[tf.RaggedTensorSpec([None, None], F)])
    pair = tf.function(lambda p: p.x, input_signature=[Point(spec([]), spec([], tf.bool))])
    return module(nested=nested, two=two, default=default, none=none, ragged=ragged, pair=pair,
                  relaxed=tf.function(lambda x: x, reduce_retracing=True, input_signature=[spec(None)]))


@model
def relaxed():
    f = tf.function(lambda x: x, reduce_retracing=True)
    for n in range(1, 4):
        f(tf.ones([n, 2]))
    return module(f=f)


@model
def concrete():
    def f(x, y=2, *, z=None):
        return x

    g = tf.function(f)
    h = tf.function(lambda a, b: a)
    return module(
        plain=g.get_concrete_function(spec([None])), named=g.get_concrete_function(spec([None], name="given"), 3),
        structure=h.get_concrete_function([spec([1]), {"k": spec([])}], Point(spec([]), "s")),
        none=tf.function(lambda: tf.constant(1)).get_concrete_function(),
        no_tensors=h.get_concrete_function(1, "two"), kw=g.get_concrete_function(x=spec([]), z=spec([1])))


@model
def methods():
    class M(tf.Module):
        def __init__(self):
            super().__init__(name="named")
            self.w = tf.Variable(tf.ones([2, 2]))
            self.inner = Inner()
            self.listed = [Inner(), Inner()]
            self.keyed = {"a": Inner(), "f": tf.function(lambda: 1.0)}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], F)])
        def __call__(self, x):
            return self.inner.f(x @ self.w)

        @tf.function
        def _private(self, x, flag=True):
            return x

        @tf.function(autograph=False)
        def never(self, x):
            return x

    class Inner(tf.Module):
        @tf.function
        def f(self, x):
            return x + 1.0

    m = M()
    m._private(tf.ones([1]))
    m.alias = m._private
    return m


@model
def unicode_names():
    m = module()
    setattr(m, "функция", takes("значение"))
    setattr(m, "it's", takes(1))
    setattr(m, "with space", takes(2))
    setattr(m, "a.b/c", takes(3))
    setattr(m, "Z", takes(1))
    setattr(m, "_z", takes(1))
    setattr(m, "é", takes(1))
    setattr(m, "😀", takes(1))
    return m


@model
def empty():
    return tf.Module()


@model
def list_root():
    m = module(f=takes([1, 2], (1, 2), Point(1, 2)))
    m.fs = [takes(1), takes(2)]
    return m


@model
def dedupe():
    f = tf.function(lambda x, n=1: x)
    for n in (1, 1.0, True, "1", 2, None, (1,), [1]):
        f.get_concrete_function(spec([None]), n)
    for name in ("a", "b", None):
        f.get_concrete_function(spec([2], name=name))
    return module(f=f)


@model
def big_polymorphic():
    return module(f=takes(*range(24)), g=takes(*[spec([n]) for n in range(12)]))


@model
def numpy_function():
    def f(x):
        return tf.numpy_function(lambda v: v, [x], F)
    return module(f=tf.function(f, input_signature=[spec([2])]))


@model
def partials():
    import functools
    def base(x, scale, mode="m", *, k=1):
        return x
    return module(
        partial=traced(((spec([1]),), {}), of=functools.partial(base, scale=2)),
        partial2=traced(((spec([1]), 3), {}), of=functools.partial(base, k=5)),
        partial3=tf.function(functools.partial(base, scale=3.0), input_signature=[spec([None])]))


# ---- signatures ----------------------------------------------------------------------------


@model
def signatures():
    m = module()
    one = tf.function(lambda x: {"y": x, "ünï": x, "it's": x, 'a"b': x})
    sigs = {
        "serving_default": one.get_concrete_function(spec([None, 3], name="x")),
        "none": tf.function(lambda: {"c": tf.constant(1)}).get_concrete_function(),
        "rank": tf.function(lambda x: x).get_concrete_function(spec(None, tf.string)),
        "list": tf.function(lambda x: [x, x]).get_concrete_function(spec([], tf.bool)),
        "Upper": tf.function(lambda a, b: {"out": a}).get_concrete_function(spec([0]), spec([None], tf.int64)),
        "ключ": tf.function(lambda a: {"b": a}).get_concrete_function(spec([None, None], tf.complex64)),
        "with space": tf.function(lambda a: {"b": tf.cast(a, tf.bfloat16)}).get_concrete_function(spec([1], tf.uint8)),
        "it's": tf.function(lambda a: {"b": a}).get_concrete_function(spec([1], tf.half)),
        "effect": tf.function(lambda a: {}).get_concrete_function(spec([1])),
    }
    return m, sigs


@model
def defaults_in_signature():
    f = tf.function(lambda x, y=tf.constant(2.0): {"z": x + y}, input_signature=[spec([]), spec([])])
    m = module(f=f)
    return m, {"serving_default": f}


@model
def signature_functions():
    m = module()
    kw = tf.function(lambda *, b, a: {"o": a + b}).get_concrete_function(b=spec([None]), a=spec([None]))
    nested = tf.function(lambda d: {"o": d["x"]}).get_concrete_function({"x": spec([]), "y": spec([])})
    m.kw = kw
    return m, {"kw": kw, "nested": nested}


@model
def composite_outputs():
    @tf.function(input_signature=[spec([None, None])])
    def f(x):
        return {"ragged": tf.RaggedTensor.from_tensor(x), "sparse": tf.sparse.from_dense(x)}
    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None], F)])
    def g(r):
        return {"sum": tf.reduce_sum(r)}
    @tf.function(input_signature=[tf.SparseTensorSpec([None, None], F)])
    def h(s):
        return {"dense": tf.sparse.to_dense(s)}
    m = module(f=f, g=g, h=h)
    return m, {"f": f, "g": g, "h": h}


@model
def tables_and_assets():
    path = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / "vocabulary.txt"
    path.write_text("a\nb\n")
    m = module()
    m.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                                      tf.lookup.TextFileIndex.LINE_NUMBER), -1)
    m.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    m.look = tf.function(lambda x: m.table.lookup(x), input_signature=[spec([None], tf.string)])
    m.options = takes({"mode": "a", "levels": (1, 2)})
    m.asset = tf.saved_model.Asset(str(path))
    return m


@model
def function_aliases():
    @tf.function
    def f(x):
        return x + 1.0
    f.get_concrete_function(spec([None]))
    f.get_concrete_function(spec([None, 2]))
    return module(f=f), None, tf.saved_model.SaveOptions(function_aliases={"my_alias": f})


@model
def no_debug():
    f = tf.function(lambda x: x, input_signature=[spec([None], name="x")])
    return module(f=f), {"s": f}, tf.saved_model.SaveOptions(save_debug_info=True, namespace_whitelist=["a"])


@model
def control_flow():
    @tf.function
    def body(x, n):
        return tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, tf.math.sin(y)), [0, x])[1]

    @tf.function(input_signature=[spec([None]), spec([], tf.int32)])
    def f(x, n):
        y = tf.cond(n > 1, lambda: body(x, n), lambda: tf.math.cos(x))
        return tf.map_fn(lambda v: tf.math.tan(v), y)
    ds = tf.function(lambda: tf.data.Dataset.range(3).map(lambda x: x * 2).reduce(tf.constant(0, tf.int64), lambda a, b: a + b))
    ds.get_concrete_function()
    return module(f=f, ds=ds)


@model
def gradients():
    @tf.custom_gradient
    def c(x):
        return x, lambda dy: dy * 2

    @tf.function(input_signature=[spec([2])])
    def f(x):
        with tf.GradientTape() as t:
            t.watch(x)
            y = c(x) * x
        return t.gradient(y, x)
    return module(f=f), None, tf.saved_model.SaveOptions(experimental_custom_gradients=True)


@model
def jit():
    f = tf.function(lambda x, n=2: x * x, jit_compile=True)
    f.get_concrete_function(spec([4]))
    return module(f=f)


@model
def optimizer():
    m = module()
    m.opt = tf.keras.optimizers.Adam(0.1)
    m.opt.build([m.v])

    @tf.function(input_signature=[spec([])])
    def step(x):
        with tf.GradientTape() as t:
            loss = (m.v - x) ** 2
        m.opt.apply_gradients([(t.gradient(loss, m.v), m.v)])
        return loss
    m.step = step
    return m


# ---- Keras ------------------------------------------------------------------------------------

K = tf.keras
L = K.layers


@model
def k_sequential():
    return K.Sequential([L.Dense(3, input_shape=(2,)), L.Dropout(0.5), L.BatchNormalization(), L.Dense(1)])


@model
def k_compiled():
    m = K.Sequential([L.Dense(3, input_shape=(2,), activation="relu"), L.Dense(1)])
    m.compile("adam", "mse", metrics=["mae"])
    m.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    return m


@model
def k_functional():
    a, b = K.Input((3,), name="a"), K.Input((None, 2), name="b_seq", dtype=tf.float64)
    x = L.Concatenate()([L.Dense(4)(a), L.GRU(4)(L.Lambda(lambda v: tf.cast(v, F))(b))])
    return K.Model({"a": a, "b_seq": b}, {"p": L.Dense(1, name="p")(x), "q": L.Dense(2, name="q")(x)})


@model
def k_list_inputs():
    xs = [K.Input((2,), name=n) for n in ("z", "y", "x")]
    return K.Model(xs, [L.Add()(xs), L.Multiply()(xs)])


@model
def k_subclassed():
    class Net(K.Model):
        def __init__(self):
            super().__init__()
            self.d = L.Dense(2)
            self.stack = [L.Dense(2) for _ in range(3)]
            self.table = {"a": L.Dense(1)}

        def call(self, inputs, training=None, mask=None):
            x = self.d(inputs["x"])
            for l in self.stack:
                x = l(x)
            return {"out": x, "again": self.table["a"](x)}

        @tf.function(input_signature=[spec([None, 2], name="raw")])
        def predict_raw(self, x):
            return self({"x": x})
    m = Net()
    m({"x": tf.ones([1, 2])})
    return m


@model
def k_tuple_call():
    class Net(K.Model):
        def call(self, pair, scale=1.0, training=False):
            a, b = pair
            return a * scale + b
    m = Net()
    m((tf.ones([1, 2]), tf.ones([1, 2])))
    return m


@model
def k_rnn():
    i = K.Input((None,), dtype=tf.int32)
    x = L.Embedding(10, 4, mask_zero=True)(i)
    x = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    return K.Model(i, L.TimeDistributed(L.Dense(2))(x))


@model
def k_stateful_rnn():
    return K.Sequential([L.LSTM(3, stateful=True, return_state=False, batch_input_shape=(2, 4, 1)), L.Dense(1)])


@model
def k_text():
    v = L.TextVectorization(max_tokens=20, output_sequence_length=4)
    v.adapt(["a b c", "it's d"])
    return K.Sequential([K.Input((1,), dtype=tf.string), v, L.Embedding(20, 2), L.GlobalAveragePooling1D()])


@model
def k_preprocessing():
    n = L.Normalization(); n.adapt(np.arange(6.0).reshape(3, 2))
    i = {"num": K.Input((2,), name="num"), "cat": K.Input((1,), dtype=tf.string, name="cat"), "int": K.Input((1,), dtype=tf.int64, name="int")}
    parts = [n(i["num"]), L.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(i["cat"]),
             L.CategoryEncoding(4, "one_hot")(L.Hashing(4)(i["int"]))]
    return K.Model(i, L.Concatenate()([tf.cast(p, F) for p in parts]))


@model
def k_sparse_ragged():
    s = K.Input((5,), sparse=True, name="s")
    r = K.Input((None,), ragged=True, name="r", dtype=tf.int32)
    return K.Model([s, r], [L.Dense(2)(s), L.Lambda(lambda v: tf.reduce_sum(v, 1))(r)])


@model
def k_attention():
    i = K.Input((4, 8))
    return K.Model(i, L.LayerNormalization()(L.MultiHeadAttention(2, 4)(i, i)))


@model
def k_mixed_precision():
    i = K.Input((8, 8, 3))
    x = L.Conv2D(4, 3, dtype="mixed_float16")(i)
    return K.Model(i, L.Dense(2, dtype="float32")(L.GlobalMaxPool2D()(x)))


@model
def k_nested():
    inner = K.Sequential([L.Dense(2, input_shape=(3,)), L.ReLU()], name="inner")
    i = K.Input((3,))
    m = K.Model(i, inner(inner.layers[0](i) @ tf.ones([2, 3])))
    m.helper = tf.function(lambda x, names=("a", "b"): x)
    m.helper.get_concrete_function(spec([1]))
    return m


@model
def k_layer():
    class Scale(L.Layer):
        def build(self, shape):
            self.w = self.add_weight("w", shape=[shape[-1]])
        def call(self, x, training=None, factor=2.0):
            return x * self.w * factor
    l = Scale()
    l(tf.ones([2, 3]))
    return l


@model
def k_one_input_batch():
    return K.Sequential([L.Dense(1, batch_input_shape=(7, 2))])


@model
def k_export():
    m = K.Sequential([L.Dense(2, input_shape=(3,)), L.Dropout(0.1)])
    return lambda path: m.export(path)


@model
def k_export_archive():
    m = K.Sequential([L.Dense(2, input_shape=(3,))])
    def save(path):
        a = K.export.ExportArchive()
        a.track(m)
        a.add_endpoint("serve", m.call, [spec([None, 3])])
        a.add_endpoint("train", lambda x: m(x, training=True), [spec([None, 3], name="tr")])
        a.add_variable_collection("all", m.variables)
        a.write_out(path)
    return save


@model
def k_custom_signature():
    m = K.Sequential([L.Dense(2, input_shape=(3,))])
    f = tf.function(lambda image, n=1: {"scores": m(image)})
    return m, {"serving_default": f.get_concrete_function(spec([None, 3], name="image")),
               "bytes": tf.function(lambda b: {"o": m(tf.io.decode_raw(b, F))}).get_concrete_function(spec([None], tf.string))}


# ---- TensorFlow 1 ----------------------------------------------------------------------------


def v1_graph(tag_sets, signatures, **kwargs):
    def save(path):
        b = v1.saved_model.Builder(path)
        for i, tags in enumerate(tag_sets):
            with v1.Session(graph=tf.Graph()) as s:
                sigs = signatures(i)
                s.run([v1.global_variables_initializer(), v1.tables_initializer()])
                add = b.add_meta_graph_and_variables if i == 0 else b.add_meta_graph
                add(*([s] if i == 0 else []), tags, signature_def_map=sigs, **kwargs)
        b.save()
    return save


def v1_signature(i):
    x = v1.placeholder(F, [None, 2], name="x")
    w = v1.get_variable("w", initializer=[[1.0], [2.0]], use_resource=i % 2 == 0)
    y = tf.matmul(x, w, name="y")
    z = tf.sigmoid(y) if i else tf.nn.relu(y)
    e = v1.placeholder(tf.string, [None], name="examples")
    classes = tf.identity(e)
    build = v1.saved_model.build_signature_def
    info = v1.saved_model.build_tensor_info
    return {
        "serving_default": v1.saved_model.predict_signature_def({"x": x}, {"z": z, "y": y}),
        "classify": v1.saved_model.classification_signature_def(e, classes, y),
        "regress": v1.saved_model.regression_signature_def(e, y),
        "own method": build({"a": info(x)}, {"b": info(z)}, "my/own/method"),
        "no_method": build({}, {"b": info(z)}, ""),
        "nothing": build(),
    }


@model
def v1_many():
    return v1_graph([["serve"], ["train", "gpu"], ["b", "a"], ["serve", "tpu"], []], v1_signature)


@model
def v1_unicode_tags():
    return v1_graph([["сервис", "it's"], ['a"b'], ["x y", "A"]], v1_signature)


@model
def v1_composite():
    def sigs(i):
        s = v1.sparse_placeholder(F, [None, 5], name="sp")
        r = v1.ragged.placeholder(F, 1, name="rg")
        u = v1.placeholder(tf.int64, None, name="unknown")
        q = v1.placeholder(tf.quint8, [], name="q")
        ref = v1.get_variable("ref", initializer=1.0, use_resource=False)
        info = v1.saved_model.build_tensor_info
        return {"s": v1.saved_model.build_signature_def(
            {"sparse": info(s), "ragged": info(r), "unknown": info(u), "q": info(q)},
            {"o": info(tf.sparse.reduce_sum(s)), "ref": info(ref)}, "m")}
    return v1_graph([["serve"]], sigs)


@model
def v1_functions():
    def sigs(i):
        from tensorflow.python.framework import function
        @function.Defun(F)
        def inner(x):
            return tf.tanh(x)
        @function.Defun(F)
        def outer(x):
            return inner(x) + 1.0
        x = v1.placeholder(F, [2], name="x")
        y = outer(x)
        z = tf.function(lambda v: tf.exp(v))(x)
        t = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
        k = t.lookup(v1.placeholder(tf.string, [None], name="k"))
        w = v1.while_loop(lambda a: tf.reduce_sum(a) < 3, lambda a: tf.cosh(a), [x])
        return {"serving_default": v1.saved_model.predict_signature_def({"x": x}, {"y": y, "z": z, "k": k, "w": w})}
    return v1_graph([["serve"]], sigs)


@model
def v1_resources():
    def sigs(i):
        info = v1.saved_model.build_tensor_info
        v = v1.get_variable("v", initializer=1.0, use_resource=True)
        x = v1.placeholder(tf.resource, [], name="handle")
        va = v1.placeholder(tf.variant, [None], name="variant")
        b = v1.placeholder(tf.bool, [], name="flag")
        return {"s": v1.saved_model.build_signature_def(
            {"h": info(x), "v": info(va), "b": info(b)}, {"r": v1.saved_model.build_tensor_info(v.read_value())}, "")}
    return v1_graph([["serve"]], sigs)


@model
def v1_estimator():
    def save(path):
        x = tf.feature_column.numeric_column("x", shape=[2])
        c = tf.feature_column.indicator_column(tf.feature_column.categorical_column_with_vocabulary_list("c", ["a", "b"]))
        e = tf.estimator.DNNClassifier([4], [x, c], n_classes=3)
        data = lambda: tf.data.Dataset.from_tensors(({"x": [[1.0, 2.0]], "c": [["a"]]}, [1]))
        e.train(data, steps=1)
        receiver = tf.estimator.export.build_parsing_serving_input_receiver_fn(v1.feature_column.make_parse_example_spec([x, c]))
        out = e.export_saved_model(path + ".tmp", receiver)
        shutil.move(out.decode(), path)
        shutil.rmtree(path + ".tmp")
    return save


@model
def v1_simple_save():
    def save(path):
        with v1.Session(graph=tf.Graph()) as s:
            x = v1.placeholder(F, [None], name="x")
            y = x * v1.get_variable("w", [])
            s.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(s, path, {"x": x}, {"y": y})
    return save


@model
def v1_pbtxt():
    def save(path):
        b = v1.saved_model.Builder(path)
        with v1.Session(graph=tf.Graph()) as s:
            sigs = v1_signature(0)
            s.run(v1.global_variables_initializer())
            b.add_meta_graph_and_variables(s, ["serve", "text"], signature_def_map=sigs)
        b.save(as_text=True)
    return save


@model
def resaved():
    def save(path):
        m = module(f=traced(((spec([None]), [1, Point(2, "a")]), {}), of=lambda x, y: x), again=takes(1, "a", (2,)))
        tf.saved_model.save(m, path + ".first")
        tf.saved_model.save(tf.saved_model.load(path + ".first"), path)
        shutil.rmtree(path + ".first")
    return save


@model
def v1_wrapped():
    def save(path):
        first = path + ".first"
        v1_graph([["serve"]], lambda i: {k: s for k, s in v1_signature(i).items() if k in ("serving_default", "nothing")})(first)
        m = tf.saved_model.load(first)
        pruned = m.prune("x:0", "y:0")
        out = tf.Module()
        out.m, out.pruned = m, pruned
        out.wrapped = v1.wrap_function(lambda a, b: a + b, [spec([None]), spec([])])
        tf.saved_model.save(out, path)
        shutil.rmtree(first)
    return save


# ---- anything at all ---------------------------------------------------------------------


def anything(r, depth=0):
    """A random argument."""
    text = lambda: "".join(r.choice("abcXYZ_09 '\"\\\n\té日😀{}%-/:") for _ in range(r.randrange(0, 12)))
    name = lambda: r.choice(["x", "inputs", "args_0", "a/b", "it_s", "n_1", None])
    dtype = lambda: r.choice([F, tf.float64, tf.int32, tf.int64, tf.string, tf.bool, tf.uint8, tf.float16, tf.complex64])
    shape = lambda: r.choice([None, [], [None], [3], [None, 2], [1, 2, 3], [None, None, None, 3]])
    ranked = lambda: r.choice([[None, None], [2, None], [None, None, 3]])
    leaves = [
        lambda: None, lambda: r.random() < 0.5, lambda: r.randrange(-10, 10), lambda: r.getrandbits(62) - (1 << 61),
        lambda: r.uniform(-1, 1), lambda: 10.0 ** r.uniform(-320, 308), lambda: float(r.randrange(-5, 5)),
        lambda: r.choice([math.nan, math.inf, -math.inf, -0.0]), lambda: math.ldexp(r.getrandbits(53), r.randrange(-1074, 970)),
        text, text, lambda: tf.TensorSpec(shape(), dtype(), name()), lambda: tf.TensorSpec(shape(), dtype(), name()),
        lambda: tf.TensorShape(shape()), dtype, lambda: tf.RaggedTensorSpec(ranked(), dtype()),
        lambda: tf.SparseTensorSpec(shape(), dtype()), lambda: tf.constant([1.0, 2.0]), lambda: np.ones(2),
        lambda: tf.OptionalSpec(tf.TensorSpec(shape(), dtype())), lambda: b"bytes", lambda: 1j, lambda: np.float16(0.1)]
    nests = [
        lambda v: v, lambda v: tuple(v), lambda v: {text(): e for e in v}, lambda v: Point(*(v + [1, 2])[:2]),
        lambda v: {f"key{i}": e for i, e in enumerate(v)}, lambda v: Deep(*(v + [None, [], ()])[:3])]
    if depth < 3 and r.random() < 0.45:
        return r.choice(nests)([anything(r, depth + 1) for _ in range(r.choice([0, 1, 1, 2, 3, 4]))])
    return r.choice(leaves)()


def any_model(seed):
    import random
    r = random.Random(seed)

    def one():
        f = tf.function(lambda *args, **kwargs: tf.constant(1.0))
        for _ in range(r.choice([1, 1, 2, 3])):
            args = [anything(r) for _ in range(r.choice([0, 1, 1, 2, 3]))]
            kwargs = {k: anything(r) for k in r.sample(["a", "b", "scale", "mode", "_x"], r.choice([0, 0, 0, 1, 3]))}
            f.get_concrete_function(*args, **kwargs)
        c = f._list_all_concrete_functions()
        for s in c:
            nested_structure_coder.encode_structure(s.structured_input_signature)
        return f

    m = module()
    for i in range(12):
        with contextlib.suppress(Exception):
            setattr(m, f"f{i:02}", one())
    return m


# ---- writing -----------------------------------------------------------------------------------


def build(out, names):
    wanted = dict(MODELS) if not names else {
        n: MODELS.get(n) or (lambda n=n: any_model(n)) for n in names}
    for name, make in wanted.items():
        path = out / name / "model"
        shutil.rmtree(out / name, ignore_errors=True)
        tf.keras.backend.clear_session()
        try:
            made = make()
            if callable(made) and not isinstance(made, tf.Module):
                (out / name).mkdir(parents=True)
                made(str(path))
            elif isinstance(made, tuple):
                m, signatures, *options = made
                tf.saved_model.save(m, str(path), signatures=signatures, options=options[0] if options else None)
            elif isinstance(made, K.Model):
                made.save(str(path), save_format="tf")
            else:
                tf.saved_model.save(made, str(path))
        except Exception as e:
            print(f"{name}: not built: {type(e).__name__}: {str(e)[:300]}", file=sys.stderr)
            shutil.rmtree(out / name, ignore_errors=True)


def show(path, flags):
    """What `saved_model_cli show` prints; None: it fails."""
    text = io.StringIO()
    F = saved_model_cli
    try:
        with contextlib.redirect_stdout(text):
            if "--all" in flags:
                F._show_all(path)
            elif "--tag_set" not in flags:
                if "--list_ops" in flags:
                    print("--list_ops must be paired with a tag-set or with --all.")
                F._show_tag_sets(path)
            else:
                tags = flags[flags.index("--tag_set") + 1]
                if "--list_ops" in flags:
                    F._show_ops_in_metagraph(path, tags)
                if "--signature_def" in flags:
                    F._show_inputs_outputs(path, tags, flags[flags.index("--signature_def") + 1])
                else:
                    F._show_signature_def_map_keys(path, tags)
    except Exception as e:
        return None, f"{type(e).__name__}: {e}"
    return text.getvalue(), None


def texts(folder):
    from tensorflow.python.tools import saved_model_utils
    path = str(folder / "model")
    queries = [[], ["--all"], ["--list_ops"]]
    for meta in saved_model_utils.read_saved_model(path).meta_graphs:
        tags = ["--tag_set", ",".join(meta.meta_info_def.tags)]
        queries += [tags, [*tags, "--list_ops"]]
        queries += [[*tags, "--signature_def", s] for s in sorted(meta.signature_def)]
    shutil.rmtree(folder / "text", ignore_errors=True)
    (folder / "text").mkdir()
    index = {}
    for i, flags in enumerate(queries):
        text, error = show(path, flags)
        if error:
            print(f"{folder.name} {flags}: {error[:300]}", file=sys.stderr)
            continue
        (folder / "text" / f"{i:02}.txt").write_text(text, newline="")
        index[f"{i:02}.txt"] = flags
    (folder / "text/index.json").write_text(json.dumps(index, indent=0, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--texts":
        for folder in sorted(pathlib.Path(sys.argv[2]).iterdir()):
            if (folder / "model").exists():
                texts(folder)
    else:
        out = pathlib.Path(sys.argv[1])
        build(out, sys.argv[2:])
        sys.exit(subprocess.call([sys.executable, sys.argv[0], "--texts", str(out)]))
