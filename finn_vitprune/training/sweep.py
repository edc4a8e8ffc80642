"""A sweep: one configuration trained with several changes and seeds, results in one file.

Finished runs are skipped and stopped ones resumed, so a sweep can be started again at any time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from finn_vitprune import progress
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json
from finn_vitprune.processes import ProcessGroup
from finn_vitprune.report.tables import TextTable
from finn_vitprune.training.checkpoint import FILE as CHECKPOINT
from finn_vitprune.training.config import ConfigSection, TrainConfig, load_config, parse_config, read_yaml, with_changes
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
            try:
                self.content = json.loads(path.read_text())
            except ValueError as error:
                raise UserError(f"{path} is not JSON: {error}") from error

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


def run(jobs: list[SweepJob], results: SweepResults, parallel: int, finished: Callable[[], None]) -> None:
    """Train what is not done yet, ``parallel`` processes of one thread each.

    A teacher that several jobs need is trained by the first of them; the others wait for it.

    Args:
        finished: called after each new result.
    Raises:
        UserError: a training failed; the others that are under way are finished first.
    """
    waiting = [j for j in jobs if not results.done(j)]
    what, pace = "trainings", progress.Pace(len(jobs), len(jobs) - len(waiting))
    progress.line(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are done")
    running: dict[subprocess.Popen, SweepJob] = {}
    failed: list[SweepJob] = []
    with ProcessGroup() as group:
        while running or (waiting and not failed):
            for process in [p for p in running if p.poll() is not None]:
                job = running.pop(process)
                if process.returncode:
                    failed.append(job)
                    progress.line(f"{job.folder.name} failed")
                    continue
                progress.line(f"{job.folder.name}: {_headline(results.add(job))}")
                finished()
            while not failed and len(running) < parallel and (job := _next(waiting, running.values(), jobs)):
                waiting.remove(job)
                progress.line(f"{job.folder.name} starts")
                running[_start(group, job, jobs)] = job
            done = len(jobs) - len(waiting) - len(running) - len(failed)
            progress.status(f"{what}: {pace.at(done)} ({', '.join(job.folder.name for job in running.values())})")
            time.sleep(0.2)
    if failed:
        raise UserError(f"{failed[0].folder.name} failed: see {failed[0].folder}.log, then start the sweep again")


def _headline(record: dict[str, Any]) -> str:
    accuracy = record.get("accuracy", record["accuracy_teacher"])
    return f"accuracy {accuracy:.4f} in {record['cpu_seconds'] / 60:.1f} min"


def _next(waiting: list[SweepJob], running: Iterable[SweepJob], jobs: list[SweepJob]) -> SweepJob | None:
    """The first job whose teacher is trained, or is being trained by none of the running jobs."""
    trained = {j.teacher for j in jobs if (j.folder / TEACHER).exists()}
    busy = {j.teacher for j in running} - trained
    return next((j for j in waiting if j.teacher not in busy), None)


def _start(group: ProcessGroup, job: SweepJob, jobs: list[SweepJob]) -> subprocess.Popen:
    command = [sys.executable, "-m", "finn_vitprune", *job.command]
    if (job.folder / CHECKPOINT).exists():
        command.append("--resume")
    else:
        teachers = (j.folder / TEACHER for j in jobs if j.teacher == job.teacher)
        trained = next((t for t in teachers if t.exists()), None)
        command += [] if trained is None else ["--teacher-from", str(trained)]
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with job.folder.with_name(job.folder.name + ".log").open("a") as log:
        return group.start(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


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
