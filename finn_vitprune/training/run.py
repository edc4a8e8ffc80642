"""State and epochs of one training run: dense float teacher, then pruned quantised student."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.pruning.scoring import set_scores
from finn_vitprune.training import checkpoint, teacher
from finn_vitprune.training.checkpoint import TrainingProgress
from finn_vitprune.training.config import TrainConfig, saved_config
from finn_vitprune.training.data import Dataset
from finn_vitprune.training.display import Display
from finn_vitprune.training.parallel import Processes
from finn_vitprune.training.student import StudentTraining
from finn_vitprune.training.trained import start_from

SCORE_IMAGES = 256


class TrainingRun(StudentTraining):
    """State and steps of a training run; everything that an epoch changes is in its checkpoint."""

    def __init__(self, config: TrainConfig, out_dir: Path) -> None:
        self.out_dir, processes, data = out_dir, Processes(), config.load_data()
        device = processes.device
        torch.manual_seed(config.seed)
        self.teacher = teacher.make_teacher(config, data).to(device)
        self.dense: ViTConfig = config_of_timm(self.teacher)
        self.vit: ViTConfig = config.vit_config(self.dense)
        student = PrunedViT(self.vit).to(device)
        scores = PruneScores(self.vit, config.prune_config()).to(device)
        distiller = _distiller(config, data, self.teacher).to(device)
        super().__init__(config, data, processes, student, scores, distiller)
        self.teacher_optimizer = torch.optim.AdamW(
            [{"params": list(self.teacher.parameters()), "rate": config.teacher.lr}], weight_decay=config.teacher.weight_decay
        )
        self._prepare_student()
        self.start_clock()

    def teacher_logits(self, images: Tensor) -> Tensor:
        """See :meth:`StudentTraining.teacher_logits`."""
        return teacher.logits(self.distiller, images, self.data)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        p, c = self.progress, self.config
        return p.teacher_epochs >= c.teacher.epochs and p.student_epochs >= c.student.epochs

    # --- epochs ---

    def teacher_epoch(self, display: Display) -> None:
        """One epoch of the float teacher, cosine learning rate."""
        t, done = self.config.teacher, self.progress.teacher_epochs

        def loss_of(_: int, images: Tensor, labels: Tensor) -> Tensor:
            logits = self.products(teacher.logits, self.teacher, images, self.data)
            return F.cross_entropy(logits, labels, label_smoothing=t.label_smoothing, reduction="none")

        self.teacher.train()
        self._epoch(
            lambda i: (done + i / self.steps_per_epoch) / t.epochs,
            loss_of,
            self.teacher_optimizer,
            list(self.teacher.parameters()),
            display,
        )
        accuracy = self.teacher_accuracy(None if done + 1 == t.epochs else self.config.eval_images)
        loss = self.progress.end_epoch()
        self.progress.teacher_epochs += 1
        self.progress.teacher_history.append({"epoch": done + 1, "loss": loss, "accuracy": accuracy})
        display.epoch(f"loss {loss:.3f} accuracy {accuracy:.4f}")

    def start_student(self) -> None:
        """The student starts from the teacher's weights, its scores from what the configuration says.

        ``prune.score_start`` orders the scores from 0 to 1 on calibration images, and corrects weights where masks stay.
        ``student.weights`` takes the place of both.
        """
        if (path := self.config.student.weights) is not None:
            start_from(Path(path), self.student, self.scores)
            self._prepare_student()
            return
        load_timm(self.student, self.teacher.state_dict(), self.data.mean, self.data.std)
        kind, s = self.config.prune.score_start, self.config.student
        if kind is None or not s.epochs:
            return
        self.student.quantise(False)
        self.student.set_token_keep("1")
        count = min(SCORE_IMAGES, len(self.labels))
        images, labels = self.data.calibration(count), self.data.calibration_labels(count)
        scored = set_scores(self.scores, kind, self.student, images, labels, self.config.seed, self.config.prune.by_layer)
        self.scores.spread_evenly()
        if s.masks_stay:
            scored.correct(self.student, self.scores.final_masks())
        self._prepare_student()

    # --- measuring and saving ---

    def teacher_accuracy(self, limit: int | None = None) -> float:
        """Held-out accuracy of the float teacher."""
        self.teacher.eval()
        return self.accuracy_of(lambda x: teacher.logits(self.teacher, x, self.data), limit)

    def start_clock(self) -> None:
        """Count time from here on."""
        self._clock = now()

    def pause(self) -> None:
        """Write the checkpoint, unless one is recent."""
        if now()[0] - self._clock[0] >= checkpoint.SECONDS:
            self.save()

    def save(self) -> None:
        """Write the checkpoint (main process)."""
        before, p = self._clock, self.progress
        self.start_clock()
        p.seconds += self._clock[0] - before[0]
        p.cpu_seconds += self._clock[1] - before[1]
        if not self.processes.main:
            return
        parts = ("teacher", "student", "scores", "teacher_optimizer", "student_optimizer")
        content = {
            "config": self.config.model_dump(mode="json"),
            "progress": dataclasses.asdict(self.progress),
            **{name: getattr(self, name).state_dict() for name in parts},
            "generator": self.epoch_generator if p.step else self.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
        }
        checkpoint.save(self.out_dir / checkpoint.FILE, content)

    def restore(self, content: dict) -> None:
        """Continue from a checkpoint's content."""
        self.progress = TrainingProgress(**content["progress"])
        for name in ("student", "scores", "student_optimizer"):
            getattr(self, name).load_state_dict(content[name])
        self._restore_teacher(content)
        self._prepare_student()

    def _restore_teacher(self, content: dict) -> None:
        for name in ("teacher", "teacher_optimizer"):
            getattr(self, name).load_state_dict(content[name])
        self.generator.set_state(content["generator"])
        torch.set_rng_state(content["torch_rng"])

    def take_teacher(self, path: Path) -> None:
        """Start after the teacher's phase, from the ``teacher.pt`` of a run that trained the same teacher.

        The result is the one that training the teacher here would give.
        """
        content = checkpoint.load(path)
        teacher.check_same_teacher(self.config, content, path)
        self.progress = TrainingProgress(**content["progress"])
        self._restore_teacher(content)
        self.start_student()

    @classmethod
    def from_checkpoint(cls, path: Path) -> TrainingRun:
        """The run that a checkpoint file belongs to (its results go beside the file)."""
        content = checkpoint.load(path)
        run = cls(saved_config(content["config"], str(path)), path.parent)
        run.restore(content)
        return run


def _distiller(config: TrainConfig, data: Dataset, own: nn.Module) -> nn.Module:
    """The network that the student learns from: its own teacher, or the timm model of the configuration."""
    name, weights = config.teacher.distill_from, config.teacher.distill_weights
    if name is None:
        return own
    model = teacher.timm_model(name, data, pretrained=weights is None)
    if weights is not None and not teacher.load_weights(model, Path(weights), data):
        raise UserError(f"teacher.distill_weights: {weights} has other classes than {data.name}")
    return model.eval()


def now() -> tuple[float, float]:
    """Seconds of a monotonic clock, and seconds of processor time of this process."""
    return time.monotonic(), time.process_time()
