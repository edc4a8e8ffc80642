"""The columns of UltraScale+ dies: which sites are where, what they are called, how long a wire between two places takes.

``grids.json`` holds the columns of each die and the rows in which it lacks sites, with sources; the sums are the totals of the parts
table. Places are a column, from 0 on the left, and a row of slices, from 0 at the bottom of SLR0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from finn_vitprune.synth.grid_data import content, die_names, dies_on
from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.resources import Resources

SITES = ("SLICE", "DSP48E2", "RAMB36", "URAM288")
"""Kinds of sites, as Vivado names them, in the order of all arrays of kinds."""
LUTS = 8
"""LUTs of a slice."""
COLUMNS = ("LMm", "D", "B", "U")
"""Codes of the columns that have sites of a kind."""
BAND = 15
"""Rows in which each kind has a whole number of sites: the height of a tile."""
PER_BAND = (15, 6, 3, 4)
"""Sites of each kind in a column of a tile."""


@dataclass(frozen=True)
class Lost:
    """Rows ``first`` to ``last`` - 1 in which columns of ``kinds`` lack their sites; ``columns`` first and behind the last, None for all.

    ``unnamed``: the names of the sites above begin with 0.
    """

    kinds: str
    rows: tuple[int, int]
    columns: tuple[int, int] | None
    why: str
    unnamed: bool = False

    def has(self, column: int, code: str) -> bool:
        """Whether the column lacks something."""
        return code in self.kinds and (self.columns is None or self.columns[0] <= column < self.columns[1])


@dataclass(frozen=True)
class Die:
    """A die by its columns, a code each (``grids.json`` says what they are), from the left; ``rows`` of slices."""

    name: str
    columns: str
    rows: int
    lost: tuple[Lost, ...]

    @cached_property
    def kind(self) -> np.ndarray:
        """``[columns]``: place in :data:`SITES` of what a column has, -1 for none."""
        return np.array([next((k for k, codes in enumerate(COLUMNS) if code in codes), -1) for code in self.columns])

    @cached_property
    def index(self) -> np.ndarray:
        """``[columns]``: the X in the names of the sites of a column, -1 where it has none."""
        found = np.full(len(self.columns), -1)
        for kind in range(len(SITES)):
            own = np.flatnonzero(self.kind == kind)
            found[own] = np.arange(len(own))
        return found

    @cached_property
    def sites(self) -> np.ndarray:
        """``[columns, bands]``: sites of the column's own kind in each band of :data:`BAND` rows, from the bottom."""
        each = np.array([*PER_BAND, 0])[self.kind]
        found = np.tile(each[:, None], (1, self.rows // BAND))
        for lost in self.lost:
            bands = slice(lost.rows[0] // BAND, lost.rows[1] // BAND)
            for column, code in enumerate(self.columns):
                if lost.has(column, code):
                    found[column, bands] = 0
        return found

    @cached_property
    def unnamed(self) -> np.ndarray:
        """``[kinds]``: sites at the bottom that names do not count."""
        found = np.zeros(len(SITES), int)
        for lost in self.lost:
            if lost.unnamed:
                for kind, codes in enumerate(COLUMNS):
                    found[kind] += PER_BAND[kind] * (lost.rows[1] - lost.rows[0]) // BAND * (lost.kinds in codes)
        return found

    @property
    def offer(self) -> Resources:
        """What the die has, FF two a LUT."""
        count = [int(self.sites[self.kind == kind].sum()) for kind in range(len(SITES))]
        luts = LUTS * count[0]
        return Resources(LUT=luts, FF=2 * luts, DSP=count[1], BRAM36=count[2], URAM=count[3])

    @cached_property
    def x_ns(self) -> np.ndarray:
        """``[columns]``: ns of wires from the left edge to the middle of a column."""
        w = wires()
        width = np.array([w.column + w.crossed[code] for code in self.columns])
        return np.cumsum(width) - width / 2


@dataclass(frozen=True)
class Wires:
    """Constants of wires, ns, and of each set (low, taken, high) its ``spread`` and ``ends`` (``from`` in ``wires.json``)."""

    row: float
    column: float
    crossed: dict[str, float]
    border: float
    uncertainty: float
    fill: float
    unmapped_link: float
    spread: tuple[float, ...]
    ends: tuple[float, ...]


@dataclass(frozen=True)
class Area:
    """Sites of a kind in an SLR: columns ``x0`` to ``x1`` of the kind, ``y0`` to ``y1`` from the bottom of the SLR, both included."""

    kind: int
    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def sites(self) -> int:
        """How many there are."""
        return (self.x1 - self.x0 + 1) * (self.y1 - self.y0 + 1)


@dataclass(frozen=True)
class Ground:
    """What a part has for a design, by columns and bands of each SLR.

    Attributes:
        dies: of each SLR, from SLR0 on. room: ``[columns, bands]`` of each, sites of the column's kind that the shell leaves.
    """

    part: Part
    dies: tuple[Die, ...]
    room: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, part: Part) -> Ground:
        """The ground of a part, less what its shell takes.

        How much the shell takes is known, by SLR, and not where: it is taken from the right, of each kind whole columns and a rest.

        Raises:
            UserError: the columns of the part are not known.
        """
        dies = tuple(dies_table()[name] for name in dies_on(part))
        offers = part.slr_offers()
        return cls(
            part,
            dies,
            tuple(_left(die, offer) for die, offer in zip(dies, offers if len(offers) == len(dies) else [d.offer for d in dies])),
        )

    @cached_property
    def bottom(self) -> tuple[int, ...]:
        """The row of the part in which each SLR begins."""
        return tuple(int(n) for n in np.cumsum([0, *(die.rows for die in self.dies)])[:-1])

    def amount(self, slr: int) -> np.ndarray:
        """``[kinds]``: sites that an SLR has for the design."""
        die, room = self.dies[slr], self.room[slr]
        return np.array([room[die.kind == kind].sum() for kind in range(len(SITES))])

    def first_site(self, slr: int, kind: int) -> int:
        """The Y in the name of the first site of a kind in an SLR; of a die that lacks its lowest ones, that of row 0 would be."""
        before = sum(PER_BAND[kind] * die.rows // BAND - int(die.unnamed[kind]) for die in self.dies[:slr])
        return before - int(self.dies[slr].unnamed[kind])

    def site_names(self, slr: int, area: Area) -> str:
        """A range of sites in an SLR, as Vivado takes it: SLICE_X0Y240:SLICE_X3Y254."""
        kind, y = SITES[area.kind], self.first_site(slr, area.kind)
        return f"{kind}_X{area.x0}Y{area.y0 + y}:{kind}_X{area.x1}Y{area.y1 + y}"


def _left(die: Die, offer: Resources) -> np.ndarray:
    """Sites that are left of a die where a shell leaves ``offer`` of it."""
    room = die.sites.copy()
    for kind, left in enumerate((offer.LUT // LUTS, offer.DSP, int(offer.BRAM36), offer.URAM)):
        taken = int(room[die.kind == kind].sum()) - left
        for column in np.flatnonzero(die.kind == kind)[::-1]:
            for band in range(room.shape[1]):
                here = min(max(taken, 0), int(room[column, band]))
                room[column, band] -= here
                taken -= here
    return room


@lru_cache(maxsize=1)
def dies_table() -> dict[str, Die]:
    """Dies by name."""
    grids = content("grids.json")
    return {
        name: Die(name, row["columns"], row["clock_regions"] * grids["clock_region"]["rows"], tuple(map(_lost, row["lost"])))
        for name, row in grids["dies"].items()
    }


def dies_of(device: str) -> tuple[Die, ...]:
    """The dies of a device, from SLR0 on; none where its columns are not known."""
    return tuple(dies_table()[name] for name in die_names().get(device, ()))


@lru_cache(maxsize=1)
def wires() -> Wires:
    """The constants of ``wires.json``."""
    w = content("wires.json")
    sets = [w["sets"][name] for name in ("low", "taken", "high")]
    single = {name: w[name]["ns"] for name in ("row", "column", "border", "uncertainty", "unmapped_link")}
    return Wires(
        **single, crossed=w["crossed"]["ns"], fill=w["fill"]["share"], spread=tuple(s["spread"] for s in sets), ends=tuple(s["from"] for s in sets)
    )  # fmt: skip


def _lost(row: dict) -> Lost:
    columns = row.get("columns")
    return Lost(row["kinds"], tuple(row["rows"]), columns and tuple(columns), row["why"], row.get("unnamed", False))
