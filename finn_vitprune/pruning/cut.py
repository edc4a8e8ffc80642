"""Cuts a masked network small, dead heads and neurons are gone, pruned blocks are zeros; and the way back."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from finn_vitprune.models.layers import PrunedLinear
from finn_vitprune.models.quantizers import ActQuant
from finn_vitprune.models.vit import Encoder, EncoderMask, PrunedViT


@torch.no_grad()
def cut(model: PrunedViT, masks: list[EncoderMask]) -> PrunedViT:
    """The small network that computes what ``model`` computes under ``masks``."""
    shapes = tuple(
        replace(shape, heads=int(mask.heads.sum()), neurons=int(mask.neurons.sum()))
        for shape, mask in zip(model.config.encoders, masks, strict=True)
    )
    small = PrunedViT(model.config.with_encoders(shapes)).to(model.pos_embed.dtype)
    for name in ("prefix_tokens", "pos_embed"):
        getattr(small, name).copy_(getattr(model, name))
    if model.config.pooler is not None:
        small.attn_pool.query.copy_(model.attn_pool.query)
    layers = model.linears()
    for name, layer in small.linears().items():
        if not name.startswith("blocks."):
            _copy(layer, layers[name].weight, layers[name].bias, layers[name].weight_scale.held)
    for whole, part, mask in zip(model.blocks, small.blocks, masks):
        _cut_encoder(whole, part, mask, model.config.head_dim)
    _copy_scales(model, small)
    return small.train(model.training)


@torch.no_grad()
def grow(small: PrunedViT, model: PrunedViT) -> None:
    """Give ``model`` the weights of ``small``, which :func:`cut` made of it or of one like it.

    Heads and neurons of ``small`` become the first ones; weights of the others are 0. Scales stay as they are.
    """
    for name in ("prefix_tokens", "pos_embed"):
        getattr(model, name).copy_(getattr(small, name))
    if model.config.pooler is not None:
        model.attn_pool.query.copy_(small.attn_pool.query)
    layers = small.linears()
    for name, layer in model.linears().items():
        source = layers[name]
        if source.weight.shape == layer.weight.shape:
            layer.weight.copy_(source.weight)
            layer.bias.copy_(source.bias)
    for whole, part in zip(model.blocks, small.blocks, strict=True):
        _grow_encoder(part, whole, model.config.head_dim)


def _grow_encoder(source: Encoder, target: Encoder, head_dim: int) -> None:
    """The layers whose heads or neurons are fewer in ``source``."""
    width, of = source.attn.heads * head_dim, target.attn.heads * head_dim
    if width < of:
        qkv, proj = target.attn.qkv, target.attn.proj
        for parameter in (qkv.weight, qkv.bias, proj.weight):
            parameter.zero_()
        qkv.weight.unflatten(0, (3, of))[:, :width] = source.attn.qkv.weight.unflatten(0, (3, width))
        qkv.bias.unflatten(0, (3, of))[:, :width] = source.attn.qkv.bias.unflatten(0, (3, width))
        proj.weight[:, :width] = source.attn.proj.weight
        proj.bias.copy_(source.attn.proj.bias)
        if source.attn.qk_norm is not None and target.attn.qk_norm is not None:
            kept, scale = source.attn.qk_norm.scale, target.attn.qk_norm.scale
            scale.weight[:width, :width] = kept.weight
            scale.bias[:width] = kept.bias
    rows, neurons = source.mlp.fc1.out_features, source.mlp.fc2.in_features
    if neurons < target.mlp.fc2.in_features:
        for parameter in (target.mlp.fc1.weight, target.mlp.fc1.bias, target.mlp.fc2.weight):
            parameter.zero_()
        target.mlp.fc1.weight[:rows] = source.mlp.fc1.weight
        target.mlp.fc1.bias[:rows] = source.mlp.fc1.bias
        target.mlp.fc2.weight[:, :neurons] = source.mlp.fc2.weight
        target.mlp.fc2.bias.copy_(source.mlp.fc2.bias)


def _copy(target: PrunedLinear, weight: Tensor, bias: Tensor, scale: Tensor) -> None:
    target.weight.copy_(weight)
    target.bias.copy_(bias)
    target.weight_scale.hold(scale)


def _cut_encoder(source: Encoder, target: Encoder, mask: EncoderMask, head_dim: int) -> None:
    channels = mask.heads.bool().repeat_interleave(head_dim)
    rows = channels.repeat(3)
    attn, mlp, neurons = source.attn, source.mlp, mask.neurons.bool()
    qkv, proj, fc1, fc2 = (layer.weight_scale.held for layer in (attn.qkv, attn.proj, mlp.fc1, mlp.fc2))
    _copy(target.attn.qkv, (attn.qkv.weight * mask.qkv)[rows], (attn.qkv.bias * mask.qkv_bias)[rows], qkv[rows])
    _copy(target.attn.proj, (attn.proj.weight * mask.proj)[:, channels], attn.proj.bias * mask.proj_bias, proj)
    if attn.rotary:
        heads = mask.heads.bool() if len(attn.angles.cos) > 1 else torch.tensor([True], device=mask.heads.device)
        target.attn.angles.cos.copy_(attn.angles.cos[heads])
        target.attn.angles.sin.copy_(attn.angles.sin[heads])
    if attn.bias is not None and target.attn.bias is not None:
        target.attn.bias.table.copy_(attn.bias.table[mask.heads.bool()])
    if (norm := attn.qk_norm) is not None and target.attn.qk_norm is not None:
        scale = norm.scale
        _copy(target.attn.qk_norm.scale, scale.weight[channels][:, channels], scale.bias[channels], scale.weight_scale.held[channels])
    hidden = mlp.rows_of(neurons)
    _copy(target.mlp.fc1, mlp.fc1.weight[hidden], mlp.fc1.bias[hidden], fc1[hidden])
    _copy(target.mlp.fc2, mlp.fc2.weight[:, neurons], mlp.fc2.bias, fc2)


def _copy_scales(source: PrunedViT, target: PrunedViT) -> None:
    """Activation scales, parameter for parameter (their logarithms are copied, not recomputed)."""
    for (_, a), (_, b) in zip(source.named_modules(), target.named_modules(), strict=True):
        if isinstance(a, ActQuant) and a.owns_scale:
            b.scale.load_state_dict(a.scale.state_dict())
    for a, b in zip(source.stream_scales, target.stream_scales, strict=True):
        b.load_state_dict(a.state_dict())
