"""The tie rule of lowering: QONNX's code, or its neighbour beside a tie; anything else stops the build and says where."""

import json

import numpy as np
import pytest

from finn_vitprune.builds import steps
from finn_vitprune.builds.checks.lowering_check import ClassChange, LoweringCheck, TensorCheck, check_lowering
from finn_vitprune.cli import run
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.execute.qonnx_runner import QonnxRunner, before_rounding
from finn_vitprune.numerics import TIE_TOLERANCE, AttentionConstants, attended_error, beside_tie, reciprocal_constant
from finn_vitprune.transforms.lowering.lower import lower
from tests.vit_models import random_vit

PART = "xcu250-figd2104-2L-e"
PRUNED = dict(bits=4, bias=0.3, keep="0.3", image=8, dim=32, heads=4, drop_at=(), token_keep="1")
"""Random weights and biases at 4 bits; projections with columns without weights."""


def units(lowered):
    return lowered.model.get_nodes_by_op_type("BlockSparseMVAU")


@pytest.mark.parametrize("bits", [4, 8])
def test_columns_without_weights_have_the_codes_of_their_biases(bits):
    source, images = random_vit(**PRUNED | {"bits": bits})
    lowered = lower(source)
    empty = [int((~lowered.model.get_initializer(n.input[1]).any(0)).sum()) for n in units(lowered)]
    assert sum(empty) >= 16
    check, logits, qonnx = check_lowering(source, lowered, images)
    assert check.problem == "" and check.faults == 0 and check.ties < 20 and check.codes > 50_000
    assert np.array_equal(logits.argmax(1), qonnx.argmax(1))
    if check.ties == 0:
        assert np.array_equal(logits, qonnx)


@pytest.mark.parametrize("zero", [-128, -7, 0, 3, 126])
def test_a_function_s_output_may_have_any_zero_point(zero):
    source, images = random_vit()
    for node in source.graph.node:
        if node.op_type == "Quant" and node.name.endswith("mlp.act_quant.Quant"):
            assert source.get_initializer(node.input[2]) % 2 == 0
            source.set_initializer(node.input[2], np.array(zero, np.float32))
    check, logits, qonnx = check_lowering(source, lower(source), images)
    assert check.problem == "" and check.ties < 20
    assert np.array_equal(logits.argmax(1), qonnx.argmax(1))
    if check.ties == 0:
        assert np.array_equal(logits, qonnx)


@pytest.mark.parametrize("function", ["Relu", "Softsign", "HardSwish", "Elu", "Softplus"])
def test_any_function_of_one_tensor_is_a_table(function):
    source, images = random_vit()
    changed = [node for node in source.graph.node if node.op_type == "Gelu"]
    for node in changed:
        node.op_type = function
        del node.attribute[:]
    lowered = lower(source)
    tables = lowered.model.get_nodes_by_op_type("VitLookup")
    assert len(tables) == len(changed) > 0
    check, _, _ = check_lowering(source, lowered, images)
    assert check.problem == "" and check.ties < 20


def test_brevitas_floor_scales_of_empty_columns_do_not_matter():
    """Brevitas gives a channel without weights a tiny scale; ratios of scales must not follow it."""
    source, images = random_vit(**PRUNED)
    node = next(n for n in source.graph.node if n.op_type == "Quant" and n.name == "blocks.1.attn.proj.weight_quant.Quant")
    weights, scale = (source.get_initializer(node.input[i]) for i in (0, 1))
    empty = ~weights.any(1)
    assert empty.any()
    source.set_initializer(node.input[1], np.where(empty[:, None], np.float32(1e-15), scale))
    check, logits, _ = check_lowering(source, lower(source), images)
    assert check.problem == ""
    whole, images = random_vit(**PRUNED)
    assert np.array_equal(check_lowering(whole, lower(whole), images)[1], logits)


# --- lowerings with a mistake in them ----------------------------------------------------------------


def edit(lowered, node, position, change):
    name = node.input[position]
    values = lowered.model.get_initializer(name).copy()
    change(values)
    lowered.model.set_initializer(name, values)


def wrong_scale(lowered):
    edit(lowered, units(lowered)[2], 3, lambda mult: mult.__setitem__(5, mult[5] * 1.02 // 1))


def wrong_rounding(lowered):
    """Ties to even become floor: half a unit less in every accumulator."""
    node = units(lowered)[3]
    shift = next(a.i for a in node.attribute if a.name == "shift")
    mult = lowered.model.get_initializer(node.input[3])
    edit(lowered, node, 2, lambda bias: bias.__isub__(np.rint(2 ** (shift - 1) / mult)))


def bias_off_by_one(lowered):
    edit(lowered, units(lowered)[-1], 2, lambda bias: bias.__setitem__(3, bias[3] + 1))


def wrong_exponential(lowered):
    node = lowered.model.get_nodes_by_op_type("PrunedAttention")[1]
    edit(lowered, node, 2, lambda table: table.__setitem__(1, table[1] - 1))


WRONG = {
    "scale of one column": (wrong_scale, "BlockSparseMVAU_2", "blocks.0.attn.proj_quant"),
    "rounding": (wrong_rounding, "BlockSparseMVAU_3", "blocks.0.mlp.pre_quant"),
    "bias of one column by one": (bias_off_by_one, "BlockSparseMVAU_9", "logits"),
    "one entry of the exp table": (wrong_exponential, "PrunedAttention_1", "blocks.1.attn.exp_quant"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_lowering_is_a_fault_at_its_node_alone(case):
    change, node, tensor = WRONG[case]
    source, images = random_vit(**PRUNED)
    lowered = lower(source)
    change(lowered)
    check, _, _ = check_lowering(source, lowered, images)
    wrong = [t for t in check.tensors if t.faults]
    assert [(t.node, t.qonnx.startswith(tensor)) for t in wrong] == [(node, True)]
    fault = wrong[0].fault
    assert fault.code != fault.qonnx and abs(fault.before_rounding - fault.qonnx) <= 0.5
    for part in (node, tensor, str(fault.index), f"is {fault.code}, QONNX has {fault.qonnx}", f"{wrong[0].faults:,} of"):
        assert part in check.problem, part


def test_a_fault_stops_the_build_with_exit_code_1_and_leaves_counts_but_no_summary(tmp_path, monkeypatch, capsys):
    def broken(model):
        lowered = lower(model)
        wrong_scale(lowered)
        return lowered

    monkeypatch.setattr(steps, "lower", broken)
    source, _ = random_vit(**PRUNED)
    source.save(str(tmp_path / "model.onnx"))
    out = tmp_path / "build"
    command = ["build", str(tmp_path / "model.onnx"), "--fpga-part", PART, "--estimate-only", "-o", str(out)]
    assert run(command) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("finn-vitprune: node BlockSparseMVAU_2 differs from tensor") and "QONNX has" in error
    check = json.loads((out / "report" / "lowering.json").read_text())
    assert sum(t["faults"] for t in check["tensors"]) > 0
    assert not (out / "report" / "vitprune_summary.json").exists()
    assert not (out / "report" / "qonnx_reference.json").exists()


# --- the rule itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "distance, off, allowed", [(0.0, 1, True), (9e-4, 1, True), (2e-3, 1, False), (9e-4, 2, False), (-9e-4, 1, True), (-2e-3, 1, False)]
)
def test_a_code_may_differ_by_one_within_a_thousandth_of_a_tie(distance, off, allowed):
    assert TIE_TOLERANCE == 1e-3
    check = TensorCheck("t", "VitAdd_0")
    wanted, before = np.array([7, -3]), np.array([7.0, -2.5 + distance])
    ties = check.add(4, wanted + np.array([0, off]), wanted, before)
    assert (ties, check.ties, check.faults, check.codes) == (int(allowed), int(allowed), int(not allowed), 2)
    assert allowed == (check.fault is None)
    if not allowed:
        assert (check.fault.image, check.fault.index, check.fault.code, check.fault.qonnx) == (4, [1], -3 + off, -3)


@pytest.mark.parametrize("before, allowed", [(-114.501, True), (-114.5016, False), (-114.4984, False), (-3.5013, False)])
def test_an_attention_output_may_lose_what_its_reciprocal_loses(before, allowed):
    """197 tokens that weigh the same: floor(NUM / Z) is by up to Z / NUM of itself less than NUM / Z."""
    num, shift = reciprocal_constant(1.0)
    c = AttentionConstants(1, 0, 8, num, shift, 8)
    e = np.full((1, 1, 197), 255)
    (error,) = attended_error(e, c).reshape(-1) * (abs(before) + 1)
    assert 197 * 7.5e-6 < error / (abs(before) + 1) * 127 < 197 * 7.7e-6
    check = TensorCheck("o", "PrunedAttention_0")
    wanted = np.floor([before]).astype(int) if before % 1 < 0.5 else np.ceil([before]).astype(int)
    check.add(0, wanted + (1 if before % 1 < 0.5 else -1), wanted, np.array([before]), error)
    assert (check.ties, check.faults) == ((1, 0) if allowed else (0, 1))


@pytest.mark.parametrize("distance, allowed", [(3.8e-3, True), (3.9e-3, False), (-3.8e-3, True)])
def test_a_large_code_is_known_as_far_as_its_scales_are(distance, allowed):
    """Three scales of float32 make a product that is off by up to 3 * 2**-24 of itself: of 21540.5 by 3.85e-3."""
    check, code = TensorCheck("t", "VitLayerNorm_0"), 21540 + (distance > 0)
    ties = check.add(0, np.array([2 * 21540 + 1 - code]), np.array([code]), np.array([21540.5 + distance]))
    assert (ties, check.faults) == ((1, 0) if allowed else (0, 1))


def test_a_clipped_code_is_not_beside_a_tie_of_others():
    assert not beside_tie(np.array([200.5]), np.array([126]), np.array([127]))


def test_another_class_needs_a_tie_upstream_of_the_same_image():
    def check(ties):
        change = ClassChange(image=5, hardware=3, qonnx=7, ties=ties)
        return LoweringCheck([0, 5], [TensorCheck("t", "VitAdd_0", 10, 2, 0)], 9, [change], 1.0, 0.0)

    assert check(ties=1).problem == "" and check(ties=1).faults == 0
    assert check(ties=0).faults == 1
    assert "image 5 has class 3 instead of 7" in check(ties=0).problem


def test_an_image_whose_class_changes_is_compared_node_by_node(monkeypatch):
    """Beyond the images that are compared anyway."""
    source, images = random_vit(**PRUNED)
    lowered, whole = lower(source), IntegerProgram.logits

    def other_logits(program, pixels):
        found = whole(program, pixels)
        found[(pixels == images[12]).all(axis=(1, 2, 3))] *= -1
        return found

    monkeypatch.setattr(IntegerProgram, "logits", other_logits)
    check, _, _ = check_lowering(source, lowered, images, images=range(2))
    assert check.images == [0, 1, 12] and [c.image for c in check.class_changes] == [12]
    assert check.faults == 1 and "image 12" in check.problem


# --- QONNX in float64 -----------------------------------------------------------------------------------


def test_the_reference_errs_far_below_the_tolerance():
    """Values before rounding of an INT16 stream against long doubles."""
    source, images = random_vit(image=8, dim=32, heads=4, depth=1, drop_at=(), token_keep="1", bias=0.3)
    x, name = "blocks.0.mlp.act_quant.Quant_output_0", before_rounding("blocks.0.mlp.fc2_quant.Quant_output_0")
    found = QonnxRunner(source, [x, name]).run(images)
    weights, row_scale, bias, scale = (
        np.longdouble(source.get_initializer(f"blocks.0.mlp.{n}"))
        for n in ("fc2.weight", "fc2.weight_quant.scale", "fc2.bias", "fc2_quant.scale")
    )
    exact = (np.longdouble(found[x]) @ (np.rint(weights / row_scale) * row_scale).T + bias) / scale
    assert np.abs(exact).max() > 1000
    assert np.abs(found[name] - exact).max() < 1e-6 * TIE_TOLERANCE


def test_images_whose_class_was_not_judged():
    """A build that resumes after ``--estimate-only`` has compared some of its images only."""
    check = LoweringCheck([0, 2], [], 2, [ClassChange(image=2, hardware=3, qonnx=7, ties=1)], 1.0, 0.0)
    assert check.not_judged(np.array([1, 4, 3, 5]), [1, 4, 7, 5]) == []
    assert check.not_judged(np.array([1, 4, 3, 5]), [1, 4, 7, 6]) == [3]
