"""Units mapped to an ECP5: the committed prices are those that fit the committed rows, and hold the errors that the issue of them asks."""

import json
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from builds.experiments import ecp5_units as experiment
from builds.experiments.ecp5_units import FEW, OUTPUT, PRICES, MappedUnit
from finn_vitprune.bench.units import build_node

ROWS = TypeAdapter(dict[str, MappedUnit]).validate_json((OUTPUT / "results.json").read_bytes())
SMALL_CELLS = 25
"""An error that is no more than these cells is small, whatever share it is."""


def test_the_prices_are_those_that_fit_the_rows():
    found, kept = experiment.fit(ROWS), json.loads(PRICES.read_text())
    assert found.keys() == kept.keys()
    for kind, parts in kept.items():
        assert found[kind].keys() == parts.keys()
        for part, prices in parts.items():
            assert found[kind][part] == pytest.approx(prices, abs=0.01), (kind, part)


def test_multipliers_and_block_rams_are_exact():
    assert len(ROWS) > 100 and all((row.MULT18, row.EBR) == (row.mult18_said, row.ebr_said) for row in ROWS.values())


@pytest.mark.parametrize(
    "place, kind, share, beyond",
    [
        (0, "COMB", 0.15, set()),
        (1, "FF", 0.1, {"digits, loadable: VitTokenEmbed_rtl_0"}),  # 51 of 370: Yosys holds a write of its RAM for a cycle
    ],
)
def test_nearly_all_units_are_within_the_error(place, kind, share, beyond):
    far = {
        name for name, row in ROWS.items()
        if (off := abs(experiment.said(row)[place] - (true := getattr(row, kind)))) > SMALL_CELLS and off > share * true
    }  # fmt: skip
    assert far == beyond
    assert sum(getattr(row, kind) for row in ROWS.values()) == pytest.approx(
        sum(experiment.said(row)[place] for row in ROWS.values()), rel=0.05
    )


def test_rows_have_the_parts_that_their_units_have_now():
    small = experiment.small()
    for name in ("fifo 64 32 block", "matrix lut (2, 4, 4, 1)", "norm (17, 48, 4, 3)", "attention 4 4 50 3 16 8 block", "split 4"):
        op, _ = experiment.op_of(small[name])
        row = ROWS[name]
        now = experiment.row_of(op, {kind: getattr(row, kind) for kind in ("COMB", "FF", "MULT18", "EBR")})
        assert replace(now, rtl=row.rtl) == row, name


def test_a_unit_is_mapped_and_the_page_has_its_error(tmp_path):
    unit = experiment.small()["fifo 64 32 distributed"]
    row = experiment.mapped(unit)
    assert replace(row, rtl=ROWS["fifo 64 32 distributed"].rtl) == ROWS["fifo 64 32 distributed"]
    errors, units = experiment.tables({"a FIFO": row})
    assert units.rows[0][0] == "a FIFO" and row.COMB >= FEW and errors.rows[0][0] == "COMB"
    assert build_node(*unit)[0].made_of().kind == "fifo"
