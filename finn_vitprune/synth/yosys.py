"""Synthesis of single nodes with Yosys (pyosys with the slang front end) for UltraScale+.

A node is its RTL sources and the name of its top module. ``VP_SYNTH`` is defined, so that ROMs hold a
fixed pattern and the netlist does not depend on weights; the cache key leaves out the name of the node
and the names of its ROM files, so equal nodes of a network are synthesised once.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from finn_vitprune import cache, files, jobs
from finn_vitprune.errors import UserError
from finn_vitprune.processes import ProcessGroup, fault
from finn_vitprune.synth import depth, resources
from finn_vitprune.synth.depth import Depth, logic_depth
from finn_vitprune.synth.resources import Resources

NETLIST = "netlist.json"
"""The file of a cache entry: what Yosys counted."""
TIMEOUT_S = 3600.0
"""Seconds one node may take."""

_READ = "read_slang --keep-hierarchy -D VP_SYNTH"
"""Keeps what says so in a module of its own (``vp_rom``)."""
_YOSYS = [sys.executable, "-c", "from pyosys import libyosys as y; y.run_pass('script commands.ys', y.Design())"]
"""Runs a script in a process of its own: Yosys ends the process that it lives in when it meets an error."""
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
    """A synthesised node: what it occupies and how deep its logic is."""

    resources: Resources
    depth: Depth


def yosys_version() -> str:
    """Version of the Yosys that runs, as the package says it (for reports)."""
    return f"Yosys {version('pyosys')}"


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
    stored = {key: _stored(key) for key in groups}
    for key, netlist in stored.items():
        if netlist is not None:
            yield from ((node, netlist) for node in groups[key])
    missing = {group[0]: group for key, group in groups.items() if stored[key] is None}
    map_one = partial(map_node, timeout_s=timeout_s)
    for first, netlist in jobs.run(map_one, missing, max(1, workers), lambda node: f"synthesis of {node.top}"):
        yield from ((node, netlist) for node in missing[first])


def cache_key(job: NodeJob) -> str:
    """Hash of everything that is found depends on: the netlist, and the rules by which its cells and depth are counted."""
    rules = b"".join(Path(module.__file__).read_bytes() for module in (depth, resources))
    return hashlib.sha256(netlist_key(job).encode() + rules).hexdigest()[:32]


def netlist_key(job: NodeJob) -> str:
    """Hash of everything the netlist depends on: sources, parameters, Yosys version, commands.

    The name of the node and the names of its ROM files are replaced by fixed words first.
    """
    name = re.compile(rf"\b{re.escape(job.top)}\b")
    digest = hashlib.sha256(f"{yosys_version()}\n{_READ} {job.options}\n{_SYNTH}\n".encode())
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
        found, levels = _run_yosys(job, timeout_s)
        cells = {name: count for name, count in found.items() if name not in job.boxes}
        try:
            netlist = Netlist(Resources.from_cells(cells), levels)
        except ValueError as e:
            raise SynthesisError(f"synthesis of {job.top}: {e}") from e
        content = {"tool": yosys_version(), "top": job.top, "cells": cells, **asdict(netlist)}
        files.write_json(folder / NETLIST, content, indent=1)

    return _load(cache.entry(_cached(cache_key(job)), synthesise))


def _cached(key: str) -> str:
    return f"yosys/{key}"


def _stored(key: str) -> Netlist | None:
    """The netlist that the cache holds; None where there is none."""
    folder = cache.find(_cached(key))
    return folder and _load(folder)


def _load(folder: Path) -> Netlist:
    content = json.loads((folder / NETLIST).read_text())
    return Netlist(Resources(**content["resources"]), Depth(**content["depth"]))


def _run_yosys(job: NodeJob, timeout_s: float) -> tuple[dict[str, int], Depth]:
    """Cell type to count of the mapped, flattened node, and its depth."""
    ultra = any('"ultra"' in line for line in _read_sources(job)[-1].splitlines())
    paths = " ".join(_quote(path.resolve()) for path in job.sources)
    commands = [
        f"{_READ} {job.options} --top {job.top} {paths}",
        f"{_SYNTH}{' -uram' if ultra else ''} -top {job.top}",
        "setattr -mod -unset keep_hierarchy",
        "flatten",
        "tee -q -o stat.json stat -json",
        "write_json netlist.json",
    ]
    reason = None
    with tempfile.TemporaryDirectory(prefix="vitprune_yosys_") as tmp:
        folder = Path(tmp)
        (folder / "commands.ys").write_text("\n".join(commands))
        log = folder / "yosys.log"
        with log.open("wb") as out, ProcessGroup() as group:
            process = group.start(_YOSYS, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                reason = f"Yosys took longer than {timeout_s:g} s"
        if process.returncode == 0:
            cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
            return cells, logic_depth(json.loads((folder / "netlist.json").read_text()))
        kept = cache.cache_dir() / "yosys" / "failed" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', job.top)}.log"
        files.write_text(kept, log.read_text(errors="replace"))
    text = kept.read_text(errors="replace")
    reason = reason or fault(process.returncode, text) or _first_error(text) or f"exit code {process.returncode} of Yosys"
    raise SynthesisError(f"synthesis of {job.top}: {reason} (log: {kept})")


def _first_error(text: str) -> str | None:
    """The first message of slang (``file:line: ERROR: ...``) or else of Yosys that says what is wrong."""
    lines = text.splitlines()
    for line in lines:
        if match := re.match(r"(.+):(\d+): (?:ERROR|error): (.*)", line):
            return f"{Path(match[1]).name}:{match[2]}: {match[3]}"
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), None)


def _quote(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if re.search(r"[\s;#]", text) else text
