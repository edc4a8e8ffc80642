"""What newcomers type: what is wrong is one line with what would work, at once and without a trace; what is right is done."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from finn_vitprune.cli import run
from tests.cli.uses import USES, Use, When, left, make_files
from tests.house.test_layers import ROOT

HEAVY = ("torch", "finn", "qonnx", "onnx", "onnxruntime", "timm", "sklearn", "matplotlib")
"""Packages whose import takes long, all of them seconds of processor time."""
NEVER_EARLY = tuple(name for name in HEAVY if name not in ("finn", "qonnx", "onnx"))
"""Of them, what no refusal imports; three bring FINN's list of parts."""
SECONDS = 5.0
"""Of processor time, in which a wrong option is refused: .7 on a fast machine, of which FINN's list of parts takes most."""
RUN_EARLY = """
import contextlib, io, json, os, shlex, sys, time
from finn_vitprune.cli import run
found = []
for line in json.load(open(sys.argv[1])):
    err, started = io.StringIO(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = run(shlex.split(line))
    found.append([code, err.getvalue(), [name for name in sys.argv[2:] if name in sys.modules], time.process_time() - started])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uses")
    make_files(folder)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "cache"))


def one_line(use: Use, err: str) -> None:
    """That the text of an error is one line with what it should say."""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and use.text in lines[0], err


EARLY = [use for use in USES if use.when is When.EARLY]


def test_options_are_refused_at_once(place, tmp_path):
    """Before anything heavy is imported: all of them in one process, which has none of it at the end."""
    (tmp_path / "lines.json").write_text(json.dumps([use.line for use in EARLY]))
    before = list(left(place))
    command = [sys.executable, "-c", RUN_EARLY, str(tmp_path / "lines.json"), *NEVER_EARLY]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    wrong = []
    for use, (code, err, heavy, seconds) in zip(EARLY, json.loads(done.stdout.splitlines()[-1]), strict=True):
        lines = err.splitlines()
        if code != use.code or len(lines) != 1 or use.text not in lines[0] or heavy or seconds > SECONDS:
            wrong.append((use.line, code, err, heavy, seconds))
    assert not wrong, "\n".join(map(str, wrong))
    assert list(left(place)) == before


@pytest.mark.slow
@pytest.mark.parametrize("use", [
    pytest.param(use, id=use.line.replace(str(ROOT), ""), marks=[pytest.mark.whole] * use.whole) for use in USES if use.when is not When.EARLY
])  # fmt: skip
def test_a_use(use: Use, place, monkeypatch, capfd):
    monkeypatch.chdir(place)
    before = list(left(place))
    code = run(shlex.split(use.line))
    out, err = capfd.readouterr()
    assert code == use.code, err
    if use.text:
        one_line(use, err)
    if code == 2:
        assert list(left(place)) == before
    elif not use.text:
        assert out and "Traceback" not in err


def test_the_table_has_each_use_once():
    lines = [use.line for use in USES]
    assert len(set(lines)) == len(lines) and sum(use.accepted for use in USES) >= 7


@pytest.mark.parametrize(
    "line", ["--help", "build --help", "doctor", f"report {ROOT / 'builds/results/deit/deit_small_w8a8_summary.json'}"]
)
def test_a_cold_start_loads_nothing_heavy(line, tmp_path):
    code = f"import sys; from finn_vitprune.cli import run; run({shlex.split(line)!r}); print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
