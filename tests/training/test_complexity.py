"""Closed formulas against counts, published numbers, the exported graph and the hardware graph."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from finn_vitprune.cli import run
from finn_vitprune.complexity import formulas as complexity
from finn_vitprune.complexity import reference
from finn_vitprune.complexity.formulas import KeptBlocks
from finn_vitprune.complexity.graph import count_hardware
from finn_vitprune.complexity.modules import count_model, products, pruned_by_score
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.models.config import EncoderShape, PoolerShape, Pooling, ViTConfig
from finn_vitprune.models.freeze import freeze, kept_block_masks
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.report.summary import ModelSummary
from finn_vitprune.transforms.lowering.drop_unused_scores import DropUnusedScores
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.narrow_class_token import NarrowClassToken
from tests import sampling
from tests.independent_counts import attention_macs_dense, count_graph, encoder_macs_pruned

DEIT_SMALL = ViTConfig.dense(224, 3, 16, 384, 6, 12, 1000)
DROPS = (3, 7, 10)
SMALL = "deit_small_patch16_224"
COMMAND = f"complexity {SMALL} --block-size 16 --block-keep 0.5 --token-keep 0.5 --drop-at 3,7,10"
EXAMPLE = Path(__file__).parents[2] / "builds" / "example" / "deit_digits.onnx"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def printed(capsys, line: str) -> dict:
    """What a command that must succeed prints as JSON."""
    assert run(line.split()) == 0
    return json.loads(capsys.readouterr().out)


# --- published figures ---------------------------------------------------------------------------


def test_deit_small_has_the_published_size():
    """4.6 GMAC with QK^T and AV; the published parameters have 25 LayerNorms of 768 besides, folded here."""
    loads = complexity.dense_loads(DEIT_SMALL)
    assert complexity.macs_of(DEIT_SMALL, loads, 1) / 1e9 == pytest.approx(4.60, abs=0.005)
    assert (complexity.params_of(DEIT_SMALL, loads, 1) + 25 * 2 * 384) / 1e6 == pytest.approx(21.975, abs=5e-4)


@pytest.mark.parametrize("rate, counts", [("0.5", [101, 52, 28]), ("0.7", [140, 100, 72]), ("0.9", [180, 164, 149])])
def test_token_counts_are_the_papers(rate, counts):
    config = reference.distilled(DEIT_SMALL).with_token_drop(rate, DROPS)
    assert [config.token_counts()[i - 1][1] for i in DROPS] == counts


def test_token_counts_use_exact_rates():
    """0.55 x 20 is 11.000000000000002 in float64; exact it is 11, so N = 21 gives 13 tokens, not 14."""
    config = ViTConfig.dense(8, 1, 2, 64, 4, 2, 10, prefix=5, ranked_prefix=4).with_token_drop("0.55", (1,))
    assert config.tokens == 21 and Fraction("0.55") * 20 == 11
    assert config.token_counts() == [(21, 13), (13, 13)]
    kept = replace(config, ranked_prefix=0).with_token_drop("0.55", (1,))
    assert kept.token_counts() == [(21, 15), (15, 15)], "9 of 16 patches, the fused one, and the prefix"


PUBLISHED_HEADS = (1, 1, 2, 1, 1, 1, 2, 1, 0, 1, 0, 0)
# Block size, r_b, r_t, M parameters, GMAC, heads removed: of each encoder where published, else of all.
ROWS = [
    (16, "1", "1", 21.975, 4.2701, (0,) * 12),
    (16, "0.7", "0.9", 17.631, 2.9863, 1),
    (16, "0.7", "0.7", 17.631, 2.2082, 1),
    (16, "0.7", "0.5", 17.631, 1.6249, 1),
    (16, "0.5", "0.9", 14.395, 2.4310, 5),
    (16, "0.5", "0.7", 14.297, 1.7991, 6),
    (16, "0.5", "0.5", 14.297, 1.3245, 6),
    (32, "0.7", "0.7", 17.336, 2.1612, 4),
    (32, "0.5", "0.5", 13.804, 1.2511, PUBLISHED_HEADS),
]


def spread(block_keep: str, token_keep: str, heads: int) -> tuple[float, float]:
    """Parameters and MACs with ``heads`` removed evenly from 12 encoders (both are linear in them)."""
    config = reference.distilled(DEIT_SMALL).with_token_drop(token_keep, DROPS)
    none, one_each = (reference.planned(config, block_keep, (n,) * 12) for n in (0, 1))
    share = heads / 12
    return tuple((1 - share) * getattr(none, name) + share * getattr(one_each, name) for name in ("params", "macs"))


@pytest.mark.parametrize("block, block_keep, token_keep, published_params, published_macs, heads", ROWS)
def test_reference_count_gives_the_published_table(block, block_keep, token_keep, published_params, published_macs, heads):
    """Within 0.5 %. Where only the sum of removed heads is published, they are spread evenly."""
    if isinstance(heads, tuple):
        config = reference.distilled(DEIT_SMALL).with_token_drop(token_keep, DROPS)
        cost = reference.planned(config, block_keep, heads)
        params, macs = cost.params, cost.macs
    else:
        params, macs = spread(block_keep, token_keep, heads)
    row = f"b {block} r_b {block_keep} r_t {token_keep}"
    both = (("M parameters", params / 1e6, published_params), ("GMAC", macs / 1e9, published_macs))
    for unit, found, published in both:
        deviation = found / published - 1
        print(f"{row}: {found:.4f} {unit}, published {published}, {deviation:+.3%}")
        assert abs(deviation) < 0.005


@pytest.mark.parametrize("block_keep, heads, published", [("1", 0, 21.975), ("0.5", 5, 14.395), ("0.5", 6, 14.297), ("0.5", 11, 13.804)])
def test_reference_parameters_are_exact_to_the_last_digit(block_keep, heads, published):
    assert round(spread(block_keep, 11, heads)[0] / 1e6, 3) == published


def test_published_parameters_at_rate_seven_tenths_have_one_neuron_more():
    """int(.7 x 1536) = 1075; the table fits 1076 in each of 12 encoders, in both of its rows."""
    for heads, published in ((1, 17.631), (4, 17.336)):
        params = spread("0.7", 11, heads)[0]
        assert round(params / 1e6, 3) != published
        assert round((params + 12 * (2 * 384 + 1)) / 1e6, 3) == published


def test_command_counts_the_references_way(capsys):
    """3.4x at b 32 with the published heads; 198 tokens though the name is that of the plain model."""
    heads = ",".join(map(str, PUBLISHED_HEADS))
    line = COMMAND.replace("16 --block-keep", "32 --block-keep")
    c = printed(capsys, f"{line} --heads-removed {heads} --count reference --json")
    assert c["counting"] == "reference" and c["formula"] == c["count"]
    assert c["count"]["macs_dense"] / 1e9 == pytest.approx(4.2701, abs=5e-5)
    assert c["count"]["macs"] / 1e9 == pytest.approx(1.2511, abs=5e-5)
    assert c["count"]["params"] / 1e6 == pytest.approx(13.804, abs=5e-4)
    assert round(c["count"]["macs_ratio"], 1) == 3.4 and round(c["count"]["params_ratio"], 1) == 1.6
    assert c["count"]["tokens"][2] == {"in": 198, "mlp": 101} and sum(c["count"]["heads"]) == 61


# --- formula against count -----------------------------------------------------------------------


def draw(seed: int) -> tuple[ViTConfig, PruneConfig, np.random.Generator]:
    """A network and keep rates; D and H D' may differ, any encoder may drop tokens where a class token is read."""
    rng = np.random.default_rng(seed)

    def pick(*choices):
        return choices[rng.integers(len(choices))]

    block, depth, heads = pick(2, 4, 8), pick(1, 1, 2, 3, 4), pick(1, 2, 3, 4)
    shape = EncoderShape(heads, block * pick(2, 3, 5, 8))
    patch = pick(2, 4)
    config = ViTConfig(
        image_size=patch * pick(2, 3, 4),
        channels=pick(1, 3),
        patch_size=patch,
        dim=block * pick(2, 3, 4, 6),
        head_dim=block * pick(1, 2, 3),
        classes=pick(2, 3, 10),
        encoders=(shape,) * depth,
        prefix=pick(1, 2),
    )
    drops = tuple(i for i in range(1, depth + 1) if rng.random() < 0.4)
    keep, neuron_keep = pick("0.1", "0.3", "0.5", "0.55", "0.7", "1"), pick("0.2", "0.5", "0.7", "1")
    rate, pooling = pick("0.3", "0.5", "0.55", "0.7", "0.9", "1"), pick(*Pooling, Pooling.CLASS)
    if pooling is Pooling.CLASS:
        config = config.with_token_drop(rate, drops)
    elif pooling.attends:
        pooler = PoolerShape(pick(1, 2, 4), pick(1, 3, 2 * block), block * pick(1, 3))
        config = replace(config, pooling=pooling, pooler=pooler, prefix=pick(0, 1, 2))
        config = config.with_token_drop(rate, drops) if config.prefix else config
    else:
        config = replace(config, pooling=pooling, norm_after_pooling=pick(True, False), prefix=pick(0, 1, 2))
    config = replace(
        config, norm_pre=pick(False, False, True), final_norm=config.norm_after_pooling or pooling.attends or pick(True, True, False)
    )
    return config, PruneConfig(block, keep, neuron_keep), rng


@cache
def masked(seed: int):
    """The drawn network, masks from random scores (some heads without a chance in Q), and the cut network."""
    config, prune, rng = draw(seed)
    torch.manual_seed(seed)
    model, scores = PrunedViT(config), PruneScores(config, prune)
    with torch.no_grad():
        for parameter in scores.parameters():
            parameter.normal_()
        for encoder in scores.encoders:
            rows = encoder.q.shape[0] // encoder.heads
            encoder.q[: rows * int(rng.integers(encoder.heads))] -= 100.0
        masks = scores.masks()
    return config, prune, masks, cut(model, masks)


def kept_in_live_heads(mask, head_dim: int, block: int) -> KeptBlocks:
    """Blocks that a mask keeps, counted one by one."""
    live = mask.heads.bool().repeat_interleave(head_dim).numpy()
    matrices = [part[live] for part in np.split(mask.qkv.detach().numpy(), 3)]
    matrices.append(mask.proj.detach().numpy()[:, live])
    counts = []
    for m in matrices:
        corners = [(r, c) for r in range(0, m.shape[0], block) for c in range(0, m.shape[1], block)]
        counts.append(sum(bool(m[r : r + block, c : c + block].any()) for r, c in corners))
    return KeptBlocks(*counts)


SEEDS = range(32)


@pytest.mark.parametrize("seed", sampling.spread(SEEDS, 5))
def test_formula_equals_the_count_on_the_cut_model(seed):
    """Exact, for given live heads and kept blocks, whatever the shapes."""
    config, prune, masks, small = masked(seed)
    neurons = [-(-int(Fraction(prune.neuron_keep) * s.neurons) // prune.block_size) for s in config.encoders]
    shapes = [
        replace(s, heads=int(m.heads.sum()), neurons=prune.block_size * max(1, n))
        for s, m, n in zip(config.encoders, masks, neurons, strict=True)
    ]
    kept = [kept_in_live_heads(m, config.head_dim, prune.block_size) for m in masks]
    formula = complexity.by_formula(config, config.with_encoders(tuple(shapes)), kept, prune.block_size)
    dense = PrunedViT(complexity.unpruned(config))
    assert formula == count_model(dense, small, prune.block_size)
    assert reference.by_formula(config, small.config) == reference.by_count(dense, small)


@pytest.mark.whole  # as all that is drawn
def test_drawn_configurations_cover_what_matters():
    seen = set()
    for seed in SEEDS:
        config, _prune, masks, _ = masked(seed)
        counts = config.token_counts()
        seen |= {
            ("depth 1", len(config.encoders) == 1),
            ("distilled", config.prefix == 2),
            ("pooling by mean", config.pools_mean),
            ("pooling by attention", config.pooling.attends),
            ("attention that leaves out a prefix", config.pooling.attends and config.first_pooled > 0),
            ("no prefix tokens", config.prefix == 0),
            ("dead heads", any(m.heads.sum() < len(m.heads) for m in masks)),
            ("tokens dropped", counts[-1][1] < config.tokens),
            ("drop that keeps all", any(s.keep == n - 1 for s, (n, _) in zip(config.encoders, counts))),
            ("width is not heads times head width", config.dim != config.encoders[0].heads * config.head_dim),
            ("drop in the last encoder", config.encoders[-1].keep is not None),
        }
    assert all((what, True) in seen and (what, False) in seen for what, _ in seen)


@pytest.mark.parametrize("block_keep, removed", sampling.spread([("0.5", ()), ("0.7", (0, 3, 1)), ("1", (3, 2, 0))], several=True))
@pytest.mark.parametrize("prefix, drops", sampling.sampled([(1, ()), (2, (1, 2)), (1, (3,))], 2, several=True))
def test_planned_equals_the_count_at_magnitude_scores(block_keep, removed, prefix, drops):
    """What the command prints for a timm model; kept blocks lie in live heads as far as they fit there."""
    config = ViTConfig.dense(8, 3, 2, 64, 4, 3, 10, prefix=prefix).with_token_drop("0.6", drops)
    prune = PruneConfig(4, block_keep, "0.3")
    count = count_model(*pruned_by_score(config, prune, removed), 4)
    assert count.heads == tuple(4 - n for n in removed or (0, 0, 0))
    assert count == complexity.planned(config, prune, removed)


@pytest.mark.parametrize("seed", sampling.spread(SEEDS, 5))
def test_the_papers_formulas_equal_the_count_without_their_other_terms(seed):
    """LayerNorm, residual and token drop are in the paper's formulas and no matrix products."""
    config, prune, _, small = masked(seed)
    d, dh = config.dim, config.head_dim
    found = {
        model: {(p.module, p.part): p for p in products(model, prune.block_size)}
        for model in (PrunedViT(complexity.unpruned(config)), small)
    }
    dense, cut_small = found.values()
    for i, (shape, (n, after)) in enumerate(zip(small.config.encoders, small.config.token_counts())):
        name, all_heads, all_neurons = f"blocks.{i}", config.encoders[i].heads, config.encoders[i].neurons
        parts = [(f"{name}.attn.qkv", m) for m in ("q", "k", "v")]
        parts += [(f"{name}.attn", ""), (f"{name}.attn.proj", "")]
        paper = attention_macs_dense(config.tokens, d, all_heads, dh)
        assert sum(dense[p].macs for p in parts) == paper - 4 * config.tokens * d

        full = d * shape.heads * dh
        alpha = Fraction(sum(cut_small[p].weights for p in parts[:3]), 3 * full)
        alpha_proj = Fraction(cut_small[parts[4]].weights, full)
        alpha_mlp = Fraction(shape.neurons, all_neurons)
        paper = encoder_macs_pruned(n, after, d, all_heads, shape.heads, dh, all_neurons, alpha, alpha_proj, alpha_mlp)
        mlp = [(f"{name}.mlp.{m}", "") for m in ("fc1", "fc2")]
        others = 2 * n * d + 2 * after * d + n * (all_heads + n + d)
        assert sum(cut_small[p].macs for p in parts + mlp) == paper - others


def test_pruning_by_score_leaves_the_random_state_alone():
    config, prune, _ = draw(0)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    pruned_by_score(config, prune)
    assert torch.equal(before, torch.random.get_rng_state())


# --- count against graphs ------------------------------------------------------------------------

GRAPHS = [  # depth, prefix, drops, heads removed, D, heads, block; pooling, norm after it
    (1, 1, (), (0,), 16, 2, 8),
    (1, 2, (), (1,), 32, 2, 8),
    (2, 2, (1,), (1, 0), 32, 4, 4),
    (3, 1, (1, 2), (0, 2, 1), 48, 4, 4),
    (2, 1, (), (1, 0), 32, 4, 4, Pooling.PATCHES, True),
    (2, 0, (), (0, 1), 32, 2, 8, Pooling.PATCHES, False),
    (1, 2, (), (1,), 32, 2, 8, Pooling.ALL, True),
    (2, 1, (1,), (1, 0), 32, 4, 4, Pooling.CLASS, False, True, False),
    (2, 0, (), (1, 0), 32, 4, 4, Pooling.ATTENTION),
    (2, 2, (1,), (1, 0), 32, 4, 4, Pooling.ATTENTION_PATCHES),
]


@pytest.fixture(scope="module", params=sampling.spread(GRAPHS), ids=str)
def exported(request):
    """Unpruned, small and frozen network, its QONNX graph, block size."""
    depth, prefix, drops, removed, dim, heads, block, *pooling = request.param
    options = {"prefix": prefix} | dict(zip(("pooling", "norm_after_pooling", "norm_pre", "final_norm"), pooling))
    if options.get("pooling", Pooling.CLASS).attends:
        options["pooler"] = PoolerShape(3, 12, 20)
    config = ViTConfig.dense(8, 1, 2, dim, heads, depth, 10, **options)
    config = config.with_token_drop("0.5", drops) if drops else config
    dense, small = pruned_by_score(config, PruneConfig(block, "0.5", "0.5"), removed)
    small.calibrate(torch.randint(0, 256, (8, 8, 8, 1), generator=torch.manual_seed(2)).float())
    frozen = freeze(small)
    graph = to_qonnx(frozen)
    graph.set_metadata_prop("block_size", str(block))
    return dense, frozen, graph, block


def test_count_over_the_exported_graph_is_that_over_the_modules(exported):
    _, frozen, graph, block = exported
    over_modules, over_nodes = products(frozen, block), count_graph(graph, block)
    assert over_nodes.macs == sum(p.macs for p in over_modules)
    assert over_nodes.weights == sum(p.weights for p in over_modules if p.stored)
    assert over_nodes.biases == sum(p.biases for p in over_modules)


def test_count_over_the_hardware_graph_is_the_formula(exported):
    """As the hardware runs it: the last encoder for the class token alone, for all tokens before a mean."""
    dense, frozen, graph, block = exported
    hardware = lower(graph).model
    for transformation in (DropUnusedScores(), NarrowClassToken(), DropUnusedScores()):
        hardware = hardware.transform(transformation)
    over_ops, _ = count_hardware(hardware)
    formula = complexity.counted(dense.config, frozen.config, kept_block_masks(frozen, block))
    assert (over_ops.macs, over_ops.weights + over_ops.biases) == (formula.macs, formula.params)
    assert formula == count_model(dense, frozen, block)
    as_exported = count_graph(graph, block).macs
    assert formula.macs_pruned == count_hardware(lower(graph).model)[0].macs == as_exported
    narrowed = frozen.config.pooling is Pooling.CLASS
    assert (formula.macs < as_exported) if narrowed else (formula.macs == as_exported)
    assert as_exported < formula.macs_dense


def test_last_encoder_works_for_the_class_token_alone():
    config = DEIT_SMALL.with_token_drop("0.5", DROPS)
    kept = [KeptBlocks(100, 200, 300, 400)] * 12
    *others, last = complexity.as_performed(config, complexity.encoder_loads(config, kept, 16))
    n, b2 = 28, 256
    assert last.macs == 100 * b2 + n * 500 * b2 + 2 * n * 384 + 400 * b2 + 2 * 384 * 1536
    assert others[-1].macs == n * 1000 * b2 + 2 * n * n * 384 + n * 2 * 384 * 1536


def test_kept_block_map_is_the_transposed_pattern_of_the_weights(exported):
    _, frozen, _, block = exported
    weight = frozen.blocks[0].attn.proj.weight.detach().numpy()
    kept = kept_block_masks(frozen, block)["blocks.0.proj"].grid
    for row in range(kept.shape[0]):
        for column in range(kept.shape[1]):
            part = weight[block * column : block * (column + 1), block * row : block * (row + 1)]
            assert kept[row, column] == np.any(part)


# --- the command ---------------------------------------------------------------------------------


def test_command_reaches_the_targets_by_formula_and_by_count(capsys):
    c = printed(capsys, COMMAND + " --json")
    assert c["formula"] == c["count"] and c["counting"] == "project"
    assert c["count"]["macs_ratio"] >= 3.4 and c["count"]["params_ratio"] >= 1.6
    assert c["count"]["index_bits"] == 12 * 4 * 288 * 5, "288 kept blocks of 24 rows in each of 48 matrices"
    part = {k: v for k, v in c["count"].items() if not k.endswith("_ratio")}
    summary = ModelSummary.model_validate(part)
    assert (summary.name, summary.block_size, summary.block_keep) == ("deit_small_patch16_224", 16, 0.5)
    assert summary.token_keep == {3: 0.5, 7: 0.5, 10: 0.5} and summary.heads == [6] * 12
    assert summary.macs * c["count"]["macs_ratio"] == pytest.approx(summary.macs_dense)
    assert c["count"]["pruning_ratio"] * c["count"]["class_token_ratio"] == pytest.approx(c["count"]["macs_ratio"])
    assert c["count"]["pruning_ratio"] < c["count"]["macs_ratio"]


def test_tables_show_formulas_counts_and_ratios(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    assert run(COMMAND.split()) == 0
    out = capsys.readouterr().out
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert "T |Wq| + N (|Wk| + |Wv|) + 2 H T N D' + T |Wproj| + 2 T' D M" in out
    assert ["3", "197", "100", "6"] in cells
    for how in ("formula", "count"):
        assert [f"MACs per image by {how}: pruning", "4,598,882,304", "1,150,414,080", "4.00 x less"] in cells
        last = [f"MACs per image by {how}: last encoder, class token only", "1,150,414,080", "1,129,926,912", "1.02 x less"]
        assert last in cells
        assert [f"MACs per image by {how}: both", "4,598,882,304", "1,129,926,912", "4.07 x less"] in cells
        assert [f"parameters by {how}", "21,955,432", "11,329,384", "1.94 x less"] in cells


def test_neurons_follow_the_blocks_unless_told_otherwise(capsys):
    base = "complexity deit_tiny_patch16_224 --block-keep 0.25 --json"
    same, other = printed(capsys, base), printed(capsys, base + " --neuron-keep 0.5")
    assert other["count"]["params"] - same["count"]["params"] == 12 * (768 // 4) * (2 * 192 + 1)
    assert same["formula"] == same["count"] and other["formula"] == other["count"]


def test_heads_without_blocks_are_gone_in_the_count_and_named(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    line = "complexity deit_tiny_patch16_224 --block-keep 0.01"
    c = printed(capsys, line + " --json")
    lost = sum(c["formula"]["heads"]) - sum(c["count"]["heads"])
    assert lost > 0 and c["count"]["macs"] < c["formula"]["macs"]
    assert run(line.split()) == 0
    assert f"{lost} heads kept no blocks" in capsys.readouterr().out


def test_model_file_is_counted_over_its_hardware_graph(capsys):
    c = printed(capsys, f"complexity {EXAMPLE} --json")
    for key in ("macs_pruned", "macs", "params", "macs_dense", "params_dense", "tokens", "heads", "token_keep"):
        assert c["formula"][key] == c["count"][key]
    assert c["count"]["block_size"] == 8 and set(c["count"]["token_keep"]) == {"2", "3"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("deit_smal_patch16_224", "did you mean deit_small_patch16_224"),
        ("deit_small_patch16_224.nonsense", "Invalid pretrained tag"),
        ("vit_small_patch16_18x2_224", "ParallelThingsBlock"),
        ("resnet18", "not a plain ViT or DeiT"),
        (f"{SMALL} --block-size 24", "block size 24 does not divide 64 (encoder 1, head width of W_q): use"),
        (f"{SMALL} --block-size 0", "--block-size"),
        (f"{SMALL} --block-keep 1.5", "--block-keep 1.5 is not a share"),
        (f"{SMALL} --block-keep nan", "--block-keep nan is not a share"),
        (f"{SMALL} --neuron-keep 0", "--neuron-keep 0 is not a share"),
        (f"{SMALL} --token-keep 1/0", "--token-keep 1/0 is not a share"),
        (f"{SMALL} --drop-at 3,x", "--drop-at 3,x: expected numbers with commas, for example 3,7,10"),
        (f"{SMALL} --drop-at 3,,7", "--drop-at 3,,7: expected numbers"),
        (f"{SMALL} --drop-at 0", "--drop-at 0: encoders count from 1"),
        (f"{SMALL} --heads-removed 1,1", "--heads-removed has 2 numbers"),
        (f"{SMALL} --heads-removed 1,1,6{',0' * 9}", "--heads-removed 6 (encoder 3): it has 6 heads"),
        (f"{SMALL} --heads-removed=-1{',0' * 11}", "--heads-removed -1 (encoder 1)"),
        (f"{SMALL} --count paper", "--count"),
        (f"{EXAMPLE} --block-size 8", "--block-size"),
        (f"{EXAMPLE} --count reference", "--count reference: needs a timm model name"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path))
    assert run(["complexity", *arguments.split()]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err and "Traceback" not in err
