"""What a sweep trains: rows of changes to one configuration, and trials that choose a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_yaml
from finn_vitprune.training.config import ConfigSection, TrainConfig, load_config, parse_config, with_changes
from finn_vitprune.training.teacher import TEACHER_KEYS


class Trials(ConfigSection):
    """What chooses a value: the one of ``of`` for ``key`` with the best accuracy in trainings of a row with the changes ``set``.

    Trials hold out training images (``holdout``), so that nothing is fitted to those that results are measured on.
    """

    key: str
    of: Annotated[tuple[float | str, ...], Field(min_length=2)]
    set: tuple[str, ...]


class SweepRow(ConfigSection):
    """One row of the table: a configuration (of its own, or the sweep's) and changes to it, as ``--set`` of
    ``train`` takes them; with ``choose`` one more change, chosen with the row's first seed."""

    name: str
    config: str | None = None
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    choose: Trials | None = None


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
    """One training of a sweep.

    change: of a trial, what it tries. trials: what must be tried first; the best one's change is made, too.
    """

    sweep: str
    row: str
    seed: int
    source: Path
    config: TrainConfig
    changes: tuple[str, ...]
    folder: Path
    change: str | None = None
    trials: tuple[SweepJob, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """What trains it, after ``finn-vitprune``."""
        changes = [part for change in self.changes for part in ("--set", change)]
        return ("train", "--config", str(self.source), "--seed", str(self.seed), *changes, "-o", str(self.folder))

    def changed(self, change: str) -> SweepJob:
        """The same training with one more change."""
        config = parse_config(with_changes(self.config.model_dump(mode="json"), [change]), f"row {self.row}")
        return replace(self, config=config, changes=(*self.changes, change), trials=())

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
            job = _job(sweep, row, path, seed, row.set, runs / f"{row.name}-{seed}")
            jobs.append(replace(job, trials=_trials(sweep, row, path, runs)))
    return jobs


def _job(sweep: Sweep, row: SweepRow, path: Path, seed: int, changes: tuple[str, ...], folder: Path) -> SweepJob:
    source = path.parent / (row.config or sweep.config)
    base = load_config(source, seed=seed).model_dump(mode="json")
    config = parse_config(with_changes(base, changes), f"{path}, row {row.name}")
    return SweepJob(sweep.name, row.name, seed, source, config, changes, folder)


def _trials(sweep: Sweep, row: SweepRow, path: Path, runs: Path) -> tuple[SweepJob, ...]:
    """What a row tries before it is trained.

    Raises:
        UserError: trials that hold out no training images.
    """
    if row.choose is None:
        return ()
    seed, trials = (row.seeds or sweep.seeds)[0], []
    for value in row.choose.of:
        change = f"{row.choose.key}={value}"
        job = _job(sweep, row, path, seed, (*row.set, *row.choose.set, change), runs / f"{row.name}-{change}")
        trials.append(replace(job, change=change))
    if trials[0].config.holdout is None:
        raise UserError(f"{path}, row {row.name}: choose.set has no holdout: hold out training images, as in holdout=2000")
    return tuple(trials)
