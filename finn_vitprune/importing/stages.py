"""The stages of an import: prune, quantise, fine-tune, export. Each takes what the one before gives."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper
from rich.console import Console
from torch import Tensor

from finn_vitprune import progress
from finn_vitprune.calibration.layerwise import fit_layers
from finn_vitprune.calibration.ranges import choose_ranges
from finn_vitprune.execute import golden
from finn_vitprune.execute.program import IntegerProgram
from finn_vitprune.export.export import GATE_IMAGES, SAMPLE_IMAGES, describe, exported, write_sample
from finn_vitprune.export.gate import GateReport
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.files import whole_file
from finn_vitprune.importing.fine_tuning import FineTuning
from finn_vitprune.importing.float_model import configured
from finn_vitprune.importing.judge import STATUS_IMAGES, Course, Judge, Student
from finn_vitprune.importing.plan import ImportPlan
from finn_vitprune.importing.views import Views, views_of
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.options.importing import AUTO
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.layers import LayerErrors, LayerShares, allot
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.pruning.scoring import set_scores
from finn_vitprune.training.display import Display
from finn_vitprune.training.student import CALIBRATION_IMAGES
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered


@dataclass(frozen=True)
class Stages:
    """What all stages share: what was decided and checked, the float network, who judges, and what was found so far."""

    plan: ImportPlan
    float: PrunedViT
    judge: Judge
    course: Course

    def run(self, console: Console | None) -> Exported:
        """All stages; the file is written."""
        calibration = self.calibration()
        student = self.pruned(calibration)
        self.quantise(student, calibration)
        return self.exported(self.fine_tuned(student, console))

    def calibration(self) -> Calibration:
        """The calibration images, with crops of them where there are few and images decide on scores or weights."""
        plan = self.plan
        images, labels = plan.data.calibration(CALIBRATION_IMAGES)
        pixels = torch.from_numpy(images).float()
        views = views_of(pixels, CALIBRATION_IMAGES if plan.learns else 0, plan.seed, plan.flip)
        if crops := len(views.images) - len(pixels):
            progress.line(f"{len(pixels)} calibration images and {crops} crops of them")
        return Calibration(pixels, views, None if labels is None else torch.from_numpy(labels)[views.sources])

    def pruned(self, calibration: Calibration) -> Student:
        """Masks by score, and token drops, still in float; its layers fitted to the float network's where that is asked for."""
        plan = self.plan
        scores = PruneScores(plan.config, plan.prune).to(self.judge.held_out.device)
        progress.status(f"scores: {plan.score.value}")
        images, labels = calibration.views.images, calibration.labels
        if isinstance(plan.by_layer, LayerShares):
            scores.keep(plan.by_layer.counts(scores.units, plan.prune.block_size, "--keep-by-layer"))
        scored = set_scores(scores, plan.score, self.float, images, labels, plan.seed, by_layer=plan.by_layer == AUTO)
        layers = None if scored.errors is None else layer_shares(scores, scored.errors)
        normalise(scores)
        student = Student(self._with_drops(), scores, layers)
        scored.correct(student.network, student.masks)
        self._measure("pruned", student)
        if plan.reconstructs:
            # Start from the float weights again: a fit that starts from corrected weights ends worse (docs/import.md).
            student = Student(self._with_drops(), scores, layers)
            self._fit(student, calibration, rounded=False)
            self._measure("reconstructed", student)
        return student

    def quantise(self, student: Student, calibration: Calibration) -> None:
        """Activation ranges, then weights, from the calibration images at the final masks; the network is quantised from here on."""
        network, pixels = student.network, calibration.pixels
        progress.status("calibrating activation ranges")
        network.calibrate(pixels.to(self.judge.held_out.device), student.masks)
        ranges = choose_ranges(network, pixels, student.masks, self.plan.seed)
        for r in ranges:
            progress.log.info(
                "range: %s: clipped at %.4g of %.4g, signal to noise %.1f dB, error of the output %.3g",
                r.quantiser, r.clipped, r.largest, r.signal_to_noise, r.output_error,
            )  # fmt: skip
        self.course.ranges.extend(ranges)
        network.quantise(True)
        self._measure("quantised", student)
        if self.plan.corrects:
            self._fit(student, calibration, rounded=True)
            self._measure("rounded", student)

    def fine_tuned(self, student: Student, console: Console | None) -> Student:
        """After epochs of distillation from the float network, where asked for; as it was where they make it worse."""
        tuning, data = self.plan.tuning, self.plan.data.data
        if tuning is None:
            return student
        progress.status("fine-tuning")
        before, kept = self.course.stages[-1], deepcopy(student)
        run = FineTuning(tuning.config, data, self.float, student.network, student.scores, self.judge.quality, tuning.features)
        rate = run.choose_rate() if tuning.rate is None else tuning.rate
        progress.line(f"fine-tuning: learning rate {rate:.2g}, {tuning.config.batch_size} images a step")
        with Display(console, tuning.config.student.epochs, 0, run.steps_per_epoch) as display:
            run.run(display)
        if self._measure("recovered", student) >= before.quality:
            return student
        self.course.note("fine-tuning made it worse and was undone: use a smaller --learning-rate or more images")
        return kept

    def exported(self, student: Student) -> Exported:
        """Cut small, scales fixed; written when the gate passes. The last stage is what the accelerator answers, in its own integers."""
        plan, prune, held_out = self.plan, self.plan.prune, self.judge.held_out
        progress.status("fixing scales")
        student.network.eval().cpu()
        student.scores.cpu()
        frozen = freeze(cut(student.network, student.masks))
        rates = (prune.block_keep, prune.neuron_keep, plan.token_keep)
        metadata = describe(plan.output.stem, plan.vit.config, frozen, prune.block_size, *map(float, rates))
        progress.status("exporting, and comparing every quantiser with PyTorch")
        model, gate = exported(frozen, metadata, held_out.images[held_out.draw(GATE_IMAGES)])
        logits, saturations = integer_logits(model, held_out.images)
        self.course.add(self.judge.stage("integer", logits))
        if saturations:
            self.course.notes.append(f"{saturations} values of the residual stream saturate on the held-out images")
        with whole_file(plan.output) as partial:
            model.save(str(partial))
        sample, chosen = {"images": held_out.images, "logits": logits, "labels": held_out.labels}, held_out.draw(SAMPLE_IMAGES)
        write_sample(plan.output, **{name: values[chosen] for name, values in sample.items() if values is not None})
        if student.layers is None:
            plan.layers_file.unlink(missing_ok=True)  # of the output that this one replaces
        else:
            student.layers.save(plan.layers_file)
        return Exported(metadata, gate, saturations, student.layers)

    def _with_drops(self) -> PrunedViT:
        """The float network with the token drops of the student."""
        return configured(self.float, self.plan.config)

    def _fit(self, student: Student, calibration: Calibration, rounded: bool) -> None:
        """The student's layers to the float network's."""
        views = calibration.views
        fit_layers(student.network, self._with_drops(), views.images, student.masks, rounded, views.sources)

    def _measure(self, name: str, student: Student) -> float:
        """The stage's quality."""
        return self.course.add(self.judge.measure(name, student)).quality


@dataclass(frozen=True)
class Calibration:
    """Calibration images ``pixels`` (float ``[F, H, W, C]``, 0 to 255), with crops as ``views``, and the labels of these, if any."""

    pixels: Tensor
    views: Views
    labels: Tensor | None


@dataclass(frozen=True)
class Exported:
    """What was written: metadata, the gate's report, how many values of the residual stream saturate on the held-out images, and shares by
    layer where layers were measured."""

    metadata: ModelMetadata
    gate: GateReport
    saturations: int
    layers: LayerShares | None


def layer_shares(scores: PruneScores, errors: LayerErrors) -> LayerShares:
    """The shares by layer that scores have; where all are equal, those that would lose less at the same operations."""
    own = scores.kept.cpu().numpy()
    return LayerShares.of(own if own.any() else allot(errors, scores.macs, scores.prune), errors.units, scores.prune, errors)


def integer_logits(model: ModelWrapper, images: np.ndarray) -> tuple[np.ndarray, int]:
    """Logits ``[F, classes]`` of ``images`` as the accelerator gives them, and how many values of its residual stream saturate."""
    lowered = lower(ModelWrapper(model.model, make_deepcopy=True))
    hardware = lowered.model.transform(TidyLowered())
    program, residual = IntegerProgram(hardware), golden.residual_streams(hardware)
    found, saturations, pace = [], 0, progress.Pace(len(images))
    for start in range(0, len(images), STATUS_IMAGES):
        progress.status(f"integer, held-out images: {pace.at(start)}")
        values = program.run(images[start : start + STATUS_IMAGES], residual)
        found.append(values[program.output].reshape(-1, program.classes) * np.asarray(lowered.logit_scale))
        saturations += golden.saturations(hardware, values)
    return np.concatenate(found), saturations


@torch.no_grad()
def normalise(scores: PruneScores) -> None:
    """Every score tensor to mean 0 and deviation 1, so that the one learning rate of fine-tuning fits them all."""
    for parameter in scores.parameters():
        deviation = parameter.std(unbiased=False)
        parameter.sub_(parameter.mean()).div_(deviation if deviation > 0 else torch.ones_like(deviation))
