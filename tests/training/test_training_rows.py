"""Rows of trained networks: the accuracy is that of the integers, beside the float network that saw the same images."""

import json

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from builds.experiments.trained import app, networks, row_of
from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256
from finn_vitprune.graph.packed import write_model
from finn_vitprune.graph.reading import read_model
from finn_vitprune.training import train as training
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.sweep import Sweep, SweepJob, SweepResults

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
ROWS = {"float": {"teacher": {"epochs": 4}, "student": {"epochs": 0}}, "half": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a sweep of two rows, and the packed network of one."""
    folder = tmp_path_factory.mktemp("results")
    results = SweepResults(folder / "results.json")
    results.describe(Sweep(name="tiny", title="", about="", config="tiny.yaml", baseline="float", rows=[{"name": name} for name in ROWS]))
    for name, change in ROWS.items():
        config = parse_config(CONFIG | change)
        training.train(config, folder / name, console=Console(quiet=True))
        results.add(SweepJob("tiny", name, 3, folder / "tiny.yaml", config, (), folder / name))
    write_model(read_model(folder / "half" / "model.onnx"), folder / "half-3.xz")
    return folder


def test_a_row_has_the_integers_accuracy_beside_that_of_the_float_network(folder, tmp_path):
    for printed in (1, 0):
        done = CliRunner().invoke(app, [str(folder), "-o", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert done.output.count("half-3.xz: ") == printed, "a network that has its row is not evaluated again"
    (row,) = json.loads((tmp_path / "results.json").read_text())
    metrics, reference = (json.loads((folder / name / "metrics.json").read_text()) for name in ("half", "float"))
    assert abs(row.pop("accuracy") - metrics["accuracy_exported"]) <= 1 / 360 and row.pop("accuracy_float") == reference["accuracy_teacher"]
    assert row.pop("macs_dense") > row.pop("macs_pruned") > row.pop("macs")
    assert row == {
        "data": "digits", "block_keep": 0.5, "token_keep": 0.5, "weight_bits": 8, "activation_bits": 8, "passes": 4, "passes_float": 4,
        "images": 360, "train_images": 1437, "seed": 3, "network": "half-3.xz", "sha256": sha256(folder / "half-3.xz"),
    }  # fmt: skip


def test_another_network_of_a_setting_replaces_its_row(folder, tmp_path):
    assert CliRunner().invoke(app, [str(folder), "-o", str(tmp_path)]).exit_code == 0
    path = tmp_path / "results.json"
    (row,) = json.loads(path.read_text())
    others = [row | {"sha256": "of an older network", "accuracy": 0.0}, row | {"sha256": "of another seed", "seed": 4}]
    path.write_text(json.dumps(others))
    assert CliRunner().invoke(app, [str(folder), "-o", str(tmp_path)]).exit_code == 0
    assert json.loads(path.read_text()) == [others[1], row]


def test_networks_that_saw_other_images_are_not_compared(folder):
    ((network, run, base),) = networks(folder)
    other = base | {"config": base["config"] | {"train_images": 9}}
    with pytest.raises(UserError, match=r"half-3\.xz: the float network saw other images: train_images differ"):
        row_of(network, run, other)


def test_a_folder_without_networks_or_without_their_float_network_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"has no results\.json of a sweep with packed networks ROW-SEED\.xz"):
        list(networks(tmp_path))
    content = json.loads((folder / "results.json").read_text())
    content["tiny"]["runs"] = [run for run in content["tiny"]["runs"] if run["row"] == "half"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    (tmp_path / "half-3.xz").write_bytes((folder / "half-3.xz").read_bytes())
    with pytest.raises(UserError, match=r"has no run of float with seed 3, which half-3\.xz needs"):
        list(networks(tmp_path))
