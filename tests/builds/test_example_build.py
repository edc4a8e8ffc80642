"""The bundled example as a build: all held-out images bit for bit, and what pruning saves in hardware."""

import json
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.build import EXAMPLE, BuildOptions, build
from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim.compile import OPTIMISE
from finn_vitprune.sim.contents import Contents
from tests.sampling import sampled

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("example")]
PART = "xcu250-figd2104-2L-e"
FEW = 40
"""Held-out images without ``--whole``: too few for an optimised simulator to pay."""


@pytest.fixture(scope="module")
def held_out(request) -> dict[str, np.ndarray]:
    """The example's images and labels: all of them with ``--whole``, the first :data:`FEW` without."""
    with np.load(EXAMPLE / "images.npz") as data:
        return {name: values[: None if request.config.getoption("--whole") else FEW] for name, values in data.items()}


@pytest.fixture(scope="module")
def pruned(held_out, tmp_path_factory) -> Path:
    """The bundled example as `make demo` builds it, without synthesis."""
    folder = tmp_path_factory.mktemp("pruned")
    np.savez(folder / "images.npz", **held_out)
    with pytest.MonkeyPatch.context() as long_runs:
        if len(held_out["images"]) > FEW:
            long_runs.delenv(OPTIMISE)
        return build(BuildOptions(model=None, output_dir=folder / "b", fpga_part=PART, synth="none", images=folder / "images.npz"))


@pytest.fixture(scope="module")
def dense(pruned, tmp_path_factory) -> Path:
    """The same network with all blocks, heads, neurons and tokens, at the folding of the pruned one."""
    folder = tmp_path_factory.mktemp("dense")
    folding = json.loads((pruned / "auto_folding_config.json").read_text())
    of_dense = {node: attributes for node, attributes in folding.items() if not node.startswith("VitTokenDrop")}
    (folder / "folding.json").write_text(json.dumps(of_dense))
    return build(
        BuildOptions(
            model=EXAMPLE / "deit_digits_dense.onnx",
            output_dir=folder / "b",
            fpga_part=PART,
            folding=folder / "folding.json",
            max_images=24,
            synth="none",
        )
    )


def graph(folder: Path) -> ModelWrapper:
    return ModelWrapper(str(folder / "intermediate_models" / "step_stitch.onnx"))


def test_held_out_images_are_bit_exact_and_keep_their_class(pruned, held_out):
    summary = Summary.load(pruned)
    assert summary.verify.images == len(held_out["images"])
    assert summary.verify.rtl_mismatches == 0 and summary.verify.saturations == 0
    assert summary.verify.class_changes == 0 and summary.verify.stalled_images >= summary.verify.images // 5
    assert summary.rtlsim.frames >= 6
    assert summary.verify.accuracy >= 0.95
    assert summary.verify.top1_agree_qonnx >= 0.99
    assert abs(summary.verify.accuracy - summary.verify.accuracy_pytorch) <= 0.01


def test_rtl_accuracy_is_that_of_its_own_logits(pruned, held_out):
    logits = np.load(pruned / "verification_output" / "rtl_logits.npy")
    assert Summary.load(pruned).verify.accuracy == pytest.approx(np.mean(np.argmax(logits, -1) == held_out["labels"]))


def test_evaluate_gives_the_logits_of_the_rtl_and_its_accuracy(pruned, held_out):
    lowered = ModelWrapper(str(pruned / "intermediate_models" / "step_lower.onnx"))
    images = held_out["images"].reshape(-1, *lowered.get_tensor_shape(lowered.graph.input[0].name)[1:])
    assert np.array_equal(
        IntegerProgram(lowered).logits(images), np.load(pruned / "verification_output" / "rtl_logits.npy").reshape(len(images), -1)
    )
    assert (
        evaluate(EvaluateOptions(target=pruned, data=f"npz:{pruned.parent / 'images.npz'}", jobs=1)).accuracy
        == Summary.load(pruned).verify.accuracy
    )


@pytest.mark.parametrize("name", sampled(["pruned", "dense"], 1))
def test_estimate_of_the_slowest_node_is_the_measured_interval(name, request):
    folder = request.getfixturevalue(name)
    slowest = max(getCustomOp(n).get_exp_cycles() for n in graph(folder).graph.node)
    assert Summary.load(folder).rtlsim.interval_cycles == pytest.approx(slowest, rel=0.01)


@pytest.mark.whole  # builds the dense network, too
def test_pruning_pays_in_cycles_and_weight_memory(pruned, dense):
    a, b = Summary.load(pruned), Summary.load(dense)
    models = graph(pruned), graph(dense)
    work = [max(getCustomOp(n).macs() for n in m.graph.node) for m in models]
    assert a.rtlsim.interval_cycles / b.rtlsim.interval_cycles <= 1.05 * work[0] / work[1]
    for model in models:
        slowest = max(model.graph.node, key=lambda n: getCustomOp(n).get_exp_cycles())
        assert slowest.op_type in ("BlockSparseMVAU_rtl", "PrunedAttention_rtl")
    units = [[getCustomOp(n) for n in m.get_nodes_by_op_type("BlockSparseMVAU_rtl")] for m in models]
    weights = [sum(u.param_counts()["weights"] for u in us) for us in units]
    memory = [sum(weight_rom_bits(u) for u in us) for us in units]
    assert memory[0] / memory[1] <= 1.1 * weights[0] / weights[1]
    assert a.model.macs < 0.6 * b.model.macs


def weight_rom_bits(unit) -> int:
    """Bits of the generated weight files, one a bank."""
    files = list(Path(unit.get_nodeattr("code_gen_dir_ipgen")).glob("*weights.hex"))
    assert files
    return sum(4 * len(line.strip()) for path in files for line in path.read_text().splitlines())


@pytest.mark.whole  # tests/transforms/test_engines.py loads those of engines
def test_weights_in_ultraram_change_no_bit(pruned, tmp_path):
    """The same folding with two matrix units in UltraRAM: the logits stay as they are, and all but a cycle of the latency."""
    folding = json.loads((pruned / "auto_folding_config.json").read_text())
    for name in [n for n, of in folding.items() if n.startswith("BlockSparseMVAU") and of["ram_style"] == "block"][:2]:
        folding[name]["ram_style"] = "ultra"
    (tmp_path / "folding.json").write_text(json.dumps(folding))
    with np.load(EXAMPLE / "images.npz") as data:  # the latency depends on the tokens that the first image keeps
        np.savez(tmp_path / "first.npz", **{name: values[:24] for name, values in data.items()})
    folder = build(
        BuildOptions(
            model=None,
            output_dir=tmp_path / "b",
            fpga_part=PART,
            folding=tmp_path / "folding.json",
            synth="none",
            images=tmp_path / "first.npz",
        )
    )
    summary, before = Summary.load(folder), Summary.load(pruned)
    assert summary.verify.rtl_mismatches == 0 and len(Contents.load(folder / "runtime_weights").regions) == 2
    ours, plain = (np.load(f / "verification_output" / "rtl_logits.npy") for f in (folder, pruned))
    assert np.array_equal(ours, plain[:24])
    assert 0 <= summary.rtlsim.latency_cycles - before.rtlsim.latency_cycles - 2 <= 2  # load port and end; a read of LUTRAM takes one less
    assert summary.resources.URAM >= 2 and summary.resources.BRAM36 < before.resources.BRAM36


def test_summary_is_complete(pruned):
    data = json.loads((pruned / "report" / "vitprune_summary.json").read_text())
    model = data["model"]
    assert model["name"] == "deit_digits" and model["block_size"] == 8 and model["block_keep"] == 0.5
    assert model["macs_dense"] > 2 * model["macs"] > 0 and model["params_dense"] > 1.9 * model["params"]
    assert model["index_bits"] > 0 and model["token_keep"] == {"2": 0.7, "3": 0.7}
    assert [t["in"] for t in model["tokens"]] == [17, 17, 14, 12]
    assert [t["mlp"] for t in model["tokens"]] == [17, 14, 12, 1]
    assert len(model["heads"]) == 4
    assert data["resources"]["tool"] == "estimate" and data["part"]["name"] == PART
    assert data["time_s"]["step_simulate"] >= 1
    for row in data["balance"]:
        assert 0 < row["utilisation"] <= 1 and row["cycles"] >= row["ideal_cycles"]
        assert (row["weight_bits"] > 0) == row["op_type"].startswith("BlockSparse")
