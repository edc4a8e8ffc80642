"""A sweep: one configuration trained with several changes and seeds, results in one file.

Finished runs are skipped and stopped ones resumed, so a sweep can be started again at any time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from finn_vitprune import progress
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, read_yaml, write_json
from finn_vitprune.jobs import Told, outcomes
from finn_vitprune.processes import ProcessGroup
from finn_vitprune.report.tables import TextTable
from finn_vitprune.training.checkpoint import FILE as CHECKPOINT
from finn_vitprune.training.config import ConfigSection, TrainConfig, load_config, parse_config, with_changes
from finn_vitprune.training.teacher import TEACHER_KEYS
from finn_vitprune.training.train import METRICS, TEACHER

KEPT = (
    "accuracy", "accuracy_exported", "accuracy_teacher", "saturations", "seconds", "cpu_seconds",
    "train_images", "test_images", "device", "macs_dense", "macs_pruned", "macs", "params_dense", "params",
)  # fmt: skip
"""What a result takes over from the metrics of its run."""
TABLE_HEADER = (
    "row", "seeds", "accuracy", "exported", "to baseline", "operations: pruning", "last encoder, class token only", "both",
    "parameters", "minutes",
)  # fmt: skip


class SweepRow(ConfigSection):
    """One row of the table: a configuration (of its own, or the sweep's) and changes to it, as ``--set`` of
    ``train`` takes them."""

    name: str
    config: str | None = None
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None


class Sweep(ConfigSection):
    """A sweep file. ``config`` lies beside it; ``baseline`` names the row that others are compared with."""

    name: str
    title: str
    about: str = ""
    config: str
    baseline: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    rows: tuple[SweepRow, ...] = Field(min_length=1)


@dataclass(frozen=True)
class SweepJob:
    """One training of a sweep."""

    sweep: str
    row: str
    seed: int
    config: TrainConfig
    folder: Path
    command: tuple[str, ...]

    @property
    def teacher(self) -> str:
        """Equal for jobs that train the same teacher."""
        return self.config.model_dump_json(include=set(TEACHER_KEYS))


def load_sweep(path: Path) -> Sweep:
    """Read and check a sweep file.

    Raises:
        UserError: no such file, no YAML, a key or value that does not fit, two rows of one name.
    """
    try:
        sweep = Sweep.model_validate(read_yaml(path, "sweep"))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(p) for p in problem["loc"])
        raise UserError(f"{path}: {where or 'content'}: {problem['msg']}") from error
    names = [r.name for r in sweep.rows]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise UserError(f"{path}: two rows are called {twice[0]}")
    if sweep.baseline is not None and sweep.baseline not in names:
        raise UserError(f"{path}: baseline {sweep.baseline} is not a row: use one of {', '.join(names)}")
    return sweep


def jobs_of(sweep: Sweep, path: Path, runs: Path) -> list[SweepJob]:
    """Every training of a sweep, all rows of one seed before the next seed."""
    jobs = []
    for seed in dict.fromkeys(s for r in sweep.rows for s in r.seeds or sweep.seeds):
        for row in sweep.rows:
            if seed not in (row.seeds or sweep.seeds):
                continue
            source = path.parent / (row.config or sweep.config)
            base = load_config(source, seed=seed).model_dump(mode="json")
            config = parse_config(with_changes(base, row.set), f"{path}, row {row.name}")
            folder = runs / f"{row.name}-{seed}"
            command = ["train", "--config", str(source), "--seed", str(seed)]
            command += [part for change in row.set for part in ("--set", change)]
            jobs.append(SweepJob(sweep.name, row.name, seed, config, folder, (*command, "-o", str(folder))))
    return jobs


class SweepResults:
    """The results file: ``{sweep: {"title", "about", "baseline", "rows": {...}, "runs": [...]}}``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {}
        if path.exists():
            content = read_json(path, "results file")
            if not isinstance(content, dict) or not all(isinstance(found, dict) for found in content.values()):
                raise UserError(f"{path} is not a results file of sweep: it holds no object of sweeps; give another with --json-file")
            self.content = content

    def describe(self, sweep: Sweep) -> None:
        """Write what the sweep file says of itself."""
        kept = self.content.get(sweep.name, {}).get("runs", [])
        about = {k: getattr(sweep, k) for k in ("title", "about", "baseline")}
        rows = {r.name: {"config": r.config or sweep.config, "set": list(r.set)} for r in sweep.rows}
        self.content[sweep.name] = {**about, "rows": rows, "runs": [r for r in kept if r["row"] in rows]}
        write_json(self.path, self.content)

    def done(self, job: SweepJob) -> bool:
        """Whether a result of the same configuration is there; one of another row or sweep is taken over."""
        same = [r for s in self.content.values() for r in s["runs"] if _config_of(r) == job.config]
        if not same:
            return False
        if not any(r["row"] == job.row for r in self.content[job.sweep]["runs"] if r in same):
            self._insert(job, same[0] | {"row": job.row})
        return True

    def add(self, job: SweepJob) -> dict[str, Any]:
        """Take over the result of a finished job, in place of an older one of the same row and seed."""
        metrics = json.loads((job.folder / METRICS).read_text())
        known = metrics | metrics.get("complexity", {})
        record = {"row": job.row, "seed": job.seed, **{k: known[k] for k in KEPT if k in known}}
        record["config"] = job.config.model_dump(mode="json")
        self._insert(job, record)
        return record

    def _insert(self, job: SweepJob, record: dict[str, Any]) -> None:
        runs = self.content[job.sweep]["runs"]
        runs[:] = [r for r in runs if (r["row"], r["seed"]) != (job.row, job.seed)] + [record]
        order = list(self.content[job.sweep]["rows"])
        runs.sort(key=lambda r: (order.index(r["row"]), r["seed"]))
        write_json(self.path, self.content)


def _config_of(record: dict[str, Any]) -> TrainConfig | None:
    """The configuration of a result; None for one that this version does not know."""
    try:
        return parse_config(record["config"])
    except UserError:
        return None


@dataclass(frozen=True)
class _Training:
    """What a worker needs to train a job: the trained teacher that it takes over, or None."""

    job: SweepJob
    teacher: Path | None
    root: Path
    """The folder that paths start from."""

    @property
    def name(self) -> str:
        return self.job.folder.name


def run(jobs: list[SweepJob], results: SweepResults, workers: int, finished: Callable[[], None]) -> None:
    """Train what is not done yet, ``workers`` processes of one thread each, or on a cluster (:func:`finn_vitprune.jobs.on_cluster`).

    A teacher that several jobs need is trained by the first of them, in a first round; the others come in a second one.

    Args:
        finished: called after each new result.
    Raises:
        UserError: a training failed; the others of its round are finished first. A defect is raised as it is.
    """
    waiting = [j for j in jobs if not results.done(j)]
    told = Told("trainings", len(waiting))
    progress.line(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done")
    while waiting:
        ready = trainable(waiting, jobs)
        failed: list[Exception] = []
        for outcome in outcomes(_train, map(_started, ready), workers, lambda training: training.name, told):
            if outcome.error is not None:
                progress.line(f"{outcome.job.name} failed")
                failed.append(outcome.error)
                continue
            progress.line(f"{outcome.job.name}: {_headline(results.add(outcome.job.job))}")
            finished()
        if failed:
            raise failed[0]
        done = [training.job for training in ready]
        waiting = [job for job in waiting if job not in done]


def _started(training: _Training) -> _Training:
    progress.line(f"{training.name} starts")
    return training


def trainable(waiting: Iterable[SweepJob], jobs: Iterable[SweepJob]) -> list[_Training]:
    """Those that can be trained now: whose teacher any of ``jobs`` has trained, and the first one of each other teacher."""
    trained = {j.teacher: j.folder / TEACHER for j in jobs if (j.folder / TEACHER).exists()}
    found, taken = [], set()
    for job in waiting:
        if job.teacher in trained or job.teacher not in taken:
            found.append(_Training(job, trained.get(job.teacher), Path.cwd()))
            taken.add(job.teacher)
    return found


def _train(training: _Training) -> None:
    """Train a job in a program of its own, or go on with it.

    Raises:
        UserError: the program failed; the text names its log.
    """
    job, root = training.job, training.root
    command, log = [sys.executable, "-m", "finn_vitprune", *job.command], job.folder.with_name(job.folder.name + ".log")
    if (root / job.folder / CHECKPOINT).exists():
        command.append("--resume")
    elif training.teacher is not None:
        command += ["--teacher-from", str(training.teacher)]
    (root / log).parent.mkdir(parents=True, exist_ok=True)
    with (root / log).open("a") as out, ProcessGroup() as group:
        options = {"cwd": root, "stdout": out, "stderr": subprocess.STDOUT, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
        code = group.start(command, **options).wait()
    if code:
        raise UserError(f"{job.folder.name} failed: see {log}, then start the sweep again")


def _headline(record: dict[str, Any]) -> str:
    accuracy = record.get("accuracy", record["accuracy_teacher"])
    return f"accuracy {accuracy:.4f} in {record['cpu_seconds'] / 60:.1f} min"


# --- the results as Markdown ---


def markdown(content: dict[str, Any]) -> str:
    """All sweeps of a results file, a table each."""
    return "\n".join(["# Training results", ""] + [line for name, sweep in content.items() for line in _section(name, sweep)])


def _section(folder: str, sweep: dict[str, Any]) -> list[str]:
    by_row = {name: [r for r in sweep["runs"] if r["row"] == name] for name in sweep["rows"]}
    base = by_row.get(sweep["baseline"]) or []
    table = TextTable(sweep["title"], TABLE_HEADER, tuple(_cells(n, runs, base) for n, runs in by_row.items() if runs))
    lines = [f"## {table.title}", "", sweep["about"].strip(), "", table.markdown()]
    lines += ["", "Commands, for each seed S:", "", "```"]
    for name, row in sweep["rows"].items():
        parts = [f"finn-vitprune train --config builds/train/{row['config']} --seed S"]
        lines.append(" ".join([*parts, *(f"--set {c}" for c in row["set"]), f"-o runs/{folder}/{name}-S"]))
    return [*lines, "```", ""]


def accuracies(runs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Last epoch's accuracy of each run; the float network's where there is no student."""
    return np.array([r.get("accuracy", r["accuracy_teacher"]) for r in runs])


def _cells(name: str, runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> tuple[str, ...]:
    found = accuracies(runs)
    exported = [r["accuracy_exported"] for r in runs if "accuracy_exported" in r]
    return (
        name,
        ", ".join(str(r["seed"]) for r in runs),
        f"{found.mean():.4f} ({found.min():.4f} to {found.max():.4f})",
        f"{np.mean(exported):.4f}" if exported else "",
        _difference(runs, base),
        _ratio(runs, "macs_dense", "macs_pruned"),
        _ratio(runs, "macs_pruned", "macs"),
        _ratio(runs, "macs_dense", "macs"),
        _ratio(runs, "params_dense", "params"),
        f"{np.mean([r['cpu_seconds'] for r in runs]) / 60:.1f}",
    )


def _difference(runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """Mean over the seeds that both have, in points."""
    seeds = {r["seed"] for r in runs} & {r["seed"] for r in base}
    if not seeds:
        return ""
    ours, theirs = (accuracies([r for r in rows if r["seed"] in seeds]).mean() for rows in (runs, base))
    return f"{100 * (ours - theirs):+.2f}"


def _ratio(runs: list[dict[str, Any]], before: str, after: str) -> str:
    """Mean of how many times fewer; results of an older version do not tell what saves operations."""
    students = [r for r in runs if "macs" in r]
    if not all(before in r and after in r for r in students):
        return "not told apart"
    return f"{np.mean([r[before] / r[after] for r in students]):.2f}x fewer" if students else "1"
