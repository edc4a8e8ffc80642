"""Closed formulas against counts, published numbers and the exported graph."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from finn_vitprune import complexity
from finn_vitprune.complexity import EncoderLoad
from finn_vitprune.complexity_graph import count_graph
from finn_vitprune.export import to_qonnx
from finn_vitprune.metadata import kept_block_maps
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores

DEIT_SMALL = ViTConfig.dense(224, 3, 16, 384, 6, 12, 1000)


def test_deit_small_has_the_published_size():
    """4.6 GMAC; 21.975 M parameters in the paper's table are these and 25 LayerNorms of 768, folded here."""
    assert complexity.macs_of(DEIT_SMALL, complexity.dense_loads(DEIT_SMALL)) / 1e9 == pytest.approx(
        4.60, abs=0.005
    )
    params = complexity.params_of(DEIT_SMALL, complexity.dense_loads(DEIT_SMALL))
    assert (params + 25 * 2 * 384) / 1e6 == pytest.approx(21.975, abs=5e-4)


@pytest.mark.parametrize(
    "rate, counts",
    [
        ("0.5", [101, 52, 28]),
        ("0.7", [140, 100, 72]),
        ("0.9", [180, 164, 149]),
    ],
)
def test_token_counts_are_the_papers(rate, counts):
    config = replace(DEIT_SMALL, prefix=2).with_token_drop(rate, (3, 7, 10))
    assert [config.token_counts()[i - 1][1] for i in (3, 7, 10)] == counts


def test_token_counts_use_exact_rates():
    """0.55 x 20 is 11.000000000000002 in float64; exact it is 11, so N = 21 gives 13 tokens, not 14."""
    config = ViTConfig.dense(8, 1, 2, 64, 4, 2, 10, prefix=5).with_token_drop("0.55", (1,))
    assert config.tokens == 21 and Fraction("0.55") * 20 == 11
    assert config.token_counts() == [(21, 13), (13, 13)]


def test_pruned_deit_small_needs_about_a_quarter():
    config = replace(DEIT_SMALL, prefix=2).with_token_drop("0.5", (3, 7, 10))
    cost = complexity.planned(config, PruneConfig(16, "0.5", "0.5"))
    assert cost.macs / 1e9 == pytest.approx(1.15, abs=0.02)
    assert cost.params_ratio == pytest.approx(1.94, abs=0.01)
    assert cost.index_bits == 12 * 4 * 288 * 5, "288 kept blocks of 24 rows in each of 48 matrices"


def test_dense_encoder_equals_the_papers_formula():
    load = complexity.dense_loads(DEIT_SMALL)[0]
    n, d = load.tokens, load.width
    products = complexity.attention_macs_dense(n, d, 6, 64) - 4 * n * d
    assert load.macs == products + 2 * n * d * load.neurons


@pytest.mark.parametrize(
    "heads, alpha, alpha_proj, neurons, kept", [(4, 0.5, 0.25, 768, 101), (6, 1.0, 1.0, 1536, 198)]
)
def test_pruned_encoder_equals_the_papers_formula(heads, alpha, alpha_proj, neurons, kept):
    """The paper's alpha counts blocks within live heads; its formula adds LayerNorm, residual and drop."""
    n, d, dh = 198, 384, 64
    full = d * heads * dh
    load = EncoderLoad(
        n, n, kept, d, heads, dh, neurons, int(alpha * full), int(2 * alpha * full), int(alpha_proj * full)
    )
    paper = complexity.encoder_macs_pruned(n, kept, d, 6, heads, dh, 1536, alpha, alpha_proj, neurons / 1536)
    assert load.macs == paper - (2 * n * d + 2 * kept * d + n * (6 + n + d))


@pytest.fixture(scope="module")
def small() -> tuple[ViTConfig, PrunedViT]:
    torch.set_num_threads(1)
    torch.manual_seed(5)
    config = ViTConfig.dense(8, 1, 2, 32, 2, 3, 10).with_token_drop("0.7", (1, 2))
    model = PrunedViT(config)
    scores = PruneScores(config, PruneConfig(8, "0.3", "0.5"))
    with torch.no_grad():
        for parameter in scores.parameters():
            parameter.normal_()
        masks = scores.masks()
    model.calibrate(torch.randint(0, 256, (8, 8, 8, 1)).float(), masks)
    return config, freeze(cut(model.eval(), masks))


def test_count_over_the_exported_graph_equals_the_formula(small):
    dense, frozen = small
    maps = kept_block_maps(frozen, 8)
    loads = complexity.counted_loads(frozen.config, maps, 8)
    every_token = [
        replace(e, queries=e.tokens, mlp_tokens=m) for e, (_, m) in zip(loads, frozen.config.token_counts())
    ]
    graph = count_graph(to_qonnx(frozen), 8)
    assert graph.macs == complexity.macs_of(frozen.config, every_token)
    assert graph.weights + graph.biases == complexity.params_of(frozen.config, loads)
    cost = complexity.counted(dense, frozen.config, maps, 8)
    assert cost.params == graph.weights + graph.biases and cost.macs < graph.macs < cost.macs_dense


def test_last_encoder_works_for_the_class_token_alone(small):
    _, frozen = small
    last = complexity.counted_loads(frozen.config, kept_block_maps(frozen, 8), 8)[-1]
    n, width = last.tokens, last.heads * last.head_dim
    by_hand = n * last.kv + last.q + 2 * n * width + last.proj + 2 * 32 * last.neurons
    assert last.macs == by_hand


def test_kept_block_map_is_the_transposed_pattern_of_the_weights(small):
    _, frozen = small
    weight = frozen.blocks[0].attn.proj.weight.detach().numpy()
    kept = kept_block_maps(frozen, 8)["blocks.0.proj"]
    for row in range(kept.shape[0]):
        for column in range(kept.shape[1]):
            assert kept[row, column] == np.any(weight[8 * column : 8 * column + 8, 8 * row : 8 * row + 8])
