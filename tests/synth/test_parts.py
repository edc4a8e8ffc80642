"""The part table, board names, own parts, and what an unknown name gets."""

import json
from importlib import resources

import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import KINDS, board_parts, get_part, part_table, shell_table
from finn_vitprune.synth.resources import Resources

# (part, LUT, DSP, BRAM36, URAM) as printed in AMD's product selection guides.
PUBLISHED = [
    ("xcu250-figd2104-2L-e", 1728000, 12288, 2688, 1280),
    ("xcu200-fsgd2104-2-e", 1182240, 6840, 2160, 960),
    ("xcu280-fsvh2892-2L-e", 1303680, 9024, 2016, 960),
    ("xcu50-fsvh2104-2-e", 871680, 5952, 1344, 640),
    ("xcu55c-fsvh2892-2L-e", 1303680, 9024, 2016, 960),
    ("xczu3eg-sbva484-1-e", 70560, 360, 216, 0),
    ("xczu7ev-ffvc1156-2-e", 230400, 1728, 312, 96),
    ("xczu9eg-ffvb1156-2-e", 274080, 2520, 912, 0),
    ("xck26-sfvc784-2LV-c", 117120, 1248, 144, 64),
    ("xczu28dr-ffvg1517-2-e", 425280, 4272, 1080, 80),
    ("xczu48dr-ffvg1517-2-e", 425280, 4272, 1080, 80),
    ("xcvu9p-flga2104-2L-e", 1182240, 6840, 2160, 960),
    ("xcku040-ffva1156-2-e", 242400, 1920, 600, 0),
    ("xcku115-flvb2104-2-e", 663360, 5520, 2160, 0),
    ("xcvu095-ffva2104-2-e", 537600, 768, 1728, 0),
    ("xcvc1902-vsva2197-2MP-e-S", 899840, 1968, 967, 463),
    ("xcvm1802-vfvc1760-2MP-e-S", 899840, 1968, 967, 463),
    ("xcve2302-sfva784-1LP-e-S", 150272, 464, 155, 155),
    ("xcvp1202-vsva2785-2MP-e-S", 900224, 3984, 1341, 677),
]


@pytest.mark.parametrize("name,lut,dsp,bram,uram", PUBLISHED)
def test_published_numbers(name, lut, dsp, bram, uram):
    p = get_part(name)
    assert (p.name, p.LUT, p.FF, p.DSP, p.BRAM36, p.URAM) == (name, lut, 2 * lut, dsp, bram, uram)


def test_every_row_has_a_source_that_is_listed():
    content = json.loads(resources.files("finn_vitprune.synth").joinpath("parts.json").read_text())
    for row in content["parts"]:
        documents = [d.split()[0] for d in row["source"].split(", ")]
        assert documents and all(d in content["documents"] for d in documents), row
        assert all(isinstance(row[k], int) for k in (*KINDS, "slrs"))
        assert row["family"] in ("UltraScale", "UltraScale+", "Versal")
        assert row["FF"] == 2 * row["LUT"]  # two flip-flops a LUT in all three families
    devices = [d for row in content["parts"] for d in row["devices"]]
    assert len(devices) == len(set(devices)) == len(part_table())


@pytest.mark.parametrize("name,slrs", [("xcu250", 4), ("xcvu9p", 3), ("xcu50", 2), ("xczu7ev", 1), ("xcku115", 2)])
def test_multi_die_parts(name, slrs):
    assert get_part(name).slrs == slrs


def amounts(r):
    return tuple(getattr(r, kind) for kind in KINDS)


# One-die parts of the same family that a die is equal to, as the data sheets list them; (LUT, DSP, BRAM36, URAM).
VU3P, VU31P, VP1202 = (394080, 2280, 720, 320), (439680, 2880, 672, 320), (900224, 3984, 1341, 677)


@pytest.mark.parametrize(
    "name,first,count", [("xcu200", VU3P, 3), ("xcu50", VU31P, 2), ("xcu280", VU31P, 3), ("xcu55c", VU31P, 3), ("xcvp1802", VP1202, 4)]
)
def test_the_first_die_is_that_of_the_one_die_part(name, first, count):
    dies = get_part(name).slr_offers()
    assert len(dies) == count and (dies[0].LUT, dies[0].DSP, dies[0].BRAM36, dies[0].URAM) == first
    assert len(set(dies[1:])) == 1  # the others are alike


def test_the_dies_of_a_u250():
    """AMD's product table of Alveo has 1,728 K LUTs, 12,288 DSPs, 2,688 block RAMs and 1,280 UltraRAMs: a quarter each."""
    assert [amounts(die) for die in get_part("xcu250").slr_offers()] == [(432000, 864000, 3072, 672, 320)] * 4


def test_the_dies_make_up_the_part_where_they_are_known():
    unknown = set()
    for device in part_table():
        p = get_part(device)
        assert amounts(p.offer()) == amounts(p.whole) == amounts(p)
        assert len(p.slr_offers()) in (1, p.slrs) and bool(p.dies) == bool(p.dies_source)
        if len(p.slr_offers()) != p.slrs:
            unknown.add(device)
    assert unknown == {"xcku085", "xcvu160", "xcvu440", "xcvu5p", "xcvu19p", "xcv80"}  # no source says how they divide


def test_what_a_shell_leaves_is_less_than_there_is():
    for shell, rows in shell_table().items():
        for device, row in rows.items():
            p = get_part(device)
            left = p.slr_offers(shell)
            assert len(left) == p.slrs and row.source
            for have, rest in zip(p.slr_offers(), left):
                assert all(0 < r <= h for r, h in zip(amounts(rest), amounts(have))), (device, rest)
            assert amounts(p.offer(shell)) == tuple(sum(getattr(x, kind) for x in left) for kind in KINDS)
            assert p.offer(shell).LUT < p.LUT


def test_a_part_with_a_shell_is_judged_by_what_is_left():
    """UG1120 leaves 345 K LUTs, 500 block RAMs and 2,877 DSPs in each SLR of a U250."""
    p = get_part("xcu250-figd2104-2L-e").with_shell("xdma")
    assert (p.shell, p.LUT, p.BRAM36, p.DSP, p.URAM, p.slrs) == ("xdma", 1_380_000, 2000, 11508, 1280, 4)
    assert p.slr_offers() == p.slr_offers("xdma") == get_part("xcu250").slr_offers("xdma") and "UG1120" in p.dies_source
    assert [s.resource for s in p.lacks(Resources(BRAM36=2001, DSP=11508))] == ["BRAM36"]


def test_a_shell_without_figures_is_refused_with_the_parts_that_have_them():
    with pytest.raises(UserError, match="no figures of the shell xdma on xczu7ev: use none, or one of xcu50, .*xcu250"):
        get_part("xczu7ev").slr_offers("xdma")
    with pytest.raises(UserError, match="unknown shell qdma: use none, xdma"):
        get_part("xcu250").offer("qdma")
    assert get_part("xczu7ev").with_shell("none").shell == "none"


@pytest.mark.parametrize("name, shell", [
    ("U250", "xdma"), ("u55c", "xdma"), ("xcu250-figd2104-2L-e", "none"), ("xcu250", "none"), ("ZCU104", "none"), ("ulx3s-85f", "none"),
])  # fmt: skip
def test_a_card_by_its_name_has_its_shell(name, shell):
    part = get_part(name)
    assert part.with_shell(None).shell == shell and part.with_shell("none").shell == "none"
    assert (part.with_shell(None).LUT < part.LUT) is (shell == "xdma")


@pytest.mark.parametrize("name", ["xczu3eg", "xczu3eg-sfvc784-2-e", "XCZU3EG-SBVA484-1-I", "xczu3egsbva484-1"])
def test_package_and_grade_do_not_matter(name):
    assert get_part(name).device == "xczu3eg"


def test_a_longer_device_name_is_not_taken_for_a_shorter_one():
    assert get_part("xcku11p-ffva1156-2-e").LUT == 298560
    assert get_part("xcku115-flva1517-2-e").LUT == 663360
    with pytest.raises(UserError):
        get_part("xcu2500-figd2104-2L-e")


def test_boards_of_finn_are_accepted():
    assert get_part("zcu104").name == "xczu7ev-ffvc1156-2-e"
    for board, part in board_parts().items():
        if part.startswith("xc7"):
            with pytest.raises(UserError, match="7-series parts are not supported"):
                get_part(board)
        else:
            assert get_part(board).name == part


@pytest.mark.parametrize("name,near", [("xcu25-figd2104-2L-e", "xcu250"), ("ZCU14", "ZCU104"), ("xczu7e", "xczu7ev")])
def test_near_names_are_suggested(name, near):
    with pytest.raises(UserError, match=rf"unknown part {name}: did you mean .*{near}.*--part-resources"):
        get_part(name)


def test_nothing_near_says_what_to_do():
    with pytest.raises(
        UserError,
        match="unknown part potato: boards are .*ZCU104, .*U250.*; `finn-vitprune doctor --parts` lists all parts; .* --part-resources FILE",
    ):
        get_part("potato")


def test_versal_is_flagged():
    assert "UltraScale+" in get_part("VCK190").note and "Versal" in get_part("VCK190").note
    assert get_part("xcu250").note == ""


def test_own_parts_from_json_and_yaml(tmp_path):
    values = {"LUT": 100, "FF": 200, "DSP": 3, "BRAM36": 4, "URAM": 0}
    js, ym = tmp_path / "p.json", tmp_path / "p.yaml"
    js.write_text(json.dumps({"xcnew-abcd1234-1-e": values | {"slrs": 2}}))
    ym.write_text("xcnew: {LUT: 100, FF: 200, DSP: 3, BRAM36: 4, URAM: 0}\n")
    assert get_part("xcnew-abcd1234-1-e", js).slrs == 2
    p = get_part("xcnew-abcd1234-2-i", ym)
    assert (p.LUT, p.DSP, p.slrs, p.family) == (100, 3, 1, "UltraScale+")
    assert get_part("xcu250", js).LUT == 1728000  # the table stays


def test_the_dies_of_an_own_part(tmp_path):
    file = tmp_path / "p.yaml"
    die = "{LUT: %d, FF: 10, DSP: 1, BRAM36: 1, URAM: 0}"
    file.write_text(f"xcnew: {{LUT: 12, FF: 20, DSP: 2, BRAM36: 2, URAM: 0, dies: [{die % 4}, {die % 8}]}}\n")
    p = get_part("xcnew", file)
    assert p.slrs == 2 and [d.LUT for d in p.slr_offers()] == [4, 8] and str(file) == p.dies_source


@pytest.mark.parametrize(
    "text,message",
    [
        ("xcnew: {LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0, slrs: 1.5}", "slrs is 1.5, a whole number"),
        ("xcnew: {LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0, dies: 3}", "dies must be a list"),
        ("xcnew: {LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0, dies: [{LUT: 1}]}", "SLR 0: FF, DSP, BRAM36, URAM missing"),
        (
            "xcnew: {LUT: 2, FF: 2, DSP: 1, BRAM36: 0, URAM: 0, dies: [{LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0}]}",
            "dies have 1 LUT together, the part 2",
        ),
        (
            "xcnew: {LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0, slrs: 2, dies: [{LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0}]}",
            "slrs is 2, but dies has 1",
        ),
        ("[1, 2]", "expected"),
        ("{a: [", "is not YAML"),
        ("xcnew: {LUT: 1, FF: 2}", "DSP, BRAM36, URAM missing"),
        ("xcnew: {LUT: 1, FF: 2, DSP: x, BRAM36: 0, URAM: 0}", "DSP is 'x'"),
        ("xcnew: {LUT: 1, FF: 2, DSP: 1, BRAM36: 0, URAM: 0, BRAM: 3}", "unknown key BRAM"),
    ],
)
def test_a_bad_resources_file_is_one_clear_line(tmp_path, text, message):
    file = tmp_path / "parts.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as e:
        get_part("xcnew", file)
    assert "\n" not in str(e.value) and str(file) in str(e.value)


def test_a_missing_resources_file(tmp_path):
    with pytest.raises(UserError, match="cannot read part resources .*none.json"):
        get_part("xcu250", tmp_path / "none.json")


def test_fit():
    p = get_part("xczu3eg")
    used = Resources(LUT=35280, FF=10, DSP=360, BRAM36=216.0)
    assert not p.lacks(used)
    assert [str(s) for s in p.lacks(Resources(LUT=70561, DSP=1))] == ["70,561 of 70,560 LUT"]
    assert [str(s) for s in p.lacks(Resources(BRAM36=216.5))] == ["216.5 of 216 BRAM36"]
    assert p.lacks(Resources(URAM=1))
