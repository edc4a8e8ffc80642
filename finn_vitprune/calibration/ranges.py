"""Ranges of activations, chosen by the error that they make in the network's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from finn_vitprune.calibration.gradients import backward_of_projections
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.quantizers import ActQuant
from finn_vitprune.models.vit import EncoderMask, PrunedViT

IMAGES = 64
"""Images whose gradients say what an error of a value does to the output."""
BATCH = 4
"""Images of which all activations are held at once."""
SHARES = torch.linspace(0.2, 1.0, 17).tolist()
"""Shares of the largest magnitude that are tried as clipping points."""


@dataclass(frozen=True)
class ChosenRange:
    """Where the codes of a quantiser end.

    largest: magnitude that was seen. clipped: the end of the codes. signal_to_noise: of the values, in decibels.
    output_error: what its noise adds to the squared error of the logits, by their gradients; a mean over images and logits.
    """

    quantiser: str
    largest: float
    clipped: float
    signal_to_noise: float
    output_error: float


def choose_ranges(network: PrunedViT, images: Tensor, masks: Sequence[EncoderMask] | None = None, seed: int = 0) -> list[ChosenRange]:
    """Set the scale of every quantiser that has a learned one of its own, after :meth:`PrunedViT.calibrate`.

    An error d of a value changes the logits by J d. Of several clipping points the one is taken with the least
    sum of |J|^2 d^2 over a quantiser's values: errors count as independent. |J|^2 is the mean square of the gradient of
    random projections of the logits, so no labels are needed. Outliers that much depends on (attention sinks) are kept, others clipped,
    which the error of the values themselves cannot tell apart. Source of the idea: PTQ4ViT (Yuan et al., 2022).

    Args:
        network: in float (``quantise(False)``), calibrated; images: ``[F, H, W, C]``, of which IMAGES are used.
    """
    chosen = images[torch.linspace(0, len(images) - 1, min(IMAGES, len(images))).long()]
    trials = {name: _Trials(q) for name, q in network.quantizers().items() if q.owns_scale and q.scale.learned}
    training, logits = network.training, network.config.classes
    network.eval()
    with hooked(trial.quantiser.register_forward_hook(partial(_watch, trial)) for trial in trials.values()):
        backward_of_projections(network, chosen, BATCH, "ranges", seed, masks)
    network.train(training)
    return [trial.choose(name, len(chosen) * logits) for name, trial in trials.items()]


class _Trials:
    """Errors of one quantiser at each clipping point."""

    def __init__(self, quantiser: ActQuant) -> None:
        self.quantiser = quantiser
        self.scales = [quantiser.scale_up_to(quantiser.largest * share) for share in SHARES]
        self.noise, self.output = torch.zeros(len(SHARES)), torch.zeros(len(SHARES))
        self.signal = 0.0

    def add(self, x: Tensor, gradient: Tensor) -> None:
        """Values and the gradients with respect to them."""
        x, slope = x.flatten(), gradient.flatten().square()
        self.signal += float(x.square().sum())
        for i, scale in enumerate(self.scales):
            error = (x / scale).round_().clamp_(*self.quantiser.limits(scale)).mul_(scale).sub_(x).square_()
            self.noise[i] += float(error.sum())
            self.output[i] += float(torch.dot(error, slope))

    def choose(self, name: str, count: int) -> ChosenRange:
        """Set the scale with the least error of the output, or of the values where no output hangs on them."""
        best = int((self.output if self.output.any() else self.noise).argmin())
        self.quantiser.scale.set(self.scales[best])
        ratio = self.signal / max(float(self.noise[best]), 1e-30 * self.signal, 1e-300)
        decibels = 10 * float(torch.tensor(max(ratio, 1e-30)).log10())
        largest = self.quantiser.largest
        return ChosenRange(name, largest, largest * SHARES[best], decibels, float(self.output[best]) / count)


def _watch(trial: _Trials, module: ActQuant, args: tuple[Tensor, ...], output: Tensor) -> None:
    """Try all clipping points when the gradient of what passes the quantiser is known."""
    if output.requires_grad:
        output.register_hook(partial(trial.add, output.detach()))
