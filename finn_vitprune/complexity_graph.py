"""Counts the matrix products and parameters of an exported QONNX graph, node by node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.errors import UserError

_TRANSPARENT = ("Quant", "Transpose", "Identity")


@dataclass(frozen=True)
class GraphCount:
    """Products of one frame as the graph computes them (every token in every encoder) and parameters.

    Zero blocks are not counted, nor are products of two computed tensors counted as parameters.
    """

    macs: int
    weights: int
    biases: int


def count_graph(model: ModelWrapper, block: int) -> GraphCount:
    """Walk the ``MatMul`` nodes: rows times kept weights where one operand is constant, else M K N.

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
            kept = _kept_weights(matrix, block)
            macs += int(np.prod(left[:-1])) * kept
            weights += kept
            biases += _bias(model, node.output[0])
    return GraphCount(macs, weights, biases)


def _constant(model: ModelWrapper, name: str) -> np.ndarray | None:
    """The constant matrix behind a tensor, through quantisers and transposes (zeros stay zeros), or None."""
    transposes = 0
    while model.get_initializer(name) is None:
        node = model.find_producer(name)
        if node is None or node.op_type not in _TRANSPARENT:
            return None
        transposes += node.op_type == "Transpose"
        name = node.input[0]
    value = model.get_initializer(name)
    return value.T if transposes % 2 else value


def _kept_weights(matrix: np.ndarray, block: int) -> int:
    """Elements of the non-zero blocks; of a matrix that does not divide by ``block``, all elements."""
    rows, columns = matrix.shape
    if rows % block or columns % block:
        return matrix.size
    blocks = matrix.reshape(rows // block, block, columns // block, block)
    return int((blocks != 0).any((1, 3)).sum()) * block * block


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
