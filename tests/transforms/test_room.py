"""Room for other networks: what it is made of, and token drops that pass all tokens."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from finn.builder.build_dataflow_config import DataflowBuildConfig
from onnx import helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.builds import steps
from finn_vitprune.builds.networks import Reservation, flat_hardware
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.engines.bind import bind
from finn_vitprune.transforms.engines.insert_engines import InsertEngines
from finn_vitprune.transforms.engines.room import EVERYTHING, with_room
from finn_vitprune.transforms.engines.same_drops import SameDrops, drop_encoders
from finn_vitprune.transforms.planning.plan_options import KINDS, PlanOptions, room_of
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.node_names import kind_of
from tests.sampling import sampled
from tests.vit_models import random_vit

PART = "xczu7ev-ffvc1156-2-e"
VIT = {"image": 6, "dim": 32, "heads": 4, "depth": 3, "drop_at": (1,)}
SIZES = ("tokens", "channels", "MW", "MH", "heads", "queries", "first", "k", "mult", "shift", "tokens_in")


def hardware(tmp_path, **options) -> ModelWrapper:
    """The flat network of a random ViT."""
    model, _ = random_vit(**VIT | options)
    cfg = DataflowBuildConfig(output_dir=str(tmp_path), synth_clk_period_ns=5.0, generate_outputs=[], fpga_part=PART)
    return flat_hardware(model, cfg).hardware


def sizes(model: ModelWrapper) -> list[tuple[str, dict[str, int]]]:
    """Op type and sizes of every node, shifts of products aside."""
    found = []
    for node in model.graph.node:
        op, kind = getCustomOp(node), kind_of(node)
        names = [n for n in SIZES if n in op.get_nodeattr_types() and (kind == "VitTokenDrop" or n not in ("mult", "shift"))]
        found.append((kind, {name: op.get_nodeattr(name) for name in names}))
    return found


def run(model: ModelWrapper, inputs: np.ndarray) -> np.ndarray:
    return golden.run(model, {model.graph.node[0].input[0]: inputs})[model.graph.node[-1].output[0]]


def test_a_flat_network_whose_weights_are_loaded_can_be_planned(tmp_path):
    """Its ends are the hardware's streams, between which the load port and its end go: `explore` plans such graphs."""
    model = hardware(tmp_path)
    for node in model.get_nodes_by_op_type("BlockSparseMVAU_rtl"):
        getCustomOp(node).set_nodeattr("ram_style", "ultra")
    ops = [node.op_type for node in model.transform(InsertLoadPort(design=0)).graph.node]
    assert (ops[0], ops[-1]) == ("VitLoadPort_rtl", "VitLoadEnd_rtl") and len(ops) == len(model.graph.node) + 2


@pytest.mark.whole
def test_room_for_the_dense_network_has_the_sizes_of_a_dense_one(tmp_path):
    """But for the weights; the dense network drops no token, and gets drops that pass all."""
    room = with_room(hardware(tmp_path, keep="0.5", seed=1), EVERYTHING)
    dense = hardware(tmp_path, keep="1.0", seed=2, drop_at=())
    encoders = drop_encoders(room)
    assert encoders == {1} and drop_encoders(dense) == set()
    assert sizes(room.transform(SameDrops(encoders))) == sizes(dense.transform(SameDrops(encoders)))
    for node in room.get_nodes_by_op_type("BlockSparseMVAU_rtl"):
        op = getCustomOp(node)
        assert BlockMask.of(room.get_initializer(node.input[1]), op.get_nodeattr("block")).grid.all()
        op.verify_node()


@pytest.mark.parametrize("share", sampled([0.1, 0.5, 3.0], 1))
def test_a_share_more_is_between_the_network_and_the_dense_one(share, tmp_path):
    own = hardware(tmp_path, keep="0.5", seed=1)
    before = own.model.SerializeToString()
    room, dense = with_room(own, share), with_room(own, EVERYTHING)
    assert own.model.SerializeToString() == before, "the network itself is as it was"
    rows = [sizes(model) for model in (own, room, dense)]
    for (kind, least), (_, found), (_, most) in zip(*rows):
        for name in set(found) - {"mult", "shift"}:
            assert least[name] <= found[name] <= most[name], f"{kind} {name}"
    kept = [
        sum(sum(getCustomOp(node).get_nodeattr("column_blocks")) for node in model.get_nodes_by_op_type("BlockSparseMVAU_rtl"))
        for model in (own, room, dense)
    ]
    assert kept[0] < kept[1] <= kept[2]
    for node in room.graph.node:
        getCustomOp(node).verify_node()


def test_drops_that_pass_all_tokens_change_nothing(tmp_path):
    model = hardware(tmp_path, drop_at=(), seed=3)
    source = getCustomOp(model.graph.node[0]).in_streams()[0]
    pixels = np.random.default_rng(1).integers(0, 256, (2, *source.shape[1:]))
    added = model.transform(SameDrops({1, 2, 3}))
    assert drop_encoders(added) == {1, 2}, "the last encoder works for the class token alone"
    assert np.array_equal(run(added, pixels), run(model, pixels))
    dealt = InsertEngines(bind(added, [2, 1]))
    assert drop_encoders(added.transform(dealt)) == {1, 2}


def test_scores_of_encoders_with_other_heads_have_one_type_in_an_engine(tmp_path):
    """A score of four heads may be larger than those of two: streams of an engine hold both."""
    model = hardware(tmp_path, drop_at=(1, 2), seed=4)
    drops = [getCustomOp(node) for node in model.get_nodes_by_op_type("VitTokenDrop_rtl")]
    drops[0].set_nodeattr("scoreDataType", "UINT18")
    drops[1].set_nodeattr("scoreDataType", "UINT21")
    (engine,) = (getCustomOp(node) for node in model.transform(InsertEngines(bind(model, [3]))).graph.node if kind_of(node) == "VitEngine")
    types = {getCustomOp(n).get_nodeattr("scoreDataType") for n in engine.body.graph.node if kind_of(n) == "VitTokenDrop"}
    attention = [getCustomOp(n) for n in engine.body.graph.node if kind_of(n) == "PrunedAttention"]
    assert types == {"UINT21"} and all(op.get_nodeattr("scoreDataType") == "UINT21" for op in attention if op.get_nodeattr("scores"))


def test_what_is_reserved_is_models_and_room(tmp_path):
    model = tmp_path / "0.5"
    model.write_bytes(b"")
    for reserve, models, room in (
        (["a.onnx", "dense", "b.onnx"], (Path("a.onnx"), Path("b.onnx")), "dense"), (["0.2"], (), 0.2), ((0.2,), (), 0.2), ([], (), None),
        ([str(model)], (model,), None),  # a file that has the name of a number
    ):  # fmt: skip
        settings = BuildSettings(reserve=reserve)
        reservation = Reservation(settings.reserve)
        assert (reservation.models, reservation.room, reservation.loads) == (models, room, bool(reserve))
        assert BuildSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("texts, said", [
    (["0.2", "dense"], "--reserve 0.2 and dense: say the room once"), (["0"], "--reserve 0: use a share above 0"),
    (["-1"], "--reserve -1: use a share above 0"), (["nan"], "--reserve nan: use a share above 0"), (["inf"], "--reserve inf: use a share"),
])  # fmt: skip
def test_room_that_is_none_is_refused(texts, said):
    with pytest.raises(UserError, match=said):
        BuildSettings(reserve=texts)


def test_a_plan_counts_what_room_takes(monkeypatch):
    """Of a plan that takes all of its budget, and of loading that takes a tenth of that more: the next plan has so much less."""
    part, options = get_part(PART), PlanOptions(budget=Budget(LUT=0.5, DSP=0.4, BRAM=0.3, URAM=0.2))
    within, taken = [], {}

    def plan(model, build, options):
        within.append(options.budget)
        taken["planned"] = room_of(part, options.budget).sum(0)
        return model, Planned(
            goal="latency", interval_cycles=len(within), fits=True, gap=None, shell="none", budget=options.budget.given,
            used=dict.fromkeys(KINDS, 1.0), next_interval_cycles=1,
        )  # fmt: skip

    def load(model, networks):
        taken["planned"] = taken["planned"] * [1.1, 1, 1, 1]
        return model

    monkeypatch.setattr(steps, "_plan", plan)
    monkeypatch.setattr(steps, "_loadable", load)
    monkeypatch.setattr(steps, "used_by", lambda model, family: taken["planned"])
    model = ModelWrapper(helper.make_model(helper.make_graph([], "none", [], [])))
    _, summary = steps._planned(model, [], SimpleNamespace(part=part), options)
    assert [budget.LUT for budget in within] == pytest.approx([0.5, 0.45], abs=0.001) and within[-1].DSP == 0.4
    assert summary.budget == options.budget.given and 0.98 < summary.used["LUT"] <= 1 and summary.fits
    assert steps._planned(model, None, SimpleNamespace(part=part), options)[1].interval_cycles == len(within), "not loaded: one plan"
