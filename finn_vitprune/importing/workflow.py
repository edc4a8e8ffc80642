"""``import``: from a float or QDQ file of a vision transformer to a pruned quantised QONNX file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from finn_vitprune import progress
from finn_vitprune.calibration.ranges import ChosenRange
from finn_vitprune.errors import UserError
from finn_vitprune.export.gate import GateReport
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.files import alone_with
from finn_vitprune.importing.float_model import Comparison, compare, float_network
from finn_vitprune.importing.judge import Course, HeldOut, Judge, Stage
from finn_vitprune.importing.plan import ImportPlan, make_plan
from finn_vitprune.importing.stages import Stages
from finn_vitprune.ingest.check.answers import Structure
from finn_vitprune.ingest.check.check_float import structure_of
from finn_vitprune.labels import drawn_text
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.pruning.layers import LayerShares
from finn_vitprune.training.display import log_file
from finn_vitprune.training.parallel import own_device

COMPARED_IMAGES = 8
CHANCE = 2.0
"""A float accuracy below so many times that of guessing gets a note."""


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
    layers: LayerShares | None
    eval_images: int
    measured_on: str
    normalisation: str
    notes: tuple[str, ...]
    seconds: float


def import_model(options: ImportOptions, console: Console | None = None) -> Imported:
    """Recognise, compare with onnxruntime, prune, calibrate, fine-tune, export.

    Writes ``options.output`` and beside it ``.npz`` (held-out images as builds verify with), ``.log``, and ``.layers.json`` where layers were measured.

    Args:
        console: where a bar over the epochs of fine-tuning is drawn; None: nowhere.
    Raises:
        UserError: the file is not supported (with node and cause), options or data do not fit, the float
            network differs from the file, or the export gate fails. Nothing is written then.
    """
    started = time.monotonic()
    options.files()
    plan = make_plan(options)
    torch.manual_seed(plan.seed)
    device = own_device()
    network = float_network(plan.vit, plan.mean, plan.std).to(device)
    data = plan.data.data
    images, labels = data.test_sample(plan.eval_images, plan.seed)
    held_out = HeldOut(images, labels if plan.data.labelled else None, plan.seed, device)
    comparison = compared(plan, network, held_out)
    course, judge = Course(plan.tries), Judge.of(network, held_out)
    _check_chance(course.add(judge.stage("float", judge.logits, judge.streams)), plan, course)
    with alone_with(plan.output, "import"):
        options.check_output()  # another import may have written it meanwhile
        with _no_new_log(plan.log), log_file(plan.log):
            written = Stages(plan, network, judge, course).run(console)
    return Imported(
        structure_of(plan.vit),
        comparison,
        tuple(course.stages),
        tuple(course.ranges),
        written.metadata,
        written.gate,
        written.saturations,
        written.layers,
        len(images),
        drawn_text(len(labels), len(data.test_labels), plan.seed, plan.data.labelled),
        plan.normalisation,
        plan.notes + tuple(course.notes),
        time.monotonic() - started,
    )


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


def compared(plan: ImportPlan, network: PrunedViT, held_out: HeldOut) -> Comparison:
    """The float network against the file in onnxruntime, on some of the held-out images.

    Raises:
        UserError: they differ by more than the tolerance.
    """
    progress.status("comparing with onnxruntime")
    images = held_out.images[held_out.draw(COMPARED_IMAGES)]
    c = compare(plan.model, plan.file.kind, plan.vit, network, images, plan.mean, plan.std)
    text = (
        f"float network against onnxruntime on {c.images} images: largest difference {c.largest:.3g} at "
        f"outputs up to {c.scale:.3g} ({c.relative:.2g}, tolerance {plan.tolerance:g})"
    )
    if not c.relative <= plan.tolerance:
        raise UserError(f"{plan.model} is not supported: {text}; --tolerance sets what is allowed")
    progress.line(text)
    return c


def _check_chance(stage: Stage, plan: ImportPlan, course: Course) -> None:
    """A note where the float network guesses: as a rule it was given other pixels than it was trained on, if its head was trained."""
    guess = 1 / plan.vit.config.classes
    if stage.accuracy is not None and stage.accuracy < CHANCE * guess and not plan.vit.untrained_head:
        course.note(
            f"the float network is right on {stage.accuracy:.4f} of the images, guessing on {guess:.4f}: check "
            "--mean and --std, and the order of the classes"
        )
