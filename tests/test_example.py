"""The bundled example is what its metrics say, and the recorded runs meet their targets."""

import json
from pathlib import Path

import finn_vitprune.builds
import finn_vitprune.custom_ops  # noqa: F401  registers TokenDrop
import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.complexity_graph import count_graph
from finn_vitprune.metadata import ModelMetadata
from finn_vitprune.qonnx_run import QonnxRunner
from finn_vitprune.training.data import digits

BUILDS = Path(finn_vitprune.builds.__path__[0])
EXAMPLE, TRAIN = BUILDS / "example", BUILDS / "train"


@pytest.mark.parametrize(
    "model, images",
    [
        ("deit_digits.onnx", "images.npz"),
        ("deit_digits_dense.onnx", "deit_digits_dense.npz"),
    ],
)
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


def test_recorded_runs_meet_the_targets():
    """At least 95 % and at most 1.5 points below the teacher, three seeds each."""
    rows = json.loads((TRAIN / "results.json").read_text())
    for config in ("deit_digits", "deit_digits_4bit"):
        chosen = [r for r in rows if r["config"] == config]
        assert sorted(r["seed"] for r in chosen) == [0, 1, 2]
        for row in chosen:
            assert min(row["accuracy"], row["accuracy_exported"]) >= 0.95
            assert row["accuracy_teacher"] - row["accuracy"] <= 0.015
