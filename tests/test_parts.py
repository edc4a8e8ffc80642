"""The part table, board names, own parts, and what an unknown name gets."""

import json
from importlib import resources

import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.synth.parts import KINDS, board_parts, get_part, part_table
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
    with pytest.raises(UserError, match="unknown part potato: Give other parts with --part-resources FILE"):
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


@pytest.mark.parametrize(
    "text,message",
    [
        ("[1, 2]", "expected"),
        ("{a: [", "neither JSON nor YAML"),
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
