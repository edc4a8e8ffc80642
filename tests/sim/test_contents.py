"""``contents.bin`` and ``load.json``: layout by hand, and every way in which a copy may be damaged."""

from __future__ import annotations

import json
import shutil
import struct
import zlib

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.sim.contents import Contents, Region, joined

WEIGHTS = Region("Unit_0", "weights", words=3, width=40, banks=2)
TABLE = Region("Unit_1", "table", words=2, width=7, banks=1)
BANKS = [[0x12_3456789A, 1, 0xFF_FFFFFFFF], [2, 3, 4]]


def sample() -> Contents:
    parts = [Contents(0, (region,), region.packed(banks)) for region, banks in ((WEIGHTS, BANKS), (TABLE, [[0x7F, 5]]))]
    return joined(0xC0FFEE01, "s_axilite_0", parts)


def test_layout_by_hand(tmp_path):
    sample().save(tmp_path)
    data = [0x3456789A, 0x12, 1, 0, 0xFFFFFFFF, 0xFF, 2, 0, 3, 0, 4, 0, 0x7F, 5]
    before = b"vpld" + struct.pack("<17I", 1, 0xC0FFEE01, 14, *data)
    assert (tmp_path / "contents.bin").read_bytes() == before + struct.pack("<I", zlib.crc32(before))
    index = json.loads((tmp_path / "load.json").read_text())
    assert index["design"] == 0xC0FFEE01 and index["file"] == "contents.bin" and index["port"] == "s_axilite_0"
    assert index["regions"] == [
        {"unit": "Unit_0", "memory": "weights", "words": 3, "width": 40, "banks": 2, "offset": 16},
        {"unit": "Unit_1", "memory": "table", "words": 2, "width": 7, "banks": 1, "offset": 16 + 48},
    ]


def test_read_as_written(tmp_path):
    sample().save(tmp_path)
    found = Contents.load(tmp_path)
    assert found.design == 0xC0FFEE01 and found.regions == (WEIGHTS, TABLE)
    assert found.banks(WEIGHTS)[0, 0].tolist() == [0x3456789A, 0x12] and found.banks(TABLE)[0, :, 0].tolist() == [0x7F, 5]
    assert np.array_equal(found.words, sample().words)


def test_files_of_a_simulation(tmp_path):
    """A file a bank, a memory word a line, as many digits as its width takes."""
    sample().fill(tmp_path)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts == {
        "00_Unit_0_weights.fill": "123456789a\n0000000001\nffffffffff\n",
        "01_Unit_0_weights.fill": "0000000002\n0000000003\n0000000004\n",
        "Unit_1_table.fill": "7f\n05\n",
    }


def test_contents_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"Unit_0 weights: 2 banks of 3 words, not \[3\]"):
        WEIGHTS.packed(BANKS[:1])


def damaged(raw: bytes, place: int, new: bytes, checksum: bool = True) -> bytes:
    raw = raw[:place] + new + raw[place + len(new) :]
    return raw[:-4] + struct.pack("<I", zlib.crc32(raw[:-4])) if checksum else raw


DAMAGES = {
    "magic": (lambda raw: damaged(raw, 0, b"FINN"), "begins with b'FINN'"),
    "version": (lambda raw: damaged(raw, 4, b"\2"), "has version 2, this program reads 1"),
    "design": (lambda raw: damaged(raw, 8, b"\2"), "checksum"),
    "count": (lambda raw: damaged(raw, 12, b"\2"), "names 2 words and holds 14"),
    "cut": (lambda raw: raw[:-8], "names 14 words and holds 12"),
    "cut in a word": (lambda raw: raw[:-3], r"has 73 bytes, which is no file of contents"),
    "empty": (lambda raw: b"", "has 0 bytes"),
    "a bit": (lambda raw: damaged(raw, 40, b"\7", checksum=False), "checksum is wrong"),
    "another file with a good checksum": (lambda raw: damaged(raw, 40, b"\7"), "checksum is wrong"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_contents_are_refused(name, tmp_path):
    change, message = DAMAGES[name]
    sample().save(tmp_path)
    path = tmp_path / "contents.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        Contents.load(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, contents in ((one, sample()), (other, Contents(7, (TABLE,), TABLE.packed([[1, 2]])))):
        folder.mkdir()
        contents.save(folder)
    shutil.copy(other / "contents.bin", one)
    with pytest.raises(UserError, match="checksum is wrong"):
        Contents.load(one)
    index = json.loads((other / "load.json").read_text())
    for change, message in (
        ({"design": 8}, "is for design 0x00000007, .* for 0x00000008"),
        ({"regions": index["regions"] * 2}, "do not add up to the 2 words"),
        ({"regions": [{"unit": "x"}]}, "is not as the build wrote it"),
        ({"format": 9}, "has format 9, this program reads 1"),
    ):
        (other / "load.json").write_text(json.dumps(index | change))
        with pytest.raises(UserError, match=message):
            Contents.load(other)
    (other / "load.json").write_text("{")
    with pytest.raises(UserError, match="is not as the build wrote it"):
        Contents.load(other)


@pytest.mark.parametrize("name", ["contents.bin", "load.json"])
def test_a_missing_file_is_named(name, tmp_path):
    sample().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        Contents.load(tmp_path)
