"""The widest tokens, the widest heads and the most encoders, whole: PyTorch, QONNX, hardware graph, RTL."""

from dataclasses import replace

import pytest

from finn_vitprune.custom_ops.layernorm.layernorm import MAX_CHANNELS
from finn_vitprune.models.config import Pooling
from tests.random_builds.check import check_seed
from tests.random_builds.draw import Drawn, DrawnDesign, Kind
from tests.sampling import sampled

WIDE = Drawn(
    seed=1, image_size=4, patch_size=2, channels=1, block=8, head_dim=104, heads=1, dim=MAX_CHANNELS, neurons=16, depth=1, classes=3,
    prefix=1, pooling="class", norm_after_pooling=False, weight_bits=8, act_bits=8, block_keep="0.5", neuron_keep="1", token_keep="0.5",
    drop_at=(), heads_gone=((),), empty=0.0, spread=0.5, bias=0.1, target_fps=20_000, norm_pre=True,
)  # fmt: skip
DEEP = replace(WIDE, dim=16, head_dim=8, neurons=8, depth=40, heads_gone=((),) * 40, weight_bits=4, drop_at=(9, 30), norm_pre=False)
HEADS = replace(DEEP, head_dim=128, depth=2, heads_gone=((),) * 2, drop_at=(1,))
POOLED = replace(
    DEEP, depth=2, heads_gone=((),) * 2, drop_at=(1,), image_size=8, prefix=2, pooling=Pooling.ATTENTION_PATCHES.value, pool_heads=(1, 192)
)
DESIGNS = {
    "1,664 channels, heads of 104": DrawnDesign(WIDE),
    "heads of 128": DrawnDesign(HEADS, (2,), 1),
    "attention pooling by a head of 192": DrawnDesign(POOLED, (2,), 1),
    "40 encoders on an engine": DrawnDesign(DEEP, (40,), 1),
}


@pytest.mark.parametrize("name", sampled(DESIGNS, 0))
def test_it_agrees_bit_for_bit(name):
    found = check_seed(Kind(name, lambda seed: DESIGNS[name]), 1)
    assert found.outcome == "agree" and found.rtl_mismatches == 0 and found.streams > 0, found
