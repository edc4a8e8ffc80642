"""The results file as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from finn_vitprune.report.tables import TextTable

HEADER = ("row", "seeds", "accuracy", "exported", "to baseline", "operations", "parameters", "minutes")


def markdown(content: dict[str, Any]) -> str:
    """All sweeps of a results file, a table each."""
    return "\n".join(["# Training results", ""] + [line for name, sweep in content.items() for line in _sweep(name, sweep)])


def _sweep(folder: str, sweep: dict[str, Any]) -> list[str]:
    by_row = {name: [r for r in sweep["runs"] if r["row"] == name] for name in sweep["rows"]}
    base = by_row.get(sweep["baseline"]) or []
    table = TextTable(sweep["title"], HEADER, tuple(_cells(n, runs, base) for n, runs in by_row.items() if runs))
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
        _ratio(runs, "macs"),
        _ratio(runs, "params"),
        f"{np.mean([r['cpu_seconds'] for r in runs]) / 60:.1f}",
    )


def _difference(runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """Mean over the seeds that both have, in points."""
    seeds = {r["seed"] for r in runs} & {r["seed"] for r in base}
    if not seeds:
        return ""
    ours, theirs = (accuracies([r for r in rows if r["seed"] in seeds]).mean() for rows in (runs, base))
    return f"{100 * (ours - theirs):+.2f}"


def _ratio(runs: list[dict[str, Any]], key: str) -> str:
    ratios = [r[f"{key}_dense"] / r[key] for r in runs if key in r]
    return f"{np.mean(ratios):.2f}x fewer" if ratios else "1"
