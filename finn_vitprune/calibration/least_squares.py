"""One linear layer against what its output should be: least squares on the kept weights, and rounding that makes good."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from finn_vitprune.numerics import int_range

DAMPINGS = (1e-2, 1e-1, 1.0, 10.0, 1e3)
"""Tried, as shares of the mean of the inputs' variances: the larger, the nearer weights stay to what they were."""
COLUMNS = 64
"""Input channels that are rounded before the rest of a row is corrected for them."""
SCALE_SHARES = torch.linspace(1.0, 0.5, 26)
"""Shares of a row's largest weight that are tried as its clipping point."""

Groups = Iterable[tuple[Tensor, Tensor]]
"""Row numbers and kept columns of the rows that have one mask."""


class Moments:
    """Means and covariances over tokens, each with its weight: of a layer's inputs x ``[tokens, in]``, and of what its outputs should
    be, y ``[tokens, out]``.

    The inputs are those that the layer gets now, the outputs those of the float network. Products are made in the precision of the
    tensors, but of x and y without the means of the tokens that come together, and summed in float64: channels far from zero keep
    their digits. The covariance of x is symmetric.
    """

    def __init__(self, inputs: int, outputs: int = 0) -> None:
        self.weight, self.x, self.y = 0.0, _zeros(inputs), _zeros(outputs)
        """Of all tokens; means of x and y."""
        self.xx, self.yx, self.yy = _zeros(inputs, inputs), _zeros(outputs, inputs), _zeros(outputs)
        """Sums of weight times (x - mean)(x - mean)^T, (y - mean)(x - mean)^T and (y - mean)^2."""

    def add(self, x: Tensor, y: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Some tokens more, each with its weight (1 without)."""
        x = x.reshape(-1, len(self.x))
        y = x[:, :0] if y is None else y.reshape(-1, len(self.y))
        w = x.new_ones(len(x), 1) if weights is None else weights.reshape(-1, 1)
        if not (weight := float(w.sum())):
            return
        some, root = Moments(0), w.sqrt()
        some.weight = weight
        (dx, some.x), (dy, some.y) = (_centred(tensor, w / weight) for tensor in (x, y))
        dx, dy = root * dx, root * dy
        products = dx.T @ dx
        sums = ((products + products.T) / 2, dy.T @ dx, dy.square().sum(0))
        some.xx, some.yx, some.yy = (found.double().cpu() for found in sums)
        self._take(some)

    def __add__(self, other: Moments) -> Moments:
        total = Moments(len(self.x), len(self.y))
        for part in (self, other):
            total._take(part)
        return total

    def _take(self, other: Moments) -> None:
        """The tokens of ``other`` more (Chan, Golub and LeVeque, 1983)."""
        if not other.weight:
            return
        weight, dx, dy = self.weight + other.weight, other.x - self.x, other.y - self.y
        share = self.weight * other.weight / weight
        self.xx += other.xx + share * torch.outer(dx, dx)
        self.yx += other.yx + share * torch.outer(dy, dx)
        self.yy += other.yy + share * dy.square()
        self.x += dx * (other.weight / weight)
        self.y += dy * (other.weight / weight)
        self.weight = weight

    def centred(self) -> tuple[Tensor, Tensor]:
        """Covariance of the inputs, and of outputs with inputs."""
        weight = max(self.weight, 1e-300)
        return self.xx / weight, self.yx / weight

    def bias(self, weight: Tensor) -> Tensor:
        """The best bias for the weights ``[out, in]``."""
        return self.y - weight @ self.x

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """Mean over tokens of |W x + b - y|^2."""
        squares = ((weight @ self.xx) * weight).sum() - 2 * (weight * self.yx).sum() + self.yy.sum()
        return float(squares / self.weight + (bias - self.bias(weight)).square().sum())


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def _centred(tensor: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens without their mean, and the mean in float64; each token counts as its share."""
    mean = (shares * tensor).sum(0)
    left = tensor - mean
    return left, (mean.double() + (shares * left).sum(0).double()).cpu()


@dataclass(frozen=True)
class Fit:
    """A layer's new weights ``[out, in]``, bias ``[out]`` and, where rounded, scales ``[out, 1]``."""

    weight: Tensor
    bias: Tensor
    scale: Tensor | None = None


def reconstruct(
    fitted: Moments, judged: Moments, weight: Tensor, mask: Tensor | None, bits: int | None = None, per_channel: bool = True
) -> Fit:
    """The weights that come nearest to the wanted outputs: min E |W x + b - y|^2 + damping |W - weight|^2.

    Each damping is tried on the moments of some images and judged by those of others: few images do not determine all weights. The best
    one is then used with both. With ``bits`` the solution is rounded as in GPTQ (Frantar et al., 2023): channel
    after channel, the most determined first, and what a weight lost goes to those of its row that are not yet rounded;
    the damping that this needs is found in the same way.

    Args:
        weight: ``[out, in]`` as it is; mask: 1 where a weight is kept, 0 elsewhere, None for all.
        bits: of symmetric narrow-range codes; None leaves floats. per_channel: a scale for each row, or one for all.
    """
    start = weight.detach().double().cpu()
    kept = torch.ones_like(start, dtype=torch.bool) if mask is None else mask.detach().cpu() > 0
    groups, every = list(rows_of_one_mask(kept)), fitted + judged

    def best(make: Callable[[Moments, float], Tensor]) -> Tensor:
        def loss(damping: float) -> float:
            found = make(fitted, damping)
            return judged.error(found, fitted.bias(found))

        return make(every, min(DAMPINGS, key=loss))

    solved, scale = best(lambda moments, damping: _solved(moments, damping, start, groups)), None
    if bits is not None:
        scale = row_scales(solved, every.centred()[0].diagonal(), bits, per_channel)
        floats, codes, held = solved, bits, scale
        solved = best(lambda moments, damping: _rounded(moments, damping, floats, groups, held, codes))
    return Fit(solved.float(), every.bias(solved).float(), None if scale is None else scale.float())


def damped(covariance: Tensor, share: float) -> Tensor:
    """The same with a share of its mean diagonal added to the diagonal."""
    return covariance + share * covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(len(covariance)).to(covariance)


def solve(covariance: Tensor, wanted: Tensor, groups: Groups) -> Tensor:
    """Weights W ``[out, in]`` whose W covariance is ``wanted`` in the columns that a row keeps; the others are 0."""
    result = torch.zeros_like(wanted)
    for rows, columns in groups:
        result[rows[:, None], columns] = torch.linalg.solve(covariance[columns][:, columns], wanted[rows][:, columns].T).T
    return result


def _solved(moments: Moments, damping: float, start: Tensor, groups: Groups) -> Tensor:
    """The least squares; rows of one mask together."""
    measured, wanted = moments.centred()
    covariance = damped(measured, damping)
    return solve(covariance, wanted + start @ (covariance - measured), groups)


def _rounded(moments: Moments, damping: float, floats: Tensor, groups: Groups, scale: Tensor, bits: int) -> Tensor:
    """Codes times scale."""
    covariance, result = damped(moments.centred()[0], damping), torch.zeros_like(floats)
    for rows, columns in groups:
        inverse = torch.linalg.inv(covariance[columns][:, columns])
        result[rows[:, None], columns] = _rounded_rows(floats[rows][:, columns], inverse, scale[rows], bits)
    return result


def rows_of_one_mask(kept: Tensor) -> Groups:
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


def _rounded_rows(weight: Tensor, inverse: Tensor, scale: Tensor, bits: int) -> Tensor:
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
