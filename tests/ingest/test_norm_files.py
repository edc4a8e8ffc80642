"""RMSNorm in float files: the forms of several exporters and authors are recognised, and what the hardware does not have is refused by name."""

from functools import partial

import numpy as np
import pytest
import torch
from timm.layers import RmsNorm, SimpleNorm, SwiGLU
from torch import nn

from finn_vitprune.importing.float_model import compare, float_network
from finn_vitprune.ingest.check.answers import Mapped
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import NormKind
from tests.ingest_models import assert_same_logits, export, randomised, small_timm
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


class OfOther(nn.Module):
    """A tensor over the root mean square of another one."""

    def __init__(self, width, **unused) -> None:
        super().__init__()
        self.other = nn.Linear(width, width)

    def forward(self, x):
        return x * torch.rsqrt(self.other(x).pow(2).mean(-1, keepdim=True) + 1e-6)


def mixed():
    model = small_timm(norm_layer=Written)
    model.norm = nn.LayerNorm(24, eps=1e-6)
    return randomised(model)


def other_eps():
    model = small_timm(norm_layer=Written)
    model.blocks[1].norm2 = Written(24, eps=1e-3)
    return randomised(model)


REFUSED = {
    "two kinds": (mixed, "a LayerNorm, where the first norm is an RMSNorm"),
    "another eps": (other_eps, "eps 0.001 of an RMSNorm, 1e-06 of the first one"),
    "of another tensor": (lambda: small_timm(norm_layer=OfOther), "an RMSNorm divides by the root of the mean square of another tensor"),
    "a deviation": (lambda: small_timm(norm_layer=SimpleNorm), "a LayerNorm divides something else than its centred input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hardware_does_not_have_is_refused_by_name(name, tmp_path):
    make, text = REFUSED[name]
    path = export(make(), tmp_path / "x.onnx")
    assert read(path).vit is None
    reasons = [r.reason for r in read(path).rejections]
    assert any(text in reason for reason in reasons), reasons
