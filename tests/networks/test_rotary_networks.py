"""Networks with rotary position embedding: arithmetic by hand, training, pruning, QONNX, hardware graph, one token of the last encoder."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.execute.golden import run as golden_run
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.export.gate import record
from finn_vitprune.models.config import PoolerShape, Pooling, Rotary, ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.transforms.engines.bind import bind
from finn_vitprune.transforms.engines.room import with_room
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.node_names import node_names
from tests.pruned_timm import cut_without_a_head, grey_images, lowered_alike
from tests.random_builds.agreement import assert_every_way, assert_seed_agrees, stored_designs
from tests.random_builds.draw import ROTARY
from tests.sampling import sampled

HALF = numerics.ROTARY_ONE // 2
PERCEPTION = {"pooling": Pooling.ATTENTION, "pooler": PoolerShape(4, 6, 40)}
"""As timm's Perception Encoder: attention pooling, which turns nothing, by heads of its own."""


def network(rotary: Rotary, **options) -> PrunedViT:
    """Two encoders of three heads, 4 x 4 patches; random weights and angles, none of the prefix."""
    torch.manual_seed(2)
    config = ViTConfig.dense(
        image_size=8, channels=1, patch_size=2, dim=24, heads=3, depth=2, classes=5, mlp_ratio=2.0, rotary=rotary, prefix=2, **options
    )
    model = PrunedViT(config)
    with torch.no_grad():
        for linear in model.linears().values():
            linear.weight.normal_(std=0.3)
            linear.bias.normal_(std=0.1)
        for parameter in (model.prefix_tokens, model.pos_embed):
            parameter.normal_(std=0.3)
        for block in model.blocks:
            angles = torch.rand(len(block.attn.angles.cos), config.tokens, config.head_dim // 2) * 6 - 3
            angles[:, : config.prefix] = 0
            block.attn.angles.set(angles.cos(), angles.sin())
    return model


def frozen(rotary: Rotary, **options) -> PrunedViT:
    """Pruned to about half of its blocks and neurons, a head less in the first encoder, calibrated, frozen."""
    model = network(rotary, **options)
    small, masks = cut_without_a_head(model, grey_images())
    assert [len(block.attn.angles.cos) for block in small.blocks] == (
        [1, 1] if rotary is Rotary.SHARED else [int(mask.heads.sum()) for mask in masks]
    )
    with torch.no_grad():
        small.quantise(False)
        model.quantise(False)
        assert torch.allclose(small(grey_images()), model(grey_images(), masks), atol=1e-4)
        small.quantise(True)
    return freeze(small)


def test_the_float_network_turns_by_complex_numbers():
    model = network(Rotary.HEADS)
    model.quantise(False)
    attn = model.blocks[0].attn
    x = torch.randn(2, 3, model.config.tokens, 8)
    cos, sin = (table.numpy() for table in (attn.angles.cos[..., ::2], attn.angles.sin[..., 1::2]))
    z = x.numpy()[..., ::2] + 1j * x.numpy()[..., 1::2]
    expected = z * (cos + 1j * sin)
    with torch.no_grad():
        got = attn.q_turn(x).numpy()
    assert np.allclose(got[..., ::2] + 1j * got[..., 1::2], expected, atol=1e-5)
    assert np.array_equal(got[:, :, :2], x.numpy()[:, :, :2]), "the prefix is not turned"


@pytest.mark.parametrize("rotary", list(Rotary))
def test_quantised_queries_are_turned_as_the_specification_says(rotary):
    """In float32, with ties: codes are whole numbers until they are rounded."""
    model = frozen(rotary)
    found = record(model, grey_images())
    for name in ("q", "k"):
        attn = model.blocks[1].attn
        scale = getattr(attn, f"{name}_quant").scale.number
        before = np.rint(found[f"blocks.1.attn.{name}_quant"] / scale).astype(np.int64)
        before = before.reshape(8, model.config.tokens, attn.heads, 8).swapaxes(1, 2)
        cos, sin = (np.rint(t.numpy() * 256).astype(np.int64) for t in (attn.angles.cos[..., ::2], attn.angles.sin[..., 1::2]))
        exact = before[..., ::2] * cos - before[..., 1::2] * sin
        assert np.any(exact % 256 == HALF), "no tie"
        expected = numerics.rotary(before, cos, sin, 8)
        assert np.array_equal(np.rint(found[f"blocks.1.attn.{name}_turn.quant"] / scale), expected)
        assert np.array_equal(expected[..., ::2], np.clip(np.round(exact / 256), -128, 127))


def test_training_goes_through_the_turn():
    model = network(Rotary.SHARED).train()
    model.calibrate(grey_images())
    model(grey_images()).square().sum().backward()
    gradient = model.blocks[0].attn.qkv.weight.grad[:48]
    assert (gradient.abs().amax(1) > 0).all()


@pytest.mark.parametrize(
    "rotary, options",
    sampled(
        [(Rotary.SHARED, PERCEPTION), (Rotary.SHARED, {}), (Rotary.HEADS, {"act_bits": 4}), (Rotary.HEADS, {"pooling": Pooling.PATCHES})],
        1,
        several=True,
    ),
)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(rotary, options):
    model = frozen(rotary, **options)
    graph = to_qonnx(model)
    graph.set_metadata_prop("block_size", "8")
    lowered, _ = lowered_alike(model, grey_images(), graph)
    pixels = grey_images().numpy().astype(np.uint8)
    turned = [tensor for node in lowered.model.get_nodes_by_op_type("VitRotary") for tensor in node.output]
    assert len(turned) == 4 and set(turned) <= {match.hardware for match in lowered.matches}, (
        "queries and keys of both encoders are compared"
    )
    program = IntegerProgram(lowered.model)
    assert not any("Rotary" in name for name in program.through_golden_models)
    fast = program.run(pixels, turned)
    slow = golden_run(lowered.model, {lowered.model.graph.input[0].name: pixels})
    assert all(np.array_equal(fast[name], slow[name]) for name in turned)
    tables = {tuple(lowered.model.get_initializer(n.input[1]).shape) for n in lowered.model.get_nodes_by_op_type("VitRotary")}
    heads = [shape.heads for shape in model.config.encoders]
    assert tables == ({(18, 8)} if rotary is Rotary.SHARED else {(18, 8 * h) for h in heads})

    tidy = lowered.model.transform(TidyLowered()).transform(HardwareOnly())
    last = [getCustomOp(n) for n in tidy.get_nodes_by_op_type("VitRotary")]
    of_class = model.config.pooling is Pooling.CLASS
    assert len(last) == (3 if of_class else 4), "the class token's query is not turned, so it passes unchanged"
    assert last[-1].passes and getCustomOp(tidy.get_nodes_by_op_type("PrunedAttention")[1]).get_nodeattr("queries") == (
        1 if of_class else 18
    )
    names = {str(name) for name in node_names(tidy).values()}
    assert {"encoder 1, Q rotation", "encoder 1, K rotation", "encoder 2, K rotation"} <= names
    roles = {unit.role: unit.nodes for unit in bind(tidy, 1).engines[0].units}
    assert [len(names) for names in roles["Q rotation"]] == [1, 0 if of_class else 1] and all(roles["K rotation"])
    grown = with_room(tidy, float("inf"))
    node = grown.get_nodes_by_op_type("VitRotary")[0]
    most, table = getCustomOp(node), grown.get_initializer(node.input[1])
    assert most.verify_node() == [] and (most.source.channels, table.shape) == (24, (18, most.get_nodeattr("table_channels")))


@cache
def exported() -> bytes:
    """A frozen network as QONNX."""
    return to_qonnx(frozen(Rotary.SHARED)).model.SerializeToString()


def changed(node, values):
    """The file with other numbers in the table of the first Mul of the first turn."""
    graph = ModelWrapper(exported())
    mul = next(n for n in graph.graph.node if n.op_type == "Mul" and node in n.name)
    name = next(i for i in mul.input if graph.get_initializer(i) is not None)
    graph.set_initializer(name, values(graph.get_initializer(name)).astype(np.float32))
    return graph


@pytest.mark.parametrize(
    "values, message",
    sampled(
        [
            (lambda t: t + 0.001, "multiples of 1 / 256"),
            (lambda t: t * 2, "-1 to 1"),
            (lambda t: np.where(np.arange(8) == 3, 0.5, t), "not turned by one angle"),
        ],
        1,
        several=True,
    ),
)
def test_a_table_that_the_hardware_does_not_have_is_named(values, message):
    with pytest.raises(Unmapped, match=message):
        lower(changed("q_turn", values))


def test_queries_alone_are_refused():
    model = frozen(Rotary.SHARED)
    for block in model.blocks:
        block.attn.k_turn = torch.nn.Identity()
    with pytest.raises(Unmapped, match="queries alone, or of keys alone"):
        lower(to_qonnx(model))


@pytest.mark.parametrize("seed", sampled([2, 1, 3, 4, 6], 0))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    assert ROTARY.design(seed).network.rotary
    assert_seed_agrees(ROTARY, seed)


def test_random_networks_agree():
    """`make random-builds KIND=rotary BUILDS=6` goes on from here."""
    drawn = stored_designs(ROTARY, 6)
    assert {d.network.rotary for d in drawn} == {kind.value for kind in Rotary}
    assert_every_way(drawn)


def test_what_cannot_be_configured():
    config = network(Rotary.SHARED).config
    with pytest.raises(ValueError, match="rotary position embedding needs heads of an even width"):
        replace(config, head_dim=7)
    with pytest.raises(UserError, match="token keep rate 0.5: with rotary position embedding"):
        config.with_token_drop("0.5", (1,))
    with pytest.raises(ValueError, match="encoders that keep all tokens"):
        replace(config, encoders=(replace(config.encoders[0], keep=3),) * 2)
