"""Mutants of the ways into and out of an array, and what judges them: small arrays with their matrix units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from finn_vitprune.custom_ops.engine.array import WAYS
from finn_vitprune.sim import Simulator, Stimulus
from tests.mutation.self_check import SelfCheck, Unit
from tests.rtl.benches import array_design
from tests.rtl.benches.array_design import BuiltArray, check_array, check_choice
from tests.rtl.benches.helper import PATTERNS
from tests.rtl.test_engine_array import SHAPES, order

JUDGES = (
    "two layers of two encoders",
    "two layers of two encoders, loaded",
    "outputs of 4, 8 and 12 bits, a pass that two ports lack",
    "a row a group, one type of outputs, UltraRAM",
)

_array = cache(lambda name: array_design.generate(*SHAPES[name]))


@dataclass
class ArrayCheck(SelfCheck):
    """A small array under traffic, and the cycles of its groups."""

    @property
    def op(self):
        return _array(self.name)[0]

    def judge(self, simulator: Simulator) -> None:
        op, uses, keep = _array(self.name)
        built = BuiltArray(op, uses, simulator, Path(keep.name), keep)
        check_array(built, order(self.name), (*PATTERNS[:2], Stimulus(seed=5, stall=0.05, burst=300)))
        check_choice(built)


ARRAY = Unit(
    "array",
    WAYS,
    16,
    tuple(ArrayCheck(name, tuple) for name in JUDGES),
    parts=("vp_clip",),
    also=("vp_engine_arbiter.sv", "vp_engine_array.sv", "vp_clip.sv"),
)
