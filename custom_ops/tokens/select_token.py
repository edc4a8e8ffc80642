"""Token selection: one token of each frame continues (the class token, in the last encoder), or all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.load_chain import CountingBackend
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream

ALL = -1
"""An index that selects every token, for the encoders of an engine that drop none."""


class VitSelectToken(SharedOp, StreamOp):
    """y ``[1, channels]`` = x[index] of x ``[tokens, channels]``; the other tokens are taken and dropped. y = x with index -1."""

    ATTRIBUTES = {"index": ("i", False, 0)}
    ENCODER_ATTRIBUTES = ("tokens", "index")

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        selected = self.source if self.get_nodeattr("index") == ALL else replace(self.source, tokens=1)
        return [selected, *self.tags()]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        (x,) = inputs
        index = self.get_nodeattr("index")
        return [x.copy() if index == ALL else x[..., index : index + 1, :].copy()]

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """The token passes as it comes."""
        index = self.get_nodeattr("index")
        return super().pass_times(inputs if index == ALL else [inputs[0].at([index])])

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the beat counter and the handshake."""
        return Estimate(LUT=self.source.width + (self.source.beats - 1).bit_length() + 9)


class VitSelectToken_rtl(CountingBackend, VitSelectToken):
    """RTL of :class:`VitSelectToken`."""

    RTL_TOP = "vp_select_token"

    def rtl_parameters(self) -> dict[str, int | str]:
        return {"WIDTH": self.source.width, "ENCODERS": self.encoders, "BEAT_W": max(1, clog2(self.most.beats)), **self.load_parameters()}

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """The last beat of a frame, and the first and last one that pass."""
        ops, beats = self.by_encoder(), self.source.token_beats
        chosen = [(0, op.source.tokens) if op.get_nodeattr("index") == ALL else (op.get_nodeattr("index"), 1) for op in ops]
        return {"shapes": [(op.source.beats - 1, first * beats, (first + count) * beats - 1) for op, (first, count) in zip(ops, chosen)]}
