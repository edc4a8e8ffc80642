"""The QONNX op ``TokenDrop`` of exported models (domain ``finn_vitprune.custom_ops``)."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType
from qonnx.custom_op.base import CustomOp

from finn_vitprune import numerics


class TokenDrop(CustomOp):
    """x ``[B, N, D]`` at the residual scale, scores s ``[B, N]``: keep the prefix tokens and k others, fuse the rest.

    Attributes: ``k``; ``prefix``, how many tokens at the start are always kept (1 if it is left out: the class token);
    ``scale`` of the residual codes; ``mult``, ``shift`` with mult 2^-shift close to
    1 / live heads. Exactly :func:`finn_vitprune.numerics.token_drop` on x / scale.
    """

    def get_nodeattr_types(self):
        return {"k": ("i", True, 0), "prefix": ("i", False, 1), "scale": ("f", True, 1.0), "mult": ("i", True, 1), "shift": ("i", True, 0)}

    def make_shape_compatible_op(self, model):
        batch, tokens, channels = model.get_tensor_shape(self.onnx_node.input[0])
        left = numerics.tokens_after_drop(tokens, self.get_nodeattr("k"), self.get_nodeattr("prefix"))
        return self.make_const_shape_op((batch, left, channels))

    def infer_node_datatype(self, model) -> None:
        model.set_tensor_datatype(self.onnx_node.output[0], DataType["FLOAT32"])

    def verify_node(self) -> list[str]:
        return []

    def execute_node(self, context, graph) -> None:
        node, scale = self.onnx_node, self.get_nodeattr("scale")
        x = np.rint(context[node.input[0]].astype(np.float64) / scale).astype(np.int64)
        scores = np.rint(context[node.input[1]]).astype(np.int64)
        k, mult, shift, prefix = (self.get_nodeattr(a) for a in ("k", "mult", "shift", "prefix"))
        codes = numerics.token_drop(x, scores, k, mult, shift, prefix=prefix)
        context[node.output[0]] = (codes * np.float64(scale)).astype(context[node.input[0]].dtype)
