"""Rotary position embedding in float files: timm's and Hugging Face's forms are recognised, what is no rotation is refused by name."""

import numpy as np
import pytest
import timm
import torch
from timm.models.eva import Eva
from torch import nn

from finn_vitprune.cli import run
from finn_vitprune.errors import UserError
from finn_vitprune.importing.float_model import float_network
from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import Rotary
from tests.ingest.test_prefix_tokens import HuggingFaceRegisters
from tests.ingest_models import SMALL, export, randomised, run_onnx
from tests.sampling import spread

TURNED = {"use_rot_pos_emb": True}
ALONE = TURNED | {"use_abs_pos_emb": False}
KINDS = {
    "beside learned positions": (TURNED, False),
    "alone, LayerScale": (ALONE | {"init_values": 0.1, "rope_grid_indexing": "xy"}, True),
    "halves, registers": (ALONE | {"rope_type": "dinov3", "rope_rotate_half": True, "num_reg_tokens": 4, "qkv_bias": False}, False),
    "halves, dynamo": (ALONE | {"rope_type": "dinov3", "rope_rotate_half": True, "global_pool": "token"}, True),
    "a table a head": (ALONE | {"rope_type": "mixed"}, True),
    "a register alone, mean": (
        TURNED | {"class_token": False, "num_reg_tokens": 1, "global_pool": "avg", "use_fc_norm": True, "qkv_fused": False}, False,
    ),
}  # fmt: skip
"""Options of timm's Eva, and whether the dynamo exporter writes the file (the other one cannot write a table a head)."""


@pytest.fixture
def fused():
    """Attention as matrix products for the exporter that cannot write it in one; as it was afterwards."""
    yield timm.layers.set_fused_attn
    timm.layers.set_fused_attn(True)


def exported(model, path, dynamo=False):
    return export(model, path, **({"opset": 18, "dynamo": True, "verbose": False} if dynamo else {}))


def same_logits(path, vit):
    """This project's network in float computes what the file computes, to 1e-4 of the largest logit."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3))
    given = ((pixels / 255 - 0.5) / 0.25).transpose(0, 3, 1, 2).astype(np.float32)
    network = float_network(vit, (0.5,) * 3, (0.25,) * 3)
    with torch.no_grad():
        got = network(torch.from_numpy(pixels).float()).numpy()
    expected = run_onnx(path, given)
    return np.abs(got - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("kind", spread(list(KINDS), 4))
def test_it_is_recognised_in_files_of_timm(tmp_path, kind, fused):
    options, dynamo = KINDS[kind]
    fused(dynamo)
    path = exported(randomised(Eva(**SMALL, **options)), tmp_path / "model.onnx", dynamo)
    found = read(path)
    assert found.vit is not None, [str(r) for r in found.rejections]
    vit, mixed = found.vit, "mixed" in options.values()
    assert vit.config.rotary is (Rotary.HEADS if mixed else Rotary.SHARED)
    cos, sin = (vit.weights[f"blocks.1.attn.rotary.{name}"] for name in ("cos", "sin"))
    assert cos.shape == sin.shape == (3 if mixed else 1, vit.config.tokens, 4)
    assert np.allclose(cos**2 + sin**2, 1, atol=1e-5)
    still = np.all((cos == 1) & (sin == 0), axis=(0, 2))
    assert still[: vit.config.prefix].all() and not still[vit.config.prefix + 1 :].any(), "the prefix alone (and perhaps the first patch)"
    assert same_logits(path, vit)


def test_the_answer_of_check_names_the_unit(tmp_path, fused):
    fused(False)
    path = exported(randomised(Eva(**SMALL, **TURNED)), tmp_path / "model.onnx")
    checked = check_float(load(path), path)
    assert not checked.rejections and "rotary positions" in structure_text(checked.structure)
    units = {row.answer for row in checked.rows if row.place == 1}
    assert Mapped("VitRotary", "rotary position embedding") in units, units


class HuggingFaceRotary(HuggingFaceRegisters):
    """As Hugging Face turns: cosines and sines over all tokens, halves joined with a minus; options change what is computed."""

    def __init__(self, width=8, keys=1.0, swap=False, scale=1.0, mirrored=False, only_queries=False) -> None:
        super().__init__()
        self.width, self.swap, self.mirrored, self.only_queries = width, swap, mirrored, only_queries
        angles = torch.rand(21, width // 2, generator=torch.Generator().manual_seed(4)) * 6 - 3
        angles[:5] = 0
        for name, factor in (("query", 1.0), ("key", keys)):
            both = torch.cat([angles * factor] * 2, -1)
            for kind, function in (("cos", torch.cos), ("sin", torch.sin)):
                self.register_buffer(f"{name}_{kind}", function(both)[None, None] * scale)

    def turned(self, x, name):
        part, rest = x[..., : self.width], x[..., self.width :]
        first, second = part.chunk(2, -1)
        half = torch.cat((first if self.mirrored else -second, second if self.mirrored else first), -1)
        cos, sin = (self.table(name, kind) for kind in ("cos", "sin"))
        part = half * sin + part * cos if self.swap else part * cos + half * sin
        return torch.cat((part, rest), -1) if self.width < x.shape[-1] else part

    def table(self, name, kind):
        return getattr(self, f"{name}_{kind}")

    def encoder(self, i, x):
        layer = lambda name: getattr(self, f"{name}{i}")  # noqa: E731
        h = layer("before")(x)
        k, v, q = (self.split(layer(n)(h)) for n in ("key", "value", "query"))
        q, k = self.turned(q, "query"), k if self.only_queries else self.turned(k, "key")
        scores = torch.matmul(q, k.transpose(-1, -2)) / (q.shape[-1] ** 0.5)
        h = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        x = layer("dense")(h.view(*h.shape[:-2], -1)) + x
        return layer("output")(nn.functional.gelu(layer("intermediate")(layer("after")(x)))) + x


@pytest.mark.parametrize("options", [{}, {"width": 4}, {"swap": True}], ids=str)
def test_halves_of_a_head_and_parts_of_it(tmp_path, options):
    """All of a head's channels, half of them, and the two products in the other order."""
    path = exported(randomised(HuggingFaceRotary(**options)), tmp_path / "model.onnx")
    found = read(path)
    assert found.vit is not None, [str(r) for r in found.rejections]
    cos = found.vit.weights["blocks.0.attn.rotary.cos"]
    assert ((cos[:, 6:] == 1).all((0, 1)).sum() == 2) == ("width" in options)
    assert same_logits(path, found.vit)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"keys": 2.0}, "queries and keys are turned by different tables"),
        ({"scale": 1.1}, "pairs of channels of the query are scaled besides"),
        ({"only_queries": True}, "queries or keys alone are turned"),
        ({"mirrored": True}, "rotary position embedding: "),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_what_is_no_rotation_is_refused_by_name(tmp_path, options, reason):
    found = read(exported(randomised(HuggingFaceRotary(**options)), tmp_path / "model.onnx"))
    assert found.vit is None
    assert found.rejections[0].reason.startswith("rotary position embedding: ") and reason in found.rejections[0].reason, found.rejections
    assert "turned by an angle of the token" in found.rejections[0].help


class AnglesFromTheImage(HuggingFaceRotary):
    def encoder(self, i, x):
        self.angles = x.mean(-1)[:, None, :, None].expand(-1, -1, -1, 8)
        return super().encoder(i, x)

    def table(self, name, kind):
        return getattr(self.angles, kind)()


def test_angles_from_the_image_are_refused(tmp_path):
    found = read(exported(randomised(AnglesFromTheImage()), tmp_path / "model.onnx"))
    assert found.vit is None and found.rejections


def test_tokens_cannot_be_dropped(tmp_path):
    path = exported(randomised(HuggingFaceRotary()), tmp_path / "model.onnx")
    config = read(path).vit.config
    with pytest.raises(UserError, match=r"token keep rate 0.5: with rotary position embedding .* use 1"):
        config.with_token_drop("0.5", (1,))
    assert config.with_token_drop("1", (1,)).encoders[0].keep == 16
    images = tmp_path / "images.npz"
    np.savez(images, images=np.zeros((8, 64, 64, 3), np.uint8))
    given = ["--data", f"npz:{images}", "-o", str(tmp_path / "out.onnx"), "--mean", "0.5", "--std", "0.5"]
    assert run(["import", str(path), *given, "--token-keep", "0.5", "--drop-at", "1"]) == 2
