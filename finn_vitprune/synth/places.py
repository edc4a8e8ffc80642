"""Where the units of a design are on a part: each gets sites of its own on the columns of its SLR, near the units that it talks to.

The middles of the units move: towards those of their neighbours by the bits between them, then apart again, where each kind of site is
dealt to the units so that the sum of squared distances to the middles is least. That is a transport problem, which HiGHS solves
exactly, so that every part of the ground can be filled, and units of DSPs share ground with units of LUTs. There is no chance in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from finn_vitprune.errors import UserError
from finn_vitprune.synth.grid import BAND, LUTS, PER_BAND, SITES, Area, Ground, wires
from finn_vitprune.synth.resources import Resources

TILE_NS = 0.165
"""Width of a tile, in ns of wires: about that of its height."""
COARSE = 2
"""Tiles of a side that are one while middles move."""
STRIPS = (1, 2, 3, 4)
"""Units begin in graph order along a line that goes to and fro in so many strips of an SLR; the best number is kept."""
FIRST_MOVES, MOVES, LAST_MOVES = 3, 24, 6
"""Moves from each beginning, from the best of them, and in tiles as they are."""
MENDS = 4
"""Places that are made from the end of each way, at most, the ends of links that are too long moved towards each other from one to the next."""
TAKEN = 1
"""The set of constants by which it is."""
PULL, LEAST_PULL = 0.7, 0.2
"""Share of the way to its neighbours that a unit moves at first, and to what share of that it falls."""
SMALL, MOST = 0.3, 100.0
"""Sites of a unit of less than this share of an SLR count by the root of how much less, up to MOST times: it is not pushed away by large ones."""
FEW = 16
"""Of fewer sites whole ones are no measure of how full a region is."""
URGE, EXCESS = 1.5, 40.0
"""By so much a link that is too long pulls more with each move; so much worse is a length beyond the limit than one below."""


@dataclass(frozen=True)
class UnitSites:
    """A unit, its SLR and the sites that it uses, by :data:`.SITES`."""

    name: str
    slr: int
    uses: tuple[int, ...]

    @classmethod
    def of(cls, name: str, slr: int, used: Resources) -> UnitSites:
        """By its resources; half a block RAM takes a whole one, eight LUTs a slice."""
        return cls(name, slr, (-(-used.LUT // LUTS), used.DSP, int(np.ceil(used.BRAM36)), used.URAM))


@dataclass(frozen=True)
class Link:
    """A stream of ``bits`` from unit to unit, by their places in the list, with ``stages`` registers on the way; ``name``: what carries it."""

    source: int
    target: int
    bits: int
    stages: int = 0
    name: str = ""


@dataclass(frozen=True)
class PlacedRegion:
    """The ground of a unit.

    Attributes:
        areas: its sites; no site is in two of them, or in those of another unit.
        middle: ns of wires from the lower left corner of the part to its middle, to the right and up.
        corner_ns: ns of wires from the middle to the far corner of the farthest tile, as if the unit used no more than ``fill`` of its ground.
        tiles: the middles of its tiles, ``[tiles, 2]`` ns.
    """

    areas: tuple[Area, ...]
    middle: tuple[float, float]
    corner_ns: float
    tiles: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Places:
    """The regions of units, in their order. ``bit_ns``: the sum over the links of bits times ns of wires from middle to middle."""

    ground: Ground
    units: tuple[UnitSites, ...]
    links: tuple[Link, ...]
    regions: tuple[PlacedRegion, ...]
    bit_ns: float

    def wire_ns(self, link: Link) -> tuple[float, ...]:
        """ns of the longest piece of a link between two of its registers, by sets of constants; crossing a border is not in it.

        Registers of a link are evenly on its way. Those of one that crosses borders are at each of them; its way to the side is where it adds
        least to the longest piece.
        """
        a, b = self.regions[link.source], self.regions[link.target]
        near = np.abs(a.tiles[:, None] - b.tiles[None]).sum(-1)
        nearest = np.unravel_index(near.argmin(), near.shape)
        found = []
        for end in wires().ends:
            here = end * np.array(a.middle) + (1 - end) * a.tiles[nearest[0]]
            there = end * np.array(b.middle) + (1 - end) * b.tiles[nearest[1]]
            found.append(float(self._longest_piece(link, here, there)))
        return tuple(found)

    def _longest_piece(self, link: Link, here: np.ndarray, there: np.ndarray) -> float:
        across = abs(here[0] - there[0])
        low, high = sorted((here[1], there[1]))
        borders = [wires().row * row for row in self.ground.bottom[1:]]
        if not (link.stages and self.borders(link)):
            return (across + high - low) / (link.stages + 1)
        points = [low, *(y for y in borders if low < y < high), high]
        up = np.sort(np.diff(points))[::-1]
        # The way to the side fills the shorter pieces up to a level.
        return max(up[0], (up.sum() + across) / len(up))

    def borders(self, link: Link) -> int:
        """How many borders of SLRs a link crosses."""
        return abs(self.units[link.source].slr - self.units[link.target].slr)


@dataclass(frozen=True)
class _Tiles:
    """An SLR in tiles: their middles ``[tiles, 2]`` in ns, their sites ``[kinds, tiles]``, and of each column its tile of band 0."""

    middles: np.ndarray
    room: np.ndarray
    of_column: np.ndarray

    @classmethod
    def of(cls, ground: Ground, slr: int, coarse: int) -> _Tiles:
        die, room = ground.dies[slr], ground.room[slr]
        w = wires()
        group = (die.x_ns / (TILE_NS * coarse)).astype(int)
        bands = -(-room.shape[1] // coarse)
        groups = int(group.max()) + 1
        found = np.zeros((len(SITES), groups, bands), int)
        for kind in range(len(SITES)):
            for column in np.flatnonzero(die.kind == kind):
                np.add.at(found[kind, group[column]], np.arange(room.shape[1]) // coarse, room[column])
        x = np.array([die.x_ns[group == g].mean() if (group == g).any() else (g + 0.5) * TILE_NS * coarse for g in range(groups)])
        y = w.row * (ground.bottom[slr] + BAND * coarse * (np.arange(bands) + 0.5))
        middles = np.stack(np.broadcast_arrays(x[:, None], y[None]), -1).reshape(-1, 2)
        return cls(middles, found.reshape(len(SITES), -1), group * bands)


def place(units: Sequence[UnitSites], links: Sequence[Link], ground: Ground, limit_ns: float | np.ndarray = np.inf) -> Places:
    """A region for every unit.

    Args:
        units: in graph order, each with an SLR of the ground.
        links: between them. limit_ns: a link whose wires take longer than this pulls its units more; of all, or of each.
    Raises:
        UserError: units of an SLR use more sites of a kind than it has; the text names what binds.
    """
    return _Placer(tuple(units), tuple(links), ground, np.broadcast_to(limit_ns, len(links))).places()


class _Placer:
    """The state of a search: middles ``[units, 2]`` in ns, and pulls of links."""

    def __init__(self, units: tuple[UnitSites, ...], links: tuple[Link, ...], ground: Ground, limit_ns: np.ndarray) -> None:
        self.units, self.links, self.ground, self.limit_ns = units, links, ground, limit_ns
        self.members = [np.flatnonzero([u.slr == s for u in units]) for s in range(len(ground.dies))]
        self.uses = np.array([u.uses for u in units], int).reshape(len(units), len(SITES))
        self.takes = self.uses.copy()
        self.share = np.zeros(self.uses.shape)
        for slr, own in enumerate(self.members):
            room = ground.amount(slr)
            self._check(slr, own, room)
            self.takes[own] = _grown(self.uses[own], room)
            self.share[own] = self.takes[own] / np.maximum(room, 1)
        size = self.share.max(1, initial=0)
        self.weight = np.clip((SMALL / np.maximum(size, 1e-9)) ** 0.5, 1.0, MOST)
        self.ends = np.array([(n.source, n.target) for n in links], int).reshape(-1, 2)
        self.bits = np.array([n.bits for n in links], float)
        self.urge = np.ones(len(links))
        self.pieces = np.array([1 + (abs(units[n.source].slr - units[n.target].slr) or n.stages) for n in links], float)

    def _check(self, slr: int, own: np.ndarray, room: np.ndarray) -> None:
        for kind, (used, has) in enumerate(zip(self.uses[own].sum(0), room)):
            if used > has:
                raise UserError(
                    f"the units of SLR{slr} cannot be placed on {self.ground.part.name}: they use {used:,} {SITES[kind]} and it has {has:,} for them; "
                    "plan with less of --budget, or for a larger part"
                )

    def places(self) -> Places:
        """The best of all beginnings, moved on, and dealt site by site; then the others, while a link is too long."""
        coarse, fine = ([_Tiles.of(self.ground, slr, side) for slr in range(len(self.ground.dies))] for side in (COARSE, 1))
        begun = [self._moved(self._snake(strips), np.full(FIRST_MOVES, PULL), coarse) for strips in STRIPS]
        best, least = None, np.inf
        for middles in sorted(begun, key=self._cost):
            self.urge[:] = 1
            middles = self._moved(middles, np.geomspace(PULL, PULL * LEAST_PULL, MOVES), coarse)
            middles = self._moved(middles, np.full(LAST_MOVES, PULL * LEAST_PULL), fine)
            for _ in range(MENDS):
                found = self._placed(middles, fine)
                over = self._over(found)
                if best is None or over.sum() < least:
                    best, least = found, over.sum()
                if not least:
                    return best
                middles = middles + PULL * LEAST_PULL * (self._neighbours(middles, np.where(over > 0, self.bits, 0)) - middles)
        assert best is not None
        return best

    def _placed(self, middles: np.ndarray, tiles: list[_Tiles]) -> Places:
        """Regions around middles."""
        regions: list[PlacedRegion | None] = [None] * len(self.units)
        for slr, own in enumerate(tiles):
            amounts = self._dealt(middles, slr, own)
            areas = self._areas(slr, own, amounts, middles)
            for place, unit in enumerate(self.members[slr]):
                regions[unit] = self._region(int(unit), own, amounts[:, place], tuple(areas[place]))
        found = tuple(region for region in regions if region is not None)
        return Places(self.ground, self.units, self.links, found, self._bit_ns(np.array([r.middle for r in found]).reshape(-1, 2)))

    def _over(self, found: Places) -> np.ndarray:
        """ns by which the wires of each link are too long, by the taken constants."""
        if not np.isfinite(self.limit_ns).any():
            return np.zeros(len(self.links))
        return np.maximum(np.array([found.wire_ns(link)[TAKEN] for link in self.links]) - self.limit_ns, 0)

    def _snake(self, strips: int) -> np.ndarray:
        """Middles along a line that goes to and fro in each SLR, from the bottom to the top, units in their order.

        Of an SLR that is not full the line takes a part as full as a unit's region, in its middle.
        """
        middles = np.zeros((len(self.units), 2))
        right = True
        for slr, own in enumerate(self.members):
            die = self.ground.dies[slr]
            size = np.maximum(self.share[own].max(1, initial=0), 1e-6)
            at = (np.cumsum(size) - size / 2) / max(size.sum(), 1e-9) * strips
            strip = np.minimum(at.astype(int), strips - 1)
            along = at - strip
            forward = (strip % 2 == 0) == right
            part = min(1.0, float(self.share[own].sum(0).max(initial=0)) ** 0.5)
            middles[own, 0] = (0.5 + part * (np.where(forward, along, 1 - along) - 0.5)) * die.x_ns[-1]
            middles[own, 1] = wires().row * (self.ground.bottom[slr] + (0.5 + part * ((strip + 0.5) / strips - 0.5)) * die.rows)
            right = right == (strips % 2 == 0)
        return middles

    def _moved(self, middles: np.ndarray, pulls: np.ndarray, tiles: list[_Tiles]) -> np.ndarray:
        """The best middles on a way of moves, each towards the neighbours and apart again."""
        best, least = middles, np.inf
        for pull in pulls:
            wanted = middles + pull * (self._neighbours(middles, self.bits * self.urge) - middles)
            middles = wanted.copy()
            for slr, own in enumerate(self.members):
                if len(own):
                    middles[own] = self._centres(own, tiles[slr], self._dealt(wanted, slr, tiles[slr]), wanted[own])
            self.urge[self._distance(middles) > self.limit_ns * self.pieces] *= URGE
            if (now := self._cost(middles)) < least:
                best, least = middles, now
        return best

    def _neighbours(self, middles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Of every unit the mean of its neighbours' middles, by weights of links; of one without its own."""
        total = np.zeros((len(self.units), 3))
        for here, there in (self.ends.T, self.ends.T[::-1]):
            np.add.at(total, here, np.column_stack([middles[there] * weights[:, None], weights]))
        has = total[:, 2] > 0
        return np.where(has[:, None], total[:, :2] / np.where(has, total[:, 2], 1)[:, None], middles)

    def _centres(self, own: np.ndarray, tiles: _Tiles, amounts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Middles of what units were dealt, each kind by its share of the SLR."""
        weight = amounts * (self.share[own].T / np.maximum(self.takes[own].T, 1))[:, :, None]
        total = weight.sum(0)
        sums = total.sum(1)
        return np.where(sums[:, None] > 0, total @ tiles.middles / np.maximum(sums, 1e-12)[:, None], wanted)

    def _dealt(self, middles: np.ndarray, slr: int, tiles: _Tiles) -> np.ndarray:
        """``[kinds, units of the SLR, tiles]``: sites of each tile for each unit."""
        own = self.members[slr]
        found = np.zeros((len(SITES), len(own), len(tiles.middles)), int)
        squared = ((middles[own][:, None] - tiles.middles[None]) ** 2).sum(-1)
        for kind in range(len(SITES)):
            rows, columns = np.flatnonzero(self.takes[own, kind]), np.flatnonzero(tiles.room[kind])
            if len(rows):
                cost = squared[np.ix_(rows, columns)]
                found[kind][np.ix_(rows, columns)] = transport(
                    cost * self.weight[own[rows], None], self.takes[own[rows], kind], tiles.room[kind, columns]
                )
        return found

    def _distance(self, middles: np.ndarray) -> np.ndarray:
        """ns of every link from middle to middle."""
        return np.abs(middles[self.ends[:, 0]] - middles[self.ends[:, 1]]).sum(-1)

    def _cost(self, middles: np.ndarray) -> float:
        """Bits times ns, and for what is too long of each link as much as for the mean bits of a link, EXCESS times."""
        over = np.maximum(self._distance(middles) - self.limit_ns * self.pieces, 0).sum()
        return self._bit_ns(middles) + EXCESS * self.bits.sum() / max(len(self.bits), 1) * float(over)

    def _bit_ns(self, middles: np.ndarray) -> float:
        return float(self.bits @ self._distance(middles))

    def _areas(self, slr: int, tiles: _Tiles, amounts: np.ndarray, middles: np.ndarray) -> list[list[Area]]:
        """The sites of each unit: in a tile units take columns from the left in the order of their middles, sites from the bottom."""
        die, room, own = self.ground.dies[slr], self.ground.room[slr], self.members[slr]
        order = np.argsort(middles[own, 0], kind="stable")
        found: list[list[Area]] = [[] for _ in own]
        for kind in range(len(SITES)):
            columns = np.flatnonzero(die.kind == kind)
            owner = np.full((len(columns), die.rows // BAND * PER_BAND[kind]), -1)
            for band in range(room.shape[1]):
                left = {}
                for x, column in enumerate(columns):
                    tile = tiles.of_column[column] + band
                    if tile not in left:
                        here = amounts[kind, order, tile]
                        left[tile] = iter(np.repeat(order, here).tolist())
                    has = int(room[column, band])
                    top = (band + 1) * PER_BAND[kind]
                    row = [next(left[tile], -1) for _ in range(has)]
                    owner[x, top - has : top] = row
            for place, areas in enumerate(found):
                areas.extend(Area(kind, *corners) for corners in rectangles(owner == place))
        return found

    def _region(self, unit: int, tiles: _Tiles, amounts: np.ndarray, areas: tuple[Area, ...]) -> PlacedRegion:
        taken = amounts.sum(0) > 0
        if not taken.any():
            taken = np.arange(len(tiles.middles)) == ((tiles.middles - tiles.middles.mean(0)) ** 2).sum(1).argmin()
        own = np.array([unit])
        [middle] = self._centres(own, tiles, amounts[:, None], tiles.middles[taken][:1])
        # To the corner of the farthest tile, or of the part of a tile that a small unit takes.
        part = min(1.0, float(self.share[unit].max()) * len(tiles.middles)) ** 0.5
        far = float(np.abs(tiles.middles[taken] - middle).sum(-1).max()) + part * (TILE_NS + BAND * wires().row) / 2
        used = self.uses[unit] / np.maximum(self.takes[unit], 1)
        fuller = max(1.0, float(used[self.takes[unit] >= FEW].max(initial=0)) / wires().fill)
        return PlacedRegion(areas, (float(middle[0]), float(middle[1])), far * fuller**0.5, tiles.middles[taken])


def transport(cost: np.ndarray, need: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Whole amounts ``[units, tiles]`` of least cost: every unit gets what it needs, no tile gives more than it has.

    Args:
        cost: of a site of each tile for each unit ``[units, tiles]``. need: ``[units]``, at most the sum of ``room`` ``[tiles]``.
    """
    units, tiles = cost.shape
    unit, tile = (places.reshape(-1) for places in np.indices((units, tiles)))
    each, ones = np.arange(units * tiles), np.ones(units * tiles)
    gets, gives = (csr_matrix((ones, (row, each)), shape=(n, units * tiles)) for row, n in ((unit, units), (tile, tiles)))
    found = linprog(cost.reshape(-1), A_ub=gives, b_ub=room, A_eq=gets, b_eq=need, method="highs-ds")
    if found.x is None:
        raise ValueError(f"no transport: {found.message}")
    return np.rint(found.x).astype(int).reshape(units, tiles)  # a corner of the polytope, whose amounts are whole


def rectangles(mask: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """The cells of ``mask`` ``[columns, rows]`` as rectangles x0, x1, y0, y1, both ends included: runs of rows, joined over equal columns."""
    open_: dict[tuple[int, int], int] = {}
    for x in range(len(mask) + 1):
        column = mask[x] if x < len(mask) else np.zeros(mask.shape[1], bool)
        edges = np.flatnonzero(np.diff(np.r_[False, column, False].astype(int)))
        runs = {(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2])}
        for run in sorted(open_.keys() - runs):
            yield open_.pop(run), x - 1, *run
        for run in sorted(runs - open_.keys()):
            open_[run] = x


def _grown(uses: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Sites that units take ``[units, kinds]``: what they use over ``fill``, or less where an SLR has less."""
    found = uses.copy()
    for kind, has in enumerate(room):
        low, high = 1.0, 1 / wires().fill
        for _ in range(30):
            factor = (low + high) / 2
            low, high = (factor, high) if np.ceil(uses[:, kind] * factor).sum() <= has else (low, factor)
        grown = np.ceil(uses[:, kind] * low - 1e-6).astype(int)
        found[:, kind] = grown if grown.sum() <= has else uses[:, kind]
    return found
