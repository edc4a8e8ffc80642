"""Tokens beside the patches: registers, several class tokens, without a class token, and in any order of the rows."""

import numpy as np
import pytest
import torch
from torch import nn

from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.recognise.read import read
from finn_vitprune.models.config import MAX_PREFIX
from tests.ingest_models import HuggingFaceViT, assert_same_logits, export, randomised, small_timm
from tests.sampling import sampled


def recognised(path):
    found = read(path)
    assert found.vit is not None, [str(r) for r in found.rejections]
    return found.vit


class HuggingFaceRegisters(HuggingFaceViT):
    """As Hugging Face writes DINOv2 with registers: these come between class token and patches, after the positions were added."""

    def __init__(self, registers: int = 4) -> None:
        super().__init__()
        self.registers = nn.Parameter(torch.zeros(1, registers, 24))

    def join(self, x):
        return torch.cat((x[:, :1], self.registers.expand(x.shape[0], -1, -1), x[:, 1:]), dim=1)

    def read(self, x):
        return self.layernorm(x)[:, 0, :]

    def forward(self, pixel_values):
        x = self.projection(pixel_values).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(pixel_values.shape[0], -1, -1), x), dim=1) + self.positions
        x = self.join(x)
        for i in range(self.depth):
            x = self.encoder(i, x)
        return self.classifier(self.read(x))

    def encoder(self, i: int, x):
        def layer(name: str):
            return getattr(self, f"{name}{i}")

        h = layer("before")(x)
        k, v, q = (self.split(layer(n)(h)) for n in ("key", "value", "query"))
        scores = torch.matmul(q, k.transpose(-1, -2)) / (q.shape[-1] ** 0.5)
        h = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        x = layer("dense")(h.view(*h.shape[:-2], -1)) + x
        return layer("output")(nn.functional.gelu(layer("intermediate")(layer("after")(x)))) + x


class RegistersLast(HuggingFaceRegisters):
    def join(self, x):
        return torch.cat((x, self.registers.expand(x.shape[0], -1, -1)), dim=1)


class ClassTokenLast(HuggingFaceRegisters):
    def join(self, x):
        return torch.cat((self.registers.expand(x.shape[0], -1, -1), x[:, 1:], x[:, :1]), dim=1)

    def read(self, x):
        return self.layernorm(x)[:, -1]


class MeanOfPatches(RegistersLast):
    """The patches stand between the others, and are picked before the last LayerNorm."""

    def read(self, x):
        return self.layernorm(x[:, 1:17]).mean(1)


class MeanOfSome(MeanOfPatches):
    def read(self, x):
        return self.layernorm(x[:, 2:18]).mean(1)


class ReadsAPatch(HuggingFaceRegisters):
    def read(self, x):
        return self.layernorm(x)[:, 7]


class RepeatsAPatch(HuggingFaceRegisters):
    def join(self, x):
        return torch.cat((x, self.registers.expand(x.shape[0], -1, -1), x[:, -1:]), dim=1)


DINOV2 = {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1}
ALONE = {"reg_tokens": 4, "class_token": False, "global_pool": "avg"}


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("options", sampled([{"reg_tokens": 4}, DINOV2, ALONE], 1), ids=str)
def test_registers_of_timm_are_recognised(tmp_path, options, dynamo):
    given = {"opset": 18, "dynamo": True, "verbose": False} if dynamo else {}
    path = export(small_timm(**options), tmp_path / "model.onnx", **given)
    vit = recognised(path)
    assert vit.config.prefix == 4 + options.get("class_token", True) and vit.config.tokens == 16 + vit.config.prefix
    assert vit.weights["reg_token"].shape == (1, vit.config.prefix - 1, 24)
    assert_same_logits(path, vit)
    said = "(4 prefix tokens)" if options is ALONE else "(class token and 4 registers)"
    assert said in structure_text(read_structure(path))


def read_structure(path):
    from finn_vitprune.ingest.check.check_float import check_float
    from finn_vitprune.ingest.onnx_file.model_file import load

    checked = check_float(load(path), path)
    assert not checked.rejections
    return checked.structure


@pytest.mark.parametrize("kind", [HuggingFaceRegisters, RegistersLast, ClassTokenLast, MeanOfPatches])
def test_registers_may_come_in_any_order(tmp_path, kind):
    """As Hugging Face inserts them, and behind the patches; the class token may be the last of all."""
    path = export(randomised(kind()), tmp_path / "model.onnx")
    vit = recognised(path)
    assert (vit.config.prefix, vit.config.tokens, vit.config.pooling) == (5, 21, "mean" if kind is MeanOfPatches else "class")
    model = randomised(kind())
    positions = model.positions[0]
    assert np.allclose(vit.weights["cls_token"][0, 0] + vit.weights["pos_embed"][0, 0], (model.cls_token[0, 0] + positions[0]).detach())
    assert np.allclose(vit.weights["reg_token"][0], model.registers[0].detach()) and not vit.weights["pos_embed"][0, 1:5].any()
    assert np.allclose(vit.weights["pos_embed"][0, 5:], positions[1:].detach())
    assert_same_logits(path, vit)


def test_most_registers(tmp_path):
    vit = recognised(export(small_timm(reg_tokens=MAX_PREFIX - 1), tmp_path / "model.onnx"))
    assert vit.config.prefix == MAX_PREFIX


@pytest.mark.parametrize(
    "kind, reason",
    [
        (MeanOfSome, "a mean over 16 of 21 tokens"),
        (ReadsAPatch, "the classifier reads token 7, a patch"),
        (RepeatsAPatch, "patches are left out or repeated: 17 of 22 tokens are patches"),
    ],
)
def test_other_rows_are_refused_in_one_line(tmp_path, kind, reason):
    found = read(export(randomised(kind()), tmp_path / "model.onnx"))
    assert found.vit is None and reason in str(found.rejections[0]), found.rejections
