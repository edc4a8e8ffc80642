"""Crops of few calibration images: how many, of which, and that none judges a layer that its own image was fitted to."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finn_vitprune import progress
from finn_vitprune.calibration import layerwise
from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.importing import plan, stages
from finn_vitprune.importing.views import SCALE, views_of
from finn_vitprune.importing.workflow import import_model
from finn_vitprune.models.config import EncoderShape, ViTConfig
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.options.importing import FineTune, ImportOptions
from finn_vitprune.pruning.choices import Rounding, Score
from finn_vitprune.pruning.config import PruneConfig
from tests.ingest_models import export, small_timm
from tests.said import Said
from tests.sampling import sampled


def ramps(count: int, height: int = 24, width: int = 16, channels: int = 3) -> torch.Tensor:
    """Values rise by 6 a row and by 3 a column; each image begins at another value."""
    rows, columns = torch.arange(height)[:, None, None] * 6.0, torch.arange(width)[None, :, None] * 3.0
    return (rows + columns + torch.arange(count)[:, None, None, None]).expand(-1, -1, -1, channels).contiguous()


@pytest.mark.parametrize(
    "images, count, copies", [(200, 512, 2), (40, 512, 12), (10, 35, 3), (256, 512, 2), (257, 512, 1), (600, 512, 1), (10, 0, 1)]
)
def test_there_are_as_many_views_as_fit_of_each_image(images, count, copies):
    views = views_of(ramps(images, 4, 4, 1), count)
    assert len(views.images) == len(views.sources) == copies * images
    assert torch.equal(views.sources.bincount(), torch.full((images,), copies))
    assert torch.equal(views.images[:images], ramps(images, 4, 4, 1)) and torch.equal(views.sources[:images], torch.arange(images))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_is_a_part_of_its_image_at_the_size_of_all(channels, flip):
    """Of a ramp every crop is a ramp, flatter by its height and width; their product is its share of the area.

    Bicubic interpolation may leave the image's range by a little.
    """
    images = ramps(20, channels=channels)
    views = views_of(images, 200, seed=3, flip=flip)
    crops, sources = views.images[20:], views.sources[20:]
    assert crops.shape == (180, 24, 16, channels) and crops.dtype == images.dtype
    low, high = images[sources].amin((1, 2, 3), True), images[sources].amax((1, 2, 3), True)
    assert torch.equal(crops, crops.round()) and (crops >= low - 2).all() and (crops <= high + 2).all()
    down, right = (crops[:, 20, 8] - crops[:, 4, 8])[:, 0] / 16 / 6, (crops[:, 12, 13] - crops[:, 12, 3])[:, 0] / 10 / 3
    mirrored = right < 0
    assert 60 < int(mirrored.sum()) < 120 if flip else not mirrored.any()
    area = down * right.abs()
    assert SCALE[0] - 0.06 < float(area.min()) < 0.5 and 0.8 < float(area.max()) < SCALE[1] + 0.06


def test_crops_follow_the_seed_alone():
    images = ramps(10)
    torch.manual_seed(1)
    state, once = torch.get_rng_state(), views_of(images, 40, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(views_of(images, 40, seed=5).images, once.images)
    assert not torch.equal(views_of(images, 40, seed=6).images, once.images)


@pytest.mark.parametrize("count, copies", [(8, 1), (10, 3), (21, 2)])
def test_views_of_one_image_fit_or_judge_together(count, copies, monkeypatch):
    """The moments of each side are those of its views' patches, whatever the number of images."""
    torch.manual_seed(0)
    network = PrunedViT(ViTConfig(16, 1, 8, 16, 8, 5, (EncoderShape(2, 32),))).eval()
    network.quantise(False)
    seen = []
    monkeypatch.setattr(layerwise, "_set", lambda layer, fitted, judged, rounded: seen.append((layer.name, fitted, judged)))
    images = torch.randint(0, 256, (count * copies, 16, 16, 1)).float()
    sources = torch.arange(count).repeat(copies)
    fit_layers(network, network, images, sources=sources)
    inputs = []
    with layerwise.hooked([network.patch_embed.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))]), torch.no_grad():
        network.embed(images)
    weights = torch.cat(layerwise.token_weights(network, images)["patch_embed"])
    name, *sides = seen[0]
    assert name == "patch_embed" and len(seen) == 6
    for side, judges in zip(sides, (False, True), strict=True):
        chosen = (sources % 4 == 3) == judges
        weight = weights[chosen].reshape(-1, 1)
        mean = (inputs[0][chosen].reshape(-1, 64) * weight).sum(0) / weight.sum()
        assert side.weight == pytest.approx(float(weight.sum()), rel=1e-5)
        assert torch.allclose(side.x.float(), mean, atol=1e-4 * float(mean.abs().max()))


@pytest.mark.parametrize("flip", sampled([False, True], 1))
def test_import_prunes_and_fits_by_images_and_crops_and_takes_ranges_from_images(flip, tmp_path, monkeypatch):
    """30 images of 5 classes: 24 to calibrate with, of each 21 views; labels go with their images."""
    labels = np.arange(30) % 5
    images = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    given, held = (images[:24], labels[:24]), (images[24:], labels[24:])
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(tmp_path / "images.npz", **dict(zip(names, (*given, *held), strict=True)))
    taken = {}
    for name in ("set_scores", "fit_layers", "choose_ranges", "views_of"):
        whole = getattr(stages, name)

        def watched(*args, name=name, whole=whole, **more):
            taken[name] = args
            return whole(*args, **more)

        monkeypatch.setattr(stages, name, watched)
    model = export(small_timm(), tmp_path / "model.onnx")
    options = ImportOptions(
        model=model,
        data=f"npz:{tmp_path / 'images.npz'}",
        output=tmp_path / "out.onnx",
        block_keep="0.5",
        fine_tune=FineTune(flip=flip),
        seed=4,
    )
    said = Said()
    with progress.shown_by(said):
        import_model(options)
    assert "24 calibration images and 480 crops of them" in said
    expected = views_of(torch.from_numpy(images[:24]).float(), 512, 4, flip)
    assert len(expected.images) == 504
    assert torch.equal(taken["set_scores"][3], expected.images)
    assert torch.equal(taken["set_scores"][4], torch.from_numpy(labels[:24])[expected.sources])
    assert torch.equal(taken["fit_layers"][2], expected.images) and torch.equal(taken["fit_layers"][5], expected.sources)
    assert torch.equal(taken["choose_ranges"][1], expected.images[:24])


@pytest.mark.parametrize(
    "options, learns",
    [
        ({}, False),
        ({"weight_bits": 4}, True),
        ({"weight_bits": 4, "rounding": Rounding.NEAREST}, False),
        ({"block_keep": "0.5"}, True),
        ({"block_keep": "0.5", "reconstruct": False}, True),
        ({"block_keep": "0.5", "score": Score.MAGNITUDE}, True),
        ({"block_keep": "0.5", "score": Score.MAGNITUDE, "reconstruct": False}, False),
        ({"token_keep": "0.5", "drop_at": (1,)}, False),
    ],
)
def test_crops_are_made_where_images_decide_on_more_than_ranges(options, learns):
    given = ImportOptions(model=Path("model.onnx"), data="digits", output=Path("out.onnx"), **options)
    assert plan.learns(given, PruneConfig(8, given.block_keep, given.neuron_keep or given.block_keep)) is learns
