"""Designs on a board: each network is another one, and the page says how far estimates are from what was routed."""

import pytest

from builds.experiments.board_designs import DESIGNS, LIMITS, DesignRow, study, tables
from builds.experiments.study import rtl_digest
from finn_vitprune.synth.boards import board_named


def row(estimated: int, rtl: str = "") -> DesignRow:
    kinds, all_of, link = (dict.fromkeys(LIMITS, count) for count in (1000, 1500, 500))
    known = (kinds | {"COMB": estimated}, all_of, all_of, link)
    return DesignRow(rtl or rtl_digest(), "ulx3s-85f", *known, 80.5, 66.7, 4000, 500_000, 20, 200, 0, 31.0)


def test_there_are_ten_designs_for_boards_that_are_known():
    assert len(DESIGNS) == 10 and sum(design.network is None for design in DESIGNS.values()) == 2
    assert len({repr(design) for design in DESIGNS.values()}) == 10
    for design in DESIGNS.values():
        board_named(design.board)


def test_errors_are_of_what_is_routed():
    routed, estimates, errors = tables({"a": row(1100), "b": row(800)})
    assert routed.rows[0] == ("a", "ulx3s-85f", "1,500", "1,500", "1,500", "1,500", "80.5", "4,000", "500,000", "0 of 200", "31")
    assert estimates.rows[1][:5] == ("b", "800", "1,500", "1,500", "500")
    assert errors.rows[0] == ("COMB", "15.0", "-20.0 (b)", "1 of 2 within 15 %", "0.0", "+0.0 (a)")
    assert errors.rows[2][3] == "2 of 2 within 0 %"


def test_a_page_without_rows_and_rows_of_other_rtl(tmp_path):
    made = study(DESIGNS)
    assert "Ten designs" in made.page({})
    made.write(tmp_path, {"digits": row(1000, rtl="other"), "one encoder": row(1000)})
    assert list(made.known(tmp_path)) == ["one encoder"]


@pytest.mark.whole
def test_a_small_design_becomes_a_row(tmp_path):
    name = "one encoder, 4 bits"
    found = study(DESIGNS).go(tmp_path, [name])[name]
    assert (found.images, found.values, found.mismatches) == (20, 200, 0) and found.mhz > 66
    assert found.estimated["MULT18"] == found.routed["MULT18"] and found.estimated["EBR"] == found.routed["EBR"] - found.link["EBR"]
