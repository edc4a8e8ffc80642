"""A mapped netlist as arrays: the cells of a kind are a matrix of the nets at their pins.

It is read from what ``write_json`` of Yosys gives, kept in a file of some hundred kilobytes, and put together from parts
that were mapped apart. Net 0 stands for constants and for what is not connected.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from finn_vitprune.files import whole_file

_KEPT = ("AREG", "BREG", "CREG", "DREG", "ADREG", "MREG", "PREG", "OPMODEREG", "AMULTSEL", "BMULTSEL",
         "DOA_REG", "DOB_REG", "OREG_A", "OREG_B", "OREG_ECC_A", "OREG_ECC_B", "IREG_PRE_A", "IREG_PRE_B")  # fmt: skip
"""Parameters of cells that change their timing."""
_UNNAMED = ("LUT", "INV", "FD", "LD", "CARRY", "MUXF", "BUFG")
"""Types of cells that go by the nets at them."""
_REGISTER = "_q"
"""How names of registers end here, for names that a reader finds; no figure depends on it."""
_GENERATED = re.compile(r"genblk\d+(\[\d+\])?")
"""Parts of paths that no source names."""

Pin = tuple[str, int, bool]
"""Port, bit, and whether the cell drives it."""


@dataclass(frozen=True)
class CellKind:
    """A type of cell with the parameters that change its timing and its pins."""

    type: str
    parameters: tuple[tuple[str, str], ...]
    pins: tuple[Pin, ...]

    def parameter(self, name: str, default: str = "0") -> str:
        """The value of a parameter; numbers are decimal."""
        return dict(self.parameters).get(name, default)

    def with_parameter(self, name: str, value: str) -> CellKind:
        """The kind with another value."""
        return replace(self, parameters=tuple(sorted((dict(self.parameters) | {name: value}).items())))

    def columns(self, *ports: str) -> list[int]:
        """Places of the pins of some ports, by port and bit."""
        return [i for port in ports for i, pin in enumerate(self.pins) if pin[0] == port]


@dataclass(frozen=True)
class Cells:
    """Cells of a kind: ``nets`` ``[cells, pins]``, and of each the place of its name and of its scope, -1 for none."""

    kind: CellKind
    nets: np.ndarray
    name: np.ndarray
    scope: np.ndarray

    def take(self, rows: np.ndarray) -> Cells:
        """Some of the cells."""
        return Cells(self.kind, self.nets[rows], self.name[rows], self.scope[rows])


@dataclass(frozen=True)
class Wiring:
    """A netlist.

    Attributes:
        nets: how many there are, with net 0. cells: by kind. ports: nets of the ports by name.
        inputs: names of the ports that drive nets. names: of cells and nets, without path and bit. scopes: the paths.
        net_name, net_bit, net_scope: of every net the places of its name and of its path, and its bit, -1 for none.
    """

    nets: int
    cells: tuple[Cells, ...]
    ports: Mapping[str, np.ndarray]
    inputs: tuple[str, ...]
    names: list[str]
    scopes: list[str]
    net_name: np.ndarray
    net_bit: np.ndarray
    net_scope: np.ndarray

    def count(self) -> dict[str, int]:
        """Cells by type."""
        found: dict[str, int] = defaultdict(int)
        for group in self.cells:
            found[group.kind.type] += len(group.nets)
        return dict(found)

    def net_label(self, net: int, bit: bool = True) -> str:
        """Name of a net with its path, empty where the sources do not name it."""
        if self.net_name[net] < 0:
            return ""
        text = self.scopes[self.net_scope[net]] + self.names[self.net_name[net]]
        return text if self.net_bit[net] < 0 or not bit else f"{text}[{self.net_bit[net]}]"

    def with_parts(self, parts: Mapping[str, Wiring]) -> Wiring:
        """The netlist with ``parts`` in place of the cells of their names; nets on both sides of a port become one."""
        merged = _Merge(self)
        for group in self.cells:
            part = parts.get(group.kind.type)
            if part is None:
                merged.add_cells(group)
            else:
                merged.add_part(group, part)
        return merged.result()

    def save(self, path: Path) -> None:
        """Write the netlist to a file, whole or not at all."""
        arrays: dict[str, Any] = {"net_name": self.net_name, "net_bit": self.net_bit, "net_scope": self.net_scope}
        for i, group in enumerate(self.cells):
            arrays |= {f"nets{i}": group.nets, f"name{i}": group.name, f"scope{i}": group.scope}
        about = {
            "nets": self.nets, "names": self.names, "scopes": self.scopes, "inputs": self.inputs,
            "ports": {name: nets.tolist() for name, nets in self.ports.items()},
            "kinds": [(g.kind.type, g.kind.parameters, g.kind.pins) for g in self.cells],
        }  # fmt: skip
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with whole_file(path) as partial, partial.open("wb") as out:
            np.savez_compressed(out, **arrays)

    @classmethod
    def load(cls, path: Path) -> Wiring:
        """The inverse of :meth:`save`."""
        with np.load(path) as arrays:
            about = json.loads(arrays["about"].tobytes())
            kinds = [CellKind(t, tuple(map(tuple, p)), tuple(map(tuple, pins))) for t, p, pins in about["kinds"]]
            columns = ("nets", "name", "scope")
            cells = [Cells(kind, *(arrays[f"{name}{i}"] for name in columns)) for i, kind in enumerate(kinds)]
            return cls(
                about["nets"], tuple(cells), {n: np.array(v, np.int32) for n, v in about["ports"].items()},
                tuple(about["inputs"]), about["names"], about["scopes"],
                arrays["net_name"], arrays["net_bit"], arrays["net_scope"],
            )  # fmt: skip

    @classmethod
    def from_json(cls, netlist: Mapping) -> Wiring:
        """The top module of a netlist as ``write_json`` gives it, with the modules that it still has put in place."""
        modules = netlist["modules"]
        boxes = {n for n, m in modules.items() if {"blackbox", "whitebox"} & m.get("attributes", {}).keys()}
        tops = [n for n, m in modules.items() if n not in boxes and "top" in m.get("attributes", {})]
        [top] = tops or [n for n in modules if n not in boxes]

        def whole(name: str) -> Wiring:
            module = _module(modules[name])
            below = {kind for kind in module.count() if kind in modules and kind not in boxes}
            return module.with_parts({kind: whole(kind) for kind in below}) if below else module

        return whole(top)


@dataclass
class _Names:
    """Places of names."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))


def _module(module: Mapping) -> Wiring:
    """One module of ``write_json``."""
    names, rows = _Names(), defaultdict(list)
    for name, cell in module["cells"].items():
        kind = cell["type"]
        if kind.startswith("$"):
            continue  # scopes and checks, which are no hardware
        directions, pins = cell["port_directions"], cell["connections"]
        values = cell.get("parameters", {})
        key = (
            kind, tuple((p, _value(values[p])) for p in _KEPT if p in values),
            tuple((port, len(bits), directions.get(port) == "output") for port, bits in pins.items()),
        )  # fmt: skip
        label = "" if kind.startswith(_UNNAMED) else readable(name)
        place = names.place(label) if label else -1
        rows[key].append((place, list(chain.from_iterable(pins.values()))))
    cells = []
    for (kind, parameters, ports), found in rows.items():
        pins = tuple((port, bit, out) for port, width, out in ports for bit in range(width))
        matrix = [[n if type(n) is int else 0 for n in row] for _, row in found]
        nets = np.array(matrix, np.int32).reshape(len(found), len(pins))
        places = np.array([place for place, _ in found], np.int32)
        kept = CellKind(kind, tuple(sorted(parameters)), pins)
        cells.append(Cells(kept, nets, places, np.where(places < 0, -1, 0).astype(np.int32)))
    nets_of = {name: _bits(port["bits"]) for name, port in module.get("ports", {}).items()}
    inputs = tuple(name for name, port in module.get("ports", {}).items() if port["direction"] != "output")
    most = max((int(a.max(initial=0)) for a in (*(g.nets for g in cells), *nets_of.values())), default=0)
    labels = _net_labels(module.get("netnames", {}), names, most + 1)
    return Wiring(most + 1, tuple(cells), nets_of, inputs, list(names.places), [""], *labels)


def _bits(bits: Iterable) -> np.ndarray:
    return np.array([b if type(b) is int else 0 for b in bits], np.int32)


def _net_labels(netnames: Mapping, names: _Names, nets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every net the place of its name (a register's own, else that with the shortest path), its bit, its path's place."""
    name, bit = np.full(nets, -1, np.int32), np.full(nets, -1, np.int32)
    public = [(text, entry["bits"]) for text, entry in netnames.items() if not entry.get("hide_name")]
    worst_first = sorted(public, key=lambda e: (not e[0].endswith(_REGISTER), e[0].count("."), len(e[0])), reverse=True)
    for text, bits in worst_first:
        found = _bits(bits)
        own = (found > 0) & (found < nets)
        name[found[own]] = names.place(text)
        bit[found[own]] = np.flatnonzero(own) if len(bits) > 1 else -1
    return name, bit, np.where(name < 0, -1, 0).astype(np.int32)


def _value(text: str | int) -> str:
    """A parameter as a decimal number, or as the text that it is."""
    text = str(text)
    return str(int(text, 2)) if len(text) == 32 and set(text) <= {"0", "1"} else text


def readable(name: str) -> str:
    """A cell's name without what Yosys adds, as ``inst.mult`` of ``$flatten\\inst.\\mult.$111``; empty where none is left."""
    parts = name.removeprefix("$flatten").replace("\\", "").split(".")
    own = (part for part in parts if not part.startswith("$") and not _GENERATED.fullmatch(part))
    return "" if parts[0].startswith("$") else ".".join(own)


class _Merge:
    """Puts parts into a netlist."""

    def __init__(self, around: Wiring) -> None:
        self.around, self.nets = around, around.nets
        self.names, self.scopes = list(around.names), list(around.scopes)
        self.cells: dict[CellKind, list[Cells]] = defaultdict(list)
        self.labels = [(around.net_name, around.net_bit, around.net_scope)]
        self.equal: list[tuple[np.ndarray, np.ndarray]] = []
        self.places: dict[int, int] = {}

    def add_cells(self, group: Cells) -> None:
        self.cells[group.kind].append(group)

    def add_part(self, group: Cells, part: Wiring) -> None:
        """Every cell of a group becomes the part."""
        count = len(group.nets)
        first = self.nets + np.arange(count, dtype=np.int64)[:, None] * (part.nets - 1) - 1
        self.nets += count * (part.nets - 1)
        if id(part) not in self.places:
            self.places[id(part)] = len(self.names)
            self.names += part.names
        name, scope = self.places[id(part)], len(self.scopes)
        self.scopes += [
            f"{self.around.scopes[s]}{self.around.names[n]}.{inner}"
            for s, n in zip(group.scope, group.name) for inner in part.scopes
        ]  # fmt: skip

        def moved(places: np.ndarray, base: np.ndarray | int) -> np.ndarray:
            """Places of all copies; -1 stays."""
            return np.where(places < 0, -1, places + base).astype(np.int32).reshape(-1)

        below = scope + np.arange(count)[:, None] * len(part.scopes)
        for inner in part.cells:
            flat = inner.nets.reshape(1, -1)
            nets = np.where(flat > 0, flat + first, 0).astype(np.int32).reshape(-1, len(inner.kind.pins))
            names = np.broadcast_to(inner.name, (count, len(inner.name)))
            self.add_cells(Cells(inner.kind, nets, moved(names, name), moved(inner.scope[None], below)))
        self.labels.append((
            moved(np.broadcast_to(part.net_name[1:], (count, part.nets - 1)), name),
            np.tile(part.net_bit[1:], count),
            moved(part.net_scope[None, 1:], below),
        ))  # fmt: skip
        for column, (port, bit, _) in enumerate(group.kind.pins):
            if port in part.ports and bit < len(part.ports[port]):
                inner, outer = part.ports[port][bit], group.nets[:, column]
                joined = (outer > 0) & (inner > 0)
                self.equal.append((outer[joined], (inner + first[:, 0])[joined]))

    def result(self) -> Wiring:
        a, b = (np.concatenate([pair[i] for pair in self.equal] or [np.zeros(0, int)]) for i in (0, 1))
        edges = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(self.nets, self.nets))
        _, group = connected_components(edges, directed=False)
        named = [np.concatenate(parts) for parts in zip(*self.labels)]
        # Numbers in the order of first nets, so that net 0 stays. A register's own name goes before the outermost.
        _, first, number = np.unique(group, return_index=True, return_inverse=True)
        number = np.argsort(np.argsort(first))[number].astype(np.int32)
        nets = len(first)
        best = np.full(nets, 2 * self.nets)
        have = np.flatnonzero(named[0] >= 0)
        register = np.array([name.endswith(_REGISTER) for name in self.names], bool)[named[0][have]]
        np.minimum.at(best, number[have], have + np.where(register, 0, self.nets))
        source = best % self.nets
        labels = (np.where(best < 2 * self.nets, values[source], -1).astype(np.int32) for values in named)
        cells = tuple(
            Cells(kind, *(np.concatenate(parts) for parts in zip(*((number[g.nets], g.name, g.scope) for g in groups))))
            for kind, groups in self.cells.items()
        )  # fmt: skip
        ports = {name: number[bits] for name, bits in self.around.ports.items()}
        return Wiring(nets, cells, ports, self.around.inputs, self.names, self.scopes, *labels)
