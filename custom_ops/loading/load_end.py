"""The last unit of a design whose memories are loaded: end of the load chain, and what tells that a frame has left."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.folding import Attributes
from finn_vitprune.custom_ops.op.load_chain import LOAD_IN, LOAD_OUT, LoadChainBackend
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import Pin
from finn_vitprune.numerics import clog2

FRAME_LEFT = "frame_left"
RETURN_PINS = ((LOAD_OUT, LOAD_IN), (FRAME_LEFT, FRAME_LEFT))
"""Pins of VitLoadEnd, and those of VitLoadPort that they go to."""


class VitLoadEnd(StreamOp):
    """x ``[tokens, channels]`` unchanged."""

    token_wise = True

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy()]

    def folds(self) -> tuple[Attributes, ...]:
        """None: it is as wide as the stream that it stands in."""
        return ()

    def beat_cycles(self) -> int:
        """The output register."""
        return 1

    def resources(self) -> Estimate:
        """A multiplexer bit for each bit of a beat, the handshake, and the count of a frame's beats."""
        return Estimate(LUT=self.source.width + 4 + clog2(self.source.beats))


class VitLoadEnd_rtl(LoadChainBackend, VitLoadEnd):
    """RTL of :class:`VitLoadEnd`. ``load_to`` is the node of the load port."""

    RTL_TOP = "vp_load_end"
    STAGES_IN_TOP = True
    ATTRIBUTES = {"load_to": ("s", False, "")}

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"WIDTH": self.source.width, "BEATS": self.source.beats, "STAGES": self.get_nodeattr("load_stages")}

    def side_pins(self) -> list[Pin]:
        return [*super().side_pins(), Pin("output", FRAME_LEFT, 1)]

    def code_generation_ipi(self) -> list[str]:
        here, there = self.onnx_node.name, self.get_nodeattr("load_to")
        return super().code_generation_ipi() + [
            f"connect_bd_net [get_bd_pins {here}/{pin}] [get_bd_pins {there}/{other}]" for pin, other in RETURN_PINS if there
        ]
