"""Power above idle, fitted to measured designs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from builds.experiments.energy import fit_of, fitted, leave_one_out, measured, row_of, tables
from finn_vitprune.report.builds import build_tables
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.energy import energy_fit, power

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "energy.md"


def test_a_fit_finds_the_coefficients_that_made_the_data():
    amounts = np.array([[1e5, 10, 3], [2e4, 300, 40], [5e4, 0, 100], [7e3, 5, 9], [1e4, 1, 0]])
    truth = np.array([1e-6, 2e-3, 0.0])
    assert fitted(amounts, amounts @ truth) == pytest.approx(truth, abs=1e-12)


def test_no_coefficient_is_negative():
    assert (fitted(np.array([[1.0, 2, 0], [2, 1, 0], [3, 1, 0]]), np.array([0.0, 2, 4])) >= 0).all()


def test_leaving_one_out_beats_the_mean_of_the_others():
    known = measured()
    watts = known.above_idle * 100
    mean = np.array([np.delete(watts, i).mean() for i in range(len(watts))])
    error = np.abs(leave_one_out() * 100 - watts).sum() / watts.sum()
    assert len(watts) == 15 and error < 0.25 < np.abs(mean - watts).sum() / watts.sum()


def test_the_package_has_the_fit_of_the_designs():
    held, made = (np.concatenate([np.ravel(value) for value in vars(fit).values()]) for fit in (energy_fit(), fit_of(measured())))
    assert held == pytest.approx(made, rel=1e-9)


def test_power_grows_with_the_clock_and_nothing_placed_takes_nothing():
    slow, fast = power(50_000, 100, 40, 0, 50), power(50_000, 100, 40, 0, 100)
    assert fast.expected == pytest.approx(2 * slow.expected) and not fast.beyond
    assert power(0, 0, 0, 0, 100).expected == 0 and fast.low < fast.expected < fast.high


def test_what_was_not_measured_is_extrapolated_by_name():
    found = power(1_000_000, 100, 40, 3, 300)
    text = " ".join(found.beyond)
    assert "LUT 1,000,000 of at most 271,647" in text and "UltraRAM" in text and "300 MHz" in text and "DSP" not in text


def test_millijoules_are_watts_over_images():
    watts = power(50_000, 100, 40, 0, 100)
    assert watts.millijoules(1000).expected == pytest.approx(watts.expected)
    assert watts.millijoules(500).high == pytest.approx(2 * watts.high)


def test_a_report_marks_an_alveo_design():
    summary = Summary.read(ROOT / "builds" / "results" / "deit" / "deit_small_w8a8_summary.json")
    (table,) = [table for table in build_tables(summary) if table.title == "Energy"]
    assert "EXTRAPOLATED" in table.note and "UltraRAM" in table.note


def test_the_page_has_the_figures_of_the_fit_and_of_the_summaries():
    text, known = PAGE.read_text(), measured()
    each = fitted(known.amounts, known.above_idle) * 1e5
    for factor, amount in zip((1000, 1, 1), each, strict=True):
        assert f"| {factor * amount:.3g} |" in text
    errors, _ = tables({str(i): row_of(i) for i in range(len(known.designs))})
    for _, mean, share, _ in errors.rows:
        assert f"| {mean} | {share.replace('%', ' %')} |" in text
    files = ["deit/deit_small_w8a8", "deit/deit_small_w4a4", "deit_engines/w8a8_engine1_latency", "deit_engines/tiny_w8a8_zcu104"]
    rows = re.findall(r"^\| DeiT.*$", text, re.M)
    assert len(rows) == len(files)
    for row, name in zip(rows, files, strict=True):
        summary = Summary.read(ROOT / "builds" / "results" / f"{name}_summary.json")
        (table,) = [table for table in build_tables(summary) if table.title == "Energy"]
        (_, watts, range_w), (_, joules, range_j) = table.rows
        assert f"| {watts} ({range_w.removesuffix(' W')}), extrapolated | {joules} ({range_j.removesuffix(' mJ')}) |" in row
