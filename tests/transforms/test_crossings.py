"""Networks cut into SLRs: the same results at the same interval, and every unit in its place."""

import re
from itertools import combinations

import numpy as np
import pytest
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.records.timing import slr_crossings
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator
from finn_vitprune.builds.stitched.slr_constraints import slr_constraints
from finn_vitprune.builds.stitched.stitch import CONSTRAINTS, TOP, StitchedDesign, stitch
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.sim import Stimulus
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.planning.slr import crossing_bits, used_by_slr
from finn_vitprune.transforms.streams.edges import stream_edges
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles
from finn_vitprune.transforms.streams.node_names import node_names
from tests.sampling import sampled, spread

PART = "xcu250-figd2104-2L-e"
TOKENS, CHANNELS = 9, 8
STALLS = Stimulus(seed=3, pause=0.2, stall=0.3), Stimulus(seed=4, pause=0.0, stall=0.5, burst=25), Stimulus(seed=5, pause=0.4)


def network():
    """A residual block in the branch of another, on streams of 1, 2, 4 and 8 elements a beat, nodes in graph order.

    y = x + (m + r), n = norm(x), m = matrix unit(n), r = requant(n).
    """
    rng = np.random.default_rng(0)
    shape = {"tokens": TOKENS, "channels": CHANNELS}
    wide = {"inputDataType": "INT16"}
    nodes = []

    def node(op, ins, outs, **attributes):
        nodes.append(make_node(f"{op}_rtl", ins, outs, **attributes))

    node("VitFork", ["x"], ["a0", "a1"], **shape, **wide, SIMD=2)
    node("VitLayerNorm", ["a0"], ["b"], **shape, SIMD=4, eps=3, mult=30000, shift=14, outputDataType="INT8")
    node("VitFork", ["b"], ["c0", "c1"], **shape, inputDataType="INT8", SIMD=4)
    node(
        "BlockSparseMVAU",
        ["c0", "w", "bias", "mult"],
        ["d"],
        tokens=TOKENS,
        MW=CHANNELS,
        MH=CHANNELS,
        block=4,
        SIMD=2,
        PE=2,
        TOKENS=4,
        in_width=2,
        out_width=2,
        shift=20,
        mult_bits=16,
        column_blocks=[2, 2],
        inputDataType="INT8",
        weightDataType="INT4",
        outputDataType="INT16",
    )
    node(
        "VitRequant", ["c1", "m"], ["e"], **shape, SIMD=8, shift=6, per_channel=0, mult_bits=8, inputDataType="INT8", outputDataType="INT16"
    )
    node("VitAdd", ["d", "e"], ["f"], **shape, SIMD=1)
    node("VitAdd", ["f", "a1"], ["y"], **shape, SIMD=4)
    weights = {
        "w": rng.integers(-7, 8, (CHANNELS, CHANNELS)),
        "bias": rng.integers(-99, 99, CHANNELS),
        "mult": rng.integers(1 << 14, 1 << 16, CHANNELS),
        "m": np.array([90]),
    }
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, TOKENS, CHANNELS)) for n in ("x", "y")]
    model = ModelWrapper(helper.make_model(helper.make_graph(nodes, "residual", info[:1], info[1:])))
    for name, value in weights.items():
        model.set_initializer(name, value.astype(np.float32))
    model.set_tensor_datatype("x", DataType["INT16"])
    for n in model.graph.node:
        op = getCustomOp(n)
        for name, stream in zip(n.output, op.out_streams()):
            model.set_tensor_shape(name, list(stream.shape))
            model.set_tensor_datatype(name, stream.dtype)
        if n.op_type == "BlockSparseMVAU_rtl":
            op.plan(weights["w"])
    return model.transform(GiveUniqueNodeNames())


def placed(slrs):
    """The network with ``slr`` set, and what stands between."""
    model = network()
    for node, slr in zip(model.graph.node, slrs, strict=True):
        getCustomOp(node).set_nodeattr("slr", int(slr))
    return model.transform(InsertStreams())


def cut_at(*places):
    """SLRs of the seven nodes with cuts before these."""
    return np.searchsorted(places, np.arange(7), side="right")


def stitched(model, folder):
    for node in model.graph.node:
        op = getCustomOp(node)
        op.set_nodeattr("code_gen_dir_ipgen", str(folder / node.name))
        op.code_generation_ipgen(model, PART, 5.0)
    return stitch(model, folder / "stitched")


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(1).integers(-20_000, 20_000, (6, TOKENS, CHANNELS))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, frames):
    """Results of the golden model; of the network in one piece the interval, and what its latency exceeds the formula by."""
    model = network().transform(InsertStreams())
    accelerator = RtlAccelerator(stitched(model, tmp_path_factory.mktemp("whole")))
    run = accelerator.run(frames)
    expected = golden.run(network(), {"x": frames})["y"].reshape(len(frames), -1)
    assert np.array_equal(run.logits, expected)
    return expected, run.interval_cycles, accelerator.run(frames[:1]).latency_cycles - latency_cycles(model)


def check(slrs, folder, frames, whole):
    """Bit-exact and at the interval of the whole network without pauses, bit-exact with pauses and stalls.

    Its latency is longer by as much as the formula says.
    """
    expected, interval, beyond = whole
    model = placed(slrs)
    accelerator = RtlAccelerator(stitched(model, folder))
    run = accelerator.run(frames)
    assert np.array_equal(run.logits, expected)
    assert run.interval_cycles == interval, (run.interval_cycles, interval)
    assert accelerator.run(frames[:1]).latency_cycles == latency_cycles(model) + beyond
    for stimulus in STALLS:
        assert np.array_equal(accelerator.run(frames, stimulus).logits, expected), stimulus


@pytest.mark.parametrize("place", spread(range(1, 7), 4))
def test_two_slrs_cut_anywhere(place, tmp_path, frames, whole):
    check(cut_at(place), tmp_path, frames, whole)


FOUR = list(combinations(range(1, 7), 3))


@pytest.mark.slow
@pytest.mark.parametrize("places", sampled(FOUR[::3] + FOUR[1::3] + FOUR[2::3], 2), ids=str)
def test_four_slrs_cut_anywhere(places, tmp_path, frames, whole):
    check(cut_at(*places), tmp_path, frames, whole)


@pytest.mark.slow
def test_streams_that_go_back(tmp_path, frames, whole):
    check([3, 0, 2, 1, 1, 0, 3], tmp_path, frames, whole)


def test_where_the_crossings_stand():
    model = placed(cut_at(2, 3, 5))  # fork, norm | fork | matrix, requant | add, add
    found = [getCustomOp(n) for n in model.get_nodes_by_op_type("VitCrossing_rtl")]
    producers = [model.find_producer(op.onnx_node.input[0]).name for op in found]
    assert sorted(op.get_nodeattr("stages") for op in found) == [2, 2, 2, 2, 2, 6]  # a1 goes from SLR 0 to SLR 3
    assert [op.get_nodeattr("SIMD") for op in found if op.get_nodeattr("stages") == 6] == [2]  # fork 2, add 4 a beat
    assert all(op.get_nodeattr("slr") == -1 for op in found) and len(producers) == 6
    for edge in stream_edges(model):
        ends = [getCustomOp(node) for node in (edge.producer, edge.consumer)]
        if not any(op.is_crossing for op in ends):
            assert len({op.get_nodeattr("slr") for op in ends}) == 1, edge  # FIFOs and converters on the side they stand on
        elif not ends[1].is_crossing:
            assert ends[0].in_streams()[0].simd == ends[1].in_streams()[edge.input].simd


def test_bits_at_each_cut():
    """By hand: width of the narrower end of each stream over the cut, a1 (2 x 16 bits) past all of them."""
    a1 = 32
    assert crossing_bits(network()).tolist() == [a1 + 2 * 16, a1 + 4 * 8, a1 + 2 * 8 + 4 * 8, a1 + 16 + 4 * 8, a1 + 16 + 16, a1 + 16]


LINKS = {"VitFork_rtl_0": [2, 3], "VitLayerNorm_rtl_0": [1], "BlockSparseMVAU_rtl_0": [2]}
"""Registers on four streams: before the norm and beside the outer residual, before the inner fork, before the inner add."""


def registered(slrs, links=LINKS):
    """The network with registers on streams, and what stands between."""
    model = network()
    for node, slr in zip(model.graph.node, slrs, strict=True):
        getCustomOp(node).set_nodeattr("slr", int(slr))
        getCustomOp(node).set_nodeattr("link_stages", links.get(node.name, [0]))
    return model.transform(InsertStreams())


def test_registers_on_streams_in_one_slr_change_the_latency_alone(tmp_path, frames, whole):
    expected, interval, beyond = whole
    model = registered([-1] * 7)
    assert sorted(getCustomOp(n).get_nodeattr("stages") for n in model.get_nodes_by_op_type("VitCrossing_rtl")) == [1, 2, 2, 3]
    accelerator = RtlAccelerator(stitched(model, tmp_path))
    run = accelerator.run(frames)
    assert np.array_equal(run.logits, expected) and run.interval_cycles == interval
    latency = accelerator.run(frames[:1]).latency_cycles
    assert latency == latency_cycles(model) + beyond and latency > latency_cycles(network().transform(InsertStreams())) + beyond
    for stimulus in STALLS:
        assert np.array_equal(accelerator.run(frames, stimulus).logits, expected), stimulus


def test_registers_count_in_their_slr_and_are_called_so():
    """By hand: each stage takes three LUTs and one for each bit; a0 and a1 have 2 x 16 bits, b 4 x 8, d 16."""
    plain, model = placed([2] * 7), registered([2] * 7)
    used = [used_by_slr(m, 3) for m in (plain, model)]
    fifos = [sum(getCustomOp(n).resources().LUT for n in m.graph.node if getCustomOp(n).is_buffer) for m in (plain, model)]
    more = used[1][2].LUT - used[0][2].LUT - (fifos[1] - fifos[0])
    assert more == 2 * (32 + 3) + 3 * (32 + 3) + (32 + 3) + 2 * (16 + 3)
    chains = [n.name for n in model.get_nodes_by_op_type("VitCrossing_rtl")]
    assert all(" registers" in node_names(model)[name].layer for name in chains) and slr_crossings(model) == []
    over = placed(cut_at(3))
    assert all(" SLR crossing" in node_names(over)[n.name].layer for n in over.get_nodes_by_op_type("VitCrossing_rtl"))


@pytest.mark.parametrize(
    "slrs, stages, message",
    [
        (cut_at(1), [2], "link_stages 2 for output 0 of node VitFork_rtl_0 is not possible: the stream crosses SLRs"),
        ([0] * 7, [0, -1], "link_stages -1 for output 1 of node VitFork_rtl_0 is not possible: use 0 or more"),
    ],
)
def test_registers_that_cannot_be_are_refused(slrs, stages, message):
    with pytest.raises(UserError, match=message):
        registered(slrs, {"VitFork_rtl_0": stages})


def test_what_stands_in_each_slr():
    """All of the network, and of each crossing one hop on either side of a border: a1 (32 bits) passes two SLRs."""
    model = placed(cut_at(2, 3, 5))
    used = used_by_slr(model, 4)
    assert sum(used, Estimate()) == sum((getCustomOp(n).resources() for n in model.graph.node), Estimate())
    matrix = [getCustomOp(n).resources() for n in model.graph.node if getCustomOp(n).get_nodeattr("slr") == 1]
    hops = [2 * (32 + 3), 32 + 3, 2 * 8 + 3, 4 * 8 + 3]  # a1 in and out, b in, c0 and c1 out
    found = used[1].LUT - sum(e.LUT for e in matrix)
    assert found == sum(hops), (found, hops)


def test_nothing_changes_without_slrs():
    model = network().transform(InsertStreams())
    assert not model.get_nodes_by_op_type("VitCrossing_rtl") and slr_constraints(model, TOP) == ""
    assert not any(a.name == "slr" for node in model.graph.node for a in node.attribute)
    one = placed([0] * 7)
    assert not one.get_nodes_by_op_type("VitCrossing_rtl") and len(one.graph.node) == len(model.graph.node)


def test_a_network_placed_in_part_is_refused():
    with pytest.raises(UserError, match="slr is set for 6 of 7 nodes, not for VitAdd_rtl_1: set it for all nodes or for none"):
        placed([0, 0, 0, 1, 1, 1, -1])


def test_an_slr_that_the_part_lacks_is_refused():
    op = getCustomOp(network().graph.node[3])
    op.set_nodeattr("slr", 4)
    with pytest.raises(UserError, match="BlockSparseMVAU_rtl_0: slr 4 is not possible on xcu250: use 0 to 3"):
        op.check_part(get_part("xcu250"))
    op.set_nodeattr("slr", 1)
    op.check_part(get_part("xcu250"))
    with pytest.raises(UserError, match="slr 1 is not possible on xczu7ev: use 0, or -1"):
        op.check_part(get_part("xczu7ev"))


def pblocks(text):
    """Pblock to its SLR and its cells, read as Vivado does, line by line."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        if m := re.fullmatch(r"create_pblock (\w+)", line):
            assert m[1] not in found
            found[m[1]] = [None, []]
        elif m := re.fullmatch(r"resize_pblock \[get_pblocks (\w+)\] -add \{SLR(\d)\}", line):
            assert found[m[1]][0] is None
            found[m[1]][0] = int(m[2])
        else:
            m = re.fullmatch(r"add_cells_to_pblock \[get_pblocks (\w+)\] \[get_cells (\w+)/inst\]", line)
            found[m[1]][1].append(m[2])
    return dict(found.values())


def test_the_constraint_file_names_every_unit_once_in_its_slr(tmp_path):
    slrs = cut_at(2, 3, 5)
    model = placed(slrs)
    design = stitched(model, tmp_path)
    text = (design.folder / CONSTRAINTS).read_text()
    assert "was not run in Vivado" in text.splitlines()[0]
    found = pblocks(text)
    assert sorted(found) == [0, 1, 2, 3]
    instances = re.findall(r"^    \w+ (inst_\w+) \($", (design.folder / f"{TOP}.v").read_text(), re.MULTILINE)
    named = [cell for cells in found.values() for cell in cells]
    assert len(named) == len(set(named))
    crossings = {f"inst_{n.name}" for n in model.get_nodes_by_op_type("VitCrossing_rtl")}
    assert set(named) == set(instances) - crossings and len(crossings) == 6
    for node, slr in zip(network().graph.node, slrs):
        assert f"inst_{node.name}" in found[slr]


def test_a_design_without_slrs_has_no_constraint_file(tmp_path):
    placed_design = stitched(placed(cut_at(3)), tmp_path)
    assert CONSTRAINTS in placed_design.digests and (placed_design.folder / CONSTRAINTS).is_file()
    design = stitched(network().transform(InsertStreams()), tmp_path)
    assert CONSTRAINTS not in design.digests and not (design.folder / CONSTRAINTS).is_file()
    assert StitchedDesign.load(design.folder).digests == design.digests
