"""Channel split: the first channels of each token to one stream, the rest to another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.custom_ops.base import StreamOp
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.sim.beats import Stream


class VitSplit(StreamOp):
    """y0 = x[:, :first], y1 = x[:, first:] of x ``[tokens, channels]``; SIMD divides both parts."""

    ATTRIBUTES = {"first": ("i", True, 0)}

    def out_streams(self) -> list[Stream]:
        source, first = self.source, self.get_nodeattr("first")
        return [replace(source, channels=first), replace(source, channels=source.channels - first)]

    def compute(self, x: np.ndarray) -> list[np.ndarray]:
        first = self.get_nodeattr("first")
        return [x[..., :first].copy(), x[..., first:].copy()]

    def burst_tokens(self) -> int:
        """One: while one part of a token passes, the reader of the other lives on what it has."""
        return 1

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the beat counter and the handshake."""
        return Estimate(LUT=self.source.width + (self.source.token_beats - 1).bit_length() + 9)


class VitSplit_rtl(VitRTLBackend, VitSplit):
    """RTL of :class:`VitSplit`."""

    RTL_TOP = "vp_stream_split"

    def rtl_parameters(self) -> dict[str, int | str]:
        source, first = self.source, self.out_streams()[0]
        return {"WIDTH": source.width, "TOKEN_BEATS": source.token_beats, "FIRST_BEATS": first.token_beats}
