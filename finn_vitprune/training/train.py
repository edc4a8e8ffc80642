"""Entry points: train a configuration, export a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from finn_vitprune.errors import UserError
from finn_vitprune.export import export
from finn_vitprune.export_gate import GateReport
from finn_vitprune.metadata import ModelMetadata, describe
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.cut import cut
from finn_vitprune.training import checkpoint
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.display import Display
from finn_vitprune.training.run import Run, logits_of, now

log = logging.getLogger("finn_vitprune.training")

METRICS, MODEL, LOG = "metrics.json", "model.onnx", "train.log"


@dataclass(frozen=True)
class ExportResult:
    """An exported model: metadata, the gate's report, held-out logits of PyTorch, residual saturations."""

    metadata: ModelMetadata
    gate: GateReport
    logits: np.ndarray
    accuracy: float
    saturations: int

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        g, m = self.gate, self.metadata
        return (
            f"{g.values:,} quantised values equal PyTorch's, {g.near_ties} beside a rounding tie; "
            f"{m.macs_dense / m.macs:.2f}x fewer products, {m.params_dense / m.params:.2f}x fewer parameters"
        )


def train(
    config: TrainConfig, out_dir: Path | str, resume: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Train teacher and student, then export.

    Writes ``checkpoint.pt``, ``metrics.json``, ``model.onnx``, ``train.log``, and in ``model.npz`` the
    held-out images for builds.

    Args:
        config: what to train; with ``resume`` the checkpoint's own configuration must equal it.
        resume: go on from ``out_dir/checkpoint.pt``; the result is that of an uninterrupted run.
        console: where progress is drawn; None: standard output.
    Returns:
        The content of ``metrics.json``.
    Raises:
        UserError: the configuration does not fit, or there is nothing to resume from.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    run = _start(config, out_dir, resume)
    handler = logging.FileHandler(out_dir / LOG, mode="a" if resume else "w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        _epochs(run, console or Console())
        result = export_run(run, out_dir / MODEL)
        metrics = metrics_of(run, result)
        checkpoint.write_json(out_dir / METRICS, metrics)
        log.info("done: %s", result.summary)
    finally:
        log.removeHandler(handler)
        handler.close()
    return metrics


def _start(config: TrainConfig, out_dir: Path, resume: bool) -> Run:
    path = out_dir / checkpoint.FILE
    if not resume:
        return Run(config, out_dir)
    run = Run.from_checkpoint(path)
    if run.config != config:
        changed = [f for f in TrainConfig.model_fields if getattr(config, f) != getattr(run.config, f)]
        raise UserError(f"cannot resume {path}: {', '.join(changed)} differ from the run that wrote it")
    return run


def _epochs(run: Run, console: Console) -> None:
    """The epochs that are still to do, each ending in a checkpoint."""
    t, s, p = run.config.teacher, run.config.student, run.progress
    done = p.teacher_epochs + p.student_epochs
    with Display(console, t.epochs + s.epochs, done, run.steps_per_epoch) as display:
        while p.teacher_epochs < t.epochs or p.student_epochs < s.epochs:
            start = now()
            if p.teacher_epochs < t.epochs:
                display.phase("teacher")
                run.teacher_epoch(display)
                if p.teacher_epochs == t.epochs:
                    run.start_student()
            else:
                display.phase("student")
                run.student_epoch(display)
            p.seconds += now() - start
            run.save()


def small_network(run: Run) -> PrunedViT:
    """The trained student cut small, scales fixed."""
    run.student.eval()
    with torch.no_grad():
        masks = run.scores.masks()
    return freeze(cut(run.student, masks))


def export_run(run: Run, path: Path) -> ExportResult:
    """Export the trained student of a run, and beside it the held-out images that builds verify with.

    The second file has the suffix ``.npz``: ``images`` uint8, ``labels``, and PyTorch's ``logits``.
    """
    frozen, prune = small_network(run), run.config.prune
    metadata = describe(
        run.config.name,
        run.vit,
        frozen,
        prune.block_size,
        prune.block_keep,
        prune.neuron_keep,
        prune.token_keep,
    )
    gate = export(frozen, path, metadata, run.data.test_images)
    with frozen.counting_saturations() as counts:
        logits = logits_of(frozen, run.data.test_images)
    accuracy = float((logits.argmax(1) == run.data.test_labels).mean())
    save_images(path.with_suffix(".npz"), run, logits)
    return ExportResult(metadata, gate, logits, accuracy, sum(counts.values()))


def export_checkpoint(path: Path | str, output: Path | str) -> ExportResult:
    """Export the student of a checkpoint whose training is finished.

    Raises:
        UserError: no checkpoint, training not finished, or the export gate fails.
    """
    run = Run.from_checkpoint(Path(path))
    missing = run.config.student.epochs - run.progress.student_epochs
    if missing:
        raise UserError(
            f"{path}: training is not finished ({missing} student epochs to go): use train --resume"
        )
    return export_run(run, Path(output))


def metrics_of(run: Run, result: ExportResult) -> dict[str, Any]:
    """What ``metrics.json`` holds: accuracies (shares), complexity, the gate's report, every epoch."""
    m = result.metadata
    student = run.progress.student_history
    return {
        "name": run.config.name,
        "seed": run.config.seed,
        "test_images": len(run.data.test_labels),
        "accuracy": student[-1]["accuracy"],
        "accuracy_exported": result.accuracy,
        "accuracy_teacher": run.progress.teacher_history[-1]["accuracy"],
        "saturations": result.saturations,
        "seconds": round(run.progress.seconds, 1),
        "complexity": {
            "macs_dense": m.macs_dense,
            "macs": m.macs,
            "params_dense": m.params_dense,
            "params": m.params,
            "index_bits": m.index_bits,
            "tokens": m.tokens,
            "heads": m.heads,
            "neurons": m.neurons,
        },
        "gate": dataclasses.asdict(result.gate),
        "config": run.config.model_dump(mode="json"),
        "teacher_history": run.progress.teacher_history,
        "student_history": student,
    }


def save_images(path: Path, run: Run, logits: np.ndarray) -> None:
    """Write the held-out images with labels and logits atomically."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, images=run.data.test_images, labels=run.data.test_labels, logits=logits)
    os.replace(partial, path)
