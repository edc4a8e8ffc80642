"""What is left among ImageNet's 1,000 classes of a network that was pruned on some of them."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from builds.experiments.thousand_classes import all_rows, app
from finn_vitprune.errors import UserError
from finn_vitprune.training import train as training
from finn_vitprune.training.config import parse_config

CONFIG = {
    "name": "tiny",
    "batch_size": 8,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {"block_size": 8, "block_keep": 0.5, "token_keep": 0.5, "drop_at": [1]},
    "teacher": {"epochs": 2, "lr": 3e-3},
    "student": {"epochs": 1, "warmup_epochs": 0, "hold_epochs": 1},
}
CLASSES = ("n01440764", "n02102040")
ROWS = torch.tensor([0, 217])


def trained(folder, data, **model):
    training.train(parse_config(CONFIG | {"data": data, "model": CONFIG["model"] | model}), folder, console=Console(quiet=True))
    return json.loads((folder / "metrics.json").read_text())


def test_own_rows_stand_where_imagenet_has_their_classes():
    weight, bias = all_rows(torch.ones(2, 3), torch.tensor([5.0, 6.0]), torch.zeros(1000, 3), torch.zeros(1000), ROWS)
    assert weight.sum() == 6 and bool(weight[ROWS].all()) and bias[217] == 6 and bias.sum() == 11


@pytest.mark.parametrize("bias, left", [(-1e3, True), (1e3, False)])
def test_other_classes_win_or_lose_as_their_logits_say(tmp_path, bias, left):
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8)):
        for number, name in enumerate(CLASSES):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 128, (8, 8, 3), np.uint8) + 100 * number
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / split / name / f"{i}.png")
    metrics = trained(tmp_path / "run", f"imagefolder:{tmp_path / 'data'}", image_size=8)
    known = {"head.weight": torch.zeros(1000, 16), "head.bias": torch.full((1000,), bias), "norm.weight": torch.ones(16)}
    safetensors.torch.save_file(known | {"norm.bias": torch.zeros(16)}, tmp_path / "weights.safetensors")
    done = CliRunner().invoke(app, [str(tmp_path / "run"), str(tmp_path / "weights.safetensors"), "-o", str(tmp_path / "out.json")])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["pruned"] == pytest.approx(metrics["accuracy"], abs=1e-4) and found["images"] == 16 and found["classes"] == 2
    assert found["float"] == pytest.approx(metrics["accuracy_teacher"], abs=1e-4) and found["float"] > 0.5
    assert found["pruned_among_1000"] == (found["pruned"] if left else 0) and found["float_among_1000"] == (found["float"] if left else 0)


def test_classes_that_are_not_imagenets_are_refused(tmp_path):
    trained(tmp_path / "run", "digits")
    done = CliRunner().invoke(app, [str(tmp_path / "run"), "weights.safetensors", "-o", str(tmp_path / "out.json")])
    assert isinstance(done.exception, UserError) and "digits has classes that are not ImageNet's" in str(done.exception)
    assert not (tmp_path / "out.json").exists()
