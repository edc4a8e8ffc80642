"""Counts the matrix products and parameters of a graph of hardware ops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp


@dataclass(frozen=True)
class GraphCount:
    """Products of one frame, and parameters (products of two computed tensors have none).

    Zero blocks are not counted.
    """

    macs: int
    weights: int
    biases: int


def count_hardware(model: ModelWrapper) -> tuple[GraphCount, int]:
    """Sum over the ops of a lowered graph: counts, and stored index bits.

    Before :class:`NarrowClassToken` these are the products with every token in the last encoder, after it those that the
    hardware performs.

    Index bits are those of every matrix unit, with an end-of-column bit per block.
    """
    total: Counter[str] = Counter()
    for node in model.graph.node:
        if not node.domain.startswith("finn."):
            continue
        op = getCustomOp(node)
        if hasattr(op, "plan"):
            op.plan(model.get_initializer(node.input[1]))
        if not op.macs():  # positions are parameters of no matrix
            continue
        total.update(op.param_counts(), macs=op.macs())
    return GraphCount(total["macs"], total["weights"], total["biases"]), total["index_bits"]
