"""A folding file that is not for the model, or asks for what no unit has, is refused before anything is written."""

import json

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.api.design import Design
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.records.folding_file import check_folding_file
from finn_vitprune.errors import UserError
from finn_vitprune.report.build_verdict import latency_line, rate_line
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.parts import get_part
from tests.conftest import PART
from tests.vit_models import random_vit

pytestmark = pytest.mark.xdist_group("small_build")


@pytest.fixture
def fold(small_build, tmp_path):
    """Builds with the folding file of the small build, changed; returns the folder."""

    def build_with(change=lambda config: None, source="auto_folding_config.json", stop="step_insert_streams"):
        config = json.loads((small_build.folder / source).read_text())
        file = tmp_path / "folding.json"
        changed = change(config)
        file.write_text(changed if isinstance(changed, str) else json.dumps(config))
        return build(
            BuildOptions(model=small_build.model, output_dir=tmp_path / "b", fpga_part=PART, folding=file, stop_step=stop, synth="none")
        )

    return build_with


def one(node, **attributes):
    """A change that sets attributes of one node."""
    return lambda config: config.setdefault(node, {}).update(attributes)


def defaults(**attributes):
    return lambda config: config["Defaults"].update(attributes)


MVAU, ADD, ATTENTION, DROP = "BlockSparseMVAU_rtl_1", "VitAdd_rtl_0", "PrunedAttention_rtl_1", "VitTokenDrop_rtl_0"
REFUSED = {
    "node": (
        one("BlockSparseMVAU_rtl_30", PE=1),
        "the model has no node BlockSparseMVAU_rtl_30; delete its entry, or use BlockSparseMVAU_rtl_0 to BlockSparseMVAU_rtl_10",
    ),
    "op": (
        one("MVAU_hls_0", PE=1),
        "the model has no node MVAU_hls_0; delete its entry, or give the file of this model: its nodes are BlockSparseMVAU_rtl, PrunedAttention_rtl, VitAdd_rtl",
    ),
    "attribute": (one(MVAU, mem_mode="internal"), f"mem_mode cannot be set for node {MVAU}; use SIMD, PE, TOKENS"),
    "attribute of another op": (one(ADD, PE=1), f"PE cannot be set for node {ADD}; use SIMD, inFIFODepths"),
    "what it computes": (one(MVAU, MW=8), f"MW cannot be set for node {MVAU}; use SIMD"),
    "text": (one(ADD, SIMD="4"), f'SIMD "4" of node {ADD} is not possible; use 1, 2, 4, 8, 16$'),
    "fraction": (one(MVAU, PE=1.5), f"PE 1.5 of node {MVAU} is not possible; use an integer"),
    "truth": (one(MVAU, PE=True), f"PE true of node {MVAU} is not possible; use an integer"),
    "nothing": (one(MVAU, PE=None), f"PE null of node {MVAU} is not possible; use an integer"),
    "divisor": (one(ADD, SIMD=5), f"SIMD 5 of node {ADD} is not possible; use 1, 2, 4, 8, 16$"),
    "divisor of a matrix unit": (one(MVAU, PE=3), rf"PE 3 does not divide block size 8 \(node {MVAU}\): use 1, 2, 4 or 8"),
    "divisor of attention": (one(ATTENTION, SIMD=3), f"{ATTENTION}: SIMD 3 does not divide head_dim 8: use one of"),
    "divisor of a token drop": (one(DROP, SIMD=3), f"{DROP}: SIMD 3 is not possible: use one of"),
    "zero": (one(MVAU, LANES=0), rf"LANES 0 \(node {MVAU}\) must be at least 1"),
    "tokens": (one(MVAU, TOKENS=3), rf"TOKENS 3 \(node {MVAU}\) is not possible: use 1, 2, 4, 8 or 16"),
    "style": (one(MVAU, mac_style="fpga"), f'mac_style "fpga" of node {MVAU} is not possible; use dsp48e2, lut, portable$'),
    "memory": (one("VitLookup_rtl_0", ram_style="ultra"), 'ram_style "ultra" of node VitLookup_rtl_0 is not possible; use auto, block'),
    "FIFO depths": (one(ADD, inFIFODepths=[4, 4, 4]), rf"inFIFODepths \[4, 4, 4\] of node {ADD} is not possible; use a list of integers"),
    "no list": (one(ADD, inFIFODepths=4), f"inFIFODepths 4 of node {ADD} is not possible; use a list of integers from 1 on, 2 or"),
    "default": (defaults(ram_style=["fast", ["BlockSparseMVAU_rtl"]]), 'ram_style "fast" of node BlockSparseMVAU_rtl_0 is not'),
    "default for all": (defaults(PE=[2, "all"]), "PE cannot be set for node VitTokenEmbed_rtl_0"),
    "default without ops": (defaults(PE=2), "Defaults of PE must be pairs of a value and op types, as in"),
    "SLR": (lambda config: config["Defaults"].update(slr=[4, "all"]), "BlockSparseMVAU_rtl_0: slr 4 is not possible on xcu250"),
    "SLR of a node alone": (one(ADD, slr=1), "slr is set for 1 of [0-9]+ nodes, not for BlockSparseMVAU_rtl_0: set it for all"),
    "registers": (one(ADD, link_stages=[-1]), f"link_stages -1 for output 0 of node {ADD} is not possible: use 0 or more"),
    "registers without a list": (one(ADD, link_stages=1), f"link_stages 1 of node {ADD} is not possible; use a list of integers"),
    "entry": (lambda config: config.update(VitAdd_rtl_0=3), "must hold an object of attributes for each node"),
    "JSON": (lambda _: '{"VitAdd_rtl_0": {"SIMD": 4},', "is not JSON: "),
    "list": (lambda _: "[]", "must hold an object of attributes for each node"),
}


@pytest.fixture(scope="module")
def unfolded(small_build):
    """The graph that the files are for."""
    path = small_build.folder / "intermediate_models" / "step_specialize_layers.onnx"
    return ModelWrapper(str(path)).transform(GiveUniqueNodeNames())


@pytest.mark.parametrize("case", REFUSED)
def test_file_node_and_attribute_are_named(small_build, unfolded, tmp_path, case):
    change, text = REFUSED[case]
    config, file = json.loads((small_build.folder / "auto_folding_config.json").read_text()), tmp_path / "folding.json"
    changed = change(config)
    file.write_text(changed if isinstance(changed, str) else json.dumps(config))
    with pytest.raises(UserError, match=f"^folding file {file}:? {text}"):
        check_folding_file(file, unfolded, get_part(PART))


def test_the_file_of_another_model_is_refused_and_nothing_is_written(small_build, tmp_path):
    random_vit(image=4, depth=1, drop_at=(), token_keep="1")[0].save(str(tmp_path / "other.onnx"))
    file = small_build.folder / "auto_folding_config.json"
    with pytest.raises(
        UserError, match=f"^folding file {file}: the model has no node BlockSparseMVAU_rtl_10; delete its entry, or use BlockSp"
    ):
        build(BuildOptions(model=tmp_path / "other.onnx", output_dir=tmp_path / "b", fpga_part=PART, folding=file))
    assert not (tmp_path / "b").exists()


def attributes(folder, names, step="step_insert_streams"):
    model = ModelWrapper(str(folder / "intermediate_models" / f"{step}.onnx"))
    return {
        n.name: {a: getCustomOp(n).get_nodeattr(a) for a in names if a in getCustomOp(n).get_nodeattr_types()} for n in model.graph.node
    }


def test_defaults_of_finn_apply_by_op_type_and_those_of_other_ops_do_nothing(fold):
    styles = ["block", ["VitTokenDrop_rtl", "VitFIFO_rtl"], "auto", "VitLookup_rtl"]
    config = {"Defaults": {"ram_style": styles, "mem_mode": ["internal_decoupled", ["MVAU_rtl"]], "SIMD": [2, "MVAU_hls"]}}
    folder = fold(lambda _: json.dumps(config))
    found = attributes(folder, ["ram_style"])
    assert {f["ram_style"] for n, f in found.items() if n.startswith(("VitFIFO", "VitTokenDrop"))} == {"block"}
    assert {f["ram_style"] for n, f in found.items() if n.startswith(("VitLookup", "BlockSparse"))} == {"auto"}


def test_the_final_config_gives_the_same_hardware_but_for_fifos_that_were_edited(fold, small_build):
    names = ["SIMD", "PE", "TOKENS", "LANES", "in_width", "out_width", "depth", "ram_style"]
    found = attributes(fold(one("VitFIFO_rtl_1", depth=1000, ram_style="block"), "final_hw_config.json"), names)
    edited = {"VitFIFO_rtl_1": {"SIMD": 1, "depth": 1000, "ram_style": "block"}}
    assert found == attributes(small_build.folder, names) | edited


@pytest.mark.parametrize(
    "attributes, text",
    [
        ({"depth": 0}, "VitFIFO_rtl_1: depth 0 is not possible: use 1 or more"),
        ({"SIMD": 2}, "SIMD of node VitFIFO_rtl_1 follows from the nodes beside it; leave it out"),
    ],
)
def test_a_fifo_takes_another_depth_and_memory_alone(small_build, unfolded, tmp_path, attributes, text):
    config = json.loads((small_build.folder / "final_hw_config.json").read_text())
    config["VitFIFO_rtl_1"] |= attributes
    (tmp_path / "f.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=text):
        check_folding_file(tmp_path / "f.json", unfolded, get_part(PART))


def test_the_step_checks_it_too_where_finn_runs_alone(fold, small_build, tmp_path, monkeypatch):
    monkeypatch.setattr("finn_vitprune.builds.build.check_folding_file", lambda *_: None)
    with pytest.raises(UserError, match="folding.json: the model has no node X_0"):
        fold(one("X_0", PE=1), stop="step_apply_folding_config")


@pytest.mark.whole
def test_a_network_in_four_slrs_gives_the_same_logits_at_the_same_interval(fold, small_build):
    """Attention, token drop and residual streams cut in the middle of both encoders; the final config gives it again."""

    def place(config):
        names = [name for name in config if name != "Defaults"]  # in graph order
        for i, name in enumerate(names):
            config[name]["slr"] = 4 * i // len(names)

    folder = fold(place, stop="step_simulate")
    found, whole = (json.loads((f / "report" / "rtlsim_performance.json").read_text()) for f in (folder, small_build.folder))
    assert np.array_equal(*(np.load(f / "verification_output" / "rtl_logits.npy") for f in (folder, small_build.folder)))
    assert abs(found["interval_cycles"] - whole["interval_cycles"]) <= 2
    slrs = attributes(folder, ["slr"])
    config = json.loads((folder / "final_hw_config.json").read_text())
    assert {n: {"slr": config[n]["slr"]} for n in slrs} == slrs
    assert sum(name.startswith("VitCrossing") for name in slrs) > 4


def test_registers_on_streams_give_the_same_logits_at_the_same_interval(fold, small_build):
    """On every stream of an add or a norm; the final config gives them again."""

    def place(config):
        for name in config:
            if name.startswith(("VitAdd", "VitLayerNorm")):
                config[name]["link_stages"] = [2]

    folder = fold(place, stop="step_simulate")
    found, whole = (json.loads((f / "report" / "rtlsim_performance.json").read_text()) for f in (folder, small_build.folder))
    assert np.array_equal(*(np.load(f / "verification_output" / "rtl_logits.npy") for f in (folder, small_build.folder)))
    assert abs(found["interval_cycles"] - whole["interval_cycles"]) <= 2
    config = json.loads((folder / "final_hw_config.json").read_text())
    asked = [name for name in config if name.startswith(("VitAdd", "VitLayerNorm"))]
    assert asked and all(config[name]["link_stages"] == [2] for name in asked)
    assert sum(name.startswith("VitCrossing") for name in config) == len(asked)
    assert "link_stages" not in (small_build.folder / "final_hw_config.json").read_text()


def test_of_engines_it_says_the_rate_and_the_latency_of_the_plan_that_wrote_it(small_build, tmp_path):
    options = BuildOptions(model=small_build.model, output_dir=tmp_path / "plan", fpga_part=PART, engines=1, estimate_only=True)
    build(options)
    planned = Summary.load(tmp_path / "plan")
    build(options.changed(output_dir=tmp_path / "b", folding=tmp_path / "plan" / "auto_folding_config.json"))
    found = Summary.load(tmp_path / "b")
    assert found.plan is None and found.formula == planned.formula
    assert found.formula.interval_cycles == planned.plan.interval_cycles > max(node.cycles for node in found.nodes)
    assert found.latency == (planned.plan.latency_cycles, "estimate")
    assert rate_line(found).value == rate_line(planned).value and latency_line(found).value == latency_line(planned).value
    assert Design(tmp_path / "b").latency_ms == Design(tmp_path / "plan").latency_ms > 0
