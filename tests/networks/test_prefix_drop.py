"""Networks with several tokens beside the patches, and token drops: timm's numbers, QONNX, hardware graph."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.export.gate import record
from finn_vitprune.models.config import MAX_PREFIX, Pooling, ViTConfig
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.transforms.engines.room import EVERYTHING, with_room
from finn_vitprune.transforms.engines.same_drops import SameDrops, drop_encoders
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.sampling import sampled, spread
from tests.training.test_models import images, loaded, timm_logits, tiny_timm
from tests.transforms.test_room import hardware, sizes
from tests.vit_models import random_vit

REGISTERS = {"reg_tokens": 4}
DINOV2 = REGISTERS | {"no_embed_class": True}
ALONE = {"reg_tokens": 3, "class_token": False, "global_pool": "avg"}
BOTH = {"reg_tokens": 2, "global_pool": "avg", "fc_norm": False}
KINDS = [ALONE, REGISTERS, DINOV2, BOTH]
TWO = {"reg_tokens": 1}
PREFIX = {str(o): o["reg_tokens"] + o.get("class_token", True) for o in KINDS}


@pytest.mark.parametrize("options", sampled(KINDS, 2), ids=str)
def test_timm_weights_give_timms_logits(options):
    teacher = tiny_timm(**options)
    model = loaded(teacher)
    assert model.config.prefix == model.config.protected == PREFIX[str(options)]
    model.quantise(False)
    batch = images(4, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(teacher, batch), atol=1e-4)


def test_more_tokens_than_the_hardware_takes_are_refused():
    with pytest.raises(UserError, match="it has 17 prefix tokens, at most 16 can be"):
        config_of_timm(tiny_timm(reg_tokens=MAX_PREFIX))


@cache
def _frozen(options: str, pooling: Pooling | None, ranked: int) -> tuple[PrunedViT, torch.Tensor]:
    teacher = tiny_timm(img_size=16, **next(o for o in (*KINDS, TWO) if str(o) == options))
    config = config_of_timm(teacher)
    config = replace(config, pooling=pooling or config.pooling, ranked_prefix=ranked).with_token_drop("0.5", (1,))
    return half_pruned(config, teacher.state_dict())


def frozen(options: dict, pooling: Pooling | None = None, ranked: int = 0) -> tuple[PrunedViT, torch.Tensor]:
    """A timm model of 16 patches that drops half of them, pruned, calibrated, frozen; and images."""
    return _frozen(str(options), pooling, ranked)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_prefix_passes_and_half_of_the_patches(options):
    model, batch = frozen(options)
    prefix = PREFIX[str(options)]
    found = record(model.double(), batch.double())
    before, after, scores = (found[f"blocks.0.drop{end}"] for end in (".x", "", ".s"))
    assert before.shape[1] == 16 + prefix and after.shape[1] == prefix + 8 + 1
    for x, y, s in zip(before, after, scores):
        best = sorted(range(prefix, 16 + prefix), key=lambda i: (-s[i], i))[:8]
        assert np.array_equal(y[:-1], x[[*range(prefix), *sorted(best)]])


@pytest.mark.parametrize("pooling", [Pooling.PATCHES, Pooling.ALL])
@pytest.mark.parametrize("options", sampled([ALONE, BOTH], 1), ids=str)
def test_the_mean_is_that_of_the_tokens_that_are_left(options, pooling):
    """Codes of kept patches and the fused token by hand, and of the prefix where all are pooled: their sum over that many, half to even."""
    model, batch = frozen(options, pooling)
    found = record(model.double(), batch.double())
    source = "blocks.1.add2_quant" if options is ALONE else "norm.quant"
    quantizers, prefix = model.quantizers(), PREFIX[str(options)]
    s_x, s_y = (quantizers[name].scale.number for name in (source, "pool.quant"))
    codes = np.rint(found[source] / s_x)[:, prefix if pooling is Pooling.PATCHES else 0 :]
    assert codes.shape[1] == 9 + (0 if pooling is Pooling.PATCHES else prefix)
    expected = np.rint(codes.mean(1) * s_x / s_y)
    got = np.rint(found["pool.quant"][:, 0] / s_y)
    assert np.abs(got - expected).max() <= 1 and (got == expected).mean() > 0.99
    if options is ALONE:
        assert s_y / s_x == pytest.approx(16 / codes.shape[1]), "a shift in hardware: 9 and 12 tokens lie below 16"


@pytest.mark.parametrize("options, pooling", spread([*((o, None) for o in KINDS), (ALONE, Pooling.ALL)], 4, several=True), ids=str)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(options, pooling):
    model, batch = frozen(options, pooling)
    model = model.float()
    graph = qonnx_of(model)
    lowered, _ = lowered_alike(model, batch, graph)
    pixels = batch.numpy().astype(np.uint8)
    hardware_graph = lowered.model.transform(TidyLowered())
    (drop,) = (getCustomOp(n) for n in hardware_graph.get_nodes_by_op_type("VitTokenDrop"))
    assert (drop.get_nodeattr("prefix"), drop.get_nodeattr("k")) == (PREFIX[str(options)], 8)
    after = golden.run(hardware_graph, {hardware_graph.graph.input[0].name: pixels})[hardware_graph.graph.output[0].name]
    with torch.no_grad():
        assert (after.reshape(len(pixels), -1).argmax(1) == model(batch).argmax(1).numpy()).all()


def token_drop_of(source):
    return next(n for n in source.graph.node if n.op_type == "TokenDrop")


def test_a_file_without_the_attribute_keeps_the_class_token_alone():
    """As files of networks with a class token have it, and those of distilled networks had it before prefixes were kept."""
    source, _ = random_vit(image=8)
    assert "prefix" not in {a.name for a in token_drop_of(source).attribute}
    source = to_qonnx(frozen(TWO, ranked=1)[0])
    assert "prefix" not in {a.name for a in token_drop_of(source).attribute}
    (drop,) = (getCustomOp(n) for n in lower(source).model.get_nodes_by_op_type("VitTokenDrop"))
    assert [drop.get_nodeattr(name) for name in ("tokens", "prefix", "k")] == [18, 1, 9]
    assert getCustomOp(token_drop_of(to_qonnx(frozen(TWO)[0]))).get_nodeattr("prefix") == 2


@pytest.mark.parametrize(
    "prefix, k, reason",
    [
        (0, 8, "prefix = 0 of 20 tokens: must be 1 to 19"),
        (20, 8, "prefix = 20 of 20 tokens: must be 1 to 19"),
        (4, 17, "k = 17 of 20 tokens, 4 of which always stay: must be 1 to 16"),
    ],
)
def test_drops_that_cannot_be_are_refused_at_their_node(prefix, k, reason):
    source, _ = random_vit(image=8, reg_tokens=3)
    node = token_drop_of(source)
    for name, value in (("prefix", prefix), ("k", k)):
        getCustomOp(node).set_nodeattr(name, value)
    with pytest.raises(Unmapped, match=reason):
        lower(source)


def test_a_network_of_patches_alone_drops_none():
    config = config_of_timm(tiny_timm(global_pool="avg", class_token=False))
    with pytest.raises(UserError, match="token keep rate 0.5: tokens are ranked by the attention of a class token or register"):
        config.with_token_drop("0.5", (1,))
    assert config.with_token_drop("0.5", ()) == config, "a rate without encoders drops nothing"
    assert config.with_token_drop("1", (1,)).token_counts() == [(4, 4), (4, 4)]


def test_the_last_encoder_drops_where_others_than_the_class_token_count():
    config = ViTConfig.dense(8, 1, 2, 16, 2, 3, 10, prefix=2)
    assert config.last_drop == 2 and replace(config, pooling=Pooling.PATCHES).last_drop == 3


def test_a_reference_that_ranks_the_distillation_token_drops_it():
    """12 of 17 tokens stay beside the class token and the fused one; 12 of 16 patches where the distillation token is kept."""
    config = ViTConfig.dense(8, 1, 2, 16, 2, 2, 10, prefix=2)
    ranked = replace(config, ranked_prefix=1).with_token_drop("0.7", (1,))
    kept = config.with_token_drop("0.7", (1,))
    assert (ranked.token_counts(), kept.token_counts()) == ([(18, 14), (14, 14)], [(18, 15), (15, 15)])
    assert [PrunedViT(c).blocks[0].drop.prefix for c in (ranked, kept)] == [1, 2]


@pytest.mark.whole
def test_room_keeps_the_prefix_and_the_tokens_of_a_mean(tmp_path):
    """A dense network gets drops that pass all tokens behind the prefix; where a mean divides by their number, none are added."""
    registers = {"image": 6, "reg_tokens": 2}
    room = with_room(hardware(tmp_path, keep="0.5", seed=1, **registers), EVERYTHING)
    dense = hardware(tmp_path, keep="1.0", seed=2, **registers | {"drop_at": ()})
    encoders = drop_encoders(room)
    assert encoders == {1}
    assert sizes(room.transform(SameDrops(encoders))) == sizes(dense.transform(SameDrops(encoders)))
    pooled = hardware(tmp_path, keep="0.5", seed=1, global_pool="avg", **registers)
    kinds = ("VitTokenDrop_rtl", "VitTokenMean_rtl")
    own, more = ([getCustomOp(n) for kind in kinds for n in m.get_nodes_by_op_type(kind)] for m in (pooled, with_room(pooled, EVERYTHING)))
    assert [op.get_nodeattr("tokens") for op in own] == [op.get_nodeattr("tokens") for op in more] == [12, 9]
