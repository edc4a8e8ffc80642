"""Counts that the product does not use: the formulas of the reference's paper, and a walk over a QONNX graph."""

from __future__ import annotations

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.complexity.graph import GraphCount
from finn_vitprune.errors import UserError

_TRANSPARENT = ("Quant", "Transpose", "Identity")


def attention_macs_dense(tokens: int, width: int, heads: int, head_dim: int, batch: int = 1) -> int:
    """Attention part of an unpruned encoder, the paper's formula.

    ``4 B N D + 4 B H N D D' + 2 B H N^2 D'``. The last two terms are the matrix products (four matrices,
    QK^T and AV). Beyond them ``4 B N D`` counts the two LayerNorms and the two residual additions of an
    encoder, at one operation an element.
    """
    b, n, d, h = batch, tokens, width, heads
    return 4 * b * n * d + 4 * b * h * n * d * head_dim + 2 * b * h * n * n * head_dim


def encoder_macs_pruned(
    tokens: int,
    kept_tokens: int,
    width: int,
    heads: int,
    kept_heads: int,
    head_dim: int,
    mlp_width: int,
    alpha: float,
    alpha_proj: float,
    alpha_mlp: float,
    batch: int = 1,
) -> float:
    """A pruned encoder, the paper's formula (``kept_tokens`` reach the MLP, ``kept_heads`` live).

    ``2BND + 2B N' D + B H' N D' D (3 alpha + alpha') + 2B H' N^2 D' + BN(H + N + D) + 2B N' D M alpha_mlp``.
    alpha and alpha' are shares of the blocks within live heads. The third, fourth and last term are the
    matrix products. Beyond them the formula counts LayerNorm and residual addition before the drop
    (``2BND``) and after it (``2B N' D``), and the drop itself (``BN(H + N + D)``: mean of the scores over
    H heads, ranking, fused token). Exact when the shares are fractions.
    """
    b, n, d, h = batch, tokens, width, kept_heads
    return (
        2 * b * n * d
        + 2 * b * kept_tokens * d
        + b * h * n * head_dim * d * (3 * alpha + alpha_proj)
        + 2 * b * h * n * n * head_dim
        + b * n * (heads + n + d)
        + 2 * b * kept_tokens * d * mlp_width * alpha_mlp
    )


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
