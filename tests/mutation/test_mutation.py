"""Faults are made at every site, and a few of the seeded sample are caught (all of it: ``make mutants``)."""

from __future__ import annotations

import json
import shutil
import warnings
from itertools import islice
from pathlib import Path

import pytest

from finn_vitprune.custom_ops import rtl_sources
from tests.mutation import mutants
from tests.mutation.cases import UNITS
from tests.mutation.operators import OPERATORS, faults

SOURCE = """
module m #(parameter int N = 4, localparam bit WIDE = N > 2) (
    input logic clk, rst_n, valid, input logic [3:0] a);
    if (N < 1) begin : g_check
        $error("N < 1");
    end
    logic signed [4:0] sum_q;
    wire logic last = a == 4'(N - 1);
    for (genvar i = 0; i < N; i++) begin : g_bit
        wire logic bit_i = a[i];
    end
    always_ff @(posedge clk) begin
        if (!rst_n) sum_q <= '0;
        else if (valid) sum_q <= last ? sum_q + $signed(a) : WIDE ? 5'sd1 : '0;
    end
endmodule
"""


def test_operators_fit_every_site_and_no_other():
    found = {(f.operator, f.line, f.before, f.after) for f in faults(SOURCE)}
    assert found == {
        ("sign", 7, "signed", ""),
        ("compare", 8, "4'(N - 1)", "((4'(N - 1)) + 1'b1)"),
        ("compare", 8, "4'(N - 1)", "((4'(N - 1)) - 1'b1)"),
        ("index", 10, "i", "(i) + 1"),
        ("reset", 13, "sum_q <= '0;", ";"),
        ("handshake", 14, "valid", "(~valid)"),
        ("stuck", 14, "valid", "1'b0"), ("stuck", 14, "valid", "1'b1"),
        ("stuck", 14, "last", "1'b0"), ("stuck", 14, "last", "1'b1"),
        ("sign", 14, "+", "-"), ("sign", 14, "$signed", "$unsigned"),
    }
    for f in faults(SOURCE):
        faulty = f.apply(SOURCE)
        assert faulty != SOURCE and len(faulty.splitlines()) == len(SOURCE.splitlines())


def test_all_operators_apply_to_both_units():
    strata = mutants.all_mutants()
    assert {operator for operator, _ in strata} == set(OPERATORS) and len(strata) == 12
    once, again = (list(islice(mutants.sample(strata, 1), 40)) for _ in range(2))
    assert once == again
    first = list(islice(mutants.sample(strata, 2), 12))
    assert {(m.fault.operator, m.unit) for m in first} == set(strata)


@pytest.mark.slow
def test_six_mutants_are_caught():
    """The first of the stored sample that are not equivalent for a written reason."""
    open_ones = (m for m in mutants.sample(mutants.all_mutants(), 1) if not mutants.reason(m))
    verdicts = {m.id: mutants.judge(m) for m in islice(open_ones, 6)}
    assert {v.outcome for v in verdicts.values()} <= {"caught", "invalid"}, verdicts
    assert sum(v.outcome == "caught" for v in verdicts.values()) >= 4, verdicts


def test_stored_sample_holds():
    """At least 100 mutants of the two units compiled, and none of them got through."""
    record = json.loads((Path(__file__).parent / "result.json").read_text())
    counts = record["outcomes"]
    assert record["complete"] and counts["caught"] + counts.get("equivalent", 0) >= 100
    assert "survived" not in counts
    assert {m["unit"] for m in record["mutants"]} == {"matrix", "token drop"}
    if record["rtl"] != {unit.name: mutants.rtl_digest(unit) for unit in UNITS}:
        warnings.warn("tests/mutation/result.json is of other RTL than this: run make mutants", RuntimeWarning)


def test_unit_that_is_broken_already_judges_nothing(tmp_path, monkeypatch):
    """A check that the RTL as it is does not pass says nothing of a mutant."""
    for source in rtl_sources.RTL_DIR.rglob("*.sv"):
        shutil.copy(source, tmp_path)
    path = tmp_path / "vp_token_drop.sv"
    path.write_text(path.read_text().replace("<= take && !keep;", "<= take && keep;"))
    monkeypatch.setattr(rtl_sources, "RTL_DIR", tmp_path)
    from tests.mutation import cases

    with pytest.raises(AssertionError, match="differ"):
        cases._drop("half kept", (17, 48, 4, 8, 2, "insert")).sound_code
