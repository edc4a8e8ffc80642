"""When the tokens of one frame pass the streams of an empty pipeline: what latency is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LATE = 1e12
"""A cycle of which nothing is known yet, but that it comes, and so all later ones: no unit lets a token out before one that it needs."""


@dataclass(frozen=True)
class TokenTimes:
    """Cycles in which the first and the last beat of each token of a frame pass a stream; of tokens of which it is not known
    :data:`LATE` or more."""

    first: tuple[float, ...]
    last: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.first) != len(self.last):
            raise ValueError(f"{len(self.first)} first beats and {len(self.last)} last beats")

    @property
    def tokens(self) -> int:
        """Tokens of the frame."""
        return len(self.last)

    @classmethod
    def steady(cls, tokens: int, beats: int) -> TokenTimes:
        """A beat a cycle from cycle 0 on, ``beats`` a token."""
        return cls(tuple(float(t * beats) for t in range(tokens)), tuple(float((t + 1) * beats - 1) for t in range(tokens)))

    @classmethod
    def joined(cls, streams: Sequence[TokenTimes]) -> TokenTimes:
        """When tokens of streams that are read together are there."""
        if len(streams) == 1:
            return streams[0]
        return cls(
            tuple(map(max, zip(*(s.first for s in streams), strict=True))), tuple(map(max, zip(*(s.last for s in streams), strict=True)))
        )

    def served(self, beats: float, latency: float, start: float = 0.0) -> TokenTimes:
        """What a unit emits that takes ``beats`` cycles a token, one token after another.

        Args:
            beats: cycles of a token at least, in which it leaves evenly.
            latency: cycles from a beat's arrival until what it makes leaves.
            start: first cycle in which the unit is free.
        """
        first: list[float] = []
        last: list[float] = []
        free = start
        for head, tail in zip(self.first, self.last):
            if head >= LATE:
                unknown = [LATE] * (self.tokens - len(first))
                return TokenTimes((*first, *unknown), (*last, *unknown))
            first.append(max(head + latency, free))
            last.append(max(tail + latency, first[-1] + beats - 1))
            free = last[-1] + 1
        return TokenTimes(tuple(first), tuple(last))

    def then(self, other: TokenTimes) -> TokenTimes:
        """These tokens, then those of ``other``."""
        return TokenTimes(self.first + other.first, self.last + other.last)

    def at(self, tokens: Sequence[int]) -> TokenTimes:
        """Those of some tokens."""
        return TokenTimes(tuple(self.first[t] for t in tokens), tuple(self.last[t] for t in tokens))
