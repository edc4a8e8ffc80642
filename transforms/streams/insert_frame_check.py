"""The count of frames whose beats do not add up."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.transforms.streams.edges import new_tensor, slr_of, stream_attributes
from finn_vitprune.transforms.streams.insert_load_port import PORT

CHECK = "VitFrameCheck_rtl"


class InsertFrameCheck(Transformation):
    """Put VitFrameCheck_rtl before the first node. A load port, which is there by then, has the count in a register.

    Args:
        each: TLAST comes with every frame, not only with the last one of a transfer.
    """

    def __init__(self, each: bool) -> None:
        super().__init__()
        self.each = each

    def apply(self, model: ModelWrapper):
        source = model.graph.input[0].name
        first = model.find_consumer(source)
        after = new_tensor(model, model.get_tensor_shape(source), model.get_tensor_datatype(source))
        into = getCustomOp(first).in_streams()[0]
        check = make_node(CHECK, [source], [after], f"{CHECK}_0", each=int(self.each), **stream_attributes(into, slr_of(first)))
        first.input[list(first.input).index(source)] = after
        for port in model.get_nodes_by_op_type(PORT):
            getCustomOp(port).set_nodeattr("frame_check", check.name)
        model.graph.node.insert(0, check)
        return model, False
