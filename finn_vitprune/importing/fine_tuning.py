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
from finn_vitprune.training.parallel import Processes
from finn_vitprune.training.student import StudentTraining


class FineTuning(StudentTraining):
    """The student's epochs, starting from a network and scores that are there already.

    The loss is T^2 KL(student || float network), as ``config`` says: no labels are needed. Nothing is saved on the way.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        teacher: PrunedViT,
        student: PrunedViT,
        scores: PruneScores,
        quality: Callable[[Callable[[Tensor], Tensor], int | None], float],
    ) -> None:
        """
        Args:
            config: its data set and teacher are not used; ``student.distill_weight`` is 1.
            teacher: the float network; student, scores: trained in place.
            quality: what an epoch reports as accuracy of ``forward`` (uint8 images as floats to logits) on
                so many of the held-out images, None for all.
        """
        super().__init__(config, data, Processes(), student, scores, teacher)
        torch.manual_seed(config.seed)
        self.quality = quality

    def teacher_logits(self, images: Tensor) -> Tensor:
        """See :meth:`StudentTraining.teacher_logits`."""
        return self.distiller(images)

    def run(self, display: Display) -> None:
        """All epochs; the student is left in evaluation mode, quantised, at the final keep rates."""
        for _ in range(self.config.student.epochs):
            self.student_epoch(display)
        self.student.eval()

    def accuracy_of(self, forward: Callable[[Tensor], Tensor], limit: int | None = None) -> float:
        """See :meth:`StudentTraining.accuracy_of`; what was given as ``quality``."""
        return self.quality(forward, limit)
