"""Mutants of what loads a design: port, hops and end, in a small design that is loaded over its bus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

from finn_vitprune.custom_ops.loading.load_end import VitLoadEnd_rtl
from finn_vitprune.custom_ops.loading.load_port import VitLoadPort_rtl
from finn_vitprune.sim import Simulator
from tests.mutation.self_check import SelfCheck, Unit
from tests.rtl.benches import load_design
from tests.rtl.benches.load_design import FOLDS, Loadable

_design = cache(load_design.loadable)


@dataclass
class LoadCheck(SelfCheck):
    """A check of a whole design (:mod:`tests.rtl.benches.load_design`)."""

    fold: str = ""
    check: Callable[[Loadable], None] = load_design.check_loads

    @cached_property
    def sources(self) -> tuple[str, ...]:
        return tuple(map(str, _design(self.fold).sources))

    @property
    def ports(self) -> tuple:
        return _design(self.fold).ports

    def judge(self, simulator: Simulator) -> None:
        self.check(replace(_design(self.fold), simulator=simulator))


LOAD = Unit(
    "load",
    VitLoadPort_rtl.RTL_TOP,
    18,
    tuple(
        LoadCheck(f"{check.__name__.removeprefix('check_')}, {fold}", tuple, fold=fold, check=check)
        for fold in FOLDS
        for check in (load_design.check_loads, load_design.check_refusals, load_design.check_registers, load_design.check_reload)
    ),
    parts=("vp_load_region", VitLoadEnd_rtl.RTL_TOP),
    also=("vp_load_region.sv",),
    written=(
        ("vp_load_port.sv", "state_q == DRAINING && idle;", "state_q == DRAINING;"),  # a load starts while frames are inside
        ("vp_load_region.sv", "if (load_in[33]) filled_q <= 1'b0;\n            else if", "if"),
    ),
)
