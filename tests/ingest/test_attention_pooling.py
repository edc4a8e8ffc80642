"""Attention pooling in float files: timm's ``global_pool='map'`` by several exporters, and what is not supported of it."""

import re
from functools import partial

import numpy as np
import pytest
from timm.layers import AttentionPoolLatent
from torch import nn

from finn_vitprune.importing.float_model import compare, float_network
from finn_vitprune.ingest.check.answers import CLASSIFIER
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.checked import row_texts, structure_text
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import PoolerShape, Pooling
from tests.ingest_models import assert_same_logits, export, randomised, small_timm
from tests.sampling import spread

SIGLIP = {"global_pool": "map", "class_token": False}
REGISTERS = {"global_pool": "map", "reg_tokens": 2, "pool_include_prefix": True}
PATCHES = {"global_pool": "map", "reg_tokens": 2}
EXPORTS = [
    (SIGLIP, 17, False), (SIGLIP, 20, True), (REGISTERS, 17, False), (SIGLIP, 14, False), (SIGLIP, 23, True), (PATCHES, 17, False),
    (PATCHES, 20, True),
]  # fmt: skip
"""Options, opset, and whether by the dynamo exporter; opset 23 has an operator for attention."""
HEADS = {"narrow": (6, 4), "wide": (2, 12), "one": (1, 24)}
"""Heads of attention pooling and their width, where encoders have three of 8."""


@pytest.mark.parametrize("options, opset, dynamo", spread(EXPORTS, 4, several=True), ids=str)
def test_timm_models_come_back_with_their_weights(options, opset, dynamo, tmp_path):
    path = export(small_timm(**options), tmp_path / "x.onnx", opset=opset, dynamo=dynamo)
    vit = read(path).vit
    assert vit is not None, [str(r) for r in read(path).rejections]
    pooling = Pooling.ATTENTION_PATCHES if options is PATCHES else Pooling.ATTENTION
    assert (vit.config.pooling, vit.config.pooler, vit.config.head_dim) == (pooling, PoolerShape(3, 8, 96), 8)
    assert vit.config.prefix == (0 if options is SIGLIP else 3) and vit.config.final_norm
    assert_same_logits(path, vit)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    network = float_network(vit, (0.5,) * 3, (0.5,) * 3)
    assert compare(path, load(path).kind, vit, network, images, (0.5,) * 3, (0.5,) * 3).relative < 1e-4


@pytest.mark.parametrize("name", HEADS)
def test_the_heads_of_attention_pooling_are_its_own(name, tmp_path):
    heads, width = HEADS[name]
    path = export(changed(lambda m: setattr(m, "attn_pool", pool(num_heads=heads, norm_layer=NORM))), tmp_path / "x.onnx")
    vit = read(path).vit
    assert vit is not None, [str(r) for r in read(path).rejections]
    assert (vit.config.pooler, vit.config.head_dim) == (PoolerShape(heads, width, 96), 8)
    assert_same_logits(path, vit)
    found = check_float(load(path), path)
    assert found.passed and f"heads 3 of 8, MLP width 96, tokens 16 (no class token), pooling attention (heads {heads} of {width}," in (
        structure_text(found.structure)
    )
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    network = float_network(vit, (0.5,) * 3, (0.5,) * 3)
    assert compare(path, load(path).kind, vit, network, images, (0.5,) * 3, (0.5,) * 3).relative < 1e-4


def test_check_tells_what_is_selected_and_counts_it(tmp_path):
    path = export(small_timm(**PATCHES), tmp_path / "x.onnx")
    found = check_float(load(path), path)
    assert found.passed and "pooling attention to the patches (heads 3 of 8" in structure_text(found.structure)
    assert "VitSelectToken, the patches" in [text.becomes for text in row_texts(found)]
    tokens, pooled, dim = 19, 16, 24
    by_hand = pooled * 768 * dim + dim * 5 + 2 * (4 * dim**2 * tokens + 2 * tokens**2 * dim + 8 * dim**2 * tokens)
    by_hand += 2 * dim**2 * pooled + 2 * pooled * dim + dim**2 + 8 * dim**2
    assert found.complexity.macs == found.complexity.macs_dense == by_hand


class FirstTokens(nn.Module):
    """Attention pooling of the first tokens alone."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x):
        return self.pool(x[:, :9])


def test_check_tells_what_every_node_becomes(tmp_path):
    path = export(small_timm(**SIGLIP), tmp_path / "x.onnx")
    found = check_float(load(path), path)
    assert found.passed and found.structure is not None
    assert "pooling attention (heads 3 of 8, MLP width 96)" in structure_text(found.structure)
    pooling = [row for row in found.rows if row.place == CLASSIFIER]
    units = {row.answer.unit for row in pooling if hasattr(row.answer, "unit")}
    assert {"PrunedAttention", "BlockSparseMVAU", "VitLayerNorm", "VitLookup", "VitAdd"} <= units
    assert "encoder 3" not in {f"encoder {row.place}" for row in found.rows}
    size = found.complexity
    patches, dim = 16, 24
    by_hand = patches * 768 * dim + dim * 5 + 2 * (4 * dim**2 * patches + 2 * patches**2 * dim + 8 * dim**2 * patches)
    by_hand += 2 * dim**2 * patches + 2 * patches * dim + dim**2 + 8 * dim**2
    assert size is not None and size.macs == size.macs_dense == by_hand


def changed(change, **options):
    model = small_timm(**(SIGLIP | options))
    change(model)
    return randomised(model)


NORM = partial(nn.LayerNorm, eps=1e-6)


def pool(**options) -> AttentionPoolLatent:
    return AttentionPoolLatent(24, **({"num_heads": 3, "norm_layer": nn.LayerNorm} | options))


REFUSED = {
    "a part of the patches": (
        lambda: changed(lambda m: setattr(m, "attn_pool", FirstTokens(m.attn_pool))),
        "attention pooling: it reads 9 of 16 tokens; pool over all tokens, over all patches",
    ),
    "several queries": (lambda: changed(lambda m: setattr(m, "attn_pool", pool(latent_len=2))), "attention pooling: a constant of shape"),
    "QK-norm": (lambda: changed(lambda m: setattr(m, "attn_pool", pool(qk_norm=True))), "QK-norm"),
    "no MLP": (lambda: changed(lambda m: setattr(m, "attn_pool", pool(out_features=0))), ""),
    "no LayerNorm in it": (lambda: changed(lambda m: setattr(m, "attn_pool", pool(norm_layer=None))), "post-norm|a branch starts"),
    "a LayerNorm after it": (lambda: small_timm(**SIGLIP, fc_norm=True), "attention pooling"),
    "no LayerNorm before it": (lambda: small_timm(**SIGLIP, final_norm=False), "attention pooling: the key is"),
    "another activation": (
        lambda: changed(lambda m: setattr(m, "attn_pool", pool(act_layer=nn.SiLU, norm_layer=NORM))),
        "activation .*in attention pooling",
    ),
    "another eps": (
        lambda: changed(lambda m: setattr(m.attn_pool.norm, "eps", 1e-3)),
        "eps 0.001 of a LayerNorm",
    ),
    "positions of its own": (lambda: changed(lambda m: setattr(m, "attn_pool", pool(pos_embed="abs", feat_size=16))), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hardware_lacks_is_refused_by_name(name, tmp_path):
    make, reason = REFUSED[name]
    found = read(export(make(), tmp_path / "x.onnx"))
    assert found.vit is None
    assert re.search(reason, str(found.rejections[0])), found.rejections[0]
