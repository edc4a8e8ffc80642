"""What a report says by encoder and layer, against numbers by hand; and of a build, against its graph."""

import copy
import json
import re
from pathlib import Path

import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames, SortGraph

from finn_vitprune.builds.records.summarise import node_rows
from finn_vitprune.cli import run
from finn_vitprune.custom_ops.op.memory import Holds
from finn_vitprune.errors import UserError
from finn_vitprune.report.build_pictures import CONTENTS, build_picture, cycles_figure, fifos_figure, memory_figure, resources_figure
from finn_vitprune.report.builds import build_tables
from finn_vitprune.report.layers import LOST, memories_of, memory_sum, multiplier_use
from finn_vitprune.report.summary import Summary
from finn_vitprune.transforms.planning.slr import used_by_slr
from finn_vitprune.transforms.streams.insert_crossings import InsertCrossings
from tests.summaries import summary

ROOT = Path(__file__).parents[2]


def memory(holds, kind, bits, capacity, **taken):
    shape = {"name": "some", "words": 8, "width": 8, "count": 2}
    return shape | {"holds": holds, "kind": kind, "bits": bits, "capacity": capacity} | taken


def by_hand(interval=2_000.0) -> Summary:
    """Three units with products and two FIFOs, the second of them a crossing of two hops between two SLRs.

    m0: 4 products a cycle, 6,000 useful, 1,600 cycles: 1,500 at full use, 60 for rows, 40 waiting.
    m1: 10 a cycle, 15,000 useful, 2,000 cycles: 1,500 at full use, 100 padding, 300 lanes, 100 waiting.
    a1: 2 a cycle, 1,000 useful, 1,000 cycles: 500 at full use, 500 waiting.
    """

    def balance(node, blocks, ideal, cycles, macs, per_cycle, **lost):
        return {
            "node": node, "kept_blocks": blocks, "lanes": 1, "ideal_cycles": ideal, "cycles": cycles, "utilisation": ideal / cycles,
            "macs": macs, "macs_per_cycle": per_cycle, "lost": lost,
        }  # fmt: skip

    def node(name, layer, encoder, slrs, cycles, *memories, **more):
        row = {"node": name, "op_type": "X_rtl", "layer": layer, "encoder": encoder, "slrs": slrs, "cycles": cycles}
        return row | {"memories": list(memories)} | more

    def used(name, lut, dsp, bram, uram):
        return {"node": name, "LUT": lut, "FF": 2 * lut, "DSP": dsp, "BRAM36": bram, "URAM": uram}

    content = summary(pruned=True).model_dump(by_alias=True) | {
        "balance": [
            balance("m0", 9, 1500, 1600, 6_000, 4, rows=60, waiting=40),
            balance("m1", 9, 1500, 2000, 15_000, 10, padding=100, lanes=300, waiting=100),
            balance("a1", None, 500, 1000, 1_000, 2, waiting=500),
        ],
        "nodes": [
            node("m0", "patch embedding", None, [0], 1600, memory("weights", "BRAM", 18_432, 36_864, BRAM18=2, LUT=3)),
            node("f0", "encoder 1, QKV input FIFO", 1, [0], 500, memory("FIFOs", "BRAM", 9_216, 18_432, BRAM18=1), between=True),
            node("m1", "encoder 1, QKV", 1, [1], 2000, memory("weights", "URAM", 147_456, 589_824, URAM=2),
                 memory("tables and constants", "LUT ROM", 700, None, LUT=20)),
            node("x0", "encoder 1, attention Q SLR crossing", 1, [1, 0], 500, between=True),
            node("a1", "encoder 1, attention", 1, [0], 1000, memory("keys and values", "LUTRAM", 448, 896, LUT=16)),
        ],
        "resources": {
            "tool": "Yosys 0.70", "LUT": 1_000, "FF": 2_000, "DSP": 30, "BRAM36": 1.5, "URAM": 2,
            "per_node": [used("m0", 300, 10, 1, 0), used("f0", 40, 0, 0.5, 0), used("m1", 500, 20, 0, 2), used("x0", 60, 0, 0, 0),
                         used("a1", 100, 0, 0, 0)],
        },
    }  # fmt: skip
    content["part"] |= {"dies": [dict(LUT=1_000, FF=2_000, DSP=40, BRAM36=10, URAM=4)] * 2}
    content["rtlsim"] |= {"interval_cycles": interval}
    return Summary.model_validate(content)


def tables(s, nodes=False):
    return {t.title: t for t in build_tables(s, nodes=nodes)}


def rows(table):
    return {row[0]: row[1:] for row in table.rows}


def test_use_of_the_multipliers_by_hand():
    """16 products a cycle in 2,000 cycles are 32,000, of which 22,000 are useful."""
    s = by_hand()
    use = multiplier_use(s.balance, 2_000)
    assert (use.macs, use.per_cycle, use.busy) == (22_000, 16, 22_000 / 32_000)
    lost = {"faster": 4 * 400 + 2 * 1000, "waiting": 4 * 40 + 10 * 100 + 2 * 500, "rows": 4 * 60, "lanes": 10 * 300, "padding": 10 * 100}
    assert use.lost == pytest.approx({name: slots / 32_000 for name, slots in lost.items()})
    assert use.busy + sum(use.lost.values()) == pytest.approx(1) and list(use.lost) == list(LOST)


def test_the_use_is_shown_for_matrix_units_attention_and_each_encoder():
    table = tables(by_hand())["Use of the multipliers"]
    found = rows(table)
    assert found["matrix units"][:3] == ("14", "21,000", "75.00 %") and found["attention"][:3] == ("2", "1,000", "25.00 %")
    assert found["all"] == ("16", "22,000", "68.75 %", "11.25 %", "6.75 %", "0.75 %", "9.38 %", "3.12 %")
    assert found["outside encoders"][:3] == ("4", "6,000", "75.00 %") and found["encoder 1"][:3] == ("12", "16,000", "66.67 %")
    assert "2,000 cycles (measured)" in table.note and "kept blocks with live rows" in table.note


def test_the_interval_is_simulated_else_planned_else_that_of_the_slowest_node():
    plan = {
        "goal": "throughput", "interval_cycles": 2_500, "fits": True, "gap": 0, "shell": "none", "budget": {"LUT": 0.7}, "used": {},
        "next_interval_cycles": 2_400,
    }  # fmt: skip
    s = Summary.model_validate(by_hand(1_900.5).model_dump(by_alias=True) | {"plan": plan})
    assert s.interval == (1_900.5, "simulated")
    assert s.model_copy(update={"rtlsim": None}).interval == (2_500, "planned")
    s = s.model_copy(update={"rtlsim": None, "plan": None})
    assert s.interval == (2_000, "estimate") and s.model_copy(update={"nodes": [], "balance": []}).interval is None
    assert "2,000 cycles (estimated)" in tables(s)["Balance"].note


def test_cycles_of_a_layer_against_the_interval():
    found = rows(tables(by_hand(1_600.0))["Balance"])
    assert found["encoder 1, QKV"] == ("m1", "9", "1", "1,500", "300", "2,000", "0.750", "100.00 %", "75.00 %"), (
        "of what estimates say, as the cycles are"
    )
    every = tables(by_hand(), nodes=True)["Cycles by node"]
    assert every.rows[1] == ("encoder 1, QKV input FIFO", "f0", "X_rtl", "500", "25.00 %") and len(every.rows) == 5


def test_memories_by_contents_kind_and_encoder_by_hand():
    found = tables(by_hand(), nodes=True)
    contents = rows(found["Memories by contents"])
    assert contents["weights"] == ("4", "165,888", "1", "50.00 %", "2", "25.00 %", "3")
    assert contents["keys and values"] == ("2", "448", "0", "-", "0", "-", "16")
    assert contents["all"] == ("10", "176,252", "1.5", "50.00 %", "2", "25.00 %", "39")
    kinds = rows(found["Memories by kind of RAM"])
    assert kinds["BRAM"] == ("4", "1.5 BRAM36", "0.06 %", "27,648", "50.00 %") and kinds["LUT ROM"][-1] == "-"
    assert kinds["LUTRAM"] == ("2", "16 LUT", "0.00 %", "448", "50.00 %")
    assert rows(found["Memories by encoder"])["encoder 1"] == ("8", "157,820", "0.5", "50.00 %", "2", "25.00 %", "36")
    assert found["Memory map"].rows[0] == ("patch embedding", "m0", "some", "BRAM", "8 x 8", "2", "1", "18,432", "50.00 %")


def test_resources_by_encoder_and_slr_by_hand():
    """Of the crossing's 60 LUTs one hop stands in either SLR."""
    found = tables(by_hand())
    encoders, roles = rows(found["Resources by encoder"]), rows(found["Resources by role"])
    assert encoders["outside encoders"] == ("300 (0.0 %)", "600 (0.0 %)", "10 (0.1 %)", "1 (0.0 %)", "0")
    assert encoders["encoder 1"] == ("700 (0.0 %)", "1,400 (0.0 %)", "20 (0.2 %)", "0.5 (0.0 %)", "2 (0.2 %)")
    assert encoders["all"] == roles["all"] == ("1,000 (0.1 %)", "2,000 (0.1 %)", "30 (0.2 %)", "1.5 (0.1 %)", "2 (0.2 %)")
    assert list(roles) == ["patch embedding", "FIFO", "QKV", "SLR crossing", "attention", "all"]
    assert roles["QKV"][0] == "500 (0.0 %)" and roles["SLR crossing"][2] == "0"
    slrs = rows(found["Resources by SLR"])
    assert slrs["SLR0"] == ("470 (47.0 %)", "940 (47.0 %)", "10 (25.0 %)", "1.5 (15.0 %)", "0")
    assert slrs["SLR1"] == ("530 (53.0 %)", "1,060 (53.0 %)", "20 (50.0 %)", "0", "2 (50.0 %)")
    assert {found[f"Resources by {what}"].mark for what in ("role", "encoder", "SLR")} == {"synthesised"}


def test_units_of_an_engine_are_told_from_what_is_outside():
    """DeiT-Small on one engine takes more than an SLR, and its nodes stand in none: the table says what that means."""
    s = Summary.load(ROOT / "builds" / "results" / "deit_engines" / "w8a8_engine1_latency_summary.json")
    found = next(table for title, table in tables(s).items() if title.startswith("Resources by encoder"))
    assert list(rows(found)) == ["outside encoders", "engine of encoders 1 to 12", "all"]
    assert found.note == (
        "In brackets of what xcu250-figd2104-2L-e has. The part has 4 SLRs; nodes are in none: the part counts as a whole, and borders between SLRs are not in the cycles or the timing."
    )
    assert list(rows(tables(s)["Memories by encoder"])) == ["outside encoders", "engine of encoders 1 to 12"]
    few = s.model_copy(update={"resources": s.resources.model_copy(update={"per_node": s.resources.per_node[:1]})})
    assert "nodes are in none: one is enough." in next(
        t.note for title, t in tables(few).items() if title.startswith("Resources by encoder")
    )


def test_an_older_summary_has_no_such_tables():
    found = tables(summary(pruned=True), nodes=True)
    assert not any(re.match("Use|Memor|Cycles|Resources by (SLR|encoder)", title) for title in found)
    assert found["Balance"].columns[0] == "node"
    assert memory_figure(summary(pruned=True)) is None and cycles_figure(summary(pruned=True)) is None
    with pytest.raises(UserError, match="--what memory: .* build again"):
        build_picture(summary(pruned=True), "memory")


def test_the_picture_of_the_memories_has_their_rams_and_contents():
    block, ultra = memory_figure(by_hand()).axes
    bars = sorted((round(bar.get_x(), 3), round(bar.get_width(), 3)) for bar in block.patches)
    assert bars == [(0, 0.25), (0, 0.5), (0, 0.5), (0, 1)]  # the FIFO's 0.5 half full, the weights' 1 half full
    assert sorted(bar.get_width() for bar in ultra.patches) == [0.5, 2]
    assert [t.get_text() for t in block.get_yticklabels()] == ["outside encoders", "encoder 1"]


def test_every_kind_of_contents_has_a_colour():
    assert set(CONTENTS) == set(Holds)


def test_the_picture_of_the_cycles_has_a_bar_for_every_unit():
    (axis,) = cycles_figure(by_hand()).axes
    tops = {}
    for bar in axis.patches:
        place = round(bar.get_x() + bar.get_width() / 2)
        tops[place] = max(tops.get(place, 0), bar.get_y() + bar.get_height())
    assert tops == pytest.approx({0: 1600, 1: 2000, 2: 1000})
    assert [line.get_ydata()[0] for line in axis.lines if line.get_ydata()[0] > 1] == [2_000.0]


# --- a build -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(small_build):
    model = ModelWrapper(str(small_build.folder / "intermediate_models" / "step_insert_streams.onnx"))
    return Summary.load(small_build.folder), model


def test_a_build_tells_every_node_and_its_memories(built):
    s, model = built
    assert [n.node for n in s.nodes] == [n.name for n in model.graph.node]
    assert {n.encoder for n in s.nodes} == {None, 1, 2} and len({n.layer for n in s.nodes}) == len(s.nodes)
    whole = memory_sum(m for _, m in memories_of(s))
    assert (whole.BRAM18 / 2, whole.URAM) == (s.resources.BRAM36, s.resources.URAM)
    estimates = {n.name: getCustomOp(n).resources() for n in model.graph.node}
    for n in s.nodes:
        used, own = memory_sum(n.memories), estimates[n.node]
        assert (used.BRAM18, used.URAM) == (own.BRAM_18K, own.URAM) and used.LUT <= own.LUT
    interval = s.rtlsim.interval_cycles
    products = sum(getCustomOp(n).macs() for n in model.graph.node)
    use = multiplier_use(s.balance, interval)
    assert use.macs == products == s.model.macs and use.busy + sum(use.lost.values()) == pytest.approx(1)
    assert use.busy == pytest.approx(products / interval / use.per_cycle)


def test_resources_by_slr_of_a_graph_are_those_that_the_plan_counts(built):
    """Nodes dealt by hand to four SLRs with crossings between, as a plan would."""
    model = copy.deepcopy(built[1])
    size = len(model.graph.node)
    for i, node in enumerate(model.graph.node):
        getCustomOp(node).set_nodeattr("slr", 4 * i // size)
    for step in (InsertCrossings(), SortGraph(), GiveUniqueNodeNames()):
        model = model.transform(step)
    wanted = [e.LUT for e in used_by_slr(model, 4)]
    found = [0.0] * 4
    for row, node in zip(node_rows(model), model.graph.node):
        for slr in row.slrs:
            found[slr] += getCustomOp(node).resources().LUT / len(row.slrs)
    assert found == pytest.approx(wanted) and all(wanted)


def test_fifos_by_hand():
    """Depth and fill of two FIFOs, one of which was not measured."""
    content = by_hand().model_dump(by_alias=True)
    content["nodes"][1]["fifo"] = {"depth": 40, "width": 16, "fill": 30}
    content["nodes"][3]["fifo"] = {"depth": 8, "width": 4}
    s = Summary.model_validate(content)
    assert rows(tables(s, nodes=True)["FIFO depth and fill"]) == {
        "encoder 1, QKV input FIFO": ("f0", "40", "16", "30", "75.00 %"),
        "encoder 1, attention Q SLR crossing": ("x0", "8", "4", "not measured", "-"),
    }
    (bar,) = fifos_figure(s).axes[0].patches
    assert bar.get_height() == 75
    content["nodes"][1]["fifo"]["fill"] = None
    s = Summary.model_validate(content)
    assert fifos_figure(s) is None and "not measured" in tables(s, nodes=True)["FIFO depth and fill"].note


def test_the_picture_of_the_resources_has_a_bar_for_every_kind():
    bars = resources_figure(by_hand()).axes[0].patches
    assert [round(bar.get_width(), 3) for bar in bars] == [0.058, 0.058, 0.244, 0.056, 0.156]
    assert resources_figure(by_hand().model_copy(update={"part": None})) is None


def test_fills_of_a_build_are_those_that_the_simulation_saw(built, small_build):
    """Of each FIFO by the stream that goes through it."""
    s, _ = built
    largest = json.loads((small_build.folder / "report" / "rtl_verification.json").read_text())["max_fill"]
    through = {name.rpartition(" through ")[2]: fill for name, fill in largest.items() if " through " in name}
    assert {n.node: n.fifo.fill for n in s.nodes if n.fifo} == through and max(through.values()) > 2
    assert all(n.fifo.fill <= n.fifo.depth for n in s.nodes if n.fifo)


def test_pictures_of_a_build(small_build, tmp_path):
    for what in ("memory", "cycles", "resources", "fifos"):
        outputs = [tmp_path / f"{what}{i}.png" for i in range(2)]
        for output in outputs:
            assert run(["picture", str(small_build.folder), "-o", str(output), "--what", what]) == 0
        assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_kept_summary_is_reported_like_its_folder(small_build, tmp_path, capsys):
    kept = tmp_path / "kept.json"
    kept.write_bytes((small_build.folder / "report" / "vitprune_summary.json").read_bytes())
    outputs = []
    for source in (small_build.folder, kept):
        assert run(["report", str(source), "--full"]) == 0
        outputs.append(capsys.readouterr().out)
    tables, verdict = zip(*(output.rsplit("\n\n", 1) for output in outputs))
    assert tables[0] == tables[1] and verdict[0].splitlines()[1:9] == verdict[1].splitlines()[1:9]
