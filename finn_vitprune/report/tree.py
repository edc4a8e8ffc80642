"""The one table of a page: encoder, role, node, with what each takes; as data for the page's script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from finn_vitprune.report.build_verdict import SHOWN
from finn_vitprune.report.layers import by_place
from finn_vitprune.report.summary import OUTSIDE, NodeRow, Summary
from finn_vitprune.report.tables import COUNTED, ESTIMATED, amount, mark_of, percent
from finn_vitprune.synth.parts import KINDS

Cell = str | float | int | None
WHOLE, SHARE, DECIMAL, TEXT = "whole", "share", "decimal", "text"
"""How the page writes a figure: a count with commas, a percentage, two decimals, or words."""


@dataclass(frozen=True)
class TreeColumn:
    """A column: its head, how its figures were found and are written, and how those of a group follow.

    group: "sum", "most", "mean" (by weight), or "" where a group has none.
    """

    head: str
    mark: str = ""
    form: str = WHOLE
    group: str = "sum"


@dataclass(frozen=True)
class TreeRow:
    """A row with those below it.

    find: what the filter looks through: place, and place with role, each followed by ``|``, then other words; of all rows below, too.
    """

    name: str
    cells: tuple[Cell, ...]
    find: str
    children: tuple[TreeRow, ...] = ()


@dataclass(frozen=True)
class Tree:
    """A tree table with a ``note``; ``columns`` do not count the names."""

    columns: tuple[TreeColumn, ...]
    rows: tuple[TreeRow, ...]
    note: str = ""

    def data(self) -> dict[str, object]:
        """For the script: columns as lists, rows as ``[name, cells, find, rows below]``."""
        return {"columns": [[c.head, c.mark, c.form] for c in self.columns], "rows": [_data(row) for row in self.rows]}

    def text(self, column: int, cell: Cell) -> str:
        """A figure as words, where there is no script."""
        if cell is None:
            return "-"
        form = self.columns[column].form
        return percent(cell) if form == SHARE else f"{cell:.2f}" if form == DECIMAL else cell if form == TEXT else amount(cell)


def _data(row: TreeRow) -> list[object]:
    return [row.name, list(row.cells), row.find, [_data(child) for child in row.children]]


def build_tree(s: Summary) -> Tree | None:
    """Of one build: cycles, how busy, resources, the slowest path and the kept blocks of every node; None in older summaries."""
    if not s.nodes:
        return None
    columns = _columns(s)
    cells = {node.node: values for node, values in zip(s.nodes, zip(*(values for _, values in columns)))}
    weights = {row.node: float(row.macs_per_cycle) for row in s.balance}
    kept = tuple(column for column, _ in columns)
    interval, method = s.estimated_interval
    note = (
        f"Busy: the share of {interval:,.0f} cycles an image ({mark_of(method)}) in which a unit works; of a group, its busiest unit. "
        "Useful: of the products that its multipliers could make in that time, those of kept blocks and live rows."
    )
    return Tree(kept, _grown(kept, s.nodes, cells, weights), note)


def pair_tree(names: tuple[str, str], a: Summary, b: Summary) -> Tree | None:
    """Of two builds, by what nodes are called: cycles and resources of both; None in older summaries."""
    if not a.nodes or not b.nodes:
        return None
    figures = {"cycles": (WHOLE, "most"), **{SHOWN[kind]: (WHOLE, "sum") for kind in KINDS if kind != "FF"}}
    columns = tuple(TreeColumn(head, name, form, group) for head, (form, group) in figures.items() for name in names)
    first, second = ({node.layer: node for node in s.nodes} for s in (a, b))
    used = [{row.node: row for row in (s.resources.per_node if s.resources else [])} for s in (a, b)]
    nodes = {**first, **{layer: node for layer, node in second.items() if layer not in first}}
    cells = {}
    for layer, node in nodes.items():
        both = (first.get(layer), second.get(layer))
        values: list[Cell] = [n and n.cycles for n in both]
        for kind in KINDS:
            if kind != "FF":
                values += [getattr(rows[n.node], kind) if n is not None and n.node in rows else None for rows, n in zip(used, both)]
        cells[node.node if layer in first else layer] = tuple(values)
    rows = [node if layer in first else node.model_copy(update={"node": layer}) for layer, node in nodes.items()]
    return Tree(columns, _grown(columns, rows, cells, {}), f"{names[0]} and {names[1]}, by what their nodes are called.")


def _columns(s: Summary) -> list[tuple[TreeColumn, list[Cell]]]:
    """Columns with the figure of every node; those that no node has are left out."""
    interval = s.estimated_interval[0]
    used = {row.node: row for row in (s.resources.per_node if s.resources else [])}
    work, slow = {row.node: row for row in s.balance}, {row.node: row.taken for row in (s.timing.per_node if s.timing else [])}
    tool = mark_of(s.resources.tool) if s.resources else ""

    def cycles(node: NodeRow) -> int:
        return max(node.cycles, work[node.node].cycles if node.node in work else 0)

    def useful(node: NodeRow) -> float | None:
        row = work.get(node.node)
        return row.ideal_cycles / interval if row is not None else None

    found = [
        (TreeColumn("cycles", ESTIMATED, WHOLE, "most"), [cycles(n) for n in s.nodes]),
        (TreeColumn("busy", ESTIMATED, SHARE, "most"), [cycles(n) / interval for n in s.nodes]),
        (TreeColumn("useful", ESTIMATED, SHARE, "mean"), [useful(n) for n in s.nodes]),
        *((TreeColumn(SHOWN[kind], tool), [getattr(used[n.node], kind) if n.node in used else None for n in s.nodes]) for kind in KINDS),
        (TreeColumn("slowest path, ns", ESTIMATED, DECIMAL, "most"), [slow.get(n.node) for n in s.nodes]),
        (TreeColumn("kept blocks", COUNTED), [work[n.node].kept_blocks if n.node in work else None for n in s.nodes]),
        (TreeColumn("SLR", "", TEXT, ""), [", ".join(map(str, dict.fromkeys(n.slrs))) or None for n in s.nodes]),
        (TreeColumn("node", "", TEXT, ""), [n.node for n in s.nodes]),
    ]
    return [(column, values) for column, values in found if any(value is not None for value in values)]


def _grown(
    columns: Sequence[TreeColumn], nodes: Iterable[NodeRow], cells: Mapping[str, tuple[Cell, ...]], weights: Mapping[str, float]
) -> tuple[TreeRow, ...]:
    """The rows: encoders or engines, those outside last; in them roles; under roles of several nodes these."""

    def group(members: Sequence[NodeRow]) -> tuple[Cell, ...]:
        return tuple(_together(c.group, [(cells[n.node][i], weights.get(n.node, 1.0)) for n in members]) for i, c in enumerate(columns))

    def leaf(node: NodeRow, name: str) -> TreeRow:
        return TreeRow(name, cells[node.node], f"{node.place}|{node.place} {node.role}|{node.layer} {node.node}")

    rows = []
    places = by_place(nodes, lambda node: node.place)
    for place in sorted(places, key=lambda place: place == OUTSIDE):
        roles: dict[str, list[NodeRow]] = {}
        for node in places[place]:
            roles.setdefault(node.role, []).append(node)
        below = []
        for role, members in roles.items():
            leaves = tuple(leaf(node, node.layer.partition(", ")[2] or node.layer) for node in members)
            find = " ".join(one.find for one in leaves)
            below.append(leaf(members[0], role) if len(leaves) == 1 else TreeRow(f"{role} ({len(leaves)})", group(members), find, leaves))
        rows.append(TreeRow(place, group(places[place]), " ".join(row.find for row in below), tuple(below)))
    return tuple(rows)


def _together(how: str, values: Sequence[tuple[Cell, float]]) -> Cell:
    """The figure of a group: the sum, the most, or the mean by weight; None if there is none."""
    known = [(value, weight) for value, weight in values if value is not None]
    if not how or not known:
        return None
    if how == "mean":
        return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return sum(value for value, _ in known) if how == "sum" else max(value for value, _ in known)
