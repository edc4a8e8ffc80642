"""The timing estimate of units at the folds of DeiT-Small plans, and of small ones of every kind.

``python -m finn_vitprune.bench.timing -o builds/results/timing [UNIT...]``
"""

from __future__ import annotations

import logging
import resource
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import TypeAdapter

from finn_vitprune import numerics, progress
from finn_vitprune.bench import finn_mvu
from finn_vitprune.bench.bars import TEXT as BARS
from finn_vitprune.bench.bars import misses
from finn_vitprune.bench.finn_mvu import FinnFold
from finn_vitprune.bench.large_units import UNITS as LARGE_UNITS
from finn_vitprune.bench.large_units import Made, attention, matrix
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.timing_designs import Designs, design_table, kinds
from finn_vitprune.bench.units import node
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import TimedPath, Timing
from finn_vitprune.synth.yosys import NodeJob, SynthesisError, map_node, timing_key, yosys_version

CLOCK_NS = 3.333
"""The period that end points are counted against."""
TITLE = "Timing of units, estimated"
FILE = "results.json"
TEXT = f"""Before placement, from Yosys' netlists; `docs/timing.md` says how, and what these figures are worth. Low, taken, high:
ns of the slowest path by three sets of constants. Levels: most LUTs in a row; c: LUTs and carry blocks; RAM: LUTs in
a row after a block RAM or UltraRAM. Bare: multipliers without registers of operands, product and result. Widest:
loads of the widest net. Over: ends over {CLOCK_NS} ns by the taken and by the high constants. Ports: ns
(taken) from an input to a register, from a register to an output, and through. Misses: what does not keep to the bars:
{BARS}.

```
{{command}}
```

What `{FILE}` holds of the same RTL, Yosys and rules is not made again. Seconds of processor time on the machine at
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
        return misses(t.taken, t.high, t.levels, t.widest, t.ram_levels, t.bare_multipliers)


@dataclass(frozen=True)
class FinnUnit:
    """FINN's matrix unit at a fold, its weights as a stream; ``bits`` of activations and of weights."""

    fold: FinnFold
    bits: tuple[int, int]


def norm(tokens: int, channels: int, simd: int, roots: int) -> Made:
    """A LayerNorm."""
    mult, shift = numerics.snap_ratio(24.0)
    attributes = {"tokens": tokens, "channels": channels, "SIMD": simd, "roots": roots}
    return "VitLayerNorm", attributes | {"eps": 1000, "mult": int(mult), "shift": shift}, []


def drop(tokens: int, channels: int, simd: int, k: int, heads: int) -> Made:
    """A token drop with the scores of ``heads`` heads."""
    mult, shift = numerics.head_mean_constant(heads)
    score = f"UINT{(heads << numerics.SCORE_BITS).bit_length()}"
    attributes = {"tokens": tokens, "channels": channels, "SIMD": simd, "k": k, "mult": mult, "shift": shift}
    return "VitTokenDrop", attributes | {"scoreDataType": score}, []


def planned_drop(tokens: int, simd: int, k: int, interval: int) -> Made:
    """A token drop of DeiT-Small as a plan has it: 384 channels, six heads, the graph's interval."""
    op, attributes, initialisers = drop(tokens, 384, simd, k, 6)
    return op, attributes | {"interval": interval}, initialisers


def embed(simd: int) -> Made:
    """DeiT-Small's token embedding."""
    rng = np.random.default_rng(0)
    attributes = {"tokens_in": 196, "prefix": 1, "channels": 384, "SIMD": simd}
    return "VitTokenEmbed", attributes, [rng.integers(-999, 999, 384), rng.integers(-999, 999, (197, 384))]


def stream(op: str, simd: int, dtype: str, initialisers: Iterable[np.ndarray] = (), **more: object) -> Made:
    """A unit of one stream of 384 channels, where ``more`` does not say otherwise."""
    attributes = {"tokens": 197, "channels": 384, "SIMD": simd, "inputDataType": dtype}
    return op, attributes | more, list(initialisers)


def requant(simd: int, channels: int = 384) -> Made:
    """A requantiser of 24 to 8 bits with a multiplier a channel."""
    more = {"channels": channels, "shift": 30, "per_channel": 1, "mult_bits": 17, "outputDataType": "INT8"}
    return stream("VitRequant", simd, "INT24", [np.arange(channels) + 1], **more)


def lookup(simd: int) -> Made:
    """A table of 8 to 8 bits."""
    return stream("VitLookup", simd, "INT8", [np.arange(-128, 128)], outputDataType="INT8")


UNITS: dict[str, Made | FinnUnit] = {
    "FIFO 16 x 128 bits": stream("VitFIFO", 16, "INT8", depth=16),
    "FIFO 2,048 x 64 bits, block RAM": stream("VitFIFO", 8, "INT8", depth=2048, ram_style="block"),
    "FIFO 4,100 x 64 bits, UltraRAM": stream("VitFIFO", 8, "INT8", depth=4100, ram_style="ultra"),
    "add, 16 bits, SIMD 8": stream("VitAdd", 8, "INT16"),
    "lookup, 8 to 8 bits, SIMD 16": lookup(16),
    "requant, 24 to 8 bits, SIMD 8": requant(8),
    "requant, 24 to 8 bits, SIMD 4, table in block RAM": requant(4),
    "LayerNorm 384, SIMD 8": norm(197, 384, 8, 1),
    "LayerNorm 384, SIMD 16": norm(197, 384, 16, 2),
    "LayerNorm 17x48, SIMD 4, 3 square roots": norm(17, 48, 4, 3),
    "token drop 197x384, SIMD 6, k 98": drop(197, 384, 6, 98, 6),
    "token drop 197x384, SIMD 3, k 98, 38,425 cycles": planned_drop(197, 3, 98, 38425),
    "token drop 100x384, SIMD 2, k 50, 38,425 cycles": planned_drop(100, 2, 50, 38425),
    "token drop 52x384, SIMD 1, k 26, 38,425 cycles": planned_drop(52, 1, 26, 38425),
    "token drop 100x384, SIMD 3, k 50, 20,880 cycles": planned_drop(100, 3, 50, 20880),
    "token drop 52x384, SIMD 2, k 26, 20,880 cycles": planned_drop(52, 2, 26, 20880),
    "token embedding 197x384, SIMD 3": embed(3),
    "token mean 197x384, SIMD 3": stream("VitTokenMean", 3, "INT16", mult=10923, shift=21, outputDataType="INT16"),
    "select token 0 of 197x384, SIMD 2": stream("VitSelectToken", 2, "INT16", index=0),
    "split 192 and 384 of 576, SIMD 8": stream("VitSplit", 8, "INT8", channels=576, first=192),
    "fork, SIMD 3": stream("VitFork", 3, "INT16"),
    "width converter, SIMD 16 to 6": (
        "VitWidthConverter", {"tokens": 197, "channels": 384, "in_simd": 16, "out_simd": 6, "inputDataType": "INT8"}, []
    ),
    "crossing, SIMD 8, 2 stages": stream("VitCrossing", 8, "INT8", stages=2),
    "load port 196x768, SIMD 4": stream("VitLoadPort", 4, "UINT8", tokens=196, channels=768, words=359424, design=1),
    "FIFO 9,552 x 64 bits, LUTRAM": stream("VitFIFO", 8, "INT8", depth=9552, ram_style="distributed"),
    "FIFO 27,776 x 48 bits, UltraRAM": stream("VitFIFO", 3, "INT16", depth=27776, ram_style="ultra"),
    "attention 197x6x64, SIMD 4, PE 16": attention(4, 16, "auto"),
    "attention 197x6x64, SIMD 8, PE 50": attention(8, 50, "block"),
    "attention 100x6x64, SIMD 4, PE 25": attention(4, 25, "block", tokens=100),
    "attention 197x6x64, SIMD 64, PE 12, 4 bits, LUTRAM": attention(64, 12, "distributed", 4),
    "attention 52x6x64, SIMD 8, PE 8, 4 bits": attention(8, 8, "block", 4, tokens=52),
    "attention 28x6x64, SIMD 8, PE 1, UltraRAM": attention(8, 1, "ultra", tokens=28),
    "attention 28x6x64, SIMD 1, PE 1, rows of UltraRAM": attention(1, 1, "ultra", tokens=28),
    "matrix 384x384, 2x8x8x5, 4 bits, dsp48e2": matrix(384, 384, (2, 8, 8, 5), "dsp48e2", "auto", 4),
    "matrix 384x1152, 4x16x16x1, 4 bits, lut, UltraRAM": matrix(384, 1152, (4, 16, 16, 1), "lut", "ultra", 4),
    "matrix 384x1536, 1x4x4x1, 4 bits, lut, UltraRAM": matrix(384, 1536, (1, 4, 4, 1), "lut", "ultra", 4),
    "matrix 768x384, 4x16x16x1, 8 bits, dsp48e2": matrix(768, 384, (4, 16, 16, 1), "dsp48e2", "auto"),
    "matrix 768x384, 16x16x16x1, 8 bits, dsp48e2": matrix(768, 384, (16, 16, 16, 1), "dsp48e2", "auto"),
    **LARGE_UNITS,
    "matrix 384x384, 1x8x8x1, 8 bits, dsp48e2": matrix(384, 384, (1, 8, 8, 1), "dsp48e2", "auto"),
    "FINN's mvu_vvu_axi 384x384, 8x8, 8 bits": FinnUnit(FinnFold(384, 384, 8, 8), (8, 8)),
    "matrix 384x384, 1x8x8x1, 4 bits, dsp48e2": matrix(384, 384, (1, 8, 8, 1), "dsp48e2", "auto", 4),
    "FINN's mvu_vvu_axi 384x384, 8x8, 4 bits": FinnUnit(FinnFold(384, 384, 8, 8), (4, 4)),
    "small: FIFO 16 x 64 bits": stream("VitFIFO", 8, "INT8", depth=16),
    "small: add, 16 bits, SIMD 4": stream("VitAdd", 4, "INT16"),
    "small: lookup, 8 to 8 bits, SIMD 4": lookup(4),
    "small: requant 48, 24 to 8 bits, SIMD 4": requant(4, 48),
    "small: LayerNorm 17x48, SIMD 4": norm(17, 48, 4, 1),
    "small: token drop 17x48, SIMD 4, k 8": drop(17, 48, 4, 8, 2),
    "small: attention 17x2x8, SIMD 2, PE 2": attention(2, 2, "auto", tokens=17, heads=2, head_dim=8),
    "small: matrix 48x48 b8, 2x4x4x1, 4 bits, portable": matrix(48, 48, (2, 4, 4, 1), "portable", "auto", 4, block=8),
    "small: matrix 96x96 b8, 2x4x4x2, 8 bits, portable": matrix(96, 96, (2, 4, 4, 2), "portable", "auto", 8, block=8),
}
"""Matrix units: rows x columns, TOKENS x SIMD x PE x LANES; half of the blocks of 16 (or b) are kept. FINN's: rows x columns, SIMD x PE."""


@dataclass(frozen=True)
class _Results:
    """What ``results.json`` holds: units by name, and the nodes of designs."""

    units: dict[str, TimedUnit] = field(default_factory=dict)
    designs: Designs = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | None) -> _Results:
        """Those of a folder, none where there is no file or no folder is given."""
        path = folder / FILE if folder else None
        return _RESULTS.validate_json(path.read_bytes()) if path and path.exists() else cls()


_RESULTS = TypeAdapter(_Results)


def main(
    units: Annotated[list[str] | None, typer.Argument(help="Only units whose name holds one of these texts.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("builds/results/timing"),
    design: Annotated[list[Path] | None, typer.Option(help="A build, or a summary that was kept: its nodes, too.")] = None,
    before: Annotated[Path | None, typer.Option(help="Folder of results of other RTL, shown beside.")] = None,
    limit_s: Annotated[float, typer.Option(help="Seconds that Yosys may take for a unit.")] = 3600.0,
) -> None:
    """Map units and write their timing."""
    earlier = _earlier(before)
    stored = _Results.load(output)
    designs = dict(kinds(place) for place in design or []) or stored.designs
    wanted = [name for name in UNITS if any(text in name for text in units or [""])]
    if not wanted:
        raise UserError(f"no unit has {' or '.join(units)} in its name: there are {', '.join(UNITS)}")
    command = f"python -m finn_vitprune.bench.timing -o {output}" + "".join(f" --design {place}" for place in design or [])
    command += f" --before {before}" if before else ""
    found = stored.units
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="vitprune_timing_") as folder:
            job = _job(UNITS[name], Path(folder))
            if name in found and found[name].key == timing_key(job):
                continue
            progress.status(name)
            try:
                found[name] = timed(job, limit_s)
            except SynthesisError as error:
                progress.line(f"{name}: {error}")
                continue
        progress.line(f"{name}: {found[name].timing.taken:.2f} ns, {found[name].timing.levels} levels")
        _write(output, _Results(found, designs), earlier, command)
    _write(output, _Results(found, designs), earlier, command)


def _earlier(before: Path | None) -> _Results:
    if before is not None and not (before / FILE).is_file():
        raise UserError(f"{before} holds no {FILE}: give a folder that an earlier run of this command wrote")
    return _Results.load(before)


def _job(unit: Made | FinnUnit, folder: Path) -> NodeJob:
    if isinstance(unit, FinnUnit):
        return finn_mvu.jobs(unit.fold, unit.bits, folder)[finn_mvu.CORE]
    op, model = node(*unit)
    return NodeJob(op.onnx_node.name, sources(op, model, folder))


def _write(output: Path, results: _Results, earlier: _Results, command: str) -> None:
    units = {name: results.units[name] for name in UNITS if name in results.units}
    results = _Results(units, results.designs)
    write_json(output / FILE, _RESULTS.dump_python(results, mode="json"), indent=1)
    page = to_markdown(f"{TITLE} ({yosys_version()})", TEXT.format(command=command), tables(results, earlier))
    write_text(output / "RESULTS.md", page)


def timed(job: NodeJob, limit_s: float) -> TimedUnit:
    """Resources and timing of a job, and the processor time that they take."""
    children, own = _children_s(), time.process_time()
    netlist = map_node(job, limit_s)
    seconds = _children_s() - children, time.process_time() - own
    found = netlist.timing
    return TimedUnit(
        timing_key(job), netlist.resources, replace(found, ends={}, high_ends={}), found.over(CLOCK_NS),
        found.over(CLOCK_NS, high=True), *(round(s, 1) for s in seconds),
    )  # fmt: skip


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def tables(results: _Results, earlier: _Results) -> list[TextTable]:
    """Units, nodes of designs, the units' slowest paths and widest nets."""
    found = results.units
    was = ("was: LUT", "FF", "taken", "high", "levels", "widest", "misses") if earlier.units else ()
    columns = ("unit", "LUT", "FF", "DSP", "BRAM36", "URAM", "low", "taken", "high", "levels", "c", "RAM", "bare", "widest",
               "over", "ports", "misses", *was, "Yosys, s", "rest, s")  # fmt: skip
    rows = tuple(_row(name, unit, _before(earlier.units.get(name)) if was else ()) for name, unit in found.items())
    return [
        TextTable("Units", columns, rows),
        *(design_table(name, design, earlier.designs.get(name, {})) for name, design in results.designs.items()),
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
            tuple((name, r.name, f"{r.loads:,}", f"{u.timing.reset_ns:.2f}") for name, u in found.items() if (r := u.timing.reset)),
            "The widest net of the reset in each unit, and ns of the slowest path from a register of it.",
        ),
    ]  # fmt: skip


def _row(name: str, unit: TimedUnit, was: tuple[str, ...]) -> tuple[str, ...]:
    r, t = unit.resources, unit.timing
    return (
        name, f"{r.LUT:,}", f"{r.FF:,}", f"{r.DSP:,}", f"{r.BRAM36:g}", str(r.URAM),
        *(f"{ns:.2f}" for ns in (t.low, t.taken, t.high)), str(t.levels), str(t.carry_levels), str(t.ram_levels),
        str(t.bare_multipliers), f"{t.widest:,}", f"{sum(unit.over.values()):,} / {sum(unit.over_high.values()):,}",
        f"{t.from_ports:.2f} / {t.to_ports:.2f} / {t.through_ports:.2f}", ", ".join(unit.misses) or "-", *was,
        f"{unit.yosys_s:g}" if unit.yosys_s else "-", f"{unit.estimate_s:g}",
    )  # fmt: skip


def _before(unit: TimedUnit | None) -> tuple[str, ...]:
    if unit is None:
        return ("-",) * 7
    r, t = unit.resources, unit.timing
    ns = f"{t.taken:.2f}", f"{t.high:.2f}"
    return (f"{r.LUT:,}", f"{r.FF:,}", *ns, str(t.levels), f"{t.widest:,}", ", ".join(unit.misses) or "-")


def _path(name: str, path: TimedPath) -> tuple[str, ...]:
    return (
        name, path.start, path.end, *(f"{ns:.2f}" for ns in (path.low, path.taken, path.high)), str(path.levels),
        str(path.carries), path.widest.name, f"{path.widest.loads:,}", str(path.ends),
    )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    typer.run(main)
