"""What room for other scales and other numbers of tokens costs: one loadable design with it and without it.

``python -m builds.experiments.room -o builds/results/room`` builds the digits example on one loadable engine twice and
compares what Yosys counts and how long the slowest path of each node takes. The design without room takes only the network it was built with.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import typer

import finn_vitprune.plugin  # noqa: F401
from builds.experiments.study import Only, Output, Study, start
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.transforms.engines import loadable

PART = "xcu250-figd2104-2L-e"
CLK_NS = 3.333
WHOLE = "whole design"
WITHOUT, WITH = "without", "with"
TITLE = "What room for other networks costs"
TEXT = f"""The digits example on one loadable engine, {PART}, {CLK_NS} ns, once with the room that every loadable design has (scales by two
shifts either way, any number of tokens up to that built) and once without. Counted by Yosys; paths in ns, by the taken constants of docs/timing.md.

```
python -m builds.experiments.room -o builds/results/room
```
"""


@dataclass(frozen=True)
class NodeCost:
    """What Yosys counts of a node, and ns of its slowest path."""

    LUT: int
    FF: int
    DSP: int
    BRAM36: float
    ns: float


@dataclass(frozen=True)
class DesignCost:
    """Of a design: the whole, then its nodes by name."""

    nodes: dict[str, NodeCost]


def main(
    output: Output, builds: Annotated[Path, typer.Option(help="Folder of the builds.")] = Path("build/room"), only: Only = None
) -> None:
    """Build both designs, and write the table of all nodes that differ."""
    study(builds).go(output, only)


def study(builds: Path = Path("build/room")) -> Study[str, DesignCost]:
    """Both designs, built in folders of ``builds``."""
    return Study(
        settings={WITHOUT: WITHOUT, WITH: WITH}, row=DesignCost, run=partial(cost_of, builds), table=tables, title=TITLE, text=TEXT,
        said=lambda row: f"{row.nodes[WHOLE].LUT:,} LUT",
    )  # fmt: skip


def cost_of(builds: Path, room: str) -> DesignCost:
    """The design with room or without; a finished build is not made again."""
    folder = builds / room
    if not (folder / FILE).exists():
        with nullcontext() if room == WITH else patch.object(loadable, "_spare", lambda ops, constants: None):
            build(
                BuildOptions(output_dir=folder, fpga_part=PART, clk_ns=CLK_NS, target_fps=60_000, engines=1, loadable=True, max_images=12)
            )
    s = Summary.load(folder)
    ns = {node.node: node.taken for node in s.timing.per_node} | {WHOLE: s.timing.taken}
    found = {WHOLE: s.resources} | {node.node: node for node in s.resources.per_node}
    return DesignCost({name: NodeCost(r.LUT, r.FF, r.DSP, r.BRAM36, ns[name]) for name, r in found.items()})


def tables(rows: Mapping[str, DesignCost]) -> list[TextTable]:
    """The whole design, then every node whose counts differ; none before both designs are known."""
    if len(rows) < 2:
        return []
    pairs = ((name, old, rows[WITH].nodes[name]) for name, old in rows[WITHOUT].nodes.items())
    cells = tuple(
        (name, *(f"{a:,} -> {b:,}" for a, b in zip(_counts(old), _counts(new))), f"{old.ns:.2f} -> {new.ns:.2f}")
        for name, old, new in pairs if name == WHOLE or _counts(old) != _counts(new)
    )  # fmt: skip
    return [TextTable("Without room, and with it", ("node", "LUT", "FF", "DSP", "BRAM36", "slowest path, ns"), cells)]


def _counts(cost: NodeCost) -> tuple[float, ...]:
    return cost.LUT, cost.FF, cost.DSP, cost.BRAM36


if __name__ == "__main__":
    start(lambda: typer.run(main))
