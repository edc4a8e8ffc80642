"""Networks whose classifier reads the residual stream, without a LayerNorm between: timm's numbers, QONNX, hardware graph, RTL."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.errors import UserError
from finn_vitprune.export.gate import record
from finn_vitprune.models.config import Pooling
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.random_builds.check import check_seed
from tests.random_builds.draw import NORMS
from tests.sampling import sampled
from tests.training.test_models import images, loaded, timm_logits, tiny_timm

BARE = {"final_norm": False}
KINDS = [BARE, BARE | {"global_pool": "avg"}, BARE | {"global_pool": "avg", "class_token": False}]


def frozen(options: dict, act_bits: int = 8) -> tuple[PrunedViT, torch.Tensor]:
    """A timm model pruned to half of its blocks and neurons, with a token drop if it has a class token's row, frozen; and images."""
    source = tiny_timm(**options)
    config = replace(config_of_timm(source), act_bits=act_bits)
    config = config.with_token_drop("0.5", (1,)) if config.pooling is Pooling.CLASS else config
    return half_pruned(config, source.state_dict())


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_timm_weights_give_timms_logits(options):
    source = tiny_timm(**options)
    model = loaded(source)
    assert not model.config.final_norm and not model.config.norm_after_pooling and not hasattr(model, "norm")
    model.quantise(False)
    batch = images(4, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(source, batch), atol=1e-4)


@pytest.mark.parametrize("options", KINDS[:2], ids=str)
def test_the_classifier_reads_the_residual_stream_requantised(options):
    """By hand: codes of the class token, or the mean of the patches', at the two scales, half to even."""
    model, batch = frozen(options)
    found = record(model.double(), batch.double())
    s_x, s_y = model.residual_scale.number, model.head_quant.scale.number
    codes = np.rint(found["blocks.1.add2_quant"] / s_x)
    of_class = options is BARE
    read = codes[:, 0] if of_class else codes[:, 1:].mean(1)
    got = np.rint(found["class_quant" if of_class else "pool.quant"][:, 0] / s_y)
    expected = np.clip(np.rint(read * s_x / s_y), -128, 127)
    assert np.abs(got - expected).max() <= 1 and (got == expected).mean() > 0.99 and np.abs(got).max() > 60
    ratio = s_x / s_y if of_class else s_x / s_y / (codes.shape[1] - 1)
    mult = ratio * 2.0 ** (17 - np.frexp(ratio)[1])
    assert mult == pytest.approx(round(mult), abs=0.02)


@pytest.mark.parametrize("options, act_bits", sampled([(BARE, 8), (KINDS[1], 4), (BARE, 4), (KINDS[2], 8)], 1, several=True))
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(options, act_bits):
    model, batch = frozen(options, act_bits)
    graph = qonnx_of(model)
    lowered, _ = lowered_alike(model, batch, graph)
    tidy = lowered.model.transform(TidyLowered())
    *_, before, head = tidy.graph.node
    kind = "VitRequant" if model.config.pooling is Pooling.CLASS else "VitTokenMean"
    assert (before.op_type, head.op_type) == (kind, "BlockSparseMVAU")
    assert getCustomOp(before).get_nodeattr("outputDataType") == f"INT{act_bits}"
    assert getCustomOp(before).out_streams()[0].tokens == 1


def test_a_norm_of_the_mean_needs_a_norm():
    config = config_of_timm(tiny_timm(global_pool="avg"))
    with pytest.raises(ValueError, match="norm_after_pooling without final_norm"):
        replace(config, final_norm=False)


def test_the_configuration_of_training_has_it():
    content = {"name": "x", "data": "digits", "model": {"final_norm": False}}
    config = parse_config(content, "c.yaml")
    assert not config_of_timm(make_teacher(config, config.load_data())).final_norm
    with pytest.raises(UserError, match="model.final_norm false is for networks of given sizes, deit_tiny_patch16_224 has its own"):
        parse_config(content | {"model": {"final_norm": False, "timm": "deit_tiny_patch16_224"}}, "c.yaml")


@pytest.mark.parametrize("seed", sampled([4, 1, 8], 0))
def test_a_random_network_agrees_in_pytorch_qonnx_hardware_graph_and_rtl(seed):
    """On engines, with hardware for every encoder, and with a LayerNorm before the encoders."""
    assert not NORMS.design(seed).network.final_norm
    found = check_seed(NORMS, seed)
    assert found.outcome == "agree" and found.rtl_mismatches == 0 and found.streams > 0, found
