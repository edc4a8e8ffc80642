"""The table of the timing of units: rows are kept, made again when they must be, and say what a unit misses."""

import json

import pytest

from finn_vitprune.bench import timing as bench
from finn_vitprune.bench.finn_mvu import FinnFold
from finn_vitprune.errors import UserError
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import TimedPath, Timing, WideNet
from finn_vitprune.synth.yosys import Netlist, SynthesisError, map_node


def found(taken=2.0, loads=9, **more):
    net = WideNet("inst.enable_q", loads)
    path = TimedPath("inst.a_q", "inst.b_q.D", 1.0, taken, taken + 0.5, 2, 1, net, ("inst.a_q (9)", "into inst.b_q.D (1)"), 4)
    ends = {"register D": ((0.5, 30), (taken, 4))}
    return Timing(1.0, taken, taken + 0.5, 2, 3, paths=(path,), nets=(net,), reset=WideNet("ap_rst_n", 7), ends=ends,
                  high_ends={"register D": ((0.5, 30), (taken + 0.5, 4))}, **more)  # fmt: skip


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Names of the units that were mapped; the units are two FIFOs, and each takes 3.1 ns."""
    names = []

    def mapped(job, timeout_s):
        names.append(job.top)
        return Netlist(Resources(LUT=1234), found(3.1), tmp_path)

    fifos = {f"FIFO {depth}": bench.stream("VitFIFO", 1, "INT4", depth=depth) for depth in (2, 3)}
    monkeypatch.setattr(bench, "UNITS", fifos)
    monkeypatch.setattr(bench, "map_node", mapped)
    return names


def test_what_is_there_is_not_made_again(runs, tmp_path, monkeypatch):
    bench.main(["FIFO 3"], tmp_path)
    bench.main(None, tmp_path)
    assert len(runs) == 2
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| FIFO 2 | 1,234 |" in page and "| 1.00 | 3.10 | 3.60 |" in page and "| inst.a_q | inst.b_q.D |" in page
    assert "| 0 / 4 |" in page, "ends over 3.333 ns by the taken and by the high constants"
    before = (tmp_path / "results.json").read_text()
    bench.main(None, tmp_path)
    assert len(runs) == 2 and (tmp_path / "results.json").read_text() == before
    monkeypatch.setattr(bench, "timing_key", lambda job: "other rules")
    bench.main(["FIFO 2"], tmp_path)
    assert len(runs) == 3


def test_a_unit_that_fails_leaves_the_others(runs, tmp_path, monkeypatch):
    whole = bench.map_node

    def failing(job, timeout_s):
        if not runs:
            runs.append("failed")
            raise SynthesisError("synthesis of unit: Yosys took longer than 1 s")
        return whole(job, timeout_s)

    monkeypatch.setattr(bench, "map_node", failing)
    bench.main(None, tmp_path)
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["FIFO 3"]


def test_a_name_that_fits_no_unit_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="no unit has attention in its name: there are FIFO 2, FIFO 3"):
        bench.main(["attention"], tmp_path)


def test_rows_are_read_as_they_are_written(runs, tmp_path):
    unit = bench.TimedUnit("key", Resources(LUT=3), found(), {"DSP": 1}, {}, 1.5, 0.1)
    bench._write(tmp_path, {"FIFO 2": unit})
    assert bench._stored(tmp_path / "results.json") == {"FIFO 2": unit}


@pytest.mark.parametrize("timing, misses", [
    (found(), []), (found(2.71), ["taken"]), (found(2.9), ["taken", "high"]), (found(loads=1025), ["loads"]),
    (found(ram_levels=2), ["RAM"]), (found(bare_multipliers=1), ["bare"]),
])  # fmt: skip
def test_what_a_unit_misses(timing, misses):
    assert bench.TimedUnit("key", Resources(), timing, {}, {}, 0.0, 0.0).misses == misses


def test_finns_own_unit_is_mapped_and_timed(tmp_path):
    """Two products a slice of 8 x 8 bits; its operand registers are those of the pre-adder."""
    netlist = map_node(bench._job(bench.FinnUnit(FinnFold(8, 8, 4, 4), (8, 8)), tmp_path))
    assert netlist.resources.DSP == 8 and netlist.timing.bare_multipliers == 0
    assert 1 < netlist.timing.taken < 4 and netlist.timing.paths[0].levels > 0
