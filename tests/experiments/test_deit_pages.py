"""Pages of plans: what is known is shown, beside the reference's figures."""

import json

import pytest

from builds.experiments.deit_pages import (
    ENGINES_FOLDER,
    FAST,
    PARTS,
    REFERENCE_PIPELINES,
    REFERENCES,
    SIDE_BY_SIDE,
    SIMULATED,
    SMALL_PARTS,
    fast_table,
    parts_table,
    reference_table,
    references,
    side_by_side,
    simulated,
    slr_table,
    small_parts,
)  # fmt: skip
from builds.experiments.deit_plans import PlanRow
from finn_vitprune.report.summary import Summary

SHARES = {"LUT": 0.5, "DSP": 0.25, "BRAM": 0.125, "URAM": 0.0}
CPU = {"model": "deit", "cpu": "Some CPU", "threads": 2, "onnxruntime": "1.25", "runs": 50, "median_ms": 100.0, "minimum_ms": 80.0}


def row(setting, interval=60_000, latency=90_000, fits=True, **more) -> PlanRow:
    """A plan with made-up figures."""
    return PlanRow(
        setting.network.bits, setting.engines, setting.frames_in_flight, setting.goal, fits, interval, latency, SHARES, 1.5, **more
    )


def named(table, name):
    """The cells of a row by the heads of their columns."""
    return next(dict(zip(table.columns, cells, strict=True)) for cells in table.rows if name in cells)


# --- engines ------------------------------------------------------------------------------------


def test_rates_and_times_are_those_of_300_mhz():
    found = side_by_side({setting.name: row(setting) for setting in SIDE_BY_SIDE[1:3]})
    assert found.rows[0] == (
        "8/8", "2", "1", "latency", "60,000", "90,000", "5,000", "0.300", "4,752", "0.438", "none", "50.0", "25.0", "12.5", "0.0", "yes", "1.5",
    )  # fmt: skip
    assert len(found.rows) == 2


def test_the_reference_stands_beside():
    """16, 0.5, 0.5 of the reference: 0.868 ms, 1,151.6 images/s."""
    setting = next(s for s in REFERENCES if (s.network.block, s.network.block_keep, s.network.token_keep) == (16, "0.5", "0.5"))
    cells = named(references({setting.name: row(setting)}), "16, 0.5, 0.5")
    assert (cells["ms"], cells["ms (ref.)"], cells["times faster"]) == ("0.300", "0.868", "2.9")
    assert (cells["images/s"], cells["images/s (ref.)"]) == ("5,000", "1,151.6")


def test_what_does_not_fit_has_no_rate_and_says_what_would_help():
    setting = SMALL_PARTS[0]
    cells, *_ = small_parts({setting.name: row(setting, fits=False, help="with 0.5 of the kept blocks it fits")}).rows
    assert cells[:6] == ("DeiT-Tiny", "8/8", "ZCU104", "no", "", "")
    assert cells[6:9] == ("1,195", "1.086", "") and cells[-1] == "with 0.5 of the kept blocks it fits"


@pytest.mark.parametrize("name", SIMULATED)
def test_what_was_simulated_is_right_in_every_bit_and_as_planned(name):
    s = Summary.load(ENGINES_FOLDER / f"{name}_summary.json")
    assert s.verify.rtl_mismatches == s.verify.left_out_streams == 0
    assert s.verify.images >= 12 and s.verify.traced_images >= 4 and s.verify.stalled_images >= 4
    assert s.rtlsim.interval_cycles == pytest.approx(s.plan.interval_cycles, rel=0.02)
    assert s.rtlsim.latency_cycles == pytest.approx(s.plan.latency_cycles, rel=0.02)


def test_builds_that_were_simulated_have_a_row(tmp_path):
    assert not simulated(tmp_path).rows
    assert [(cells[0], cells[1], cells[2], cells[3]) for cells in simulated(ENGINES_FOLDER).rows] == [
        (s.network.title, f"{s.network.bits}/{s.network.bits}", s.part, str(s.frames_in_flight)) for s in SIMULATED.values()
    ]
    shared = [cells[4] for cells in simulated(ENGINES_FOLDER).rows if cells[2] == "U250"]
    assert shared[:4] == ["all, and the patch embedding", "MLP 2 and the patch embedding", "none", "none"]


# --- hardware for every encoder ------------------------------------------------------------------


def test_slrs_are_shown_one_by_one():
    rows = {FAST[0].name: row(FAST[0], slrs=(SHARES, SHARES | {"LUT": 0.68})), FAST[1].name: row(FAST[1])}
    assert [cells[1:3] for cells in slr_table(rows).rows] == [("SLR0", "50.0"), ("SLR1", "68.0"), ("whole part", "50.0")]
    assert fast_table(rows).rows[0][1:5] == ("yes", "60,000", "5,000", "0.30") and fast_table(rows).rows[0][-1] == "90 s"


def test_the_reference_table_compares_rates_and_counts_the_rows_that_are_fast_enough(monkeypatch, tmp_path):
    (tmp_path / "cpu.json").write_text(json.dumps(CPU))
    monkeypatch.setattr("builds.experiments.deit_pages.CPU", tmp_path / "cpu.json")
    settings = list(REFERENCE_PIPELINES)
    table = reference_table({s.name: row(s, 80_000, 900_000, heads=70, heads_dense=72) for s in settings[:-1]})
    cells = named(table, "16, 0.5, 0.5")
    # 300 MHz / 80,000 = 3,750 img/s; the reference has 1,151.6; the shortest run of 80 ms is 12.5 img/s
    assert (cells["img/s"], cells["ratio"], cells["times onnxruntime"]) == ("3,750", "3.3", "300")
    assert (cells["heads"], cells["heads (ref.)"], cells["latency, ms"], cells["ms (ref.)"]) == ("70/72", "66/72", "3.00", "0.868")
    assert "Least ratio of the rates: 3.3. At least 4 in 12 of 14 rows" in table.note and "median 100.0 ms of 50 runs" in table.note
    # 5,000 img/s over 1,151.6
    assert "rates: 4.3. At least 4 in 14 of 14 rows" in reference_table({s.name: row(s) for s in settings}).note
    unfit = reference_table({s.name: row(s, fits=s is not settings[0]) for s in settings[:3]})
    assert "At least 4 in 2 of 14 rows" in unfit.note
    cells = named(unfit, "16, 1, 1")
    assert (cells["fits"], cells["img/s"], cells["ratio"], cells["times onnxruntime"]) == ("no", "", "", "")


def test_the_table_of_parts_has_no_rate_where_nothing_fits():
    by_part = {s.part: s for s in PARTS}
    table = parts_table({s.name: row(s, 46_000, fits=s.part == "VCK190") for s in (by_part["ZCU104"], by_part["VCK190"])})
    assert (named(table, "ZCU104")["fits"], named(table, "ZCU104")["img/s"]) == ("no", "")
    cells = named(table, "VCK190")
    assert (cells["fits"], cells["img/s"], cells["note"]) == ("yes", "6,522", "dsp48e2 retargeted, not checked")
