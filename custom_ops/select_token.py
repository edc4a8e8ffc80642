"""Token selection: one token of each frame continues (the class token, in the last encoder)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.custom_ops.base import StreamOp
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.token_times import TokenTimes
from finn_vitprune.sim.beats import Stream


class VitSelectToken(StreamOp):
    """y ``[1, channels]`` = x[index] of x ``[tokens, channels]``; the other tokens are taken and dropped."""

    ATTRIBUTES = {"index": ("i", False, 0)}

    def out_streams(self) -> list[Stream]:
        return [replace(self.source, tokens=1)]

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        index = self.get_nodeattr("index")
        return [x[..., index : index + 1, :].copy()]

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """The token passes as it comes."""
        return super().pass_times([inputs[0].at([self.get_nodeattr("index")])])

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the beat counter and the handshake."""
        return Estimate(LUT=self.source.width + (self.source.beats - 1).bit_length() + 9)


class VitSelectToken_rtl(VitRTLBackend, VitSelectToken):
    """RTL of :class:`VitSelectToken`."""

    RTL_TOP = "vp_select_token"

    def rtl_parameters(self) -> dict[str, int | str]:
        stream = self.source
        return {
            "WIDTH": stream.width,
            "TOKENS": stream.tokens,
            "TOKEN_BEATS": stream.token_beats,
            "INDEX": self.get_nodeattr("index"),
        }
