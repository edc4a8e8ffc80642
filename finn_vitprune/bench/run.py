"""Runs the benchmark: what is there already is taken from the results, the rest is measured in order."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finn_vitprune import jobs, progress
from finn_vitprune.bench import finn_mvu, masks, token_drop
from finn_vitprune.bench.cycles import CycleBench, Cycles
from finn_vitprune.bench.plan import BenchCase, BenchPlan, Measurement, bench_case, drop_row
from finn_vitprune.bench.results import BenchResults, DropRow, FinnRow, MatrixRow
from finn_vitprune.bench.synthesis import drop_task, run_finn, synthesise, unit_task
from finn_vitprune.bench.token_drop import DropUnit
from finn_vitprune.synth.yosys import yosys_version


@dataclass(frozen=True)
class Measured:
    """The rows of a plan."""

    rows: list[MatrixRow]
    drops: list[DropRow]
    finn: list[FinnRow]


def run(plan: BenchPlan, results: BenchResults) -> Measured:
    """Measure what is not in ``results`` yet; every new row goes there at once.

    Raises:
        UserError: a unit has no fold, or Yosys fails.
        SimulationError: Verilator fails.
    """
    results.about = {"tool": yosys_version(), "finn": finn_mvu.tool(), "masks_from": plan.masks_from.name}
    wanted = set(plan.parts)
    cases = _cases(plan) if wanted & {Measurement.CYCLES, Measurement.RESOURCES} else []
    drops = {unit: drop_row(unit) for unit in plan.drops()} if Measurement.TOKEN_DROP in wanted else {}
    if Measurement.CYCLES in wanted:
        _run_cycles(cases, plan.jobs, results)
    _run_drop_cycles(drops, results)
    with tempfile.TemporaryDirectory(prefix="vitprune-bench-") as name:
        folder = Path(name)
        finn = run_finn(plan, folder / "finn", results) if Measurement.FINN in wanted else []
        tasks = [drop_task(unit, row, folder / f"drop{i}", results) for i, (unit, row) in enumerate(drops.items())]
        if Measurement.RESOURCES in wanted:
            pairs = [(case, keep) for case in cases for keep in plan.keeps]
            tasks += [unit_task(*pair, folder / f"unit{i}", results) for i, pair in enumerate(pairs)]
        synthesise([task for task in tasks if task is not None], plan.jobs)
    rows = [results.find(row) for case in cases for row in case.rows.values()]
    return Measured(rows, [results.find(row) for row in drops.values()], finn)


def _cases(plan: BenchPlan) -> list[BenchCase]:
    trained = masks.load(plan.masks_from)
    cases = []
    for i, unit in enumerate(units := plan.units()):
        progress.status(f"fold {i + 1} of {len(units)}: {unit.name}")
        cases.append(bench_case(unit, plan, trained))
    return cases


def _run_cycles(cases: Sequence[BenchCase], workers: int, results: BenchResults) -> None:
    missing = [
        replace(case, rows=rows)
        for case in cases
        if (rows := {key: row for key, row in case.rows.items() if results.find(row).cycles is None})
    ]
    workers = workers if min(workers, len(missing)) > 1 else 0  # a single one has all that it needs loaded here
    measured = jobs.run(measure_cycles, missing, workers, lambda case: case.unit.name, jobs.Told("cycles of units", len(missing)))
    for case, found in measured:
        for key, cycles in found.items():
            results.change([case.rows[key]], cycles=cycles)
        used = [cycles.utilisation for cycles in found.values()]
        fold = " ".join(f"{name} {value}" for name, value in case.fold.items())
        progress.line(f"{case.unit.name}: fold {fold}, utilisation {min(used):.3f} to {max(used):.3f}")


def measure_cycles(case: BenchCase) -> dict[tuple[float, str], Cycles]:
    """Compile a unit once, with room for all of its masks, and measure each of its rows."""
    bench = CycleBench(case.unit, case.fold, [mask for group in case.masks.values() for mask in group])
    return {key: bench.measure(case.masks[key]) for key in case.rows}


def _run_drop_cycles(drops: dict[DropUnit, DropRow], results: BenchResults) -> None:
    for unit, row in drops.items():
        if results.find(row).cycles is None:
            progress.status(f"simulating the {unit.name}")
            cycles = token_drop.measure(unit)
            results.change([row], cycles=cycles)
            progress.line(f"{unit.name}: interval {max(cycles.interval.values()):,.1f} cycles")
