"""``python -m builds.experiments.boards NAME=BUILD ...``: what builds became on a board, as a page.

Each build has a bitstream and was run with ``gate-level``; the page is made of what these commands left in its folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from scipy.stats import spearmanr

from builds.experiments.study import start
from finn_vitprune.boards.units import UnitCells
from finn_vitprune.builds.bitstream import FLOOR_PLAN, FOLDER, BoardSummary, read_board
from finn_vitprune.builds.gate_level import FAULT_IMAGES, RESULT
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, whole_file, write_json, write_text
from finn_vitprune.report.tables import TextTable, to_markdown

OUTPUT = Path("builds/results/board")
FRAME_BYTES = 12
"""Of a frame of the serial link beside its payload."""
SLOWEST = 20
"""Units in the table of a network; ``results.json`` has all."""
TITLE = "On an ECP5 board"
TEXT = """Each network went from QONNX to a bitstream for an ULX3S-85F, and images through its **routed netlist**, by the pins of the board, against the
network's integers. All figures of cells and MHz are nextpnr's of the routed design. **No bitstream was loaded into a chip.** How: [docs/board.md](../../../docs/board.md).

```
{commands}
```

`digits` is the trained network of builds/example (.5/.5, 8/8), built with `--board ulx3s-85f --target-fps 2500`, and `--clk-ns 15` for `bitstream`.
`tiny` is random: `random_vit(image=8, depth=1, drop_at=(1,), token_keep="0.5")` of `tests/vit_models.py`, built with
`--board ulx3s-85f --target-fps 5000`. Its `gate-level` had `--max-images 64`. The seconds are with compiling, at low priority beside other jobs. A fault is the output of a cell that is 0 or 1 for ever. ns of a
unit: of the slowest path that ends in it, by nextpnr (without the set-up of its end), and by the estimate of the mapped netlist ([docs/timing.md](../../../docs/timing.md#against-a-router)), whose
constants come from one small unit and not from these designs."""
COMMANDS = """finn-vitprune bitstream BUILD --board ulx3s-85f
finn-vitprune gate-level BUILD --max-images 100 --faults 100
python -m builds.experiments.boards NAME=BUILD ..."""


def main(
    builds: Annotated[list[str], typer.Argument(metavar="NAME=BUILD...", help="Builds with a bitstream, and their names on the page.")],
    output: Annotated[Path, typer.Option("-o", "--output")] = OUTPUT,
) -> None:
    """Write the page."""
    folders = {name: Path(folder) for name, _, folder in (word.partition("=") for word in builds)}
    found = {name: _found(folder) for name, folder in folders.items()}
    write_json(output / "results.json", {name: {"board": board.as_dict(), "gate_level": gate} for name, (board, gate) in found.items()})
    tables = [_routed(found), _simulated(found), _orders(found), *(_units(name, board) for name, (board, _) in found.items())]
    for name, folder in folders.items():
        with whole_file(output / f"{name}.png") as partial:
            shutil.copyfile(folder / FOLDER / FLOOR_PLAN, partial)
    pictures = "\n\n".join(f"![Where the units of {name} lie on the part]({name}.png)" for name in found)
    write_text(
        output / "RESULTS.md", f"{to_markdown(TITLE, TEXT.format(commands=COMMANDS), tables)}\n## Where the units lie\n\n{pictures}\n"
    )


def _found(build: Path) -> tuple[BoardSummary, dict]:
    """``board.json``, and ``gate_level.json`` with the interval of the simulated RTL."""
    folder = build / FOLDER
    board, gate = read_board(folder), read_json(folder / RESULT, "gate level")
    if gate["netlist"] != board.files["routed.json.gz"]:
        raise UserError(f"{folder / RESULT} is of another netlist than {folder}: run gate-level again")
    performance = read_json(BuildFolder(build).rtlsim_performance, "simulated performance")
    return board, gate | {"interval_cycles": performance["interval_cycles"]}


def _routed(found: dict[str, tuple[BoardSummary, dict]]) -> TextTable:
    rows = []
    for name, (board, gate) in found.items():
        cells = [f"{getattr(board.routed, kind):,} of {has:,}" for kind, has in board.has.items()]
        link = board.baud / 10 / (board.image_bytes + FRAME_BYTES)
        own = board.clock_mhz * 1e6 / gate["interval_cycles"]
        rows.append(
            (
                name, board.board, f"{board.routed.mhz:g}", f"{board.clock_mhz:g}", *cells, f"{board.bitstream_bytes:,}", f"{own:,.0f}",
                f"{link:,.0f}",
            )
        )  # fmt: skip
    columns = (
        "network",
        "board",
        "MHz, routed",
        "clock, MHz",
        "COMB",
        "FF",
        "MULT18",
        "EBR",
        "bitstream, bytes",
        "images/s of the accelerator",
        "images/s over the link, at most",
    )
    return TextTable("Routed", columns, tuple(rows))


def _simulated(found: dict[str, tuple[BoardSummary, dict]]) -> TextTable:
    rows = tuple(
        (
            name, str(gate["images"]), f"{gate['values']:,}", str(gate["mismatches"]), f"{gate['clocks']:,}", f"{gate['seconds']:.0f}",
            f"{gate['noticed']} of {gate['faults']}" if gate["faults"] else "not tried",
        )
        for name, (_, gate) in found.items()
    )  # fmt: skip
    columns = (
        "network",
        "images",
        "logits",
        "logits that differ",
        "clocks (64 boards side by side)",
        "s",
        f"faults noticed by {FAULT_IMAGES} images",
    )
    return TextTable("The routed netlist against the network", columns, rows)


def _orders(found: dict[str, tuple[BoardSummary, dict]]) -> TextTable:
    """How well the estimate before placement orders the units of a placed design."""
    rows = []
    for name, (board, _) in found.items():
        units = _timed(board)
        rank = float(spearmanr([unit.ns for _, unit in units], [unit.estimated_ns for _, unit in units]).statistic)
        shares = {label: unit.ns / unit.estimated_ns for label, unit in units}
        worst = max(shares, key=lambda label: shares[label])
        mean = sum(shares.values()) / len(shares)
        rows.append((name, str(len(units)), f"{rank:.2f}", f"{min(shares.values()):.2f}", f"{mean:.2f}", f"{shares[worst]:.2f} ({worst})"))
    columns = ("network", "units", "rank correlation", "routed / estimated, least", "mean", "most")
    return TextTable("Slowest path of each unit, routed and estimated", columns, tuple(rows))


def _units(name: str, board: BoardSummary) -> TextTable:
    units = sorted(_timed(board), key=lambda row: -row[1].ns)[:SLOWEST]
    rows = tuple(
        (label, f"{u.ns:.2f}", f"{u.estimated_ns:.2f}", f"{u.COMB:,}", f"{u.FF:,}", str(u.MULT18), str(u.EBR)) for label, u in units
    )
    columns = ("unit", "ns, routed", "ns, estimated", "COMB", "FF", "MULT18", "EBR")
    return TextTable(f"{name}: the {len(rows)} units with the slowest paths", columns, rows)


def _timed(board: BoardSummary) -> list[tuple[str, UnitCells]]:
    """Units in which a path ends."""
    return [(label, unit) for label, unit in board.units.items() if unit.ns and unit.estimated_ns]


if __name__ == "__main__":
    start(lambda: typer.run(main))
