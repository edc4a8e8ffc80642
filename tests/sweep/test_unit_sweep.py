"""A few structures of the random sweep, and the sweep's own reach (all of it: ``make sweep``)."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.rtl_sources import RTL_DIR
from tests.rtl.benches.helper import build_node
from tests.sampling import sampled
from tests.sweep import structures
from tests.sweep.check import check


@pytest.mark.parametrize("unit", [structures.MATRIX, structures.TOKEN_DROP, structures.ATTENTION])
@pytest.mark.parametrize("seed", sampled([1, 2, 3], 1))
def test_random_structures_equal_their_golden_model(unit, seed):
    outcome = check(unit, seed, 6)
    assert not outcome.wrong, (outcome.text, outcome.wrong)


def test_the_sweep_reaches_every_choice():
    drawn = [structures.draw_matrix_attributes(np.random.default_rng([1000 + i, 1])) for i in range(30)]
    count = {name: Counter(a.get(name) for a in drawn) for name in drawn[0]}
    assert set(count["block"]) >= {8, 16, 32} and set(count["TOKENS"]) == {1, 2, 4, 8, 16}
    assert set(count["mac_style"]) == {"portable", "dsp48e2", "lut"}
    assert set(count["ram_style"]) == {"auto", "block", "distributed", "ultra"}
    assert {"INT16", "UINT8", "INT8"} <= set(count["inputDataType"]) and len(count["weightDataType"]) >= 5
    assert max(count["LANES"]) >= 7 and set(count["requant"]) == {0, 1}
    assert any(a["MW"] % a["block"] for a in drawn) and any(a["MH"] % a["block"] for a in drawn)


def test_the_sweep_reaches_every_memory_of_keys_and_values():
    """Every style, and every read latency but that of more than three rows of UltraRAMs."""
    drawn = [structures.draw_attention_attributes(np.random.default_rng([1000 + i, 3])) for i in range(30)]
    assert {a["ram_style"] for a in drawn} == {"auto", "block", "distributed", "ultra"}
    assert {build_node("PrunedAttention", a)[0].folding().kv_latency for a in drawn} == {2, 3, 4}
    assert {a["queries"] == 1 for a in drawn} == {a["scores"] for a in drawn} == {0, 1}


@pytest.mark.whole
def test_the_command_reports_every_structure():
    command = [sys.executable, "-m", "tests.sweep", "--structures", "2", "--runs", "1", "--unit", "token drop"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "2 structures, 2 runs, 0 mismatches (seed 1)"


def test_a_broken_unit_fails_the_sweep(monkeypatch, tmp_path):
    """A copy of the RTL whose drain forgets the empty columns' bias."""
    for path in RTL_DIR.rglob("*.sv"):
        (tmp_path / path.name).write_text(path.read_text())
    file = tmp_path / "vp_mvau_drain.sv"
    broken = file.read_text().replace("(first ? SUM_BITS'(bias) : sum_q)", "(first ? '0 : sum_q)")
    assert broken != file.read_text()
    file.write_text(broken)
    monkeypatch.setattr("finn_vitprune.custom_ops.op.rtl_sources.RTL_DIR", tmp_path)
    assert len(check(structures.MATRIX, 1, 3).wrong) == 3
