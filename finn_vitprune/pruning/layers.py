"""Shares by layer: each layer keeps what it is worth, at the operations that one share for all layers has.

What a layer loses is the squared error of the logits as second-order pruning takes its blocks, or neurons, one after another. Of all
layers together those go that cost least for each product they save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, write_json
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.pruning.config import PruneConfig, kept_blocks, kept_neurons

LAYERS = ("query", "key", "value", "projection", "neurons")
"""Of an encoder: what has a share of its own."""
LEAST = Fraction(1, 8)
"""Every layer keeps at least this share: the costs of its last blocks are not reliable once so much has gone."""
DIGITS = 5
"""Of shares in files."""
POINTS = tuple(i / 10 for i in range(9, 0, -1))
"""Kept shares for which a file says the error."""

Rate = float | str | Fraction
Counts = np.ndarray
"""``[encoders, LAYERS]``: blocks or neurons."""


@dataclass(frozen=True)
class LayerErrors:
    """``of[encoder][layer]``: ``[units + 1]`` squared error of the logits when so many blocks, or neurons, have gone; never falls."""

    of: tuple[tuple[np.ndarray, ...], ...]

    @classmethod
    def added(cls, costs: Sequence[Sequence[np.ndarray]]) -> LayerErrors:
        """Of what each removal costs, in order."""
        return cls(tuple(tuple(np.concatenate([[0.0], np.cumsum(np.maximum(own, 0))]) for own in layers) for layers in costs))

    @property
    def units(self) -> Counts:
        """Blocks and neurons of each layer."""
        return np.array([[len(own) - 1 for own in layers] for layers in self.of])

    def at(self, share: float) -> np.ndarray:
        """``[encoders, LAYERS]``: errors where each layer keeps this share."""
        return np.array([[own[round((1 - share) * (len(own) - 1))] for own in layers] for layers in self.of])


def unit_macs(config: ViTConfig, block: int) -> Counts:
    """Products of an image that a block, or a neuron, of each layer makes."""
    return np.array([[before * block**2] * 4 + [after * (config.hidden_rows + 1) * config.dim] for before, after in config.token_counts()])


def equal_counts(units: Counts, block_keep: Rate, neuron_keep: Rate, block: int) -> Counts:
    """What each layer keeps where all have the same shares of blocks and of neurons."""
    return np.array([[kept_blocks(block_keep, n) for n in row[:4]] + [kept_neurons(neuron_keep, row[4], block)] for row in units.tolist()])


def allot(errors: LayerErrors, macs: Counts, prune: PruneConfig) -> Counts:
    """What each layer keeps so that the error is least, at no more products than equal shares have.

    Args:
        macs: of a block or a neuron (:func:`unit_macs`).
    """
    units = errors.units
    least = np.array([[max(1, math.ceil(LEAST * int(n))) for n in row] for row in units])
    least[:, 4] = [kept_neurons(LEAST, int(n), prune.block_size) for n in units[:, 4]]
    target = int(((units - equal_counts(units, prune.block_keep, prune.neuron_keep, prune.block_size)) * macs).sum())
    steps = []
    for encoder, layers in enumerate(errors.of):
        for layer, own in enumerate(layers):
            step = prune.block_size if layer == 4 else 1
            for a, b in pairwise(_corners(own[: units[encoder, layer] - least[encoder, layer] + 1 : step])):
                price = (own[b * step] - own[a * step]) / ((b - a) * step * macs[encoder, layer])
                steps.append((price, encoder, layer, (b - a) * step, step))
    gone = np.zeros_like(units)
    for _, encoder, layer, count, step in sorted(steps):
        needed = max(0, target - int((gone * macs).sum()))
        saved = macs[encoder, layer] * step
        gone[encoder, layer] += min(count, -(-needed // saved) * step)
    return units - gone


def _corners(values: np.ndarray) -> list[int]:
    """Of a curve: the places of its lower convex hull."""
    found: list[int] = []
    for i, value in enumerate(values):
        while len(found) > 1 and _slope(values, found[-2], found[-1]) * (i - found[-1]) >= value - values[found[-1]]:
            found.pop()
        found.append(i)
    return found


def _slope(values: np.ndarray, a: int, b: int) -> float:
    return float(values[b] - values[a]) / (b - a)


# --- files ---

KeptShare = Annotated[float, Field(gt=0, le=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EncoderShares(_Closed):
    """Kept shares of an encoder: of the blocks of W_q, W_k, W_v and W_proj, and of its MLP neurons."""

    query: KeptShare
    key: KeptShare
    value: KeptShare
    projection: KeptShare
    neurons: KeptShare

    @property
    def all(self) -> tuple[float, ...]:
        return self.query, self.key, self.value, self.projection, self.neurons


class EncoderErrors(_Closed):
    """Squared errors of the logits where a layer alone is pruned, one for each of the file's ``error_shares``."""

    query: tuple[float, ...]
    key: tuple[float, ...]
    value: tuple[float, ...]
    projection: tuple[float, ...]
    neurons: tuple[float, ...]


class LayerShares(_Closed):
    """A file of shares by layer, as ``--keep-by-layer`` takes it.

    Attributes:
        block_keep, neuron_keep: the shares that all layers have together, weighed by their operations.
        encoders: a share for each layer, the first encoder first. errors: what ``import`` measured; not read.
    """

    format: Literal[1] = 1
    block_size: Annotated[int, Field(ge=1)]
    block_keep: KeptShare
    neuron_keep: KeptShare
    encoders: tuple[EncoderShares, ...]
    error_shares: tuple[float, ...] = ()
    errors: tuple[EncoderErrors, ...] = ()

    @classmethod
    def of(cls, counts: Counts, units: Counts, prune: PruneConfig, errors: LayerErrors | None = None) -> LayerShares:
        """Shares that keep ``counts`` of ``units``."""
        shares = [
            dict(zip(LAYERS, (_share(int(n), int(of)) for n, of in zip(*row, strict=True)), strict=True)) for row in zip(counts, units)
        ]
        measured = {}
        if errors is not None:
            found = np.array([errors.at(share) for share in POINTS])
            rows = [{name: tuple(_short(v) for v in found[:, e, i]) for i, name in enumerate(LAYERS)} for e in range(len(units))]
            measured = {"error_shares": POINTS, "errors": tuple(EncoderErrors(**row) for row in rows)}
        return cls(
            block_size=prune.block_size, block_keep=float(prune.block_keep), neuron_keep=float(prune.neuron_keep),
            encoders=tuple(EncoderShares(**row) for row in shares), **measured,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> LayerShares:
        """Read a file.

        Raises:
            UserError: it is none, naming what is wrong.
        """
        content = read_json(path, "shares by layer")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place, wrong = ".".join(map(str, first["loc"])) or "the file", first["msg"].removeprefix("Input ")
            raise UserError(f"{path}: {place} {wrong[0].lower()}{wrong[1:]}: use a file that import wrote beside its output") from None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    def counts(self, units: Counts, block: int, source: str) -> Counts:
        """What is kept of ``units``.

        Raises:
            UserError: the file is for another network or block size.
        """
        if len(self.encoders) != len(units):
            raise UserError(
                f"{source} has shares for {len(self.encoders)} encoders, the network has {len(units)}: use a file that import wrote for it"
            )
        if self.block_size != block:
            raise UserError(
                f"{source} is for blocks of {self.block_size} x {self.block_size}: use --block-size {self.block_size}, or another file"
            )
        rows = zip((encoder.all for encoder in self.encoders), units.tolist(), strict=True)
        return np.array(
            [[kept_blocks(s, n) for s, n in zip(shares[:4], own)] + [kept_neurons(shares[4], own[4], block)] for shares, own in rows]
        )


def _share(count: int, units: int) -> float:
    """The decimal of which so many of the units are kept."""
    return math.ceil(count * 10**DIGITS / units) / 10**DIGITS


def _short(value: float) -> float:
    return float(f"{value:.4g}")
