"""A graph is placed with its streams, timed with distance, drawn, and its Pblocks hold every unit and no site twice."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.records.places import design_places, far_links, links_of
from finn_vitprune.builds.records.timing import reset_path
from finn_vitprune.builds.stitched.place_constraints import PLACES, place_constraints
from finn_vitprune.custom_ops.op.netlist import instance
from finn_vitprune.errors import UserError
from finn_vitprune.report.build_pictures import build_picture
from finn_vitprune.report.build_verdict import faults
from finn_vitprune.report.builds import build_tables
from finn_vitprune.report.place_picture import COLOURS, blocks, ground_of, kind_of, place_picture
from finn_vitprune.report.places import place_tables
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.grid import Ground, wires
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.placed import WORST, PlacedDesign
from finn_vitprune.synth.resources import ESTIMATE
from finn_vitprune.synth.timing import Timing
from finn_vitprune.transforms.planning.part_fit import estimated
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from tests.synth.test_places import illegal
from tests.transforms.test_crossings import cut_at, network, placed
from tests.vivado_mock import Netlist, ScriptError, run_script

U250 = "xcu250-figd2104-2L-e"
CLK_NS = 3.333


@pytest.fixture(scope="module")
def model():
    """Seven units in three SLRs, with what stands between."""
    return placed(cut_at(2, 5))


def found(model) -> dict[str, Timing]:
    """Timing of every node: the ports of a node take by its place in the graph."""
    return {n.name: Timing(1.0, 2.0, 2.5, to_ports=0.2 + 0.01 * i, from_ports=0.5) for i, n in enumerate(model.graph.node)}


def farther(name: str, corner_ns: float) -> Timing:
    return Timing(1.0 + corner_ns, 2.0 + corner_ns, 2.5 + 2 * corner_ns)


@pytest.fixture(scope="module")
def mapped(model) -> PlacedDesign:
    return design_places(model, get_part(U250), estimated(model), "Yosys", CLK_NS, found(model), farther)


@pytest.fixture(scope="module")
def unmapped(model) -> PlacedDesign:
    return design_places(model, get_part(U250), estimated(model), ESTIMATE, CLK_NS, {})


def test_every_unit_is_in_its_slr_and_every_stream_is_a_link(model, mapped):
    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    units = {name: op for name, op in ops.items() if not op.is_crossing}
    assert {node.node: node.slr for node in mapped.nodes} == {name: op.get_nodeattr("slr") for name, op in units.items()}
    links = {(link.source, link.target): link for link in mapped.links[:-1]}
    crossings = {name for name, op in ops.items() if op.is_crossing}
    assert {name for link in links.values() for name in link.via.split(", ") if name} == crossings != set()
    readers = {tensor: node for node in model.graph.node for tensor in node.input}
    for node in model.graph.node:
        for output, tensor in enumerate(node.output):
            if node.name in units and tensor in readers:
                end, borders = readers[tensor], 0
                if (over := ops.get(end.name)) is not None and over.is_crossing:
                    end, borders = readers[end.output[0]], over.get_nodeattr("stages") // 2
                link = links.pop((node.name, end.name))
                assert (link.bits, link.borders, link.stages) == (ops[node.name].out_streams()[output].width, borders, 2 * borders)
    assert not links


def test_distance_is_added_to_what_a_path_takes_without_it(model, mapped):
    timing = found(model)
    for node in mapped.nodes:
        assert node.without == 2.0 and node.ns.taken == pytest.approx(2.0 + node.corner_ns, abs=2e-3)
    for link in mapped.links[:-1]:
        ports = [link.source, *filter(None, link.via.split(", ")), link.target]
        base = max(max(timing[a].to_ports, timing[b].to_ports) + 0.5 for a, b in itertools.pairwise(ports))
        assert link.without == pytest.approx(base, abs=1e-3)
        for by in ("low", "taken", "high"):
            assert getattr(link.ns, by) == pytest.approx(
                max(base + getattr(link.wire, by), wires().border if link.borders else 0), abs=2e-3
            )
        assert link.wire.low <= link.wire.taken + 2e-3 and link.wire.taken <= link.wire.high + 2e-3
    reset = mapped.links[-1]
    assert (reset.source, reset.stages) == ("ap_rst_n", reset_path(model).stages)
    assert reset.ns.taken == pytest.approx(reset_path(model).taken + reset.wire.taken, abs=2e-3) and reset.borders == 2


def test_what_is_over_the_clock_is_counted_and_the_worst_are_named(mapped):
    slow = mapped.model_copy(update={"clk_ns": 2.0 + np.median([n.corner_ns for n in mapped.nodes]) + mapped.uncertainty_ns})
    over = [n for n in slow.nodes if n.ns.taken > slow.clk_ns - 0.15]
    assert 0 < len(over) < len(slow.nodes) and {n.node for n in slow.slow_nodes()} == {n.node for n in over}
    assert f"{len(over)} of {len(slow.nodes)} nodes and " in slow.text
    table, nodes, links = place_tables(slow)
    assert table.rows[0][2] == f"{len(over)} of {len(slow.nodes)}"
    slowest = max(slow.nodes, key=lambda n: n.ns.taken)
    assert nodes.rows[0][:4] == (slowest.node, str(slowest.slr), f"{slowest.corner_ns:.2f}", "2.00") and len(nodes.rows) <= WORST
    ns = [float(row[-2]) for row in links.rows]
    assert ns == sorted(ns, reverse=True) and len(place_tables(slow, whole=True)[2].rows) == len(slow.links)


def test_what_is_over_the_clock_is_a_fault_of_the_verdict(model, mapped):
    quick = mapped.model_copy(update={"clk_ns": 100.0})
    assert not [text for text in faults(summary_of(model, quick), {}) if text.startswith("Placed on the part")]
    slow = mapped.model_copy(update={"clk_ns": 1.0})
    assert f"Placed on the part, {slow.text}." in list(faults(summary_of(model, slow), {}))


@pytest.mark.whole
def test_without_synthesis_links_alone_are_judged_and_that_is_said(unmapped):
    assert not unmapped.mapped and not unmapped.slow_nodes() and all(node.ns is None for node in unmapped.nodes)
    assert {link.without for link in unmapped.links[:-1]} == {wires().unmapped_link}
    assert re.match(r"with distance \d+ of \d+ links take longer", unmapped.text)
    assert unmapped.text.endswith("paths inside of units are not judged, as Yosys did not map them")
    assert [table.title for table in place_tables(unmapped)] == ["Places: over the clock", "Links with distance: the slowest"]


def test_what_is_in_no_slr_is_all_in_one(model):
    """In the one that it fills least: of a U200 beside its shell SLR1 has half as much as the others."""
    open_ = placed(cut_at())
    for node in open_.graph.node:
        getCustomOp(node).set_nodeattr("slr", -1)
    places = design_places(open_, get_part("U200").with_shell("xdma"), estimated(open_), ESTIMATE, CLK_NS, {})
    assert {node.slr for node in places.nodes} == {0} and places.nodes
    getCustomOp(open_.graph.node[0]).set_nodeattr("slr", 1)
    with pytest.raises(UserError, match="cannot be placed: it is in no SLR, and others are in one"):
        design_places(open_, get_part(U250), estimated(open_), ESTIMATE, CLK_NS, {})


def test_links_that_are_too_long_get_the_registers_that_they_need():
    """The producer is the unit behind FIFOs and converters; of n registers a piece is an n + 1st of the way."""
    part, free = get_part("U50").with_shell("xdma"), 0.01
    clk_ns = wires().unmapped_link + wires().uncertainty + free
    graph = placed([0] * 7)
    before = design_places(graph, part, estimated(graph), ESTIMATE, clk_ns, {})
    far = far_links(graph, before, "taken")
    slow = {(link.source, link.target): link for link in before.slow_links() if link.target != "ap_rst_n" and link.source != "ap_rst_n"}
    assert far and len(far) <= len(slow)
    units = {node.name: len(node.output) for node in network().graph.node}
    assert all(name in units and output < units[name] for name, output in far)
    needed = {ends: -(-link.wire.taken // free) - 1 for ends, link in slow.items()}
    assert max(far.values()) == max(needed.values()) and min(far.values()) >= 1

    model = network()
    for node in model.graph.node:
        getCustomOp(node).set_nodeattr("slr", 0)
        getCustomOp(node).set_nodeattr("link_stages", [far.get((node.name, output), 0) for output in range(len(node.output))])
    graph = model.transform(InsertStreams())
    after = design_places(graph, part, estimated(graph), ESTIMATE, clk_ns, {})
    late = [sum(link.ns.taken > clk_ns - 0.15 for link in places.links[:-1]) for places in (before, after)]
    assert late[1] < late[0]
    chains = {link.via: link for link in after.links if link.via}
    assert chains and all(link.stages in far.values() and not link.borders for link in chains.values())


def test_links_of_a_crossing_have_all_of_their_edges(model):
    units = {n.name: i for i, n in enumerate(n for n in model.graph.node if not getCustomOp(n).is_crossing)}
    for link, edges in links_of(model, units):
        assert len(edges) == 1 + (len(link.name.split(", ")) if link.name else 0)
        assert all(a.consumer.name == b.producer.name for a, b in itertools.pairwise(edges))


# --- pictures ------------------------------------------------------------------------------------


def hue_distance(a, b) -> float:
    """Between colours as paler or darker ones of a kind are alike: what differs from grey, by its direction."""
    a, b = (np.array(colour) - np.mean(colour) for colour in (a, b))
    return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def summary_of(model, places: PlacedDesign) -> Summary:
    from tests.summaries import summary

    return summary(pruned=True).model_copy(update={"places": places})


def test_the_floor_plan_has_each_unit_in_its_colour(model, mapped):
    figure = build_picture(summary_of(model, mapped), "places")
    image = np.asarray(figure.axes[0].images[0].get_array())
    assert image.shape == (960, 296, 3)
    ground = ground_of(mapped)
    seen = 0
    for node in mapped.nodes:
        for block in blocks(node, ground):
            if block.kind == 0:
                column = next(c for c in range(*block.columns) if ground.dies[0].kind[c] == 0)
                row = ground.bottom[node.slr] + int(block.rows[0])
                nearest = min(COLOURS, key=lambda kind: hue_distance(image[row, column], to_rgb(COLOURS[kind])))
                assert nearest == kind_of(node.op_type)
                seen += 1
    assert seen >= len(mapped.nodes)
    assert "SLR3" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_the_page_has_the_floor_plan_and_the_shell(model):
    part = get_part("U250").with_shell("xdma")
    places = design_places(model, part, estimated(model), ESTIMATE, CLK_NS, {})
    drawn = str(place_picture(summary_of(model, places), "places"))
    assert "taken by the shell xdma" in drawn and drawn.count("SLR") >= 4 and places.text in drawn
    assert all(f"{node.node}: " in drawn for node in places.nodes if node.areas)
    titles = [table.title for table in build_tables(summary_of(model, places))]
    assert "Places: over the clock" in titles


def test_a_build_without_places_has_no_picture_of_them():
    from tests.summaries import summary

    with pytest.raises(UserError, match="--what places: this build has none of it"):
        build_picture(summary(pruned=True), "places")
    assert place_picture(summary(pruned=True), "places") is None


# --- Pblocks -------------------------------------------------------------------------------------

RANGE = re.compile(r"(\w+)_X(\d+)Y(\d+):\1_X(\d+)Y(\d+)")


def run_constraints(text: str, cells: tuple[str, ...], work: Path):
    (work / PLACES).write_text(text)
    script = work / "run.tcl"
    script.write_text(f"set vivado::state(synthesised) 1\nread_xdc {{{work / PLACES}}}\n")
    return run_script(script, work, Netlist(cells))


def test_pblocks_hold_every_unit_in_sites_of_its_slr_and_no_site_twice(model, mapped, tmp_path):
    text = place_constraints(model, mapped, "top")
    cells = tuple(f"{instance(n.name)}/{cell}" for n in model.graph.node for cell in getCustomOp(n).unit_cells())
    calls = run_constraints(text, cells, tmp_path)
    sites, slrs, holds = {}, {n.node: n.slr for n in mapped.nodes}, {}
    for call in calls:
        if call.name == "add_cells_to_pblock":
            pblock, *added = call.arguments
            holds |= dict.fromkeys(added, pblock.removeprefix("top_"))
        if call.name != "resize_pblock":
            continue
        name = call.arguments[0].removeprefix("top_")
        for kind, *numbers in RANGE.findall(call.options["-add"]):
            x0, y0, x1, y1 = map(int, numbers)
            columns, rows = {"SLICE": (233, 240), "DSP48E2": (32, 96), "RAMB36": (14, 48), "URAM288": (5, 64)}[kind]
            assert x0 <= x1 < columns and slrs[name] * rows <= y0 <= y1 < (slrs[name] + 1) * rows
            for site in ((kind, x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)):
                assert sites.setdefault(site, name) == name
    used = estimated(model)
    for name in slrs:
        own = [kind for kind, *_ in (site for site, of in sites.items() if of == name)]
        assert 8 * own.count("SLICE") >= used[name].LUT
        assert (
            own.count("RAMB36") >= used[name].BRAM36 and own.count("DSP48E2") >= used[name].DSP and own.count("URAM288") >= used[name].URAM
        )
    crossings = {instance(n.name) for n in model.graph.node if getCustomOp(n).is_crossing}
    assert holds == {cell: cell.split("/")[0].removeprefix(instance("")) for cell in cells if cell.split("/")[0] not in crossings}


def test_a_range_that_is_none_or_a_cell_that_is_not_there_is_found(model, mapped, tmp_path):
    text = place_constraints(model, mapped, "top")
    cells = tuple(f"{instance(n.name)}/{cell}" for n in model.graph.node for cell in getCustomOp(n).unit_cells())
    with pytest.raises(ScriptError, match="no range"):
        run_constraints(text.replace("SLICE_X", "SLICES_X", 1), cells, tmp_path)
    with pytest.raises(ScriptError, match="no such Pblock, or no such cell"):
        run_constraints(text, cells[1:], tmp_path)


def test_places_of_another_design_are_refused(model, mapped):
    moved = mapped.model_copy(update={"nodes": mapped.nodes[1:]})
    with pytest.raises(UserError, match=f"the places are of another design, which differs in {mapped.nodes[0].node}"):
        place_constraints(model, moved, "top")


# --- the bundled example -------------------------------------------------------------------------


def test_the_bundled_example_is_placed_by_its_estimates(tmp_path):
    """On a part without a shell, as an option of a build that stops after its estimates; nothing else of the build changes."""
    plain, with_places = (
        build(BuildOptions(model=None, output_dir=tmp_path / name, fpga_part="xczu7ev", estimate_only=True, places=places))
        for name, places in (("plain", False), ("places", True))
    )
    assert Summary.load(plain).places is None
    summary = Summary.load(with_places)
    places = summary.places
    assert places.part == "xczu7ev" and places.method == ESTIMATE and summary.methods["places"] == ESTIMATE
    used = {row.node: row for row in summary.resources.per_node}
    units = [
        SimpleNamespace(name=n.node, slr=n.slr, uses=(-(-used[n.node].LUT // 8), used[n.node].DSP, int(np.ceil(used[n.node].BRAM36)), used[n.node].URAM))
        for n in places.nodes
    ]  # fmt: skip
    regions = [SimpleNamespace(areas=n.sites) for n in places.nodes]
    assert illegal(SimpleNamespace(ground=Ground.of(get_part("xczu7ev")), units=units, regions=regions)) == []
    assert (plain / "auto_folding_config.json").read_bytes() == (with_places / "auto_folding_config.json").read_bytes()
    assert (plain / "final_hw_config.json").read_bytes() == (with_places / "final_hw_config.json").read_bytes()
    one, two = (json.loads(s.model_dump_json(exclude={"places", "time_s", "methods"})) for s in (Summary.load(plain), summary))
    assert one == two


@pytest.mark.whole
@pytest.mark.slow
def test_a_build_gives_registers_to_streams_with_a_long_way(tmp_path, small_build):
    """At a clock at which links are too long fewer are then; the folding file has the registers, and the plan is the same but for them."""
    options = {"model": small_build.model, "fpga_part": "xck26", "estimate_only": True, "places": True, "clk_ns": 2.5}
    plain, registered = (
        Summary.load(build(BuildOptions(output_dir=tmp_path / name, link_registers=by, **options)))
        for name, by in (("plain", None), ("registered", "taken"))
    )
    late = [sum(link.source != "ap_rst_n" for link in s.places.slow_links()) for s in (plain, registered)]
    assert late[1] < late[0]
    config = json.loads((tmp_path / "registered" / "final_hw_config.json").read_text())
    asked = sum(sum(node.get("link_stages", [0])) for node in config.values())
    chains = {link.via: link.stages for link in registered.places.links if link.via}
    more = registered.plan.latency_cycles - plain.plan.latency_cycles
    assert asked == sum(chains.values()) > 0 and 0 < more <= asked
    assert registered.plan == plain.plan.model_copy(update={"latency_cycles": registered.plan.latency_cycles})
    luts = sum(row.LUT for row in registered.resources.per_node if row.node in chains)
    log = (tmp_path / "registered" / "build_dataflow.log").read_text()
    assert f"{asked} registers are on {len(chains)} streams, a cycle each and {luts:,} LUTs together; " in log


def test_registers_are_for_units_with_places(tmp_path):
    with pytest.raises(UserError, match="--link-registers is for units with places: add --places"):
        BuildOptions(output_dir=tmp_path / "b", fpga_part="xczu7ev", link_registers="taken")


def test_places_need_columns(tmp_path):
    with pytest.raises(UserError, match="not possible on xczu2eg: the columns of its die are not known"):
        BuildOptions(output_dir=tmp_path / "b", fpga_part="xczu2eg", places=True)
    with pytest.raises(UserError, match="--places is not possible on LFE5U-85F"):
        BuildOptions(output_dir=tmp_path / "b", board="LFE5U-85F", places=True)
    with pytest.raises(UserError, match="the columns of its die are not known"):
        Ground.of(replace(get_part("xczu7ev"), device="xcnew"))
