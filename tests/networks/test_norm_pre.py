"""Networks with a LayerNorm before the encoders: timm's numbers, its arithmetic, training, QONNX, hardware graph, RTL."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.errors import UserError
from finn_vitprune.export.gate import record
from finn_vitprune.models.freeze import weight_codes
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.random_builds.agreement import assert_seed_agrees, stored_designs
from tests.random_builds.draw import NORMS
from tests.sampling import sampled
from tests.training.test_models import images, loaded, timm_logits, tiny_timm


def teacher(**options):
    """A small timm model as CLIP's are, tokens of small values, a gamma that is 0, one below 0 and one that is large."""
    model = tiny_timm(pre_norm=True, **options)
    with torch.no_grad():
        for parameter in (model.cls_token, model.pos_embed, model.patch_embed.proj.weight):
            parameter.mul_(0.01)
        model.norm_pre.weight[:3] = torch.tensor([0.0, -0.7, 9.0])
    return model


def frozen(weight_bits: int = 8, act_bits: int = 8, count: int = 8) -> tuple[PrunedViT, torch.Tensor]:
    """The model pruned to half of its blocks and neurons, one token drop, calibrated, frozen; and images."""
    source = teacher()
    config = replace(config_of_timm(source), weight_bits=weight_bits, act_bits=act_bits).with_token_drop("0.5", (1,))
    return half_pruned(config, source.state_dict(), count)


def test_timm_weights_give_timms_logits():
    source = teacher()
    model = loaded(source)
    assert model.config.norm_pre and not hasattr(loaded(tiny_timm()), "norm_pre")
    model.quantise(False)
    batch = images(4, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(source, batch), atol=1e-4)


def test_the_residual_stream_begins_as_gamma_times_the_codes_plus_beta():
    """By hand, at the scales of the frozen network; the tokens before have a scale of their own, as fine as they are small."""
    model, batch = frozen(act_bits=4)
    entry, source, found = model.norm_pre, teacher(), record(model.double(), batch.double())
    gamma, beta = (source.norm_pre.get_parameter(n).detach().double().numpy() for n in ("weight", "bias"))
    codes = found["norm_pre.norm.quant"] / entry.norm.quant.scale.number
    assert np.array_equal(codes, np.rint(codes)) and 100 < np.abs(codes).max() <= 128, "8 bits whatever others have"
    step = model.residual_scale.number
    expected = (gamma * found["norm_pre.norm.quant"] + beta) / step
    grid = np.abs(gamma).max() * entry.norm.quant.scale.number / 127 / step  # of a bias, at most
    assert np.abs(found["norm_pre.scale_quant"] / step - expected).max() < 1 + grid / 2 + 2.0**-8 * np.abs(expected).max()
    weights = weight_codes(entry.scale)
    assert not (weights - np.diag(np.diag(weights))).any() and set(np.diag(weights)) == {127, -127, 0}
    assert model.embed_scale.number < 0.2 * step
    assert 2**13 < np.abs(found["embed_quant"] / model.embed_scale.number).max() < 2**15


@pytest.mark.parametrize("bits", sampled([(4, 8), (8, 8), (4, 4)], 1))
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(bits):
    model, batch = frozen(*bits)
    graph = qonnx_of(model)
    lowered, _ = lowered_alike(model, batch, graph)
    norm, scale = lowered.model.graph.node[5:7]
    assert (norm.op_type, scale.op_type) == ("VitLayerNorm", "BlockSparseMVAU")
    unit = getCustomOp(scale)
    assert (unit.get_nodeattr("weightDataType"), unit.get_nodeattr("inputDataType")) == ("INT8", "INT8")
    assert unit.out_streams()[0].dtype.name == "INT16"


def test_training_moves_gamma_and_beta_and_nothing_beside_the_diagonal():
    source = teacher()
    model = loaded(source).train()
    model.calibrate(images(8, model.config))
    before = model.norm_pre.scale.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for seed in range(3):
        optimizer.zero_grad()
        model(images(4, model.config, seed)).square().sum().backward()
        optimizer.step()
    after = model.norm_pre.scale.weight.detach()
    assert not (after - torch.diag(torch.diag(after))).any()
    assert (torch.diag(after) != torch.diag(before)).sum() >= 30
    assert (model.norm_pre.scale.bias != source.norm_pre.bias).all()


def test_the_configuration_of_training_has_it():
    content = {"name": "x", "data": "digits", "model": {"norm_pre": True}}
    config = parse_config(content, "c.yaml")
    assert config_of_timm(make_teacher(config, config.load_data())).norm_pre
    with pytest.raises(UserError, match="model.norm_pre true is for networks of given sizes, deit_tiny_patch16_224 has its own"):
        parse_config(content | {"model": {"norm_pre": True, "timm": "deit_tiny_patch16_224"}}, "c.yaml")
    with pytest.raises(UserError, match="model.norm_pre = 'perhaps'"):
        parse_config(content | {"model": {"norm_pre": "perhaps"}}, "c.yaml")


@pytest.mark.parametrize("seed", sampled([6, 2, 3], 0))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    """On engines, with hardware for every encoder, and without a LayerNorm after them."""
    assert NORMS.design(seed).network.norm_pre
    assert_seed_agrees(NORMS, seed)


def test_random_networks_agree():
    """`make random-builds KIND=norms BUILDS=12` goes on from here."""
    drawn = stored_designs(NORMS, 12)
    assert {(bool(d.encoders_per_engine), d.network.norm_pre, d.network.final_norm) for d in drawn} == {
        (engine, *norms) for engine in (False, True) for norms in ((True, True), (True, False), (False, False))
    }
    assert {d.network.pooling == "class" for d in drawn if not d.network.final_norm} == {False, True}
    assert {(4, 8), (8, 8)} <= {(d.network.weight_bits, d.network.act_bits) for d in drawn}
