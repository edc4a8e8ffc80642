"""A build folder holds results of one model and its options: others are moved aside or refused, never shown or mixed."""

import json
import shutil

import numpy as np
import pytest

from finn_vitprune import progress
from finn_vitprune.builds.build import DEFAULT_CONFIG, BuildOptions, build
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.built.record import FIRST_USE, STANDARD_STEPS, Results, build_in
from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_yaml
from finn_vitprune.report.summary import Summary
from tests.conftest import PART
from tests.said import Said
from tests.vit_models import random_vit

pytestmark = pytest.mark.xdist_group("small_build")


@pytest.fixture
def built(small_build, tmp_path) -> BuildOptions:
    """The options of a finished build in a folder of its own, as if it had been made there."""
    shutil.copytree(small_build.folder, tmp_path / "b")
    record = tmp_path / "b" / "build_record.json"
    record.write_text(record.read_text().replace(str(small_build.folder), str(tmp_path / "b")))
    return BuildOptions(model=small_build.model, output_dir=tmp_path / "b", fpga_part=PART, target_fps=200_000, synth="none")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model, with its images."""
    folder = tmp_path_factory.mktemp("other")
    model, images = random_vit(image=4, depth=1, drop_at=(), token_keep="1", seed=7)
    model.save(str(folder / "other.onnx"))
    np.savez(folder / "other.npz", images=images)
    return folder / "other.onnx"


def with_settings(options, **settings):
    return options.changed(**settings)


def said_by(options):
    said = Said()
    with progress.shown_by(said):
        build(options)
    return [line for line in said if "moved" in line]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_estimates_of_another_model_stand_alone_and_the_old_results_are_whole(built, other, small_build):
    old, folder = contents(built.output_dir), built.output_dir
    (folder / "report" / "thesis.txt").write_text("years of work")
    [line] = said_by(built.changed(model=other, estimate_only=True))
    assert f"to {folder}/previous-1: they are of other model, images" in line
    summary, before = Summary.load(folder), Summary.load(small_build.folder)
    assert summary.model.macs < before.model.macs and summary.rtlsim is summary.verify is None
    assert (folder / "report" / "thesis.txt").read_text() == "years of work"
    assert not list((folder / "hdl").iterdir()) and not (folder / "stitched_ip").exists()
    cycles = json.loads((folder / "report" / "estimate_layer_cycles.json").read_text())
    assert cycles != json.loads(old["report/estimate_layer_cycles.json"])
    kept = contents(folder / "previous-1")
    assert kept.keys() >= old.keys() - {"build_dataflow.log", "vitprune.json", ".lock"}
    assert all(content == old[path] for path, content in kept.items() if path != "build_record.json")
    assert Summary.load(folder / "previous-1") == before
    assert simulate(folder / "previous-1", small_build.images[:1]).shape == (1, 10)


@pytest.mark.parametrize(
    "changed, text",
    [
        (
            {"settings": {"images": "fewer.npz"}},
            r"images model\.npz \(SHA-256 \w+\), not fewer\.npz \(SHA-256 \w+\); start from step_lower,",
        ),
        ({"settings": {"max_images": 3}}, "max_images None, not 3; start from step_lower,"),
        ({"target_fps": 7}, "target_fps 200000, not 7; start from step_fold,"),
        (
            {"clk_ns": 9.0, "fpga_part": "xczu3eg-sbva484-1-e"},
            rf"synth_clk_period_ns 4\.0, not 9\.0; for fpga_part {PART}, not xczu3eg-sbva484-1-e; start from step_specialize_layers,",
        ),
        ({"output_dir": "moved"}, "output_dir .*/b, not .*/moved; start from step_hw_codegen,"),
        ({"model": None}, r"model model\.onnx \(SHA-256 \w+\), not deit_digits\.onnx .*; leave out --start-step$"),
    ],
)
def test_starting_with_other_options_is_refused_at_once(built, tmp_path, changed, text):
    np.savez(tmp_path / "fewer.npz", images=np.zeros((2, 8, 8, 1), np.uint8))
    settings = {k: tmp_path / v if k == "images" else v for k, v in changed.pop("settings", {}).items()}
    if "output_dir" in changed:
        changed["output_dir"] = built.output_dir.rename(tmp_path / "moved")
    options = with_settings(built, **settings).changed(start_step="step_simulate", **changed)
    before = contents(options.output_dir)
    with pytest.raises(UserError, match=f"^cannot start from step_simulate: {options.output_dir} holds results for {text}"):
        build(options)
    assert contents(options.output_dir) == before


def test_what_depends_on_an_option_of_later_steps_is_moved_aside(built):
    folder = built.output_dir
    [line] = said_by(with_settings(built, stalled_images=2).changed(start_step="step_simulate", stop_step="step_simulate"))
    assert line.endswith("previous-1: they are of other stalled_images")
    assert json.loads((folder / "report" / "rtl_verification.json").read_text())["stalled_images"] == 6
    assert not (folder / "report" / "vitprune_summary.json").exists(), "it speaks of 72 stalled images"
    assert Summary.load(folder / "previous-1").verify.stalled_images == 72
    assert (folder / "stitched_ip" / "design.json").exists()


def test_the_same_build_again_moves_nothing(built):
    assert said_by(built.changed(stop_step="step_lower")) == []
    assert Summary.load(built.output_dir).verify.images == 64


def test_files_changed_by_hand_are_refused_or_kept(built):
    path = built.output_dir / "auto_folding_config.json"
    path.write_text(path.read_text().replace('"dsp48e2"', '"portable"', 1))
    mine = path.read_text()
    text = f"^cannot start from step_simulate: {path} is missing or not as step_fold wrote it; start from step_fold, or leave"
    with pytest.raises(UserError, match=text):
        build(built.changed(start_step="step_simulate"))
    assert path.read_text() == mine
    with pytest.raises(UserError, match=f"^{path} is a result of the build in that folder: copy it to another place first$"):
        build(built.changed(folding=path))
    [line] = said_by(built.changed(stop_step="step_tidy_up"))
    assert "moved 1 results" in line and line.endswith("previous-1: they changed after their step wrote them")
    assert (built.output_dir / "previous-1" / "auto_folding_config.json").read_text() == mine and not path.exists()


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_build_leaves_nothing_in_that_of_another_model(built, other, monkeypatch, killed):
    def interrupted(*_):
        (built.output_dir / "stitched_ip").mkdir(exist_ok=True)
        (built.output_dir / "stitched_ip" / "half.v").write_text("module")
        raise Killed

    shutil.rmtree(built.output_dir)
    monkeypatch.setattr("finn_vitprune.builds.steps.stitch", interrupted)
    if killed:
        monkeypatch.setattr(Results, "close", lambda _: None)
    with pytest.raises(Killed):
        build(built.changed(model=other))
    with pytest.raises(UserError, match="^cannot start from step_simulate: .* has not finished step_stitch; start from step_st"):
        build(built.changed(model=other, start_step="step_simulate"))
    monkeypatch.undo()
    said_by(built.changed(stop_step="step_tidy_up"))
    assert not (built.output_dir / "stitched_ip").exists()
    assert (built.output_dir / "previous-1" / "stitched_ip" / "half.v").read_text() == "module"


def test_a_folder_without_a_record_is_refused(built, tmp_path):
    (built.output_dir / "build_record.json").unlink()
    with pytest.raises(UserError, match=f"^output folder {built.output_dir} is not empty and does not hold a build of this version"):
        build(built)
    (built.output_dir / "build_record.json").write_text('{"options": ')
    with pytest.raises(UserError, match="build_record.json is damaged: give a new output folder$"):
        build(built)


def test_of_two_builds_in_a_folder_the_second_is_refused(built, tmp_path):
    for folder in (built.output_dir, tmp_path / "new"):
        with build_in(folder, {}, []), pytest.raises(UserError, match=f"^another build is running in {folder}: wait for it"):
            build(built.changed(output_dir=folder))


def test_the_program_says_what_stopped_and_what_differs(built, other, capsys):
    line = ["build", str(other), "-o", str(built.output_dir), "--fpga-part", PART]
    assert run([*line, "--start-step", "step_simulate"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("finn-vitprune: cannot start from step_simulate: ") and error.count("\n") == 1
    assert run([*line, "--stop-step", "step_tidy_up"]) == 0
    said = capsys.readouterr()
    assert "moved " in said.err + said.out and "Stopped before the summary" in said.out


def test_a_range_without_steps_is_refused_and_the_first_step_is_the_start(built):
    with pytest.raises(UserError, match="^start step step_stitch comes after stop step step_fold: nothing would run$"):
        build(built.changed(start_step="step_stitch", stop_step="step_fold"))
    build(built.changed(start_step="step_tidy_up", stop_step="step_tidy_up"))


def test_steps_of_the_user_may_read_every_option(built, tmp_path):
    config = read_yaml(DEFAULT_CONFIG, "build config")
    results = Results(tmp_path, {"target_fps": 1}, ["step_tidy_up", "step_of_mine", *config["steps"]])
    results.admit(None, [])
    assert Results(tmp_path, {"target_fps": 2}, ["step_tidy_up", "step_of_mine", "step_fold"])._first_use("target_fps") == 1
    assert set(FIRST_USE.values()) <= STANDARD_STEPS


def test_a_truncated_model_of_a_step_is_refused(built):
    path = built.output_dir / "intermediate_models" / "step_stitch.onnx"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=f"{path} is missing or not as step_stitch wrote it; start from step_stitch,"):
        build(built.changed(start_step="step_simulate"))
