"""What a worker does with a structure of a design unit by unit: compiles it, and runs its nodes alone.

A worker starts anew for each design, so this module, and what jobs and results are made of, import little.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune.sim.run import Stimulus
from finn_vitprune.sim.units import PlacedUnit, UnitStructure, units_simulator

NODE_TRAFFIC = {"back to back": Stimulus(), "with pauses and stalls": Stimulus(seed=11, pause=0.3, stall=0.3)}
"""Runs of every node alone, overlapping frames in each."""


@dataclass(frozen=True)
class NodeStreams:
    """Beats of ``frames`` at the ports of a node, uint8 ``[beats, bytes]``; by estimate a frame takes ``cycles``.

    ``frames`` is None where they are of several encoders and sizes: no interval is measured then.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    frames: int | None
    cycles: int


@dataclass(frozen=True)
class NodeRun:
    """What a node alone did: beats compared in all runs, those that differ or lack, and what else was wrong.

    ``interval``: cycles between its overlapping frames, back to back, the first two left out; None of fewer than three, and of
    a unit of several encoders.
    """

    name: str
    beats: int
    mismatches: int
    problem: str
    interval: float | None


@dataclass(frozen=True)
class StructureRun:
    """A structure: its library for the accelerator, seconds of compiling, and its nodes alone with their seconds."""

    library: Path
    compile_s: float
    nodes: tuple[NodeRun, ...]
    run_s: float


@dataclass(frozen=True)
class StructureNode:
    """A node of a structure, with its files and, where it runs alone, its streams."""

    name: str
    data: Path
    streams: NodeStreams | None


@dataclass(frozen=True)
class StructureJob:
    """A structure and its nodes."""

    structure: UnitStructure
    nodes: tuple[StructureNode, ...]


def run_structure(job: StructureJob) -> StructureRun:
    """Compile a structure, one compiler at a time, and run its nodes."""
    alone = [(node, node.streams) for node in job.nodes if node.streams is not None]
    started = time.monotonic()
    library = job.structure.modelled.compile(at_once=1)
    real = job.structure.compile(at_once=1) if alone else library
    compiled = time.monotonic()
    nodes = tuple(_run_alone(node, streams, job.structure, real) for node, streams in alone)
    return StructureRun(library, compiled - started, nodes, time.monotonic() - compiled)


def _run_alone(node: StructureNode, streams: NodeStreams, structure: UnitStructure, library: Path) -> NodeRun:
    """A node on its frames in all of :data:`NODE_TRAFFIC`."""
    ins, outs = (tuple(port.name for port in ports) for ports in (structure.inputs, structure.outputs))
    mismatches, problems, interval = 0, [], None
    expected = dict(zip(outs, streams.outputs))
    with tempfile.TemporaryDirectory(prefix="vitprune-node-") as name:
        simulator = units_simulator(Path(name), [PlacedUnit(node.name, library, node.data, structure, ins, outs)])
        for kind, stimulus in NODE_TRAFFIC.items():
            result = simulator.run(
                dict(zip(ins, streams.inputs)), expected, data_dir=name, stimulus=stimulus, idle_limit=4 * streams.cycles + 4000, fill=True
            )
            mismatches += sum(map(len, result.mismatches.values()))
            frames = streams.frames or 0
            if stimulus == Stimulus() and frames > 2 and not result.deadlock:
                interval = max(float(result.intervals(port, len(beats) // frames)[1:].mean()) for port, beats in expected.items())
            if result.deadlock:
                problems.append(f"{kind}, {', '.join(str(result.deadlock).splitlines())}")
            elif result.violations or any(result.extra_beats.values()):
                problems.append(f"{kind}, it breaks the stream protocol: {result.violations or 'extra beats'}")
    beats = len(NODE_TRAFFIC) * sum(map(len, expected.values()))
    return NodeRun(node.name, beats, mismatches, "; ".join(problems), interval)
