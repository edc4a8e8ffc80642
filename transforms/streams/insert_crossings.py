"""Register chains where a stream goes from one die (super logic region, SLR) to another, or has a long way in one.

FINN's node attribute ``slr`` says where a node stands; -1, its default, leaves that open. ``link_stages`` of a node says how many registers
each of its streams has in one SLR.
"""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.op.rtl_backend import STAGES_A_BORDER
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.streams.edges import StreamEdge, insert_between, link_stages, slr_of, stream_edges


class InsertCrossings(Transformation):
    """Insert a VitCrossing_rtl on every edge between two SLRs, or with ``link_stages``, in beats of the end with fewer elements a beat.

    Runs before FIFO depths are set, which count the tokens that a crossing holds. A crossing belongs to no SLR.
    :func:`check_slrs` comes first.
    """

    def apply(self, model: ModelWrapper):
        check_slrs(model)
        for edge in stream_edges(model):
            if stages := _stages(edge):
                source = getCustomOp(edge.producer).out_streams()[edge.output]
                sink = getCustomOp(edge.consumer).in_streams()[edge.input]
                insert_between(
                    model,
                    edge,
                    "VitCrossing_rtl",
                    tokens=source.tokens,
                    channels=source.channels,
                    SIMD=min(source.simd, sink.simd),
                    stages=stages,
                    inputDataType=source.dtype.name,
                )
        return model, False


def _stages(edge: StreamEdge) -> int:
    """Registers on the way of a stream: two a border, or those that its producer asks for."""
    borders, own = abs(slr_of(edge.producer) - slr_of(edge.consumer)), link_stages(edge.producer)
    asked = own[edge.output] if edge.output < len(own) else 0
    if asked < 0 or (borders and asked):
        why = "the stream crosses SLRs, and has two at each border" if borders else "use 0 or more"
        raise UserError(f"link_stages {asked} for output {edge.output} of node {edge.producer.name} is not possible: {why}")
    return STAGES_A_BORDER * borders or asked


def check_slrs(model: ModelWrapper) -> None:
    """Raise a UserError where some nodes have an SLR and others have none, or a stream cannot have its ``link_stages``."""
    nodes = model.graph.node
    free = [node.name for node in nodes if slr_of(node) < 0]
    if 0 < len(free) < len(nodes):
        raise UserError(
            f"slr is set for {len(nodes) - len(free)} of {len(nodes)} nodes, not for {free[0]}: set it for all nodes or for "
            'none (in a folding file "Defaults": {"slr": [0, "all"]} sets all others to 0)'
        )
    for edge in stream_edges(model):
        _stages(edge)
