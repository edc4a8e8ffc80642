"""``import``: from a float or QDQ file of a vision transformer to a pruned quantised QONNX file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper
from rich.console import Console
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.calibration.ranges import ChosenRange, choose_ranges
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.export import GATE_IMAGES, SAMPLE_IMAGES, describe, exported, write_sample
from finn_vitprune.export.gate import GateReport
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.files import alone_with, whole_file
from finn_vitprune.importing.fine_tuning import FineTuning
from finn_vitprune.importing.float_model import Comparison, compare, configured, float_network
from finn_vitprune.importing.noise import EncoderStreams, decibels, steepest
from finn_vitprune.importing.plan import ELSE, ImportPlan, make_plan
from finn_vitprune.importing.views import views_of
from finn_vitprune.ingest.check.check_float import structure_of
from finn_vitprune.ingest.check.checked import Structure
from finn_vitprune.labels import draw, drawn_text
from finn_vitprune.models.evaluate import logits_of
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.pruning.scoring import set_scores
from finn_vitprune.report.scores import cosines
from finn_vitprune.training.display import Display, log_file
from finn_vitprune.training.parallel import own_device
from finn_vitprune.training.student import CALIBRATION_IMAGES
from finn_vitprune.transforms.lower import lower
from finn_vitprune.transforms.tidy_lowered import TidyLowered


COMPARED_IMAGES = 8
MUCH = 0.02
"""A stage that loses so much of the cosine or of the accuracy gets a note."""
CHANCE = 2.0
"""A float accuracy below so many times that of guessing gets a note."""

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
class Imported:
    """The result of an import; the file is written."""

    structure: Structure
    comparison: Comparison
    stages: tuple[Stage, ...]
    ranges: tuple[ChosenRange, ...]
    metadata: ModelMetadata
    gate: GateReport
    saturations: int
    eval_images: int
    measured_on: str
    normalisation: str
    notes: tuple[str, ...]
    seconds: float


def import_model(options: ImportOptions, console: Console | None = None) -> Imported:
    """Recognise, compare with onnxruntime, prune, calibrate, fine-tune, export.

    Writes ``options.output`` and beside it ``.npz`` (held-out images as builds verify with) and ``.log``.

    Args:
        console: where a bar over the epochs of fine-tuning is drawn; None: nowhere.
    Raises:
        UserError: the file is not supported (with node and cause), options or data do not fit, the float
            network differs from the file, or the export gate fails. Nothing is written then.
    """
    started = time.monotonic()
    options.files()
    plan = make_plan(options)
    work = _Work(plan)
    work.compare()
    with alone_with(plan.output, "import"):
        options.check_output()  # another import may have written it meanwhile
        with _no_new_log(plan.log):
            with log_file(plan.log):
                return _imported(work, started, console)


@contextmanager
def _no_new_log(log: Path) -> Iterator[None]:
    """After a UserError in the block there is no log that was not there before: nothing went wrong that the error does not say."""
    there = log.exists()
    try:
        yield
    except UserError:
        if not there:
            log.unlink(missing_ok=True)
        raise


def _imported(work: _Work, started: float, console: Console | None) -> Imported:
    """The stages after the comparison."""
    plan = work.plan
    work.prune()
    work.quantise()
    work.fine_tune(console)
    metadata, gate, saturations = work.export()
    return Imported(
        structure_of(plan.vit),
        work.comparison,
        tuple(work.stages),
        tuple(work.ranges),
        metadata,
        gate,
        saturations,
        len(work.images),
        work.measured_on,
        plan.normalisation,
        plan.notes + tuple(work.notes),
        time.monotonic() - started,
    )


class _Work:
    """The stages of an import, one after the other."""

    def __init__(self, plan: ImportPlan) -> None:
        self.plan = plan
        self.device = own_device()
        torch.manual_seed(plan.seed)
        self.float = float_network(plan.vit, plan.mean, plan.std).to(self.device)
        data = plan.data.data
        self.images, labels = data.test_sample(plan.eval_images, plan.seed)
        self.labels = labels if plan.data.labelled else None
        self.measured_on = drawn_text(len(labels), len(data.test_labels), plan.seed, plan.data.labelled)
        self.stages: list[Stage] = []
        self.ranges: list[ChosenRange] = []
        self.notes: list[str] = []
        self.streams = EncoderStreams()

    # --- stages ---

    def compare(self) -> None:
        """The float network against the file in onnxruntime, then its own answers.

        Raises:
            UserError: they differ by more than the tolerance.
        """
        plan = self.plan
        progress.status("comparing with onnxruntime")
        images = self.images[self._draw(COMPARED_IMAGES)]
        c = self.comparison = compare(
            plan.model, plan.file.kind, plan.vit, self.float, images, plan.mean, plan.std
        )
        text = (
            f"float network against onnxruntime on {c.images} images: largest difference {c.largest:.3g} at "
            f"outputs up to {c.scale:.3g} ({c.relative:.2g}, tolerance {plan.tolerance:g})"
        )
        if not c.relative <= plan.tolerance:
            raise UserError(f"{plan.model} is not supported: {text}; --tolerance sets what is allowed")
        progress.line(text)
        with self.streams.watching(self.float):
            self.reference = self._logits("float", self.float)
        self._stage("float", self.reference, self.streams)
        self._check_chance()

    def prune(self) -> None:
        """Student and scores; masks by score, token drops, still in float."""
        plan = self.plan
        self.scores = PruneScores(plan.config, plan.prune).to(self.device)
        pixels, labels = plan.data.calibration(CALIBRATION_IMAGES)
        self.pixels = torch.from_numpy(pixels).float()
        self.views = views_of(self.pixels, CALIBRATION_IMAGES if plan.learns else 0, plan.seed, plan.flip)
        if crops := len(self.views.images) - len(self.pixels):
            progress.line(f"{len(self.pixels)} calibration images and {crops} crops of them")
        progress.status(f"scores: {plan.score.value}")
        given = None if labels is None else torch.from_numpy(labels)[self.views.sources]
        correct = set_scores(self.scores, plan.score, self.float, self.views.images, given, plan.seed)
        normalise(self.scores)
        self.student = self._with_drops()
        correct(self.student, self.scores.final_masks())
        self._measure("pruned")
        if plan.reconstructs:
            self.student = self._with_drops()  # anew: a fit that begins at corrected weights comes out worse (docs/import.md)
            self._fit(rounded=False)
            self._measure("reconstructed")

    def quantise(self) -> None:
        """Activation ranges, then weights, from the calibration images at the final masks; quantised from here on."""
        student, masks = self.student, self.scores.final_masks()
        progress.status("calibrating activation ranges")
        student.calibrate(self.pixels.to(self.device), masks)
        self.ranges = choose_ranges(student, self.pixels, masks, self.plan.seed)
        for r in self.ranges:
            progress.log.info(
                "range: %s: clipped at %.4g of %.4g, signal to noise %.1f dB, error of the output %.3g",
                r.quantiser, r.clipped, r.largest, r.signal_to_noise, r.output_error,
            )
        student.quantise(True)
        self._measure("quantised")
        if self.plan.corrects:
            self._fit(rounded=True)
            self._measure("rounded")

    def _with_drops(self) -> PrunedViT:
        """The float network with the token drops of the student."""
        return configured(self.float, self.plan.config)

    def _fit(self, rounded: bool) -> None:
        """The student's layers to the float network's."""
        masks, views = self.scores.final_masks(), self.views
        fit_layers(self.student, self._with_drops(), views.images, masks, rounded, views.sources)

    def fine_tune(self, console: Console | None) -> None:
        """Epochs of distillation from the float network, where asked for."""
        tuning, data = self.plan.tuning, self.plan.data.data
        if tuning is None:
            return
        progress.status("fine-tuning")
        before, kept = self.stages[-1], deepcopy((self.student, self.scores))
        run = FineTuning(tuning.config, data, self.float, self.student, self.scores, self._quality, tuning.features)
        rate = run.choose_rate() if tuning.rate is None else tuning.rate
        progress.line(f"fine-tuning: learning rate {rate:.2g}, {tuning.config.batch_size} images a step")
        with Display(console, tuning.config.student.epochs, 0, run.steps_per_epoch) as display:
            run.run(display)
        self._measure("recovered")
        if self.stages[-1].quality < before.quality:
            self.student, self.scores = kept
            self._note("fine-tuning made it worse and was undone: use a smaller --learning-rate or more images")

    def export(self) -> tuple[ModelMetadata, GateReport, int]:
        """Cut small, scales fixed; written when the gate passes. The last stage is what the accelerator answers, in its own integers."""
        plan, prune = self.plan, self.plan.prune
        progress.status("fixing scales")
        self.device = torch.device("cpu")
        self.student.eval().cpu()
        self.scores.cpu()
        frozen = freeze(cut(self.student, self.scores.final_masks()))
        rates = (prune.block_keep, prune.neuron_keep, plan.token_keep)
        metadata = describe(plan.output.stem, plan.vit.config, frozen, prune.block_size, *map(float, rates))
        progress.status("exporting, and comparing every quantiser with PyTorch")
        model, gate = exported(frozen, metadata, self.images[self._draw(GATE_IMAGES)])
        logits, saturations = self._integers(model)
        self._stage("integer", logits)
        if saturations:
            self.notes.append(f"{saturations} values of the residual stream saturate on the held-out images")
        with whole_file(plan.output) as partial:
            model.save(str(partial))
        sample, chosen = {"images": self.images, "logits": logits, "labels": self.labels}, self._draw(SAMPLE_IMAGES)
        write_sample(plan.output, **{name: values[chosen] for name, values in sample.items() if values is not None})
        return metadata, gate, saturations

    # --- helpers ---

    def _integers(self, model: ModelWrapper) -> tuple[np.ndarray, int]:
        """Logits of the held-out images as the accelerator gives them, and how many values of its residual stream saturate."""
        lowered = lower(ModelWrapper(model.model, make_deepcopy=True))
        hardware = lowered.model.transform(TidyLowered())
        program, residual = IntegerProgram(hardware, self.device), golden.residual_streams(hardware)
        found, saturations, pace = [], 0, progress.Pace(len(self.images))
        for start in range(0, len(self.images), STATUS_IMAGES):
            progress.status(f"integer, held-out images: {pace.at(start)}")
            values = program.run(self.images[start : start + STATUS_IMAGES], residual)
            found.append(values[program.output].reshape(-1, program.classes) * np.asarray(lowered.logit_scale))
            saturations += golden.saturations(hardware, values)
        return np.concatenate(found), saturations

    def _measure(self, name: str) -> None:
        masks = self.scores.final_masks()
        with EncoderStreams().watching(self.student) as streams:
            logits = self._logits(name, lambda x: self.student(x, masks))
        self._stage(name, logits, streams)

    def _draw(self, count: int | None) -> np.ndarray:
        """``count`` of the held-out images, by index; always the same."""
        return draw(len(self.images), count, self.plan.seed, self.labels)

    @torch.no_grad()
    def _logits(self, stage: str, forward: Callable[[Tensor], Tensor], count: int | None = None) -> np.ndarray:
        """Logits of the held-out images, ``count`` of them or all; a status tells how many are done."""
        images, found = self.images[self._draw(count)], []
        pace = progress.Pace(len(images))
        for start in range(0, len(images), STATUS_IMAGES):
            progress.status(f"{stage}, held-out images: {pace.at(start)}")
            found.append(logits_of(lambda x: forward(x.to(self.device)).cpu(), images[start : start + STATUS_IMAGES]))
        return np.concatenate(found)

    def _quality(self, forward: Callable[[Tensor], Tensor], count: int | None) -> float:
        """Accuracy, or agreement with the float network where there are no labels."""
        wanted = self.reference.argmax(1) if self.labels is None else self.labels
        return float((self._logits("fine-tune", forward, count).argmax(1) == wanted[self._draw(count)]).mean())

    def _stage(self, name: str, logits: np.ndarray, streams: EncoderStreams | None = None) -> None:
        found = logits.argmax(1)
        accuracy = None if self.labels is None else float((found == self.labels).mean())
        agreement = float((found == self.reference.argmax(1)).mean())
        similar = cosines(logits, self.reference)
        noise = () if streams is None else decibels(streams, self.streams)
        stage = Stage(name, float(similar.mean()), float(similar.min()), agreement, accuracy, noise)
        self.stages.append(stage)
        shown = "" if accuracy is None else f", accuracy {accuracy:.4f}"
        progress.line(
            f"{name}: cosine {stage.cosine:.4f} (worst image {stage.worst:.4f}), top-1 agreement {agreement:.4f}{shown}"
        )
        if noise:
            progress.log.info("%s: signal to noise after each encoder: %s dB", name, ", ".join(f"{r:.1f}" for r in noise))
        if note := loss_note(self.stages, self.ranges, self.plan.tries):
            self._note(note)

    def _note(self, text: str) -> None:
        self.notes.append(text)
        progress.line(f"note: {text}")

    def _check_chance(self) -> None:
        """A float network that guesses was given other pixels than it was trained on, as a rule, if its head was trained."""
        accuracy, guess = self.stages[0].accuracy, 1 / self.plan.vit.config.classes
        if accuracy is not None and accuracy < CHANCE * guess and not self.plan.vit.untrained_head:
            text = (
                f"the float network is right on {accuracy:.4f} of the images, guessing on {guess:.4f}: check "
                "--mean and --std, and the order of the classes"
            )
            self._note(text)


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


@torch.no_grad()
def normalise(scores: PruneScores) -> None:
    """Every score tensor to mean 0 and deviation 1, so that the one learning rate of fine-tuning fits them all."""
    for parameter in scores.parameters():
        deviation = parameter.std(unbiased=False)
        parameter.sub_(parameter.mean()).div_(deviation if deviation > 0 else torch.ones_like(deviation))
