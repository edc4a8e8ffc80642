"""One linear layer against what its output should be: least squares on the kept weights, and rounding that makes good."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from finn_vitprune.numerics import int_range

DAMPING = 1e-2
"""Added to the diagonal of the inputs' covariance, as a share of its mean: weights that the inputs do not determine stay."""
COLUMNS = 64
"""Input channels that are rounded before the rest of a row is corrected for them."""
SCALE_SHARES = torch.linspace(1.0, 0.5, 26)
"""Shares of a row's largest weight that are tried as its clipping point."""


@dataclass
class Moments:
    """Sums over tokens of a layer's inputs x ``[tokens, in]`` and wanted outputs y ``[tokens, out]``, in float64.

    The inputs are those that the layer gets now, the outputs those of the float network (without bias or with, alike).
    """

    inputs: int
    outputs: int
    tokens: float = 0.0
    xx: Tensor = field(init=False)
    yx: Tensor = field(init=False)
    x: Tensor = field(init=False)
    y: Tensor = field(init=False)

    def __post_init__(self) -> None:
        double = torch.float64
        self.xx = torch.zeros(self.inputs, self.inputs, dtype=double)
        self.yx = torch.zeros(self.outputs, self.inputs, dtype=double)
        self.x, self.y = torch.zeros(self.inputs, dtype=double), torch.zeros(self.outputs, dtype=double)

    def add(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Some tokens more, each with its weight (1 without); products in the precision of the tensors."""
        x, y = x.reshape(-1, self.inputs), y.reshape(-1, self.outputs)
        weighted = x if weights is None else x * weights.reshape(-1, 1)
        self.tokens += len(x) if weights is None else float(weights.sum())
        self.xx += (weighted.T @ x).double().cpu()
        self.yx += (y.T @ weighted).double().cpu()
        self.x += weighted.sum(0).double().cpu()
        self.y += (y if weights is None else y * weights.reshape(-1, 1)).sum(0).double().cpu()

    def centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Covariance of the inputs, of outputs with inputs, and both means."""
        x, y = self.x / self.tokens, self.y / self.tokens
        return self.xx / self.tokens - torch.outer(x, x), self.yx / self.tokens - torch.outer(y, x), x, y


@dataclass(frozen=True)
class Fit:
    """A layer's new weights ``[out, in]``, bias ``[out]`` and, where rounded, scales ``[out, 1]``."""

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None


def reconstruct(moments: Moments, weight: Tensor, mask: Tensor | None, bits: int | None = None, per_channel: bool = True) -> Fit:
    """The weights that come nearest to the wanted outputs: min E |W x + b - y|^2 + damping |W - weight|^2.

    Rows of one mask are solved together. With ``bits`` the solution is rounded as in GPTQ (Frantar et al., 2023): channel
    after channel, the most determined first, and what a weight lost goes to those of its row that are not yet rounded.

    Args:
        weight: ``[out, in]`` as it is; mask: 1 where a weight is kept, 0 elsewhere, None for all.
        bits: of symmetric narrow-range codes; None leaves floats. per_channel: a scale for each row, or one for all.
    """
    measured, wanted, mean_x, mean_y = moments.centred()
    covariance = damped(measured)
    start = weight.detach().double().cpu()
    target = wanted + start @ (covariance - measured)
    kept = torch.ones_like(start, dtype=torch.bool) if mask is None else mask.detach().cpu() > 0
    solved = torch.zeros_like(start)
    groups = list(_rows_of_one_mask(kept))
    for rows, columns in groups:
        part = covariance[columns][:, columns]
        solved[rows[:, None], columns] = torch.linalg.solve(part, target[rows][:, columns].T).T
    scale = None
    if bits is not None:
        scale = row_scales(solved, covariance.diagonal(), bits, per_channel)
        for rows, columns in groups:
            inverse = torch.linalg.inv(covariance[columns][:, columns])
            solved[rows[:, None], columns] = _rounded(solved[rows][:, columns], inverse, scale[rows], bits)
    bias = mean_y - solved @ mean_x
    return Fit(solved.float(), bias.float(), None if scale is None else scale.float())


def damped(covariance: Tensor) -> Tensor:
    """The same with DAMPING of its mean diagonal added to the diagonal."""
    return covariance + DAMPING * covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(len(covariance)).to(covariance)


def _rows_of_one_mask(kept: Tensor):
    """Row numbers and kept columns, for every mask of a row that occurs; rows without weights are left out."""
    masks, which = torch.unique(kept, dim=0, return_inverse=True)
    for number, mask in enumerate(masks):
        if mask.any():
            yield (which == number).nonzero().squeeze(1), mask.nonzero().squeeze(1)


def row_scales(weight: Tensor, importance: Tensor, bits: int, per_channel: bool) -> Tensor:
    """Scales ``[out, 1]`` with the least squared error of round-to-nearest, channels weighted by ``importance`` ``[in]``.

    A row of zeros has scale 0. With ``per_channel`` False all rows have the scale of the matrix.
    """
    hi = int_range(bits, signed=True)[1]
    largest = weight.abs().amax(1, keepdim=True) if per_channel else weight.abs().amax().expand(len(weight), 1)
    best, best_error = largest / hi, torch.full_like(largest, torch.inf)
    for share in SCALE_SHARES.tolist():
        scale = largest * share / hi
        error = (weight - _nearest(weight, scale, hi)).square() @ importance.clamp(min=0).unsqueeze(1)
        error = error if per_channel else error.sum().expand_as(error)
        better = error < best_error
        best, best_error = torch.where(better, scale, best), torch.where(better, error, best_error)
    return best


def _nearest(weight: Tensor, scale: Tensor, hi: int) -> Tensor:
    return (weight / scale.clamp(min=1e-300)).round().clamp(-hi, hi) * scale


def _rounded(weight: Tensor, inverse: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Codes times scale for rows ``[rows, in]``, given the inverse of the inputs' covariance ``[in, in]``."""
    hi = int_range(bits, signed=True)[1]
    order = inverse.diagonal().argsort()
    upper = torch.linalg.cholesky(inverse[order][:, order], upper=True)
    weight, result = weight[:, order], torch.empty_like(weight)
    for first in range(0, weight.shape[1], COLUMNS):
        last = min(first + COLUMNS, weight.shape[1])
        errors = torch.empty(len(weight), last - first, dtype=weight.dtype)
        for i in range(first, last):
            result[:, i : i + 1] = _nearest(weight[:, i : i + 1], scale, hi)
            errors[:, i - first] = (weight[:, i] - result[:, i]) / upper[i, i]
            weight[:, i:last] -= torch.outer(errors[:, i - first], upper[i, i:last])
        weight[:, last:] -= errors @ upper[first:last, last:]
    return result[:, order.argsort()]
