"""A stitched design unit by unit: each distinct structure compiled once, every node alone, all of them together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune import jobs
from finn_vitprune.builds.stitched.accelerator import Simulated, edge_probes
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.custom_ops.op.netlist import StitchedUnit
from finn_vitprune.options.build import Simulation
from finn_vitprune.sim import Port, Stimulus, contents
from finn_vitprune.sim.units import PlacedUnit, UnitsEdge, UnitSources, UnitStructure, units_simulator

NODE_TRAFFIC = {"back to back": Stimulus(), "with pauses and stalls": Stimulus(seed=11, pause=0.3, stall=0.3)}
"""Runs of every node alone, overlapping frames in each."""


LARGE = 300_000
"""Size (:func:`.stitch.unit_size`) of a design from which on it is simulated unit by unit."""


def simulated_by_units(design: StitchedDesign, wish: Simulation) -> bool:
    """Whether a design is simulated unit by unit, and not in one piece."""
    return design.size >= LARGE if wish == "auto" else wish == "units"


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
class _Node:
    """A node of a structure, with its files and, where it runs alone, its streams."""

    name: str
    data: Path
    streams: NodeStreams | None


@dataclass(frozen=True)
class _Job:
    structure: UnitStructure
    nodes: tuple[_Node, ...]


class DesignUnits:
    """The units of a design in groups of one structure, and, as long as it is open, the files of each in a folder."""

    def __init__(self, design: StitchedDesign, loaded: contents.Contents | None = None) -> None:
        """``loaded``: in place of the design's own contents."""
        self.design = design
        self._keep = tempfile.TemporaryDirectory(prefix="vitprune-units-")
        self.folder = Path(self._keep.name)
        self._filled = self.folder / "fill"
        self._filled.mkdir()
        self._fills: dict[str, set[str]] = {}
        if contents.CONTENTS in design.digests:
            loaded = loaded or contents.Contents.load(design.folder)
            loaded.fill(self._filled)
            for region in loaded.regions:
                self._fills.setdefault(region.unit, set()).add(contents.fill_file(region.unit, region.memory))
        self.structures = {unit.name: self._structure(unit) for unit in design.units}
        self._libraries: dict[str, Path] = {}

    def __enter__(self) -> DesignUnits:
        return self

    def __exit__(self, *_: object) -> None:
        self._keep.cleanup()

    @property
    def groups(self) -> dict[str, list[StitchedUnit]]:
        """The units by the key of their structure."""
        found: dict[str, list[StitchedUnit]] = {}
        for unit in self.design.units:
            found.setdefault(self.structures[unit.name].key, []).append(unit)
        return found

    def run(
        self, workers: int, streams: Callable[[str], NodeStreams | None] | None = None, size: Callable[[str], int] = lambda _: 0
    ) -> Iterator[StructureRun]:
        """Compile every structure, in so many processes, and run its nodes alone as soon as it is there.

        Nodes alone have the MAC implementation of the plan. The accelerator has :attr:`UnitStructure.modelled`.

        Args:
            streams: of a node; one without them does not run.
            size: of a node by its name; the structures of large nodes come first.
        """
        groups = sorted(self.groups.values(), key=lambda units: size(units[0].name), reverse=True)
        todo = (self._job(units, streams) for units in groups)
        for job, result in jobs.run(_run, todo, workers, _named, jobs.Told("compiling units", len(groups))):
            self._libraries[job.structure.key] = result.library
            yield result

    def compile(self, workers: int) -> None:
        """Compile every structure, in so many processes."""
        for _ in self.run(workers):
            pass

    def simulated(self) -> Simulated:
        """The design of all units, whose structures :meth:`run` compiled; good as long as this is open."""
        placed = [self._placed(unit) for unit in self.design.units]
        edges = [UnitsEdge(p, e.source_tensor, e.tensor) for p, e in zip(edge_probes(self.design), self.design.edges)]
        return Simulated(units_simulator(self.folder, placed, edges), self.folder, {}, fill=True)

    def _structure(self, unit: StitchedUnit) -> UnitStructure:
        sources = UnitSources(unit.name, self.design.folder, tuple(unit.sources))
        sources.lay_out(self._data(unit), self._filled, self._fills.get(unit.name, ()))
        inputs, outputs = (
            [Port(f"{kind}{i}_V", net.bits) for i, net in enumerate(nets)] for kind, nets in (("in", unit.inputs), ("out", unit.outputs))
        )
        return sources.structure(inputs, outputs)

    def _placed(self, unit: StitchedUnit) -> PlacedUnit:
        structure = self.structures[unit.name]
        inputs, outputs = (tuple(net.tensor for net in nets) for nets in (unit.inputs, unit.outputs))
        return PlacedUnit(unit.name, self._libraries[structure.key], self._data(unit), structure, inputs, outputs)

    def _data(self, unit: StitchedUnit) -> Path:
        return self.folder / "files" / unit.name

    def _job(self, units: Sequence[StitchedUnit], streams: Callable[[str], NodeStreams | None] | None) -> _Job:
        nodes = (_Node(unit.name, self._data(unit), streams and streams(unit.name)) for unit in units)
        return _Job(self.structures[units[0].name], tuple(nodes))


def _named(job: _Job) -> str:
    return job.nodes[0].name


# --- in a worker ---------------------------------------------------------------------------------


def _run(job: _Job) -> StructureRun:
    """Compile a structure, one compiler at a time, and run its nodes."""
    alone = [node for node in job.nodes if node.streams is not None]
    started = time.monotonic()
    library = job.structure.modelled.compile(at_once=1)
    real = job.structure.compile(at_once=1) if alone else None
    compiled = time.monotonic()
    nodes = tuple(_run_alone(node, job.structure, real) for node in alone)
    return StructureRun(library, compiled - started, nodes, time.monotonic() - compiled)


def _run_alone(node: _Node, structure: UnitStructure, library: Path) -> NodeRun:
    """A node on its frames in all of :data:`NODE_TRAFFIC`."""
    ins, outs = (tuple(port.name for port in ports) for ports in (structure.inputs, structure.outputs))
    mismatches, problems, interval = 0, [], None
    expected = dict(zip(outs, node.streams.outputs))
    with tempfile.TemporaryDirectory(prefix="vitprune-node-") as name:
        simulator = units_simulator(Path(name), [PlacedUnit(node.name, library, node.data, structure, ins, outs)])
        for kind, stimulus in NODE_TRAFFIC.items():
            result = simulator.run(
                dict(zip(ins, node.streams.inputs)),
                expected,
                data_dir=name,
                stimulus=stimulus,
                idle_limit=4 * node.streams.cycles + 4000,
                fill=True,
            )
            mismatches += sum(map(len, result.mismatches.values()))
            if stimulus == Stimulus() and (node.streams.frames or 0) > 2 and not result.deadlock:
                interval = max(
                    float(result.intervals(port, len(beats) // node.streams.frames)[1:].mean()) for port, beats in expected.items()
                )
            if result.deadlock:
                problems.append(f"{kind}, {', '.join(str(result.deadlock).splitlines())}")
            elif result.violations or any(result.extra_beats.values()):
                problems.append(f"{kind}, it breaks the stream protocol: {result.violations or 'extra beats'}")
    beats = len(NODE_TRAFFIC) * sum(map(len, expected.values()))
    return NodeRun(node.name, beats, mismatches, "; ".join(problems), interval)
