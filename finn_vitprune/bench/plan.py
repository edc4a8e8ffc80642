"""What the benchmark measures: the units that are asked for, their folds, their masks, and the rows to fill."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np

from finn_vitprune.bench import masks, token_drop
from finn_vitprune.bench.results import DropRow, MatrixRow
from finn_vitprune.bench.token_drop import DropUnit
from finn_vitprune.bench.units import Unit, build_node, find_fold, products_of
from finn_vitprune.custom_ops.mvau import balance
from finn_vitprune.custom_ops.mvau import contents as mvau_contents
from finn_vitprune.custom_ops.mvau import fold as mvau_fold
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources

SHAPES = ((384, 384), (384, 1152), (384, 768), (768, 384), (384, 1536), (1536, 384), (384, 1000))
"""Matrices of DeiT-Small: projection, QKV, MLP with half its neurons, MLP, classifier."""

BLOCKS, KEEPS, PRODUCTS, MASKS = (16, 32), (1.0, 0.7, 0.5), (384, 1536, 4096), 20


class Measurement(str, Enum):
    """What is measured."""

    CYCLES = "cycles"
    RESOURCES = "resources"
    TOKEN_DROP = "token-drop"
    FINN = "finn"


@dataclass(frozen=True)
class BenchPlan:
    """What is asked.

    Attributes:
        number: masks of each kind. masks_from: model whose masks are "trained".
        jobs: processes at a time, of Verilator and of Yosys.
    """

    masks_from: Path
    shapes: tuple[tuple[int, int], ...] = SHAPES
    blocks: tuple[int, ...] = BLOCKS
    keeps: tuple[float, ...] = KEEPS
    products: tuple[int, ...] = PRODUCTS
    bits: tuple[tuple[int, int], ...] = ((8, 8),)
    mac_style: str = "dsp48e2"
    ram_style: str = "auto"
    number: int = MASKS
    parts: tuple[Measurement, ...] = tuple(Measurement)
    jobs: int = 1
    token_keeps: tuple[float, ...] = token_drop.KEEPS

    def units(self) -> list[Unit]:
        """Every matrix unit."""
        return [
            Unit(mw, mh, block, products, *bits, self.mac_style, self.ram_style)
            for bits in self.bits
            for mw, mh in self.shapes
            for block in self.blocks
            for products in self.products
        ]

    def drops(self) -> list[DropUnit]:
        """Every token-drop unit."""
        return [DropUnit(keep, products) for products in self.products for keep in self.token_keeps]


def quick(plan: BenchPlan) -> BenchPlan:
    """Two shapes, one fold, four masks."""
    return replace(plan, shapes=((384, 384), (768, 384)), blocks=(16,), products=(384,), number=4, token_keeps=(0.5,))


@dataclass(frozen=True)
class BenchCase:
    """One matrix unit with its fold; its masks and their row, without figures, by keep rate and kind of masks."""

    unit: Unit
    fold: dict[str, int]
    masks: dict[tuple[float, str], list[np.ndarray]]
    rows: dict[tuple[float, str], MatrixRow]


def bench_case(unit: Unit, plan: BenchPlan, trained: Sequence[np.ndarray]) -> BenchCase:
    """Search the fold of a unit, and draw its masks."""
    fold = find_fold(unit, list(_probes(unit, plan, trained)))
    drawn = {
        (keep, kind): masks.draw(kind, unit.grid, keep, plan.number, fold["LANES"], trained) for keep in plan.keeps for kind in _kinds(keep)
    }
    return BenchCase(unit, fold, drawn, {key: _row(unit, fold, *key, group) for key, group in drawn.items()})


def _kinds(keep: float) -> tuple[str, ...]:
    return masks.KINDS if keep < 1 else (masks.DENSE,)


def _probes(unit: Unit, plan: BenchPlan, trained: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The masks that a fold is searched for: one a kind, balanced ones left out, which need the lanes first.

    They are of the standard keep rates and those of the plan: part of a run has the folds of the whole.
    """
    for keep in dict.fromkeys((*KEEPS, *plan.keeps)):
        for kind in _kinds(keep):
            if kind != "balanced":
                yield masks.draw(kind, unit.grid, keep, 1, 1, trained)[0]


def _row(unit: Unit, fold: dict[str, int], keep: float, kind: str, group: Sequence[np.ndarray]) -> MatrixRow:
    op, _ = build_node("BlockSparseMVAU", unit.attributes(fold))
    code = [balance.__file__, mvau_contents.__file__, mvau_fold.__file__]
    return MatrixRow(
        matrix=unit.matrix,
        b=unit.block,
        keep=keep,
        mask=kind,
        bits=unit.bits,
        mac_style=unit.mac_style,
        target=unit.products,
        fold=fold,
        products=products_of(fold),
        masks=len(group),
        ram_style=unit.ram_style,
        code=_digest(op, code, [str(fold), *(m.tobytes() for m in group)]),
    )


def drop_row(unit: DropUnit) -> DropRow:
    """The row of a token-drop unit, without figures."""
    op, _ = unit.op()
    return DropRow(
        tokens=unit.tokens,
        channels=unit.channels,
        keep=unit.keep,
        target=unit.products,
        pace=unit.pace,
        fold={"SIMD": op.get_nodeattr("SIMD")},
        code=_digest(op, (), [str(op.rtl_parameters())]),
    )


def _digest(op: VitRTLBackend, modules: Iterable[str], values: Iterable[str | bytes]) -> str:
    """Hash of an op's RTL, of Python modules that decide what it does, and of further values."""
    digest = hashlib.sha256()
    for path in [*rtl_sources(op.RTL_TOP), *map(Path, modules)]:
        digest.update(path.read_bytes())
    for value in values:
        digest.update(value if isinstance(value, bytes) else value.encode())
    return digest.hexdigest()[:16]
