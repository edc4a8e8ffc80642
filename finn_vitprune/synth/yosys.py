"""Synthesis of single nodes with Yosys (pyosys with the slang front end) for UltraScale+.

A node is its RTL sources and the name of its top module. ``VP_SYNTH`` is defined, so that ROMs hold a
fixed pattern and the netlist does not depend on weights; the cache key leaves out the name of the node
and the names of its ROM files, so equal nodes of a network are synthesised once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from finn_vitprune import files
from finn_vitprune.errors import UserError
from finn_vitprune.synth import depth
from finn_vitprune.synth.depth import Depth
from finn_vitprune.synth.resources import Resources, total

__all__ = [
    "Depth", "Netlist", "NodeJob", "Resources", "SynthesisError", "map_many", "map_node", "synth_many", "synth_node",
    "total", "yosys_version",
]

TIMEOUT_S = 3600.0
"""Seconds one node may take."""

_READ = "read_slang --keep-hierarchy -D VP_SYNTH"
"""Keeps what says so in a module of its own (``vp_rom``)."""
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
    return map_node(NodeJob(top, tuple(Path(s) for s in sources)), timeout_s, threading.Event()).resources


def synth_many(
    jobs: Sequence[NodeJob],
    workers: int = 2,
    progress: Callable[[str, Resources, float], None] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Resources]:
    """Synthesise several nodes in ``workers`` processes; equal nodes run once.

    Args:
        jobs: the nodes, with distinct names.
        workers: processes at a time, at least 1.
        progress: called in this thread with node name, resources and seconds as each node is done.
        timeout_s: seconds one node may take.
    Returns:
        Node name to resources, in the order of ``jobs``.
    Raises:
        SynthesisError: the first failure; the other processes are stopped.
    """
    results: dict[str, Resources] = {}
    started = time.monotonic()

    def done(job: NodeJob, netlist: Netlist) -> None:
        results[job.top] = netlist.resources
        if progress is not None:
            progress(job.top, netlist.resources, time.monotonic() - started)

    map_many(jobs, workers, done, timeout_s)
    return {job.top: results[job.top] for job in jobs}


def map_many(
    jobs: Sequence[NodeJob],
    workers: int,
    done: Callable[[NodeJob, Netlist], None],
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Synthesise in ``workers`` processes; equal jobs run once.

    Args:
        done: called in this thread for each job as its netlist is there.
        timeout_s: seconds one job may take.
    Raises:
        SynthesisError: the first failure; the other processes are stopped.
    """
    groups: dict[str, list[NodeJob]] = {}
    for job in jobs:
        groups.setdefault(cache_key(job), []).append(job)
    stop = threading.Event()
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        futures = {pool.submit(map_node, group[0], timeout_s, stop): group for group in groups.values()}
        for future in as_completed(futures):
            for job in futures[future]:
                done(job, future.result())
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def cache_key(job: NodeJob) -> str:
    """Hash of everything that is found depends on: the netlist, and the rules by which its depth is read."""
    return hashlib.sha256(netlist_key(job).encode() + Path(depth.__file__).read_bytes()).hexdigest()[:32]


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


def map_node(job: NodeJob, timeout_s: float, stop: threading.Event) -> Netlist:
    """The netlist of one job, from the cache if an equal one was synthesised before.

    Args:
        timeout_s: seconds after which Yosys is stopped. stop: ends it at once when set.
    Raises:
        SynthesisError: a source is missing, Yosys fails, or it takes too long.
    """
    cached = files.cache_dir() / "yosys" / f"{cache_key(job)}.json"
    if cached.is_file():
        try:
            content = json.loads(cached.read_text())
            return Netlist(Resources.from_dict(content["resources"]), Depth(**content["depth"]))
        except (ValueError, KeyError, TypeError):
            pass  # not written by this version: synthesise again
    found = _run_yosys(job, timeout_s, stop)
    cells = {name: count for name, count in found["cells"].items() if name not in job.boxes}
    try:
        netlist = Netlist(Resources.from_cells(cells), Depth(**found["depth"]))
    except ValueError as e:
        raise SynthesisError(f"synthesis of {job.top}: {e}") from e
    _write_atomic(cached, {"tool": yosys_version(), "top": job.top, "cells": cells, **asdict(netlist)})
    return netlist


def _run_yosys(job: NodeJob, timeout_s: float, stop: threading.Event) -> dict[str, dict[str, int]]:
    """Cell type to count of the mapped, flattened node, and its depth."""
    ultra = any('"ultra"' in line for line in _read_sources(job)[-1].splitlines())
    files = " ".join(_quote(path.resolve()) for path in job.sources)
    commands = [
        f"{_READ} {job.options} --top {job.top} {files}",
        f"{_SYNTH}{' -uram' if ultra else ''} -top {job.top}",
        "setattr -mod -unset keep_hierarchy",
        "flatten",
    ]
    with tempfile.TemporaryDirectory(prefix="vitprune_yosys_") as tmp:
        folder = Path(tmp)
        (folder / "job.json").write_text(json.dumps({"commands": commands}))
        log = folder / "yosys.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "finn_vitprune.synth.worker", "job.json", "result.json"],
                cwd=folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            reason = _wait(process, timeout_s, stop)
        result = folder / "result.json"
        if reason is None and process.returncode == 0 and result.is_file():
            return json.loads(result.read_text())
        kept = _keep_log(job, log)
    if reason is None:
        reason = _first_error(kept) or f"Yosys ended with exit code {process.returncode}"
    raise SynthesisError(f"synthesis of {job.top}: {reason} (log: {kept})")


def _wait(process: subprocess.Popen, timeout_s: float, stop: threading.Event) -> str | None:
    """Wait for the process; stop it with its children on time-out, on ``stop`` or on an exception."""
    deadline = time.monotonic() + timeout_s
    reason = None
    try:
        while process.poll() is None:
            if stop.is_set():
                reason = "stopped"
            elif time.monotonic() > deadline:
                reason = f"Yosys took longer than {timeout_s:g} s"
            if reason is not None:
                break
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return reason


def _first_error(log: Path) -> str | None:
    """The first message of slang (``file:line: ERROR: ...``) or else of Yosys that says what is wrong."""
    lines = log.read_text(errors="replace").splitlines()
    for line in lines:
        if match := re.match(r"(.+):(\d+): (?:ERROR|error): (.*)", line):
            return f"{Path(match[1]).name}:{match[2]}: {match[3]}"
    return next((line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")), None)


def _keep_log(job: NodeJob, log: Path) -> Path:
    folder = files.cache_dir() / "yosys" / "failed"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', job.top)}.log"
    kept.write_bytes(log.read_bytes())
    return kept


def _quote(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if re.search(r"[\s;#]", text) else text


def _write_atomic(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, tmp = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(fd, "w") as file:
            json.dump(content, file, indent=1)
        os.replace(tmp, path)
    except BaseException:
        Path(tmp).unlink(missing_ok=True)
        raise
