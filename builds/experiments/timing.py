"""The timing estimate of units at the folds of DeiT-Small plans, and of small ones of every kind."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from builds.experiments.study import ROWS, Only, Output, Study, start
from builds.experiments.timing_units import UNITS, FinnUnit, Made
from finn_vitprune.bench import finn_mvu
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.units import build_node
from finn_vitprune.report.tables import TextTable
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import TimedPath, Timing
from finn_vitprune.synth.yosys import NodeJob, SynthesisError, map_node, timing_key, yosys_version

BARS = {"taken": 2.7, "high": 3.333, "levels": 5, "loads": 1024, "RAM": 1, "bare": 0}
"""What every unit should keep to: ns of the slowest path by the taken and by the high constants, LUTs in a row, loads of a net,
LUTs in a row after a memory, multipliers without all of their registers."""
LIMIT_S = 3600.0
"""Seconds that Yosys may take for a unit."""
CLOCK_NS = 3.333
"""The period that end points are counted against."""
TITLE = "Timing of units, estimated"
TEXT = f"""Before placement, from Yosys' netlists; `docs/timing.md` says how, and what these figures are worth. Low, taken, high:
ns of the slowest path by three sets of constants. Levels: most LUTs in a row; c: LUTs and carry blocks; RAM: LUTs in
a row after a block RAM or UltraRAM. Bare: multipliers without registers of operands, product and result. Widest:
loads of the widest net. Over: ends over {CLOCK_NS} ns by the taken and by the high constants. Ports: ns
(taken) from an input to a register, from a register to an output, and through. Misses: what does not keep to the bars:
{BARS["taken"]} ns (taken), {BARS["high"]} ns (high), {BARS["levels"]} levels, {BARS["loads"]:,} loads, {BARS["RAM"]} LUT after \
a memory, no bare multiplier.

```
python -m builds.experiments.timing -o builds/results/timing
```

What `{ROWS}` holds of the same RTL, Yosys and rules is not made again. Seconds of processor time on the machine at
hand; none of Yosys where the netlist was in the cache.
"""


@dataclass(frozen=True)
class TimedUnit:
    """A unit's resources and timing.

    Attributes:
        key: of :func:`timing_key`. timing: without the counts of all ends.
        over, over_high: ends over :data:`CLOCK_NS` by class, by the taken and by the high constants.
        yosys_s, estimate_s: processor time.
    """

    key: str
    resources: Resources
    timing: Timing
    over: dict[str, int]
    over_high: dict[str, int]
    yosys_s: float
    estimate_s: float

    @property
    def misses(self) -> list[str]:
        """What the unit does not keep to."""
        t = self.timing
        found = t.taken, t.high, t.levels, t.widest, t.ram_levels, t.bare_multipliers
        return [name for (name, most), value in zip(BARS.items(), found, strict=True) if value > most]


def main(output: Output = Path("builds/results/timing"), only: Only = None) -> None:
    """Map units and write their timing."""
    study().go(output, only)


def study(units: Mapping[str, Made | FinnUnit] = UNITS) -> Study[Made | FinnUnit, TimedUnit]:
    """Units by name; a row holds for the same RTL, Yosys and rules."""
    return Study(
        units, TimedUnit, timed, tables, f"{TITLE} ({yosys_version()})", TEXT,
        lambda row: f"{row.timing.taken:.2f} ns, {row.timing.levels} levels", _holds, (SynthesisError,),
    )  # fmt: skip


def job_of(unit: Made | FinnUnit, folder: Path) -> NodeJob:
    """The sources of a unit in a folder, for Yosys."""
    if isinstance(unit, FinnUnit):
        return finn_mvu.jobs(unit.fold, unit.bits, folder)[finn_mvu.CORE]
    op, model = build_node(*unit)
    return NodeJob(op.onnx_node.name, sources(op, model, folder))


def _holds(unit: Made | FinnUnit, row: TimedUnit) -> bool:
    with tempfile.TemporaryDirectory(prefix="vitprune_timing_") as folder:
        return row.key == timing_key(job_of(unit, Path(folder)))


def timed(unit: Made | FinnUnit) -> TimedUnit:
    """Resources and timing of a unit, and the processor time that they take."""
    with tempfile.TemporaryDirectory(prefix="vitprune_timing_") as folder:
        job = job_of(unit, Path(folder))
        children, own = _children_s(), time.process_time()
        netlist = map_node(job, LIMIT_S)
        seconds = _children_s() - children, time.process_time() - own
        found = netlist.timing
        return TimedUnit(
            timing_key(job), netlist.resources, replace(found, ends={}, high_ends={}), found.over(CLOCK_NS),
            found.over(CLOCK_NS, high=True), *(round(s, 1) for s in seconds),
        )  # fmt: skip


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def tables(found: Mapping[str, TimedUnit]) -> list[TextTable]:
    """Units, their slowest paths and widest nets, and their resets."""
    columns = ("unit", "LUT", "FF", "DSP", "BRAM36", "URAM", "low", "taken", "high", "levels", "c", "RAM", "bare", "widest",
               "over", "ports", "misses", "Yosys, s", "rest, s")  # fmt: skip
    return [
        TextTable("Units", columns, tuple(_row(name, unit) for name, unit in found.items())),
        TextTable(
            "Slowest paths",
            ("unit", "start", "end", "low", "taken", "high", "levels", "carries", "widest net", "loads", "ends"),
            tuple(_path(name, path) for name, unit in found.items() for path in unit.timing.paths[:3]),
            "Three of each unit. ends: how many of the slowest ends have such a path, bits and indices left out.",
        ),
        TextTable(
            "Widest nets", ("unit", "net", "loads"),
            tuple((name, n.name, f"{n.loads:,}") for name, unit in found.items() for n in unit.timing.nets[:3]),
            "Three of each unit, one of each register.",
        ),
        TextTable(
            "Resets", ("unit", "net", "loads", "taken"),
            tuple(
                (name, r.name, f"{r.loads:,}", f"{u.timing.reset_ns:.2f}")
                for name, u in found.items() if (r := u.timing.reset)
            ),
            "The widest net of the reset in each unit, and ns of the slowest path from a register of it.",
        ),
    ]  # fmt: skip


def _row(name: str, unit: TimedUnit) -> tuple[str, ...]:
    r, t = unit.resources, unit.timing
    return (
        name, f"{r.LUT:,}", f"{r.FF:,}", f"{r.DSP:,}", f"{r.BRAM36:g}", str(r.URAM),
        *(f"{ns:.2f}" for ns in (t.low, t.taken, t.high)), str(t.levels), str(t.carry_levels), str(t.ram_levels),
        str(t.bare_multipliers), f"{t.widest:,}", f"{sum(unit.over.values()):,} / {sum(unit.over_high.values()):,}",
        f"{t.from_ports:.2f} / {t.to_ports:.2f} / {t.through_ports:.2f}", ", ".join(unit.misses) or "-",
        f"{unit.yosys_s:g}" if unit.yosys_s else "-", f"{unit.estimate_s:g}",
    )  # fmt: skip


def _path(name: str, path: TimedPath) -> tuple[str, ...]:
    return (
        name, path.start, path.end, *(f"{ns:.2f}" for ns in (path.low, path.taken, path.high)), str(path.levels),
        str(path.carries), path.widest.name, f"{path.widest.loads:,}", str(path.ends),
    )  # fmt: skip


if __name__ == "__main__":
    start(lambda: typer.run(main))
