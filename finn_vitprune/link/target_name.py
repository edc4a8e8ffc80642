"""Names of the targets that an accelerator runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from finn_vitprune.errors import UserError

EXAMPLES = "integers, rtl, netlist, serial:/dev/ttyUSB0, pynq:design.bit, xrt:design.xclbin"
ALONE, WITH_PLACE = ("integers", "rtl", "netlist"), ("netlist", "serial", "pynq", "xrt")
"""Kinds that need no place, and those that may have one."""


@dataclass(frozen=True)
class TargetName:
    """A kind of target, and its place: a serial port, a file, a folder; empty without one."""

    kind: str
    place: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Of a word, as ``serial:/dev/ttyUSB0``.

        Raises:
            UserError: there is no such target.
        """
        kind, _, place = text.partition(":")
        if text in ALONE or (kind in WITH_PLACE and place):
            return cls(kind, place)
        raise UserError(f"target {text} is not known: use one of {EXAMPLES}")
