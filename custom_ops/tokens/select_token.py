"""Token selection: some tokens of each frame continue (the class token, in the last encoder; the patches, to attention pooling)."""

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

REST = 0
"""A count that selects every token from the index on; with index 0 all of them, for the encoders of an engine that drop none."""


class VitSelectToken(SharedOp, StreamOp):
    """y ``[count, channels]`` = x[index : index + count] of x ``[tokens, channels]``; the other tokens are taken and dropped.

    y ``[tokens - index, channels]`` = x[index :] with count 0.
    """

    ATTRIBUTES = {"index": ("i", False, 0), "count": ("i", False, 1)}
    ENCODER_ATTRIBUTES = ("tokens", "index", "count")

    @property
    def selected(self) -> range:
        """The tokens that continue."""
        index, count = self.get_nodeattr("index"), self.get_nodeattr("count")
        return range(index, self.source.tokens if count == REST else index + count)

    def verify_node(self) -> list[str]:
        """Raise UserError for tokens that no frame has; an empty list when all is well."""
        index, count, tokens = (self.get_nodeattr(name) for name in ("index", "count", "tokens"))
        held = index >= 0 and count >= 0 and 0 < len(self.selected) <= tokens - index
        self.require(held, f"{count or 'all'} tokens from token {index} of {tokens} on: use tokens 0 to {tokens - 1}")
        return []

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        return [replace(self.source, tokens=len(self.selected)), *self.tags()]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        (x,), selected = inputs, self.selected
        return [x[..., selected.start : selected.stop, :].copy()]

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """The tokens pass as they come."""
        return super().pass_times([inputs[0].at(self.selected)])

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
        return {"shapes": [(op.source.beats - 1, op.selected.start * beats, op.selected.stop * beats - 1) for op in ops]}
