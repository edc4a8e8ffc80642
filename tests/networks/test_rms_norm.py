"""Networks with RMSNorm: timm's numbers, training, QONNX, hardware graph, check, engines, RTL."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import helper
from qonnx.custom_op.registry import getCustomOp
from timm.layers import RmsNorm, SimpleNorm
from torch import nn

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.execute.golden import run as golden_run
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.gate import record
from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_qonnx import check_qonnx
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.models.config import NormKind
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.node_names import node_names
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.random_builds.agreement import assert_seed_agrees, stored_designs
from tests.random_builds.draw import RMS_NORMS
from tests.sampling import sampled, spread
from tests.training.test_models import MEAN, STD, images, loaded, timm_logits, tiny_timm


def teacher(**options):
    return tiny_timm(norm_layer=RmsNorm, **options)


def frozen(weight_bits: int = 8, act_bits: int = 8, **options) -> tuple[PrunedViT, torch.Tensor]:
    """The model pruned to half of its blocks and neurons, one token drop where it has a class token, calibrated, frozen; and images."""
    source = teacher(**options)
    config = replace(config_of_timm(source), weight_bits=weight_bits, act_bits=act_bits)
    return half_pruned(config.with_token_drop("0.5", (1,)), source.state_dict())


NETWORKS = {
    "class token": {}, "one before the encoders": {"pre_norm": True}, "one behind the mean": {"global_pool": "avg"},
    "attention pooling": {"global_pool": "map", "class_token": False}, "nn.RMSNorm": {"norm_layer": nn.RMSNorm},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_timm_weights_give_timms_logits(name):
    source = (
        teacher(**NETWORKS[name]) if name != "nn.RMSNorm" else tiny_timm(norm_layer=lambda width, **unused: nn.RMSNorm(width, eps=1e-6))
    )
    model = loaded(source)
    assert model.config.norm is NormKind.RMS
    model.quantise(False)
    batch = images(4, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(source, batch), atol=1e-4)


def test_a_beta_goes_into_the_layer_that_follows():
    """Some RMSNorms have one. By hand: with it every row of the matrix has W beta more in its bias."""
    source = teacher()
    beta = torch.randn(32)
    model = PrunedViT(config_of_timm(source))
    load_timm(model, source.state_dict() | {"blocks.0.norm2.bias": beta}, MEAN, STD)
    expected = loaded(source).blocks[0].mlp.fc1.bias + source.blocks[0].mlp.fc1.weight @ beta
    assert torch.allclose(model.blocks[0].mlp.fc1.bias, expected, atol=1e-5)


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (8, 4)], ids=str)
def test_codes_are_the_root_mean_square_by_hand(bits):
    """Within half a code of the real norm, whose mean is not taken; where it is, results are other ones."""
    model, batch = frozen(*bits)
    found, norm = record(model.double(), batch.double()), model.blocks[1].norm1
    x = found["blocks.0.add2_quant"] / model.residual_scale.number
    eps, mult, shift = norm.constants()
    y = found["blocks.1.norm1.quant"] / norm.quant.scale.number
    assert np.array_equal(y, numerics.layernorm(x, eps, mult, shift, bits[1], centred=False))
    low, high = numerics.int_range(bits[1], signed=True)
    real = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6 / model.residual_scale.number**2) / norm.quant.scale.number
    assert np.abs(y - real.clip(low, high)).max() < 0.501
    assert np.abs(x.mean(-1)).max() > 0.05 * np.abs(x).max(), "tokens have a mean that tells the two norms apart"


@pytest.mark.parametrize(
    "bits, options", sampled([((4, 8), {"pre_norm": True}), ((8, 8), {"global_pool": "avg"}), ((4, 4), {})], 1, several=True), ids=str
)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(bits, options):
    model, batch = frozen(*bits, **options)
    lowered, _ = lowered_alike(model, batch, qonnx_of(model))
    norms = lowered.model.get_nodes_by_op_type("VitLayerNorm")
    assert len(norms) == 5 + ("pre_norm" in options) and not any(getCustomOp(node).centred for node in norms)
    pixels, wanted = batch.numpy().astype(np.uint8), [node.output[0] for node in norms]
    program = IntegerProgram(lowered.model)
    assert not any("LayerNorm" in name for name in program.through_golden_models)
    fast, slow = program.run(pixels, wanted), golden_run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    assert all(np.array_equal(fast[name], slow[name]) for name in wanted)
    tidy = lowered.model.transform(TidyLowered()).transform(HardwareOnly())
    names = {str(name) for name in node_names(tidy).values()}
    assert {"encoder 1, RMSNorm 1", "encoder 2, RMSNorm 2", "final RMSNorm"} <= names
    assert ("initial RMSNorm" in names) == ("pre_norm" in options) and not any("LayerNorm" in name for name in names)


def test_check_says_what_the_nodes_become(tmp_path):
    path, (model, _) = tmp_path / "model.onnx", frozen()
    graph = qonnx_of(model)
    graph.save(str(path))
    checked = check_qonnx(graph.model, load(path), path, None, None)
    assert not checked.rejections and checked.structure.config.norm is NormKind.RMS and checked.structure.config.final_norm
    rows = {row.node: row for row in checked.rows if row.node.startswith("blocks.1.norm1.")}
    assert {row.answer for row in rows.values()} == {Mapped("VitLayerNorm")} and {row.place for row in rows.values()} == {2}
    assert {row.op_type for row in rows.values()} == {"Pow", "ReduceMean", "Add", "Sqrt", "Div", "Quant"}


def changed(op_type: str, change):
    """The file with ``change`` made to the node of the second encoder's first norm."""
    graph = qonnx_of(frozen()[0])
    node = next(n for n in graph.graph.node if n.op_type == op_type and n.name.startswith("blocks.1.norm1."))
    change(graph, node)
    return graph


def other_tensor(graph, node):
    node.input[0] = next(n for n in graph.graph.node if n.name == "blocks.0.add1_quant.Quant").output[0]


def over_tokens(graph, node):
    graph.set_initializer("tokens", np.array([1]))
    if len(node.input) > 1:
        node.input[1] = "tokens"
    else:
        next(a for a in node.attribute if a.name == "axes").CopyFrom(helper.make_attribute("axes", [1]))


def large_eps(graph, node):
    graph.set_initializer("two", np.array(2.0, np.float32))
    node.input[1] = "two"


def squared_by_itself(graph, node):
    node.op_type, node.input[1] = "Mul", node.input[0]


def cubed(graph, node):
    graph.set_initializer("three", np.array(3.0, np.float32))
    node.input[1] = "three"


def skips_the_root(graph, node):
    node.input[1] = next(n for n in graph.graph.node if n.op_type == "Sqrt" and n.name.startswith("blocks.1.norm1.")).input[0]


@pytest.mark.parametrize(
    "op_type, change, message",
    spread(
        [
            ("Div", other_tensor, "a tensor is not divided by the root of the mean of its own squares"),
            ("Div", skips_the_root, "a tensor is not divided by the root of the mean of its own squares"),
            ("ReduceMean", over_tokens, "the mean of the squares is not over the channels"),
            ("Add", large_eps, "epsilon 2: use one of 0 to 1"),
            ("Pow", squared_by_itself, "a wide stream times itself; write the squares of an RMSNorm as Pow"),
            ("Pow", cubed, "an element-wise function needs codes of at most 8 bits"),
        ],
        3,
        several=True,
    ),
    ids=["another tensor", "no root", "over tokens", "eps", "a product", "cubes"],
)
def test_what_is_another_function_is_named(op_type, change, message):
    with pytest.raises(Unmapped, match=message):
        lower(changed(op_type, change))


def test_the_configuration_of_training_has_it():
    content = {"name": "x", "data": "digits", "model": {"norm": "rmsnorm", "norm_pre": True, "dim": 16, "heads": 2, "depth": 1}}
    config = parse_config(content, "c.yaml")
    made = config_of_timm(make_teacher(config, config.load_data()))
    assert made.norm is NormKind.RMS and made.norm_pre and made.eps == 1e-6
    pooled = parse_config(content | {"model": content["model"] | {"norm_pre": False, "pool": "map"}}, "c.yaml")
    assert config_of_timm(make_teacher(pooled, pooled.load_data())).norm is NormKind.RMS
    with pytest.raises(UserError, match="model.norm rmsnorm is for networks of given sizes, deit_tiny_patch16_224 has its own"):
        parse_config(content | {"model": {"norm": "rmsnorm", "timm": "deit_tiny_patch16_224"}}, "c.yaml")
    with pytest.raises(UserError, match="model.norm = 'batchnorm'"):
        parse_config(content | {"model": {"norm": "batchnorm"}}, "c.yaml")


def test_training_goes_through_it():
    model = loaded(teacher()).train()
    model.calibrate(images(8, model.config))
    model(images(4, model.config)).square().sum().backward()
    for block in model.blocks:
        assert (block.attn.qkv.weight.grad.abs().sum() > 0) and block.norm1.quant.scale.log_scale.grad.abs() > 0


def test_norms_of_two_kinds_or_of_another_are_refused_by_name():
    mixed = teacher()
    mixed.norm = nn.LayerNorm(32)
    with pytest.raises(UserError, match="its last norm is LayerNorm, others are RMSNorm"):
        config_of_timm(mixed)
    with pytest.raises(UserError, match="its norms are SimpleNorm, not LayerNorm or RMSNorm"):
        config_of_timm(tiny_timm(norm_layer=SimpleNorm))


@pytest.mark.parametrize("seed", sampled([1, 2, 3, 4], 0))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    assert RMS_NORMS.design(seed).network.norm == NormKind.RMS.value
    assert_seed_agrees(RMS_NORMS, seed)


def test_random_networks_agree():
    """`make random-builds KIND=rms-norms BUILDS=4` goes on from here."""
    drawn = stored_designs(RMS_NORMS, 4)
    assert {bool(d.encoders_per_engine) for d in drawn} == {False, True} and "another" in {d.loads for d in drawn}
    assert {d.network.norm_pre for d in drawn} == {False, True}
