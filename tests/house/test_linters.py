"""One fault of each kind fails a program of ``make lint``; the same file without it passes.

Faults of RTL (a latch, a second driver, a width) are in ``tests/rtl``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.type_errors import compared, home

ROOT = Path(__file__).parents[2]
GOOD = '"""A module."""\n\nSIDES: int = 4\n'
FAULTS = {
    "ruff check": ('"""A module."""\n\nimport os\n\nSIDES: int = 4\n', "F401"),
    "ruff check, imports as the architecture has them": (GOOD.replace("SIDES", "from finn_vitprune.cli import main\n\nSIDES", 1), "TID251"),
    "ruff check, complexity": (GOOD + "\n\ndef f(x: int) -> int:\n" + "".join(f"    if x == {i}:\n        return {i}\n" for i in range(15)), "C901"),
    "ruff format": ('"""A module."""\n\nSIDES: int = (\n  4)\n', "Would reformat|would be reformatted"),
    "mypy": (GOOD.replace("4", '"four"'), r"\[assignment\]"),
    "vulture": (GOOD + "\n\ndef f() -> int:\n    return SIDES\n    print(SIDES)\n", "unreachable code"),
}  # fmt: skip


def _run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    arguments = {
        "ruff check": ("ruff", "check", "--config", "pyproject.toml", "--stdin-filename", "finn_vitprune/sides.py", "-"),
        "ruff format": ("ruff", "format", "--check", "--config", "pyproject.toml", str(path)),
        "mypy": ("mypy", "--config-file", "pyproject.toml", str(path)),
        "vulture": ("vulture", "--config", "pyproject.toml", str(path)),
    }[program.partition(",")[0]]
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, input=path.read_text(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_each_kind_fails_its_program(fault, tmp_path):
    path = tmp_path / "sides.py"
    faulty, said = FAULTS[fault]
    path.write_text(GOOD)
    assert _run(fault, path).returncode == 0
    path.write_text(faulty)
    done = _run(fault, path)
    assert done.returncode and re.search(said, done.stdout + done.stderr)


def test_a_type_error_of_a_package_without_any_fails_the_count():
    error = "transforms/sides.py:3: error: Incompatible types in assignment  [assignment]"
    assert home(error, ()) == "transforms.sides"
    assert compared([error], {}) == [error, "transforms.sides: 1 errors, 0 are known"]


def test_ci_runs_each_program():
    lint = re.search(r"^lint: setup\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    for program in ("ruff check", "ruff format --check", "tests.type_errors", "vulture"):
        assert program in lint
    assert re.search(r"^make lint$", (ROOT / ".ci" / "run").read_text(), re.M)
