"""Scores per block and neuron, learned or set by magnitude or first-order, and the masks that they make."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import EncoderShape, ViTConfig
from finn_vitprune.models.layers import ModulesOf
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.config import PruneConfig, kept_blocks, kept_neurons
from finn_vitprune.pruning.layers import LAYERS, Counts, equal_counts, unit_macs

Rate = float | str | Fraction
SCORING_BATCH = 32
"""Images whose gradient is taken at once."""


class _TopK(torch.autograd.Function):
    """1 for the ``counts[g]`` largest scores of each row g (lower index wins ties); gradient straight through."""

    @staticmethod
    def forward(ctx, scores: Tensor, counts: Tensor) -> Tensor:
        order = torch.argsort(scores, dim=1, descending=True, stable=True)
        place = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(1, order, place)
        return (rank < counts.unsqueeze(1)).to(scores.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def top_k_mask(scores: Tensor, k: int, groups: int = 1) -> Tensor:
    """Mask of the shape of ``scores``: 1 for the ``k`` largest, 0 for the others.

    With ``groups``, scores fall into that many equal parts in memory order, and each part keeps k / groups
    (the first k mod groups one more). The lower index wins ties; the gradient goes straight through.
    """
    counts = torch.full((groups,), k // groups, device=scores.device)
    counts[: k % groups] += 1
    return _TopK.apply(scores.reshape(groups, -1), counts).view_as(scores)


def top_k_masks(scores: Sequence[Tensor], k: int) -> list[Tensor]:
    """Masks of the ``k`` largest of all scores together; every tensor keeps its own largest at least."""
    flat = torch.cat([s.flatten() for s in scores])
    first = torch.zeros_like(flat)
    starts = np.cumsum([0, *(s.numel() for s in scores[:-1])])
    for start, s in zip(starts.tolist(), scores):
        first[start + int(s.argmax())] = torch.inf
    mask = top_k_mask(flat + first, k)
    return [m.view_as(s) for m, s in zip(mask.split([s.numel() for s in scores]), scores)]


def whole_blocks(counts: Sequence[int], block: int, total: int, limits: Sequence[int]) -> list[int]:
    """``counts`` moved to multiples of ``block``, at least one and at most ``limits``, summing to ``total``.

    ``total`` and ``limits`` are multiples of ``block``. The largest remainders round up.
    """
    units = [min(limit // block, max(1, c // block)) for c, limit in zip(counts, limits)]
    while sum(units) != total // block:
        grow = sum(units) < total // block
        error = [c / block - u if grow else u - c / block for c, u in zip(counts, units)]
        free = [u < limit // block if grow else u > 1 for u, limit in zip(units, limits)]
        chosen = max((i for i in range(len(units)) if free[i]), key=lambda i: (error[i], -i))
        units[chosen] += 1 if grow else -1
    return [u * block for u in units]


def expand_blocks(mask: Tensor, block: int) -> Tensor:
    """``[r, c]`` block mask to elements ``[r block, c block]``."""
    return mask.repeat_interleave(block, 0).repeat_interleave(block, 1)


def head_liveness(qkv: Tensor, proj: Tensor, heads: int) -> Tensor:
    """Live heads ``[H]`` (1 or 0) from element masks ``[3 H D', D]`` and ``[D, H D']``.

    A head lives if its slices of W_q, W_k and W_v and the rows of W_proj that it feeds are each
    non-zero. If none does, the head with the most kept elements stays.
    """
    kept = qkv.detach().abs().reshape(3, heads, -1).sum(-1)
    fed = proj.detach().abs().reshape(proj.shape[0], heads, -1).sum((0, 2))
    parts = torch.cat([kept, fed.unsqueeze(0)])
    live = (parts > 0).all(0)
    if not bool(live.any()):
        live[int(parts.sum(0).argmax())] = True
    return live.to(qkv.dtype)


class EncoderScores(nn.Module):
    """Scores of one encoder: one per block of W_q, W_k, W_v, W_proj (torch layout), one per neuron."""

    def __init__(self, config: ViTConfig, shape: EncoderShape, block: int) -> None:
        super().__init__()
        self.block, self.heads = block, shape.heads
        wide, narrow = shape.heads * config.head_dim // block, config.dim // block
        self.q = nn.Parameter(torch.zeros(wide, narrow))
        self.k = nn.Parameter(torch.zeros(wide, narrow))
        self.v = nn.Parameter(torch.zeros(wide, narrow))
        self.proj = nn.Parameter(torch.zeros(narrow, wide))
        self.neurons = nn.Parameter(torch.zeros(shape.neurons))

    @property
    def matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Block scores of W_q, W_k, W_v, W_proj."""
        return self.q, self.k, self.v, self.proj

    def mask(self, blocks: Sequence[Tensor], neurons: Tensor) -> EncoderMask:
        """Element masks from the block masks of :attr:`matrices` and the mask of the neurons."""
        parts = [expand_blocks(m, self.block) for m in blocks]
        qkv, proj = torch.cat(parts[:3]), parts[3]
        return EncoderMask(
            qkv=qkv,
            qkv_bias=_rows_kept(qkv),
            proj=proj,
            proj_bias=_rows_kept(proj),
            heads=head_liveness(qkv, proj, self.heads),
            neurons=neurons,
        )


def _rows_kept(mask: Tensor) -> Tensor:
    """1 for rows with anything kept: the bias of a row that is masked whole is zeroed."""
    return (mask.detach() > 0).any(1).to(mask.dtype)


class PruneScores(nn.Module):
    """Scores of all encoders of a network. They start at 0."""

    def __init__(self, config: ViTConfig, prune: PruneConfig) -> None:
        super().__init__()
        prune.check(config)
        self.prune = prune
        self.encoders: ModulesOf[EncoderScores] = ModulesOf(EncoderScores(config, s, prune.block_size) for s in config.encoders)
        self.macs = unit_macs(config, prune.block_size)
        self.kept: Tensor
        """``[encoders, 5]``: blocks of W_q, W_k, W_v and W_proj, and neurons, that stay in the end; 0 where the shares of ``prune`` say it."""
        self.register_buffer("kept", torch.zeros(len(self.encoders), len(LAYERS), dtype=torch.int64))

    @property
    def units(self) -> Counts:
        """``[encoders, 5]``: blocks and neurons that there are."""
        return np.array([[s.numel() for s in (*e.matrices, e.neurons)] for e in self.encoders])

    def keep(self, counts: Counts) -> None:
        """Let layers keep these ``[encoders, 5]`` blocks and neurons.

        Raises:
            UserError: blocks compete over all encoders (scope global).
        """
        if self.prune.scope == "global":
            raise UserError("blocks that compete over all encoders have no shares by layer: use scope local")
        self.kept.copy_(torch.from_numpy(np.asarray(counts)))

    def masks(self, block_keep: Rate | None = None, neuron_keep: Rate | None = None) -> list[EncoderMask]:
        """Masks of all encoders; without rates, at the final ones.

        Exactly kept_blocks(rate, n) of the n blocks stay: per matrix, or of all matrices (scope global). Where layers have counts
        of their own (:meth:`keep`), these stay at the final rates.
        """
        b = self.prune.block_keep if block_keep is None else block_keep
        n = self.prune.neuron_keep if neuron_keep is None else neuron_keep
        choose = self._local if self.prune.scope == "local" else self._global
        return [e.mask(*chosen) for e, chosen in zip(self.encoders, choose(b, n), strict=True)]

    def _local(self, block_keep: Rate, neuron_keep: Rate) -> list[tuple[list[Tensor], Tensor]]:
        """Per encoder the block masks and the neuron mask, each matrix at its keep rate."""
        return [
            ([top_k_mask(s, k, self.prune.lanes) for s, k in zip(e.matrices, blocks, strict=True)], top_k_mask(e.neurons, neurons))
            for e, (*blocks, neurons) in zip(self.encoders, self._counts(block_keep, neuron_keep).tolist(), strict=True)
        ]

    def _counts(self, block_keep: Rate, neuron_keep: Rate) -> Counts:
        """What layers keep at these rates: on the way to shares by layer, each has gone as far as the rates have to theirs."""
        if not self.kept.any():
            return equal_counts(self.units, block_keep, neuron_keep, self.prune.block_size)
        p, block = self.prune, self.prune.block_size
        share = [_way(block_keep, p.block_keep)] * 4 + [_way(neuron_keep, p.neuron_keep)]
        rows = zip(self.units.tolist(), self.kept.tolist(), strict=True)
        counts = np.array([[n - int(w * (n - k)) for w, n, k in zip(share, units, kept, strict=True)] for units, kept in rows])
        counts[:, 4] = -(-counts[:, 4] // block) * block
        return counts

    def _global(self, block_keep: Rate, neuron_keep: Rate) -> list[tuple[list[Tensor], Tensor]]:
        """The same with the keep rates over all encoders together; neurons in whole blocks per encoder."""
        matrices = [s for e in self.encoders for s in e.matrices]
        blocks = max(kept_blocks(block_keep, sum(s.numel() for s in matrices)), len(matrices))
        masks = iter(top_k_masks(matrices, blocks))
        neurons = [e.neurons for e in self.encoders]
        limits, block = [s.numel() for s in neurons], self.prune.block_size
        total = max(kept_neurons(neuron_keep, sum(limits), block), block * len(neurons))
        counts = [int(m.sum()) for m in top_k_masks(neurons, total)]
        counts = whole_blocks(counts, block, total, limits)
        return [([next(masks) for _ in e.matrices], top_k_mask(e.neurons, count)) for e, count in zip(self.encoders, counts)]

    @torch.no_grad()
    def final_masks(self) -> list[EncoderMask]:
        """Masks (no gradient) at the final keep rates."""
        return self.masks()

    @torch.no_grad()
    def spread_evenly(self) -> None:
        """Keep the order of the scores that compete, and give them equal distances from 0 to 1."""
        matrices, neurons = [s for e in self.encoders for s in e.matrices], [e.neurons for e in self.encoders]
        alone = self.prune.scope == "local"
        for group in ([s] for s in (*matrices, *neurons)) if alone else (matrices, neurons):
            flat = torch.cat([s.flatten() for s in group])
            places = torch.argsort(torch.argsort(flat, stable=True)) / max(1, len(flat) - 1)
            for score, place in zip(group, places.split([s.numel() for s in group])):
                score.copy_(place.view_as(score))

    @torch.no_grad()
    def set_to_magnitude(self, model: PrunedViT) -> None:
        """Scores from the weights: L2 norm of each block; of a neuron, fc1's row (with a gate, its two rows) times fc2's column."""
        for scores, block in zip(self.encoders, model.blocks, strict=True):
            weights = (*block.attn.qkv.weight.chunk(3), block.attn.proj.weight)
            for target, weight in zip(scores.matrices, weights, strict=True):
                target.copy_(block_sums(weight.square(), scores.block).sqrt())
            rows, columns = block.mlp.fc1.weight.unflatten(0, (-1, block.mlp.rows)).norm(dim=(1, 2)), block.mlp.fc2.weight.norm(dim=0)
            scores.neurons.copy_(rows * columns)

    @torch.no_grad()
    def set_to_kept(self, model: PrunedViT, neurons: Sequence[int]) -> None:
        """Scores 1 for the blocks of ``model`` that are not zero and for the first ``neurons`` of an encoder, else 0.

        So many stay in the end (:meth:`keep`). A row of zero blocks that has a bias keeps its first block, since masks take the bias of
        a row without any. Scores are local, without lanes.
        """
        counts = []
        for scores, block, count in zip(self.encoders, model.blocks, neurons, strict=True):
            qkv, proj = block.attn.qkv, block.attn.proj
            layers = (*zip(qkv.weight.chunk(3), qkv.bias.chunk(3)), (proj.weight, proj.bias))
            for target, (weight, bias) in zip(scores.matrices, layers, strict=True):
                kept = block_sums(weight.abs(), scores.block) > 0
                kept[:, 0] |= ~kept.any(1) & bias.reshape(-1, scores.block).any(1)
                target.copy_(kept)
            scores.neurons.copy_(torch.arange(scores.neurons.numel()) < count)
            counts.append([*(int(s.sum()) for s in scores.matrices), count])
        self.keep(np.array(counts))


def set_to_first_order(scores: PruneScores, network: PrunedViT, images: Tensor, labels: Tensor | None, seed: int = 0) -> None:
    """Scores = sum over batches and over a block of |w dL/dw|; of a neuron, over its row and its column.

    L is the cross entropy with ``labels``. Without labels, they are drawn from the network's own softmax:
    the divergence from its own output has gradient zero, while this has the Fisher information as its square.
    Source: first-order Taylor pruning (Molchanov et al., 2019), with Fisher sampling for unlabelled data.

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``; labels: ``[F]`` or None.
    """
    generator = torch.Generator().manual_seed(seed)
    for score in scores.parameters():
        score.data.zero_()
    for start in range(0, len(images), SCORING_BATCH):
        logits = network(images[start : start + SCORING_BATCH].to(network.pos_embed.device))
        if labels is None:
            chosen = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator).squeeze(1)
        else:
            chosen = labels[start : start + SCORING_BATCH]
        network.zero_grad(set_to_none=True)
        F.cross_entropy(logits, chosen.to(logits.device)).backward()
        _accumulate(scores, network)
    network.zero_grad(set_to_none=True)


def _way(rate: Rate, final: str) -> Fraction:
    """How far a rate has fallen from 1 to the final one: 0 to 1."""
    last = Fraction(final)
    return (1 - Fraction(str(rate))) / (1 - last) if last < 1 else Fraction(1)


@torch.no_grad()
def _accumulate(scores: PruneScores, network: PrunedViT) -> None:
    """Add |w dL/dw| of the present gradients."""
    for target, block in zip(scores.encoders, network.blocks, strict=True):
        qkv, proj, fc1, fc2 = (
            (layer.weight * layer.weight.grad).abs() for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
        )
        for score, part in zip(target.matrices, (*qkv.chunk(3), proj), strict=True):
            score += block_sums(part, target.block)
        target.neurons.add_(fc1.unflatten(0, (-1, block.mlp.rows)).sum((1, 2)) + fc2.sum(0))


def block_sums(values: Tensor, block: int) -> Tensor:
    """Sum of each ``block`` x ``block`` block of a matrix."""
    rows, columns = values.shape
    return values.reshape(rows // block, block, columns // block, block).sum((1, 3))
