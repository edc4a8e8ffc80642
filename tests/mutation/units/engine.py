"""Mutants of an engine's entry and exit, and what judges them: each alone, and both round small units with the way back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

from finn_vitprune.custom_ops.engine.ports import VitEngineEntry_rtl, VitEngineExit_rtl
from finn_vitprune.custom_ops.engine.switch import VitTagFork_rtl
from finn_vitprune.custom_ops.op.rtl_backend import TAGS
from finn_vitprune.sim import Simulator
from tests.mutation.self_check import SelfCheck, Unit
from tests.rtl.benches import engine_design
from tests.rtl.benches.engine_design import ENDS, SHAPES, End

_engine = cache(engine_design.generate)


@dataclass
class EngineCheck(SelfCheck):
    """A whole engine (:mod:`tests.rtl.benches.engine_design`)."""

    @cached_property
    def sources(self) -> tuple[str, ...]:
        return _engine(SHAPES[self.name]).sources

    @property
    def ports(self) -> tuple:
        return _engine(SHAPES[self.name]).ports

    def judge(self, simulator: Simulator) -> None:
        engine_design.check_engine(replace(_engine(SHAPES[self.name]), simulator=simulator))


@dataclass
class EndCheck(SelfCheck):
    """Its entry or exit alone."""

    @property
    def _end(self) -> End:
        return ENDS[self.name]

    @property
    def op(self):
        return self._end.op

    def judge(self, simulator: Simulator) -> None:
        engine_design.check_end(self._end, simulator)


ENGINE = Unit(
    "engine",
    VitEngineEntry_rtl.RTL_TOP,
    160,
    (*(EngineCheck(name, tuple) for name in SHAPES), *(EndCheck(name, tuple) for name in ENDS)),
    parts=(VitEngineExit_rtl.RTL_TOP, TAGS, VitTagFork_rtl.RTL_TOP),
)
