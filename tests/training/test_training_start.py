"""Promises of how training starts: weights of files, classifiers of other classes, scores, precision, threads."""

import dataclasses
import os

import pytest
import timm
import torch
from rich.console import Console
from safetensors.torch import save_file
from timm.data import ImageNetInfo

from finn_vitprune.errors import UserError
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.quantizers import ActQuant
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.scoring import set_scores
from finn_vitprune.training import parallel, teacher
from finn_vitprune.training import train as training
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.parallel import Products, threads
from finn_vitprune.training.run import TrainingRun
from tests.sampling import sampled
from tests.training.test_data import write_folder, write_tiny_imagenet

torch.set_num_threads(1)
QUIET = Console(quiet=True)
NAME, SIDE = "deit_tiny_patch16_224", 32
CONFIG = {
    "name": "tiny",
    "batch_size": 240,
    "seed": 3,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2},
    "prune": {"block_size": 8, "token_keep": 0.5, "drop_at": [1]},
    "teacher": {"epochs": 1, "lr": 3e-3},
    "student": {"epochs": 1, "warmup_epochs": 0, "hold_epochs": 0},
}


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A network of ImageNet's 1,000 classes, as safetensors."""
    torch.manual_seed(0)
    model = timm.create_model(NAME, img_size=SIDE)
    torch.nn.init.normal_(model.head.weight)
    path = tmp_path_factory.mktemp("weights") / "deit.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def config_of(data, path, **more):
    return parse_config(
        {"name": "x", "data": f"imagefolder:{data}", "model": {"timm": NAME, "image_size": SIDE}, "teacher": {"weights": str(path)} | more}
    )


def test_classes_with_imagenets_names_take_their_rows(imagenet, tmp_path):
    model, path = imagenet
    config = config_of(write_tiny_imagenet(tmp_path), path, epochs=0)
    data = config.load_data()
    found = teacher.make_teacher(config, data).eval()
    rows = [ImageNetInfo().label_names().index(name) for name in ("n01443537", "n01629819")]
    images = data.test_sample()[0]
    with torch.no_grad():
        answers = teacher.logits(found, torch.from_numpy(images).float(), data)
        known = teacher.logits(model.eval(), torch.from_numpy(images).float(), data)
    assert rows == [1, 25] and torch.allclose(answers, known[:, rows], atol=1e-5)


def test_other_classes_start_a_classifier_anew_and_need_training(imagenet, tmp_path):
    model, path = imagenet
    config = config_of(write_folder(tmp_path), path, epochs=1)
    found = teacher.make_teacher(config, config.load_data())
    assert found.head.weight.shape == (3, 192) and not torch.equal(found.head.weight, model.head.weight[:3])
    assert torch.equal(found.blocks[5].mlp.fc1.weight, model.blocks[5].mlp.fc1.weight)
    with pytest.raises(
        UserError, match=r"deit.safetensors has other classes than imagefolder:.*: train a classifier of these \(teacher.epochs\)"
    ):
        teacher.make_teacher(config_of(tmp_path, path, epochs=0), config.load_data())


@pytest.mark.parametrize("content, message", [(b"nonsense", "is not a safetensors file: "), (None, "cannot read .*: No such file")])
def test_safetensors_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"teacher.weights: .*{message}") as error:
        TrainingRun(parse_config(CONFIG | {"teacher": {"weights": str(path)}}), tmp_path)
    assert "\n" not in str(error.value)


def scored(**prune):
    config = CONFIG | {"prune": CONFIG["prune"] | prune}
    run = TrainingRun(parse_config(config), "unused")
    run.start_student()
    return run


@pytest.mark.parametrize("kind", list(Score))
@pytest.mark.parametrize("scope", sampled(["local", "global"], 1))
def test_scores_start_in_the_order_of_a_score(kind, scope):
    """The masks of an import by this score are the first ones, and distances between scores are equal."""
    run, other = scored(score_start=kind.value, scope=scope), scored(scope=scope)
    assert all((s == 0).all() for s in other.scores.parameters()), "without it they start at 0"
    other.student.quantise(False)
    other.student.set_token_keep("1")
    count = 256
    set_scores(other.scores, kind, other.student, other.data.calibration(count), other.data.calibration_labels(count), 3)
    for ours, theirs in zip(run.scores.final_masks(), other.scores.final_masks(), strict=True):
        for mask in dataclasses.fields(ours):
            assert torch.equal(getattr(ours, mask.name), getattr(theirs, mask.name))
    if scope == "local":
        for score in run.scores.parameters():
            assert torch.allclose(score.flatten().sort().values, torch.linspace(0, 1, score.numel()))
    assert not any(module.quantised for module in run.student.modules() if hasattr(module, "quantised")), "until the first epoch"


def test_products_in_bfloat16_leave_every_quantiser_on_its_grid(tmp_path):
    run = TrainingRun(parse_config(CONFIG | {"precision": "bfloat16"}), tmp_path)
    run.start_student()
    run._start_quantisation(0)
    seen, masks, images = [], run.scores.masks(1.0, 1.0), run.data.calibration(50)

    def check(module, args, output):
        codes = output / module.scale.value
        seen.append((args[0].dtype, output.dtype, float((codes - codes.round()).abs().max())))

    quantisers = [m for m in run.student.modules() if isinstance(m, ActQuant)]
    with hooked([m.register_forward_hook(check) for m in quantisers]):
        low = run.products(run.student, images, masks)
    exact = run.student(images, masks)
    assert {kind for kind, _, _ in seen} == {torch.bfloat16, torch.float32} and low.dtype == torch.float32
    assert {kind for _, kind, _ in seen} == {torch.float32} and max(error for *_, error in seen) < 2e-3
    assert not torch.equal(low, exact) and torch.nn.functional.cosine_similarity(low, exact).mean() > 0.99


def test_training_in_bfloat16_learns_as_in_float32(tmp_path):
    of = {"teacher": {"epochs": 4, "lr": 3e-3}, "student": {"epochs": 0}, "batch_size": 64}
    accuracy = {
        kind: training.train(parse_config(CONFIG | of | {"precision": kind}), tmp_path / kind, console=QUIET)["accuracy_teacher"]
        for kind in ("float32", "bfloat16")
    }
    assert accuracy["float32"] > 0.4 and abs(accuracy["float32"] - accuracy["bfloat16"]) < 0.08


@pytest.mark.parametrize("units, vectors, ratio, faster", [
    (True, True, 9.0, True), (False, True, 0.4, True), (False, True, 1.8, False), (False, False, 0.4, False),
])  # fmt: skip
def test_auto_takes_bfloat16_where_it_is_faster(monkeypatch, units, vectors, ratio, faster):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units, "avx512_bf16": vectors})
    assert 0.01 < parallel._time_ratio() < 100
    monkeypatch.setattr(parallel, "_time_ratio", lambda: ratio)
    device = torch.device("cpu")
    assert Products("auto", device).bfloat16 == faster
    assert Products("bfloat16", device).bfloat16 and not Products("float32", device).bfloat16


def test_threads_are_those_of_the_configuration_or_of_the_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert [threads("all"), threads("all", 4), threads("all", 9), threads(1), threads(3, 2)] == [6, 1, 1, 1, 3]
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    of = {"teacher": {"epochs": 0}, "student": {"epochs": 0}, "threads": 2}
    monkeypatch.delenv(parallel.THREADS, raising=False)
    training.train(parse_config(CONFIG | of), tmp_path / "a", console=QUIET)
    monkeypatch.setenv(parallel.THREADS, "3")
    training.train(parse_config(CONFIG | of), tmp_path / "b", console=QUIET)
    assert seen == [2, 3]


def test_the_error_of_the_features_is_that_of_normalised_encoders(tmp_path):
    """Of all tokens before the drop, of the class token after it; the distance of a network from itself is that of its drops."""
    config = parse_config(CONFIG | {"student": CONFIG["student"] | {"distill_features": 0.5, "distill_weight": 0.0}})
    run = TrainingRun(config, tmp_path)
    run.start_student()
    run.student.set_token_keep("0.5")
    images, masks = run.data.calibration(6), run.scores.masks(1.0, 1.0)
    labels, kept = torch.zeros(6, dtype=torch.long), {network: [] for network in (run.student, run.distiller)}
    keeping = [b.register_forward_hook(lambda m, a, y, n=n: kept[n].append(y.detach())) for n in kept for b in n.blocks]
    with run.features.watched(), hooked(keeping):
        found = run._distillation(run.student(images, masks), images, labels)
    plain = torch.nn.functional.cross_entropy(run.student(images, masks), labels, reduction="none")
    pairs = list(zip(*kept.values(), strict=True))
    assert [a.shape == b.shape for a, b in pairs] == [False, False], "tokens are dropped in the first encoder"

    def normal(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    errors = [(normal(a[:, 0]) - normal(b[:, 0])).square().mean(1) for a, b in pairs]
    assert torch.allclose(found, plain + 0.5 * (errors[0] + errors[1]) / 2, atol=1e-5)
    assert found.requires_grad and not torch.allclose(found, plain)


def test_features_need_a_teacher_with_the_same_encoders(tmp_path):
    weights = tmp_path / "resnet.pth"
    torch.save(timm.create_model("resnet10t", num_classes=10, in_chans=1).state_dict(), weights)
    of = {
        "teacher": {"distill_from": "resnet10t", "distill_weights": str(weights)},
        "student": CONFIG["student"] | {"distill_features": 1.0},
    }
    with pytest.raises(UserError, match="student.distill_features needs a teacher with the student's encoders"):
        TrainingRun(parse_config(CONFIG | of), tmp_path)


def test_weights_make_up_for_what_second_order_pruning_takes():
    """Where masks stay from the first step on, and nowhere else."""
    stays = {"score_lr": 0.0, "hold_epochs": 1}
    runs = {}
    for name, student in (("stays", stays), ("moves", {"hold_epochs": 1}), ("falls", {"score_lr": 0.0, "hold_epochs": 0})):
        config = CONFIG | {"prune": CONFIG["prune"] | {"score_start": "second-order"}, "student": CONFIG["student"] | student}
        runs[name] = TrainingRun(parse_config(config), "unused")
        runs[name].start_student()
    weights = {name: run.student.blocks[0].attn.qkv.weight for name, run in runs.items()}
    assert torch.equal(weights["moves"], weights["falls"]) and not torch.equal(weights["stays"], weights["moves"])
    masks = runs["stays"].scores.final_masks()
    images = runs["stays"].data.calibration(200)
    for run in runs.values():
        run.student.quantise(False)
        run.student.set_token_keep("1")
    with torch.no_grad():
        whole = runs["moves"].student(images, runs["moves"].scores.masks(1.0, 1.0))
        left, corrected = (runs[name].student(images, masks) for name in ("moves", "stays"))
    assert (corrected - whole).square().mean() < 0.8 * (left - whole).square().mean()
