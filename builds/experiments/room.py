"""What room for other scales and other numbers of tokens costs: one loadable design with it and without it.

``python -m builds.experiments.room -o builds/results/room`` builds the digits example on one loadable engine twice and
compares what Yosys counts and how long the slowest path of each node takes. The design without room takes only the network it was built with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import typer

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.files import write_text
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.transforms.engines import loadable

PART = "xcu250-figd2104-2L-e"
CLK_NS = 3.333
TITLE = "What room for other networks costs"
TEXT = f"""The digits example on one loadable engine, {PART}, {CLK_NS} ns, once with the room that every loadable design has (scales by two
shifts either way, any number of tokens up to that built) and once without. Counted by Yosys; paths in ns, by the taken constants of docs/timing.md.

```
python -m builds.experiments.room -o builds/results/room
```
"""


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of RESULTS.md.")],
    builds: Annotated[Path, typer.Option(help="Folder of the builds.")] = Path("build/room"),
) -> None:
    """Build both designs, and write the table of all nodes that differ."""
    with_room = summary_of(builds / "with")
    with patch.object(loadable, "_spare", lambda ops, constants: None):
        without = summary_of(builds / "without")
    write_text(output / "RESULTS.md", to_markdown(TITLE, TEXT, [table(without, with_room)]))


def summary_of(folder: Path) -> Summary:
    """The summary of the build in ``folder``, which is built if it is not there."""
    if not (found := folder / FILE).exists():
        build(BuildOptions(output_dir=folder, fpga_part=PART, clk_ns=CLK_NS, target_fps=60_000, engines=1, loadable=True, max_images=12))
    return Summary.load(found)


def table(without: Summary, with_room: Summary) -> TextTable:
    """The whole design, then every node that differs: without room, with it."""
    pairs = [("whole design", _counts(without.resources), _counts(with_room.resources), without.timing.taken, with_room.timing.taken)]
    ns = [{node.node: node.taken for node in s.timing.per_node} for s in (without, with_room)]
    after = {node.node: node for node in with_room.resources.per_node}
    for node in without.resources.per_node:
        counts = _counts(node), _counts(after[node.node])
        if counts[0] != counts[1]:
            pairs.append((node.node, *counts, ns[0].get(node.node), ns[1].get(node.node)))
    rows = tuple((name, *(f"{a:,} -> {b:,}" for a, b in zip(old, new)), _paths(*paths)) for name, old, new, *paths in pairs)
    return TextTable("Without room, and with it", ("node", "LUT", "FF", "DSP", "BRAM36", "slowest path, ns"), rows, "", ("",) * 6)


def _paths(old: float | None, new: float | None) -> str:
    return "" if old is None or new is None else f"{old:.2f} -> {new:.2f}"


def _counts(found) -> tuple[float, ...]:
    return found.LUT, found.FF, found.DSP, found.BRAM36


if __name__ == "__main__":
    typer.run(main)
