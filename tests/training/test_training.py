"""Promises of training: clear configuration errors, determinism, resume, and that it learns."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import finn_vitprune.builds
from finn_vitprune import progress
from finn_vitprune.errors import UserError
from finn_vitprune.pruning.config import kept_blocks
from finn_vitprune.pruning.cut import cut
from finn_vitprune.training import checkpoint, teacher
from finn_vitprune.training import train as training
from finn_vitprune.training.config import load_config, parse_config
from finn_vitprune.training.display import Display
from finn_vitprune.training.run import TrainingRun
from finn_vitprune.training.sweep import jobs_of, load_sweep
from tests.said import Said
from tests.sampling import spread

torch.set_num_threads(1)
QUIET = Console(quiet=True)

TINY = {
    "name": "tiny",
    "batch_size": 128,
    "seed": 3,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {"block_size": 8, "block_keep": 0.5, "neuron_keep": 0.5, "token_keep": 0.5, "drop_at": [1]},
    "teacher": {"epochs": 2, "lr": 3e-3},
    "student": {"epochs": 3, "warmup_epochs": 1, "hold_epochs": 1},
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prune": {"block_keeep": 0.5}}, r"unknown key prune.block_keeep \(did you mean block_keep\?\)"),
        ({"epochs": 3}, r"unknown key epochs \(known: name, data"),
        ({"prune": {"block_keep": 1.5}}, r"prune.block_keep = 1.5: use 1 or less"),
        ({"quant": {"weight_bits": 5}}, r"quant.weight_bits = 5: use 4 or 8"),
        ({"student": {"lr": -1}}, r"student.lr = -1"),
        ({"name": None}, r"name = None"),
        ({"quant": {"start_epoch": 71}}, "quant.start_epoch = 71 is beyond student.epochs = 70: use 70 or less"),
        ({"student": {"epochs": 3}}, r"student.warmup_epochs \+ student.hold_epochs = 29 is beyond"),
        ({"prune": {"token_start_epoch": 50, "token_ramp_epochs": 30}}, "token_ramp_epochs = 80 is beyond"),
    ],
)
def test_configuration_errors_are_one_clear_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        parse_config({"name": "x"} | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prune": {"block_size": 24}}, r"block size 24 does not divide 64 \(encoder 1, W_q\): use 2, 4, 8 or 16"),
        ({"model": {"patch_size": 3}}, "model.patch_size 3 does not divide images of 8 x 8"),
        ({"model": {"heads": 5}}, "model.heads 5 does not divide model.dim 64"),
        ({"prune": {"drop_at": [4]}}, "encoder 4 of 4 cannot drop tokens"),
        ({"data": "imagenet"}, "unknown data set 'imagenet': use digits"),
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


TRAIN = Path(finn_vitprune.builds.__path__[0]) / "train"


@pytest.mark.parametrize("path", sorted(TRAIN.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_and_sweeps_are_valid(path, tmp_path):
    if path.stem.endswith("_sweep"):
        jobs = jobs_of(load_sweep(path), path, tmp_path)
        assert len({j.folder for j in jobs}) == len(jobs) > 1
    else:
        assert load_config(path).name == path.stem


@pytest.mark.parametrize("name", ["deit_digits", "deit_digits_4bit", "deit_digits_dense"])
def test_digits_configurations_fit_their_data(name, tmp_path):
    vit = TrainingRun(load_config(TRAIN / f"{name}.yaml"), tmp_path).vit
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
        ".lock",
        "checkpoint.pt",
        "metrics.json",
        "model.npz",
        "model.onnx",
        "teacher.pt",
        "tensorboard",
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


def test_the_log_counts_the_epochs_of_each_phase(finished):
    folder, _ = finished
    said = re.findall(r"(\w+ epoch \d of \d): loss", (folder / "train.log").read_text())
    assert said == ["teacher epoch 1 of 2", "teacher epoch 2 of 2", *(f"student epoch {i} of 3" for i in (1, 2, 3))]


def test_progress_tells_epochs_and_steps_with_the_time_left(monkeypatch):
    said = Said()
    with progress.shown_by(said), Display(None, epochs=5, done=3, steps=2) as display:
        display.phase("student", 2, 3)
        display.step(0.5)
        display.step(0.25)
        display.epoch("accuracy 0.9")
    assert [s.split(", about")[0] for s in said] == [
        "student epoch 2 of 3: loss 0.500, step 7 of 10",
        "student epoch 2 of 3: loss 0.250, step 8 of 10",
        "student epoch 2 of 3: accuracy 0.9",
    ]


@pytest.mark.whole  # a stopped run gives it, too
def test_the_same_seed_gives_the_same_network(finished, tmp_path):
    folder, _ = finished
    training.train(parse_config(TINY), tmp_path, console=QUIET)
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


@pytest.mark.whole
@pytest.mark.parametrize("stop_after", spread([1, 2, 4], 6, first=2))
def test_a_stopped_run_resumes_to_the_same_network(finished, tmp_path, monkeypatch, stop_after):
    """Stopped in the teacher's phase, between the phases, and in the student's."""
    folder, _ = finished
    saves = []
    original = TrainingRun.save

    def interrupted(run):
        original(run)
        saves.append(1)
        if len(saves) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(parse_config(TINY), tmp_path, console=QUIET)
    assert not (tmp_path / "model.onnx").exists() and not (tmp_path / "metrics.json").exists()
    monkeypatch.setattr(TrainingRun, "save", original)
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
    for content in (b"nonsense", b"", (folder / "checkpoint.pt").read_bytes()[:5000]):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(UserError, match="is not a checkpoint: a file of torch.save is needed") as error:
            checkpoint.load(tmp_path / "checkpoint.pt")
        assert "pickle" not in str(error.value) and "weights_only" not in str(error.value)


def test_a_checkpoint_exports_to_the_same_model(finished, tmp_path):
    folder, metrics = finished
    result = training.export_checkpoint(folder / "checkpoint.pt", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    ratio = metrics["complexity"]["macs_dense"] / metrics["complexity"]["macs_pruned"]
    assert result.accuracy == metrics["accuracy_exported"] and f"by pruning ({ratio:.2f}x fewer)" in result.summary


def test_distillation_loss_is_the_weighted_sum(finished):
    """0.9 T^2 KL + 0.1 CE by hand, in NumPy, an image at a time."""
    run = TrainingRun.from_checkpoint(finished[0] / "checkpoint.pt")
    run.teacher.eval()
    images, labels = run.data.calibration(5), run.labels[:5]
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        found = run._distillation(logits, images, labels).numpy()
        soft = teacher.logits(run.teacher, images, run.data).numpy().astype(np.float64)

    def softmax(x):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p, q = softmax(soft / 2), softmax(logits.numpy().astype(np.float64) / 2)
    kl = np.sum(p * np.log(p / q), axis=1)
    ce = -np.log(softmax(logits.numpy().astype(np.float64))[np.arange(5), labels.numpy()])
    assert found == pytest.approx(0.9 * 4 * kl + 0.1 * ce, rel=1e-4)


def test_a_taken_teacher_gives_the_same_network_as_a_trained_one(finished, tmp_path):
    folder, metrics = finished
    taken = training.train(parse_config(TINY), tmp_path, console=QUIET, teacher_from=folder / "teacher.pt")
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert taken["teacher_history"] == metrics["teacher_history"] and taken["seconds"] > 0


def test_only_the_same_teacher_can_be_taken(finished, tmp_path):
    folder, _ = finished
    with pytest.raises(UserError, match="cannot take the teacher of .*teacher.pt: seed, shift differ"):
        other = parse_config(TINY | {"seed": 4, "shift": 0})
        training.train(other, tmp_path, console=QUIET, teacher_from=folder / "teacher.pt")


def test_a_run_is_never_overwritten(finished):
    folder, _ = finished
    before = (folder / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match="checkpoint.pt is there already: use --resume"):
        training.train(parse_config(TINY), folder, console=QUIET)
    assert (folder / "checkpoint.pt").read_bytes() == before


@pytest.mark.whole
def test_teacher_alone_and_student_from_its_weights(tmp_path):
    steps = TINY | {"batch_size": 32, "student": {"epochs": 5, "warmup_epochs": 1, "hold_epochs": 2}}
    alone = parse_config(steps | {"student": {"epochs": 0}})
    metrics = training.train(alone, tmp_path / "teacher", console=QUIET)
    assert "accuracy" not in metrics and not (tmp_path / "teacher" / "model.onnx").exists()
    with pytest.raises(UserError, match="holds a teacher alone"):
        training.export_checkpoint(tmp_path / "teacher" / "checkpoint.pt", tmp_path / "none.onnx")
    start = {"epochs": 0, "weights": str(tmp_path / "teacher" / "teacher.pt")}
    metrics2 = training.train(parse_config(steps | {"teacher": start}), tmp_path / "student", console=QUIET)
    assert metrics2["accuracy_teacher"] == metrics["accuracy_teacher"]
    assert metrics2["accuracy"] > 0.2 and (tmp_path / "student" / "model.onnx").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read .*absent.pt: No such file"),
        (b"nonsense", "is not a state dict: a file of torch.save is needed"),
        ({"head.weight": torch.zeros(3, 3)}, "does not fit the model: size mismatch for head.weight"),
    ],
)
def test_teacher_weights_that_do_not_fit_are_named(content, message, tmp_path):
    path = tmp_path / "absent.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    config = parse_config(TINY | {"teacher": {"epochs": 0, "weights": str(path)}})
    with pytest.raises(UserError, match=message) as error:
        training.train(config, tmp_path / "out", console=QUIET)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("start_epoch", [1, 3])
def test_quantisation_starts_at_its_epoch(start_epoch, tmp_path):
    """At the last number the network is quantised after training."""
    config = parse_config(TINY | {"quant": {"start_epoch": start_epoch}})
    run = TrainingRun(config, tmp_path)
    run.start_student()
    flags, norm = [set(), set(), set()], run.student.blocks[0].norm1
    run.student.blocks[0].register_forward_hook(
        lambda m, args, out: (m.training and flags[run.progress.student_epochs].add(norm.quant.quantised)) or None
    )
    with Display(None, 3, 0, 1) as display:
        for _ in range(3):
            run.student_epoch(display)
    assert flags == [{i >= start_epoch} for i in range(3)]
    assert run.student.blocks[0].norm1.quant.quantised
    scales = [q.scale.number for q in run.student.quantizers().values() if q.owns_scale]
    assert 1.0 not in scales, "every scale was calibrated"


@pytest.mark.whole
def test_a_float_start_resumes_to_the_same_network(tmp_path, monkeypatch):
    config = parse_config(
        TINY | {"quant": {"start_epoch": 2}} | {"prune": TINY["prune"] | {"token_start_epoch": 1, "token_ramp_epochs": 1}}
    )
    whole = training.train(config, tmp_path / "whole", console=QUIET)
    assert [h["token_keep"] for h in whole["student_history"]] == [1.0, 0.5, 0.5]
    original, saves = TrainingRun.save, []

    def interrupted(run):
        original(run)
        saves.append(1)
        if len(saves) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "parts", console=QUIET)
    monkeypatch.setattr(TrainingRun, "save", original)
    training.train(config, tmp_path / "parts", resume=True, console=QUIET)
    assert (tmp_path / "parts/model.onnx").read_bytes() == (tmp_path / "whole/model.onnx").read_bytes()


@pytest.mark.parametrize("keep, lanes, scope", [(0.55, 2, "local"), (0.3, 1, "global")])
def test_the_small_model_equals_the_masked_one_in_every_bit(keep, lanes, scope, tmp_path):
    """After training steps, with learned scores, exactly the asked-for number of blocks is left."""
    prune = TINY["prune"] | {"block_keep": keep, "neuron_keep": keep, "lanes": lanes, "scope": scope}
    run = TrainingRun(parse_config(TINY | {"prune": prune, "student": {"epochs": 1, "warmup_epochs": 0, "hold_epochs": 0}}), tmp_path)
    run.start_student()
    with Display(None, 1, 0, 1) as display:
        run.student_epoch(display)
    masks = run.scores.final_masks()
    run.student.eval()
    images = next(iter(run.data.test_batches(64)))
    with torch.no_grad():
        small = cut(run.student, masks)
        assert torch.equal(
            small.double()(images.double()),
            run.student.double()(
                images.double(),
                [dataclasses.replace(m, **{f.name: getattr(m, f.name).double() for f in dataclasses.fields(m)}) for m in masks],
            ),
        )
    kept = [int(m[::8, ::8].sum()) for e in masks for m in (*e.qkv.chunk(3), e.proj)]
    blocks = [kept_blocks(str(keep), 4)] * 8
    assert kept == blocks if scope == "local" else sum(kept) == kept_blocks(str(keep), 4 * 8)


@pytest.mark.whole
def test_two_processes_train_as_one(finished, tmp_path):
    """``accelerate launch`` with two CPU processes: the same losses up to the order of float sums."""
    _, metrics = finished
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
        *("-m", "finn_vitprune", "train", "--config", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "two")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    two = json.loads((tmp_path / "two/metrics.json").read_text())
    assert two["processes"] == 2 and metrics["processes"] == 1
    for phase in ("teacher_history", "student_history"):
        for one_epoch, two_epoch in zip(metrics[phase], two[phase], strict=True):
            assert two_epoch["loss"] == pytest.approx(one_epoch["loss"], rel=0.06)
            assert abs(two_epoch["accuracy"] - one_epoch["accuracy"]) < 0.06
    assert two["teacher_history"][0]["loss"] == pytest.approx(metrics["teacher_history"][0]["loss"], rel=1e-5)


def test_metrics_are_in_tensorboard_too(finished):
    folder, metrics = finished
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    found = [e.value for e in events.Scalars("student/accuracy")]
    assert found == pytest.approx([h["accuracy"] for h in metrics["student_history"]])
    assert {"teacher/accuracy", "student/block_keep", "student/token_keep"} <= set(events.Tags()["scalars"])


@pytest.fixture
def image_folder(tmp_path):
    """Two classes of 32x32 colour images, bright and dark."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for level, name in ((60, "dark"), (190, "light")):
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(level, 30, (40, 36, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.mark.whole
@pytest.mark.slow
def test_a_distilled_timm_deit_trains_on_an_image_folder_and_exports(image_folder, tmp_path):
    """DeiT-Tiny with a distillation token, b = 16, taught by another timm model."""
    other = timm.create_model("resnet10t", num_classes=2)
    torch.save(other.state_dict(), tmp_path / "resnet.pth")
    config = parse_config({
        "name": "deit",
        "data": f"imagefolder:{image_folder}",
        "batch_size": 4,
        "shift": 0,
        "flip": True,
        "crop": True,
        "model": {"timm": "deit_tiny_distilled_patch16_224", "image_size": 32},
        "prune": {"block_size": 16, "token_keep": 0.5, "drop_at": [3, 7, 10]},
        "teacher": {
            "epochs": 1,
            "lr": 1e-4,
            "distill_from": "resnet10t",
            "distill_weights": str(tmp_path / "resnet.pth"),
        },
        "student": {"epochs": 1, "warmup_epochs": 0, "hold_epochs": 0},
    })  # fmt: skip
    run = TrainingRun(config, tmp_path / "unused")
    assert run.vit.prefix == 2 and len(run.vit.encoders) == 12
    assert torch.equal(run.distiller.state_dict()["fc.weight"], other.state_dict()["fc.weight"])
    metrics = training.train(config, tmp_path / "run", console=QUIET)
    assert metrics["complexity"]["tokens"][0] == {"in": 6, "mlp": 6}
    assert metrics["complexity"]["tokens"][-1]["mlp"] < 6
    assert (tmp_path / "run/model.onnx").exists() and metrics["gate"]["reason"] == ""


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": {"timm": "deit_tinny_patch16_224"}}, "no timm model deit_tinny_patch16_224, did you mean deit_tiny"),
        ({"model": {"timm": "deit_tiny_patch16_224"}}, "patches of 16 pixels \\(deit_tiny_patch16_224\\) do not divide"),
        ({"model": {"timm": "resnet10t"}}, "timm model ResNet is not supported: it is not a VisionTransformer"),
        ({"crop": True}, "crop is for image folders, not digits: use shift and flip"),
        ({"train_images": 5}, "train_images = 5 does not fit digits"),
        ({"prune": {"lanes": 3}}, "lanes 3 do not divide 8 block columns"),
    ],
)
def test_models_and_options_that_do_not_fit_are_named(change, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        training.train(parse_config(TINY | {"model": {"dim": 64}} | change), tmp_path / "run", console=QUIET)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
