"""The benchmark's answers: one table a question, every figure against its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from finn_vitprune.bench.masks import DENSE, IN_ORDER, KINDS
from finn_vitprune.bench.results import DropRow, FinnRow, Row
from finn_vitprune.report.tables import Table

UTILISATION = {DENSE: 0.97, "uniform": 0.97, "balanced": 0.97, "uneven": 0.95, "trained": 0.95}
"""Least utilisation by kind of masks."""

MANY_PRODUCTS, MOST_PRODUCTS = 1536, 4096
"""Products a cycle from which on resources, and weight memory, have limits."""

DSP_PER_PRODUCT, ARRAY_LUT, UNIT_LUT = 0.5, 5.0, 8.0
MEMORY_OF_NEED, SPARSE_OF_DENSE = 2.0, 0.53
DATA_DEPTH, ANY_DEPTH = 3, 5
ESTIMATE_LUT, ESTIMATE_CYCLES, DROP_SPREAD, RANK_SHARE = 0.20, 0.02, 0.01, 0.01
"""Largest relative differences, and the share of the interval that ranking may take."""
RANKER_LUT = 2000

YES, NO = "✓", "✗"


@dataclass
class Checks:
    """Counts figures against limits while the tables are made."""

    held: int = 0
    missed: list[str] = field(default_factory=list)

    def mark(self, what: str, text: str, ok: bool) -> str:
        """``text`` with its mark; ``what`` names a figure that misses its limit."""
        if ok:
            self.held += 1
        else:
            self.missed.append(f"{what}: {text}")
        return f"{text} {YES if ok else NO}"


def tables(
    rows: Sequence[Row], drops: Sequence[DropRow], finn: Sequence[FinnRow], checks: Checks
) -> list[Table]:
    """The tables of all that was measured."""
    made = [
        _utilisation(rows, checks),
        _resources(rows, finn, checks),
        _memory(rows, checks),
        _depth(rows, checks),
        _estimates(rows, checks),
        *_drops(drops, checks),
    ]
    return [table for table in made if table.rows]


def _name(row: Row) -> str:
    bits = "" if row.bits == "8x8" else f" {row.bits}"
    style = "" if row.ram_style == "auto" else f" {row.ram_style}"
    return f"{row.matrix} b{row.b} r_b {row.keep:g}{bits}{style}"


def _fold(row: Row) -> str:
    f = row.fold
    return f"{f['SIMD']}x{f['PE']}x{f['TOKENS']}x{f['LANES']}"


def _what(row: Row) -> str:
    return f"{_name(row)}, {row.products:,} products a cycle"


def _by_keep(rows: Iterable[Row], measured: Callable[[Row], Any]) -> list[dict[str, Row]]:
    """Measured rows of one unit and keep rate together, by kind of masks."""
    groups: dict[tuple, dict[str, Row]] = {}
    for row in rows:
        if measured(row) is not None:
            groups.setdefault((*row.unit, row.keep), {})[row.mask] = row
    return list(groups.values())


def _one(rows: Iterable[Row], measured: Callable[[Row], Any]) -> list[Row]:
    """One row of each unit and keep rate, for what does not depend on the masks."""
    return [next(iter(group.values())) for group in _by_keep(rows, measured)]


# --- the questions -------------------------------------------------------------------------------


def _utilisation(rows: Sequence[Row], checks: Checks) -> Table:
    lines = []
    for group in _by_keep(rows, lambda r: r.utilisation):
        any_row = next(iter(group.values()))
        worst = group.get("uneven", any_row)
        cells = [_utilisation_cell(group[kind], checks) if kind in group else "-" for kind in (DENSE, *KINDS)]
        lines.append((
            _name(any_row), f"{any_row.products:,}", _fold(any_row), *cells,
            f"{worst.cycles:,.1f}", f"{worst.cycles_unbalanced:,.1f}",
            f"{worst.cycles_unbalanced / worst.cycles:.2f}",
        ))  # fmt: skip
    limits = ", ".join(f"{kind} {limit:.2f}" for kind, limit in UTILISATION.items())
    return Table(
        "1. Utilisation in Verilator, back-to-back token groups",
        ("matrix", "products", "fold", DENSE, *KINDS, "cycles", "in order", "gain"),
        tuple(lines),
        f"Means over masks. At least: {limits}. products: of a cycle; fold: SIMD x PE x TOKENS x LANES."
        " cycles: of a token group, uneven masks (or dense), lanes balanced; in order: with columns dealt to"
        f" the lanes in turn (of the first {IN_ORDER} masks).",
    )  # fmt: skip


def _utilisation_cell(row: Row, checks: Checks) -> str:
    what = f"utilisation of {_what(row)}, {row.mask}"
    if not row.exact:
        return checks.mark(what, "outputs differ", False)
    return checks.mark(what, f"{row.utilisation:.3f}", row.utilisation >= UTILISATION[row.mask])


def _resources(rows: Sequence[Row], finn: Sequence[FinnRow], checks: Checks) -> Table:
    lines = []
    for row in _one(rows, lambda r: r.lut):
        n, limited = row.products, row.bits == "8x8" and row.target >= MANY_PRODUCTS

        def cell(what: str, value: float, limit: float, row: Row = row, limited: bool = limited) -> str:
            text = f"{value:.2f}"
            return checks.mark(f"{what} of {_what(row)}", text, value <= limit) if limited else text

        per_array = row.array["lut_sites"] * row.lanes / n
        lines.append((
            _name(row), f"{n:,}", _fold(row),
            cell("DSP per product", row.array["dsp"] * row.lanes / n, DSP_PER_PRODUCT),
            cell("LUT per product of the array", per_array, ARRAY_LUT),
            cell("LUT sites per product", row.lut_sites / n, UNIT_LUT),
            *(f"{v:,}" for v in (row.dsp, row.lut, row.lutram_sites, row.srl, row.ff)), f"{row.bram36:g}",
        ))  # fmt: skip
    lines += [_finn_line(row) for row in finn]
    return Table(
        "2. Resources in Yosys",
        ("matrix", "products", "fold", "array DSP", "array LUT", "unit LUT",
         "DSP", "LUT", "LUTRAM", "SRL", "FF", "BRAM36"),
        tuple(lines),
        f"array and unit: per product of a cycle. 8x8 bits at {MANY_PRODUCTS:,} products a cycle and more:"
        f" at most {DSP_PER_PRODUCT:g} DSP and {ARRAY_LUT:g} LUT per product for the arrays, {UNIT_LUT:g} LUT"
        " sites (LUT, SRL, LUTRAM) for the whole unit. A requantised output has a DSP of its own. "
        + " ".join(sorted({f"{r.unit}: {r.source}." for r in finn})),
    )  # fmt: skip


def _finn_line(row: FinnRow) -> tuple[str, ...]:
    cost = row.cost

    def text(key: str) -> str:
        return f"{cost[key]:,}" if key in cost else "-"

    per_product = f"{cost['lut_sites'] / row.products:.2f}"
    alone = "memstream" not in row.unit
    return (
        f"{row.unit} {row.matrix}", f"{row.products:,}", f"{row.fold['SIMD']}x{row.fold['PE']}",
        f"{cost['dsp'] / row.products:.2f}", per_product if alone else "-", "-" if alone else per_product,
        *map(text, ("dsp", "lut", "lutram_sites", "srl", "ff", "bram36")),
    )  # fmt: skip


def _memory(rows: Sequence[Row], checks: Checks) -> Table:
    dense = {row.unit: row for row in rows if row.mask == DENSE}
    lines = []
    for row in _one(rows, lambda r: r.memory):
        m, full = row.memory, dense.get(row.unit)
        what = _what(row)
        need = m["memory_bits"] / m["weight_bits"]
        need_text = f"{need:.2f}"
        if row.target >= MOST_PRODUCTS:
            need_text = checks.mark(f"weight memory of {what}", need_text, need <= MEMORY_OF_NEED)
        ratios = ["-", "-", "-"]
        if full is not None and full.memory is not None and row.keep < 1:
            ratios = _against_dense(row, full, checks)
        lines.append((
            _name(row), f"{row.products:,}", f"{m['weight_bits']:,}", f"{m['index_bits']:,}",
            f"{m['memory_bram36']:g}", need_text, *ratios,
        ))  # fmt: skip
    return Table(
        "3. Weight memory, and pruned against dense at the same fold",
        ("matrix", "products", "weight bits", "index bits", "BRAM36", "memory / need",
         "bits / dense", "BRAM36 / dense", "cycles / dense"),
        tuple(lines),
        f"At {MOST_PRODUCTS:,} products a cycle at most {MEMORY_OF_NEED:g} times the weights' bits; at r_b"
        f" 0.5 at most {SPARSE_OF_DENSE:g} of dense in weight and index bits (dense without index) and in"
        " cycles.",
    )  # fmt: skip


def _against_dense(row: Row, full: Row, checks: Checks) -> list[str]:
    """Weight and index bits, block RAMs of weights, and cycles, each over those of the dense unit."""
    a, b = row.memory, full.memory
    bits = (a["weight_bits"] + a["index_bits"]) / b["weight_bits"]
    cycles = row.cycles / full.cycles if row.cycles and full.cycles else None
    texts = [f"{bits:.3f}", "-" if cycles is None else f"{cycles:.3f}"]
    if row.keep == 0.5:
        what = f"of dense, {_what(row)}"
        texts[0] = checks.mark(f"memory {what}", texts[0], bits <= SPARSE_OF_DENSE)
        if cycles is not None:
            texts[1] = checks.mark(f"cycles {what}", texts[1], cycles <= SPARSE_OF_DENSE)
    blocks = f"{a['memory_bram36'] / b['memory_bram36']:.3f}" if b["memory_bram36"] else "-"
    return [texts[0], blocks, texts[1]]


def _depth(rows: Sequence[Row], checks: Checks) -> Table:
    lines = []
    for row in _one(rows, lambda r: r.depth_lut):
        what, data = _what(row), row.depth_data
        lines.append((
            _name(row), f"{row.products:,}",
            checks.mark(f"depth of the data path of {what}", str(data), data <= DATA_DEPTH),
            checks.mark(f"depth of {what}", str(row.depth_lut), row.depth_lut <= ANY_DEPTH),
            str(row.depth_data_carry), str(row.depth_carry),
        ))  # fmt: skip
    return Table(
        "4. Depth, a stand-in for timing",
        ("matrix", "products", "data path", "any path", "data path, carries", "any path, carries"),
        tuple(lines),
        f"LUT levels of the worst path in Yosys' netlist: at most {DATA_DEPTH} to registers and memories that hold"
        f" elements, sums or outputs, {ANY_DEPTH} to any. With carries: each carry block counts as a level.",
    )


def _estimates(rows: Sequence[Row], checks: Checks) -> Table:
    lines = []
    for group in _by_keep(rows, lambda r: r.estimate if r.cycles is None else r.cycles):
        row = next(iter(group.values()))
        errors = [r.cycles_error for r in group.values() if r.cycles_error is not None]
        what, cells = f"estimate of {_what(row)}", ["-"] * 4
        if row.estimate is not None and row.lut is not None:
            cells = _estimate_cells(row.estimate, {k: getattr(row, k) for k in row.estimate}, what, checks)
        worst = max(errors, default=None)
        cycles = "-" if worst is None else checks.mark(
            f"cycles, {what}", f"{100 * worst:.2f} %", worst <= ESTIMATE_CYCLES
        )
        lines.append((_name(row), f"{row.products:,}", *cells, cycles))
    return Table(
        "5. Estimates of the op: estimated / found",
        ("matrix", "products", "DSP", "BRAM36", "URAM", "LUT sites", "cycles, worst mask"),
        tuple(lines),
        f"DSP, BRAM and URAM exact, LUT within {ESTIMATE_LUT:.0%}, cycles within {ESTIMATE_CYCLES:.0%}.",
    )


def _estimate_cells(estimate: dict[str, Any], found: dict[str, Any], what: str, checks: Checks) -> list[str]:
    cells = []
    for key in ("dsp", "bram36", "uram"):
        text = f"{estimate[key]:g} / {found[key]:g}"
        cells.append(checks.mark(f"{key}, {what}", text, estimate[key] == found[key]))
    e, f = estimate["lut_sites"], found["lut_sites"]
    close = abs(e - f) <= ESTIMATE_LUT * f
    return [*cells, checks.mark(f"LUT, {what}", f"{e:,} / {f:,} ({100 * (e / f - 1):+.0f} %)", close)]


def _drops(drops: Sequence[DropRow], checks: Checks) -> list[Table]:
    return [_drop_cycles(drops, checks), _drop_resources(drops, checks)]


def _drop_name(row: DropRow) -> str:
    return f"{row.tokens} tokens, r_t {row.keep:g}, SIMD {row.fold['SIMD']}"


def _drop_cycles(drops: Sequence[DropRow], checks: Checks) -> Table:
    measured = [row for row in drops if row.interval is not None]
    kinds = list(measured[0].interval) if measured else []
    lines = []
    for row in measured:
        values = row.interval.values()
        spread, error = max(values) / min(values) - 1, max(abs(row.cycles_estimate / v - 1) for v in values)
        name, share = f"token drop, {_drop_name(row)}", row.rank_cycles / row.pace
        same = spread <= DROP_SPREAD and bool(row.exact)
        equal = checks.mark(f"{name}, intervals", f"{100 * spread:.2f} %", same)
        close = checks.mark(f"{name}, estimate", f"{row.cycles_estimate:,}", error <= ESTIMATE_CYCLES)
        lines.append((
            _drop_name(row), *(f"{v:,.1f}" for v in values), equal, close, f"{row.rank_cycles:,}",
            checks.mark(f"{name}, ranking", f"{share:.2%}", share <= RANK_SHARE),
        ))  # fmt: skip
    return Table(
        "6. Token drop: interval by the tokens kept, in cycles",
        ("unit", *kinds, "spread", "estimate", "ranking", "of the pace"),
        tuple(lines),
        f"Spread at most {DROP_SPREAD:.0%}, estimate within {ESTIMATE_CYCLES:.0%}. Ranking: from the last"
        f" score, given last of all, to the first kept row at the output; at most {RANK_SHARE:.0%} of the pace, the"
        " interval of the matrix units beside it.",
    )


def _drop_resources(drops: Sequence[DropRow], checks: Checks) -> Table:
    lines = []
    for row in drops:
        if row.cost is None:
            continue
        c = row.cost
        name, ranker = f"token drop, {_drop_name(row)}", row.ranker["lut_sites"]
        estimates = _estimate_cells(row.estimate, c, f"estimate of {name}", checks)
        lines.append((
            _drop_name(row), f"{c['lut']:,}", f"{c['lutram_sites']:,}", f"{c['srl']:,}", f"{c['ff']:,}",
            checks.mark(f"{name}, ranker", f"{ranker:,}", ranker <= RANKER_LUT),
            checks.mark(f"{name}, depth of the data path", str(c["depth_data"]), c["depth_data"] <= DATA_DEPTH),
            checks.mark(f"{name}, depth", str(c["depth_lut"]), c["depth_lut"] <= ANY_DEPTH), *estimates,
        ))  # fmt: skip
    return Table(
        "6. Token drop: resources, and estimated / found",
        ("unit", "LUT", "LUTRAM", "SRL", "FF", "ranker", "data path", "any path", "DSP", "BRAM36", "URAM",
         "LUT sites"),
        tuple(lines),
        f"ranker: LUT sites of the ranker alone, at most {RANKER_LUT:,}. Depth as in 4.",
    )
