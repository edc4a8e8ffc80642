"""What a hardware graph takes of a part, and whether it fits: the answer of `check` and of every build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.memory import BRAM18_BITS, URAM_BITS, Estimate
from finn_vitprune.synth.family import ULTRASCALE, PartFamily
from finn_vitprune.synth.parts import Part, PartFit, smallest_part
from finn_vitprune.synth.resources import ESTIMATE, Resources, total

LUT_ERROR = 0.2
"""Estimates of LUTs are within this share of what Yosys counts; those of DSP slices and memories are exact."""


def estimated(model: ModelWrapper, family: PartFamily = ULTRASCALE) -> dict[str, Resources]:
    """The ops' own estimates by node name; of an ECP5 COMB are LUT, MULT18 are DSP, and an EBR is half a BRAM36."""
    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    if family == ULTRASCALE:
        return {name: _resources(op.resources()) for name, op in ops.items()}
    return {name: _ecp5_resources(*op.amounts(family)) for name, op in ops.items()}


def part_fit(
    model: ModelWrapper, part: Part, counted: dict[str, Resources] | None = None, method: str = ESTIMATE, relief: Sequence[str] = ()
) -> PartFit:
    """How the hardware graph ``model``, FIFOs and width converters in it, fits ``part``.

    Args:
        counted: resources by node where a tool ``method`` has counted them; None: the ops' estimates.
        relief: what the plan says would help.
    """
    fit = PartFit(part, total((estimated(model, part.planned_as) if counted is None else counted).values()), method)
    if not fit.short:
        return fit
    larger = smallest_part(fit.used, part.planned_as)
    held = [_memories(model, part)] if {short.resource for short in fit.short} & {"BRAM36", "URAM"} else []
    named = [] if larger is None else [f"the smallest part of the table that has so much is {larger}"]
    return replace(fit, help=(*held, *named, *relief))


def _memories(model: ModelWrapper, part: Part) -> str:
    """What all memories hold, beside what the part's could."""
    bits = sum(memory.bits for node in model.graph.node for memory in getCustomOp(node).memory_map())
    room = int(2 * part.BRAM36) * BRAM18_BITS + part.URAM * URAM_BITS
    return f"its memories hold {bits / 1e6:,.1f} Mb, the part's block RAM and UltraRAM {room / 1e6:,.1f} Mb"


def cannot_fit(fit: PartFit) -> bool:
    """Whether estimates leave no doubt: too many DSP slices or memories, or more LUTs than their error explains."""
    return bool(fit.part.lacks(replace(fit.used, LUT=int(fit.used.LUT / (1 + LUT_ERROR)))))


def _ecp5_resources(comb: float, mult18: float, ebr: float, ff: float) -> Resources:
    return Resources(LUT=round(comb), FF=round(ff), DSP=int(mult18), BRAM36=ebr / 2)


def _resources(e: Estimate) -> Resources:
    return Resources(LUT=int(e.LUT), DSP=int(e.DSP), BRAM36=e.BRAM_18K / 2, URAM=int(e.URAM))
