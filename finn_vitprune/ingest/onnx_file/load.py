"""Reads an ONNX file safely: what is wrong with it is said in one line, before any array is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from finn_vitprune.errors import UserError
from finn_vitprune.ingest.onnx_file.model_file import Kind, ModelFile, Node, Tensor

OPSETS = (11, 23)
MAX_PROTOBUF = (1 << 31) - 1
QONNX_OPS = frozenset({"Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc", "TokenDrop"})
QDQ_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
MAX_NODES = 200_000
"""Nodes of a graph; the largest exports of vision transformers have some thousands."""
MAX_DEPTH = 6
"""Bodies of control flow in each other; readers of ONNX take exponential time with many."""
OTHER_FILES = {
    b"PK": "a zip archive, or a checkpoint of PyTorch: unpack it, or export it to ONNX",
    b"\x1f\x8b": "packed with gzip: unpack it first",
    b"<": "a page of HTML or XML: the download was none of the file",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull`",
}
PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


def load(path: Path) -> ModelFile:
    """The graph of an ONNX file, external data included.

    Raises:
        UserError: the file cannot be read, or is no sound graph; names node or tensor and the cause.
    """
    return from_proto(read_proto(path), path)


def read_proto(path: Path) -> ModelProto:
    """The parsed file, without its external data.

    Raises:
        UserError: no such file, or no ONNX model.
    """
    try:
        size = path.stat().st_size
        if size > MAX_PROTOBUF:
            raise UserError(f"{path} has {size:,} bytes, ONNX holds 2 GiB: save its weights as external data")
        model = ModelProto.FromString(path.read_bytes())
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror or e}") from e
    except (DecodeError, ValueError) as e:
        raise UserError(f"{path} is no ONNX file, or is cut off: {first_line(e)}{_what_it_is(path)}") from e
    if not model.graph.node:
        raise UserError(f"{path} is no ONNX model: its graph has no nodes{_what_it_is(path)}")
    return model


def _what_it_is(path: Path) -> str:
    """What a file that is no model begins like, and what to do with that."""
    with path.open("rb") as file:
        start = file.read(max(map(len, OTHER_FILES)))
    return next((f" (it is {what})" for key, what in OTHER_FILES.items() if start.startswith(key)), "")


def from_proto(model: ModelProto, path: Path) -> ModelFile:
    """A parsed model as plain data; ``path`` tells where external data lies.

    Raises:
        UserError: as :func:`load`.
    """
    if len(model.graph.node) > MAX_NODES:
        raise UserError(f"{path} has {len(model.graph.node):,} nodes, {MAX_NODES:,} are read")
    if model.functions:
        model = _inlined(model, path)
    opset = _opset(model, path)
    graph = model.graph
    folder = path.parent
    nodes = read_nodes(graph, folder)
    _check_producers(graph, nodes)
    nodes = _in_order(graph, nodes)
    constants = {t.name: tensor_array(t, folder) for t in graph.initializer}
    outputs = tuple(_tensor(o) for o in graph.output)
    if not outputs:
        raise UserError(f"{path}: the graph has no output")
    inputs = tuple(_tensor(i) for i in graph.input if i.name not in constants)
    return ModelFile(path, opset, _kind(nodes), nodes, constants, inputs, outputs)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _inlined(model: ModelProto, path: Path) -> ModelProto:
    """The same model with its local functions in place of the calls (torch's older dynamo exports)."""
    import onnx.inliner

    _check_calls(model, path)
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, DecodeError) as e:
        raise UserError(f"{path}: its local functions cannot be put in place: {first_line(e)}") from e


def _with_bodies(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes, and those in the bodies of control flow."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _with_bodies(body.node)


def _check_calls(model: ModelProto, path: Path) -> None:
    """Local functions must not call themselves, and stay below :data:`MAX_NODES` when they are unfolded."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def unfolded(nodes: Iterable[NodeProto], callers: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in _with_bodies(nodes):
            key = (node.domain, node.op_type)
            if key in callers:
                raise UserError(f"{path}: its local function {node.op_type} calls itself: export without it")
            if key in functions and key not in sizes:
                sizes[key] = unfolded(functions[key].node, (*callers, key))
            total += sizes.get(key, 1)
        return total

    try:
        nodes = unfolded(model.graph.node, ())
    except RecursionError:
        raise UserError(f"{path}: its local functions call each other too deeply") from None
    if nodes > MAX_NODES:
        raise UserError(f"{path}: its local functions unfold to {nodes:,} nodes, {MAX_NODES:,} are read")


def _opset(model: ModelProto, path: Path) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    low, high = OPSETS
    if not versions:
        raise UserError(f"{path} does not say its opset: give it opset_import, {low} to {high}")
    if not low <= versions[0] <= high:
        raise UserError(
            f"{path} has opset {versions[0]}, {low} to {high} are read: "
            "export again, or use onnx.version_converter"
        )
    return versions[0]


def _kind(nodes: Iterable[Node]) -> Kind:
    ops = {n.op_type for n in nodes}
    if ops & QONNX_OPS:
        return Kind.QONNX
    return Kind.QDQ if ops & QDQ_OPS else Kind.FLOAT


def _tensor(info) -> Tensor:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return Tensor(info.name, None)
    return Tensor(info.name, tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim))


# --- nodes ---------------------------------------------------------------------------------------


def read_nodes(graph: GraphProto, folder: Path) -> list[Node]:
    """The nodes of a graph; those without a name are called after their first output.

    Raises:
        UserError: an attribute cannot be read.
    """
    return [_node(proto, folder) for proto in graph.node]


def _node(proto: NodeProto, folder: Path) -> Node:
    name = proto.name or f"of {proto.output[0] if proto.output else 'nothing'}"
    try:
        attributes = {a.name: _attribute(a, folder) for a in proto.attribute}
    except (ValueError, TypeError) as e:
        raise UserError(f"node {name} ({proto.op_type}): attribute cannot be read: {first_line(e)}") from e
    if any(_depth(a) > MAX_DEPTH for a in proto.attribute):
        raise UserError(f"node {name} ({proto.op_type}): bodies of control flow in each other, over {MAX_DEPTH}")
    if not any(proto.output):
        raise UserError(f"node {name} ({proto.op_type}) has no output")
    return Node(name, proto.op_type, proto.domain, tuple(proto.input), tuple(proto.output), attributes)


def _depth(attribute: AttributeProto) -> int:
    """How many graphs lie in each other in an attribute."""
    bodies = [b for b in (attribute.g, *attribute.graphs) if b.node]
    return max((1 + max((_depth(a) for n in b.node for a in n.attribute), default=0) for b in bodies), default=0)


def _attribute(proto: AttributeProto, folder: Path) -> object:
    if proto.type == AttributeProto.TENSOR:
        return tensor_array(proto.t, folder)
    value = helper.get_attribute_value(proto)
    if value is None:
        raise ValueError(f"{proto.name} has no value")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _check_producers(graph: GraphProto, nodes: list[Node]) -> None:
    """Every tensor is made once, and every one that is read is made."""
    names = Counter(t.name for t in graph.initializer)
    for name, times in names.items():
        if times > 1:
            raise UserError(f"initialiser {name} is there {times} times: which one is meant cannot be told")
    made = dict.fromkeys(names, "an initialiser")
    made |= {i.name: "a graph input" for i in graph.input if i.name not in made}
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise UserError(f"initialiser {name} is sparse: save it dense")
    for node in nodes:
        for tensor in filter(None, node.outputs):
            if tensor in made:
                raise UserError(f"tensor {tensor} is made twice: by {made[tensor]} and by node {node.name}")
            made[tensor] = f"node {node.name}"
    for node in nodes:
        missing = [i for i in node.inputs if i and i not in made]
        if missing:
            raise UserError(
                f"node {node.name} ({node.op_type}) reads {missing[0]}, which no node makes and which is "
                "no initialiser and no input: the file is incomplete"
            )
    for output in graph.output:
        if output.name not in made:
            raise UserError(f"output {output.name} is made by no node: the file is incomplete")


def _in_order(graph: GraphProto, nodes: list[Node]) -> tuple[Node, ...]:
    """Producers before readers (Kahn's algorithm, first come first); a cycle is an error."""
    producer = {t: i for i, node in enumerate(nodes) for t in node.outputs if t}
    waits = [{producer[i] for i in node.inputs if i in producer} for node in nodes]
    if all(max(w, default=-1) < i for i, w in enumerate(waits)):
        return tuple(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for i, needed in enumerate(waits):
        for j in needed:
            readers[j].append(i)
    ready, done = [i for i, w in enumerate(waits) if not w], []
    for i in ready:
        done.append(nodes[i])
        for reader in readers[i]:
            waits[reader].discard(i)
            if not waits[reader]:
                ready.append(reader)
    if len(done) < len(nodes):
        first, second = _two_of_a_cycle(nodes, waits)
        raise UserError(f"the graph has a cycle: node {first} and node {second} need each other's output")
    return tuple(done)


def _two_of_a_cycle(nodes: list[Node], waits: list[set[int]]) -> tuple[str, str]:
    """Names of two neighbours on a cycle: walk back from a stuck node until one comes again."""
    at, seen = next(i for i, w in enumerate(waits) if w), set()
    while at not in seen:
        seen.add(at)
        at = min(waits[at])
    return nodes[at].name, nodes[min(waits[at])].name


# --- tensors -------------------------------------------------------------------------------------


def tensor_array(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The array of a tensor; half-precision kinds become float32.

    Raises:
        UserError: dimensions and data do not agree, the data is missing, or it holds NaN.
    """
    what = f"tensor {tensor.name}" if tensor.name else "a constant"
    dims = list(tensor.dims)
    if any(d < 0 for d in dims):
        raise UserError(f"{what} has a negative dimension: {dims}")
    needed = _needed_bytes(tensor, what)
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_external(tensor, needed, folder, what)
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != needed:
        raise UserError(
            f"{what} of shape {dims} needs {needed:,} bytes, the file holds {len(tensor.raw_data):,}"
        )
    try:
        array = numpy_helper.to_array(tensor, base_dir=str(folder))
    except (ValueError, TypeError, OSError, onnx.checker.ValidationError) as e:
        raise UserError(f"{what} of shape {dims} cannot be read: {first_line(e)}") from e
    return _as_numbers(array, what)


def _as_numbers(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind in "biu" or array.dtype.kind in "SUO":
        return array
    if array.dtype not in (np.float32, np.float64):  # float16, and the kinds of ml_dtypes
        array = array.astype(np.float32)
    if np.isnan(array).any():
        raise UserError(f"{what} of shape {list(array.shape)} holds NaN: the model is damaged or diverged")
    return array


def _needed_bytes(tensor: TensorProto, what: str) -> int:
    elements = 1
    for d in tensor.dims:
        elements *= d
    try:
        kind = TensorProto.DataType.Name(tensor.data_type)
        bits = PACKED_BITS.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError) as e:
        raise UserError(f"{what} has the unknown data type {tensor.data_type}") from e
    return -(-elements * bits // 8)


def _check_external(tensor: TensorProto, needed: int, folder: Path, what: str) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    file = (folder / location).resolve()
    if not location or not file.is_relative_to(folder.resolve()):
        raise UserError(f"{what} lies in {location or 'no file'}, which is not in the folder of the model")
    if not file.is_file():
        raise UserError(f"{what} lies in {location}, and that file is missing beside the model")
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", needed))
    except ValueError:
        raise UserError(f"{what}: offset and length of its external data are no numbers") from None
    size = file.stat().st_size
    if length != needed or offset < 0 or offset + length > size:
        raise UserError(
            f"{what} needs {needed:,} bytes at {offset:,} of {location}: {length:,} are meant, "
            f"the file has {size:,}"
        )
