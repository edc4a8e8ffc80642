"""Promises of the pruning package: exact counts, top-k, liveness, schedule, and an equal small model."""

import itertools

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.freeze import weight_codes
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig, check_block_size, kept_blocks, kept_neurons
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.schedule import CubicSchedule, TokenSchedule
from finn_vitprune.pruning.scores import PruneScores, expand_blocks, head_liveness, top_k_mask, whole_blocks

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "rate, blocks, kept",
    [("0.5", 64, 32), ("0.55", 20, 11), ("0.29", 100, 29), ("0.7", 10, 7), ("0.5", 7, 3), ("0.01", 10, 1), ("1", 9, 9)],
)
def test_kept_blocks_are_exact_where_float_products_are_not(rate, blocks, kept):
    """0.55 x 20 and 0.29 x 100 come out below the integer in float64."""
    assert kept_blocks(rate, blocks) == kept


@pytest.mark.parametrize(
    "rate, neurons, block, kept",
    [
        ("0.5", 256, 8, 128),
        ("0.5", 1536, 16, 768),
        ("0.7", 1536, 16, 1088),
        ("0.7", 1536, 32, 1088),
        ("0.01", 64, 8, 8),
        ("1", 64, 8, 64),
        ("0.29", 200, 8, 64),
    ],
)
def test_kept_neurons_round_up_to_blocks(rate, neurons, block, kept):
    assert kept_neurons(rate, neurons, block) == kept


def test_block_size_error_names_encoder_matrix_and_choices():
    config = ViTConfig.dense(32, 3, 16, 384, 6, 12, 10)
    for block in (8, 16, 32, 64):
        check_block_size(config, block)
    with pytest.raises(UserError, match=r"block size 40 does not divide 384 \(encoder 1, W_q\): use 2, 4, 8, 16, 32 or 64"):
        check_block_size(config, 40)
    with pytest.raises(UserError, match=r"block size 24 does not divide 64 \(encoder 1, head width of W_q\)"):
        check_block_size(config, 24)


def test_keep_rates_outside_0_to_1_are_refused():
    with pytest.raises(UserError, match="block_keep 1.5"):
        PruneConfig(8, "1.5", "0.5")
    with pytest.raises(UserError, match="neuron_keep 0"):
        PruneConfig(8, "0.5", "0")


def test_schedule_is_the_cubic_between_warm_up_and_hold():
    schedule = CubicSchedule(steps=100, warmup=10, hold=30)
    assert [schedule.rate(s, "0.5") for s in (0, 10)] == [1.0, 1.0]
    assert schedule.rate(40, "0.5") == pytest.approx(0.5 + 0.5 * 0.5**3)
    assert schedule.rate(70, "0.55") == "0.55" and schedule.rate(99, "0.55") == "0.55"
    rates = [float(schedule.rate(s, "0.3")) for s in range(100)]
    assert all(a >= b for a, b in itertools.pairwise(rates))


def test_top_k_keeps_the_largest_lower_index_first_and_passes_the_gradient():
    scores = torch.tensor([[1.0, 3.0, 3.0], [3.0, 0.0, 2.0]], requires_grad=True)
    mask = top_k_mask(scores, 2)
    assert mask.tolist() == [[0, 1, 1], [0, 0, 0]]
    (mask * torch.arange(6.0).view(2, 3)).sum().backward()
    assert scores.grad.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_scores_of_pruned_blocks_get_gradient_from_the_weights():
    """Movement pruning: dL/dS is the sum of dL/dW_masked W over the block, for blocks out as well as in."""
    scores = torch.zeros(2, 2, requires_grad=True)
    weight = torch.arange(16.0).view(4, 4)
    (weight * expand_blocks(top_k_mask(scores, 1), 2)).sum().backward()
    assert scores.grad.tolist() == [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 10 + 11 + 14 + 15]]


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_head_dies_with_any_of_its_four_slices(part):
    heads, head_dim, dim = 3, 4, 12
    qkv, proj = torch.ones(3 * heads * head_dim, dim), torch.ones(dim, heads * head_dim)
    assert head_liveness(qkv, proj, heads).tolist() == [1, 1, 1]
    if part < 3:
        qkv.view(3, heads, head_dim, dim)[part, 1] = 0
    else:
        proj[:, head_dim : 2 * head_dim] = 0
    assert head_liveness(qkv, proj, heads).tolist() == [1, 0, 1]


def test_one_head_stays_when_all_would_die():
    qkv, proj = torch.zeros(24, 8), torch.zeros(8, 8)
    qkv[:4, :3], qkv[4:8, :5] = 1, 1
    assert head_liveness(qkv, proj, 2).tolist() == [0, 1]


def networks(seed: int, keep: str = "0.5") -> tuple[PrunedViT, PruneScores, torch.Tensor]:
    torch.manual_seed(seed)
    teacher = VisionTransformer(img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=32, depth=3, num_heads=4).eval()
    for parameter in teacher.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    config = config_of_timm(teacher).with_token_drop("0.7", (1, 2))
    model = PrunedViT(config)
    load_timm(model, teacher.state_dict(), (0.5,), (0.5,))
    scores = PruneScores(config, PruneConfig(8, keep, "0.3"))
    with torch.no_grad():
        for parameter in scores.parameters():
            parameter.normal_()
    return model.eval(), scores, torch.randint(0, 256, (24, 8, 8, 1)).float()


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_small_model_equals_the_masked_one_exactly_with_dead_heads(seed):
    """At 15 % of the blocks heads die; outputs are equal in float64, where the order of sums cannot show."""
    model, scores, batch = networks(seed, keep="0.15")
    masks = scores.masks()
    model.calibrate(batch, masks)
    small = cut(model, masks)
    assert any(s.heads < 4 for s in small.config.encoders) and all(s.heads >= 1 for s in small.config.encoders)
    expected = model.double()(batch.double(), scores.double().masks())
    assert torch.equal(small.double()(batch.double()), expected)
    assert float(expected.std()) > 0


@torch.no_grad()
def test_cut_model_holds_the_kept_blocks_and_neurons_and_no_others():
    model, scores, batch = networks(0)
    masks = scores.masks()
    model.calibrate(batch, masks)
    small = cut(model, masks)
    for block, mask, shape in zip(small.blocks, masks, small.config.encoders, strict=True):
        live = mask.heads.bool().repeat_interleave(8)
        assert block.mlp.fc1.out_features == block.mlp.fc2.in_features == shape.neurons == 40
        kept = weight_codes(block.attn.proj) != 0
        assert not kept[(mask.proj[:, live] == 0).numpy()].any()
        blocks = kept.reshape(4, 8, -1, 8).any((1, 3))
        assert blocks.sum() == int(mask.proj[:, live].sum()) // 64


@torch.no_grad()
def test_masked_rows_lose_their_bias():
    _model, scores, _ = networks(1)
    scores.encoders[0].q.fill_(1.0)
    scores.encoders[0].q[0] = -1.0
    mask = scores.masks("0.7", "1")[0]
    assert mask.qkv_bias[:8].tolist() == [0.0] * 8 and mask.qkv_bias[8:32].tolist() == [1.0] * 24


@torch.no_grad()
def test_magnitude_scores_rank_blocks_by_their_norm():
    model, scores, _ = networks(2)
    scores.set_to_magnitude(model)
    weight = model.blocks[1].attn.proj.weight
    by_hand = torch.stack([torch.stack([weight[8 * r : 8 * r + 8, 8 * c : 8 * c + 8].norm() for c in range(4)]) for r in range(4)])
    assert torch.allclose(scores.encoders[1].proj, by_hand)


@pytest.mark.parametrize("k, kept", [(8, [4, 4]), (9, [5, 4]), (1, [1, 0])])
def test_each_lane_keeps_equally_many_blocks(k, kept):
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    mask = top_k_mask(scores, k, groups=2)
    assert mask.view(2, 8).sum(1).tolist() == kept
    for part, s, count in zip(mask.view(2, 8), scores.view(2, 8), kept):
        assert set(part.nonzero().flatten().tolist()) == set(s.topk(count).indices.tolist())


@pytest.mark.parametrize("seed", range(4))
def test_balanced_masks_hit_the_rate_exactly_in_every_matrix_and_lane(seed):
    config = ViTConfig.dense(8, 1, 4, 64, 4, 2, 10)
    prune = PruneConfig(8, "0.55", "0.5", lanes=4)
    scores = randomised(PruneScores(config, prune), seed)
    for mask in scores.masks():
        for matrix in (*mask.qkv.chunk(3), mask.proj):
            per_lane = matrix.reshape(4, -1).sum(1) / 64
            assert per_lane.sum() == int(64 * 0.55) and per_lane.max() - per_lane.min() <= 1


def randomised(scores, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in scores.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (1 + seed))
    return scores


@pytest.mark.parametrize("rate", ["0.5", "0.29", "0.05", "1"])
@pytest.mark.parametrize("seed", range(3))
def test_global_scope_keeps_the_best_of_all_encoders(rate, seed):
    """Of all blocks together exactly int(r n) stay, of neurons the rounded-up share in whole blocks each."""
    config = ViTConfig.dense(8, 1, 4, 32, 2, 3, 10)
    scores = randomised(PruneScores(config, PruneConfig(8, rate, rate, scope="global")), seed)
    with torch.no_grad():
        scores.encoders[1].neurons.add_(2.0)  # all of the best are here
    masks = scores.masks()
    kept = [[int(m.sum()) // 64 for m in (*e.qkv.chunk(3), e.proj)] for e in masks]
    assert sum(map(sum, kept)) == max(12, kept_blocks(rate, 12 * 16)) and min(map(min, kept)) >= 1
    neurons = [int(e.neurons.sum()) for e in masks]
    assert sum(neurons) == max(24, kept_neurons(rate, 3 * 128, 8)) and all(n % 8 == 0 and n for n in neurons)
    assert neurons[1] == max(neurons)
    if rate == "0.5":
        flat = torch.cat([s.flatten() for e in scores.encoders for s in e.matrices])
        chosen = torch.cat([m[::8, ::8].flatten() for e in masks for m in (*e.qkv.chunk(3), e.proj)])
        assert flat[chosen > 0].min() > flat[chosen == 0].max()


def test_whole_blocks_sum_to_the_total():
    assert whole_blocks([13, 3, 0], 8, 24, [16, 16, 16]) == [8, 8, 8]
    assert whole_blocks([30, 9, 9], 8, 48, [32, 32, 32]) == [32, 8, 8]
    assert whole_blocks([16, 16], 8, 32, [16, 16]) == [16, 16]


def test_lanes_and_scope_that_do_not_fit_are_named():
    config = ViTConfig.dense(8, 1, 4, 32, 2, 3, 10)
    with pytest.raises(UserError, match=r"lanes 3 do not divide 4 block columns \(encoder 1, W_q\): use one of 1, 2, 4"):
        PruneScores(config, PruneConfig(8, "0.5", "0.5", lanes=3))
    with pytest.raises(UserError, match="scope 'all' is unknown: use local or global"):
        PruneConfig(8, "0.5", "0.5", scope="all")
    with pytest.raises(UserError, match="lanes 2 balance every matrix by itself"):
        PruneConfig(8, "0.5", "0.5", scope="global", lanes=2)


def test_token_schedule_ramps_from_all_tokens_to_the_final_rate():
    schedule = TokenSchedule(start=10, ramp=4, final="0.55")
    assert [schedule.rate(s) for s in (0, 10, 12, 14, 99)] == ["1.0000", "1.0000", "0.7750", "0.55", "0.55"]
    assert TokenSchedule(0, 0, "0.7").rate(0) == "0.7"
    assert [TokenSchedule(5, 0, "0.7").rate(s) for s in (4, 5)] == ["1.0000", "0.7"]
