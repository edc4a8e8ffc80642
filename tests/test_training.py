"""Promises of training: clear configuration errors, determinism, resume, and that it learns."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console

from finn_vitprune.errors import UserError
from finn_vitprune.training import checkpoint
from finn_vitprune.training import train as training
from finn_vitprune.training.config import load_config, parse_config
from finn_vitprune.training.data import augment, digits, load_dataset
from finn_vitprune.training.run import Run

torch.set_num_threads(1)
QUIET = Console(quiet=True)

TINY = {
    "name": "tiny",
    "batch_size": 128,
    "seed": 3,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {
        "block_size": 8,
        "block_keep": 0.5,
        "neuron_keep": 0.5,
        "token_keep": 0.5,
        "token_drop_layers": [1],
    },
    "teacher": {"epochs": 2, "lr": 3e-3},
    "student": {"epochs": 3, "warmup_epochs": 1, "hold_epochs": 1},
}


def test_digits_split_is_stratified_and_fixed():
    data = digits()
    assert data.train_images.shape == (1437, 8, 8, 1) and data.test_images.shape == (360, 8, 8, 1)
    assert data.train_images.dtype == np.uint8 and data.train_images.max() == 255
    assert np.abs(np.bincount(data.test_labels) - 36).max() <= 1
    assert np.array_equal(data.test_labels, digits().test_labels)
    train = {i.tobytes() for i in data.train_images}
    assert sum(i.tobytes() in train for i in data.test_images) == 0


def test_digits_pixels_are_sixteenths_of_255():
    from sklearn.datasets import load_digits

    source = {tuple(np.rint(i.reshape(-1) * 255 / 16).astype(int)) for i in load_digits().images}
    assert tuple(digits().test_images[0].reshape(-1).astype(int)) in source


def test_augment_shifts_with_zeros_coming_in():
    images = torch.arange(1, 5).float().view(1, 2, 2, 1).expand(64, -1, -1, -1)
    shifted = augment(images, torch.Generator().manual_seed(0), 1)
    kinds = {tuple(s.flatten().int().tolist()) for s in shifted}
    assert (1, 2, 3, 4) in kinds and (0, 0, 0, 1) in kinds and (4, 0, 0, 0) in kinds and len(kinds) == 9
    assert augment(images, torch.Generator(), 0) is images


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prune": {"block_keeep": 0.5}}, r"unknown key prune.block_keeep \(did you mean block_keep\?\)"),
        ({"epochs": 3}, r"unknown key epochs \(known: name, dataset"),
        ({"prune": {"block_keep": 1.5}}, r"prune.block_keep = 1.5: Input should be less than or equal to 1"),
        ({"quant": {"weight_bits": 5}}, r"quant.weight_bits = 5: Input should be 4 or 8"),
        ({"student": {"lr": -1}}, r"student.lr = -1"),
        ({"name": None}, r"name = None"),
    ],
)
def test_configuration_errors_are_one_clear_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        parse_config({"name": "x"} | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"prune": {"block_size": 24}},
            r"block size 24 does not divide 64 \(encoder 1, W_q\): use 2, 4, 8 or 16",
        ),
        ({"model": {"patch_size": 3}}, "model.patch_size 3 does not divide images of 8 x 8"),
        ({"model": {"heads": 5}}, "model.heads 5 does not divide model.dim 64"),
        ({"prune": {"token_drop_layers": [4]}}, "encoder 4 of 4 cannot drop tokens"),
        ({"dataset": "imagenet"}, "unknown data set 'imagenet': use digits"),
    ],
)
def test_sizes_that_do_not_fit_are_named(change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        training.train(parse_config({"name": "x"} | change), tmp_path, console=QUIET)


def test_config_files(tmp_path):
    with pytest.raises(UserError, match="cannot read training config .*absent.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1,")
    with pytest.raises(UserError, match="is not YAML"):
        load_config(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(UserError, match="is not a training config"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "ok.yaml").write_text("name: a\nseed: 1\n")
    assert load_config(tmp_path / "ok.yaml", seed=9).seed == 9


@pytest.mark.parametrize("name", ["deit_digits", "deit_digits_4bit", "deit_digits_dense"])
def test_shipped_configurations_are_valid(name):
    from pathlib import Path

    import finn_vitprune.builds

    config = load_config(Path(finn_vitprune.builds.__path__[0]) / "train" / f"{name}.yaml")
    assert config.name == name
    vit = config.vit_config(load_dataset(config.dataset))
    assert vit.tokens == 17 and len(vit.encoders) == 4
    drops = [s.keep for s in vit.encoders]
    assert drops == ([None] * 4 if name.endswith("dense") else [None, 12, 10, None])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return folder, training.train(parse_config(TINY), folder, console=QUIET)


def test_a_run_leaves_its_files_and_metrics(finished):
    folder, metrics = finished
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoint.pt",
        "metrics.json",
        "model.npz",
        "model.onnx",
        "train.log",
    ]
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert len(metrics["student_history"]) == 3 and len(metrics["teacher_history"]) == 2
    assert metrics["accuracy"] == metrics["student_history"][-1]["accuracy"]
    assert metrics["gate"]["reason"] == "" and metrics["saturations"] == 0
    assert abs(metrics["accuracy"] - metrics["accuracy_exported"]) <= 0.02
    held_out = np.load(folder / "model.npz")
    assert held_out["images"].shape == (360, 8, 8, 1) and held_out["images"].dtype == np.uint8
    assert np.mean(held_out["logits"].argmax(1) == held_out["labels"]) == metrics["accuracy_exported"]
    keeps = [h["block_keep"] for h in metrics["student_history"]]
    assert keeps[0] == 1.0 and keeps[-1] == 0.5
    assert metrics["teacher_history"][-1]["accuracy"] > 0.3, "better than chance after two epochs"


def test_the_same_seed_gives_the_same_network(finished, tmp_path):
    folder, _ = finished
    training.train(parse_config(TINY), tmp_path, console=QUIET)
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("stop_after", [1, 2, 4])
def test_a_stopped_run_resumes_to_the_same_network(finished, tmp_path, monkeypatch, stop_after):
    """Stopped in the teacher's phase, between the phases, and in the student's."""
    folder, _ = finished
    saves = []
    original = Run.save

    def interrupted(run):
        original(run)
        saves.append(1)
        if len(saves) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(parse_config(TINY), tmp_path, console=QUIET)
    assert not (tmp_path / "model.onnx").exists() and not (tmp_path / "metrics.json").exists()
    monkeypatch.setattr(Run, "save", original)
    with pytest.raises(UserError, match="not finished"):
        training.export_checkpoint(tmp_path / "checkpoint.pt", tmp_path / "early.onnx")
    training.train(parse_config(TINY), tmp_path, resume=True, console=QUIET)
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


def test_resume_needs_the_same_configuration_and_a_checkpoint(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(UserError, match="no checkpoint at"):
        training.train(parse_config(TINY), tmp_path, resume=True, console=QUIET)
    with pytest.raises(UserError, match="cannot resume .*: seed differ"):
        training.train(parse_config(TINY | {"seed": 4}), folder, resume=True, console=QUIET)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="is not a checkpoint"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_checkpoint_exports_to_the_same_model(finished, tmp_path):
    folder, metrics = finished
    result = training.export_checkpoint(folder / "checkpoint.pt", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert result.accuracy == metrics["accuracy_exported"] and "fewer products" in result.summary


def test_distillation_loss_is_the_weighted_sum(finished):
    """0.9 T^2 KL + 0.1 CE by hand, in NumPy."""
    run = Run.from_checkpoint(finished[0] / "checkpoint.pt")
    run.teacher.eval()
    images, labels = run.images[:5], run.labels[:5]
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(1))
    from finn_vitprune.training.run import teacher_logits

    with torch.no_grad():
        found = float(run._distillation(logits, images, labels))
        teacher = teacher_logits(run.teacher, images, run.data).numpy().astype(np.float64)

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p, q = softmax(teacher / 2), softmax(logits.numpy().astype(np.float64) / 2)
    kl = np.mean(np.sum(p * np.log(p / q), axis=1))
    ce = -np.mean(np.log(softmax(logits.numpy().astype(np.float64))[np.arange(5), labels.numpy()]))
    assert found == pytest.approx(0.9 * 4 * kl + 0.1 * ce, rel=1e-4)
