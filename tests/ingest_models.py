"""Small vision transformers as ONNX files of many exporters, and timm models with recovered weights."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from timm.layers import AttentionPoolLatent
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from finn_vitprune.models.timm_weights import NORMS

SMALL = dict(img_size=64, patch_size=16, embed_dim=24, depth=2, num_heads=3, num_classes=5)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and buffer of floats drawn anew, so that no bias is zero and no gamma one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
            if parameter.dim() == 1:
                parameter.add_(0.1)
    return model.eval()


def small_timm(**options) -> nn.Module:
    """A timm ViT of two encoders on 64 x 64 images (17 tokens), all parameters random."""
    return randomised(VisionTransformer(**(SMALL | options)))


def small_distilled() -> nn.Module:
    """A distilled DeiT of two encoders (18 tokens)."""
    return randomised(VisionTransformerDistilled(**SMALL))


def export(model: nn.Module, path: Path, opset: int = 17, shape=(1, 3, 64, 64), **options) -> Path:
    """``model`` as an ONNX file: TorchScript exporter, or the dynamo one with ``dynamo=True``."""
    options = {"dynamo": False, "input_names": ["x"]} | options
    torch.onnx.export(model, (torch.zeros(shape),), str(path), opset_version=opset, **options)
    return path


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    """First output of the file for images one by one."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def timm_of(vit) -> nn.Module:
    """timm's model of the recognised shapes with the recovered weights; every tensor must find its place."""
    common = dict(
        img_size=vit.config.image_size,
        patch_size=vit.config.patch_size,
        in_chans=vit.config.channels,
        num_classes=vit.config.classes,
        embed_dim=vit.config.dim,
        depth=len(vit.config.encoders),
        num_heads=vit.config.encoders[0].heads,
        mlp_ratio=vit.config.encoders[0].neurons / vit.config.dim,
        act_layer=vit.config.activation.value,
        qk_norm=vit.config.qk_norm is not None,
        norm_layer=partial(NORMS[vit.config.norm][0], eps=vit.config.eps),
    )
    if vit.config.prefix == 2:
        model = VisionTransformerDistilled(**common)
    else:
        model = VisionTransformer(
            **common,
            class_token=vit.config.prefix > 0,
            reg_tokens=max(0, vit.config.prefix - 1),
            global_pool="map" if vit.config.pooling.attends else "token" if vit.config.pooling == "class" else "avg",
            pool_include_prefix=not vit.config.pooling.leaves_prefix,
            fc_norm=vit.config.norm_after_pooling,
            pre_norm=vit.config.norm_pre,
            final_norm=vit.config.final_norm,
        )
        model.patch_embed.proj.register_parameter("bias", nn.Parameter(torch.zeros(vit.config.dim)))  # timm leaves out CLIP's
    if (pooler := vit.config.pooler) is not None:
        options = {"num_heads": pooler.heads, "mlp_ratio": pooler.neurons / vit.config.dim}
        model.attn_pool = AttentionPoolLatent(vit.config.dim, norm_layer=common["norm_layer"], act_layer=nn.GELU, **options)
    state = {k: torch.tensor(np.ascontiguousarray(v)) for k, v in vit.weights.items()}
    if "dist_token" in state and "head_dist.weight" not in state:
        state |= {"head_dist.weight": state["head.weight"], "head_dist.bias": state["head.bias"]}
    if vit.config.pooling.attends:  # the query itself
        state |= {"attn_pool.q.weight": torch.eye(vit.config.dim), "attn_pool.q.bias": torch.zeros(vit.config.dim)}
    model.load_state_dict(state)
    return model.eval()


def assert_same_logits(path: Path, vit, scale: float = 1.0) -> None:
    """timm with the recovered weights computes what the file computes, to 1e-4 of the largest logit."""
    images = np.random.default_rng(3).normal(size=(3, 3, vit.config.image_size, vit.config.image_size)).astype(np.float32)
    given = images.transpose(0, 2, 3, 1) if vit.channels_last else images
    expected = run_onnx(path, given * np.float32(scale))
    if vit.scaling is not None:
        pair = (vit.scaling.scale, vit.scaling.offset)
        factor, offset = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in pair)
        images = images * np.float32(scale) * factor + offset
    with torch.no_grad():
        got = timm_of(vit)(torch.from_numpy(images)).numpy()
    assert np.abs(got - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


class HuggingFaceViT(nn.Module):
    """Written as Hugging Face writes it: separate query, key and value, scores divided, LayerNorms before."""

    def __init__(self, dim=24, heads=3, depth=2, size=64, patch=16, classes=5) -> None:
        super().__init__()
        self.heads, self.depth = heads, depth
        self.projection = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, dim))
        names = ("before", "query", "key", "value", "dense", "after", "intermediate", "output")
        for i in range(depth):
            square = (dim, dim)
            shapes = [None, square, square, square, square, None, (dim, 4 * dim), (4 * dim, dim)]
            for name, shape in zip(names, shapes, strict=True):
                layer = nn.LayerNorm(dim, eps=1e-12) if shape is None else nn.Linear(*shape)
                self.add_module(f"{name}{i}", layer)
        self.layernorm = nn.LayerNorm(dim, eps=1e-12)
        self.classifier = nn.Linear(dim, classes)

    def split(self, x):
        return x.view(*x.shape[:-1], self.heads, x.shape[-1] // self.heads).permute(0, 2, 1, 3)

    def forward(self, pixel_values):
        x = self.projection(pixel_values).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(pixel_values.shape[0], -1, -1), x), dim=1) + self.positions
        for i in range(self.depth):
            layer = lambda name: getattr(self, f"{name}{i}")  # noqa: E731, B023
            h = layer("before")(x)
            k, v, q = (self.split(layer(n)(h)) for n in ("key", "value", "query"))
            scores = torch.matmul(q, k.transpose(-1, -2)) / (q.shape[-1] ** 0.5)
            h = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
            x = layer("dense")(h.view(*h.shape[:-2], -1)) + x
            h = nn.functional.gelu(layer("intermediate")(layer("after")(x)))
            x = layer("output")(h) + x
        return self.classifier(self.layernorm(x)[:, 0, :])


@cache
def hugging_face() -> nn.Module:
    """The module above with random parameters."""
    return randomised(HuggingFaceViT(), seed=1)


class Multihead(nn.Module):
    """torch's own encoder layers, as torchvision and many papers use them."""

    def __init__(self, norm_first: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 16, 16)
        self.cls = nn.Parameter(torch.zeros(1, 1, 24))
        self.pos = nn.Parameter(torch.zeros(1, 17, 24))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(24, 3, 96, activation="gelu", norm_first=norm_first, batch_first=True) for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x, mask=None):
        x = torch.cat([self.cls, self.conv(x).flatten(2).transpose(1, 2)], 1) + self.pos
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.norm(x)[:, 0])
