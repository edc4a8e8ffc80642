"""What calibration images alone do for a network: layers fitted, weights rounded, ranges and scores by the error of the output."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.calibration.least_squares import Moments, damped, reconstruct
from finn_vitprune.calibration.ranges import choose_ranges
from finn_vitprune.models.config import MlpActivation
from finn_vitprune.models.quantizers import ActQuant
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.numerics import int_range, zero_point
from finn_vitprune.pruning import second_order
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.pruning.scoring import set_scores
from finn_vitprune.pruning.second_order import SecondOrder, removal_order, set_to_second_order

torch.set_num_threads(1)


def correlated(tokens: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Inputs of a few factors, as activations are, with means."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(tokens, 4, generator=generator) @ torch.randn(4, channels, generator=generator)
    return factors + 0.3 * torch.randn(tokens, channels, generator=generator) + torch.randn(channels, generator=generator)


def moments(x: torch.Tensor, y: torch.Tensor) -> tuple[Moments, Moments]:
    """Of three quarters of the tokens, and of the others."""
    parts = Moments(x.shape[1], y.shape[1]), Moments(x.shape[1], y.shape[1])
    for some in range(0, len(x), 100):
        parts[some % 400 == 300].add(x[some : some + 100], y[some : some + 100])
    return parts


@pytest.fixture
def layer():
    generator = torch.Generator().manual_seed(1)
    x, weight, bias = correlated(3000, 24), torch.randn(16, 24, generator=generator), torch.randn(16, generator=generator)
    return x, weight, bias, x @ weight.T + bias


def error(fit, x, y) -> float:
    return float((x @ fit.weight.T + fit.bias - y).square().mean())


def test_a_layer_of_which_all_is_kept_stays_as_it_is(layer):
    x, weight, bias, y = layer
    fit = reconstruct(*moments(x, y), weight, None)
    assert torch.allclose(fit.weight, weight, atol=1e-3) and torch.allclose(fit.bias, bias, atol=1e-2)


def test_kept_weights_make_good_what_was_pruned(layer, monkeypatch):
    """Within the damping they are numpy's least squares on the kept columns of each row."""
    monkeypatch.setattr("finn_vitprune.calibration.least_squares.DAMPINGS", (1e-9,))
    x, weight, bias, y = layer
    mask = (torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.6).float()
    mask[:, 0] = 1
    mask = mask.repeat_interleave(4, 0).repeat_interleave(4, 1)
    fit = reconstruct(*moments(x, y), weight, mask)
    assert torch.equal(fit.weight * mask, fit.weight)
    for row in range(16):
        columns = mask[row] > 0
        inputs = np.hstack([x[:, columns].numpy(), np.ones((len(x), 1))]).astype(np.float64)
        best = np.linalg.lstsq(inputs, y[:, row].numpy().astype(np.float64), rcond=None)[0]
        assert np.allclose(fit.weight[row, columns].numpy(), best[:-1], atol=1e-3)
        assert float(fit.bias[row]) == pytest.approx(best[-1], abs=1e-2)
    cut = float((x @ (weight * mask).T + bias - y).square().mean())
    assert error(fit, x, y) < 0.3 * cut


@pytest.mark.parametrize("bits, per_channel", [(4, True), (8, True), (4, False), (8, False)])
def test_corrected_rounding_loses_less_than_the_nearest_codes(layer, bits, per_channel):
    x, weight, bias, y = layer
    fit = reconstruct(*moments(x, y), weight, None, bits, per_channel)
    hi = int_range(bits, True)[1]
    codes = fit.weight / fit.scale
    assert torch.allclose(codes, codes.round(), atol=1e-3) and codes.abs().max() <= hi + 1e-3
    assert per_channel or len(fit.scale.unique()) == 1
    largest = weight.abs().amax(1, keepdim=True) if per_channel else weight.abs().amax()
    nearest = (weight / (largest / hi)).round() * (largest / hi)
    assert error(fit, x, y) < 0.5 * float((x @ nearest.T + bias - y).square().mean())


@pytest.mark.parametrize("far", [0, 3000])
def test_moments_know_the_error_and_add_up(layer, far):
    x, _weight, _bias, y = layer
    x = x + far * (torch.arange(24) == 3)
    generator = torch.Generator().manual_seed(5)
    w, b = torch.randn(16, 24, generator=generator).double(), torch.randn(16, generator=generator).double()
    weights = torch.rand(len(x), generator=generator)
    first, second, whole = Moments(24, 16), Moments(24, 16), Moments(24, 16)
    for found, part in ((first, slice(0, 999)), (second, slice(999, None)), (whole, slice(None))):
        found.add(x[part], y[part], weights[part])
    wanted = (weights[:, None] * (x.double() @ w.T + b - y).square()).sum() / weights.sum()
    assert whole.error(w, b) == pytest.approx(float(wanted), rel=1e-5)
    assert (first + second).error(w, b) == pytest.approx(whole.error(w, b), rel=1e-5)
    assert whole.error(w, whole.bias(w)) < whole.error(w, b)
    covariance, exact = (first + second).centred()[0], torch.cov(x.double().T, correction=0, aweights=weights.double())
    assert torch.equal(covariance, covariance.T) and torch.allclose(covariance, exact, rtol=1e-4, atol=1e-4)


def test_few_tokens_do_not_change_weights_that_they_do_not_determine():
    """Wanted outputs with noise, fewer tokens than inputs: the weights stay near what they were."""
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(8, 64, generator=generator)
    x = torch.randn(40, 64, generator=generator)
    y = x @ weight.T + 4 * torch.randn(40, 8, generator=generator)
    parts = Moments(64, 8), Moments(64, 8)
    parts[0].add(x[:30], y[:30])
    parts[1].add(x[30:], y[30:])
    fit = reconstruct(*parts, weight, None)
    fresh = torch.randn(1000, 64, generator=generator)
    kept, overfitted = fit.weight, torch.linalg.lstsq(x, y).solution.T
    wanted = fresh @ weight.T
    assert (fresh @ kept.T - wanted).square().mean() < 0.2 * (fresh @ overfitted.T - wanted).square().mean()


def test_rows_and_inputs_of_zeros_give_finite_weights():
    x, weight = correlated(500, 8), torch.randn(4, 8)
    x[:, 3], weight[2] = 0, 0
    mask = torch.ones(4, 8)
    mask[1] = 0
    fit = reconstruct(*moments(x, x @ weight.T), weight, mask, 4)
    assert torch.isfinite(fit.weight).all() and torch.isfinite(fit.bias).all()
    assert not fit.weight[1].any() and not fit.weight[2].any() and float(fit.scale[2]) == 0


# --- networks ----------------------------------------------------------------------------------


def network(drop_at=(), keep="1", weight_bits=8) -> tuple[PrunedViT, torch.Tensor]:
    """A random float ViT of 3 encoders and 17 tokens, and 48 images of few patterns."""
    torch.manual_seed(0)
    source = VisionTransformer(img_size=16, patch_size=4, in_chans=1, num_classes=10, embed_dim=32, depth=3, num_heads=2)
    config = replace(config_of_timm(source), weight_bits=weight_bits).with_token_drop(keep, drop_at)
    for name, parameter in source.named_parameters():
        if name.endswith("weight") and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    net = PrunedViT(config)
    load_timm(net, source.state_dict(), (0.5,), (0.25,))
    net.quantise(False)
    generator = torch.Generator().manual_seed(3)
    patterns = torch.randint(0, 256, (6, 16, 16, 1), generator=generator)
    images = patterns[torch.randint(0, 6, (48,), generator=generator)] + torch.randint(-40, 41, (48, 16, 16, 1), generator=generator)
    return net.eval(), images.clamp(0, 255).float()


def copy_of(net: PrunedViT) -> PrunedViT:
    student = PrunedViT(net.config)
    student.load_state_dict(net.state_dict())
    student.quantise(False)
    return student.eval()


def distance(student, teacher, images, masks) -> float:
    with torch.no_grad():
        return float((student(images, masks) - teacher(images)).square().mean())


@pytest.mark.parametrize("drop_at, keep", [((), "1"), ((1, 2), "0.6")])
def test_a_pruned_network_is_fitted_to_the_float_one(drop_at, keep):
    teacher, images = network(drop_at, keep)
    student = copy_of(teacher)
    scores = PruneScores(teacher.config, PruneConfig(8, "0.5", "0.5"))
    scores.set_to_magnitude(teacher)
    masks = scores.final_masks()
    before = distance(student, teacher, images, masks)
    fit_layers(student, teacher, images[:40], masks)
    assert distance(student, teacher, images, masks) < 0.6 * before
    assert not any(float(layer.weight_scale.held.max()) for layer in student.linears().values())


def test_a_network_s_weights_are_rounded_and_its_scales_held():
    teacher, images = network(weight_bits=4)
    student = copy_of(teacher)
    student.calibrate(images)
    student.quantise(True)
    before = distance(student, teacher, images, None)
    fit_layers(student, teacher, images[:40], rounded=True)
    assert distance(student, teacher, images, None) < 0.7 * before
    for name, layer in student.linears().items():
        codes = layer.weight / layer.weight_scale.held
        assert torch.allclose(codes, codes.round(), atol=1e-3), name
        quantised = layer.weight_quant(layer.weight)
        assert torch.allclose(quantised.value, layer.weight, rtol=1e-5, atol=1e-7), name


def test_ranges_follow_what_the_output_depends_on():
    """An outlier of a value that nothing reads is clipped, one that the logits hang on is not."""
    chosen = {}
    for matters in (True, False):
        net, images = network()
        with torch.no_grad():
            fc1, fc2 = net.blocks[1].mlp.fc1, net.blocks[1].mlp.fc2
            fc1.weight[0], fc1.bias[0] = 30 * fc1.weight[0], 0
            if not matters:
                fc2.weight[:, 0] = 0
        net.calibrate(images)
        chosen[matters] = {r.quantiser: r for r in choose_ranges(net, images)}["blocks.1.mlp.act_quant"]
    assert chosen[False].clipped < 0.5 * chosen[False].largest
    assert chosen[True].clipped > 2 * chosen[False].clipped


def test_chosen_ranges_are_all_learned_scales_and_come_with_their_noise():
    net, images = network()
    net.calibrate(images)
    chosen = choose_ranges(net, images)
    assert [r.quantiser for r in chosen] == [n for n, q in net.quantizers().items() if q.owns_scale and q.scale.learned]
    assert all(15 < r.signal_to_noise < 90 and 0 <= r.output_error < 1 and 0 < r.clipped <= r.largest for r in chosen)
    net.quantise(True)
    assert all(q.quantised for q in net.quantizers().values())


def lost_without(w, covariance, gradients, gone: torch.Tensor) -> float:
    """The least error without the columns ``gone``, outputs weighed by the covariance of their gradients."""
    kept = torch.tensor([i for i in range(w.shape[1]) if i not in set(gone.tolist())], dtype=torch.long)
    fitted = torch.zeros_like(w)
    fitted[:, kept] = torch.linalg.solve(covariance[kept][:, kept], (w @ covariance)[:, kept].T).T
    change = fitted - w
    return float(torch.einsum("ri,ij,sj,rs->", change, covariance, change, gradients))


@pytest.mark.parametrize("wide, later", [(4, 64), (4, 1), (2, 3), (1, 4)])
def test_what_goes_next_costs_least_where_the_rest_makes_up_for_it(wide, later, monkeypatch):
    """Against solving anew for every block that is left, after every removal."""
    monkeypatch.setattr(second_order, "LATER", later)
    generator = torch.Generator().manual_seed(4)
    x = correlated(400, 16).double()
    covariance = damped(torch.cov(x.T), 1e-2)
    weight = torch.randn(6, 16, generator=generator).double()
    roots = torch.randn(2, 3, 3, generator=generator).double()
    gradients = roots @ roots.transpose(1, 2)
    order, _ = removal_order(weight, gradients, covariance, wide)
    assert sorted(order.flatten().tolist()) == list(range(2 * 16 // wide))
    gone: dict[int, list[int]] = {0: [], 1: []}
    for place in range(order.numel()):
        costs = {}
        for row in (0, 1):
            rows = slice(3 * row, 3 * row + 3)
            for column in set(range(16 // wide)) - set(gone[row]):
                spent = [torch.arange(wide * c, wide * c + wide) for c in gone[row]]
                now = lost_without(weight[rows], covariance, gradients[row], torch.cat(spent)) if spent else 0.0
                more = torch.arange(wide * column, wide * column + wide)
                then = lost_without(weight[rows], covariance, gradients[row], torch.cat([*spent, more]))
                costs[row, column] = then - now
        row, column = min(costs, key=costs.get)
        assert order[row, column] == place
        gone[row].append(column)


def test_channels_far_from_zero_keep_their_covariance():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 500, 6, generator=generator) * torch.tensor([30.0, 1, 1, 1, 1, 1]) + torch.tensor([3000.0, 0, 0, 0, 0, -800])
    found = second_order._Curvature(6, 2, 2)
    for part in x:
        found.add(part, torch.ones(len(part), 2))
    assert torch.equal(found.covariance, found.covariance.T)
    exact = torch.cov(x.reshape(-1, 6).double().T, correction=0)
    assert torch.allclose(found.covariance, damped(exact, 1e-2), rtol=1e-4, atol=1e-3)


def test_a_covariance_that_is_less_than_positive_definite_still_gives_an_order_and_an_update():
    generator = torch.Generator().manual_seed(2)
    found, x = second_order._Curvature(12, 4, 4), torch.randn(5, 12, generator=generator)
    found.add(x, torch.ones(5, 4))
    found.inputs.xx -= 0.5 * found.inputs.weight * torch.eye(12)
    weight, bias, kept = torch.randn(4, 12, generator=generator), torch.zeros(4), torch.ones(4, 12)
    kept[:, :4] = 0
    order, _ = removal_order(weight, torch.eye(4).double()[None], found.covariance, 4)
    assert sorted(order.flatten().tolist()) == [0, 1, 2]
    found.correct(weight, bias, kept)
    assert weight.isfinite().all() and bias.isfinite().all()


def test_what_is_kept_makes_up_for_the_rest():
    """The outputs of each row change as little as kept weights and a bias allow; the rest stays as it was."""
    generator = torch.Generator().manual_seed(3)
    x = correlated(500, 12) + torch.randn(12, generator=generator)
    found, weight = second_order._Curvature(12, 4, 2), torch.randn(4, 12, generator=generator)
    gradients = torch.randn(500, 4, generator=generator)
    found.add(x, gradients)
    kept = (torch.rand(4, 12, generator=generator) > 0.4).float()
    bias, was = torch.randn(4, generator=generator), weight.clone()
    wanted, before = x @ weight.T + bias, x @ (weight * kept).T + bias
    found.correct(weight, bias, kept)
    assert torch.equal(weight[kept == 0], was[kept == 0])
    energy = gradients.square().sum(1, keepdim=True)
    importance = 0.5 + 0.5 * energy / energy.mean()

    def error(outputs):
        return float((importance * (outputs - wanted).square()).sum())

    after = x @ (weight * kept).T + bias
    assert error(after) < 0.5 * error(before)
    for _ in range(20):  # a minimum but for the damping
        moved = weight + 0.1 * torch.randn(4, 12, generator=generator)
        assert error(x @ (moved * kept).T + bias) > error(after)
    assert torch.allclose((importance * (after - wanted)).sum(0), torch.zeros(4), atol=1e-2)  # the bias is the best one


def test_second_order_scores_rank_blocks_and_neurons():
    net, images = network()
    scores = PruneScores(net.config, PruneConfig(8, "0.5", "0.5"))
    SecondOrder(net, 8, images).score(scores)
    for encoder in scores.encoders:
        for score in (*encoder.matrices, encoder.neurons):
            assert sorted(score.flatten().tolist()) == list(range(score.numel()))


def test_second_order_scores_and_fitting_lose_the_least():
    """Before the layers are fitted as well as after."""
    teacher, images = network()
    left: dict[str, dict[Score, float]] = {"pruned": {}, "fitted": {}}
    for score in Score:
        scores = PruneScores(teacher.config, PruneConfig(8, "0.7", "0.7"))
        correct = set_scores(scores, score, teacher, images).correct
        masks, student = scores.final_masks(), copy_of(teacher)
        correct(student, masks)
        left["pruned"][score] = distance(student, teacher, images, masks)
        fit_layers(student, teacher, images, masks)
        left["fitted"][score] = distance(student, teacher, images, masks)
    for found in left.values():
        assert found[Score.SECOND_ORDER] < 0.8 * min(found[Score.MAGNITUDE], found[Score.FIRST_ORDER])


def test_the_second_step_keeps_nothing_that_the_first_took_out():
    teacher, images = network()
    once, twice = (PruneScores(teacher.config, PruneConfig(8, "0.5", "0.5")) for _ in range(2))
    SecondOrder(teacher, 8, images).score(once)
    set_to_second_order(twice, teacher, images)
    for half_way, final in zip(once.masks("0.75", "0.75"), twice.final_masks(), strict=True):
        assert bool((final.qkv <= half_way.qkv).all() and (final.proj <= half_way.proj).all())
        assert bool((final.neurons <= half_way.neurons).all()) and final.neurons.sum() < half_way.neurons.sum()


def test_only_second_order_scores_come_with_an_update():
    teacher, images = network()
    for score in Score:
        scores = PruneScores(teacher.config, PruneConfig(8, "0.7", "0.7"))
        student = copy_of(teacher)
        set_scores(scores, score, teacher, images).correct(student, scores.final_masks())
        same = all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.parameters(), strict=True))
        assert same == (score is not Score.SECOND_ORDER)


def test_the_update_changes_nothing_where_everything_stays():
    teacher, images = network()
    scores = PruneScores(teacher.config, PruneConfig(8, "1", "1"))
    student = copy_of(teacher)
    SecondOrder(teacher, 8, images).correct(student, scores.final_masks())
    for ours, theirs in zip(student.parameters(), teacher.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


# --- the zero point of GELU ----------------------------------------------------------------------


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("lowest", [a.lowest for a in MlpActivation])
def test_zero_points_are_even_and_the_lowest_code_is_the_smallest_value(bits, lowest):
    lo, hi = int_range(bits, True)
    for scale in np.geomspace(1e-5, 10, 60):
        zero = zero_point(lowest, scale, bits)
        assert zero % 2 == 0 and lo <= zero < hi
        if -lowest / scale < hi - lo - 2:
            assert abs((lo - zero) * scale - lowest) <= scale * (1 + 1e-9)


def test_a_zero_point_doubles_the_resolution_and_moves_no_tie():
    plain, moved = ActQuant(8), ActQuant(8, lowest=MlpActivation.GELU.lowest)
    x = torch.nn.functional.gelu(torch.linspace(-3, 3, 1000))
    for quantiser in (plain, moved):
        quantiser.start_observing()
        quantiser(x)
        quantiser.finish_observing()
    assert moved.scale.number < 0.56 * plain.scale.number
    moved.scale.set(0.25)
    assert moved.zero.code(0.25, 8) == -128
    halves = torch.arange(0, 250) * 0.25 + 0.125
    with torch.no_grad():
        assert torch.equal(moved(halves), (halves / 0.25).round() * 0.25)
        assert moved(torch.tensor([1e3])).item() == 0.25 * 255


def test_ranges_that_no_output_hangs_on_follow_the_values():
    """A head of zeros, as some networks are created with."""
    net, images = network()
    torch.nn.init.zeros_(net.head.weight)
    net.calibrate(images)
    chosen = choose_ranges(net, images)
    assert all(r.output_error == 0 and r.signal_to_noise > 25 for r in chosen)
