"""Removes the score output of attentions that no token drop reads."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation


class DropUnusedScores(Transformation):
    """Set ``scores`` to 0 and remove the second output where it has no reader."""

    def apply(self, model: ModelWrapper):
        for node in model.get_nodes_by_op_type("PrunedAttention"):
            if len(node.output) == 2 and not model.find_consumers(node.output[1]):
                del node.output[1]
                getCustomOp(node).set_nodeattr("scores", 0)
        return model, False
