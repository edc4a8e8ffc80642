"""All matrices of an engine on one array: the same bits, the cycles of the plan, kept by a folding file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.custom_ops.engine.array import VitArray
from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of
from finn_vitprune.errors import UserError
from finn_vitprune.report.summary import Summary
from finn_vitprune.transforms.engines.bind import bind, no_array
from finn_vitprune.transforms.engines.engine_streams import carried
from finn_vitprune.transforms.engines.engine_units import bind_units
from finn_vitprune.transforms.engines.fold_engines import write_folds
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.planning.partition import shared_in
from finn_vitprune.transforms.streams.latency import latency_cycles
from tests.sampling import sampled
from tests.transforms.test_embedding_pass import BUDGET, IMAGES, built_of, check_images_leave, flat, logits

ROLES = ("MLP 2", "MLP 1", "projection", "QKV")
SHARES = ("array", "array and patch embedding")
UNIT = "VitEngine_rtl_0_array_and_patch_embedding"
DEPTH = 2
FOLD = {"SIMD": 4, "PE": 4, "TOKENS": 4, "LANES": 2, "in_width": 8, "out_width": 16}


@pytest.fixture(scope="module")
def hardware() -> ModelWrapper:
    return flat(DEPTH)


def on_array(hardware: ModelWrapper, shares: str) -> tuple[ModelWrapper, VitEngine]:
    """The network on an engine with an array of one fold."""
    model = hardware.transform(DealEncoders(1, shares=shares))
    (engine,) = engines_of(model)
    write_folds(engine, {f"VitEngine_rtl_0_{shares.replace(' ', '_')}": FOLD})
    bind_units(engine)
    return model, engine


@pytest.mark.parametrize("shares", SHARES)
def test_the_partition_does_not_change_a_bit(hardware, shares):
    """Nor what streams carry: those at the array's ports are those at the units of the layers."""
    model, engine = on_array(hardware, shares)
    stream = getCustomOp(hardware.graph.node[0]).in_streams()[0]
    x = np.random.default_rng(3).integers(0, 256, (3, stream.tokens, stream.channels))
    assert np.array_equal(logits(model, x), logits(hardware, x))
    (array,) = (op for op in map(getCustomOp, engine.structure.graph.node) if isinstance(op, VitArray))
    roles = (*ROLES, *(["patch embedding"] if engine.embeds else []))
    assert list(engine.get_nodeattr("array")) == list(roles) and array.port_count == len(roles)
    streams = carried(engine)
    passes = len(engine.get_nodeattr("encoders"))
    for port, role in enumerate(roles):
        came, left = (streams[tensors[port]] for tensors in (array.onnx_node.input, array.onnx_node.output))
        wanted = [role == "patch embedding"] if passes > DEPTH else []
        assert (
            [frame is not None for frame in came] == [frame is not None for frame in left] == [role != "patch embedding"] * DEPTH + wanted
        )


@pytest.mark.parametrize("engines, options, reason", sampled([
    ((1, 1), {}, "it needs one engine of all encoders"), (1, {"bits": 4}, "inputs of QKV are INT4"),
], 2, several=True))  # fmt: skip
def test_what_cannot_be_on_an_array_is_refused_with_the_reason(engines, options, reason):
    model = flat(DEPTH, **options)
    found = no_array(model, bind(model, engines))
    if options:
        assert found == "" and no_array(model, bind(model, 1)) == ""
        with pytest.raises(UserError, match="the matrices cannot run on one array: its inputs are INT4, pixels UINT8"):
            model.transform(DealEncoders(engines, shares=SHARES[1]))
        return
    assert found.startswith(reason)
    with pytest.raises(UserError, match=f"the matrices cannot run on one array: {reason}"):
        model.transform(DealEncoders(engines, shares=SHARES[0]))


def test_the_names_of_units_tell_the_partition():
    assert shared_in(["VitEngine_rtl_0", UNIT]) == SHARES[1] and shared_in(["VitEngine_rtl_0_array"]) == SHARES[0]
    assert shared_in(["VitEngine_rtl_0_arrays", "VitEngine_rtl_0_QKV"]) == ""


def built(folder: Path, shares: str = SHARES[1], **more: object) -> Path:
    """The build of the network in ``folder``, planned for a short latency with this partition, or by a folding file."""
    goal = {} if "folding" in more else {"goal": "latency", "budget": BUDGET}
    return built_of(folder, shares, DEPTH, **(goal | more))


@pytest.fixture(scope="module")
def one_in_flight(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("array"))


@pytest.fixture(scope="module")
def two_in_flight(one_in_flight, tmp_path_factory) -> Path:
    """By the folding file of the first."""
    return built(tmp_path_factory.mktemp("two"), folding=one_in_flight / "auto_folding_config.json", frames_in_flight=2)


@pytest.fixture(scope="module")
def own_embedding(tmp_path_factory) -> Path:
    """The patch embedding on a unit of its own."""
    return built(tmp_path_factory.mktemp("own"), SHARES[0])


@pytest.fixture(params=["one_in_flight", *(pytest.param(name, marks=pytest.mark.whole) for name in ("two_in_flight", "own_embedding"))])
def either(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.slow
@pytest.mark.xdist_group("arrays")
def test_a_build_is_bit_exact_in_every_stream(either):
    """Images back to back, with pauses and stalls; every stream at the array's ports is compared in every pass."""
    s = Summary.load(either)
    assert s.verify.images == IMAGES and s.verify.stalled_images and s.verify.rtl_mismatches == 0 and s.verify.class_changes == 0
    streams = StitchedDesign.load(either / "stitched_ip").edges
    assert s.verify.traced_streams == len(streams) > 40 and s.verify.left_out_streams == 0
    names = {e.producer for e in streams}
    array = UNIT if UNIT in names else "VitEngine_rtl_0_array"
    for end in ("producer", "consumer"):
        assert len([e for e in streams if getattr(e, end) == array and not e.tags]) == len(ROLES) + (array == UNIT)


@pytest.mark.slow
@pytest.mark.xdist_group("arrays")
def test_cycles_are_those_of_the_plan(either):
    s, model = Summary.load(either), ModelWrapper(str(either / "intermediate_models" / "step_stitch.onnx"))
    (engine,) = engines_of(model)
    assert s.rtlsim.latency_cycles == pytest.approx(latency_cycles(model), rel=0.03)
    if engine.batch == 1:
        assert s.rtlsim.interval_cycles == pytest.approx(engine.get_exp_cycles(), rel=0.03)


@pytest.mark.slow
@pytest.mark.xdist_group("arrays")
def test_images_leave_whatever_beats_of_the_next_one_do_not_come(either):
    check_images_leave(either)


@pytest.mark.slow
@pytest.mark.xdist_group("arrays")
def test_a_folding_file_keeps_the_array(one_in_flight, tmp_path):
    file = one_in_flight / "auto_folding_config.json"
    assert UNIT in json.loads(file.read_text())
    again = built(tmp_path, folding=file, estimate_only=True)
    same, first = (Summary.load(folder).nodes for folder in (again, one_in_flight))
    assert [(n.node, n.cycles) for n in same] == [(n.node, n.cycles) for n in first]
    loaded = Summary.load(built(tmp_path, folding=file, estimate_only=True, loadable=True))
    assert UNIT in {n.node for n in loaded.nodes}
