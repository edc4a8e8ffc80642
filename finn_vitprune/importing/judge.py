"""What every stage of an import is judged by: held-out images, and the float network's answers to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.calibration.ranges import ChosenRange
from finn_vitprune.importing.noise import EncoderStreams, decibels, steepest
from finn_vitprune.importing.plan import ELSE
from finn_vitprune.labels import draw
from finn_vitprune.models.evaluate import logits_of
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.layers import LayerShares
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.report.scores import cosines

MUCH = 0.02
"""A stage that loses so much of the cosine or of the accuracy gets a note."""
STATUS_IMAGES = 20
"""Held-out images between two statuses."""


@dataclass(frozen=True)
class Stage:
    """What one stage left of the float network's answers on the held-out images.

    cosine: mean cosine of its logits and the float network's, worst: that of the worst image. agreement: share of images
    with the same class. accuracy: share of right classes, None without labels. encoders: signal to noise of what the classifier
    would read after every encoder, in decibels; empty of the integers.
    """

    name: str
    cosine: float
    worst: float
    agreement: float
    accuracy: float | None
    encoders: tuple[float, ...]

    @property
    def quality(self) -> float:
        """Accuracy, or the mean cosine where there are no labels."""
        return self.cosine if self.accuracy is None else self.accuracy


@dataclass(frozen=True)
class Student:
    """A network on its way to the accelerator, the scores that its masks come from, and shares by layer where layers were measured."""

    network: PrunedViT
    scores: PruneScores
    layers: LayerShares | None = None

    @property
    def masks(self) -> list[EncoderMask]:
        """One an encoder, at the final keep rates."""
        return self.scores.final_masks()


@dataclass(frozen=True)
class HeldOut:
    """Held-out images ``[F, H, W, C]`` uint8, their labels ``[F]`` or None, and where networks answer them."""

    images: np.ndarray
    labels: np.ndarray | None
    seed: int
    device: torch.device

    def draw(self, count: int | None) -> np.ndarray:
        """Indices of ``count`` of the images (None: all); always the same."""
        return draw(len(self.images), count, self.seed, self.labels)

    @torch.no_grad()
    def logits(self, stage: str, forward: Callable[[Tensor], Tensor], count: int | None = None) -> np.ndarray:
        """Logits ``[F, classes]`` of ``count`` of the images (None: all); a status tells how many are done."""
        images, found = self.images[self.draw(count)], []
        pace = progress.Pace(len(images))
        for start in range(0, len(images), STATUS_IMAGES):
            progress.status(f"{stage}, held-out images: {pace.at(start)}")
            found.append(logits_of(lambda x: forward(x.to(self.device)).cpu(), images[start : start + STATUS_IMAGES]))
        return np.concatenate(found)


@dataclass(frozen=True)
class Judge:
    """The float network's answers to the held-out images: logits ``[F, classes]``, and the streams of its encoders."""

    held_out: HeldOut
    logits: np.ndarray
    streams: EncoderStreams

    @classmethod
    def of(cls, network: PrunedViT, held_out: HeldOut) -> Judge:
        """By the answers of the float network."""
        with EncoderStreams().watching(network) as streams:
            logits = held_out.logits("float", network)
        return cls(held_out, logits, streams)

    def stage(self, name: str, logits: np.ndarray, streams: EncoderStreams | None = None) -> Stage:
        """A stage that answers ``logits``."""
        found, labels = logits.argmax(1), self.held_out.labels
        accuracy = None if labels is None else float((found == labels).mean())
        agreement = float((found == self.logits.argmax(1)).mean())
        similar = cosines(logits, self.logits)
        noise = () if streams is None else decibels(streams, self.streams)
        return Stage(name, float(similar.mean()), float(similar.min()), agreement, accuracy, noise)

    def measure(self, name: str, student: Student) -> Stage:
        """The stage at which a student is."""
        masks = student.masks
        with EncoderStreams().watching(student.network) as streams:
            logits = self.held_out.logits(name, lambda x: student.network(x, masks))
        return self.stage(name, logits, streams)

    def quality(self, forward: Callable[[Tensor], Tensor], count: int | None) -> float:
        """Accuracy on ``count`` images (None: all), or agreement with the float network where there are no labels."""
        labels = self.held_out.labels
        wanted = self.logits.argmax(1) if labels is None else labels
        found = self.held_out.logits("fine-tune", forward, count).argmax(1)
        return float((found == wanted[self.held_out.draw(count)]).mean())


@dataclass(frozen=True)
class Course:
    """The stages of an import so far, the ranges of its quantisers, and notes; each is shown as it comes.

    tries: what to try, by the stage that loses much.
    """

    tries: Mapping[str, str]
    stages: list[Stage] = field(default_factory=list)
    ranges: list[ChosenRange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, stage: Stage) -> Stage:
        """A further stage; a note where it loses much."""
        self.stages.append(stage)
        shown = "" if stage.accuracy is None else f", accuracy {stage.accuracy:.4f}"
        progress.line(
            f"{stage.name}: cosine {stage.cosine:.4f} (worst image {stage.worst:.4f}), top-1 agreement {stage.agreement:.4f}{shown}"
        )
        if stage.encoders:
            noise = ", ".join(f"{r:.1f}" for r in stage.encoders)
            progress.log.info("%s: signal to noise after each encoder: %s dB", stage.name, noise)
        if text := loss_note(self.stages, self.ranges, self.tries):
            self.note(text)
        return stage

    def note(self, text: str) -> None:
        """A further note."""
        self.notes.append(text)
        progress.line(f"note: {text}")


def loss_note(stages: Sequence[Stage], ranges: Sequence[ChosenRange], tries: Mapping[str, str]) -> str:
    """What to say where the last stage lost much of what the one before had, with what to try by the stage; empty where it did not."""
    if len(stages) < 2:
        return ""
    before, now = stages[-2:]
    lost = before.cosine - now.cosine
    fewer = 0.0 if now.accuracy is None else before.accuracy - now.accuracy
    if lost < MUCH and fewer < MUCH:
        return ""
    encoder = steepest(now.encoders, before.encoders) if now.encoders else 0
    own = [r for r in ranges if r.quantiser.startswith(f"blocks.{encoder - 1}.")]
    if now.name == "quantised" and own:
        noisiest = max(own, key=lambda r: r.output_error)
        layer = f"encoder {encoder} most, there {noisiest.quantiser}"
    else:
        layer = f"encoder {encoder} most" if encoder else "when scales become those of the hardware"
    shown = f"{lost:.3f} of the cosine" + ("" if now.accuracy is None else f" and {fewer:.3f} of the accuracy")
    return f"the stage {now.name} loses {shown}, {layer}: try {tries.get(now.name) or tries[ELSE]}"
