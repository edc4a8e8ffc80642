"""Entry points: train a configuration, export a checkpoint."""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from finn_vitprune import progress
from finn_vitprune.complexity.counted import CountedModel
from finn_vitprune.complexity.formulas import counted, operations_text, unpruned
from finn_vitprune.complexity.modules import count_model
from finn_vitprune.errors import UserError
from finn_vitprune.export.export import GATE_IMAGES, SAMPLE_IMAGES, describe, export, write_sample
from finn_vitprune.export.gate import GateReport
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.files import alone_in, alone_with, output_path, write_json
from finn_vitprune.labels import draw
from finn_vitprune.models.evaluate import EVAL_BATCH, logits_of
from finn_vitprune.models.freeze import freeze, kept_block_masks
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.cut import cut
from finn_vitprune.training import checkpoint
from finn_vitprune.training.checkpoint import TrainingProgress
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.data import Dataset
from finn_vitprune.training.display import Display, log, log_file
from finn_vitprune.training.parallel import THREADS, threads
from finn_vitprune.training.run import TrainingRun
from finn_vitprune.training.trained import trained_network

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

METRICS, MODEL, LOG = "metrics.json", "model.onnx", "train.log"
TEACHER, TENSORBOARD = "teacher.pt", "tensorboard"


@dataclass(frozen=True)
class ExportResult:
    """An exported model: metadata, the gate's report, held-out accuracy, residual saturations."""

    metadata: ModelMetadata
    gate: GateReport
    accuracy: float
    saturations: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, as ``metrics.json`` has it too."""
        return {
            "accuracy_exported": self.accuracy, "saturations": self.saturations, "complexity": self.metadata.sizes(),
            "gate": dataclasses.asdict(self.gate),
        }  # fmt: skip

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        g, m = self.gate, self.metadata
        return (
            f"{g.values:,} quantised values equal PyTorch's, {g.near_ties} beside a rounding tie; "
            f"{operations_text(m.macs_dense, m.macs_pruned, m.macs)}; {m.params_dense / m.params:.2f}x fewer parameters"
        )


def train(
    config: TrainConfig, out_dir: Path | str, resume: bool = False, console: Console | None = None, teacher_from: Path | None = None
) -> dict[str, Any]:
    """Train teacher and student, then export.

    Writes ``checkpoint.pt``, ``teacher.pt``, ``metrics.json``, ``model.onnx``, ``train.log``, ``tensorboard/``, and in
    ``model.npz`` held-out images for builds. Without student epochs there is no model to export.

    Args:
        config: what to train; with ``resume`` the checkpoint's own configuration must equal it.
        resume: continue from ``out_dir/checkpoint.pt``; the result is that of an uninterrupted run.
        console: where a bar over the epochs is drawn; None: nowhere. Progress tells of them in any case.
        teacher_from: ``teacher.pt`` of a run that trained the same teacher, which then is not trained again.
    Returns:
        The content of ``metrics.json``.
    Raises:
        UserError: the configuration does not fit, there is nothing to resume from, or a finished or
            started run is already in ``out_dir``, or another process trains there; TensorBoard is not installed.
    """
    writer = _summary_writer()
    output_path(out_dir := Path(out_dir))
    torch.set_num_threads(int(os.environ.get(THREADS, "0")) or threads(config.threads))
    run = _start(config, out_dir, resume, teacher_from)
    with alone_in(out_dir, "training") if run.processes.main else nullcontext():
        if run.processes.main and not resume:
            _refuse_started(out_dir / checkpoint.FILE)  # another training may have begun meanwhile
        return _train(run, out_dir, writer, console)


def _train(run: TrainingRun, out_dir: Path, writer: type[SummaryWriter], console: Console | None) -> dict[str, Any]:
    """The epochs, the export and the metrics."""
    main = run.processes.main
    with log_file(out_dir / LOG) if main else progress.shown_by(progress.Progress()):
        log.info("accuracy between epochs: on %s; of the last ones of a phase: on all", run.measured_on)
        board = writer(out_dir / TENSORBOARD) if main else None
        with board or nullcontext():
            _epochs(run, console if main else None, board)
        metrics = _finish(run) if main else None
    metrics = run.processes.from_main(metrics)
    run.processes.close()
    return metrics


def _start(config: TrainConfig, out_dir: Path, resume: bool, teacher_from: Path | None) -> TrainingRun:
    path = out_dir / checkpoint.FILE
    if resume:
        run = TrainingRun.from_checkpoint(path)
        if run.config != config:
            changed = [f for f in TrainConfig.model_fields if getattr(config, f) != getattr(run.config, f)]
            raise UserError(f"cannot resume {path}: {', '.join(changed)} differ from the run that wrote it")
        return run
    _refuse_started(path)
    run = TrainingRun(config, out_dir)
    if (weights := config.student.weights) is not None:
        trained_network(Path(weights), run.vit, config.prune_config())  # says before the teacher is trained what does not fit
    if teacher_from is not None:
        run.take_teacher(teacher_from)
    elif config.teacher.epochs == 0:
        run.start_student()
    return run


def _refuse_started(path: Path) -> None:
    if path.exists():
        raise UserError(f"{path} is there already: use --resume to continue, or another output folder")


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("training needs TensorBoard, which writes its curves: pip install 'finn-vitprune[train]'") from None
    return SummaryWriter


def _epochs(run: TrainingRun, console: Console | None, board: SummaryWriter | None) -> None:
    """The epochs that are still to do, each ending in a checkpoint."""
    t, s, p = run.config.teacher, run.config.student, run.progress
    done = p.teacher_epochs + p.student_epochs + p.step / run.steps_per_epoch
    run.start_clock()
    with Display(console, t.epochs + s.epochs, done, run.steps_per_epoch) as display:
        while not run.finished:
            teaching = p.teacher_epochs < t.epochs
            display.phase(*(("teacher", p.teacher_epochs + 1, t.epochs) if teaching else ("student", p.student_epochs + 1, s.epochs)))
            (run.teacher_epoch if teaching else run.student_epoch)(display)
            if teaching and p.teacher_epochs == t.epochs:
                run.start_student()
            run.save()
            if teaching and p.teacher_epochs == t.epochs and run.processes.main:
                shutil.copyfile(run.out_dir / checkpoint.FILE, run.out_dir / TEACHER)
            if board is not None:
                _write_scalars(board, "teacher" if teaching else "student", p)


def _write_scalars(board: SummaryWriter, phase: str, done: TrainingProgress) -> None:
    record = (done.teacher_history if phase == "teacher" else done.student_history)[-1]
    for name, value in record.items():
        if name != "epoch":
            board.add_scalar(f"{phase}/{name}", value, record["epoch"])
    board.flush()


def _finish(run: TrainingRun) -> dict[str, Any]:
    """Export and write the metrics."""
    metrics = metrics_of_teacher(run)
    if run.progress.student_history:
        progress.status("exporting, and comparing every quantiser with PyTorch")
        result = export_run(run, run.out_dir / MODEL)
        metrics |= metrics_of_student(run, result)
        log.info("done: %s", result.summary)
    write_json(run.out_dir / METRICS, metrics)
    return metrics


def small_network(run: TrainingRun) -> PrunedViT:
    """The trained student cut small, scales fixed."""
    run.student.eval().cpu()
    run.scores.cpu()
    return freeze(cut(run.student, run.scores.final_masks()))


def export_run(run: TrainingRun, path: Path) -> ExportResult:
    """Export the trained student of a run, and beside it held-out images that builds verify with.

    Accuracy and saturations are those of all held-out images.
    """
    frozen, prune = small_network(run), run.config.prune
    metadata = describe(run.config.name, run.dense, frozen, prune.block_size, prune.block_keep, prune.neuron_keep, prune.token_keep)
    images, labels = run.data.test_sample(SAMPLE_IMAGES, run.config.seed)
    gate = export(frozen, path, metadata, images[draw(len(images), GATE_IMAGES, run.config.seed, labels)])
    write_sample(path, images=images, labels=labels, logits=logits_of(frozen, images))
    with frozen.counting_saturations() as counts:
        accuracy = accuracy_on_cpu(frozen, run.data)
    return ExportResult(metadata, gate, accuracy, sum(counts.values()))


@torch.no_grad()
def accuracy_on_cpu(frozen: PrunedViT, data: Dataset) -> float:
    """Share of the held-out images that the frozen network gets right."""
    found = torch.cat([frozen(images).argmax(1) for images in data.test_batches(EVAL_BATCH)])
    return float((found.numpy() == data.test_labels).mean())


def finished_run(path: Path) -> TrainingRun:
    """The run of a checkpoint whose student is trained.

    Raises:
        UserError: no checkpoint, one of a teacher alone, or training is not finished.
    """
    run = TrainingRun.from_checkpoint(path)
    missing = run.config.student.epochs - run.progress.student_epochs
    if not run.config.student.epochs:
        raise UserError(f"{path} holds a teacher alone: give the checkpoint of a pruned student")
    if missing:
        raise UserError(f"{path}: training is not finished ({missing} student epochs to go): use train --resume")
    return run


def export_checkpoint(path: Path | str, output: Path | str) -> ExportResult:
    """Export the student of a checkpoint whose training is finished.

    Raises:
        UserError: see :func:`finished_run`, or the export gate fails, or another process writes ``output``.
    """
    run = finished_run(Path(path))
    output_path(output := Path(output))
    with alone_with(output, "export"):
        return export_run(run, output)


def count_checkpoint(path: Path) -> CountedModel:
    """Complexity of a trained student: by formula at its kept blocks, by count over its modules.

    Raises:
        UserError: see :func:`finished_run`.
    """
    run = finished_run(path)
    small, prune = small_network(run), run.config.prune
    drops = [i for i, shape in enumerate(small.config.encoders, start=1) if shape.keep is not None]
    return CountedModel(
        name=run.config.name,
        block_size=prune.block_size,
        block_keep=float(prune.block_keep),
        token_keep=dict.fromkeys(drops, float(prune.token_keep)),
        formula=counted(run.vit, small.config, kept_block_masks(small, prune.block_size)),
        count=count_model(PrunedViT(unpruned(run.vit)), small, prune.block_size),
    )


def metrics_of_teacher(run: TrainingRun) -> dict[str, Any]:
    """What ``metrics.json`` holds of every run: seed, time, the teacher's accuracy after each epoch."""
    history = run.progress.teacher_history
    return {
        "name": run.config.name,
        "seed": run.config.seed,
        "train_images": len(run.data.train_labels),
        "test_images": len(run.data.test_labels),
        "epoch_accuracy_on": run.measured_on,
        "accuracy_teacher": history[-1]["accuracy"] if history else run.teacher_accuracy(),
        "seconds": round(run.progress.seconds, 1),
        "cpu_seconds": round(run.progress.cpu_seconds, 1),
        "processes": run.processes.count,
        "device": str(run.processes.device.type),
        "config": run.config.model_dump(mode="json"),
        "teacher_history": history,
    }


def metrics_of_student(run: TrainingRun, result: ExportResult) -> dict[str, Any]:
    """And of a student: accuracies (shares), complexity, the gate's report, every epoch."""
    history = run.progress.student_history
    return {"accuracy": history[-1]["accuracy"], **result.as_dict(), "student_history": history}
