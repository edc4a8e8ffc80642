"""What is pruned, and the checks that a block size fits a network."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.pruning.choices import check_shares


@dataclass(frozen=True)
class PruneConfig:
    """Block size b, kept share of blocks and of neurons (exact decimals, as written), and how they are chosen.

    scope: "local" keeps the share in every matrix, "global" over all encoders together. lanes: each of
    this many equal groups of neighbouring block columns of a matrix keeps equally many blocks (one more or
    less where they do not divide), so that lanes of the matrix unit are balanced; 1 is off.
    """

    block_size: int = 8
    block_keep: str = "0.5"
    neuron_keep: str = "0.5"
    scope: str = "local"
    lanes: int = 1

    def __post_init__(self) -> None:
        check_shares(block_keep=self.block_keep, neuron_keep=self.neuron_keep)
        if self.scope not in ("local", "global"):
            raise UserError(f"pruning scope {self.scope!r} is unknown: use local or global")
        if self.scope == "global" and self.lanes > 1:
            raise UserError(f"lanes {self.lanes} balance every matrix by itself: use scope local, or lanes 1")

    @property
    def prunes(self) -> bool:
        """Whether any block or neuron goes."""
        return min(Fraction(self.block_keep), Fraction(self.neuron_keep)) < 1

    def check(self, config: ViTConfig) -> None:
        """Block size and lanes must divide every matrix that is pruned.

        Raises:
            UserError: naming the encoder, the matrix, and what would work.
        """
        check_block_size(config, self.block_size)
        for i, shape in enumerate(config.encoders, start=1):
            for columns, what in ((shape.heads * config.head_dim // self.block_size, "W_q"), (config.dim // self.block_size, "W_proj")):
                if self.lanes < 1 or columns % self.lanes:
                    divisors = [d for d in range(1, columns + 1) if columns % d == 0]
                    raise UserError(
                        f"lanes {self.lanes} do not divide {columns} block columns (encoder {i}, {what}): "
                        f"use one of {', '.join(map(str, divisors))}"
                    )


def kept_blocks(rate: Fraction | float | str, blocks: int) -> int:
    """How many of ``blocks`` stay: int(r n), at least one."""
    return max(1, int(Fraction(str(rate)) * blocks))


def kept_neurons(rate: Fraction | float | str, neurons: int, block: int) -> int:
    """How many neurons stay: int(r M) rounded up to a multiple of ``block``, at least one block."""
    return min(neurons, max(block, -(-int(Fraction(str(rate)) * neurons) // block) * block))


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
        for size, what in ((config.dim, "W_q"), (config.head_dim, "head width of W_q"), (shape.neurons, "MLP neurons")):
            if size % block:
                raise UserError(f"block size {block} does not divide {size} (encoder {i}, {what}): {advice}")
