"""Networks with attention pooling: timm's numbers, QONNX, hardware graph, RTL as a pipeline and with the encoders on an engine."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from timm.layers import AttentionPoolLatent
from torch import nn

from finn_vitprune.builds.records.summarise import model_summary
from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.export.gate import record
from finn_vitprune.importing.float_model import configured
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import row_texts
from finn_vitprune.models.config import PoolerShape, Pooling
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.training.config import parse_config
from finn_vitprune.transforms.engines.room import EVERYTHING, with_room
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.random_builds.check import check_seed
from tests.random_builds.draw import POOLINGS
from tests.sampling import sampled
from tests.training.test_models import images, loaded, timm_logits, tiny_timm

SIGLIP = {"global_pool": "map", "class_token": False}
REGISTERS = {"global_pool": "map", "reg_tokens": 1, "pool_include_prefix": True, "img_size": 16}
PATCHES = {"global_pool": "map", "reg_tokens": 2, "img_size": 16, "pool_heads": 8}
WIDE = {"global_pool": "map", "class_token": False, "pool_heads": 1}
KINDS = [SIGLIP, REGISTERS, PATCHES, WIDE]
POOLED = {
    str(SIGLIP): (Pooling.ATTENTION, PoolerShape(2, 16, 128)),
    str(REGISTERS): (Pooling.ATTENTION, PoolerShape(2, 16, 128)),
    str(PATCHES): (Pooling.ATTENTION_PATCHES, PoolerShape(8, 4, 128)),
    str(WIDE): (Pooling.ATTENTION, PoolerShape(1, 32, 128)),
}
"""What is pooled of each, and by which heads; encoders have two of 16."""


def made(pool_heads: int | None = None, **options) -> nn.Module:
    """A small timm model; ``pool_heads`` of its attention pooling."""
    model = tiny_timm(**options)
    if pool_heads is not None:
        model.attn_pool = randomised(AttentionPoolLatent(32, num_heads=pool_heads, norm_layer=partial(nn.LayerNorm, eps=1e-6)))
    return model.eval()


def randomised(pool: nn.Module) -> nn.Module:
    """No parameter is trivial."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 2 else 0.2))
    return pool


@cache
def _frozen(options: str, weight_bits: int, act_bits: int) -> tuple[PrunedViT, torch.Tensor]:
    source = made(**next(o for o in KINDS if str(o) == options))
    config = replace(config_of_timm(source), weight_bits=weight_bits, act_bits=act_bits)
    config = config.with_token_drop("0.5", (2,)) if config.prefix else config
    return half_pruned(config, source.state_dict())


@cache
def _graph(options: str, weight_bits: int, act_bits: int) -> bytes:
    graph = qonnx_of(_frozen(options, weight_bits, act_bits)[0].float())
    return graph.model.SerializeToString()


def exported(options: dict, weight_bits: int = 8, act_bits: int = 8) -> ModelWrapper:
    """The QONNX graph of :func:`frozen`."""
    return ModelWrapper(_graph(str(options), weight_bits, act_bits))


def frozen(options: dict, weight_bits: int = 8, act_bits: int = 8) -> tuple[PrunedViT, torch.Tensor]:
    """A timm model pruned to half of its blocks and neurons, with a token drop in its last encoder if it has prefix tokens; and images."""
    model, batch = _frozen(str(options), weight_bits, act_bits)
    return model.float(), batch


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_timm_weights_give_timms_logits(options):
    source = made(**options)
    model = loaded(source)
    assert (model.config.pooling, model.config.pooler) == POOLED[str(options)] and model.config.head_dim == 16
    model.quantise(False)
    batch = images(4, model.config)
    expected = timm_logits(source, batch)
    with torch.no_grad():
        assert (model(batch) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_latent_without_a_matrix_is_the_query():
    source = tiny_timm(**SIGLIP)
    source.attn_pool.q = nn.Identity()
    model = loaded(source)
    model.quantise(False)
    batch = images(2, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(source, batch), atol=1e-4)


def with_pool(change=None, **options):
    """A model with another attention pooling."""
    model = tiny_timm(**SIGLIP)
    if options:
        model.attn_pool = AttentionPoolLatent(32, **({"num_heads": 2, "norm_layer": partial(nn.LayerNorm, eps=1e-6)} | options))
    if change is not None:
        change(model)
    return model


REFUSED = {
    "several queries": (lambda: with_pool(latent_len=2), "has 2 queries, not one"),
    "positions": (lambda: with_pool(pos_embed="abs", feat_size=4), "has positions of its own"),
    "QK-norm": (lambda: with_pool(qk_norm=True), "normalises queries and keys"),
    "activation": (lambda: with_pool(act_layer=nn.SiLU), "another activation"),
    "no MLP": (lambda: with_pool(out_features=0), "no MLP"),
    "no LayerNorm": (lambda: with_pool(norm_layer=None), "no MLP with a LayerNorm"),
    "eps": (lambda: with_pool(lambda m: setattr(m.attn_pool.norm, "eps", 1e-3)), "eps 0.001 of a LayerNorm in its attention pooling"),
    "a norm after it": (lambda: tiny_timm(**SIGLIP, fc_norm=True), "without a LayerNorm"),
    "no norm before it": (lambda: tiny_timm(**SIGLIP, final_norm=False), "without a LayerNorm"),
    "another pooling": (lambda: tiny_timm(global_pool="prr", class_token=False), "global_pool is 'prr'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hardware_lacks_is_refused_by_name(name):
    make, reason = REFUSED[name]
    with pytest.raises(UserError, match=reason):
        config_of_timm(make())


def test_a_configuration_that_says_two_things_is_an_error():
    config = config_of_timm(tiny_timm(**SIGLIP))
    for change in ({"pooler": None}, {"pooling": Pooling.ALL}, {"pooling": Pooling.CLASS}):
        with pytest.raises(ValueError, match="heads and neurons are given for attention pooling alone"):
            replace(config, **change)
    for change in ({"final_norm": False}, {"norm_after_pooling": True}):
        with pytest.raises(ValueError, match="attention pooling reads the tokens of the last LayerNorm"):
            replace(config, **change)


PREFIXES = {"token": (Pooling.CLASS,) * 2, "avg": (Pooling.PATCHES, Pooling.ALL), "map": (Pooling.ATTENTION_PATCHES, Pooling.ATTENTION)}


@pytest.mark.parametrize("pool", PREFIXES)
@pytest.mark.parametrize("whole", [False, True])
def test_what_is_pooled_is_what_timm_pools(pool, whole):
    """With a mean, too, the prefix tokens are pooled where timm pools them."""
    source = tiny_timm(global_pool=pool, pool_include_prefix=whole, reg_tokens=1)
    model = loaded(source)
    assert model.config.pooling is PREFIXES[pool][whole]
    model.quantise(False)
    batch = images(3, model.config)
    expected = timm_logits(source, batch)
    with torch.no_grad():
        assert (model(batch) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_ranked_prefix_tokens_before_attention_to_the_patches_are_refused():
    """Which rows are patches would depend on the image."""
    config = replace(config_of_timm(made(**PATCHES)), ranked_prefix=1)
    with pytest.raises(ValueError, match="attention to the patches with ranked prefix tokens"):
        config.with_token_drop("0.5", (2,))
    train = parse_config({"name": "x", "prune": {"ranked_prefix": 1, "block_size": 4, "drop_at": [2]}})
    with pytest.raises(UserError, match="prune.ranked_prefix 1: attention pools the patches alone, so all prefix tokens stay"):
        train.vit_config(config_of_timm(made(**PATCHES)))


def test_tokens_are_dropped_where_a_prefix_token_ranks_them():
    with pytest.raises(UserError, match="token keep rate 0.5: tokens are ranked by"):
        config_of_timm(tiny_timm(**SIGLIP)).with_token_drop("0.5", (1,))
    model, _ = frozen(REGISTERS, 4)
    assert model.config.token_counts() == [(18, 18), (18, 11)] and model.config.last_drop == 2 and model.config.pooled == 11
    assert frozen(PATCHES, 4)[0].config.token_counts() == [(19, 19), (19, 12)] and frozen(PATCHES, 4)[0].config.pooled == 9


@pytest.mark.parametrize("options", [SIGLIP, PATCHES], ids=str)
def test_the_pooling_is_not_pruned(options):
    model, _ = frozen(options)
    dense = loaded(made(**options))
    assert model.config.pooler == dense.config.pooler and model.config.encoders != dense.config.encoders
    for name in ("kv", "proj", "mlp.fc1", "mlp.fc2"):
        found, wanted = (network.attn_pool.get_submodule(name).weight for network in (model, dense))
        assert torch.allclose(found, wanted, atol=0.01 * float(wanted.abs().max()))


@pytest.mark.parametrize("options", [SIGLIP, PATCHES], ids=str)
def test_the_output_is_that_of_attention_by_hand(options):
    """From the codes of the tokens that it reads: softmax by 8 bit numerators, and the codes of the query, in float64."""
    model, batch = frozen(options)
    found, pool, (_, shape) = record(model.double(), batch.double()), model.attn_pool, POOLED[str(options)]
    x, scale = torch.from_numpy(found["norm.quant"]), pool.logit_quant.scale.number
    assert x.shape[1] == (9 if options is PATCHES else 4)
    with torch.no_grad():
        keys, values = (part.view(*x.shape[:2], shape.heads, shape.head_dim) for part in pool.kv(x).chunk(2, -1))
        scores = torch.einsum("hd,bnhd->bhn", pool.query.view(shape.heads, shape.head_dim), keys)
        codes = (scores / scale).round().clamp(-128, 127)
        e = (255 * torch.exp((codes - codes.amax(-1, keepdim=True)) * scale)).round()
        expected = torch.einsum("bhn,bnhd->bhd", e / e.sum(-1, keepdim=True), values)
    got = found["attn_pool.out_quant"][:, :, 0]
    assert np.abs(got - expected.numpy()).max() < 0.05 * np.abs(got).max()


BITS = sampled(
    [(PATCHES, 8, 8), (SIGLIP, 8, 8), (REGISTERS, 4, 8), (WIDE, 4, 8), (SIGLIP, 4, 4), (PATCHES, 4, 4), (REGISTERS, 8, 8)], 1, several=True
)


@pytest.mark.parametrize("options, weight_bits, act_bits", BITS)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(options, weight_bits, act_bits):
    model, batch = frozen(options, weight_bits, act_bits)
    graph = exported(options, weight_bits, act_bits)
    lowered, _ = lowered_alike(model, batch, graph)
    pixels = batch.numpy().astype(np.uint8)
    tidy = lowered.model.transform(TidyLowered())
    attention = getCustomOp(tidy.get_nodes_by_op_type("PrunedAttention")[-1])
    assert (attention.get_nodeattr("queries"), attention.get_nodeattr("tokens")) == (1, model.config.pooled)
    assert (attention.get_nodeattr("heads"), attention.get_nodeattr("head_dim")) == (model.attn_pool.heads, model.attn_pool.head_dim)
    query = tidy.find_producer(attention.onnx_node.input[0])
    unit = getCustomOp(query)
    assert unit.get_nodeattr("tokens") == 1 and not unit.macs() and not tidy.get_initializer(query.input[1]).any()
    values = golden.run(lowered.model, {graph.graph.input[0].name: pixels[:1]})
    codes = (model.attn_pool.query / model.attn_pool.q_quant.scale.number).detach().round().numpy()
    name = lowered.model.get_nodes_by_op_type("PrunedAttention")[-1].input[0]
    assert np.array_equal(values[name], codes) and np.abs(codes).max() > 2 ** (act_bits - 1) / 2


@pytest.mark.parametrize("options", [SIGLIP, PATCHES], ids=str)
def test_a_summary_has_tokens_and_heads_of_the_encoders_alone(options):
    model, _ = frozen(options)
    graph = lower(exported(options)).model.transform(TidyLowered()).transform(HardwareOnly())
    found = model_summary(graph, None)
    assert [(t.in_, t.mlp) for t in found.tokens] == model.config.token_counts() and found.heads == [e.heads for e in model.config.encoders]
    assert found.macs == sum(getCustomOp(node).macs() for node in graph.graph.node)


def test_a_roomier_network_pools_more_patches_by_the_same_heads():
    """All tokens of its encoders but the prefix; what is not pruned has nothing to grow."""
    own = lower(exported(PATCHES)).model.transform(TidyLowered()).transform(HardwareOnly())
    pools = [getCustomOp(graph.get_nodes_by_op_type("PrunedAttention")[-1]) for graph in (own, with_room(own, EVERYTHING))]
    found = [[op.get_nodeattr(name) for name in ("tokens", "queries", "heads", "head_dim")] for op in pools]
    assert found == [[9, 1, 8, 4], [16, 1, 8, 4]]


@pytest.mark.parametrize("options", [REGISTERS, PATCHES], ids=str)
def test_check_maps_a_qonnx_file_with_its_places(options, tmp_path):
    model, _ = frozen(options, 4)
    exported(options, 4).save(str(tmp_path / "model.onnx"))
    checked = check(tmp_path / "model.onnx")
    assert checked.passed and checked.mapped == len(checked.rows)
    config = checked.structure.config
    assert (config.pooling, config.pooler, config.prefix) == (*POOLED[str(options)], model.config.prefix)
    tokens = model.config.tokens
    assert config.encoders == tuple(replace(e, keep=None) for e in model.config.encoders) and checked.structure.tokens == (tokens, tokens)
    rows = [(r.place, r.becomes) for r in row_texts(checked)]
    assert [place for place, becomes in rows if "VitAdd" in becomes] == ["encoder 1"] * 2 + ["encoder 2"] * 2 + ["classifier"]
    assert [place for place, becomes in rows if becomes.endswith("VitLayerNorm")].count("classifier") == 3


def test_several_constant_queries_are_refused_with_the_reason():
    graph = exported(SIGLIP)
    query = graph.get_initializer("attn_pool.query")
    graph.set_initializer("attn_pool.query", np.concatenate([query, query], axis=1))
    for node in graph.graph.node:
        if node.op_type == "Reshape" and node.input[0].startswith("attn_pool.q_quant"):
            graph.set_initializer(node.input[1], np.array([1, 2, 2, 16]))
    with pytest.raises(Unmapped, match=r"a constant query of shape \[1, 2, 2, 16\]: attention pooling has one query, \[1, 2, 1, 16\]"):
        lower(graph)


def test_its_layers_are_fitted_to_the_float_network():
    teacher = loaded(tiny_timm(**SIGLIP))
    teacher.quantise(False)
    student, batch = configured(teacher, replace(teacher.config, weight_bits=4)), images(48, teacher.config)
    student.calibrate(batch)
    student.quantise(True)

    def distance() -> float:
        with torch.no_grad():
            return float((student(batch) - teacher(batch)).square().mean())

    before = distance()
    fit_layers(student, teacher, batch[:40], rounded=True)
    assert distance() < 0.7 * before
    assert all(float(layer.weight_scale.held.max()) for layer in student.linears().values())


@pytest.mark.parametrize("seed", sampled([2, 1, 6], 0))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    """On an engine, with hardware for every encoder, and loaded with another network."""
    assert Pooling(POOLINGS.design(seed).network.pooling).attends
    found = check_seed(POOLINGS, seed)
    assert found.outcome == "agree" and found.rtl_mismatches == 0 and found.streams > 0, found
