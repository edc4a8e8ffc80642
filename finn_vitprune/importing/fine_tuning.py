"""A few epochs of distillation from the imported float network, in the loop that training has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.data import Dataset
from finn_vitprune.training.display import Display
from finn_vitprune.training.features import FeatureError
from finn_vitprune.training.parallel import Processes
from finn_vitprune.training.student import StudentTraining

RATE, LEAST, MOST, RATE_BATCHES = 8.0, 0.08, 2.0, 8
"""Of the learning rate: a factor and limits by trial on four networks, and the batches that tell."""


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
        self.quality, self.features = quality, FeatureError(student, teacher, features)

    def teacher_logits(self, images: Tensor) -> Tensor:
        """See :meth:`StudentTraining.teacher_logits`."""
        return self.distiller(images)

    def choose_rate(self) -> float:
        """Set the learning rate by loss and slopes of the first batches at the final masks, and return it.

        A step of Adam moves every weight by about the rate, whatever its slope: on its own batch it promises the rate times the
        sum A of the slopes' sizes, on another batch the rate times P, less where batches disagree. Polyak's rate, L / A, would
        take the loss L to 0; this one is RATE P / A of it, LEAST to MOST. Unlike a rate by width, it follows factors that are
        folded into weights, such as LayerScale's.
        """
        weights = self.student_optimizer.param_groups[:-1]
        masks, device = self.scores.final_masks(), self.processes.device
        self.student.set_token_keep(self.tokens.final)
        self.student.train()
        self.distiller.eval()
        sums = [(g["rate"], p, torch.zeros_like(p), torch.zeros_like(p)) for g in weights for p in g["params"]]
        loss, own, batches = 0.0, 0.0, self._batches()[:RATE_BATCHES]
        with self.features.watched():
            for images, labels in self.data.epoch(batches, self.generator, self.augmentation):
                images = images.to(device)
                mean = self._distillation(self.student(images, masks), images, labels.to(device)).mean()
                self.student.zero_grad(set_to_none=True)
                mean.backward()
                loss += float(mean.detach())
                for rate, parameter, slopes, signs in sums:
                    if parameter.grad is not None:
                        slopes += parameter.grad
                        signs += parameter.grad.sign()
                        own += rate * float(parameter.grad.abs().sum())
        every = sum(rate * float((slopes * signs).sum()) for rate, _, slopes, signs in sums)
        others = (every - own) / max(1, len(batches) - 1)
        factor = loss / own * min(MOST, max(LEAST, RATE * others / own)) if own and loss > 0 else 1.0
        for group in weights:
            group["rate"] *= factor
        return self.config.student.lr * factor

    def run(self, display: Display) -> None:
        """All epochs; the student is left in evaluation mode, quantised, at the final keep rates."""
        for epoch in range(1, self.config.student.epochs + 1):
            display.phase("fine-tuning", epoch, self.config.student.epochs)
            self.student_epoch(display)
        self.student.eval()

    def _start_quantisation(self, done: int) -> None:
        """Quantisers and their ranges are there already."""

    def _residual_moves(self, done: int) -> bool:
        """Before every epoch: the weights leave what ranges were chosen for."""
        return True

    def accuracy_of(self, forward: Callable[[Tensor], Tensor], limit: int | None = None) -> float:
        """See :meth:`StudentTraining.accuracy_of`; what was given as ``quality``."""
        return self.quality(forward, limit)
