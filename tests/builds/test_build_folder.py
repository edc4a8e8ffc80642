"""What steps leave for each other comes back as it was, and FINN's builder leaves no trace in the process."""

import errno
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import progress
from finn_vitprune.builds.build import EXAMPLE
from finn_vitprune.builds.checks.lowering_check import ClassChange, Fault, LoweringCheck, TensorCheck, check_lowering
from finn_vitprune.builds.finn_builder import DataflowBuildConfig, builder, finn_logging, run_builder
from finn_vitprune.builds.records.context import BuildContext
from finn_vitprune.builds.records.folder import BuildFolder, QonnxReference, Synthesis
from finn_vitprune.builds.steps import _judge, build_step
from finn_vitprune.errors import AnswerIsNo, UserError
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.synth.resources import Resources
from finn_vitprune.transforms.lowering.lower import lower
from tests.said import Said

MODEL = EXAMPLE / "deit_digits.onnx"


def test_results_come_back_as_they_were_and_are_plain_json(tmp_path):
    folder = BuildFolder(tmp_path)
    check = LoweringCheck(
        [0, 1],
        [TensorCheck("q", "VitAdd_0", 64, 1, 1, Fault(1, [2, 3], 5, 7, 6.75))],
        16,
        [ClassChange(9, 1, 2, 1)],
        0.125,
        1e-9,
        {"name": "x", "token_keep": "{}"},
    )
    for file, result in (
        (folder.lowering, check),
        (folder.reference, QonnxReference("random", [3, 1])),
        (folder.synthesis, Synthesis("Yosys 0.9", {"a": Resources(LUT=5, BRAM36=0.5), "b": Resources(carry=1)})),
        (folder.settings, BuildSettings(images=tmp_path / "i.npz", synth="none")),
    ):
        assert file.load() is None
        file.save(result)
        assert file.load() == result
    assert json.loads(folder.synthesis.path.read_text())["per_node"]["a"]["BRAM36"] == 0.5
    assert json.loads(folder.settings.path.read_text())["images"] == str(tmp_path / "i.npz")
    folder.forget(folder.lowering.path, folder.reference.path, folder.synthesis.path)
    assert folder.lowering.load() is folder.reference.load() is folder.synthesis.load() is None
    assert folder.settings.load() is not None


def config(folder, *steps):
    return DataflowBuildConfig(
        output_dir=str(folder), synth_clk_period_ns=4.0, generate_outputs=[], fpga_part="xcu250-figd2104-2L-e", steps=list(steps)
    )


def test_steps_of_one_build_share_what_they_read_and_builds_share_nothing(tmp_path):
    seen = []

    @build_step
    def look(model, build):
        seen.append((build, build.images(model)))
        return model

    other = build_step(lambda model, build: look(model, build.cfg))
    run_builder(MODEL, config(tmp_path / "a", look, other))
    BuildFolder(tmp_path / "a").settings.save(BuildSettings(max_images=3))
    run_builder(MODEL, config(tmp_path / "a", look))
    (first, images), (second, same), (third, fewer) = seen
    assert first is second and images is same
    assert third is not first and (len(images.pixels), len(fewer.pixels)) == (16, 3)
    assert np.array_equal(images.pixels[:3], fewer.pixels)


def test_context_belongs_to_its_config(tmp_path):
    a, b = config(tmp_path), config(tmp_path)
    assert BuildContext.of(a) is BuildContext.of(a) is not BuildContext.of(b)


@pytest.fixture(params=["in FINN's tests", "in production"])
def both_ways(request, monkeypatch):
    """FINN raises in a test what it turns into an exit code elsewhere."""
    if request.param == "in production":
        monkeypatch.delenv("PYTEST_CURRENT_TEST")


def process_state():
    root = logging.getLogger()
    return (sys.stdout, sys.stderr, root.handlers, root.level, finn_logging.get_console(), builder.exit_buildflow, builder.get_vivado_root)


@pytest.mark.usefixtures("both_ways")
def test_what_stops_a_step_is_raised_and_all_is_put_back(tmp_path):
    def reject(error):
        def step_refuse(model, context):
            raise error

        return step_refuse

    for step, text in (
        (build_step(reject(UserError("the model is too wide"))), "^the model is too wide$"),
        (reject(UserError("no such op")), "^no such op$"),
        (reject(KeyError("shape\nof things")), r"FINN's builder stopped: 'shape.*details in .*build_dataflow.log"),
    ):
        before = process_state()
        with pytest.raises(UserError, match=text):
            run_builder(MODEL, config(tmp_path / "b", step))
        assert process_state() == before
    with pytest.raises(KeyboardInterrupt):
        run_builder(MODEL, config(tmp_path / "b", reject(KeyboardInterrupt())))
    assert process_state() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "b"] and not (tmp_path / "b" / "failure.txt").exists()


@pytest.mark.usefixtures("both_ways")
def test_a_full_disk_is_one_line_and_leaves_no_half_written_model(tmp_path, monkeypatch):
    def half(model, path):
        Path(path).write_bytes(b"half of a model")
        raise OSError(errno.ENOSPC, "No space left on device")

    def step_fill_the_disk(model, context):
        monkeypatch.setattr("qonnx.core.modelwrapper.onnx.save", half)
        return model

    with pytest.raises(UserError, match=r"cannot go on in .*/b: .*step_fill_the_disk\.onnx: No space left on device$"):
        run_builder(MODEL, config(tmp_path / "b", step_fill_the_disk))
    assert not list((tmp_path / "b" / "intermediate_models").iterdir())


def test_steps_are_shown_and_the_rest_of_the_output_is_logged(tmp_path, capsys):
    said = Said()

    @build_step
    def step_talk(model, build):
        print("chatter")
        progress.line("folded")
        return model

    with progress.shown_by(said):
        run_builder(MODEL, config(tmp_path / "b", step_talk))
    assert said == ["step_talk [1/1]", "folded"]
    log = (tmp_path / "b" / "build_dataflow.log").read_text()
    assert "chatter" in log and log.count("step_talk") == 1 and log.count("folded") == 1
    assert "chatter" not in capsys.readouterr().out


def test_the_check_of_the_lowering_keeps_the_metadata_of_the_model_file():
    model = ModelWrapper(str(MODEL))
    with np.load(EXAMPLE / "images.npz") as data:
        check, logits, _ = check_lowering(model, lower(model), data["images"][:2])
    assert (check.source["name"], check.source["block_size"], check.images) == ("deit_digits", "8", [0, 1])
    assert logits.shape == (2, 10)


def test_images_of_another_class_are_compared_after_the_simulation(small_build, monkeypatch):
    """A build that was to stop before the simulation compared some images; the simulation found another class for image 9."""
    cfg = config(small_build.folder, "step_tidy_up", "finn_vitprune.builds.steps.step_lower", "finn_vitprune.builds.steps.step_simulate")
    with pytest.raises(AnswerIsNo, match="^to images 9 QONNX gives another class, and their codes were not compared: build again without"):
        _judge(BuildContext(cfg), [9])  # QONNX and the hardware graph give the same class: what was simulated is another model
    compared = []

    def found(ties):
        def check(source, lowered, pixels, images, whole):
            compared.append((len(pixels), images, whole))
            return LoweringCheck([9], [TensorCheck("q", "VitAdd_0", 64, ties)], 1, [ClassChange(9, 1, 2, ties)], 1.0, 0.0), None, None

        return check

    said = Said()
    monkeypatch.setattr("finn_vitprune.builds.steps.check_lowering", found(ties=3))
    with progress.shown_by(said):
        _judge(BuildContext(cfg), [9])
    assert "to images 9 QONNX gives another class: 3 of their 64 codes differ, all by one beside a tie" in said
    monkeypatch.setattr("finn_vitprune.builds.steps.check_lowering", found(ties=0))
    with pytest.raises(AnswerIsNo, match="image 9 has class 1 instead of 2, though all codes before it are equal"):
        _judge(BuildContext(cfg), [9])
    assert compared == [(64, [9], [9])] * 2
    cfg.steps = cfg.steps[1:]
    with pytest.raises(AnswerIsNo, match="build again without --start-step"):
        _judge(BuildContext(cfg), [9])


def test_a_build_that_stops_at_its_estimates_compares_the_classes_of_fewer_images(tmp_path):
    steps = ["step_tidy_up", "finn_vitprune.builds.steps.step_lower", "finn_vitprune.builds.steps.step_simulate"]
    cfg = config(tmp_path, *steps)
    assert BuildContext(cfg).simulates
    cfg.stop_step = "step_lower"
    assert not BuildContext(cfg).simulates
    model = ModelWrapper(str(MODEL))
    with np.load(EXAMPLE / "images.npz") as data:
        check, logits, qonnx = check_lowering(model, lower(model), data["images"][:12], [1, 7], [1, 7])
    assert (check.images, check.classes, logits.any(1).nonzero()[0].tolist(), qonnx.shape) == ([1, 7], 2, [1, 7], (12, 10))
