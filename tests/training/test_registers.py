"""Registers in training: networks of given sizes with them, and what is ranked by their checkpoints."""

import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import Pooling, ViTConfig
from finn_vitprune.models.timm_weights import config_of_timm
from finn_vitprune.training.config import parse_config, saved_config
from finn_vitprune.training.teacher import make_teacher

BASE = {"name": "x", "data": "digits"}
DISTILLED = ViTConfig.dense(16, 3, 4, 32, 2, 3, 10, prefix=2)


def test_a_network_of_given_sizes_has_registers():
    """Their vectors start as large as positions, and a drop keeps them."""
    config = parse_config(BASE | {"model": {"registers": 4}, "prune": {"token_keep": 0.5, "drop_at": [1]}})
    teacher = make_teacher(config, config.load_data())
    assert config_of_timm(teacher).prefix == 5 and 0.1 < float(teacher.reg_token.std()) < 0.3
    vit = config.vit_config(config_of_timm(teacher))
    assert vit.tokens == 21 and vit.token_counts()[0] == (21, 5 + 8 + 1)


@pytest.mark.parametrize(
    "model, reason",
    [
        (
            {"registers": 4, "timm": "deit_tiny_patch16_224"},
            "model.registers 4 is for networks of given sizes, deit_tiny_patch16_224 has its own",
        ),
        ({"registers": 16}, "model.registers"),
        ({"registers": -1}, "model.registers"),
    ],
)
def test_other_registers_are_refused_in_one_line(model, reason):
    with pytest.raises(UserError, match=reason) as error:
        parse_config(BASE | {"model": model})
    assert "\n" not in str(error.value)


def test_the_distillation_token_is_ranked_where_it_is_asked_for_and_in_old_checkpoints():
    prune = {"token_keep": 0.7, "drop_at": [1]}
    now = parse_config(BASE | {"prune": prune})
    asked = parse_config(BASE | {"prune": prune | {"ranked_prefix": 1}})
    saved = now.model_dump(mode="json")
    old = {**saved, "prune": {k: v for k, v in saved["prune"].items() if k != "ranked_prefix"}}
    assert now.vit_config(DISTILLED).protected == 2 and saved_config(saved, "c").vit_config(DISTILLED).protected == 2
    for config in (asked, saved_config(old, "c")):
        assert config.vit_config(DISTILLED).protected == 1
        assert config.vit_config(DISTILLED).token_counts()[0] == (18, 14), "12 of 17"
        plain = config.vit_config(ViTConfig.dense(16, 3, 4, 32, 2, 3, 10))
        assert plain.protected == 1, "there is no other token"


def test_a_network_that_pools_by_mean_may_drop_in_its_last_encoder():
    pooled = ViTConfig.dense(16, 3, 4, 32, 2, 3, 10, pooling=Pooling.PATCHES)
    last = parse_config(BASE | {"prune": {"drop_at": [3], "token_keep": 0.5}})
    assert last.vit_config(pooled).token_counts()[-1] == (17, 10)
    with pytest.raises(UserError, match="only the class token counts after the last encoder.*: use encoders up to 2"):
        last.vit_config(ViTConfig.dense(16, 3, 4, 32, 2, 3, 10))
