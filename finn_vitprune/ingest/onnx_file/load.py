"""Reads an ONNX file safely: what is wrong with it is said in one line, before any array is made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto

from finn_vitprune.errors import UserError
from finn_vitprune.graph.node import Node
from finn_vitprune.graph.reason import first_line
from finn_vitprune.graph.reading import read_nodes, tensor_array
from finn_vitprune.ingest.onnx_file.model_file import Kind, ModelFile, Tensor

OPSETS = (11, 23)
MAX_PROTOBUF = (1 << 31) - 1
QONNX_OPS = frozenset({"Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc", "TokenDrop"})
QDQ_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
MAX_NODES = 200_000
"""Nodes of a graph; the largest exports of vision transformers have some thousands."""
OTHER_FILES = {
    b"PK": "a zip archive, or a checkpoint of PyTorch: unpack it, or export it to ONNX",
    b"\x1f\x8b": "packed with gzip: unpack it first",
    b"<": "a page of HTML or XML: the download was none of the file",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull`",
}


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
