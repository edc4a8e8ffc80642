"""Units get sites of their own: legal by columns on random graphs, near their neighbours, the same every time; what binds is said."""

import itertools
import json
from importlib import resources

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from finn_vitprune.errors import UserError
from finn_vitprune.synth import places as synth_places
from finn_vitprune.synth.grid import SITES, Ground, wires
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.places import Link, Places, UnitSites, place, rectangles, transport
from finn_vitprune.synth.resources import Resources
from tests.sampling import sampled

CODES = ("LMm", "D", "B", "U")
ROWS = (1, 2.5, 5, 3.75)
"""Rows of slices of a site of each kind."""


def illegal(places: Places) -> list[str]:
    """What is wrong with places, by the strings of the data file: sites of two units, sites that are not there, too few of them."""
    content = json.loads(resources.files("finn_vitprune.synth").joinpath("grids.json").read_text())
    names = {device: row["dies"] for row in content["parts"] for device in row["devices"]}[places.ground.part.device]
    taken, found = {}, []
    for unit, region in zip(places.units, places.regions):
        die = content["dies"][names[unit.slr]]
        columns = [[i for i, code in enumerate(die["columns"]) if code in codes] for codes in CODES]
        used = [0] * len(SITES)
        for area in region.areas:
            for x, y in itertools.product(range(area.x0, area.x1 + 1), range(area.y0, area.y1 + 1)):
                used[area.kind] += 1
                column, row = columns[area.kind][x], y * ROWS[area.kind]
                if row >= 60 * die["clock_regions"] or any(
                    die["columns"][column] in lost["kinds"] and lost["rows"][0] <= row < lost["rows"][1]
                    and lost.get("columns", [0, 999])[0] <= column < lost.get("columns", [0, 999])[1] for lost in die["lost"]
                ):  # fmt: skip
                    found.append(f"{unit.name}: no {SITES[area.kind]} in column {column}, row {row}")
                other = taken.setdefault((unit.slr, area.kind, x, y), unit.name)
                if other != unit.name:
                    found.append(f"{unit.name} and {other} have {SITES[area.kind]} {x}, {y} of SLR{unit.slr}")
        found += [f"{unit.name}: {has} of {need} {site}" for has, need, site in zip(used, unit.uses, SITES) if has < need]
    return found


def random_graph(ground: Ground, seed: int, count: int, fill: float) -> tuple[list[UnitSites], list[Link]]:
    """Units of any size, some of LUTs alone and some with DSP or memories, that fill every SLR to a share; a chain with links across."""
    rng = np.random.default_rng(seed)
    units = []
    for slr in range(len(ground.dies)):
        sizes = (rng.pareto(1.0, count) + 0.05)[:, None] * (rng.random((count, len(SITES))) < [1, 0.4, 0.5, 0.2])
        shares = sizes / np.maximum(sizes.sum(0), 1e-9)
        units += [
            UnitSites(f"u{slr}_{i}", slr, tuple(int(n) for n in fill * share * ground.amount(slr))) for i, share in enumerate(shares)
        ]  # fmt: skip
    ends = [(i, i + 1) for i in range(len(units) - 1)] + [(i, i + 5) for i in range(0, len(units) - 5, 5)]
    return units, [Link(a, b, int(rng.choice([16, 64, 256])), 2 * abs(units[a].slr - units[b].slr)) for a, b in ends]


@pytest.mark.parametrize(
    "device, shell, seed, count, fill",
    sampled(
        [("xczu7ev", "none", 1, 40, 0.8), ("xcu50", "xdma", 2, 20, 0.8), ("xck26", "none", 3, 25, 0.97), ("xcu200", "xdma", 4, 8, 0.5)],
        1,
        several=True,
    ),
)
def test_random_graphs_are_placed_legally_and_near_their_neighbours(device, shell, seed, count, fill):
    ground = Ground.of(get_part(device).with_shell(shell))
    units, links = random_graph(ground, seed, count, fill)
    places = place(units, links, ground)
    assert illegal(places) == []
    for slr, room in enumerate(ground.room):  # nothing of the shell's: as many sites of a column in use as are left
        for kind, x in ((k, x) for k in range(len(SITES)) for x in range(int((ground.dies[slr].kind == k).sum()))):
            column = np.flatnonzero(ground.dies[slr].kind == kind)[x]
            used = sum(
                a.y1 - a.y0 + 1
                for unit, region in zip(units, places.regions) if unit.slr == slr for a in region.areas if a.kind == kind and a.x0 <= x <= a.x1
            )  # fmt: skip
            assert used <= room[column].sum()
    # Less wire than with the same regions dealt to units at random.
    rng = np.random.default_rng(0)
    middles = np.array([region.middle for region in places.regions])
    own = [np.flatnonzero([u.slr == s for u in units]) for s in range(len(ground.dies))]
    total = []
    for _ in range(20):
        mixed = middles.copy()
        for members in own:
            mixed[members] = middles[rng.permutation(members)]
        total.append(sum(link.bits * np.abs(mixed[link.source] - mixed[link.target]).sum() for link in links))
    assert places.bit_ns == pytest.approx(sum(n.bits * np.abs(middles[n.source] - middles[n.target]).sum() for n in links))
    assert places.bit_ns < 0.7 * min(total)


def test_the_check_of_legality_finds_what_is_not():
    ground = Ground.of(get_part("xck26"))
    units, links = random_graph(ground, 5, 6, 0.5)
    places = place(units, links, ground)
    region = places.regions[0]
    moved = Places(ground, places.units, places.links, (region, region, *places.regions[2:]), 0.0)
    assert any("u0_1 and u0_0 have" in text for text in illegal(moved))


def test_units_of_luts_and_units_of_dsp_share_ground():
    """Both fill their kind of sites, so each is everywhere."""
    ground = Ground.of(get_part("xck26"))
    slices, dsp, *_ = (int(n) for n in ground.amount(0))
    places = place(
        [UnitSites("luts", 0, (int(0.8 * slices), 0, 0, 0)), UnitSites("dsp", 0, (0, int(0.8 * dsp), 0, 0))], [Link(0, 1, 8)], ground
    )
    assert illegal(places) == []
    a, b = places.regions
    assert len({tuple(t) for t in a.tiles.round(6)} & {tuple(t) for t in b.tiles.round(6)}) > 0.8 * len(b.tiles)
    assert places.wire_ns(places.links[0])[0] == 0


def test_equal_inputs_have_equal_places():
    ground = Ground.of(get_part("xck26"))
    units, links = random_graph(ground, 6, 12, 0.8)
    assert place(units, links, ground).regions == place(units, links, ground).regions


def test_links_that_are_too_long_are_mended(monkeypatch):
    """Of the way that is best at first a link is too long; the ends of it come together, or another way is taken."""
    ground, limit = Ground.of(get_part("xck26")), 0.6
    units, links = random_graph(ground, 24, 25, 0.85)

    def late(places: Places) -> int:
        return sum(places.wire_ns(link)[1] > limit for link in links)

    found = place(units, links, ground, limit)
    assert late(found) == 0 and illegal(found) == []
    monkeypatch.setattr(synth_places, "MENDS", 1)
    monkeypatch.setattr(synth_places, "STRIPS", synth_places.STRIPS[:1])
    assert late(place(units, links, ground, limit)) > 0


def test_what_binds_is_said():
    ground = Ground.of(get_part("U250").with_shell("xdma"))
    with pytest.raises(UserError, match=r"SLR2 cannot be placed on xcu250\S*: they use 501 RAMB36 and it has 500 for them; plan with less"):
        place([UnitSites("a", 0, (1, 0, 0, 0)), UnitSites("b", 2, (1, 0, 501, 0))], [], ground)


def test_a_unit_takes_whole_sites_and_its_use_over_8():
    assert UnitSites.of("u", 1, Resources(LUT=9, DSP=3, BRAM36=1.5, URAM=2)) == UnitSites("u", 1, (2, 3, 2, 2))
    ground = Ground.of(get_part("xck26"))
    [region] = place([UnitSites("u", 0, (800, 40, 8, 4))], [], ground).regions
    assert [sum(a.sites for a in region.areas if a.kind == kind) for kind in range(4)] == [1000, 50, 10, 5]


def test_a_fuller_region_counts_as_a_larger_one():
    """A unit of all DSP has no ground beside them: its far corner counts as that of a region of .8, the root of 1.25 away."""
    ground = Ground.of(get_part("xck26"))
    dsp = int(ground.amount(0)[1])
    full, less = (place([UnitSites("u", 0, (0, n, 0, 0))], [], ground).regions[0] for n in (dsp, int(0.8 * dsp)))
    assert full.corner_ns == pytest.approx(1.25**0.5 * less.corner_ns, rel=0.01)


def test_pieces_of_a_link_by_hand():
    ground = Ground.of(get_part("xcu200"))
    units = [UnitSites(f"u{s}", s, (8, 0, 0, 0)) for s in (0, 0, 2)]
    places = place(units, [Link(0, 1, 8), Link(0, 2, 8, 4)], ground)
    near, far = places.links
    height, (x0, y0), (x2, y2) = wires().row * 300, places.regions[0].middle, places.regions[2].middle
    assert places.borders(near) == 0 and places.borders(far) == 2
    (xa, ya), (xb, yb) = places.regions[0].middle, places.regions[1].middle
    assert places.wire_ns(near)[2] == pytest.approx(abs(xa - xb) + abs(ya - yb))
    # Three pieces: up to the border, the height of SLR1, on to the unit; the way to the side is in the shorter ones where it fits.
    ups = [height - y0, height, y2 - 2 * height]
    room = sum(height - up for up in ups)
    expected = height + max(0.0, abs(x0 - x2) - room) / 3
    assert places.wire_ns(far)[2] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_transport_costs_no_more_than_an_assignment_of_single_sites(seed):
    rng = np.random.default_rng(seed)
    need, room = rng.integers(1, 6, 5), rng.integers(1, 5, 12)
    room[0] += max(0, need.sum() - room.sum())
    cost = rng.random((5, 12))
    found = transport(cost, need, room)
    assert (found.sum(1) == need).all() and (found.sum(0) <= room).all() and (found >= 0).all()
    single = np.repeat(np.repeat(cost, need, 0), room, 1)
    assert (found * cost).sum() == pytest.approx(single[linear_sum_assignment(single)].sum())


@pytest.mark.parametrize("seed", range(5))
def test_rectangles_cover_each_cell_once(seed):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((5, 4)) < 0.6, np.ones((3, 2))).astype(bool) ^ (rng.random((15, 8)) < 0.05)
    found = np.zeros(mask.shape, int)
    for x0, x1, y0, y1 in rectangles(mask):
        found[x0 : x1 + 1, y0 : y1 + 1] += 1
    assert (found == mask).all()
