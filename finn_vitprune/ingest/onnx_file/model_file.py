"""An ONNX file as plain data, read safely: what is wrong is said in one line, before any array is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto

from finn_vitprune.errors import UserError
from finn_vitprune.graph.kinds import Kind
from finn_vitprune.graph.node import Node, first_line
from finn_vitprune.graph.reading import read_nodes, read_proto, tensor_array

OPSETS = (11, 23)
MAX_NODES = 200_000
"""Nodes of a graph; the largest exports of vision transformers have some thousands."""


@dataclass(frozen=True)
class Tensor:
    """A graph input or output; ``None`` for a dimension that is not fixed, or a shape that is not given."""

    name: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class ModelFile:
    """A file that is sound as a graph: every tensor has one producer, which comes before its readers.

    constants: initialisers by name; floating-point ones are float32 or float64. bytes: of file and weights.
    """

    path: Path
    opset: int
    kind: Kind
    nodes: tuple[Node, ...]
    constants: Mapping[str, np.ndarray]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def load(path: Path) -> ModelFile:
    """The graph of an ONNX file, external data included.

    Raises:
        UserError: the file cannot be read, or is not a sound graph; names node or tensor and the cause.
    """
    return from_proto(read_proto(path), path)


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
    found = read_nodes(graph, folder)
    _check_producers(graph, found)
    nodes = _in_order(found)
    constants = {t.name: tensor_array(t, folder) for t in graph.initializer}
    outputs = tuple(_tensor(o) for o in graph.output)
    if not outputs:
        raise UserError(f"{path}: the graph has no output")
    inputs = tuple(_tensor(i) for i in graph.input if i.name not in constants)
    return ModelFile(path, opset, Kind.of(node.op_type for node in nodes), nodes, constants, inputs, outputs)


def _inlined(model: ModelProto, path: Path) -> ModelProto:
    """The same model with its local functions in place of the calls (torch's older dynamo exports)."""
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
    """Local functions must not call themselves, and stay below :data:`MAX_NODES` when they are unfolded.

    onnx's inliner does not end on a function that calls itself, and unfolds a million nodes for minutes.
    """
    calls = {(f.domain, f.name): Counter((n.domain, n.op_type) for n in _with_bodies(f.node)) for f in model.functions}
    graph = ("the graph", "")
    calls[graph] = Counter((n.domain, n.op_type) for n in _with_bodies(model.graph.node))
    sizes: dict[tuple[str, str], int] = {}
    try:
        for key in TopologicalSorter(calls).static_order():
            sizes[key] = sum(n * sizes[called] for called, n in calls[key].items()) if key in calls else 1
    except CycleError as e:
        name = e.args[1][0][1]
        raise UserError(f"{path}: its local function {name} calls itself: export without it") from None
    if sizes[graph] > MAX_NODES:
        raise UserError(f"{path}: its local functions unfold to {sizes[graph]:,} nodes, {MAX_NODES:,} are read")


def _opset(model: ModelProto, path: Path) -> int:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    low, high = OPSETS
    if not versions:
        raise UserError(f"{path} does not say its opset: give it opset_import, {low} to {high}")
    if not low <= versions[0] <= high:
        raise UserError(f"{path} has opset {versions[0]}, {low} to {high} are read: export again, or use onnx.version_converter")
    return versions[0]


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
            raise UserError(f"initialiser {name} appears {times} times: it is ambiguous")
    made = dict.fromkeys(names, "an initialiser")
    made |= {i.name: "a graph input" for i in graph.input if i.name not in made}
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise UserError(f"initialiser {name} is sparse: save it dense")
    for node in nodes:
        for tensor in filter(None, node.outputs):
            if tensor in made:
                raise UserError(f"tensor {tensor} has two producers: {made[tensor]} and node {node.name}")
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


def _in_order(nodes: list[Node]) -> tuple[Node, ...]:
    """Producers before readers; a cycle is an error."""
    producer = {t: i for i, node in enumerate(nodes) for t in node.outputs if t}
    waits = {i: [producer[t] for t in node.inputs if t in producer] for i, node in enumerate(nodes)}
    if all(max(before, default=-1) < i for i, before in waits.items()):
        return tuple(nodes)
    try:
        return tuple(nodes[i] for i in TopologicalSorter(waits).static_order())
    except CycleError as e:
        first, second = (nodes[i].name for i in e.args[1][:2])
        raise UserError(f"the graph has a cycle: node {first} and node {second} need each other's output") from None
