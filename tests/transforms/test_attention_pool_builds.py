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

from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.export.gate import record
from finn_vitprune.importing.float_model import configured
from finn_vitprune.ingest.check.check import check
from finn_vitprune.ingest.check.checked import row_texts
from finn_vitprune.models.config import EncoderShape, Pooling
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.random_builds.check import check_seed
from tests.random_builds.draw import POOLINGS
from tests.sampling import sampled
from tests.training.test_models import images, loaded, timm_logits, tiny_timm

SIGLIP = {"global_pool": "map", "class_token": False}
REGISTERS = {"global_pool": "map", "reg_tokens": 1, "pool_include_prefix": True, "img_size": 16}
KINDS = [SIGLIP, REGISTERS]


@cache
def _frozen(options: str, weight_bits: int, act_bits: int) -> tuple[PrunedViT, torch.Tensor]:
    source = tiny_timm(**next(o for o in KINDS if str(o) == options))
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
    source = tiny_timm(**options)
    model = loaded(source)
    assert (model.config.pooling, model.config.pooler) == (Pooling.ATTENTION, EncoderShape(2, 128))
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
    "patches alone": (lambda: tiny_timm(global_pool="map"), "leaves out 1 prefix tokens"),
    "several queries": (lambda: with_pool(latent_len=2), "has 2 queries, not one"),
    "positions": (lambda: with_pool(pos_embed="abs", feat_size=4), "has positions of its own"),
    "QK-norm": (lambda: with_pool(qk_norm=True), "normalises queries and keys"),
    "heads": (lambda: with_pool(num_heads=4), "heads of its attention pooling are 8 wide, others 16"),
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
    for change in ({"pooler": None}, {"pooling": Pooling.ALL}, {"pooler": EncoderShape(2, 8, keep=3)}):
        with pytest.raises(ValueError, match="heads and neurons are given for attention pooling alone"):
            replace(config, **change)
    for change in ({"final_norm": False}, {"norm_after_pooling": True}):
        with pytest.raises(ValueError, match="attention pooling reads the tokens of the last LayerNorm"):
            replace(config, **change)


def test_tokens_are_dropped_where_a_prefix_token_ranks_them():
    with pytest.raises(UserError, match="token keep rate 0.5: tokens are ranked by"):
        config_of_timm(tiny_timm(**SIGLIP)).with_token_drop("0.5", (1,))
    model, _ = frozen(REGISTERS, 4)
    assert model.config.token_counts() == [(18, 18), (18, 11)] and model.config.last_drop == 2


def test_the_pooling_is_not_pruned():
    model, _ = frozen(SIGLIP)
    dense = loaded(tiny_timm(**SIGLIP))
    assert model.config.pooler == dense.config.pooler and model.config.encoders != dense.config.encoders
    for name in ("kv", "proj", "mlp.fc1", "mlp.fc2"):
        found, wanted = (network.attn_pool.get_submodule(name).weight for network in (model, dense))
        assert torch.allclose(found, wanted, atol=0.01 * float(wanted.abs().max()))


def test_the_output_is_that_of_attention_by_hand():
    """From the codes of the tokens that it reads: softmax by 8 bit numerators, and the codes of the query, in float64."""
    model, batch = frozen(SIGLIP)
    found, pool = record(model.double(), batch.double()), model.attn_pool
    x, scale = torch.from_numpy(found["norm.quant"]), pool.logit_quant.scale.number
    with torch.no_grad():
        keys, values = (part.view(*x.shape[:2], 2, 16) for part in pool.kv(x).chunk(2, -1))
        scores = torch.einsum("hd,bnhd->bhn", pool.query.view(2, 16), keys)
        codes = (scores / scale).round().clamp(-128, 127)
        e = (255 * torch.exp((codes - codes.amax(-1, keepdim=True)) * scale)).round()
        expected = torch.einsum("bhn,bnhd->bhd", e / e.sum(-1, keepdim=True), values)
    got = found["attn_pool.out_quant"][:, :, 0]
    assert np.abs(got - expected.numpy()).max() < 0.05 * np.abs(got).max()


BITS = sampled([(SIGLIP, 8, 8), (REGISTERS, 4, 8), (SIGLIP, 4, 4), (REGISTERS, 8, 8)], 2, several=True)


@pytest.mark.parametrize("options, weight_bits, act_bits", BITS)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(options, weight_bits, act_bits):
    model, batch = frozen(options, weight_bits, act_bits)
    graph = exported(options, weight_bits, act_bits)
    lowered, _ = lowered_alike(model, batch, graph)
    pixels = batch.numpy().astype(np.uint8)
    tidy = lowered.model.transform(TidyLowered())
    attention = getCustomOp(tidy.get_nodes_by_op_type("PrunedAttention")[-1])
    assert (attention.get_nodeattr("queries"), attention.get_nodeattr("tokens")) == (1, model.config.token_counts()[-1][1])
    query = tidy.find_producer(attention.onnx_node.input[0])
    unit = getCustomOp(query)
    assert unit.get_nodeattr("tokens") == 1 and not unit.macs() and not tidy.get_initializer(query.input[1]).any()
    values = golden.run(lowered.model, {graph.graph.input[0].name: pixels[:1]})
    codes = (model.attn_pool.query / model.attn_pool.q_quant.scale.number).detach().round().numpy()
    name = lowered.model.get_nodes_by_op_type("PrunedAttention")[-1].input[0]
    assert np.array_equal(values[name], codes) and np.abs(codes).max() > 2 ** (act_bits - 1) / 2


def test_check_maps_a_qonnx_file_with_its_places(tmp_path):
    model, _ = frozen(REGISTERS, 4)
    exported(REGISTERS, 4).save(str(tmp_path / "model.onnx"))
    checked = check(tmp_path / "model.onnx")
    assert checked.passed and checked.mapped == len(checked.rows)
    config = checked.structure.config
    assert (config.pooling, config.pooler, config.prefix) == (Pooling.ATTENTION, model.config.pooler, 2)
    assert config.encoders == tuple(replace(e, keep=None) for e in model.config.encoders) and checked.structure.tokens == (18, 18)
    rows = [(r.place, r.becomes) for r in row_texts(checked)]
    assert [place for place, becomes in rows if "VitAdd" in becomes] == ["encoder 1"] * 2 + ["encoder 2"] * 2 + ["classifier"]
    assert [place for place, becomes in rows if becomes == "VitLayerNorm"].count("classifier") == 3


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


@pytest.mark.parametrize("seed", sampled([2, 1], 1))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    """On an engine, and with hardware for every encoder."""
    assert POOLINGS.design(seed).network.pooling == Pooling.ATTENTION
    found = check_seed(POOLINGS, seed)
    assert found.outcome == "agree" and found.rtl_mismatches == 0 and found.streams > 0, found
