"""Second-order pruning: the order in which blocks and neurons go, and how the rest of their layer makes up for them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.calibration.gradients import backward_of_projections, weights_by
from finn_vitprune.calibration.least_squares import Moments, damped, rows_of_one_mask, solve
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.layers import PrunedLinear
from finn_vitprune.models.vit import Encoder, EncoderMask, PrunedViT
from finn_vitprune.pruning.layers import LayerErrors, allot
from finn_vitprune.pruning.scores import PruneScores

DAMPINGS = (1e-2, 1e-1, 1.0, 10.0)
"""Of covariances, tried as shares of the inputs' mean variance."""
BATCH = 8
"""Images whose gradient is taken at once."""
LATER = 64
"""Columns that have gone when the inverse of the Hessian follows."""


class _Curvature:
    """Of one matrix: the expected Hessian as a Kronecker product, inputs by outputs (K-FAC, Martens and Grosse, 2015).

    A token's inputs x ``[in]`` count more the longer the gradient g ``[out]`` of its outputs is. Of the products g g^T
    those of one row of blocks are kept, ``[out / rows, rows, rows]``. Inputs are taken without their mean: the bias makes good for it.
    """

    def __init__(self, inputs: int, outputs: int, rows: int) -> None:
        self.inputs = Moments(inputs)
        self.gradients = torch.zeros(outputs // rows, rows, rows, dtype=torch.float64)

    def add(self, x: Tensor, gradient: Tensor) -> None:
        """Some tokens: ``[..., in]`` and ``[..., out]``."""
        g = gradient.reshape(-1, *self.gradients.shape[:2])
        self.inputs.add(x, weights=weights_by(g.square().sum((1, 2))))
        self.gradients += torch.einsum("tnr,tns->nrs", g, g).double().cpu()

    @property
    def covariance(self) -> Tensor:
        """Of the inputs ``[in, in]``, positive definite."""
        return _definite(self.inputs.centred()[0])

    def correct(self, weight: Tensor, bias: Tensor, mask: Tensor) -> None:
        """Change the bias and the weights ``[out, in]`` that the mask keeps so that outputs without the others change least."""
        covariance, was, kept = self.covariance, weight.double().cpu(), mask.cpu() > 0
        left = solve(covariance, was @ covariance, rows_of_one_mask(kept))
        bias += ((was - left) @ self.inputs.x).to(bias)
        weight.copy_(torch.where(kept, left, was))


@dataclass(frozen=True)
class _CurvedLayer:
    """A layer as it is: weights ``[out, in]`` (0 where they have gone), bias, and the curvature of each of its matrices."""

    weight: Tensor
    bias: Tensor
    curvatures: list[_Curvature]


class SecondOrder:
    """Pruning by the Hessian of the logits' squared error (Optimal Brain Surgeon: Hassibi and Stork, 1993; Frantar and Alistarh, 2023).

    Gradients are of random projections of the logits: no labels are needed.

    Args:
        network: in float; block: size of blocks; images: ``[F, H, W, C]``.
        masks: what has gone from the network before; None: nothing.
        what: begins the status.
    """

    def __init__(
        self,
        network: PrunedViT,
        block: int,
        images: Tensor,
        seed: int = 0,
        masks: Sequence[EncoderMask] | None = None,
        what: str = "scores",
    ) -> None:
        self.block, self._what = block, what
        kept = [None] * len(network.blocks) if masks is None else masks
        self._encoders = [_layers_of(encoder, mask, block) for encoder, mask in zip(network.blocks, kept, strict=True)]
        watched = (pair for e, found in zip(network.blocks, self._encoders) for pair in zip(_modules(e), found, strict=True))
        with hooked(module.register_forward_hook(partial(_read, layer.curvatures)) for module, layer in watched):
            backward_of_projections(network, images, BATCH, what, seed, masks)

    @torch.no_grad()
    def score(self, scores: PruneScores) -> LayerErrors:
        """Scores = places in the order of removal; what goes first has 0. Returned is what each layer loses on its way.

        What goes next costs least: the error of the logits by the outputs y = W x of one row of blocks, after the weights
        that are left are corrected. For the input channels S it is tr(G W_S ([H^-1]_SS)^-1 W_S^T): H the covariance of x, G
        that of the gradients of y. Weights and H^-1 of these rows then follow. A neuron is a column of the second MLP
        layer, all its rows together.
        """
        costs: list[list[np.ndarray]] = []
        for index, (target, encoder) in enumerate(zip(scores.encoders, self._encoders, strict=True), start=1):
            progress.status(f"{self._what}: encoder {index} of {len(self._encoders)}")
            costs.append([])
            qkv, proj, fc2 = encoder
            for layer, places in ((qkv, target.matrices[:3]), (proj, target.matrices[3:])):
                parts = layer.weight.chunk(len(places))
                for score, weight, curvature in zip(places, parts, layer.curvatures, strict=True):
                    order, own = removal_order(weight, curvature.gradients, curvature.covariance, self.block)
                    score.copy_(order)
                    costs[-1].append(own)
            (last,) = fc2.curvatures
            order, own = removal_order(fc2.weight, last.gradients, last.covariance, 1)
            target.neurons.copy_(order[0])
            costs[-1].append(own)
        return LayerErrors.added(costs)

    @torch.no_grad()
    def correct(self, student: PrunedViT, masks: Sequence[EncoderMask]) -> None:
        """Give ``student`` the network's weights, and let those that the masks keep make up for those that they leave out."""
        for index, (block, layers, mask) in enumerate(zip(student.blocks, self._encoders, masks, strict=True), start=1):
            progress.status(f"making up for what is pruned: encoder {index} of {len(masks)}")
            for module, layer, kept in zip(_modules(block), layers, _elements(block, mask), strict=True):
                module.weight.copy_(layer.weight)
                module.bias.copy_(layer.bias)
                rows = (t.chunk(len(layer.curvatures)) for t in (module.weight, module.bias, kept))
                for curvature, weight, bias, which in zip(layer.curvatures, *rows, strict=True):
                    curvature.correct(weight, bias, which)


def set_to_second_order(
    scores: PruneScores, network: PrunedViT, images: Tensor, seed: int = 0, by_layer: bool = False
) -> tuple[SecondOrder, LayerErrors]:
    """Set scores by :class:`SecondOrder` in two steps; the second says how the rest makes up for what goes, the errors are of the first.

    Pruning changes the network, and with it the curvatures. The second step takes them from a network in which half of what goes has
    gone and the rest makes up for it (Kurtic et al., 2022, prune gradually, too). Blocks and neurons that have gone have no weights
    left there. Removing them costs nothing, so they stay first in the order.

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``.
        by_layer: give every layer a share of its own (:func:`.layers.allot`).
    """
    prune = scores.prune
    first = SecondOrder(network, prune.block_size, images, seed, what="scores, step 1 of 2")
    errors = first.score(scores)
    if by_layer:
        scores.keep(allot(errors, scores.macs, prune))
    with torch.no_grad():
        masks = scores.masks(_half_way(prune.block_keep), _half_way(prune.neuron_keep))
    left = deepcopy(network)
    first.correct(left, masks)
    second = SecondOrder(left, prune.block_size, images, seed, masks, what="scores, step 2 of 2")
    second.score(scores)
    return second, errors


def _half_way(keep: str) -> Fraction:
    return (1 + Fraction(keep)) / 2


def _read(curvatures: Sequence[_Curvature], module: PrunedLinear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """A forward hook: the inputs, and the gradients when they are known."""
    x = inputs[0].detach()

    def learn(gradient: Tensor) -> None:
        for curvature, part in zip(curvatures, gradient.chunk(len(curvatures), dim=-1), strict=True):
            curvature.add(x, part)

    output.register_hook(learn)


def _modules(encoder: Encoder) -> tuple[PrunedLinear, PrunedLinear, PrunedLinear]:
    """Q, K and V (one layer, three matrices), the projection, the second MLP layer."""
    return encoder.attn.qkv, encoder.attn.proj, encoder.mlp.fc2


def _elements(encoder: Encoder, mask: EncoderMask) -> tuple[Tensor, Tensor, Tensor]:
    """1 for the weights of :func:`_modules` that stay."""
    return mask.qkv, mask.proj, mask.neurons.expand_as(encoder.mlp.fc2.weight)


def _layers_of(encoder: Encoder, mask: EncoderMask | None, block: int) -> list[_CurvedLayer]:
    kept = (1, 1, 1) if mask is None else _elements(encoder, mask)
    shapes = ((3, block), (1, block), (1, encoder.mlp.fc2.out_features))  # matrices, and rows whose gradients are kept together
    return [
        _CurvedLayer(
            module.weight.detach() * stay,
            module.bias.detach().clone(),
            [_Curvature(module.in_features, module.out_features // parts, rows) for _ in range(parts)],
        )
        for module, stay, (parts, rows) in zip(_modules(encoder), kept, shapes, strict=True)
    ]


def _definite(covariance: Tensor) -> Tensor:
    """Damped as far as half of the damping is enough, since sums of floats may be less than positive definite."""
    enough = (share for share in DAMPINGS if not torch.linalg.cholesky_ex(damped(covariance, share / 2)).info)
    return damped(covariance, next(enough, DAMPINGS[-1]))


def removal_order(weight: Tensor, gradients: Tensor, covariance: Tensor, columns: int) -> tuple[Tensor, np.ndarray]:
    """Places ``[out / rows, in / columns]`` of the blocks of ``rows`` x ``columns`` weights in the order of removal, and what each costs.

    Args:
        weight: ``[out, in]``; gradients: covariance of the outputs' in each row of blocks, ``[out / rows, rows, rows]``.
        covariance: of the inputs ``[in, in]``, positive definite.
    """
    scale = covariance.diagonal().sqrt()  # inputs of unit variance cost the same, and outlier channels take no digits from the others
    inverse = torch.linalg.inv(covariance / torch.outer(scale, scale))
    scaled = weight.detach().double().cpu() * scale
    left = [_RowsLeft(w, g, inverse, columns) for w, g in zip(scaled.split(gradients.shape[1]), gradients, strict=True)]
    order = torch.zeros(len(left), weight.shape[1] // columns)
    costs = torch.stack([part.costs() for part in left])
    paid = np.zeros(order.numel())
    for place in range(order.numel()):
        row, group = divmod(int(costs.argmin()), costs.shape[1])
        order[row, group], paid[place] = place, costs[row, group]
        left[row].remove(group)
        costs[row] = left[row].costs()
    return order, paid


class _RowsLeft:
    """Some rows of a matrix, corrected for the groups of columns that have gone from them.

    What costs need is kept for all groups S, ``[groups, columns, columns]``: W_S^T G W_S, and [H^-1]_SS. The rest of H^-1
    follows many removals at once: with their factors F ``[columns gone, in]`` it is ``inverse`` - F^T F.
    """

    def __init__(self, weight: Tensor, gradients: Tensor, inverse: Tensor, columns: int) -> None:
        self.weight, self.gradients, self.inverse = weight.clone(), gradients, inverse.clone()
        self.groups = torch.arange(weight.shape[1]).reshape(-1, columns)
        self.energies = self._by_group(weight).transpose(1, 2) @ self._by_group(gradients @ weight)
        self.blocks = inverse[self.groups[:, :, None], self.groups[:, None, :]]
        self.gone = torch.zeros(len(self.groups), dtype=torch.bool)
        self.factors = weight.new_empty(0, weight.shape[1])

    def costs(self) -> Tensor:
        """Of removing each group; infinite for those that have gone."""
        found, left = torch.full((len(self.groups),), torch.inf, dtype=torch.float64), ~self.gone
        found[left] = (self.energies[left] * torch.linalg.inv(self.blocks[left])).sum((1, 2))
        return found

    def remove(self, group: int) -> None:
        """Take a group out and correct the others."""
        columns = self.groups[group]
        rows = self.inverse[columns] - self.factors[:, columns].T @ self.factors
        root = torch.linalg.cholesky(rows[:, columns])
        factor = torch.linalg.solve_triangular(root, rows, upper=False)
        share = torch.linalg.solve_triangular(root.T, factor, upper=True)
        gone = self.weight[:, columns]
        shares, crossed = self._by_group(share), self._by_group((self.gradients @ gone).T @ self.weight)
        both = shares.transpose(1, 2) @ (crossed - self.energies[group] @ shares / 2)
        self.energies -= both + both.transpose(1, 2)
        self.weight -= gone @ share
        parts = self._by_group(factor)
        self.blocks -= parts.transpose(1, 2) @ parts
        self.gone[group] = True
        self.factors = torch.cat([self.factors, factor])
        if len(self.factors) >= LATER:
            self.inverse -= self.factors.T @ self.factors
            self.factors = self.factors[:0]

    def _by_group(self, matrix: Tensor) -> Tensor:
        """``[rows, in]`` as ``[groups, rows, columns]``."""
        return matrix.unflatten(1, self.groups.shape).transpose(0, 1)
