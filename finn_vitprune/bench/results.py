"""Rows of the benchmark and the file that keeps them, so that a run can go on where it stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from finn_vitprune.errors import UserError


@dataclass(frozen=True)
class Row:
    """One unit and one kind of masks; the fields that no part has measured yet are None.

    Attributes:
        matrix: "rows x columns". b: block size. keep: kept share of blocks. mask: kind of masks.
        bits: widths of activations and weights. body: of the multiply-accumulate arrays.
        target: products a cycle to fold to. fold: the fold found. products: its products a cycle.
        masks: how many. code: hash of what was measured.
        cycles ... exact: of one token group, see :class:`.cycles.Cycles`.
        dsp ... depth_carry: of the whole unit, see :class:`.resources.Cost`; equal for all masks of a keep.
        array: the same of one lane's array alone. estimate: the op's.
        memory: see :class:`.resources.WeightMemory`. ram_style: where the weights are.
    """

    matrix: str
    b: int
    keep: float
    mask: str
    bits: str
    body: str
    target: int
    fold: dict[str, int]
    products: int
    masks: int
    code: str
    cycles: float | None = None
    ideal_cycles: float | None = None
    utilisation: float | None = None
    utilisation_min: float | None = None
    cycles_unbalanced: float | None = None
    cycles_estimate: float | None = None
    cycles_error: float | None = None
    exact: bool | None = None
    dsp: int | None = None
    lut: int | None = None
    lutram_sites: int | None = None
    srl: int | None = None
    lut_sites: int | None = None
    ff: int | None = None
    bram36: float | None = None
    uram: int | None = None
    depth_data: int | None = None
    depth_lut: int | None = None
    depth_data_carry: int | None = None
    depth_carry: int | None = None
    array: dict[str, Any] | None = None
    estimate: dict[str, Any] | None = None
    memory: dict[str, Any] | None = None
    ram_style: str = "auto"

    @property
    def key(self) -> tuple:
        """What the row is about."""
        return (
            self.matrix, self.b, self.keep, self.mask, self.bits, self.body, self.target, self.masks,
            self.ram_style,
        )  # fmt: skip

    @property
    def unit(self) -> tuple:
        """The unit, whatever the masks."""
        return self.matrix, self.b, self.bits, self.body, self.target, self.ram_style

    @property
    def lanes(self) -> int:
        return self.fold["LANES"]


@dataclass(frozen=True)
class DropRow:
    """One token-drop unit; see :class:`.token_drop.DropCycles` and :class:`.resources.Cost`.

    ``pace`` is the interval, in cycles, of the units beside it; ``ranker`` the cost of its ranker alone.
    """

    tokens: int
    channels: int
    keep: float
    target: int
    pace: int
    fold: dict[str, int]
    code: str
    interval: dict[str, float] | None = None
    cycles_estimate: int | None = None
    rank_cycles: int | None = None
    rank_estimate: int | None = None
    exact: bool | None = None
    cost: dict[str, Any] | None = None
    ranker: dict[str, Any] | None = None
    estimate: dict[str, Any] | None = None

    @property
    def key(self) -> tuple:
        return self.tokens, self.channels, self.keep, self.target


@dataclass(frozen=True)
class FinnRow:
    """FINN+'s unit at a fold: synthesised (``cost``), or figures quoted from ``source``."""

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


AnyRow = TypeVar("AnyRow", Row, DropRow, FinnRow)
KINDS: dict[str, type] = {"rows": Row, "token_drop": DropRow, "finn": FinnRow}


class Results:
    """Rows by kind and key, written to a file (where there is one) after every change.

    Raises:
        UserError: the file is there and holds something else.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.about: dict[str, Any] = {}
        self._rows: dict[type, dict[tuple, Any]] = {kind: {} for kind in KINDS.values()}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text())
            for name, kind in KINDS.items():
                for entry in content[name]:
                    row = kind(**entry)
                    self._rows[kind][row.key] = row
        except (ValueError, KeyError, TypeError) as error:
            problem = " ".join(str(error).split())
            raise UserError(
                f"--json {path} holds no results of bench-units ({problem}): give a new file"
            ) from error
        except OSError as error:
            raise UserError(f"--json {path}: {error.strerror}") from error

    def find(self, row: AnyRow) -> AnyRow:
        """The stored row of the same key and code, else ``row`` itself."""
        stored = self._rows[type(row)].get(row.key)
        return stored if stored is not None and stored.code == row.code else row

    def put(self, *rows: AnyRow) -> None:
        """Store rows in place of those of the same keys."""
        for row in rows:
            self._rows[type(row)][row.key] = row
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        if self.path is None:
            return
        content = {"about": self.about}
        content |= {name: [asdict(row) for row in self._rows[kind].values()] for name, kind in KINDS.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(self.path)
