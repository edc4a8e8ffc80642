"""VitSwitch and VitMerge: frames on branches, in the order of their tags."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from finn.util.basic import getHWCustomOp
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.custom_ops.engine.switch import VitSwitch
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus, beats
from finn_vitprune.sim.loads import read_loads
from tests.rtl.benches.helper import PART, PATTERNS, SHORT_RESET, random_stream
from tests.sampling import spread

# Tokens and branch of each encoder, channels, elements a beat.
SHAPES = [([3, 2, 1], [0, 1, 0], 6, 2), ([4, 0, 2, 0], [1, 0, 0, 1], 4, 4), ([1, 1], [0, 1], 3, 3), ([0, 5, 2], [0, 0, 1], 2, 1)]


def generated(kind, tokens, branches, channels, simd, loaded=0):
    """An op with HDL, its model, and the folder of the HDL."""
    attrs = {"tokens": tokens, "branches": branches, "channels": channels, "SIMD": simd, "inputDataType": "INT16", "loaded": loaded}
    probe = getHWCustomOp(make_node(f"{kind}_rtl", [], [], name="dut", **attrs))
    probe.verify_node()
    ins, outs = ([f"{side}{i}" for i in range(len(s))] for side, s in (("i", probe.in_streams()), ("o", probe.out_streams())))
    node = make_node(f"{kind}_rtl", ins, outs, name="dut", **attrs)
    model = ModelWrapper(helper.make_model(helper.make_graph([node], "unit", [], [])))
    op = getHWCustomOp(model.graph.node[0])
    keep = tempfile.TemporaryDirectory(prefix="vitprune-op-")
    op.set_nodeattr("code_gen_dir_ipgen", keep.name)
    op.code_generation_ipgen(model, PART, 5.0)
    return op, model, keep


def check(op, simulator, folder):
    """Assert that frames of encoders in random order pass on their branches in the order of the tags, with pauses, stalls and a reset."""
    tokens, branches = (list(op.get_nodeattr(name)) for name in ("tokens", "branches"))
    order = np.random.default_rng(1).integers(0, len(tokens), 24)
    one, many, ways = [], {i: [] for i in range(len(op.ways))}, len(op.ways)
    for number, encoder in enumerate(order):
        if tokens[encoder]:
            frame = random_stream(op.stream, 1, number)[:, : tokens[encoder]]
            packed = beats.pack(frame, op.stream)
            one.append(packed)
            many[branches[encoder]].append(packed)
    tags = beats.pack(order[:, None, None], TAGS)
    single, several = ("in", "out") if isinstance(op, VitSwitch) else ("out", "in")
    data = {f"{single}0_V": np.concatenate(one), f"{single}1_V": tags}
    data |= {f"{several}{i}_V": np.concatenate(parts) for i, parts in many.items()} | {f"{several}{ways}_V": tags}
    feed, want = ({name: value for name, value in data.items() if name.startswith(side)} for side in ("in", "out"))
    late = Stimulus(seed=23, pause={f"in{len(op.in_streams()) - 1}_V": 0.9}, stall=0.3, burst=20)
    for stimulus in (Stimulus(), *PATTERNS, late, Stimulus(seed=9, pause=0.2, stall=0.2, reset_at=20, reset_cycles=SHORT_RESET)):
        result = simulator.run(feed, want, data_dir=folder, stimulus=stimulus, idle_limit=3000, loads=read_loads(folder))
        assert result.ok, f"{stimulus}: {result.deadlock}, {result.mismatches}, {result.violations}"


@pytest.mark.parametrize("kind", ["VitSwitch", "VitMerge"])
@pytest.mark.parametrize("shape", spread(SHAPES, 4), ids=str)
def test_frames_pass_on_their_branches_in_order(kind, shape):
    op, _, keep = generated(kind, *shape)
    check(op, simulator_of(op), Path(keep.name))


@pytest.mark.parametrize("tokens, branches, message", [
    ([2], [0], "2 or more encoders"), ([0, 0], [0, 0], "one of them with tokens"), ([2, 2], [0, 2], "must be 0, 1"), ([2, 2], [0], "2 or more"),
])  # fmt: skip
def test_branches_that_do_not_go_together_are_refused(tokens, branches, message):
    with pytest.raises(UserError, match=message):
        generated("VitSwitch", tokens, branches, 2, 1)
