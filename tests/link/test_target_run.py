"""``run``: the same logits on every target, what it prints and writes, and what it leaves alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from finn_vitprune import Accelerator
from finn_vitprune.cli import run
from tests.link.board import SimulatedBoard, compiled, tiny
from tests.link.test_driver import BAUD, pseudo_terminal

COUNT = 12


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def right(network):
    with Accelerator("integers", network.folder) as driver:
        return driver.predict(network.images[:COUNT])


@pytest.fixture
def labelled(network, right, tmp_path, monkeypatch):
    """Images of which a quarter has another label than the class that the network gives, in a folder of their own."""
    labels = right.argmax(1)
    labels[:3] = (labels[:3] + 1) % 10
    np.savez(tmp_path / "images.npz", images=network.images[:COUNT], labels=labels)
    monkeypatch.chdir(tmp_path)
    return labels


def test_every_target_prints_and_writes_the_same(network, right, labelled, tmp_path, capsys):
    words = ["run", str(network.folder), "--images", "images.npz"]
    for target in ("integers", "rtl"):
        assert run([*words, "--target", target, "-o", f"{target}.npz"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"build on {target}") and "accuracy    75.0 %" in out and "all 12 images, of images.npz" in out
        assert " ".join(map(str, right.argmax(1))) in out and "!" not in out
        with np.load(f"{target}.npz") as found:
            assert found["logits"].dtype == np.int32 and (found["logits"] == right).all() and (found["labels"] == labelled).all()
            assert (found["classes"] == right.argmax(1)).all() and (found["index"] == np.arange(COUNT)).all()
    line = SimulatedBoard(compiled(network.design), network.design)
    with pseudo_terminal(line) as name:
        assert run([*words, "--target", f"serial:{name}", "--baud", str(BAUD), "-o", "serial.npy", "--max-images", "5", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    index = np.flatnonzero((right[:, None] == np.load("serial.npy")).all(-1).any(1))
    assert len(index) == 5 and said["classes"] == right[index].argmax(1).tolist() and said["design"] == network.design.number
    assert said["accuracy"] == (right[index].argmax(1) == labelled[index]).mean() and (said["images"], said["resent"]) == (5, 0)


def test_without_labels_there_is_no_accuracy(network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=network.images[:2])
    assert run(["run", str(network.folder.parent / "model.onnx"), "--target", "integers", "--images", "images.npz"]) == 0
    assert "accuracy" not in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["images.npz"]


def test_logits_are_written_anew_and_nothing_else(network, labelled, tmp_path, capsys):
    words = ["run", str(network.folder), "--images", "images.npz", "--target", "integers", "-o"]
    assert run([*words, "logits.npz"]) == run([*words, "logits.npz"]) == run([*words, "logits.npy"]) == run([*words, "logits.npy"]) == 0
    np.save("mine.npy", np.zeros((2, 3)))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    for name in ("images.npz", "mine.npy"):
        assert run([*words, name]) == 2
        assert f"-o {name} is there already and holds no logits of `run`: give another name" in capsys.readouterr().err
    assert run([*words[:-1], "-o", "new.npz", "--contents", "images.npz"]) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_board_that_is_not_there_leaves_nothing(network, labelled, tmp_path, capsys):
    line = ["run", str(network.folder), "--images", "images.npz", "--target", "serial:/dev/ttyNONE", "-o", "logits.npz"]
    assert run(line) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "cannot open /dev/ttyNONE at 3000000 baud" in said and [path.name for path in tmp_path.iterdir()] == ["images.npz"]
