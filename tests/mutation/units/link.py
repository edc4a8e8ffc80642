"""Mutants of the link to a board without a processor: of bytes, and behind a serial line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from finn_vitprune.sim import Simulator
from tests.mutation.self_check import SelfCheck, Unit
from tests.rtl.benches import link_design
from tests.rtl.benches.link_design import CHECKS, SIZES, Sizes


@dataclass
class LinkCheck(SelfCheck):
    """All checks (:mod:`tests.rtl.benches.link_design`) of a link; ``inputs`` makes its sizes."""

    inputs: Callable[[], Sizes]

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory:
        return tempfile.TemporaryDirectory(prefix="vitprune-link-")

    @cached_property
    def sources(self) -> tuple[str, ...]:
        return tuple(map(str, link_design.sources(self.inputs(), Path(self._folder.name))))

    @property
    def ports(self) -> tuple:
        return (*self.inputs().ports, ())

    def judge(self, simulator: Simulator) -> None:
        for check in CHECKS:
            check(simulator, self.inputs())


ALSO = ("vp_crc32", "vp_link", "vp_link_access", "vp_link_images", "vp_link_receive", "vp_link_send", "vp_uart_rx", "vp_uart_tx")
LINK = Unit(
    "link",
    "vp_board_uart",
    36,
    tuple(LinkCheck(name, lambda sizes=sizes: sizes) for name, sizes in SIZES.items()),
    also=tuple(f"{name}.sv" for name in ALSO),
    written=(
        ("vp_link.sv", ".room(room && tag_room)", ".room(room)"),  # the tag of an image is lost
        ("vp_link_access.sv", "room              = empty && !busy_q;", "room              = empty;"),  # two accesses run into each other
        ("vp_link_access.sv", "addressed_q <= state_q == PUT && aw && !w;", "addressed_q <= 1'b0;"),  # a write has two addresses
        ("vp_link_images.sv", "if (forget) waddr_q <= base_q;\n            else if", "if"),  # a damaged image stays
        ("vp_board_uart.sv", ".TIMEOUT(QUIET_BITS * CLKS_PER_BIT)", ".TIMEOUT(2 * QUIET_BITS * CLKS_PER_BIT)"),
    ),
)
