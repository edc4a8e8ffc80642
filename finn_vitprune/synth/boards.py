"""Boards and parts of Lattice ECP5: ``boards.json`` has them, with the source of their data.

A bare part stands for any board with it: its pins are nextpnr's to choose, its clock is a pin of 25 MHz.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from finn_vitprune.errors import UserError

CELLS = {"COMB": "TRELLIS_COMB", "FF": "TRELLIS_FF", "MULT18": "MULT18X18D", "EBR": "DP16KD"}
"""What a part is judged by, and nextpnr's cells of it."""
PINS = ("clk", "rst", "rx", "tx")
DEFAULT_NS = 12.5
"""Period of the clock that the PLL makes where nothing else is asked for."""


@dataclass(frozen=True)
class Ecp5Part:
    """A part: nextpnr's option for it, and its cells."""

    name: str
    option: str
    COMB: int
    FF: int
    MULT18: int
    EBR: int

    def has(self, kind: str) -> int:
        """Its cells of a kind of :data:`CELLS`."""
        return int(getattr(self, kind))


@dataclass(frozen=True)
class BoardPin:
    """A pin: its ball, and the way it is pulled where nothing drives it (``UP``, ``DOWN`` or None)."""

    ball: str
    pull: str | None


@dataclass(frozen=True)
class Board:
    """A board: part, package, speed grade, the clock at its pin in MHz, bauds of its serial line, the level of its pins.

    ``pins`` is empty for a bare part.
    """

    name: str
    part: Ecp5Part
    package: str
    speed: int
    clock_mhz: float
    baud: int
    io: str
    pins: Mapping[str, BoardPin]


def loader_name(board: Board) -> str | None:
    """What openFPGALoader calls a board; None for a bare part."""
    return _content()["loaders"].get(board.name)


@lru_cache(maxsize=1)
def boards() -> dict[str, Board]:
    """All boards, and the bare parts, by name."""
    content = _content()
    parts = {name: Ecp5Part(name, **row) for name, row in content["parts"].items()}
    found = {}
    for name, row in content["boards"].items():
        pins = {pin: BoardPin(*given) for pin, given in row["pins"].items()}
        found[name] = Board(name, **{**row, "part": parts[row["part"]], "pins": pins})
    bare = {name: Board(name, part, "CABGA381", 6, 25.0, 3_000_000, "LVCMOS33", {}) for name, part in parts.items()}
    return found | bare


def source() -> str:
    """Where the data of boards and parts are from."""
    return _content()["source"]


@lru_cache(maxsize=1)
def _content() -> dict[str, Any]:
    return json.loads(resources.files("finn_vitprune.synth").joinpath("boards.json").read_text())


def board_named(name: str) -> Board:
    """The board, or the bare part, of this name, however it is capitalised.

    Raises:
        UserError: there is none; the text says which there are.
    """
    by_word = {known.lower(): board for known, board in boards().items()}
    if (found := by_word.get(name.lower())) is not None:
        return found
    near = difflib.get_close_matches(name.lower(), by_word, n=1, cutoff=0.6)
    hint = f"did you mean {by_word[near[0]].name}? " if near else ""
    raise UserError(f"--board {name} is unknown: {hint}boards are {', '.join(boards())}")
