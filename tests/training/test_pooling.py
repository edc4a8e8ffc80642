"""Networks of given sizes that pool by a mean or by attention: the options, and what is trained."""

import pytest
import torch
from torch import nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import PoolerShape, Pooling
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.training.config import parse_config
from finn_vitprune.training.teacher import make_teacher
from tests.training.test_models import loaded

BASE = {"name": "x", "data": "digits"}


def teacher_of(model: dict) -> nn.Module:
    config = parse_config(BASE | {"model": model})
    torch.manual_seed(1)
    return make_teacher(config, config.load_data())


@pytest.mark.parametrize(
    "model, pooling, pooler",
    [
        ({}, Pooling.CLASS, None),
        ({"pool": "avg"}, Pooling.PATCHES, None),
        ({"pool": "map"}, Pooling.ATTENTION_PATCHES, PoolerShape(4, 16, 256)),
        ({"pool": "map", "pool_heads": 8, "mlp_ratio": 2, "registers": 2}, Pooling.ATTENTION_PATCHES, PoolerShape(8, 8, 128)),
        ({"pool": "map", "pool_heads": 1, "activation": "silu"}, Pooling.ATTENTION_PATCHES, PoolerShape(1, 64, 256)),
    ],
)
def test_a_network_of_given_sizes_pools_as_the_options_say(model, pooling, pooler):
    """timm's network and this project's compute the same logits."""
    teacher = teacher_of(model).eval()
    found = config_of_timm(teacher)
    assert (found.pooling, found.pooler) == (pooling, pooler)
    ours = loaded(teacher, mean=(0.5,), std=(0.25,))
    ours.quantise(False)
    pixels = torch.randint(0, 256, (3, found.image_size, found.image_size, 1), generator=torch.manual_seed(2)).float()
    with torch.no_grad():
        wanted = teacher(((pixels / 255 - 0.5) / 0.25).permute(0, 3, 1, 2))
        assert (ours(pixels) - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize(
    "model, reason",
    [
        ({"pool_heads": 2}, "model.pool_heads 2 is for model.pool map, not token: leave it out"),
        ({"pool": "map", "pool_heads": 3}, "model.pool_heads 3 does not divide model.dim 64"),
        ({"pool": "map", "pool_heads": 0}, "model.pool_heads"),
        ({"pool": "map", "final_norm": False}, "model.pool map reads the LayerNorm after the encoders"),
        ({"pool": "map", "gated": True}, "model.pool map has an MLP without gates"),
        ({"pool": "map", "timm": "deit_tiny_patch16_224"}, "model.pool map is for networks of given sizes"),
        ({"pool_heads": 2, "timm": "deit_tiny_patch16_224"}, "model.pool_heads 2 is for networks of given sizes"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(model, reason):
    with pytest.raises(UserError, match=reason) as error:
        parse_config(BASE | {"model": model})
    assert "\n" not in str(error.value)
