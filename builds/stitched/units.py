"""A stitched design unit by unit: each distinct structure compiled once, every node alone, all of them together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from finn_vitprune import jobs
from finn_vitprune.builds.stitched.accelerator import Simulated, edge_probes
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.custom_ops.op.netlist import StitchedUnit
from finn_vitprune.options.build import Simulation
from finn_vitprune.sim import Port, contents
from finn_vitprune.sim.structures import NodeStreams, StructureJob, StructureNode, StructureRun, run_structure
from finn_vitprune.sim.units import PlacedUnit, UnitsEdge, UnitSources, UnitStructure, units_simulator

LARGE = 300_000
"""Size (:func:`.stitch.unit_size`) of a design from which on it is simulated unit by unit."""


def simulated_by_units(design: StitchedDesign, wish: Simulation) -> bool:
    """Whether a design is simulated unit by unit, and not in one piece."""
    return design.size >= LARGE if wish == "auto" else wish == "units"


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
        told = jobs.Told("compiling units and running them alone" if streams else "compiling units", len(groups))
        for job, result in jobs.run(run_structure, todo, workers, _named, told):
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

    def _job(self, units: Sequence[StitchedUnit], streams: Callable[[str], NodeStreams | None] | None) -> StructureJob:
        nodes = (StructureNode(unit.name, self._data(unit), streams and streams(unit.name)) for unit in units)
        return StructureJob(self.structures[units[0].name], tuple(nodes))


def _named(job: StructureJob) -> str:
    return job.nodes[0].name
