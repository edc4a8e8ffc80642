"""The notebooks run from top to bottom, print what they promise and show their pictures."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from finn_vitprune.sim.compile import OPTIMISE

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
PROMISES = {
    "1_from_training_to_rtl": ("RTL mismatches: 0", 2),
    "2_bring_your_own_vit": ("RTL mismatches: 0", 1),
    "3_what_training_learned": ("heads are live", 5),
    "4_deit_small_on_u250": ("multipliers busy", 3),
    "5_engines": ("has the shortest latency", 2),
}
"""Text that a notebook prints, and the number of its pictures."""


@pytest.mark.slow
@pytest.mark.parametrize("path", [
    pytest.param(p, id=p.stem, marks=[pytest.mark.whole] * (p.stem[0] in "235")) for p in NOTEBOOKS
])  # fmt: skip
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.delenv(OPTIMISE)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": tmp_path}}
    NotebookClient(notebook, timeout=1500, kernel_name="python3", resources=resources).execute()
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    text, pictures = PROMISES[path.stem]
    assert text in "".join(o.get("text", "") for o in outputs)
    assert sum("image/png" in o.get("data", {}) for o in outputs) == pictures
