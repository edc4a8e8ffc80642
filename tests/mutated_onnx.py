"""Damaged ONNX files, more than 200 of them, and a run of ``check`` and ``import`` over them with time and memory.

``python tests/mutated_onnx.py FOLDER [COUNT]`` writes them and prints two lines of JSON for each: name, exit
code, seconds, largest resident memory so far in MiB, and what was said. Every one must be rejected.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.ingest_models import export, small_timm
from tests.mutated_contents import of_contents
from tests.vit_models import random_vit

ENDLESS = 1 << 40
SECONDS, ADDRESSES = 60, 12 << 30


@dataclass(frozen=True)
class Mutated:
    """One damaged file: what was done to which base, and its bytes."""

    name: str
    data: bytes


def bases(folder: Path) -> dict[str, ModelProto]:
    """Sound files: TorchScript exports with and without LayerNormalization nodes, and QONNX."""
    found = {}
    for opset in (14, 17):
        found[f"float{opset}"] = onnx.load(str(export(small_timm(), folder / f"float{opset}.onnx", opset)))
    found["qonnx"] = random_vit()[0].model
    return found


def mutations(folder: Path, seed: int = 0) -> list[Mutated]:
    """All damaged files, in an order drawn from ``seed`` so that any first few are a mixture."""
    found = []
    for base, model in bases(folder).items():
        draw = random.Random(f"{seed} {base}")
        whole = model.SerializeToString()
        found += [Mutated(f"{base}: {name}", data) for name, data in _of_file(whole, draw)]
        for name, damage in _of_model(model, draw):
            copy = ModelProto()
            copy.CopyFrom(model)
            damage(copy)
            found.append(Mutated(f"{base}: {name}", copy.SerializeToString()))
    found += [Mutated(name, data) for name, data in _no_models(random.Random(seed))]
    random.Random(seed).shuffle(found)
    return found


def _no_models(draw: random.Random) -> Iterator[tuple[str, bytes]]:
    yield "empty file", b""
    yield "text", b"this is not a model\n" * 20
    yield "zeros", bytes(4096)
    yield "a page", b"<!DOCTYPE html><html>404</html>"
    yield "a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    yield "packed", gzip.compress(draw.randbytes(2000))
    yield "a pickle of torch", b"PK\x03\x04" + draw.randbytes(2000)
    for i in range(6):
        yield f"random bytes {i}", draw.randbytes(10 ** (1 + i % 4))


def _of_file(data: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    for i in range(12):
        at = draw.randrange(1, len(data) - 1)
        yield f"cut off at byte {at} ({i})", data[:at]
    yield "cut off by one byte", data[:-1]
    yield "bytes in front", b"\xff\xff\xff" + data


# --- damage to a parsed model ----------------------------------------------------------------------


def _of_model(model: ModelProto, draw: random.Random) -> Iterator[tuple[str, Callable[[ModelProto], None]]]:
    read = {i for n in model.graph.node for i in n.input}
    tensors = [t for t in model.graph.initializer if t.name in read]
    weights = [t.name for t in tensors if len(t.dims) >= 2]
    vectors = [t.name for t in tensors if len(t.dims) == 1 and t.dims[0] > 1]
    for group in (weights, vectors):
        for name in draw.sample(group, min(3, len(group))):
            yield from _of_initialiser(name)
    yield from _of_graph(model, draw)
    yield from _of_attributes(model)
    yield from _of_sizes(model)
    yield from of_contents(model)


def _initialiser(model: ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def _of_initialiser(name: str) -> Iterator[tuple[str, Callable[[ModelProto], None]]]:
    def removed(model):
        model.graph.initializer.remove(_initialiser(model, name))

    def stretched(model):
        _initialiser(model, name).dims[0] += 1

    def endless(model):
        _initialiser(model, name).dims[0] = ENDLESS

    def negative(model):
        _initialiser(model, name).dims[0] = -_initialiser(model, name).dims[0]

    def longer(model):
        tensor = _initialiser(model, name)
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(np.concatenate([array, array[:1]]), name))

    def filled(value):
        def fill(model):
            tensor = _initialiser(model, name)
            array = numpy_helper.to_array(tensor).astype(np.float32)
            array.reshape(-1)[0] = value
            tensor.CopyFrom(numpy_helper.from_array(array, name))

        return fill

    def unknown_type(model):
        _initialiser(model, name).data_type = 77

    def elsewhere(location, offset=0):
        def move(model):
            tensor = _initialiser(model, name)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", str(offset))):
                tensor.external_data.add(key=key, value=value)

        return move

    yield f"{name} removed", removed
    yield f"{name} of one more row than its data", stretched
    yield f"{name} of 2**40 rows", endless
    yield f"{name} of negative size", negative
    yield f"{name} one row longer", longer
    yield f"{name} with NaN", filled(np.nan)
    yield f"{name} of an unknown type", unknown_type
    yield f"{name} in a file that is missing", elsewhere("missing.data")
    yield f"{name} in a file outside", elsewhere("../../../etc/passwd")


def _of_graph(  # noqa: C901 (a function a damage)
    model: ModelProto, draw: random.Random
) -> Iterator[tuple[str, Callable[[ModelProto], None]]]:
    common = ("MatMul", "Add", "Transpose", "Reshape")
    live = [i for i, n in enumerate(model.graph.node) if n.op_type in common]

    def removed(at):
        return lambda m: m.graph.node.remove(m.graph.node[at])

    def cyclic(at):
        def tie(m):
            node = m.graph.node[at]
            node.input[0] = m.graph.output[0].name

        return tie

    def foreign(at):
        def rename(m):
            m.graph.node[at].domain = "com.acme"

        return rename

    def unknown(at):
        def rename(m):
            m.graph.node[at].op_type = "Frobnicate"

        return rename

    def without_input(at):
        def drop(m):
            del m.graph.node[at].input[:]

        return drop

    def twice(at):
        def repeat(m):
            m.graph.node.add().CopyFrom(m.graph.node[at])

        return repeat

    for what, damage in (
        ("removed", removed),
        ("in a cycle", cyclic),
        ("of another domain", foreign),
        ("of an unknown op", unknown),
        ("without inputs", without_input),
        ("there twice", twice),
    ):
        for at in draw.sample(live, 2):
            yield f"node {at} {what}", damage(at)
    yield "no nodes", lambda m: m.graph.ClearField("node")
    yield "no outputs", lambda m: m.graph.ClearField("output")
    yield "no inputs", lambda m: m.graph.ClearField("input")
    yield "no opset", lambda m: m.ClearField("opset_import")
    for version in (3, 1000, -1):
        yield f"opset {version}", lambda m, v=version: setattr(m.opset_import[0], "version", v)
    yield "no graph", lambda m: m.ClearField("graph")
    yield "output of another name", lambda m: setattr(m.graph.output[0], "name", "nobody")
    yield "a sparse initialiser", lambda m: m.graph.sparse_initializer.add()
    yield "a second input", _second_input


def _second_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 17]))
    target = next(n for n in model.graph.node if n.op_type == "Add")
    target.input[1] = "mask"


def _first(model: ModelProto, op_type: str) -> NodeProto:
    return next(n for n in model.graph.node if n.op_type == op_type)


def _of_attributes(model: ModelProto) -> Iterator[tuple[str, Callable[[ModelProto], None]]]:
    wrong = {
        "Transpose": {"perm": [0, 0, 1]},
        "Concat": {"axis": 99},
        "Gather": {"axis": -77},
        "Softmax": {"axis": 0},
        "Conv": {"strides": [0, 0]},
        "LayerNormalization": {"axis": 1},
        "ReduceMean": {"axes": [44]},
        "Split": {"axis": 12},
    }
    present = {n.op_type for n in model.graph.node}
    for op_type, attributes in wrong.items():
        if op_type in present:
            for name, value in attributes.items():
                yield f"{op_type} with {name} {value}", _set(op_type, name, value)
                yield f"{op_type} with a text for {name}", _set(op_type, name, "nonsense")


def _set(op_type: str, name: str, value: object) -> Callable[[ModelProto], None]:
    def change(model):
        node = _first(model, op_type)
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def _of_sizes(model: ModelProto) -> Iterator[tuple[str, Callable[[ModelProto], None]]]:
    def image(*dims):
        def resize(m):
            shape = m.graph.input[0].type.tensor_type.shape
            shape.ClearField("dim")
            for d in dims:
                shape.dim.add(dim_value=d)

        return resize

    def inserted(op_type, shape):
        """A node before the output that blows it up."""

        def insert(m):
            last = m.graph.output[0].name
            producer = next(n for n in m.graph.node if last in n.output)
            producer.output[0] = "before"
            m.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "huge"))
            if op_type == "ConstantOfShape":
                m.graph.node.append(helper.make_node(op_type, ["huge"], ["large"], name="blow"))
                m.graph.node.append(helper.make_node("Add", ["before", "large"], [last], name="up"))
            else:
                m.graph.node.append(helper.make_node(op_type, ["before", "huge"], [last], name="blow"))

        return insert

    endless = ((1, 3, 10**6, 10**6), (1, 3, ENDLESS, ENDLESS), (1, 10**9, 64, 64))
    for dims in (*endless, (1, 3, 65, 63), (1, 3), (4, 3, 64, 64)):
        yield f"image {dims}", image(*dims)
    for op_type, shape in (
        ("Expand", [10**6, 10**6, 1, 1]),
        ("Tile", [10**6, 10**6]),
        ("Reshape", [ENDLESS, ENDLESS]),
        ("ConstantOfShape", [10**5, 10**5]),
        ("ConstantOfShape", [ENDLESS]),
    ):
        yield f"{op_type} to {shape}", inserted(op_type, shape)


def peak_mib() -> int:
    """Largest resident size of this process since the peak was reset, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


# --- the run -------------------------------------------------------------------------------------


def main(folder: Path, count: int | None = None) -> None:
    """Write ``count`` files (all without it) into ``folder``, give each to check and to import.

    A line of JSON for each. One that takes longer than :data:`SECONDS` ends the run, as does more than
    :data:`ADDRESSES` bytes of memory.
    """
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    np.savez(folder / "images.npz", images=np.zeros((20, 64, 64, 3), np.uint8))
    target = ["--data", f"npz:{folder / 'images.npz'}", "-o", str(folder / "out.onnx"), "--force"]
    for i, mutated in enumerate(mutations(folder)[:count]):
        path = folder / f"mutated_{i:03d}.onnx"
        path.write_bytes(mutated.data)
        for command in (["check", str(path)], ["import", str(path), *target]):
            print(json.dumps({"name": f"{command[0]} {mutated.name}"} | _run(command)), flush=True)


def _run(command: list[str]) -> dict[str, object]:
    """Exit code, seconds, memory, and what was said last."""
    from finn_vitprune.cli import run

    out, err = io.StringIO(), io.StringIO()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is held now
    started = time.monotonic()
    signal.alarm(SECONDS)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    signal.alarm(0)
    said = err.getvalue() if code == 2 else out.getvalue().strip().splitlines()[-1:]
    return {"code": code, "seconds": time.monotonic() - started, "mib": peak_mib(), "said": said}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
