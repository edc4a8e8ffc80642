"""Runs the benchmark: what is asked, what is already there, and the rest in order."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from enum import Enum
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from finn_vitprune import progress
from finn_vitprune.bench import finn_mvu, masks, token_drop
from finn_vitprune.bench.cycles import CycleBench, Cycles
from finn_vitprune.bench.resources import (
    ARRAY,
    BOX,
    TIMEOUT_S,
    Cost,
    Estimate,
    array_source,
    boxed,
    joined,
    sources,
    unit_op,
    weight_memory,
)
from finn_vitprune.bench.results import DropRow, FinnRow, Results, Row
from finn_vitprune.bench.token_drop import DropUnit
from finn_vitprune.bench.units import Unit, find_fold, node, products_of, with_mask
from finn_vitprune.custom_ops import balance, mvau_contents, mvau_fold
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.rtl_sources import rtl_sources
from finn_vitprune.errors import UserError
from finn_vitprune.synth.yosys import Netlist, NodeJob, map_many, netlist_key, yosys_version

SHAPES = ((384, 384), (384, 1152), (384, 768), (768, 384), (384, 1536), (1536, 384), (384, 1000))
"""Matrices of DeiT-Small: projection, QKV, MLP with half its neurons, MLP, classifier."""

BLOCKS, KEEPS, PRODUCTS, MASKS = (16, 32), (1.0, 0.7, 0.5), (384, 1536, 4096), 20


class Part(str, Enum):
    """What is measured."""

    CYCLES = "cycles"
    RESOURCES = "resources"
    TOKEN_DROP = "token-drop"
    FINN = "finn"


@dataclass(frozen=True)
class Plan:
    """What is asked.

    Attributes:
        number: masks of each kind. masks_from: model whose masks are "trained".
        workers: processes at a time, of Verilator and of Yosys.
    """

    masks_from: Path
    shapes: tuple[tuple[int, int], ...] = SHAPES
    blocks: tuple[int, ...] = BLOCKS
    keeps: tuple[float, ...] = KEEPS
    products: tuple[int, ...] = PRODUCTS
    bits: tuple[tuple[int, int], ...] = ((8, 8),)
    body: str = "dsp48e2"
    ram_style: str = "auto"
    number: int = MASKS
    parts: tuple[Part, ...] = tuple(Part)
    workers: int = 1
    token_keeps: tuple[float, ...] = token_drop.KEEPS

    def units(self) -> list[Unit]:
        """Every matrix unit."""
        return [
            Unit(mw, mh, block, products, *bits, self.body, self.ram_style)
            for bits in self.bits
            for mw, mh in self.shapes
            for block in self.blocks
            for products in self.products
        ]

    def drops(self) -> list[DropUnit]:
        """Every token-drop unit."""
        return [DropUnit(keep, products) for products in self.products for keep in self.token_keeps]


@dataclass(frozen=True)
class Found:
    """The rows of a plan."""

    rows: list[Row]
    drops: list[DropRow]
    finn: list[FinnRow]


def quick(plan: Plan) -> Plan:
    """Two shapes, one fold, four masks."""
    return replace(
        plan,
        shapes=((384, 384), (768, 384)),
        blocks=(16,),
        products=(384,),
        number=4,
        token_keeps=(0.5,),
    )


@dataclass(frozen=True)
class _Case:
    """One unit with its fold and the masks of every keep rate and kind, and their rows so far."""

    unit: Unit
    fold: dict[str, int]
    masks: dict[tuple[float, str], list[np.ndarray]]
    rows: dict[tuple[float, str], Row]

    def masks_by_keep(self) -> dict[float, list[np.ndarray]]:
        """Masks of all kinds of each keep rate."""
        groups: dict[float, list[np.ndarray]] = {}
        for (keep, _), group in self.masks.items():
            groups.setdefault(keep, []).extend(group)
        return groups

    def most_slots(self, keep: float) -> int:
        """Column parts of the fullest lane over all masks of a keep rate."""
        op, _ = node("BlockSparseMVAU", self.unit.attributes(self.fold))
        return max(with_mask(op, mask).schedule().lane_slots for mask in self.masks_by_keep()[keep])


def run(plan: Plan, results: Results) -> Found:
    """Measure what is not in ``results`` yet; every new row goes there at once.

    Raises:
        UserError: a unit has no fold, or Yosys fails.
        SimulationError: Verilator fails.
    """
    results.about = {"tool": yosys_version(), "finn": finn_mvu.tool(), "masks_from": plan.masks_from.name}
    cases = _cases(plan, results) if {Part.CYCLES, Part.RESOURCES} & set(plan.parts) else []
    if Part.CYCLES in plan.parts:
        _run_cycles(cases, plan.workers, results)
    drops = [_drop_row(unit, results) for unit in plan.drops()] if Part.TOKEN_DROP in plan.parts else []
    _run_drop_cycles(drops, results)
    with tempfile.TemporaryDirectory(prefix="vitprune-bench-") as name:
        finn: list[FinnRow] = []
        if Part.FINN in plan.parts:
            finn = _run_finn(plan, _Synthesis(Path(name) / "finn", results))
        synthesis = _Synthesis(Path(name), results)
        for unit, row in drops:
            synthesis.add_drop(unit, row)
        if Part.RESOURCES in plan.parts:
            for case in cases:
                for keep in plan.keeps:
                    synthesis.add_unit(case, keep)
        synthesis.run(plan.workers)
    rows = [row for case in cases for row in case.rows.values()]
    return Found(rows, [results.find(row) for _, row in drops], finn)


# --- what there is to do -------------------------------------------------------------------------


def _cases(plan: Plan, results: Results) -> list[_Case]:
    trained = masks.load(plan.masks_from)
    cases = []
    for i, unit in enumerate(units := plan.units()):
        progress.status(f"fold {i + 1} of {len(units)}: {unit.name}")
        cases.append(_case(unit, plan, trained, results))
    return cases


def _case(unit: Unit, plan: Plan, trained: Sequence[np.ndarray], results: Results) -> _Case:
    fold = find_fold(unit, _probes(unit, plan, trained))
    drawn = {
        (keep, kind): masks.draw(kind, unit.grid, keep, plan.number, fold["LANES"], trained)
        for keep in plan.keeps
        for kind in _kinds(keep)
    }
    rows = {key: results.find(_row(unit, fold, *key, group)) for key, group in drawn.items()}
    return _Case(unit, fold, drawn, rows)


def _kinds(keep: float) -> tuple[str, ...]:
    return masks.KINDS if keep < 1 else (masks.DENSE,)


def _probes(unit: Unit, plan: Plan, trained: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The masks that a fold is searched for: one a kind, balanced ones left out, which need the lanes first.

    They are of the standard keep rates and those of the plan: part of a run has the folds of the whole.
    """
    return [
        masks.draw(kind, unit.grid, keep, 1, 1, trained)[0]
        for keep in dict.fromkeys((*KEEPS, *plan.keeps))
        for kind in _kinds(keep)
        if kind != "balanced"
    ]


def _row(unit: Unit, fold: dict[str, int], keep: float, kind: str, group: Sequence[np.ndarray]) -> Row:
    op, _ = node("BlockSparseMVAU", unit.attributes(fold))
    code = [balance.__file__, mvau_contents.__file__, mvau_fold.__file__]
    return Row(
        matrix=unit.matrix,
        b=unit.block,
        keep=keep,
        mask=kind,
        bits=unit.bits,
        body=unit.body,
        target=unit.products,
        fold=fold,
        products=products_of(fold),
        masks=len(group),
        ram_style=unit.ram_style,
        code=_digest(op, code, [str(fold), *(m.tobytes() for m in group)]),
    )


def _digest(op: VitRTLBackend, modules: Iterable[str], values: Iterable[str | bytes]) -> str:
    """Hash of an op's RTL, of Python modules that decide what it does, and of further values."""
    digest = hashlib.sha256()
    for path in [*rtl_sources(op.RTL_TOP), *map(Path, modules)]:
        digest.update(path.read_bytes())
    for value in values:
        digest.update(value if isinstance(value, bytes) else value.encode())
    return digest.hexdigest()[:16]


def _drop_row(unit: DropUnit, results: Results) -> tuple[DropUnit, DropRow]:
    op, _ = unit.op()
    row = DropRow(
        tokens=unit.tokens,
        channels=unit.channels,
        keep=unit.keep,
        target=unit.products,
        pace=unit.pace,
        fold=token_drop.fold_of(op),
        code=_digest(op, (), [str(op.rtl_parameters())]),
    )
    return unit, results.find(row)


# --- cycles --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CycleTask:
    """The rows of one unit that wait for cycles, by number of the unit."""

    number: int
    unit: Unit
    fold: dict[str, int]
    masks: dict[tuple[float, str], list[np.ndarray]]
    waiting: tuple[tuple[float, str], ...]

    def run(self) -> tuple[int, dict[tuple[float, str], Cycles]]:
        """Compile the unit once and measure every row; the number comes back beside them."""
        bench = CycleBench(self.unit, self.fold, [m for group in self.masks.values() for m in group])
        return self.number, {key: bench.measure(self.masks[key]) for key in self.waiting}


def _run_cycles(cases: Sequence[_Case], workers: int, results: Results) -> None:
    tasks = [
        _CycleTask(i, case.unit, case.fold, case.masks, waiting)
        for i, case in enumerate(cases)
        if (waiting := tuple(key for key, row in case.rows.items() if row.cycles is None))
    ]
    for done, (number, measured) in enumerate(_in_processes(tasks, workers)):
        case = cases[number]
        case.rows.update({key: replace(case.rows[key], **asdict(cycles)) for key, cycles in measured.items()})
        results.put(*(case.rows[key] for key in measured))
        used = [row.utilisation for row in case.rows.values()]
        text = f"{case.unit.name}: fold {_text(case.fold)}, utilisation {min(used):.3f} to {max(used):.3f}"
        progress.line(text)
        progress.status(f"cycles: {done + 1} of {len(tasks)} units")


def _in_processes(tasks: Sequence[_CycleTask], workers: int) -> Iterator[tuple[int, dict]]:
    """What the tasks give, as they are done; in this process where one worker does."""
    if workers == 1 or len(tasks) < 2:
        yield from (task.run() for task in tasks)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(task.run) for task in tasks]):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_drop_cycles(drops: list[tuple[DropUnit, DropRow]], results: Results) -> None:
    for i, (unit, row) in enumerate(drops):
        if row.interval is None:
            progress.status(f"simulating the {unit.name}")
            row = replace(row, **asdict(token_drop.measure(unit)))
            results.put(row)
            progress.line(f"{unit.name}: interval {max(row.interval.values()):,.1f} cycles")
        drops[i] = unit, row


def _text(fold: dict[str, int]) -> str:
    return " ".join(f"{name} {value}" for name, value in fold.items())


# --- synthesis -----------------------------------------------------------------------------------


class _Synthesis:
    """Collects the modules to synthesise, runs them, and fills the rows that wait for them."""

    def __init__(self, folder: Path, results: Results) -> None:
        self.folder, self.results = folder, results
        self.jobs: list[NodeJob] = []
        self.names: list[str] = []
        self.found: dict[int, Netlist] = {}
        self.waiting: list[tuple[list[int], Callable[[list[Netlist]], None]]] = []

    def run(self, workers: int) -> None:
        """Synthesise all that was added."""
        numbers = {id(job): i for i, job in enumerate(self.jobs)}
        progress.status(f"synthesis: {len(self.jobs)} modules")
        for job, netlist in map_many(self.jobs, workers, TIMEOUT_S):
            self._done(numbers[id(job)], netlist)

    def _done(self, number: int, netlist: Netlist) -> None:
        self.found[number] = netlist
        r = netlist.resources
        progress.line(
            f"{self.names[number]}: {r.LUT:,} LUT, {r.FF:,} FF, {r.DSP:,} DSP, {r.BRAM36:g} BRAM36, depth {netlist.depth.any}"
        )
        progress.status(f"synthesis: {len(self.found)} of {len(self.jobs)} modules")
        for numbers, fill in self.waiting:
            if number in numbers and all(n in self.found for n in numbers):
                fill([self.found[n] for n in numbers])

    def _add(self, jobs: dict[str, NodeJob], fill: Callable[[list[Netlist]], None]) -> None:
        """Jobs by name, and what to do with their netlists once all are there."""
        first = len(self.jobs)
        self.names += jobs
        self.jobs += jobs.values()
        self.waiting.append((list(range(first, len(self.jobs))), fill))

    def add_unit(self, case: _Case, keep: float) -> None:
        """The unit of a keep rate, with room for all of its masks, and its array."""
        kept = case.masks_by_keep()[keep][0].sum(axis=0)
        op, model = unit_op(case.unit, case.fold, [int(n) for n in kept], case.most_slots(keep))
        estimate = asdict(Estimate.of(op))

        def put(**measured: object) -> None:
            new = {key: replace(row, **measured) for key, row in case.rows.items() if row.keep == keep}
            case.rows.update(new)
            self.results.put(*new.values())

        if all(row.lut is not None for row in case.rows.values() if row.keep == keep):
            put(estimate=estimate)  # the estimate may have changed since
            return
        folder = self.folder / str(len(self.jobs))
        files = sources(op, model, folder)
        memory = asdict(weight_memory(op, model))
        name = f"{case.unit.name}, r_b {keep:g}"

        def fill(netlists: list[Netlist]) -> None:
            around, array = netlists
            whole = asdict(Cost.of(joined(around, array, case.fold["LANES"])))
            put(**whole, array=asdict(Cost.of(array)), estimate=estimate, memory=memory)

        array = NodeJob(ARRAY, (*files[:-1], array_source(op, folder)))
        around = NodeJob(op.onnx_node.name, boxed(op, files, folder), boxes=(BOX,))
        self._add({f"{name}, around the arrays": around, f"{name}, array": array}, fill)

    def add_drop(self, unit: DropUnit, row: DropRow) -> None:
        if row.cost is not None:
            return
        op, model = unit.op()
        folder = self.folder / str(len(self.jobs))
        files = sources(op, model, folder)
        whole = NodeJob(op.onnx_node.name, files)
        ranker = NodeJob(token_drop.RANKER, (*files[:-1], token_drop.ranker_source(op, folder)))
        estimate = asdict(Estimate.of(op))

        def fill(netlists: list[Netlist]) -> None:
            cost, alone = (asdict(Cost.of(found)) for found in netlists)
            self.results.put(replace(row, cost=cost, ranker=alone, estimate=estimate))

        self._add({unit.name: whole, f"{unit.name}, ranker": ranker}, fill)

    def add_finn(self, row: FinnRow, job: NodeJob) -> None:
        """FINN+'s unit, alone or with its weight memory."""

        def fill(netlists: list[Netlist]) -> None:
            self.results.put(replace(row, cost=asdict(Cost.of(netlists[0]))))

        self._add({f"{row.unit}, {row.matrix}, {row.products:,} products a cycle": job}, fill)


def _run_finn(plan: Plan, synthesis: _Synthesis) -> list[FinnRow]:
    """FINN+'s unit for the first matrix at every number of products; quoted where Yosys cannot read it."""
    rows = []
    try:
        for bits in plan.bits:
            for products in plan.products:
                fold = finn_mvu.fold(*plan.shapes[0], products)
                folder = synthesis.folder / f"{bits[0]}x{bits[1]}-{products}"
                for name, job in finn_mvu.jobs(fold, bits, folder).items():
                    rows.append(synthesis.results.find(_finn_row(name, fold, bits, products, job)))
                    if not rows[-1].cost:
                        synthesis.add_finn(rows[-1], job)
        synthesis.run(plan.workers)
    except UserError as error:
        progress.line(f"{error}; its figures are quoted")
        rows.append(_quoted())
        synthesis.results.put(rows[-1])
    return [row for row in map(synthesis.results.find, rows) if row.cost]


def _finn_row(name: str, fold: finn_mvu.FinnFold, bits: tuple[int, int], target: int, job: NodeJob) -> FinnRow:
    return FinnRow(
        matrix=fold.matrix,
        bits=f"{bits[0]}x{bits[1]}",
        unit=name,
        target=target,
        fold={"SIMD": fold.simd, "PE": fold.pe},
        products=fold.products,
        source=f"{yosys_version()} on {finn_mvu.tool()}",
        code=netlist_key(job),
    )


def _quoted() -> FinnRow:
    q = finn_mvu.QUOTED
    return FinnRow(
        matrix=q.fold.matrix,
        bits="8x8",
        unit=finn_mvu.CORE,
        target=q.fold.products,
        fold={"SIMD": q.fold.simd, "PE": q.fold.pe},
        products=q.fold.products,
        source=q.source,
        code="quoted",
        cost={"dsp": q.dsp, "lut_sites": q.lut, "ff": q.ff},
    )
