"""The timing of a design: its slowest node or border, crossings between SLRs, the warning, and the report's tables."""

import json

import pytest
from finn.builder.build_dataflow_config import DataflowBuildConfig

from finn_vitprune import progress
from finn_vitprune.builds import steps
from finn_vitprune.builds.records.context import BuildContext
from finn_vitprune.builds.records.timing import design_timing, slr_crossings
from finn_vitprune.report.builds import build_tables
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.timing import timing_tables
from finn_vitprune.synth.resources import ESTIMATE, Resources
from finn_vitprune.synth.timed import DesignTiming, NodeTiming
from finn_vitprune.synth.timing import TimedPath, Timing, WideNet
from finn_vitprune.synth.yosys import Netlist
from finn_vitprune.transforms.streams.edges import stream_edges
from tests.said import Said
from tests.summaries import summary
from tests.transforms.test_crossings import cut_at, placed


def timing(taken, **more):
    """A node whose slowest path is an enable of 700 loads."""
    net = WideNet("inst.enable_q", 700)
    through = "inst.valid_q (3)", "inst.enable_q (700)"
    path = TimedPath("inst.valid_q", "inst.data_q[0].CE", taken - 1, taken, taken + 1, 2, 0, net, through, 5)
    ends = {"register CE": ((0.5, 40), (round(taken, 2), 5))}
    return Timing(taken - 1, taken, taken + 1, 2, 2, paths=(path,), nets=(net,), ends=ends, high_ends=ends, **more)


@pytest.fixture(scope="module")
def model():
    """Seven units on two SLRs with what stands between."""
    return placed(cut_at(3))


def test_the_slowest_node_and_the_slowest_border_by_hand(model):
    names = [node.name for node in model.graph.node]
    found = {name: timing(2.0 + 0.1 * i, to_ports=0.1, from_ports=0.9) for i, name in enumerate(names)}
    whole = design_timing(model, found, 3.333)
    assert (whole.node, whole.taken) == (names[-1], pytest.approx(2.0 + 0.1 * (len(names) - 1)))
    assert whole.border.taken == 1.0
    edge = stream_edges(model)[2]
    found[edge.consumer.name] = timing(2.0, to_ports=9.5, from_ports=0.9)  # its ready
    whole = design_timing(model, found, 3.333)
    assert (whole.border.source, whole.border.taken, whole.taken) == (edge.consumer.name, 10.4, 10.4)
    assert f"between {edge.consumer.name} and " in whole.text and not whole.holds
    assert whole.text.startswith("the slowest path takes 10.40 ns between ")  # the range of the nodes is not the border's


def test_streams_between_slrs_are_listed(model):
    edges = stream_edges(model)
    found = slr_crossings(model)
    assert len(found) == sum("Crossing" in e.consumer.op_type for e in edges) > 0
    assert {(c.source, c.target) for c in found} == {(0, 1)}
    assert all(c.bits in (16, 32, 64, 128) and c.stages == 2 for c in found)


def rows(*taken):
    return [NodeTiming.of(f"node_{i}", "VitAdd_rtl", timing(ns), 3.333) for i, ns in enumerate(taken)]


def test_the_text_says_what_is_slow_and_whether_the_clock_holds():
    assert DesignTiming.of(3.333, rows(2.0, 3.3)).text == (
        "the slowest path takes 3.30 ns (2.30 to 4.30) in node_1, from inst.valid_q to inst.data_q[0].CE; "
        "by this estimate a clock of 3.333 ns holds"
    )
    slow = DesignTiming.of(3.333, rows(4.5, 2.0, 3.4))
    assert not slow.holds and "a clock of 3.333 ns does not hold (2 of 3 nodes are slower)" in slow.text
    assert [n.over for n in slow.per_node] == [5, 0, 5]


def test_the_summary_keeps_it_and_the_tables_show_it(tmp_path):
    one = summary(pruned=False).model_copy(update={"timing": DesignTiming.of(3.333, rows(*(2 + i / 10 for i in range(7))))})
    one.save(tmp_path)
    again = Summary.load(tmp_path)
    assert again.timing == one.timing and again.methods["timing"] == ESTIMATE
    [table] = timing_tables(again.timing)
    assert [row[0] for row in table.rows] == ["node_6", "node_5", "node_4", "node_3", "node_2"]
    assert table.rows[0][1:4] == ("1.60", "2.60", "3.60") and "inst.enable_q" in table.rows[0]
    assert len(timing_tables(again.timing, nodes=True)[0].rows) == 7
    titles = [t.title for t in build_tables(again)]
    assert table.title in titles and table.title not in [t.title for t in build_tables(summary(pruned=False))]


@pytest.mark.parametrize("clk_ns, warned", [(10.0, False), (2.0, True)])
def test_a_build_warns_where_its_clock_does_not_hold(model, tmp_path, monkeypatch, clk_ns, warned):
    """With netlists from elsewhere: the step keeps them, says one line, and goes on."""

    def found(jobs, workers):
        yield from ((job, Netlist(Resources(LUT=9), timing(3.0), tmp_path)) for job in jobs)

    monkeypatch.setattr(steps, "map_many", found)
    monkeypatch.setattr(steps, "node_job", lambda op: steps.NodeJob(op.onnx_node.name, ()))
    part = "xcu250-figd2104-2L-e"
    cfg = DataflowBuildConfig(output_dir=str(tmp_path), synth_clk_period_ns=clk_ns, generate_outputs=[], fpga_part=part)
    said = Said()
    with progress.shown_by(said):
        assert steps.step_synthesise(model, cfg) is model
    lines = [line for line in said if "slowest path takes 3.00 ns" in line]
    assert len(lines) == 1 and lines[0].startswith("warning: ") == warned
    kept = BuildContext.of(cfg).folder.synthesis
    assert kept.load().timing == {node.name: timing(3.0) for node in model.graph.node}
    assert json.loads(kept.path.read_text())["timing"][model.graph.node[0].name]["nets"][0]["loads"] == 700
