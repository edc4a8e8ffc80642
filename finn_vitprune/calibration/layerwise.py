"""Layer after layer: the student's weights are made to give what the float network's layers give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.calibration.gradients import backward_of_projections, weights_by
from finn_vitprune.calibration.least_squares import Moments, reconstruct
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.layers import DropTokens, PrunedLinear
from finn_vitprune.models.vit import Encoder, EncoderMask, PrunedViT

JUDGED = 4
"""Of so many images one says how strongly the others may change a layer."""
BATCH = 16
"""Images that pass a part of the network at once."""

GRADIENT_BATCH = 4
"""Images whose gradients are taken at once."""

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Layer:
    """A layer of the student, its place in the teacher, and the mask of its weights (None: all are kept)."""

    name: str
    ours: PrunedLinear
    theirs: PrunedLinear
    kept: Tensor | None = None


def token_weights(network: PrunedViT, images: Tensor, seed: int = 0) -> dict[str, list[Tensor]]:
    """What an error of each layer's outputs does to the logits, by token: 1 on average, ``[F, tokens, 1]`` in batches of BATCH.

    By the mean square of the gradients of random projections of the logits. In the last encoder the class token counts most.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in network.linears()}

    def hook(name: str, module: PrunedLinear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.register_hook(lambda g: found[name].append(g.square().mean(-1, keepdim=True).cpu()))

    with hooked(m.register_forward_hook(partial(hook, n)) for n, m in network.linears().items()):
        backward_of_projections(network, images, GRADIENT_BATCH, "gradients", seed)
    return {name: weights_by(torch.cat(parts)).split(BATCH) for name, parts in found.items()}


@torch.no_grad()
def fit_layers(
    student: PrunedViT,
    teacher: PrunedViT,
    images: Tensor,
    masks: Sequence[EncoderMask] | None = None,
    rounded: bool = False,
    sources: Tensor | None = None,
    seed: int = 0,
) -> None:
    """Give every linear layer of ``student`` the weights and the bias with which it comes nearest to ``teacher``'s output.

    A layer reads what the layers before it, already fitted, give: so it makes good what they lost. Tokens are dropped as
    the teacher's attention says, so that the tokens of both networks correspond.

    Args:
        student: in evaluation mode, pruned by ``masks``. Where its activations are quantised, its layers read codes.
        teacher: in float and evaluation mode, with the same token drops; images: ``[F, H, W, C]``.
        rounded: weights become codes of ``weight_bits`` whose scales are held; otherwise they are floats.
        sources: numbers ``[F]``; what has one number are views of one image, and these fit or judge together. None: all images differ.
    """
    sources = torch.arange(len(images)) if sources is None else sources
    judging = (sources % JUDGED == JUDGED - 1).split(BATCH)
    run = partial(_fit, rounded=rounded, weights=token_weights(teacher, images, seed), judging=judging)
    ours = theirs = list(images.split(BATCH))
    layer = _Layer("patch_embed", student.patch_embed, teacher.patch_embed)
    ours, theirs = run([layer], student.embed, teacher.embed, ours, theirs)
    kept: Sequence[EncoderMask | None] = [None] * len(student.blocks) if masks is None else masks
    for index, (block, wanted, mask) in enumerate(zip(student.blocks, teacher.blocks, kept, strict=True)):
        ours, theirs = _fit_encoder(f"blocks.{index}", block, wanted, mask, run, ours, theirs)
    if student.config.pooler is not None:
        pools = student.attn_pool, teacher.attn_pool
        names = ("kv", "proj", "mlp.fc1", "mlp.fc2")
        layers = [_Layer(f"attn_pool.{name}", *(cast("PrunedLinear", pool.get_submodule(name)) for pool in pools)) for name in names]
        ours, theirs = run(layers, student.pooled, teacher.pooled, ours, theirs)
        run([_Layer("head", student.head, teacher.head)], student.head, teacher.head, ours, theirs)
        return
    layer = _Layer("head", student.head, teacher.head)
    run([layer], lambda x: student.head(student.pooled(x)), lambda x: teacher.head(teacher.pooled(x)), ours, theirs)


def _fit_encoder(
    name: str,
    block: Encoder,
    wanted: Encoder,
    mask: EncoderMask | None,
    run: Callable[..., tuple[list[Tensor], list[Tensor]]],
    ours: list[Tensor],
    theirs: list[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Fit the layers of one encoder by ``run``; what both networks give after it."""
    attention, mlp = _layers(name, block, wanted, mask)
    scores: list[Tensor] = []
    ours, theirs = run(attention, lambda x: _attended(block, x, mask), lambda x: _attended(wanted, x, None, scores), ours, theirs)
    if block.drop is not None:
        drop = partial(_dropped, block.drop, wanted.attn.heads)
        ours, theirs = ([drop(x, s) for x, s in zip(side, scores, strict=True)] for side in (ours, theirs))
    return run(
        mlp, lambda x: block.add2_quant(x + block.mlp(block.norm2(x), mask)), lambda x: x + wanted.mlp(wanted.norm2(x), None), ours, theirs
    )


def _layers(name: str, block: Encoder, wanted: Encoder, mask: EncoderMask | None) -> tuple[list[_Layer], list[_Layer]]:
    """Of the attention, and of the MLP."""
    kept = dict.fromkeys(("qkv", "proj", "fc1", "fc2"))
    if mask is not None:
        rows = block.mlp.rows_of(mask.neurons).unsqueeze(1).expand_as(block.mlp.fc1.weight)
        kept = {"qkv": mask.qkv, "proj": mask.proj, "fc1": rows, "fc2": mask.neurons.expand_as(block.mlp.fc2.weight)}
    attention = [_Layer(f"{name}.attn.{n}", getattr(block.attn, n), getattr(wanted.attn, n), kept[n]) for n in ("qkv", "proj")]
    return attention, [_Layer(f"{name}.mlp.{n}", getattr(block.mlp, n), getattr(wanted.mlp, n), kept[n]) for n in ("fc1", "fc2")]


def _attended(block: Encoder, x: Tensor, mask: EncoderMask | None, scores: list[Tensor] | None = None) -> Tensor:
    """The residual after the attention; its token scores are added to ``scores``."""
    branch, found = block.attn(block.norm1(x), mask, want_scores=scores is not None and block.drop is not None)
    if scores is not None and found is not None:
        scores.append(found)
    return block.add1_quant(x + branch)


def _dropped(drop: DropTokens, heads: int, x: Tensor, scores: Tensor) -> Tensor:
    return drop(x, scores, heads)


def _fit(
    layers: Sequence[_Layer],
    ours: Forward,
    theirs: Forward,
    x: list[Tensor],
    y: list[Tensor],
    rounded: bool,
    weights: Mapping[str, Sequence[Tensor]],
    judging: Sequence[Tensor],
) -> tuple[list[Tensor], list[Tensor]]:
    """Fit the layers of one part of the network in their order; what both parts give then, batch by batch."""
    wanted: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    device = layers[0].ours.weight.device
    with hooked(
        layer.theirs.register_forward_hook(lambda _, inputs, output, name=layer.name: wanted[name].append(output.cpu())) for layer in layers
    ):
        given = [theirs(batch.to(device)).cpu() for batch in y]
    for layer in layers:
        progress.status(f"fitting {layer.name}")
        _fit_layer(layer, ours, zip(x, wanted.pop(layer.name), weights[layer.name], judging, strict=True), rounded)
    return [ours(batch.to(device)).cpu() for batch in x], given


def _fit_layer(layer: _Layer, ours: Forward, batches: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]], rounded: bool) -> None:
    """Fit one layer to batches of inputs of its part, wanted outputs, weights of tokens, and whether an image judges."""
    sizes, device = (layer.ours.in_features, layer.ours.out_features), layer.ours.weight.device
    fitted, judged = Moments(*sizes), Moments(*sizes)
    read: list[Tensor] = []
    with hooked([layer.ours.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))]):
        for batch, target, weight, judges in batches:
            ours(batch.to(device))
            found, target, weight, judges = read.pop(), target.to(device), weight.to(device), judges.to(device)
            for moments, part in ((fitted, ~judges), (judged, judges)):
                moments.add(found[part], target[part], weight[part])
    _set(layer, fitted, judged, rounded)


def _set(layer: _Layer, fitted: Moments, judged: Moments, rounded: bool) -> None:
    ours = layer.ours
    fit = reconstruct(fitted, judged, ours.weight, layer.kept, ours.bits if rounded else None, ours.weight_scale.per_channel)
    ours.weight.copy_(fit.weight)
    ours.bias.copy_(fit.bias)
    if fit.scale is not None:
        ours.weight_scale.hold(fit.scale if ours.weight_scale.per_channel else fit.scale[0])
