"""``design.json`` knows every file of a stitched design: what was damaged after the build is never simulated."""

import json
import shutil

import numpy as np
import pytest

from finn_vitprune.builds.simulate import simulate
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256

pytestmark = pytest.mark.xdist_group("small_build")


@pytest.fixture
def design(small_build, tmp_path):
    """A copy of what a build stitched, and nothing else of the build."""
    return shutil.copytree(small_build.folder / "stitched_ip", tmp_path / "stitched_ip")


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


KINDS = [
    "BlockSparseMVAU_rtl_1_constants.hex",
    "PrunedAttention_rtl_0_exp.hex",
    "vp_mvau.sv",
    "VitAdd_rtl_0.v",
    "finn_design.v",
    "finn_design_monitored.v",
    "host.onnx",
    "design.json",
]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("damage", [truncate, change])
def test_a_damaged_file_is_named_and_not_simulated(design, name, damage):
    damage(design / name)
    with pytest.raises(UserError, match=rf"^{design}/{name} is not as the build wrote it: build again$"):
        simulate(design.parent, np.zeros((1, 8, 8, 1), np.uint8))


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_file_is_named(design, name):
    (design / name).unlink()
    with pytest.raises(UserError, match=rf"{design}/{name} is missing.*: build again$"):
        simulate(design.parent, np.zeros((1, 8, 8, 1), np.uint8))


def test_the_description_names_every_file_of_the_design(design):
    digests = json.loads((design / "design.json").read_text())["digests"]
    others = {"design.json", "all_verilog_srcs.txt"}
    assert digests == {path.name: sha256(path) for path in design.iterdir() if path.name not in others}


@pytest.mark.parametrize("content", ['{"folder": "", "sources": []}', "[]", "{}"])
def test_the_description_of_another_version_is_refused(design, content):
    (design / "design.json").write_text(content)
    with pytest.raises(UserError, match=r"design\.json (has format 1, this version reads 5|is not as .*): build again$"):
        StitchedDesign.load(design)


def test_a_design_simulates_without_the_rest_of_its_build(design, small_build):
    logits = simulate(design.parent, small_build.images[:2])
    assert np.array_equal(logits, np.load(small_build.folder / "verification_output" / "rtl_logits.npy")[:2])
