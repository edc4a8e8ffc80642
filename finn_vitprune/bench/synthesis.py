"""The modules that the benchmark synthesises, and the rows that their netlists fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from finn_vitprune import progress
from finn_vitprune.bench import finn_mvu, token_drop
from finn_vitprune.bench.plan import BenchCase, BenchPlan
from finn_vitprune.bench.resources import (
    ARRAY,
    BOX,
    TIMEOUT_S,
    Cost,
    UnitEstimate,
    array_source,
    boxed,
    joined,
    sources,
    unit_op,
    weight_memory,
)
from finn_vitprune.bench.results import BenchResults, DropRow, FinnRow
from finn_vitprune.bench.token_drop import DropUnit
from finn_vitprune.bench.units import build_node, with_mask
from finn_vitprune.errors import UserError
from finn_vitprune.synth.yosys import Netlist, NodeJob, map_many


@dataclass(frozen=True)
class SynthesisTask:
    """Modules by name, and what to do with their netlists, in the same order, once all are there."""

    nodes: dict[str, NodeJob]
    fill: Callable[..., None]


def synthesise(tasks: Sequence[SynthesisTask], workers: int) -> None:
    """Synthesise the modules of all tasks, and fill the rows of each task as its last netlist comes.

    Raises:
        UserError: Yosys fails.
    """
    names = {job: name for task in tasks for name, job in task.nodes.items()}
    found: dict[NodeJob, Netlist] = {}
    for job, netlist in map_many(list(names), workers, TIMEOUT_S):
        found[job], r = netlist, netlist.resources
        amounts = f"{r.LUT:,} LUT, {r.FF:,} FF, {r.DSP:,} DSP, {r.BRAM36:g} BRAM36, {netlist.timing.levels} LUT levels, {netlist.timing.taken:.2f} ns"
        progress.line(f"{names[job]}: {amounts}")
        for task in tasks:
            mine = list(task.nodes.values())
            if job in mine and all(other in found for other in mine):
                task.fill(*map(found.get, mine))


def unit_task(case: BenchCase, keep: float, folder: Path, results: BenchResults) -> SynthesisTask | None:
    """The unit of a keep rate, with room for all of its masks, and its array; None where its rows are filled."""
    rows = [row for (rate, _), row in case.rows.items() if rate == keep]
    group = [mask for (rate, _), masks in case.masks.items() if rate == keep for mask in masks]
    probe, _ = build_node("BlockSparseMVAU", case.unit.attributes(case.fold))
    slots = max(with_mask(probe, mask).schedule().lane_slots for mask in group)
    op, model = unit_op(case.unit, case.fold, [int(n) for n in group[0].sum(axis=0)], slots)
    estimate = UnitEstimate.of(op)
    if all(results.find(row).cost for row in rows):
        results.change(rows, estimate=estimate)  # which may have changed since
        return None
    files, memory = sources(op, model, folder), weight_memory(op, model)

    def fill(around: Netlist, array: Netlist) -> None:
        whole = Cost.of(*joined(around, array, case.fold["LANES"]))
        results.change(rows, cost=whole, array=Cost.of_netlist(array), estimate=estimate, memory=memory)

    name = f"{case.unit.name}, r_b {keep:g}"
    nodes = {
        f"{name}, around the arrays": NodeJob(op.onnx_node.name, boxed(op, files, folder), boxes=(BOX,)),
        f"{name}, array": NodeJob(ARRAY, (*files[:-1], array_source(op, folder))),
    }
    return SynthesisTask(nodes, fill)


def drop_task(unit: DropUnit, row: DropRow, folder: Path, results: BenchResults) -> SynthesisTask | None:
    """The token-drop unit and its ranker; None where its row is filled."""
    if results.find(row).cost is not None:
        return None
    op, model = unit.op()
    files, estimate = sources(op, model, folder), UnitEstimate.of(op)

    def fill(whole: Netlist, ranker: Netlist) -> None:
        results.change([row], cost=Cost.of_netlist(whole), ranker=Cost.of_netlist(ranker), estimate=estimate)

    nodes = {
        unit.name: NodeJob(op.onnx_node.name, files),
        f"{unit.name}, ranker": NodeJob(token_drop.RANKER, (*files[:-1], token_drop.ranker_source(op, folder))),
    }
    return SynthesisTask(nodes, fill)


def run_finn(plan: BenchPlan, folder: Path, results: BenchResults) -> list[FinnRow]:
    """FINN+'s unit for the first matrix at every number of products; quoted where Yosys cannot read it."""
    rows, tasks = [], []

    def fill(row: FinnRow) -> Callable[[Netlist], None]:
        return lambda netlist: results.change([row], cost=asdict(Cost.of_netlist(netlist)))

    try:
        for bits in plan.bits:
            for products in plan.products:
                fold = finn_mvu.fold(*plan.shapes[0], products)
                place = folder / f"{bits[0]}x{bits[1]}-{products}"
                for unit, job in finn_mvu.jobs(fold, bits, place).items():
                    row = finn_mvu.row(unit, fold, bits, products, job)
                    rows.append(row)
                    if not results.find(row).cost:
                        name = f"{unit}, {row.matrix}, {row.products:,} products a cycle"
                        tasks.append(SynthesisTask({name: job}, fill(row)))
        synthesise(tasks, plan.jobs)
    except UserError as error:
        progress.line(f"{error}; its figures are quoted")
        rows.append(finn_mvu.QUOTED)
        results.change([finn_mvu.QUOTED])
    return [row for row in map(results.find, rows) if row.cost]
