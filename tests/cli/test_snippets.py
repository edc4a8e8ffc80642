"""The Python of the pages: type checkers accept it, and all of docs/api.md runs on small files of the names that it has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from tests.snippets import ROOT, Snippet, snippets

SNIPPETS = snippets()
WRONG = """
import finn_vitprune as fv

net = fv.load("a.onnx")
net.plan(part=5)
net.plan(part="U250", engine=1)
net.build(part="U250")
net.compress("digits", weight_bits=5)
net.build(part="U250", to="b", synth="all").predikt(None)
"""
"""A mistake a line, from the fifth on."""


def pyright(folder: Path) -> list[dict]:
    """What pyright says of the files in a folder."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout)["generalDiagnostics"]


def test_type_checkers_accept_the_snippets_and_find_mistakes(tmp_path):
    assert {"README.md", "api.md"} - {"README.md"} <= {s.page.name for s in SNIPPETS}
    for snippet in SNIPPETS:
        (tmp_path / f"{snippet.name}.py").write_text(snippet.code)
    (tmp_path / "wrong.py").write_text(WRONG)
    found = [(Path(d["file"]).stem, d["range"]["start"]["line"], d["message"]) for d in pyright(tmp_path) if d["severity"] == "error"]
    assert not [said for said in found if said[0] != "wrong"]
    assert {line for name, line, _ in found if name == "wrong"} == {4, 5, 6, 7, 8}


DROPS = "drop_at=(3, 7, 10)"
"""What the pages write for a network of 12 encoders."""


@pytest.fixture(scope="module", params=[3, pytest.param(12, marks=pytest.mark.whole)], ids="{} encoders".format)
def place(request, tmp_path_factory) -> Path:
    """A folder with the files that the page names: a network of small encoders, 60 pictures, the digits example."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    shape = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": request.param, "num_heads": 1, "num_classes": 10, "mlp_ratio": 2}
    torch.onnx.export(VisionTransformer(**shape).eval(), (torch.zeros(1, 3, 16, 16),), folder / "deit_tiny.onnx", dynamo=False)
    rng = np.random.default_rng(0)
    for split, each in (("train", 4), ("val", 2)):
        for name in range(10):
            (folder / "imagenette" / split / f"n{name}").mkdir(parents=True)
            for i in range(each):
                pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "imagenette" / split / f"n{name}" / f"{i}.png")
    np.save(folder / "photographs.npy", rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    shutil.copy(files("finn_vitprune.builds") / "example" / "deit_digits.onnx", folder / "pruned.onnx")
    (folder / "drops").write_text(DROPS if request.param >= 10 else "drop_at=(2,)")
    return folder


LONG = ("fv.explore(", "build/tiny")
"""What explores, what builds, and what reads that build."""


@pytest.mark.slow
@pytest.mark.xdist_group("snippets")
@pytest.mark.parametrize("snippet", [
    pytest.param(s, marks=[pytest.mark.whole] * any(long in s.code for long in LONG), id=s.name)
    for s in SNIPPETS if s.page.name == "api.md"
])  # fmt: skip
def test_the_page_runs_from_top_to_bottom(snippet: Snippet, place, monkeypatch, capsys):
    """In order: later snippets use what earlier ones wrote. A network of fewer encoders drops tokens in fewer of them."""
    monkeypatch.chdir(place)
    code = snippet.code.replace(DROPS, (place / "drops").read_text())
    exec(compile(code, f"{snippet.page}:{snippet.line}", "exec"), {"__name__": "__main__"})
    out = capsys.readouterr().out
    for comment in [line.partition("print(error)  # ")[2] for line in snippet.code.splitlines() if "print(error)  # " in line]:
        assert comment in out
