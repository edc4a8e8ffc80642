"""Edges of the hardware graph: which output feeds which input, and inserting a node on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from onnx import NodeProto
from qonnx.core.datatype import BaseDataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.sim.beats import Stream


@dataclass(frozen=True)
class StreamEdge:
    """Output ``output`` of ``producer`` feeds input ``input`` of ``consumer`` through ``tensor``."""

    producer: NodeProto
    output: int
    consumer: NodeProto
    input: int
    tensor: str


def stream_edges(model: ModelWrapper) -> list[StreamEdge]:
    """All edges between hardware nodes, in graph order of their producers."""
    readers: dict[str, tuple[NodeProto, int]] = {}
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            readers[name] = (node, i)
    return [StreamEdge(node, o, *readers[name], name) for node in model.graph.node for o, name in enumerate(node.output) if name in readers]


def insert_between(model: ModelWrapper, edge: StreamEdge, op_type: str, **attributes) -> NodeProto:
    """Put a one-in one-out node on ``edge``; its output tensor has the shape and type of the edge's."""
    out = new_tensor(model, model.get_tensor_shape(edge.tensor), model.get_tensor_datatype(edge.tensor))
    node = make_node(op_type, [edge.tensor], [out], **attributes)
    place = position(model, edge.consumer)
    model.graph.node.insert(place, node)
    edge.consumer.input[edge.input] = out
    return model.graph.node[place]


def slr_of(node: NodeProto) -> int:
    """The SLR that a hardware node stands in; -1 where that is open, and for a crossing."""
    return getCustomOp(node).get_nodeattr("slr")


def link_stages(node: NodeProto) -> list[int]:
    """Registers that each output stream of a node has on its way in one SLR, by output; those that are missing have none."""
    op = getCustomOp(node)
    return list(map(int, op.get_nodeattr("link_stages"))) if "link_stages" in op.get_nodeattr_types() else []


def beside(edge: StreamEdge) -> dict[str, int]:
    """The attribute ``slr`` of what is inserted on ``edge``: the producer's before a crossing, else the consumer's."""
    slr = slr_of(edge.producer if getCustomOp(edge.consumer).is_crossing else edge.consumer)
    return {} if slr < 0 else {"slr": slr}


def stream_attributes(stream: Stream, slr: int) -> dict[str, int | str]:
    """Those of a one-in one-out op on ``stream``, in an SLR or, with -1, in none."""
    shape = {"tokens": stream.tokens, "channels": stream.channels, "SIMD": stream.simd, "inputDataType": stream.dtype.name}
    return shape if slr < 0 else shape | {"slr": slr}


def new_tensor(model: ModelWrapper, shape: Sequence[int], datatype: BaseDataType) -> str:
    """A tensor name not used before, annotated; the same in every run, unlike qonnx's random ones."""
    taken = set(model.get_all_tensor_names())
    name = next(n for i in count() if (n := f"inner_{i}") not in taken)
    model.set_tensor_shape(name, list(shape))
    model.set_tensor_datatype(name, datatype)
    return name


def position(model: ModelWrapper, node: NodeProto) -> int:
    """Place of a node in the graph."""
    return next(i for i, n in enumerate(model.graph.node) if n is node or n == node)
