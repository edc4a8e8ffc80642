"""Rows of trained networks: the accuracy is that of the integers, beside the float network that saw the same images."""

import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from builds.experiments.trained import app, row_of
from finn_vitprune.errors import UserError
from finn_vitprune.training import train as training
from finn_vitprune.training.config import parse_config

torch.set_num_threads(1)
CONFIG = {
    "name": "tiny",
    "batch_size": 64,
    "seed": 3,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {"block_size": 8, "block_keep": 0.5, "token_keep": 0.5, "drop_at": [1]},
    "teacher": {"epochs": 2, "lr": 3e-3},
    "student": {"epochs": 2, "warmup_epochs": 0, "hold_epochs": 1},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, change in (("float", {"teacher": {"epochs": 4}, "student": {"epochs": 0}}), ("half", {})):
        training.train(parse_config(CONFIG | change), folder / name, console=Console(quiet=True))
    return folder


def test_a_row_has_the_integers_accuracy_beside_that_of_the_float_network(runs, tmp_path):
    for _ in range(2):
        done = CliRunner().invoke(app, [str(runs / "float"), str(runs / "half"), "-o", str(tmp_path)])
        assert done.exit_code == 0, done.output
    (row,) = json.loads((tmp_path / "results.json").read_text())
    metrics, reference = (json.loads((runs / name / "metrics.json").read_text()) for name in ("half", "float"))
    assert abs(row.pop("accuracy") - metrics["accuracy_exported"]) <= 1 / 360 and row.pop("accuracy_float") == reference["accuracy_teacher"]
    assert row.pop("macs_dense") > row.pop("macs_pruned") > row.pop("macs")
    assert row == {
        "data": "digits", "block_keep": 0.5, "token_keep": 0.5, "weight_bits": 8, "activation_bits": 8, "passes": 4, "images": 360,
        "train_images": 1437, "seed": 3,
    }  # fmt: skip


def test_networks_that_saw_other_images_are_not_compared(runs):
    with pytest.raises(UserError, match="cannot read metrics of a finished run"):
        row_of(runs / "float", runs / "none")
    metrics = json.loads((runs / "float" / "metrics.json").read_text())
    other = runs / "other"
    other.mkdir()
    metrics["config"]["teacher"]["epochs"] = 9
    (other / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match="half and .*other differ in passes: give the float network that saw the same images"):
        row_of(other, runs / "half")
