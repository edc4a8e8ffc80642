"""Rows of the benchmark and the file that keeps them, so that a run can continue where it stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from finn_vitprune import files
from finn_vitprune.bench.cycles import Cycles
from finn_vitprune.bench.resources import Cost, UnitEstimate, WeightMemory
from finn_vitprune.bench.token_drop import DropCycles
from finn_vitprune.errors import UserError


@dataclass(frozen=True)
class MatrixRow:
    """One matrix unit and one kind of masks; what is not measured yet is None.

    Attributes:
        matrix: "rows x columns". b: block size. keep: kept share of blocks. mask: kind of masks.
        bits: widths of activations and weights. mac_style: MAC implementation.
        target: products a cycle to fold to. fold: the fold found. products: its products a cycle.
        masks: how many. code: hash of what was measured.
        cycles: of one token group. cost: of the whole unit, equal for all masks of a keep rate.
        array: cost of one lane's array alone. estimate: the op's. ram_style: where the weights are.
    """

    INLINE: ClassVar = {"cycles": Cycles, "cost": Cost}
    NESTED: ClassVar = {"array": Cost, "estimate": UnitEstimate, "memory": WeightMemory}

    matrix: str
    b: int
    keep: float
    mask: str
    bits: str
    mac_style: str
    target: int
    fold: dict[str, int]
    products: int
    masks: int
    code: str
    cycles: Cycles | None = None
    cost: Cost | None = None
    array: Cost | None = None
    estimate: UnitEstimate | None = None
    memory: WeightMemory | None = None
    ram_style: str = "auto"

    @property
    def key(self) -> tuple:
        """What the row is about."""
        return (*self.unit, self.keep, self.mask, self.masks)

    @property
    def unit(self) -> tuple:
        """The unit, whatever the masks."""
        return self.matrix, self.b, self.bits, self.mac_style, self.target, self.ram_style

    @property
    def lanes(self) -> int:
        return self.fold["LANES"]


@dataclass(frozen=True)
class DropRow:
    """One token-drop unit.

    ``pace`` is the interval, in cycles, of the units beside it; ``ranker`` the cost of its ranker alone.
    """

    INLINE: ClassVar = {"cycles": DropCycles}
    NESTED: ClassVar = {"cost": Cost, "ranker": Cost, "estimate": UnitEstimate}

    tokens: int
    channels: int
    keep: float
    target: int
    pace: int
    fold: dict[str, int]
    code: str
    cycles: DropCycles | None = None
    cost: Cost | None = None
    ranker: Cost | None = None
    estimate: UnitEstimate | None = None

    @property
    def key(self) -> tuple:
        return self.tokens, self.channels, self.keep, self.target


@dataclass(frozen=True)
class FinnRow:
    """FINN+'s unit at a fold: synthesised (``cost``), or figures quoted from ``source``."""

    INLINE: ClassVar = {}
    NESTED: ClassVar = {}

    matrix: str
    bits: str
    unit: str
    target: int
    fold: dict[str, int]
    products: int
    source: str
    code: str
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple:
        return self.matrix, self.bits, self.unit, self.target


AnyRow = TypeVar("AnyRow", MatrixRow, DropRow, FinnRow)
ROWS: dict[str, type] = {"rows": MatrixRow, "token_drop": DropRow, "finn": FinnRow}


def _to_entry(row: AnyRow) -> dict[str, Any]:
    """A row as the file has it: the fields of its inline parts stand beside its own."""
    entry: dict[str, Any] = {}
    for name, value in asdict(row).items():
        inline = row.INLINE.get(name)
        entry |= {name: value} if inline is None else value or dict.fromkeys(f.name for f in fields(inline))
    return entry


def _from_entry(kind: type[AnyRow], entry: dict[str, Any]) -> AnyRow:
    """The inverse of :func:`_to_entry`; a part that an older version wrote, without all of its fields, is not measured yet."""
    inline = {}
    for name, part in kind.INLINE.items():
        values = {f.name: entry.pop(f.name, None) for f in fields(part)}
        inline[name] = None if None in values.values() else part(**values)
    nested = {name: _part(part, entry[name]) for name, part in kind.NESTED.items()}
    return kind(**entry | inline | nested)


def _part(kind: type, values: dict[str, Any] | None) -> Any:
    return kind(**values) if values is not None and {f.name for f in fields(kind)} <= values.keys() else None


class BenchResults:
    """Rows by kind and key, written to a file (where there is one) after every change.

    Raises:
        UserError: the file is there and holds something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.about: dict[str, Any] = {}
        self._rows: dict[type, dict[tuple, Any]] = {kind: {} for kind in ROWS.values()}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            content = files.read_json(path, "file")
            for name, kind in ROWS.items():
                rows = [_from_entry(kind, entry) for entry in content[name]]
                self._rows[kind] = {row.key: row for row in rows}
        except (UserError, ValueError, KeyError, TypeError) as error:
            problem = " ".join(str(error).split())
            raise UserError(f"--json-file {path} holds no results of bench-units ({problem}): give a new file") from error

    def find(self, row: AnyRow) -> AnyRow:
        """The stored row of the same key and code, else ``row`` itself."""
        stored = self._rows[type(row)].get(row.key)
        return stored if stored is not None and stored.code == row.code else row

    def change(self, rows: Iterable[AnyRow], **measured: object) -> None:
        """Store new values of these rows."""
        for row in rows:
            self._rows[type(row)][row.key] = replace(self.find(row), **measured)
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is not None:
            files.write_json(self.path, self.content, indent=1)

    @property
    def content(self) -> dict[str, Any]:
        """What the file holds: ``about``, and a list of rows of every kind."""
        return {"about": self.about} | {name: [_to_entry(row) for row in self._rows[kind].values()] for name, kind in ROWS.items()}
