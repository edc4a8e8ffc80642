"""What the lowered graph goes through before it is partitioned and folded."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation
from qonnx.transformation.general import GiveUniqueNodeNames, SortGraph

from finn_vitprune.transforms.lowering.drop_unused_scores import DropUnusedScores
from finn_vitprune.transforms.lowering.insert_forks import InsertForks
from finn_vitprune.transforms.lowering.narrow_class_token import NarrowClassToken


class TidyLowered(Transformation):
    """Remove what nothing reads, narrow the last encoder to the class token, fork shared streams, sort, name.

    Matrix units then know their kept blocks.
    """

    def apply(self, model: ModelWrapper):
        for transformation in (
            DropUnusedScores(),
            NarrowClassToken(),
            DropUnusedScores(),
            InsertForks(),
            SortGraph(),
            GiveUniqueNodeNames(),
        ):
            model = model.transform(transformation)
        for node in model.get_nodes_by_op_type("BlockSparseMVAU"):
            getCustomOp(node).plan(model.get_initializer(node.input[1]))
        return model, False
