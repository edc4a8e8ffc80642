"""Tables of plans on engines: what is known is shown, beside the reference's figures; a network that is not made is named."""

from pathlib import Path

import pytest

import finn_vitprune.builds
from finn_vitprune.builds.experiments import deit_engines
from finn_vitprune.builds.experiments.deit_engines import (
    REFERENCES, SETTINGS, SIDE_BY_SIDE, SIMULATED, SMALL_PARTS, SUMMARY, PlanRow, planned, references, side_by_side, simulated, small_parts,
)  # fmt: skip
from finn_vitprune.builds.experiments.deit_models import ModelFolder
from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import Summary

KEPT = Path(finn_vitprune.builds.__path__[0]) / "results" / "deit_engines"
SHARES = {"LUT": 0.5, "DSP": 0.25, "BRAM": 0.125, "URAM": 0.0}


def row(setting, interval=60_000, latency=90_000, fits=True, help="") -> PlanRow:
    return PlanRow(setting.network.bits, setting.engines, setting.frames_in_flight, setting.goal, fits, interval, latency, SHARES, 1.5, help)


def test_rates_and_times_are_those_of_300_mhz():
    found = side_by_side({setting.key: row(setting) for setting in SIDE_BY_SIDE[1:3]})
    assert found.rows[0] == (
        "8/8", "2", "1", "latency", "60,000", "90,000", "5,000", "0.300", "50.0", "25.0", "12.5", "0.0", "yes", "1.5",
    )  # fmt: skip
    assert [cells[1] for cells in found.rows] == ["2", "3"], "only what is known"


def test_the_reference_stands_beside():
    """16, 0.5, 0.5 of the reference: 0.868 ms, 1,151.6 images/s."""
    setting = next(s for s in REFERENCES if (s.network.block, s.network.block_keep, s.network.token_keep) == (16, "0.5", "0.5"))
    ((name, _, ms, theirs, faster, rate, their_rate, *_),) = references({setting.key: row(setting)}).rows
    assert (name, ms, theirs, faster, rate, their_rate) == ("16, 0.5, 0.5", "0.300", "0.868", "2.9", "5,000", "1,151.6")


def test_what_does_not_fit_has_no_rate_and_says_what_would_help():
    setting = SMALL_PARTS[0]
    (cells,) = small_parts({setting.key: row(setting, fits=False, help="with 0.5 of the kept blocks it fits")}).rows
    assert cells[:6] == ("DeiT-Tiny", "8/8", "ZCU104", "no", "", "") and cells[-1] == "with 0.5 of the kept blocks it fits"


@pytest.mark.parametrize("setting, name", SIMULATED.items(), ids=SIMULATED.values())
def test_what_was_simulated_is_right_in_every_bit_and_as_planned(setting, name):
    s = Summary.load(KEPT / f"{name}{SUMMARY}")
    assert s.verify.rtl_mismatches == s.verify.left_out_streams == 0
    assert s.verify.images >= 12 and s.verify.traced_images >= 4 and s.verify.stalled_images >= 4
    assert s.rtlsim.interval_cycles == pytest.approx(s.plan.interval_cycles, rel=0.02)
    assert s.rtlsim.latency_cycles == pytest.approx(s.plan.latency_cycles, rel=0.02)


def test_builds_that_were_simulated_have_a_row(tmp_path):
    assert not simulated(tmp_path).rows
    assert [(cells[0], cells[1], cells[2], cells[3]) for cells in simulated(KEPT).rows] == [
        (s.network.title, f"{s.network.bits}/{s.network.bits}", s.part, str(s.frames_in_flight)) for s in SIMULATED
    ]


def test_every_setting_has_a_name_of_its_own():
    assert len({setting.key for setting in SETTINGS}) == len(SETTINGS) == 40 and len(REFERENCES) == 14


def test_a_network_that_is_not_made_is_named(tmp_path):
    with pytest.raises(UserError, match=f"the network {SETTINGS[0].network.name} is not in {tmp_path}"):
        planned(SETTINGS[0], ModelFolder(tmp_path))


def test_plans_that_are_known_are_not_made_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(deit_engines, "planned", lambda setting, folder: asked.append(setting) or row(setting))
    deit_engines.main(tmp_path, tmp_path / "out", only="ZCU104")
    deit_engines.main(tmp_path, tmp_path / "out", only="ZCU104")
    assert len(asked) == 4 and "4 of 40 settings are planned" in (tmp_path / "out" / "RESULTS.md").read_text()
    assert (tmp_path / "out" / "deit_engines.png").is_file()
