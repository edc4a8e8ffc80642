"""Two builds of one model write the same files, whatever the process, its working directory and the output folder."""

import json
import os
import subprocess
import sys

import onnx
import pytest

from tests.conftest import PART

pytestmark = pytest.mark.xdist_group("small_build")

OF_THE_RUN = {"build_dataflow.log", "build_record.json", "report/time_per_step.json"}
"""Times, and digests of files that hold the place of the folder."""
PAGE = "report.html"
"""The command writes it, with times; `build` in Python does not."""
WITH_PLACES = {
    "stitched_ip/all_verilog_srcs.txt",
    "intermediate_models/dataflow_parent.onnx",
    *(f"intermediate_models/step_{name}.onnx" for name in ("hw_codegen", "stitch", "simulate", "synthesise", "summarise")),
}
"""Files in which FINN wants full paths."""


def comparable(folder, name):
    """What must be equal of a file."""
    path = folder / name
    if name in WITH_PLACES:
        text = str(onnx.load(path)) if path.suffix == ".onnx" else path.read_text()
        return text.replace(str(folder), "FOLDER")
    if name == "report/vitprune_summary.json":
        return json.loads(path.read_text()) | {"time_s": {}}
    return path.read_bytes()


def test_two_builds_of_a_model_are_the_same_files(small_build, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    options = ["--fpga-part", PART, "--target-fps", "200000", "--synth", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "finn_vitprune", "build", str(small_build.model), *options, "-o", "again"],
        cwd=tmp_path / "elsewhere",
        env=os.environ | {"PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    folders = (small_build.folder, tmp_path / "elsewhere" / "again")
    names, again = ({str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()} for f in folders)
    assert names | {PAGE} == again and again >= WITH_PLACES | OF_THE_RUN
    differing = {n for n in names - OF_THE_RUN if comparable(folders[0], n) != comparable(folders[1], n)}
    assert differing == set()


def test_files_hold_no_places_but_where_finn_wants_them(small_build):
    place = str(small_build.folder).encode()
    found = {str(p.relative_to(small_build.folder)) for p in small_build.folder.rglob("*") if p.is_file() and place in p.read_bytes()}
    assert found - OF_THE_RUN == WITH_PLACES
