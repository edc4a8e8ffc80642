"""Epochs of the pruned quantised student, whoever teaches it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.labels import drawn_text
from finn_vitprune.models.evaluate import EVAL_BATCH
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.schedule import CubicSchedule, QuantSchedule, TokenSchedule
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training.checkpoint import TrainingProgress
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.data import Augmentation, Dataset
from finn_vitprune.training.display import Display
from finn_vitprune.training.features import FeatureError
from finn_vitprune.training.parallel import Processes, Products

CALIBRATION_IMAGES = 512
LR_WARMUP = 0.04
"""Share of a phase in which the learning rate rises."""


class StudentTraining(ABC):
    """A student, its scores and schedules, and what an epoch does to them."""

    def __init__(
        self, config: TrainConfig, data: Dataset, processes: Processes, student: PrunedViT, scores: PruneScores, distiller: nn.Module
    ) -> None:
        """
        Args:
            student, scores: trained in place, on the device of ``processes``.
            distiller: the network that the student learns from.
        """
        self.config, self.data, self.processes = config, data, processes
        self.augmentation = Augmentation(config.shift, config.flip, config.crop)
        data.check(self.augmentation)
        self.labels = torch.from_numpy(data.train_labels)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.epoch_generator = self.generator.get_state()
        """The state that the present epoch began with."""
        self.products = Products(config.precision, processes.device)
        self.features = FeatureError(student, distiller, config.student.distill_features)
        self.student, self.scores, self.distiller = student, scores, distiller
        s, p, steps = config.student, config.prune, -(-len(self.labels) // config.batch_size)
        self.steps_per_epoch = steps
        self.student_optimizer = torch.optim.AdamW(self._student_groups())
        warmup, hold = (0, s.epochs) if s.masks_stay else (s.warmup_epochs, s.hold_epochs)
        self.schedule = CubicSchedule(s.epochs * steps, round(warmup * steps), round(hold * steps))
        self.tokens = TokenSchedule(p.token_start_epoch * steps, p.token_ramp_epochs * steps, str(p.token_keep))
        self.quantisation = QuantSchedule(config.quant.start_epoch, s.epochs)
        self.progress = TrainingProgress()

    def pause(self) -> None:
        """Called whenever a checkpoint may be written; it holds ``progress`` and :attr:`epoch_generator`."""

    @abstractmethod
    def teacher_logits(self, images: Tensor) -> Tensor:
        """What the distiller answers to ``images`` ``[B, H, W, C]`` of uint8 values."""

    def _student_groups(self) -> list[dict]:
        """Matrices with weight decay; biases, tokens and scales without; scores, last, at their own rate.

        The patch embedding works on raw pixels, so its weights are smaller by 255 std, and so is its rate.
        """
        s, pixel = self.config.student, self.student.patch_embed.weight
        decayed = [p for p in self.student.parameters() if p.ndim == 2 and p is not pixel]
        plain = [p for p in self.student.parameters() if p.ndim != 2]
        return [
            {"params": decayed, "rate": s.lr, "weight_decay": s.weight_decay},
            {"params": plain, "rate": s.lr, "weight_decay": 0.0},
            {"params": [pixel], "rate": s.lr / (255.0 * max(self.data.std)), "weight_decay": 0.0},
            {"params": list(self.scores.parameters()), "rate": 0.0 if s.masks_stay else s.score_lr, "weight_decay": 0.0},
        ]

    # --- epochs ---

    def _batches(self) -> list[Tensor]:
        """Indices of the batches of one epoch, shuffled."""
        order = torch.randperm(len(self.labels), generator=self.generator)
        return list(order.split(self.config.batch_size))

    def _epoch(
        self,
        position: Callable[[int], float],
        loss_of: Callable[[int, Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        parameters: list[Tensor],
        display: Display,
    ) -> None:
        """One pass over the training images, or the rest of it; the losses are in ``progress``.

        Args:
            position: share of the phase that is over at a batch of this epoch.
            loss_of: batch number, images and labels to one loss an image.
            parameters: those whose gradient is clipped.
        """
        everything = [p for group in optimizer.param_groups for p in group["params"]]
        self.epoch_generator = self.generator.get_state()
        batches, device, done = self._batches(), self.processes.device, self.progress.step
        part = (self.processes.rank, self.processes.count)
        images_left = self.data.epoch(batches, self.generator, self.augmentation, part, done)
        for i, (images, labels) in enumerate(images_left, start=done):
            _cosine(optimizer, position(i))
            losses = loss_of(i, images.to(device), labels.to(device))
            loss = losses.sum() / len(batches[i])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.processes.sum_gradients(everything)
            total = float(self.processes.total(loss.detach()))
            if not np.isfinite(total):
                raise UserError("training diverged (loss is not finite): use a smaller learning rate")
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            self.progress.losses.append(total)
            self.progress.step = i + 1
            display.step(total)
            self.pause()

    def _prepare_student(self) -> None:
        """Quantisation on or off, and token drops, as they are after the finished epochs."""
        p, done = self.progress, self.progress.student_epochs
        self.student.quantise(self.quantisation.quantised(done, p.step > 0, p.measured > 0))
        self.student.set_token_keep(self.tokens.rate(done * self.steps_per_epoch))

    def _start_quantisation(self, done: int) -> None:
        """Quantise the student after ``done`` epochs; scales from training images at the masks there."""
        self.student.quantise(True)
        self.student.set_token_keep(self.tokens.rate(done * self.steps_per_epoch))
        self.student.calibrate(self._calibration(), self._masks(done))

    def _calibration(self) -> Tensor:
        return self.data.calibration(min(CALIBRATION_IMAGES, len(self.labels))).to(self.processes.device)

    def student_epoch(self, display: Display) -> None:
        """One epoch of the student: masks at the scheduled keep rates, distillation, residual scale."""
        p, done = self.config.prune_config(), self.progress.student_epochs
        start = self.quantisation.start
        first = done * self.steps_per_epoch
        if self.progress.step:
            pass  # goes on within the epoch
        elif done == start:
            self._start_quantisation(done)
        elif start < done and self._residual_moves(done):
            self.student.calibrate_residual(self._calibration(), self._masks(done))

        def loss_of(i: int, images: Tensor, labels: Tensor) -> Tensor:
            step = first + i
            masks = self.scores.masks(self.schedule.rate(step, p.block_keep), self.schedule.rate(step, p.neuron_keep))
            self.student.set_token_keep(self.tokens.rate(step))
            return self._distillation(self.products(self.student, images, masks), images, labels)

        self.student.train()
        self.distiller.eval()
        with self.features.watched():
            self._epoch(
                lambda i: (first + i) / self.schedule.steps, loss_of, self.student_optimizer, list(self.student.parameters()), display
            )
        if self.quantisation.after(done) and not self.progress.measured:
            self._start_quantisation(done + 1)
        self._record(done + 1, display)

    def _residual_moves(self, done: int) -> bool:
        """Whether the residual scale is chosen anew after ``done`` epochs: while keep rates fall."""
        return done * self.steps_per_epoch < self.schedule.steps - self.schedule.hold

    def _record(self, done: int, display: Display) -> None:
        """Measure the student, after ``done`` epochs, and end the present one."""
        p = self.config.prune_config()
        step = done * self.steps_per_epoch
        masks, token_keep = self._masks(done), self.tokens.rate(step)
        self.student.eval()
        self.student.set_token_keep(token_keep)
        limit = None if done == self.config.student.epochs else self.config.eval_images
        accuracy = self.accuracy_of(lambda x: self.student(x, masks), limit)
        heads = sum(int(m.heads.sum()) for m in masks)
        loss = self.progress.end_epoch()
        self.progress.student_epochs = done
        record = {
            "epoch": done,
            "loss": loss,
            "accuracy": accuracy,
            "block_keep": float(self.schedule.rate(step, p.block_keep)),
            "neuron_keep": float(self.schedule.rate(step, p.neuron_keep)),
            "token_keep": float(token_keep),
            "heads": heads,
        }
        self.progress.student_history.append(record)
        display.epoch(
            f"loss {loss:.3f} accuracy {accuracy:.4f} blocks {record['block_keep']:.3f} tokens {record['token_keep']:.3f} heads {heads}"
        )

    @torch.no_grad()
    def _masks(self, epochs: int) -> list[EncoderMask]:
        """Masks (no gradient) after ``epochs`` finished student epochs."""
        p, step = self.config.prune_config(), epochs * self.steps_per_epoch
        return self.scores.masks(self.schedule.rate(step, p.block_keep), self.schedule.rate(step, p.neuron_keep))

    def _distillation(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """w T^2 KL(teacher's soft labels || student) + (1 - w) CE + the error of the features, one value an image; no labels at w = 1."""
        s, t = self.config.student, self.config.student.temperature
        loss = 0.0
        if s.distill_weight < 1:
            loss = (1 - s.distill_weight) * F.cross_entropy(logits, labels, reduction="none")
        if s.distill_weight or self.features.weight:
            with torch.no_grad():
                known = self.products(self.teacher_logits, images)
        if s.distill_weight:
            soft = F.log_softmax(known / t, dim=-1)
            kl = F.kl_div(F.log_softmax(logits / t, dim=-1), soft, log_target=True, reduction="none").sum(1)
            loss = loss + s.distill_weight * t * t * kl
        return loss + self.features.of_last_pass() if self.features.weight else loss

    # --- measuring ---

    @property
    def measured_on(self) -> str:
        """The held-out images on which an epoch but the last of a phase is measured, in words."""
        total, limit = len(self.data.test_labels), self.config.eval_images
        return drawn_text(limit or total, total, self.config.seed, labelled=True)

    @torch.no_grad()
    def accuracy_of(self, forward: Callable[[Tensor], Tensor], limit: int | None = None) -> float:
        """Share of the held-out images, or of ``limit`` of them (always the same), that ``forward`` gets right.

        The work is split over the processes. One process alone goes on where ``progress`` says that measuring was interrupted.
        """
        p, alone = self.progress, self.processes.count == 1
        chosen = self.data.held_out(limit, self.config.seed)
        labels = torch.from_numpy(self.data.test_labels[chosen]).split(EVAL_BATCH)
        right, left = torch.tensor(p.right, device=self.processes.device), chosen[p.measured * EVAL_BATCH :]
        batches = self.data.test_batches(EVAL_BATCH, left) if len(left) else ()
        for i, images in enumerate(batches, start=p.measured):
            if i % self.processes.count == self.processes.rank:
                right += (forward(images.to(self.processes.device)).argmax(1).cpu() == labels[i]).sum()
            if alone:
                p.measured, p.right = i + 1, float(right)
                self.pause()
        p.measured, p.right = 0, 0.0
        return float(self.processes.total(right)) / len(chosen)


def _cosine(optimizer: torch.optim.Optimizer, position: float) -> None:
    """Learning rates at ``position`` (0 to 1): a rise over the first LR_WARMUP, a cosine down to 1 %."""
    factor = 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, position))))
    factor *= min(1.0, position / LR_WARMUP + 0.01)
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factor
