"""Pictures show what the model did, value for value; the command rejects what it cannot show."""

from collections import Counter

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.image import imread
from rich.console import Console

from finn_vitprune.cli import run
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.report import figures, pictures, tokens
from finn_vitprune.training import checkpoint
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.train import train
from tests.sampling import spread

torch.set_num_threads(1)

TINY = {
    "name": "tiny",
    "batch_size": 128,
    "model": {"patch_size": 4, "dim": 16, "depth": 3, "heads": 2, "mlp_ratio": 2},
    "prune": {"token_keep": 0.5, "drop_at": [1, 2]},
    "teacher": {"epochs": 2},
    "student": {"epochs": 2, "warmup_epochs": 0, "hold_epochs": 1},
}
SIGNATURES = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


# --- kept patches --------------------------------------------------------------------------------


def random_model(seed: int, keep: str, drop_at: tuple[int, ...], prefix: int = 1) -> tuple[PrunedViT, np.ndarray]:
    """A calibrated network of 4 encoders with random weights, and 12 x 12 images (36 patches)."""
    torch.manual_seed(seed)
    config = ViTConfig.dense(12, 1, 2, dim=16, heads=2, depth=4, classes=5, prefix=prefix)
    model = PrunedViT(config.with_token_drop(keep, drop_at)).eval()
    with torch.no_grad():
        for name in ("prefix_tokens", "pos_embed"):
            getattr(model, name).normal_()
        for linear in model.linears().values():
            linear.weight.normal_(std=0.3)
        model.patch_embed.weight.mul_(0.01)
    images = np.random.default_rng(seed).integers(0, 256, (5, 12, 12, 1), dtype=np.uint8)
    model.calibrate(torch.from_numpy(images).float())
    return model, images


def tracked(model: PrunedViT, images: np.ndarray) -> tuple[dict[int, np.ndarray], int]:
    """Kept patches by following each token in plain Python; and how often a tie stood across the cut.

    At every drop the rows that continue are checked to be the ones followed here.
    """
    passed = {}
    for number, block in enumerate(model.blocks, start=1):
        if block.drop is not None:

            def record(_, args, out, number=number):
                passed[number] = args[0].numpy(), args[1].numpy(), out.numpy()

            block.drop.register_forward_hook(record)
    with torch.no_grad():
        model(torch.from_numpy(images).float())
    c = model.config
    names = [["class", *["register"] * c.prefix][: c.prefix] + list(range(c.patches)) for _ in images]
    found, ties = {}, 0
    for number, (before, scores, after) in passed.items():
        k = model.blocks[number - 1].drop.k
        found[number] = np.zeros((len(images), c.patches), bool)
        for f in range(len(images)):
            ranked = sorted(range(c.prefix, len(names[f])), key=lambda i: (-scores[f, i], i))
            if k < len(ranked):
                ties += scores[f, ranked[k - 1]] == scores[f, ranked[k]]
                stay = sorted([*range(c.prefix), *ranked[:k]])
                np.testing.assert_array_equal(after[f, :-1], before[f, stay])
                names[f] = [names[f][i] for i in stay] + ["fused"]
            assert len(names[f]) == after.shape[1] and len(np.unique(before[f], axis=0)) == before.shape[1]
            found[number][f, [n for n in names[f] if isinstance(n, int)]] = True
    return found, ties


@pytest.mark.parametrize("prefix", [1, 5])
@pytest.mark.parametrize("keep, drop_at", spread([("0.6", (1, 3)), ("0.7", (1, 2, 3)), ("0.3", (2, 3, 4))], 6, several=True))
def test_kept_patches_equal_a_token_by_token_tracking_with_ties(keep, drop_at, prefix):
    ties = 0
    for seed in range(3):
        model, images = random_model(seed, keep, drop_at, prefix)
        kept = pictures.kept_patches(model, images)
        expected, tied = tracked(model, images)
        ties += tied
        assert [number for number, _ in kept] == list(drop_at)
        for number, mask in kept:
            assert mask.dtype == bool
            np.testing.assert_array_equal(mask, expected[number])
    assert ties > 0


def test_a_drop_that_keeps_every_token_is_passed_through():
    model, images = random_model(3, "0.6", (1, 2, 3))
    model.blocks[0].drop.k = model.config.tokens - 1
    model.blocks[1].drop.k = 20
    model.blocks[2].drop.k = 21  # all of 22 tokens but the class token
    (_, first), (_, second), (_, third) = pictures.kept_patches(model, images)
    assert first.all() and (second.sum(1) == 20).all()
    np.testing.assert_array_equal(third, second)


def test_kept_patches_do_not_depend_on_the_batch_and_leave_the_model_as_it_was():
    model, images = random_model(1, "0.5", (1, 2))
    many = np.concatenate([images] * 40)  # more than one batch of an evaluation
    kept = pictures.kept_patches(model, many)
    for (_, all_of_them), (_, alone) in zip(kept, pictures.kept_patches(model, images)):
        np.testing.assert_array_equal(all_of_them, np.concatenate([alone] * 40))
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_model_without_drops_has_no_kept_patches():
    assert pictures.kept_patches(*random_model(0, "0.5", ())) == []


# --- figures -------------------------------------------------------------------------------------


def random_scores(seed: int, keep: str = "0.5") -> tuple[PrunedViT, PruneScores]:
    """Random scores of 2 encoders of 3 heads and 44 neurons; W_v of head 2 of encoder 2 is pruned."""
    torch.manual_seed(seed)
    model = PrunedViT(ViTConfig.dense(8, 1, 2, dim=24, heads=3, depth=2, classes=5, mlp_ratio=44 / 24))
    scores = PruneScores(model.config, PruneConfig(4, keep, "0.5"))
    with torch.no_grad():
        for p in (*scores.parameters(), *(x.weight for x in model.linears().values())):
            p.normal_()
        scores.encoders[1].v[2:4] -= 100
    return model, scores


def shown(axis) -> np.ndarray:
    """What an axis shows: an image, or the cells of a map."""
    return axis.images[0].get_array() if axis.images else axis.collections[0].get_array()


def test_token_figure_dims_exactly_the_dropped_patches():
    images = np.random.default_rng(0).integers(1, 255, (2, 6, 6, 1), dtype=np.uint8)
    kept = np.random.default_rng(1).random((2, 9)) < 0.5
    figure = tokens.token_figure(images, [(2, kept), (5, kept & False)], ["class 3", "class 4"])
    axes = np.array(figure.axes).reshape(2, 3)
    assert [a.get_title() for a in axes[0]] == ["image", "encoder 2", "encoder 5"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["class 3", "class 4"]
    for f in range(2):
        original, one, none = (shown(a) for a in axes[f])
        np.testing.assert_allclose(original, np.repeat(images[f] / 255, 3, axis=2))
        same = np.isclose(one, original).all(2)
        for patch in range(9):
            y, x = 2 * (patch // 3), 2 * (patch % 3)
            assert (same[y : y + 2, x : x + 2] == kept[f, patch]).all()
        assert not np.isclose(none, original).all(2).any()
        assert [a.get_xlabel() for a in axes[f, 1:]] == [f"{kept[f].sum()} of 9", "0 of 9"]


def test_dropped_patches_are_hatched_and_the_legend_says_so():
    """Images have no hatching: a dropped patch is told from a dark or a light one, without colours."""
    kept = np.array([[True, False, False, True]])
    figure = tokens.token_figure(np.zeros((1, 4, 4, 1), np.uint8), [(1, kept)])
    (hatched,) = [patch for patch in figure.axes[1].patches if patch.get_hatch()]
    corners = {tuple(v) for v in hatched.get_path().vertices[::5]}
    assert corners == {(1.5, -0.5), (-0.5, 1.5)} and not figure.axes[0].patches
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dropped patch, fused with the others into one token"]


def test_captions_have_class_and_prediction_and_say_what_is_wrong():
    assert tokens.captions([3, 4], [3, 5]) == ["class 3\npredicted 3", "class 5\npredicted 4: wrong"]
    assert tokens.captions([3], None) == ["predicted 3"]
    assert tokens.captions([1, 0], [1, 1], ["cat", "dog"]) == ["class dog\npredicted dog", "class dog\npredicted cat: wrong"]


@pytest.mark.parametrize("channels, colour", [(3, True), (4, False)])
def test_token_figure_shows_colours_and_the_mean_of_other_channels(channels, colour):
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, channels), dtype=np.uint8)
    image = shown(tokens.token_figure(images, []).axes[0])
    expected = images[0] if colour else images[0].mean(2)[..., None].repeat(3, 2)
    np.testing.assert_allclose(image, expected / 255)


def test_mask_figure_shows_the_blocks_heads_and_neurons_that_the_cut_network_has():
    model, scores = random_scores(0)
    masks = scores.masks()
    small = cut(model, masks)
    axes = np.array(pictures.mask_figure(masks, 4).axes[:10]).reshape(2, 5)
    for encoder, (row, mask) in enumerate(zip(axes, masks)):
        attn, live = small.blocks[encoder].attn, int(mask.heads.sum())
        qkv, proj = attn.qkv.weight.detach().numpy(), attn.proj.weight.detach().numpy()
        for axis, small_matrix in zip(row, [*qkv.reshape(3, live * 8, 24), proj]):
            r, c = small_matrix.shape
            blocks = np.abs(small_matrix.reshape(r // 4, 4, c // 4, 4)).sum((1, 3)) > 0
            assert (shown(axis) == pictures.KEPT).sum() == blocks.sum()
            assert axis.get_xlabel() == f"{blocks.sum()} of 36 blocks"
        cells = shown(row[4]).ravel()
        np.testing.assert_array_equal(cells[:44], mask.neurons.detach().numpy())
        assert np.isnan(np.ma.filled(cells[44:], np.nan)).all()
        assert row[4].get_xlabel() == f"{small.config.encoders[encoder].neurons} of 44 neurons"
        assert row[0].get_ylabel() == f"encoder {encoder + 1}"


def test_mask_figure_turns_matrices_to_inputs_down_and_outputs_across():
    _, scores = random_scores(0, keep="0.03")  # one block of each matrix
    with torch.no_grad():
        scores.encoders[0].q[4, 1] = 50.0
        scores.encoders[0].proj[4, 1] = 60.0
    row = pictures.mask_figure(scores.masks(), 4).axes[:5]
    q, proj = (np.argwhere(shown(a) != pictures.PRUNED).tolist() for a in (row[0], row[3]))
    assert (q, proj) == ([[1, 4]], [[1, 4]])


def test_mask_figure_marks_dead_heads_and_what_goes_with_them():
    _, scores = random_scores(0)
    masks = scores.masks()
    assert [m.heads.tolist() for m in masks] == [[1, 1, 1], [1, 0, 1]]
    figure = pictures.mask_figure(masks, 4)
    row = figure.axes[5:10]
    for axis, side in zip(row, "xxxy"):
        labels = getattr(axis, f"get_{side}ticklabels")()
        assert [t.get_text() for t in labels] == ["1", "2", "3"]
        assert [t.get_weight() for t in labels] == ["normal", "bold", "normal"]
        cells = shown(axis)
        of_head = cells[:, 2:4] if side == "x" else cells[2:4]
        assert not (of_head == pictures.KEPT).any()
        assert (cells == pictures.DEAD).sum() == (of_head == pictures.DEAD).sum()
        assert (of_head == pictures.DEAD).any() == (axis is not row[2])
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["kept", "pruned", "gone with a dead head"]
    legend = pictures.mask_figure(masks[:1], 4).legends[0]
    assert [t.get_text() for t in legend.get_texts()] == ["kept", "pruned"]


def test_score_figure_has_a_dot_for_every_block_at_its_score():
    _, scores = random_scores(2, keep="0.3")
    masks = scores.masks()
    axes = pictures.score_figure(scores, masks).axes
    for axis, encoder, mask in zip(axes, scores.encoders, masks, strict=True):
        dots = Counter()
        for line in axis.lines:
            x, y = line.get_data()
            dots.update((round(a), float(b), line.get_label() == "pruned") for a, b in zip(x, y))
        elements = [*mask.qkv.detach().chunk(3), mask.proj.detach()]
        expected = Counter(
            (place, float(score), bool(elements[place][4 * i, 4 * j] == 0))
            for place, matrix in enumerate(encoder.matrices)
            for i, row in enumerate(matrix.detach().numpy())
            for j, score in enumerate(row)
        )
        assert dots == expected
        x = np.concatenate([line.get_xdata() for line in axis.lines])
        assert np.abs(x - np.round(x)).max() < 0.5


def test_score_figure_of_untrained_scores():
    _, scores = random_scores(0)
    with torch.no_grad():
        for p in scores.parameters():
            p.zero_()
    dots = [line for axis in pictures.score_figure(scores, scores.masks()).axes for line in axis.lines]
    assert sum(len(d.get_xdata()) for d in dots) == 2 * 4 * 36


def history(**columns) -> list[dict]:
    return [{"epoch": i, **dict(zip(columns, row))} for i, row in enumerate(zip(*columns.values()), start=1)]


def test_history_figure_shows_the_numbers_of_the_metrics():
    rates = {"block_keep": [0.8, 0.5, 0.5], "neuron_keep": [0.8, 0.5, 0.5], "token_keep": [1.0, 0.7, 0.7]}
    metrics = {
        "config": {"prune": {"drop_at": [1]}},
        "teacher_history": history(accuracy=[0.5, 0.9]),
        "student_history": history(accuracy=[0.6, 0.7, 0.8], **rates),
    }
    above, below = pictures.history_figure(metrics).axes
    lines = [*above.lines, *below.lines]
    found = {line.get_label(): np.column_stack(line.get_data()).tolist() for line in lines}
    assert found["teacher (dense, float)"] == [[1, 50], [2, 90]]
    assert found["student (pruned, quantised)"] == [[3, 60], [4, 70], [5, 80]]
    assert found["teacher after its last epoch"] == [[0, 90], [1, 90]]
    assert found["blocks and neurons"] == [[3, 80], [4, 50], [5, 50]]
    assert found["tokens at a drop"] == [[3, 100], [4, 70], [5, 70]]


def test_history_figure_leaves_out_what_the_run_does_not_have():
    student = history(accuracy=[0.6], block_keep=[0.5], neuron_keep=[0.4], token_keep=[0.7])
    config = {"prune": {"drop_at": []}}
    metrics = {"config": config, "teacher_history": [], "student_history": student}
    _, below = pictures.history_figure(metrics).axes
    assert [line.get_label() for line in below.lines] == ["blocks", "neurons"]
    (only,) = pictures.history_figure({"config": config, "teacher_history": history(accuracy=[0.5])}).axes
    assert [line.get_label() for line in only.lines] == ["teacher (dense, float)"]


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = pictures.history_figure({"config": {}, "teacher_history": history(accuracy=[0.5])})

    def full_disk(partial, **_):
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device", "a.png")

    monkeypatch.setattr(figure, "savefig", full_disk)
    with pytest.raises(OSError):
        figures.save(figure, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a finished run on digits."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(parse_config(TINY), folder, console=Console(quiet=True))
    return folder


def changed(finished, path, change) -> None:
    """The checkpoint of ``finished`` at ``path``, after ``change`` of its content."""
    content = checkpoint.load(finished / checkpoint.FILE)
    change(content)
    checkpoint.save(path, content)


def one_line(capsys, arguments) -> str:
    """TrainingRun a command that must fail with code 2 and exactly one line on standard error."""
    assert run([str(a) for a in arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize(
    "what, suffix",
    spread([("tokens", ".png"), ("masks", ".svg"), ("scores", ".pdf"), ("history", ".png"), ("tokens", ".SVG")], 5, several=True),
)
def test_the_command_writes_whole_pictures_the_same_each_time(finished, what, suffix, tmp_path, capsys):
    for name in ("a", "b"):
        path = tmp_path / "new" / f"{name}{suffix}"
        assert run(["picture", str(finished), "-o", str(path), "--what", what]) == 0
        assert capsys.readouterr().out == f"written: {path}\n"
    a, b = (p.read_bytes() for p in sorted(path.parent.iterdir()))
    assert a == b and a.startswith(SIGNATURES[suffix.lower()])
    assert not pyplot.get_fignums()


def test_a_folder_and_its_checkpoint_give_the_same_picture(finished, tmp_path):
    for source, name in ((finished, "a.png"), (finished / checkpoint.FILE, "b.png")):
        assert run(["picture", str(source), "-o", str(tmp_path / name), "--what", "masks"]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_images_and_seed_choose_what_is_shown(finished, tmp_path):
    def picture(*options) -> np.ndarray:
        path = tmp_path / "t.png"
        assert run(["picture", str(finished), "-o", str(path), "--what", "tokens", *options]) == 0
        return imread(path)

    eight, three, other = picture(), picture("--max-images", "3"), picture("--max-images", "3", "--seed", "1")
    assert eight.shape[0] > 2 * three.shape[0] and eight.shape[1] == three.shape[1]
    assert three.shape == other.shape and (three != other).any()


def test_the_history_needs_no_data(finished, tmp_path):
    path = tmp_path / "c.pt"
    changed(finished, path, lambda c: c["config"].update(data="npz:/nowhere.npz"))
    assert run(["picture", str(path), "-o", str(tmp_path / "h.png"), "--what", "history"]) == 0


@pytest.mark.parametrize(
    "output, options, message",
    [
        ("a.gif", ["--what", "masks"], "a.gif: unknown picture type '.gif': use .png, .svg, .pdf"),
        ("a", ["--what", "masks"], "a: unknown picture type '': use .png, .svg, .pdf"),
        ("f.png", ["--what", "masks"], "f.png: is a folder, a file is needed"),
        (
            "a.png",
            ["--what", "heads"],
            "'heads' is not one of 'tokens', 'masks', 'scores', 'history', 'memory', 'cycles', 'resources', 'fifos'",
        ),
        ("a.png", [], "Missing option '--what'"),
        ("a.png", ["--what", "tokens", "--max-images", "0"], "--max-images 0: the held-out part of digits has 360 images"),
        ("a.png", ["--what", "tokens", "--max-images", "361"], "361: the held-out part of digits has 360 images, use 1 to 360"),
        ("a.png", ["--what", "tokens", "--seed", "-1"], "--seed: use 0 or more"),
    ],
)
def test_wrong_options_are_one_line(finished, output, options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.png").mkdir()
    assert message in one_line(capsys, ["picture", finished, "-o", output, *options])
    assert [p.name for p in tmp_path.rglob("*")] == ["f.png"]


@pytest.mark.parametrize("what", ["tokens", "masks", "scores", "history"])
def test_an_unfinished_run(finished, what, tmp_path, capsys):
    output = tmp_path / "a.png"
    changed(finished, tmp_path / "c.pt", lambda c: c["progress"].update(teacher_epochs=1, student_epochs=0))
    err = one_line(capsys, ["picture", tmp_path / "c.pt", "-o", output, "--what", what])
    assert f"{tmp_path}/c.pt: training is not finished (1 teacher and 2 student epochs to go)" in err
    err = one_line(capsys, ["picture", finished / "teacher.pt", "-o", output, "--what", what])
    assert f"{finished}/teacher.pt: training is not finished (2 student epochs to go): use train" in err
    assert not output.exists()


def test_runs_that_have_nothing_of_the_kind(finished, tmp_path, capsys):
    path, output = tmp_path / "c.pt", tmp_path / "a.png"
    changed(finished, path, lambda c: c["config"]["prune"].update(drop_at=[]))
    err = one_line(capsys, ["picture", path, "-o", output, "--what", "tokens"])
    assert f"--what tokens: the model of {path} has no token drop" in err

    def teacher_only(content):
        content["config"]["student"]["epochs"] = content["progress"]["student_epochs"] = 0

    changed(finished, path, teacher_only)
    for what in ("tokens", "masks", "scores"):
        err = one_line(capsys, ["picture", path, "-o", output, "--what", what])
        assert f"--what {what}: {path} has no student (student.epochs = 0): use --what history" in err
    assert not output.exists()


def test_sources_that_are_no_run(tmp_path, capsys):
    arguments = ["-o", tmp_path / "a.png", "--what", "history"]
    assert f"no checkpoint at {tmp_path}/checkpoint.pt" in one_line(capsys, ["picture", tmp_path, *arguments])
    assert "no checkpoint at absent.pt" in one_line(capsys, ["picture", "absent.pt", *arguments])
    (tmp_path / "c.pt").write_text("hello")
    assert "c.pt is not a checkpoint" in one_line(capsys, ["picture", tmp_path / "c.pt", *arguments])
