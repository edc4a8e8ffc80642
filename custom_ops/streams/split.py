"""Channel split: the first channels of each token, or of the first tokens, to one stream, the rest to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import eq

import numpy as np

from finn_vitprune.custom_ops.op.base import StreamOp
from finn_vitprune.custom_ops.op.load_chain import CountingBackend, frame_rows
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream


class VitSplit(SharedOp, StreamOp):
    """y0 = x[:first_tokens, :first], y1 = x[:, first:] of x ``[tokens, channels]``; SIMD divides both parts.

    With first_tokens 0 all tokens have both parts; otherwise the first part of the others is taken and dropped.
    """

    ATTRIBUTES = {"first": ("i", True, 0), "first_tokens": ("i", False, 0)}
    ENCODER_ATTRIBUTES = ("tokens", "channels", "first", "first_tokens")

    @classmethod
    def largest(cls, attribute: str, values: Sequence) -> object:
        return 0 if attribute == "first_tokens" and 0 in values else max(values)

    @property
    def first_tokens(self) -> int:
        """Tokens that have both parts."""
        return self.get_nodeattr("first_tokens") or self.source.tokens

    def verify_node(self) -> list[str]:
        """Raise a UserError where an encoder's parts are empty or longer than what comes; an empty list when all is well."""
        for op in self.by_encoder():
            first, channels, tokens = op.get_nodeattr("first"), op.get_nodeattr("channels"), op.get_nodeattr("tokens")
            self.require(1 <= first < channels, f"the first {first} of {channels} channels: use 1 to {channels - 1}")
            self.require(1 <= op.first_tokens <= tokens, f"both parts of {op.first_tokens} of {tokens} tokens: use 1 to {tokens}")
        return []

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        source, first = self.source, self.get_nodeattr("first")
        parts = [replace(source, tokens=self.first_tokens, channels=first), replace(source, channels=source.channels - first)]
        return [*parts, *self.tags()]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        (x,) = inputs
        first = self.get_nodeattr("first")
        return [x[..., : self.first_tokens, :first].copy(), x[..., first:].copy()]

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """Every beat as it comes, but for first parts that are dropped."""
        first, *others = super().pass_times(inputs)
        return [first.at(range(self.first_tokens)), *others]

    def burst_tokens(self) -> int:
        """One: while one part of a token passes, the reader of the other lives on what it has."""
        return 1

    def resources(self) -> Estimate:
        """One LUT per bit of the input register, the beat counter and the handshake; three per bit of a count of tokens."""
        ops = self.by_encoder()
        tokens, both = [op.source.tokens for op in ops], [op.first_tokens for op in ops]
        beats, first = [op.source.token_beats for op in ops], [op.out_streams()[0].token_beats for op in ops]
        luts = self.source.width + clog2(max(beats)) + 12
        if tokens != both:
            luts += clog2(max(tokens)) + 2 * clog2(max(both))
        shapes = [n - 1 for n in first], [n - 2 for n in beats], [n - 1 for n in both], [a == b for a, b in zip(tokens, both)]
        return Estimate(LUT=luts + self.frame_luts(tokens, *shapes))


class VitSplit_rtl(CountingBackend, VitSplit):
    """RTL of :class:`VitSplit`."""

    RTL_TOP = "vp_stream_split"

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        return {
            "WIDTH": self.source.width,
            "ENCODERS": self.encoders,
            "BEAT_W": clog2(self.most.token_beats),
            "TOKEN_W": max(1, clog2(self.most.tokens)),
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Tokens; beats of the first part and of a token; whether all tokens have both parts, and the last one that has."""
        ops = self.by_encoder()
        tokens, both = [op.source.tokens for op in ops], [op.first_tokens for op in ops]
        first_end = [op.out_streams()[0].token_beats - 1 for op in ops]
        before_last = [op.source.token_beats - 2 for op in ops]
        return {"shapes": frame_rows(tokens, first_end, before_last, [*map(int, map(eq, tokens, both))], [n - 1 for n in both])}
