"""The columns of dies add up to the parts table, and sites have the names that public designs know them by."""

import json
from importlib import resources

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.synth.grid import BAND, SITES, Area, Ground, dies_of, dies_table, wires
from finn_vitprune.synth.parts import get_part, part_table, shell_table
from finn_vitprune.synth.resources import Resources

CONTENT = json.loads(resources.files("finn_vitprune.synth").joinpath("grids.json").read_text())
DEVICES = [device for row in CONTENT["parts"] for device in row["devices"]]
PER_REGION = {"L": 8 * 60, "M": 8 * 60, "m": 8 * 60, "D": 24, "B": 12, "U": 16}
"""LUTs or sites of a column in a row of clock regions, by the data sheets of the family."""


def counted(die: dict) -> Resources:
    """A die counted row by row of its strings, with what it lacks."""
    total = dict.fromkeys("LDBU", 0.0)
    for place, code in enumerate(die["columns"]):
        if code in PER_REGION:
            rows = set(range(60 * die["clock_regions"]))
            for lost in die["lost"]:
                first, last = lost.get("columns", [0, len(die["columns"])])
                if code in lost["kinds"] and first <= place < last:
                    rows -= set(range(*lost["rows"]))
            total["L" if code in "LMm" else code] += PER_REGION[code] * len(rows) / 60
    return Resources(LUT=int(total["L"]), FF=2 * int(total["L"]), DSP=int(total["D"]), BRAM36=total["B"], URAM=int(total["U"]))


@pytest.mark.parametrize("device", DEVICES)
def test_the_dies_of_a_part_have_what_the_parts_table_says(device):
    part = get_part(device)
    dies = dies_of(device)
    assert [die.offer for die in dies] == list(part.slr_offers())
    assert [die.offer for die in dies] == [counted(CONTENT["dies"][die.name]) for die in dies]


def test_every_deviation_is_explained_and_every_code_named():
    for die in CONTENT["dies"].values():
        assert set(die["columns"]) <= CONTENT["codes"].keys() <= wires().crossed.keys()
        assert all(lost["why"] and lost["rows"][0] % BAND == lost["rows"][1] % BAND == 0 for lost in die["lost"])
    plus = {name for name, row in part_table().items() if row["family"] == "UltraScale+"}
    unknown = {device for row in CONTENT["not_known"] for device in row["devices"] if row["why"]}
    assert unknown.isdisjoint(DEVICES) and unknown.union(DEVICES) == plus


@pytest.mark.parametrize(
    "device, slr, ranges",
    [
        # Pblocks of public designs: the whole of a VU13P; SLR1 of a U50, whose SLR0 lacks six DSP at the bottom of a column.
        ("xcu250", 3, ["SLICE_X0Y720:SLICE_X232Y959", "DSP48E2_X0Y288:DSP48E2_X31Y383", "RAMB36_X0Y144:RAMB36_X13Y191", "URAM288_X0Y192:URAM288_X4Y255"]),
        ("xcu50", 1, ["SLICE_X0Y240:SLICE_X232Y479", "DSP48E2_X0Y90:DSP48E2_X31Y185", "RAMB36_X0Y48:RAMB36_X13Y95", "URAM288_X0Y64:URAM288_X4Y127"]),
    ],
)  # fmt: skip
def test_sites_have_their_names(device, slr, ranges):
    ground = Ground.of(get_part(device))
    die = ground.dies[slr]
    ends = [int(die.index[die.kind == kind].max()) for kind in range(len(SITES))]
    last = [die.rows * per // 60 - 1 for per in (60, 24, 12, 16)]
    assert [ground.site_names(slr, Area(kind, 0, ends[kind], 0, last[kind])) for kind in range(len(SITES))] == ranges


def test_the_lowest_dsp_of_a_die_with_memory_is_named_0():
    ground = Ground.of(get_part("xcu50"))
    assert ground.site_names(0, Area(1, 30, 31, 6, 11)) == "DSP48E2_X30Y0:DSP48E2_X31Y5"  # in rows 15 to 29
    assert not ground.dies[0].sites[ground.dies[0].kind == 1, 0].any()


@pytest.mark.parametrize("device", sorted(shell_table()["xdma"]))
def test_a_shell_leaves_what_its_table_says(device):
    part = get_part(device).with_shell("xdma")
    ground = Ground.of(part)
    for slr, left in enumerate(part.dies):
        assert list(ground.amount(slr)) == [left.LUT // 8, left.DSP, left.BRAM36, left.URAM]
        assert (ground.room[slr] <= ground.dies[slr].sites).all() and (ground.room[slr] >= 0).all()


def test_wires_of_a_die_take_what_the_model_says():
    """FACTS of the wire model, counted apart: 240 rows 2.56 ns, the width of a VU13P 3.97 ns, .39 of it the IO column."""
    die = dies_table()["VU11P"]
    assert wires().row * die.rows == pytest.approx(2.56, abs=0.02)
    assert die.x_ns[-1] == pytest.approx(3.97, rel=0.02)
    io = die.columns.index("I")
    assert np.diff(die.x_ns)[io - 1 : io + 1].sum() == pytest.approx(0.39 + 2 * 0.009, abs=0.03)


def test_a_part_without_columns_is_refused():
    with pytest.raises(UserError, match="not possible on xczu2cg: the columns of its die are not known; they are of xck24, "):
        Ground.of(get_part("xczu2cg"))
