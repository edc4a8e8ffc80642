"""The table of the timing of units: rows are made again when they must be, and say what a unit misses."""

import pytest

from builds.experiments import timing as experiment
from builds.experiments.timing_units import FinnUnit, stream
from finn_vitprune.bench.finn_mvu import FinnFold
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import TimedPath, Timing, WideNet
from finn_vitprune.synth.yosys import Netlist, SynthesisError, map_node

FIFOS = {f"FIFO {depth}": stream("VitFIFO", 1, "INT4", depth=depth) for depth in (2, 3)}


def found(taken=2.0, loads=9, **more):
    net = WideNet("inst.enable_q", loads)
    path = TimedPath("inst.a_q", "inst.b_q.D", 1.0, taken, taken + 0.5, 2, 1, net, ("inst.a_q (9)", "into inst.b_q.D (1)"), 4)
    ends = {"register D": ((0.5, 30), (taken, 4))}
    return Timing(1.0, taken, taken + 0.5, 2, 3, paths=(path,), nets=(net,), reset=WideNet("ap_rst_n", 7), ends=ends,
                  high_ends={"register D": ((0.5, 30), (taken + 0.5, 4))}, **more)  # fmt: skip


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Names of the units that were mapped; each takes 3.1 ns."""
    names = []

    def mapped(job, timeout_s):
        names.append(job.top)
        return Netlist(Resources(LUT=1234), found(3.1), tmp_path)

    monkeypatch.setattr(experiment, "map_node", mapped)
    return names


def test_a_row_holds_for_the_same_rtl_and_rules(runs, tmp_path, monkeypatch):
    study = experiment.study(FIFOS)
    study.go(tmp_path, ["FIFO 3"])
    study.go(tmp_path)
    assert len(runs) == 2
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| FIFO 2 | 1,234 |" in page and "| 1.00 | 3.10 | 3.60 |" in page and "| inst.a_q | inst.b_q.D |" in page
    assert "| 0 / 4 |" in page, "ends over 3.333 ns by the taken and by the high constants"
    before = (tmp_path / "results.json").read_text()
    study.go(tmp_path)
    assert len(runs) == 2 and (tmp_path / "results.json").read_text() == before
    monkeypatch.setattr(experiment, "timing_key", lambda job: "other rules")
    assert list(study.go(tmp_path, ["FIFO 2"])) == ["FIFO 2"] and len(runs) == 3


def test_a_unit_that_fails_leaves_the_others(runs, tmp_path, monkeypatch):
    whole = experiment.map_node

    def failing(job, timeout_s):
        if not runs:
            runs.append("failed")
            raise SynthesisError("synthesis of unit: Yosys took longer than 1 s")
        return whole(job, timeout_s)

    monkeypatch.setattr(experiment, "map_node", failing)
    assert list(experiment.study(FIFOS).go(tmp_path)) == ["FIFO 3"]


@pytest.mark.parametrize("timing, misses", [
    (found(), []), (found(2.71), ["taken"]), (found(2.9), ["taken", "high"]), (found(loads=1025), ["loads"]),
    (found(ram_levels=2), ["RAM"]), (found(bare_multipliers=1), ["bare"]),
])  # fmt: skip
def test_what_a_unit_misses(timing, misses):
    assert experiment.TimedUnit("key", Resources(), timing, {}, {}, 0.0, 0.0).misses == misses


@pytest.mark.slow
@pytest.mark.parametrize("depth, style", [(27_776, "ultra"), (15_360, "block")])
def test_deep_fifos_keep_the_bars(depth, style):
    """Those of DeiT-Small plans: how Yosys shares the logic of enables and counts decides, whatever a part alone takes."""
    assert experiment.timed(stream("VitFIFO", 3, "INT16", depth=depth, ram_style=style)).misses == []


def test_finns_own_unit_is_mapped_and_timed(tmp_path):
    """Two products a slice of 8 x 8 bits; its operand registers are those of the pre-adder."""
    netlist = map_node(experiment.job_of(FinnUnit(FinnFold(8, 8, 4, 4), (8, 8)), tmp_path))
    assert netlist.resources.DSP == 8 and netlist.timing.bare_multipliers == 0
    assert 1 < netlist.timing.taken < 4 and netlist.timing.paths[0].levels > 0
