"""Second-order scores: the order in which blocks and neurons go where the rest of their layer makes up for each."""

from __future__ import annotations

import torch
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.calibration.gradients import backward_of_projections
from finn_vitprune.calibration.least_squares import damped
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.layers import PrunedLinear
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.scores import PruneScores

DAMPING = 1e-2
"""As a share of the inputs' mean variance."""
BATCH = 8
"""Images whose gradient is taken at once."""


class _Curvature:
    """Of one layer: covariance of its inputs ``[in, in]``, and mean squared gradient of its outputs ``[out]``."""

    def __init__(self, layer: PrunedLinear) -> None:
        self.xx = torch.zeros(layer.in_features, layer.in_features, dtype=torch.float64)
        self.x, self.tokens = torch.zeros(layer.in_features, dtype=torch.float64), 0
        self.gradient = torch.zeros(layer.out_features, dtype=torch.float64)

    def read(self, layer: PrunedLinear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook: the inputs, and the gradients when they are known."""
        x = inputs[0].detach().reshape(-1, layer.in_features)
        self.xx += (x.T @ x).double().cpu()
        self.x += x.sum(0).double().cpu()
        self.tokens += len(x)
        output.register_hook(self.learn)

    @property
    def covariance(self) -> Tensor:
        """Times the tokens; the bias makes good the means."""
        return self.xx - torch.outer(self.x, self.x) / self.tokens

    def learn(self, gradient: Tensor) -> None:
        """Add the squares of some gradients of the outputs."""
        self.gradient += gradient.reshape(-1, len(self.gradient)).square().sum(0).double().cpu()


def set_to_second_order(scores: PruneScores, network: PrunedViT, images: Tensor, seed: int = 0) -> None:
    """Scores = places in the order of removal; what goes first has 0.

    What goes next costs least: the squared error of a layer's outputs y = W x, each with its mean squared gradient g_r, after the
    weights that are left are corrected. For the input channels S of some rows that is sum_r g_r w_rS ([H^-1]_SS)^-1 w_rS^T, H the
    covariance of x. Weights and H^-1 of these rows then follow: Optimal Brain Surgeon for groups of weights. A neuron is
    a column of the second MLP layer. Gradients are of random projections of the logits: no labels are needed. Sources: Hassibi
    and Stork, 1993; Frantar and Alistarh, 2023 (SparseGPT).

    Args:
        network: in float and unpruned; images: ``[F, H, W, C]``.
    """
    layers = {id(m): m for block in network.blocks for m in (block.attn.qkv, block.attn.proj, block.mlp.fc2)}
    found = {key: _Curvature(layer) for key, layer in layers.items()}
    with hooked(layer.register_forward_hook(found[key].read) for key, layer in layers.items()):
        backward_of_projections(network, images, BATCH, "scores", seed)
    with torch.no_grad():
        for index, (target, block) in enumerate(zip(scores.encoders, network.blocks, strict=True), start=1):
            progress.status(f"scores: encoder {index} of {len(network.blocks)}")
            attn, size = block.attn, target.block
            qkv, proj = found[id(attn.qkv)], found[id(attn.proj)]
            weights, gradients = attn.qkv.weight.chunk(3), qkv.gradient.chunk(3)
            for score, weight, gradient in zip(target.matrices, weights, gradients):
                score.copy_(removal_order(weight, gradient, qkv.covariance, size, size))
            target.proj.copy_(removal_order(attn.proj.weight, proj.gradient, proj.covariance, size, size))
            fc2, last = block.mlp.fc2, found[id(block.mlp.fc2)]
            order = removal_order(fc2.weight, last.gradient, last.covariance, len(fc2.weight), 1, at_once=size)
            target.neurons.copy_(order[0])


def removal_order(
    weight: Tensor, gradient: Tensor, covariance: Tensor, rows: int, columns: int, at_once: int = 1
) -> Tensor:
    """Places ``[out / rows, in / columns]`` of the blocks of ``rows`` x ``columns`` weights in the order of removal.

    Args:
        weight: ``[out, in]``; gradient: mean square of each output's, ``[out]``; covariance: of the inputs ``[in, in]``.
        at_once: blocks that go from the same rows before costs are looked at again.
    """
    inverse = torch.linalg.inv(damped(covariance, DAMPING))
    left = [
        _RowsLeft(w, g, inverse, columns)
        for w, g in zip(weight.detach().double().cpu().split(rows), gradient.split(rows), strict=True)
    ]
    order = torch.zeros(len(left), weight.shape[1] // columns)
    costs = torch.stack([part.costs() for part in left])
    place = 0
    while place < order.numel():
        row = int(costs.argmin()) // costs.shape[1]
        chosen = costs[row].argsort(stable=True)[: min(at_once, len(left[row].groups) - int(left[row].gone.sum()))]
        order[row, chosen] = torch.arange(place, place + len(chosen), dtype=order.dtype)
        place += len(chosen)
        left[row].remove(chosen)
        costs[row] = left[row].costs()
    return order


class _RowsLeft:
    """Some rows of a matrix, corrected for the groups of columns that have gone from them."""

    def __init__(self, weight: Tensor, gradient: Tensor, inverse: Tensor, columns: int) -> None:
        self.weight, self.gradient, self.inverse = weight.clone(), gradient, inverse.clone()
        self.groups = torch.arange(weight.shape[1]).reshape(-1, columns)
        self.gone = torch.zeros(len(self.groups), dtype=torch.bool)

    def costs(self) -> Tensor:
        """Of removing each group; infinite for those that have gone."""
        found = torch.full((len(self.groups),), torch.inf, dtype=torch.float64)
        groups = self.groups[~self.gone]
        held = torch.linalg.inv(self.inverse[groups[:, :, None], groups[:, None, :]])
        weight = self.weight[:, groups]
        found[~self.gone] = torch.einsum("rgi,gij,rgj,r->g", weight, held, weight, self.gradient)
        return found

    def remove(self, groups: Tensor) -> None:
        """Take some groups out and correct the others."""
        columns = self.groups[groups].flatten()
        share = torch.linalg.solve(self.inverse[columns][:, columns], self.inverse[columns])
        self.weight -= self.weight[:, columns] @ share
        self.inverse -= self.inverse[:, columns] @ share
        self.weight[:, columns] = 0
        self.gone[groups] = True
