"""The table of the timing of units: rows are kept, made again when they must be, and say what a unit misses."""

import json
from pathlib import Path

import pytest

from finn_vitprune.bench import timing as bench
from finn_vitprune.bench import timing_designs
from finn_vitprune.bench.finn_mvu import FinnFold
from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import NodeResources, Summary
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timed import DesignTiming, NodeTiming
from finn_vitprune.synth.timing import TimedPath, Timing, WideNet
from finn_vitprune.synth.yosys import Netlist, SynthesisError, map_node

RESULTS = Path(__file__).parents[1] / "builds" / "results"


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
    assert list(json.loads((tmp_path / "results.json").read_text())["units"]) == ["FIFO 3"]


def test_a_name_that_fits_no_unit_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="no unit has attention in its name: there are FIFO 2, FIFO 3"):
        bench.main(["attention"], tmp_path)


def test_rows_are_read_as_they_are_written(runs, tmp_path):
    unit = bench.TimedUnit("key", Resources(LUT=3), found(), {"DSP": 1}, {}, 1.5, 0.1)
    results = bench._Results({"FIFO 2": unit}, dict([timing_designs.kinds(kept(tmp_path))]))
    bench._write(tmp_path, results, bench._Results(), "command")
    assert bench._Results.load(tmp_path) == results


def kept(folder):
    """The summary of a design with two FIFOs, one of which misses two bars, and an adder."""
    nodes = [
        NodeTiming(node=f"VitFIFO_rtl_{i}", op_type="VitFIFO_rtl", low=1, taken=taken, high=taken + 0.5, levels=i, start="a",
                   end=f"b{i}", widest="w", loads=loads, ram_levels=i, bare_multipliers=0)
        for i, (taken, loads) in enumerate([(1.5, 2000), (2.9, 10)])
    ]  # fmt: skip
    nodes.append(NodeTiming(node="VitAdd_rtl_0", op_type="VitAdd_rtl", low=1, taken=2, high=3, levels=2))
    used = [NodeResources(node=n.node, op_type=n.op_type, LUT=100, FF=7) for n in nodes]
    summary = Summary.load(RESULTS / "deit" / "deit_small_w8a8_summary.json")
    summary.timing = DesignTiming.of(3.333, nodes)
    summary.resources.per_node = used
    path = folder / "two_summary.json"
    path.write_text(summary.model_dump_json(by_alias=True))
    return path


def test_nodes_of_a_design_are_judged_one_by_one(tmp_path):
    name, design = timing_designs.kinds(kept(tmp_path))
    fifo, add = design["VitFIFO"], design["VitAdd"]
    assert name == "two" and (fifo.nodes, fifo.LUT, fifo.FF, add.nodes) == (2, 200, 14, 1)
    assert (fifo.taken, fifo.high, fifo.loads, fifo.levels, fifo.ram_levels, fifo.bare) == (2.9, 3.4, 2000, 1, 1, 0)
    assert fifo.missing == 2 and fifo.misses == ("loads", "taken", "high") and fifo.slowest == "VitFIFO_rtl_1: a to b1"
    assert (add.missing, add.misses, add.ram_levels) == (0, (), None)


def test_a_design_stands_beside_what_it_was(runs, tmp_path):
    bench.main(["FIFO 2"], tmp_path / "old", design=[kept(tmp_path)])
    bench.main(["FIFO 2"], tmp_path / "new", design=[kept(tmp_path)], before=tmp_path / "old")
    page = (tmp_path / "new" / "RESULTS.md").read_text()
    assert f"--design {tmp_path / 'two_summary.json'} --before {tmp_path / 'old'}" in page
    (fifo,) = (line for line in page.splitlines() if line.startswith("| VitFIFO |"))
    assert fifo.count("| 200 | 14 | 2.90 | 3.40 | 1 | 2,000 | 2 |") == 2 and "| loads, taken, high |" in fifo
    (add,) = (line for line in page.splitlines() if line.startswith("| VitAdd |"))
    assert "| not kept | not kept |" in add
    (unit,) = (line for line in page.splitlines() if line.startswith("| FIFO 2 | 1,234 "))
    assert unit.count("1,234") == 2 and unit.count("taken, high") == 2
    bench.main(["FIFO 2"], tmp_path / "new")
    assert "All nodes of two" in (tmp_path / "new" / "RESULTS.md").read_text(), "designs stay where none is given"


def test_a_build_without_timing_is_refused(tmp_path):
    path = kept(tmp_path)
    summary = Summary.load(path)
    summary.timing = None
    path.write_text(summary.model_dump_json(by_alias=True))
    with pytest.raises(UserError, match="two_summary.json says nothing of timing: build without `--synth none`"):
        timing_designs.kinds(path)
    with pytest.raises(UserError, match=f"{tmp_path} holds no results.json"):
        bench.main(None, tmp_path, before=tmp_path)


@pytest.mark.parametrize("timing, misses", [
    (found(), []), (found(2.71), ["taken"]), (found(2.9), ["taken", "high"]), (found(loads=1025), ["loads"]),
    (found(ram_levels=2), ["RAM"]), (found(bare_multipliers=1), ["bare"]),
])  # fmt: skip
def test_what_a_unit_misses(timing, misses):
    assert bench.TimedUnit("key", Resources(), timing, {}, {}, 0.0, 0.0).misses == misses


@pytest.mark.slow
@pytest.mark.parametrize("depth, style", [(27_776, "ultra"), (15_360, "block")])
def test_deep_fifos_keep_the_bars(depth, style, tmp_path):
    """Those of DeiT-Small plans: how Yosys shares the logic of enables and counts decides, whatever a part alone takes."""
    job = bench._job(bench.stream("VitFIFO", 3, "INT16", depth=depth, ram_style=style), tmp_path)
    assert bench.timed(job, 300.0).misses == []


def test_finns_own_unit_is_mapped_and_timed(tmp_path):
    """Two products a slice of 8 x 8 bits; its operand registers are those of the pre-adder."""
    netlist = map_node(bench._job(bench.FinnUnit(FinnFold(8, 8, 4, 4), (8, 8)), tmp_path))
    assert netlist.resources.DSP == 8 and netlist.timing.bare_multipliers == 0
    assert 1 < netlist.timing.taken < 4 and netlist.timing.paths[0].levels > 0
