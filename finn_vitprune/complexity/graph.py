"""Counts the matrix products and parameters of a graph: over QONNX nodes, or hardware ops."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.errors import UserError

_TRANSPARENT = ("Quant", "Transpose", "Identity")


@dataclass(frozen=True)
class GraphCount:
    """Products of one frame, and parameters (products of two computed tensors have none).

    Zero blocks are not counted.
    """

    macs: int
    weights: int
    biases: int


def count_graph(model: ModelWrapper, block: int) -> GraphCount:
    """Walk the ``MatMul`` nodes of a QONNX graph as it computes them: every token in every encoder.

    Rows times kept weights where one operand is constant, else M K N.

    Args:
        model: QONNX with shapes annotated; block: b of the b x b blocks whose zeros are skipped.
    """
    macs = weights = biases = 0
    for node in model.graph.node:
        if node.op_type == "MatMul":
            left, right = (model.get_tensor_shape(i) for i in node.input)
            if left is None or right is None:
                raise UserError(f"{node.name}: shapes are not known, run shape inference first")
            matrix = _constant(model, node.input[1])
            if matrix is None:
                macs += int(np.prod(left)) * right[-1]
                continue
            kept = BlockMask.of(matrix, block).elements(matrix.shape)
            macs += int(np.prod(left[:-1])) * kept
            weights += kept
            biases += _bias(model, node.output[0])
    return GraphCount(macs, weights, biases)


def count_hardware(model: ModelWrapper) -> tuple[GraphCount, int]:
    """Sum over the ops of a lowered graph, after :class:`NarrowClassToken`: counts, and stored index bits.

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


def _constant(model: ModelWrapper, name: str) -> np.ndarray | None:
    """The constant matrix after a tensor, through quantisers and transposes (zeros stay zeros), or None."""
    transposes = 0
    while model.get_initializer(name) is None:
        node = model.find_producer(name)
        if node is None or node.op_type not in _TRANSPARENT:
            return None
        transposes += node.op_type == "Transpose"
        name = node.input[0]
    value = model.get_initializer(name)
    return value.T if transposes % 2 else value


def _bias(model: ModelWrapper, name: str) -> int:
    """Size of the constant that is added to a product, 0 without one."""
    consumers = model.find_consumers(name) or []
    sizes = [
        model.get_initializer(i).size
        for node in consumers
        if node.op_type == "Add"
        for i in node.input
        if model.get_initializer(i) is not None
    ]
    return sum(sizes)
