"""Synthesis of single nodes with Yosys (pyosys with the slang front end) for UltraScale+.

A node is its RTL sources and the name of its top module. ``VP_SYNTH`` is defined, so that ROMs hold a
fixed pattern and the netlist does not depend on weights; the cache key leaves out the name of the node
and the names of its ROM files, so equal nodes of a network are synthesised once.

A small node is mapped in one piece. In a large one (:data:`LARGE`) the modules that repeat are mapped once and counted by
instance (:mod:`hierarchy`); equal modules of several nodes are mapped once, too. Their netlists are put together again
(:mod:`wiring`), so that the timing of a node (:mod:`timing`) sees across the borders of parts.

The cache keeps netlists, so that other rules of counting or timing need no synthesis.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter

from finn_vitprune import cache, files, jobs
from finn_vitprune.errors import UserError
from finn_vitprune.synth import hierarchy, library, timing, timing_cells, timing_graph, timing_names, timing_packing, wiring
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

LARGE = 1_000
"""Size of a node from which on it is mapped by parts: LUTs as estimated, and :data:`DSP_SIZE` for each DSP slice."""
DSP_SIZE = 8

_READ = "read_slang --keep-hierarchy -D VP_SYNTH"
"""Keeps what says so in a module of its own (``vp_rom``)."""
_ALLOCATOR = "GLIBC_TUNABLES=glibc.malloc.tcache_count=65535"
"""Keeps freed memory by size: Yosys makes and removes cells and wires without end, and takes a seventh less processor time so."""
_RUN = (
    "import sys, pyosys; sys._pyosys_share_dirname = sys.argv[1]; "
    "from pyosys import libyosys as y; y.run_pass('script commands.ys', y.Design())"
)
_SYNTH = "synth_xilinx -family xcup -noiopad -flatten"
_WRITE = ("tee -q -o stat.json stat -json", "write_json netlist.json")
_HEX = re.compile(r'"[^"\n]*\.hex"')


class SynthesisError(UserError):
    """Yosys failed on a node; the text names it, says why and where the log is."""


@dataclass(frozen=True)
class NodeJob:
    """One node to synthesise: its name (the top module) and its sources in compile order.

    ``options`` are further options of the front end; ``boxes`` names black boxes that count nothing. ``luts`` and
    ``dsps`` are what the node is estimated to take, which decides how it is mapped.
    """

    top: str
    sources: tuple[Path, ...]
    options: str = ""
    boxes: tuple[str, ...] = ()
    luts: int = 0
    dsps: int = 0

    @property
    def by_parts(self) -> bool:
        """Whether modules that repeat are mapped once."""
        return self.luts + DSP_SIZE * self.dsps >= LARGE


@dataclass(frozen=True)
class Netlist:
    """A synthesised node: what it occupies, its timing, and the folder of the cache that holds it."""

    resources: Resources
    timing: Timing
    folder: Path = field(compare=False, repr=False)

    def wiring(self) -> Wiring:
        """Its cells and nets."""
        return Wiring.load(self.folder / WIRING)


def yosys_version() -> str:
    """Version of the Yosys that runs, as the package says it (for reports)."""
    return f"Yosys {version('pyosys')}"


def run_script(share: Path = library.OWN) -> tuple[str, ...]:
    """The command that runs ``commands.ys`` with a library: in a process of its own, which Yosys ends when it meets an error."""
    return "env", _ALLOCATOR, sys.executable, "-c", _RUN, f"{share}/"


def tool(jobs: Iterable[NodeJob]) -> str:
    """What counts the jobs, and how many of them by parts (for reports)."""
    parts = sum(job.by_parts for job in jobs)
    return f"{yosys_version()}, {parts} large node{'s' if parts > 1 else ''} by parts" if parts else yosys_version()


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


def map_many(
    nodes: Sequence[NodeJob], workers: int = 2, timeout_s: float = TIMEOUT_S
) -> Iterator[tuple[NodeJob, Netlist]]:
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
    rules = [Path(module.__file__).read_bytes() for module in modules]
    constants = Path(timing.__file__).with_suffix(".json").read_bytes()
    return hashlib.sha256(b"".join((netlist.encode(), *rules, constants))).hexdigest()[:32]


def netlist_key(job: NodeJob) -> str:
    """Hash of everything the netlist depends on: sources, parameters, Yosys version, commands.

    The name of the node and the names of its ROM files are replaced by fixed words first.
    """
    name = re.compile(rf"\b{re.escape(job.top)}\b")
    digest = hashlib.sha256(f"{yosys_version()}\n{_READ} {job.options}\n{_SYNTH}\n".encode())
    if job.by_parts:
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
        found, wired = _run_yosys(job, timeout_s)
        cells = {name: count for name, count in found.items() if name not in job.boxes}
        _counted(job, cells)
        wired.save(folder / WIRING)
        files.write_json(folder / NETLIST, {"tool": tool([job]), "top": job.top, "cells": cells}, indent=1)

    return _load(job, cache.entry(_cached(cache_key(job)), synthesise))


def _cached(key: str) -> str:
    return f"yosys/{key}"


def _stored(job: NodeJob) -> Netlist | None:
    """The netlist that the cache holds; None where there is none."""
    folder = cache.find(_cached(cache_key(job)))
    return folder and _load(job, folder)


def _load(job: NodeJob, folder: Path) -> Netlist:
    """The netlist in a folder of the cache, with its timing, which is made where the cache has none by these rules."""

    def time_it(entry: Path) -> None:
        try:
            found = timing.estimate(Wiring.load(folder / WIRING))
        except CombinationalLoopError as error:
            raise SynthesisError(f"timing of {job.top}: {error}") from error
        files.write_json(entry / TIMING, _TIMINGS.dump_python(found, mode="json"))

    timed = cache.entry(f"timing/{_timing_key(folder.name)}", time_it)
    cells = json.loads((folder / NETLIST).read_text())["cells"]
    return Netlist(_counted(job, cells), _TIMINGS.validate_json((timed / TIMING).read_bytes()), folder)


_TIMINGS = TypeAdapter(Timing)


def _counted(job: NodeJob, cells: dict[str, int]) -> Resources:
    try:
        return Resources.from_cells(cells)
    except ValueError as e:
        raise SynthesisError(f"synthesis of {job.top}: {e}") from e


def _run_yosys(job: NodeJob, timeout_s: float) -> tuple[dict[str, int], Wiring]:
    """Cell type to count of the mapped node, and its wiring."""
    ultra = any('"ultra"' in line for line in _read_sources(job)[-1].splitlines())
    paths = " ".join(quote(path.resolve()) for path in job.sources)
    read = f"{_READ} {job.options} --top {job.top} {paths}"
    synth = f"{_SYNTH}{' -uram' if ultra else ''}"
    with tempfile.TemporaryDirectory(prefix="vitprune_yosys_") as tmp:
        run = _Yosys(job.top, Path(tmp), timeout_s)
        if job.by_parts:
            return _by_parts(run, job, read, synth)
        run([read, f"{synth} -top {job.top}", "setattr -mod -unset keep_hierarchy", "flatten", *_WRITE])
        return run.mapped()


def _by_parts(run: _Yosys, job: NodeJob, read: str, synth: str) -> tuple[dict[str, int], Wiring]:
    """The sum of a node's pieces, each mapped once, and the pieces put together; the cache holds pieces, too."""
    run([read, "proc", "opt_hier", "write_rtlil node.il"])
    commands = ["read_rtlil piece.il", f"{synth} -top {hierarchy.TOP}", *_WRITE]
    sums: dict[str, Counter[str]] = {}
    wired: dict[str, Wiring] = {}
    for piece in hierarchy.pieces((run.folder / "node.il").read_text(), job.top):

        def synthesise(folder: Path, text: str = piece.text) -> None:
            (run.folder / "piece.il").write_text(text)
            run(commands)
            cells, mapped = run.mapped()
            mapped.save(folder / WIRING)
            files.write_json(folder / NETLIST, {"tool": yosys_version(), "cells": cells}, indent=1)

        folder = cache.entry(_cached(_key("\n".join((yosys_version(), *commands, piece.text)))), synthesise)
        sums[piece.name] = Counter()
        for kind, count in json.loads((folder / NETLIST).read_text())["cells"].items():
            sums[piece.name].update({k: n * count for k, n in sums.get(kind, {kind: 1}).items()})
        wired[piece.name] = Wiring.load(folder / WIRING).with_parts(wired)
    return dict(sums[job.top]), wired[job.top]


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

    def mapped(self) -> tuple[dict[str, int], Wiring]:
        """Cell type to count, and wiring, of what :data:`_WRITE` wrote last."""
        stat, netlist = (json.loads((self.folder / name).read_text()) for name in ("stat.json", "netlist.json"))
        return stat["design"]["num_cells_by_type"], Wiring.from_json(netlist)


def quote(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if re.search(r"[\s;#]", text) else text
