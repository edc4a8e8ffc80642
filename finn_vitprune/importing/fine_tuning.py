"""A few epochs of distillation from the imported float network, in the loop that training has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.schedule import CubicSchedule, TokenSchedule
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training.checkpoint import TrainingProgress
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.data import Augmentation, Dataset
from finn_vitprune.training.display import Display
from finn_vitprune.training.parallel import Processes
from finn_vitprune.training.run import TrainingRun


class FineTuning(TrainingRun):
    """The student's epochs of a training run, starting from a network and scores that are there already.

    The loss is T^2 KL(student || float network): no labels are needed. Nothing is saved on the way.
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
            config: its data set and teacher are not used.
            teacher: the float network; student, scores: trained in place.
            quality: what an epoch reports as accuracy of ``forward`` (uint8 images as floats to logits) on
                the first so many held-out images, None for all.
        """
        s = config.student
        self.config, self.out_dir, self.data = config, Path(), data
        self.processes = Processes()
        self.augmentation = Augmentation(config.shift, config.flip, config.crop)
        data.check(self.augmentation)
        self.labels = torch.from_numpy(data.train_labels)
        self.generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)
        self.teacher = self.distiller = teacher
        self.dense, self.vit = teacher.config, student.config
        self.student, self.scores, self.quality = student, scores, quality
        self.steps_per_epoch = steps = -(-len(self.labels) // config.batch_size)
        self.student_optimizer = torch.optim.AdamW(self._student_groups())
        self.schedule = CubicSchedule(s.epochs * steps, s.warmup_epochs * steps, s.hold_epochs * steps)
        self.tokens = TokenSchedule(0, 0, str(config.prune.token_keep))
        self.progress = TrainingProgress()

    def run(self, display: Display) -> None:
        """All epochs; the student is left in evaluation mode, quantised, at the final keep rates."""
        for _ in range(self.config.student.epochs):
            self.student_epoch(display)
        self.student.eval()

    def accuracy_of(self, forward: Callable[[Tensor], Tensor], limit: int | None = None) -> float:
        """See :meth:`TrainingRun.accuracy_of`; what was given as ``quality``."""
        return self.quality(forward, limit)

    def _distillation(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """T^2 KL(student || float network), one value an image."""
        t = self.config.student.temperature
        with torch.no_grad():
            soft = F.log_softmax(self.teacher(images) / t, dim=-1)
        kl = F.kl_div(F.log_softmax(logits / t, dim=-1), soft, log_target=True, reduction="none")
        return t * t * kl.sum(1)
