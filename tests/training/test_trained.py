"""A student that starts from the file of a pruned network."""

import numpy as np
import pytest
import torch
from rich.console import Console

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json
from finn_vitprune.graph.packed import write_model
from finn_vitprune.graph.reading import read_model
from finn_vitprune.models.freeze import freeze
from finn_vitprune.pruning.cut import cut
from finn_vitprune.training import train as training
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.run import TrainingRun
from finn_vitprune.training.trained import start_from

QUIET = Console(quiet=True)
CONFIG = {
    "name": "tiny",
    "batch_size": 240,
    "seed": 3,
    "model": {"patch_size": 4, "dim": 16, "depth": 2, "heads": 4, "mlp_ratio": 2},
    "prune": {"block_size": 4, "block_keep": 0.3, "token_keep": 0.5, "drop_at": [1], "score_start": "magnitude"},
    "teacher": {"epochs": 1, "lr": 3e-3},
    "student": {"epochs": 1, "warmup_epochs": 0, "hold_epochs": 1, "score_lr": 0},
}
"""Some heads of such a network go, of its neurons half."""
OTHERS = {
    "gated": {"model": {"gated": True}},
    "registers, qk_norm, norm_pre": {"model": {"registers": 2, "qk_norm": True, "norm_pre": True}},
    "attention pooling": {"model": {"pool": "map"}},
    "all blocks compete": {"prune": {"scope": "global"}},
    "lanes": {"prune": {"lanes": 2}},
    "each layer its share": {"prune": {"score_start": "second-order", "by_layer": True}},
}


def config_of(**changes):
    sections = {name: CONFIG[name] | changes.get(name, {}) for name in ("model", "prune", "teacher", "student")}
    return parse_config(CONFIG | sections | {"quant": changes.get("quant", {})})


def trained(folder, **changes):
    config = config_of(**changes)
    training.train(config, folder, console=QUIET)
    return config, folder / "model.onnx"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run, and the file of its network."""
    return trained(tmp_path_factory.mktemp("plain"))


def started(path, **changes):
    """A student that starts from ``path``, and the small network that it is."""
    run = TrainingRun(config_of(**changes, student={"weights": str(path)}), path.parent / "on")
    start_from(path, run.student, run.scores)
    return run, cut(run.student, run.scores.final_masks())


@pytest.mark.parametrize("changes", [{}, *OTHERS.values()], ids=["plain", *OTHERS])
def test_the_student_is_the_network_of_the_file(changes, plain, tmp_path):
    """Shapes, masks and float results."""
    _, path = trained(tmp_path / "first", **changes) if changes else plain
    run, small = started(path, **changes)
    first = TrainingRun.from_checkpoint(path.parent / "checkpoint.pt")
    before = freeze(cut(first.student, first.scores.final_masks()))
    assert small.config == before.config
    if not changes:
        heads = [s.heads for s in small.config.encoders]
        assert min(heads) < 4, "the case: heads are gone"
    for name, layer in small.linears().items():
        assert torch.equal(layer.weight, before.linears()[name].weight), name
    images = run.data.calibration(20)
    for network in (run.student, small, before):
        network.eval()
        network.quantise(False)
    with torch.no_grad():
        results = [run.student(images, run.scores.final_masks()), small(images), before(images)]
    assert torch.allclose(results[0], results[1], atol=1e-5)
    assert torch.allclose(results[1], results[2], atol=1e-5)


def test_training_goes_on(plain, tmp_path):
    """From a packed file, at other bits and token drops; heads, neurons and zero blocks are those of the file."""
    _, path = plain
    packed = tmp_path / "model.xz"
    write_model(read_model(path), packed)
    changes = {"student": {"weights": str(packed)}, "quant": {"weight_bits": 4, "act_bits": 4}, "prune": {"token_keep": 0.7}}
    metrics = training.train(config_of(**changes), tmp_path / "on", console=QUIET)
    before = read_json(path.parent / "metrics.json", "metrics")
    for what in ("heads", "neurons"):
        assert metrics["complexity"][what] == before["complexity"][what]
    more = metrics["complexity"]["index_bits"] - before["complexity"]["index_bits"]
    assert 0 <= more <= 2, "a row of zero blocks that has a bias keeps one"


@pytest.mark.parametrize("prune", [{}, {"scope": "global"}, {"lanes": 4}], ids=["moving scores", "all blocks compete", "lanes"])
def test_what_is_pruned_stays_pruned_whatever_would_choose_it(plain, tmp_path, prune):
    _, path = plain
    student = {"weights": str(path), "epochs": 3, "warmup_epochs": 4, "hold_epochs": 25, "score_lr": 0.1}
    training.train(config_of(student=student, prune=prune), tmp_path / "on", console=QUIET)
    start, end = (TrainingRun.from_checkpoint(folder / "checkpoint.pt") for folder in (path.parent, tmp_path / "on"))
    before, after = (cut(run.student, run.scores.final_masks()) for run in (start, end))
    assert after.config == before.config
    for name in (f"blocks.{i}.attn.{layer}" for i in range(2) for layer in ("qkv", "proj")):
        zeros = before.linears()[name].weight == 0
        assert int((after.linears()[name].weight[zeros] != 0).sum()) <= 2 * 16, "a row of zero blocks that has a bias keeps one"


def test_the_result_is_better_than_its_start(plain, tmp_path):
    """The weights are used: one more epoch from the file beats one epoch from the teacher."""
    _, path = plain
    more = training.train(config_of(student={"weights": str(path)}), tmp_path / "on", console=QUIET)
    once = TrainingRun.from_checkpoint(path.parent / "checkpoint.pt").progress.student_history[-1]["accuracy"]
    assert more["accuracy"] > once


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"prune": {"block_keep": 0.5}}, r"pruned with block_keep 0.3, and prune.block_keep is 0.5: use 0.3"),
        ({"prune": {"neuron_keep": 1}}, r"neuron_keep 0.5, and prune.neuron_keep is 1"),
        ({"prune": {"block_size": 2}}, r"block_size 4, and prune.block_size is 2"),
        ({"model": {"depth": 3}}, r" has 2 encoders, this run's network 3"),
        ({"model": {"mlp_ratio": 0.5}}, r"is not a part of this run's network: its encoder 1 has \d heads and 16 neurons, here 4 and 8"),
        ({"model": {"activation": "relu"}}, r" has another activation than this run's ReLU \(Relu\)"),
        ({"model": {"activation": "gelu_tanh"}}, r" has another activation than this run's GELU in its tanh form"),
        ({"model": {"norm": "rmsnorm"}}, r"the norms of .* are of another kind than this run's"),
        ({"model": {"final_norm": False}}, r" of another structure than this run's: it has norm.quant and it lacks class_quant"),
        ({"model": {"pool": "avg"}}, r" of another structure than this run's: .*it lacks pool.quant"),
        ({"model": {"gated": True}}, r" of another structure than this run's: it lacks blocks.0.mlp.gate.factor_quant"),
        ({"model": {"dim": 32}}, r": prefix_tokens is \[1, 1, 16\], this run's \[1, 1, 32\]"),
        ({"model": {"registers": 1}}, r": prefix_tokens is \[1, 1, 16\], this run's \[1, 2, 16\]"),
        ({"model": {"norm_pre": True}}, r" of another structure than this run's: it lacks norm_pre.norm.quant"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_the_teacher_is_trained(plain, tmp_path, changes, message):
    _, path = plain
    config = config_of(**{**changes, "student": {"weights": str(path)}})
    with pytest.raises(UserError, match=f"student.weights: .*{message}") as error:
        training.train(config, tmp_path / "on", console=QUIET)
    assert "\n" not in str(error.value) and not (tmp_path / "on" / "checkpoint.pt").exists()


@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"student.weights: .*x.onnx"):
        training.train(config_of(student={"weights": str(path)}), tmp_path / "on", console=QUIET)


def test_more_than_the_masks_can_keep_is_refused(plain, monkeypatch):
    config, path = plain
    run = TrainingRun(config, path.parent / "on")
    monkeypatch.setattr(type(run.scores), "keep", lambda self, counts: self.kept.copy_(torch.from_numpy(np.asarray(counts) - 1)))
    with pytest.raises(UserError, match="keeps more of encoder 1 than"):
        start_from(path, run.student, run.scores)
