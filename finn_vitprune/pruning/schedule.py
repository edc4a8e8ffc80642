"""What changes while a student trains: keep rates of weights and of tokens, quantisation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CubicSchedule:
    """r = r_final + (1 - r_final)(1 - p)^3; p runs from 0 to 1 between ``warmup`` and ``steps - hold``.

    Before, r = 1; after, r = r_final. Source: movement pruning (Sanh et al., 2020), after Zhu and Gupta.
    """

    steps: int
    warmup: int
    hold: int

    def progress(self, step: int) -> float:
        """p at ``step`` (0-based), 0 to 1."""
        span = self.steps - self.warmup - self.hold
        return min(1.0, max(0.0, (step - self.warmup) / span)) if span > 0 else float(step >= self.warmup)

    def rate(self, step: int, final: str) -> float | str:
        """The keep rate at ``step``; exactly ``final`` (as written) from the hold on."""
        p = self.progress(step)
        if p >= 1.0:
            return final
        target = float(final)
        return target + (1.0 - target) * (1.0 - p) ** 3


@dataclass(frozen=True)
class TokenSchedule:
    """Keep rate of the tokens: 1 before ``start``, then linear down to ``final`` over ``ramp`` steps."""

    start: int
    ramp: int
    final: str

    def rate(self, step: int) -> str:
        """The rate at ``step`` as a decimal of four digits; exactly ``final`` once the ramp is over."""
        if step >= self.start + self.ramp:
            return self.final
        progress = max(0, step - self.start) / max(1, self.ramp)
        return f"{1.0 - (1.0 - float(self.final)) * progress:.4f}"


@dataclass(frozen=True)
class QuantSchedule:
    """Float for ``start`` epochs, quantised from then on; a student of ``epochs`` epochs ends quantised.

    With ``start`` = ``epochs`` it is quantised after the last step, before it is measured.
    """

    start: int
    epochs: int

    def quantised(self, done: int, begun: bool, measured: bool) -> bool:
        """Whether the student is quantised after ``done`` epochs.

        Args:
            begun: steps of the next epoch are done.
            measured: so is a part of its measuring.
        """
        return done > self.start or (begun and done == self.start) or (measured and self.after(done)) or done == self.epochs

    def after(self, done: int) -> bool:
        """Whether quantisation starts between the last step of epoch ``done`` (from 0) and its measuring."""
        return done + 1 == self.epochs == self.start
