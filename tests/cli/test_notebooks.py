"""The notebooks run from top to bottom, without warnings, and what is stored in them is what their code gives, without machine paths.

Figures may differ by 1 %: PyTorch trains and calibrates a little differently on other processors.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import zip_longest

import pytest
from nbformat import NotebookNode, validate

import finn_vitprune
from finn_vitprune.sim.compile import OPTIMISE
from tests.run_notebooks import FOLDER, OWN, PATHS, code_cells, digest, execute, read, tidied

PROMISES = {
    "0_ten_lines": ("bits       equal", 1),
    "1_from_training_to_rtl": ("RTL mismatches: 0", 3),
    "2_bring_your_own_vit": ("RTL mismatches: 0", 1),
    "3_what_training_learned": ("heads are live", 6),
    "4_deit_small_on_u250": ("multipliers busy", 3),
    "5_engines": ("has the shortest latency", 2),
    "6_finn_step_configs": ("the RTL equals the golden model: True", 0),
    "7_exploring_designs": ("0 values differ", 1),
    "8_open_fpga": ("0 differ from the integers of the network", 2),
}
"""Text that a notebook prints, and the number of its pictures."""
LONG = "0123567"
"""First digits of those that run with --whole alone."""
PUBLIC_MODULES = {"finn_vitprune", "finn_vitprune.plugin"}
"""What a notebook imports of this package: docs/api.md, docs/finn.md."""
WARNING = re.compile(r"Warning\b|\bWARN")
MACHINE_PATH = re.compile(r"(?<![\w:./<>-])[/~]/?\w[\w.-]*/[\w.-]|[A-Z]:\\")
"""An absolute path, or one from a home."""
IDENTITY = re.compile(r" at 0x[0-9a-f]+")

FIGURE = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*[A-Za-z_])")
"""A number that is not part of a name."""
OF_ONE_HUNDRED = re.compile(r"\s?%")

every = pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PATHS])


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    """All outputs, in order."""
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def texts(notebook: NotebookNode) -> str:
    """All text in the outputs, pictures left out."""
    shown = [text for o in outputs(notebook) for kind, text in sorted(o.get("data", {}).items()) if kind.startswith("text/")]
    return "\n".join([o.get("text", "") for o in outputs(notebook)] + shown)


def check_outputs(notebook: NotebookNode, name: str) -> None:
    """Nothing on standard error, no warning, no path of a machine; what it promises, and its pictures."""
    text, pictures = PROMISES[name]
    found = texts(notebook)
    assert [o.text for o in outputs(notebook) if o.get("name") == "stderr"] == []
    assert not any(o.output_type == "error" for o in outputs(notebook))
    for wrong in (WARNING, MACHINE_PATH, IDENTITY):
        assert wrong.search(found) is None, found[max(0, wrong.search(found).start() - 80) :][:160]
    assert text in found
    assert sum("image/png" in o.get("data", {}) for o in outputs(notebook)) == pictures


def moved(stored: str, found: str) -> Iterator[str]:
    """Where two texts differ by more than figures by 1 %, percentages by one point."""
    for was, now in zip_longest(stored.splitlines(), found.splitlines(), fillvalue="(no line)"):
        if not _alike(" ".join(was.split()), " ".join(now.split())):
            yield f"stored: {was}\nfound:  {now}"


def _alike(was: str, now: str) -> bool:
    if FIGURE.sub("#", was) != FIGURE.sub("#", now):
        return False
    return all(
        abs(a - b) <= (1.001 if OF_ONE_HUNDRED.match(was, end) else 0.01 * max(abs(a), abs(b)))
        for (a, end), (b, _) in zip(_figures(was), _figures(now), strict=True)
    )


def _figures(text: str) -> list[tuple[float, int]]:
    """The numbers of a text, with where they end."""
    return [(float(found[0].replace(",", "")), found.end()) for found in FIGURE.finditer(text)]


@every
def test_what_is_stored_is_what_its_code_gave(path):
    notebook = read(path)
    validate(notebook)
    assert notebook.metadata[OWN].executed == digest(notebook), f"{path.name} was changed after it was executed: make notebooks"
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert tidied(read(path)) == notebook
    check_outputs(notebook, path.stem)


@pytest.mark.slow
@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.stem, marks=[pytest.mark.whole] * (path.stem[0] in LONG)) for path in PATHS
])  # fmt: skip
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.delenv(OPTIMISE)
    found = execute(path, tmp_path)
    check_outputs(found, path.stem)
    stored = read(path)
    assert [len(cell.outputs) for cell in code_cells(found)] == [len(cell.outputs) for cell in code_cells(stored)]
    assert not list(moved(texts(stored), texts(found))), (
        f"the code gives other results than are stored: make notebooks NAMES={path.name[0]}"
    )
    assert list(tmp_path.iterdir()) == []  # it leaves nothing where it was started


@every
def test_notebooks_use_the_public_interface(path):
    for cell in code_cells(read(path)):
        code = "\n".join(line for line in cell.source.split("\n") if not line.startswith("%"))
        for node in ast.walk(ast.parse(code)):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            own = {m for m in modules if m.split(".")[0] == "finn_vitprune"}
            assert own <= PUBLIC_MODULES, own
            if own and isinstance(node, ast.ImportFrom):
                assert {alias.name for alias in node.names} <= set(finn_vitprune.__all__)


def test_every_notebook_is_in_the_list():
    listed = re.findall(r"^\| \[(\d)\]\((\S+\.ipynb)\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert listed == [(str(i), path.name) for i, path in enumerate(PATHS)]
    assert list(PROMISES) == [path.stem for path in PATHS]


@pytest.mark.parametrize("text, machine", [
    ("written to /tmp/x/y.onnx", True), ("~/models/x", True), ("'/home/me/model.onnx'", True), ("C:\\models", True),
    ("227,000 images/s, 1/2, W8/A8, r_b/r_t", False), ("docs/api.md and ../docs/api.md", False), ("https://github.com/a/b", False),
    ("</td>/<td>", False),
])  # fmt: skip
def test_machine_paths_are_told(text, machine):
    assert bool(MACHINE_PATH.search(text)) == machine


@pytest.mark.parametrize("found, same", [
    ("rate 85,568 images/s, 96.9 %", True), ("rate 85,000 images/s, 96.1 %", True), ("rate 84,000 images/s, 96.9 %", False),
    ("rate 85,568 images/s, 95.8 %", False), ("rate 85,568 frames/s, 96.9 %", False), ("", False),
    ("rate 85,568 images/s, 96.9 %\nmore", False),
])  # fmt: skip
def test_results_that_moved_are_told(found, same):
    assert (not list(moved("rate 85,568 images/s, 96.9 %", found))) == same
