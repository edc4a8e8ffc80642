"""The bundled example is what its metrics say, and the recorded runs meet their targets."""

import json
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.builds
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.data import digits
from finn_vitprune.training.sweep import jobs_of, load_sweep, markdown
from tests.independent_counts import count_graph

BUILDS = Path(finn_vitprune.builds.__path__[0])
EXAMPLE, TRAIN, RESULTS = BUILDS / "example", BUILDS / "train", BUILDS / "results/train"


@pytest.mark.parametrize("model, images", [("deit_digits.onnx", "images.npz"), ("deit_digits_dense.onnx", "deit_digits_dense.npz")])
def test_the_model_gives_the_recorded_logits_on_all_held_out_images(model, images):
    graph, recorded = ModelWrapper(str(EXAMPLE / model)), np.load(EXAMPLE / images)
    data = digits()
    assert np.array_equal(recorded["images"], data.test_images)
    assert np.array_equal(recorded["labels"], data.test_labels)
    logits = QonnxRunner(graph).run(data.test_images)["logits"]
    assert np.array_equal(logits.argmax(1), recorded["logits"].argmax(1))
    error = np.abs(logits - recorded["logits"])
    assert error.max() < 0.05 * np.abs(recorded["logits"]).max(), "a code at a tie may move a logit"
    assert np.mean(logits.argmax(1) == data.test_labels) >= 0.95


def test_metrics_describe_the_model():
    metrics = json.loads((EXAMPLE / "metrics.json").read_text())
    model = ModelWrapper(str(EXAMPLE / "deit_digits.onnx"))
    read, recorded = ModelMetadata.read(model), np.load(EXAMPLE / "images.npz")
    accuracy = float(np.mean(recorded["logits"].argmax(1) == recorded["labels"]))
    assert metrics["accuracy_exported"] == accuracy and metrics["saturations"] == 0
    assert metrics["complexity"]["macs"] == read.macs and metrics["complexity"]["heads"] == read.heads
    counted = count_graph(model, read.block_size)
    assert counted.weights + counted.biases == read.params
    assert read.neurons == [128] * 4 and read.drop_points == {"2": 12, "3": 10}


def recorded(sweep, row):
    """Results of one row of a sweep, by seed."""
    runs = json.loads((RESULTS / "results.json").read_text())[sweep]["runs"]
    return {r["seed"]: r for r in runs if r["row"] == row}


@pytest.mark.parametrize("row", ["pruned_8bit", "pruned_4bit_weights"])
def test_recorded_digits_meet_the_targets(row):
    """At least 95 % and at most 1.5 points below the teacher, three seeds each, in under 5 minutes."""
    runs = recorded("deit_digits", row)
    assert sorted(runs) == [0, 1, 2]
    for run in runs.values():
        assert min(run["accuracy"], run["accuracy_exported"]) >= 0.95
        assert run["accuracy_teacher"] - run["accuracy"] <= 0.015
        assert run["cpu_seconds"] < 300


def test_recorded_fashion_mnist_meets_the_goal():
    """At 3.4 times fewer operations or more, within 1.5 points of the dense float network of the same seed, equally long trained."""
    dense, pruned = (recorded("deit_fmnist_60k", row) for row in ("float", "r0.5_0.5"))
    assert set(dense) == set(pruned) == {0, 1, 2}
    means = np.mean(
        [(dense[seed]["accuracy_teacher"], min(run["accuracy"], run["accuracy_exported"])) for seed, run in pruned.items()], axis=0
    )
    assert means[0] - means[1] <= 0.015
    for seed, run in pruned.items():
        reached = dense[seed]["accuracy_teacher"]
        assert reached >= 0.89
        assert run["train_images"] == 60_000 and run["macs_dense"] / run["macs"] >= 3.4 and run["saturations"] == 0
        assert reached - min(run["accuracy"], run["accuracy_exported"]) <= 0.015


def test_results_are_those_of_the_shipped_configurations_and_the_tables_of_the_results(tmp_path):
    for path in TRAIN.glob("*_sweep.yaml"):
        sweep = load_sweep(path)
        jobs = {(j.row, j.seed): j.config for j in jobs_of(sweep, path, tmp_path)}
        for run in json.loads((RESULTS / "results.json").read_text()).get(sweep.name, {"runs": ()})["runs"]:
            assert parse_config(run["config"]) == jobs[run["row"], run["seed"]]
    content = json.loads((RESULTS / "results.json").read_text())
    assert (RESULTS / "RESULTS.md").read_text() == markdown(content)
