"""Promises of checkpoints within an epoch: a run that was stopped anywhere gives what an unbroken one gives."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from finn_vitprune.errors import UserError
from finn_vitprune.training import checkpoint
from finn_vitprune.training import train as training
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.run import TrainingRun
from tests.sampling import sampled, spread

torch.set_num_threads(1)
QUIET = Console(quiet=True)
STEPS, PARTS = 6, 2
"""Batches of an epoch, and of measuring all held-out images."""
CONFIG = {
    "name": "tiny",
    "batch_size": 240,
    "seed": 3,
    "flip": True,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {"block_size": 8, "token_keep": 0.5, "drop_at": [1]},
    "teacher": {"epochs": 2, "lr": 3e-3},
    "student": {"epochs": 3, "warmup_epochs": 0.5, "hold_epochs": 1},
    "quant": {"start_epoch": 1},
}


def stopped(config, folder, monkeypatch, after):
    """Train with a checkpoint at every chance, and stop after so many of them."""
    saved, original = [], TrainingRun.save

    def save(run):
        original(run)
        saved.append((run.progress.step, run.progress.measured))
        if len(saved) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS", 0)
        patch.setattr(TrainingRun, "save", save)
        with pytest.raises(KeyboardInterrupt):
            training.train(config, folder, console=QUIET)
    return saved[-1]


@pytest.fixture(scope="module", params=sampled([1, 0, 3], 1), ids="quantised from epoch {}".format)
def unbroken(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    config = parse_config(CONFIG | {"quant": {"start_epoch": request.param}})
    return config, folder, training.train(config, folder, console=QUIET)


EPOCH = STEPS + PARTS + 1
"""Checkpoints of an epoch: its steps, measuring, its end."""


@pytest.mark.parametrize(
    "after, where",
    spread(
        [
            (2, (2, 0)), (EPOCH - 2, (STEPS, 1)), (EPOCH + STEPS, (STEPS, 0)), (2 * EPOCH + 1, (1, 0)),
            (3 * EPOCH + 4, (4, 0)), (5 * EPOCH - 2, (STEPS, 1)), (5 * EPOCH - 1, (STEPS, 2)),
        ],
        6, several=True,
    ),
)  # fmt: skip
def test_a_run_stopped_within_an_epoch_gives_the_same_network(unbroken, tmp_path, monkeypatch, after, where):
    """Within the teacher's and the student's epochs, at their last step, and while held-out images are measured."""
    config, folder, metrics = unbroken
    assert stopped(config, tmp_path, monkeypatch, after) == where
    again = training.train(config, tmp_path, resume=True, console=QUIET)
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    for history in ("teacher_history", "student_history"):
        assert again[history] == metrics[history], "losses and accuracies, too"


def test_a_run_stopped_twice_within_an_epoch_measures_each_image_once(unbroken, tmp_path, monkeypatch):
    config, _folder, metrics = unbroken
    stopped(config, tmp_path, monkeypatch, STEPS + 1)
    content = checkpoint.load(tmp_path / "checkpoint.pt")["progress"]
    assert content["measured"] == 1 and content["teacher_epochs"] == 0 and len(content["losses"]) == STEPS
    seen, batches = [], TrainingRun.accuracy_of

    def accuracy_of(run, forward, limit=None):
        def counted(images):
            seen.append(len(images))
            return forward(images)

        return batches(run, counted, limit)

    monkeypatch.setattr(TrainingRun, "accuracy_of", accuracy_of)
    again = training.train(config, tmp_path, resume=True, console=QUIET)
    assert seen[0] == 180 and sum(seen) == 180 + 4 * 360, "the first half was measured before"
    assert again["teacher_history"] == metrics["teacher_history"]


def test_crops_of_a_folder_go_on_where_they_were(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, level in np.ndindex(2, 2):
        inside = tmp_path / "images" / ("train", "val")[part] / ("dark", "light")[level]
        inside.mkdir(parents=True)
        for i in range(6):
            pixels = np.clip(rng.normal(60 + 130 * level, 30, (20, 18, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(inside / f"{i}.png")
    config = parse_config(CONFIG | {
        "data": f"imagefolder:{tmp_path / 'images'}", "crop": True, "batch_size": 4,
        "model": CONFIG["model"] | {"image_size": 16}, "teacher": {"epochs": 2}, "student": {"epochs": 0},
    })  # fmt: skip
    whole = training.train(config, tmp_path / "whole", console=QUIET)
    assert stopped(config, tmp_path / "parts", monkeypatch, 2) == (2, 0)
    assert training.train(config, tmp_path / "parts", resume=True, console=QUIET)["teacher_history"] == whole["teacher_history"]


def test_epochs_that_are_short_are_not_saved_within(tmp_path, monkeypatch):
    saved = []
    original = TrainingRun.save
    monkeypatch.setattr(TrainingRun, "save", lambda run: saved.append(run.progress.step) or original(run))
    metrics = training.train(parse_config(CONFIG), tmp_path, console=QUIET)
    assert saved == [0] * 5
    assert metrics["seconds"] == pytest.approx(json.loads((tmp_path / "metrics.json").read_text())["seconds"]) and metrics["seconds"] > 0


def test_another_configuration_cannot_go_on_within_an_epoch(unbroken, tmp_path, monkeypatch):
    config, _, _ = unbroken
    stopped(config, tmp_path, monkeypatch, 2)
    with pytest.raises(UserError, match="cannot resume .*: precision differ"):
        training.train(config.model_copy(update={"precision": "bfloat16"}), tmp_path, resume=True, console=QUIET)
