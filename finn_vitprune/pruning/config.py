"""What is pruned, and the checks that a block size fits a network."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig


@dataclass(frozen=True)
class PruneConfig:
    """Block size b, kept share of blocks and of neurons (exact decimals, as written)."""

    block_size: int = 8
    block_keep: str = "0.5"
    neuron_keep: str = "0.5"

    def __post_init__(self) -> None:
        for name, value in (("block_keep", self.block_keep), ("neuron_keep", self.neuron_keep)):
            if not 0 < Fraction(value) <= 1:
                raise UserError(f"{name} {value} is not a share: use more than 0 and at most 1")


def kept_blocks(rate: Fraction | float | str, blocks: int) -> int:
    """How many of ``blocks`` stay: int(r n), at least one."""
    return max(1, int(_exact(rate) * blocks))


def kept_neurons(rate: Fraction | float | str, neurons: int, block: int) -> int:
    """How many neurons stay: int(r M) rounded up to a multiple of ``block``, at least one block."""
    return min(neurons, max(block, -(-int(_exact(rate) * neurons) // block) * block))


def _exact(rate: Fraction | float | str) -> Fraction:
    return rate if isinstance(rate, Fraction) else Fraction(str(rate))


def check_block_size(config: ViTConfig, block: int) -> None:
    """Every matrix that is pruned must divide by ``block``, and so must the head width.

    Raises:
        UserError: naming the encoder, the matrix, and the block sizes that would work.
    """
    if block < 1:
        raise UserError(f"block size {block} is not positive: use 8 or 16")
    fit = config.dim
    for shape in config.encoders:
        fit = gcd(gcd(fit, config.head_dim), shape.neurons)
    choices = [d for d in range(2, fit + 1) if fit % d == 0]
    advice = f"use {', '.join(map(str, choices[:-1]))} or {choices[-1]}" if len(choices) > 1 else f"use {fit}"
    for i, shape in enumerate(config.encoders, start=1):
        for size, what in (
            (config.dim, "W_q"),
            (config.head_dim, "head width of W_q"),
            (shape.neurons, "MLP neurons"),
        ):
            if size % block:
                raise UserError(f"block size {block} does not divide {size} (encoder {i}, {what}): {advice}")
