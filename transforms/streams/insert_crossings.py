"""Register chains where a stream goes from one die (super logic region, SLR) to another.

FINN's node attribute ``slr`` says where a node stands; -1, its default, leaves that open.
"""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.op.rtl_backend import STAGES_A_BORDER
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.streams.edges import insert_between, slr_of, stream_edges


class InsertCrossings(Transformation):
    """Insert a VitCrossing_rtl on every edge between two SLRs, in beats of the end with fewer elements a beat.

    Runs before FIFO depths are set, which count the tokens that a crossing holds. A crossing belongs to no SLR.
    :func:`check_slrs` comes first.
    """

    def apply(self, model: ModelWrapper):
        check_slrs(model)
        for edge in stream_edges(model):
            borders = abs(slr_of(edge.producer) - slr_of(edge.consumer))
            if borders:
                source = getCustomOp(edge.producer).out_streams()[edge.output]
                sink = getCustomOp(edge.consumer).in_streams()[edge.input]
                insert_between(
                    model,
                    edge,
                    "VitCrossing_rtl",
                    tokens=source.tokens,
                    channels=source.channels,
                    SIMD=min(source.simd, sink.simd),
                    stages=STAGES_A_BORDER * borders,
                    inputDataType=source.dtype.name,
                )
        return model, False


def check_slrs(model: ModelWrapper) -> None:
    """Raise a UserError where some nodes have an SLR and others have none."""
    nodes = model.graph.node
    free = [node.name for node in nodes if slr_of(node) < 0]
    if 0 < len(free) < len(nodes):
        raise UserError(
            f"slr is set for {len(nodes) - len(free)} of {len(nodes)} nodes, not for {free[0]}: set it for all nodes or for "
            'none (in a folding file "Defaults": {"slr": [0, "all"]} sets all others to 0)'
        )
