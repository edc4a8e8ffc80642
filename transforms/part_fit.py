"""What a hardware graph takes of a part, whether it fits, and what would help: the answer of `check` and of every build."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.folding import Folding
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.custom_ops.mvau_choose import MatrixFolding
from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import KINDS, Part, PartFit, smallest_part
from finn_vitprune.synth.resources import ESTIMATE, Resources, total
from finn_vitprune.transforms.fold import SLOWEST, GraphFolding

FEWEST_BITS = 4
"""Of a weight."""
LUT_ERROR = 0.2
"""Estimates of LUTs are within this share of what Yosys counts; those of DSP slices and memories are exact."""


def estimated(model: ModelWrapper) -> dict[str, Resources]:
    """The ops' own estimates by node name."""
    return {node.name: _resources(getCustomOp(node).resources()) for node in model.graph.node}


def part_fit(model: ModelWrapper, part: Part, counted: dict[str, Resources] | None = None, method: str = ESTIMATE) -> PartFit:
    """How the hardware graph ``model``, FIFOs and width converters in it, fits ``part``.

    Args:
        counted: resources by node where a tool ``method`` has counted them; None: the ops' estimates.
    """
    fit = PartFit(part, total((estimated(model) if counted is None else counted).values()), method)
    return replace(fit, help=tuple(_help(model, fit))) if fit.short else fit


def cannot_fit(fit: PartFit) -> bool:
    """Whether estimates leave no doubt: too many DSP slices or memories, or more LUTs than their error explains."""
    return bool(fit.part.lacks(replace(fit.used, LUT=int(fit.used.LUT / (1 + LUT_ERROR)))))


def _help(model: ModelWrapper, fit: PartFit) -> Iterator[str]:
    """What would help, as far as the numbers at hand show it."""
    if (larger := smallest_part(fit.used)) is not None:
        yield f"the smallest part of the table that has so much is {larger}"
    short = {s.resource for s in fit.short} - {"FF"}  # of which there are no estimates
    ops = [op for op in map(getCustomOp, model.graph.node) if not (op.is_buffer or op.is_converter)]
    units = GraphFolding(tuple(op.folding() for op in ops))
    now = _resources(units.resources)
    for text, other in _alternatives(units):
        then = _resources(other.resources)
        fewer = short and all(getattr(then, kind) < getattr(now, kind) for kind in short)
        if fewer and short.issuperset(s.resource for s in fit.part.lacks(then)):
            amounts = ", ".join(f"{getattr(then, kind):,g} {kind}" for kind in KINDS if kind in short)
            yield f"with {text} the units alone need {amounts}"
    if short & {"BRAM36", "URAM"}:
        bits = max(f.fold.w.bitwidth() for f in units.nodes if isinstance(f, MatrixFolding))
        fewer_bits = f", or fewer bits than {bits} a weight," if bits > FEWEST_BITS else ""
        yield f"lower keep rates of blocks and neurons{fewer_bits} need less weight memory"


def _alternatives(units: GraphFolding) -> Iterator[tuple[str, GraphFolding]]:
    """Other ways to build the same model, where they are possible."""
    yield "the slowest folding (--target-fps 1)", units.for_interval(SLOWEST)
    for text, change in (
        ('weights in UltraRAM (ram_style "ultra" in a folding file)', {"ram_style": "ultra"}),
        ("--mac-style lut", {"mac_style": "lut"}),
        ("--mac-style portable", {"mac_style": "portable"}),
    ):
        try:
            yield text, GraphFolding(tuple(_changed(f, change) for f in units.nodes))
        except UserError:
            continue


def _changed(folding: Folding, change: dict[str, str]) -> Folding:
    """A matrix unit with other attributes; another unit as it is."""
    if not isinstance(folding, MatrixFolding):
        return folding
    return MatrixFolding(replace(folding.fold, **change).check("unit"))


def _resources(e: Estimate) -> Resources:
    return Resources(LUT=int(e.LUT), DSP=int(e.DSP), BRAM36=e.BRAM_18K / 2, URAM=int(e.URAM))
