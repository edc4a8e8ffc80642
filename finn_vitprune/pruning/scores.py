"""Learnable scores per block and neuron, and the masks that they make."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from finn_vitprune.models.config import EncoderShape, ViTConfig
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.config import PruneConfig, check_block_size, kept_blocks, kept_neurons

Rate = float | str | Fraction


class _TopK(torch.autograd.Function):
    """1 for the ``k`` largest scores (lower index wins ties), 0 for the others; gradient straight through."""

    @staticmethod
    def forward(ctx, scores: Tensor, k: int) -> Tensor:
        order = torch.argsort(scores.flatten(), descending=True, stable=True)
        mask = torch.zeros_like(scores).flatten()
        mask[order[:k]] = 1.0
        return mask.view_as(scores)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def top_k_mask(scores: Tensor, k: int) -> Tensor:
    """Mask of the shape of ``scores``, see :class:`_TopK`."""
    return _TopK.apply(scores, k)


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

    def mask(self, block_keep: Rate, neuron_keep: Rate) -> EncoderMask:
        """Masks at these keep rates, a local top-k per matrix."""
        parts = [
            expand_blocks(top_k_mask(s, kept_blocks(block_keep, s.numel())), self.block)
            for s in (self.q, self.k, self.v, self.proj)
        ]
        qkv, proj = torch.cat(parts[:3]), parts[3]
        neurons = top_k_mask(self.neurons, kept_neurons(neuron_keep, self.neurons.numel(), self.block))
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
        check_block_size(config, prune.block_size)
        self.prune = prune
        self.encoders = nn.ModuleList(EncoderScores(config, s, prune.block_size) for s in config.encoders)

    def masks(self, block_keep: Rate | None = None, neuron_keep: Rate | None = None) -> list[EncoderMask]:
        """Masks of all encoders; without rates, at the final ones."""
        b = self.prune.block_keep if block_keep is None else block_keep
        n = self.prune.neuron_keep if neuron_keep is None else neuron_keep
        return [e.mask(b, n) for e in self.encoders]

    @torch.no_grad()
    def set_to_magnitude(self, model: PrunedViT) -> None:
        """Scores from the weights: L2 norm of each block; of a neuron, fc1's row times fc2's column."""
        for scores, block in zip(self.encoders, model.blocks, strict=True):
            for target, weight in zip((scores.q, scores.k, scores.v), block.attn.qkv.weight.chunk(3)):
                target.copy_(block_norms(weight, scores.block))
            scores.proj.copy_(block_norms(block.attn.proj.weight, scores.block))
            rows, columns = block.mlp.fc1.weight.norm(dim=1), block.mlp.fc2.weight.norm(dim=0)
            scores.neurons.copy_(rows * columns)


def block_norms(weight: Tensor, block: int) -> Tensor:
    """L2 norm of each ``block`` x ``block`` block of a matrix."""
    r, c = weight.shape
    return weight.reshape(r // block, block, c // block, block).square().sum((1, 3)).sqrt()
