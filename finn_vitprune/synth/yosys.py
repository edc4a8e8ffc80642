"""Synthesis of single nodes with Yosys (pyosys with the slang front end) for UltraScale+.

A node is its RTL sources and the name of its top module. ``VP_YOSYS`` is defined, so that ROMs hold a
fixed pattern and the netlist does not depend on weights; the cache key leaves out the name of the node
and the names of its ROM files, so equal nodes of a network are synthesised once.

Modules that repeat in a node are mapped once and counted by instance (:mod:`hierarchy`). Their netlists are put together again
(:mod:`wiring`), so that the timing of a node (:mod:`timing`) sees across the borders of modules.

The cache keeps netlists, so that other rules of counting or timing need no synthesis.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from inspect import getfile
from math import ceil
from pathlib import Path

from pydantic import TypeAdapter

from finn_vitprune import cache, files, jobs
from finn_vitprune.errors import UserError
from finn_vitprune.synth import grid, hierarchy, library, timing, timing_cells, timing_graph, timing_names, timing_packing, wiring
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import Timing
from finn_vitprune.synth.timing_graph import CombinationalLoopError
from finn_vitprune.synth.tool import failure
from finn_vitprune.synth.wiring import Wiring

NETLIST, WIRING = "netlist.json", "wiring.npz"
"""The files of a cache entry: the cells that Yosys counted, and how they are wired."""
TIMING = "timing.json"
"""The file of a cache entry of its own: the timing of a netlist."""
TIMEOUT_S = 3600.0
"""Seconds one node may take."""

_READ = "read_slang --keep-hierarchy -D VP_YOSYS"
"""Keeps what says so in a module of its own (``vp_rom``)."""
_ALLOCATOR = "GLIBC_TUNABLES=glibc.malloc.tcache_count=65535"
"""Keeps freed memory by size: Yosys makes and removes cells and wires without end, and takes a seventh less processor time so."""
_RUN = (
    "import sys, pyosys; sys._pyosys_share_dirname = sys.argv[1]; "
    "from pyosys import libyosys as y; y.run_pass('script commands.ys', y.Design())"
)
_SYNTH = "synth_xilinx -family xcup -noiopad -flatten"
_HEX = re.compile(r'"[^"\n]*\.hex"')


class SynthesisError(UserError):
    """Yosys failed on a node; the text names it, says why and where the log is."""


@dataclass(frozen=True)
class NodeJob:
    """One node to synthesise: its name (the top module) and its sources in compile order.

    ``options`` are further options of the front end; ``boxes`` names black boxes that count nothing.
    """

    top: str
    sources: tuple[Path, ...]
    options: str = ""
    boxes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Netlist:
    """A synthesised node: what it occupies, its timing, and the folder of the cache that holds it."""

    resources: Resources
    timing: Timing
    folder: Path = field(compare=False, repr=False)

    def wiring(self) -> Wiring:
        """Its cells and nets."""
        return Wiring.load(self.folder / WIRING)

    def timing_within(self, corner_ns: float) -> Timing:
        """Its timing in a region whose far corner is ``corner_ns`` of wires from the middle, rounded up to .01, from the cache or made now."""
        steps = ceil(100 * corner_ns - 1e-6)
        constants = Path(str(grid.__file__)).with_name("wires.json").read_bytes()
        key = hashlib.sha256(f"{_timing_key(self.folder.name)} {steps}".encode() + constants).hexdigest()[:32]
        return _timed(self.folder, key, steps / 100)


def yosys_version() -> str:
    """Version of the Yosys that runs, as the package says it (for reports)."""
    return f"Yosys {version('pyosys')}"


def run_script(share: Path = library.OWN) -> tuple[str, ...]:
    """The command that runs ``commands.ys`` with a library: in a process of its own, which Yosys ends when it meets an error."""
    return "env", _ALLOCATOR, sys.executable, "-c", _RUN, f"{share}/"


def synth_node(sources: Sequence[str | Path], top: str, timeout_s: float = TIMEOUT_S) -> Resources:
    """Resources of one node, from the cache if an equal node was synthesised before.

    Args:
        sources: Verilog and SystemVerilog files, packages and leaves first.
        top: the module to synthesise.
        timeout_s: seconds after which Yosys is stopped.
    Raises:
        SynthesisError: a source is missing, Yosys fails, or it takes longer than ``timeout_s``.
    """
    return map_node(NodeJob(top, tuple(Path(s) for s in sources)), timeout_s).resources


def map_many(nodes: Sequence[NodeJob], workers: int = 2, timeout_s: float = TIMEOUT_S) -> Iterator[tuple[NodeJob, Netlist]]:
    """Synthesise several nodes and yield each with its netlist as soon as that is there; equal nodes run once.

    Args:
        workers: processes at a time, at least 1; none for what the cache holds.
        timeout_s: seconds one node may take.
    Raises:
        SynthesisError: the first failure; the other processes are stopped.
    """
    groups: dict[str, list[NodeJob]] = {}
    for node in nodes:
        groups.setdefault(cache_key(node), []).append(node)
    stored = {key: _stored(group[0]) for key, group in groups.items()}
    for key, netlist in stored.items():
        if netlist is not None:
            yield from ((node, netlist) for node in groups[key])
    missing = {group[0]: group for key, group in groups.items() if stored[key] is None}
    map_one = partial(map_node, timeout_s=timeout_s)
    told = jobs.Told("Yosys", len(missing))
    for first, netlist in jobs.run(map_one, missing, max(1, workers), lambda node: f"synthesis of {node.top}", told):
        yield from ((node, netlist) for node in missing[first])


def cache_key(job: NodeJob) -> str:
    """Hash of everything that the netlist of a job depends on, and of the form in which it is kept."""
    return _key(netlist_key(job))


def _key(netlist: str) -> str:
    """Hash of what says all of a netlist and of the form in which it is kept."""
    return hashlib.sha256(netlist.encode() + Path(wiring.__file__).read_bytes()).hexdigest()[:32]


def timing_key(job: NodeJob) -> str:
    """Hash of everything that the timing of a job depends on: the netlist, and the rules and constants of timing."""
    return _timing_key(cache_key(job))


def _timing_key(netlist: str) -> str:
    """Hash of the key of a netlist and of the rules and constants of timing."""
    modules = (timing, timing_cells, timing_graph, timing_names, timing_packing)
    rules = [Path(getfile(module)).read_bytes() for module in modules]
    constants = Path(timing.__file__).with_suffix(".json").read_bytes()
    return hashlib.sha256(b"".join((netlist.encode(), *rules, constants))).hexdigest()[:32]


def netlist_key(job: NodeJob) -> str:
    """Hash of everything the netlist depends on: sources, parameters, Yosys version, commands.

    The name of the node and the names of its ROM files are replaced by fixed words first.
    """
    name = re.compile(rf"\b{re.escape(job.top)}\b")
    digest = hashlib.sha256(f"{yosys_version()}\n{_READ} {job.options}\n{_SYNTH}\n".encode())
    digest.update(Path(hierarchy.__file__).read_bytes())
    for text in _read_sources(job):
        digest.update(name.sub("node", _HEX.sub('"rom.hex"', text)).encode() + b"\0")
    return digest.hexdigest()[:32]


def _read_sources(job: NodeJob) -> list[str]:
    try:
        return [path.read_text() for path in job.sources]
    except OSError as e:
        raise SynthesisError(f"synthesis of {job.top}: cannot read {e.filename}: {e.strerror}") from e


def map_node(job: NodeJob, timeout_s: float = TIMEOUT_S) -> Netlist:
    """The netlist of one job, from the cache if an equal one was synthesised before.

    Args:
        timeout_s: seconds after which Yosys is stopped.
    Raises:
        SynthesisError: a source is missing, Yosys fails, or it takes too long.
    """

    def synthesise(folder: Path) -> None:
        wired = _run_yosys(job, timeout_s)
        cells = {name: count for name, count in wired.count().items() if name not in job.boxes}
        _counted(job, cells)
        wired.save(folder / WIRING)
        files.write_json(folder / NETLIST, {"tool": yosys_version(), "top": job.top, "cells": cells}, indent=1)

    return _load(job, cache.entry(_cached(cache_key(job)), synthesise))


def _cached(key: str) -> str:
    return f"yosys/{key}"


def _stored(job: NodeJob) -> Netlist | None:
    """The netlist that the cache holds; None where there is none."""
    folder = cache.find(_cached(cache_key(job)))
    return None if folder is None else _load(job, folder)


def _load(job: NodeJob, folder: Path) -> Netlist:
    """The netlist in a folder of the cache, with its timing, which is made where the cache has none by these rules."""
    try:
        timed = _timed(folder, _timing_key(folder.name))
    except CombinationalLoopError as error:
        raise SynthesisError(f"timing of {job.top}: {error}") from error
    cells = json.loads((folder / NETLIST).read_text())["cells"]
    return Netlist(_counted(job, cells), timed, folder)


def _timed(folder: Path, key: str, corner_ns: float = 0.0) -> Timing:
    """The timing of a netlist in a folder of the cache, from the entry of a key, which is made where there is none."""

    def time_it(entry: Path) -> None:
        files.write_json(entry / TIMING, _TIMINGS.dump_python(timing.estimate(Wiring.load(folder / WIRING), corner_ns), mode="json"))

    return _TIMINGS.validate_json((cache.entry(f"timing/{key}", time_it) / TIMING).read_bytes())


_TIMINGS = TypeAdapter(Timing)


def _counted(job: NodeJob, cells: dict[str, int]) -> Resources:
    try:
        return Resources.from_cells(cells)
    except ValueError as e:
        raise SynthesisError(f"synthesis of {job.top}: {e}") from e


def _run_yosys(job: NodeJob, timeout_s: float) -> Wiring:
    """The mapped node: elaborated in one run, mapped in another, with one module for all equal instances."""
    ultra = any('"ultra"' in line for line in _read_sources(job)[-1].splitlines())
    paths = " ".join(quote(path.resolve()) for path in job.sources)
    with tempfile.TemporaryDirectory(prefix="vitprune_yosys_") as tmp:
        run = _Yosys(job.top, Path(tmp), timeout_s)
        rtlil, netlist = run.folder / "node.il", run.folder / "netlist.json"
        run([f"{_READ} {job.options} --top {job.top} {paths}", "proc", "opt_hier", f"write_rtlil {rtlil.name}"])
        rtlil.write_text(hierarchy.merged(rtlil.read_text(), job.top))
        run([f"read_rtlil {rtlil.name}", f"{_SYNTH}{' -uram' if ultra else ''} -top {job.top}", f"write_json {netlist.name}"])
        return Wiring.from_json(json.loads(netlist.read_text()))


@dataclass(frozen=True)
class _Yosys:
    """Runs Yosys for the node ``top`` in ``folder``, for ``timeout_s`` seconds in all."""

    top: str
    folder: Path
    timeout_s: float
    start: float = field(default_factory=time.monotonic)

    def __call__(self, commands: Sequence[str]) -> None:
        """Run commands.

        Raises:
            SynthesisError: Yosys fails, or the time is over.
        """
        (self.folder / "commands.ys").write_text("\n".join(commands))
        log = self.folder / "yosys.log"
        if (reason := failure("Yosys", run_script(library.ultrascale_plus()), log, self.timeout_s, self.start)) is None:
            return
        kept = cache.cache_dir() / "yosys" / "failed" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.top)}.log"
        files.write_text(kept, log.read_text(errors="replace"))
        raise SynthesisError(f"synthesis of {self.top}: {reason} (log: {kept})")


def quote(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if re.search(r"[\s;#]", text) else text
