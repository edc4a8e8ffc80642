"""``import``: what goes in computes what the file computes; what comes out is pruned, quantised, measured."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from PIL import Image
from qonnx.core.modelwrapper import ModelWrapper

from builds.experiments import zoo
from finn_vitprune import progress
from finn_vitprune.calibration.ranges import ChosenRange
from finn_vitprune.cli import run
from finn_vitprune.cli.app import program
from finn_vitprune.errors import UserError
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.files import alone_with
from finn_vitprune.importing import fine_tuning, workflow
from finn_vitprune.importing.data import load_data
from finn_vitprune.importing.fine_tuning import LEAST, MOST, FineTuning
from finn_vitprune.importing.float_model import as_in_file, compare, float_network
from finn_vitprune.importing.judge import Stage, loss_note
from finn_vitprune.importing.plan import make_plan, prune_of, training_of, tries_of
from finn_vitprune.importing.workflow import import_model
from finn_vitprune.ingest.check.file_run import without_activation_quantisers
from finn_vitprune.ingest.onnx_file.model_file import Kind, load
from finn_vitprune.ingest.recognise.read import read, understand
from finn_vitprune.models.config import MlpActivation, ViTConfig
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.options.importing import FineTune, ImportOptions
from finn_vitprune.pruning.choices import Rounding, Score
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.scores import PruneScores, block_sums, set_to_first_order
from finn_vitprune.report.scores import cosines
from tests.ingest.test_ingest import Calibration, Wrapped
from tests.ingest_models import export, small_distilled, small_timm
from tests.said import Said
from tests.sampling import sampled, spread

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(count=4, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalised(images):
    x = (images / 255.0 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(x.transpose(0, 3, 1, 2)).float()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(small_timm(), tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """50 images without labels."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=pixels(50))
    return f"npz:{path}"


# --- the float network is the file -------------------------------------------------------------------

NAMES = (
    "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_tiny_patch16_224",
    "deit3_small_patch16_224", "vit_base_patch16_gap_224",
)  # fmt: skip
EXPORTS = [("torchscript", 17), ("torchscript", 14), ("torchscript", 20), ("dynamo", 17), ("dynamo", 20)]
MODELS = [  # one export of every model, every export of the first
    pytest.param(name, *export, marks=[pytest.mark.slow] * (export[0] == "dynamo") + [pytest.mark.whole] * (i > 0 < j))
    for i, name in enumerate(NAMES)
    for j, export in enumerate(EXPORTS)
]


@pytest.mark.parametrize("name,exporter,opset", spread(MODELS, 2, several=True))
def test_timms_models_come_in_as_timm_and_onnxruntime_compute_them(tmp_path, name, exporter, opset):
    case = zoo.Case(name, exporter, opset, depth=2, image_size=64)
    source, shape = zoo.make(case)
    assert (len(source.blocks), shape) == (2, (3, 64, 64))
    path = tmp_path / "model.onnx"
    zoo.export(source, shape, path, case)
    file = load(path)
    found = understand(file)
    assert found.rejections == ()
    network = float_network(found.vit, MEAN, STD)
    images = pixels()
    with torch.no_grad():
        expected = source(normalised(images))
    got = as_in_file(network, found.vit, torch.from_numpy(images).float())
    limit = 1e-4 * expected.abs().max()
    assert (got - expected).abs().max() < limit
    comparison = compare(path, file.kind, found.vit, network, images, MEAN, STD)
    assert comparison.relative < 1e-4
    assert comparison.scale == pytest.approx(float(expected.abs().max()), rel=1e-3)
    if not found.vit.changes:  # the project's own forward pass, as training has it
        assert (network(torch.from_numpy(images).float()) - expected).abs().max() < limit


def test_a_distilled_model_goes_on_with_the_class_tokens_classifier(tmp_path):
    source = small_distilled()
    vit = read(export(source, tmp_path / "model.onnx")).vit
    assert vit.changes
    images = pixels()
    with torch.no_grad():
        tokens = source.forward_features(normalised(images))
        expected = source.head(tokens[:, 0])
        got = float_network(vit, MEAN, STD)(torch.from_numpy(images).float())
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    "options",
    [
        {"global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": False},
        {"global_pool": "avg", "class_token": False},
        {"pre_norm": True, "final_norm": False},
        {"global_pool": "avg", "class_token": False, "reg_tokens": 4},
        {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1},
        *({"act_layer": activation.value} for activation in MlpActivation),
    ],
    ids=str,
)
def test_pooling_by_mean_registers_and_every_activation_are_understood_to_the_last_digit(tmp_path, options):
    source = small_timm(**options)
    path = export(source, tmp_path / "model.onnx", 17)
    vit, images = read(path).vit, pixels()
    assert not vit.changes
    network = float_network(vit, MEAN, STD)
    with torch.no_grad():
        expected = source(normalised(images))
    got = as_in_file(network, vit, torch.from_numpy(images).float())
    assert (got - expected).abs().max() < 1e-4 * expected.abs().max()
    assert compare(path, Kind.FLOAT, vit, network, images, MEAN, STD).relative < 1e-4


def test_pixels_that_the_file_normalises_and_probabilities(tmp_path):
    path = export(Wrapped().eval(), tmp_path / "model.onnx", shape=(1, 64, 64, 3))
    vit = read(path).vit
    mean, std = vit.scaling.mean_and_std()
    comparison = compare(path, Kind.FLOAT, vit, float_network(vit, mean, std), pixels(), mean, std)
    assert vit.probabilities
    assert comparison.scale <= 1
    assert comparison.relative < 1e-4
    wrong = compare(path, Kind.FLOAT, vit, float_network(vit, (0.5,) * 3, std), pixels(), mean, std)
    assert wrong.relative > 1e-3


def test_a_qdq_file_is_compared_without_its_activation_quantisers(tmp_path):
    path, target = export(small_timm(), tmp_path / "float.onnx"), tmp_path / "qdq.onnx"
    quantize_static(str(path), str(target), Calibration(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8)
    vit = read(target).vit
    network = float_network(vit, MEAN, STD)
    assert compare(target, Kind.QDQ, vit, network, pixels(), MEAN, STD).relative < 1e-4
    assert compare(target, Kind.FLOAT, vit, network, pixels(), MEAN, STD).relative > 1e-3
    assert len(without_activation_quantisers(target)) > 0


# --- scores --------------------------------------------------------------------------------------------


def loss_of(network, images, labels):
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(images), labels))


def test_first_order_scores_are_sums_of_weight_times_slope(model):
    network = float_network(read(model).vit, MEAN, STD).double()
    images, labels = torch.from_numpy(pixels(3)).double(), torch.tensor([0, 3, 1])
    scores = PruneScores(network.config, PruneConfig(block_size=2, block_keep="0.5")).double()
    set_to_first_order(scores, network, images, labels)

    def products(weight, places):
        total, step = 0.0, 1e-6
        for place in places:
            value = float(weight.data[place])
            losses = []
            for moved in (value + step, value - step):
                weight.data[place] = moved
                losses.append(loss_of(network, images, labels))
            weight.data[place] = value
            total += abs(value * (losses[0] - losses[1]) / (2 * step))
        return total

    block = network.blocks[1]
    square = [(r, c) for r in (2, 3) for c in (4, 5)]
    expected = products(block.attn.proj.weight, square)
    assert float(scores.encoders[1].proj[1, 2]) == pytest.approx(expected, rel=1e-4)
    keys = [(24 + r, c) for r, c in square]
    expected = products(block.attn.qkv.weight, keys)
    assert float(scores.encoders[1].k[1, 2]) == pytest.approx(expected, rel=1e-4)
    row = products(block.mlp.fc1.weight, [(7, c) for c in range(24)])
    column = products(block.mlp.fc2.weight, [(r, 7) for r in range(24)])
    assert float(scores.encoders[1].neurons[7]) == pytest.approx(row + column, rel=1e-4)


def test_without_labels_they_are_drawn_from_the_networks_answers(model):
    network = float_network(read(model).vit, MEAN, STD)
    images = torch.from_numpy(pixels(8)).float()
    found = []
    for seed in (0, 0, 1):
        scores = PruneScores(network.config, PruneConfig(block_size=8, block_keep="0.5"))
        set_to_first_order(scores, network, images, None, seed)
        found.append(scores.encoders[0].v.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert (found[0] > 0).all()


def test_block_sums_are_those_of_each_block():
    values = torch.arange(24.0).reshape(4, 6)
    assert block_sums(values, 2)[1, 2] == values[2:, 4:].sum()


def test_cosine_of_rows():
    a = np.array([[1.0, 0.0], [1.0, 1.0]])
    assert cosines(a, 3 * a) == pytest.approx([1.0, 1.0])
    assert cosines(a, np.array([[0.0, 1.0], [1.0, 1.0]])) == pytest.approx([0.0, 1.0])


# --- the command ---------------------------------------------------------------------------------------


def imported(capsys, *arguments):
    assert run(["import", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.whole
def test_a_pruned_model_holds_the_shares_asked_for_and_runs_as_reported(model, data, tmp_path, capsys):
    target = tmp_path / "pruned.onnx"
    found = imported(
        capsys, model, "--data", data, "-o", target, "--block-size", 8, "--block-keep", "0.7",
        "--neuron-keep", "0.5", "--token-keep", "0.5", "--drop-at", 1, "--score", "first-order",
    )  # fmt: skip
    names = ["float", "pruned", "reconstructed", "quantised", "integer"]
    assert [s["name"] for s in found["stages"]] == names
    stages = dict(zip(names, found["stages"]))
    assert stages["reconstructed"]["cosine"] > stages["pruned"]["cosine"]
    assert all(len(s["encoders"]) == 2 and -30 < min(s["encoders"]) <= max(s["encoders"]) <= 120 for s in found["stages"][:-1])
    assert found["stages"][-1]["encoders"] == [], "integers have no streams of PyTorch"
    assert stages["float"]["encoders"] == [120, 120]
    assert found["onnxruntime"]["relative"] < 1e-4
    assert found["eval_images"] == 10
    first, *_, last = found["stages"]
    assert (first["agreement"], first["accuracy"]) == (1.0, None)
    assert first["cosine"] == pytest.approx(1.0)
    assert 0 <= last["agreement"] <= 1
    assert found["gate"]["reason"] == ""
    exported = ModelWrapper(str(target))
    m = ModelMetadata.read(exported)
    assert (m.block_size, m.block_keep, m.neuron_keep, m.token_keep) == (8, 0.7, 0.5, {"1": 0.5})
    assert (m.tokens, m.neurons) == ([{"in": 17, "mlp": 10}, {"in": 10, "mlp": 10}], [48, 48])
    if m.heads == [3, 3]:
        kept = [b.kept for b in m.kept_blocks.values()]
        assert max(kept) <= 6  # int(0.7 * 9)
    with np.load(target.with_suffix(".npz")) as sample:
        assert sorted(sample) == ["images", "logits"] and len(sample["images"]) == 10, "there are no labels"
        runner = QonnxRunner(exported)
        logits = runner.run(sample["images"])[runner.output]
        assert np.abs(logits.reshape(10, -1) - sample["logits"]).max() < 1e-3 * np.abs(logits).max()
    assert found["complexity"]["macs"] < found["complexity"]["macs_dense"]
    log = target.with_suffix(".log").read_text()
    assert "integer" in log and "signal to noise after each encoder" in log
    assert all(f"range: {r['quantiser']}: clipped at " in log for r in found["ranges"])
    assert {"blocks.0.norm1.quant", "blocks.1.mlp.act_quant", "norm.quant"} < {r["quantiser"] for r in found["ranges"]}


@pytest.mark.whole
def test_weights_of_4_bits_are_rounded_with_correction(model, data, tmp_path, capsys):
    four = ("--weight-bits", 4, "--seed", 1)  # with seed 0 a value lies beside a tie, where PyTorch's float32 takes the other code
    found = {
        name: imported(capsys, model, "--data", data, "-o", tmp_path / f"{name}.onnx", *four, *more)
        for name, more in (("default", ()), ("nearest", ("--rounding", "nearest")))
    }
    assert [s["name"] for s in found["default"]["stages"]] == ["float", "pruned", "quantised", "rounded", "integer"]
    assert [s["name"] for s in found["nearest"]["stages"]] == ["float", "pruned", "quantised", "integer"]
    assert [f["pruning"]["rounding"] for f in found.values()] == ["corrected", "nearest"]
    runner = QonnxRunner(ModelWrapper(str(tmp_path / "default.onnx")))
    with np.load(tmp_path / "default.npz") as sample:
        logits = runner.run(sample["images"])[runner.output]
        assert np.abs(logits.reshape(len(logits), -1) - sample["logits"]).max() < 1e-3 * np.abs(logits).max()


def test_with_full_shares_it_quantises_only(model, data, tmp_path, capsys):
    pixels = ("--mean", "0.5", "--std", "0.5,0.5,0.5")
    found = imported(capsys, model, "--data", data, "-o", tmp_path / "q.onnx", *pixels)
    m = ModelMetadata.read(ModelWrapper(str(tmp_path / "q.onnx")))
    assert all(b.grid.all() for b in m.kept_blocks.values())
    assert (m.heads, m.neurons, m.drop_points) == ([3, 3], [96, 96], {})
    assert found["pruning"]["block_size"] == 8  # 16 does not divide 24
    assert found["complexity"]["params"] == found["complexity"]["params_dense"]
    assert found["stages"][1]["cosine"] == pytest.approx(1.0, abs=1e-6)
    assert found["stages"][-1]["cosine"] > 0.98
    assert found["normalisation"] == "0.5 / 0.5, 0.5 / 0.5, 0.5 / 0.5 (mean / std, as given)"


def test_recovery_needs_no_labels_and_brings_the_answers_back(model, data, tmp_path, capsys):
    found = imported(
        capsys, model, "--data", data, "-o", tmp_path / "r.onnx", "--block-size", 8, "--block-keep", "0.5",
        "--fine-tune-epochs", 6, "--batch-size", 8, "--seed", 1, "--weight-bits", 4, "--activation-bits", 8,
        "--score", "magnitude", "--no-reconstruct", "--rounding", "nearest",
    )  # fmt: skip
    stages = {s["name"]: s["cosine"] for s in found["stages"]}
    assert list(stages) == ["float", "pruned", "quantised", "recovered", "integer"]
    assert stages["recovered"] > stages["quantised"]
    assert stages["integer"] == pytest.approx(stages["recovered"], abs=0.02)
    metadata = ModelMetadata.read(ModelWrapper(str(tmp_path / "r.onnx")))
    assert (metadata.weight_bits, metadata.outer_bits) == (4, 8)


@pytest.mark.parametrize(
    "given, hold, score_lr",
    [({}, 6, 0.0), ({"reconstruct": False}, 6, 0.0), ({"reconstruct": False, "score": Score.FIRST_ORDER}, 3, 1e-2),
     ({"reconstruct": False, "score": Score.FIRST_ORDER, "weight_bits": 4}, 6, 0.0)],
)  # fmt: skip
def test_masks_stay_in_fine_tuning_where_weights_were_fitted_to_them(given, hold, score_lr, tmp_path):
    options = ImportOptions(model=tmp_path / "m.onnx", data="digits", output=tmp_path / "x.onnx", fine_tune=FineTune(epochs=6), **given)
    student = training_of(options, PruneConfig(8, "0.5", "0.5"), 1000).student
    assert (student.hold_epochs, student.score_lr) == (hold, score_lr)


def test_a_stage_that_loses_much_gets_a_note_with_the_encoder_and_what_to_try(tmp_path):
    def options(**given):
        return ImportOptions(model=tmp_path / "m.onnx", data="digits", output=tmp_path / "x.onnx", **given)

    before = Stage("pruned", 0.99, 0.9, 1.0, None, (40.0, 38.0, 36.0))
    worse = replace(before, name="quantised", cosine=0.95, encoders=(40.0, 20.0, 19.0))
    ranges = [ChosenRange(f"blocks.{i}.{q}", 10, 9, 30, e) for i, q, e in
              ((0, "norm1.quant", 9.0), (1, "norm1.quant", 0.1), (1, "mlp.act_quant", 0.3))]  # fmt: skip
    note = loss_note([before, worse], ranges, tries_of(options(weight_bits=4)))
    assert note == (
        "the stage quantised loses 0.040 of the cosine, encoder 2 most, there blocks.1.mlp.act_quant: try --weight-bits 8, "
        "--fine-tune-epochs 3"
    )
    assert loss_note([before, replace(worse, cosine=0.975)], ranges, tries_of(options())) == ""
    assert loss_note([before], ranges, tries_of(options())) == ""
    less = [replace(s, accuracy=a) for s, a in ((before, 0.9), (replace(before, name="pruned"), 0.8))]
    note = loss_note(less, [], tries_of(options(score=Score.MAGNITUDE, fine_tune=FineTune(epochs=2))))
    assert "0.100 of the accuracy" in note and note.endswith("try --score second-order, larger shares, more --fine-tune-epochs")


def test_fine_tuning_chooses_the_residual_scale_anew_and_keeps_ranges_and_shares(model, tmp_path, monkeypatch):
    np.savez(tmp_path / "images.npz", images=pixels(40))
    calls, calibrated = [], []
    choose, calibrate = PrunedViT.calibrate_residual, PrunedViT.calibrate
    monkeypatch.setattr(PrunedViT, "calibrate", lambda self, *a, **k: calibrated.append(1) or calibrate(self, *a, **k))
    monkeypatch.setattr(PrunedViT, "calibrate_residual", lambda self, *a, **k: calls.append(1) or choose(self, *a, **k))
    options = ImportOptions(
        model=model, data=f"npz:{tmp_path}/images.npz", output=tmp_path / "x.onnx", block_keep="0.5", block_size=8, score=Score.MAGNITUDE,
        reconstruct=False, fine_tune=FineTune(epochs=3, batch_size=16, features=1.0),
    )  # fmt: skip
    found = import_model(options)
    assert len(calibrated) == 1 and len(calls) == 1 + 2, "all scales once, the residual's before the second and third epoch"
    assert found.metadata.block_keep == 0.5 and found.saturations == 0
    cosines_of = {s.name: s.cosine for s in found.stages}
    assert cosines_of["recovered"] > cosines_of["pruned"]


@pytest.mark.whole
def test_fine_tuning_that_makes_it_worse_is_undone(model, tmp_path):
    np.savez(tmp_path / "images.npz", images=pixels(40))
    results = {}
    for rate in (None, 3.0):
        tuned = FineTune() if rate is None else FineTune(epochs=1, learning_rate=rate)
        options = ImportOptions(
            model=model,
            data=f"npz:{tmp_path}/images.npz",
            output=tmp_path / f"{rate}.onnx",
            block_keep="0.5",
            block_size=8,
            fine_tune=tuned,
        )
        results[rate] = import_model(options)
    worse = results[3.0]
    assert [s.name for s in worse.stages][-2:] == ["recovered", "integer"]
    assert worse.stages[-2].cosine < worse.stages[-3].cosine and worse.stages[-1] == results[None].stages[-1]
    assert any("worse and was undone" in note and "--learning-rate" in note for note in worse.notes)
    logits = [np.load(tmp_path / f"{rate}.npz")["logits"] for rate in (None, 3.0)]
    assert np.array_equal(*logits)


def test_batches_of_fine_tuning_follow_the_images():
    tuned = FineTune(epochs=3)
    assert [tuned.batch_for(images) for images in (60, 200, 700, 20_000)] == [8, 8, 28, 64]
    assert tuned.changed(batch_size=3).batch_for(200) == 3


def fine_tuning_of(model, folder, keep, images):
    """Of the float network pruned by magnitude, in float, in batches of 8 images; four fifths of the images are for training."""
    np.savez(folder / "images.npz", images=pixels(images))
    options = ImportOptions(
        model=model,
        data=f"npz:{folder}/images.npz",
        output=folder / "x.onnx",
        block_keep=keep,
        block_size=8,
        score=Score.MAGNITUDE,
        fine_tune=FineTune(epochs=1),
    )
    plan = make_plan(options)
    teacher, student = (float_network(plan.vit, plan.mean, plan.std) for _ in range(2))
    scores, data = PruneScores(plan.config, plan.prune), plan.data.data
    scores.set_to_magnitude(teacher)
    config = training_of(options, plan.prune, len(data.train_labels))
    return FineTuning(config, data, teacher, student, scores, lambda forward, count: 0.0, 0.0)


@pytest.mark.parametrize("factor", [1.0, 8.0])
def test_learning_rate_follows_the_loss_and_what_steps_of_one_batch_do_for_another(factor, model, tmp_path, monkeypatch):
    """With 8 the batches, all of noise, agree so well that the rate is the highest."""
    monkeypatch.setattr(fine_tuning, "RATE", factor)
    run, step = fine_tuning_of(model, tmp_path, "0.5", 20), 1e-3
    groups, masks = run.student_optimizer.param_groups, run.scores.final_masks()
    usual, halves = groups[0]["rate"], run.data.calibration(16).float().split(8)
    weights = [(group["rate"], weight) for group in groups[:-1] for weight in group["params"]]

    def losses():
        return torch.stack([run._distillation(run.student(images, masks), images, None).mean() for images in halves])

    before, tensors = losses(), [weight for _, weight in weights]
    slopes = [torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True) for loss in before]
    fell = []
    with torch.no_grad():
        for batch in slopes:
            moves = [(w, step * rate * g.sign()) for (rate, w), g in zip(weights, batch) if g is not None]
            for weight, move in moves:
                weight -= move
            fell.append((before - losses()) / step)
            for weight, move in moves:
                weight += move
    own, others = torch.stack(fell).diagonal().mean(), torch.stack(fell).flip(0).diagonal().mean()
    share = factor * float(others / own)
    assert LEAST < share and (share > MOST) == (factor == 8.0)
    expected = usual * before.mean() / own * min(share, MOST)
    assert run.choose_rate() == pytest.approx(float(expected), rel=0.05)
    assert groups[0]["rate"] == pytest.approx(float(expected), rel=0.05)
    assert groups[-1]["rate"] == run.config.student.score_lr == 0


def test_a_student_without_a_loss_keeps_the_usual_learning_rate(model, tmp_path):
    run = fine_tuning_of(model, tmp_path, "1", 20)
    for network in (run.student, run.distiller):
        torch.nn.init.zeros_(network.head.weight)
    assert run.choose_rate() == run.config.student.lr


def test_one_batch_gives_the_least_learning_rate(model, tmp_path):
    run = fine_tuning_of(model, tmp_path, "0.5", 10)
    images, masks = run.data.calibration(8).float(), run.scores.final_masks()
    loss = run._distillation(run.student(images, masks), images, None).mean()
    weights = [(group["rate"], weight) for group in run.student_optimizer.param_groups[:-1] for weight in group["params"]]
    slopes = torch.autograd.grad(loss, [weight for _, weight in weights], allow_unused=True)
    own = sum(rate * float(g.abs().sum()) for (rate, _), g in zip(weights, slopes) if g is not None)
    assert run.choose_rate() == pytest.approx(run.config.student.lr * LEAST * float(loss) / own, rel=1e-3)


def test_each_stage_tells_how_many_held_out_images_are_done(model, tmp_path):
    np.savez(tmp_path / "images.npz", images=pixels(225))
    options = ImportOptions(
        model=model, data=f"npz:{tmp_path}/images.npz", output=tmp_path / "x.onnx", fine_tune=FineTune(epochs=1, train_images=20)
    )
    said = Said()
    with progress.shown_by(said):
        import_model(options)
    statuses = [s.split(", about")[0] for s in said if "held-out images" in s]
    stages = ("float", "pruned", "quantised", "fine-tune", "recovered", "integer")
    expected = [f"{stage}, held-out images: {done} of 45" for stage in stages for done in (0, 20, 40)]
    assert list(dict.fromkeys(statuses)) == expected
    assert said.index("float, held-out images: 0 of 45") < next(i for i, s in enumerate(said) if s.startswith("float: cosine"))


@pytest.mark.whole
def test_nothing_that_libraries_warn_of_reaches_the_terminal(model, data, tmp_path):
    arguments = ["import", str(model), "--data", data, "-o", str(tmp_path / "x.onnx")]
    program = f"from finn_vitprune.cli import run; raise SystemExit(run({arguments!r}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Warning" not in ended.stdout


def test_help_has_an_example_that_parses(capsys):
    assert run(["import", "--help"]) == 0
    example = " ".join(capsys.readouterr().out.split("Example: ")[1].split())
    command = typer.main.get_command(program()).commands["import"]
    context = command.make_context("import", shlex.split(example)[2:])
    assert context.params["drop_at"] == "3,7,10"


def one_line(capsys, *arguments):
    assert run(["import", *map(str, arguments)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


def test_what_is_not_taken_in_is_named_before_the_data_is_read(tmp_path, capsys):
    path = export(small_timm(act_layer=torch.nn.ELU), tmp_path / "elu.onnx")
    err = one_line(capsys, path, "--data", "npz:nowhere.npz", "-o", tmp_path / "x.onnx")
    assert "activation ELU in the MLP" in err and "node" in err and "GELU" in err
    assert [p.name for p in tmp_path.iterdir()] == ["elu.onnx"]


def test_token_drop_needs_a_class_token_or_a_register(tmp_path, capsys):
    path = export(small_timm(global_pool="avg", class_token=False), tmp_path / "gap.onnx")
    given = ("--data", "npz:nowhere.npz", "-o", tmp_path / "x.onnx", "--token-keep", "0.5")
    err = one_line(capsys, path, *given)
    assert "token keep rate 0.5: tokens are ranked by the attention of a class token or register" in err and "use 1" in err


def test_a_network_beyond_the_tolerance_is_refused(model, data, tmp_path, capsys):
    err = one_line(capsys, model, "--data", data, "-o", tmp_path / "x.onnx", "--tolerance", "1e-12")
    assert "largest difference" in err and "--tolerance" in err
    assert list(tmp_path.iterdir()) == []


def test_half_precision_needs_a_wider_tolerance(data, tmp_path, capsys):
    path = tmp_path / "half.onnx"
    zeros = torch.zeros(1, 3, 64, 64, dtype=torch.half)
    torch.onnx.export(small_timm().half(), (zeros,), str(path), opset_version=17, dynamo=False)
    assert "is not supported" in one_line(capsys, path, "--data", data, "-o", tmp_path / "x.onnx")
    found = imported(capsys, path, "--data", data, "-o", tmp_path / "x.onnx", "--tolerance", "0.05")
    assert 1e-4 < found["onnxruntime"]["relative"] < 0.05


def test_an_untrained_head_comes_in_with_a_note_and_no_advice_on_pixels(tmp_path, capsys):
    source = small_timm()
    torch.nn.init.zeros_(source.head.weight)
    path = export(source, tmp_path / "model.onnx")
    parts = {"images": pixels(20), "labels": np.arange(20) % 5}
    np.savez(tmp_path / "set.npz", **{f"{p}_{k}": v for p in ("train", "test") for k, v in parts.items()})
    found = imported(capsys, path, "--data", f"npz:{tmp_path}/set.npz", "-o", tmp_path / "x.onnx")
    assert [s["accuracy"] for s in found["stages"]] == [0.2] * 4  # the largest bias wins for every image
    assert len(found["notes"]) == 1 and "the head is untrained" in found["notes"][0]


def test_a_qonnx_file_is_sent_to_build(model, data, tmp_path, capsys):
    imported(capsys, model, "--data", data, "-o", tmp_path / "q.onnx")
    assert "build" in one_line(capsys, tmp_path / "q.onnx", "--data", data, "-o", tmp_path / "x.onnx")


def test_an_output_is_replaced_only_when_asked(model, data, tmp_path, capsys):
    target = tmp_path / "x.onnx"
    target.write_text("mine")
    assert "--force" in one_line(capsys, model, "--data", data, "-o", target)
    assert target.read_text() == "mine"
    shares = tmp_path / "x.layers.json"
    shares.write_text("of another import")
    imported(capsys, model, "--data", data, "-o", target, "--force")
    assert ModelMetadata.read(ModelWrapper(str(target))).name == "x"
    assert not shares.exists(), "nothing was pruned, so no layer was measured"


@pytest.mark.parametrize(
    "place,message",
    [
        ("file/x.onnx", "file is not a folder"),
        ("file/new/x.onnx", "file is not a folder"),
        ("link/x.onnx", "link is not a folder"),
        ("/proc/x.onnx", "): give a folder and a name that can be"),
        ("/proc/new/x.onnx", "/proc cannot be written"),
        ("folder.onnx", "folder.onnx is a folder: give another name"),
        ("log.onnx", "log.log is a folder: give another name"),
        ("busy.onnx", "busy.log cannot be written (Text file busy)"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_before_the_model_is_read(place, message, tmp_path, capsys):
    model = tmp_path / "broken.onnx"
    for name in ("file", "broken.onnx"):
        (tmp_path / name).write_text("not a model")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "busy.log").symlink_to(Path(sys.executable).resolve())  # a program that runs is not written, even by root
    for name in ("folder.onnx", "log.log"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    err = one_line(capsys, model, "--data", "npz:nowhere.npz", "-o", tmp_path / place, "--force")
    assert f"-o {tmp_path / place}: " in err and message in err
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_in_new_folders_can_be_written(tmp_path):
    ImportOptions(model=tmp_path / "model.onnx", data="digits", output=tmp_path / "a" / "b" / "x.onnx").check_output()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options,message",
    [
        (["--block-size", "16"], "block size 16 does not divide 24"),
        (["--block-keep", "1.5"], "--block-keep 1.5 is not a share"),
        (["--neuron-keep", "half"], "--neuron-keep half is not a share"),
        (["--token-keep", "0.5"], "--token-keep 0.5 needs --drop-at, for instance --drop-at 1"),
        (["--drop-at", "1"], "--drop-at 1 drops nothing at --token-keep 1: give a smaller share"),
        (["--token-keep", "0.5", "--drop-at", "1,1"], "--drop-at 1,1: encoder 1 is there twice, name it once"),
        (["--batch-size", "8"], "--batch-size 8 is for fine-tuning: add --fine-tune-epochs, or leave it out"),
        (["--learning-rate", "0.1"], "--learning-rate 0.1 is for fine-tuning"),
        (["--shift", "2"], "--shift 2 is for fine-tuning"),
        (["--token-keep", "0.5", "--drop-at", "2"], "--drop-at 2: tokens can be dropped in the encoders 1"),
        (["--drop-at", "1;2"], "--drop-at 1;2: expected numbers with commas"),
        (["--mean", "0.5,0.5", "--std", "0.5,0.5"], "--mean has 2 numbers, the model 3 channels"),
        (["--mean", "0.5", "--std", "0"], "--std 0.0 is not positive"),
        (["--mean", "0.5"], "--mean and --std go together: give both, or neither"),
        (["--tolerance", "0"], "--tolerance 0: use a number above 0"),
        (["--learning-rate", "nan"], "--learning-rate nan"),
        (["--weight-bits", "3"], "--weight-bits 3: use 4 or 8"),
        (["--score", "random"], "magnitude"),
    ],
)
def test_wrong_options_are_one_line(model, data, options, message, tmp_path, capsys):
    assert message in one_line(capsys, model, "--data", data, "-o", tmp_path / "x.onnx", *options)
    assert list(tmp_path.iterdir()) == []


def test_options_in_python_are_checked_where_they_are_made(tmp_path):
    """Texts become what they name, and what is wrong is said with the words of the command line."""
    options = ImportOptions(
        model=str(tmp_path / "m.onnx"),
        data="digits",
        output=str(tmp_path / "x.onnx"),
        score="magnitude",
        rounding="nearest",
        block_keep=0.5,
        drop_at=[2, 1],
        token_keep="0.5",
    )
    assert (options.score, options.rounding, options.block_keep, options.drop_at) == (Score.MAGNITUDE, Rounding.NEAREST, "0.5", (2, 1))
    assert options.model == tmp_path / "m.onnx" and options.beside(".npz") == tmp_path / "x.npz"
    for wrong, message in (
        ({"score": "random"}, "--score random: use magnitude, first-order or second-order"),
        ({"weight_bits": 6}, "--weight-bits 6: use 4 or 8"),
        ({"eval_images": 0}, "--eval-images 0: use 1 or more"),
        ({"block_keep": 1.5}, "--block-keep 1.5 is not a share"),
        ({"drop_at": (3, 3), "token_keep": "0.5"}, "--drop-at 3,3: encoder 3 is there twice"),
        ({"drop_at": (3,)}, "--drop-at 3 drops nothing at --token-keep 1"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=re.escape(message)):
            ImportOptions(model=tmp_path / "m.onnx", data="digits", output=tmp_path / "x.onnx", **wrong)
    with pytest.raises(UserError, match="--batch-size 3 is for fine-tuning"):
        FineTune(batch_size=3)
    with pytest.raises(UserError, match="--fine-tune-epochs -1: use 0 or more"):
        FineTune(epochs=-1)


@pytest.mark.parametrize("head, block", [(21, 7), (31, 31), (15, 15), (6, 2), (12, 4), (32, 16)])
def test_a_block_size_is_found_for_every_width_that_check_takes(head, block, tmp_path):
    """Two heads, an MLP of four times the width."""
    config = ViTConfig.dense(32, 3, 8, 2 * head, 2, 1, 10)
    options = ImportOptions(model=tmp_path / "m.onnx", data="digits", output=tmp_path / "x.onnx")
    assert prune_of(options, config).block_size == block


@pytest.mark.slow
@pytest.mark.parametrize("head", [21, 31])
def test_what_check_promises_import_and_build_hold(head, tmp_path, capsys):
    """Heads of an odd width."""
    model = export(small_timm(img_size=32, embed_dim=2 * head, num_heads=2, depth=1), tmp_path / "odd.onnx", shape=(1, 3, 32, 32))
    assert run(["check", str(model)]) == 0
    np.savez(tmp_path / "x.npz", images=pixels(20, size=32))
    capsys.readouterr()
    found = imported(capsys, model, "--data", f"npz:{tmp_path / 'x.npz'}", "-o", tmp_path / "q.onnx", "--eval-images", 4)
    assert head % found["pruning"]["block_size"] == 0
    assert (
        run(["build", str(tmp_path / "q.onnx"), "-o", str(tmp_path / "b"), "--fpga-part", "U250", "--estimate-only", "--synth", "none"])
        == 0
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, drop_at, left",
    sampled(
        [
            ({"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1}, 1, 5 + 8 + 1),
            ({"reg_tokens": 4, "class_token": False, "global_pool": "avg"}, 2, 4 + 8 + 1),
        ],
        1,
        several=True,
    ),
    ids=["DINOv2 with registers", "registers alone, pooled by mean"],
)
def test_registers_stay_from_the_float_file_to_the_build(options, drop_at, left, data, tmp_path, capsys):
    model = export(small_timm(**options), tmp_path / "registers.onnx")
    assert run(["check", str(model)]) == 0
    capsys.readouterr()
    found = imported(
        capsys, model, "--data", data, "-o", tmp_path / "q.onnx", "--eval-images", 4, "--token-keep", "0.5", "--drop-at", drop_at,
    )  # fmt: skip
    assert found["gate"]["reason"] == "" and found["onnxruntime"]["relative"] < 1e-4
    assert ModelMetadata.read(ModelWrapper(str(tmp_path / "q.onnx"))).tokens[-1]["mlp"] == left
    assert run(["check", str(tmp_path / "q.onnx")]) == 0
    out = capsys.readouterr().out
    assert ("class token and 4 registers" if drop_at == 1 else "4 prefix tokens") in " ".join(out.split())
    built = ["build", str(tmp_path / "q.onnx"), "-o", str(tmp_path / "b"), "--fpga-part", "U250", "--estimate-only", "--synth", "none"]
    assert run(built) == 0


def test_two_imports_at_once_with_one_output(model, data, tmp_path, capsys):
    target = tmp_path / "x.onnx"
    with alone_with(target, "import"):
        assert f"another import is writing {target}" in one_line(capsys, model, "--data", data, "-o", target)
    assert not target.exists()


def test_an_import_that_fails_on_the_way_leaves_nothing(model, tmp_path, capsys):
    """A broken image that is read after the first stages."""
    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.fromarray(pixels(1, 64, i)[0]).save(tmp_path / "photos" / f"{i:02}.png")
    (tmp_path / "photos" / "03.png").write_bytes(b"broken")
    before = sorted(tmp_path.rglob("*"))
    assert "cannot read image" in one_line(capsys, model, "--data", f"imagefolder:{tmp_path / 'photos'}", "-o", tmp_path / "new" / "x.onnx")
    assert [p for p in sorted(tmp_path.rglob("*")) if p.is_file()] == [p for p in before if p.is_file()]


def test_an_output_that_another_import_wrote_meanwhile_is_kept(model, data, tmp_path, monkeypatch, capsys):
    target = tmp_path / "x.onnx"
    monkeypatch.setattr(workflow, "compared", lambda *given: target.write_text("theirs"))
    assert "is there already: use --force" in one_line(capsys, model, "--data", data, "-o", target)
    assert target.read_text() == "theirs" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "spec,message",
    [
        ("digits", "digits has images of 8 x 8 x 1, the model takes 64 x 64 x 3"),
        ("cifar", "--data cifar: unknown data set"),
        ("npz:nowhere.npz", "nowhere.npz"),
        ("imagefolder:nowhere", "there is no such folder"),
    ],
)
def test_data_that_does_not_fit_is_one_line(model, spec, message, tmp_path, capsys):
    assert message in one_line(capsys, model, "--data", spec, "-o", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_of_files_are_one_line(model, data, tmp_path, capsys):
    assert "suffix .onnx" in one_line(capsys, model, "--data", data, "-o", tmp_path / "x.qonnx")
    assert "no such file" in one_line(capsys, tmp_path / "no.onnx", "--data", data, "-o", tmp_path / "x.onnx")
    assert "is the model itself" in one_line(capsys, model, "--data", data, "-o", model, "--force")


# --- the data ------------------------------------------------------------------------------------------


def test_image_files_without_labels_are_resized_and_every_fifth_is_held_out(model, tmp_path):
    for i in range(12):
        Image.fromarray(pixels(1, 80, i)[0]).save(tmp_path / f"{i:02}.png")
    found = load_data(f"imagefolder:{tmp_path}", read(model).vit, 6)
    images, labels = found.calibration(100)
    assert (images.shape, labels, found.labelled) == ((6, 64, 64, 3), None, False)
    held, _ = found.data.test_sample(2)
    assert held.shape == (2, 64, 64, 3)
    assert found.data.mean == MEAN


def test_ten_images_are_needed(model, tmp_path):
    np.savez(tmp_path / "few.npz", images=pixels(9))
    with pytest.raises(UserError, match="has 9 images: give at least 10"):
        load_data(f"npz:{tmp_path}/few.npz", read(model).vit)


@pytest.mark.parametrize("classes,labelled", [(5, True), (4, False)])
def test_labels_count_where_they_are_those_of_the_model(model, tmp_path, classes, labelled):
    labels = np.arange(20) % classes
    parts = {"images": pixels(20), "labels": labels}
    arrays = {f"{p}_{k}": v for p in ("train", "test") for k, v in parts.items()}
    np.savez(tmp_path / "set.npz", **arrays)
    found = load_data(f"npz:{tmp_path}/set.npz", read(model).vit)
    assert found.labelled is labelled
    images, given = found.calibration(10)
    assert ("4 classes, the model 5" in found.note) is not labelled
    assert given is None or sorted(set(given)) == list(range(classes))
    assert given is None or [int(x) for x in given] == [
        int(labels[np.flatnonzero((pixels(20) == image).all((1, 2, 3)))[0]]) for image in images
    ]
