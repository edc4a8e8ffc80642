"""Designs of units: each distinct structure is compiled once, however many units have it; streams connect the models.

The structure of a unit is its RTL without its name: the wrapper is compiled with the name :data:`UNIT`, and so are the
names of the files that its memories are read from. Each unit keeps these files, under the common names, in a folder of
its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from finn_vitprune.errors import UserError, describe
from finn_vitprune.files import write_text
from finn_vitprune.sim import toolchain
from finn_vitprune.sim.compile import compile_unit
from finn_vitprune.sim.ports import Port, Probe
from finn_vitprune.sim.run import Simulator

UNIT = "unit"
"""What the wrapper of every structure is called."""
TABLE = "units"
"""The file that describes a design to ``units.cpp``."""
MAC_SOURCE, MAC_MODEL = "vp_mac.sv", "VP_MAC_MODEL"
"""The source that puts a model in the place of the multiply-accumulate arrays, and the macro that says so."""
DRIVER = (-1, 0)
"""The driver's end of a net."""


@dataclass(frozen=True)
class UnitStructure:
    """What a unit is compiled from.

    Attributes:
        files: names and contents of the sources in compile order, the wrapper last.
        inputs, outputs: streams of the wrapper. Its other inputs are 0.
        defines: macros.
    """

    files: tuple[tuple[str, bytes], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    defines: tuple[str, ...] = ()

    @property
    def modelled(self) -> UnitStructure:
        """With the model of the multiply-accumulate arrays, which does the same in every cycle and is less code."""
        return replace(self, defines=(MAC_MODEL,)) if any(name == MAC_SOURCE for name, _ in self.files) else self

    @cached_property
    def key(self) -> str:
        """Digest; equal structures have the same."""
        return toolchain.digest(*(part for file in self.files for part in file), repr((self.inputs, self.outputs, self.defines)))

    def compile(self, at_once: int | None = None) -> Path:
        """The library, from the cache where it is; compiled by so many compilers at a time."""
        return compile_unit(UNIT, self.files, self.inputs, self.outputs, self.defines, at_once)


@dataclass(frozen=True)
class UnitSources:
    """A unit as generated: its name, and its sources in ``folder`` in compile order, the wrapper last."""

    name: str
    folder: Path
    sources: tuple[str, ...]

    def structure(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> UnitStructure:
        """The unit without its name.

        Raises:
            UserError: a source cannot be read.
        """
        *leaves, _ = self.sources
        files = [(name, self._read(name)) for name in leaves] + [(f"{UNIT}.v", self._common(self._wrapper).encode())]
        return UnitStructure(tuple(files), tuple(inputs), tuple(outputs))

    def lay_out(self, folder: Path, filled: Path | None = None, fills: Collection[str] = ()) -> None:
        """Link the files of the unit's memories into ``folder`` under the common names.

        Args:
            filled: folder of files that memories are filled from. fills: those of the unit, by their bare names without banks.
        """
        folder.mkdir(parents=True)
        wanted = {name for name in re.findall(r'"([^"\n]*)"', self._wrapper) if self._common(name) != name} | set(fills)
        for place in filter(None, (self.folder, filled)):
            for path in place.iterdir():
                match = _BANK.fullmatch(path.name)
                assert match, path  # every name does
                bank, name = match.groups()
                if name in wanted:
                    (folder / f"{bank or ''}{self._common(name)}").symlink_to(path.resolve())

    @cached_property
    def _wrapper(self) -> str:
        return self._read(self.sources[-1]).decode()

    def _common(self, text: str) -> str:
        """``text`` with :data:`UNIT` for the unit's name, as a word or as the start of one."""
        return re.sub(rf"\b{re.escape(self.name)}(?=_|\b)", UNIT, text)

    def _read(self, name: str) -> bytes:
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the RTL source {self.folder / name}: {describe(error)}") from error


_BANK = re.compile(r"(\d\d_)?(.*)")
"""A file name, and what is in front of it for one of several banks."""


@dataclass(frozen=True)
class PlacedUnit:
    """A unit of a design: the library of its structure, the folder of its files, the nets at its ports in their order."""

    name: str
    library: Path
    data: Path
    structure: UnitStructure
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class UnitsEdge:
    """An internal stream: the nets before and behind its FIFO."""

    probe: Probe
    before: str
    behind: str


def units_simulator(folder: Path, units: Sequence[PlacedUnit], edges: Sequence[UnitsEdge] = ()) -> Simulator:
    """A simulator of units that are connected where nets have the same name; it runs in ``folder``, and filled.

    Nets that no unit writes are inputs, those that none reads outputs, called as the net, in the order of the units.
    """
    written = {net: (i, k) for i, unit in enumerate(units) for k, net in enumerate(unit.outputs)}
    read = {net: (i, k) for i, unit in enumerate(units) for k, net in enumerate(unit.inputs)}
    ports: dict[str, Port] = {}
    for unit in units:
        ports |= zip(unit.inputs + unit.outputs, unit.structure.inputs + unit.structure.outputs)
    numbers = {net: i for i, net in enumerate(ports)}
    lines = [f"unit {unit.library} {unit.data} {unit.name}" for unit in units]
    for net, port in ports.items():
        ends = (*written.get(net, DRIVER), *read.get(net, DRIVER))
        lines.append(f"net {port.bytes} {' '.join(map(str, ends))}")
    lines += [f"edge {edge.probe.bytes} {numbers[edge.before]} {numbers[edge.behind]}" for edge in edges]
    write_text(folder / TABLE, "\n".join(lines) + "\n")
    return Simulator(
        toolchain.units_driver(),
        tuple(Port(net, port.width) for net, port in ports.items() if net not in written),
        tuple(Port(net, port.width) for net, port in ports.items() if net not in read),
        tuple(edge.probe for edge in edges),
        units=tuple(unit.name for unit in units),
    )
