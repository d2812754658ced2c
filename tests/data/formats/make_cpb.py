"""Writes a SavedModel as a chunked saved_model.cpb, cut as TensorFlow's splitter cuts.

usage: make_cpb.py MODEL_DIR OUT_FILE [none|brotli|zstd|snappy [LAYOUT]]

LAYOUT says what is cut out: all (as the splitter; the default), whole (nothing), graph,
library, constant, parts (signatures and objects), nested (fields inside fields), self (a
piece of the model itself). The fingerprint.pb beside files of layouts/ are what
TensorFlow's CreateFingerprintDef makes of them.

Independent of the reader under test: its own Riegeli writer, with the compressors of
the system's libraries. Needs TensorFlow for the message classes.
"""

import ctypes
import ctypes.util
import os
import struct
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tensorflow.core.protobuf import saved_model_pb2

MASK = (1 << 64) - 1
KEY = [0x2F696C6567656952, 0x0A7364726F636572] * 2
INIT0 = [0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3]
INIT1 = [0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377]


def turn(v):
    return (v >> 32 | v << 32) & MASK


class HighwayHash:
    """HighwayHash-64, byte by byte where the C code shifts words."""

    ORDER = [3, 12, 2, 5, 14, 1, 15, 0]  # bytes of (low, high) that make the low sum
    ORDER_HI = [11, 4, 10, 13, 9, 6, 8, 7]

    def __init__(self):
        self.mul0, self.mul1 = INIT0[:], INIT1[:]
        self.v0 = [a ^ b for a, b in zip(INIT0, KEY)]
        self.v1 = [a ^ turn(b) for a, b in zip(INIT1, KEY)]

    def zipper(self, src, dst):
        for i in (0, 2):
            pair = struct.pack("<QQ", src[i], src[i + 1])
            lo = struct.unpack("<Q", bytes(pair[k] for k in self.ORDER))[0]
            hi = struct.unpack("<Q", bytes(pair[k] for k in self.ORDER_HI))[0]
            dst[i] = (dst[i] + lo) & MASK
            dst[i + 1] = (dst[i + 1] + hi) & MASK

    def mix(self, lanes):
        for i in range(4):
            self.v1[i] = (self.v1[i] + self.mul0[i] + lanes[i]) & MASK
            self.mul0[i] ^= (self.v1[i] & 0xFFFFFFFF) * (self.v0[i] >> 32)
            self.v0[i] = (self.v0[i] + self.mul1[i]) & MASK
            self.mul1[i] ^= (self.v0[i] & 0xFFFFFFFF) * (self.v1[i] >> 32)
        self.zipper(self.v1, self.v0)
        self.zipper(self.v0, self.v1)

    def of(self, data):
        whole = len(data) // 32 * 32
        for at in range(0, whole, 32):
            self.mix(struct.unpack("<4Q", data[at : at + 32]))
        rest = data[whole:]
        n = len(rest)
        if n:
            for i in range(4):
                self.v0[i] = (self.v0[i] + (n << 32) + n) & MASK
                halves = [self.v1[i] & 0xFFFFFFFF, self.v1[i] >> 32]
                halves = [(h << n | h >> (32 - n)) & 0xFFFFFFFF for h in halves]
                self.v1[i] = halves[0] | halves[1] << 32
            packet = bytearray(32)
            packet[: n & ~3] = rest[: n & ~3]
            if n & 16:
                packet[28:32] = rest[n - 4 :]
            elif n & 3:
                odd = rest[n & ~3 :]
                packet[16:19] = bytes([odd[0], odd[len(odd) >> 1], odd[-1]])
            self.mix(struct.unpack("<4Q", bytes(packet)))
        for _ in range(4):
            self.mix([turn(self.v0[i ^ 2]) for i in range(4)])
        return (self.v0[0] + self.v1[0] + self.mul0[0] + self.mul1[0]) & MASK


def varint(v):
    out = b""
    while v >= 0x80:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def library(name):
    return ctypes.CDLL(ctypes.util.find_library(name))


def compress(kind, data):
    size = ctypes.c_size_t(len(data) * 2 + 1024)
    out = ctypes.create_string_buffer(size.value)
    if kind == "brotli":
        ok = library("brotlienc").BrotliEncoderCompress(
            6, 22, 0, ctypes.c_size_t(len(data)), data, ctypes.byref(size), out)
        assert ok
    elif kind == "zstd":
        fn = library("zstd").ZSTD_compress
        fn.restype = ctypes.c_size_t
        size.value = fn(out, size, data, ctypes.c_size_t(len(data)), 3)
    elif kind == "snappy":
        ok = library("snappy").snappy_compress(
            data, ctypes.c_size_t(len(data)), out, ctypes.byref(size))
        assert ok == 0
    return varint(len(data)) + out.raw[: size.value]


class Writer:
    """Riegeli/records."""

    def __init__(self, kind):
        self.kind = kind
        self.file = b""
        self.chunk(b"s", b"", 0, 0)

    def put(self, data):
        while data:
            if len(self.file) % 65536 == 0:
                self.block_at.append(len(self.file))
                self.file += bytes(24)
            n = 65536 - len(self.file) % 65536
            self.file += data[:n]
            data = data[n:]

    def chunk(self, kind, data, n_records, decoded):
        begin = len(self.file)
        self.block_at = []
        body = struct.pack("<QQ", len(data), HighwayHash().of(data))
        body += kind + struct.pack("<Q", n_records)[:7] + struct.pack("<Q", decoded)
        self.put(struct.pack("<Q", HighwayHash().of(body)) + body + data)
        end = len(self.file)
        while end < begin + n_records:
            self.put(bytes(1))
            end = len(self.file)
        for at in self.block_at:
            head = struct.pack("<QQ", at - begin, end - at)
            head = struct.pack("<Q", HighwayHash().of(head)) + head
            self.file = self.file[:at] + head + self.file[at + 24 :]

    def records(self, records):
        """One chunk of them; returns their positions."""
        begin = len(self.file)
        sizes = b"".join(varint(len(r)) for r in records)
        values = b"".join(records)
        decoded = len(values)
        if self.kind != "none":
            sizes, values = compress(self.kind, sizes), compress(self.kind, values)
        code = {"none": b"\0", "brotli": b"b", "zstd": b"z", "snappy": b"s"}[self.kind]
        self.chunk(b"r", code + varint(len(sizes)) + sizes + values, len(records), decoded)
        return [begin + i for i in range(len(records))]


def field(num, value):
    if isinstance(value, bytes):
        return varint(num << 3 | 2) + varint(len(value)) + value
    return varint(num << 3) + varint(value)


def chunked_field(path, chunk, inside=()):
    out = b""
    for step in path:
        if isinstance(step, str):
            tag = field(2, field(1, step.encode()))
        elif isinstance(step, tuple):  # (index,)
            tag = field(3, step[0])
        else:
            tag = field(1, step)
        out += field(1, tag)
    message = b"" if chunk is None else field(1, chunk)
    return out + field(3, message + b"".join(field(2, chunked_field(*f)) for f in inside))


def split(model):
    """The chunks, and (path, chunk number) of each field that was cut out."""
    base = saved_model_pb2.SavedModel()
    base.CopyFrom(model)
    graph = base.meta_graphs[0].graph_def
    chunks, fields = [b""], []

    def cut(path, data):
        fields.append((path, len(chunks)))
        chunks.append(data)

    for i, node in enumerate(graph.node):
        content = node.attr["value"].tensor.tensor_content if node.op == "Const" else b""
        if content:
            cut([2, (0,), 2, 1, (i,), 5, "value", 8, 4], content)
            node.attr["value"].tensor.ClearField("tensor_content")
    for i, function in enumerate(graph.library.function):
        if i % 2 == 0:
            cut([2, (0,), 2, 2, 1, (i,)], function.SerializeToString())
            function.Clear()
    half = len(graph.node) // 2
    rest = type(graph)()
    rest.node.extend(graph.node[half:])
    del graph.node[half:]
    cut([2, (0,), 2], rest.SerializeToString())
    rest = type(graph.library)()
    keep = (len(graph.library.function) + 1) // 2
    rest.function.extend(graph.library.function[keep:])
    del graph.library.function[keep:]
    cut([2, (0,), 2, 2], rest.SerializeToString())
    for key in sorted(base.meta_graphs[0].signature_def):
        cut([2, (0,), 5, key], base.meta_graphs[0].signature_def[key].SerializeToString())
        base.meta_graphs[0].signature_def[key].Clear()
    chunks[0] = base.SerializeToString()
    return chunks, fields


def split_as(model, layout):
    """The same, of one kind of part only; a field may have fields inside."""
    base = saved_model_pb2.SavedModel()
    base.CopyFrom(model)
    meta = base.meta_graphs[0]
    graph = meta.graph_def
    chunks, fields = [b""], []

    def put(data):
        chunks.append(data)
        return len(chunks) - 1

    def take(message):
        at = put(message.SerializeToString())
        message.Clear()
        return at

    def take_tail(repeated, whole):
        keep = len(repeated) // 2
        whole.extend(repeated[keep:])
        del repeated[keep:]

    if layout == "graph":
        for _ in range(2):
            rest = type(graph)()
            take_tail(graph.node, rest.node)
            fields.append(([2, (0,), 2], put(rest.SerializeToString())))
        fields.append(([2, (0,), 2, 1, (0,)], take(graph.node[0])))
    elif layout == "library":
        rest = type(graph.library)()
        take_tail(graph.library.function, rest.function)
        for i, function in enumerate(graph.library.function):
            fields.append(([2, (0,), 2, 2, 1, (i,)], take(function)))
        fields.append(([2, (0,), 2, 2], put(rest.SerializeToString())))
    elif layout == "constant":
        for i, node in enumerate(graph.node):
            if node.op == "Const":
                path = [2, (0,), 2, 1, (i,), 5, "value", 8, 4]
                fields.append((path, put(node.attr["value"].tensor.tensor_content)))
                node.attr["value"].tensor.ClearField("tensor_content")
    elif layout == "parts":
        for key in sorted(meta.signature_def, reverse=True):
            fields.append(([2, (0,), 5, key], take(meta.signature_def[key])))
        fields.append(([2, (0,), 7, 1, (1,)], take(meta.object_graph_def.nodes[1])))
        fields.append(([2, (0,), 7], take(meta.object_graph_def)))
    elif layout == "nested":
        inside = [([1, (0,)], take(graph.node[0])), ([2], take(graph.library))]
        fields.append(([2, (0,), 2], take(graph), inside))
        inside = [([1, (i,)], take(n)) for i, n in enumerate(meta.object_graph_def.nodes)]
        fields.append(([2, (0,), 7], None, inside))
    elif layout == "self":
        rest = type(base)()
        rest.meta_graphs.add().asset_file_def.add().filename = "asset"
        fields.append(([], put(rest.SerializeToString())))
        fields.append(([2, (0,), 2, 2], take(graph.library)))
    elif layout == "meta_graph":  # TensorFlow makes no fingerprint of this one
        fields.append(([2, (0,)], take(meta)))
    chunks[0] = base.SerializeToString()
    return chunks, fields


def main(model_dir, out_path, kind="brotli", layout="all"):
    model = saved_model_pb2.SavedModel()
    with open(os.path.join(model_dir, "saved_model.pb"), "rb") as f:
        model.ParseFromString(f.read())
    chunks, fields = split(model) if layout == "all" else split_as(model, layout)
    w = Writer(kind)
    positions = []
    for at in range(0, len(chunks), 3):
        positions += w.records(chunks[at : at + 3])
    metadata = field(1, field(1, 1))
    for chunk, position in zip(chunks, positions):
        metadata += field(2, field(1, 1) + field(2, len(chunk)) + field(3, position))
    # Not in the order in which they must be merged.
    root = field(1, 0) + b"".join(field(2, chunked_field(*f)) for f in reversed(fields))
    w.records([metadata + field(3, root)])
    with open(out_path, "wb") as f:
        f.write(w.file)


if __name__ == "__main__":
    main(*sys.argv[1:])
