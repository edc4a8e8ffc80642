"""RMSNorm and QK-norm in float files: the forms of several exporters and authors are recognised, and what the hardware does not have is refused by name."""

from functools import partial

import numpy as np
import pytest
import torch
from timm.layers import AttentionPoolLatent, RmsNorm, SimpleNorm, SwiGLU
from timm.models.eva import Eva
from torch import nn

from finn_vitprune.importing.float_model import compare, float_network
from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import NormKind
from tests.ingest.test_rotary_files import exported
from tests.ingest_models import SMALL, assert_same_logits, export, randomised, small_timm
from tests.sampling import spread

FORMS = {
    "rsqrt": lambda x, eps: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps),
    "squares as a product": lambda x, eps: torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * x,
    "a root": lambda x, eps: x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps),
    "a power": lambda x, eps: x * (x.pow(2).mean(-1, keepdim=True) + eps).pow(-0.5),
}


class Written(nn.Module):
    """RMSNorm, written out, with a beta or without."""

    def __init__(self, width, form="rsqrt", beta=False, eps=1e-6, **unused) -> None:
        super().__init__()
        self.form, self.eps = FORMS[form], eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if beta else None

    def forward(self, x):
        y = self.form(x, self.eps) * self.weight
        return y if self.bias is None else y + self.bias


EXPORTS = {
    **{form: (partial(Written, form=form), {}, 17, False) for form in FORMS},
    "with a beta": (partial(Written, beta=True), {}, 14, False),
    "written out, dynamo": (Written, {}, 20, True),
    "timm, dynamo": (partial(RmsNorm, eps=1e-6), {"pre_norm": True}, 20, True),
    "timm, dynamo, an operator": (partial(RmsNorm, eps=1e-6), {}, 23, True),
    "PyTorch, dynamo, an operator": (partial(nn.RMSNorm, eps=1e-5), {"global_pool": "avg"}, 23, True),
    "one before the encoders": (Written, {"pre_norm": True}, 17, False),
    "gated MLPs": (Written, {"mlp_layer": SwiGLU, "act_layer": nn.SiLU}, 17, False),
    "attention pooling": (Written, {"global_pool": "map", "class_token": False}, 17, False),
}
"""Norm, options of timm, opset, and whether the dynamo exporter writes the file."""


@pytest.mark.parametrize("name", spread(list(EXPORTS), 6))
def test_it_comes_back_with_its_weights(name, tmp_path):
    norm, options, opset, dynamo = EXPORTS[name]
    model = small_timm(norm_layer=norm, **options)
    if "map" in options.values():
        model.attn_pool.norm = norm(24)
        randomised(model)
    path = export(model, tmp_path / "x.onnx", opset=opset, dynamo=dynamo)
    vit = read(path).vit
    assert vit is not None, [str(r) for r in read(path).rejections]
    assert (vit.config.norm, vit.config.eps) == (NormKind.RMS, 1e-5 if name.startswith("PyTorch") else 1e-6)
    assert ("blocks.0.norm1.bias" in vit.weights) == (name == "with a beta")
    if name == "with a beta" or options.keys() & {"mlp_layer", "global_pool"}:
        pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
        network = float_network(vit, (0.5,) * 3, (0.5,) * 3)
        assert compare(path, load(path).kind, vit, network, pixels, (0.5,) * 3, (0.5,) * 3).relative < 1e-4
    else:
        assert_same_logits(path, vit)
    found = check_float(load(path), path)
    assert found.passed and ", RMSNorm, " in structure_text(found.structure)
    assert ("RMSNorm before the encoders" in structure_text(found.structure)) == ("pre_norm" in options)
    assert {row.answer for row in found.rows if row.op_type in ("ReduceMean", "RMSNormalization") and row.place in (1, 2)} == {
        Mapped("VitLayerNorm")
    }


QK_EXPORTS = {
    "LayerNorm": ({}, 17, False),
    "LayerNorm, dynamo": ({}, 20, True),
    "RMSNorm": ({"norm_layer": Written}, 17, False),
    "RMSNorm, dynamo, an operator": ({"norm_layer": partial(RmsNorm, eps=1e-6)}, 23, True),
    "RMSNorm with a beta": ({"norm_layer": partial(Written, beta=True)}, 17, False),
    "one head": ({"num_heads": 1}, 17, False),
    "attention pooling": ({"global_pool": "map", "class_token": False}, 17, False),
    "attention as an operator": ({}, 23, True),
}


@pytest.mark.parametrize("name", spread(list(QK_EXPORTS), 4))
def test_norms_of_queries_and_keys_come_back_with_their_weights(name, tmp_path):
    options, opset, dynamo = QK_EXPORTS[name]
    model = small_timm(qk_norm=True, **options)
    path = export(model, tmp_path / "x.onnx", opset=opset, dynamo=dynamo)
    vit = read(path).vit
    assert vit is not None, [str(r) for r in read(path).rejections]
    kind = NormKind.RMS if "norm_layer" in options else NormKind.LAYER
    assert (vit.config.qk_norm, vit.config.norm, len(vit.weights["blocks.1.attn.k_norm.weight"])) == (kind, kind, vit.config.head_dim)
    for part in ("q_norm", "k_norm"):
        assert np.allclose(
            vit.weights[f"blocks.1.attn.{part}.weight"], getattr(model.blocks[1].attn, part).weight.detach().numpy(), atol=1e-6
        )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    network = float_network(vit, (0.5,) * 3, (0.5,) * 3)
    assert compare(path, load(path).kind, vit, network, pixels, (0.5,) * 3, (0.5,) * 3).relative < 1e-4
    found = check_float(load(path), path)
    assert found.passed and f"{kind.text} of queries and keys" in structure_text(found.structure)
    answers = {str(row.answer) for row in found.rows if row.place == 2}
    assert any("norm of queries" in answer for answer in answers) and any("norm of keys" in answer for answer in answers)


def test_queries_and_keys_may_have_another_kind_of_norm(tmp_path):
    model = small_timm(qk_norm=True)
    for block in model.blocks:
        block.attn.q_norm, block.attn.k_norm = Written(8), Written(8)
    path = export(randomised(model), tmp_path / "x.onnx")
    vit = read(path).vit
    assert (vit.config.norm, vit.config.qk_norm) == (NormKind.LAYER, NormKind.RMS)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    network = float_network(vit, (0.5,) * 3, (0.5,) * 3)
    assert compare(path, load(path).kind, vit, network, pixels, (0.5,) * 3, (0.5,) * 3).relative < 1e-4


class OfOther(nn.Module):
    """A tensor over the root mean square of another one."""

    def __init__(self, width, **unused) -> None:
        super().__init__()
        self.other = nn.Linear(width, width)

    def forward(self, x):
        return x * torch.rsqrt(self.other(x).pow(2).mean(-1, keepdim=True) + 1e-6)


def with_pool(pool):
    model = small_timm(global_pool="map", class_token=False)
    model.attn_pool = pool
    return randomised(model)


def mixed():
    model = small_timm(norm_layer=Written)
    model.norm = nn.LayerNorm(24, eps=1e-6)
    return randomised(model)


def other_eps():
    model = small_timm(norm_layer=Written)
    model.blocks[1].norm2 = Written(24, eps=1e-3)
    return randomised(model)


def with_heads(change):
    """A network with QK-norm, every attention changed by ``change``."""
    model = small_timm(qk_norm=True)
    for block in model.blocks:
        change(block.attn)
    return randomised(model)


class OverAll(nn.Module):
    """One norm over the channels of all heads."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(24, eps=1e-6)

    def forward(self, x):
        return self.norm(x.transpose(1, 2).reshape(1, -1, 24)).reshape(1, -1, 3, 8).transpose(1, 2)


class ByHead(nn.Module):
    """A gamma for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(3, 1, 8))

    def forward(self, x):
        return nn.functional.layer_norm(x, (8,), eps=1e-6) * self.gamma


def one_encoder():
    model = small_timm(qk_norm=True)
    model.blocks[1].attn.q_norm = model.blocks[1].attn.k_norm = nn.Identity()
    return randomised(model)


def turned():
    return Eva(**SMALL, use_rot_pos_emb=True, ref_feat_shape=(4, 4), qkv_fused=False, qk_norm=True)


REFUSED = {
    "of queries alone": (
        lambda: with_heads(lambda a: setattr(a, "k_norm", nn.Identity())),
        "QK-norm: queries and keys have norms of two kinds",
    ),
    "two kinds in a head": (
        lambda: with_heads(lambda a: setattr(a, "k_norm", Written(8))),
        "QK-norm: queries and keys have norms of two kinds",
    ),
    "another eps of heads": (
        lambda: with_heads(lambda a: setattr(a.k_norm, "eps", 1e-3)),
        "eps 0.001 of a LayerNorm, 1e-06 of the first one",
    ),
    "over all heads": (lambda: with_heads(lambda a: setattr(a, "q_norm", OverAll())), "QK-norm: over 24 channels, heads have 8"),
    "a gamma by head": (
        lambda: with_heads(lambda a: setattr(a, "q_norm", ByHead())),
        "QK-norm: a table of shape [3, 1, 8] meets normalised",
    ),
    "in one encoder": (one_encoder, "QK-norm none in encoder 2, LayerNorm in the first encoder"),
    "with rotary positions": (lambda: randomised(turned()), "QK-norm: a table of shape"),
    "of attention pooling": (
        lambda: with_pool(AttentionPoolLatent(24, num_heads=3, qk_norm=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))),
        "attention pooling: QK-norm, the key is normalised",
    ),
    "between attention and projection": (lambda: small_timm(scale_attn_norm=True), "a branch"),
    "two kinds": (mixed, "a LayerNorm, where the first norm is an RMSNorm"),
    "another eps": (other_eps, "eps 0.001 of an RMSNorm, 1e-06 of the first one"),
    "of another tensor": (lambda: small_timm(norm_layer=OfOther), "an RMSNorm divides by the root of the mean square of another tensor"),
    "a deviation": (lambda: small_timm(norm_layer=SimpleNorm), "a tensor is divided by its variance in an unknown form"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hardware_does_not_have_is_refused_by_name(name, tmp_path):
    make, text = REFUSED[name]
    path = exported(make(), tmp_path / "x.onnx", dynamo=name == "with rotary positions")
    assert read(path).vit is None
    reasons = [r.reason for r in read(path).rejections]
    assert any(text in reason for reason in reasons), reasons
