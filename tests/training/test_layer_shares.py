"""Shares by layer: no more operations than equal shares, the least error, and files that say them."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch

from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.layers import LAYERS, LayerErrors, LayerShares, allot, equal_counts, unit_macs
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.pruning.scoring import set_scores
from finn_vitprune.report.layer_shares import layer_figure, layer_table
from tests.training.test_calibration import network as some_network

PRUNE = PruneConfig(8, "0.5", "0.5")
CONFIG = ViTConfig.dense(16, 1, 4, 64, 4, 3, 10).with_token_drop("0.5", (1,))


def random_errors(seed: int, units=(64, 64, 64, 64, 256), encoders: int = 3) -> LayerErrors:
    """Costs that grow as more goes, each layer's at its own pace."""
    rng = np.random.default_rng(seed)
    return LayerErrors.added([[np.sort(rng.exponential(10 ** rng.uniform(-2, 2), n)) for n in units] for _ in range(encoders)])


def lost(errors: LayerErrors, counts: np.ndarray) -> float:
    return sum(errors.of[e][i][errors.units[e, i] - counts[e, i]] for e, i in np.ndindex(counts.shape))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("keep", ["0.3", "0.5", "0.9"])
def test_shares_by_layer_lose_less_at_no_more_operations(seed, keep):
    errors, macs, prune = random_errors(seed), unit_macs(CONFIG, 8), PruneConfig(8, keep, keep)
    equal = equal_counts(errors.units, keep, keep, 8)
    own = allot(errors, macs, prune)
    assert (own * macs).sum() <= (equal * macs).sum()
    assert (own * macs).sum() > (equal * macs).sum() - macs.max() * 8  # and uses them
    assert lost(errors, own) < lost(errors, equal)
    assert (own >= 1).all() and (own <= errors.units).all() and (own[:, 4] % 8 == 0).all()
    assert (own >= errors.units // 8).all()


def test_no_other_shares_lose_less():
    """Costs that only grow: the best of all counts of two small layers, the others as they are."""
    errors, macs = random_errors(3, units=(8, 8, 8, 8, 64), encoders=1), np.array([[64.0, 64, 64, 64, 128]]).astype(int)
    own = allot(errors, macs, PRUNE)
    room = (own * macs).sum()
    best = min(
        (lost(errors, np.array([[*counts, own[0, 4]]])) for counts in itertools.product(range(1, 9), repeat=4)
         if (np.array([*counts, own[0, 4]]) * macs[0]).sum() <= room),
    )  # fmt: skip
    assert lost(errors, own) == pytest.approx(best)


def test_products_of_a_unit_are_those_of_its_tokens():
    macs = unit_macs(CONFIG, 8)
    (before, after), *_ = CONFIG.token_counts()
    assert before == 17 and after < before
    assert macs[0].tolist() == [before * 64] * 4 + [after * 2 * 64] and macs[1].tolist() == [after * 64] * 4 + [after * 2 * 64]


def test_masks_keep_the_counts_in_the_end_and_approach_them_on_the_way():
    scores = PruneScores(CONFIG, PRUNE)
    for p in scores.parameters():
        p.data = torch.rand(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    own = allot(random_errors(1), scores.macs, PRUNE)
    scores.keep(own)

    def counts(masks):
        blocks = [[int(part.sum()) // 64 for part in (*m.qkv.chunk(3), m.proj)] + [int(m.neurons.sum())] for m in masks]
        return np.array(blocks)

    assert np.array_equal(counts(scores.final_masks()), own)
    assert np.array_equal(counts(scores.masks(1.0, 1.0)), scores.units)
    half = counts(scores.masks(0.75, 0.75))
    assert (half >= own).all() and (half <= scores.units).all() and np.abs(half - (own + scores.units) / 2).max() <= 8
    copy = PruneScores(CONFIG, PRUNE)
    copy.load_state_dict(scores.state_dict())
    assert np.array_equal(counts(copy.final_masks()), own)


def test_blocks_that_compete_everywhere_have_no_shares_by_layer():
    with pytest.raises(UserError, match="use scope local"):
        PruneScores(CONFIG, PruneConfig(scope="global")).keep(np.ones((3, 5), int))


def test_shares_of_a_trained_network_come_from_second_order_scores():
    network, images = some_network()
    scores = PruneScores(network.config, PRUNE)
    found = set_scores(scores, Score.SECOND_ORDER, network, images, by_layer=True)
    assert scores.kept.numpy().any() and (scores.kept.numpy() != equal_counts(scores.units, "0.5", "0.5", 8)).any()
    assert all((np.diff(own) >= 0).all() for layers in found.errors.of for own in layers)
    with pytest.raises(UserError, match="use second-order, or equal shares"):
        set_scores(scores, Score.MAGNITUDE, network, images, by_layer=True)


# --- files -----------------------------------------------------------------------------------------


@pytest.fixture
def shares() -> LayerShares:
    errors = random_errors(2)
    return LayerShares.of(allot(errors, unit_macs(CONFIG, 8), PRUNE), errors.units, PRUNE, errors)


@pytest.mark.parametrize("seed", range(4))
def test_a_file_keeps_exactly_what_was_allotted(seed, tmp_path):
    errors = random_errors(seed)
    own = allot(errors, unit_macs(CONFIG, 8), PRUNE)
    LayerShares.of(own, errors.units, PRUNE, errors).save(tmp_path / "x.layers.json")
    assert np.array_equal(LayerShares.load(tmp_path / "x.layers.json").counts(errors.units, 8, "x"), own)


@pytest.mark.parametrize("change, text", [
    ({"encoders": []}, "shares for 0 encoders, the network has 3"),
    ({"block_size": 16}, "blocks of 16 x 16: use --block-size 16"),
])  # fmt: skip
def test_a_file_of_another_network_is_refused(shares, change, text):
    with pytest.raises(UserError, match=text):
        shares.model_copy(update=change).counts(random_errors(2).units, 8, "x.layers.json")


@pytest.mark.parametrize("change, text", [
    (lambda c: c["encoders"][1].update(key=0), "encoders.1.key"),
    (lambda c: c["encoders"][1].update(keys=1), "encoders.1.keys"),
    (lambda c: c["encoders"][0].pop("value"), "encoders.0.value"),
    (lambda c: c.update(format=2), "format should be 1"),
])  # fmt: skip
def test_wrong_files_are_refused_with_the_place(shares, change, text, tmp_path):
    content = shares.model_dump(mode="json")
    change(content)
    (tmp_path / "x.layers.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=text):
        LayerShares.load(tmp_path / "x.layers.json")


def test_the_table_and_the_picture_say_every_share(shares, tmp_path):
    table = layer_table(shares)
    assert table.columns == ("encoder", *LAYERS) and len(table.rows) == 3
    assert all(f"{share:.0%}" in cell for own, row in zip(shares.encoders, table.rows) for share, cell in zip(own.all, row[1:]))
    written = {text.get_text() for axis in layer_figure(shares).axes for text in axis.texts}
    assert {f"{share:.0%}" for own in shares.encoders for share in own.all} <= written
    alone = shares.model_copy(update={"errors": (), "error_shares": ()})
    assert len(layer_figure(alone).axes) == 1 and "(" not in layer_table(alone).rows[0][1]
    shares.save(tmp_path / "x.layers.json")
    assert run(["picture", str(tmp_path / "x.layers.json"), "--what", "layers", "-o", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").stat().st_size > 10_000
