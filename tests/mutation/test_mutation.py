"""Faults are made at every site, and a few of the seeded sample are caught (all of it: ``make mutants``)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from finn_vitprune.custom_ops.op import rtl_sources
from tests.formal.proofs import BLOCKS, DROPS, LARGE
from tests.mutation import counts, mutants
from tests.mutation.__main__ import RESULTS, result_file
from tests.mutation.operators import OPERATORS, WRITTEN, faults, tokens, written
from tests.mutation.units import UNITS, token_drop

MODELS = {"vp_dsp48e2_model.sv", "vp_mac_model.sv"}
"""Files of simulations alone."""
PACKAGES = {"vp_pkg.sv"}
"""Files without code that runs."""
IN_WRAPPERS = {"vp_reset.sv"}
"""In generated wrappers, of which no mutants are made: its faults are beside its proof (tests/formal/proofs.py)."""
PAGE = Path(__file__).parents[2] / "docs" / "proof.md"

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
        ("stuck", 14, "valid", "1'b0"),
        ("stuck", 14, "valid", "1'b1"),
        ("stuck", 14, "last", "1'b0"),
        ("stuck", 14, "last", "1'b1"),
        ("sign", 14, "+", "-"),
        ("sign", 14, "$signed", "$unsigned"),
    }
    for f in faults(SOURCE):
        faulty = f.apply(SOURCE)
        assert faulty != SOURCE and len(faulty.splitlines()) == len(SOURCE.splitlines())


@pytest.mark.parametrize("name", UNITS)
def test_sample_takes_operators_in_turn(name):
    strata = mutants.mutants_of(UNITS[name])
    assert set(strata) <= set(OPERATORS) and sum(len(m) for m in strata.values()) > UNITS[name].sample
    unit = UNITS[name]
    once, again = (list(islice(mutants.sample(unit, strata, 1), 20)) for _ in range(2))
    assert once == again
    drawn = {operator: found for operator, found in strata.items() if operator != WRITTEN}
    first = list(islice(mutants.sample(replace(unit, also=()), drawn, 2), len(drawn)))
    assert [m.fault.operator for m in first] == list(drawn)
    every = list(mutants.sample(unit, strata, 1))
    assert len({m.id for m in every}) == len(every) == sum(len(m) for m in strata.values())
    sampled = every[: unit.sample]
    assert {m.file for m in sampled} >= set(unit.also) and set(strata.get(WRITTEN, ())) <= set(sampled)


ALWAYS = ("attention", "engine", "FIFO", "switch")
"""Units of which a mutant is judged without ``--whole``, too."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.whole] * (n not in ALWAYS)) for n, unit in UNITS.items() if not unit.encoders]
)
def test_a_mutant_is_caught(name):
    """The first of the stored sample that compiles and is not equivalent for a written reason."""
    drawn = mutants.sample(UNITS[name], mutants.mutants_of(UNITS[name]), 1)
    verdicts = (mutants.judge(m) for m in drawn if not mutants.reason(m))
    first = next(v for v in verdicts if v.outcome != "invalid")
    assert first.outcome == "caught", first


@pytest.mark.parametrize("name", UNITS)
def test_stored_sample_holds(name):
    """All of a unit's sample were judged on the code that is here, and none of them got through."""
    record = json.loads(result_file(RESULTS, name).read_text())
    outcomes = Counter(m["outcome"] for m in record["mutants"])
    assert record["complete"] and outcomes["caught"] + outcomes["equivalent"] == UNITS[name].sample
    assert set(outcomes) <= {"caught", "equivalent", "invalid"} and outcomes == record["outcomes"]
    digests = mutants.code_digests(UNITS[name])
    changed = [file for file, digest in digests.items() if record["code"].get(file) != digest]
    assert not changed, f"{', '.join(changed)}: other code than when mutants were judged: make mutants UNIT='{name}'"


def test_every_module_has_a_judged_mutant():
    """Of every RTL file with code that runs, some unit's stored sample has a mutant that compiles."""
    records = [json.loads(result_file(RESULTS, name).read_text()) for name in UNITS]
    judged = {m["id"].split("/")[1] for record in records for m in record["mutants"] if m["outcome"] != "invalid"}
    files = {path.name for path in rtl_sources.RTL_DIR.rglob("*.sv")} - MODELS - PACKAGES
    assert judged <= files and files - judged <= IN_WRAPPERS


def test_a_fault_by_hand_is_at_one_place():
    assert written(SOURCE, "N - 1", "N").apply(SOURCE).count("N - 1") == 0
    for text in ("no such text", "sum_q"):
        with pytest.raises(ValueError, match="appears"):
            written(SOURCE, text, "")


def test_the_page_says_what_is_stored():
    """``docs/proof.md`` has the numbers of the samples, of the checks and of the proofs' faults."""
    page = PAGE.read_text()
    rows = {cells[1]: cells for line in page.splitlines() if len(cells := [c.strip() for c in line.split("|")]) == 8}
    total = counts.Counts()
    for name in UNITS:
        held = counts.stored(name)
        assert held.row(name) in page, f"docs/proof.md: the row of {name} must read {held.row(name)}"
        total += held
    assert total.row("all") in page and len(rows) == len(UNITS) + 3, total.row("all")
    different = counts.different_over_engines()
    assert different >= 120 and f"counts {different} different faults" in page, different
    checks, faulty = sum(len(u.checks) for u in UNITS.values()), sum(len(p.faults) for p in (*BLOCKS, *DROPS, *LARGE))
    assert f"{checks} small ops and designs" in page and f"{faulty} faults accompany the proofs" in page, (checks, faulty)


@pytest.mark.parametrize("file, source, over", [
    ("vp_engine_entry.sv", "size_q <= entered_q;", True), ("vp_mvau_load.sv", "if (take && shape.one_row) x <= y;", True),
    ("vp_mvau_program.sv", "assign start_ready = SEVERAL && en;", True), ("vp_mvau_load.sv", "word_q <= '0;", False),
    ("vp_token_drop.sv", "if (known && can_take) x <= y;", False),
])  # fmt: skip
def test_what_engines_brought_is_told_from_the_rest(file, source, over):
    assert mutants.over_engines(file, source) == over


def test_comments_and_white_space_do_not_outdate_a_sample():
    same = SOURCE.replace("endmodule", "// The end.\n\nendmodule").replace("rst_n, valid", "rst_n,   valid")
    assert tokens(same) == tokens(SOURCE) != tokens(SOURCE.replace("sum_q + $signed", "sum_q - $signed"))


def test_unit_that_is_broken_already_judges_nothing(tmp_path, monkeypatch):
    """A check that the RTL as it is does not pass says nothing of a mutant."""
    for source in rtl_sources.RTL_DIR.rglob("*.sv"):
        shutil.copy(source, tmp_path)
    path = tmp_path / "vp_token_drop.sv"
    path.write_text(path.read_text().replace("<= take && !keep;", "<= take && keep;"))
    monkeypatch.setattr(rtl_sources, "RTL_DIR", tmp_path)
    with pytest.raises(AssertionError, match="differ"):
        _ = token_drop._drop("half kept", (17, 48, 4, 8, 2, "insert")).sound_code
