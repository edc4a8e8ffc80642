"""Networks with QK-norm: timm's numbers, what softmax does not see, training, pruning, QONNX, hardware graph, check, RTL."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import helper
from qonnx.custom_op.registry import getCustomOp
from timm.layers import RmsNorm, SimpleNorm
from torch import nn

from finn_vitprune import numerics
from finn_vitprune.complexity import reference
from finn_vitprune.complexity.formulas import counted
from finn_vitprune.complexity.modules import count_model, pruned_by_score
from finn_vitprune.errors import UserError
from finn_vitprune.execute.golden import run as golden_run
from finn_vitprune.execute.golden import saturations
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.gate import record
from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_qonnx import check_qonnx
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.models.config import NormKind, Rotary
from finn_vitprune.models.freeze import freeze, kept_block_masks, weight_codes
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher
from finn_vitprune.transforms.engines.bind import bind, no_array
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.node_names import node_names
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.random_builds.agreement import assert_every_way, assert_seed_agrees, stored_designs
from tests.random_builds.draw import QK_NORMS
from tests.sampling import sampled, spread
from tests.training.test_models import images, loaded, timm_logits, tiny_timm

KINDS = {"LayerNorm": {}, "RMSNorm": {"norm_layer": RmsNorm}, "one head": {"num_heads": 1}, "a mean": {"global_pool": "avg"}}


def teacher(**options):
    """A small timm model whose norms of queries and keys have a gamma of 0 and one below 0, and, LayerNorms, betas."""
    model = tiny_timm(qk_norm=True, **options)
    with torch.no_grad():
        for block in model.blocks:
            block.attn.q_norm.weight[:2] = torch.tensor([0.0, -0.7])
    return model


def frozen(weight_bits: int = 8, act_bits: int = 8, **options) -> tuple[PrunedViT, torch.Tensor]:
    """The model pruned to half of its blocks and neurons, one token drop where it has a class token, calibrated, frozen; and images."""
    source = teacher(**options)
    config = replace(config_of_timm(source), weight_bits=weight_bits, act_bits=act_bits)
    return half_pruned(config.with_token_drop("0.5", (1,)), source.state_dict())


@pytest.mark.parametrize("name", KINDS)
def test_timm_weights_give_timms_logits(name):
    """Though keys have neither gamma nor beta: the betas of keys are the same for all keys of a query, their gammas are the queries'."""
    source = teacher(**KINDS[name])
    model = loaded(source)
    assert model.config.qk_norm is (NormKind.RMS if name == "RMSNorm" else NormKind.LAYER)
    model.quantise(False)
    batch = images(4, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(source, batch), atol=1e-4)
        if name == "LayerNorm":
            for block in source.blocks:
                block.attn.k_norm.bias += 3.0
            assert torch.allclose(model(batch), timm_logits(source, batch), atol=1e-4)
            source.blocks[0].attn.k_norm.weight[3] += 3.0
            assert not torch.allclose(model(batch), timm_logits(source, batch), atol=1e-3)


@pytest.mark.parametrize("bits", sampled([(8, 8), (4, 4)], 1), ids=str)
def test_codes_are_norms_of_heads_by_hand(bits):
    """Head by head in numpy: codes of queries before and after gamma and beta, of keys, and the upper bits of values."""
    model, batch = frozen(*bits)
    found, attn = record(model.double(), batch.double()), model.blocks[0].attn
    norm, heads, width = attn.qk_norm, attn.heads, attn.head_dim
    source, bits_of = teacher(), {"q": 8, "k": bits[1]}
    for name, part, scale in (("q", norm.q_norm, norm.q_scale), ("k", norm.k_norm, norm.k_scale)):
        x = found[f"blocks.0.attn.qk_norm.{name}_wide"] / scale.number
        x = x.reshape(*x.shape[:2], heads, width)
        y = found[f"blocks.0.attn.qk_norm.{name}_norm.quant"] / part.quant.scale.number
        centred = x - x.mean(-1, keepdims=True)
        real = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6 / scale.number**2) / part.quant.scale.number
        assert np.abs(y - real.clip(*numerics.int_range(bits_of[name], signed=True))).max() < 0.501
        assert np.array_equal(y, numerics.layernorm(x.astype(np.int64), *part.constants(), bits_of[name]))
        assert 2**12 < np.abs(x).max() < 2**15
    gamma, beta = (source.blocks[0].attn.q_norm.get_parameter(n).detach().numpy() for n in ("weight", "bias"))
    of_keys = source.blocks[0].attn.k_norm.weight.detach().numpy() * width**-0.5
    step, y = attn.q_quant.scale.number, found["blocks.0.attn.qk_norm.q_norm.quant"]
    expected = ((gamma * y + beta) * of_keys).reshape(*y.shape[:2], -1) / step
    grid = np.abs(gamma * of_keys).max() * norm.q_norm.quant.scale.number / 127 / step
    low, high = numerics.int_range(bits[1], signed=True)
    assert (
        np.abs(found["blocks.0.attn.q_quant"] / step - expected.clip(low, high)).max() < 0.51 + grid / 2 + 2.0**-8 * np.abs(expected).max()
    )
    v, wide = (found[f"blocks.0.attn.{n}"] / q.scale.number for n, q in (("v_quant", attn.v_quant), ("qk_norm.v_wide", norm.v_wide)))
    assert np.array_equal(v.reshape(wide.shape), np.rint(wide.reshape(v.shape) * 2.0 ** (bits[1] - 16)).clip(low, high).reshape(wide.shape))
    weights = weight_codes(norm.scale)
    assert not (weights - np.diag(np.diag(weights))).any() and set(np.diag(weights)) == {127, -127, 0}


@pytest.mark.parametrize(
    "bits, options", sampled([((4, 8), {}), ((8, 8), {"norm_layer": RmsNorm}), ((8, 4), {"num_heads": 1})], 1, several=True), ids=str
)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(bits, options):
    model, batch = frozen(*bits, **options)
    lowered, _ = lowered_alike(model, batch, qonnx_of(model))
    kind = "RMSNorm" if "norm_layer" in options else "LayerNorm"
    compared = {match.qonnx.removesuffix(".Quant_output_0") for match in lowered.matches}
    parts = ("q_wide", "k_wide", "v_wide", "q_norm.quant", "k_norm.quant")
    assert {f"blocks.1.attn.qk_norm.{part}" for part in parts} | {"blocks.1.attn.q_quant", "blocks.1.attn.v_quant"} <= compared
    heads = [node for node in lowered.model.get_nodes_by_op_type("VitLayerNorm") if getCustomOp(node).get_nodeattr("passed")]
    assert len(heads) == 2 and {getCustomOp(node).centred for node in heads} == {kind == "LayerNorm"}
    pixels, wanted = batch.numpy().astype(np.uint8), [node.output[0] for node in lowered.model.get_nodes_by_op_type("VitLayerNorm")]
    program = IntegerProgram(lowered.model)
    assert not any("LayerNorm" in name for name in program.through_golden_models)
    fast, slow = program.run(pixels, wanted), golden_run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    assert all(np.array_equal(fast[name], slow[name]) for name in wanted)
    tidy = lowered.model.transform(TidyLowered()).transform(HardwareOnly())
    names = {str(name): node for node, name in node_names(tidy).items()}
    for encoder in (1, 2):
        found = (f"{kind} 1", f"{kind} 1 fork", "Q", "KV", f"Q {kind}", f"K {kind}", "Q scale", "attention", "projection", f"{kind} 2")
        assert {f"encoder {encoder}, {layer}" for layer in found} <= names.keys()
    last = [getCustomOp(tidy.get_node_from_name(names[f"encoder 2, {layer}"])) for layer in ("Q", f"Q {kind}", "Q scale", f"K {kind}")]
    tokens = [op.get_nodeattr("tokens") for op in last]
    assert tokens[:3] == [1, 1, 1] and tokens[3] > 1, "the class token's query alone"
    roles = {unit.role: unit.nodes for unit in bind(tidy, 1).engines[0].units}
    parts = ("Q", "KV", f"{kind} 1 fork", f"Q {kind}", f"K {kind}", "Q scale")
    assert no_array(tidy, bind(tidy, 1)).startswith("networks with QK-norm are not tried on one yet")
    assert all(len(names) == 1 for role in parts for names in roles[role]) and roles.keys().isdisjoint({"QKV", "QKV split"})


def test_check_says_what_the_nodes_become(tmp_path):
    path, (model, _) = tmp_path / "model.onnx", frozen(norm_layer=RmsNorm)
    graph = qonnx_of(model)
    graph.save(str(path))
    checked = check_qonnx(graph.model, load(path), path, None, None)
    assert not checked.rejections
    config = checked.structure.config
    assert (config.qk_norm, config.norm) == (NormKind.RMS, NormKind.RMS)
    rows = [row for row in checked.rows if "blocks.1." in row.node and row.op_type in ("Pow", "ReduceMean", "Sqrt", "Div")]
    assert {row.place for row in rows} == {2}
    assert {row.answer for row in rows if "qk_norm.k_norm" in row.node} == {Mapped("VitLayerNorm")}


def test_clipped_values_beside_keys_are_no_saturations():
    lowered = lower(qonnx_of(frozen()[0])).model
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    values = golden_run(lowered, {lowered.graph.input[0].name: pixels})
    before = saturations(lowered, values)
    norm = next(node for node in lowered.get_nodes_by_op_type("VitLayerNorm") if getCustomOp(node).get_nodeattr("passed"))
    codes = values[norm.input[0]].copy()
    half = codes.shape[-1] // 2
    codes[..., half:] = 32767
    assert saturations(lowered, values | {norm.input[0]: codes}) == before
    codes[..., half - 1] = -32768
    assert saturations(lowered, values | {norm.input[0]: codes}) == before + codes[..., 0].size


def test_formula_and_count_agree():
    """Products by hand, too: a block on the diagonal for every block of queries."""
    config = loaded(teacher()).config
    prune = PruneConfig(block_size=8, block_keep="0.6", neuron_keep="0.5")
    dense, small = pruned_by_score(config, prune)
    by_count = count_model(dense, small, 8)
    assert by_count == counted(dense.config, small.config, kept_block_masks(small, 8))
    plain, _ = pruned_by_score(replace(config, qk_norm=None), prune)
    without = count_model(plain, plain, 8)
    assert by_count.macs_dense - without.macs_dense == 2 * 5 * 8 * 32 and by_count.params_dense - without.params_dense == 2 * 9 * 32
    with pytest.raises(UserError, match="no norms of queries and keys"):
        reference.by_count(dense, small)


def test_a_head_takes_its_scale_with_it():
    source = teacher()
    model = loaded(source)
    batch = images(8, model.config)
    with torch.no_grad():
        model.blocks[0].attn.qk_norm.scale.set(torch.arange(1.0, 33.0), torch.arange(32.0))
    scores = PruneScores(model.config, PruneConfig(block_size=8, block_keep="1", neuron_keep="1"))
    scores.set_to_magnitude(model)
    masks = scores.masks()
    masks[0].qkv[:16] = 0.0  # the queries of the first head
    masks[0].heads[0] = 0.0
    model.calibrate(batch, masks)
    small = cut(model.eval(), masks)
    scale = small.blocks[0].attn.qk_norm.scale
    assert torch.equal(torch.diag(scale.weight), torch.arange(17.0, 33.0)) and torch.equal(scale.bias, torch.arange(16.0, 32.0))
    model.quantise(False)
    small.quantise(False)
    with torch.no_grad():
        assert torch.allclose(small(batch), model(batch, masks), atol=1e-4)
    assert freeze(small).blocks[0].attn.heads == 1


def test_training_moves_the_scale_and_goes_through_the_norms():
    model = loaded(teacher()).train()
    model.calibrate(images(8, model.config))
    model(images(4, model.config)).square().sum().backward()
    for block in model.blocks:
        norm = block.attn.qk_norm
        grad = norm.scale.weight.grad
        assert torch.diag(grad).abs().sum() > 0 and not (grad - torch.diag(torch.diag(grad))).any()
        assert block.attn.qkv.weight.grad.abs().amax(1).min() >= 0 and norm.k_norm.quant.scale.log_scale.grad.abs() > 0


def test_the_configuration_of_training_has_it():
    content = {"name": "x", "data": "digits", "model": {"qk_norm": True, "dim": 16, "heads": 2, "depth": 1}}
    config = parse_config(content, "c.yaml")
    made = config_of_timm(make_teacher(config, config.load_data()))
    assert (made.norm, made.qk_norm) == (NormKind.LAYER, NormKind.LAYER)
    both = parse_config(content | {"model": content["model"] | {"norm": "rmsnorm"}}, "c.yaml")
    assert config_of_timm(make_teacher(both, both.load_data())).qk_norm is NormKind.RMS
    with pytest.raises(UserError, match="model.qk_norm true is for networks of given sizes, deit_tiny_patch16_224 has its own"):
        parse_config(content | {"model": {"qk_norm": True, "timm": "deit_tiny_patch16_224"}}, "c.yaml")


def test_what_cannot_be_is_refused_by_name():
    config = loaded(teacher()).config
    with pytest.raises(ValueError, match="QK-norm needs heads of two channels or more, and queries and keys that are not turned"):
        replace(config, rotary=Rotary.SHARED)
    other = teacher()
    for block in other.blocks:
        block.attn.q_norm = block.attn.k_norm = SimpleNorm(16)
    with pytest.raises(UserError, match="its queries have a SimpleNorm, not LayerNorm or RMSNorm"):
        config_of_timm(other)
    unlike = teacher()
    unlike.blocks[0].attn.k_norm = nn.Identity()
    with pytest.raises(UserError, match="its keys have a Identity, its queries a LayerNorm"):
        config_of_timm(unlike)
    with pytest.raises(UserError, match="its attention has a norm before the projection"):
        config_of_timm(tiny_timm(scale_attn_norm=True))


def changed(change):
    """The file with ``change`` made to its graph."""
    graph = qonnx_of(frozen()[0])
    change(graph, {node.name: node for node in graph.graph.node})
    return graph


def other_values(graph, nodes):
    node = nodes["blocks.0.attn.v_quant.Quant"]
    graph.set_initializer(node.input[1], graph.get_initializer(node.input[1]) * np.float32(1.5))


def narrow_keys(graph, nodes):
    node = nodes["blocks.0.attn.qk_norm.k_wide.Quant"]
    node.input[3] = "eight"
    graph.set_initializer("eight", np.array(8, np.float32))


def other_heads(graph, nodes, quantised=False):
    """Keys are normalised over halves of heads, and joined before or behind the quantiser."""
    norm = next(
        node for name, node in nodes.items() if name.startswith("blocks.0.attn.qk_norm.k_norm.") and node.op_type == "LayerNormalization"
    )
    last = nodes["blocks.0.attn.qk_norm.k_norm.quant.Quant"] if quantised else norm
    shape = graph.get_tensor_shape(norm.input[0])
    graph.set_initializer("halves", np.array([*shape[:2], shape[2] * 2, shape[3] // 2]))
    graph.set_initializer("heads", np.array(shape))
    graph.set_initializer("ones", np.ones(shape[3] // 2, np.float32))
    before = helper.make_node("Reshape", [norm.input[0], "halves"], ["in_halves"], name="before")
    after = helper.make_node("Reshape", ["of_halves", "heads"], [last.output[0]], name="after")
    norm.input[:] = ["in_halves", "ones"]
    last.output[0] = "of_halves"
    order = list(graph.graph.node)
    graph.graph.node.insert(order.index(last) + 1, after)
    graph.graph.node.insert(order.index(norm), before)


def later_heads(graph, nodes):
    other_heads(graph, nodes, quantised=True)


@pytest.mark.parametrize(
    "change, message",
    spread(
        [
            (other_values, "INT16 codes of heads at .* are rounded to 8 bits at .*values beside normalised keys keep their upper bits"),
            (narrow_keys, "LayerNorm reads INT16 queries and keys, got 8 bits"),
            (other_heads, "heads are cut or joined between their norm and its quantiser"),
            (later_heads, "the key is normalised over other channels than those of its heads"),
        ],
        2,
        several=True,
    ),
    ids=["values", "narrow keys", "halves of heads", "halves of heads, quantised"],
)
def test_what_the_hardware_does_not_have_is_named(change, message):
    with pytest.raises(Unmapped, match=message):
        lower(changed(change))


@pytest.mark.parametrize("seed", sampled([2, 1, 3, 4, 6], 0))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    assert QK_NORMS.design(seed).network.qk_norm
    assert_seed_agrees(QK_NORMS, seed)


def test_random_networks_agree():
    """`make random-builds KIND=qk-norms BUILDS=6` goes on from here."""
    designs = stored_designs(QK_NORMS, 6)
    assert_every_way(designs)
    drawn = [d.network for d in designs]
    assert {d.qk_norm for d in drawn} == {kind.value for kind in NormKind} and {d.qk_norm == d.norm for d in drawn} == {True, False}
