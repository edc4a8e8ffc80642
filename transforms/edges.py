"""Edges of the hardware graph: which output feeds which input, and inserting a node on one."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.custom_ops.registry import make_node


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
    return [
        StreamEdge(node, o, *readers[name], name)
        for node in model.graph.node
        for o, name in enumerate(node.output)
        if name in readers
    ]


def insert_between(model: ModelWrapper, edge: StreamEdge, op_type: str, **attributes) -> NodeProto:
    """Put a one-in one-out node on ``edge``; its output tensor has the shape and type of the edge's."""
    out = model.make_new_valueinfo_name()
    model.set_tensor_shape(out, model.get_tensor_shape(edge.tensor))
    model.set_tensor_datatype(out, model.get_tensor_datatype(edge.tensor))
    node = make_node(op_type, [edge.tensor], [out], **attributes)
    position = next(i for i, n in enumerate(model.graph.node) if n is edge.consumer or n == edge.consumer)
    model.graph.node.insert(position, node)
    edge.consumer.input[edge.input] = out
    return model.graph.node[position]
