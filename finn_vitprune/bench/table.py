"""The benchmark's answers: one table a question, every figure against its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from finn_vitprune.bench.cycles import IN_ORDER
from finn_vitprune.bench.limits import (
    ARRAY_LUT,
    DEPTH,
    DROP_SPREAD,
    DSP_PER_PRODUCT,
    ESTIMATE_CYCLES,
    ESTIMATE_LUT,
    MANY_PRODUCTS,
    MEMORY_OF_NEED,
    MOST_PRODUCTS,
    RANK_SHARE,
    RANKER_LUT,
    SPARSE_OF_DENSE,
    UNIT_LUT,
    UTILISATION,
    Checks,
)
from finn_vitprune.bench.masks import DENSE, KINDS
from finn_vitprune.bench.resources import Cost, UnitEstimate
from finn_vitprune.bench.results import DropRow, FinnRow, MatrixRow
from finn_vitprune.report.tables import TextTable


def tables(rows: Sequence[MatrixRow], drops: Sequence[DropRow], finn: Sequence[FinnRow], checks: Checks) -> list[TextTable]:
    """The tables of all that was measured."""
    made = [
        _utilisation(rows, checks),
        _resources(rows, finn, checks),
        _memory(rows, checks),
        _timing(rows, checks),
        _estimates(rows, checks),
        _drop_cycles(drops, checks),
        _drop_resources(drops, checks),
    ]
    return [table for table in made if table.rows]


def _name(row: MatrixRow) -> str:
    bits = "" if row.bits == "8x8" else f" {row.bits}"
    style = "" if row.ram_style == "auto" else f" {row.ram_style}"
    return f"{row.matrix} b{row.b} r_b {row.keep:g}{bits}{style}"


def _fold(row: MatrixRow) -> str:
    f = row.fold
    return f"{f['SIMD']}x{f['PE']}x{f['TOKENS']}x{f['LANES']}"


def _what(row: MatrixRow) -> str:
    return f"{_name(row)}, {row.products:,} products a cycle"


def _by_keep(rows: Iterable[MatrixRow], measured: Callable[[MatrixRow], Any]) -> list[dict[str, MatrixRow]]:
    """Measured rows of one unit and keep rate together, by kind of masks."""
    groups: dict[tuple, dict[str, MatrixRow]] = {}
    for row in rows:
        if measured(row) is not None:
            groups.setdefault((*row.unit, row.keep), {})[row.mask] = row
    return list(groups.values())


def _one(rows: Iterable[MatrixRow], measured: Callable[[MatrixRow], Any]) -> list[MatrixRow]:
    """One row of each unit and keep rate, for what does not depend on the masks."""
    return [next(iter(group.values())) for group in _by_keep(rows, measured)]


# --- the questions -------------------------------------------------------------------------------


def _utilisation(rows: Sequence[MatrixRow], checks: Checks) -> TextTable:
    lines = []
    for group in _by_keep(rows, lambda r: r.cycles):
        any_row = next(iter(group.values()))
        worst = group.get("uneven", any_row).cycles
        cells = [_utilisation_cell(group[kind], checks) if kind in group else "-" for kind in (DENSE, *KINDS)]
        lines.append((
            _name(any_row), f"{any_row.products:,}", _fold(any_row), *cells,
            f"{worst.cycles:,.1f}", f"{worst.cycles_unbalanced:,.1f}",
            f"{worst.cycles_unbalanced / worst.cycles:.2f}",
        ))  # fmt: skip
    limits = ", ".join(f"{kind} {limit:.2f}" for kind, limit in UTILISATION.items())
    return TextTable(
        "1. Utilisation in Verilator, back-to-back token groups",
        ("matrix", "products", "fold", DENSE, *KINDS, "cycles", "in order", "gain"),
        tuple(lines),
        f"Means over masks. At least: {limits}. products: of a cycle; fold: SIMD x PE x TOKENS x LANES."
        " cycles: of a token group, uneven masks (or dense), lanes balanced; in order: with columns dealt to"
        f" the lanes in turn (of the first {IN_ORDER} masks).",
    )  # fmt: skip


def _utilisation_cell(row: MatrixRow, checks: Checks) -> str:
    what = f"utilisation of {_what(row)}, {row.mask}"
    if not row.cycles.exact:
        return checks.mark(what, "outputs differ", False)
    share = row.cycles.utilisation
    return checks.mark(what, f"{share:.3f}", share >= UTILISATION[row.mask])


def _resources(rows: Sequence[MatrixRow], finn: Sequence[FinnRow], checks: Checks) -> TextTable:
    lines = []
    for row in _one(rows, lambda r: r.cost):
        n, cost, limited = row.products, row.cost, row.bits == "8x8" and row.target >= MANY_PRODUCTS

        def cell(what: str, value: float, limit: float, row: MatrixRow = row, limited: bool = limited) -> str:
            text = f"{value:.2f}"
            return checks.mark(f"{what} of {_what(row)}", text, value <= limit) if limited else text

        per_array = row.array.lut_sites * row.lanes / n
        lines.append((
            _name(row), f"{n:,}", _fold(row),
            cell("DSP per product", row.array.dsp * row.lanes / n, DSP_PER_PRODUCT),
            cell("LUT per product of the array", per_array, ARRAY_LUT),
            cell("LUT sites per product", cost.lut_sites / n, UNIT_LUT),
            *(f"{v:,}" for v in (cost.dsp, cost.lut, cost.lutram_sites, cost.srl, cost.ff)), f"{cost.bram36:g}",
        ))  # fmt: skip
    lines += [_finn_line(row) for row in finn]
    return TextTable(
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


def _memory(rows: Sequence[MatrixRow], checks: Checks) -> TextTable:
    dense = {row.unit: row for row in rows if row.mask == DENSE}
    lines = []
    for row in _one(rows, lambda r: r.memory):
        m, full = row.memory, dense.get(row.unit)
        what = _what(row)
        need = m.memory_bits / m.weight_bits
        need_text = f"{need:.2f}"
        if row.target >= MOST_PRODUCTS:
            need_text = checks.mark(f"weight memory of {what}", need_text, need <= MEMORY_OF_NEED)
        ratios = ["-", "-", "-"]
        if full is not None and full.memory is not None and row.keep < 1:
            ratios = _against_dense(row, full, checks)
        lines.append((
            _name(row), f"{row.products:,}", f"{m.weight_bits:,}", f"{m.index_bits:,}",
            f"{m.memory_bram36:g}", need_text, *ratios,
        ))  # fmt: skip
    return TextTable(
        "3. Weight memory, and pruned against dense at the same fold",
        ("matrix", "products", "weight bits", "index bits", "BRAM36", "memory / need",
         "bits / dense", "BRAM36 / dense", "cycles / dense"),
        tuple(lines),
        f"At {MOST_PRODUCTS:,} products a cycle at most {MEMORY_OF_NEED:g} times the weights' bits; at r_b"
        f" 0.5 at most {SPARSE_OF_DENSE:g} of dense in weight and index bits (dense without index) and in"
        " cycles.",
    )  # fmt: skip


def _against_dense(row: MatrixRow, full: MatrixRow, checks: Checks) -> list[str]:
    """Weight and index bits, block RAMs of weights, and cycles, each over those of the dense unit."""
    a, b = row.memory, full.memory
    bits = (a.weight_bits + a.index_bits) / b.weight_bits
    cycles = row.cycles.cycles / full.cycles.cycles if row.cycles and full.cycles else None
    texts = [f"{bits:.3f}", "-" if cycles is None else f"{cycles:.3f}"]
    if row.keep == 0.5:
        what = f"of dense, {_what(row)}"
        texts[0] = checks.mark(f"memory {what}", texts[0], bits <= SPARSE_OF_DENSE)
        if cycles is not None:
            texts[1] = checks.mark(f"cycles {what}", texts[1], cycles <= SPARSE_OF_DENSE)
    blocks = f"{a.memory_bram36 / b.memory_bram36:.3f}" if b.memory_bram36 else "-"
    return [texts[0], blocks, texts[1]]


def _timing(rows: Sequence[MatrixRow], checks: Checks) -> TextTable:
    lines = []
    for row in _one(rows, lambda r: r.cost):
        what, cost = _what(row), row.cost
        lines.append((
            _name(row), f"{row.products:,}", *(f"{ns:.2f}" for ns in (cost.ns_low, cost.ns_taken, cost.ns_high)),
            checks.mark(f"depth of {what}", str(cost.depth_lut), cost.depth_lut <= DEPTH), str(cost.depth_carry),
            f"{cost.widest:,}",
        ))  # fmt: skip
    return TextTable(
        "4. Timing, estimated",
        ("matrix", "products", "ns low", "taken", "high", "LUT levels", "with carries", "widest net"),
        tuple(lines),
        "ns of the slowest path in Yosys' netlist by three sets of constants, before placement: docs/timing.md says what they are"
        f" worth. LUT levels of the deepest path, at most {DEPTH}; with carries, each carry block counts as a level. Loads of the widest"
        " net.",
    )


def _estimates(rows: Sequence[MatrixRow], checks: Checks) -> TextTable:
    lines = []
    for group in _by_keep(rows, lambda r: r.estimate or r.cycles):
        row = next(iter(group.values()))
        errors = [r.cycles.cycles_error for r in group.values() if r.cycles]
        what, cells = f"estimate of {_what(row)}", ["-"] * 4
        if row.estimate and row.cost:
            cells = _estimate_cells(row.estimate, row.cost, what, checks)
        worst = max(errors, default=None)
        cycles = "-" if worst is None else checks.mark(f"cycles, {what}", f"{100 * worst:.2f} %", worst <= ESTIMATE_CYCLES)
        lines.append((_name(row), f"{row.products:,}", *cells, cycles))
    return TextTable(
        "5. Estimates of the op: estimated / found",
        ("matrix", "products", "DSP", "BRAM36", "URAM", "LUT sites", "cycles, worst mask"),
        tuple(lines),
        f"DSP, BRAM and URAM exact, LUT within {ESTIMATE_LUT:.0%}, cycles within {ESTIMATE_CYCLES:.0%}.",
    )


def _estimate_cells(estimate: UnitEstimate, found: Cost, what: str, checks: Checks) -> list[str]:
    kinds = {key: (getattr(estimate, key), getattr(found, key)) for key in ("dsp", "bram36", "uram")}
    exact = [checks.mark(f"{key}, {what}", f"{e:g} / {f:g}", e == f) for key, (e, f) in kinds.items()]
    e, f = estimate.lut_sites, found.lut_sites
    close = abs(e - f) <= ESTIMATE_LUT * f
    return [*exact, checks.mark(f"LUT, {what}", f"{e:,} / {f:,} ({100 * (e / f - 1):+.0f} %)", close)]


def _drop_name(row: DropRow) -> str:
    return f"{row.tokens} tokens, r_t {row.keep:g}, SIMD {row.fold['SIMD']}"


def _drop_cycles(drops: Sequence[DropRow], checks: Checks) -> TextTable:
    measured = [row for row in drops if row.cycles is not None]
    kinds = list(measured[0].cycles.interval) if measured else []
    lines = []
    for row in measured:
        found = row.cycles
        name, share = f"token drop, {_drop_name(row)}", found.rank_cycles / row.pace
        same = found.spread <= DROP_SPREAD and found.exact
        equal = checks.mark(f"{name}, intervals", f"{100 * found.spread:.2f} %", same)
        close = checks.mark(f"{name}, estimate", f"{found.cycles_estimate:,}", found.error <= ESTIMATE_CYCLES)
        lines.append((
            _drop_name(row), *(f"{v:,.1f}" for v in found.interval.values()), equal, close, f"{found.rank_cycles:,}",
            checks.mark(f"{name}, ranking", f"{share:.2%}", share <= RANK_SHARE),
        ))  # fmt: skip
    return TextTable(
        "6. Token drop: interval by the tokens kept, in cycles",
        ("unit", *kinds, "spread", "estimate", "ranking", "of the pace"),
        tuple(lines),
        f"Spread at most {DROP_SPREAD:.0%}, estimate within {ESTIMATE_CYCLES:.0%}. Ranking: from the last"
        f" score, given last of all, to the first kept row at the output; at most {RANK_SHARE:.0%} of the pace, the"
        " interval of the matrix units beside it.",
    )


def _drop_resources(drops: Sequence[DropRow], checks: Checks) -> TextTable:
    lines = []
    for row in (r for r in drops if r.cost is not None):
        c, name, ranker = row.cost, f"token drop, {_drop_name(row)}", row.ranker.lut_sites
        estimates = _estimate_cells(row.estimate, c, f"estimate of {name}", checks)
        lines.append((
            _drop_name(row), f"{c.lut:,}", f"{c.lutram_sites:,}", f"{c.srl:,}", f"{c.ff:,}",
            checks.mark(f"{name}, ranker", f"{ranker:,}", ranker <= RANKER_LUT),
            checks.mark(f"{name}, depth", str(c.depth_lut), c.depth_lut <= DEPTH), f"{c.ns_taken:.2f}", *estimates,
        ))  # fmt: skip
    return TextTable(
        "6. Token drop: resources, and estimated / found",
        ("unit", "LUT", "LUTRAM", "SRL", "FF", "ranker", "LUT levels", "ns", "DSP", "BRAM36", "URAM", "LUT sites"),
        tuple(lines),
        f"ranker: LUT sites of the ranker alone, at most {RANKER_LUT:,}. ns: taken, as in 4.",
    )
