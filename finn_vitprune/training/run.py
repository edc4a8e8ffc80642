"""One training run: dense float teacher, pruned quantised student, export."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.timm_weights import load_timm
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.schedule import CubicSchedule
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.training import checkpoint
from finn_vitprune.training.checkpoint import Progress
from finn_vitprune.training.config import TrainConfig, parse_config
from finn_vitprune.training.data import Dataset, augment, load_dataset
from finn_vitprune.training.display import Display

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 512
EVAL_BATCH = 180
LR_WARMUP = 0.04
"""Share of a phase in which the learning rate rises."""


class Run:
    """State and steps of a training run; everything that an epoch changes is in its checkpoint."""

    def __init__(self, config: TrainConfig, out_dir: Path) -> None:
        self.config, self.out_dir = config, out_dir
        self.data: Dataset = load_dataset(config.dataset)
        self.vit: ViTConfig = config.vit_config(self.data)
        torch.manual_seed(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.images = torch.from_numpy(self.data.train_images).float()
        self.labels = torch.from_numpy(self.data.train_labels)
        self.teacher = make_teacher(config, self.data)
        self.student = PrunedViT(self.vit)
        self.scores = PruneScores(self.vit, config.prune_config())
        steps = -(-len(self.images) // config.batch_size)
        t, s = config.teacher, config.student
        self.steps_per_epoch = steps
        self.teacher_optimizer = torch.optim.AdamW(
            [{"params": list(self.teacher.parameters()), "rate": t.lr}], weight_decay=t.weight_decay
        )
        self.student_optimizer = torch.optim.AdamW(self._student_groups())
        self.schedule = CubicSchedule(s.epochs * steps, s.warmup_epochs * steps, s.hold_epochs * steps)
        self.progress = Progress()

    def _student_groups(self) -> list[dict]:
        """Matrices with weight decay; biases, tokens and scales without; scores at their own rate.

        The patch embedding works on raw pixels, so its weights are smaller by 255 std, and so is its rate.
        """
        s, pixel = self.config.student, self.student.patch_embed.weight
        decayed = [p for p in self.student.parameters() if p.ndim == 2 and p is not pixel]
        plain = [p for p in self.student.parameters() if p.ndim != 2]
        return [
            {"params": decayed, "rate": s.lr, "weight_decay": s.weight_decay},
            {"params": plain, "rate": s.lr, "weight_decay": 0.0},
            {"params": [pixel], "rate": s.lr / (255.0 * max(self.data.std)), "weight_decay": 0.0},
            {"params": list(self.scores.parameters()), "rate": s.score_lr, "weight_decay": 0.0},
        ]

    # --- epochs ---

    def batches(self) -> list[Tensor]:
        """Indices of the batches of one epoch, shuffled."""
        return list(torch.randperm(len(self.images), generator=self.generator).split(self.config.batch_size))

    def teacher_epoch(self, display: Display) -> None:
        """One epoch of the float teacher, cosine learning rate."""
        t, done = self.config.teacher, self.progress.teacher_epochs
        self.teacher.train()
        for i, index in enumerate(self.batches()):
            self._cosine(self.teacher_optimizer, (done + i / self.steps_per_epoch) / t.epochs)
            images = augment(self.images[index], self.generator, self.config.shift)
            logits = teacher_logits(self.teacher, images, self.data)
            loss = F.cross_entropy(logits, self.labels[index], label_smoothing=t.label_smoothing)
            self._step(self.teacher_optimizer, loss, self.teacher)
            display.step(float(loss))
        accuracy = self.teacher_accuracy()
        self.progress.teacher_epochs += 1
        self.progress.teacher_history.append({"epoch": done + 1, "accuracy": accuracy})
        display.epoch(f"accuracy {accuracy:.4f}")

    def start_student(self) -> None:
        """The student starts from the teacher's weights, scales from calibration."""
        load_timm(self.student, self.teacher.state_dict(), self.data.mean, self.data.std)
        self.student.calibrate(self.images[:CALIBRATION_IMAGES], self.scores.masks("1", "1"))

    def student_epoch(self, display: Display) -> None:
        """One epoch of the student: masks at the scheduled keep rate, distillation, residual scale."""
        s, p, done = self.config.student, self.config.prune_config(), self.progress.student_epochs
        if done < s.epochs - s.hold_epochs and done > 0:
            with torch.no_grad():
                self.student.calibrate_residual(self.images[:CALIBRATION_IMAGES], self._masks(done))
        self.student.train()
        self.teacher.eval()
        losses = []
        for i, index in enumerate(self.batches()):
            step = done * self.steps_per_epoch + i
            self._cosine(self.student_optimizer, step / self.schedule.steps)
            block_keep = self.schedule.rate(step, p.block_keep)
            neuron_keep = self.schedule.rate(step, p.neuron_keep)
            masks = self.scores.masks(block_keep, neuron_keep)
            images = augment(self.images[index], self.generator, self.config.shift)
            loss = self._distillation(self.student(images, masks), images, self.labels[index])
            self._step(self.student_optimizer, loss, self.student)
            losses.append(float(loss))
            display.step(losses[-1])
        self.progress.student_epochs += 1
        masks = self._masks(done + 1)
        accuracy = accuracy_of(lambda x: self.student(x, masks), self.data)
        heads = [int(m.heads.sum()) for m in masks]
        record = {
            "epoch": done + 1,
            "loss": float(np.mean(losses)),
            "accuracy": accuracy,
            "block_keep": float(block_keep),
            "neuron_keep": float(neuron_keep),
            "heads": sum(heads),
        }
        self.progress.student_history.append(record)
        display.epoch(f"accuracy {accuracy:.4f} keep {float(block_keep):.3f} heads {sum(heads)}")

    def _masks(self, epochs: int) -> list[EncoderMask]:
        """Masks (no gradient) after ``epochs`` finished student epochs."""
        p, step = self.config.prune_config(), epochs * self.steps_per_epoch
        with torch.no_grad():
            return self.scores.masks(
                self.schedule.rate(step, p.block_keep), self.schedule.rate(step, p.neuron_keep)
            )

    def _distillation(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """w T^2 KL(student || teacher's soft labels) + (1 - w) CE."""
        s, t = self.config.student, self.config.student.temperature
        with torch.no_grad():
            soft = F.log_softmax(teacher_logits(self.teacher, images, self.data) / t, dim=-1)
        kl = F.kl_div(F.log_softmax(logits / t, dim=-1), soft, log_target=True, reduction="batchmean")
        return s.distill_weight * t * t * kl + (1 - s.distill_weight) * F.cross_entropy(logits, labels)

    def _cosine(self, optimizer: torch.optim.Optimizer, position: float) -> None:
        """Learning rates at ``position`` (0 to 1): a rise over the first LR_WARMUP, a cosine down to 1 %."""
        factor = 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, position))))
        factor *= min(1.0, position / LR_WARMUP + 0.01)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * factor

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor, model: nn.Module) -> None:
        if not bool(torch.isfinite(loss)):
            raise UserError("training diverged (loss is not finite): use a smaller learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    # --- measuring and saving ---

    def teacher_accuracy(self) -> float:
        """Held-out accuracy of the float teacher."""
        self.teacher.eval()
        return accuracy_of(lambda x: teacher_logits(self.teacher, x, self.data), self.data)

    def student_accuracy(self) -> float:
        """Held-out accuracy of the masked student at the final keep rates."""
        self.student.eval()
        with torch.no_grad():
            masks = self.scores.masks()
        return accuracy_of(lambda x: self.student(x, masks), self.data)

    def save(self) -> None:
        """Write the checkpoint."""
        checkpoint.save(
            self.out_dir / checkpoint.FILE,
            {
                "config": self.config.model_dump(mode="json"),
                "progress": dataclasses.asdict(self.progress),
                "teacher": self.teacher.state_dict(),
                "student": self.student.state_dict(),
                "scores": self.scores.state_dict(),
                "teacher_optimizer": self.teacher_optimizer.state_dict(),
                "student_optimizer": self.student_optimizer.state_dict(),
                "generator": self.generator.get_state(),
                "torch_rng": torch.get_rng_state(),
            },
        )

    def restore(self, content: dict) -> None:
        """Continue from a checkpoint's content."""
        self.progress = Progress(**content["progress"])
        for name in ("teacher", "student", "scores", "teacher_optimizer", "student_optimizer"):
            getattr(self, name).load_state_dict(content[name])
        self.generator.set_state(content["generator"])
        torch.set_rng_state(content["torch_rng"])

    @classmethod
    def from_checkpoint(cls, path: Path) -> "Run":
        """The run that a checkpoint file belongs to (its results go beside the file)."""
        content = checkpoint.load(path)
        run = cls(parse_config(content["config"], str(path)), path.parent)
        run.restore(content)
        return run


def make_teacher(config: TrainConfig, data: Dataset) -> VisionTransformer:
    """A timm vision transformer of the student's shape, float, nothing pruned.

    timm starts all matrices at a deviation of 0.02, made for widths of 384 and more; narrow networks
    learn slowly from there, so matrices start as PyTorch's own and positions at a deviation of 0.2.
    """
    m, (height, _, channels) = config.model, data.train_images.shape[1:]
    teacher = VisionTransformer(
        img_size=height,
        patch_size=m.patch_size,
        in_chans=channels,
        num_classes=data.classes,
        embed_dim=m.dim,
        depth=m.depth,
        num_heads=m.heads,
        mlp_ratio=m.mlp_ratio,
    )
    for module in teacher.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.reset_parameters()
    nn.init.normal_(teacher.pos_embed, std=0.2)
    return teacher


def teacher_logits(teacher: nn.Module, images: Tensor, data: Dataset) -> Tensor:
    """Logits of a timm model on ``[B, H, W, C]`` images of uint8 values."""
    mean, std = (torch.tensor(v).view(1, 1, 1, -1) for v in (data.mean, data.std))
    return teacher(((images / 255.0 - mean) / std).permute(0, 3, 1, 2))


@torch.no_grad()
def logits_of(forward, images: np.ndarray) -> np.ndarray:
    """Logits of ``forward`` on uint8 images, batch by batch."""
    parts = [
        forward(torch.from_numpy(images[i : i + EVAL_BATCH]).float())
        for i in range(0, len(images), EVAL_BATCH)
    ]
    return torch.cat(parts).numpy()


def accuracy_of(forward, data: Dataset) -> float:
    """Share of the held-out images that ``forward`` gets right."""
    return float((logits_of(forward, data.test_images).argmax(1) == data.test_labels).mean())


def now() -> float:
    """Seconds of a monotonic clock."""
    return time.monotonic()
