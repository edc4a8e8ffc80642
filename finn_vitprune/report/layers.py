"""Tables of one build by encoder and layer: cycles, use of the multipliers, the memory map, resources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from finn_vitprune.report.summary import OUTSIDE, BalanceRow, MemoryRow, NodeResources, NodeRow, Summary
from finn_vitprune.report.tables import COUNTED, ESTIMATED, MEASURED, TextTable, amount, mark_of, percent
from finn_vitprune.synth.lost import LostCycles
from finn_vitprune.synth.parts import KINDS

ALL = "all"
USEFUL = "Useful are products of kept blocks with live rows, and of attention those of queries, keys and channels of live heads."
LOST = {"faster": "unit faster", "waiting": "waiting", "rows": "rows rounded up", "lanes": "lanes uneven", "padding": "padding"}
"""Why multipliers do nothing useful, by name of :class:`.LostCycles`; ``faster``: the unit takes fewer cycles than the interval."""
WHY = (
    "The rest: the unit is faster than the interval; it waits for ports, the drain or a division; rows (of attention: keys) are rounded "
    "up to those of a step; lanes hold fewer blocks than the fullest one; sides that a block does not divide are padded."
)
BLOCK_RAMS = ("BRAM", "URAM")
BRAM18_IN_36 = 2
NOT_MEASURED = "not measured"

Row = TypeVar("Row")


# --- multipliers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MultiplierUse:
    """Of the products that multipliers could make in an interval, how many are useful, and why the others are not.

    Attributes:
        macs: useful products of a frame. per_cycle: products that all of them can make in a cycle.
        busy: the share that is useful. lost: shares that are not, by key of :data:`LOST`; with ``busy`` they sum to 1.
    """

    macs: int
    per_cycle: int
    busy: float
    lost: dict[str, float]


def multiplier_use(rows: Sequence[BalanceRow], interval: float) -> MultiplierUse:
    """Use of the multipliers of ``rows``, nodes with products, in ``interval`` cycles."""
    macs, per_cycle = sum(r.macs for r in rows), sum(r.macs_per_cycle for r in rows)
    slots = per_cycle * interval
    lost = {"faster": sum(r.macs_per_cycle * (interval - r.cycles) for r in rows)}
    lost |= {name: sum(r.macs_per_cycle * getattr(r.lost, name) for r in rows) for name in vars(LostCycles())}
    return MultiplierUse(macs, per_cycle, macs / slots, {name: lost[name] / slots for name in LOST})


def use_table(s: Summary) -> TextTable | None:
    """Use of the multipliers: of matrix units, of attention, of both, and by encoder."""
    rows = [row for row in s.balance if row.macs_per_cycle]
    if not rows or not s.nodes:
        return None
    interval, method = s.estimated_interval
    place_of = {node.node: node.place for node in s.nodes}
    groups = {"matrix units": [r for r in rows if r.kept_blocks is not None], "attention": [r for r in rows if r.kept_blocks is None]}
    groups |= {ALL: rows} | by_place(rows, lambda r: place_of[r.node])
    uses = {label: multiplier_use(members, interval) for label, members in groups.items() if members}
    cells = tuple(
        (label, f"{use.per_cycle:,}", f"{use.macs:,}", percent(use.busy), *(percent(use.lost[name]) for name in LOST))
        for label, use in uses.items()
    )
    note = f"Share of the products that could be made in {_cycles(interval)} cycles ({mark_of(method)}). {USEFUL} {WHY}"
    marks = ("", COUNTED, COUNTED, mark_of(method), *(ESTIMATED,) * len(LOST))
    return TextTable("Use of the multipliers", ("", "products a cycle", "useful products", "busy", *LOST.values()), cells, note, marks)


# --- cycles --------------------------------------------------------------------------------------


def balance_table(s: Summary) -> TextTable | None:
    """Cycles of the nodes with products against the interval."""
    if not s.balance:
        return None
    layer = {node.node: node.layer for node in s.nodes}
    interval, method = s.estimated_interval
    rows = tuple(
        (
            *((layer[r.node],) if layer else ()), r.node, "-" if r.kept_blocks is None else f"{r.kept_blocks:,}", str(r.lanes),
            f"{r.ideal_cycles:,.0f}", f"{r.lost.lanes:,.0f}", f"{r.cycles:,}", f"{r.utilisation:.3f}", percent(r.cycles / interval),
            percent(r.ideal_cycles / interval),
        )
        for r in s.balance
    )  # fmt: skip
    columns = ("node", "kept blocks", "lanes", "ideal cycles", "lanes uneven", "cycles", "utilisation", "of the interval", "busy")
    marks = ("", *(COUNTED,) * 3, *(ESTIMATED,) * 4, mark_of(method))
    slow = max(s.balance, key=lambda r: r.cycles)
    note = (
        f"Slowest by estimate: {layer.get(slow.node, slow.node)}, {slow.cycles:,} cycles per image. The interval is {_cycles(interval)} cycles ({mark_of(method)}); a "
        "unit is busy in its ideal cycles, at full use of its multipliers. Lanes uneven: cycles in which lanes of fewer blocks wait for the fullest."
    )
    return TextTable("Balance", *((("layer", *columns), rows, note, ("", *marks)) if layer else (columns, rows, note, marks)))


def cycles_table(s: Summary) -> TextTable | None:
    """Cycles of every node against the interval."""
    if not s.nodes:
        return None
    interval, method = s.estimated_interval
    simulated = any(n.cycles_alone is not None for n in s.nodes)
    rows = tuple(
        (
            n.layer, n.node, n.op_type, f"{n.cycles:,}", *(("-" if n.cycles_alone is None else f"{n.cycles_alone:,.1f}",) * simulated),
            percent(n.cycles / interval),
        )
        for n in s.nodes
    )  # fmt: skip
    note = f"The interval is {_cycles(interval)} cycles ({mark_of(method)})."
    columns = ("layer", "node", "op", "cycles", *("cycles alone",) * simulated, "of the interval")
    return TextTable("Cycles by node", columns, rows, note, ("", "", "", ESTIMATED, *(MEASURED,) * simulated, ESTIMATED))


# --- FIFOs ---------------------------------------------------------------------------------------


def fifo_table(s: Summary) -> TextTable | None:
    """Depth of every FIFO, and the deepest fill that the simulation saw."""
    found = [(node, node.fifo) for node in s.nodes if node.fifo is not None]
    if not found:
        return None
    rows = tuple(
        (
            node.layer, node.node, f"{fifo.depth:,}", f"{fifo.width:,}",
            *((NOT_MEASURED, "-") if fifo.fill is None else (f"{fifo.fill:,}", percent(fifo.fill / fifo.depth))),
        )
        for node, fifo in found
    )  # fmt: skip
    note = "Deepest fill: beats that the FIFO held at most while all images of the simulation ran back to back."
    if all(fifo.fill is None for _, fifo in found):
        note = "No simulation ran, so that fills are not measured."
    columns = ("layer", "node", "depth (beats)", "bits of a beat", "deepest fill", "of the depth")
    return TextTable("FIFO depth and fill", columns, rows, note, ("", "", COUNTED, COUNTED, MEASURED, MEASURED))


# --- memories ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemorySum:
    """What several memories take together; ``fill`` is the share of their capacity that contents have."""

    count: int
    bits: int
    LUT: int
    BRAM18: int
    URAM: int
    fill: float | None


def memory_sum(rows: Iterable[MemoryRow]) -> MemorySum:
    """The sum; memories without a capacity do not count in ``fill``."""
    rows = list(rows)
    capacity = sum(r.capacity or 0 for r in rows)
    stored = sum(r.bits for r in rows if r.capacity)
    sums = {name: sum(getattr(r, name) for r in rows) for name in ("count", "bits", "LUT", "BRAM18", "URAM")}
    return MemorySum(**sums, fill=stored / capacity if capacity else None)


def memories_of(s: Summary) -> list[tuple[NodeRow, MemoryRow]]:
    """All memories with their nodes."""
    return [(node, memory) for node in s.nodes for memory in node.memories]


def memory_tables(s: Summary) -> list[TextTable]:
    """What the memories hold: by contents, by kind of RAM, by encoder."""
    found = memories_of(s)
    if not found:
        return []
    by_contents = _grouped(found, lambda node, memory: memory.holds)
    contents = tuple(_memory_cells(label, rows) for label, rows in (by_contents | {ALL: [m for _, m in found]}).items())
    encoders = by_place(found, lambda pair: pair[0].place)
    by_encoder = tuple(_memory_cells(label, [m for _, m in pairs]) for label, pairs in encoders.items())
    columns, kinds = (
        ("memories", "bits", "BRAM36", "BRAM fill", "URAM", "URAM fill", "LUT"),
        ("memories", "taken", "of the part", "bits", "fill"),
    )
    note = "Fill: bits of contents in the bits of the RAMs that are taken. LUT: of LUTRAM and of tables in LUTs."
    return [
        TextTable("Memories by contents", ("contents", *columns), contents, note, _all(ESTIMATED, columns)),
        TextTable("Memories by kind of RAM", ("RAM", *kinds), _kind_cells(s, found), "", _all(ESTIMATED, kinds)),
        TextTable("Memories by encoder", ("", *columns), by_encoder, "", _all(ESTIMATED, columns)),
    ]


def memory_map(s: Summary) -> TextTable | None:
    """Every memory of every node."""
    rows = tuple(
        (
            node.layer, node.node, m.name, m.kind, f"{m.words:,} x {m.width:,}", f"{m.count:,}", _taken(m), f"{m.bits:,}",
            "-" if not m.capacity else percent(m.bits / m.capacity),
        )
        for node, m in memories_of(s)
    )  # fmt: skip
    columns = ("layer", "node", "holds", "RAM", "words x bits", "memories", "taken", "bits", "fill")
    note = "Taken: BRAM in RAMs of 36 Kbit, LUTRAM and LUT ROM in LUTs."
    return TextTable("Memory map", columns, rows, note, ("", "", "", "", *(ESTIMATED,) * 5)) if rows else None


def _memory_cells(label: str, rows: Sequence[MemoryRow]) -> tuple[str, ...]:
    whole = memory_sum(rows)
    bram, uram = (memory_sum(r for r in rows if r.kind == kind) for kind in BLOCK_RAMS)
    return (
        label, f"{whole.count:,}", f"{whole.bits:,}", amount(whole.BRAM18 / BRAM18_IN_36), _fill(bram), f"{whole.URAM:,}", _fill(uram),
        f"{whole.LUT:,}",
    )  # fmt: skip


def _kind_cells(s: Summary, found: Sequence[tuple[NodeRow, MemoryRow]]) -> tuple[tuple[str, ...], ...]:
    cells = []
    for kind, rows in _grouped(found, lambda node, memory: memory.kind).items():
        whole = memory_sum(rows)
        unit = {"BRAM": "BRAM36", "URAM": "URAM"}.get(kind, "LUT")
        taken = {"BRAM36": whole.BRAM18 / BRAM18_IN_36, "URAM": whole.URAM, "LUT": whole.LUT}[unit]
        offer = getattr(s.part, unit, None)
        share = percent(taken / offer) if offer else "-"
        cells.append((kind, f"{whole.count:,}", f"{amount(taken)} {unit}", share, f"{whole.bits:,}", _fill(whole)))
    return tuple(cells)


def _taken(m: MemoryRow) -> str:
    if m.kind not in BLOCK_RAMS:
        return f"{m.LUT:,}"
    return f"{m.URAM:,}" if m.kind == "URAM" else amount(m.BRAM18 / BRAM18_IN_36)


def _fill(total: MemorySum) -> str:
    return "-" if total.fill is None else percent(total.fill)


# --- resources -----------------------------------------------------------------------------------


def resource_tables(s: Summary) -> list[TextTable]:
    """Resources by role and by encoder, and by SLR where nodes have one."""
    if s.resources is None or not s.resources.per_node or not s.nodes:
        return []
    place, marks = {node.node: node for node in s.nodes}, _all(mark_of(s.resources.tool), KINDS)
    roles: dict[str, list[NodeResources]] = {}
    for r in s.resources.per_node:
        roles.setdefault(place[r.node].role, []).append(r)
    encoders = by_place(s.resources.per_node, lambda r: place[r.node].place)
    placed = any(node.slrs for node in s.nodes)
    shares = f"In brackets of what {s.part.name} has." if s.part else ""
    without = "" if placed else _without_slrs(s)
    tables = [
        TextTable("Resources by role", ("", *KINDS), _sums(s, roles), shares, marks),
        TextTable("Resources by encoder", ("", *KINDS), _sums(s, encoders), f"{shares} {without}".strip(), marks),
    ]
    return [*tables, _slr_table(s)] if placed else tables


def _sums(s: Summary, groups: Mapping[str, Sequence[NodeResources]]) -> tuple[tuple[str, ...], ...]:
    """A row for each group, and one for all nodes."""
    groups = {**groups, ALL: s.resources.per_node}
    offers = {kind: getattr(s.part, kind) if s.part else 0 for kind in KINDS}
    return tuple((label, *(_with_share(_total(members, kind), offers[kind]) for kind in KINDS)) for label, members in groups.items())


def _with_share(used: float | None, offer: float) -> str:
    """An amount, in brackets its share of what there is; without it where there is nothing of either."""
    return f"{amount(used)} ({100 * used / offer:.1f} %)" if used and offer else amount(used)


def _without_slrs(s: Summary) -> str:
    """What it means that nodes stand in no SLR of a part that has several."""
    if s.part is None or s.part.slrs == 1:
        return ""
    used = {kind: _total(s.resources.per_node, kind) for kind in KINDS}
    dies = s.part.dies
    enough = dies and all((used[kind] or 0) <= max(getattr(die, kind) for die in dies) for kind in KINDS)
    text = "one is enough" if enough else "the part counts as a whole, and borders between SLRs are not in the cycles or the timing"
    return f"The part has {s.part.slrs} SLRs; nodes are in none: {text}."


def _slr_table(s: Summary) -> TextTable:
    """Of a crossing every hop counts where it stands."""
    dies, used = s.part.dies if s.part else [], s.used_by_die
    uncounted = {kind for kind in KINDS if any(getattr(r, kind) is None for r in s.resources.per_node)}

    def cell(slr: int, kind: str) -> str:
        if kind in uncounted:
            return amount(None)
        return _with_share(round(used[slr][kind], 1), getattr(dies[slr], kind) if dies else 0)

    rows = tuple((f"SLR{i}", *(cell(i, kind) for kind in KINDS)) for i in range(len(used)))
    note = "In brackets of what the SLR has." if dies else ""
    if s.plan is not None:
        note += f" The plan may use {', '.join(f'{kind} {percent(share)}' for kind, share in s.plan.budget.items())}."
    return TextTable("Resources by SLR", ("", *KINDS), rows, note.strip(), _all(mark_of(s.resources.tool), KINDS))


def _total(rows: Sequence[NodeResources], kind: str) -> float | None:
    values = [getattr(r, kind) for r in rows]
    return None if None in values else sum(values)


# --- groups --------------------------------------------------------------------------------------


def by_place(rows: Iterable[Row], place: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by words for their encoder or engine, in the order in which they come, those outside first."""
    found: dict[str, list[Row]] = {OUTSIDE: []}
    for row in rows:
        found.setdefault(place(row), []).append(row)
    return {place: members for place, members in found.items() if members}


def _grouped(found: Iterable[tuple[NodeRow, MemoryRow]], key: Callable[[NodeRow, MemoryRow], str]) -> dict[str, list[MemoryRow]]:
    """Memories by words, in the order in which they come."""
    groups: dict[str, list[MemoryRow]] = {}
    for node, memory in found:
        groups.setdefault(key(node, memory), []).append(memory)
    return groups


def _all(mark: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The marks of a table with one column of names before these."""
    return ("", *(mark,) * len(columns))


def _cycles(interval: float) -> str:
    return f"{interval:,.1f}".removesuffix(".0")
