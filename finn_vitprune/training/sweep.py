"""A sweep: one configuration trained with several changes and seeds, results in one file.

Finished runs are skipped and stopped ones resumed, so a sweep can be started again at any time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finn_vitprune import progress
from finn_vitprune.errors import UserError
from finn_vitprune.jobs import Told, outcomes
from finn_vitprune.processes import ProcessGroup
from finn_vitprune.training.checkpoint import FILE as CHECKPOINT
from finn_vitprune.training.parallel import THREADS, threads
from finn_vitprune.training.sweep_plan import Sweep, SweepJob, jobs_of, load_sweep
from finn_vitprune.training.sweep_results import SweepResults, markdown
from finn_vitprune.training.train import TEACHER

__all__ = ["Sweep", "SweepJob", "SweepResults", "jobs_of", "load_sweep", "markdown", "run"]


@dataclass(frozen=True)
class _Training:
    """What a worker needs to train a job: the trained teacher that it takes over, or None."""

    job: SweepJob
    teacher: Path | None
    root: Path
    """The folder that paths start from."""
    threads: int = 1

    @property
    def name(self) -> str:
        return self.job.folder.name


def run(jobs: list[SweepJob], results: SweepResults, workers: int, finished: Callable[[], None]) -> None:
    """Train what is not done yet, ``workers`` processes at a time, or on a cluster (:func:`finn_vitprune.jobs.on_cluster`).

    A teacher that several jobs need is trained by the first of them; the others wait for it, as rows wait for their trials.

    Args:
        finished: called after each new result.
    Raises:
        UserError: a training failed; what else can be trained is finished first. A defect is raised as it is.
    """
    settled = _settled(jobs, results)
    waiting = {t.folder for job in jobs for t in (*job.trials, job)} - {job.folder for job in settled if results.done(job)}
    told = Told("trainings", len(waiting))
    progress.line(f"{sum(job.folder not in waiting for job in jobs)} of {len(jobs)} runs are done")
    while True:
        failed: list[Exception] = []
        begun: list[SweepJob] = []
        following = _following(jobs, results, workers, begun)
        for outcome in outcomes(_train, following, workers, lambda training: training.name, told):
            if outcome.error is not None:
                progress.line(f"{outcome.job.name} failed")
                failed.append(outcome.error)
                continue
            progress.line(f"{outcome.job.name}: {_headline(results.add(outcome.job.job))}")
            finished()
        if failed:
            raise failed[0]
        if not begun:
            return


def _settled(jobs: list[SweepJob], results: SweepResults) -> list[SweepJob]:
    """Trials, and rows that need none or whose trials are done."""
    found: list[SweepJob] = []
    for job in jobs:
        found += [trial for trial in job.trials if trial not in found]
        if not job.trials:
            found.append(job)
        elif (change := results.chosen(job)) is not None:
            found.append(job.changed(change))
    return found


def _following(jobs: list[SweepJob], results: SweepResults, workers: int, begun: list[SweepJob]) -> Iterator[_Training]:
    """One training after the other, as workers become free, while there is one that can be trained."""
    while True:
        for job in begun:  # whose result the caller has not taken over yet
            if results.left_by(job) and not results.done(job):
                results.add(job)
        settled, folders = _settled(jobs, results), {job.folder for job in begun}
        ready = trainable([job for job in settled if not results.done(job)], settled)
        training = next((t for t in ready if t.job.folder not in folders), None)
        if training is None:
            return
        begun.append(training.job)
        yield _started(replace(training, threads=threads(training.job.config.threads, workers)))


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
        options = {"cwd": root, "stdout": out, "stderr": subprocess.STDOUT, "env": os.environ | {THREADS: str(training.threads)}}
        code = group.start(command, **options).wait()
    if code:
        raise UserError(f"{job.folder.name} failed: see {log}, then start the sweep again")


def _headline(record: dict[str, Any]) -> str:
    accuracy = record.get("accuracy", record["accuracy_teacher"])
    return f"accuracy {accuracy:.4f} in {record['cpu_seconds'] / 60:.1f} min"
