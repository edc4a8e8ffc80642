"""A few epochs of distillation from the imported float network, in the loop that training has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.vit import Encoder, PrunedViT
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.data import Dataset
from finn_vitprune.training.display import Display
from finn_vitprune.training.parallel import Processes
from finn_vitprune.training.student import StudentTraining


class FineTuning(StudentTraining):
    """The student's epochs, starting from a quantised network and scores that are there already.

    The loss is T^2 KL(student || float network), as ``config`` says: no labels are needed. ``features`` times the mean squared
    error of what the encoders give is added to it. Nothing is saved on the way.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        teacher: PrunedViT,
        student: PrunedViT,
        scores: PruneScores,
        quality: Callable[[Callable[[Tensor], Tensor], int | None], float],
        features: float,
    ) -> None:
        """
        Args:
            config: its data set and teacher are not used; ``student.distill_weight`` is 1.
            teacher: the float network; student, scores: trained in place.
            quality: what an epoch reports as accuracy of ``forward`` (uint8 images as floats to logits) on
                so many of the held-out images, None for all.
            features: weight of the error of the encoders' outputs in the loss.
        """
        super().__init__(config, data, Processes(), student, scores, teacher)
        torch.manual_seed(config.seed)
        self.quality, self.features = quality, features
        self._outputs: dict[PrunedViT, list[Tensor]] = {}

    def teacher_logits(self, images: Tensor) -> Tensor:
        """See :meth:`StudentTraining.teacher_logits`."""
        return self.distiller(images)

    def run(self, display: Display) -> None:
        """All epochs; the student is left in evaluation mode, quantised, at the final keep rates."""
        self._outputs = {self.student: [], self.distiller: []}
        blocks = [(network, block) for network in self._outputs if self.features for block in network.blocks]
        with hooked(block.register_forward_hook(partial(self._keep, network)) for network, block in blocks):
            for epoch in range(1, self.config.student.epochs + 1):
                display.phase("fine-tuning", epoch, self.config.student.epochs)
                self.student_epoch(display)
        self.student.eval()

    def _keep(self, network: PrunedViT, block: Encoder, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook: the outputs of the network's encoders in this pass."""
        kept = self._outputs[network]
        if block is network.blocks[0]:
            kept.clear()
        kept.append(output)

    def _start_quantisation(self) -> None:
        """Quantisers and their ranges are there already."""

    def _residual_moves(self, done: int) -> bool:
        """Before every epoch: the weights leave what ranges were chosen for."""
        return True

    def _distillation(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """See :meth:`StudentTraining._distillation`; with the error of the features, one value an image."""
        loss = super()._distillation(logits, images, labels)
        if not self.features:
            return loss
        pairs = zip(self._outputs[self.student], self._outputs[self.distiller], strict=True)
        return loss + self.features * sum(_feature_error(x, y) for x, y in pairs) / len(self.student.blocks)

    def accuracy_of(self, forward: Callable[[Tensor], Tensor], limit: int | None = None) -> float:
        """See :meth:`StudentTraining.accuracy_of`; what was given as ``quality``."""
        return self.quality(forward, limit)


def _feature_error(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of two encoders' outputs ``[B, N, D]``, normalised as the next LayerNorm does; ``[B]``.

    Of all tokens where both have the same, of token 0 where one of them dropped some.
    """
    if x.shape != y.shape:
        x, y = x[:, :1], y[:, :1]
    width = x.shape[-1:]
    return (F.layer_norm(x, width) - F.layer_norm(y, width)).square().mean((1, 2))
