"""Designs on a board: each network is another one, and the page says how far estimates are from what was routed."""

import pytest

from builds.experiments.board_designs import DESIGNS, LIMITS, DesignRow, made, study, tables
from finn_vitprune.synth.boards import board_named


def row(estimated: int, made_of: str = "") -> DesignRow:
    kinds, all_of, link = (dict.fromkeys(LIMITS, count) for count in (1000, 1500, 500))
    known = (kinds | {"COMB": estimated}, all_of, all_of | {"EBR": 501}, link | {"EBR": 501})
    return DesignRow(made_of, "ulx3s-85f", *known, 80.5, 66.7, 4000, 500_000, 200, 31.0)


def test_there_are_ten_designs_for_boards_that_are_known():
    assert len(DESIGNS) == 10 and sum(design.network is None for design in DESIGNS.values()) == 2
    assert len({repr(design) for design in DESIGNS.values()}) == 10
    for design in DESIGNS.values():
        board_named(design.board)


def test_errors_are_of_what_is_routed():
    routed, estimates, errors = tables({"a": row(1100), "b": row(800)})
    assert routed.rows[0] == ("a", "ulx3s-85f", "1,500", "1,500", "1,500", "501", "80.5", "4,000", "500,000", "200", "31")
    assert estimates.rows[1][:5] == ("b", "800", "1,500", "1,500", "500")
    assert errors.rows[0] == ("COMB", "15.0", "-20.0 (b)", "1 of 2 within 15 %", "0.0", "+0.0 (a)")
    assert errors.rows[2][3] == "2 of 2 within 0 %" and errors.rows[3][3] == "0 of 2 within 0 %", "no EBR beside the link's"


def test_a_page_without_rows_and_rows_of_other_settings(tmp_path):
    own = study(DESIGNS)
    assert "0 of 10 designs" in own.page({})
    own.write(tmp_path, {"digits": row(1000, "other"), "one encoder": row(1000, made(DESIGNS["one encoder"]))})
    assert list(own.known(tmp_path)) == ["one encoder"]


@pytest.mark.whole
def test_a_small_design_becomes_a_row(tmp_path):
    name = "one encoder, 4 bits"
    found = study(DESIGNS).go(tmp_path, [name])[name]
    assert found.values == 200 and found.mhz > 66
    assert found.estimated["MULT18"] == found.routed["MULT18"] and found.estimated["EBR"] == found.routed["EBR"] - found.link["EBR"]
