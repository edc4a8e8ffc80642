"""The results of sweeps: one file, and tables made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, write_json
from finn_vitprune.report.tables import TextTable
from finn_vitprune.training.config import TrainConfig, parse_config
from finn_vitprune.training.sweep_plan import Sweep, SweepJob
from finn_vitprune.training.train import METRICS

KEPT = (
    "accuracy", "accuracy_exported", "accuracy_teacher", "saturations", "seconds", "cpu_seconds",
    "train_images", "test_images", "device", "macs_dense", "macs_pruned", "macs", "params_dense", "params",
)  # fmt: skip
"""What a result takes over from the metrics of its run."""
TABLE_HEADER = (
    "row", "seeds", "accuracy", "exported", "to baseline", "operations: pruning", "last encoder, class token only", "both",
    "parameters", "minutes",
)  # fmt: skip


class SweepResults:
    """The results file: ``{sweep: {"title", "about", "baseline", "rows": {...}, "runs": [...]}}``, perhaps with ``"trials": [...]``."""

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
        known = self.content.get(sweep.name, {})
        about = {k: getattr(sweep, k) for k in ("title", "about", "baseline")}
        rows = {r.name: {"config": r.config or sweep.config, "set": list(r.set)} for r in sweep.rows}
        kept = {key: [r for r in known.get(key, []) if r["row"] in rows] for key in ("runs", "trials")}
        self.content[sweep.name] = {**about, "rows": rows, "runs": kept["runs"]} | ({"trials": kept["trials"]} if kept["trials"] else {})
        write_json(self.path, self.content)

    def done(self, job: SweepJob) -> bool:
        """Whether a result of the same configuration is there; one of another row or sweep is taken over."""
        same = [r for s in self.content.values() for r in (*s["runs"], *s.get("trials", [])) if _config_of(r) == job.config]
        if not same:
            return False
        if not any(r["row"] == job.row for r in self._records(job) if r in same):
            self._insert(job, same[0] | {"row": job.row})
        return True

    def chosen(self, job: SweepJob) -> str | None:
        """The change of the best of a job's trials, the first of equal ones; None: they are not all done."""
        if not all(self.done(trial) for trial in job.trials):
            return None
        of = [next(r for r in self._records(trial) if _config_of(r) == trial.config) for trial in job.trials]
        return job.trials[int(np.argmax(accuracies(of)))].change

    def left_by(self, job: SweepJob) -> bool:
        """Whether the folder of a job has metrics of its configuration."""
        path = job.folder / METRICS
        return path.exists() and _config_of(json.loads(path.read_text())) == job.config

    def _records(self, job: SweepJob) -> list[dict[str, Any]]:
        """Where the result of a job belongs."""
        sweep = self.content[job.sweep]
        return sweep["runs"] if job.change is None else sweep.setdefault("trials", [])

    def add(self, job: SweepJob) -> dict[str, Any]:
        """Take over the result of a finished job, in place of an older one of the same row and seed."""
        metrics = json.loads((job.folder / METRICS).read_text())
        known = metrics | metrics.get("complexity", {})
        record = {"row": job.row, "seed": job.seed, **{k: known[k] for k in KEPT if k in known}}
        record["config"] = job.config.model_dump(mode="json")
        self._insert(job, record)
        return record

    def _insert(self, job: SweepJob, record: dict[str, Any]) -> None:
        if job.change is not None:
            record = record | {"change": job.change}
        runs = self._records(job)
        key = (job.row, job.seed, job.change)
        runs[:] = [r for r in runs if (r["row"], r["seed"], r.get("change")) != key] + [record]
        order = list(self.content[job.sweep]["rows"])
        runs.sort(key=lambda r: (order.index(r["row"]), r["seed"]))
        write_json(self.path, self.content)


def _config_of(record: dict[str, Any]) -> TrainConfig | None:
    """The configuration of a result; None for one that this version does not know."""
    try:
        return parse_config(record["config"])
    except UserError:
        return None


# --- the results as Markdown ---


def markdown(content: dict[str, Any]) -> str:
    """All sweeps of a results file, a table each."""
    return "\n".join(["# Training results", ""] + [line for name, sweep in content.items() for line in _section(name, sweep)])


def _section(folder: str, sweep: dict[str, Any]) -> list[str]:
    by_row = {name: [r for r in sweep["runs"] if r["row"] == name] for name in sweep["rows"]}
    base = by_row.get(sweep["baseline"]) or []
    table = TextTable(sweep["title"], TABLE_HEADER, tuple(_cells(n, runs, base) for n, runs in by_row.items() if runs))
    lines = [f"## {table.title}", "", sweep["about"].strip(), "", table.markdown(), *_choices(sweep)]
    lines += ["", "Commands, for each seed S:", "", "```"]
    for name, row in sweep["rows"].items():
        parts = [f"finn-vitprune train --config builds/train/{row['config']} --seed S"]
        lines.append(" ".join([*parts, *(f"--set {c}" for c in row["set"]), f"-o runs/{folder}/{name}-S"]))
    return [*lines, "```", ""]


def _choices(sweep: dict[str, Any]) -> list[str]:
    """What trials said, a line for each row that chose."""
    lines = []
    for row in sweep["rows"]:
        trials = [r for r in sweep.get("trials", []) if r["row"] == row]
        if trials:
            found = ", ".join(f"{r['change']} {a:.4f}" for r, a in zip(trials, accuracies(trials)))
            lines.append(f"Chosen for `{row}` by accuracy on {trials[0]['test_images']:,} held-out training images: {found}.")
    return ["", *lines] if lines else []


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
