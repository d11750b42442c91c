#!/usr/bin/env python3
"""What fuzzing begins with: seeds.py TARGET FOLDER writes small good inputs there; made by the built fruitctl, where it can."""

import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRUITCTL = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "fruitctl"


def fruitctl(*args, **kwargs):
    return subprocess.run([FRUITCTL, *map(str, args)], check=True, capture_output=True, **kwargs).stdout


def job(folder):
    """A run over 24 pictures: (pictures, output, events)."""
    fruits, output = folder / "fruits", folder / "out"
    fruitctl("samples", fruits, "--classes", 3, "--per-class", 8)
    said = fruitctl("run", "--json", "-i", fruits, "-o", output, "-k", 4)
    return fruits, output, said


def config(_):
    yield (ROOT / "templates/fruitctl.toml").read_bytes()
    text = (ROOT / "templates/fruitctl-emr.toml").read_text()
    yield text.encode()
    # With all that it explains switched on.
    yield "\n".join(line[2:] if line.startswith("# ") and "=" in line else line for line in text.splitlines()).encode()


def png(colour_type, depth, channels, side=6):
    row = b"\0" + bytes(range(side * channels * depth // 8))

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, depth, colour_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(192)) * 4) if colour_type == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")


def image(folder):
    fruits, _, _ = job(folder)
    yield from (file.read_bytes() for file in sorted(fruits.glob("*/*.jpg"))[::6])
    yield from (png(*form) for form in [(0, 8, 1), (2, 8, 3), (2, 16, 3), (3, 8, 1), (4, 8, 2), (6, 8, 4)])


def event(folder):
    yield from job(folder)[2].splitlines()


def kept(folder):
    _, output, _ = job(folder)
    work = output / ".fruitjob"
    for which, files in enumerate([[work / "manifest.parquet"], sorted(work.glob("features/*/*.parquet"))[:2],
                                   sorted((output / "model").glob("*.npy")), [output / "run.json"]]):
        yield from (bytes([which]) + file.read_bytes() for file in files)


def proto(*fields):
    """A protobuf message: (number, an integer | bytes | text | a message)."""

    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def onnx(nodes, weights, channels):
    """A model of one float input of 1 x 3 x 8 x 8. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto"""

    def value(name, shape):
        dims = proto(*((1, proto((1, n))) for n in shape))
        return proto((1, name), (2, proto((1, proto((1, 1), (2, dims))))))

    def attribute(name, numbers):
        return proto((1, name), *((8, n) for n in numbers), (20, 7))

    def node(op, inputs, output, attributes):
        return proto(*((1, i) for i in inputs), (2, output), (4, op), *((5, attribute(*a)) for a in attributes.items()))

    def tensor(name, shape):
        count = 1
        for n in shape:
            count *= n
        return proto(*((1, n) for n in shape), (2, 1), (8, name), (9, struct.pack(f"<{count}f", *(0.1 * i for i in range(count)))))

    graph = proto(*((1, node(*n)) for n in nodes), (2, "g"), *((5, tensor(*w)) for w in weights.items()),
                  (11, value("x", [1, 3, 8, 8])), (12, value("y", [1, channels])))
    return proto((1, 8), (7, graph), (8, proto((2, 13))), *((14, proto((1, key), (2, "127.5"))) for key in ("mean", "std")))


def model(_):
    pool = [("GlobalAveragePool", ["c"], "p", {}), ("Flatten", ["p"], "y", {})]
    yield onnx([("GlobalAveragePool", ["x"], "p", {}), ("Flatten", ["p"], "y", {})], {}, 3)
    yield onnx([("Conv", ["x", "w"], "c", {"pads": [1, 1, 1, 1], "strides": [2, 2]}), *pool], {"w": [4, 3, 3, 3]}, 4)
    yield onnx([("Conv", ["x", "w", "b"], "r", {}), ("Relu", ["r"], "c", {}), *pool], {"w": [4, 3, 1, 1], "b": [4]}, 4)


if __name__ == "__main__":
    target, place = sys.argv[1], Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(globals()[target](Path(folder))):
            (place / f"seed-{number}").write_bytes(content)
