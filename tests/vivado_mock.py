"""Runs Tcl for Vivado against ``vivado_commands.tcl``: in ``tclsh``, or in Python's own Tcl where there is no ``tclsh``."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMANDS = Path(__file__).with_name("vivado_commands.tcl")


class ScriptError(Exception):
    """A script failed: a command that is not documented so, a missing file, its own check."""


@dataclass(frozen=True)
class Call:
    """A command as it was called."""

    name: str
    options: dict[str, str]
    arguments: list[str]


@dataclass(frozen=True)
class Netlist:
    """What Vivado would find in the design: cells of the top, and ports."""

    cells: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


def run_script(script: Path, work: Path, netlist: Netlist = Netlist(), arguments: tuple[str, ...] = ()) -> list[Call]:
    """The calls of a script.

    Args:
        work: an existing folder for what this writes.
        arguments: of ``-tclargs``.
    Raises:
        ScriptError: the script failed.
    """
    record, runner = work / "calls", work / "runner.tcl"
    record.write_text("")
    runner.write_text(
        f"set record {{{record}}}\nsource {{{COMMANDS}}}\n"
        f"set vivado::state(cells) {{{' '.join(netlist.cells)}}}\nset vivado::state(ports) {{{' '.join(netlist.ports)}}}\n"
        f"set argv {{{' '.join(arguments)}}}\nset argc {len(arguments)}\nsource {{{script}}}\n"
    )
    _source(runner)
    calls = [line.split("\t") for line in record.read_text().splitlines()]
    return [Call(name, _pairs(options), arguments.split("|") if arguments else []) for name, options, arguments in calls]


def _pairs(text: str) -> dict[str, str]:
    words = text.split("|") if text else []
    return dict(zip(words[::2], words[1::2], strict=True))


def _source(runner: Path) -> None:
    if program := shutil.which("tclsh"):
        done = subprocess.run([program, str(runner)], capture_output=True, text=True)
        if done.returncode:
            raise ScriptError(done.stderr)
        return
    tkinter = pytest.importorskip("tkinter", reason="neither tclsh nor tkinter is here to run Tcl")
    try:
        tkinter.Tcl().evalfile(str(runner))
    except tkinter.TclError as error:
        raise ScriptError(str(error)) from None
