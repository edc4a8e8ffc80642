"""Networks that pool by the mean of their tokens: timm's numbers, QONNX, hardware graph (token drops: test_prefix_drop.py)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.execute import golden
from finn_vitprune.export.gate import record
from finn_vitprune.models.config import Pooling
from finn_vitprune.models.layers import TokenMean
from finn_vitprune.models.quantizers import ActScale
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.transforms.lowering.lower import Unmapped, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from tests.pruned_timm import half_pruned, lowered_alike, qonnx_of
from tests.sampling import sampled, spread
from tests.training.test_models import images, loaded, timm_logits, tiny_timm
from tests.vit_models import random_vit

AFTER = {"global_pool": "avg"}
BEFORE = {"global_pool": "avg", "fc_norm": False}
ALONE = {"global_pool": "avg", "class_token": False}
KINDS = [AFTER, BEFORE, ALONE, ALONE | BEFORE]


def frozen(options: dict, pooling: Pooling | None = None, count: int = 8) -> tuple[PrunedViT, torch.Tensor]:
    """A timm model pruned to half of its blocks and neurons, calibrated, frozen; and images."""
    teacher = tiny_timm(**options)
    config = config_of_timm(teacher)
    return half_pruned(config if pooling is None else replace(config, pooling=pooling), teacher.state_dict(), count)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_timm_weights_give_timms_logits(options):
    teacher = tiny_timm(**options)
    model = loaded(teacher)
    assert (model.config.pooling, model.config.prefix) == (Pooling.PATCHES, int(options.get("class_token", True)))
    assert model.config.norm_after_pooling == options.get("fc_norm", True)
    model.quantise(False)
    batch = images(4, model.config)
    with torch.no_grad():
        assert torch.allclose(model(batch), timm_logits(teacher, batch), atol=1e-4)


@pytest.mark.parametrize("pooling", [Pooling.PATCHES, Pooling.ALL])
@pytest.mark.parametrize("options", sampled([AFTER, BEFORE], 1), ids=str)
def test_the_mean_is_that_of_the_codes_rounded(options, pooling):
    """Codes of the pooled tokens by hand: their sum over N at the two scales, half to even."""
    model, batch = frozen(options, pooling)
    found = record(model.double(), batch.double())
    source = "blocks.1.add2_quant" if options is AFTER else "norm.quant"
    quantizers = model.quantizers()
    s_x, s_y = (quantizers[name].scale.number for name in (source, "pool.quant"))
    codes = np.rint(found[source] / s_x)[:, 1 if pooling is Pooling.PATCHES else 0 :]
    expected = np.rint(codes.mean(1) * s_x / s_y)
    assert codes.shape[1] == (4 if pooling is Pooling.PATCHES else 5)
    assert np.abs(np.rint(found["pool.quant"][:, 0] / s_y) - expected).max() <= 1  # beside ties
    assert (np.rint(found["pool.quant"][:, 0] / s_y) == expected).mean() > 0.99
    assert np.abs(expected).max() > (1000 if options is AFTER else 60)


@pytest.mark.parametrize("tokens, first, power", [(5, 1, 4), (5, 0, 8), (17, 0, 32), (198, 2, 256), (2, 1, 1)])
def test_the_residual_mean_has_the_scale_of_a_shift(tokens, first, power):
    """2^S / N of the residual scale, also after that changed, until it is fixed."""
    residual = ActScale(0.5, learned=False)
    pool = TokenMean(tokens, first, 8, residual)
    residual.set(0.25)
    assert pool.quant.scale.number == pytest.approx(0.25 * power / (tokens - first))
    pool.quant.scale.fix(3.0)
    residual.set(0.5)
    assert (pool.quant.scale.number, pool.quant.bits) == (3.0, 16)


def test_the_snapped_scale_is_a_multiplier_and_a_shift():
    pool = TokenMean(7, 2, 8, None)
    pool.quant.scale.set(0.0123)
    pool.snap(0.05)
    ratio = 0.05 / (5 * pool.quant.scale.number)
    mult = ratio * 2.0 ** (17 - np.frexp(ratio)[1])
    assert mult == pytest.approx(round(mult), abs=0.02)
    assert pool.quant.scale.number == pytest.approx(0.0123, rel=1e-5)


@pytest.mark.parametrize("options", spread(KINDS, 6), ids=str)
def test_the_export_passes_its_gate_and_lowers_to_the_same_codes(options):
    model, batch = frozen(options)
    graph = qonnx_of(model)
    lowered, check = lowered_alike(model, batch, graph)
    pixels = batch.numpy().astype(np.uint8)
    assert "VitTokenMean_0" in {c.node for c in check.tensors}
    hardware = lowered.model.transform(TidyLowered())
    name = hardware.graph.input[0].name
    before = golden.run(lowered.model, {name: pixels})[lowered.model.graph.output[0].name]
    after = golden.run(hardware, {name: pixels})[hardware.graph.output[0].name]
    assert np.array_equal(before.reshape(len(pixels), -1), after.reshape(len(pixels), -1))
    with torch.no_grad():
        top1 = model(batch).argmax(1).numpy()
    assert (after.reshape(len(pixels), -1).argmax(1) == top1).all()


@pytest.mark.parametrize("options", spread(KINDS, 6), ids=str)
def test_the_last_encoder_runs_for_every_token(options):
    source, _ = random_vit(drop_at=(), token_keep="1", **options)
    hardware = lower(source).model.transform(TidyLowered())
    tokens = 4 + int(options.get("class_token", True))
    *_, last = (getCustomOp(n) for n in hardware.get_nodes_by_op_type("PrunedAttention"))
    assert (last.get_nodeattr("queries"), last.get_nodeattr("tokens")) == (tokens, tokens)
    assert not hardware.get_nodes_by_op_type("VitSelectToken")
    (mean,) = (getCustomOp(n) for n in hardware.get_nodes_by_op_type("VitTokenMean"))
    assert (mean.get_nodeattr("tokens"), mean.get_nodeattr("first")) == (tokens, tokens - 4)
    after = options.get("fc_norm", True)
    assert mean.get_nodeattr("inputDataType") == ("INT16" if after else "INT8")
    if after:
        assert mean.constant()[0] == 1, "a mean over the residual stream needs no multiplier"


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda g, n: n.input.__setitem__(1, "axis2"), "a mean is taken over the tokens"),
        (lambda g, n: _slice(g).input.__setitem__(1, "zero"), "all tokens of a stream, or all but the first"),
    ],
)
def test_other_means_are_refused_at_their_node(change, reason):
    from onnx import numpy_helper

    source, _ = random_vit(drop_at=(), token_keep="1", **AFTER)
    graph = source.graph
    node = next(n for n in graph.node if n.op_type == "ReduceMean")
    graph.initializer.append(numpy_helper.from_array(np.int64([2]), "axis2"))
    change(graph, node)
    with pytest.raises(Unmapped, match=reason):
        lower(source)


def _slice(graph):
    from onnx import numpy_helper

    node = next(n for n in graph.node if n.op_type == "Slice")
    graph.initializer.append(numpy_helper.from_array(np.int64([0]), "zero"))
    graph.initializer.append(numpy_helper.from_array(np.int64([4]), "four"))
    node.input[2] = "four"
    return node
