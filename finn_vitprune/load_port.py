"""What a host does to load the memories of a design through its load port (``vp_load_port``), and the port's registers.

This file needs nothing but Python, so that a board may have a copy of it beside FINN's driver. The registers and
:func:`load` are tested in simulation; nothing here was run on a board.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

CONTROL, STATUS, DATA, TAKEN, DESIGN, CHECKSUM, TOTAL, FRAMES, WRONG_FRAMES = range(0, 36, 4)
"""Byte addresses. CONTROL and DATA are written, the others read: the state, data words taken, the number of the design,
CRC-32 of what was taken, data words of the design, frames inside, and in a design with a frame check frames whose beats did not add up."""
ADDRESS_BITS = 5
"""One more in a design with a frame check."""
BEGIN = 1
"""Written to CONTROL: close the input, wait until every frame has left, then take words."""
EMPTY, DRAINING, STARTING, LOADING, CHECKING, OPEN, WRONG_DESIGN, WRONG_CHECKSUM, TOO_EARLY = range(9)
"""States. Frames enter in OPEN alone, words are taken in LOADING alone."""

STATES = (
    "nothing is loaded",
    "waiting until every frame has left",
    "starting",
    "loading",
    "checking",
    "open",
    "these contents are for another design",
    "the checksum is wrong",
    "a word came before the port was loading",
)
"""What the states are called."""
POLL_S = 0.001


class Registers(Protocol):
    """A window on the registers, such as ``pynq.MMIO``; addresses are in bytes from its start."""

    def read(self, address: int) -> int:
        """The word at an address."""

    def write(self, address: int, word: int) -> None:
        """Write a word."""


class LoadError(RuntimeError):
    """A load did not end in OPEN; the input stays closed until one does."""


def load(
    port: Registers,
    folder: str | Path,
    limit_s: float = 10.0,
    tell: Callable[[str], None] = lambda text: None,
    contents: str | Path | None = None,
) -> None:
    """Load what ``contents.bin`` and ``load.json`` in ``folder`` hold: begin, wait, write all words, wait until it is open.

    Args:
        contents: a file of another network of this design, in place of ``contents.bin``.
        limit_s: how long each wait may take. Frames inside leave only while the output is read.
        tell: called with the unit whose memory is being loaded.
    Raises:
        LoadError: a wait took too long, or the port refused the contents; the text says which, and where it stands.
    """
    folder = Path(folder)
    index = json.loads((folder / "load.json").read_text())
    raw = Path(contents or folder / index["file"]).read_bytes()
    begins = {region["offset"] // 4: f"{region['unit']} {region['memory']}" for region in index["regions"]}
    port.write(CONTROL, BEGIN)
    _await(port, LOADING, limit_s)
    for place, (word,) in enumerate(struct.iter_unpack("<I", raw)):
        if place in begins:
            tell(f"loading {begins[place]}")
        port.write(DATA, word)
    _await(port, OPEN, limit_s)


def loading(port: Registers, folder: str | Path) -> str:
    """What a port is doing: its state, and while it is loading the unit and the memory of the next word."""
    state = port.read(STATUS)
    if state != LOADING:
        return STATES[state]
    index = json.loads((Path(folder) / "load.json").read_text())
    first, place = index["regions"][0]["offset"], port.read(TAKEN)
    region = [r for r in index["regions"] if (r["offset"] - first) // 4 <= place][-1]
    return f"loading {region['unit']} {region['memory']}"


def loading_overlay(base: type) -> type:
    """FINN's overlay class ``base`` (FINNDMAOverlay of finn-plus-driver, FINNExampleOverlay of FINN), able to load the design."""

    class VitOverlay(base):
        """Loads the design when it is made; call :meth:`load_design` after every reset."""

        def load_runtime_weights(self, *given, **options) -> None:
            """What finn-plus-driver calls before the first image: contents of this project go through the load port, others as in FINN."""
            if (Path(self.runtime_weight_dir) / "load.json").is_file():
                self.load_design(self.runtime_weight_dir)
            else:
                super().load_runtime_weights(*given, **options)

        def load_design(self, folder: str | Path, partition: str = "StreamingDataflowPartition_1", **options) -> None:
            """:func:`load` through the port that ``load.json`` names, of the partition that holds the accelerator."""
            name = json.loads((Path(folder) / "load.json").read_text())["port"]
            load(getattr(getattr(self, partition), name).mmio, folder, **options)

    return VitOverlay


def _await(port: Registers, wanted: int, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while (state := port.read(STATUS)) != wanted:
        if state in (WRONG_DESIGN, WRONG_CHECKSUM, TOO_EARLY) or time.monotonic() > end:
            raise LoadError(
                f"no load: {STATES[state]} ({port.read(TAKEN)} of {port.read(TOTAL)} data words taken, design "
                f"{port.read(DESIGN):#010x}, {port.read(FRAMES)} frames inside)"
            )
        time.sleep(POLL_S)
