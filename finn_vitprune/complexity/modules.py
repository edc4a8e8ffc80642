"""Counts the matrix products and parameters of a PyTorch network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.complexity.formulas import Complexity, index_width, unpruned
from finn_vitprune.models.config import Pooling, ViTConfig
from finn_vitprune.models.evaluate import hooked, logits_of
from finn_vitprune.models.pooling import AttentionPool
from finn_vitprune.models.vit import Attention, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import EncoderScores, PruneScores, top_k_mask


@dataclass(frozen=True)
class MatrixProduct:
    """One matrix product of a network: ``rows`` of ``weights`` products each.

    module: its name, of attention that of the module that multiplies Q, K and V; part: q, k or v of a
    joint matrix, else empty. stored: ``weights`` and ``biases`` are parameters. index_bits: of a matrix
    that is pruned in blocks.
    """

    module: str
    part: str
    rows: int
    weights: int
    biases: int = 0
    index_bits: int = 0
    stored: bool = True

    @property
    def macs(self) -> int:
        """Products of one frame."""
        return self.rows * self.weights


def tokens_seen(model: PrunedViT) -> dict[str, int]:
    """Tokens at the input of every module ``[1, N, ...]`` while one image passes, by module name."""
    seen: dict[str, int] = {}

    def hook(name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args and args[0].dim() == 3:
            seen[name] = args[0].shape[1]

    c, training = model.config, model.training
    with hooked(m.register_forward_pre_hook(partial(hook, name)) for name, m in model.named_modules()):
        logits_of(model.eval(), np.zeros((1, c.image_size, c.image_size, c.channels), np.uint8))
    model.train(training)
    return seen


def products(model: PrunedViT, block: int) -> list[MatrixProduct]:
    """Every matrix product of a network as PyTorch computes it: every token in every encoder."""
    seen = tokens_seen(model)
    found = []
    for name, layer in model.linears().items():
        parts = ("q", "k", "v") if name.endswith("qkv") else ("k", "v") if name.endswith("kv") else ("",)
        weight = layer.weight.detach().numpy().T
        for part, matrix in zip(parts, np.split(weight, len(parts), axis=1), strict=True):
            kept = BlockMask.of(matrix, block).elements(matrix.shape)
            pruned = name.startswith("blocks.") and name.endswith(("attn.qkv", "attn.proj"))
            bits = kept // block**2 * index_width(matrix.shape[0] // block) if pruned else 0
            found.append(MatrixProduct(name, part, seen[name], kept, layer.bias.numel() // len(parts), bits))
    attentions: list[tuple[str, Attention | AttentionPool, int]]
    attentions = [(f"blocks.{i}.attn", encoder.attn, seen[f"blocks.{i}.attn"]) for i, encoder in enumerate(model.blocks)]
    attentions += [("attn_pool", model.attn_pool, 1)] if model.config.pooler is not None else []
    for name, attn, queries in attentions:
        per_query = 2 * seen[name] * attn.heads * attn.head_dim
        found.append(MatrixProduct(name, "", queries, per_query, stored=False))
    return found


def as_performed(config: ViTConfig, found: Sequence[MatrixProduct]) -> list[MatrixProduct]:
    """The products that this hardware performs: before a class token, the last encoder for that one alone.

    Only K and V are needed of every token there.
    """
    if config.pooling is not Pooling.CLASS:
        return list(found)
    last = f"blocks.{len(config.encoders) - 1}."
    return [replace(p, rows=1) if p.module.startswith(last) and p.part not in ("k", "v") else p for p in found]


def count_model(dense: PrunedViT, small: PrunedViT, block: int) -> Complexity:
    """Count over the modules of a network cut small, and of the unpruned one (without token drops)."""
    before, after = products(dense, block), products(small, block)
    return Complexity(
        macs_dense=sum(p.macs for p in before),
        macs_pruned=sum(p.macs for p in after),
        macs=sum(p.macs for p in as_performed(small.config, after)),
        params_dense=_params(before),
        params=_params(after),
        index_bits=sum(p.index_bits for p in after),
        tokens=tuple(small.config.token_counts()),
        heads=tuple(b.attn.heads for b in small.blocks),
    )


def _params(found: Sequence[MatrixProduct]) -> int:
    return sum(p.weights + p.biases for p in found if p.stored)


def pruned_by_score(
    config: ViTConfig, prune: PruneConfig, heads_removed: Sequence[int] = (), neurons: Sequence[int] = ()
) -> tuple[PrunedViT, PrunedViT]:
    """A network of random weights, and the same pruned by their magnitude and cut small. No training.

    Args:
        config: dense shapes with token drops; prune: block size and keep rates.
        heads_removed: heads of the smallest weights to remove, per encoder, besides those that lose all
            blocks; neurons: kept per encoder, in place of those of ``prune``.
    Returns:
        The unpruned network, without token drops, and the small one.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        dense = PrunedViT(unpruned(config))
        scores = PruneScores(config, prune)
        scores.set_to_magnitude(dense)
        live = [_without_weakest(e, n) for e, n in zip(scores.encoders, heads_removed or [0] * len(dense.blocks))]
        masks = [replace(m, heads=m.heads * h) for m, h in zip(scores.masks(), live, strict=True)]
        if neurons:
            rows = zip(masks, scores.encoders, neurons, strict=True)
            masks = [replace(m, neurons=top_k_mask(e.neurons, n)) for m, e, n in rows]
        whole = PrunedViT(config)
        whole.load_state_dict(dense.state_dict())
        return dense, cut(whole, masks)


def _without_weakest(scores: EncoderScores, count: int) -> Tensor:
    """Live heads ``[H]``: all but ``count`` of the lowest score, whose blocks are put after all others."""
    live = torch.ones(scores.heads)
    by_head = [m.view(scores.heads, -1, m.shape[1]) for m in (scores.q, scores.k, scores.v)]
    by_head.append(scores.proj.view(scores.proj.shape[0], scores.heads, -1).transpose(0, 1))
    total = sum((m.square().sum((1, 2)) for m in by_head), torch.zeros(scores.heads))
    for head in total.argsort()[:count].tolist():
        live[head] = 0.0
        for matrix in by_head:
            matrix[head] = -1.0
    return live
