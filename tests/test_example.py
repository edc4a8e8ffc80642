"""The bundled example: the whole accelerator on all held-out images, and what pruning saves in cycles."""

import json
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.build import EXAMPLE, BuildOptions, build
from finn_vitprune.summary import Summary

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example")]
PART = "xcu250-figd2104-2L-e"


@pytest.fixture(scope="module")
def pruned(tmp_path_factory) -> Path:
    """The bundled example as `make demo` builds it, without synthesis."""
    return build(BuildOptions(model=None, output_dir=tmp_path_factory.mktemp("pruned") / "b", fpga_part=PART, synth="none"))


@pytest.fixture(scope="module")
def dense(pruned, tmp_path_factory) -> Path:
    """The same network with all blocks, heads, neurons and tokens, at the folding of the pruned one."""
    return build(BuildOptions(
        model=EXAMPLE / "deit_digits_dense.onnx", output_dir=tmp_path_factory.mktemp("dense") / "b", fpga_part=PART,
        images=EXAMPLE / "images.npz", max_images=24, synth="none", folding=pruned / "auto_folding_config.json",
    ))


def graph(folder: Path) -> ModelWrapper:
    return ModelWrapper(str(folder / "intermediate_models" / "step_stitch.onnx"))


def test_all_held_out_images_are_bit_exact_and_keep_their_class(pruned):
    summary = Summary.load(pruned)
    assert summary.verify.images == 360
    assert summary.verify.rtl_mismatches == 0 and summary.verify.saturations == 0
    report = json.loads((pruned / "report" / "rtl_verification.json").read_text())
    assert report["class_changes"] == 0 and report["stalled_images"] >= 72 and report["frames"] >= 6
    assert summary.verify.accuracy >= 0.95
    assert summary.verify.top1_agree_qonnx >= 0.99
    assert abs(summary.verify.accuracy - summary.verify.accuracy_pytorch) <= 0.01


def test_rtl_accuracy_is_that_of_its_own_logits(pruned):
    data = np.load(EXAMPLE / "images.npz")
    logits = np.load(pruned / "verification_output" / "rtl_logits.npy")
    assert Summary.load(pruned).verify.accuracy == pytest.approx(np.mean(np.argmax(logits, -1) == data["labels"]))


def test_estimate_of_the_slowest_node_is_the_measured_interval(pruned, dense):
    for folder in (pruned, dense):
        slowest = max(getCustomOp(n).get_exp_cycles() for n in graph(folder).graph.node)
        assert Summary.load(folder).rtlsim.interval_cycles == pytest.approx(slowest, rel=0.02)


def test_pruning_pays_in_cycles_and_weight_memory(pruned, dense):
    a, b = Summary.load(pruned), Summary.load(dense)
    models = graph(pruned), graph(dense)
    work = [max(getCustomOp(n).macs() for n in m.graph.node) for m in models]
    ratio = a.rtlsim.interval_cycles / b.rtlsim.interval_cycles
    assert ratio <= 1.05 * work[0] / work[1]
    for model in models:
        slowest = max(model.graph.node, key=lambda n: getCustomOp(n).get_exp_cycles())
        assert slowest.op_type in ("BlockSparseMVAU_rtl", "PrunedAttention_rtl")
    kept = {}
    for name, model in zip(("pruned", "dense"), models):
        units = [getCustomOp(n) for n in model.get_nodes_by_op_type("BlockSparseMVAU_rtl")]
        kept[name] = [(sum(u.param_counts()["weights"] for u in units)), sum(weight_rom_bits(u) for u in units)]
    assert kept["pruned"][1] / kept["dense"][1] <= 1.1 * kept["pruned"][0] / kept["dense"][0]
    assert a.model.macs < 0.6 * a.model.macs_dense


def weight_rom_bits(unit) -> int:
    """Bits of the generated weight file."""
    path = Path(unit.get_nodeattr("code_gen_dir_ipgen")) / unit.memory_file("weights")
    return sum(4 * len(line.strip()) for line in path.read_text().splitlines())


def test_summary_is_complete(pruned):
    data = json.loads((pruned / "report" / "vitprune_summary.json").read_text())
    assert set(data) >= {"model", "verify", "rtlsim", "balance", "resources", "part", "time_s"}
    assert data["model"]["macs"] > 0 and data["model"]["index_bits"] > 0
    assert [t["in"] for t in data["model"]["tokens"]] == [17, 17, 14, 12]
    assert [t["mlp"] for t in data["model"]["tokens"]] == [17, 14, 12, 1]
    assert len(data["model"]["heads"]) == 4 and data["model"]["block_size"] == 8
    assert data["resources"]["tool"] == "estimate" and data["part"]["name"] == PART
    assert data["time_s"]["step_simulate"] >= 1
    for row in data["balance"]:
        assert 0 < row["utilisation"] <= 1 and row["cycles"] >= row["ideal_cycles"]
