"""What counts frames whose beats do not add up: the first unit of a design, where the source says in which beat a frame ends."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.folding import Attributes
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.rtl_backend import Pin, VitRTLBackend
from finn_vitprune.numerics import clog2

LAST_PIN, WRONG_FRAMES = "in0_V_tlast", "wrong_frames"
"""Pins: TLAST of the input stream, and the count."""
COUNT_BITS = 32


class VitFrameCheck(StreamOp):
    """x ``[tokens, channels]`` unchanged. ``each``: every frame ends with TLAST, not only the last one of a transfer."""

    token_wise = True
    ATTRIBUTES = {"each": ("i", False, 0, {0, 1})}

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        return [inputs[0].copy()]

    def folds(self) -> tuple[Attributes, ...]:
        """None: it is as wide as the stream that it stands in."""
        return ()

    def beat_cycles(self) -> int:
        """The output register."""
        return 1

    def resources(self) -> Estimate:
        """For each bit of a beat zero and a multiplexer bit, the beats of a frame, the handshake; the count is a carry chain."""
        return Estimate(LUT=2 * self.source.width + clog2(self.source.beats) + 10)


class VitFrameCheck_rtl(VitRTLBackend, VitFrameCheck):
    """RTL of :class:`VitFrameCheck`."""

    RTL_TOP = "vp_frame_check"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"WIDTH": self.source.width, "BEATS": self.source.beats, "EACH": self.get_nodeattr("each")}

    def side_pins(self) -> list[Pin]:
        return [Pin("input", LAST_PIN, 1), Pin("output", WRONG_FRAMES, COUNT_BITS)]

    def get_verilog_top_module_intf_names(self) -> dict[str, list]:
        """TLAST is of the stream, by its name; the count is a pin of the top."""
        return super().get_verilog_top_module_intf_names() | {"ap_none": [WRONG_FRAMES]}
